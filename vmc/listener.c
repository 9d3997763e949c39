/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcListener: sockets that listen, and the care that paths of UNIX sockets
 * want. The sockets are made with the system's own calls, because their errors
 * are what the user is told; GSocket takes over when they listen.
 */

#include "vmc/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixsocketaddress.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmc/chardev-backend.h"

/* Clients that may wait for the one before them to go. */
#define LISTEN_BACKLOG 16
/* With port 0 the system chooses for the first address of a name, and for the
 * others that port may be taken: so often we let it choose again. */
#define ANY_PORT_TRIES 8u

struct VmcListener {
	GPtrArray *sockets; /* GSocket */
	char *path;         /* to unlink; NULL if none */
	dev_t dev;          /* what we made there */
	ino_t ino;
};

/* ---- One socket ---- */

/* A socket that listens at `address`; `v6only` counts for IPv6. NULL with
 * errno. */
static GSocket *listen_at(GSocketAddress *address, bool v6only)
{
	struct sockaddr_storage native;
	gssize len = g_socket_address_get_native_size(address);
	int on = 1, only = v6only;
	GSocket *sock = NULL;
	int fd, saved;

	if (!g_socket_address_to_native(address, &native, sizeof(native), NULL)) {
		errno = EINVAL;
		return NULL;
	}
	fd = socket(native.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return NULL;

	/* REUSEADDR: a restart must not wait for the last connection's TIME_WAIT. */
	if ((native.ss_family == AF_UNIX ||
	     setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0) &&
	    (native.ss_family != AF_INET6 ||
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) == 0) &&
	    bind(fd, (struct sockaddr *)&native, (socklen_t)len) == 0 &&
	    listen(fd, LISTEN_BACKLOG) == 0)
		sock = g_socket_new_from_fd(fd, NULL);
	if (sock == NULL) {
		saved = errno;
		close(fd);
		errno = saved;
		return NULL;
	}
	g_socket_set_blocking(sock, FALSE);
	return sock;
}

static uint16_t local_port(GSocket *sock)
{
	g_autoptr(GSocketAddress) address = g_socket_get_local_address(sock, NULL);

	if (!G_IS_INET_SOCKET_ADDRESS(address))
		return 0;
	return g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(address));
}

/* ---- TCP ---- */

/* The addresses of a host name, GInetAddress; NULL with `error`. */
static GList *look_up(const VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	g_autoptr(GResolver) resolver = g_resolver_get_default();
	GResolverNameLookupFlags flags = G_RESOLVER_NAME_LOOKUP_FLAGS_DEFAULT;
	g_autoptr(GError) problem = NULL;
	GList *found;

	if (!config->ipv6)
		flags = G_RESOLVER_NAME_LOOKUP_FLAGS_IPV4_ONLY;
	else if (!config->ipv4)
		flags = G_RESOLVER_NAME_LOOKUP_FLAGS_IPV6_ONLY;

	/* An address in digits comes back without asking anybody. */
	found = g_resolver_lookup_by_name_with_flags(resolver, config->host, flags, NULL, &problem);
	if (found == NULL)
		vmc_chardev_set_open_error(opts, error, "cannot look up host '%s': %s",
					   config->host, problem->message);
	return found;
}

static bool is_absent(int code)
{
	return code == EAFNOSUPPORT || code == EADDRNOTAVAIL;
}

/* One IPv6 socket for both families where the machine has IPv6, as QEMU. */
static int listen_any(VmcListener *listener, const VmcSocketConfig *config, uint16_t port)
{
	static const GSocketFamily families[] = { G_SOCKET_FAMILY_IPV6, G_SOCKET_FAMILY_IPV4 };
	const bool wanted[] = { config->ipv6, config->ipv4 };
	int code = EAFNOSUPPORT;

	for (size_t i = 0; i < G_N_ELEMENTS(families) && is_absent(code); i++) {
		g_autoptr(GInetAddress) any = g_inet_address_new_any(families[i]);
		g_autoptr(GSocketAddress) address = g_inet_socket_address_new(any, port);
		GSocket *sock;

		if (!wanted[i])
			continue;
		sock = listen_at(address, !config->ipv4);
		code = sock != NULL ? 0 : errno;
		if (sock != NULL)
			g_ptr_array_add(listener->sockets, sock);
	}
	return code;
}

/* One socket for each of `addresses`, on the same port; addresses that this
 * machine does not have are left out if there is one that it has. */
static int listen_each(VmcListener *listener, GList *addresses, uint16_t port)
{
	int absent = 0;

	g_ptr_array_set_size(listener->sockets, 0);
	for (GList *l = addresses; l != NULL; l = l->next) {
		g_autoptr(GSocketAddress) address = g_inet_socket_address_new(l->data, port);
		GSocket *sock = listen_at(address, true);

		if (sock != NULL) {
			g_ptr_array_add(listener->sockets, sock);
			port = local_port(sock);
		} else if (is_absent(errno)) {
			absent = errno;
		} else {
			return errno;
		}
	}
	return listener->sockets->len > 0 ? 0 : absent;
}

static const char *advice(const VmcSocketConfig *config, int code)
{
	if (code == EADDRINUSE && config->to > config->port)
		return " (so are all ports up to that of 'to')";
	if (code == EADDRINUSE)
		return " (another program has it; give another port, or 'to' to try several)";
	if (code == EACCES)
		return " (ports below 1024 want a privilege)";
	if (code == EADDRNOTAVAIL)
		return " (this machine does not have that address)";
	return "";
}

static bool listen_tcp(VmcListener *listener, const VmcSocketConfig *config, const VmcOpts *opts,
		       GError **error)
{
	bool any = config->host[0] == '\0';
	GList *addresses = any ? NULL : look_up(config, opts, error);
	unsigned tries = config->port == 0 ? ANY_PORT_TRIES : 1u + config->to - config->port;
	g_autofree char *where = NULL;
	int code = EADDRINUSE;

	if (!any && addresses == NULL)
		return false;
	for (unsigned i = 0; i < tries && code == EADDRINUSE; i++) {
		uint16_t port = (uint16_t)(config->port == 0 ? 0 : config->port + i);

		code = any ? listen_any(listener, config, port) :
			     listen_each(listener, addresses, port);
	}
	g_resolver_free_addresses(addresses);
	if (code == 0)
		return true;

	if (strchr(config->host, ':') != NULL)
		where = g_strdup_printf("[%s]:%u", config->host, config->port);
	else
		where = g_strdup_printf("%s:%u", any ? "*" : config->host, config->port);
	vmc_chardev_set_open_error(opts, error, "cannot listen on %s: %s%s", where,
				   g_strerror(code), advice(config, code));
	return false;
}

/* ---- UNIX ---- */

static const char *unix_advice(int code)
{
	if (code == EADDRINUSE)
		return " (somebody listens there)";
	if (code == ENOENT)
		return " (its folder is not there; make it, or give another path)";
	if (code == EACCES)
		return " (this user may not write to its folder)";
	return "";
}

/* Whether the socket at `address` is left over from a process that is gone.
 * Only a refusal says so: somebody busy or forbidden is somebody. */
static bool is_stale(GSocketAddress *address)
{
	struct sockaddr_storage native;
	gssize len = g_socket_address_get_native_size(address);
	bool stale;
	int fd;

	if (!g_socket_address_to_native(address, &native, sizeof(native), NULL))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	stale = connect(fd, (struct sockaddr *)&native, (socklen_t)len) < 0 &&
		errno == ECONNREFUSED;
	close(fd);
	return stale;
}

/* Makes way at a path. False with `error` if what is there is not ours to take. */
static bool clear_path(const VmcSocketConfig *config, GSocketAddress *address, const VmcOpts *opts,
		       GError **error)
{
	struct stat st;

	if (config->abstract || lstat(config->path, &st) < 0)
		return true;
	if (!S_ISSOCK(st.st_mode)) {
		vmc_chardev_set_open_error(opts, error,
					   "cannot listen on %s: it is there and is not a socket",
					   config->path);
		return false;
	}
	if (is_stale(address))
		unlink(config->path);
	return true;
}

static bool listen_unix(VmcListener *listener, const VmcSocketConfig *config, const VmcOpts *opts,
			GError **error)
{
	g_autoptr(GSocketAddress) address = vmc_socket_config_unix_address(config);
	struct stat st;
	GSocket *sock;

	if (!clear_path(config, address, opts, error))
		return false;
	sock = listen_at(address, false);
	if (sock == NULL) {
		int code = errno;

		vmc_chardev_set_open_error(opts, error, "cannot listen on %s%s: %s%s",
					   config->abstract ? "@" : "", config->path,
					   g_strerror(code), unix_advice(code));
		return false;
	}
	g_ptr_array_add(listener->sockets, sock);
	if (!config->abstract && lstat(config->path, &st) == 0) {
		listener->path = g_strdup(config->path);
		listener->dev = st.st_dev;
		listener->ino = st.st_ino;
	}
	return true;
}

/* ---- An inherited descriptor ---- */

static bool listen_fd(VmcListener *listener, const VmcSocketConfig *config, const VmcOpts *opts,
		      GError **error)
{
	int listening = 0;
	socklen_t len = sizeof(listening);
	g_autoptr(GError) problem = NULL;
	GSocket *sock;

	if (getsockopt(config->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0) {
		vmc_chardev_set_open_error(opts, error, "cannot listen on fd %d: %s", config->fd,
					   g_strerror(errno));
		return false;
	}
	if (!listening) {
		vmc_chardev_set_open_error(opts, error,
					   "cannot listen on fd %d: it is not a listening socket",
					   config->fd);
		return false;
	}
	sock = g_socket_new_from_fd(config->fd, &problem);
	if (sock == NULL) {
		vmc_chardev_set_open_error(opts, error, "cannot listen on fd %d: %s", config->fd,
					   problem->message);
		return false;
	}
	fcntl(config->fd, F_SETFD, FD_CLOEXEC);
	g_socket_set_blocking(sock, FALSE);
	g_ptr_array_add(listener->sockets, sock);
	return true;
}

/* ---- The listener ---- */

VmcListener *vmc_listener_new(const VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	static bool (*const listen_by_kind[])(VmcListener *, const VmcSocketConfig *,
					      const VmcOpts *, GError **) = {
		[VMC_SOCKET_TCP] = listen_tcp,
		[VMC_SOCKET_UNIX] = listen_unix,
		[VMC_SOCKET_FD] = listen_fd,
	};
	g_autoptr(VmcListener) listener = g_new0(VmcListener, 1);

	listener->sockets = g_ptr_array_new_with_free_func(g_object_unref);
	if (!listen_by_kind[config->kind](listener, config, opts, error))
		return NULL;
	return g_steal_pointer(&listener);
}

void vmc_listener_free(VmcListener *listener)
{
	struct stat st;

	if (listener == NULL)
		return;
	if (listener->path != NULL && lstat(listener->path, &st) == 0 &&
	    st.st_dev == listener->dev && st.st_ino == listener->ino)
		unlink(listener->path);
	g_ptr_array_unref(listener->sockets);
	g_free(listener->path);
	g_free(listener);
}

const GPtrArray *vmc_listener_sockets(const VmcListener *listener)
{
	return listener->sockets;
}

uint16_t vmc_listener_port(const VmcListener *listener)
{
	return local_port(listener->sockets->pdata[0]);
}

char *vmc_listener_describe(const VmcListener *listener, const VmcSocketConfig *config)
{
	g_autoptr(GSocketAddress) address = NULL;
	g_autofree char *any = NULL;
	GInetAddress *host;

	if (config->kind != VMC_SOCKET_TCP)
		return vmc_socket_config_describe(config, NULL, 0);
	if (config->host[0] != '\0')
		return vmc_socket_config_describe(config, config->host,
						  vmc_listener_port(listener));

	address = g_socket_get_local_address(listener->sockets->pdata[0], NULL);
	if (!G_IS_INET_SOCKET_ADDRESS(address))
		return vmc_socket_config_describe(config, "*", 0);
	host = g_inet_socket_address_get_address(G_INET_SOCKET_ADDRESS(address));
	any = g_inet_address_to_string(host);
	return vmc_socket_config_describe(config, any, vmc_listener_port(listener));
}

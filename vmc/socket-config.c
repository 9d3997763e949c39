/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSocketConfig: the keys of `-chardev socket`, QEMU's and our own, and the
 * rules on which of them go together.
 */

#include "vmc/socket-config.h"

#include <gio/gunixsocketaddress.h>

#include <gio/gio.h>
#include <limits.h>
#include <netdb.h>
#include <string.h>
#include <sys/un.h>

#include "vmc/span.h"

_Static_assert(VMC_SOCKET_PATH_MAX == sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1,
	       "the limit is the system's");

/* A day; more is a slip of the pen. */
#define RECONNECT_MAX_SECONDS 86400u

/* The keys without help are the other spelling of `nodelay`, and the way of a
 * SPICE client; those after them are QEMU's and nothing of ours. */
const VmcOptDesc vmc_socket_options[] = {
	{ "host", VMC_OPT_TEXT, 0, NI_MAXHOST - 1,
	  "TCP: name or address; servers: empty or not given for any" },
	{ "port", VMC_OPT_STRING, 0, NI_MAXSERV - 1, "TCP: number or service; servers: 0 for any" },
	{ "to", VMC_OPT_NUMBER, 0, UINT16_MAX, "TCP server: try the ports from port to this one" },
	{ "ipv4", VMC_OPT_BOOL, 0, 0, "TCP: use IPv4; alone: nothing else" },
	{ "ipv6", VMC_OPT_BOOL, 0, 0, "TCP: use IPv6; alone: nothing else" },
	{ "nodelay", VMC_OPT_BOOL, 0, 0, "TCP: send at once, without Nagle's algorithm (on)" },
	{ "quickack", VMC_OPT_BOOL, 0, 0, "TCP: acknowledge at once what was read (on)" },
	{ "path", VMC_OPT_STRING, 0, VMC_SOCKET_PATH_MAX, "UNIX: path of the socket" },
	{ "abstract", VMC_OPT_BOOL, 0, 0, "UNIX: path is a name outside the file system (off)" },
	{ "tight", VMC_OPT_BOOL, 0, 0, "UNIX: do not pad the abstract name with zeros (on)" },
	{ "fd", VMC_OPT_NUMBER, 0, INT_MAX, "inherited descriptor, listening if server" },
	{ "server", VMC_OPT_BOOL, 0, 0, "listen instead of connecting (off)" },
	{ "wait", VMC_OPT_BOOL, 0, 0, "server: start when the first client is there (on)" },
	{ "reconnect", VMC_OPT_NUMBER, 0, RECONNECT_MAX_SECONDS,
	  "client: seconds to the next attempt, more later; 0 for none (0)" },
	{ "delay", VMC_OPT_BOOL, 0, 0, NULL },
	{ "proxy", VMC_OPT_TEXT, 0, 0, NULL },
	{ "telnet", VMC_OPT_BOOL, 0, 0, NULL },
	{ "tn3270", VMC_OPT_BOOL, 0, 0, NULL },
	{ "websocket", VMC_OPT_BOOL, 0, 0, NULL },
	{ "mux", VMC_OPT_BOOL, 0, 0, NULL },
	{ "tls-creds", VMC_OPT_TEXT, 0, 0, NULL },
	{ "tls-authz", VMC_OPT_TEXT, 0, 0, NULL },
	{ "logfile", VMC_OPT_TEXT, 0, 0, NULL },
	{ NULL, VMC_OPT_BOOL, 0, 0, NULL },
};

/* ---- Which keys go together ---- */

static bool refuse_foreign(const VmcOpts *opts, GError **error)
{
	static const char *const flags[] = { "telnet", "tn3270", "websocket", "mux" };
	static const char *const texts[] = { "tls-creds", "tls-authz", "logfile" };
	const char *found = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
		if (vmc_opts_bool(opts, flags[i], false))
			found = flags[i];
	}
	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		if (vmc_opts_has(opts, texts[i]))
			found = texts[i];
	}
	if (found == NULL)
		return true;
	vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
			   "QEMU takes '%s', vscard does not do that; leave it out", found);
	return false;
}

/* A key of one kind of address beside the key that makes it another kind. */
static bool refuse_beside(const VmcOpts *opts, const char *main_key, const char *const *others,
			  GError **error)
{
	for (size_t i = 0; others[i] != NULL; i++) {
		if (!vmc_opts_has(opts, others[i]))
			continue;
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "'%s' does not go with '%s'; give host and port (TCP), "
				   "path (UNIX) or fd",
				   others[i], main_key);
		return false;
	}
	return true;
}

static bool read_kind(VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	static const char *const not_fd[] = { "host",      "port",  "to",       "ipv4",
					      "ipv6",      "path",  "abstract", "tight",
					      "reconnect", "proxy", NULL };
	static const char *const not_unix[] = {
		"host", "port", "to", "ipv4", "ipv6", "proxy", NULL
	};
	static const char *const not_tcp[] = { "abstract", "tight", NULL };

	if (vmc_opts_has(opts, "fd")) {
		config->kind = VMC_SOCKET_FD;
		return refuse_beside(opts, "fd", not_fd, error);
	}
	if (vmc_opts_has(opts, "path")) {
		config->kind = VMC_SOCKET_UNIX;
		return refuse_beside(opts, "path", not_unix, error);
	}
	if (vmc_opts_has(opts, "host") || vmc_opts_has(opts, "port")) {
		config->kind = VMC_SOCKET_TCP;
		return refuse_beside(opts, "port", not_tcp, error);
	}
	vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_MISSING,
			   "no address is given; give host and port (TCP), path (UNIX) or fd");
	return false;
}

static bool read_role(VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	config->server = vmc_opts_bool(opts, "server", false);
	config->wait = vmc_opts_bool(opts, "wait", config->server);
	config->reconnect = (unsigned)vmc_opts_number(opts, "reconnect", 0);

	if (config->server && vmc_opts_has(opts, "reconnect")) {
		vmc_opts_set_error(
			opts, error, VMC_OPTS_ERROR_VALUE,
			"'reconnect' is for clients; a server waits for its client anyway");
		return false;
	}
	if (!config->server && vmc_opts_has(opts, "wait")) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "'wait' is for servers; add server=on or leave it out");
		return false;
	}
	if (!config->server && vmc_opts_has(opts, "to")) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "'to' is for servers; add server=on or leave it out");
		return false;
	}
	return true;
}

static bool read_nodelay(VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	if (vmc_opts_has(opts, "nodelay") && vmc_opts_has(opts, "delay")) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_REPEATED,
				   "'delay' and 'nodelay' say the same thing; give one of them");
		return false;
	}
	/* On where QEMU has off: each of our writes is a whole message that
	 * somebody waits for. */
	config->nodelay = vmc_opts_bool(opts, "nodelay", !vmc_opts_bool(opts, "delay", false));
	config->quickack = vmc_opts_bool(opts, "quickack", true);
	return true;
}

/* ---- TCP ---- */

static bool read_proxy(VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	config->proxy = g_strdup(vmc_opts_get(opts, "proxy"));
	if (config->proxy == NULL || !config->server)
		return true;
	vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
			   "'proxy' is for clients; leave it out");
	return false;
}

static bool read_port(VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	const char *text = vmc_opts_get(opts, "port");
	unsigned min = config->server ? 0 : 1;
	const struct servent *service;
	guint64 number;

	if (text == NULL) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_MISSING,
				   "'port' is missing: a number from %u to 65535 or a service name",
				   min);
		return false;
	}
	if (g_ascii_string_to_unsigned(text, 10, min, UINT16_MAX, &number, NULL)) {
		config->port = (uint16_t)number;
		return true;
	}
	/* A number that is out of range is not looked up. */
	service = text[strspn(text, "0123456789")] != '\0' ? getservbyname(text, "tcp") : NULL;
	if (service == NULL) {
		vmc_opts_set_error(
			opts, error, VMC_OPTS_ERROR_VALUE,
			"bad value '%s' for 'port': a number from %u to 65535 or a service name",
			text, min);
		return false;
	}
	config->port = g_ntohs((uint16_t)service->s_port);
	return true;
}

static bool read_to(VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	uint64_t to = vmc_opts_number(opts, "to", config->port);

	if (to < config->port || (config->port == 0 && to != 0)) {
		vmc_opts_set_error(
			opts, error, VMC_OPTS_ERROR_VALUE,
			"bad value '%s' for 'to': a number from %u to 65535, with a port that is not 0",
			vmc_opts_get(opts, "to"), config->port);
		return false;
	}
	config->to = (uint16_t)to;
	return true;
}

/* As QEMU: one family named on, the other is off, and the other way round. */
static bool read_families(VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	bool ipv4_off = vmc_opts_has(opts, "ipv4") && !vmc_opts_bool(opts, "ipv4", true);
	bool ipv6_off = vmc_opts_has(opts, "ipv6") && !vmc_opts_bool(opts, "ipv6", true);
	bool none = !vmc_opts_has(opts, "ipv4") && !vmc_opts_has(opts, "ipv6");

	if (ipv4_off && ipv6_off) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "'ipv4' and 'ipv6' are both off; one has to be on");
		return false;
	}
	config->ipv4 = vmc_opts_bool(opts, "ipv4", none || ipv6_off);
	config->ipv6 = vmc_opts_bool(opts, "ipv6", none || ipv4_off);
	return true;
}

static bool read_host(VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	const char *host = vmc_opts_get(opts, "host");
	g_autoptr(GInetAddress) address = NULL;
	size_t len;

	if (host == NULL || host[0] == '\0')
		host = config->server ? "" : "localhost";
	len = strlen(host);
	if (host[0] == '[' && host[len - 1] == ']')
		config->host = g_strndup(host + 1, len - 2);
	else
		config->host = g_strdup(host);

	address = g_inet_address_new_from_string(config->host);
	if (host[0] == '[' &&
	    (address == NULL || g_inet_address_get_family(address) != G_SOCKET_FAMILY_IPV6)) {
		vmc_opts_set_error(
			opts, error, VMC_OPTS_ERROR_VALUE,
			"bad value '%.80s' for 'host': between [ and ] an IPv6 address is expected",
			host);
		return false;
	}
	if (address != NULL &&
	    !(g_inet_address_get_family(address) == G_SOCKET_FAMILY_IPV6 ? config->ipv6 :
									   config->ipv4)) {
		vmc_opts_set_error(
			opts, error, VMC_OPTS_ERROR_VALUE,
			"bad value '%s' for 'host': an address of the family that is off", host);
		return false;
	}
	return true;
}

/* ---- All together ---- */

bool vmc_socket_config_read(VmcSocketConfig *config, const VmcOpts *opts, GError **error)
{
	if (!refuse_foreign(opts, error) || !read_kind(config, opts, error) ||
	    !read_role(config, opts, error) || !read_nodelay(config, opts, error))
		return false;

	switch (config->kind) {
	case VMC_SOCKET_TCP:
		return read_port(config, opts, error) && read_to(config, opts, error) &&
		       read_families(config, opts, error) && read_host(config, opts, error) &&
		       read_proxy(config, opts, error);
	case VMC_SOCKET_UNIX:
		config->path = g_strdup(vmc_opts_get(opts, "path"));
		config->abstract = vmc_opts_bool(opts, "abstract", false);
		config->tight = vmc_opts_bool(opts, "tight", true);
		if (config->abstract || !vmc_opts_has(opts, "tight"))
			return true;
		vmc_opts_set_error(
			opts, error, VMC_OPTS_ERROR_VALUE,
			"'tight' is for abstract names; add abstract=on or leave it out");
		return false;
	case VMC_SOCKET_FD:
		config->fd = (int)vmc_opts_number(opts, "fd", 0);
		return true;
	}
	g_return_val_if_reached(false);
}

void vmc_socket_config_clear(VmcSocketConfig *config)
{
	g_clear_pointer(&config->host, g_free);
	g_clear_pointer(&config->path, g_free);
	/* A password may be in it. */
	if (config->proxy != NULL)
		vmc_wipe(config->proxy, strlen(config->proxy));
	g_clear_pointer(&config->proxy, g_free);
}

char *vmc_socket_config_describe(const VmcSocketConfig *config, const char *host, uint16_t port)
{
	const char *role = config->server ? ",server" : "";

	switch (config->kind) {
	case VMC_SOCKET_TCP:
		if (strchr(host, ':') != NULL)
			return g_strdup_printf("tcp:[%s]:%u%s", host, port, role);
		return g_strdup_printf("tcp:%s:%u%s", host, port, role);
	case VMC_SOCKET_UNIX:
		return g_strdup_printf("unix:%s%s%s", config->abstract ? "@" : "", config->path,
				       role);
	case VMC_SOCKET_FD:
		return g_strdup_printf("fd:%d%s", config->fd, role);
	}
	g_return_val_if_reached(NULL);
}

GSocketAddress *vmc_socket_config_unix_address(const VmcSocketConfig *config)
{
	GUnixSocketAddressType type = G_UNIX_SOCKET_ADDRESS_PATH;

	if (config->abstract)
		type = config->tight ? G_UNIX_SOCKET_ADDRESS_ABSTRACT :
				       G_UNIX_SOCKET_ADDRESS_ABSTRACT_PADDED;
	return g_unix_socket_address_new_with_type(config->path, -1, type);
}

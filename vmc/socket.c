/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The backend "socket": a byte stream over TCP, a UNIX socket or an inherited
 * descriptor, as client or server, with QEMU's keys. One conversation at a
 * time: while a client is served nobody is accepted, and the next one waits in
 * the backlog. A user that takes many gets a VmcSocket for each that is accepted.
 * Everything goes through a GIOStream's pollable halves, so that a stream on top
 * of the socket can take their place.
 */

#include "vmc/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixsocketaddress.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "vmc/chardev-backend.h"
#include "vmc/keepalive.h"
#include "vmc/listener.h"
#include "vmc/retry.h"
#include "vmc/socket-config.h"

/* A connection that is not made in this time is not made. */
#define CONNECT_SECONDS 20

/* When accepting fails for a reason of ours, such as no descriptors left, the
 * client stays in the backlog and the loop would be woken without end. */
#define ACCEPT_RETRY_SECONDS 1

/* Unread input is thrown away before closing, up to this, because closing over
 * it resets the connection and the peer loses what we wrote last. */
#define DRAIN_SIZE 4096u
#define DRAIN_TIMES 16u

typedef struct VmcSocket VmcSocket;

/* One connection being made; outlives the device if that is freed first. */
typedef struct Attempt {
	VmcSocket *owner; /* NULL: the device is gone */
	GCancellable *cancellable;
} Attempt;

struct VmcSocket {
	VmcChardev base;
	VmcSocketConfig config;

	/* Looking for a conversation: a server */
	VmcListener *listener;
	GPtrArray *accepting; /* GSource, one a listening socket */
	guint accept_timer;
	GPtrArray *handed; /* VmcSocket, connections that users have */
	/* or one of its connections */
	VmcSocket *server; /* NULL, too: it is gone */
	/* or a client. */
	Attempt *attempt;
	VmcRetry *retry;   /* NULL: never */
	unsigned attempts; /* in a row without a settled conversation */

	/* The conversation. */
	GSocketConnection *stream; /* NULL: none */
	GPollableInputStream *in;
	GPollableOutputStream *out;
	GSource *readable;
	GSource *writable;
	GSource *ended; /* watches for the end while nobody reads */
	gint64 since;   /* its start, monotonic time */
	bool tcp;
	bool drained; /* nothing to read until the kernel says so again */
};

static void look_for_next(VmcSocket *self);

static VmcSocket *socket_of(VmcChardev *chardev)
{
	return (VmcSocket *)chardev;
}

static void drop_source(GSource **source)
{
	if (*source == NULL)
		return;
	g_source_destroy(*source);
	g_clear_pointer(source, g_source_unref);
}

static int descriptor(const VmcSocket *self)
{
	return g_socket_get_fd(g_socket_connection_get_socket(self->stream));
}

/* ---- Reading and writing ---- */

static GError *broken_error(const char *message)
{
	return g_error_new(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_IO, "the connection broke: %s",
			   message);
}

/* Linux falls back to delayed acknowledgements by itself, so this is said again
 * after every read. A sender with Nagle's algorithm on, such as QEMU, holds the
 * second part of a message until the first is acknowledged. */
static void acknowledge_now(const VmcSocket *self)
{
	int on = 1;

	if (self->tcp && self->config.quickack)
		setsockopt(descriptor(self), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

static gssize socket_read(VmcChardev *chardev, uint8_t *data, size_t len, GError **error)
{
	VmcSocket *self = socket_of(chardev);
	g_autoptr(GError) problem = NULL;
	gssize n;

	/* After a short read the next one would only be told to wait. */
	if (self->drained)
		return 0;

	n = g_pollable_input_stream_read_nonblocking(self->in, data, len, NULL, &problem);
	if (n > 0) {
		self->drained = (size_t)n < len;
		acknowledge_now(self);
		return n;
	}
	if (n == 0) {
		g_propagate_error(error, vmc_chardev_hangup_error());
		return -1;
	}
	if (g_error_matches(problem, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
		self->drained = true;
		return 0;
	}
	g_propagate_error(error, broken_error(problem->message));
	return -1;
}

static gssize socket_write(VmcChardev *chardev, VmcSpan bytes, GError **error)
{
	VmcSocket *self = socket_of(chardev);
	g_autoptr(GError) problem = NULL;
	gssize n;

	n = g_pollable_output_stream_write_nonblocking(self->out, bytes.data, bytes.len, NULL,
						       &problem);
	if (n >= 0)
		return n;
	if (g_error_matches(problem, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
		return 0;
	/* What the peer said last may be there without the loop having seen it. */
	self->drained = false;
	g_propagate_error(error, broken_error(problem->message));
	return -1;
}

static gboolean on_readable(GSocket *sock G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED,
			    void *data)
{
	VmcSocket *self = data;

	self->drained = false;
	vmc_chardev_emit_readable(&self->base);
	return G_SOURCE_CONTINUE;
}

static gboolean on_writable(GSocket *sock G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED,
			    void *data)
{
	VmcSocket *self = data;

	vmc_chardev_emit_writable(&self->base);
	return G_SOURCE_CONTINUE;
}

static gboolean on_ended(int fd, GIOCondition condition G_GNUC_UNUSED, void *data)
{
	VmcSocket *self = data;
	socklen_t size = sizeof(int);
	int unread = 0, code = 0;

	/* Input that is left comes first; reading it finds the end again. */
	if (ioctl(fd, FIONREAD, &unread) == 0 && unread > 0 &&
	    !vmc_chardev_never_reads(&self->base)) {
		drop_source(&self->ended);
		return G_SOURCE_REMOVE;
	}

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code != 0)
		vmc_chardev_emit_gone(&self->base, broken_error(g_strerror(code)));
	else
		vmc_chardev_emit_gone(&self->base, vmc_chardev_hangup_error());
	return G_SOURCE_CONTINUE;
}

/* Nobody reads, so the end of the stream would go unseen. POLLRDHUP, the
 * peer's orderly close, is no GIOCondition, but passes through to poll(). */
static void watch_end(VmcSocket *self)
{
	const unsigned conditions = G_IO_HUP | G_IO_ERR | POLLRDHUP;

	if (self->ended != NULL)
		return;
	self->ended = g_unix_fd_source_new(descriptor(self), (GIOCondition)conditions);
	g_source_set_callback(self->ended, G_SOURCE_FUNC(on_ended), self, NULL);
	g_source_attach(self->ended, NULL);
}

/* A source on the socket itself: one of the stream costs a second dispatch. It
 * may recurse, which nothing here does, since GLib takes any other source out
 * of the poll set and puts it back for each dispatch, with two wake-ups of the
 * loop: half of all system calls of a short command. */
static GSource *watch(VmcSocket *self, GIOCondition condition, GSocketSourceFunc callback)
{
	GSocket *sock = g_socket_connection_get_socket(self->stream);
	GSource *source = g_socket_create_source(sock, condition, NULL);

	g_source_set_callback(source, G_SOURCE_FUNC(callback), self, NULL);
	g_source_set_can_recurse(source, TRUE);
	g_source_attach(source, NULL);
	return source;
}

static void socket_want_read(VmcChardev *chardev, bool wanted)
{
	VmcSocket *self = socket_of(chardev);

	if (!wanted) {
		drop_source(&self->readable);
		if (chardev->state == VMC_CHARDEV_UP || chardev->state == VMC_CHARDEV_ENDING)
			watch_end(self);
		else
			drop_source(&self->ended);
		return;
	}
	if (self->readable != NULL)
		return;
	drop_source(&self->ended);
	self->readable = watch(self, G_IO_IN, on_readable);
}

static void socket_want_write(VmcChardev *chardev, bool wanted)
{
	VmcSocket *self = socket_of(chardev);

	if (!wanted) {
		drop_source(&self->writable);
		return;
	}
	if (self->writable != NULL)
		return;
	self->writable = watch(self, G_IO_OUT, on_writable);
}

static void socket_finish(VmcChardev *chardev)
{
	VmcSocket *self = socket_of(chardev);

	g_socket_shutdown(g_socket_connection_get_socket(self->stream), FALSE, TRUE, NULL);
}

/* ---- A conversation's start and end ---- */

static void set_tcp_options(const VmcSocket *self, int fd)
{
	int nodelay = self->config.nodelay;

	/* Neither is worth refusing a connection for. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof(nodelay));
	vmc_keepalive_set(fd);
}

/* Starts a conversation over `stream`, which it takes. */
static void start_conversation(VmcSocket *self, GSocketConnection *stream)
{
	GSocket *sock = g_socket_connection_get_socket(stream);
	GSocketFamily family = g_socket_get_family(sock);

	/* The time to connect is no limit for what follows. */
	g_socket_set_timeout(sock, 0);
	self->stream = stream;
	self->in = G_POLLABLE_INPUT_STREAM(g_io_stream_get_input_stream(G_IO_STREAM(stream)));
	self->out = G_POLLABLE_OUTPUT_STREAM(g_io_stream_get_output_stream(G_IO_STREAM(stream)));
	self->tcp = family == G_SOCKET_FAMILY_IPV4 || family == G_SOCKET_FAMILY_IPV6;
	self->drained = false;
	self->since = g_get_monotonic_time();
	if (self->tcp)
		set_tcp_options(self, g_socket_get_fd(sock));
	acknowledge_now(self);

	vmc_chardev_emit_opened(&self->base);
	watch_end(self);
}

/* Whatever is still to be read; stops before the end of the stream. */
static void drain(VmcSocket *self)
{
	uint8_t scratch[DRAIN_SIZE];

	for (unsigned i = 0; i < DRAIN_TIMES; i++) {
		gssize n = g_pollable_input_stream_read_nonblocking(self->in, scratch,
								    sizeof(scratch), NULL, NULL);
		if (n <= 0)
			return;
		vmc_wipe(scratch, (size_t)n);
	}
}

static void end_conversation(VmcSocket *self)
{
	if (self->stream == NULL)
		return;
	drop_source(&self->readable);
	drop_source(&self->writable);
	drop_source(&self->ended);
	drain(self);
	g_io_stream_close(G_IO_STREAM(self->stream), NULL, NULL);
	g_clear_object(&self->stream);
	self->in = NULL;
	self->out = NULL;

	if (g_get_monotonic_time() - self->since >= VMC_RETRY_SETTLED_SECONDS * G_USEC_PER_SEC)
		self->attempts = 0;
}

static void socket_hangup(VmcChardev *chardev)
{
	VmcSocket *self = socket_of(chardev);

	end_conversation(self);
	look_for_next(self);
}

/* ---- Servers ---- */

/* Whether another client can be served. */
static bool wants_client(const VmcSocket *self)
{
	if (vmc_chardev_accepts(&self->base))
		return self->handed->len < VMC_CHARDEV_ACCEPTED_MAX;
	return self->stream == NULL;
}

static void stop_accepting(VmcSocket *self)
{
	for (guint i = 0; i < self->accepting->len; i++)
		g_source_destroy(self->accepting->pdata[i]);
	g_ptr_array_set_size(self->accepting, 0);
}

static gboolean accept_again(void *data)
{
	VmcSocket *self = data;

	self->accept_timer = 0;
	look_for_next(self);
	return G_SOURCE_REMOVE;
}

/* "tcp:HOST:PORT" of the one who connected; on UNIX sockets all look alike. */
static char *describe_client(const VmcSocket *self, GSocket *sock)
{
	const VmcSocketConfig tcp = { .kind = VMC_SOCKET_TCP };
	g_autoptr(GSocketAddress) address = g_socket_get_remote_address(sock, NULL);
	g_autofree char *host = NULL;
	GInetSocketAddress *inet;

	if (!G_IS_INET_SOCKET_ADDRESS(address))
		return g_strdup_printf("client of %s", self->base.describe);
	inet = G_INET_SOCKET_ADDRESS(address);
	host = g_inet_address_to_string(g_inet_socket_address_get_address(inet));
	return vmc_socket_config_describe(&tcp, host, g_inet_socket_address_get_port(inet));
}

/* The user takes many: this one gets a device of its own. */
static void hand_over(VmcSocket *self, GSocket *sock)
{
	VmcSocket *made = g_new0(VmcSocket, 1);

	vmc_chardev_init(&made->base, &vmc_socket_class, self->base.id);
	vmc_chardev_take_describe(&made->base, describe_client(self, sock));
	made->config = (VmcSocketConfig){
		.kind = VMC_SOCKET_FD,
		.nodelay = self->config.nodelay,
		.quickack = self->config.quickack,
	};
	made->accepting = g_ptr_array_new();
	made->server = self;
	g_ptr_array_add(self->handed, made);
	start_conversation(made, g_socket_connection_factory_create_connection(sock));
	if (!wants_client(self))
		stop_accepting(self);
	vmc_chardev_emit_accepted(&self->base, &made->base);
}

static gboolean on_client(GSocket *listening, GIOCondition condition G_GNUC_UNUSED, void *data)
{
	VmcSocket *self = data;
	g_autoptr(GError) error = NULL;
	g_autoptr(GSocket) sock = g_socket_accept(listening, NULL, &error);

	if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
		return G_SOURCE_CONTINUE; /* it was there and left */
	if (sock != NULL && vmc_chardev_accepts(&self->base)) {
		hand_over(self, sock);
		return G_SOURCE_CONTINUE;
	}

	stop_accepting(self);
	if (sock == NULL) {
		g_warning("%s: cannot accept a client: %s", self->base.describe, error->message);
		self->accept_timer =
			g_timeout_add_seconds(ACCEPT_RETRY_SECONDS, accept_again, self);
		return G_SOURCE_REMOVE;
	}
	start_conversation(self, g_socket_connection_factory_create_connection(sock));
	return G_SOURCE_REMOVE;
}

static void start_accepting(VmcSocket *self)
{
	const GPtrArray *sockets = vmc_listener_sockets(self->listener);

	if (self->accepting->len > 0 || self->accept_timer != 0)
		return;
	for (guint i = 0; i < sockets->len; i++) {
		GSource *source = g_socket_create_source(sockets->pdata[i], G_IO_IN, NULL);

		g_source_set_callback(source, G_SOURCE_FUNC(on_client), self, NULL);
		g_source_attach(source, NULL);
		g_ptr_array_add(self->accepting, source);
	}
}

static bool start_server(VmcSocket *self, const VmcOpts *opts, GError **error)
{
	self->listener = vmc_listener_new(&self->config, opts, error);
	if (self->listener == NULL)
		return false;
	vmc_chardev_take_describe(&self->base,
				  vmc_listener_describe(self->listener, &self->config));
	self->handed = g_ptr_array_new();
	start_accepting(self);
	/* A port that was not given as such has to be said to be of use. */
	if (self->config.kind == VMC_SOCKET_TCP &&
	    (self->config.port == 0 || self->config.to > self->config.port))
		g_message("chardev %s: listening on %s", self->base.id, self->base.describe);
	else
		g_debug("chardev %s: listening on %s", self->base.id, self->base.describe);
	return true;
}

static bool stop_waiting;

void vmc_socket_stop_waiting(void)
{
	stop_waiting = true;
	g_main_context_wakeup(NULL);
}

/* Until a client is there. The loop runs, so other devices live on. */
static bool wait_for_client(VmcSocket *self, const VmcOpts *opts, GError **error)
{
	if (self->base.state != VMC_CHARDEV_UP)
		g_message("waiting for a client on %s", self->base.describe);
	while (self->base.state != VMC_CHARDEV_UP && !stop_waiting)
		g_main_context_iteration(NULL, TRUE);
	if (self->base.state != VMC_CHARDEV_UP)
		vmc_chardev_set_open_error(opts, error, "told to end before a client came");
	return self->base.state == VMC_CHARDEV_UP;
}

/* ---- Clients ---- */

/* The reason without GIO's "Could not connect to ...", which says again what
 * our own message says before. */
static const char *plain_reason(const GError *error)
{
	static const struct {
		GIOErrorEnum code;
		int system;
	} plain[] = {
		{ G_IO_ERROR_CONNECTION_REFUSED, ECONNREFUSED },
		{ G_IO_ERROR_TIMED_OUT, ETIMEDOUT },
		{ G_IO_ERROR_HOST_UNREACHABLE, EHOSTUNREACH },
		{ G_IO_ERROR_NETWORK_UNREACHABLE, ENETUNREACH },
		{ G_IO_ERROR_NOT_FOUND, ENOENT },
		{ G_IO_ERROR_PERMISSION_DENIED, EACCES },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(plain); i++) {
		if (g_error_matches(error, G_IO_ERROR, (int)plain[i].code))
			return g_strerror(plain[i].system);
	}
	return error->message;
}

/* Schedules the next attempt; answers in how many milliseconds, 0 if never. */
static unsigned schedule_attempt(VmcSocket *self)
{
	unsigned ms;

	if (self->retry == NULL)
		return 0;
	ms = vmc_retry_delay(self->config.reconnect, self->attempts++);
	vmc_retry_wait(self->retry, ms);
	return ms;
}

static void on_connected(GObject *object, GAsyncResult *result, void *data)
{
	Attempt *attempt = data;
	VmcSocket *self = attempt->owner;
	g_autoptr(GError) error = NULL;
	g_autoptr(GSocketConnection) stream =
		g_socket_client_connect_finish(G_SOCKET_CLIENT(object), result, &error);

	g_object_unref(attempt->cancellable);
	g_free(attempt);
	if (self == NULL)
		return;

	self->attempt = NULL;
	if (stream != NULL) {
		start_conversation(self, g_steal_pointer(&stream));
	} else {
		unsigned again = schedule_attempt(self);

		vmc_chardev_emit_failed(
			&self->base,
			g_error_new(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_OPEN,
				    "cannot connect to %s%s: %s", self->base.describe,
				    self->config.proxy != NULL ? " by its proxy" : "",
				    plain_reason(error)),
			again);
	}
}

static GSocketConnectable *where_to(const VmcSocketConfig *config)
{
	if (config->kind == VMC_SOCKET_TCP)
		return g_network_address_new(config->host, config->port);
	return G_SOCKET_CONNECTABLE(vmc_socket_config_unix_address(config));
}

static void start_attempt(VmcSocket *self)
{
	g_autoptr(GSocketConnectable) where = where_to(&self->config);
	g_autoptr(GSocketClient) client = g_socket_client_new();

	/* The system's proxy is for the web, and asking for one may take long. */
	g_socket_client_set_enable_proxy(client, self->config.proxy != NULL);
	if (self->config.proxy != NULL) {
		g_autoptr(GProxyResolver) proxy =
			g_simple_proxy_resolver_new(self->config.proxy, NULL);

		g_socket_client_set_proxy_resolver(client, proxy);
	}
	g_socket_client_set_timeout(client, CONNECT_SECONDS);
	if (self->config.kind == VMC_SOCKET_TCP && self->config.ipv4 != self->config.ipv6)
		g_socket_client_set_family(client, self->config.ipv4 ? G_SOCKET_FAMILY_IPV4 :
								       G_SOCKET_FAMILY_IPV6);

	self->attempt = g_new0(Attempt, 1);
	self->attempt->owner = self;
	self->attempt->cancellable = g_cancellable_new();
	g_socket_client_connect_async(client, where, self->attempt->cancellable, on_connected,
				      self->attempt);
}

static void try_again(void *data)
{
	start_attempt(data);
}

/* A descriptor that is a connected stream socket already. */
static bool adopt_fd(VmcSocket *self, const VmcOpts *opts, GError **error)
{
	int fd = self->config.fd, type = 0;
	socklen_t len = sizeof(type);
	struct sockaddr_storage peer;
	socklen_t peer_len = sizeof(peer);
	g_autoptr(GError) problem = NULL;
	g_autoptr(GSocket) sock = NULL;

	vmc_chardev_take_describe(&self->base, vmc_socket_config_describe(&self->config, NULL, 0));
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0) {
		vmc_chardev_set_open_error(opts, error, "cannot use fd %d: %s", fd,
					   g_strerror(errno));
		return false;
	}
	if (type != SOCK_STREAM) {
		vmc_chardev_set_open_error(opts, error,
					   "cannot use fd %d: it is not a stream socket", fd);
		return false;
	}
	sock = g_socket_new_from_fd(fd, &problem);
	if (sock == NULL) {
		vmc_chardev_set_open_error(opts, error, "cannot use fd %d: %s", fd,
					   problem->message);
		return false;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	start_conversation(self, g_socket_connection_factory_create_connection(sock));
	return true;
}

static bool start_client(VmcSocket *self, const VmcOpts *opts, GError **error)
{
	if (self->config.kind == VMC_SOCKET_FD)
		return adopt_fd(self, opts, error);
	vmc_chardev_take_describe(
		&self->base,
		vmc_socket_config_describe(&self->config, self->config.host, self->config.port));
	if (self->config.reconnect > 0)
		self->retry = vmc_retry_new(try_again, self);
	start_attempt(self);
	return true;
}

/* ---- The device ---- */

static void look_for_next(VmcSocket *self)
{
	if (self->config.server && wants_client(self))
		start_accepting(self);
	else if (!self->config.server)
		schedule_attempt(self);
}

/* A user that takes many is served beside the conversation there is, any other
 * is not. */
static void socket_attached(VmcChardev *chardev, bool there G_GNUC_UNUSED)
{
	VmcSocket *self = socket_of(chardev);

	if (self->listener == NULL)
		return;
	if (wants_client(self))
		start_accepting(self);
	else
		stop_accepting(self);
}

/* One connection less that a user has. */
static void leave_server(VmcSocket *self)
{
	if (self->server == NULL)
		return;
	g_ptr_array_remove_fast(self->server->handed, self);
	look_for_next(self->server);
}

static void socket_free(VmcChardev *chardev)
{
	VmcSocket *self = socket_of(chardev);

	stop_accepting(self);
	leave_server(self);
	for (guint i = 0; self->handed != NULL && i < self->handed->len; i++)
		((VmcSocket *)self->handed->pdata[i])->server = NULL;
	g_clear_pointer(&self->handed, g_ptr_array_unref);
	g_clear_handle_id(&self->accept_timer, g_source_remove);
	vmc_retry_free(self->retry);
	if (self->attempt != NULL) {
		self->attempt->owner = NULL;
		g_cancellable_cancel(self->attempt->cancellable);
	}
	end_conversation(self);
	vmc_listener_free(self->listener);
	g_ptr_array_unref(self->accepting);
	vmc_socket_config_clear(&self->config);
}

static VmcChardev *socket_create(VmcOpts *opts, GError **error)
{
	g_autoptr(VmcChardev) chardev = (VmcChardev *)g_new0(VmcSocket, 1);
	VmcSocket *self = socket_of(chardev);

	vmc_chardev_init(chardev, &vmc_socket_class, vmc_opts_get(opts, "id"));
	self->accepting = g_ptr_array_new_with_free_func((GDestroyNotify)g_source_unref);
	if (!vmc_socket_config_read(&self->config, opts, error))
		return NULL;
	if (!(self->config.server ? start_server(self, opts, error) :
				    start_client(self, opts, error)))
		return NULL;
	if (self->config.server && self->config.wait && !wait_for_client(self, opts, error))
		return NULL;
	return g_steal_pointer(&chardev);
}

uint16_t vmc_socket_port(const VmcChardev *chardev)
{
	const VmcSocket *self;

	g_return_val_if_fail(chardev != NULL, 0);

	self = (const VmcSocket *)chardev;
	if (chardev->class != &vmc_socket_class || self->listener == NULL)
		return 0;
	return vmc_listener_port(self->listener);
}

const VmcChardevClass vmc_socket_class = {
	.name = "socket",
	.help = "TCP, UNIX socket or inherited descriptor; server or client",
	.options = vmc_socket_options,
	.create = socket_create,
	.read = socket_read,
	.write = socket_write,
	.want_read = socket_want_read,
	.want_write = socket_want_write,
	.finish = socket_finish,
	.attached = socket_attached,
	.hangup = socket_hangup,
	.free = socket_free,
};

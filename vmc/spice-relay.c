/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The relay: for each connection of the viewer a passage, two char devices and
 * what is known of them. A passage first waits for the viewer's link message,
 * which says the channel and the session; only then it connects to the server,
 * and from there on it moves bytes that it does not look at.
 */

#include "vmc/spice-relay.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmc/buf.h"
#include "vmc/join.h"
#include "vmc/spice-connection.h"

#define LOOPBACK "127.0.0.1"
/* A viewer with four monitors and every kind of channel has some thirty. */
#define PASSAGES_MAX 64u
/* Who does not send its link message in this time is no viewer. */
#define LINK_SECONDS 10u
/* When accepting fails for a reason of ours, such as no descriptors left. */
#define ACCEPT_RETRY_SECONDS 1u
#define LISTEN_BACKLOG 16
/* What of a viewer's stream waits until the server is there: its link message,
 * after which it waits itself. */
#define HEAD_MAX (VMC_SPICE_LINK_HEADER + VMC_SPICE_LINK_MAX)

typedef struct Gate Gate;

typedef struct Passage {
	VmcSpiceRelay *relay;
	bool tls;
	VmcChardev *viewer;
	VmcChardev *server; /* NULL: not yet, or never */
	VmcBuf head;
	guint timer;
	bool linked; /* the link message is there */
	bool main;
	bool viewer_over;
	bool server_over;
} Passage;

/* A port of the relay. */
struct Gate {
	VmcSpiceRelay *relay;
	bool tls;
	GSocket *socket; /* NULL: none */
	GSource *source;
	guint timer;
};

struct VmcSpiceRelay {
	VmcSpiceAddress address;
	uint8_t claimed;
	const VmcSpiceRelayEvents *events;
	void *user;
	VmcTls *to_server;
	VmcTls *to_viewer;
	char *ca;
	Gate plain, secure;
	GPtrArray *passages;
	Passage *main; /* of the present session; NULL: none */
	uint32_t id;   /* of it; 0: not known yet */
	guint sweeping;
};

/* ---- The session ---- */

static void leave_session(VmcSpiceRelay *relay, const char *because)
{
	bool known = relay->id != 0;

	relay->main = NULL;
	relay->id = 0;
	if (known && relay->events->ended != NULL)
		relay->events->ended(relay->user, because);
}

/* A main channel starts a session with id 0, or takes one along that another
 * host had; the other channels bear the id that the server gave to it. */
static void learn_session(Passage *passage, const VmcSpiceLinkMess *mess)
{
	VmcSpiceRelay *relay = passage->relay;

	if (mess->channel_type == SPICE_CHANNEL_MAIN) {
		leave_session(relay, "the viewer starts a new session");
		passage->main = true;
		relay->main = passage;
	}
	if (relay->main == NULL || mess->connection_id == 0 || mess->connection_id == relay->id)
		return;
	relay->id = mess->connection_id;
	if (relay->events->session != NULL)
		relay->events->session(relay->user, relay->id);
}

static void tell_failed(VmcSpiceRelay *relay, const char *what, const GError *reason)
{
	g_autoptr(GError) error = NULL;

	if (relay->events->failed == NULL)
		return;
	error = g_error_new(reason->domain, reason->code, "%s%s", what, reason->message);
	relay->events->failed(relay->user, error);
}

/* ---- The life of a passage ---- */

static void passage_free(void *data)
{
	Passage *passage = data;

	g_clear_handle_id(&passage->timer, g_source_remove);
	vmc_chardev_free(passage->viewer);
	vmc_chardev_free(passage->server);
	vmc_buf_clear(&passage->head);
	g_free(passage);
}

static bool is_over(const Passage *passage)
{
	return passage->viewer_over && (passage->server == NULL || passage->server_over);
}

static gboolean sweep(void *data)
{
	VmcSpiceRelay *relay = data;

	relay->sweeping = 0;
	for (guint i = relay->passages->len; i > 0; i--) {
		if (is_over(relay->passages->pdata[i - 1]))
			g_ptr_array_remove_index_fast(relay->passages, i - 1);
	}
	return G_SOURCE_REMOVE;
}

/* One side is gone: the other gets what is left, then its end. Devices are not
 * freed in their own events. */
static void side_over(Passage *passage, bool viewer, const char *because)
{
	VmcSpiceRelay *relay = passage->relay;
	VmcChardev *rest = viewer ? passage->server : passage->viewer;

	g_clear_handle_id(&passage->timer, g_source_remove);
	if (viewer)
		passage->viewer_over = true;
	else
		passage->server_over = true;
	if (relay->main == passage)
		leave_session(relay, because);
	if (rest != NULL && vmc_chardev_is_open(rest))
		vmc_chardev_disconnect(rest, true, because);
	else if (viewer)
		passage->server_over = true; /* perhaps it is only being connected to */
	if (is_over(passage) && relay->sweeping == 0)
		relay->sweeping = g_idle_add(sweep, relay);
}

/* ---- The server's side ---- */

static void server_opened(void *user)
{
	Passage *passage = user;

	vmc_chardev_write(passage->server, vmc_buf_span(&passage->head));
	vmc_buf_clear(&passage->head);
	vmc_chardev_pause(passage->viewer, false);
}

static void server_closed(void *user, const GError *reason G_GNUC_UNUSED)
{
	side_over(user, false, "the server closed the viewer's session");
}

static void server_readable(void *user)
{
	Passage *passage = user;

	vmc_join_pump(passage->server, passage->viewer);
}

static void server_writable(void *user)
{
	Passage *passage = user;

	vmc_chardev_pause(passage->viewer, false);
}

static void server_failed(void *user, const GError *reason, unsigned again G_GNUC_UNUSED)
{
	Passage *passage = user;

	tell_failed(passage->relay, "", reason);
	side_over(passage, false, "the server was not reached");
}

static const VmcChardevEvents server_events = {
	.opened = server_opened,
	.closed = server_closed,
	.readable = server_readable,
	.writable = server_writable,
	.failed = server_failed,
};

static void connect_server(Passage *passage)
{
	VmcSpiceRelay *relay = passage->relay;
	g_autoptr(GError) error = NULL;

	passage->server = vmc_spice_connection_stream(
		&relay->address, passage->tls ? relay->to_server : NULL, &error);
	if (passage->server == NULL) {
		tell_failed(relay, "", error);
		vmc_chardev_disconnect(passage->viewer, false, error->message);
		return;
	}
	vmc_chardev_set_user(passage->server, &server_events, passage);
}

/* ---- The viewer's side ---- */

static void refuse(Passage *passage)
{
	const VmcSpiceRelay *relay = passage->relay;
	uint8_t reply[VMC_SPICE_REFUSAL];

	if (relay->events->refused != NULL)
		relay->events->refused(relay->user);
	vmc_spice_put_refusal(reply, SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE);
	vmc_chardev_write(passage->viewer, vmc_span(reply, sizeof(reply)));
	vmc_chardev_disconnect(passage->viewer, true, "the channel is the card's");
}

/* Reads the viewer's stream up to its link message, which stays in `head`. */
static void read_head(Passage *passage)
{
	VmcSpiceLinkMess mess;
	VmcSpiceResult result = VMC_SPICE_NEED_MORE;
	const char *because = "its link message is too long";

	while (result == VMC_SPICE_NEED_MORE) {
		size_t room = 0, n;
		uint8_t *to = vmc_buf_room(&passage->head, HEAD_MAX, &room);
		VmcSpan in;

		if (to == NULL) {
			result = VMC_SPICE_BAD;
			break;
		}
		n = vmc_chardev_read(passage->viewer, to, room);
		if (n == 0)
			return;
		vmc_buf_added(&passage->head, n);
		in = vmc_buf_span(&passage->head);
		result = vmc_spice_get_link_mess(&in, &mess, &because);
	}
	if (result == VMC_SPICE_BAD) {
		g_debug("a connection to the relay is no viewer: %s", because);
		vmc_chardev_disconnect(passage->viewer, false, because);
		return;
	}

	passage->linked = true;
	g_clear_handle_id(&passage->timer, g_source_remove);
	g_debug("the viewer links channel %u:%u", mess.channel_type, mess.channel_id);
	learn_session(passage, &mess);
	if (passage->relay->claimed != 0 && mess.channel_type == passage->relay->claimed) {
		refuse(passage);
		return;
	}
	vmc_chardev_pause(passage->viewer, true);
	connect_server(passage);
}

static void viewer_closed(void *user, const GError *reason G_GNUC_UNUSED)
{
	side_over(user, true, "the viewer closed its session");
}

static void viewer_readable(void *user)
{
	Passage *passage = user;

	if (!passage->linked)
		read_head(passage);
	else if (passage->server != NULL)
		vmc_join_pump(passage->viewer, passage->server);
}

static void viewer_writable(void *user)
{
	Passage *passage = user;

	if (passage->server != NULL)
		vmc_chardev_pause(passage->server, false);
}

static void viewer_failed(void *user, const GError *reason, unsigned again G_GNUC_UNUSED)
{
	Passage *passage = user;

	tell_failed(passage->relay, "the viewer does not take the relay's TLS: ", reason);
	side_over(passage, true, "the viewer does not take the relay's TLS");
}

static const VmcChardevEvents viewer_events = {
	.closed = viewer_closed,
	.readable = viewer_readable,
	.writable = viewer_writable,
	.failed = viewer_failed,
};

static gboolean no_link_message(void *data)
{
	Passage *passage = data;

	passage->timer = 0;
	vmc_chardev_disconnect(passage->viewer, false, "no link message came");
	return G_SOURCE_REMOVE;
}

static void passage_new(VmcSpiceRelay *relay, bool tls, int fd)
{
	g_autofree char *number = g_strdup_printf("%d", fd);
	g_autoptr(VmcOpts) opts = vmc_opts_new("relay");
	g_autoptr(GError) error = NULL;
	VmcChardev *socket = NULL;
	Passage *passage;

	if (vmc_opts_add(opts, "backend", "socket", &error) &&
	    vmc_opts_add(opts, "fd", number, &error))
		socket = vmc_chardev_new(opts, &error);
	if (socket == NULL) {
		g_debug("a connection to the relay is lost: %s", error->message);
		close(fd);
		return;
	}
	passage = g_new0(Passage, 1);
	passage->relay = relay;
	passage->tls = tls;
	vmc_buf_init(&passage->head, HEAD_MAX);
	passage->viewer = tls ? vmc_tls_chardev_new(relay->to_viewer, socket) : socket;
	passage->timer = g_timeout_add_seconds(LINK_SECONDS, no_link_message, passage);
	g_ptr_array_add(relay->passages, passage);
	vmc_chardev_set_user(passage->viewer, &viewer_events, passage);
}

/* ---- The ports ---- */

static gboolean on_connection(GSocket *socket, GIOCondition condition, void *data);

static void open_gate(Gate *gate)
{
	gate->source = g_socket_create_source(gate->socket, G_IO_IN, NULL);
	g_source_set_callback(gate->source, G_SOURCE_FUNC(on_connection), gate, NULL);
	g_source_attach(gate->source, NULL);
}

static void close_gate(Gate *gate)
{
	if (gate->source != NULL)
		g_source_destroy(gate->source);
	g_clear_pointer(&gate->source, g_source_unref);
}

static gboolean open_gate_again(void *data)
{
	Gate *gate = data;

	gate->timer = 0;
	open_gate(gate);
	return G_SOURCE_REMOVE;
}

static gboolean on_connection(GSocket *socket, GIOCondition condition G_GNUC_UNUSED, void *data)
{
	Gate *gate = data;
	int fd = accept4(g_socket_get_fd(socket), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
			return G_SOURCE_CONTINUE;
		close_gate(gate);
		gate->timer = g_timeout_add_seconds(ACCEPT_RETRY_SECONDS, open_gate_again, gate);
		return G_SOURCE_REMOVE;
	}
	if (gate->relay->passages->len >= PASSAGES_MAX) {
		g_debug("the relay has %u connections, which is all it takes", PASSAGES_MAX);
		close(fd);
	} else {
		passage_new(gate->relay, gate->tls, fd);
	}
	return G_SOURCE_CONTINUE;
}

static bool make_gate(VmcSpiceRelay *relay, Gate *gate, bool tls, GError **error)
{
	g_autoptr(GSocketAddress) any = g_inet_socket_address_new_from_string(LOOPBACK, 0);
	g_autoptr(GSocket) socket = g_socket_new(G_SOCKET_FAMILY_IPV4, G_SOCKET_TYPE_STREAM,
						 G_SOCKET_PROTOCOL_TCP, error);

	if (socket == NULL)
		return false;
	g_socket_set_blocking(socket, FALSE);
	g_socket_set_listen_backlog(socket, LISTEN_BACKLOG);
	if (!g_socket_bind(socket, any, FALSE, error) || !g_socket_listen(socket, error))
		return false;
	*gate = (Gate){ .relay = relay, .tls = tls, .socket = g_steal_pointer(&socket) };
	open_gate(gate);
	return true;
}

static void clear_gate(Gate *gate)
{
	close_gate(gate);
	g_clear_handle_id(&gate->timer, g_source_remove);
	g_clear_object(&gate->socket);
}

static uint16_t gate_port(const Gate *gate)
{
	g_autoptr(GSocketAddress) address = NULL;

	if (gate->socket == NULL)
		return 0;
	address = g_socket_get_local_address(gate->socket, NULL);
	return address == NULL ? 0 : g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(address));
}

/* ---- The relay ---- */

static bool make_tls(VmcSpiceRelay *relay, GError **error)
{
	relay->to_server = vmc_spice_connection_tls(&relay->address, error);
	if (relay->to_server == NULL)
		return false;
	relay->to_viewer = vmc_tls_server_new_self_signed(LOOPBACK, &relay->ca, error);
	return relay->to_viewer != NULL;
}

VmcSpiceRelay *vmc_spice_relay_new(const VmcSpiceAddress *address, uint8_t claimed,
				   const VmcSpiceRelayEvents *events, void *user, GError **error)
{
	g_autoptr(VmcSpiceRelay) relay = NULL;

	g_return_val_if_fail(address != NULL && events != NULL, NULL);

	relay = g_new0(VmcSpiceRelay, 1);
	vmc_spice_address_copy(&relay->address, address);
	relay->claimed = claimed;
	relay->events = events;
	relay->user = user;
	relay->passages = g_ptr_array_new_with_free_func(passage_free);
	if (address->tls_port != 0 &&
	    (!make_tls(relay, error) || !make_gate(relay, &relay->secure, true, error)))
		return NULL;
	if ((address->port != 0 || address->path != NULL) &&
	    !make_gate(relay, &relay->plain, false, error))
		return NULL;
	return g_steal_pointer(&relay);
}

void vmc_spice_relay_free(VmcSpiceRelay *relay)
{
	if (relay == NULL)
		return;
	clear_gate(&relay->plain);
	clear_gate(&relay->secure);
	g_clear_handle_id(&relay->sweeping, g_source_remove);
	g_ptr_array_unref(relay->passages);
	vmc_tls_unref(relay->to_server);
	vmc_tls_unref(relay->to_viewer);
	vmc_spice_address_clear(&relay->address);
	g_free(relay->ca);
	g_free(relay);
}

uint16_t vmc_spice_relay_port(const VmcSpiceRelay *relay)
{
	g_return_val_if_fail(relay != NULL, 0);

	return gate_port(&relay->plain);
}

uint16_t vmc_spice_relay_tls_port(const VmcSpiceRelay *relay)
{
	g_return_val_if_fail(relay != NULL, 0);

	return gate_port(&relay->secure);
}

const char *vmc_spice_relay_ca(const VmcSpiceRelay *relay)
{
	g_return_val_if_fail(relay != NULL, NULL);

	return relay->ca;
}

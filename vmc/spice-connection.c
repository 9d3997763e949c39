/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A SPICE client's connection: carries bytes between the char device below and
 * the link machine, and the machine's actions to the user. The user may leave
 * in the middle of any event, so each step looks whether it is still there.
 */

#include "vmc/spice-connection.h"

#include "vmc/queue.h"

/* Input is read in pieces of this size: a data message of a server is a few
 * KiB at most times. */
#define PIECE (16u * 1024)

struct VmcSpiceConnection {
	VmcChardev *stream;
	VmcSpiceLink *link;
	const VmcSpiceConnectionEvents *events; /* NULL: dropped or over */
	void *user;
	bool tls;
	bool up;
	bool high;
	bool held;
	bool acting;   /* actions are being taken */
	bool overflow; /* the queue of the stream is */
	bool closing;  /* the stream was told to end; `closed` comes */
	/* What the machine had to tell when it was held: of one piece of input,
	 * for no other is read then. */
	VmcQueue waiting;
	guint timer;   /* of connecting */
	guint buried;  /* source that frees it */
	guint pending; /* source that goes on taking actions */
	GPtrArray *grave;
};

static gboolean bury(void *data)
{
	VmcSpiceConnection *self = data;

	self->buried = 0;
	g_ptr_array_remove_fast(self->grave, self);
	return G_SOURCE_REMOVE;
}

static void bury_later(VmcSpiceConnection *self)
{
	if (self->grave != NULL && self->buried == 0)
		self->buried = g_idle_add(bury, self);
}

/* ---- The end ---- */

/* Once all is sent. */
static void close_stream(VmcSpiceConnection *self, const char *because)
{
	if (self->stream == NULL || !vmc_chardev_is_open(self->stream))
		return;
	self->closing = true;
	vmc_chardev_disconnect(self->stream, true, because);
}

static void end(VmcSpiceConnection *self, VmcSpiceError code, const char *text)
{
	const VmcSpiceConnectionEvents *events = g_steal_pointer(&self->events);

	g_clear_handle_id(&self->timer, g_source_remove);
	g_clear_handle_id(&self->pending, g_source_remove);
	close_stream(self, text);
	if (events != NULL)
		events->over(self->user, code, text);
}

static gboolean timed_out(void *data)
{
	VmcSpiceConnection *self = data;
	g_autofree char *text = g_strdup_printf(
		"%s did not answer in %u s: is a SPICE server there, and reachable?",
		vmc_chardev_describe(self->stream), VMC_SPICE_CONNECT_SECONDS);

	self->timer = 0;
	end(self, VMC_SPICE_ERROR_GONE, text);
	return G_SOURCE_REMOVE;
}

/* ---- The link machine's actions ---- */

static void take_later(VmcSpiceConnection *self);

static void send_bytes(VmcSpiceConnection *self, VmcSpan bytes)
{
	switch (vmc_chardev_write(self->stream, bytes)) {
	case VMC_WRITE_OK:
	case VMC_WRITE_CLOSED: /* `closed` comes */
		break;
	case VMC_WRITE_HIGH:
		self->high = true;
		break;
	case VMC_WRITE_FULL:
		/* Told from the loop: a user may be in the middle of a send. */
		self->overflow = true;
		take_later(self);
		break;
	}
}

static void act(VmcSpiceConnection *self, const VmcSpiceLinkAction *action)
{
	g_autofree char *text = NULL;

	switch (action->kind) {
	case VMC_SPICE_LINK_SEND:
		send_bytes(self, action->data);
		break;
	case VMC_SPICE_LINK_UP:
		g_clear_handle_id(&self->timer, g_source_remove);
		self->up = true;
		vmc_chardev_pause(self->stream, self->held);
		self->events->up(self->user);
		break;
	case VMC_SPICE_LINK_MESSAGE:
		self->events->message(self->user, action->type, action->data);
		break;
	case VMC_SPICE_LINK_NOTE:
		g_message("spice %s: %.*s", vmc_chardev_describe(self->stream),
			  (int)action->data.len, (const char *)action->data.data);
		break;
	case VMC_SPICE_LINK_FAILED:
		text = g_strndup((const char *)action->data.data, action->data.len);
		end(self, action->code, text);
		break;
	}
}

static bool is_held(const VmcSpiceConnection *self)
{
	return self->held && self->up;
}

/* The next action to take now. While held, what is to be sent does not wait
 * behind what is to be told. */
static bool next_action(VmcSpiceConnection *self, VmcSpiceLinkAction *action)
{
	if (!is_held(self) && vmc_queue_next(&self->waiting, action, sizeof(*action)))
		return true;
	while (vmc_spice_link_next(self->link, action)) {
		if (!is_held(self) || action->kind == VMC_SPICE_LINK_SEND)
			return true;
		vmc_queue_push(&self->waiting, action, sizeof(*action),
			       offsetof(VmcSpiceLinkAction, data), action->data);
	}
	return false;
}

/* A user that sends in an event comes back here; the outer call goes on. */
static void take_actions(VmcSpiceConnection *self)
{
	VmcSpiceLinkAction action;

	if (self->acting)
		return;
	self->acting = true;
	while (self->events != NULL && next_action(self, &action))
		act(self, &action);
	self->acting = false;
}

static gboolean take_actions_now(void *data)
{
	VmcSpiceConnection *self = data;

	self->pending = 0;
	if (self->overflow)
		end(self, VMC_SPICE_ERROR_GONE, "the server takes nothing that is sent to it");
	take_actions(self);
	return G_SOURCE_REMOVE;
}

static void take_later(VmcSpiceConnection *self)
{
	if (self->pending == 0)
		self->pending = g_idle_add_full(G_PRIORITY_DEFAULT, take_actions_now, self, NULL);
}

/* ---- What the stream tells ---- */

static void stream_opened(void *user)
{
	take_actions(user);
}

static void stream_readable(void *user)
{
	VmcSpiceConnection *self = user;
	uint8_t piece[PIECE];
	size_t n;

	take_actions(self); /* that were held */
	while (self->events != NULL && !is_held(self)) {
		n = vmc_chardev_read(self->stream, piece, sizeof(piece));
		if (n == 0)
			break;
		vmc_spice_link_input(self->link, vmc_span(piece, n));
		take_actions(self);
	}
	vmc_wipe(piece, sizeof(piece));
}

static void stream_closed(void *user, const GError *reason)
{
	VmcSpiceConnection *self = user;

	self->closing = false;
	if (self->events != NULL) {
		self->held = false; /* what came before the end is still told */
		vmc_spice_link_ended(self->link);
		take_actions(self);
	}
	if (self->events != NULL)
		end(self, VMC_SPICE_ERROR_GONE, reason->message);
	bury_later(self);
}

static void stream_writable(void *user)
{
	VmcSpiceConnection *self = user;

	self->high = false;
	if (self->events != NULL && self->up)
		self->events->writable(self->user);
}

static VmcSpiceError code_of(const VmcSpiceConnection *self)
{
	if (!self->tls)
		return VMC_SPICE_ERROR_GONE;
	switch (vmc_tls_chardev_error(self->stream)) {
	case VMC_TLS_ERROR_UNREACHED:
		return VMC_SPICE_ERROR_GONE;
	case VMC_TLS_ERROR_HANDSHAKE:
		return VMC_SPICE_ERROR_TLS_UNWANTED;
	case VMC_TLS_ERROR_CREDENTIALS:
	case VMC_TLS_ERROR_UNTRUSTED:
	case VMC_TLS_ERROR_NAME:
		break;
	}
	return VMC_SPICE_ERROR_UNTRUSTED;
}

static void stream_failed(void *user, const GError *reason, unsigned again G_GNUC_UNUSED)
{
	VmcSpiceConnection *self = user;

	if (self->events != NULL)
		end(self, code_of(self), reason->message);
	bury_later(self);
}

static const VmcChardevEvents stream_events = {
	.opened = stream_opened,
	.closed = stream_closed,
	.readable = stream_readable,
	.writable = stream_writable,
	.failed = stream_failed,
};

/* ---- Making and dropping one ---- */

VmcTls *vmc_spice_connection_tls(const VmcSpiceAddress *address, GError **error)
{
	const VmcTlsTrust trust = {
		.ca_file = address->ca_file,
		.ca_pem = address->ca_pem,
		.host = address->host,
		.host_subject = address->host_subject,
		.public_key = address->public_key,
		.ciphers = address->ciphers,
	};

	return address->tls_port != 0 ? vmc_tls_client_new(&trust, error) : NULL;
}

static bool add_place(VmcOpts *opts, const VmcSpiceAddress *address, bool tls, GError **error)
{
	g_autofree char *port = g_strdup_printf("%u", tls ? address->tls_port : address->port);

	if (address->path != NULL)
		return vmc_opts_add(opts, "path", address->path, error);
	return vmc_opts_add(opts, "host", address->host, error) &&
	       vmc_opts_add(opts, "port", port, error) &&
	       (address->proxy == NULL || vmc_opts_add(opts, "proxy", address->proxy, error));
}

VmcChardev *vmc_spice_connection_stream(const VmcSpiceAddress *address, VmcTls *tls, GError **error)
{
	g_autoptr(VmcOpts) opts = vmc_opts_new("spice");
	VmcChardev *stream;

	if (!vmc_opts_add(opts, "backend", "socket", error) ||
	    !add_place(opts, address, tls != NULL, error))
		return NULL;
	stream = vmc_chardev_new(opts, error);
	return stream != NULL && tls != NULL ? vmc_tls_chardev_new(tls, stream) : stream;
}

static gboolean tell_unusable(void *data)
{
	VmcSpiceConnection *self = data;

	self->pending = 0;
	end(self, VMC_SPICE_ERROR_GONE, "this address cannot be connected to");
	return G_SOURCE_REMOVE;
}

VmcSpiceConnection *vmc_spice_connection_new(const VmcSpiceConnectionConfig *config,
					     const VmcSpiceConnectionEvents *events, void *user)
{
	const VmcSpiceLinkConfig link = {
		.mess = { .connection_id = config->connection_id,
			  .channel_type = config->type,
			  .channel_id = config->id,
			  .channel = config->caps },
		.host = config->address->host != NULL ? config->address->host : "localhost",
		.user = config->address->user,
		.password = config->address->password,
		.tls = config->tls != NULL,
	};
	VmcSpiceConnection *self = g_new0(VmcSpiceConnection, 1);
	g_autoptr(GError) error = NULL;

	vmc_queue_init(&self->waiting);
	self->events = events;
	self->user = user;
	self->tls = config->tls != NULL;
	self->link = vmc_spice_link_new(&link);
	self->stream = vmc_spice_connection_stream(config->address, config->tls, &error);
	if (self->stream == NULL) {
		g_warning("%s", error->message);
		self->pending = g_idle_add(tell_unusable, self);
		return self;
	}
	vmc_chardev_set_user(self->stream, &stream_events, self);
	self->timer = g_timeout_add_seconds(VMC_SPICE_CONNECT_SECONDS, timed_out, self);
	return self;
}

void vmc_spice_connection_set_user(VmcSpiceConnection *connection,
				   const VmcSpiceConnectionEvents *events, void *user)
{
	if (connection->events == NULL)
		return;
	connection->events = events;
	connection->user = user;
}

void vmc_spice_connection_drop(VmcSpiceConnection *connection, GPtrArray *grave)
{
	VmcSpiceConnection *self = connection;

	if (self == NULL)
		return;
	self->events = NULL;
	self->grave = grave;
	g_ptr_array_add(grave, self);
	g_clear_handle_id(&self->timer, g_source_remove);
	g_clear_handle_id(&self->pending, g_source_remove);
	close_stream(self, "this side is done with it");
	if (!self->closing)
		bury_later(self);
}

void vmc_spice_connection_finish(VmcSpiceConnection *connection)
{
	close_stream(connection, "this side is done with it");
}

void vmc_spice_connection_free(VmcSpiceConnection *connection)
{
	if (connection == NULL)
		return;
	g_clear_handle_id(&connection->timer, g_source_remove);
	g_clear_handle_id(&connection->pending, g_source_remove);
	g_clear_handle_id(&connection->buried, g_source_remove);
	vmc_chardev_free(connection->stream);
	vmc_spice_link_free(connection->link);
	vmc_queue_clear(&connection->waiting);
	g_free(connection);
}

/* ---- Its user's calls ---- */

bool vmc_spice_connection_is_up(const VmcSpiceConnection *connection)
{
	return connection != NULL && connection->up && connection->events != NULL;
}

bool vmc_spice_connection_has_cap(const VmcSpiceConnection *connection, unsigned bit)
{
	return connection->up && vmc_spice_caps_has(vmc_spice_link_caps(connection->link), bit);
}

bool vmc_spice_connection_may_send(const VmcSpiceConnection *connection)
{
	return vmc_spice_connection_is_up(connection) && !connection->high;
}

bool vmc_spice_connection_send(VmcSpiceConnection *connection, uint16_t type, VmcSpan body)
{
	VmcSpiceConnection *self = connection;

	g_return_val_if_fail(vmc_spice_connection_is_up(connection), false);

	vmc_spice_link_send(self->link, type, body);
	/* Messages that were held are told from the loop, not to a sender. */
	if (self->pending == 0)
		take_actions(self);
	return vmc_spice_connection_may_send(self);
}

void vmc_spice_connection_hold(VmcSpiceConnection *connection, bool held)
{
	VmcSpiceConnection *self = connection;

	if (self->held == held)
		return;
	self->held = held;
	if (!self->up || self->events == NULL)
		return;
	vmc_chardev_pause(self->stream, held);
	if (!held)
		take_later(self);
}

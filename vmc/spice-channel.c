/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A channel of a SPICE server as a char device of its client. It is looked for
 * among the server's channels: a port by its name, which only a connection to
 * it tells; a usbredir channel by whether the server lets us have it. Then its
 * data messages are the stream.
 */

#include "vmc/spice-session-parts.h"

#include <string.h>

/* Input that waits for the user; above this the server is not read. A message
 * is added whole, so this much more may be there. */
#define IN_HIGH (64u * 1024)
#define IN_MAX (IN_HIGH + VMC_SPICE_BODY_MAX + 64u * 1024)

/* Output goes in messages of at most this, as much as usbredir sends at once. */
#define CHUNK (64u * 1024)

/* A smartcard message: header, and length at 8. More than any VSCard message
 * carries is nothing that can be waited for. */
#define FRAME_HEADER 12u
#define FRAME_LENGTH 8u
#define FRAME_PAYLOAD_MAX 65556u

/* A connection that ends this soon, without a word, was refused: the server
 * takes the link of a channel that is in use, then closes it. */
#define REFUSED_SECONDS 2
/* And a usbredir channel that says nothing for so long was not refused. */
#define SETTLE_MS 400u
/* When a server throws a client out, its channels end one by one, the main one
 * last: time for that before BUSY is said. */
#define REFUSAL_MS 200u
/* A server tells a port's name at once. */
#define NAME_SECONDS 10u

/* Without the server's list, ids are tried from 0 until there is none. */
#define GUESSES 32u

static const VmcSpiceConnectionEvents connection_events;
static void try_candidate(VmcSpiceChannel *self);

static VmcSpiceChannel *channel_of(VmcChardev *chardev)
{
	return (VmcSpiceChannel *)chardev;
}

static bool is_live(const VmcSpiceChannel *self)
{
	return self->base.state != VMC_CHARDEV_DOWN && self->base.state != VMC_CHARDEV_OVER;
}

static void drop_connection(VmcSpiceChannel *self)
{
	vmc_spice_migration_forget(self->session, self);
	vmc_spice_connection_drop(g_steal_pointer(&self->connection), self->session->grave);
	g_clear_handle_id(&self->timer, g_source_remove);
	self->found = false;
	self->available = false;
	self->heard = false;
	self->held = false;
}

/* ---- Attempts that fail ---- */

static gboolean look_again(void *data)
{
	VmcSpiceChannel *self = data;

	self->timer = 0;
	vmc_spice_channel_look(self);
	return G_SOURCE_REMOVE;
}

/* Schedules the next attempt; answers in how many milliseconds, 0: none. */
static unsigned retry_later(VmcSpiceChannel *self)
{
	unsigned ms;

	if (!self->base.there || self->session->state != VMC_SPICE_SESSION_READY)
		return 0;
	ms = vmc_spice_session_delay(self->session, self->attempts++);
	g_clear_handle_id(&self->timer, g_source_remove);
	if (ms > 0)
		self->timer = g_timeout_add(ms, look_again, self);
	return ms;
}

static void tell_failed(VmcSpiceChannel *self, const char *text, unsigned again)
{
	vmc_chardev_emit_failed(
		&self->base, g_error_new_literal(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_OPEN, text),
		again);
}

static void search_failed(VmcSpiceChannel *self, VmcSpiceError code, const char *text)
{
	g_autofree char *because = g_strdup(text);

	drop_connection(self);
	self->session->error = code;
	tell_failed(self, because, retry_later(self));
}

/* ---- Which channel ---- */

static unsigned count(const VmcSpiceSession *session, uint8_t type)
{
	unsigned n = 0;

	if (session->beside)
		return type == SPICE_CHANNEL_SMARTCARD ? 1 : GUESSES;
	for (unsigned i = 0; i < session->listed; i++)
		n += session->list[i].type == type;
	return n;
}

static uint8_t nth_id(const VmcSpiceSession *session, uint8_t type, unsigned n)
{
	if (session->beside)
		return (uint8_t)n;
	for (unsigned i = 0; i < session->listed; i++) {
		if (session->list[i].type == type && n-- == 0)
			return session->list[i].id;
	}
	return 0;
}

/* The present candidate, in the order of preference; false: no more. */
static bool candidate(const VmcSpiceChannel *self, VmcSpiceChannelName *name)
{
	static const struct {
		VmcSpiceWant want;
		uint8_t type;
	} order[] = {
		{ VMC_SPICE_WANT_CARD, SPICE_CHANNEL_PORT },
		{ VMC_SPICE_WANT_CARD, SPICE_CHANNEL_SMARTCARD },
		{ VMC_SPICE_WANT_SMARTCARD, SPICE_CHANNEL_SMARTCARD },
		{ VMC_SPICE_WANT_PORT, SPICE_CHANNEL_PORT },
		{ VMC_SPICE_WANT_USBREDIR, SPICE_CHANNEL_USBREDIR },
	};
	unsigned n = self->candidate;

	for (size_t i = 0; i < G_N_ELEMENTS(order); i++) {
		unsigned there = count(self->session, order[i].type);

		if (order[i].want != self->want)
			continue;
		if (n < there) {
			name->type = order[i].type;
			name->id = nth_id(self->session, order[i].type, n);
			return true;
		}
		n -= there;
	}
	return false;
}

static char *none_text(const VmcSpiceChannel *self)
{
	if (self->busy && self->want != VMC_SPICE_WANT_PORT)
		return g_strdup_printf("the %s channel is taken by another client: end that one, "
				       "or its use of it",
				       self->want == VMC_SPICE_WANT_USBREDIR ? "usbredir" :
									       "smartcard");
	switch (self->want) {
	case VMC_SPICE_WANT_PORT:
		return g_strdup_printf("the server has no port '%s'%s: add "
				       "-chardev spiceport,id=ID,name=%s to it",
				       self->port,
				       self->busy ? " that is free (another client holds one)" : "",
				       self->port);
	case VMC_SPICE_WANT_USBREDIR:
		return g_strdup("the server has no usbredir channel: add "
				"-chardev spicevmc,id=ID,name=usbredir and "
				"-device usb-redir,chardev=ID to it");
	default:
		return g_strdup("the server has no smartcard channel: add "
				"-chardev spicevmc,id=ID,name=smartcard and "
				"-device ccid-card-passthru,chardev=ID to it");
	}
}

/* None of the candidates was it. */
static void give_up(VmcSpiceChannel *self)
{
	g_autofree char *text = none_text(self);

	search_failed(self, self->busy ? VMC_SPICE_ERROR_BUSY : VMC_SPICE_ERROR_NO_CHANNEL, text);
}

static void next_candidate(VmcSpiceChannel *self)
{
	drop_connection(self);
	self->candidate++;
	try_candidate(self);
}

/* The server has none of this id, so none of higher ones: ids count from 0. */
static void next_type(VmcSpiceChannel *self)
{
	if (self->session->beside && self->name.type != SPICE_CHANNEL_SMARTCARD)
		self->candidate += GUESSES - self->name.id - 1;
	next_candidate(self);
}

static void connect_candidate(VmcSpiceChannel *self)
{
	self->since = 0;
	self->tls = vmc_spice_session_wants_tls(self->session, self->name.type);
	self->connection = vmc_spice_session_connect(self->session, self->name, self->tls,
						     &connection_events, self);
}

static void try_candidate(VmcSpiceChannel *self)
{
	if (candidate(self, &self->name))
		connect_candidate(self);
	else
		give_up(self);
}

void vmc_spice_channel_look(VmcSpiceChannel *channel)
{
	VmcSpiceChannel *self = channel;

	if (!self->base.there || self->base.state != VMC_CHARDEV_DOWN || self->connection != NULL ||
	    self->timer != 0 || self->session->state != VMC_SPICE_SESSION_READY)
		return;
	self->candidate = 0;
	self->busy = false;
	try_candidate(self);
}

/* ---- A conversation's start and end ---- */

/* Says which channel it is of, `type` once it is found. */
static void describe(VmcSpiceChannel *self, uint8_t type)
{
	g_autofree char *where = vmc_spice_address_describe(&self->session->address);
	char *text;

	if (type == SPICE_CHANNEL_PORT)
		text = g_strdup_printf("%s, port %s", where, self->port);
	else
		text = g_strdup_printf("%s, %s", where,
				       type == SPICE_CHANNEL_USBREDIR ? "usbredir" : "smartcard");
	vmc_chardev_take_describe(&self->base, text);
}

static void start_conversation(VmcSpiceChannel *self)
{
	vmc_buf_clear(&self->in);
	vmc_buf_clear(&self->frame);
	g_clear_error(&self->lost);
	self->keep = false;
	self->since = g_get_monotonic_time();
	self->base.smartcard_channel = self->name.type == SPICE_CHANNEL_SMARTCARD;
	describe(self, self->name.type);
	vmc_chardev_emit_opened(&self->base);
	vmc_spice_connection_hold(self->connection, false);
}

/* Takes `reason`: what is there is read first. */
static void end_conversation(VmcSpiceChannel *self, GError *reason)
{
	g_autoptr(GError) keep = reason;

	if (!is_live(self) || self->lost != NULL)
		return;
	/* Who was not told of the start is not told of the end. */
	if (!self->base.told)
		tell_failed(self, reason->message,
			    vmc_spice_session_delay(self->session, self->attempts));
	if (vmc_buf_span(&self->in).len == 0 || vmc_chardev_never_reads(&self->base) ||
	    self->base.state != VMC_CHARDEV_UP) {
		vmc_chardev_emit_gone(&self->base, g_steal_pointer(&keep));
		return;
	}
	self->lost = g_steal_pointer(&keep);
	if (self->base.reading)
		vmc_chardev_defer_readable(&self->base);
}

/* The channel's other side is there. If the conversation before is not over
 * yet, nothing of the new one is read until it is. */
static void set_available(VmcSpiceChannel *self)
{
	self->found = true;
	self->available = true;
	g_clear_handle_id(&self->timer, g_source_remove);
	if (self->base.state == VMC_CHARDEV_DOWN) {
		start_conversation(self);
		return;
	}
	vmc_spice_connection_hold(self->connection, true);
	self->keep = true;
	if (is_live(self))
		vmc_chardev_emit_gone(&self->base, self->lost != NULL ?
							   g_steal_pointer(&self->lost) :
							   vmc_chardev_hangup_error());
}

static void set_unavailable(VmcSpiceChannel *self)
{
	self->available = false;
	if (!is_live(self))
		return;
	self->keep = true;
	end_conversation(self, g_error_new_literal(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_HANGUP,
						   "the port's other side closed"));
}

static void channel_hangup(VmcChardev *chardev)
{
	VmcSpiceChannel *self = channel_of(chardev);

	vmc_buf_clear(&self->in);
	vmc_buf_clear(&self->frame);
	g_clear_error(&self->lost);
	g_clear_handle_id(&self->losing, g_source_remove);
	if (g_get_monotonic_time() - self->since >= VMC_RETRY_SETTLED_SECONDS * G_USEC_PER_SEC)
		self->attempts = 0;
	if (self->connection != NULL && !self->keep)
		drop_connection(self);
	if (self->connection == NULL)
		retry_later(self);
	else if (self->available && self->base.there)
		start_conversation(self);
	else
		vmc_spice_connection_hold(self->connection, false);
}

/* ---- What the connection tells ---- */

static gboolean name_never_came(void *data)
{
	VmcSpiceChannel *self = data;

	self->timer = 0;
	next_candidate(self);
	return G_SOURCE_REMOVE;
}

static gboolean was_not_refused(void *data)
{
	VmcSpiceChannel *self = data;

	self->timer = 0;
	set_available(self);
	return G_SOURCE_REMOVE;
}

static void connection_up(void *user)
{
	VmcSpiceChannel *self = user;

	self->since = g_get_monotonic_time();
	switch (self->name.type) {
	case SPICE_CHANNEL_PORT:
		self->timer = g_timeout_add_seconds(NAME_SECONDS, name_never_came, self);
		break;
	case SPICE_CHANNEL_USBREDIR:
		self->timer = g_timeout_add(SETTLE_MS, was_not_refused, self);
		break;
	default:
		set_available(self);
	}
}

static void conversation_over(VmcSpiceChannel *self, VmcSpiceError code, const char *text);

static void take_port_init(VmcSpiceChannel *self, VmcSpan body)
{
	VmcSpan name;
	bool opened;

	if (!vmc_spice_get_port_init(body, &name, &opened))
		return;
	if (name.len != strlen(self->port) || memcmp(name.data, self->port, name.len) != 0) {
		if (self->found)
			conversation_over(self, VMC_SPICE_ERROR_PROTOCOL,
					  "the server gave the port another name");
		else
			next_candidate(self);
		return;
	}
	g_clear_handle_id(&self->timer, g_source_remove);
	self->found = true;
	/* A port that came along with its VM tells its name again. */
	if (opened && !self->available)
		set_available(self);
	else if (!opened)
		set_unavailable(self);
}

static void take_port_event(VmcSpiceChannel *self, VmcSpan body)
{
	uint8_t event;

	if (!self->found || !vmc_spice_get_port_event(body, &event))
		return;
	if (event == SPICE_PORT_EVENT_OPENED && !self->available)
		set_available(self);
	else if (event == SPICE_PORT_EVENT_CLOSED && self->available)
		set_unavailable(self);
}

static void take_data(VmcSpiceChannel *self, VmcSpan body)
{
	if (self->name.type == SPICE_CHANNEL_USBREDIR && !self->found)
		set_available(self);
	if (!is_live(self) || self->lost != NULL)
		return;
	if (!vmc_buf_append(&self->in, body)) {
		end_conversation(self, g_error_new_literal(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_IO,
							   "the server sends without end"));
		return;
	}
	if (self->base.reading)
		vmc_chardev_emit_readable(&self->base);
	if (self->connection != NULL && vmc_buf_span(&self->in).len >= IN_HIGH)
		vmc_spice_connection_hold(self->connection, true);
}

static void connection_message(void *user, uint16_t type, VmcSpan body)
{
	VmcSpiceChannel *self = user;

	self->heard = true;
	switch (type) {
	case SPICE_MSG_MIGRATE:
	case SPICE_MSG_MIGRATE_DATA:
		vmc_spice_migration_message(self->session, self, type, body);
		break;
	case SPICE_MSG_SPICEVMC_DATA: /* the smartcard channel's has the same number */
		take_data(self, body);
		break;
	case SPICE_MSG_PORT_INIT:
		if (self->name.type == SPICE_CHANNEL_PORT)
			take_port_init(self, body);
		break;
	case SPICE_MSG_PORT_EVENT:
		if (self->name.type == SPICE_CHANNEL_PORT)
			take_port_event(self, body);
		break;
	default:
		break;
	}
}

static void connection_writable(void *user)
{
	VmcSpiceChannel *self = user;

	vmc_chardev_emit_writable(&self->base);
}

static bool was_refused(const VmcSpiceChannel *self, VmcSpiceError code)
{
	if (code == VMC_SPICE_ERROR_BUSY)
		return true;
	return code == VMC_SPICE_ERROR_GONE && self->since != 0 && !self->heard &&
	       g_get_monotonic_time() - self->since < REFUSED_SECONDS * G_USEC_PER_SEC;
}

/* The search's connection ended. */
static void candidate_over(VmcSpiceChannel *self, VmcSpiceError code, const char *text)
{
	if (code == VMC_SPICE_ERROR_TLS_WANTED &&
	    vmc_spice_session_turn_to_tls(self->session, self->name.type, self->tls)) {
		drop_connection(self);
		connect_candidate(self);
	} else if (code == VMC_SPICE_ERROR_NO_CHANNEL) {
		next_type(self);
	} else if (was_refused(self, code)) {
		self->busy = true;
		next_candidate(self);
	} else {
		search_failed(self, code, text);
	}
}

static gboolean tell_refusal(void *data)
{
	VmcSpiceChannel *self = data;

	self->losing = 0;
	self->session->error = VMC_SPICE_ERROR_BUSY;
	end_conversation(self, g_steal_pointer(&self->lost));
	return G_SOURCE_REMOVE;
}

/* The conversation's connection ended. */
static void conversation_over(VmcSpiceChannel *self, VmcSpiceError code, const char *text)
{
	bool leaving = self->base.state != VMC_CHARDEV_DOWN && self->base.state != VMC_CHARDEV_UP;
	bool refused = !leaving && was_refused(self, code);
	g_autofree char *because = NULL;
	GError *reason;

	self->busy = refused;
	self->session->error = code;
	because = refused ? none_text(self) : g_strdup(text);
	drop_connection(self);
	self->keep = false;
	if (self->base.state == VMC_CHARDEV_DOWN) {
		tell_failed(self, because, retry_later(self));
		return;
	}
	if (!is_live(self) || self->lost != NULL)
		return;
	reason = g_error_new_literal(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_IO, because);
	if (refused) {
		self->lost = reason;
		self->losing = g_timeout_add(REFUSAL_MS, tell_refusal, self);
	} else {
		end_conversation(self, reason);
	}
}

static void connection_over(void *user, VmcSpiceError code, const char *text)
{
	VmcSpiceChannel *self = user;

	if (self->found)
		conversation_over(self, code, text);
	else
		candidate_over(self, code, text);
}

static const VmcSpiceConnectionEvents connection_events = {
	.up = connection_up,
	.message = connection_message,
	.writable = connection_writable,
	.over = connection_over,
};

void vmc_spice_channel_session_lost(VmcSpiceChannel *channel, const char *text, bool was_ready,
				    unsigned again)
{
	VmcSpiceChannel *self = channel;
	bool searching = self->connection != NULL || !was_ready;

	if (self->losing != 0) {
		g_clear_handle_id(&self->losing, g_source_remove);
		g_clear_error(&self->lost);
	}
	drop_connection(self);
	self->keep = false;
	if (is_live(self))
		end_conversation(
			self, g_error_new_literal(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_IO, text));
	else if (searching && self->base.there && self->base.state == VMC_CHARDEV_DOWN)
		tell_failed(self, text, again);
}

/* ---- Migration ---- */

void vmc_spice_channel_hold(VmcSpiceChannel *channel)
{
	channel->held = true;
}

void vmc_spice_channel_unhold(VmcSpiceChannel *channel)
{
	channel->held = false;
	if (channel->base.writing)
		vmc_chardev_defer_writable(&channel->base);
}

VmcSpiceConnection *vmc_spice_channel_move(VmcSpiceChannel *channel, VmcSpiceConnection *connection)
{
	VmcSpiceChannel *self = channel;
	VmcSpiceConnection *old = self->connection;

	self->connection = connection;
	vmc_spice_connection_set_user(connection, &connection_events, self);
	vmc_spice_connection_hold(connection, vmc_buf_span(&self->in).len >= IN_HIGH);
	vmc_spice_channel_unhold(self);
	return old;
}

VmcSpiceConnection *vmc_spice_channel_restart(VmcSpiceChannel *channel,
					      VmcSpiceConnection *connection)
{
	VmcSpiceChannel *self = channel;
	VmcSpiceConnection *old = vmc_spice_channel_move(self, connection);

	self->available = false;
	self->heard = false;
	self->keep = true;
	end_conversation(self, g_error_new_literal(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_HANGUP,
						   "the VM moved to another host"));
	if (self->name.type != SPICE_CHANNEL_PORT)
		set_available(self);
	return old;
}

/* ---- The device ---- */

static gssize channel_read(VmcChardev *chardev, uint8_t *data, size_t len, GError **error)
{
	VmcSpiceChannel *self = channel_of(chardev);
	VmcSpan in = vmc_buf_span(&self->in);
	size_t n = MIN(len, in.len);

	if (n == 0) {
		if (self->lost == NULL || self->losing != 0)
			return 0;
		g_propagate_error(error, g_steal_pointer(&self->lost));
		return -1;
	}
	memcpy(data, in.data, n);
	vmc_buf_consume(&self->in, n);
	if (in.len - n < IN_HIGH && self->connection != NULL && !self->keep)
		vmc_spice_connection_hold(self->connection, false);
	return (gssize)n;
}

static void send_data(VmcSpiceChannel *self, VmcSpan bytes)
{
	vmc_spice_connection_send(self->connection, SPICE_MSGC_SPICEVMC_DATA, bytes);
}

/* How long the message is that begins with `start`: its header, until that is
 * there. 0 with `error` when it is none. */
static size_t message_size(VmcSpan start, GError **error)
{
	VmcSpan at = start, before;
	uint32_t length;

	if (!vmc_span_take(&at, FRAME_LENGTH, &before) || !vmc_span_u32le(&at, &length))
		return FRAME_HEADER;
	if (length <= FRAME_PAYLOAD_MAX)
		return FRAME_HEADER + length;
	g_set_error(error, VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_IO,
		    "a message of %u bytes is not one for a smartcard channel", length);
	return 0;
}

/* Takes of `rest` what the message in `frame` still needs, or a whole message
 * as it lies there. */
static bool send_message(VmcSpiceChannel *self, VmcSpan *rest, GError **error)
{
	VmcSpan frame = vmc_buf_span(&self->frame), piece;
	size_t size = message_size(frame.len > 0 ? frame : *rest, error);

	if (size == 0)
		return false;
	if (frame.len == 0 && rest->len >= size) {
		vmc_span_take(rest, size, &piece);
		send_data(self, piece);
		return true;
	}
	vmc_span_take(rest, MIN(size - frame.len, rest->len), &piece);
	vmc_buf_append(&self->frame, piece);
	frame = vmc_buf_span(&self->frame);
	size = message_size(frame, error);
	if (frame.len == size) {
		send_data(self, frame);
		vmc_buf_clear(&self->frame);
	}
	return size != 0;
}

static gssize channel_write(VmcChardev *chardev, VmcSpan bytes, GError **error)
{
	VmcSpiceChannel *self = channel_of(chardev);
	VmcSpan rest = bytes, piece;

	if (self->connection == NULL || self->lost != NULL) {
		g_propagate_error(error, self->lost != NULL ? g_error_copy(self->lost) :
							      vmc_chardev_hangup_error());
		return -1;
	}
	while (rest.len > 0 && !self->held && vmc_spice_connection_may_send(self->connection)) {
		if (self->base.smartcard_channel) {
			if (!send_message(self, &rest, error))
				return -1;
			continue;
		}
		vmc_span_take(&rest, MIN(rest.len, CHUNK), &piece);
		send_data(self, piece);
	}
	return (gssize)(bytes.len - rest.len);
}

static void channel_want_read(VmcChardev *chardev, bool wanted)
{
	VmcSpiceChannel *self = channel_of(chardev);
	bool ended = self->lost != NULL && self->losing == 0;

	if (wanted && (ended || vmc_buf_span(&self->in).len > 0))
		vmc_chardev_defer_readable(chardev);
	else if (!wanted && ended && vmc_chardev_never_reads(chardev))
		vmc_chardev_emit_gone(chardev, g_steal_pointer(&self->lost));
}

static void channel_want_write(VmcChardev *chardev, bool wanted)
{
	const VmcSpiceChannel *self = channel_of(chardev);

	if (wanted && !self->held && vmc_spice_connection_may_send(self->connection))
		vmc_chardev_defer_writable(chardev);
}

static void channel_finish(VmcChardev *chardev)
{
	VmcSpiceChannel *self = channel_of(chardev);

	if (self->connection != NULL)
		vmc_spice_connection_finish(self->connection);
}

static void channel_attached(VmcChardev *chardev, bool there)
{
	VmcSpiceChannel *self = channel_of(chardev);

	if (there) {
		self->attempts = 0;
		vmc_spice_session_wanted(self->session);
		vmc_spice_channel_look(self);
		return;
	}
	drop_connection(self);
	if (is_live(self))
		vmc_chardev_emit_gone(chardev, vmc_chardev_hangup_error());
}

static void channel_free(VmcChardev *chardev)
{
	VmcSpiceChannel *self = channel_of(chardev);

	g_ptr_array_remove_fast(self->session->channels, self);
	drop_connection(self);
	g_clear_handle_id(&self->losing, g_source_remove);
	g_clear_error(&self->lost);
	vmc_buf_clear(&self->in);
	vmc_buf_clear(&self->frame);
	g_free(self->port);
}

static const VmcChardevClass channel_class = {
	.name = "spice",
	.help = "a channel of a SPICE server",
	.read = channel_read,
	.write = channel_write,
	.want_read = channel_want_read,
	.want_write = channel_want_write,
	.attached = channel_attached,
	.finish = channel_finish,
	.hangup = channel_hangup,
	.free = channel_free,
};

VmcChardev *vmc_spice_session_channel(VmcSpiceSession *session, VmcSpiceWant want, const char *port)
{
	VmcSpiceChannel *self;

	g_return_val_if_fail(session != NULL, NULL);

	self = g_new0(VmcSpiceChannel, 1);
	vmc_chardev_init(&self->base, &channel_class, NULL);
	self->session = session;
	self->want = want;
	self->port = g_strdup(port != NULL ? port : VMC_SPICE_CARD_PORT);
	vmc_buf_init(&self->in, IN_MAX);
	vmc_buf_init(&self->frame, FRAME_HEADER + FRAME_PAYLOAD_MAX);
	describe(self, want == VMC_SPICE_WANT_PORT     ? SPICE_CHANNEL_PORT :
		       want == VMC_SPICE_WANT_USBREDIR ? SPICE_CHANNEL_USBREDIR :
							 SPICE_CHANNEL_SMARTCARD);
	g_ptr_array_add(session->channels, self);
	return &self->base;
}

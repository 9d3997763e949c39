/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A SPICE session that follows its VM to another host. The server names the
 * host; every channel is linked there, too, with the session's connection id,
 * while the old ones go on. Then either each channel is told to move and takes
 * its server's state along (seamless: the stream never ends), or the main
 * channel is told that the VM is there now, and the channels start anew over
 * what is linked already (semi-seamless). A server that had no answer in time
 * says at the end where to go (switch host).
 */

#include "vmc/spice-session-parts.h"

#include <string.h>

/* A port that a server does not have goes over the wire as -1 in 16 bits. */
#define NO_PORT 0xffffu

/* One channel on its way. */
typedef struct Move {
	VmcSpiceMigration *migration;
	VmcSpiceChannel *channel; /* NULL: the main channel */
	VmcSpiceChannelName name;
	VmcSpiceConnection *connection; /* to the new host; NULL: moved, or lost */
	bool tls;
	bool ready; /* linked, and agreed */
	bool moved;
} Move;

struct VmcSpiceMigration {
	VmcSpiceSession *session;
	VmcSpiceAddress address;
	VmcTls *tls;
	bool seamless;
	uint32_t version; /* of the old host's migration data */
	bool answered;
	bool ended;       /* MIGRATE_END came: the new host's MAIN_INIT is awaited */
	GPtrArray *moves; /* the main channel's is the first */
	GPtrArray *old;   /* connections to the old host, until all have moved */
};

static const VmcSpiceConnectionEvents move_events;

/* ---- Ends ---- */

static void free_move(void *data)
{
	Move *move = data;

	vmc_spice_connection_drop(move->connection, move->migration->session->grave);
	g_free(move);
}

static void unhold_channels(VmcSpiceSession *session)
{
	for (guint i = 0; i < session->channels->len; i++)
		vmc_spice_channel_unhold(session->channels->pdata[i]);
}

void vmc_spice_migration_stop(VmcSpiceSession *session)
{
	VmcSpiceMigration *self = g_steal_pointer(&session->migration);

	if (self == NULL)
		return;
	g_ptr_array_unref(self->moves);
	for (guint i = 0; i < self->old->len; i++)
		vmc_spice_connection_drop(self->old->pdata[i], session->grave);
	g_ptr_array_unref(self->old);
	vmc_spice_address_clear(&self->address);
	g_clear_pointer(&self->tls, vmc_tls_unref);
	g_free(self);
	unhold_channels(session);
}

static void answer(VmcSpiceMigration *self, uint16_t type)
{
	self->answered = true;
	if (vmc_spice_connection_is_up(self->session->main))
		vmc_spice_connection_send(self->session->main, type, vmc_span(NULL, 0));
}

static void fail(VmcSpiceMigration *self, const char *text)
{
	VmcSpiceSession *session = self->session;
	g_autofree char *host = vmc_spice_address_describe(&self->address);

	g_message("spice: the VM is about to move to %s, where this client cannot follow yet: %s",
		  host, text);
	answer(self, SPICE_MSGC_MAIN_MIGRATE_CONNECT_ERROR);
	vmc_spice_migration_stop(session);
}

/* ---- Connecting there ---- */

/* Something of the session is over TLS, which it has to stay. */
static bool needs_tls(const VmcSpiceSession *session)
{
	bool tls = session->main_tls;

	for (guint i = 0; i < session->channels->len; i++) {
		const VmcSpiceChannel *channel = session->channels->pdata[i];

		tls |= channel->connection != NULL && channel->tls;
	}
	return tls;
}

static void answer_when_ready(VmcSpiceMigration *self)
{
	if (self->answered)
		return;
	for (guint i = 0; i < self->moves->len; i++) {
		if (!((const Move *)self->moves->pdata[i])->ready)
			return;
	}
	g_message("spice: the VM is about to move to %s; this client is ready to follow",
		  self->address.host);
	answer(self, self->seamless ? SPICE_MSGC_MAIN_MIGRATE_CONNECTED_SEAMLESS :
				      SPICE_MSGC_MAIN_MIGRATE_CONNECTED);
}

static void connect_move(Move *move)
{
	const VmcSpiceMigration *self = move->migration;
	VmcSpiceConnectionConfig config = {
		.address = &self->address,
		.tls = move->tls ? self->tls : NULL,
		.connection_id = self->session->id,
		.type = move->name.type,
		.id = move->name.id,
	};

	if (move->channel == NULL)
		config.caps = vmc_spice_session_main_caps();
	move->connection = vmc_spice_connection_new(&config, &move_events, move);
	/* What the new host says is for the channel, once it is there. */
	if (move->channel != NULL)
		vmc_spice_connection_hold(move->connection, true);
}

static void add_move(VmcSpiceMigration *self, VmcSpiceChannel *channel, bool tls)
{
	Move *move = g_new0(Move, 1);

	move->migration = self;
	move->channel = channel;
	move->name.type = SPICE_CHANNEL_MAIN;
	if (channel != NULL)
		move->name = channel->name;
	/* Never less safe than it was. */
	move->tls = self->tls != NULL && (tls || self->address.port == 0);
	g_ptr_array_add(self->moves, move);
	connect_move(move);
}

/* The new host's main channel is there: the others are linked, too. */
static void main_up(Move *move)
{
	VmcSpiceMigration *self = move->migration;
	GPtrArray *channels = self->session->channels;
	uint8_t version[4];

	for (guint i = 0; i < channels->len; i++) {
		VmcSpiceChannel *channel = channels->pdata[i];

		if (channel->found && channel->connection != NULL)
			add_move(self, channel, channel->tls);
	}
	if (self->seamless &&
	    vmc_spice_connection_has_cap(move->connection, SPICE_MAIN_CAP_SEAMLESS_MIGRATE)) {
		vmc_put_u32le(version, self->version);
		vmc_spice_connection_send(move->connection, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS,
					  vmc_span(version, sizeof(version)));
		return;
	}
	self->seamless = false;
	move->ready = true;
}

static void move_up(void *user)
{
	Move *move = user;

	if (move->channel != NULL) {
		move->ready = true;
	} else if (move->migration->tls == NULL && needs_tls(move->migration->session)) {
		/* A channel turned to TLS since the host was named. */
		fail(move->migration, "it has no TLS port");
		return;
	} else {
		main_up(move);
	}
	answer_when_ready(move->migration);
}

static void move_message(void *user, uint16_t type, VmcSpan body G_GNUC_UNUSED)
{
	Move *move = user;

	if (move->channel != NULL || move->ready ||
	    (type != SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK &&
	     type != SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_NACK))
		return;
	move->ready = true;
	move->migration->seamless = type == SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK;
	vmc_spice_connection_hold(move->connection, true);
	answer_when_ready(move->migration);
}

static void move_writable(void *user G_GNUC_UNUSED)
{
}

static void move_over(void *user, VmcSpiceError code, const char *text)
{
	Move *move = user;
	VmcSpiceMigration *self = move->migration;

	vmc_spice_connection_drop(g_steal_pointer(&move->connection), self->session->grave);
	if (code == VMC_SPICE_ERROR_TLS_WANTED && !move->tls && self->tls != NULL) {
		move->tls = true;
		connect_move(move);
		return;
	}
	/* Afterwards it is found out when the channel is to move. */
	if (!self->answered)
		fail(self, text);
}

static const VmcSpiceConnectionEvents move_events = {
	.up = move_up,
	.message = move_message,
	.writable = move_writable,
	.over = move_over,
};

/* `address` as it is at the new host. False with a line for the log. */
static bool read_destination(const VmcSpiceSession *session, VmcSpan body, bool seamless,
			     VmcSpiceAddress *address, VmcTls **tls, uint32_t *version)
{
	g_autoptr(GError) error = NULL;
	VmcSpiceDestination to;

	if (!vmc_spice_get_destination(body, seamless, &to)) {
		g_message("spice: the server names no host to move to");
		return false;
	}
	vmc_spice_address_copy(address, &session->address);
	g_clear_pointer(&address->path, g_free);
	g_free(address->host);
	address->host = g_strndup((const char *)to.host.data, to.host.len);
	/* Who is to be reached over TLS only is so everywhere. */
	if (session->address.port != 0 || session->address.path != NULL)
		address->port = to.port == NO_PORT ? 0 : to.port;
	address->tls_port = to.tls_port == NO_PORT ? 0 : to.tls_port;
	if (to.cert_subject.len > 0) {
		g_free(address->host_subject);
		address->host_subject =
			g_strndup((const char *)to.cert_subject.data, to.cert_subject.len);
	}
	*version = to.src_version;
	*tls = vmc_spice_connection_tls(address, &error);
	if (error != NULL || (needs_tls(session) && *tls == NULL)) {
		g_message("spice: cannot follow the VM to %s: %s", address->host,
			  error != NULL ? error->message : "it has no TLS port");
		return false;
	}
	return true;
}

static void begin(VmcSpiceSession *session, VmcSpan body, bool seamless)
{
	VmcSpiceMigration *self;

	vmc_spice_migration_stop(session);
	if (session->state != VMC_SPICE_SESSION_READY)
		return;

	self = g_new0(VmcSpiceMigration, 1);
	session->migration = self;
	self->session = session;
	self->seamless = seamless;
	self->moves = g_ptr_array_new_with_free_func(free_move);
	self->old = g_ptr_array_new();
	if (!read_destination(session, body, seamless, &self->address, &self->tls,
			      &self->version)) {
		answer(self, SPICE_MSGC_MAIN_MIGRATE_CONNECT_ERROR);
		vmc_spice_migration_stop(session);
		return;
	}
	add_move(self, NULL, session->main_tls);
}

static void switch_host(VmcSpiceSession *session, VmcSpan body)
{
	VmcSpiceAddress address = { .host = NULL };
	VmcTls *tls = NULL;
	uint32_t version;

	if (read_destination(session, body, false, &address, &tls, &version)) {
		vmc_spice_session_set_address(session, &address, tls);
		vmc_spice_session_restart(session);
	} else {
		g_clear_pointer(&tls, vmc_tls_unref);
		vmc_spice_session_lose(session, VMC_SPICE_ERROR_GONE,
				       "the VM moved to a host where it cannot be followed");
	}
	vmc_spice_address_clear(&address);
}

/* ---- Moving ---- */

static Move *move_of(const VmcSpiceMigration *self, const VmcSpiceChannel *channel)
{
	for (guint i = 0; self != NULL && i < self->moves->len; i++) {
		Move *move = self->moves->pdata[i];

		if (move->channel == channel)
			return move;
	}
	return NULL;
}

static void old_over(void *user G_GNUC_UNUSED, VmcSpiceError code G_GNUC_UNUSED,
		     const char *text G_GNUC_UNUSED)
{
}

static void old_message(void *user G_GNUC_UNUSED, uint16_t type G_GNUC_UNUSED,
			VmcSpan body G_GNUC_UNUSED)
{
}

static const VmcSpiceConnectionEvents old_events = {
	.up = move_writable,
	.message = old_message,
	.writable = move_writable,
	.over = old_over,
};

static void keep_old(VmcSpiceMigration *self, VmcSpiceConnection *old)
{
	if (old == NULL)
		return;
	vmc_spice_connection_set_user(old, &old_events, self);
	g_ptr_array_add(self->old, old);
}

static void move_main(VmcSpiceMigration *self, Move *move)
{
	VmcSpiceSession *session = self->session;

	keep_old(self, session->main);
	session->main = g_steal_pointer(&move->connection);
	session->main_tls = move->tls;
	vmc_spice_connection_set_user(session->main, &vmc_spice_session_main_events, session);
	vmc_spice_connection_hold(session->main, false);
	vmc_spice_session_set_address(session, &self->address, g_steal_pointer(&self->tls));
}

static void stop_when_moved(VmcSpiceMigration *self)
{
	for (guint i = 0; i < self->moves->len; i++) {
		if (!((const Move *)self->moves->pdata[i])->moved)
			return;
	}
	g_message("spice: the VM moved to %s, and this client with it", self->address.host);
	vmc_spice_migration_stop(self->session);
}

/* The old host's state of a channel is here, `data` NULL if it has none: the
 * first thing that the new host hears. */
static void move_on(VmcSpiceSession *session, VmcSpiceChannel *channel, const VmcSpan *data)
{
	VmcSpiceMigration *self = session->migration;
	Move *move = move_of(self, channel);

	if (move == NULL || !self->answered || move->moved)
		return;
	if (!vmc_spice_connection_is_up(move->connection)) {
		const char *text = "the VM moved to another host, which did not keep the "
				   "connection";

		if (channel == NULL) {
			vmc_spice_session_lose(session, VMC_SPICE_ERROR_GONE, text);
		} else {
			vmc_spice_channel_session_lost(channel, text, true, 1);
			vmc_spice_channel_look(channel);
		}
		return;
	}

	move->moved = true;
	vmc_spice_connection_hold(move->connection, false);
	if (data != NULL)
		vmc_spice_connection_send(move->connection, SPICE_MSGC_MIGRATE_DATA, *data);
	if (channel == NULL)
		move_main(self, move);
	else
		keep_old(self, vmc_spice_channel_move(channel, g_steal_pointer(&move->connection)));
	stop_when_moved(self);
}

void vmc_spice_migration_message(VmcSpiceSession *session, VmcSpiceChannel *channel, uint16_t type,
				 VmcSpan body)
{
	VmcSpiceConnection *from = channel != NULL ? channel->connection : session->main;
	uint32_t flags;

	if (type == SPICE_MSG_MIGRATE_DATA) {
		move_on(session, channel, &body);
		return;
	}
	if (!vmc_spice_get_migrate(body, &flags))
		return;
	if (channel != NULL && move_of(session->migration, channel) != NULL)
		vmc_spice_channel_hold(channel);
	if ((flags & SPICE_MIGRATE_NEED_FLUSH) != 0)
		vmc_spice_connection_send(from, SPICE_MSGC_MIGRATE_FLUSH_MARK, vmc_span(NULL, 0));
	if ((flags & SPICE_MIGRATE_NEED_DATA_TRANSFER) == 0)
		move_on(session, channel, NULL);
}

void vmc_spice_migration_forget(VmcSpiceSession *session, const VmcSpiceChannel *channel)
{
	VmcSpiceMigration *self = session->migration;
	Move *move = move_of(self, channel);

	if (move == NULL || move->moved)
		return;
	g_ptr_array_remove(self->moves, move);
	if (!self->answered)
		answer_when_ready(self);
	else if (!self->ended && self->seamless)
		stop_when_moved(self);
}

/* ---- Starting anew there ---- */

/* The VM runs there now, and its server waits for this word to talk. */
static void migrate_end(VmcSpiceSession *session)
{
	VmcSpiceMigration *self = session->migration;
	Move *move = move_of(self, NULL);

	if (self == NULL || !self->answered || self->ended || move->moved)
		return;
	if (!vmc_spice_connection_is_up(move->connection)) {
		vmc_spice_session_set_address(session, &self->address, g_steal_pointer(&self->tls));
		vmc_spice_session_restart(session);
		return;
	}
	self->ended = true;
	for (guint i = 0; i < session->channels->len; i++)
		vmc_spice_channel_hold(session->channels->pdata[i]);
	session->state = VMC_SPICE_SESSION_LINKING;
	move->moved = true;
	move_main(self, move);
	vmc_spice_connection_send(session->main, SPICE_MSGC_MAIN_MIGRATE_END, vmc_span(NULL, 0));
	vmc_spice_session_main_events.up(session);
}

void vmc_spice_migration_init(VmcSpiceSession *session)
{
	VmcSpiceMigration *self = session->migration;

	if (self == NULL || !self->ended)
		return;
	for (guint i = 0; i < self->moves->len; i++) {
		Move *move = self->moves->pdata[i];

		if (move->moved)
			continue;
		move->moved = true;
		if (vmc_spice_connection_is_up(move->connection))
			keep_old(self, vmc_spice_channel_restart(
					       move->channel, g_steal_pointer(&move->connection)));
		else
			vmc_spice_channel_session_lost(move->channel,
						       "the VM moved to another host", true, 1);
	}
	stop_when_moved(self);
}

/* ---- What the main channel says of it ---- */

void vmc_spice_migration_main(VmcSpiceSession *session, uint16_t type, VmcSpan body)
{
	switch (type) {
	case SPICE_MSG_MAIN_MIGRATE_BEGIN:
		begin(session, body, false);
		break;
	case SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS:
		begin(session, body, true);
		break;
	case SPICE_MSG_MAIN_MIGRATE_CANCEL:
		vmc_spice_migration_stop(session);
		break;
	case SPICE_MSG_MAIN_MIGRATE_END:
		migrate_end(session);
		break;
	case SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST:
		switch_host(session, body);
		break;
	default:
		break;
	}
}

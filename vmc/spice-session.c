/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A SPICE client's session: the main channel, from the link to the list of
 * channels, for as long as it lives; attempts that fail, and when to try again.
 */

#include "vmc/spice-session-parts.h"

#include <string.h>

/* From the main channel's link to the list of channels. */
#define LIST_SECONDS 10u
/* Beside a viewer nobody says how often; the viewer's session is there. */
#define BESIDE_SECONDS 2u

static void start(VmcSpiceSession *self);

/* ---- Connections ---- */

VmcSpiceConnection *vmc_spice_session_connect(VmcSpiceSession *session, VmcSpiceChannelName name,
					      bool tls, const VmcSpiceConnectionEvents *events,
					      void *user)
{
	VmcSpiceConnectionConfig config = {
		.address = &session->address,
		.tls = tls ? session->tls : NULL,
		.connection_id = session->id,
		.type = name.type,
		.id = name.id,
	};

	if (name.type == SPICE_CHANNEL_MAIN)
		config.caps = vmc_spice_session_main_caps();
	return vmc_spice_connection_new(&config, events, user);
}

/* As the .vv file's secure-channels names them. */
static const char *channel_name(uint8_t type)
{
	static const char *const names[] = {
		[SPICE_CHANNEL_MAIN] = "main",
		[SPICE_CHANNEL_SMARTCARD] = "smartcard",
		[SPICE_CHANNEL_USBREDIR] = "usbredir",
		[SPICE_CHANNEL_PORT] = "port",
	};

	return type < G_N_ELEMENTS(names) ? names[type] : NULL;
}

static bool is_secure_channel(const VmcSpiceAddress *address, uint8_t type)
{
	g_auto(GStrv) words = NULL;
	const char *name = channel_name(type);

	if (address->secure_channels == NULL || name == NULL)
		return false;
	words = g_strsplit_set(address->secure_channels, ";, ", -1);
	for (char **word = words; *word != NULL; word++) {
		if (g_str_equal(*word, "all"))
			return true;
		if (g_str_has_prefix(*word, "s") && g_str_equal(*word + 1, name))
			return true;
		if (g_str_equal(*word, name))
			return true;
	}
	return false;
}

bool vmc_spice_session_wants_tls(const VmcSpiceSession *session, uint8_t type)
{
	const VmcSpiceAddress *address = &session->address;

	if (address->path != NULL || session->tls == NULL)
		return false;
	return address->port == 0 || (session->secure >> type & 1u) != 0 ||
	       is_secure_channel(address, type);
}

bool vmc_spice_session_turn_to_tls(VmcSpiceSession *session, uint8_t type, bool tls)
{
	if (tls || session->tls == NULL || session->address.path != NULL)
		return false;
	session->secure |= 1u << type;
	return true;
}

/* ---- Attempts ---- */

unsigned vmc_spice_session_delay(const VmcSpiceSession *session, unsigned attempts)
{
	return vmc_retry_delay(session->beside ? BESIDE_SECONDS : session->reconnect, attempts);
}

static void start_again(void *data)
{
	VmcSpiceSession *self = data;

	self->state = VMC_SPICE_SESSION_DOWN;
	start(self);
}

static void tell_lost(VmcSpiceSession *self, const char *text, bool was_ready, unsigned again)
{
	for (guint i = 0; i < self->channels->len; i++)
		vmc_spice_channel_session_lost(self->channels->pdata[i], text, was_ready, again);
}

static void go_down(VmcSpiceSession *self)
{
	vmc_spice_migration_stop(self);
	g_clear_handle_id(&self->timer, g_source_remove);
	vmc_retry_stop(self->retry);
	vmc_spice_connection_drop(g_steal_pointer(&self->main), self->grave);
	if (self->state == VMC_SPICE_SESSION_READY &&
	    g_get_monotonic_time() - self->since >= VMC_RETRY_SETTLED_SECONDS * G_USEC_PER_SEC)
		self->attempts = 0;
	self->state = VMC_SPICE_SESSION_DOWN;
	self->listed = 0;
	if (!self->beside)
		self->id = 0;
}

void vmc_spice_session_lose(VmcSpiceSession *session, VmcSpiceError code, const char *text)
{
	VmcSpiceSession *self = session;
	g_autofree char *because = g_strdup(text);
	bool was_ready = self->state == VMC_SPICE_SESSION_READY;
	unsigned ms;

	go_down(self);
	self->error = code;
	ms = vmc_spice_session_delay(self, self->attempts++);
	if (ms > 0) {
		vmc_retry_wait(self->retry, ms);
		self->state = VMC_SPICE_SESSION_WAITING;
	}
	tell_lost(self, because, was_ready, ms);
}

/* ---- The main channel ---- */

VmcSpiceCaps vmc_spice_session_main_caps(void)
{
	VmcSpiceCaps caps = { .words = { 0 } };

	/* A server migrates without a break only clients that know the agent's
	 * tokens, though this one has no agent. */
	vmc_spice_caps_set(&caps, SPICE_MAIN_CAP_SEMI_SEAMLESS_MIGRATE);
	vmc_spice_caps_set(&caps, SPICE_MAIN_CAP_AGENT_CONNECTED_TOKENS);
	vmc_spice_caps_set(&caps, SPICE_MAIN_CAP_SEAMLESS_MIGRATE);
	return caps;
}

static gboolean list_never_came(void *data)
{
	VmcSpiceSession *self = data;

	self->timer = 0;
	vmc_spice_session_lose(self, VMC_SPICE_ERROR_PROTOCOL,
			       "the server took the connection, but does not name its channels");
	return G_SOURCE_REMOVE;
}

static void main_up(void *user)
{
	VmcSpiceSession *self = user;

	self->timer = g_timeout_add_seconds(LIST_SECONDS, list_never_came, self);
}

static void take_init(VmcSpiceSession *self, VmcSpan body)
{
	VmcSpiceMainInit init;

	if (!vmc_spice_get_main_init(body, &init)) {
		vmc_spice_session_lose(self, VMC_SPICE_ERROR_PROTOCOL,
				       "the server's first message is not SPICE's");
		return;
	}
	self->id = init.session_id;
	vmc_spice_connection_send(self->main, SPICE_MSGC_MAIN_ATTACH_CHANNELS, vmc_span(NULL, 0));
	vmc_spice_migration_init(self);
}

static void add_to_list(VmcSpiceSession *self, VmcSpiceChannelName name)
{
	for (unsigned i = 0; i < self->listed; i++) {
		if (self->list[i].type == name.type && self->list[i].id == name.id)
			return;
	}
	if (self->listed < VMC_SPICE_LIST_MAX)
		self->list[self->listed++] = name;
}

/* The first is of all channels; later ones are of those that came. */
static void take_list(VmcSpiceSession *self, VmcSpan body)
{
	VmcSpiceChannelName name;
	VmcSpan list;

	if (!vmc_spice_get_channels(body, &list))
		return;
	if (self->state != VMC_SPICE_SESSION_READY) {
		g_clear_handle_id(&self->timer, g_source_remove);
		self->state = VMC_SPICE_SESSION_READY;
		self->since = g_get_monotonic_time();
		self->listed = 0;
	}
	while (vmc_spice_next_channel(&list, &name.type, &name.id))
		add_to_list(self, name);
	for (guint i = 0; i < self->channels->len; i++)
		vmc_spice_channel_look(self->channels->pdata[i]);
}

static void main_message(void *user, uint16_t type, VmcSpan body)
{
	VmcSpiceSession *self = user;

	switch (type) {
	case SPICE_MSG_MAIN_INIT:
		take_init(self, body);
		break;
	case SPICE_MSG_MAIN_CHANNELS_LIST:
		take_list(self, body);
		break;
	case SPICE_MSG_MIGRATE:
	case SPICE_MSG_MIGRATE_DATA:
		vmc_spice_migration_message(self, NULL, type, body);
		break;
	default:
		/* Names, mouse modes, the agent: nothing to a card. */
		vmc_spice_migration_main(self, type, body);
	}
}

static void main_writable(void *user G_GNUC_UNUSED)
{
}

static const VmcSpiceChannelName main_name = { .type = SPICE_CHANNEL_MAIN };

static void connect_main(VmcSpiceSession *self)
{
	self->main_tls = vmc_spice_session_wants_tls(self, SPICE_CHANNEL_MAIN);
	self->main = vmc_spice_session_connect(self, main_name, self->main_tls,
					       &vmc_spice_session_main_events, self);
}

static void main_over(void *user, VmcSpiceError code, const char *text)
{
	VmcSpiceSession *self = user;

	if (code == VMC_SPICE_ERROR_TLS_WANTED &&
	    vmc_spice_session_turn_to_tls(self, SPICE_CHANNEL_MAIN, self->main_tls)) {
		vmc_spice_connection_drop(g_steal_pointer(&self->main), self->grave);
		connect_main(self);
		return;
	}
	vmc_spice_session_lose(self, code, text);
}

const VmcSpiceConnectionEvents vmc_spice_session_main_events = {
	.up = main_up,
	.message = main_message,
	.writable = main_writable,
	.over = main_over,
};

static void start(VmcSpiceSession *self)
{
	if (self->state != VMC_SPICE_SESSION_DOWN || self->beside)
		return;
	self->state = VMC_SPICE_SESSION_LINKING;
	self->id = 0;
	connect_main(self);
}

void vmc_spice_session_set_address(VmcSpiceSession *session, const VmcSpiceAddress *address,
				   VmcTls *tls)
{
	vmc_spice_address_clear(&session->address);
	vmc_spice_address_copy(&session->address, address);
	g_clear_pointer(&session->tls, vmc_tls_unref);
	session->tls = tls;
}

void vmc_spice_session_restart(VmcSpiceSession *session)
{
	go_down(session);
	tell_lost(session, "the VM moved to another host", true, 1);
	start(session);
}

void vmc_spice_session_wanted(VmcSpiceSession *session)
{
	start(session);
}

/* ---- The session ---- */

static VmcSpiceSession *new_session(const VmcSpiceAddress *address, GError **error)
{
	g_autoptr(VmcSpiceSession) self = g_new0(VmcSpiceSession, 1);
	g_autoptr(GError) problem = NULL;

	self->channels = g_ptr_array_new();
	self->retry = vmc_retry_new(start_again, self);
	self->grave = g_ptr_array_new_with_free_func((GDestroyNotify)vmc_spice_connection_free);
	self->error = VMC_SPICE_ERROR_GONE;
	vmc_spice_address_copy(&self->address, address);
	self->tls = vmc_spice_connection_tls(address, &problem);
	if (problem != NULL) {
		g_propagate_error(error, g_steal_pointer(&problem));
		return NULL;
	}
	return g_steal_pointer(&self);
}

VmcSpiceSession *vmc_spice_session_new(const VmcSpiceAddress *address, unsigned reconnect,
				       GError **error)
{
	VmcSpiceSession *self;

	g_return_val_if_fail(address != NULL, NULL);

	self = new_session(address, error);
	if (self != NULL)
		self->reconnect = reconnect;
	return self;
}

VmcSpiceSession *vmc_spice_session_new_beside(const VmcSpiceAddress *address, GError **error)
{
	VmcSpiceSession *self;

	g_return_val_if_fail(address != NULL, NULL);

	self = new_session(address, error);
	if (self != NULL)
		self->beside = true;
	return self;
}

void vmc_spice_session_join(VmcSpiceSession *session, uint32_t connection_id)
{
	VmcSpiceSession *self = session;

	g_return_if_fail(self != NULL && self->beside);

	if (self->state == VMC_SPICE_SESSION_READY) {
		if (self->id == connection_id)
			return;
		vmc_spice_session_leave(self, "the viewer has a new session");
	}
	self->id = connection_id;
	self->state = VMC_SPICE_SESSION_READY;
	self->since = g_get_monotonic_time();
	for (guint i = 0; i < self->channels->len; i++)
		vmc_spice_channel_look(self->channels->pdata[i]);
}

void vmc_spice_session_leave(VmcSpiceSession *session, const char *because)
{
	VmcSpiceSession *self = session;

	g_return_if_fail(self != NULL && self->beside && because != NULL);

	if (self->state != VMC_SPICE_SESSION_READY)
		return;
	go_down(self);
	self->error = VMC_SPICE_ERROR_GONE;
	tell_lost(self, because, true, 0);
}

void vmc_spice_session_free(VmcSpiceSession *session)
{
	VmcSpiceSession *self = session;

	if (self == NULL)
		return;
	g_return_if_fail(self->channels->len == 0);

	go_down(self);
	vmc_retry_free(self->retry);
	g_ptr_array_unref(self->grave);
	g_ptr_array_unref(self->channels);
	g_clear_pointer(&self->tls, vmc_tls_unref);
	vmc_spice_address_clear(&self->address);
	g_free(self);
}

VmcSpiceError vmc_spice_session_error(const VmcSpiceSession *session)
{
	g_return_val_if_fail(session != NULL, VMC_SPICE_ERROR_GONE);

	return session->error;
}

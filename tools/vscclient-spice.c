/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A session is made of an address with its password, so each password that is
 * tried gets a new one. Beside a viewer each new one joins what the viewer has.
 */

#include "tools/vscclient-spice.h"

#include <spice/enums.h>

#include "tools/vscclient-password.h"
#include "tools/vscclient-prompt.h"
#include "tools/vscclient-say.h"
#include "tools/vscclient-viewer.h"
#include "vmc/spice-relay.h"

/* As often as ssh asks. */
#define PROMPTS_MAX 3u

struct ClientSpice {
	const ClientOptions *options;
	const ClientSpiceEvents *events;
	void *user;
	VmcSpiceAddress address;
	VmcSpiceSession *session;
	VmcChardev *channel;
	ClientPrompt *prompt;
	unsigned prompts; /* asked so far */
	/* Beside a viewer: */
	VmcSpiceRelay *relay;
	ClientViewer *viewer;
	bool joined;
	bool said_refused;
	uint32_t connection_id;
};

/* ---- How it went ---- */

ClientExit client_spice_exit(const ClientSpice *spice, ClientExit other)
{
	switch (vmc_spice_session_error(spice->session)) {
	case VMC_SPICE_ERROR_PASSWORD:
		return CLIENT_EXIT_PASSWORD;
	case VMC_SPICE_ERROR_UNTRUSTED:
		return CLIENT_EXIT_UNTRUSTED;
	case VMC_SPICE_ERROR_NO_CHANNEL:
	case VMC_SPICE_ERROR_BUSY:
		return CLIENT_EXIT_REFUSED;
	case VMC_SPICE_ERROR_TLS_WANTED:
	case VMC_SPICE_ERROR_TLS_UNWANTED:
	case VMC_SPICE_ERROR_SESSION:
	case VMC_SPICE_ERROR_PROTOCOL:
	case VMC_SPICE_ERROR_GONE:
		break;
	}
	return other;
}

/* ---- The password ---- */

static void stop_asking(ClientSpice *spice)
{
	if (spice->prompt == NULL)
		return;
	g_clear_pointer(&spice->prompt, client_prompt_free);
	spice->events->asking(spice->user, false);
}

static void set_password(ClientSpice *spice, const char *password)
{
	client_password_free(spice->address.password);
	spice->address.password = g_strdup(password);
}

static void on_password(void *user, const char *password)
{
	ClientSpice *spice = user;
	bool given = password != NULL && *password != '\0';

	if (given)
		set_password(spice, password);
	stop_asking(spice);
	if (given) {
		spice->events->again(spice->user);
		return;
	}
	say("no password was given");
	if (spice->options->viewer == NULL)
		spice->events->ended(spice->user, CLIENT_EXIT_PASSWORD);
}

/* Asks on the terminal. False if there is none, or enough was asked. */
static bool ask(ClientSpice *spice)
{
	g_autofree char *where = vmc_spice_address_describe(&spice->address);
	g_autofree char *text = g_strdup_printf("Password for %s: ", where);
	g_autofree char *clean = say_clean(text);

	if (spice->prompts == PROMPTS_MAX)
		return false;
	/* Should it be for SASL, it is somebody's password. */
	if (spice->address.user == NULL)
		spice->address.user = g_strdup(g_get_user_name());
	/* First, so that nobody takes what is typed on sight of the question. */
	spice->events->asking(spice->user, true);
	spice->prompt = client_prompt_new(clean, on_password, spice);
	if (spice->prompt == NULL) {
		spice->events->asking(spice->user, false);
		return false;
	}
	spice->prompts++;
	return true;
}

/* What is said of a password that the server did not take, if it is not asked
 * for now. */
static void say_password(const ClientSpice *spice, const GError *reason)
{
	if (spice->address.password == NULL)
		say("%s (or in the environment variable " CLIENT_PASSWORD_VARIABLE
		    ", or on a terminal to ask on)",
		    reason->message);
	else if (spice->prompts == 0)
		say("%s", reason->message);
}

/* One that was given is not asked for again, unless it was typed. */
static bool failed_password(ClientSpice *spice, const GError *reason)
{
	if (spice->prompt != NULL)
		return true;
	if (spice->prompts > 0)
		say("%s", reason->message);
	if ((spice->address.password == NULL || spice->prompts > 0) && ask(spice))
		return true;
	say_password(spice, reason);
	return false;
}

bool client_spice_failed(ClientSpice *spice, const GError *reason, unsigned again_ms)
{
	if (vmc_spice_session_error(spice->session) == VMC_SPICE_ERROR_PASSWORD)
		return failed_password(spice, reason) || spice->options->viewer != NULL;
	spice->events->failed(spice->user, reason, again_ms);
	return again_ms > 0 || spice->options->viewer != NULL;
}

/* ---- Beside a viewer ---- */

static void on_relay_session(void *user, uint32_t connection_id)
{
	ClientSpice *spice = user;

	if (spice->joined)
		vmc_spice_session_leave(spice->session, "the viewer has another session");
	spice->joined = true;
	spice->connection_id = connection_id;
	vmc_spice_session_join(spice->session, connection_id);
}

static void on_relay_ended(void *user, const char *because)
{
	ClientSpice *spice = user;

	spice->joined = false;
	stop_asking(spice);
	vmc_spice_session_leave(spice->session, because);
}

static void on_relay_failed(void *user, const GError *reason)
{
	(void)user;
	say("the viewer does not reach the server: %s", reason->message);
}

/* A viewer tries the smartcard channel as a matter of course, and a card there
 * is; other channels are missed. */
static void on_relay_refused(void *user)
{
	ClientSpice *spice = user;
	VmcSpiceWant want = spice->options->want;

	if (spice->said_refused)
		return;
	spice->said_refused = true;
	if (want == VMC_SPICE_WANT_USBREDIR)
		say("the viewer cannot redirect USB devices, for the usbredir channels are kept "
		    "for the card: leave --as-usb out if the machine has a smartcard channel");
	else if (want == VMC_SPICE_WANT_PORT)
		say("the viewer gets no port channel, for those are kept for the card: use "
		    "--channel smartcard if the machine has that");
}

static const VmcSpiceRelayEvents relay_events = {
	.session = on_relay_session,
	.ended = on_relay_ended,
	.failed = on_relay_failed,
	.refused = on_relay_refused,
};

uint8_t client_spice_channel_type(VmcSpiceWant want)
{
	switch (want) {
	case VMC_SPICE_WANT_CARD:
	case VMC_SPICE_WANT_SMARTCARD:
		break;
	case VMC_SPICE_WANT_PORT:
		return SPICE_CHANNEL_PORT;
	case VMC_SPICE_WANT_USBREDIR:
		return SPICE_CHANNEL_USBREDIR;
	}
	return SPICE_CHANNEL_SMARTCARD;
}

static void on_viewer_ended(void *user, const char *because)
{
	ClientSpice *spice = user;

	say("%s", because);
	spice->events->ended(spice->user, CLIENT_EXIT_DONE);
}

static bool start_viewer(ClientSpice *spice, GError **error)
{
	const ClientOptions *options = spice->options;

	spice->relay = vmc_spice_relay_new(&spice->address, client_spice_channel_type(options->want), &relay_events,
					   spice, error);
	if (spice->relay != NULL)
		spice->viewer = client_viewer_new(&spice->address, spice->relay, options->viewer,
						  on_viewer_ended, spice, error);
	return spice->viewer != NULL;
}

/* ---- The session and its channel ---- */

static void close_session(ClientSpice *spice)
{
	g_clear_pointer(&spice->channel, vmc_chardev_free);
	g_clear_pointer(&spice->session, vmc_spice_session_free);
}

VmcChardev *client_spice_open(ClientSpice *spice, GError **error)
{
	const ClientOptions *options = spice->options;

	close_session(spice);
	if (options->viewer != NULL && spice->viewer == NULL && !start_viewer(spice, error))
		return NULL;
	if (options->viewer != NULL)
		spice->session = vmc_spice_session_new_beside(&spice->address, error);
	else
		spice->session = vmc_spice_session_new(&spice->address, options->reconnect, error);
	if (spice->session == NULL)
		return NULL;
	spice->channel =
		vmc_spice_session_channel(spice->session, options->want, options->port_channel);
	if (spice->joined)
		vmc_spice_session_join(spice->session, spice->connection_id);
	return spice->channel;
}

bool client_spice_has_viewer(const ClientSpice *spice)
{
	return spice->options->viewer != NULL;
}

/* ---- Life ---- */

ClientSpice *client_spice_new(const ClientOptions *options, const ClientSpiceEvents *events,
			      void *user)
{
	ClientSpice *spice = g_new0(ClientSpice, 1);

	spice->options = options;
	spice->events = events;
	spice->user = user;
	vmc_spice_address_copy(&spice->address, &options->spice);
	return spice;
}

void client_spice_free(ClientSpice *spice)
{
	if (spice == NULL)
		return;
	client_prompt_free(spice->prompt);
	client_viewer_free(spice->viewer);
	vmc_spice_relay_free(spice->relay);
	close_session(spice);
	vmc_spice_address_clear(&spice->address);
	g_free(spice);
}

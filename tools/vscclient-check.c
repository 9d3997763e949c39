/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The steps: the cards (of pcscd, or of libcacard), the way to the host, and a
 * conversation with it as any client has, until it has acknowledged the card or
 * a time is over. The first step that is amiss is the last.
 */

#include "tools/vscclient-check.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/vscclient-check-pcsc.h"
#include "tools/vscclient-check-spice.h"
#include "tools/vscclient-lender.h"
#include "tools/vscclient-say.h"
#include "tools/vscclient-source.h"
#include "vscard/cacard.h"
#include "vscard/wire.h"

/* How long a host may take to answer our Init. */
#define ANSWER_SECONDS 5
/* And to take the readers and acknowledge their cards: some are powered on for
 * that first. */
#define TAKE_SECONDS 10
/* libcacard tells of its cards one by one: all are there when no other came for
 * this long, */
#define CARDS_QUIET_MS 100
/* or there is none in this time; pcscd, which says when it has told all, has
 * told it well before. */
#define CARDS_WAIT_MS 3000
/* How long the host may take to accept our farewell. */
#define FAREWELL_SECONDS 2

typedef enum Fate {
	FATE_ASKED, /* lent; the host has not answered */
	FATE_TAKEN,
	FATE_SEEN, /* and its card acknowledged */
	FATE_REFUSED,
	FATE_LEFT, /* there was no place for it here */
} Fate;

typedef struct Reader {
	VscCard *card;
	Fate fate;
} Reader;

typedef struct Check {
	const ClientOptions *options;
	GMainLoop *loop;
	ClientSource *source;
	GArray *readers;          /* of Reader */
	VmcSpiceSession *session; /* NULL: a socket */
	VmcChardev *chardev;
	ClientLender *lender;
	guint timer;
	bool up;   /* the host answered */
	bool over; /* `exit` is known */
	ClientExit exit;
} Check;

static void conclude(Check *check, ClientExit status)
{
	g_clear_handle_id(&check->timer, g_source_remove);
	check->over = true;
	check->exit = status;
	g_main_loop_quit(check->loop);
}

static void set_timer(Check *check, unsigned ms, GSourceFunc late)
{
	g_clear_handle_id(&check->timer, g_source_remove);
	check->timer = g_timeout_add(ms, late, check);
}

static void look(Check *check);

static Reader *reader_at(const Check *check, guint i)
{
	return &g_array_index(check->readers, Reader, i);
}

static Reader *find(const Check *check, const VscCard *card)
{
	for (guint i = 0; i < check->readers->len; i++) {
		if (reader_at(check, i)->card == card)
			return reader_at(check, i);
	}
	g_return_val_if_reached(NULL);
}

static gboolean on_signal(gpointer user)
{
	answer("problem: told to end before all was checked");
	conclude(user, CLIENT_EXIT_LOST);
	return G_SOURCE_CONTINUE;
}

/* ---- The cards ---- */

static gboolean on_cards_known(gpointer user)
{
	Check *check = user;

	check->timer = 0;
	g_main_loop_quit(check->loop);
	return G_SOURCE_REMOVE;
}

static void on_reader_added(void *user, VscCard *card)
{
	Check *check = user;
	Reader reader = { .card = card, .fate = FATE_LEFT };

	g_array_append_val(check->readers, reader);
}

static void on_reader_removed(void *user, VscCard *card)
{
	Check *check = user;
	Reader *reader = find(check, card);

	if (check->lender != NULL && reader->fate != FATE_LEFT)
		client_lender_remove(check->lender, card);
	g_array_remove_index(check->readers, (guint)(reader - reader_at(check, 0)));
	answer("note: reader '%s' is gone", vsc_card_name(card));
	/* The host has no more to say of it, and perhaps of none. */
	if (check->up)
		look(check);
}

static void on_card_changed(void *user, VscCard *card)
{
	Check *check = user;

	(void)card;
	if (check->chardev == NULL && !check->options->pcsc)
		set_timer(check, CARDS_QUIET_MS, on_cards_known);
}

static void on_card_stayed(void *user, VscCard *card, bool present)
{
	(void)user;
	(void)card;
	(void)present;
}

static void on_settled(void *user)
{
	Check *check = user;

	if (check->chardev == NULL)
		set_timer(check, 0, on_cards_known);
}

static const ClientSourceEvents source_events = {
	.reader_added = on_reader_added,
	.reader_removed = on_reader_removed,
	.card_changed = on_card_changed,
	.card_stayed = on_card_stayed,
	.settled = on_settled,
};

static guint count_cards(const Check *check)
{
	guint n = 0;

	for (guint i = 0; i < check->readers->len; i++)
		n += vsc_card_present(reader_at(check, i)->card);
	return n;
}

static ClientExit no_source(const Check *check, const GError *error)
{
	bool options = error->code == VSC_CACARD_ERROR_OPTIONS;

	answer("problem: %s%s", error->message,
	       error->domain == VSC_CACARD_ERROR && error->code == VSC_CACARD_ERROR_CERT ?
		       "; 'certutil -K -d DIR' shows the names that have a key" :
		       "");
	if (error->domain == VSC_CACARD_ERROR && error->code == VSC_CACARD_ERROR_PCSCD)
		return CLIENT_EXIT_NO_PCSCD;
	return check->options->cards != NULL && options ? CLIENT_EXIT_OPTIONS : CLIENT_EXIT_CARD;
}

/* Starts what the cards come from, and waits until they are there. */
static ClientExit check_cards(Check *check)
{
	g_autoptr(GError) error = NULL;
	ClientExit status = CLIENT_EXIT_DONE;

	if (check->options->pcsc)
		status = client_check_pcsc(check->options);
	if (status != CLIENT_EXIT_DONE)
		return status;
	check->source = client_source_new(check->options, &source_events, check, &error);
	if (check->source == NULL)
		return no_source(check, error);
	set_timer(check, CARDS_WAIT_MS, on_cards_known);
	g_main_loop_run(check->loop);
	if (check->over || check->options->pcsc)
		return check->exit;
	if (count_cards(check) == 0) {
		answer("problem: there is no card: put a token in, or say by --nssdb and --cert, "
		       "or --pcsc, which");
		return CLIENT_EXIT_NO_CARD;
	}
	answer("ok: the card of reader '%s' is made", vsc_card_name(reader_at(check, 0)->card));
	return CLIENT_EXIT_DONE;
}

/* ---- The host's name ---- */

/* Of a name that is to be looked up here: not for a proxy. */
static ClientExit check_name(const ClientOptions *options)
{
	const char *host = options->is_spice ? options->spice.host : options->host;
	g_autoptr(GResolver) resolver = g_resolver_get_default();
	g_autoptr(GError) error = NULL;
	g_autofree char *address = NULL;
	GList *found;

	if (host == NULL || g_hostname_is_ip_address(host) ||
	    (options->is_spice && options->spice.proxy != NULL))
		return CLIENT_EXIT_DONE;
	found = g_resolver_lookup_by_name(resolver, host, NULL, &error);
	if (found == NULL) {
		answer("problem: nobody knows where '%s' is (%s): correct the name, or /etc/hosts "
		       "or DNS",
		       host, error->message);
		return CLIENT_EXIT_UNREACHED;
	}
	address = g_inet_address_to_string(found->data);
	answer("ok: %s is %s", host, address);
	g_resolver_free_addresses(found);
	return CLIENT_EXIT_DONE;
}

/* ---- The conversation ---- */

static const char *where(const Check *check)
{
	return vmc_chardev_describe(check->chardev);
}

static gboolean on_silence(gpointer user)
{
	Check *check = user;

	check->timer = 0;
	answer("problem: %s takes the connection, but nobody answers: another client is connected, "
	       "which it serves alone, or it is paused, hangs or speaks something else; end that "
	       "client (a vscclient that runs as a service?), or start the host anew",
	       where(check));
	conclude(check, CLIENT_EXIT_SILENT);
	return G_SOURCE_REMOVE;
}

static void on_connected(void *user)
{
	Check *check = user;

	answer("ok: connected to %s", where(check));
	set_timer(check, ANSWER_SECONDS * 1000, on_silence);
}

static void answer_host(const Check *check)
{
	VscClientHost host;

	if (!client_lender_host(check->lender, &host)) {
		answer("ok: it answers, and was told of a USB device");
		return;
	}
	if (host.version == 0)
		answer("ok: SPICE's smartcard channel, where hosts do not answer before a reader");
	else
		answer("ok: it answers, and speaks VSCard %u.%u.%u", host.version >> 21,
		       host.version >> 10 & 0x7ff, host.version & 0x3ff);
	if (host.version != 0 && host.version != VSC_VERSION)
		answer("note: this is another version of the protocol than vscclient's, %u.%u.%u: "
		       "should the card not work, take programs of the same age",
		       VSC_VERSION >> 21, VSC_VERSION >> 10 & 0x7ff, VSC_VERSION & 0x3ff);
	answer("ok: its reader exchanges %s; %s",
	       host.exchange == VSC_EXCHANGE_APDU ? "whole APDUs" :
						    "T=0 TPDUs, so each card acts as one for T=0",
	       host.requests ?
		       "its power and reset reach the card, and it shows the reader's name" :
		       "its power and reset do not reach the card, and it shows the reader "
		       "under a name of its own");
}

static bool has_answered(const Check *check, const Reader *reader)
{
	VscClientHost host;

	switch (reader->fate) {
	case FATE_ASKED:
		return false;
	case FATE_TAKEN:
		return !vsc_card_present(reader->card) || !client_lender_host(check->lender, &host);
	case FATE_SEEN:
	case FATE_REFUSED:
	case FATE_LEFT:
		break;
	}
	return true;
}

static guint count(const Check *check, Fate fate)
{
	guint n = 0;

	for (guint i = 0; i < check->readers->len; i++)
		n += reader_at(check, i)->fate == fate;
	return n;
}

/* All is well if one card arrived. */
static void judge(Check *check)
{
	VscClientHost host;
	bool vscard = client_lender_host(check->lender, &host);
	guint well = 0;

	for (guint i = 0; i < check->readers->len; i++) {
		Reader *reader = reader_at(check, i);

		if (reader->fate == FATE_TAKEN && vscard)
			answer("note: the host took reader '%s', which has no card",
			       vsc_card_name(reader->card));
		if (reader->fate != FATE_SEEN && (reader->fate != FATE_TAKEN || vscard))
			continue;
		answer("all is well: the card is in the host's reader '%s'",
		       vsc_card_name(reader->card));
		well++;
	}
	if (well > 0) {
		conclude(check, CLIENT_EXIT_DONE);
		return;
	}
	if (count(check, FATE_REFUSED) > 0) {
		answer("problem: no reader with a card was taken%s",
		       check->options->as_usb ? "" :
						": give the host's usb-ccid more slots=, or end "
						"who has its readers");
		conclude(check, CLIENT_EXIT_REFUSED);
		return;
	}
	answer("problem: there is no card any more: put it in again");
	conclude(check, CLIENT_EXIT_NO_CARD);
}

static void look(Check *check)
{
	if (check->over)
		return;
	for (guint i = 0; i < check->readers->len; i++) {
		if (!has_answered(check, reader_at(check, i)))
			return;
	}
	judge(check);
}

static gboolean on_not_taken(gpointer user)
{
	Check *check = user;

	check->timer = 0;
	if (count(check, FATE_SEEN) > 0) {
		judge(check);
	} else if (count(check, FATE_ASKED) > 0) {
		answer("problem: the host does not take the reader: no card device there uses the "
		       "channel (-device ccid-card-passthru), or another client has its one "
		       "reader");
		conclude(check, CLIENT_EXIT_SILENT);
	} else {
		answer("problem: the host has the reader, but was not told of a card: the card does "
		       "not answer; put it in anew");
		conclude(check, CLIENT_EXIT_CARD_STUCK);
	}
	return G_SOURCE_REMOVE;
}

static void on_up(void *user)
{
	Check *check = user;

	check->up = true;
	answer_host(check);
	set_timer(check, TAKE_SECONDS * 1000, on_not_taken);
}

static void on_taken(void *user, VscCard *card)
{
	Check *check = user;

	answer("ok: the host took reader '%s'", vsc_card_name(card));
	find(check, card)->fate = FATE_TAKEN;
	look(check);
}

static void on_seen(void *user, VscCard *card)
{
	Check *check = user;

	find(check, card)->fate = FATE_SEEN;
	look(check);
}

static const char *why_refused(const Check *check, VscErrorCode code)
{
	if (check->options->as_usb)
		return "its filter of USB devices does not let it in, or it has no port for it";
	return code == VSC_ERROR_CANNOT_ADD_MORE_READERS ? "it has no place for another reader" :
							   vsc_error_name(code);
}

static void on_refused(void *user, VscCard *card, VscErrorCode code)
{
	Check *check = user;

	answer("note: the host refused reader '%s': %s", vsc_card_name(card),
	       why_refused(check, code));
	find(check, card)->fate = FATE_REFUSED;
	look(check);
}

/* ---- The way ---- */

/* The reasons of devices that do not open end in the system's words. */
static const char *cure(const GError *reason)
{
	static const struct {
		int system;
		const char *cure;
	} cures[] = {
		{ ECONNREFUSED, "nobody listens there; start vscardd or QEMU with that address, or "
				"correct it" },
		{ ETIMEDOUT, "nothing answers there; is the machine on, and no firewall between?" },
		{ EHOSTUNREACH, "the network does not lead there; is the machine on, and a VPN "
				"needed?" },
		{ ENETUNREACH, "this machine has no way there; is its network up?" },
		{ ENOENT, "there is no such socket; start the host first, or correct the path" },
		{ EAGAIN, "another client is connected, and others wait already; end them" },
		{ EACCES, "this user may not use it; give the socket to who runs vscclient" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cures); i++) {
		if (g_str_has_suffix(reason->message, g_strerror(cures[i].system)))
			return cures[i].cure;
	}
	return "correct the address, or start the host";
}

/* Of a session the text has the cure in it. */
static void on_failed(void *user, const GError *reason, unsigned again_ms)
{
	Check *check = user;

	(void)again_ms;
	if (check->session != NULL) {
		answer("problem: %s", reason->message);
		conclude(check, client_check_spice_exit(vmc_spice_session_error(check->session)));
		return;
	}
	answer("problem: %s: %s", reason->message, cure(reason));
	conclude(check, g_str_has_suffix(reason->message, g_strerror(EAGAIN)) ?
				CLIENT_EXIT_SILENT :
				CLIENT_EXIT_UNREACHED);
}

static void on_down(void *user, const GError *reason)
{
	Check *check = user;
	ClientExit status = check->up ? CLIENT_EXIT_LOST : CLIENT_EXIT_NOT_VSCARD;

	if (check->over) {
		g_main_loop_quit(check->loop);
		return;
	}
	if (check->session != NULL &&
	    vmc_spice_session_error(check->session) == VMC_SPICE_ERROR_BUSY)
		status = CLIENT_EXIT_CHANNEL_BUSY;
	if (status == CLIENT_EXIT_NOT_VSCARD)
		answer("problem: what is at %s is no %s host, or one of another version (%s): "
		       "correct host and port; a display's port is said as spice://HOST:PORT",
		       where(check), check->options->as_usb ? "usbredir" : "VSCard",
		       reason->message);
	else
		answer("problem: the connection was lost: %s; look at what the host says",
		       reason->message);
	conclude(check, status);
}

static const ClientLenderEvents lender_events = {
	.connected = on_connected,
	.up = on_up,
	.down = on_down,
	.taken = on_taken,
	.refused = on_refused,
	.seen = on_seen,
	.failed = on_failed,
};

static bool make_way(Check *check, GError **error)
{
	const ClientOptions *options = check->options;
	g_autoptr(VmcOpts) socket = NULL;

	if (!options->is_spice) {
		socket = client_options_socket(options);
		check->chardev = vmc_chardev_new(socket, error);
		return check->chardev != NULL;
	}
	check->session = vmc_spice_session_new(&options->spice, 0, error);
	if (check->session != NULL)
		check->chardev = vmc_spice_session_channel(check->session, options->want,
							   options->port_channel);
	return check->chardev != NULL;
}

/* Those with a card first: there may be one place only. */
static void lend(Check *check, bool with_card)
{
	for (guint i = 0; i < check->readers->len; i++) {
		Reader *reader = reader_at(check, i);

		if (vsc_card_present(reader->card) != with_card)
			continue;
		reader->fate = FATE_ASKED;
		if (client_lender_add(check->lender, reader->card))
			continue;
		reader->fate = FATE_LEFT;
		answer("note: reader '%s' is not lent: %u are the most",
		       vsc_card_name(reader->card), client_lender_max(check->lender));
	}
}

static ClientExit check_host(Check *check)
{
	g_autoptr(GError) error = NULL;

	if (!make_way(check, &error)) {
		answer("problem: %s", error->message);
		return CLIENT_EXIT_UNREACHED;
	}
	if (check->options->as_usb)
		check->lender = client_lender_new_usb(check->chardev, &lender_events, check);
	else
		check->lender = client_lender_new_vscard(check->chardev, &lender_events, check);
	lend(check, true);
	lend(check, false);
	g_main_loop_run(check->loop);
	return check->exit;
}

static ClientExit run(Check *check)
{
	const ClientOptions *options = check->options;
	ClientExit status = check_cards(check);

	if (status == CLIENT_EXIT_DONE)
		status = check_name(options);
	if (status == CLIENT_EXIT_DONE && options->is_spice)
		status = client_check_spice(options);
	if (status != CLIENT_EXIT_DONE || check->over)
		return check->over ? check->exit : status;
	if (!options->is_spice || options->check_all)
		return check_host(check);
	answer("all is well up to the server's door; whether the card can go through only the "
	       "server's one client is told: '--check=all' becomes that, and throws out a viewer "
	       "that is there");
	return CLIENT_EXIT_DONE;
}

/* ---- The end ---- */

static gboolean on_farewell_over(gpointer user)
{
	Check *check = user;

	check->timer = 0;
	g_main_loop_quit(check->loop);
	return G_SOURCE_REMOVE;
}

/* In order, for a QEMU that merely loses its connection keeps the card. */
static void say_farewell(Check *check)
{
	for (guint i = 0; i < check->readers->len; i++) {
		if (reader_at(check, i)->fate != FATE_LEFT)
			client_lender_remove(check->lender, reader_at(check, i)->card);
		reader_at(check, i)->fate = FATE_LEFT;
	}
	check->over = true;
	if (!vmc_chardev_is_open(check->chardev))
		return;
	vmc_chardev_disconnect(check->chardev, true, "all is checked");
	set_timer(check, FAREWELL_SECONDS * 1000, on_farewell_over);
	g_main_loop_run(check->loop);
	g_clear_handle_id(&check->timer, g_source_remove);
}

ClientExit client_check(const ClientOptions *options)
{
	Check check = { .options = options };
	ClientExit status;

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0); /* each step when it is done */
	check.loop = g_main_loop_new(NULL, FALSE);
	check.readers = g_array_new(FALSE, FALSE, sizeof(Reader));
	g_unix_signal_add(SIGTERM, on_signal, &check);
	g_unix_signal_add(SIGINT, on_signal, &check);
	status = run(&check);
	if (check.lender != NULL)
		say_farewell(&check);
	client_lender_free(check.lender);
	vmc_chardev_free(check.chardev);
	if (check.session != NULL)
		vmc_spice_session_free(check.session);
	client_source_free(check.source);
	g_array_unref(check.readers);
	g_main_loop_unref(check.loop);
	return status;
}

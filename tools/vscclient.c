/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * vscclient lends smartcards: it connects to a host, which is QEMU or vscardd,
 * over a socket or SPICE, gives it a reader for each of its source's, by the
 * VSCard protocol or as a USB device, and serves it until told to end. It says
 * on stderr what happens.
 */

#define G_LOG_DOMAIN "vscclient"

#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "tools/vscclient-attempts.h"
#include "tools/vscclient-cards.h"
#include "tools/vscclient-check.h"
#include "tools/vscclient-commands.h"
#include "tools/vscclient-list.h"
#include "tools/vscclient-options.h"
#include "tools/vscclient-password.h"
#include "tools/vscclient-say.h"
#include "tools/vscclient-service.h"
#include "tools/vscclient-spice.h"
#include "vscard/cacard.h"

/* How long the host may take to accept our farewell. */
#define FAREWELL_SECONDS 2
/* How long it may take to answer our Init until a person wonders. */
#define ANSWER_SECONDS 5
/* Commands that wait in a pipe mean cards, which libcacard tells of one by one
 * after its start: they are read when no other came for this long, */
#define CARDS_QUIET_MS 100
/* or there is none in this time. */
#define CARDS_WAIT_MS 2000

typedef struct Client {
	ClientOptions options;
	GMainLoop *loop;
	ClientCards *cards;
	ClientCommands *commands;
	ClientSpice *spice;  /* the way to the host; NULL: a socket */
	VmcChardev *chardev; /* of `spice`, or our own */
	ClientLender *lender;
	ClientAttempts attempts;
	guint answer_timer;   /* 0: nothing is waited for */
	guint commands_timer; /* 0: not begun, or commands are read */
	bool asking;          /* the terminal belongs to a question, */
	bool commands_wait;   /* which commands wait for */
	bool ending;          /* the farewell is said */
	ClientExit exit;
} Client;

static void leave(Client *client, ClientExit status)
{
	client->exit = status;
	g_main_loop_quit(client->loop);
}

static gboolean on_farewell_over(gpointer user)
{
	leave(user, ((Client *)user)->exit);
	return G_SOURCE_REMOVE;
}

static void stop_timer(guint *timer)
{
	if (*timer != 0)
		g_source_remove(*timer);
	*timer = 0;
}

/*
 * Ends in order: the host is told that the readers go, for a QEMU that merely
 * loses its connection keeps the card "inserted".
 */
static void end(Client *client, ClientExit status)
{
	client->exit = status;
	client_service_stopping();
	if (client->ending || !vmc_chardev_is_open(client->chardev)) {
		leave(client, status);
		return;
	}
	client->ending = true;
	stop_timer(&client->answer_timer);
	client_cards_lend(client->cards, NULL);
	vmc_chardev_disconnect(client->chardev, true, "vscclient ends");
	g_timeout_add_seconds(FAREWELL_SECONDS, on_farewell_over, client);
}

static gboolean on_signal(gpointer user)
{
	end(user, CLIENT_EXIT_DONE);
	return G_SOURCE_CONTINUE;
}

static void on_exit_command(void *user)
{
	end(user, CLIENT_EXIT_DONE);
}

/* ---- What the lender says ---- */

static const char *describe(const Client *client)
{
	return vmc_chardev_describe(client->chardev);
}

/* Is a line about the connection to be said? */
static bool tells(Client *client)
{
	return client_attempts_tell(&client->attempts, g_get_monotonic_time());
}

static gboolean on_no_answer(gpointer user)
{
	Client *client = user;

	client->answer_timer = 0;
	if (!tells(client))
		return G_SOURCE_REMOVE;
	say("%s does not answer: it may %sbe serving another client, or not speak %s",
	    describe(client), client->options.as_usb ? "be paused, " : "",
	    client->options.as_usb ? "usbredir" : "VSCard");
	return G_SOURCE_REMOVE;
}

static gboolean on_not_taken(gpointer user)
{
	Client *client = user;

	client->answer_timer = 0;
	if (client_cards_wait(client->cards) && tells(client))
		say("%s does not take the reader: no card device there uses the channel, or "
		    "another client has its one reader",
		    describe(client));
	return G_SOURCE_REMOVE;
}

static void on_connected(void *user)
{
	Client *client = user;

	stop_timer(&client->answer_timer);
	client->answer_timer = g_timeout_add_seconds(ANSWER_SECONDS, on_no_answer, client);
}

static void on_up(void *user)
{
	Client *client = user;

	stop_timer(&client->answer_timer);
	client->answer_timer = g_timeout_add_seconds(ANSWER_SECONDS, on_not_taken, client);
	client_attempts_up(&client->attempts);
	if (tells(client))
		say("connected to %s", describe(client));
	client_service_status("connected to %s", describe(client));
}

static bool has_viewer(const Client *client)
{
	return client->spice != NULL && client_spice_has_viewer(client->spice);
}

static void on_down(void *user, const GError *reason)
{
	Client *client = user;

	stop_timer(&client->answer_timer);
	client_cards_down(client->cards);
	if (client->ending) {
		leave(client, client->exit);
		return;
	}
	if (tells(client))
		say("connection to %s lost: %s%s", describe(client), reason->message,
		    client->options.reconnect > 0 ? "; trying again" : "");
	client_service_status("not connected: %s", reason->message);
	if (client->options.reconnect > 0 || has_viewer(client))
		return;
	leave(client, client->spice != NULL ? client_spice_exit(client->spice, CLIENT_EXIT_LOST) :
					      CLIENT_EXIT_LOST);
}

/* Days may be full of them. */
static void say_failed(void *user, const GError *reason, unsigned again_ms)
{
	Client *client = user;
	g_autofree char *often = NULL;
	unsigned unsaid;

	client_service_status("not connected: %s", reason->message);
	if (again_ms == 0) {
		say("%s", reason->message);
		return;
	}
	if (!client_attempts_failed(&client->attempts, reason->message, g_get_monotonic_time(),
				    &unsaid))
		return;
	if (unsaid > 0)
		often = g_strdup_printf("; %u attempts before failed in the same way", unsaid);
	say("%s; trying again in %u s%s", reason->message, (again_ms + 999) / 1000,
	    often != NULL ? often : "");
}

static void on_failed(void *user, const GError *reason, unsigned again_ms)
{
	Client *client = user;

	if (client->spice != NULL) {
		if (!client_spice_failed(client->spice, reason, again_ms))
			leave(client, client_spice_exit(client->spice, CLIENT_EXIT_UNREACHED));
		return;
	}
	say_failed(client, reason, again_ms);
	if (again_ms == 0)
		leave(client, CLIENT_EXIT_UNREACHED);
}

static void on_taken(void *user, VscCard *card)
{
	Client *client = user;

	client_cards_taken(client->cards, card);
	if (tells(client))
		say("the host took reader '%s'", vsc_card_name(card));
}

static const char *why_refused(const Client *client, VscErrorCode code)
{
	if (client->options.as_usb)
		return "its filter of USB devices does not let it in, or it has no port for it";
	switch (code) {
	case VSC_ERROR_CANNOT_ADD_MORE_READERS:
		return "it has no place for another reader";
	case VSC_ERROR_CARD_ALREADY_INSERTED:
		return "it has a card already";
	case VSC_ERROR_SUCCESS:
	case VSC_ERROR_GENERAL:
		break;
	}
	return "it did not say why";
}

static void on_refused(void *user, VscCard *card, VscErrorCode code)
{
	Client *client = user;

	client_cards_refused(client->cards, card);
	if (tells(client))
		say("the host refused reader '%s': %s", vsc_card_name(card),
		    why_refused(client, code));
	/* With a viewer, people have more than the card. */
	if (client_cards_all_refused(client->cards) && !has_viewer(client))
		end(client, CLIENT_EXIT_REFUSED);
}

static const ClientLenderEvents lender_events = {
	.connected = on_connected,
	.up = on_up,
	.down = on_down,
	.failed = on_failed,
	.taken = on_taken,
	.refused = on_refused,
};

/* ---- Commands ---- */

static gboolean take_commands(gpointer user)
{
	Client *client = user;

	client->commands_timer = 0;
	client->commands_wait = client->asking;
	if (client->asking)
		return G_SOURCE_REMOVE;
	client->commands = client_commands_new(STDIN_FILENO, client->cards, isatty(STDIN_FILENO),
					       on_exit_command, client);
	return G_SOURCE_REMOVE;
}

static void on_card(void *user)
{
	Client *client = user;

	if (client->commands_timer == 0)
		return;
	stop_timer(&client->commands_timer);
	client->commands_timer = g_timeout_add(CARDS_QUIET_MS, take_commands, client);
}

/* ---- The way to the host ---- */

static void unreach(Client *client)
{
	stop_timer(&client->answer_timer);
	if (client->lender != NULL)
		client_cards_lend(client->cards, NULL);
	g_clear_pointer(&client->lender, client_lender_free);
}

/* A new conversation with the host, or the first; it begins when the loop runs. */
static bool reach(Client *client, GError **error)
{
	unreach(client);
	if (client->spice != NULL)
		client->chardev = client_spice_open(client->spice, error);
	if (client->chardev == NULL)
		return false;
	if (client->options.as_usb)
		client->lender = client_lender_new_usb(client->chardev, &lender_events, client);
	else
		client->lender = client_lender_new_vscard(client->chardev, &lender_events, client);
	client_cards_lend(client->cards, client->lender);
	return true;
}

static void on_spice_again(void *user)
{
	Client *client = user;
	g_autoptr(GError) error = NULL;

	if (client->ending || reach(client, &error))
		return;
	say("%s", error->message);
	leave(client, CLIENT_EXIT_UNREACHED);
}

static void on_spice_ended(void *user, ClientExit status)
{
	end(user, status);
}

/* Commands from the terminal wait until it is free. */
static void on_spice_asking(void *user, bool asking)
{
	Client *client = user;

	if (!isatty(STDIN_FILENO))
		return;
	client->asking = asking;
	if (client->commands != NULL)
		client_commands_hold(client->commands, asking);
	else if (!asking && client->commands_wait)
		take_commands(client);
}

static const ClientSpiceEvents spice_events = {
	.again = on_spice_again,
	.ended = on_spice_ended,
	.failed = say_failed,
	.asking = on_spice_asking,
};

/* ---- Start and end ---- */

static ClientExit exit_of(const GError *error)
{
	if (g_error_matches(error, VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_OPEN))
		return CLIENT_EXIT_UNREACHED;
	if (error->domain == VSC_CACARD_ERROR && error->code != VSC_CACARD_ERROR_OPTIONS)
		return CLIENT_EXIT_CARD;
	return CLIENT_EXIT_OPTIONS;
}

/* Makes the way to the host, or says that it cannot be one. */
static bool make_way(Client *client, GError **error)
{
	g_autoptr(VmcOpts) socket = NULL;

	if (client->options.is_spice) {
		client->spice = client_spice_new(&client->options, &spice_events, client);
		return true;
	}
	socket = client_options_socket(&client->options);
	client->chardev = vmc_chardev_new(socket, error);
	return client->chardev != NULL;
}

/* Makes the way to the host, which it goes when the loop runs, and the cards.
 * False: said why, `exit` is set. */
static bool start(Client *client)
{
	g_autoptr(GError) error = NULL;

	if (make_way(client, &error))
		client->cards = client_cards_new(&client->options, on_card, client, &error);
	if (client->cards != NULL && reach(client, &error))
		return true;
	client->exit = exit_of(error);
	say("%s", error->message);
	return false;
}

static void finish(Client *client)
{
	stop_timer(&client->commands_timer);
	client_commands_free(client->commands);
	unreach(client);
	if (client->spice != NULL)
		client_spice_free(client->spice);
	else
		vmc_chardev_free(client->chardev);
	client_cards_free(client->cards);
	client_attempts_clear(&client->attempts);
	client_options_clear(&client->options);
	g_main_loop_unref(client->loop);
}

/* Under nohup it stays ignored. */
static void take_hangup(Client *client)
{
	struct sigaction now;

	if (sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
		g_unix_signal_add(SIGHUP, on_signal, client);
}

static void serve(Client *client)
{
	client->exit = CLIENT_EXIT_DONE;
	signal(SIGPIPE, SIG_IGN);
	/* In the background of a terminal, reading commands fails instead of
	 * stopping the program. */
	signal(SIGTTIN, SIG_IGN);
	g_unix_signal_add(SIGTERM, on_signal, client);
	g_unix_signal_add(SIGINT, on_signal, client);
	take_hangup(client);
	client->commands_timer = g_timeout_add(CARDS_WAIT_MS, take_commands, client);
	g_main_loop_run(client->loop);
}

static ClientExit run(Client *client)
{
	client->loop = g_main_loop_new(NULL, FALSE);
	client_commands_set_trace(client->options.trace);
	if (start(client)) {
		client_service_ready();
		serve(client);
	}
	finish(client);
	return client->exit;
}

/* Started with a standard descriptor closed, the next file to be opened, a
 * database say, would take its place and be read as commands or written to. */
static void keep_standard_descriptors(void)
{
	int fd = open("/dev/null", O_RDWR);

	while (fd >= 0 && fd <= STDERR_FILENO)
		fd = open("/dev/null", O_RDWR);
	if (fd >= 0)
		close(fd);
}

/* What the libraries have to say is said as all else is. */
static void on_log(const char *domain, GLogLevelFlags level, const char *message, gpointer user)
{
	(void)user;
	if ((level & (G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_WARNING)) != 0)
		say("%s", message);
	else
		g_log_default_handler(domain, level, message, NULL);
}

/* The password as told beside the command line: the file's, the environment's,
 * the .vv file's. */
static bool find_password(ClientOptions *options, GError **error)
{
	char *password = client_password_from_environment();

	if (options->password_file != NULL) {
		client_password_free(password);
		password = client_password_from_file(options->password_file, error);
		if (password == NULL)
			return false;
	}
	if (password == NULL || !options->is_spice) {
		client_password_free(password);
		return true;
	}
	client_password_free(options->spice.password);
	options->spice.password = password;
	return true;
}

int main(int argc, char **argv)
{
	Client client = { 0 };
	g_autofree char *help = NULL;
	g_autoptr(GError) error = NULL;

	keep_standard_descriptors();
	g_log_set_default_handler(on_log, NULL);

	if (!client_options_read(&client.options, argc, argv, &error) ||
	    !find_password(&client.options, &error)) {
		say("%s", error->message);
		client_options_clear(&client.options);
		return CLIENT_EXIT_OPTIONS;
	}
	switch (client.options.action) {
	case CLIENT_SHOW_HELP:
		help = client_options_help();
		printf("%s", help);
		return CLIENT_EXIT_DONE;
	case CLIENT_SHOW_VERSION:
		printf("vscclient %s\n", VSCARD_RELEASE);
		return CLIENT_EXIT_DONE;
	case CLIENT_LIST:
		return (int)client_list(&client.options);
	case CLIENT_CHECK:
		client.exit = client_check(&client.options);
		client_options_clear(&client.options);
		return (int)client.exit;
	case CLIENT_RUN:
		break;
	}
	return (int)run(&client);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A VSCard client that lends the test card (tests/lib/testcard.h), for suites
 * and benchmarks that need a card which answers at once, or late, and in any
 * length:
 *
 *   echo-client CHARDEV-KEYS [t1|t0|both] [--reader=NAME[,SERIAL]...]
 *   echo-client SPICE-ADDRESS [t1|t0|both [smartcard|port]]
 *
 * CHARDEV-KEYS are those of a socket char device, such as path=/run/card or
 * host=127.0.0.1,port=2001. One reader, called "Echo reader", if none is named;
 * each has such a card. It ends with the connection, or by SIGTERM.
 */

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/testcard.h"
#include "vmc/spice-session.h"
#include "vscard/link.h"

static VmcSpan atr_named(const char *name)
{
	if (strcmp(name, "t0") == 0)
		return vsc_test_atr_t0;
	if (strcmp(name, "both") == 0)
		return vsc_test_atr_both;
	return vsc_test_atr_t1;
}

static gboolean end_loop(gpointer loop)
{
	g_main_loop_quit(loop);
	return G_SOURCE_REMOVE;
}

static void on_down(void *user, const GError *reason)
{
	fprintf(stderr, "echo-client: %s\n", reason->message);
	g_main_loop_quit(user);
}

static const VscClientLinkEvents link_events = { .down = on_down };

/* What the card is lent through. */
typedef struct Way {
	VmcOpts *opts;
	VmcSpiceSession *session;
	VmcChardev *chardev;
} Way;

static void open_spice(Way *way, const char *text, const char *channel, GError **error)
{
	VmcSpiceAddress address = { 0 };

	if (vmc_spice_address_read(&address, text, error))
		way->session = vmc_spice_session_new(&address, 0, error);
	if (way->session != NULL)
		way->chardev = vmc_spice_session_channel(way->session,
							 strcmp(channel, "port") == 0 ?
								 VMC_SPICE_WANT_PORT :
								 VMC_SPICE_WANT_SMARTCARD,
							 NULL);
	vmc_spice_address_clear(&address);
}

static void open_socket(Way *way, const char *keys, GError **error)
{
	g_autofree char *text = g_strdup_printf("socket,id=echo,%s", keys);

	way->opts = vmc_opts_parse("echo-client", text, "backend", error);
	if (way->opts != NULL)
		way->chardev = vmc_chardev_new(way->opts, error);
}

static void close_way(Way *way)
{
	vmc_chardev_free(way->chardev);
	vmc_spice_session_free(way->session);
	vmc_opts_free(way->opts);
}

/* Takes the names of readers out of the arguments; answers how many are left. */
static int take_readers(int argc, char **argv, GPtrArray *names)
{
	int n = 0;

	for (int i = 0; i < argc; i++) {
		if (g_str_has_prefix(argv[i], "--reader="))
			g_ptr_array_add(names, strchr(argv[i], '=') + 1);
		else
			argv[n++] = argv[i];
	}
	if (names->len == 0)
		g_ptr_array_add(names, (char *)"Echo reader");
	return n;
}

static VscTestCard *card_named(const char *text, const char *atr)
{
	g_auto(GStrv) words = g_strsplit(text, ",", 2);
	VscTestCard *card = vsc_test_card_new(words[0]);

	vsc_card_describe(vsc_test_card(card), NULL, &(VscReaderInfo){ .serial = words[1] });
	vsc_test_card_set_atr(card, atr_named(atr));
	vsc_test_card_set_present(card, true);
	return card;
}

static void free_card(void *card)
{
	vsc_test_card_free(card);
}

int main(int argc, char **argv)
{
	g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	g_autoptr(GPtrArray) cards = g_ptr_array_new_with_free_func(free_card);
	g_autoptr(GError) error = NULL;
	Way way = { 0 };
	VscClientLink *link = NULL;

	argc = take_readers(argc, argv, names);
	if (argc < 2) {
		fprintf(stderr, "usage: echo-client CHARDEV-KEYS|SPICE-ADDRESS [t1|t0|both "
				"[smartcard|port]] [--reader=NAME[,SERIAL]...]\n");
		return 1;
	}
	if (vmc_spice_address_is(argv[1]))
		open_spice(&way, argv[1], argc > 3 ? argv[3] : "smartcard", &error);
	else
		open_socket(&way, argv[1], &error);
	if (way.chardev != NULL)
		link = vsc_client_link_new(way.chardev, &link_events, loop, &error);
	if (link == NULL) {
		fprintf(stderr, "echo-client: %s\n", error->message);
		return 1;
	}
	for (guint i = 0; i < names->len; i++) {
		g_ptr_array_add(cards, card_named(names->pdata[i], argc > 2 ? argv[2] : "t1"));
		vsc_client_link_add(link, vsc_test_card(cards->pdata[i]));
	}
	g_unix_signal_add(SIGTERM, end_loop, loop);
	g_main_loop_run(loop);
	vsc_client_link_free(link);
	close_way(&way);
	return 0;
}

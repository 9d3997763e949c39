/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A VSCard client that lends the test card (tests/lib/testcard.h), for suites
 * and benchmarks that need a card which answers at once, or late, and in any
 * length:
 *
 *   echo-client CHARDEV-KEYS [t1|t0|both]
 *
 * CHARDEV-KEYS are those of a socket char device, such as path=/run/card or
 * host=127.0.0.1,port=2001. It ends with the connection, or by SIGTERM.
 */

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/testcard.h"
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

int main(int argc, char **argv)
{
	g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
	g_autoptr(GError) error = NULL;
	g_autofree char *text = NULL;
	VmcOpts *opts;
	VmcChardev *chardev = NULL;
	VscClientLink *link = NULL;
	VscTestCard *card = vsc_test_card_new("Echo reader");

	if (argc < 2) {
		fprintf(stderr, "usage: echo-client CHARDEV-KEYS [t1|t0|both]\n");
		return 1;
	}
	text = g_strdup_printf("socket,id=echo,%s", argv[1]);
	opts = vmc_opts_parse("echo-client", text, "backend", &error);
	if (opts != NULL)
		chardev = vmc_chardev_new(opts, &error);
	if (chardev != NULL)
		link = vsc_client_link_new(chardev, &link_events, loop, &error);
	if (link == NULL) {
		fprintf(stderr, "echo-client: %s\n", error->message);
		return 1;
	}
	vsc_test_card_set_atr(card, atr_named(argc > 2 ? argv[2] : "t1"));
	vsc_test_card_set_present(card, true);
	vsc_client_link_add(link, vsc_test_card(card));
	g_unix_signal_add(SIGTERM, end_loop, loop);
	g_main_loop_run(loop);
	vsc_client_link_free(link);
	vmc_chardev_free(chardev);
	vmc_opts_free(opts);
	vsc_test_card_free(card);
	return 0;
}

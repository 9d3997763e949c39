/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The relay and a viewer on it, for suites that have a server:
 *
 *   relay-viewer ADDRESS CLAIMED VIEWER [WORD...]
 *
 * CLAIMED is the number of a channel type, 0: none; the password is in
 * SPICE_PASSWORD if ADDRESS has none. Output, a line each: "ports PLAIN TLS",
 * "session ID", "ended WHY", "failed WHY", "viewer WHY". With SIGTERM, or once
 * the viewer ended, it ends.
 */

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/vscclient-viewer.h"
#include "vmc/spice-relay.h"

static void on_session(void *user, uint32_t id)
{
	(void)user;
	printf("session %u\n", id);
}

static void on_ended(void *user, const char *because)
{
	(void)user;
	printf("ended %s\n", because);
}

static void on_failed(void *user, const GError *reason)
{
	(void)user;
	printf("failed %s\n", reason->message);
}

static void on_viewer_ended(void *user, const char *because)
{
	printf("viewer %s\n", because);
	g_main_loop_quit(user);
}

static gboolean quit(void *loop)
{
	g_main_loop_quit(loop);
	return G_SOURCE_CONTINUE;
}

static int fail(const GError *error)
{
	fprintf(stderr, "%s\n", error->message);
	return 1;
}

int main(int argc, char **argv)
{
	static const VmcSpiceRelayEvents events = { .session = on_session,
						    .ended = on_ended,
						    .failed = on_failed };
	g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
	g_autoptr(VmcSpiceRelay) relay = NULL;
	g_autoptr(ClientViewer) viewer = NULL;
	g_autoptr(GError) error = NULL;
	VmcSpiceAddress address = { 0 };
	guint source;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 4) {
		fprintf(stderr, "usage: relay-viewer ADDRESS CLAIMED VIEWER [WORD...]\n");
		return 2;
	}
	if (vmc_spice_address_read(&address, argv[1], &error)) {
		if (address.password == NULL)
			address.password = g_strdup(g_getenv("SPICE_PASSWORD"));
		relay = vmc_spice_relay_new(&address, (uint8_t)atoi(argv[2]), &events, NULL,
					    &error);
	}
	if (relay != NULL) {
		printf("ports %u %u\n", vmc_spice_relay_port(relay),
		       vmc_spice_relay_tls_port(relay));
		viewer =
			client_viewer_new(&address, relay, argv + 3, on_viewer_ended, loop, &error);
	}
	vmc_spice_address_clear(&address);
	if (viewer == NULL)
		return fail(error);
	source = g_unix_signal_add(SIGTERM, quit, loop);
	g_main_loop_run(loop);
	g_source_remove(source);
	return 0;
}

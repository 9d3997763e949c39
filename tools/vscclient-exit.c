/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What vscclient's exit statuses mean. */

#include "tools/vscclient-exit.h"

static const char *const meanings[] = {
	[CLIENT_EXIT_DONE] = "told to end; --check: all is well",
	[CLIENT_EXIT_OPTIONS] = "bad options",
	[CLIENT_EXIT_UNREACHED] = "host not reached",
	[CLIENT_EXIT_REFUSED] = "host refused the reader",
	[CLIENT_EXIT_CARD] = "card or database error; --list and -p: or no pcscd",
	[CLIENT_EXIT_LOST] = "connection lost and no --reconnect",
	[CLIENT_EXIT_PASSWORD] = "password or user not accepted",
	[CLIENT_EXIT_UNTRUSTED] = "the server's certificate is not trusted",
	[CLIENT_EXIT_NO_PCSCD] = "--check: no pcscd",
	[CLIENT_EXIT_NO_READER] = "--check: no reader, or none that may be lent",
	[CLIENT_EXIT_NO_CARD] = "--check: no card in the reader",
	[CLIENT_EXIT_CARD_STUCK] = "--check: the card is mute, or another program's alone",
	[CLIENT_EXIT_SILENT] = "--check: the host does not answer, or serves another client",
	[CLIENT_EXIT_NOT_VSCARD] = "--check: what answers is no host, or of another version",
	[CLIENT_EXIT_NO_CHANNEL] = "--check: the SPICE server has no channel for the card",
	[CLIENT_EXIT_CHANNEL_BUSY] = "--check: that channel has another client",
};

void client_exit_append_help(GString *text)
{
	g_string_append(text, "\nExit status:\n");
	for (guint i = 0; i < G_N_ELEMENTS(meanings); i++)
		g_string_append_printf(text, "  %2u  %s\n", i, meanings[i]);
}

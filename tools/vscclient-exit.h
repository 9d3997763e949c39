/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ClientExit: what vscclient ends with, and what each means; the manual page
 * says more.
 */

#pragma once

#include <glib.h>

typedef enum ClientExit {
	CLIENT_EXIT_DONE = 0,
	CLIENT_EXIT_OPTIONS = 1,
	CLIENT_EXIT_UNREACHED = 2,
	CLIENT_EXIT_REFUSED = 3, /* of SPICE's channels too, but for --check */
	CLIENT_EXIT_CARD = 4,
	CLIENT_EXIT_LOST = 5,
	CLIENT_EXIT_PASSWORD = 6,
	CLIENT_EXIT_UNTRUSTED = 7,
	/* Only --check tells these apart. */
	CLIENT_EXIT_NO_PCSCD = 8,
	CLIENT_EXIT_NO_READER = 9,
	CLIENT_EXIT_NO_CARD = 10,
	CLIENT_EXIT_CARD_STUCK = 11, /* mute, or another program's alone */
	CLIENT_EXIT_SILENT = 12,
	CLIENT_EXIT_NOT_VSCARD = 13,
	CLIENT_EXIT_NO_CHANNEL = 14,
	CLIENT_EXIT_CHANNEL_BUSY = 15,
} ClientExit;

/* For --help: the list, in lines. */
void client_exit_append_help(GString *text);

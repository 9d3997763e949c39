/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The password of a SPICE server as a person keeps it: in a file or in the
 * environment; never on the command line, which everyone can list.
 */

#pragma once

#include <glib.h>
#include <stdbool.h>

#define CLIENT_PASSWORD_VARIABLE "VSCARD_SPICE_PASSWORD"

/* How else than on the command line, for whoever tried. */
#define CLIENT_PASSWORD_WAYS                                                                       \
	"--password-file FILE, the environment variable " CLIENT_PASSWORD_VARIABLE                 \
	", or a terminal to ask on"

/* No password is longer; a file whose first line is, is another file. */
#define CLIENT_PASSWORD_MAX 1024u

/* Takes the variable out of the environment, wiped there; NULL if it is not
 * set, or empty. Before any thread is. Free with client_password_free(). */
char *client_password_from_environment(void);

/* The first line of `file`, without its end. NULL with `error`. */
char *client_password_from_file(const char *file, GError **error);

/* Wipes it; NULL is fine. */
void client_password_free(char *password);

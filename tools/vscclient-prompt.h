/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ClientPrompt: a password asked for on the terminal, without echo, while the
 * main loop goes on. Standard input and output are left to others.
 */

#pragma once

#include <glib.h>

typedef struct ClientPrompt ClientPrompt;

/* Longer ones are cut off by the terminal's own line (4,096 bytes) anyway. */
#define CLIENT_PROMPT_MAX 1024u

/*
 * Asks `text` on the process's terminal. `answered` is called once from the
 * loop, with the password (valid during the call, then wiped) or NULL when the
 * terminal's line ended without one. NULL if there is no terminal, or another
 * program has it (this one runs in the background). Free to end.
 */
ClientPrompt *client_prompt_new(const char *text,
				void (*answered)(void *user, const char *password), void *user);
/* Gives the terminal back as it was; NULL is fine. May be called in `answered`. */
void client_prompt_free(ClientPrompt *prompt);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ClientPrompt, client_prompt_free)

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Commands on standard input, as libcacard's vscclient has them. They are read
 * as they come, from a terminal, a pipe or a file; when the input ends, the
 * program goes on without.
 */

#pragma once

#include "tools/vscclient-cards.h"

typedef struct ClientCommands ClientCommands;

/* Reads commands from descriptor `fd` for `cards` (borrowed) from now on.
 * `exit` calls `on_exit`. With `prompt`, "> " asks for each on stdout. */
ClientCommands *client_commands_new(int fd, ClientCards *cards, bool prompt,
				    void (*on_exit)(void *user), void *user);
void client_commands_free(ClientCommands *commands);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ClientCommands, client_commands_free)

/* While held, nothing is read: the terminal is somebody else's. */
void client_commands_hold(ClientCommands *commands, bool held);

/* The trace level that `debug` shows and changes. */
void client_commands_set_trace(int level);

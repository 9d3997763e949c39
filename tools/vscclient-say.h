/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What vscclient prints, in lines: what it says of itself goes to stderr, so
 * that stdout has nothing but the answers to commands. Names come from
 * certificates, readers and whoever types: nothing of them may steer a
 * terminal.
 */

#pragma once

#include <glib.h>

/* `text` with '?' for each control character, those over U+0080 among them, and
 * U+FFFD for what is not UTF-8. Free with g_free(). */
char *say_clean(const char *text);

/* A line on stderr, with the program's name before it. */
void say(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* A line on stdout. */
void answer(const char *format, ...) G_GNUC_PRINTF(1, 2);

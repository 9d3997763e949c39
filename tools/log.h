/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What vscardd says about itself, as QEMU's -d and -D have it: errors always,
 * more for each item asked for, to stderr or a file. APDU data is never among
 * it.
 */

#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* Turns on the items of `list`, separated by commas (-d). False with `error`
 * naming the items there are. */
bool log_enable(const char *list, GError **error);

/* Prints the items with a line of help each to stdout (-d help). */
void log_print_items(void);

/* Lines go to `path`, appended, from now on (-D). False with `error`. */
bool log_to_file(const char *path, GError **error);

/* Makes GLib's messages and the link's trace go through here. */
void log_start(void);

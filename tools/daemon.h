/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Going to the background, and the pid file, as QEMU's -daemonize and -pidfile
 * do: the caller's shell gets its prompt back once the appliance serves, and
 * a non-zero status if it cannot.
 */

#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/*
 * Forks: the parent waits here and exits with 0 once the child calls
 * daemon_ready(), or with 1 once the child ends without. Only the child
 * returns. Call before any thread is started. False with `error`.
 */
bool daemon_fork(GError **error);

/* Serving: tells a service manager so (sd_notify(3), a service of Type=notify),
 * and after daemon_fork() lets go of the terminal and releases the parent. */
void daemon_ready(void);

/* Writes our process id to `path` and keeps the file locked, so that a second
 * appliance with the same file is refused. False with `error`. */
bool daemon_write_pidfile(const char *path, GError **error);

/* Takes the pid file away, if one was written. */
void daemon_remove_pidfile(void);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * IfdThread: the one thread in which the IFD handler's VSCard side lives. It
 * runs GLib's default main context, where char devices and card links put
 * their sources, and owns it from its first moment to its last: pcscd itself
 * runs no main loop, and should anybody else do so with this context, the
 * thread does not start and says why. Started with the first reader, ended
 * with the last; after that no thread of ours is left.
 */

#pragma once

#include <glib.h>
#include <stdbool.h>

/* One more user; the first starts the thread. False with `error` when it
 * cannot run. Calls of use and unuse must not overlap. */
bool ifd_thread_use(GError **error);

/* One user less; the last ends the thread, and this returns when it is gone.
 * Not in the thread itself. */
void ifd_thread_unuse(void);

/* Runs `work` in the thread and returns when it has run. From any other thread
 * that holds no lock which `work` takes; while there is a user. */
void ifd_thread_call(void (*work)(void *data), void *data);

/* Something that the thread is to do soon, as often as it is posted or less:
 * a post before the work has begun adds nothing to it. Zeroed at first. */
typedef struct IfdWork {
	void (*run)(void *data);
	void *data;
	bool posted;
	GList link;
} IfdWork;

void ifd_thread_post(IfdWork *work);

/* Takes back what was posted and has not begun; only in the thread. */
void ifd_thread_take_back(IfdWork *work);

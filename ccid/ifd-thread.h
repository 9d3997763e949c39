/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * IfdThread: the loop in which the IFD handler's VSCard side lives. It is
 * GLib's default main context, where char devices and card links put their
 * sources; pcscd itself runs no main loop, and should anybody else do so with
 * this context when the first reader is made, that fails and says why. One
 * thread of ours runs it, started with the first reader and ended with the
 * last, after which none is left. A thread of pcscd's that waits for its card
 * may run it meanwhile, ours stepping back: so a command that follows another
 * needs no other thread to wake up. "In the loop" is in whichever runs it.
 */

#pragma once

#include <glib.h>
#include <stdbool.h>

/* One more user; the first starts the thread. False with `error` when it
 * cannot run. Calls of use and unuse must not overlap. */
bool ifd_thread_use(GError **error);

/* One user less; the last ends the thread, and this returns when it is gone.
 * Not in the loop. */
void ifd_thread_unuse(void);

/* Runs `work` in the loop and returns when it has run. From any thread that does
 * not run it and holds no lock which `work` takes; while there is a user. */
void ifd_thread_call(void (*work)(void *data), void *data);

/* Something that is to be done in the loop soon, as often as it is posted or less:
 * a post before the work has begun adds nothing to it. Zeroed at first. */
typedef struct IfdWork {
	void (*run)(void *data);
	void *data;
	bool posted;
	GList link;
} IfdWork;

void ifd_thread_post(IfdWork *work);

/* Takes back what was posted and has not begun; only in the loop. */
void ifd_thread_take_back(IfdWork *work);

/*
 * Makes this thread the one that runs the loop: then come any number of turns,
 * each of which returns when something was done or at `until` (monotonic time,
 * µs), and a leave. False when another one of pcscd's runs it: what is posted is
 * done by that or by ours, and when this thread waits no more it says so.
 */
bool ifd_thread_enter(void);
void ifd_thread_turn(gint64 until);
void ifd_thread_leave(void);
void ifd_thread_waits_no_more(void);

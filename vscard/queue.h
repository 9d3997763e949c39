/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscQueue: the actions of a session on their way out. Each entry is one block
 * that holds an action and the bytes its `data` points to, so that an action
 * is valid however its cause fares, and is wiped as a whole when it was dealt
 * with.
 */

#pragma once

#include <glib.h>

#include "vmc/span.h"

typedef struct VscQueue {
	GQueue blocks;
	void *taken; /* the block handed out last */
} VscQueue;

void vsc_queue_init(VscQueue *queue);

/* Wipes and drops all there is; the queue is empty and usable after. */
void vsc_queue_clear(VscQueue *queue);

/* Adds a copy of the `size` bytes at `action`, with a copy of `data` in the
 * VmcSpan that lies `data_offset` bytes into it. */
void vsc_queue_push(VscQueue *queue, const void *action, size_t size, size_t data_offset,
		    VmcSpan data);

/* Takes the first action into the `size` bytes at `action`; its data is valid
 * until the next call. False when there is none. */
bool vsc_queue_next(VscQueue *queue, void *action, size_t size);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcQueue: the actions of a session on their way out. Each entry is one block
 * that holds an action and the bytes its `data` points to, so that an action
 * is valid however its cause fares, and is wiped as a whole when it was dealt
 * with.
 */

#pragma once

#include <glib.h>

#include "vmc/span.h"

typedef struct VmcQueue {
	GQueue blocks;
	void *taken; /* the block handed out last */
} VmcQueue;

void vmc_queue_init(VmcQueue *queue);

/* Wipes and drops all there is; the queue is empty and usable after. */
void vmc_queue_clear(VmcQueue *queue);

/* Adds a copy of the `size` bytes at `action`, with a copy of `data` in the
 * VmcSpan that lies `data_offset` bytes into it. */
void vmc_queue_push(VmcQueue *queue, const void *action, size_t size, size_t data_offset,
		    VmcSpan data);

/* Takes the first action into the `size` bytes at `action`; its data is valid
 * until the next call. False when there is none. */
bool vmc_queue_next(VmcQueue *queue, void *action, size_t size);

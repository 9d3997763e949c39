/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcBuf: the one input buffer. It grows as bytes arrive, up to a maximum set
 * at its making, is read from the front and compacts itself. A peer that
 * sends more than the maximum is a violation the caller has to handle, never
 * a bigger buffer. What was consumed is wiped.
 */

#pragma once

#include "vmc/span.h"

typedef struct VmcBuf {
	uint8_t *data;
	size_t start; /* first byte not yet consumed */
	size_t end;   /* one past the last byte */
	size_t size;  /* bytes allocated */
	size_t max;   /* bytes it may ever hold unconsumed */
} VmcBuf;

/* An empty buffer for at most `max` unconsumed bytes; allocates nothing. */
void vmc_buf_init(VmcBuf *buf, size_t max);

/* Wipes and releases what the buffer holds; it is empty and usable after. */
void vmc_buf_clear(VmcBuf *buf);

/*
 * Room for `want` (> 0) more bytes: answers where to put them and, in `*room`,
 * how many fit there (at most `want`, and 1 at least). NULL when the buffer
 * holds its maximum: the peer's violation. Follow with vmc_buf_added().
 */
uint8_t *vmc_buf_room(VmcBuf *buf, size_t want, size_t *room);

/* The first `n` bytes of the last vmc_buf_room() now hold input. */
void vmc_buf_added(VmcBuf *buf, size_t n);

/* Copies `bytes` to the end. False, with nothing added, when they would pass
 * the maximum. */
bool vmc_buf_append(VmcBuf *buf, VmcSpan bytes);

/* All unconsumed bytes; valid until the next call that changes the buffer. */
VmcSpan vmc_buf_span(const VmcBuf *buf);

/* Drops and wipes the first `n` unconsumed bytes (at most all there are). */
void vmc_buf_consume(VmcBuf *buf, size_t n);

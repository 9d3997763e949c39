/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSpan: a borrowed run of bytes that is read from the front. Every codec
 * reads wire bytes through it: a get checks that the bytes are there, then
 * advances; when they are not, it answers false and the span is as it was.
 * No codec casts wire bytes to a struct or counts offsets by hand.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes owned by somebody else; whoever hands a span out says until when. */
typedef struct VmcSpan {
	const uint8_t *data; /* may be NULL when len is 0 */
	size_t len;          /* bytes */
} VmcSpan;

/* The span over the `len` bytes at `data`; nothing is copied. */
static inline VmcSpan vmc_span(const void *data, size_t len)
{
	return (VmcSpan){ .data = data, .len = len };
}

/*
 * Takes the first `n` bytes of `span` into `*out` (which borrows from the same
 * owner). False, with both unchanged, when fewer are there.
 */
bool vmc_span_take(VmcSpan *span, size_t n, VmcSpan *out);

/*
 * Take one unsigned number of 1, 2 or 4 bytes, little-endian (le) or
 * big-endian (be), from the front of `span` into `*out`. False, with both
 * unchanged, when fewer bytes are there.
 */
bool vmc_span_u8(VmcSpan *span, uint8_t *out);
bool vmc_span_u16le(VmcSpan *span, uint16_t *out);
bool vmc_span_u16be(VmcSpan *span, uint16_t *out);
bool vmc_span_u32le(VmcSpan *span, uint32_t *out);
bool vmc_span_u32be(VmcSpan *span, uint32_t *out);

/* Store one number at `to`, which has room for its 2 or 4 bytes. */
void vmc_put_u16le(uint8_t *to, uint16_t value);
void vmc_put_u16be(uint8_t *to, uint16_t value);
void vmc_put_u32le(uint8_t *to, uint32_t value);
void vmc_put_u32be(uint8_t *to, uint32_t value);

/* Overwrites the `len` bytes at `data` with zeros, never optimised away: for
 * buffers that held APDUs, which may hold PINs. `data` may be NULL when `len`
 * is 0. */
void vmc_wipe(void *data, size_t len);

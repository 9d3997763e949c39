/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSpan: reading and storing numbers byte by byte, so that neither the
 * alignment nor the byte order of this machine matters.
 */

#include "vmc/span.h"

#include <string.h>

bool vmc_span_take(VmcSpan *span, size_t n, VmcSpan *out)
{
	if (span->len < n)
		return false;

	*out = vmc_span(span->data, n);
	/* Nothing is added to a NULL pointer, not even 0: that is undefined in C. */
	if (n > 0)
		span->data += n;
	span->len -= n;
	return true;
}

bool vmc_span_u8(VmcSpan *span, uint8_t *out)
{
	VmcSpan b;

	if (!vmc_span_take(span, 1, &b))
		return false;
	*out = b.data[0];
	return true;
}

bool vmc_span_u16le(VmcSpan *span, uint16_t *out)
{
	VmcSpan b;

	if (!vmc_span_take(span, 2, &b))
		return false;
	*out = (uint16_t)(b.data[0] | b.data[1] << 8);
	return true;
}

bool vmc_span_u16be(VmcSpan *span, uint16_t *out)
{
	VmcSpan b;

	if (!vmc_span_take(span, 2, &b))
		return false;
	*out = (uint16_t)(b.data[0] << 8 | b.data[1]);
	return true;
}

bool vmc_span_u32le(VmcSpan *span, uint32_t *out)
{
	VmcSpan b;

	if (!vmc_span_take(span, 4, &b))
		return false;
	*out = (uint32_t)b.data[0] | (uint32_t)b.data[1] << 8 | (uint32_t)b.data[2] << 16 |
	       (uint32_t)b.data[3] << 24;
	return true;
}

bool vmc_span_u32be(VmcSpan *span, uint32_t *out)
{
	VmcSpan b;

	if (!vmc_span_take(span, 4, &b))
		return false;
	*out = (uint32_t)b.data[0] << 24 | (uint32_t)b.data[1] << 16 | (uint32_t)b.data[2] << 8 |
	       (uint32_t)b.data[3];
	return true;
}

void vmc_put_u16le(uint8_t *to, uint16_t value)
{
	to[0] = (uint8_t)value;
	to[1] = (uint8_t)(value >> 8);
}

void vmc_put_u16be(uint8_t *to, uint16_t value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

void vmc_put_u32le(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)value;
	to[1] = (uint8_t)(value >> 8);
	to[2] = (uint8_t)(value >> 16);
	to[3] = (uint8_t)(value >> 24);
}

void vmc_put_u32be(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)(value >> 24);
	to[1] = (uint8_t)(value >> 16);
	to[2] = (uint8_t)(value >> 8);
	to[3] = (uint8_t)value;
}

void vmc_wipe(void *data, size_t len)
{
	if (len > 0)
		explicit_bzero(data, len);
}

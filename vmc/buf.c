/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcBuf: bytes in at the end, out at the front. The block is at most twice
 * the maximum, so that the bytes move to its front only when at least as many
 * were consumed before them: every byte is moved once on average, however
 * small the steps. Whatever a byte leaves behind, by being consumed, moved or
 * reallocated, is wiped.
 */

#include "vmc/buf.h"

#include <glib.h>
#include <string.h>

/* The first block: most messages here are short APDUs. */
#define BUF_FIRST_SIZE 1024u
/* An empty buffer gives a block larger than this back, so that one long
 * message does not stay in memory for as long as its device lives. */
#define BUF_KEEP_SIZE (16u * 1024)

void vmc_buf_init(VmcBuf *buf, size_t max)
{
	g_return_if_fail(max > 0);

	*buf = (VmcBuf){ .max = max };
}

static void drop_block(VmcBuf *buf)
{
	g_free(buf->data);
	buf->data = NULL;
	buf->start = 0;
	buf->end = 0;
	buf->size = 0;
}

void vmc_buf_clear(VmcBuf *buf)
{
	vmc_wipe(buf->data, buf->size);
	drop_block(buf);
}

static void move_to_front(VmcBuf *buf)
{
	size_t len = buf->end - buf->start;

	memmove(buf->data, buf->data + buf->start, len);
	vmc_wipe(buf->data + len, buf->end - len);
	buf->start = 0;
	buf->end = len;
}

/* A larger block, with `len` + `room` bytes in it at least. */
static void grow(VmcBuf *buf, size_t room)
{
	size_t len = buf->end - buf->start;
	size_t most = buf->max > SIZE_MAX / 2 ? buf->max : buf->max * 2;
	size_t size = MAX(buf->size, BUF_FIRST_SIZE / 2);
	uint8_t *data;

	size = size > most / 2 ? most : size * 2;
	size = MAX(size, len + room);

	/* Not realloc: it would leave a copy behind that nobody wipes. */
	data = g_malloc(size);
	if (len > 0)
		memcpy(data, buf->data + buf->start, len);
	vmc_buf_clear(buf);
	buf->data = data;
	buf->end = len;
	buf->size = size;
}

uint8_t *vmc_buf_room(VmcBuf *buf, size_t want, size_t *room)
{
	size_t len = buf->end - buf->start;
	size_t n = MIN(want, buf->max - len);

	g_return_val_if_fail(want > 0, NULL);

	if (n == 0)
		return NULL;
	if (n > buf->size - buf->end) {
		if (buf->start >= len && n <= buf->size - len)
			move_to_front(buf);
		else
			grow(buf, n);
	}
	*room = n;
	return buf->data + buf->end;
}

void vmc_buf_added(VmcBuf *buf, size_t n)
{
	g_return_if_fail(n <= buf->size - buf->end);
	g_return_if_fail(n <= buf->max - (buf->end - buf->start));

	buf->end += n;
}

bool vmc_buf_append(VmcBuf *buf, VmcSpan bytes)
{
	uint8_t *to;
	size_t room;

	if (bytes.len > buf->max - (buf->end - buf->start))
		return false;
	if (bytes.len == 0)
		return true;

	to = vmc_buf_room(buf, bytes.len, &room);
	memcpy(to, bytes.data, bytes.len);
	vmc_buf_added(buf, bytes.len);
	return true;
}

VmcSpan vmc_buf_span(const VmcBuf *buf)
{
	if (buf->start == buf->end)
		return vmc_span(NULL, 0);
	return vmc_span(buf->data + buf->start, buf->end - buf->start);
}

void vmc_buf_consume(VmcBuf *buf, size_t n)
{
	n = MIN(n, buf->end - buf->start);
	if (n == 0)
		return;

	vmc_wipe(buf->data + buf->start, n);
	buf->start += n;
	if (buf->start < buf->end)
		return;

	if (buf->size > BUF_KEEP_SIZE) {
		drop_block(buf);
	} else {
		buf->start = 0;
		buf->end = 0;
	}
}

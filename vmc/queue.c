/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Blocks of an action and its data. Whoever pushes bounds how many there are:
 * a session makes a few for each input, and its link takes them all before it
 * gives the next.
 */

#include "vmc/queue.h"

#include <string.h>

typedef struct Block {
	size_t size;      /* of the whole block */
	max_align_t body; /* the action, then its data */
} Block;

void vmc_queue_init(VmcQueue *queue)
{
	g_queue_init(&queue->blocks);
	queue->taken = NULL;
}

static void free_block(void *data)
{
	Block *block = data;

	if (block == NULL)
		return;
	vmc_wipe(block, block->size);
	g_free(block);
}

void vmc_queue_clear(VmcQueue *queue)
{
	g_queue_clear_full(&queue->blocks, free_block);
	g_clear_pointer(&queue->taken, free_block);
}

void vmc_queue_push(VmcQueue *queue, const void *action, size_t size, size_t data_offset,
		    VmcSpan data)
{
	size_t total = offsetof(Block, body) + size + data.len;
	Block *block = g_malloc(total);
	uint8_t *body = (uint8_t *)&block->body;
	VmcSpan copied = vmc_span(body + size, data.len);

	block->size = total;
	memcpy(body, action, size);
	memcpy(body + data_offset, &copied, sizeof(copied));
	if (data.len > 0)
		memcpy(body + size, data.data, data.len);
	g_queue_push_tail(&queue->blocks, block);
}

bool vmc_queue_next(VmcQueue *queue, void *action, size_t size)
{
	Block *block;

	g_clear_pointer(&queue->taken, free_block);
	block = g_queue_pop_head(&queue->blocks);
	if (block == NULL)
		return false;
	memcpy(action, &block->body, size);
	queue->taken = block;
	return true;
}

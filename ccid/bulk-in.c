/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* CcidBulkIn: see bulk-in.h. */

#include "ccid/bulk-in.h"

#include <string.h>

#include "ccid/descriptors.h"
#include "ccid/message.h"

typedef struct CcidAnswer {
	size_t len;
	uint8_t bytes[];
} CcidAnswer;

static void answer_free(CcidAnswer *answer)
{
	vmc_wipe(answer->bytes, answer->len);
	g_free(answer);
}

void ccid_bulk_in_init(CcidBulkIn *in)
{
	*in = (CcidBulkIn){ .sent = 0 };
	g_queue_init(&in->answers);
}

void ccid_bulk_in_clear(CcidBulkIn *in)
{
	CcidAnswer *answer;

	while ((answer = g_queue_pop_head(&in->answers)))
		answer_free(answer);
	g_clear_pointer(&in->last, answer_free);
	in->sent = 0;
	in->owed = false;
}

/* Of one command: its slot, sequence number and type of answer. */
static bool same_extension(const CcidAnswer *old, const CcidMessage *fresh)
{
	CcidMessage message;

	ccid_message_read(vmc_span(old->bytes, old->len), &message);
	return (message.specific[0] & CCID_COMMAND_MASK) == CCID_COMMAND_TIME_EXTENSION &&
	       message.type == fresh->type && message.slot == fresh->slot &&
	       message.seq == fresh->seq;
}

static bool is_repeated_extension(const CcidBulkIn *in, VmcSpan answer)
{
	CcidMessage message;

	ccid_message_read(answer, &message);
	if ((message.specific[0] & CCID_COMMAND_MASK) != CCID_COMMAND_TIME_EXTENSION)
		return false;
	for (const GList *i = in->answers.head; i; i = i->next)
		if (same_extension(i->data, &message))
			return true;
	return false;
}

void ccid_bulk_in_push(CcidBulkIn *in, VmcSpan answer)
{
	CcidAnswer *copy;

	if (is_repeated_extension(in, answer))
		return;
	copy = g_malloc(sizeof(*copy) + answer.len);
	copy->len = answer.len;
	memcpy(copy->bytes, answer.data, answer.len);
	g_queue_push_tail(&in->answers, copy);
}

bool ccid_bulk_in_full(const CcidBulkIn *in)
{
	return in->answers.length >= CCID_ANSWERS_MAX;
}

void ccid_bulk_in_command(CcidBulkIn *in)
{
	if (in->owed_idly)
		in->owed = false;
}

void ccid_bulk_in_halt_cleared(CcidBulkIn *in)
{
	in->owed = false;
}

static void drop_last(CcidBulkIn *in)
{
	g_clear_pointer(&in->last, answer_free);
}

/* The oldest answer went; `filled`: to the last byte of its transfer. */
static void finish_answer(CcidBulkIn *in, bool filled)
{
	in->last = g_queue_pop_head(&in->answers);
	in->sent = 0;
	/* 64 divides 512 too: at high speed this may owe one packet that the
	 * bus does not need, which ccid_bulk_in_command() makes good. */
	in->owed = filled && in->last->len % CCID_BULK_PACKET_FULL == 0;
}

bool ccid_bulk_in_take(CcidBulkIn *in, size_t length, VmcSpan *data)
{
	CcidAnswer *answer = g_queue_peek_head(&in->answers);

	drop_last(in);
	*data = vmc_span(NULL, 0);
	if (in->owed) {
		in->owed = false;
		return true;
	}
	if (!answer)
		return false;
	*data = vmc_span(answer->bytes + in->sent, MIN(length, answer->len - in->sent));
	in->owed_idly = in->sent == 0;
	in->sent += data->len;
	if (in->sent == answer->len)
		finish_answer(in, data->len == length);
	return true;
}

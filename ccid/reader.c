/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidReader: see reader.h. It sorts messages to their slots, and answers by
 * itself those that have none: cut short, of the wrong length, for a slot that
 * is not there.
 */

#include "ccid/reader.h"

#include "ccid/slot.h"

struct CcidReader {
	const CcidReaderEvents *events;
	void *user;
	unsigned n_slots;
	CcidSlot *slots[CCID_SLOTS_MAX];
};

_Static_assert(CCID_MESSAGE_MAX >= CCID_HEADER + VSC_RESPONSE_MAX,
	       "the longest response is one message");

static void on_slot_message(void *user, VmcSpan message)
{
	CcidReader *reader = user;

	reader->events->message(reader->user, message);
}

static void on_slot_changed(void *user)
{
	CcidReader *reader = user;

	reader->events->slot_change(reader->user);
}

static void on_slot_described(void *user)
{
	CcidReader *reader = user;

	if (reader->events->described)
		reader->events->described(reader->user);
}

static const CcidSlotEvents slot_events = {
	.message = on_slot_message,
	.changed = on_slot_changed,
	.described = on_slot_described,
};

CcidReader *ccid_reader_new(unsigned n_slots, const CcidReaderEvents *events, void *user)
{
	CcidReader *reader;

	g_return_val_if_fail(n_slots >= 1 && n_slots <= CCID_SLOTS_MAX, NULL);

	reader = g_new0(CcidReader, 1);
	reader->events = events;
	reader->user = user;
	reader->n_slots = n_slots;
	for (unsigned i = 0; i < n_slots; i++)
		reader->slots[i] = ccid_slot_new((uint8_t)i, &slot_events, reader);
	return reader;
}

void ccid_reader_free(CcidReader *reader)
{
	if (!reader)
		return;
	for (unsigned i = 0; i < reader->n_slots; i++)
		ccid_slot_free(reader->slots[i]);
	g_free(reader);
}

unsigned ccid_reader_slots(const CcidReader *reader)
{
	return reader->n_slots;
}

void ccid_reader_set_card(CcidReader *reader, unsigned slot, VscCard *card)
{
	g_return_if_fail(slot < reader->n_slots);

	ccid_slot_set_card(reader->slots[slot], card);
}

const VscCard *ccid_reader_card(const CcidReader *reader, unsigned slot)
{
	g_return_val_if_fail(slot < reader->n_slots, NULL);

	return ccid_slot_card(reader->slots[slot]);
}

/* An answer to a message that reached no slot. */
static void refuse(CcidReader *reader, const CcidMessage *message, uint8_t error)
{
	bool there = message->slot < reader->n_slots;
	uint8_t icc = there ? ccid_slot_status(reader->slots[message->slot]) : CCID_ICC_ABSENT;
	CcidMessage answer = {
		.type = (uint8_t)ccid_message_answer(message->type),
		.slot = message->slot,
		.seq = message->seq,
		.specific = { (uint8_t)(icc | CCID_COMMAND_FAILED), error, 0 },
	};
	uint8_t bytes[CCID_HEADER];

	ccid_message_put_header(bytes, &answer);
	reader->events->message(reader->user, vmc_span(bytes, sizeof(bytes)));
}

void ccid_reader_message(CcidReader *reader, VmcSpan bytes, int64_t now)
{
	CcidMessage message;

	switch (ccid_message_read(bytes, &message)) {
	case CCID_READ_SHORT:
	case CCID_READ_LENGTH:
		refuse(reader, &message, CCID_ERROR_LENGTH);
		return;
	case CCID_READ_OK:
		break;
	}
	if (message.slot < reader->n_slots)
		ccid_slot_command(reader->slots[message.slot], &message, now);
	else
		refuse(reader, &message, CCID_ERROR_SLOT);
}

bool ccid_reader_abort(CcidReader *reader, unsigned slot, uint8_t seq)
{
	if (slot >= reader->n_slots)
		return false;
	ccid_slot_abort(reader->slots[slot], seq);
	return true;
}

size_t ccid_reader_slot_change(CcidReader *reader, uint8_t to[1 + CCID_SLOTS_MAX / 4], int64_t now)
{
	size_t len = 1 + (reader->n_slots + 3) / 4;
	bool any = false;

	to[0] = CCID_NOTIFY_SLOT_CHANGE;
	for (size_t i = 1; i < len; i++)
		to[i] = 0;
	for (unsigned i = 0; i < reader->n_slots; i++) {
		/* Bit 0 of a slot's two: is a card there; bit 1: it changed. */
		bool changed = ccid_slot_take_change(reader->slots[i], now);
		unsigned bits =
			(changed ? 2u : 0u) | (ccid_slot_present(reader->slots[i]) ? 1u : 0u);

		to[1 + i / 4] = (uint8_t)(to[1 + i / 4] | bits << (2 * (i % 4)));
		any = any || changed;
	}
	return any ? len : 0;
}

int64_t ccid_reader_deadline(const CcidReader *reader)
{
	int64_t first = -1;

	for (unsigned i = 0; i < reader->n_slots; i++) {
		int64_t at = ccid_slot_deadline(reader->slots[i]);

		if (at >= 0 && (first < 0 || at < first))
			first = at;
	}
	return first;
}

void ccid_reader_tick(CcidReader *reader, int64_t now)
{
	for (unsigned i = 0; i < reader->n_slots; i++)
		ccid_slot_tick(reader->slots[i], now);
}

void ccid_reader_reset(CcidReader *reader)
{
	for (unsigned i = 0; i < reader->n_slots; i++)
		ccid_slot_reset(reader->slots[i]);
}

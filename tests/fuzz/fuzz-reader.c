/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The command engine with a host and two cards that do whatever the input
 * says. Each message has exactly one final answer of its type, slot and
 * sequence number, whose dwLength is the bytes that follow; when the cards
 * have ended what they have and aborts are complete, no message is left
 * without one.
 *
 * The input is a row of steps: a byte that chooses, then its arguments.
 */

#include <stdint.h>

#include "ccid/reader.h"
#include "tests/lib/testcard.h"

#define N_SLOTS 2u
#define STEPS_MAX 256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a final answer has to echo. */
typedef struct Expected {
	uint8_t type, slot, seq;
} Expected;

typedef struct Fuzz {
	VmcSpan input;
	CcidReader *reader;
	VscTestCard *cards[N_SLOTS];
	GArray *expected; /* Expected */
	int64_t now;
} Fuzz;

static uint8_t next_byte(Fuzz *fuzz)
{
	uint8_t byte = 0;

	vmc_span_u8(&fuzz->input, &byte);
	return byte;
}

static void on_message(void *user, VmcSpan bytes)
{
	Fuzz *fuzz = user;
	CcidMessage message;

	g_assert_true(ccid_message_read(bytes, &message) == CCID_READ_OK);
	g_assert_true(bytes.len <= CCID_MESSAGE_MAX);
	for (guint i = 0; i < fuzz->expected->len; i++) {
		Expected *e = &g_array_index(fuzz->expected, Expected, i);

		if (e->type != message.type || e->slot != message.slot || e->seq != message.seq)
			continue;
		if ((message.specific[0] & CCID_COMMAND_MASK) != CCID_COMMAND_TIME_EXTENSION)
			g_array_remove_index(fuzz->expected, i);
		return;
	}
	g_assert_not_reached();
}

static void on_slot_change(void *user)
{
	(void)user;
}

static const CcidReaderEvents events = { .message = on_message, .slot_change = on_slot_change };

static void send_message(Fuzz *fuzz, VmcSpan bytes)
{
	CcidMessage message;
	Expected e;

	if (bytes.len == 0)
		return;
	ccid_message_read(bytes, &message);
	e = (Expected){ (uint8_t)ccid_message_answer(message.type), message.slot, message.seq };
	g_array_append_val(fuzz->expected, e);
	ccid_reader_message(fuzz->reader, bytes, fuzz->now);
}

static void raw_message(Fuzz *fuzz)
{
	VmcSpan bytes;
	size_t n = next_byte(fuzz);

	if (vmc_span_take(&fuzz->input, MIN(n, fuzz->input.len), &bytes))
		send_message(fuzz, bytes);
}

/* A message whose length holds together, for a slot that is there. */
static void good_message(Fuzz *fuzz, size_t extra)
{
	uint8_t type = (uint8_t)(0x60 + next_byte(fuzz) % 0x14);
	uint8_t head[5] = { next_byte(fuzz), next_byte(fuzz), next_byte(fuzz), next_byte(fuzz),
			    next_byte(fuzz) };
	VmcSpan bytes;
	size_t len, n = next_byte(fuzz);
	g_autofree uint8_t *message = NULL;

	vmc_span_take(&fuzz->input, MIN(n, fuzz->input.len), &bytes);
	len = bytes.len + extra;
	message = g_malloc0(CCID_HEADER + len);
	message[0] = type;
	vmc_put_u32le(&message[1], (uint32_t)len);
	message[5] = head[0] % N_SLOTS;
	for (size_t i = 1; i < 5; i++)
		message[5 + i] = head[i];
	for (size_t i = 0; i < bytes.len; i++)
		message[CCID_HEADER + i] = bytes.data[i];
	send_message(fuzz, vmc_span(message, CCID_HEADER + len));
}

static void card_answers(Fuzz *fuzz, VscTestCard *card, bool last)
{
	uint8_t outcome = next_byte(fuzz) % (VSC_OUTCOME_CANCELLED + 1);
	size_t n = next_byte(fuzz);
	VmcSpan bytes;

	vmc_span_take(&fuzz->input, MIN(n, fuzz->input.len), &bytes);
	if (last)
		vsc_test_card_answer(card, (VscOutcome)outcome, bytes);
	else
		vsc_test_card_answer_token(card, next_byte(fuzz), (VscOutcome)outcome, bytes);
}

static void check_notify(Fuzz *fuzz)
{
	uint8_t bytes[1 + CCID_SLOTS_MAX / 4];
	size_t len = ccid_reader_slot_change(fuzz->reader, bytes, fuzz->now);

	g_assert_true(len == 0 || len == 2);
	if (len == 0)
		return;
	for (unsigned i = 0; i < N_SLOTS; i++)
		g_assert_true((bytes[1] >> (2 * i) & 1) ==
			      vsc_card_present(vsc_test_card(fuzz->cards[i])));
	g_assert_true(ccid_reader_slot_change(fuzz->reader, bytes, fuzz->now) == 0);
}

static void step(Fuzz *fuzz)
{
	uint8_t choice = next_byte(fuzz);
	VscTestCard *card = fuzz->cards[choice >> 7];

	switch (choice & 0x0F) {
	case 0:
		raw_message(fuzz);
		break;
	case 1:
	case 2:
	case 3:
		good_message(fuzz, 0);
		break;
	case 4:
		good_message(fuzz, (size_t)next_byte(fuzz) << 8);
		break;
	case 5:
	case 6:
		card_answers(fuzz, card, true);
		break;
	case 7:
		card_answers(fuzz, card, false);
		break;
	case 8:
		vsc_test_card_set_present(card, true);
		break;
	case 9:
		vsc_test_card_set_present(card, false);
		break;
	case 10:
		ccid_reader_abort(fuzz->reader, choice >> 7, next_byte(fuzz));
		break;
	case 11:
		fuzz->now += next_byte(fuzz) * 100;
		ccid_reader_tick(fuzz->reader, fuzz->now);
		break;
	case 12:
		check_notify(fuzz);
		break;
	case 13:
		ccid_reader_reset(fuzz->reader);
		g_array_set_size(fuzz->expected, 0);
		break;
	default:
		break;
	}
}

/* Completes all that may still be open. */
static void finish(Fuzz *fuzz)
{
	for (unsigned i = 0; i < N_SLOTS; i++) {
		vsc_test_card_answer(fuzz->cards[i], VSC_OUTCOME_MUTE, vmc_span(NULL, 0));
		/* Answers an Abort that waits for its request. */
		send_message(fuzz,
			     vmc_span((const uint8_t[]){ 0x65, 0, 0, 0, 0, (uint8_t)i, 0, 0, 0, 0 },
				      10));
	}
	g_assert_true(fuzz->expected->len == 0);
	g_assert_true(ccid_reader_deadline(fuzz->reader) == -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Fuzz fuzz = { .input = vmc_span(data, size),
		      .expected = g_array_new(FALSE, FALSE, sizeof(Expected)) };

	fuzz.reader = ccid_reader_new(N_SLOTS, &events, &fuzz);
	for (unsigned i = 0; i < N_SLOTS; i++) {
		fuzz.cards[i] = vsc_test_card_new("fuzz");
		vsc_test_card_set_mode(fuzz.cards[i], VSC_TEST_MANUAL);
		ccid_reader_set_card(fuzz.reader, i, vsc_test_card(fuzz.cards[i]));
	}
	for (unsigned i = 0; i < STEPS_MAX && fuzz.input.len > 0; i++)
		step(&fuzz);
	finish(&fuzz);
	ccid_reader_free(fuzz.reader);
	for (unsigned i = 0; i < N_SLOTS; i++)
		vsc_test_card_free(fuzz.cards[i]);
	g_array_unref(fuzz.expected);
	return 0;
}

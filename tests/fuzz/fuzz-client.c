/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The client session between a host and local readers that do anything. The
 * input: a byte, then steps. Bit 0 of the byte: the first conversation is on
 * SPICE's smartcard channel; bit 1: they change with each. A step below 80 is so many bytes of
 * the host, which follow; one from 80 on is an event of a local reader, from C0
 * on of the second kinds. A card gets one command at a time, and only while it
 * is there.
 */

#include <stdlib.h>
#include <string.h>

#include "vmc/buf.h"
#include "vscard/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The answers to commands too many come at once; all else is a few. */
#define ACTIONS_MAX 256u

#define SLOTS 8u

typedef struct World {
	VscClient *client;
	VscOrder order;
	bool alternate;
	VmcBuf in;
	bool closing;
	bool reader[SLOTS], card[SLOTS];
	VscToken token[SLOTS];
	VscToken last;
} World;

static void check(bool good)
{
	if (!good)
		abort();
}

static void see(World *w, const VscClientAction *a)
{
	uint32_t slot = a->slot;

	switch (a->kind) {
	case VSC_CLIENT_SEND:
		check(a->data.len <= VSC_WIRE_PAYLOAD_MAX);
		check(w->order == VSC_ORDER_BIG ||
		      (a->type != VSC_TYPE_INIT && a->type != VSC_TYPE_FLUSH_COMPLETE));
		break;
	case VSC_CLIENT_TRANSMIT:
		check(a->data.len >= 4);
		/* fall through */
	case VSC_CLIENT_POWER_ON:
	case VSC_CLIENT_POWER_OFF:
	case VSC_CLIENT_RESET:
		check(w->card[slot] && w->token[slot] == VSC_TOKEN_NONE);
		check(a->token > w->last);
		w->last = w->token[slot] = a->token;
		break;
	case VSC_CLIENT_CANCEL:
		check(a->token == w->token[slot] && a->token != VSC_TOKEN_NONE);
		break;
	case VSC_CLIENT_READER_TAKEN:
	case VSC_CLIENT_READER_REFUSED:
		check(w->reader[slot]);
		break;
	case VSC_CLIENT_CLOSE:
		check(!w->closing);
		w->closing = true;
		memset(w->token, 0, sizeof(w->token));
		break;
	case VSC_CLIENT_READY:
	case VSC_CLIENT_NOTE:
		break;
	}
}

static void drain(World *w)
{
	VscClientAction action;
	unsigned n = 0;

	while (vsc_client_next(w->client, &action)) {
		check(++n <= ACTIONS_MAX);
		see(w, &action);
	}
}

static void feed(World *w, VmcSpan bytes)
{
	VscMessage message;
	const char *because;

	if (w->closing || !vmc_buf_append(&w->in, bytes))
		return;
	for (;;) {
		VmcSpan in = vmc_buf_span(&w->in);
		size_t had = in.len;

		if (vsc_wire_get(&in, w->order, &message, &because) != VSC_WIRE_MESSAGE)
			return;
		vsc_client_message(w->client, &message);
		drain(w);
		vmc_buf_consume(&w->in, had - in.len);
	}
}

static void reopen(World *w)
{
	vsc_client_closed(w->client);
	drain(w);
	memset(w->token, 0, sizeof(w->token));
	vmc_buf_clear(&w->in);
	w->closing = false;
	if (w->alternate)
		w->order = w->order == VSC_ORDER_BIG ? VSC_ORDER_LITTLE : VSC_ORDER_BIG;
	vsc_client_opened(w->client, w->order);
	drain(w);
}

static void set_card(World *w, uint32_t slot, bool there)
{
	w->card[slot] = there;
	w->token[slot] = VSC_TOKEN_NONE;
}

static void answer(World *w, uint32_t slot, VscOutcome outcome)
{
	VscToken token = w->token[slot];

	w->token[slot] = VSC_TOKEN_NONE;
	if (outcome == VSC_OUTCOME_NO_CARD && token != VSC_TOKEN_NONE)
		w->card[slot] = false;
	vsc_client_answer(w->client, slot, token, outcome, vmc_span("\x90", 2));
}

/* What only hosts with requests make a difference of. */
static void second_event(World *w, uint32_t slot, uint8_t kind)
{
	static const VscReaderInfo infos[] = { { .serial = (char *)"1" }, { .serial = NULL } };

	switch (kind) {
	case 0:
		vsc_client_working(w->client, slot);
		break;
	case 1:
	case 2:
		vsc_client_reader_described(w->client, slot, "another", &infos[kind - 1]);
		break;
	case 3:
		answer(w, slot, VSC_OUTCOME_NOT_POWERED);
		break;
	default:
		answer(w, slot, VSC_OUTCOME_CANCELLED);
		break;
	}
}

static void event(World *w, uint8_t step)
{
	uint32_t slot = (step >> 3) % SLOTS;

	if ((step & 0x40) != 0) {
		second_event(w, slot, step & 7);
		drain(w);
		return;
	}

	switch (step & 7) {
	case 0:
		if (!w->reader[slot])
			vsc_client_reader_added(w->client, slot, "reader", NULL);
		w->reader[slot] = true;
		break;
	case 1:
		w->reader[slot] = false;
		set_card(w, slot, false);
		vsc_client_reader_removed(w->client, slot);
		break;
	case 2:
		set_card(w, slot, w->reader[slot]);
		vsc_client_card_inserted(w->client, slot, vmc_span("\x3b", 2));
		break;
	case 3:
		set_card(w, slot, false);
		vsc_client_card_removed(w->client, slot);
		break;
	case 4:
		answer(w, slot, VSC_OUTCOME_OK);
		break;
	case 5:
		answer(w, slot, VSC_OUTCOME_NO_CARD);
		break;
	case 6:
		answer(w, slot, VSC_OUTCOME_FAILED);
		break;
	default:
		reopen(w);
		break;
	}
	drain(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	VmcSpan in = vmc_span(data, size), bytes;
	uint8_t step = 0;
	World w = { 0 };

	w.client = vsc_client_new(VSC_CAP_REQUESTS);
	vmc_buf_init(&w.in, VSC_WIRE_MESSAGE_MAX);
	vmc_span_u8(&in, &step);
	w.order = (step & 1) != 0 ? VSC_ORDER_LITTLE : VSC_ORDER_BIG;
	w.alternate = (step & 2) != 0;
	vsc_client_opened(w.client, w.order);
	drain(&w);
	while (vmc_span_u8(&in, &step)) {
		if (step >= 0x80)
			event(&w, step);
		else if (vmc_span_take(&in, step, &bytes))
			feed(&w, bytes);
	}
	vmc_buf_clear(&w.in);
	vsc_client_free(w.client);
	return 0;
}

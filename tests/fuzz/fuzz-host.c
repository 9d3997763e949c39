/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The host session between a peer and a user that do anything. The input: the
 * number of readers, then steps. A step below 80 is so many bytes of the peer,
 * which follow; one from 80 on is a request of the user. Every request has one
 * answer, and readers and cards come and go in turn.
 */

#include <stdlib.h>
#include <string.h>

#include "vmc/buf.h"
#include "vscard/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What one input makes at most: each of 16 readers has a card and two requests
 * that end, and a few lines more. */
#define ACTIONS_MAX (VSC_HOST_READERS_MAX * 4 + 8)

typedef struct World {
	VscHost *host;
	VmcBuf in;
	bool open, closing;
	bool reader[VSC_HOST_READERS_MAX], card[VSC_HOST_READERS_MAX];
	VscToken last;
	int64_t now;
	uint8_t *owed; /* by token: answers due */
} World;

static void check(bool good)
{
	if (!good)
		abort();
}

static void see(World *w, const VscHostAction *a)
{
	uint32_t id = a->reader_id;

	switch (a->kind) {
	case VSC_HOST_SEND:
		check(a->data.len <= VSC_WIRE_PAYLOAD_MAX);
		check((a->type != VSC_TYPE_APDU && a->type != VSC_TYPE_REQUEST) || w->card[id]);
		break;
	case VSC_HOST_READER_ADDED:
		check(!w->reader[id]);
		w->reader[id] = true;
		break;
	case VSC_HOST_READER_DESCRIBED:
		check(vsc_host_description(w->host, id) != NULL);
		break;
	case VSC_HOST_WORKING:
		check(a->token <= w->last && w->owed[a->token] == 1);
		break;
	case VSC_HOST_READER_REFUSED:
		break;
	case VSC_HOST_READER_REMOVED:
		check(w->reader[id] && !w->card[id]);
		w->reader[id] = false;
		break;
	case VSC_HOST_CARD_INSERTED:
		check(w->reader[id] && !w->card[id]);
		check(a->data.len >= 2 && a->data.len <= 33);
		w->card[id] = true;
		break;
	case VSC_HOST_CARD_REMOVED:
		check(w->card[id]);
		w->card[id] = false;
		break;
	case VSC_HOST_ANSWER:
		check(a->token <= w->last && w->owed[a->token] == 1);
		check(a->outcome == VSC_OUTCOME_OK || a->data.len == 0);
		w->owed[a->token] = 0;
		break;
	case VSC_HOST_CLOSE:
		check(w->open && !w->closing);
		w->closing = true;
		break;
	case VSC_HOST_NOTE:
		break;
	}
}

static void drain(World *w)
{
	VscHostAction action;
	unsigned n = 0;

	while (vsc_host_next(w->host, &action)) {
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

		if (vsc_wire_get(&in, VSC_ORDER_BIG, &message, &because) != VSC_WIRE_MESSAGE)
			return;
		vsc_host_message(w->host, &message, w->now);
		drain(w);
		vmc_buf_consume(&w->in, had - in.len);
	}
}

static void reopen(World *w)
{
	vsc_host_closed(w->host);
	drain(w);
	for (VscToken token = 1; token <= w->last; token++)
		check(w->owed[token] == 0);
	vmc_buf_clear(&w->in);
	w->closing = false;
	vsc_host_opened(w->host);
	drain(w);
}

static void request(World *w, uint8_t step, VmcSpan *in)
{
	uint32_t id = (step >> 3) & 0x0f;
	VmcSpan command = vmc_span("\0\xa4\0\0\0", 5);
	uint8_t back = 0;

	if ((step & 7) < 4)
		w->owed[++w->last] = 1;
	switch (step & 7) {
	case 0:
		vsc_host_power_on(w->host, id, w->last, w->now);
		break;
	case 1:
		vsc_host_power_off(w->host, id, w->last, w->now);
		break;
	case 2:
		vsc_host_reset(w->host, id, w->last, w->now);
		break;
	case 3:
		vsc_host_transmit(w->host, id, w->last, command, w->now);
		break;
	case 4:
		vmc_span_u8(in, &back);
		vsc_host_cancel(w->host, id, w->last - back);
		break;
	case 6:
		/* Up to 15 s, in steps on both sides of each wait. */
		w->now += id * 1000;
		vsc_host_tick(w->host, w->now);
		check(vsc_host_deadline(w->host) < 0 || vsc_host_deadline(w->host) > w->now);
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
	World w = { .open = true, .owed = calloc(size + 2, 1) };

	vmc_span_u8(&in, &step);
	w.host = vsc_host_new(1 + step % VSC_HOST_READERS_MAX, VSC_CAP_REQUESTS);
	vmc_buf_init(&w.in, VSC_WIRE_MESSAGE_MAX);
	vsc_host_opened(w.host);
	while (vmc_span_u8(&in, &step)) {
		if (step >= 0x80)
			request(&w, step, &in);
		else if (vmc_span_take(&in, step, &bytes))
			feed(&w, bytes);
	}
	reopen(&w);
	vmc_buf_clear(&w.in);
	vsc_host_free(w.host);
	free(w.owed);
	return 0;
}

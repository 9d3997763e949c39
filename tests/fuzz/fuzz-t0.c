/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A host and a card that say anything, with the T=0 machine between them: every
 * reply is a legal one of T=0 (ISO/IEC 7816-3:2006, 10.3 and 12.2), of the card's
 * data nothing is lost or said twice, and a command is forwarded twice at most.
 * The input: the kind of card, then records of a length in two bytes and so many
 * bytes, which the host or the card says, whoever's turn it is. A length beyond
 * the end stands for so many bytes of response data and success. With bit 7 of
 * the kind the host fetches by itself all that it is told of.
 */

#include <stdlib.h>
#include <string.h>

#include "tests/lib/model.h"
#include "vscard/t0.h"

#define FETCHES 0x80u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t atr_t1[] = { 0x3b, 0x80, 0x01, 0x81 };
static const uint8_t atr_extended[] = { 0x3b, 0x85, 0x01, 0x80, 0x73, 0x00, 0x00, 0x40, 0x37 };

/* What the card said last of which the host has not had all. */
typedef struct Owed {
	uint8_t data[VSC_RESPONSE_MAX];
	size_t len, at;
	uint8_t sw[2];     /* what ends it */
	uint8_t header[4]; /* of the command that it answers */
	bool again;        /* after 6Cxx the host may repeat that */
} Owed;

static Owed owed;

static void check(bool good)
{
	if (!good)
		abort();
}

static void power(VscT0 *t0, uint8_t kind)
{
	VscExchange exchange = kind % 3 == 0 ? VSC_EXCHANGE_T0 : VSC_EXCHANGE_APDU;
	VmcSpan atr = kind % 3 == 2 ? vmc_span(atr_extended, sizeof(atr_extended)) :
				      vmc_span(atr_t1, sizeof(atr_t1));

	vsc_t0_powered(t0, atr, exchange);
	check(t0->native == (kind % 3 == 0));
	check(t0->extended == (kind % 3 == 2));
}

/* The next record; false at the end of the input. */
static bool next(VmcSpan *in, bool card, VmcSpan *record)
{
	static uint8_t much[VSC_RESPONSE_MAX];
	uint16_t len;

	if (!vmc_span_u16be(in, &len))
		return false;
	if (vmc_span_take(in, len, record))
		return true;
	if (!card)
		return false;
	for (unsigned i = 0; i < len; i++)
		much[i] = VSC_MODEL_BYTE(i);
	vmc_put_u16be(much + len, 0x9000);
	*record = vmc_span(much, len + 2u);
	return true;
}

/* ---- What T=0 allows ---- */

static size_t p3_of(VmcSpan tpdu)
{
	if (tpdu.len != 5)
		return 0;
	return tpdu.data[4] != 0 ? tpdu.data[4] : 256;
}

static void check_legal(VmcSpan tpdu, VmcSpan reply)
{
	uint8_t sw1 = reply.data[reply.len - 2];
	size_t n = reply.len - 2;

	check(reply.len >= 2 && n <= 256 && n != VSC_T0_NOT_THIS_LONG);
	check(n == 0 || n == p3_of(tpdu));
	check((sw1 & 0xf0) == 0x60 || (sw1 & 0xf0) == 0x90);
	check(sw1 != 0x60 && (sw1 != 0x6c || (n == 0 && tpdu.len == 5)));
}

/* ---- What the host has coming ---- */

static bool asks_for_owed(VmcSpan tpdu)
{
	uint8_t channel = owed.header[0];

	if (owed.at == owed.len || tpdu.len != 5)
		return false;
	if (owed.again && memcmp(tpdu.data, owed.header, 4) == 0)
		return true;
	if (memcmp(tpdu.data + 1, "\xc0\0", 3) != 0)
		return false;
	if (((channel ^ tpdu.data[0]) & 0x40) != 0)
		return false;
	return ((channel ^ tpdu.data[0]) & (channel & 0x40 ? 0x0f : 0x03)) == 0;
}

/* The reply to the first or a later command for what is owed. */
static void check_owed(VmcSpan tpdu, VmcSpan reply)
{
	size_t left = owed.len - owed.at, n = reply.len - 2;
	unsigned sw1 = reply.data[n], sw2 = reply.data[n + 1];
	size_t told = sw2 != 0 ? sw2 : 256;

	check(n <= left);
	check(n == 0 || memcmp(reply.data, owed.data + owed.at, n) == 0);
	owed.at += n;
	left -= n;
	/* Who did not get all is told how much to ask for, and may have it. */
	if (left > 0) {
		check(sw1 == 0x61 || (sw1 == 0x6c && n == 0));
		check(told <= left && told != VSC_T0_NOT_THIS_LONG);
		check(sw1 != 0x6c || told <= p3_of(tpdu));
		check(told == MIN(left, 256) || left == VSC_T0_NOT_THIS_LONG || sw1 == 0x6c);
	}
	/* Who has all has the card's status, if that is one. */
	if (left == 0 && owed.sw[0] != 0x60 && owed.sw[0] != 0x6c &&
	    ((owed.sw[0] & 0xf0) == 0x60 || (owed.sw[0] & 0xf0) == 0x90))
		check(memcmp(reply.data + n, owed.sw, 2) == 0);
	owed.again = sw1 == 0x6c && memcmp(tpdu.data, owed.header, 4) == 0;
}

static void fetch_all(VscT0 *t0)
{
	while (owed.at < owed.len) {
		uint8_t get_response[] = { owed.header[0], 0xc0, 0, 0, 0 };
		size_t left = owed.len - owed.at;
		VmcSpan tpdu = vmc_span(get_response, sizeof(get_response)), reply;

		get_response[4] = (uint8_t)(left == VSC_T0_NOT_THIS_LONG ? 51 : MIN(left, 256));
		check(vsc_t0_command(t0, tpdu, &reply) == VSC_T0_REPLY);
		check(reply.len > 2);
		check_legal(tpdu, reply);
		check_owed(tpdu, reply);
	}
}

/* ---- A command ---- */

/* The card's answers until the host has its reply. */
static void answer(VscT0 *t0, VmcSpan tpdu, VmcSpan *in, VmcSpan out)
{
	VscT0Step step = VSC_T0_FORWARD;
	VmcSpan response = { 0 };

	for (unsigned forwards = 1; step == VSC_T0_FORWARD; forwards++) {
		check(forwards <= 2);
		check(out.len >= 4 && out.len <= VSC_COMMAND_MAX);
		if (!next(in, true, &response) || response.len > VSC_RESPONSE_MAX)
			response = vmc_span("\x67", 2);
		step = vsc_t0_response(t0, response, &out);
	}
	check_legal(tpdu, out);
	if (response.len < 2)
		return;
	owed.len = response.len - 2;
	owed.at = 0;
	memcpy(owed.data, response.data, owed.len);
	memcpy(owed.sw, response.data + owed.len, 2);
	memcpy(owed.header, tpdu.data, 4);
	check_owed(tpdu, out);
}

static void command(VscT0 *t0, VmcSpan tpdu, VmcSpan *in)
{
	bool asks = tpdu.len >= 4 && asks_for_owed(tpdu);
	VmcSpan out;

	if (!asks)
		owed.at = owed.len = 0;
	if (vsc_t0_command(t0, tpdu, &out) == VSC_T0_FORWARD) {
		check(!asks);
		answer(t0, tpdu, in, out);
		return;
	}
	check_legal(tpdu, out);
	check(asks || out.len == 2);
	if (asks)
		check_owed(tpdu, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	VmcSpan in = vmc_span(data, size), tpdu;
	uint8_t kind = 0;
	VscT0 t0;

	owed.at = owed.len = 0;
	vsc_t0_init(&t0);
	vmc_span_u8(&in, &kind);
	power(&t0, kind & 0x7f);
	while (next(&in, false, &tpdu)) {
		command(&t0, tpdu, &in);
		if ((kind & FETCHES) != 0)
			fetch_all(&t0);
	}
	fetch_all(&t0);
	vsc_t0_forget(&t0);
	check(t0.kept == NULL && t0.apdu == NULL);
	return 0;
}

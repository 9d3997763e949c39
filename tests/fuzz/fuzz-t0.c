/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A host and a card that say anything, with the T=0 machine between them: every
 * reply is a T=0 reply, and a command is forwarded twice at most. The input:
 * the kind of card, then records of a length in two bytes and so many bytes,
 * which the host or the card says, whoever's turn it is.
 */

#include <stdlib.h>
#include <string.h>

#include "vscard/t0.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t atr_t0[] = { 0x3b, 0x00 };
static const uint8_t atr_t1[] = { 0x3b, 0x80, 0x01, 0x81 };
static const uint8_t atr_extended[] = { 0x3b, 0x85, 0x01, 0x80, 0x73, 0x00, 0x00, 0x40, 0x37 };

static void check(bool good)
{
	if (!good)
		abort();
}

static void power(VscT0 *t0, uint8_t kind)
{
	static const struct {
		const uint8_t *bytes;
		size_t len;
	} atrs[] = { { atr_t0, 2 }, { atr_t1, 4 }, { atr_extended, 9 } };
	uint8_t shown[VSC_ATR_MAX];

	vsc_t0_powered(t0, vmc_span(atrs[kind % 3].bytes, atrs[kind % 3].len), shown);
	check(t0->native == (kind % 3 == 0));
	check(t0->extended == (kind % 3 == 2));
}

/* The card's answers until the host has its reply. */
static void answer(VscT0 *t0, VmcSpan *in, VmcSpan out)
{
	VscT0Step step = VSC_T0_FORWARD;

	for (unsigned forwards = 1; step == VSC_T0_FORWARD; forwards++) {
		VmcSpan response;
		uint16_t len;

		check(forwards <= 2);
		check(out.len >= 4 && out.len <= VSC_COMMAND_MAX);
		if (!vmc_span_u16be(in, &len) || !vmc_span_take(in, len, &response))
			response = vmc_span("\x67\0", 2);
		step = vsc_t0_response(t0, response, &out);
	}
	check(out.len >= 2 && out.len <= VSC_T0_REPLY_MAX);
	check(out.len != VSC_T0_NOT_THIS_LONG + 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	VmcSpan in = vmc_span(data, size), tpdu, out;
	uint8_t kind = 0;
	uint16_t len;
	VscT0 t0;

	vsc_t0_init(&t0);
	vmc_span_u8(&in, &kind);
	power(&t0, kind);
	while (vmc_span_u16be(&in, &len) && vmc_span_take(&in, len, &tpdu)) {
		if (vsc_t0_command(&t0, tpdu, &out) == VSC_T0_FORWARD) {
			answer(&t0, &in, out);
			continue;
		}
		check(out.len >= 2 && out.len <= VSC_T0_REPLY_MAX);
		check(out.len != VSC_T0_NOT_THIS_LONG + 2);
	}
	vsc_t0_forget(&t0);
	check(t0.kept == NULL && t0.apdu == NULL);
	return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A host and a card that say anything, with the machine for short APDUs between
 * them: all that the card gets is short, and of the command nothing is lost. The
 * input: records of a length in two bytes and so many bytes, which the host or
 * the card says, whoever's turn it is. A length beyond the end stands for a long
 * command, its first byte the class, or for success.
 */

#include <stdlib.h>
#include <string.h>

#include "vscard/short.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

/* A case 4E of 600 bytes, more than the input need have. */
static VmcSpan long_command(VmcSpan *in)
{
	static uint8_t apdu[7 + 600 + 2];

	memcpy(apdu, "\0\x2a\0\0\0\x02\x58", 7);
	vmc_span_u8(in, apdu);
	for (size_t i = 0; i < 600; i++)
		apdu[7 + i] = (uint8_t)(i * 7 + i / 251);
	return vmc_span(apdu, sizeof(apdu));
}

/* One short command to the card; `sent` counts the bytes of the command. */
static void see(const VscApdu *whole, VmcSpan out, size_t *sent)
{
	const char *because;
	VscApdu piece;

	check(out.len <= VSC_SHORT_COMMAND_MAX);
	check(vsc_apdu_parse(out, &piece, &because) && piece.kind <= VSC_APDU_4S);
	if (piece.ins == 0xc0 && piece.data.len == 0 && *sent == whole->data.len)
		return;
	if (*sent == whole->data.len)
		*sent = 0;
	check(piece.ins == whole->ins && piece.data.len <= whole->data.len - *sent);
	check(piece.data.len == 0 ||
	      memcmp(piece.data.data, whole->data.data + *sent, piece.data.len) == 0);
	*sent += piece.data.len;
	check((piece.cla | 0x10) == (whole->cla | 0x10));
	check((piece.cla == whole->cla) == (*sent == whole->data.len) || (whole->cla & 0x10) != 0);
}

static void converse(VscShort *s, VmcSpan command, VmcSpan *in)
{
	VmcSpan out, response;
	const char *because;
	VscApdu whole;
	bool extended = vsc_apdu_parse(command, &whole, &because) && whole.kind > VSC_APDU_4S;
	VscShortStep step = vsc_short_command(s, command, &out);
	size_t sent = 0;
	uint16_t len;

	check(step == VSC_SHORT_FORWARD || out.len == 2);
	for (unsigned rounds = 1; step == VSC_SHORT_FORWARD; rounds++) {
		check(rounds <= VSC_SHORT_ROUNDS_MAX);
		if (extended)
			see(&whole, out, &sent);
		else
			check(out.len == command.len && out.len <= VSC_SHORT_COMMAND_MAX);
		if (!vmc_span_u16be(in, &len) || !vmc_span_take(in, len, &response))
			response = vmc_span("\x90", 2);
		step = vsc_short_response(s, response, &out);
		check(step == VSC_SHORT_FORWARD || out.len <= VSC_RESPONSE_MAX ||
		      out.data == response.data);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	VmcSpan in = vmc_span(data, size), command;
	uint16_t len;
	VscShort s;

	vsc_short_init(&s);
	while (vmc_span_u16be(&in, &len)) {
		if (!vmc_span_take(&in, len, &command))
			command = long_command(&in);
		converse(&s, command, &in);
	}
	vsc_short_forget(&s);
	check(s.data == NULL && s.fetch.response.data == NULL);
	return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A host of APDUs and a T=0 card that say anything, with VscTpdu between them: all
 * that the card gets is a legal C-TPDU that belongs to the command, of the command
 * nothing is lost, the host gets all data up to Ne, and it ends. The input: records
 * of a length in two bytes and so many bytes, which the host or the card says,
 * whoever's turn it is. A length beyond the end stands for a long command, its
 * first byte the class, or for success.
 */

#include <stdlib.h>
#include <string.h>

#include "tests/lib/model.h"
#include "vscard/card.h"
#include "vscard/tpdu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the card and the host saw of one command. */
typedef struct Seen {
	VmcSpan command;
	VscApdu apdu;
	bool chain;         /* it comes in a chain, no more in envelopes */
	size_t sent;        /* bytes of the command, or in a chain of its data */
	bool done;          /* all of it */
	uint8_t p3;         /* of the last TPDU */
	uint8_t header[4];  /* of the last TPDU */
	VmcSpan last;       /* the last response */
	bool whole;         /* it answers all of the command */
	uint8_t got[65536]; /* data of responses, up to Ne */
	size_t got_len;
	unsigned rounds;
} Seen;

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
		apdu[7 + i] = VSC_MODEL_BYTE(i);
	return vmc_span(apdu, sizeof(apdu));
}

static uint8_t plain_class(uint8_t cla)
{
	return (cla & 0x40) != 0 ? 0x40 | (cla & 0x0f) : cla & 0x03;
}

/* One piece of `whole`; `n` bytes of it are in the TPDU. */
static void see_piece(Seen *seen, VmcSpan tpdu, VmcSpan whole)
{
	size_t n = tpdu.len - 5;

	check(n <= whole.len - seen->sent);
	check(n == 0 || memcmp(tpdu.data + 5, whole.data + seen->sent, n) == 0);
	seen->sent += n;
	seen->done = seen->sent == whole.len;
}

static void see_chain(Seen *seen, VmcSpan tpdu)
{
	see_piece(seen, tpdu, seen->apdu.data);
	check(memcmp(tpdu.data + 1, seen->command.data + 1, 3) == 0);
	check(tpdu.data[0] == (seen->apdu.cla | (seen->done ? 0 : 0x10)));
}

static void see_envelope(Seen *seen, VmcSpan tpdu)
{
	const uint8_t header[] = { plain_class(seen->apdu.cla), 0xc2, 0, 0 };

	check(memcmp(tpdu.data, header, 4) == 0);
	see_piece(seen, tpdu, seen->command);
	/* What comes up to the end of its data is a whole command of case 3. */
	check(seen->done || seen->sent != 7 + seen->apdu.data.len);
}

static void see_command(Seen *seen, VmcSpan tpdu)
{
	bool is_long = seen->apdu.data.len > 255;
	uint8_t le = (uint8_t)MIN(seen->apdu.ne, 256);

	if (is_long && seen->rounds == 2 && seen->last.len >= 2 &&
	    seen->last.data[seen->last.len - 2] != 0x90) {
		seen->chain = true;
		seen->sent = 0;
	}
	if (is_long && !seen->chain) {
		see_envelope(seen, tpdu);
		return;
	}
	see_chain(seen, tpdu);
	check(is_long || seen->done);
	check(seen->apdu.data.len > 0 || tpdu.data[4] == le);
}

/* The card is asked for what the host wants and has not got. */
static void see_fetch(Seen *seen, VmcSpan tpdu)
{
	const uint8_t get_response[] = { plain_class(seen->apdu.cla), 0xc0, 0, 0 };
	bool again = seen->last.len == 2 && seen->last.data[0] == 0x6c &&
		     memcmp(tpdu.data, seen->header, 4) == 0;

	check(tpdu.len == 5 && seen->apdu.ne > seen->got_len);
	check(again ? tpdu.data[4] == seen->last.data[1] : memcmp(tpdu.data, get_response, 4) == 0);
}

static void see_tpdu(Seen *seen, VmcSpan tpdu)
{
	check(++seen->rounds <= VSC_TPDU_ROUNDS_MAX);
	check(vsc_model_tpdu_wrong(tpdu) == NULL);
	if (seen->done)
		see_fetch(seen, tpdu);
	else
		see_command(seen, tpdu);
	memcpy(seen->header, tpdu.data, 4);
}

static void see_response(Seen *seen, VmcSpan response)
{
	size_t n = response.len < 2 ? 0 : response.len - 2;

	seen->last = response;
	if (!seen->done)
		return;
	n = MIN(n, seen->apdu.ne - seen->got_len);
	if (n > 0)
		memcpy(seen->got + seen->got_len, response.data, n);
	seen->got_len += n;
}

static void check_reply(const Seen *seen, VmcSpan reply)
{
	unsigned sw;

	check(reply.len >= 2);
	sw = (unsigned)reply.data[reply.len - 2] << 8 | reply.data[reply.len - 1];
	/* Of our own: the card is mad, or took no envelope. */
	if (reply.len == 2 && sw == 0x6f00 &&
	    (seen->last.len < 2 || seen->rounds == VSC_TPDU_ROUNDS_MAX))
		return;
	if (reply.len == 2 && sw == 0x6700 && seen->rounds == 1 && !seen->done)
		return;
	if (!seen->done || seen->apdu.ne == 0) {
		check(reply.data == seen->last.data && reply.len == seen->last.len);
		return;
	}
	check(reply.len == seen->got_len + 2);
	check(memcmp(reply.data, seen->got, seen->got_len) == 0);
	check(sw == 0x9000 ||
	      memcmp(reply.data + seen->got_len, seen->last.data + seen->last.len - 2, 2) == 0);
	/* It gives up with 61xx only when the host has what it wanted. */
	check(sw >> 8 != 0x61 || seen->got_len == seen->apdu.ne);
}

static void converse(VscTpdu *t, VmcSpan command, VmcSpan *in)
{
	static Seen seen;
	VscTpduStep step;
	const char *because;
	VmcSpan out, response;
	uint16_t len;

	memset(&seen, 0, offsetof(Seen, got));
	seen.got_len = seen.rounds = 0;
	seen.command = command;
	step = vsc_tpdu_command(t, command, &out);
	if (!vsc_apdu_parse(command, &seen.apdu, &because)) {
		check(step == VSC_TPDU_REPLY && out.len == 2);
		return;
	}
	if (step == VSC_TPDU_REPLY) {
		check(out.len == 2 && memcmp(out.data, "\x6d", 2) == 0);
		return;
	}
	while (step == VSC_TPDU_FORWARD) {
		see_tpdu(&seen, out);
		if (!vmc_span_u16be(in, &len) || !vmc_span_take(in, len, &response))
			response = vmc_span("\x90", 2);
		see_response(&seen, response);
		step = vsc_tpdu_response(t, response, &out);
	}
	check_reply(&seen, out);
	check(t->command == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	VmcSpan in = vmc_span(data, size), command;
	uint16_t len;
	VscTpdu t;

	vsc_tpdu_init(&t);
	while (vmc_span_u16be(&in, &len)) {
		if (!vmc_span_take(&in, len, &command))
			command = long_command(&in);
		converse(&t, command, &in);
	}
	vsc_tpdu_forget(&t);
	check(t.command == NULL && t.fetch.response.data == NULL);
	return 0;
}

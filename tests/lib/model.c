/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VscModelCard and VscModelHost: see model.h. */

#include "tests/lib/model.h"

#include <string.h>

/* More exchanges than any command here may take. */
#define ROUNDS_MAX 2000u

static GByteArray *status(unsigned sw)
{
	uint8_t bytes[] = { (uint8_t)(sw >> 8), (uint8_t)sw };

	return g_byte_array_append(g_byte_array_new(), bytes, 2);
}

static unsigned count_of(uint8_t byte)
{
	return byte != 0 ? byte : 256;
}

/* ---- The card ---- */

static GByteArray *breach(VscModelCard *card, const char *what)
{
	if (card->wrong == NULL)
		card->wrong = what;
	return status(0x6f00);
}

void vsc_model_card_init(VscModelCard *card)
{
	*card = (VscModelCard){ .data = g_byte_array_new(), .letters = g_byte_array_new() };
}

void vsc_model_card_finish(VscModelCard *card)
{
	g_byte_array_unref(card->data);
	g_byte_array_unref(card->letters);
}

static unsigned sw_left(const VscModelCard *card)
{
	unsigned most = card->t0 && card->portion > 0 ? card->portion : 256;

	if (card->left == 0)
		return 0x9000;
	return 0x6100 | (card->left < most ? (unsigned)card->left & 0xff : most & 0xff);
}

/* The next `n` bytes of what it has to say. */
static GByteArray *say(VscModelCard *card, size_t n)
{
	GByteArray *out = g_byte_array_new();
	g_autoptr(GByteArray) sw = NULL;

	for (size_t i = 0; i < n; i++, card->said++) {
		uint8_t byte = VSC_MODEL_BYTE(card->said);

		g_byte_array_append(out, &byte, 1);
	}
	card->left -= n;
	sw = status(sw_left(card));
	return g_byte_array_append(out, sw->data, sw->len);
}

static void carry_out(VscModelCard *card, uint8_t cla, bool speaks)
{
	card->carried_out++;
	card->cla = cla;
	card->chaining = false;
	card->said = 0;
	card->left = speaks ? card->there : 0;
}

/* T=0: P3 asks for `n` bytes of the `left`. */
static GByteArray *say_p3(VscModelCard *card, size_t n)
{
	size_t most = MIN(card->left, card->portion > 0 ? card->portion : 256);

	if (n > most)
		return status(0x6c00 | (most & 0xff));
	return say(card, n);
}

static GByteArray *t0_case2(VscModelCard *card, uint8_t cla, unsigned n)
{
	if (card->there > 0 &&
	    (n > card->there || (card->exact && card->there <= 256 && n != card->there)))
		return status(0x6c00 | (card->there & 0xff));
	carry_out(card, cla, true);
	return say(card, MIN(n, card->left));
}

/* The command with its data is there. */
static GByteArray *t0_done(VscModelCard *card, uint8_t cla, bool speaks)
{
	carry_out(card, cla, speaks);
	return status(card->quiet ? 0x9000 : sw_left(card));
}

static GByteArray *t0_data(VscModelCard *card, VmcSpan tpdu)
{
	bool more = (tpdu.data[0] & 0x90) == 0x10;

	if (tpdu.len == 5)
		return breach(card, "P3 is 00 where data has to come");
	if (more && !card->chain)
		return status(0x6884);
	if (!card->chaining)
		g_byte_array_set_size(card->data, 0);
	card->chaining = more;
	g_byte_array_append(card->data, tpdu.data + 5, (guint)tpdu.len - 5);
	if (more)
		return tpdu.len == 5 + 255 ? status(0x9000) :
					     breach(card, "a piece of a chain that is not full");
	return t0_done(card, tpdu.data[0], tpdu.data[1] == VSC_MODEL_CASE4);
}

/* 12.2.7 and 12.2.8: the pieces are an extended APDU. */
static GByteArray *t0_envelope(VscModelCard *card, VmcSpan tpdu)
{
	GByteArray *in = card->letters;
	size_t nc, end;
	uint8_t cla;
	bool speaks;

	if (!card->envelope)
		return status(0x6d00);
	if (tpdu.data[2] != 0 || tpdu.data[3] != 0 || tpdu.len == 5)
		return breach(card, "an ENVELOPE with parameters, or empty");
	g_byte_array_append(in, tpdu.data + 5, (guint)tpdu.len - 5);
	if (in->len < 7)
		return status(0x9000);
	nc = (size_t)in->data[5] << 8 | in->data[6];
	speaks = in->data[1] == VSC_MODEL_CASE4;
	end = 7 + nc + (speaks ? 2 : 0);
	if (in->data[4] != 0 || nc < 256 || in->len > end)
		return breach(card, "what is in the envelope is no extended APDU");
	if (speaks && in->len == 7 + nc)
		return breach(card, "the envelope stops between data and Le");
	if (in->len < end)
		return status(0x9000);
	g_byte_array_set_size(card->data, 0);
	g_byte_array_append(card->data, in->data + 7, (guint)nc);
	cla = in->data[0];
	g_byte_array_set_size(in, 0);
	return t0_done(card, cla, speaks);
}

static GByteArray *t0_get_response(VscModelCard *card, VmcSpan tpdu)
{
	uint8_t channel = card->cla & 0x40 ? 0x40 | (card->cla & 0x0f) : card->cla & 0x03;

	if (tpdu.len != 5 || tpdu.data[2] != 0 || tpdu.data[3] != 0)
		return breach(card, "a GET RESPONSE with data or parameters");
	if (tpdu.data[0] != channel)
		return breach(card, "a GET RESPONSE of another class");
	return card->left > 0 ? say_p3(card, count_of(tpdu.data[4])) : status(0x6985);
}

const char *vsc_model_tpdu_wrong(VmcSpan tpdu)
{
	if (tpdu.len < 5)
		return "a TPDU without P3";
	if (tpdu.len != 5 && tpdu.len != 5u + tpdu.data[4])
		return "a TPDU whose length is not P3's";
	if ((tpdu.data[1] & 0xf0) == 0x60 || (tpdu.data[1] & 0xf0) == 0x90)
		return "an INS that is no INS";
	return NULL;
}

static GByteArray *t0_exchange(VscModelCard *card, VmcSpan tpdu)
{
	const char *wrong = vsc_model_tpdu_wrong(tpdu);
	uint8_t ins;

	if (wrong != NULL)
		return breach(card, wrong);
	ins = tpdu.data[1];
	if (ins != 0xc2)
		g_byte_array_set_size(card->letters, 0);
	if (ins == 0xc0)
		return t0_get_response(card, tpdu);
	card->left = 0;
	if (ins == 0xc2)
		return t0_envelope(card, tpdu);
	if (ins == VSC_MODEL_CASE3 || ins == VSC_MODEL_CASE4)
		return t0_data(card, tpdu);
	if (tpdu.len > 5)
		return breach(card, "data for a command that takes none");
	if (ins == VSC_MODEL_CASE2)
		return t0_case2(card, tpdu.data[0], count_of(tpdu.data[4]));
	if (ins == VSC_MODEL_CASE1) {
		if (tpdu.data[4] != 0)
			return breach(card, "P3 of case 1 is not 00");
		return t0_done(card, tpdu.data[0], false);
	}
	return status(0x6d00);
}

/* Nc and Ne of an APDU, and where its data is; false: its lengths are wrong. */
static bool read_apdu(VmcSpan apdu, bool *extended, VmcSpan *data, uint32_t *ne)
{
	const uint8_t *p = apdu.data;
	size_t nc = 0, at;

	*ne = 0;
	*extended = apdu.len > 5 && p[4] == 0;
	*data = vmc_span(NULL, 0);
	if (apdu.len == 4)
		return true;
	if (apdu.len < 4 || (*extended && apdu.len < 7))
		return false;
	at = *extended ? 7 : 5;
	if (apdu.len > at) {
		nc = *extended ? (size_t)p[5] << 8 | p[6] : p[4];
		*data = vmc_span(p + at, MIN(nc, apdu.len - at));
		at += nc;
		if (nc == 0 || at > apdu.len)
			return false;
		if (at == apdu.len)
			return true;
		at += *extended ? 2 : 1;
	}
	if (at != apdu.len)
		return false;
	*ne = *extended ? (uint32_t)p[at - 2] << 8 | p[at - 1] : p[at - 1];
	if (*ne == 0)
		*ne = *extended ? 65536 : 256;
	return true;
}

static GByteArray *apdu_exchange(VscModelCard *card, VmcSpan apdu)
{
	bool extended, speaks;
	VmcSpan data;
	uint32_t ne;
	uint8_t ins;

	if (!read_apdu(apdu, &extended, &data, &ne))
		return breach(card, "an APDU whose lengths are wrong");
	ins = apdu.data[1];
	if (extended && !card->extended)
		return status(0x6700);
	if (ins == 0xc0)
		return card->left > 0 && ne > 0 ? say(card, MIN(card->left, ne)) : status(0x6985);
	if (ins == 0xc2)
		return status(0x6d00);
	speaks = ins == VSC_MODEL_CASE2 || ins == VSC_MODEL_CASE4;
	if ((data.len > 0) != (ins == VSC_MODEL_CASE3 || ins == VSC_MODEL_CASE4))
		return status(0x6700);
	if (card->strict && (ne > 0) != speaks)
		return status(0x6700);
	g_byte_array_set_size(card->data, 0);
	if (data.len > 0)
		g_byte_array_append(card->data, data.data, (guint)data.len);
	carry_out(card, apdu.data[0], speaks);
	return say(card, MIN(card->left, ne));
}

GByteArray *vsc_model_card_exchange(VscModelCard *card, VmcSpan command)
{
	return card->t0 ? t0_exchange(card, command) : apdu_exchange(card, command);
}

/* ---- The host ---- */

static void blame(VscModelHost *host, const char *what)
{
	if (host->wrong == NULL)
		host->wrong = what;
}

static GByteArray *ask(VscModelHost *host, const GByteArray *command)
{
	GByteArray *response = host->exchange(host->user, vmc_span(command->data, command->len));
	size_t p3 = command->len == 5 ? count_of(command->data[4]) : 0;
	size_t n = response->len - 2;
	uint8_t sw1;

	if (response->len < 2) {
		blame(host, "a response without status");
		g_byte_array_unref(response);
		return status(0x6f00);
	}
	if (host->form == VSC_MODEL_APDUS)
		return response;
	sw1 = response->data[n];
	if (n > 0 && n != p3)
		blame(host, "not as many bytes as P3 says");
	if (n == 52 || n > 256)
		blame(host, "a reply that QEMU's reader cannot pass on");
	if ((sw1 & 0xf0) != 0x60 && (sw1 & 0xf0) != 0x90)
		blame(host, "SW1 is neither 6X nor 9X");
	if (sw1 == 0x60 || (sw1 == 0x6c && (n > 0 || p3 == 0)))
		blame(host, "a status where it has no place");
	return response;
}

/* What the host gives first: for TPDUs, Le of a short case 4 stays behind. */
static GByteArray *first_command(const VscModelHost *host, VmcSpan apdu)
{
	size_t len = apdu.len;

	if (host->form != VSC_MODEL_APDUS && len > 5 && apdu.data[4] != 0)
		len = 5u + apdu.data[4];
	return g_byte_array_append(g_byte_array_new(), apdu.data, (guint)len);
}

/* The pieces of a long command; answers the response to the last. */
static GByteArray *send_envelopes(VscModelHost *host, VmcSpan apdu)
{
	for (;;) {
		size_t n = MIN(apdu.len, 253);
		g_autoptr(GByteArray) piece = g_byte_array_new();
		uint8_t header[] = { 0, 0xc2, 0, 0, (uint8_t)n };
		GByteArray *response;

		/* Two bytes are Le: they go with a byte of the data. */
		if (apdu.len - n <= 2 && apdu.len > n)
			n = apdu.len;
		header[4] = (uint8_t)n;
		g_byte_array_append(piece, header, 5);
		g_byte_array_append(piece, apdu.data, (guint)n);
		response = ask(host, piece);
		apdu.data += n;
		apdu.len -= n;
		if (apdu.len == 0 || response->len != 2 || response->data[0] != 0x90)
			return response;
		g_byte_array_unref(response);
	}
}

GByteArray *vsc_model_host_run(VscModelHost *host, VmcSpan apdu)
{
	GByteArray *all = g_byte_array_new(), *response;
	g_autoptr(GByteArray) command = first_command(host, apdu);
	bool extended, unasked, done = false;
	VmcSpan data;
	uint32_t ne;

	if (!read_apdu(apdu, &extended, &data, &ne))
		blame(host, "the test's APDU is none");
	response = host->form == VSC_MODEL_ENVELOPES && data.len > 255 ?
			   send_envelopes(host, apdu) :
			   ask(host, command);
	for (unsigned rounds = 0; rounds < ROUNDS_MAX; rounds++) {
		unsigned n = response->len - 2, sw1 = response->data[n],
			 sw2 = response->data[n + 1];
		uint8_t header[] = { apdu.data[0] & 0x03, 0xc0, 0, 0, (uint8_t)sw2 };

		/* 12.2.3, case 2S.3: a host of TPDUs cuts what is more itself. */
		if (host->form == VSC_MODEL_APDUS && n > ne - MIN(ne, all->len))
			blame(host, "more data than Ne");
		g_byte_array_append(all, response->data, MIN(n, ne - MIN(ne, all->len)));
		/* 12.2.5, case 4S.2: there may be something all the same. */
		unasked = rounds == 0 && host->form != VSC_MODEL_APDUS && data.len > 0 && ne > 0 &&
			  n == 0 && sw1 == 0x90;
		header[4] = (uint8_t)(unasked ? MIN(ne, 256) : sw2);
		if (sw1 == 0x6c && host->form != VSC_MODEL_APDUS) {
			command->data[4] = (uint8_t)sw2;
		} else if (unasked || (sw1 == 0x61 && all->len < ne)) {
			g_byte_array_set_size(command, 0);
			g_byte_array_append(command, header, 5);
			done = unasked;
		} else {
			if (done && n == 0 && all->len == 0)
				memcpy(response->data, "\x90", 2);
			g_byte_array_append(all, response->data + n, 2);
			g_byte_array_unref(response);
			return all;
		}
		g_byte_array_unref(response);
		response = ask(host, command);
	}
	blame(host, "it never ends");
	g_byte_array_unref(response);
	return all;
}

GByteArray *vsc_model_apdu(uint8_t cla, uint8_t ins, size_t nc, uint32_t ne, bool extended)
{
	GByteArray *apdu = g_byte_array_new();
	uint8_t header[] = { cla, ins, 0, 0 };
	uint8_t lc[] = { 0, (uint8_t)(nc >> 8), (uint8_t)nc };
	uint8_t le[] = { 0, (uint8_t)(ne >> 8), (uint8_t)ne };

	extended = extended || nc > 255 || ne > 256;
	g_byte_array_append(apdu, header, 4);
	if (nc > 0)
		g_byte_array_append(apdu, extended ? lc : lc + 2, extended ? 3 : 1);
	for (size_t i = 0; i < nc; i++) {
		uint8_t byte = VSC_MODEL_BYTE(i + 100);

		g_byte_array_append(apdu, &byte, 1);
	}
	if (ne > 0 && !extended)
		g_byte_array_append(apdu, le + 2, 1);
	else if (ne > 0)
		g_byte_array_append(apdu, nc > 0 ? le + 1 : le, nc > 0 ? 2 : 3);
	return apdu;
}

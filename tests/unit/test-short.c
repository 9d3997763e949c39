/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Extended APDUs in short ones: each way a conversation may go as scripts, then
 * all sizes against a card that keeps to ISO/IEC 7816-4 and has no room for
 * more than short APDUs, and cards that never end.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>
#include <string.h>

#include "vscard/short.h"

/* ---- Scripts ---- */

/* Hex, where "*NN" repeats the byte before NN (decimal) times in all. */
static GByteArray *bytes_of(const char *text)
{
	GByteArray *bytes = g_byte_array_new();
	uint8_t byte = 0;

	while (*text != '\0' && *text != ' ') {
		if (*text == '*') {
			guint64 n = g_ascii_strtoull(text + 1, (char **)&text, 10);

			for (; n > 1; n--)
				g_byte_array_append(bytes, &byte, 1);
			/* A dot ends the number where digits follow. */
			text += *text == '.';
			continue;
		}
		byte = (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 |
				 g_ascii_xdigit_value(text[1]));
		g_byte_array_append(bytes, &byte, 1);
		text += 2;
	}
	return bytes;
}

/* h: the command, f: the card gets, c: the card says, r: the response. */
static const struct {
	const char *what;
	const char *steps;
} scripts[] = {
	{ "case 1", "h00200080 f00200080 c63c3 r63c3" },
	{ "short as it is",
	  "h00a4000001aa00 f00a4000001aa00 c6105 r6105 h00c0000005 f00c0000005 c6c02 r6c02" },
	{ "no APDU, short", "h00a4000005aa f00a4000005aa c6700 r6700" },
	{ "no APDU, long", "h00a4000005aa*300 r6700" },
	{ "2E, little there", "h00b00000000000 f00b0000000 caabb9000 raabb9000" },
	{ "2E, all there in the first", "h00b00000000100 f00b0000000 caa*256.9000 raa*256.9000" },
	{ "2E of less than 256", "h00b00000000005 f00b0000005 caabb6282 raabb6282" },
	{ "2E, 61xx", "h00b00000000000 f00b0000000 caa*256.6102 f00c0000002 cbbcc6285 "
		      "raa*256.bbcc6285" },
	{ "2E, 6100", "h00b00000000000 f00b0000000 c6100 f00c0000000 caa*256.6101 f00c0000001 "
		      "cbb9000 raa*256.bb9000" },
	{ "2E, no more than asked for",
	  "h00b00000000102 f00b0000000 caa*256.6180 f00c0000002 cbbcc617e raa*256.bbcc617e" },
	{ "2E, 6Cxx", "h00b00000000000 f00b0000000 c6c02 f00b0000002 caabb9000 raabb9000" },
	{ "2E, 6Cxx twice", "h00b00000000000 f00b0000000 c6c02 f00b0000002 c6c01 r6c01" },
	{ "2E, 6Cxx of more", "h00b00000000005 f00b0000005 c6c06 r6c06" },
	{ "GET RESPONSE, 6Cxx",
	  "h00b00000000000 f00b0000000 c6105 f00c0000005 c6c02 f00c0000002 caabb9000 raabb9000" },
	{ "GET RESPONSE fails", "h00b00000000000 f00b0000000 caa6105 f00c0000005 c6f00 raa6f00" },
	{ "an error", "h00b00000000000 f00b0000000 c6a82 r6a82" },
	{ "a response that is none", "h00b00000000000 f00b0000000 c90 r6f00" },
	{ "3E of 255", "h00d600000000ffaa*255. f00d60000ffaa*255. c9000 r9000" },
	{ "3E of 256",
	  "h00d60000000100aa*256. f10d60000ffaa*255. c9000 f00d6000001aa c9000 r9000" },
	{ "3E, no data asked for",
	  "h00d60000000100aa*256. f10d60000ffaa*255. c9000 f00d6000001aa c6105 r6105" },
	{ "4E", "h002a8086000100aa*256.0000 f102a8086ffaa*255. c9000 f002a808601aa00 caa*256.6101 "
		"f00c0000001 cbb9000 raa*256.bb9000" },
	{ "4E of one byte", "h002a8086000001aa0200 f002a808601aa00 cbb9000 rbb9000" },
	{ "4E, 6Cxx: all again",
	  "h002a8086000100aa*256.0000 f102a8086ffaa*255. c9000 f002a808601aa00 c6c02 "
	  "f102a8086ffaa*255. c9000 f002a808601aa02 cbbcc9000 rbbcc9000" },
	{ "chaining not supported", "h00d60000000100aa*256. f10d60000ffaa*255. c6884 r6884" },
	{ "an answer within the chain",
	  "h00d60000000100aa*256. f10d60000ffaa*255. cbb9000 rbb9000" },
	{ "other channel, secure messaging",
	  "h0eb00000000000 f0eb0000000 c6101 f02c0000001 cbb9000 rbb9000" },
	{ "further channel",
	  "h6fd60000000100aa*256.0000 f7fd60000ffaa*255. c9000 f6fd6000001aa00 c6101 "
	  "f4fc0000001 cbb9000 rbb9000" },
	{ "proprietary class, no chain needed",
	  "h80d600000000ffaa*255. f80d60000ffaa*255. c9000 r9000" },
	{ "proprietary class", "h80d60000000100aa*256. r6700" },
	{ "reserved class", "h20d60000000100aa*256. r6700" },
	{ "class FF", "hffd60000000100aa*256. r6700" },
	{ "proprietary class, response", "h80ca0000000000 f80ca000000 c6101 f00c0000001 cbb9000 "
					 "rbb9000" },
};

/* What was said last: as it is, it is borrowed. */
static GByteArray *given;

static void run_script(const char *what, const char *steps)
{
	g_auto(GStrv) words = g_strsplit(steps, " ", -1);
	VmcSpan out = vmc_span(NULL, 0);
	VscShortStep step = VSC_SHORT_REPLY;
	VscShort s;

	vsc_short_init(&s);
	for (unsigned i = 0; words[i] != NULL; i++) {
		g_autoptr(GByteArray) bytes = bytes_of(words[i] + 1);

		switch (words[i][0]) {
		case 'h':
			assert_int_equal(step, VSC_SHORT_REPLY);
			g_clear_pointer(&given, g_byte_array_unref);
			given = g_byte_array_ref(bytes);
			step = vsc_short_command(&s, vmc_span(bytes->data, bytes->len), &out);
			break;
		case 'c':
			assert_int_equal(step, VSC_SHORT_FORWARD);
			g_clear_pointer(&given, g_byte_array_unref);
			given = g_byte_array_ref(bytes);
			step = vsc_short_response(&s, vmc_span(bytes->data, bytes->len), &out);
			break;
		default:
			if (step != (words[i][0] == 'f' ? VSC_SHORT_FORWARD : VSC_SHORT_REPLY) ||
			    out.len != bytes->len || memcmp(out.data, bytes->data, out.len) != 0)
				fail_msg("%s: not %s", what, words[i]);
		}
	}
	assert_int_equal(step, VSC_SHORT_REPLY);
	vsc_short_forget(&s);
	assert_null(s.data);
}

static void test_scripts(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++)
		run_script(scripts[i].what, scripts[i].steps);
	g_clear_pointer(&given, g_byte_array_unref);
}

/* ---- All sizes ---- */

/* A card that has room for short APDUs alone. */
typedef struct Card {
	GByteArray *command; /* data of the chain so far */
	const uint8_t *response;
	size_t response_len, at;
	uint32_t portion; /* given at a time, at most */
	bool exact;       /* the first Le has to be right: 6Cxx */
	unsigned asked;
} Card;

static GByteArray *card_says(Card *card, uint32_t le)
{
	GByteArray *out = g_byte_array_new();
	size_t left = card->response_len - card->at;
	size_t n = MIN(MIN(left, le), card->portion);
	uint8_t sw[2] = { 0x90, 0 };

	if (card->exact && card->at == 0 && left < le) {
		sw[0] = 0x6c;
		sw[1] = (uint8_t)left;
		g_byte_array_set_size(card->command, 0);
		return g_byte_array_append(out, sw, 2);
	}
	g_byte_array_append(out, card->response + card->at, (guint)n);
	card->at += n;
	left -= n;
	if (left > 0) {
		sw[0] = 0x61;
		sw[1] = left < 256 ? (uint8_t)left : 0;
	}
	return g_byte_array_append(out, sw, 2);
}

static GByteArray *card_command(Card *card, VmcSpan bytes)
{
	const char *because;
	VscApdu apdu;

	assert_true(bytes.len <= VSC_SHORT_COMMAND_MAX);
	assert_true(vsc_apdu_parse(bytes, &apdu, &because));
	assert_true(apdu.kind <= VSC_APDU_4S);
	card->asked++;
	if (apdu.ins == 0xc0)
		return card_says(card, apdu.ne);
	assert_int_equal(apdu.ins, 0x2a);
	if (apdu.data.len > 0)
		g_byte_array_append(card->command, apdu.data.data, (guint)apdu.data.len);
	if ((apdu.cla & 0x10) != 0) {
		assert_int_equal(apdu.data.len, 255);
		assert_int_equal(apdu.ne, 0);
		return g_byte_array_append(g_byte_array_new(), (const uint8_t *)"\x90", 2);
	}
	return card_says(card, apdu.ne);
}

/* An extended APDU; `ne` 0: no Le. */
static GByteArray *make_command(const uint8_t *data, size_t nc, uint32_t ne)
{
	GByteArray *apdu = g_byte_array_new();
	uint8_t lc[3] = { 0, (uint8_t)(nc >> 8), (uint8_t)nc };
	uint8_t le[2] = { (uint8_t)(ne >> 8), (uint8_t)ne };

	g_byte_array_append(apdu, (const uint8_t *)"\0\x2a\x80\x86", 4);
	g_byte_array_append(apdu, lc, nc > 0 ? 3 : 1);
	if (nc > 0)
		g_byte_array_append(apdu, data, (guint)nc);
	return ne > 0 ? g_byte_array_append(apdu, le, 2) : apdu;
}

static void check_size(const uint8_t *data, size_t nc, uint32_t ne, size_t there, uint32_t portion,
		       bool exact)
{
	g_autoptr(GByteArray) command = make_command(data, nc, ne);
	g_autoptr(GByteArray) said = NULL;
	Card card = { .command = g_byte_array_new(),
		      .response = data,
		      .response_len = there,
		      .portion = portion,
		      .exact = exact };
	VmcSpan out, rest;
	uint16_t sw;
	VscShort s;

	vsc_short_init(&s);
	if (vsc_short_command(&s, vmc_span(command->data, command->len), &out) ==
	    VSC_SHORT_FORWARD) {
		do {
			g_clear_pointer(&said, g_byte_array_unref);
			said = card_command(&card, out);
		} while (vsc_short_response(&s, vmc_span(said->data, said->len), &out) ==
			 VSC_SHORT_FORWARD);
	}
	assert_int_equal(card.command->len, nc);
	if (nc > 0)
		assert_memory_equal(card.command->data, data, nc);
	assert_true(vsc_apdu_response(out, &rest, &sw));
	assert_int_equal(rest.len, MIN(there, ne));
	assert_memory_equal(rest.data, data, rest.len);
	assert_int_equal(sw >> 8, there > ne ? 0x61 : 0x90);
	vsc_short_forget(&s);
	g_byte_array_unref(card.command);
}

static void test_every_size(void **state)
{
	static const uint32_t ncs[] = { 0, 1, 254, 255, 256, 510, 511, 4096, 65535 };
	static const uint32_t nes[] = { 0, 1, 255, 256, 257, 513, 65535, 65536 };
	static const uint32_t sizes[] = { 0, 1, 52, 255, 256, 257, 600, 65535, 65536 };
	g_autofree uint8_t *data = g_malloc(65536);

	(void)state;
	for (unsigned i = 0; i < 65536; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t c = 0; c < G_N_ELEMENTS(ncs); c++) {
		for (size_t e = nes[0] == 0 && ncs[c] == 0; e < G_N_ELEMENTS(nes); e++) {
			for (size_t n = 0; n < G_N_ELEMENTS(sizes); n++) {
				check_size(data, ncs[c], nes[e], sizes[n], 256, false);
				check_size(data, ncs[c], nes[e], sizes[n], 100, false);
				if (sizes[n] > 0 && sizes[n] < 256)
					check_size(data, ncs[c], nes[e], sizes[n], 256, true);
			}
		}
	}
}

/* ---- Cards that never end ---- */

/* How many commands it takes until a card that always says this has said
 * enough, and the status word that it ends with. */
static unsigned rounds_of(const char *command, const char *response, uint16_t *sw)
{
	g_autoptr(GByteArray) bytes = bytes_of(command);
	g_autoptr(GByteArray) said = bytes_of(response);
	unsigned rounds = 0;
	VmcSpan out, rest;
	VscShort s;

	vsc_short_init(&s);
	if (vsc_short_command(&s, vmc_span(bytes->data, bytes->len), &out) == VSC_SHORT_FORWARD) {
		do {
			rounds++;
			assert_true(rounds < 10000);
		} while (vsc_short_response(&s, vmc_span(said->data, said->len), &out) ==
			 VSC_SHORT_FORWARD);
	}
	assert_true(vsc_apdu_response(out, &rest, sw));
	assert_true(rest.len <= VSC_APDU_NE_EXTENDED);
	vsc_short_forget(&s);
	return rounds;
}

static void test_endless(void **state)
{
	uint16_t sw;

	(void)state;
	/* Nothing at all, again and again. */
	assert_int_equal(rounds_of("00b00000000000", "6110", &sw), VSC_SHORT_ROUNDS_MAX);
	assert_int_equal(sw, 0x6f00);
	/* As much as there may be, and still more. */
	assert_int_equal(rounds_of("00b00000000000", "aa*256.6100", &sw), 256);
	assert_int_equal(sw, 0x6100);
	/* More than was asked for. */
	assert_int_equal(rounds_of("00b00000000000", "aa*60000.6100", &sw), 2);
	assert_int_equal(sw, 0x6f00);
	/* Another Le each time. */
	assert_int_equal(rounds_of("00b00000000000", "6c05", &sw), 2);
	assert_int_equal(sw, 0x6c05);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_every_size),
		cmocka_unit_test(test_endless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

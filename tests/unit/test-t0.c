/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Any card as a T=0 card: each case of an APDU against each kind of card as
 * scripts, then every length of response and every P3 against a host that
 * keeps to ISO/IEC 7816-3, 12.2; and the wrapper around a card on the loop.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>
#include <string.h>

#include "vscard/t0-card.h"
#include "vscard/t0.h"

/* T=0 as libcacard's card has it; T=1; T=1 with "extended Lc and Le" in its
 * historical bytes; T=0 and T=1. */
#define ATR_T0 "3b67000043415244303132"
#define ATR_T1 "3b84810143415244"
#define ATR_T1E "3b8581018073000040"
#define ATR_BOTH "3b80800101"

static GByteArray *bytes_of(const char *hex)
{
	GByteArray *bytes = g_byte_array_new();

	for (; g_ascii_isxdigit(hex[0]); hex += 2) {
		uint8_t byte =
			(uint8_t)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));

		g_byte_array_append(bytes, &byte, 1);
	}
	return bytes;
}

static char *hex_of(VmcSpan bytes)
{
	GString *hex = g_string_new(NULL);

	for (size_t i = 0; i < bytes.len; i++)
		g_string_append_printf(hex, "%02x", bytes.data[i]);
	return g_string_free(hex, FALSE);
}

/* An ATR with its TCK put right. */
static GByteArray *atr_of(const char *hex)
{
	GByteArray *atr = bytes_of(hex);
	uint8_t sum = 0;

	if (strcmp(hex, ATR_T0) == 0)
		return atr;
	if (strcmp(hex, ATR_BOTH) != 0)
		g_byte_array_append(atr, (const uint8_t *)"", 1);
	atr->data[atr->len - 1] = 0;
	for (guint i = 1; i < atr->len - 1; i++)
		sum ^= atr->data[i];
	atr->data[atr->len - 1] = sum;
	return atr;
}

static void power(VscT0 *t0, const char *atr)
{
	g_autoptr(GByteArray) bytes = atr_of(atr);
	uint8_t shown[VSC_ATR_MAX];

	vsc_t0_init(t0);
	assert_true(vsc_t0_powered(t0, vmc_span(bytes->data, bytes->len), shown) > 0);
}

/* h: the host says, f: the card gets, c: the card says, r: the host gets.
 * 52 bytes are written as "@". */
static const struct {
	const char *what;
	const char *atr;
	const char *steps;
} scripts[] = {
	{ "case 1", ATR_T1, "h00200080 f00200080 c63c3 r63c3" },
	{ "case 1, P3 = 00", ATR_T1, "h0020008000 f0020008000 c9000 r9000" },
	{ "case 1, P3 = 00, refused", ATR_T1,
	  "h0020008000 f0020008000 c6700 f00200080 c63c3 r63c3" },
	{ "case 1 with data", ATR_T1, "h00200080 f00200080 caabb9000 r6102 h00c0000002 raabb9000" },
	{ "case 2", ATR_T1, "h00b0000002 f00b0000002 caabb9000 raabb9000" },
	{ "case 2, less", ATR_T1,
	  "h00b0000004 f00b0000004 caabb6282 r6c02 h00b0000002 raabb6282 "
	  "h00b0000002 f00b0000002 c6a82 r6a82" },
	{ "case 2, P3 = 00", ATR_T1,
	  "h00b0000000 f00b0000000 caabb9000 r6c02 h00b0000002 raabb9000" },
	{ "case 2, more", ATR_T1, "h00b0000001 f00b0000001 caabb9000 raa6101 h00c0000001 rbb9000" },
	{ "case 2, 6Cxx", ATR_T1,
	  "h00b0000000 f00b0000000 c6c02 f00b0000002 caabb9000 r6c02 "
	  "h00b0000002 raabb9000" },
	{ "case 2, 6Cxx twice", ATR_T1, "h00b0000000 f00b0000000 c6c02 f00b0000002 c6c03 r6c03" },
	{ "case 3", ATR_T1, "h00d600000211aa f00d600000211aa00 c9000 r9000" },
	{ "case 3, no Le", ATR_T1,
	  "h00d600000211aa f00d600000211aa00 c6700 f00d600000211aa c9000 r9000" },
	{ "case 3, wrong", ATR_T1,
	  "h00d600000211aa f00d600000211aa00 c6700 f00d600000211aa c6700 r6700" },
	{ "case 4", ATR_T1, "h00a4000001aa f00a4000001aa00 c11229000 r6102 h00c0000002 r11229000" },
	{ "case 4, in parts", ATR_T1,
	  "h00a4000001aa f00a4000001aa00 c1122336285 r6103 "
	  "h00c0000002 r11226101 h00c0000001 r336285" },
	{ "case 4, wrong P3", ATR_T1,
	  "h00a4000001aa f00a4000001aa00 c11229000 r6102 h00c0000000 r6c02 "
	  "h00c0000002 r11229000 h00c0000002 f00c0000002 c6985 r6985" },
	{ "case 4 with Le", ATR_T1, "h00a4000001aa05 f00a4000001aa05 c11229000 r6102" },
	{ "case 4, 6Cxx", ATR_T1,
	  "h00a4000001aa f00a4000001aa00 c6c02 f00a4000001aa02 c11229000 r6102" },
	{ "case 4, 61xx of the card", ATR_T1,
	  "h00a4000001aa f00a4000001aa00 c6105 r6105 "
	  "h00c0000005 f00c0000005 c11223344559000 r11223344559000" },
	{ "case 4, other channel", ATR_T1,
	  "h01a4000001aa f01a4000001aa00 c11229000 r6102 "
	  "h00c0000002 f00c0000002 c6985 r6985 h01c0000002 f01c0000002 c6985 r6985" },
	{ "case 4, other class, same channel", ATR_T1,
	  "h80ca000001aa f80ca000001aa00 c11229000 r6102 "
	  "h00c0000002 r11229000" },
	{ "case 4, another command", ATR_T1,
	  "h00a4000001aa f00a4000001aa00 c11229000 r6102 "
	  "h00b0000001 f00b0000001 cbb9000 rbb9000 h00c0000002 f00c0000002 c6985 r6985" },
	{ "a GET RESPONSE ends the right to repeat", ATR_T1,
	  "h00b0000001 f00b0000001 caabb9000 raa6101 h00c0000002 r6c01 h00b0000001 f00b0000001 "
	  "c9000 r9000" },
	{ "52 bytes, asked", ATR_T1,
	  "h00b0000034 f00b0000034 c@9000 r6c33 h00b0000033 r#6101 h00c0000001 r009000" },
	{ "52 bytes, P3 = 00", ATR_T1,
	  "h00b0000000 f00b0000000 c@9000 r6c33 h00b0000033 r#6101 h00c0000001 r009000" },
	{ "52 bytes, case 4", ATR_T1,
	  "h00a4000001aa f00a4000001aa00 c@9000 r6133 h00c0000033 r#6101 h00c0000001 r009000" },
	{ "52 bytes, case 4, asked all the same", ATR_T1,
	  "h00a4000001aa f00a4000001aa00 c@9000 r6133 h00c0000034 r6c33 h00c0000033 r#6101 "
	  "h00c0000001 r009000" },
	{ "2E", ATR_T1, "h00b00000000000 f00b00000000000 c11229000 r6102 h00c0000002 r11229000" },
	{ "3E", ATR_T1, "h00d60000000001aa f00d60000000001aa0000 c9000 r9000" },
	{ "3E, no Le", ATR_T1,
	  "h00d60000000001aa f00d60000000001aa0000 c6700 f00d60000000001aa c9000 r9000" },
	{ "4E", ATR_T1,
	  "h00d60000000001aa0100 f00d60000000001aa0100 c11229000 r6102 h00c0000002 r11229000" },
	{ "4E, 6Cxx", ATR_T1,
	  "h00d60000000001aa0100 f00d60000000001aa0100 c6c02 f00d60000000001aa0002 c11229000 r6102" },
	{ "too short", ATR_T1, "h00a400 r6700 h r6700" },
	{ "more data than P3", ATR_T1, "h00a4000001aabbcc r6700" },
	{ "less data than P3", ATR_T1, "h00a4000003aabb r6700" },
	{ "a broken response", ATR_T1, "h00b0000001 f00b0000001 c90 r6f00" },
	{ "ENVELOPE the card knows itself", ATR_T1,
	  "h00c2000002aabb f00c2000002aabb00 c9000 r9000" },
	{ "ENVELOPE, 3E", ATR_T1E,
	  "h00c200000500d6000000 r9000 h00c20000030003aa r9000 "
	  "h00c2000002bbcc f00d60000000003aabbcc0000 c9000 r9000" },
	{ "ENVELOPE, 2E and an end", ATR_T1E,
	  "h00c200000700b00000000100 r9000 h00c2000000 "
	  "f00b00000000100 c11229000 r6102 h00c0000002 r11229000" },
	{ "ENVELOPE, ended too soon", ATR_T1E, "h00c200000600b000000001 r9000 h00c2000000 r6700" },
	{ "ENVELOPE, nothing in it", ATR_T1E, "h00c2000000 f00c2000000 c6985 r6985" },
	{ "ENVELOPE, 4E", ATR_T1E,
	  "h00c200000a00d60000000001aa0000 f00d60000000001aa0000 c11229000 r6102 "
	  "h00c0000002 r11229000" },
	{ "ENVELOPE, left for another", ATR_T1E,
	  "h00c200000500d6000000 r9000 h00b0000001 f00b0000001 cbb9000 rbb9000 "
	  "h00c20000030003aa f00c20000030003aa00 c6a80 r6a80" },
	{ "ENVELOPE, not an extended APDU", ATR_T1E,
	  "h00c2000005aabbccdd01 f00c2000005aabbccdd0100 c9000 r9000" },
	/* Cards that speak T=0 see and say what they would without us. */
	{ "T=0: case 1", ATR_T0, "h00200080 f00200080 c63c3 r63c3" },
	{ "T=0: P3 = 00", ATR_T0, "h0020008000 f0020008000 c6700 r6700" },
	{ "T=0: 6Cxx", ATR_T0,
	  "h00b0000000 f00b0000000 c6c02 r6c02 h00b0000002 f00b0000002 caabb9000 raabb9000" },
	{ "T=0: less than asked", ATR_T0, "h00b0000004 f00b0000004 caabb9000 raabb9000" },
	{ "T=0: 61xx", ATR_T0,
	  "h00a4000001aa f00a4000001aa c6102 r6102 h00c0000002 f00c0000002 c11229000 r11229000" },
	{ "T=0: data at once", ATR_T0, "h00a4000001aa00 f00a4000001aa00 c11229000 r11229000" },
	{ "T=0: case 3 with Le", ATR_T0, "h00a4000001aa f00a4000001aa c9000 r9000" },
	{ "T=0: 52 bytes", ATR_T0,
	  "h00b0000034 f00b0000034 c@9000 r6c33 h00b0000033 r#6101 h00c0000001 r009000 "
	  "h00c0000001 f00c0000001 c6985 r6985" },
	{ "T=0: 6C34", ATR_T0,
	  "h00b0000000 f00b0000000 c6c34 f00b0000034 c@9000 r6c33 h00b0000033 r#6101" },
	{ "T=0: 52 bytes by GET RESPONSE", ATR_T0,
	  "h00c0000034 f00c0000034 c@6102 r6c33 h00c0000033 r#6101 "
	  "h00c0000001 r006102 h00c0000002 f00c0000002 caabb9000 raabb9000" },
	{ "T=0: 52 bytes, data at once", ATR_T0,
	  "h00a4000001aa00 f00a4000001aa00 c@9000 r6133 h00c0000033 r#6101" },
	{ "T=0: ENVELOPE", ATR_T0, "h00c2000002aabb f00c2000002aabb c9000 r9000" },
	{ "both: as T=0", ATR_BOTH, "h00a4000001aa f00a4000001aa c6102 r6102" },
};

static GByteArray *step_bytes(const char *text)
{
	GString *hex = g_string_new(NULL);

	for (; *text != '\0' && *text != ' '; text++) {
		if (*text == '@' || *text == '#')
			for (unsigned i = 0; i < (*text == '@' ? 52 : 51); i++)
				g_string_append(hex, "00");
		else
			g_string_append_c(hex, *text);
	}

	GByteArray *bytes = bytes_of(hex->str);
	g_string_free(hex, TRUE);
	return bytes;
}

static void run_script(const char *what, const char *atr, const char *steps)
{
	g_auto(GStrv) words = g_strsplit(steps, " ", -1);
	VscT0Step step = VSC_T0_REPLY;
	VmcSpan out = vmc_span(NULL, 0);
	VscT0 t0;

	power(&t0, atr);
	for (unsigned i = 0; words[i] != NULL; i++) {
		g_autoptr(GByteArray) bytes = step_bytes(words[i] + 1);
		VmcSpan span = vmc_span(bytes->data, bytes->len);
		g_autofree char *want = hex_of(span);
		g_autofree char *got = NULL;

		switch (words[i][0]) {
		case 'h':
			step = vsc_t0_command(&t0, span, &out);
			break;
		case 'c':
			step = vsc_t0_response(&t0, span, &out);
			break;
		default:
			got = hex_of(out);
			if (step != (words[i][0] == 'f' ? VSC_T0_FORWARD : VSC_T0_REPLY) ||
			    strcmp(got, want) != 0)
				fail_msg("%s: at %s it says %c%s", what, words[i],
					 step == VSC_T0_FORWARD ? 'f' : 'r', got);
		}
	}
	vsc_t0_forget(&t0);
}

static void test_scripts(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++)
		run_script(scripts[i].what, scripts[i].atr, scripts[i].steps);
}

/* ---- Every length against a host that keeps to the rules ---- */

/* The response the card has for every command. */
typedef struct Card {
	uint8_t data[70000];
	size_t len;
	unsigned asked;
} Card;

static VmcSpan exchange(VscT0 *t0, Card *card, const uint8_t *tpdu, size_t len)
{
	VmcSpan out;
	VscT0Step step = vsc_t0_command(t0, vmc_span(tpdu, len), &out);

	for (unsigned i = 0; step == VSC_T0_FORWARD; i++) {
		assert_true(i < 2);
		card->asked++;
		vmc_put_u16be(card->data + card->len, 0x9000);
		step = vsc_t0_response(t0, vmc_span(card->data, card->len + 2), &out);
	}
	assert_in_range(out.len, 2, VSC_T0_REPLY_MAX);
	assert_int_not_equal(out.len, 54);
	return out;
}

/* 12.2: 61xx is answered by GET RESPONSE, 6Cxx by the same with P3 = xx, until
 * there is another status. Data comes in just the length that P3 says. */
static GByteArray *fetch(VscT0 *t0, Card *card, const uint8_t *first, size_t first_len)
{
	GByteArray *all = g_byte_array_new();
	g_autofree uint8_t *tpdu = g_memdup2(first, first_len);
	size_t len = first_len;

	for (unsigned i = 0; i < 1000; i++) {
		VmcSpan out = exchange(t0, card, tpdu, len);
		uint8_t sw1 = out.data[out.len - 2], sw2 = out.data[out.len - 1];

		if (out.len > 2) {
			assert_int_equal(len, 5);
			assert_int_equal(out.len - 2, tpdu[4] != 0 ? tpdu[4] : 256);
			g_byte_array_append(all, out.data, (guint)out.len - 2);
		}
		if (sw1 == 0x61) {
			const uint8_t get_response[] = { 0, 0xc0, 0, 0, sw2 };

			memcpy(tpdu, get_response, 5);
			len = 5;
		} else if (sw1 == 0x6c) {
			assert_int_equal(out.len, 2);
			assert_int_equal(len, 5);
			tpdu[4] = sw2;
		} else {
			assert_int_equal(sw1 << 8 | sw2, 0x9000);
			return all;
		}
	}
	fail_msg("it never ends");
	return all;
}

static void check_fetch(const char *atr, Card *card, const uint8_t *tpdu, size_t len)
{
	g_autoptr(GByteArray) all = NULL;
	VscT0 t0;

	power(&t0, atr);
	card->asked = 0;
	all = fetch(&t0, card, tpdu, len);
	assert_int_equal(all->len, card->len);
	assert_memory_equal(all->data, card->data, card->len);
	/* The card has worked once. */
	assert_int_equal(card->asked, 1);
	assert_null(t0.kept);
	assert_null(t0.apdu);
	vsc_t0_forget(&t0);
}

static void test_every_length(void **state)
{
	static const uint8_t case4[] = { 0, 0xa4, 0, 0, 1, 0xaa };
	static const uint8_t case2e[] = { 0, 0xb0, 0, 0, 0, 0, 0 };
	g_autofree Card *card = g_new0(Card, 1);

	(void)state;
	for (size_t i = 0; i < sizeof(card->data); i++)
		card->data[i] = (uint8_t)(i * 7 + i / 256);
	for (card->len = 0; card->len <= 620; card->len++) {
		check_fetch(ATR_T1, card, case4, sizeof(case4));
		check_fetch(ATR_T1, card, case2e, sizeof(case2e));
	}
	card->len = 65536;
	check_fetch(ATR_T1, card, case2e, sizeof(case2e));
	card->len = 65535;
	check_fetch(ATR_T1, card, case2e, sizeof(case2e));

	for (unsigned p3 = 0; p3 < 256; p3++) {
		const uint8_t case2[] = { 0, 0xb0, 0, 0, (uint8_t)p3 };

		for (card->len = 0; card->len <= 256; card->len++)
			check_fetch(ATR_T1, card, case2, sizeof(case2));
	}
}

/* ---- ATRs ---- */

static void test_atrs(void **state)
{
	static const struct {
		const char *atr, *shown;
		bool native, extended;
	} cases[] = {
		{ ATR_T0, ATR_T0, true, false },
		{ ATR_T1, "3b0443415244", false, false },
		{ ATR_T1E, "3b058073000040", false, true },
		{ "3bda18ff81b1fe751f030031f573c00160009000", "3b1a180031f573c001600090", false,
		  true },
		{ "3f8001", "3f00", false, false },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GByteArray) atr = atr_of(cases[i].atr);
		uint8_t shown[VSC_ATR_MAX];
		g_autofree char *hex = NULL;
		const char *because;
		VscAtr parsed;
		size_t len;
		VscT0 t0;

		vsc_t0_init(&t0);
		len = vsc_t0_powered(&t0, vmc_span(atr->data, atr->len), shown);
		hex = hex_of(vmc_span(shown, len));
		if (!g_str_has_prefix(hex, cases[i].shown))
			fail_msg("%s becomes %s", cases[i].atr, hex);
		assert_true(vsc_atr_parse(vmc_span(shown, len), &parsed, &because));
		assert_int_equal(parsed.first, 0);
		assert_false(parsed.t1 && !t0.native);
		assert_int_equal(t0.native, cases[i].native);
		assert_int_equal(t0.extended, cases[i].extended);
	}
}

/* What is no ATR goes through; whoever takes it says so. */
static void test_no_atr(void **state)
{
	uint8_t shown[VSC_ATR_MAX], bytes[40] = { 0x3b, 0xff };
	VscT0 t0;

	(void)state;
	vsc_t0_init(&t0);
	assert_int_equal(vsc_t0_powered(&t0, vmc_span(NULL, 0), shown), 0);
	assert_int_equal(vsc_t0_powered(&t0, vmc_span(bytes, 1), shown), 1);
	assert_int_equal(vsc_t0_powered(&t0, vmc_span(bytes, 40), shown), VSC_ATR_MAX);
}

/* ---- The wrapper ---- */

/* A card that keeps what it is asked until the test answers. */
typedef struct Fake {
	VscCard base;
	VscToken token;
	VscToken cancelled;
	char *got; /* "on", "off", "reset", or the command as hex */
} Fake;

static void fake_asked(VscCard *card, VscToken token, char *got)
{
	Fake *fake = (Fake *)card;

	fake->token = token;
	g_free(fake->got);
	fake->got = got;
}

static void fake_power_on(VscCard *card, VscToken token)
{
	fake_asked(card, token, g_strdup("on"));
}

static void fake_power_off(VscCard *card, VscToken token)
{
	fake_asked(card, token, g_strdup("off"));
}

static void fake_reset(VscCard *card, VscToken token)
{
	fake_asked(card, token, g_strdup("reset"));
}

static void fake_transmit(VscCard *card, VscToken token, VmcSpan command)
{
	fake_asked(card, token, hex_of(command));
}

static void fake_cancel(VscCard *card, VscToken token)
{
	((Fake *)card)->cancelled = token;
}

static void fake_free(VscCard *card)
{
	g_free(((Fake *)card)->got);
	vsc_card_finish(card);
}

static const VscCardClass fake_class = {
	.power_on = fake_power_on,
	.power_off = fake_power_off,
	.reset = fake_reset,
	.transmit = fake_transmit,
	.cancel = fake_cancel,
	.free = fake_free,
};

static void fake_answer(Fake *fake, VscOutcome outcome, const char *hex)
{
	g_autoptr(GByteArray) bytes = bytes_of(hex);

	vsc_card_emit_answered(&fake->base, fake->token, outcome,
			       vmc_span(bytes->data, bytes->len));
}

/* What the wrapper's user hears, as words. */
static GString *heard;

static void hear_inserted(void *user)
{
	(void)user;
	g_string_append(heard, "in ");
}

static void hear_removed(void *user)
{
	(void)user;
	g_string_append(heard, "out ");
}

static void hear_answered(void *user, VscToken token, VscOutcome outcome, VmcSpan data)
{
	g_autofree char *hex = hex_of(data);

	(void)user;
	g_string_append_printf(heard, "%u:%s:%s ", token, vsc_outcome_name(outcome), hex);
}

static void hear_working(void *user, VscToken token)
{
	(void)user;
	g_string_append_printf(heard, "%u:working ", token);
}

static const VscCardEvents hear = { hear_inserted, hear_removed, hear_answered, hear_working,
				    NULL };

static void assert_heard(const char *words)
{
	while (g_main_context_iteration(NULL, FALSE))
		;
	assert_string_equal(heard->str, words);
	g_string_truncate(heard, 0);
}

static VscCard *wrapped(Fake *fake, VscT0Card **t0)
{
	VscCard *card;

	*fake = (Fake){ 0 };
	heard = g_string_new(NULL);
	vsc_card_init(&fake->base, &fake_class, "fake");
	*t0 = vsc_t0_card_new(&fake->base);
	card = vsc_t0_card(*t0);
	vsc_card_set_user(card, &hear, NULL);
	assert_string_equal(vsc_card_name(card), "fake");
	return card;
}

static void unwrap(VscCard *card, Fake *fake)
{
	vsc_card_free(card);
	vsc_card_free(&fake->base);
	g_string_free(heard, TRUE);
}

static void send(VscCard *card, VscToken token, const char *hex)
{
	g_autoptr(GByteArray) bytes = bytes_of(hex);

	vsc_card_transmit(card, token, vmc_span(bytes->data, bytes->len));
}

static void test_wrapper(void **state)
{
	VscT0Card *t0;
	Fake fake;
	VscCard *card = wrapped(&fake, &t0);

	(void)state;
	vsc_card_emit_inserted(&fake.base);
	assert_heard("in ");
	vsc_card_power_on(card, 11);
	assert_string_equal(fake.got, "on");
	fake_answer(&fake, VSC_OUTCOME_OK,
		    "3b8001"
		    "81");
	assert_heard("11:ok:3b00 ");

	send(card, 12, "00a4000001aa");
	assert_string_equal(fake.got, "00a4000001aa00");
	vsc_card_emit_working(&fake.base, fake.token);
	fake_answer(&fake, VSC_OUTCOME_OK, "6700");
	assert_string_equal(fake.got, "00a4000001aa");
	fake_answer(&fake, VSC_OUTCOME_OK, "11229000");
	assert_heard("12:working 12:ok:6102 ");

	/* An answer that is at hand comes from the loop. */
	send(card, 13, "00c0000002");
	assert_string_equal(heard->str, "");
	assert_heard("13:ok:11229000 ");

	/* Reset forgets what is kept. */
	send(card, 14, "00a4000001aa");
	fake_answer(&fake, VSC_OUTCOME_OK, "11229000");
	vsc_card_reset(card, 15);
	fake_answer(&fake, VSC_OUTCOME_OK, "3b800181");
	send(card, 16, "00c0000002");
	assert_string_equal(fake.got, "00c0000002");
	fake_answer(&fake, VSC_OUTCOME_MUTE, "");
	assert_heard("14:ok:6102 15:ok:3b00 16:card does not answer: ");
	unwrap(card, &fake);
}

static void test_wrapper_cancel(void **state)
{
	VscT0Card *t0;
	Fake fake;
	VscCard *card = wrapped(&fake, &t0);

	(void)state;
	vsc_card_emit_inserted(&fake.base);
	vsc_card_power_on(card, 1);
	fake_answer(&fake, VSC_OUTCOME_OK, "3b800181");
	send(card, 2, "00a4000001aa");
	vsc_card_cancel(card, 99);
	assert_int_equal(fake.cancelled, 0);
	vsc_card_cancel(card, 2);
	assert_int_equal(fake.cancelled, fake.token);
	/* It would be asked again; nobody waits. */
	fake_answer(&fake, VSC_OUTCOME_OK, "6700");
	assert_heard("in 1:ok:3b00 2:cancelled: ");

	/* Removed in mid-command, and the card answers all the same. */
	send(card, 3, "00a4000001aa");
	vsc_card_emit_removed(&fake.base);
	fake_answer(&fake, VSC_OUTCOME_OK, "6700");
	assert_heard("out 3:ok:6700 ");
	fake_answer(&fake, VSC_OUTCOME_OK, "9000");
	assert_heard("");
	unwrap(card, &fake);
}

/* Told to, it lets everything through. */
static void test_wrapper_apdu(void **state)
{
	VscT0Card *t0;
	Fake fake;
	VscCard *card = wrapped(&fake, &t0);

	(void)state;
	vsc_card_emit_inserted(&fake.base);
	vsc_t0_card_set_tpdu(t0, false);
	vsc_card_power_on(card, 1);
	fake_answer(&fake, VSC_OUTCOME_OK, "3b800181");
	send(card, 2, "00a4000001aa");
	assert_string_equal(fake.got, "00a4000001aa");
	fake_answer(&fake, VSC_OUTCOME_OK, "11229000");
	vsc_card_power_off(card, 3);
	assert_string_equal(fake.got, "off");
	fake_answer(&fake, VSC_OUTCOME_OK, "");
	assert_heard("in 1:ok:3b800181 2:ok:11229000 3:ok: ");
	unwrap(card, &fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts),      cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_atrs),         cmocka_unit_test(test_no_atr),
		cmocka_unit_test(test_wrapper),      cmocka_unit_test(test_wrapper_cancel),
		cmocka_unit_test(test_wrapper_apdu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

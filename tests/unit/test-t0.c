/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Any card as a T=0 card: each case of an APDU against each kind of card as
 * scripts, then every length of response and every P3 against a host that
 * keeps to ISO/IEC 7816-3, 12.2; and the ATRs that such a host is shown.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>
#include <string.h>

#include "tests/lib/script.h"
#include "vscard/t0.h"

/* T=0 as libcacard's card has it; T=1; T=1 with "extended Lc and Le" in its
 * historical bytes; T=0 and T=1. */
#define ATR_T0 "3b67000043415244303132"
#define ATR_T1 "3b84810143415244"
#define ATR_T1E "3b8581018073000040"
#define ATR_BOTH "3b80800101"

/* An ATR with its TCK put right. */
static GByteArray *atr_of(const char *hex)
{
	GByteArray *atr = vsc_script_bytes(hex);
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

/* In these tests a card whose first protocol is T=0 takes TPDUs. */
static VscExchange exchange_of(const char *atr)
{
	return strcmp(atr, ATR_T0) == 0 || strcmp(atr, ATR_BOTH) == 0 ? VSC_EXCHANGE_T0 :
									VSC_EXCHANGE_APDU;
}

static void power(VscT0 *t0, const char *atr)
{
	g_autoptr(GByteArray) bytes = atr_of(atr);

	vsc_t0_init(t0);
	vsc_t0_powered(t0, vmc_span(bytes->data, bytes->len), exchange_of(atr));
}

static void run_script(const VscScript *script)
{
	const char *atr = strcmp(script->kind, "t1e") == 0 ? ATR_T1E :
			  strcmp(script->kind, "t1") == 0  ? ATR_T1 :
							     ATR_T0;
	VscT0Step step = VSC_T0_REPLY;
	VmcSpan out = vmc_span(NULL, 0);
	VscT0 t0;

	power(&t0, atr);
	for (char **word = script->steps; *word != NULL; word++) {
		g_autoptr(GByteArray) bytes = vsc_script_bytes(*word + 1);
		VmcSpan span = vmc_span(bytes->data, bytes->len);
		g_autofree char *want = vsc_script_hex(span);
		g_autofree char *got = NULL;

		switch ((*word)[0]) {
		case 'h':
			assert_int_equal(step, VSC_T0_REPLY);
			step = vsc_t0_command(&t0, span, &out);
			break;
		case 'c':
			assert_int_equal(step, VSC_T0_FORWARD);
			step = vsc_t0_response(&t0, span, &out);
			break;
		default:
			got = vsc_script_hex(out);
			if (step != ((*word)[0] == 'f' ? VSC_T0_FORWARD : VSC_T0_REPLY) ||
			    strcmp(got, want) != 0)
				fail_msg("%s: at %s it says %c%s", script->what, *word,
					 step == VSC_T0_FORWARD ? 'f' : 'r', got);
		}
	}
	vsc_t0_forget(&t0);
}

static void test_scripts(void **state)
{
	g_autoptr(GPtrArray) scripts = vsc_scripts_read("fixtures/transcripts/t0.txt");

	(void)state;
	assert_true(scripts->len >= 50);
	for (guint i = 0; i < scripts->len; i++)
		run_script(g_ptr_array_index(scripts, i));
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
		vsc_t0_powered(&t0, vmc_span(atr->data, atr->len), exchange_of(cases[i].atr));
		len = vsc_t0_atr(vmc_span(atr->data, atr->len), shown);
		hex = vsc_script_hex(vmc_span(shown, len));
		if (!g_str_has_prefix(hex, cases[i].shown))
			fail_msg("%s becomes %s", cases[i].atr, hex);
		assert_true(vsc_atr_parse(vmc_span(shown, len), &parsed, &because));
		assert_int_equal(parsed.first, 0);
		assert_false(parsed.t1 && !t0.native);
		assert_int_equal(t0.native, cases[i].native);
		assert_int_equal(t0.extended, cases[i].extended);
	}
}

/* 8.2.5: TCK is there unless T=0 alone is named, and makes all but TS 0. */
static void check_tck(const uint8_t *atr, size_t len)
{
	bool others = false;
	uint8_t sum = 0;
	size_t at = 1;

	/* From one TD to the next, over the TA, TB and TC before it. */
	for (uint8_t y = atr[1]; (y & 0x80) != 0; y = atr[at]) {
		at += (y >> 4 & 1u) + (y >> 5 & 1u) + (y >> 6 & 1u) + 1;
		assert_true(at < len);
		others = others || (atr[at] & 0x0f) != 0;
	}
	for (size_t i = 1; i < len; i++)
		sum ^= atr[i];
	assert_true(!others || sum == 0);
}

static void check_real_atr(const char *hex, const char *shown, bool extended)
{
	g_autoptr(GByteArray) atr = vsc_script_bytes(hex);
	VmcSpan span = vmc_span(atr->data, atr->len), got;
	uint8_t bytes[VSC_ATR_MAX];
	g_autofree char *got_hex = NULL;
	const char *because = NULL;
	VscAtr before, after;
	VscT0 t0;

	if (!vsc_atr_parse(span, &before, &because))
		fail_msg("%s: %s", hex, because);
	got = vmc_span(bytes, vsc_t0_atr(span, bytes));
	got_hex = vsc_script_hex(got);
	if (strcmp(got_hex, strcmp(shown, "=") == 0 ? hex : shown) != 0)
		fail_msg("%s becomes %s", hex, got_hex);
	check_tck(got.data, got.len);
	assert_true(vsc_atr_parse(got, &after, &because));
	assert_int_equal(after.first, 0);
	assert_int_equal(after.ta1, before.ta1);
	assert_int_equal(after.inverse, before.inverse);
	assert_int_equal(after.historical.len, before.historical.len);
	if (strcmp(shown, "=") != 0)
		assert_true(after.t0 && !after.t1 && !after.specific);

	vsc_t0_init(&t0);
	vsc_t0_powered(&t0, span, VSC_EXCHANGE_APDU);
	if (t0.extended != extended)
		fail_msg("%s: extended APDUs: %d", hex, t0.extended);
	vsc_t0_powered(&t0, span, VSC_EXCHANGE_T0);
	assert_true(t0.native && !t0.extended);
}

static void test_real_atrs(void **state)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	unsigned n = 0;

	(void)state;
	assert_true(g_file_get_contents("fixtures/atrs.txt", &text, NULL, NULL));
	lines = g_strsplit(text, "\n", -1);
	for (unsigned i = 0; lines[i] != NULL; i++) {
		g_auto(GStrv) fields = g_strsplit(lines[i], " | ", -1);

		if (lines[i][0] == '#' || lines[i][0] == '\0')
			continue;
		assert_int_equal(g_strv_length(fields), 4);
		check_real_atr(fields[0], fields[1], strcmp(fields[2], "extended") == 0);
		n++;
	}
	assert_true(n >= 40);
}

/* What is no ATR goes through; whoever takes it says so. */
static void test_no_atr(void **state)
{
	uint8_t shown[VSC_ATR_MAX], bytes[40] = { 0x3b, 0xff };

	(void)state;
	assert_int_equal(vsc_t0_atr(vmc_span(NULL, 0), shown), 0);
	assert_int_equal(vsc_t0_atr(vmc_span(bytes, 1), shown), 1);
	assert_int_equal(vsc_t0_atr(vmc_span(bytes, 40), shown), VSC_ATR_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts), cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_atrs),    cmocka_unit_test(test_real_atrs),
		cmocka_unit_test(test_no_atr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ATRs of real cards, ATRs for each rule of ISO/IEC 7816-3 clause 8, and bytes
 * that are none.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>
#include <string.h>

#include "vscard/atr.h"

static GByteArray *bytes_of(const char *hex)
{
	GByteArray *bytes = g_byte_array_new();

	for (; hex[0] != '\0'; hex += hex[2] == ' ' ? 3 : 2) {
		uint8_t byte =
			(uint8_t)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));

		g_byte_array_append(bytes, &byte, 1);
	}
	return bytes;
}

static void test_good(void **state)
{
	static const struct {
		const char *hex;
		bool t0, t1, specific, inverse, crc;
		uint8_t first, ta1, n, wi, ifsc, bwi_cwi, stop;
		size_t historical;
	} cases[] = {
		{ .hex = "3b00", .t0 = true },
		{ .hex = "3f00", .t0 = true, .inverse = true },
		{ .hex = "3b 02 14 50", .t0 = true, .historical = 2 },
		{ .hex = "3b 14 95 01 02 03 04", .t0 = true, .ta1 = 0x95, .historical = 4 },
		{ .hex = "3b f0 18 00 ff 40 0a", .t0 = true, .ta1 = 0x18, .n = 255, .wi = 10 },
		/* T=0 only, and said so: no TCK. */
		{ .hex = "3b 80 00", .t0 = true },
		{ .hex = "3b 80 40 20", .t0 = true, .wi = 0x20 },
		/* T=1: TCK. */
		{ .hex = "3b 80 01 81", .t1 = true, .first = 1 },
		{ .hex = "3b 80 81 31 fe 55 9b",
		  .t1 = true,
		  .first = 1,
		  .ifsc = 0xfe,
		  .bwi_cwi = 0x55 },
		{ .hex = "3b 80 81 71 fe 55 01 da",
		  .t1 = true,
		  .first = 1,
		  .ifsc = 0xfe,
		  .bwi_cwi = 0x55,
		  .crc = true },
		/* Both, T=0 first. */
		{ .hex = "3b 80 80 01 01", .t0 = true, .t1 = true },
		/* T=0 and T=15: TCK; clock stop. */
		{ .hex = "3b 80 80 1f c7 d8", .t0 = true, .stop = 3 },
		/* TA2: specific mode, T=1. */
		{ .hex = "3b 80 11 01 90", .t1 = true, .specific = true, .first = 1 },
		/* TA2 counts before TD1. */
		{ .hex = "3b 80 90 01 01 10",
		  .t0 = true,
		  .t1 = true,
		  .specific = true,
		  .first = 1 },
		/* Only the first group of a protocol counts. */
		{ .hex = "3b 80 81 91 20 11 40 e1", .t1 = true, .first = 1, .ifsc = 0x20 },
		/* OpenPGP card 3.4. */
		{ .hex = "3b da 18 ff 81 b1 fe 75 1f 03 00 31 f5 73 c0 01 60 00 90 00 1c",
		  .t1 = true,
		  .first = 1,
		  .ta1 = 0x18,
		  .n = 255,
		  .ifsc = 0xfe,
		  .bwi_cwi = 0x75,
		  .historical = 10 },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GByteArray) bytes = bytes_of(cases[i].hex);
		const char *because = NULL;
		VscAtr atr;

		if (!vsc_atr_parse(vmc_span(bytes->data, bytes->len), &atr, &because))
			fail_msg("%s: %s", cases[i].hex, because);
		assert_int_equal(atr.t0, cases[i].t0);
		assert_int_equal(atr.t1, cases[i].t1);
		assert_int_equal(atr.first, cases[i].first);
		assert_int_equal(atr.specific, cases[i].specific);
		assert_int_equal(atr.inverse, cases[i].inverse);
		assert_int_equal(atr.ta1, cases[i].ta1 != 0 ? cases[i].ta1 : 0x11);
		assert_int_equal(atr.guard_n, cases[i].n);
		assert_int_equal(atr.t0_wi, cases[i].wi != 0 ? cases[i].wi : 10);
		assert_int_equal(atr.t1_ifsc, cases[i].ifsc != 0 ? cases[i].ifsc : 32);
		assert_int_equal(atr.t1_bwi_cwi, cases[i].bwi_cwi != 0 ? cases[i].bwi_cwi : 0x4d);
		assert_int_equal(atr.t1_crc, cases[i].crc);
		assert_int_equal(atr.clock_stop, cases[i].stop);
		assert_int_equal(atr.historical.len, cases[i].historical);
	}
}

static void test_bad(void **state)
{
	static const char *const cases[] = {
		"",
		"3b",
		"3c00",
		"0300",
		"3b01",       /* historical byte missing */
		"3b0000",     /* one byte too many */
		"3b10",       /* TA1 missing */
		"3b80",       /* TD1 missing */
		"3b8080",     /* TD2 missing */
		"3b8001",     /* TCK missing */
		"3b800180",   /* TCK wrong */
		"3b80018181", /* one byte after TCK */
		"3bf0111111", /* TD1 missing after TA1 TB1 TC1 */
		"3b8080808080808080808080808080808080808080808080808080808080808080",
		"3bffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"3b0f0102030405060708090a0b0c0d0e",
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GByteArray) bytes = bytes_of(cases[i]);
		const char *because = NULL;
		VscAtr atr;

		if (vsc_atr_parse(vmc_span(bytes->data, bytes->len), &atr, &because))
			fail_msg("taken for an ATR: %s", cases[i]);
		assert_non_null(because);
	}
}

/* Lengths of the hostile table, as if T0 said there were 15 historical bytes. */
static void test_lengths(void **state)
{
	static const size_t lengths[] = { 0, 1, 2, 17, 33, 34, 41, 255, 65536 };

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
		g_autofree uint8_t *bytes = g_malloc0(lengths[i] + 1);
		const char *because;
		VscAtr atr;

		bytes[0] = 0x3b;
		if (lengths[i] > 1)
			bytes[1] = lengths[i] == 2 ? 0 : 0x0f;
		assert_int_equal(vsc_atr_parse(vmc_span(bytes, lengths[i]), &atr, &because),
				 lengths[i] == 2 || lengths[i] == 17);
	}
}

/* Every prefix of a good one is bad, or shorter with its own sense. */
static void test_cut(void **state)
{
	g_autoptr(GByteArray) bytes =
		bytes_of("3b da 18 ff 81 b1 fe 75 1f 03 00 31 f5 73 c0 01 60 00 90 00 1c");

	(void)state;
	for (size_t len = 0; len < bytes->len; len++) {
		g_autofree uint8_t *cut = g_memdup2(bytes->data, MAX(len, 1));
		const char *because;
		VscAtr atr;

		assert_false(vsc_atr_parse(vmc_span(cut, len), &atr, &because));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

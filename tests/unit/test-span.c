/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VmcSpan: gets that check before they advance, puts, and wiping. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmc/span.h"

static const uint8_t digits[] = { 0x81, 0x92, 0xa3, 0xb4, 0xc5 };

static void test_numbers(void **state)
{
	VmcSpan span;
	uint32_t u32 = 0;
	uint16_t u16 = 0;
	uint8_t u8 = 0;

	(void)state;
	span = vmc_span(digits, sizeof(digits));
	assert_true(vmc_span_u8(&span, &u8));
	assert_int_equal(u8, 0x81);
	assert_ptr_equal(span.data, digits + 1);
	assert_int_equal(span.len, 4);

	assert_true(vmc_span_u16le(&span, &u16));
	assert_int_equal(u16, 0xa392);
	assert_true(vmc_span_u16be(&span, &u16));
	assert_int_equal(u16, 0xb4c5);
	assert_int_equal(span.len, 0);

	span = vmc_span(digits, sizeof(digits));
	assert_true(vmc_span_u32le(&span, &u32));
	assert_int_equal(u32, 0xb4a39281);
	assert_int_equal(span.len, 1);

	span = vmc_span(digits + 1, 4);
	assert_true(vmc_span_u32be(&span, &u32));
	assert_int_equal(u32, 0x92a3b4c5);
	assert_int_equal(span.len, 0);
}

/* One byte too few for each: the answer is false and nothing has changed. */
static void test_too_short(void **state)
{
	uint32_t u32 = 0x5a5a5a5a;
	uint16_t u16 = 0x5a5a;
	uint8_t u8 = 0x5a;
	VmcSpan out = vmc_span(digits + 4, 1);

	(void)state;
	for (size_t len = 0; len < 4; len++) {
		VmcSpan span = vmc_span(digits, len);

		assert_false(vmc_span_u32le(&span, &u32));
		assert_false(vmc_span_u32be(&span, &u32));
		if (len < 2) {
			assert_false(vmc_span_u16le(&span, &u16));
			assert_false(vmc_span_u16be(&span, &u16));
		}
		if (len < 1)
			assert_false(vmc_span_u8(&span, &u8));
		assert_false(vmc_span_take(&span, len + 1, &out));
		assert_false(vmc_span_take(&span, SIZE_MAX, &out));
		assert_ptr_equal(span.data, digits);
		assert_int_equal(span.len, len);
	}
	assert_int_equal(u32, 0x5a5a5a5a);
	assert_int_equal(u16, 0x5a5a);
	assert_int_equal(u8, 0x5a);
	assert_ptr_equal(out.data, digits + 4);
	assert_int_equal(out.len, 1);
}

static void test_take(void **state)
{
	VmcSpan span = vmc_span(digits, sizeof(digits));
	VmcSpan out;

	(void)state;
	assert_true(vmc_span_take(&span, 2, &out));
	assert_ptr_equal(out.data, digits);
	assert_int_equal(out.len, 2);
	assert_true(vmc_span_take(&span, 0, &out));
	assert_int_equal(out.len, 0);
	assert_true(vmc_span_take(&span, 3, &out));
	assert_ptr_equal(out.data, digits + 2);
	assert_int_equal(span.len, 0);

	span = vmc_span(NULL, 0);
	assert_true(vmc_span_take(&span, 0, &out));
	assert_null(out.data);
	assert_false(vmc_span_take(&span, 1, &out));
}

static void test_put(void **state)
{
	uint8_t to[6] = { 0xee, 0, 0, 0, 0, 0xee };

	(void)state;
	vmc_put_u16le(to + 1, 0x8192);
	assert_memory_equal(to, "\xee\x92\x81\x00\x00\xee", 6);
	vmc_put_u16be(to + 1, 0x8192);
	assert_memory_equal(to, "\xee\x81\x92\x00\x00\xee", 6);
	vmc_put_u32le(to + 1, 0x8192a3b4);
	assert_memory_equal(to, "\xee\xb4\xa3\x92\x81\xee", 6);
	vmc_put_u32be(to + 1, 0x8192a3b4);
	assert_memory_equal(to, "\xee\x81\x92\xa3\xb4\xee", 6);
}

static void test_wipe(void **state)
{
	char pin[] = "x123456x";

	(void)state;
	vmc_wipe(pin + 1, 6);
	assert_memory_equal(pin, "x\0\0\0\0\0\0x", 8);
	vmc_wipe(pin, 0);
	assert_int_equal(pin[0], 'x');
	vmc_wipe(NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_too_short),
		cmocka_unit_test(test_take),    cmocka_unit_test(test_put),
		cmocka_unit_test(test_wipe),
	};

	return cmocka_run_group_tests_name("span", tests, NULL, NULL);
}

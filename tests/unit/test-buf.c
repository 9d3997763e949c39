/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VmcBuf: its maximum, its compaction, and that nothing stays behind. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmc/buf.h"

static void fill(uint8_t *to, size_t len, size_t from)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)((from + i) % 251 + 1);
}

/* The block holds zeros wherever it does not hold unconsumed bytes; bytes that
 * were never written are made zero by the tests that ask. */
static void assert_clean(const VmcBuf *buf)
{
	for (size_t i = 0; i < buf->start; i++)
		assert_int_equal(buf->data[i], 0);
}

static void test_empty(void **state)
{
	VmcBuf buf;

	(void)state;
	vmc_buf_init(&buf, 10);
	assert_int_equal(vmc_buf_span(&buf).len, 0);
	assert_null(buf.data);
	vmc_buf_consume(&buf, 5);
	assert_true(vmc_buf_append(&buf, vmc_span(NULL, 0)));
	assert_null(buf.data);
	vmc_buf_clear(&buf);
	vmc_buf_clear(&buf);
}

static void test_in_and_out(void **state)
{
	VmcBuf buf;
	VmcSpan span;

	(void)state;
	vmc_buf_init(&buf, 100);
	assert_true(vmc_buf_append(&buf, vmc_span("hello ", 6)));
	assert_true(vmc_buf_append(&buf, vmc_span("world", 5)));
	span = vmc_buf_span(&buf);
	assert_int_equal(span.len, 11);
	assert_memory_equal(span.data, "hello world", 11);

	vmc_buf_consume(&buf, 6);
	span = vmc_buf_span(&buf);
	assert_int_equal(span.len, 5);
	assert_memory_equal(span.data, "world", 5);
	assert_clean(&buf);

	vmc_buf_consume(&buf, 1000);
	assert_int_equal(vmc_buf_span(&buf).len, 0);
	vmc_buf_clear(&buf);
}

static void test_room(void **state)
{
	VmcBuf buf;
	uint8_t *to;
	size_t room = 0;

	(void)state;
	vmc_buf_init(&buf, 10);
	to = vmc_buf_room(&buf, 4, &room);
	assert_non_null(to);
	assert_int_equal(room, 4);
	memcpy(to, "abc", 3);
	vmc_buf_added(&buf, 3); /* fewer than there was room for */

	to = vmc_buf_room(&buf, SIZE_MAX, &room);
	assert_non_null(to);
	assert_int_equal(room, 7);
	memcpy(to, "defghij", 7);
	vmc_buf_added(&buf, 7);
	assert_memory_equal(vmc_buf_span(&buf).data, "abcdefghij", 10);

	room = 99;
	assert_null(vmc_buf_room(&buf, 1, &room));
	assert_false(vmc_buf_append(&buf, vmc_span("k", 1)));
	assert_true(vmc_buf_append(&buf, vmc_span(NULL, 0)));

	vmc_buf_consume(&buf, 1);
	assert_false(vmc_buf_append(&buf, vmc_span("kl", 2)));
	assert_int_equal(vmc_buf_span(&buf).len, 9);
	assert_true(vmc_buf_append(&buf, vmc_span("k", 1)));
	assert_memory_equal(vmc_buf_span(&buf).data, "bcdefghijk", 10);
	vmc_buf_clear(&buf);
	assert_int_equal(buf.max, 10);
}

static void test_bounds_of_append(void **state)
{
	static const uint8_t bytes[11] = "0123456789";
	VmcBuf buf;

	(void)state;
	vmc_buf_init(&buf, 10);
	assert_false(vmc_buf_append(&buf, vmc_span(bytes, 11)));
	assert_int_equal(vmc_buf_span(&buf).len, 0);
	assert_true(vmc_buf_append(&buf, vmc_span(bytes, 10)));
	assert_false(vmc_buf_append(&buf, vmc_span(bytes, 1)));
	assert_false(vmc_buf_append(&buf, vmc_span(bytes, SIZE_MAX)));
	vmc_buf_clear(&buf);
}

/* A stream that always leaves a partial message behind: the bytes come out in
 * order, the block stays at twice the maximum, and what was is wiped. */
static void test_trailing(void **state)
{
	const size_t max = 3000;
	uint8_t piece[700], expected[700];
	size_t in = 0, out = 0;
	VmcBuf buf;

	(void)state;
	vmc_buf_init(&buf, max);
	for (unsigned turn = 0; turn < 20000; turn++) {
		size_t n = 1 + (size_t)turn * 7919 % sizeof(piece);
		VmcSpan span;

		fill(piece, n, in);
		if (vmc_buf_append(&buf, vmc_span(piece, n)))
			in += n;
		else
			assert_true(in - out + n > max);
		assert_true(buf.size <= 2 * max);

		span = vmc_buf_span(&buf);
		assert_int_equal(span.len, in - out);
		n = turn % 5 == 4 ? span.len - 1 : span.len / 3;
		if (n > sizeof(expected))
			n = sizeof(expected);
		fill(expected, n, out);
		if (n > 0)
			assert_memory_equal(span.data, expected, n);
		vmc_buf_consume(&buf, n);
		out += n;
		assert_clean(&buf);
	}
	assert_true(out > 100 * max);
	vmc_buf_clear(&buf);
}

/* Moving to the front leaves no copy behind the end. */
static void test_compaction_wipes(void **state)
{
	uint8_t bytes[1000];
	const uint8_t *block;
	VmcBuf buf;

	(void)state;
	vmc_buf_init(&buf, sizeof(bytes));
	fill(bytes, sizeof(bytes), 0);
	assert_true(vmc_buf_append(&buf, vmc_span(bytes, 1000)));
	vmc_buf_consume(&buf, 990);
	/* What was never written has no say in this. */
	memset(buf.data + buf.end, 0, buf.size - buf.end);
	block = buf.data;

	assert_true(vmc_buf_append(&buf, vmc_span(bytes, 700)));
	assert_ptr_equal(buf.data, block);
	assert_int_equal(buf.start, 0);
	assert_int_equal(buf.end, 710);
	assert_memory_equal(buf.data, bytes + 990, 10);
	assert_memory_equal(buf.data + 10, bytes, 700);
	for (size_t i = buf.end; i < buf.size; i++)
		assert_int_equal(buf.data[i], 0);
	vmc_buf_clear(&buf);
}

/* A long message does not stay in memory, a short one's block is kept. */
static void test_gives_back(void **state)
{
	uint8_t *bytes = calloc(1, 65556);
	const uint8_t *block;
	VmcBuf buf;

	(void)state;
	vmc_buf_init(&buf, 65556);
	assert_true(vmc_buf_append(&buf, vmc_span(bytes, 300)));
	block = buf.data;
	vmc_buf_consume(&buf, 300);
	assert_true(vmc_buf_append(&buf, vmc_span(bytes, 300)));
	assert_ptr_equal(buf.data, block);
	assert_true(vmc_buf_append(&buf, vmc_span(bytes, 65256)));
	vmc_buf_consume(&buf, 65555);
	assert_non_null(buf.data);
	vmc_buf_consume(&buf, 1);
	assert_null(buf.data);
	assert_true(vmc_buf_append(&buf, vmc_span(bytes, 65556)));
	vmc_buf_clear(&buf);
	assert_null(buf.data);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),      cmocka_unit_test(test_in_and_out),
		cmocka_unit_test(test_room),       cmocka_unit_test(test_bounds_of_append),
		cmocka_unit_test(test_trailing),   cmocka_unit_test(test_compaction_wipes),
		cmocka_unit_test(test_gives_back),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The VSCard codec: both byte orders, every cut, every length that a header
 * may claim.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>
#include <string.h>

#include "vscard/wire.h"

static const uint8_t big_apdu[] = { 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 2, 0x90, 0x00 };
static const uint8_t little_apdu[] = { 7, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 0x90, 0x00 };

static void test_orders(void **state)
{
	static const struct {
		VscOrder order;
		const uint8_t *bytes;
	} cases[] = { { VSC_ORDER_BIG, big_apdu }, { VSC_ORDER_LITTLE, little_apdu } };

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		VmcSpan in = vmc_span(cases[i].bytes, sizeof(big_apdu));
		uint8_t header[VSC_WIRE_HEADER];
		VscMessage m;
		const char *because;

		assert_int_equal(vsc_wire_get(&in, cases[i].order, &m, &because), VSC_WIRE_MESSAGE);
		assert_int_equal(m.type, VSC_TYPE_APDU);
		assert_int_equal(m.reader_id, 3);
		assert_int_equal(m.payload.len, 2);
		assert_ptr_equal(m.payload.data, cases[i].bytes + VSC_WIRE_HEADER);
		assert_int_equal(in.len, 0);
		vsc_wire_put_header(header, cases[i].order, m.type, m.reader_id, 2);
		assert_memory_equal(header, cases[i].bytes, sizeof(header));
	}
}

static void test_cut_everywhere(void **state)
{
	(void)state;
	for (size_t len = 0; len < sizeof(big_apdu); len++) {
		/* A block of its own, so that a read past it is seen. */
		g_autofree uint8_t *bytes = g_memdup2(big_apdu, MAX(len, 1));
		VmcSpan in = vmc_span(bytes, len);
		VscMessage m;
		const char *because;

		assert_int_equal(vsc_wire_get(&in, VSC_ORDER_BIG, &m, &because),
				 VSC_WIRE_NEED_MORE);
		assert_int_equal(in.len, len);
		assert_ptr_equal(in.data, bytes);
	}
}

static void test_lengths(void **state)
{
	static const struct {
		uint32_t length;
		VscWireResult result;
	} cases[] = {
		{ 0, VSC_WIRE_MESSAGE },
		{ 1, VSC_WIRE_NEED_MORE },
		{ 8, VSC_WIRE_NEED_MORE },
		{ 65524, VSC_WIRE_NEED_MORE },
		{ VSC_WIRE_OLD_PAYLOAD_MAX, VSC_WIRE_NEED_MORE },
		{ VSC_WIRE_OLD_PAYLOAD_MAX + 1, VSC_WIRE_BAD },
		{ 0x7fffffff, VSC_WIRE_BAD },
		{ 0x80000000, VSC_WIRE_BAD },
		{ 0xfffffff4, VSC_WIRE_BAD },
		{ 0xffffffff, VSC_WIRE_BAD },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		uint8_t header[VSC_WIRE_HEADER];
		VmcSpan in = vmc_span(header, sizeof(header));
		const char *because = NULL;
		VscMessage m;

		vsc_wire_put_header(header, VSC_ORDER_LITTLE, 5, 0, cases[i].length);
		assert_int_equal(vsc_wire_get(&in, VSC_ORDER_LITTLE, &m, &because),
				 cases[i].result);
		assert_int_equal(because != NULL, cases[i].result == VSC_WIRE_BAD);
		assert_int_equal(in.len, cases[i].result == VSC_WIRE_MESSAGE ? 0 : 12);
	}
}

static void test_longest(void **state)
{
	g_autofree uint8_t *bytes = g_malloc0(VSC_WIRE_MESSAGE_MAX);
	VmcSpan in = vmc_span(bytes, VSC_WIRE_MESSAGE_MAX);
	const char *because;
	VscMessage m;

	(void)state;
	vsc_wire_put_header(bytes, VSC_ORDER_BIG, 0x100, VSC_READER_UNDEFINED,
			    VSC_WIRE_PAYLOAD_MAX);
	assert_int_equal(vsc_wire_get(&in, VSC_ORDER_BIG, &m, &because), VSC_WIRE_MESSAGE);
	assert_int_equal(m.payload.len, VSC_WIRE_PAYLOAD_MAX);
	assert_int_equal(m.reader_id, VSC_READER_UNDEFINED);
}

static void test_init(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		bool good;
		uint32_t caps0;
		size_t n_caps;
	} cases[] = {
		{ "", 0, false, 0, 0 },
		{ "VSCD", 4, false, 0, 0 },
		{ "VSC", 3, false, 0, 0 },
		{ "DCSV\0\0\0\2\0\0\0\0", 12, false, 0, 0 },
		{ "VSCD\0\0\0", 7, false, 0, 0 },
		{ "VSCD\0\0\0\2", 8, true, 0, 0 },
		{ "VSCD\0\0\0\2\0", 9, false, 0, 0 },
		{ "VSCD\0\0\0\2\0\0\0", 11, false, 0, 0 },
		{ "VSCD\0\0\0\2\x80\0\0\1", 12, true, 0x80000001, 1 },
		{ "VSCD\0\0\0\2\0\0\0\5\0\0\0\6", 16, true, 5, 2 },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		uint32_t version = 0, caps0 = 0;
		size_t n_caps = 0;
		const char *because = NULL;

		assert_int_equal(vsc_wire_get_init(vmc_span(cases[i].bytes, cases[i].len),
						   VSC_ORDER_BIG, &version, &caps0, &n_caps,
						   &because),
				 cases[i].good);
		assert_int_equal(because == NULL, cases[i].good);
		if (!cases[i].good)
			continue;
		assert_int_equal(version, VSC_VERSION);
		assert_int_equal(caps0, cases[i].caps0);
		assert_int_equal(n_caps, cases[i].n_caps);
	}
}

static void test_put_init(void **state)
{
	uint8_t bytes[VSC_WIRE_INIT_MAX];

	(void)state;
	assert_int_equal(vsc_wire_put_init(bytes, VSC_ORDER_BIG, 0x80000001), 12);
	assert_memory_equal(bytes, "VSCD\0\0\0\2\x80\0\0\1", 12);
	assert_int_equal(vsc_wire_put_init(bytes, VSC_ORDER_LITTLE, 0x80000001), 12);
	assert_memory_equal(bytes, "VSCD\2\0\0\0\1\0\0\x80", 12);
}

static void test_error(void **state)
{
	static const struct {
		uint8_t bytes[5];
		size_t len;
		int code; /* -1: none */
	} cases[] = {
		{ { 0 }, 0, -1 },
		{ { 0, 0, 0 }, 3, -1 },
		{ { 0, 0, 0, 0, 0 }, 5, -1 },
		{ { 0, 0, 0, 0 }, 4, VSC_ERROR_SUCCESS },
		{ { 0, 0, 0, 1 }, 4, VSC_ERROR_GENERAL },
		{ { 1, 0, 0, 0 }, 4, VSC_ERROR_GENERAL },
		{ { 0, 0, 0, 2 }, 4, VSC_ERROR_CANNOT_ADD_MORE_READERS },
		{ { 2, 0, 0, 0 }, 4, VSC_ERROR_CANNOT_ADD_MORE_READERS },
		{ { 3, 0, 0, 0 }, 4, VSC_ERROR_CARD_ALREADY_INSERTED },
		{ { 0, 0, 0, 3 }, 4, VSC_ERROR_CARD_ALREADY_INSERTED },
		{ { 0, 0, 0, 4 }, 4, VSC_ERROR_GENERAL },
		{ { 0, 1, 0, 0 }, 4, VSC_ERROR_GENERAL },
		{ { 0xff, 0xff, 0xff, 0xff }, 4, VSC_ERROR_GENERAL },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		VscErrorCode code = VSC_ERROR_SUCCESS;

		assert_int_equal(vsc_wire_get_error(vmc_span(cases[i].bytes, cases[i].len), &code),
				 cases[i].code >= 0);
		if (cases[i].code >= 0)
			assert_int_equal((int)code, cases[i].code);
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(vsc_type_name(VSC_TYPE_INIT), "Init");
	assert_string_equal(vsc_type_name(VSC_TYPE_FLUSH_COMPLETE), "FlushComplete");
	assert_null(vsc_type_name(0));
	assert_null(vsc_type_name(10));
	assert_null(vsc_type_name(0xffffffff));
	assert_string_equal(vsc_error_name(VSC_ERROR_GENERAL), "general error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders),  cmocka_unit_test(test_cut_everywhere),
		cmocka_unit_test(test_lengths), cmocka_unit_test(test_longest),
		cmocka_unit_test(test_init),    cmocka_unit_test(test_put_init),
		cmocka_unit_test(test_error),   cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

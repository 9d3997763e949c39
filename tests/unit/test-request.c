/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The codec of requests, answers and reader descriptions: what is put is what is
 * got, and what is none is refused. The sessions' transcripts have the rest.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "vscard/request.h"

static void test_requests(void **state)
{
	static const uint8_t bytes[] = { 0xfe, 0xdc, 0xba, 0x98, 0, 0, 0, 4, 0x00, 0xa4 };
	uint8_t put[VSC_WIRE_PREFIX];
	VscRequest request;

	(void)state;
	for (size_t len = 0; len < VSC_WIRE_PREFIX; len++)
		assert_false(vsc_request_get(vmc_span(bytes, len), &request));
	for (size_t len = VSC_WIRE_PREFIX; len <= sizeof(bytes); len++) {
		assert_true(vsc_request_get(vmc_span(bytes, len), &request));
		assert_int_equal(request.token, 0xfedcba98);
		assert_int_equal(request.what, VSC_REQUEST_TRANSMIT);
		assert_int_equal(request.data.len, len - VSC_WIRE_PREFIX);
	}
	assert_ptr_equal(request.data.data, bytes + VSC_WIRE_PREFIX);
	vsc_request_put(put, 0xfedcba98, VSC_REQUEST_TRANSMIT);
	assert_memory_equal(put, bytes, sizeof(put));
}

static void test_tokens(void **state)
{
	static const uint8_t bytes[5] = { 1, 2, 3, 4, 5 };
	VscWireToken token = 0;
	uint8_t put[VSC_TOKEN_LENGTH];

	(void)state;
	for (size_t len = 0; len <= sizeof(bytes); len++)
		assert_int_equal(vsc_request_get_token(vmc_span(bytes, len), &token), len == 4);
	assert_int_equal(token, 0x01020304);
	vsc_request_put_token(put, token);
	assert_memory_equal(put, bytes, sizeof(put));
}

/* The numbers are the document's (PROTOCOL.md), whatever the enum's. */
static void test_outcomes(void **state)
{
	static const struct {
		VscOutcome outcome;
		uint32_t code;
	} cases[] = {
		{ VSC_OUTCOME_OK, 0 },   { VSC_OUTCOME_NO_CARD, 1 }, { VSC_OUTCOME_NOT_POWERED, 2 },
		{ VSC_OUTCOME_MUTE, 3 }, { VSC_OUTCOME_FAILED, 4 },  { VSC_OUTCOME_CANCELLED, 5 },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		assert_int_equal(vsc_request_code(cases[i].outcome), cases[i].code);
		assert_int_equal(vsc_request_outcome(cases[i].code), cases[i].outcome);
	}
	assert_int_equal(vsc_request_outcome(6), VSC_OUTCOME_FAILED);
	assert_int_equal(vsc_request_outcome(0xffffffff), VSC_OUTCOME_FAILED);
	assert_string_equal(vsc_request_name(VSC_REQUEST_RESET), "reset");
	assert_null(vsc_request_name(0));
	assert_null(vsc_request_name(5));
}

static void test_texts(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *want;
	} cases[] = {
		{ "", 0, "" },
		{ "plain", 5, "plain" },
		{ " a\tb\r\n", 6, "a b" },
		{ "a\0b", 3, "a" },
		{ "\xff", 1, "\xef\xbf\xbd" },
		{ "\xc3", 1, "\xef\xbf\xbd" },
		{ "\x7f\x1b[0m", 5, "[0m" },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = vsc_description_text(vmc_span(cases[i].text, cases[i].len));

		assert_string_equal(text, cases[i].want);
	}
}

/* Characters of one to four bytes, cut at each place: never within one, and no
 * more than there is room for, also of what grows because it is no text. */
static void test_cut_texts(void **state)
{
	static const char *const characters[] = { "a", "\xc3\xa4", "\xe2\x82\xac",
						  "\xf0\x9f\x94\x91", "\xff" };

	(void)state;
	for (size_t c = 0; c < G_N_ELEMENTS(characters); c++) {
		for (size_t shift = 0; shift < 4; shift++) {
			g_autoptr(GString) raw = g_string_new(NULL);
			g_autofree char *text = NULL;

			for (size_t i = 0; i < shift; i++)
				g_string_append_c(raw, 'x');
			while (raw->len < 300)
				g_string_append(raw, characters[c]);
			text = vsc_description_text(vmc_span(raw->str, raw->len));
			assert_true(g_utf8_validate(text, -1, NULL));
			assert_in_range(strlen(text), VSC_READER_TEXT_MAX - 3, VSC_READER_TEXT_MAX);
			assert_int_equal(strstr(text, "\xef\xbf\xbd") != NULL,
					 characters[c][0] == '\xff');
		}
	}
}

static void test_descriptions(void **state)
{
	const VscReaderInfo info = { .vendor = (char *)"Maker", .serial = (char *)"7" };
	VscDescription one = { 0 }, got = { 0 };
	uint8_t bytes[VSC_READER_INFO_MAX];
	size_t len;

	(void)state;
	assert_int_equal(vsc_description_put(bytes, &one), 0);
	vsc_description_copy(&one, "name", &info);
	len = vsc_description_put(bytes, &one);
	assert_int_equal(len, 8 + 9 + 5);
	assert_memory_equal(bytes, "\0\1\0\4name\0\2\0\5Maker\0\4\0\0017", len);
	assert_true(vsc_description_get(vmc_span(bytes, len), &got));
	assert_true(vsc_description_equal(&one, &got));
	vsc_description_copy(&got, "name", &(VscReaderInfo){ .vendor = (char *)"Maker" });
	assert_false(vsc_description_equal(&one, &got));
	vsc_description_clear(&got);
	/* Cut anywhere but between two texts it is none. */
	for (size_t cut = 1; cut < len; cut++) {
		assert_int_equal(vsc_description_get(vmc_span(bytes, cut), &got),
				 cut == 8 || cut == 17);
		vsc_description_clear(&got);
	}
	vsc_description_clear(&one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),  cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_outcomes),  cmocka_unit_test(test_texts),
		cmocka_unit_test(test_cut_texts), cmocka_unit_test(test_descriptions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

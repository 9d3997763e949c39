/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The seven forms of a command APDU, at the ends of their ranges, and lengths
 * that do not agree with their fields.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>
#include <string.h>

#include "vscard/apdu.h"
#include "vscard/card.h"

typedef struct Case {
	uint8_t body[8]; /* what follows CLA INS P1 P2 */
	size_t body_len;
	size_t len; /* of all, zeros between; 0: header and body */
	int kind;   /* -1: none */
	size_t nc;
	uint32_t ne;
} Case;

static const Case cases[] = {
	{ { 0 }, 0, 4, VSC_APDU_1, 0, 0 },
	{ { 0 }, 1, 0, VSC_APDU_2S, 0, 256 },
	{ { 1 }, 1, 0, VSC_APDU_2S, 0, 1 },
	{ { 255 }, 1, 0, VSC_APDU_2S, 0, 255 },
	{ { 1, 7 }, 2, 0, VSC_APDU_3S, 1, 0 },
	{ { 255 }, 1, 4 + 1 + 255, VSC_APDU_3S, 255, 0 },
	{ { 1, 7, 0 }, 3, 0, VSC_APDU_4S, 1, 256 },
	{ { 1, 7, 9 }, 3, 0, VSC_APDU_4S, 1, 9 },
	{ { 255 }, 1, 4 + 1 + 255 + 1, VSC_APDU_4S, 255, 256 },
	{ { 0, 0, 0 }, 3, 0, VSC_APDU_2E, 0, 65536 },
	{ { 0, 1, 2 }, 3, 0, VSC_APDU_2E, 0, 0x102 },
	{ { 0, 0, 1, 7 }, 4, 0, VSC_APDU_3E, 1, 0 },
	{ { 0, 255, 255 }, 3, 4 + 3 + 65535, VSC_APDU_3E, 65535, 0 },
	{ { 0, 0, 1, 7, 0, 0 }, 6, 0, VSC_APDU_4E, 1, 65536 },
	{ { 0, 0, 1, 7, 1, 0 }, 6, 0, VSC_APDU_4E, 1, 256 },
	{ { 0, 255, 255 }, 3, VSC_COMMAND_MAX, VSC_APDU_4E, 65535, 65536 },
	/* Too short, too long, cut fields, an extended Lc of 0. */
	{ { 0 }, 0, 3, -1, 0, 0 },
	{ { 2, 7 }, 2, 0, -1, 0, 0 },
	{ { 1, 7, 0, 0 }, 4, 0, -1, 0, 0 },
	{ { 0, 0 }, 2, 0, -1, 0, 0 },
	{ { 0, 0, 0, 7 }, 4, 0, -1, 0, 0 },
	{ { 0, 0, 0, 1, 0 }, 5, 0, -1, 0, 0 },
	{ { 0, 0, 2, 7 }, 4, 0, -1, 0, 0 },
	{ { 0, 0, 1, 7, 0 }, 5, 0, -1, 0, 0 },
	{ { 0, 0, 1, 7, 0, 0, 0 }, 7, 0, -1, 0, 0 },
};

static void test_commands(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const Case *c = &cases[i];
		size_t len = c->len != 0 ? c->len : 4 + c->body_len;
		g_autofree uint8_t *bytes = g_malloc0(len);
		const char *because = NULL;
		VscApdu apdu;

		memcpy(bytes, (const uint8_t[]){ 0x80, 0xb0, 3, 4 }, MIN(len, 4));
		if (c->body_len > 0)
			memcpy(bytes + 4, c->body, c->body_len);
		if (vsc_apdu_parse(vmc_span(bytes, len), &apdu, &because) != (c->kind >= 0))
			fail_msg("case %zu: %s", i, because);
		assert_int_equal(because == NULL, c->kind >= 0);
		if (c->kind < 0)
			continue;
		assert_int_equal((int)apdu.kind, c->kind);
		assert_int_equal(apdu.cla, 0x80);
		assert_int_equal(apdu.ins, 0xb0);
		assert_int_equal(apdu.p1, 3);
		assert_int_equal(apdu.p2, 4);
		assert_int_equal(apdu.data.len, c->nc);
		assert_int_equal(apdu.ne, c->ne);
		if (c->nc == 1)
			assert_int_equal(apdu.data.data[0], 7);
	}
}

static void test_responses(void **state)
{
	static const uint8_t bytes[] = { 1, 2, 0x61, 0x10 };
	VmcSpan data;
	uint16_t sw;

	(void)state;
	assert_false(vsc_apdu_response(vmc_span(NULL, 0), &data, &sw));
	assert_false(vsc_apdu_response(vmc_span(bytes, 1), &data, &sw));
	assert_true(vsc_apdu_response(vmc_span(bytes, 2), &data, &sw));
	assert_int_equal(data.len, 0);
	assert_int_equal(sw, 0x0102);
	assert_true(vsc_apdu_response(vmc_span(bytes, 4), &data, &sw));
	assert_int_equal(data.len, 2);
	assert_int_equal(sw, 0x6110);
}

static void test_channels(void **state)
{
	static const struct {
		uint8_t cla;
		unsigned channel;
	} channels[] = {
		{ 0x00, 0 },  { 0x0c, 0 }, { 0x03, 3 }, { 0x13, 3 }, { 0x40, 4 },
		{ 0x4f, 19 }, { 0x80, 0 }, { 0x82, 2 }, { 0xc1, 5 },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(channels); i++)
		assert_int_equal(vsc_apdu_channel(channels[i].cla), channels[i].channel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_responses),
		cmocka_unit_test(test_channels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

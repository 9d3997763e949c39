/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * APDUs for a T=0 card: each case of ISO/IEC 7816-3, 12.2 as a script, cards that
 * never end, and what stays behind of a command. All lengths between hosts and
 * cards by the book are in test-adapter.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>
#include <string.h>

#include "tests/lib/model.h"
#include "tests/lib/script.h"
#include "vscard/tpdu.h"

static void check_step(const VscScript *script, const char *step, VscTpduStep got, VmcSpan out)
{
	g_autofree char *hex = vsc_script_hex(out);
	g_autoptr(GByteArray) want = vsc_script_bytes(step + 1);

	if (got != (step[0] == 'f' ? VSC_TPDU_FORWARD : VSC_TPDU_REPLY) || out.len != want->len ||
	    memcmp(out.data, want->data, out.len) != 0)
		fail_msg("%s: at %s it says %c%s", script->what, step,
			 got == VSC_TPDU_FORWARD ? 'f' : 'r', hex);
	if (got == VSC_TPDU_FORWARD)
		assert_null(vsc_model_tpdu_wrong(out));
}

static void run_script(const VscScript *script)
{
	VscTpduStep step = VSC_TPDU_REPLY;
	g_autoptr(GByteArray) said = NULL; /* a REPLY may be this very response */
	VmcSpan out = vmc_span(NULL, 0);
	VscTpdu tpdu;

	vsc_tpdu_init(&tpdu);
	for (char **word = script->steps; *word != NULL; word++) {
		if ((*word)[0] == 'f' || (*word)[0] == 'r') {
			check_step(script, *word, step, out);
			continue;
		}
		g_clear_pointer(&said, g_byte_array_unref);
		said = vsc_script_bytes(*word + 1);
		assert_int_equal(step, (*word)[0] == 'h' ? VSC_TPDU_REPLY : VSC_TPDU_FORWARD);
		if ((*word)[0] == 'h')
			step = vsc_tpdu_command(&tpdu, vmc_span(said->data, said->len), &out);
		else
			step = vsc_tpdu_response(&tpdu, vmc_span(said->data, said->len), &out);
	}
	assert_int_equal(step, VSC_TPDU_REPLY);
	vsc_tpdu_forget(&tpdu);
}

static void test_scripts(void **state)
{
	g_autoptr(GPtrArray) scripts = vsc_scripts_read("fixtures/transcripts/tpdu.txt");

	(void)state;
	assert_true(scripts->len >= 50);
	for (guint i = 0; i < scripts->len; i++)
		run_script(g_ptr_array_index(scripts, i));
}

/* How many TPDUs it takes until a card that always says this has said enough,
 * and the status word that it ends with. */
static unsigned rounds_of(const char *command, const char *response, uint16_t *sw)
{
	g_autoptr(GByteArray) bytes = vsc_script_bytes(command);
	g_autoptr(GByteArray) said = vsc_script_bytes(response);
	VmcSpan said_span = vmc_span(said->data, said->len), out, rest;
	VscTpduStep step;
	unsigned rounds = 0;
	VscTpdu tpdu;

	vsc_tpdu_init(&tpdu);
	step = vsc_tpdu_command(&tpdu, vmc_span(bytes->data, bytes->len), &out);
	for (; step == VSC_TPDU_FORWARD; rounds++) {
		assert_true(rounds < 10000);
		step = vsc_tpdu_response(&tpdu, said_span, &out);
	}
	assert_true(vsc_apdu_response(out, &rest, sw));
	assert_true(rest.len <= VSC_APDU_NE_EXTENDED);
	vsc_tpdu_forget(&tpdu);
	return rounds;
}

static void test_endless(void **state)
{
	uint16_t sw;

	(void)state;
	/* Nothing at all, again and again. */
	assert_int_equal(rounds_of("00b00000000000", "6110", &sw), VSC_TPDU_ROUNDS_MAX);
	assert_int_equal(sw, 0x6f00);
	/* As much as there may be, and still more. */
	assert_int_equal(rounds_of("00b00000000000", "aa*256.6100", &sw), 256);
	assert_int_equal(sw, 0x6100);
	/* More than was asked for. */
	assert_int_equal(rounds_of("00b00000000000", "aa*60000.6100", &sw), 2);
	assert_int_equal(sw, 0x6100);
	/* Another Le each time. */
	assert_int_equal(rounds_of("00b00000000000", "6c05", &sw), 2);
	assert_int_equal(sw, 0x6c05);
	/* 9000 to the command, to each piece, and to GET RESPONSE. */
	assert_int_equal(rounds_of("00a4000001aa00", "9000", &sw), 2);
	assert_int_equal(sw, 0x9000);
	assert_int_equal(rounds_of("00d6000000ffffaa*65535.", "9000", &sw), 258);
	assert_int_equal(sw, 0x9000);
}

static bool holds(const void *memory, size_t size, const char *secret)
{
	return memmem(memory, size, secret, strlen(secret)) != NULL;
}

/* Of a PIN nothing stays once the card has answered, of the response nothing
 * once it is forgotten. */
static void test_wiped(void **state)
{
	static const char verify[] = "\0\x20\0\x80\x08"
				     "sesame77";
	VmcSpan out;
	VscTpdu tpdu;

	(void)state;
	vsc_tpdu_init(&tpdu);
	assert_int_equal(vsc_tpdu_command(&tpdu, vmc_span(verify, 13), &out), VSC_TPDU_FORWARD);
	assert_true(holds(&tpdu, sizeof(tpdu), "sesame77"));
	assert_int_equal(vsc_tpdu_response(&tpdu, vmc_span("\x90", 2), &out), VSC_TPDU_REPLY);
	assert_null(tpdu.command);
	assert_false(holds(&tpdu, sizeof(tpdu), "sesame77"));

	vsc_tpdu_command(&tpdu, vmc_span("\0\xb0\0\0\x08", 5), &out);
	vsc_tpdu_response(&tpdu, vmc_span("sesame77\x90", 10), &out);
	assert_int_equal(out.len, 10);
	vsc_tpdu_forget(&tpdu);
	assert_null(tpdu.fetch.response.data);

	/* Nothing is asked of it any more. */
	assert_int_equal(vsc_tpdu_response(&tpdu, vmc_span("\x61", 2), &out), VSC_TPDU_REPLY);
	assert_memory_equal(out.data, "\x6f", 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_endless),
		cmocka_unit_test(test_wiped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How a card is shared, as conversations: at a time, a command comes, and the
 * steps before it are those expected; or the machine is idle and its
 * transaction ends when it says.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "vscard/share.h"

#define SELECT_ONE "00a4040003f00001"
#define SELECT_TWO "00a4040003f00002"
#define SELECT_MF "00a4000c023f00"
#define SELECT_PATH "00a4080c045015abcd"
#define SELECT_DF "00a4000c025015"
#define SELECT_EF "00a4020c020101"
#define SELECT_EF2 "00a4020c020102"
#define SELECT_NEXT "00a4040203f00001"
#define READ "00b0000010"
#define READ_SFI "00b0850010"
#define READ_RECORD_SFI "00b2010c00"
#define VERIFY "002000800431323334"
#define VERIFY_ASKS "00200080"
#define SIGN                                                                                       \
	"002a9e9a20"                                                                               \
	"0000000000000000000000000000000000000000000000000000000000000000"
#define OK "9000"

typedef struct Bytes {
	uint8_t bytes[300];
	size_t len;
} Bytes;

static Bytes hex(const char *text)
{
	Bytes out = { 0 };

	for (; text[0] != '\0' && text[1] != '\0'; text += 2)
		out.bytes[out.len++] = (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 |
						 g_ascii_xdigit_value(text[1]));
	return out;
}

static VmcSpan span(const Bytes *bytes)
{
	return vmc_span(bytes->bytes, bytes->len);
}

static const char *const step_names[] = {
	[VSC_SHARE_PASS] = "pass",      [VSC_SHARE_BEGIN] = "begin", [VSC_SHARE_YIELD] = "yield",
	[VSC_SHARE_REPLAY] = "replay ", [VSC_SHARE_RENEW] = "renew", [VSC_SHARE_LOST] = "lost",
};

/* A borrower of a card with others around. */
typedef struct Case {
	VscShare share;
	gint64 now;
	bool others;             /* what the caller finds out when asked */
	const char *replay_says; /* the card, to what is sent again */
} Case;

static void start(Case *at, VscShareMode mode)
{
	*at = (Case){ .now = 1000000, .others = true, .replay_says = OK };
	vsc_share_reset(&at->share, mode, at->now);
}

static void append_hex(GString *text, VmcSpan bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		g_string_append_printf(text, "%02x", bytes.data[i]);
}

/* What the caller has to do on `step`. */
static void carry_out(Case *at, VscShareStep step)
{
	Bytes says = hex(at->replay_says);

	switch (step) {
	case VSC_SHARE_BEGIN:
		vsc_share_begun(&at->share, at->now, !vsc_share_asks(&at->share) || at->others);
		break;
	case VSC_SHARE_YIELD:
		vsc_share_ended(&at->share);
		at->now += VSC_SHARE_YIELD_MS;
		break;
	case VSC_SHARE_REPLAY:
		vsc_share_replayed(&at->share, span(&says));
		break;
	case VSC_SHARE_RENEW:
		vsc_share_reset(&at->share, at->share.mode, at->now);
		break;
	case VSC_SHARE_PASS:
	case VSC_SHARE_LOST:
		break;
	}
}

/* The steps before `command`, with blanks between them; then it is answered. */
static void command_is(Case *at, const char *command, const char *response, const char *steps)
{
	Bytes bytes = hex(command);
	Bytes answer = hex(response);
	g_autoptr(GString) got = g_string_new(NULL);
	VscShareStep step;

	do {
		step = vsc_share_before(&at->share, at->now, span(&bytes));
		if (got->len > 0)
			g_string_append_c(got, ' ');
		g_string_append(got, step_names[step]);
		if (step == VSC_SHARE_REPLAY)
			append_hex(got, vsc_share_replay(&at->share));
		carry_out(at, step);
	} while (step != VSC_SHARE_PASS && step != VSC_SHARE_LOST && got->len < 500);
	assert_string_equal(got->str, steps);
	if (step == VSC_SHARE_PASS)
		vsc_share_after(&at->share, at->now, span(&bytes), span(&answer));
}

static void command_passes(Case *at, const char *command)
{
	command_is(at, command, OK, "pass");
}

/* Nothing comes for `ms`; the transaction ends when it is to. */
static void idle(Case *at, gint64 ms)
{
	at->now += ms;
	if (vsc_share_deadline(&at->share) <= at->now)
		vsc_share_ended(&at->share);
}

static void is_open(const Case *at, bool open)
{
	assert_int_equal(at->share.open, open);
}

/* ---- When a transaction ends ---- */

static void ends_when_idle(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	assert_int_equal(vsc_share_deadline(&at.share), at.now + VSC_SHARE_IDLE_MS);
	idle(&at, VSC_SHARE_IDLE_MS - 1);
	is_open(&at, true);
	command_passes(&at, SELECT_ONE);
	idle(&at, VSC_SHARE_IDLE_MS - 1);
	is_open(&at, true);
	idle(&at, 1);
	is_open(&at, false);
	assert_int_equal(vsc_share_deadline(&at.share), G_MAXINT64);
}

static void stays_after_a_pin(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	command_passes(&at, SELECT_ONE);
	command_is(&at, VERIFY, "63c2", "pass");
	idle(&at, VSC_SHARE_IDLE_MS);
	is_open(&at, false);

	command_is(&at, VERIFY, OK, "begin replay " SELECT_ONE " pass");
	idle(&at, VSC_SHARE_KEEP_MS - 1);
	is_open(&at, true);
	idle(&at, 1);
	is_open(&at, false);
}

/* What belongs together is not torn apart by a slow way. */
static void stays_midway(void **state)
{
	static const struct {
		const char *command, *response;
	} midway[] = {
		{ SELECT_ONE, "6110" },                  /* GET RESPONSE is to come */
		{ "10d6000001aa", OK },                  /* command chaining */
		{ "0084000008", "0102030405060708" OK }, /* GET CHALLENGE */
	};
	Case at;

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(midway); i++) {
		start(&at, VSC_SHARE_TURNS);
		command_is(&at, midway[i].command, midway[i].response, "pass");
		idle(&at, VSC_SHARE_IDLE_MS);
		is_open(&at, true);
		command_passes(&at, "00c0000010");
		idle(&at, VSC_SHARE_IDLE_MS);
		is_open(&at, false);
	}
}

static void asking_for_the_pin_is_nothing(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	command_passes(&at, SELECT_ONE);
	command_passes(&at, VERIFY_ASKS);
	idle(&at, VSC_SHARE_IDLE_MS);
	is_open(&at, false);
}

static void gives_others_their_turn(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	for (gint64 i = 0; i < VSC_SHARE_TURN_MS; i += 100, idle(&at, 100)) {
		command_passes(&at, SELECT_ONE);
		command_passes(&at, READ);
	}
	/* What belongs to the last SELECT still does; the next waits. */
	command_passes(&at, READ);
	command_is(&at, SELECT_TWO, OK, "yield begin pass");
	command_passes(&at, READ);
	command_passes(&at, SELECT_ONE);
}

static void hold_and_alone_never_end(void **state)
{
	const VscShareMode modes[] = { VSC_SHARE_HOLD, VSC_SHARE_ALONE };
	Case at;

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
		start(&at, modes[i]);
		command_passes(&at, SELECT_ONE);
		assert_int_equal(vsc_share_deadline(&at.share), G_MAXINT64);
		idle(&at, 10000000);
		command_passes(&at, READ);
		command_passes(&at, SELECT_ONE);
	}
}

/* ---- What is selected again ---- */

/* Commands in a row, each answered 9000, an idle time, and what comes before a
 * READ then. */
static const struct {
	const char *commands[12];
	const char *steps;
} replays[] = {
	{ { SELECT_ONE }, "begin replay " SELECT_ONE " pass" },
	{ { SELECT_ONE, SELECT_TWO }, "begin replay " SELECT_TWO " pass" },
	{ { SELECT_DF, SELECT_MF }, "begin replay " SELECT_MF " pass" },
	/* of the application's own master file */
	{ { SELECT_ONE, SELECT_MF }, "begin replay " SELECT_ONE " replay " SELECT_MF " pass" },
	{ { SELECT_ONE, SELECT_NEXT, SELECT_DF, SELECT_PATH },
	  "begin replay " SELECT_ONE " replay " SELECT_NEXT " replay " SELECT_PATH " pass" },
	{ { SELECT_MF, SELECT_ONE }, "begin replay " SELECT_ONE " pass" },
	{ { SELECT_MF, SELECT_DF, SELECT_EF },
	  "begin replay " SELECT_MF " replay " SELECT_DF " replay " SELECT_EF " pass" },
	{ { SELECT_MF, SELECT_DF, SELECT_EF, SELECT_EF2 },
	  "begin replay " SELECT_MF " replay " SELECT_DF " replay " SELECT_EF2 " pass" },
	{ { SELECT_ONE, SELECT_EF, READ, SELECT_EF, READ },
	  "begin replay " SELECT_ONE " replay " SELECT_EF " pass" },
	{ { SELECT_ONE, SELECT_DF, SELECT_DF },
	  "begin replay " SELECT_ONE " replay " SELECT_DF " pass" },
	{ { SELECT_DF, SELECT_PATH }, "begin replay " SELECT_PATH " pass" },
	{ { SELECT_ONE, SELECT_NEXT }, "begin replay " SELECT_ONE " replay " SELECT_NEXT " pass" },
	/* by a short identifier */
	{ { SELECT_ONE, READ_SFI }, "begin replay " SELECT_ONE " replay 00b0850001 pass" },
	{ { SELECT_ONE, READ_SFI, READ_RECORD_SFI, READ },
	  "begin replay " SELECT_ONE " replay 00b2010c01 pass" },
	{ { SELECT_ONE, READ_SFI, SELECT_EF },
	  "begin replay " SELECT_ONE " replay " SELECT_EF " pass" },
	/* other channels are nobody else's */
	{ { SELECT_ONE, "01a4040003f00002" }, "begin replay " SELECT_ONE " pass" },
	{ { SELECT_ONE, "41a4040003f00002" }, "begin replay " SELECT_ONE " pass" },
	/* a reset would close them */
	{ { "0070000001", "01a4040003f00002" }, "begin lost" },
	/* nothing selected: as after a reset */
	{ { NULL }, "begin renew pass" },
	{ { READ, "80ca9f7f00" }, "begin lost" },
	{ { READ }, "begin renew pass" },
	/* a path too long to know, one in secure messaging, one in pieces */
	{ { SELECT_MF, SELECT_DF, "00a4000c025016", "00a4000c025017", "00a4000c025018",
	    "00a4000c025019", "00a4000c02501a", "00a4000c02501b", "00a4000c02501c" },
	  "begin lost" },
	{ { SELECT_ONE, "0ca4000c025015" }, "begin lost" },
	{ { SELECT_ONE, "00a4040009f00002" }, "begin lost" },
	{ { SELECT_ONE, "10a4000c025015" }, "begin lost" },
	{ { "00a4040029"
	    "0101010101010101010101010101010101010101"
	    "0101010101010101010101"
	    "01010101010101010101" },
	  "begin lost" },
	{ { SELECT_ONE, "0ca4000c025015", SELECT_TWO }, "begin replay " SELECT_TWO " pass" },
};

static void selects_again(void **state)
{
	Case at;

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(replays); i++) {
		print_message("# %zu: %s\n", i, replays[i].steps);
		start(&at, VSC_SHARE_TURNS);
		for (size_t j = 0; replays[i].commands[j] != NULL; j++)
			command_passes(&at, replays[i].commands[j]);
		idle(&at, VSC_SHARE_KEEP_MS);
		command_is(&at, READ, OK, replays[i].steps);
	}
}

/* The master file is the application's, where one was selected. */
static void a_master_file_is_in_its_application(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	command_passes(&at, SELECT_ONE);
	command_passes(&at, SELECT_DF);
	idle(&at, VSC_SHARE_IDLE_MS);
	command_is(&at, SELECT_MF, OK, "begin replay " SELECT_ONE " replay " SELECT_DF " pass");
	command_passes(&at, READ);
	idle(&at, VSC_SHARE_IDLE_MS);
	command_is(&at, SELECT_TWO, OK, "begin pass");
}

/* Without a security environment a card does not fail, but takes another key. */
static void what_is_not_missed_is_lost(void **state)
{
	static const char *const binding[] = { "002241b603830101", "002a90a000", "90aa0000010000" };
	Case at;

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(binding); i++) {
		start(&at, VSC_SHARE_TURNS);
		command_passes(&at, SELECT_ONE);
		command_passes(&at, binding[i]);
		idle(&at, VSC_SHARE_KEEP_MS);
		command_is(&at, SIGN, OK, "begin lost");

		start(&at, VSC_SHARE_TURNS);
		command_passes(&at, SELECT_ONE);
		command_passes(&at, binding[i]);
		command_passes(&at, SELECT_TWO);
		idle(&at, VSC_SHARE_KEEP_MS);
		command_is(&at, SIGN, "6982", "begin replay " SELECT_TWO " pass");
		command_passes(&at, binding[i]);
		idle(&at, VSC_SHARE_KEEP_MS);
		command_is(&at, SELECT_MF, OK, "begin replay " SELECT_TWO " pass");
	}
}

/* 9000 is not all cards' word for it. */
static void others_words_for_success(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	command_is(&at, "a0a40000026f07", "9f0f", "pass");
	idle(&at, VSC_SHARE_KEEP_MS);
	at.replay_says = "9f0f";
	command_is(&at, "a0b0000009", OK, "begin replay a0a40000026f07 pass");

	start(&at, VSC_SHARE_TURNS);
	command_is(&at, "90aa0000010000", "000102030405060791af", "pass");
	idle(&at, VSC_SHARE_KEEP_MS);
	command_is(&at, "90af0000010000", OK, "begin lost");
}

/* One that selects anew needs nothing, but only if it succeeds. */
static void selecting_anew_needs_nothing(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	command_passes(&at, SELECT_ONE);
	idle(&at, VSC_SHARE_IDLE_MS);
	command_is(&at, SELECT_TWO, "6a82", "begin pass");
	command_is(&at, READ, OK, "replay " SELECT_ONE " pass");
	command_passes(&at, READ);
	idle(&at, VSC_SHARE_IDLE_MS);
	command_is(&at, SELECT_TWO, OK, "begin pass");
	command_passes(&at, READ);
	idle(&at, VSC_SHARE_IDLE_MS);
	command_is(&at, READ, OK, "begin replay " SELECT_TWO " pass");
}

static void a_failed_select_selects_nothing(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	command_passes(&at, SELECT_ONE);
	command_is(&at, SELECT_TWO, "6a82", "pass");
	command_is(&at, SELECT_EF, "6283", "pass");
	idle(&at, VSC_SHARE_IDLE_MS);
	command_is(&at, READ, OK, "begin replay " SELECT_ONE " replay " SELECT_EF " pass");
}

static void what_fails_again_is_lost(void **state)
{
	static const char *const bad[] = { "6a82", "6982", "90", "" };
	Case at;

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		start(&at, VSC_SHARE_TURNS);
		command_passes(&at, SELECT_ONE);
		idle(&at, VSC_SHARE_IDLE_MS);
		at.replay_says = bad[i];
		command_is(&at, READ, OK, "begin replay " SELECT_ONE " lost");
	}
}

/* Other channels need nothing, and leave the basic one as it is. */
static void channels_are_apart(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	command_passes(&at, SELECT_ONE);
	idle(&at, VSC_SHARE_IDLE_MS);
	command_is(&at, "01b0000010", OK, "begin pass");
	command_is(&at, "0070000001", OK, "pass");
	command_is(&at, READ, OK, "replay " SELECT_ONE " pass");
}

/* A PIN survives an idle time in which nobody was there, and no SELECT is sent
 * that would forget it. */
static void nobody_was_there(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	at.others = false;
	command_passes(&at, SELECT_ONE);
	command_passes(&at, VERIFY);
	idle(&at, VSC_SHARE_KEEP_MS);
	command_is(&at, SIGN, OK, "begin pass");
	idle(&at, VSC_SHARE_KEEP_MS);
	at.others = true;
	command_is(&at, SIGN, "6982", "begin replay " SELECT_ONE " pass");
	/* That others were there is not forgotten because later they were not. */
	command_passes(&at, VERIFY);
	idle(&at, VSC_SHARE_KEEP_MS);
	command_is(&at, "01b0000010", OK, "begin pass");
	idle(&at, VSC_SHARE_KEEP_MS);
	at.others = false;
	command_is(&at, SIGN, "6982", "begin replay " SELECT_ONE " pass");
}

static void nonsense_passes(void **state)
{
	Case at;

	(void)state;
	start(&at, VSC_SHARE_TURNS);
	command_is(&at, "", "6700", "pass");
	command_is(&at, "00a4", "6700", "pass");
	command_is(&at, "00a404ff05", "", "pass");
	command_passes(&at, SELECT_ONE);
	idle(&at, VSC_SHARE_IDLE_MS);
	command_is(&at, "00", "6700", "begin replay " SELECT_ONE " pass");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_when_idle),
		cmocka_unit_test(stays_after_a_pin),
		cmocka_unit_test(stays_midway),
		cmocka_unit_test(asking_for_the_pin_is_nothing),
		cmocka_unit_test(gives_others_their_turn),
		cmocka_unit_test(hold_and_alone_never_end),
		cmocka_unit_test(selects_again),
		cmocka_unit_test(a_master_file_is_in_its_application),
		cmocka_unit_test(what_is_not_missed_is_lost),
		cmocka_unit_test(others_words_for_success),
		cmocka_unit_test(selecting_anew_needs_nothing),
		cmocka_unit_test(a_failed_select_selects_nothing),
		cmocka_unit_test(what_fails_again_is_lost),
		cmocka_unit_test(channels_are_apart),
		cmocka_unit_test(nobody_was_there),
		cmocka_unit_test(nonsense_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

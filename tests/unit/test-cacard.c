/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The cards of libcacard, over a database that fixtures/make-nssdb makes. The
 * library has one life a process: what makes it fail runs in children, made
 * before this process starts it for the card that all other tests share.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vscard/cacard-guard.h"
#include "vscard/cacard.h"

#define PATIENCE 20 /* seconds until a wait has failed */

static char *dir; /* holds db/, a whole database, and what tests make */

/* ---- A reader under test and what it said ---- */

typedef struct Bench {
	VscCacard *cacard;
	GPtrArray *cards;
	VscCard *card; /* the first */
	unsigned inserted, removed, changed, stayed_in, stayed_out, answered;
	VscToken last; /* token answered last */
	VscOutcome outcome;
	GByteArray *data;
	bool calling; /* inside a call of ours: nothing may come */
} Bench;

static Bench bench;

static void on_inserted(void *user)
{
	Bench *b = user;

	assert_false(b->calling);
	b->inserted++;
}

static void on_removed(void *user)
{
	Bench *b = user;

	assert_false(b->calling);
	b->removed++;
}

static void on_answered(void *user, VscToken token, VscOutcome outcome, VmcSpan data)
{
	Bench *b = user;

	assert_false(b->calling);
	b->answered++;
	b->last = token;
	b->outcome = outcome;
	g_byte_array_set_size(b->data, 0);
	g_byte_array_append(b->data, data.data, (guint)data.len);
	if (outcome != VSC_OUTCOME_OK)
		assert_int_equal(data.len, 0);
}

static void on_working(void *user, VscToken token)
{
	(void)user;
	(void)token;
}

static const VscCardEvents card_events = { on_inserted, on_removed, on_answered, on_working, NULL };

static void on_reader_added(void *user, VscCard *card)
{
	Bench *b = user;

	assert_false(b->calling);
	if (b->card == NULL) {
		b->card = card;
		vsc_card_set_user(card, &card_events, b);
	}
	g_ptr_array_add(b->cards, card);
}

static void on_card_changed(void *user, VscCard *card)
{
	Bench *b = user;

	if (card == b->card)
		assert_int_equal(vsc_card_present(card), b->inserted > b->removed);
	b->changed++;
}

static void on_card_stayed(void *user, VscCard *card, bool present)
{
	Bench *b = user;

	assert_false(b->calling);
	assert_ptr_equal(card, b->card);
	b->stayed_in += present;
	b->stayed_out += !present;
}

static const VscCacardEvents events = {
	.reader_added = on_reader_added,
	.card_changed = on_card_changed,
	.card_stayed = on_card_stayed,
};

static gboolean on_late(gpointer late)
{
	*(bool *)late = true;
	return G_SOURCE_CONTINUE;
}

/* Runs the loop until `*counter` is `wanted`. */
static void wait_until(const unsigned *counter, unsigned wanted)
{
	bool late = false;
	guint timer = g_timeout_add_seconds(PATIENCE, on_late, &late);

	while (*counter < wanted && !late)
		g_main_context_iteration(NULL, TRUE);
	g_source_remove(timer);
	assert_int_equal(*counter, wanted);
}

static bool bench_open(Bench *b, const char *options, GError **error)
{
	*b = (Bench){ .data = g_byte_array_new(), .cards = g_ptr_array_new() };
	b->calling = true;
	b->cacard = vsc_cacard_new(options, &events, b, error);
	b->calling = false;
	return b->cacard != NULL;
}

static void bench_close(Bench *b)
{
	vsc_cacard_free(b->cacard);
	g_byte_array_unref(b->data);
	g_ptr_array_unref(b->cards);
}

static VscToken token;

static VscOutcome ask(void (*call)(VscCard *, VscToken))
{
	unsigned before = bench.answered;

	bench.calling = true;
	call(bench.card, ++token);
	bench.calling = false;
	wait_until(&bench.answered, before + 1);
	assert_int_equal(bench.last, token);
	return bench.outcome;
}

static VscOutcome send_span(VmcSpan command)
{
	unsigned before = bench.answered;

	bench.calling = true;
	vsc_card_transmit(bench.card, ++token, command);
	bench.calling = false;
	wait_until(&bench.answered, before + 1);
	assert_int_equal(bench.last, token);
	return bench.outcome;
}

static GByteArray *from_hex(const char *hex)
{
	GByteArray *bytes = g_byte_array_new();

	while (*hex != '\0') {
		uint8_t byte;

		if (*hex == ' ') {
			hex++;
			continue;
		}
		byte = (uint8_t)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));
		g_byte_array_append(bytes, &byte, 1);
		hex += 2;
	}
	return bytes;
}

/* Sends a command written in hex; answers its status word. */
static unsigned send_hex(const char *hex)
{
	g_autoptr(GByteArray) bytes = from_hex(hex);
	const uint8_t *end;

	assert_int_equal(send_span(vmc_span(bytes->data, bytes->len)), VSC_OUTCOME_OK);
	assert_true(bench.data->len >= 2);
	end = bench.data->data + bench.data->len;
	return (unsigned)end[-2] << 8 | end[-1];
}

static void power_on(void)
{
	assert_int_equal(ask(vsc_card_power_on), VSC_OUTCOME_OK);
}

/* ---- Before the library runs here: errors ---- */

typedef struct Wrong {
	const char *options; /* %s is the test's directory */
	int code;
	const char *text; /* of the error, %s likewise */
} Wrong;

static void check_wrong(const Wrong *wrong)
{
	g_autofree char *options = g_strdup_printf(wrong->options, dir);
	g_autofree char *text = g_strdup_printf(wrong->text, dir);
	g_autoptr(GError) error = NULL;

	assert_false(bench_open(&bench, options, &error));
	bench_close(&bench);
	assert_non_null(error);
	if (strcmp(error->message, text) != 0 || error->code != wrong->code)
		fprintf(stderr, "for %s\ngot  %s\nnot  %s\n", options, error->message, text);
	assert_string_equal(error->message, text);
	assert_true(g_error_matches(error, VSC_CACARD_ERROR, wrong->code));
}

#define OPTIONS VSC_CACARD_ERROR_OPTIONS
#define SOFT_IS "(,READER NAME,CAC,,CERT[,CERT...])"

static const Wrong wrong_text[] = {
	{ "db=%s/db", OPTIONS, "card options: db= takes a directory in double quotes: db=\"DIR\"" },
	{ "db=\"%s/db", OPTIONS,
	  "card options: db= takes a directory in double quotes: db=\"DIR\"" },
	{ "db=\"x\" db=\"y\"", OPTIONS, "card options: db= is given twice" },
	{ "soft=", OPTIONS, "card options: soft= takes a list in parentheses, " SOFT_IS },
	{ "soft=(,a,CAC,,id", OPTIONS,
	  "card options: soft= takes a list in parentheses, " SOFT_IS },
	{ "soft=(,a,CAC,)", OPTIONS, "card options: soft= takes " SOFT_IS },
	{ "soft=(,a,CAC,,)", OPTIONS, "card options: soft= names no certificate" },
	{ "soft=(,a,CAC,,1,2,3,4,5,6,7,8,9,10,11)", OPTIONS,
	  "card options: soft= names 11 certificates; a card has places for 10" },
	{ "use_hw=yes soft=(,a,CAC,,id) passthru", OPTIONS,
	  "card options: a passed-through card and a soft card cannot be had together" },
	{ "db=\"%s/none\" use_hw=no soft=(,a,CAC,,id)", VSC_CACARD_ERROR_DATABASE,
	  "certificate database '%s/none': there is no such directory" },
	{ "db=\"sql:%s/none\" use_hw=no soft=(,a,CAC,,id)", VSC_CACARD_ERROR_DATABASE,
	  "certificate database '%s/none': there is no such directory" },
	{ "db=\"%s/db/cert9.db\" use_hw=no soft=(,a,CAC,,id)", VSC_CACARD_ERROR_DATABASE,
	  "certificate database '%s/db/cert9.db': it is not a directory" },
	{ "db=\"%s\" use_hw=no soft=(,a,CAC,,id)", VSC_CACARD_ERROR_DATABASE,
	  "certificate database '%s': there is no cert9.db in it" },
};

static void test_wrong_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(wrong_text); i++)
		check_wrong(&wrong_text[i]);
}

/* What only the started library and NSS find out. */
static const Wrong wrong_library[] = {
	{ "db=\"%s/db\" use_hw=no bad", OPTIONS,
	  "card options: libcacard does not take 'db=\"%s/db\" use_hw=no bad'" },
	{ "db=\"%s/db\" use_hw=no soft=(,a,PIV,,id)", OPTIONS,
	  "card options: libcacard does not take 'db=\"%s/db\" use_hw=no soft=(,a,PIV,,id)'" },
	{ "db=\"%s/db\" use_hw=no", OPTIONS,
	  "card options: there is neither soft= nor use_hw=yes" },
	{ "db=\"%s/db\" use_hw=no soft=(No Slot,a,CAC,,id)", OPTIONS,
	  "card options: NSS has no slot named 'No Slot'" },
	{ "db=\"%s/broken\" use_hw=no soft=(,a,CAC,,id)", VSC_CACARD_ERROR_DATABASE,
	  "certificate database '%s/broken': NSS cannot open it: security library: bad database." },
	{ "db=\"%s/db\" use_hw=no soft=(,a,CAC,,none)", VSC_CACARD_ERROR_CERT,
	  "certificate 'none' in database '%s/db': there is no certificate of that name" },
	{ "db=\"%s/db\" use_hw=no soft=(,a,CAC,,id,none)", VSC_CACARD_ERROR_CERT,
	  "certificate 'none' in database '%s/db': there is no certificate of that name" },
	{ "db=\"%s/keyless\" use_hw=no soft=(,a,CAC,,id)", VSC_CACARD_ERROR_CERT,
	  "certificate 'id' in database '%s/keyless': its private key is not there" },
	{ "db=\"%s/elliptic\" use_hw=no soft=(,a,CAC,,ec)", VSC_CACARD_ERROR_CERT,
	  "certificate 'ec' in database '%s/elliptic': its key is not an RSA key, which is what a "
	  "CAC has" },
};

/* Runs `body` in a child. Its status says which assertion, on stderr, failed. */
static void in_child(void (*body)(const void *), const void *argument)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		body(argument);
		fflush(stdout);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* cmocka's assertions would jump back into the parent's test runner. */
static void child_wrong(const void *argument)
{
	const Wrong *wrong = argument;
	g_autofree char *options = g_strdup_printf(wrong->options, dir);
	g_autofree char *text = g_strdup_printf(wrong->text, dir);
	g_autoptr(GError) error = NULL;

	if (bench_open(&bench, options, &error) || error->code != wrong->code ||
	    strcmp(error->message, text) != 0) {
		fprintf(stderr, "for %s\ngot  %s\nnot  %s\n", options,
			error != NULL ? error->message : "no error", text);
		_exit(1);
	}
	bench_close(&bench);
}

static void test_wrong_library(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(wrong_library); i++)
		in_child(child_wrong, &wrong_library[i]);
}

static void child_no_pcscd(const void *argument)
{
	static const Wrong wrong = { "use_hw=yes hw_type=passthru", VSC_CACARD_ERROR_PCSCD,
				     "libcacard cannot reach pcscd" };

	(void)argument;
	g_setenv("PCSCLITE_CSOCK_NAME", "/nonexistent", TRUE);
	child_wrong(&wrong);
}

static void test_no_pcscd(void **state)
{
	(void)state;
	in_child(child_no_pcscd, NULL);
}

static void child_two_readers(const void *argument)
{
	g_autofree char *options = g_strdup_printf(
		"db=\"%s/db\" use_hw=no soft=(,First,CAC,,id,) soft=( ,Second,CAC,, signing) \n",
		dir);
	g_autoptr(GError) error = NULL;
	const VscCard *second;

	(void)argument;
	if (!bench_open(&bench, options, &error)) {
		fprintf(stderr, "%s\n", error->message);
		_exit(1);
	}
	while (bench.cards->len < 2 || !vsc_card_present(bench.cards->pdata[1]))
		g_main_context_iteration(NULL, TRUE);
	second = bench.cards->pdata[1];
	if (strcmp(vsc_card_name(bench.card), "First") != 0 ||
	    strcmp(vsc_card_name(second), "Second") != 0 || !vsc_card_present(bench.card))
		_exit(2);
	bench_close(&bench);
}

static void test_two_readers(void **state)
{
	(void)state;
	in_child(child_two_readers, NULL);
}

/* Ends with news untold, jobs not begun and a command on the card. */
static void child_free_early(const void *argument)
{
	const uint8_t select[] = { 0x00, 0xa4, 0x04, 0x00 };
	g_autofree char *options = g_strdup_printf("db=\"%s/db\" use_hw=no soft=(,a,CAC,,id)", dir);

	if (!bench_open(&bench, options, NULL))
		_exit(1);
	while (argument != NULL && bench.inserted == 0)
		g_main_context_iteration(NULL, TRUE);
	for (VscToken i = 1; argument != NULL && i < 50; i++) {
		vsc_card_power_on(bench.card, i);
		vsc_card_transmit(bench.card, 100 + i, vmc_span(select, sizeof(select)));
		vsc_cacard_remove(bench.card);
		vsc_cacard_insert(bench.card);
	}
	bench_close(&bench);
	while (g_main_context_iteration(NULL, FALSE))
		;
}

static void test_free_early(void **state)
{
	in_child(child_free_early, NULL);
	in_child(child_free_early, state);
}

static void check_options(const char *db, const char *const *certs, const char *expected)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *text = vsc_cacard_options(db, certs, &error);

	assert_string_equal(text != NULL ? text : error->message, expected);
	assert_true(text != NULL || g_error_matches(error, VSC_CACARD_ERROR, OPTIONS));
}

static void test_soft(void **state)
{
	const char *certs[] = { "a", "b", NULL };
	g_autofree char *text = vsc_cacard_soft("My Reader", certs, NULL);
	g_autoptr(GError) error = NULL;

	(void)state;
	assert_string_equal(text, "soft=(,My Reader,CAC,,a,b)");
	assert_null(vsc_cacard_soft("a,b", certs, &error));
	assert_string_equal(error->message,
			    "card options: reader name 'a,b' has a ',', a ')' or a line end, which "
			    "libcacard cannot take in a name");
}

static void test_options(void **state)
{
	const char *one[] = { "id", NULL }, *three[] = { "id", "my signing", "encryption", NULL };
	const char *none[] = { NULL }, *empty[] = { "", NULL }, *comma[] = { "a,b", NULL };
	const char *paren[] = { "a)", NULL }, *blank[] = { " a", NULL };
	const char *eleven[] = { "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", NULL };

	(void)state;
	check_options("/x y", three,
		      "db=\"/x y\" use_hw=no soft=(,Virtual Reader,CAC,,id,my signing,encryption)");
	check_options(NULL, one, "use_hw=no soft=(,Virtual Reader,CAC,,id)");
	check_options("", one, "card options: database directory '' is empty");
	check_options("a\"b", one,
		      "card options: database directory 'a\"b' has a '\"' or a line end, "
		      "which libcacard cannot take in a path");
	check_options("x", none, "card options: a card has 1 to 10 certificates, not 0");
	check_options("x", eleven, "card options: a card has 1 to 10 certificates, not 11");
	check_options("x", empty, "card options: certificate name '' is empty");
	check_options("x", comma,
		      "card options: certificate name 'a,b' has a ',', a ')' or a line "
		      "end, which libcacard cannot take in a name");
	check_options("x", paren,
		      "card options: certificate name 'a)' has a ',', a ')' or a line "
		      "end, which libcacard cannot take in a name");
	check_options("x", blank,
		      "card options: certificate name ' a' begins with a blank, which "
		      "libcacard would drop");
}

/* ---- The guard, by itself ---- */

typedef struct Guarded {
	const char *command; /* hex; NULL ends */
	unsigned before;     /* 0: the card gets it */
	unsigned card;       /* what it says then */
	unsigned after;
} Guarded;

static const Guarded pins[] = {
	{ "00200000", 0, 0x6a88, 0x63c3 }, /* how many tries? */
	{ "00200000 04 31313131", 0, 0x6985, 0x63c2 },
	{ "00200000 04 31323334", 0, 0x9000, 0x9000 },
	{ "00200000 00", 0, 0x9000, 0x9000 }, /* verified: no count */
	{ "00200000 04 31313131", 0, 0x6985, 0x63c2 },
	{ "00200001 04 31313131", 0, 0x6a86, 0x6a86 }, /* not the PIN's VERIFY */
	{ "00200000 05 31313131", 0, 0x6700, 0x6700 }, /* none of the cases */
	{ "00200000", 0, 0x63c3, 0x63c2 },             /* libcacard's answer to Windows */
	{ "00200000 000004 31313131", 0, 0x6985, 0x63c1 },
	{ "00200000 04 31313131", 0, 0x6985, 0x63c0 },
	{ "00200000 04 31323334", 0x6983, 0, 0 },
	{ "00200000", 0, 0x6a88, 0x6983 },
	{ "00200000 000004 31323334", 0x6983, 0, 0 },
	{ NULL, 0, 0, 0 },
};

static void test_guard_pin(void **state)
{
	VscCacardGuard guard;

	(void)state;
	vsc_cacard_guard_inserted(&guard);
	for (const Guarded *g = pins; g->command != NULL; g++) {
		g_autoptr(GByteArray) command = from_hex(g->command);
		VmcSpan span = vmc_span(command->data, command->len);

		assert_int_equal(vsc_cacard_guard_before(&guard, span), g->before);
		if (g->before == 0)
			assert_int_equal(vsc_cacard_guard_after(&guard, span, 0, g->card),
					 g->after);
	}
	vsc_cacard_guard_reset(&guard);
	assert_int_equal(guard.tries, 0);
	vsc_cacard_guard_inserted(&guard);
	assert_int_equal(guard.tries, VSC_CACARD_PIN_TRIES);
}

/* ---- The card ---- */

static int open_card(void **state)
{
	const char *certs[] = { "id", "signing", "encryption", NULL };
	g_autofree char *db = g_build_filename(dir, "db", NULL);
	g_autofree char *options = vsc_cacard_options(db, certs, NULL);
	g_autoptr(GError) error = NULL;

	(void)state;
	if (!bench_open(&bench, options, &error)) {
		fprintf(stderr, "%s\n", error->message);
		return -1;
	}
	wait_until(&bench.inserted, 1);
	return 0;
}

static int close_card(void **state)
{
	(void)state;
	bench_close(&bench);
	return 0;
}

static void test_twice(void **state)
{
	const char *certs[] = { "id", NULL };
	g_autofree char *db = g_build_filename(dir, "db", NULL);
	g_autofree char *options = vsc_cacard_options(db, certs, NULL);
	g_autoptr(GError) error = NULL;

	(void)state;
	assert_null(vsc_cacard_new(options, &events, NULL, &error));
	assert_string_equal(error->message,
			    "libcacard was used before in this process, and works but once");
	assert_true(g_error_matches(error, VSC_CACARD_ERROR, VSC_CACARD_ERROR_TWICE));
}

static void test_power(void **state)
{
	g_autoptr(GByteArray) atr = from_hex("3b7a1800007366746520636431 3434");

	(void)state;
	assert_string_equal(vsc_card_name(bench.card), "Virtual Reader");
	assert_true(vsc_card_present(bench.card));
	assert_int_equal(ask(vsc_card_power_off), VSC_OUTCOME_OK);
	assert_int_equal(send_span(vmc_span("\0\xa4\4\0", 4)), VSC_OUTCOME_NOT_POWERED);
	power_on();
	assert_int_equal(bench.data->len, atr->len);
	assert_memory_equal(bench.data->data, atr->data, atr->len);
	assert_int_equal(ask(vsc_card_reset), VSC_OUTCOME_OK);
	assert_memory_equal(bench.data->data, atr->data, atr->len);
	assert_int_equal(ask(vsc_card_power_off), VSC_OUTCOME_OK);
	assert_int_equal(bench.data->len, 0);
}

#define SELECT_PKI_0 "00a40400 07 a0000000790100"
#define SELECT_PKI_1 "00a40400 07 a0000000790101"
#define SELECT_PKI_2 "00a40400 07 a0000000790102"

static void test_select(void **state)
{
	const char *there[] = { SELECT_PKI_0,
				SELECT_PKI_1,
				SELECT_PKI_2,
				"00a40400 07 a000000116db00",
				"00a40400 07 a0000000790300",
				"00a40400 07 a0000000030000" };

	(void)state;
	power_on();
	for (size_t i = 0; i < G_N_ELEMENTS(there); i++) {
		g_autofree char *with_le = g_strconcat(there[i], "00", NULL);

		/* Case 3 has the answer wait, as over T=0; case 4 brings it. */
		assert_int_equal(send_hex(there[i]) >> 8, 0x61);
		assert_int_equal(bench.data->len, 2);
		assert_int_equal(send_hex("00c0000000"), 0x9000);
		assert_int_equal(bench.data->data[0], 0x6f);
		assert_int_equal(send_hex(with_le), 0x9000);
		assert_int_equal(bench.data->data[0], 0x6f);
	}
	assert_int_equal(send_hex("00a40400 07 a0000000790103"), 0x6a82);
	assert_int_equal(send_hex("00a40400"), 0x6a82);
}

static void read_file(const char *name, GByteArray *into)
{
	g_autofree char *path = g_build_filename(dir, "db", name, NULL);
	char *text;
	gsize len;

	assert_true(g_file_get_contents(path, &text, &len, NULL));
	g_byte_array_append(into, (uint8_t *)text, (guint)len);
	g_free(text);
}

/* READ BUFFER, all of a PKI applet's values, `step` bytes a command. */
static void read_values(GByteArray *into, unsigned step)
{
	for (unsigned at = 0; at < 65536; at += step) {
		g_autofree char *command =
			g_strdup_printf("8052%04x 02 02%02x %02x", at, step, step);
		unsigned sw = send_hex(command);

		if (sw != 0x9000)
			return;
		g_byte_array_append(into, bench.data->data, bench.data->len - 2);
		if (bench.data->len - 2 < step)
			return;
	}
}

static void test_certificates(void **state)
{
	const char *selects[] = { SELECT_PKI_0, SELECT_PKI_1, SELECT_PKI_2 };
	const char *files[] = { "id.der", "signing.der", "encryption.der" };

	(void)state;
	power_on();
	for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
		g_autoptr(GByteArray) der = g_byte_array_new();
		g_autoptr(GByteArray) read = g_byte_array_new();

		read_file(files[i], der);
		send_hex(selects[i]);
		read_values(read, i == 0 ? 0xff : 0x40);
		assert_non_null(memmem(read->data, read->len, der->data, der->len));
	}
}

/* The wrong tries, then all of it again with the card back in. */
static void test_pin(void **state)
{
	unsigned inserted = bench.inserted, removed = bench.removed;

	(void)state;
	power_on();
	assert_int_equal(send_hex("00200000"), 0x63c3);
	assert_int_equal(send_hex("00200000 04 31323335"), 0x63c2);
	assert_int_equal(send_hex("00200000 08 31323334ffffffff"), 0x9000);
	assert_int_equal(send_hex("00200000"), 0x9000);
	assert_int_equal(ask(vsc_card_reset), VSC_OUTCOME_OK);
	assert_int_equal(send_hex("00200000"), 0x63c3);
	assert_int_equal(send_hex("00200000 04 31323335"), 0x63c2);
	assert_int_equal(ask(vsc_card_reset), VSC_OUTCOME_OK);
	assert_int_equal(send_hex("00200000 04 31323335"), 0x63c1);
	assert_int_equal(send_hex("00200000 01 00"), 0x63c0);
	assert_int_equal(send_hex("00200000 04 31323334"), 0x6983);
	vsc_cacard_remove(bench.card);
	vsc_cacard_insert(bench.card);
	wait_until(&bench.removed, removed + 1);
	wait_until(&bench.inserted, inserted + 1);
	power_on();
	assert_int_equal(send_hex("00200000 04 31323334"), 0x9000);
}

/* PKCS #1 v1.5 block type 1 over a SHA-256 DigestInfo, as a CAC is sent it. */
static void pad_digest(uint8_t block[256], const char *text)
{
	static const uint8_t info[] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
					0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 };
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	gsize len = 32;

	memset(block, 0xff, 256);
	block[0] = 0;
	block[1] = 1;
	block[256 - 32 - sizeof(info) - 1] = 0;
	memcpy(block + 256 - 32 - sizeof(info), info, sizeof(info));
	g_checksum_update(sum, (const guchar *)text, (gssize)strlen(text));
	g_checksum_get_digest(sum, block + 256 - 32, &len);
}

/* openssl, with the database's public key, on what the card answered last. */
static void check_signature(const char *key, const char *text)
{
	g_autofree char *pem = g_strdup_printf("%s/db/%s.pem", dir, key);
	g_autofree char *sig = g_strdup_printf("%s/sig", dir);
	g_autofree char *data = g_strdup_printf("%s/data", dir);
	const char *argv[] = { "openssl",    "dgst", "-sha256", "-verify", pem,
			       "-signature", sig,    data,      NULL };
	g_autofree char *out = NULL;
	int status = -1;

	assert_int_equal(bench.data->len, 258);
	assert_true(g_file_set_contents(sig, (char *)bench.data->data, 256, NULL));
	assert_true(g_file_set_contents(data, text, -1, NULL));
	assert_true(g_spawn_sync(NULL, (char **)argv, NULL,
				 G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &out,
				 NULL, &status, NULL));
	assert_string_equal(out, "Verified OK\n");
}

/* Sends `block` to SIGN/DECRYPT in pieces of `size`, the last with `le`. */
static unsigned sign_in_pieces(const uint8_t *block, size_t len, size_t size, bool le)
{
	unsigned sw = 0;

	for (size_t at = 0; at < len; at += size) {
		g_autoptr(GString) hex = g_string_new(NULL);
		size_t piece = MIN(size, len - at);
		bool last = at + piece == len;

		g_string_printf(hex, "8042%s00%02zx", last ? "00" : "80", piece);
		for (size_t i = 0; i < piece; i++)
			g_string_append_printf(hex, "%02x", block[at + i]);
		if (last && le)
			g_string_append(hex, "00");
		sw = send_hex(hex->str);
		if (!last)
			assert_int_equal(sw, 0x9000);
	}
	return sw;
}

static void test_sign(void **state)
{
	uint8_t block[256];

	(void)state;
	power_on();
	send_hex(SELECT_PKI_1);
	pad_digest(block, "some text");
	assert_int_equal(sign_in_pieces(block, 256, 128, true), 0x6985);
	assert_int_equal(send_hex("00200000 04 31323334"), 0x9000);
	assert_int_equal(sign_in_pieces(block, 256, 128, true), 0x9000);
	check_signature("signing", "some text");
	/* Without Le, as over T=0. */
	assert_int_equal(sign_in_pieces(block, 256, 240, false), 0x6100);
	assert_int_equal(send_hex("00c00000 80"), 0x6180);
	assert_int_equal(bench.data->len, 130);
	assert_int_equal(send_hex("00c00000 80"), 0x9000);
	/* A reset takes the PIN back. */
	assert_int_equal(ask(vsc_card_reset), VSC_OUTCOME_OK);
	send_hex(SELECT_PKI_1);
	assert_int_equal(sign_in_pieces(block, 256, 128, true), 0x6985);
}

static void test_sign_extended(void **state)
{
	uint8_t command[7 + 256 + 2] = { 0x80, 0x42, 0x00, 0x00, 0x00, 0x01, 0x00 };

	(void)state;
	power_on();
	send_hex(SELECT_PKI_0);
	assert_int_equal(send_hex("00200000 04 31323334"), 0x9000);
	pad_digest(command + 7, "more text");
	assert_int_equal(send_span(vmc_span(command, sizeof(command))), VSC_OUTCOME_OK);
	check_signature("id", "more text");
}

/* The library would keep all of it. */
static void test_operand_bound(void **state)
{
	static uint8_t command[VSC_COMMAND_MAX] = { 0x80, 0x42, 0x80, 0x00, 0x00, 0xff, 0xff };
	uint8_t piece[250] = { 0 };

	(void)state;
	power_on();
	send_hex(SELECT_PKI_0);
	assert_int_equal(send_span(vmc_span(command, 7 + 65535)), VSC_OUTCOME_OK);
	assert_memory_equal(bench.data->data, "\x67\x00", 2);
	for (int i = 0; i < 8; i++)
		assert_int_equal(sign_in_pieces(piece, 250, 249, false) >> 8, 0x69);
	for (int i = 0; i < 8; i++) {
		g_autoptr(GString) hex = g_string_new("804280 00 fa");

		for (size_t j = 0; j < sizeof(piece); j++)
			g_string_append(hex, "00");
		assert_int_equal(send_hex(hex->str), 0x9000);
	}
	assert_int_equal(send_hex("80428000 30 000000000000000000000000000000000000000000000000"
				  "000000000000000000000000000000000000000000000000"),
			 0x9000);
	assert_int_equal(send_hex("80428000 01 00"), 0x6700);
	assert_int_equal(send_hex(SELECT_PKI_0) >> 8, 0x61);
	assert_int_equal(send_hex("80428000 01 00"), 0x9000);
}

static void test_malformed(void **state)
{
	static uint8_t longest[VSC_COMMAND_MAX] = { 0x80, 0x58, 0x00, 0x00, 0x00, 0xff, 0xff };
	static const struct {
		const char *hex;
		unsigned sw;
	} commands[] = {
		{ "00", 0x6700 },
		{ "00a4", 0x6700 },
		{ "00a404", 0x6700 },
		{ "00a4040000 00", 0x6700 },
		{ "00a40400 02 00", 0x6700 },
		{ "00a40400 01 0000 00", 0x6700 },
		{ "00a40400 00 0000 00", 0x6700 },
		{ "00a40400 00 0002 00", 0x6700 },
		{ "00a40400 00 0001 00 00", 0x6700 },
		{ "00a40400 00 0000", 0x6a82 },
		{ "ff000000", 0x6900 },
		{ "00c00000 00", 0x6a88 },
	};

	(void)state;
	power_on();
	assert_int_equal(send_span(vmc_span(NULL, 0)), VSC_OUTCOME_OK);
	assert_memory_equal(bench.data->data, "\x67\x00", 2);
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
		if (send_hex(commands[i].hex) != commands[i].sw)
			fail_msg("%s", commands[i].hex);
	}
	assert_int_equal(send_span(vmc_span(longest, sizeof(longest))), VSC_OUTCOME_OK);
	assert_int_equal(bench.data->len, 2);
}

/* Every instruction and P1, in each applet, in each case: answered, alive. */
static void test_every_instruction(void **state)
{
	const char *applets[] = { SELECT_PKI_0,
				  "00a40400 07 a000000116db00",
				  "00a40400 07 a0000000790300",
				  "00a40400 07 a0000000030000",
				  "00a40400 0b a000000397434944 5f0100",
				  "00a40400 07 a0000000790200" };
	const char *tails[] = { "",
				"00",
				"01 01",
				"02 02ff 00",
				"07 a0000000790100 00",
				"000000",
				"000002 0200 ffff" };

	(void)state;
	power_on();
	for (size_t a = 0; a < G_N_ELEMENTS(applets); a++) {
		for (unsigned i = 0; i < 256 * 256; i++) {
			unsigned ins = i >> 8, p1 = i & 0xff;
			g_autofree char *hex = g_strdup_printf("80%02x%02x00 %s", ins, p1,
							       tails[i % G_N_ELEMENTS(tails)]);

			if (p1 > 2 && p1 % 16 > 2 && ins != 0x4c)
				continue;
			if (i % 64 == 0)
				send_hex(applets[a]);
			if (ins != 0x20)
				send_hex(hex);
		}
	}
}

static void test_removal(void **state)
{
	unsigned inserted = bench.inserted, removed = bench.removed;
	unsigned stayed_in = bench.stayed_in, stayed_out = bench.stayed_out;

	(void)state;
	power_on();
	bench.calling = true;
	vsc_cacard_insert(bench.card); /* it is in already: nothing comes of it */
	vsc_cacard_remove(bench.card);
	vsc_cacard_remove(bench.card);
	vsc_card_transmit(bench.card, ++token, vmc_span("\0\xa4\4\0", 4));
	bench.calling = false;
	wait_until(&bench.removed, removed + 1);
	assert_int_equal(bench.stayed_in, stayed_in + 1);
	assert_int_equal(bench.stayed_out, stayed_out + 1);
	assert_int_equal(bench.inserted, inserted);
	assert_false(vsc_card_present(bench.card));
	assert_int_equal(bench.changed, bench.inserted + bench.removed);
	while (bench.last != token)
		g_main_context_iteration(NULL, TRUE);
	assert_int_equal(bench.outcome, VSC_OUTCOME_NO_CARD);
	assert_int_equal(ask(vsc_card_power_on), VSC_OUTCOME_NO_CARD);
	vsc_cacard_insert(bench.card);
	wait_until(&bench.inserted, inserted + 1);
	assert_true(vsc_card_present(bench.card));
	assert_int_equal(send_span(vmc_span("\0\xa4\4\0", 4)), VSC_OUTCOME_NOT_POWERED);
	power_on();
}

/* In one go, as from a script: the worker decides, in their order. */
static void test_removed_and_inserted(void **state)
{
	unsigned inserted = bench.inserted, removed = bench.removed;
	unsigned stayed_in = bench.stayed_in, stayed_out = bench.stayed_out;

	(void)state;
	bench.calling = true;
	vsc_cacard_remove(bench.card);
	vsc_cacard_insert(bench.card);
	bench.calling = false;
	wait_until(&bench.inserted, inserted + 1);
	assert_int_equal(bench.removed, removed + 1);
	assert_int_equal(bench.stayed_in, stayed_in);
	assert_int_equal(bench.stayed_out, stayed_out);
	power_on();
}

/* A request to a card that was taken out must not reach the one put in. */
static void test_exchange(void **state)
{
	unsigned inserted = bench.inserted, removed = bench.removed, answered;

	(void)state;
	power_on();
	answered = bench.answered;
	for (unsigned i = 0; i < 10; i++) {
		vsc_cacard_remove(bench.card);
		vsc_cacard_insert(bench.card);
		vsc_card_power_on(bench.card, ++token);
	}
	for (unsigned i = 0; i < 10; i++) {
		wait_until(&bench.answered, answered + i + 1);
		assert_int_equal(bench.outcome, VSC_OUTCOME_NO_CARD);
	}
	wait_until(&bench.removed, removed + 10);
	wait_until(&bench.inserted, inserted + 10);
	power_on();
}

static void test_cancel(void **state)
{
	unsigned answered;
	VscToken first = token + 1;

	(void)state;
	power_on();
	answered = bench.answered;
	for (unsigned i = 0; i < 200; i++)
		vsc_card_reset(bench.card, first + i);
	token = first + 199;
	vsc_card_cancel(bench.card, token);
	vsc_card_cancel(bench.card, token);
	vsc_card_cancel(bench.card, 0xfffffff0u);
	wait_until(&bench.answered, answered + 199);
	assert_int_equal(bench.outcome, VSC_OUTCOME_OK);
	wait_until(&bench.answered, answered + 200);
	assert_int_equal(bench.last, token);
	assert_int_equal(bench.outcome, VSC_OUTCOME_CANCELLED);
	power_on();
}

/* ---- Databases ---- */

static void run(const char *script)
{
	const char *argv[] = { "sh", "-eu", "-c", script, "sh", dir, NULL };
	g_autofree char *error_text = NULL;
	int status = -1;

	if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
			  &error_text, &status, NULL) ||
	    status != 0) {
		fprintf(stderr, "%s\n%s", script, error_text != NULL ? error_text : "");
		exit(1);
	}
}

static void make_databases(void)
{
	dir = g_dir_make_tmp("vscard-test-XXXXXX", NULL);
	run("fixtures/make-nssdb \"$1/db\"; fixtures/make-nssdb \"$1/db\"");
	run("mkdir \"$1/broken\"; printf nonsense >\"$1/broken/cert9.db\"");
	run("mkdir \"$1/keyless\"; echo 1234 >\"$1/pin\"; certutil -N -d \"sql:$1/keyless\" "
	    "-f \"$1/pin\"; certutil -A -d \"sql:$1/keyless\" -f \"$1/pin\" -n id -t ,, "
	    "-i \"$1/db/id.der\"");
	run("mkdir \"$1/elliptic\"; certutil -N -d \"sql:$1/elliptic\" -f \"$1/pin\"; "
	    "head -c 512 /dev/urandom >\"$1/noise\"; certutil -S -d \"sql:$1/elliptic\" "
	    "-f \"$1/pin\" -z \"$1/noise\" -x -n ec -s CN=ec -t ,, -k ec -q nistp256 2>/dev/null");
}

static void remove_databases(void)
{
	run("rm -rf \"$1\"");
	g_free(dir);
}

int main(void)
{
	const struct CMUnitTest before[] = {
		cmocka_unit_test(test_soft),          cmocka_unit_test(test_options),
		cmocka_unit_test(test_guard_pin),     cmocka_unit_test(test_wrong_text),
		cmocka_unit_test(test_wrong_library), cmocka_unit_test(test_no_pcscd),
		cmocka_unit_test(test_two_readers),   cmocka_unit_test(test_free_early),
	};
	const struct CMUnitTest card[] = {
		cmocka_unit_test(test_twice),         cmocka_unit_test(test_power),
		cmocka_unit_test(test_select),        cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_pin),           cmocka_unit_test(test_sign),
		cmocka_unit_test(test_sign_extended), cmocka_unit_test(test_operand_bound),
		cmocka_unit_test(test_malformed),     cmocka_unit_test(test_every_instruction),
		cmocka_unit_test(test_removal),       cmocka_unit_test(test_removed_and_inserted),
		cmocka_unit_test(test_exchange),      cmocka_unit_test(test_cancel),
	};
	int failed;

	make_databases();
	failed = cmocka_run_group_tests_name("cacard errors", before, NULL, NULL);
	failed += cmocka_run_group_tests_name("cacard", card, open_card, close_card);
	remove_databases();
	return failed;
}

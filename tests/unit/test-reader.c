/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The reader's command engine, by conversation. Each fixtures/transcripts/
 * ccid-*.txt is a test; its lines are
 *
 *   slots N            how many slots (before all else, 1 if left out)
 *   atr N HEX          what card N brings; in N, out N: it comes, it goes
 *   > HEX              the host's PC_to_RDR message, whole or not
 *   < HEX              the reader's next answer; .. is any byte
 *   card N OUTCOME HEX card N ends its last request; `card N again` its one
 *                      before that; `card N working`
 *   sent N KIND HEX    what card N was asked last
 *   abort S SEQ        the class request ABORT, `stall` before it if refused
 *   tick MS            so much time passes
 *   deadline MS        so long until the next deadline, - for none
 *   notify HEX         NotifySlotChange, - for none
 *   reset              the host is gone
 *
 * HEX may have blanks, `AA*20` repeats a byte, # begins a comment. An answer
 * that no < takes fails the test: each command gets exactly one.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ccid/reader.h"
#include "tests/lib/testcard.h"

#define FOLDER "fixtures/transcripts"

typedef struct Play {
	const char *file;
	unsigned line;
	CcidReader *reader;
	unsigned n_slots;
	VscTestCard *cards[CCID_SLOTS_MAX];
	VscToken previous[CCID_SLOTS_MAX];
	GQueue answers; /* GByteArray */
	unsigned changes;
	int64_t now;
} Play;

static void stop(Play *play, const char *what, const char *text)
{
	fail_msg("%s:%u: %s: %s", play->file, play->line, what, text);
}

/* ---- Values ---- */

static void append_token(Play *play, GByteArray *bytes, GByteArray *mask, const char *token)
{
	gchar **parts = g_strsplit(token, "*", 2);
	uint64_t times = parts[1] ? g_ascii_strtoull(parts[1], NULL, 10) : 1;
	size_t len = strlen(parts[0]);

	if (len % 2 || (parts[1] && len != 2))
		stop(play, "not bytes", token);
	for (; times > 0; times--)
		for (size_t i = 0; i < len; i += 2) {
			bool any = parts[0][i] == '.';
			int high = g_ascii_xdigit_value(parts[0][i]),
			    low = g_ascii_xdigit_value(parts[0][i + 1]);
			uint8_t byte = (uint8_t)(any ? 0 : high << 4 | low);

			if (!any && (high < 0 || low < 0))
				stop(play, "not bytes", token);
			g_byte_array_append(bytes, &byte, 1);
			byte = (uint8_t)(any ? 0 : 0xFF);
			g_byte_array_append(mask, &byte, 1);
		}
	g_strfreev(parts);
}

/* The bytes that words from `at` on spell, and which of them count. */
static GByteArray *parse_bytes(Play *play, gchar **words, size_t at, GByteArray **mask)
{
	GByteArray *bytes = g_byte_array_new();

	*mask = g_byte_array_new();
	for (size_t i = 0; i < at; i++)
		if (!words[i])
			stop(play, "too short", words[0]);
	for (gchar **word = words + at; *word; word++)
		if (**word)
			append_token(play, bytes, *mask, *word);
	return bytes;
}

static unsigned number(Play *play, const char *word, unsigned most)
{
	char *end = NULL;
	uint64_t value = word ? g_ascii_strtoull(word, &end, 10) : 0;

	if (!word || end == word || *end || value > most)
		stop(play, "not a number here", word ? word : "nothing");
	return (unsigned)value;
}

static VscTestCard *card_at(Play *play, const char *word, unsigned *index)
{
	*index = number(play, word, play->n_slots - 1);
	return play->cards[*index];
}

static void compare(Play *play, const char *what, VmcSpan got, const GByteArray *want,
		    const GByteArray *mask)
{
	bool same = got.len == want->len;
	g_autoptr(GString) text = g_string_new(NULL);

	for (size_t i = 0; i < got.len; i++) {
		if (i < want->len && (got.data[i] & mask->data[i]) != want->data[i])
			same = false;
		if (i < 64)
			g_string_append_printf(text, "%02X ", got.data[i]);
	}
	if (!same)
		stop(play, what, text->str);
}

/* ---- The reader's side ---- */

static void on_message(void *user, VmcSpan message)
{
	Play *play = user;
	GByteArray *copy = g_byte_array_new();

	g_queue_push_tail(&play->answers,
			  g_byte_array_append(copy, message.data, (guint)message.len));
}

static void on_slot_change(void *user)
{
	((Play *)user)->changes++;
}

static const CcidReaderEvents events = { .message = on_message, .slot_change = on_slot_change };

static void begin(Play *play, unsigned n_slots)
{
	play->n_slots = n_slots;
	play->reader = ccid_reader_new(n_slots, &events, play);
	for (unsigned i = 0; i < n_slots; i++) {
		play->cards[i] = vsc_test_card_new("test");
		vsc_test_card_set_mode(play->cards[i], VSC_TEST_MANUAL);
		ccid_reader_set_card(play->reader, i, vsc_test_card(play->cards[i]));
	}
}

static void end(Play *play)
{
	GByteArray *answer = g_queue_peek_head(&play->answers);

	if (answer)
		stop(play, "an answer nobody asked for", ccid_message_name(answer->data[0]));
	ccid_reader_free(play->reader);
	for (unsigned i = 0; i < play->n_slots; i++)
		vsc_test_card_free(play->cards[i]);
}

/* ---- Lines ---- */

static void do_send(Play *play, gchar **words)
{
	g_autoptr(GByteArray) mask = NULL;
	g_autoptr(GByteArray) bytes = parse_bytes(play, words, 1, &mask);
	/* At the end of a block of its own, so that reading past it shows. */
	g_autofree uint8_t *copy = g_memdup2(bytes->data, bytes->len);
	VscToken before[CCID_SLOTS_MAX];

	for (unsigned i = 0; i < play->n_slots; i++)
		before[i] = vsc_test_card_last(play->cards[i], NULL, NULL);
	ccid_reader_message(play->reader, vmc_span(copy, bytes->len), play->now);
	for (unsigned i = 0; i < play->n_slots; i++)
		if (vsc_test_card_last(play->cards[i], NULL, NULL) != before[i])
			play->previous[i] = before[i];
}

static void do_receive(Play *play, gchar **words)
{
	g_autoptr(GByteArray) mask = NULL;
	g_autoptr(GByteArray) want = parse_bytes(play, words, 1, &mask);
	g_autoptr(GByteArray) got = g_queue_pop_head(&play->answers);

	if (!got)
		stop(play, "no answer", "");
	compare(play, "answered", vmc_span(got->data, got->len), want, mask);
	/* Whatever a transcript says of it: an answer holds together. */
	assert_int_equal(got->len, 10 + (got->data[1] | got->data[2] << 8 | got->data[3] << 16));
}

static const struct {
	const char *name;
	VscOutcome outcome;
} outcomes[] = {
	{ "ok", VSC_OUTCOME_OK },
	{ "no-card", VSC_OUTCOME_NO_CARD },
	{ "not-powered", VSC_OUTCOME_NOT_POWERED },
	{ "mute", VSC_OUTCOME_MUTE },
	{ "failed", VSC_OUTCOME_FAILED },
	{ "cancelled", VSC_OUTCOME_CANCELLED },
};

static void do_card(Play *play, gchar **words)
{
	unsigned index;
	VscTestCard *card = card_at(play, words[1], &index);
	g_autoptr(GByteArray) mask = NULL;
	g_autoptr(GByteArray) bytes = parse_bytes(play, words, 3, &mask);
	VmcSpan data = vmc_span(bytes->data, bytes->len);

	if (strcmp(words[2], "working") == 0) {
		vsc_test_card_working(card);
		return;
	}
	if (strcmp(words[2], "again") == 0) {
		vsc_test_card_answer_token(card, play->previous[index], VSC_OUTCOME_OK, data);
		return;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(outcomes); i++)
		if (strcmp(words[2], outcomes[i].name) == 0) {
			vsc_test_card_answer(card, outcomes[i].outcome, data);
			return;
		}
	stop(play, "no outcome", words[2]);
}

static void do_sent(Play *play, gchar **words)
{
	static const char *const kinds[] = { "on", "off", "reset", "transmit" };
	unsigned index;
	VscTestCard *card = card_at(play, words[1], &index);
	g_autoptr(GByteArray) mask = NULL;
	g_autoptr(GByteArray) bytes = parse_bytes(play, words, 3, &mask);
	VscTestRequest request;
	VmcSpan command;

	if (vsc_test_card_last(card, &request, &command) == VSC_TOKEN_NONE)
		stop(play, "the card was asked", "nothing");
	if (strcmp(kinds[request], words[2]) != 0)
		stop(play, "the card was asked", kinds[request]);
	compare(play, "the card was sent", command, bytes, mask);
}

static void do_notify(Play *play, gchar **words)
{
	uint8_t bytes[1 + CCID_SLOTS_MAX / 4];
	size_t len = ccid_reader_slot_change(play->reader, bytes, play->now);
	g_autoptr(GByteArray) mask = NULL;
	g_autoptr(GByteArray) want = NULL;

	if (words[1] && strcmp(words[1], "-") == 0) {
		assert_int_equal(len, 0);
		return;
	}
	want = parse_bytes(play, words, 1, &mask);
	compare(play, "notified", vmc_span(bytes, len), want, mask);
	if (play->changes == 0)
		stop(play, "a change came without its event", "");
	play->changes = 0;
}

static void do_deadline(Play *play, gchar **words)
{
	int64_t deadline = ccid_reader_deadline(play->reader);

	if (words[1] && strcmp(words[1], "-") == 0)
		assert_int_equal(deadline, -1);
	else
		assert_int_equal(deadline - play->now, number(play, words[1], 1u << 30));
}

static void do_abort(Play *play, gchar **words, bool stall)
{
	unsigned slot = number(play, words[1], 255);
	uint8_t seq = (uint8_t)number(play, words[2], 255);

	assert_int_equal(ccid_reader_abort(play->reader, slot, seq), !stall);
}

static void do_presence(Play *play, gchar **words)
{
	unsigned index;
	VscTestCard *card = card_at(play, words[1], &index);

	vsc_test_card_set_present(card, strcmp(words[0], "in") == 0);
}

static void do_atr(Play *play, gchar **words)
{
	unsigned index;
	VscTestCard *card = card_at(play, words[1], &index);
	g_autoptr(GByteArray) mask = NULL;
	g_autoptr(GByteArray) bytes = parse_bytes(play, words, 2, &mask);

	vsc_test_card_set_atr(card, vmc_span(bytes->data, bytes->len));
}

static void do_words(Play *play, gchar **words)
{
	if (strcmp(words[0], ">") == 0)
		do_send(play, words);
	else if (strcmp(words[0], "<") == 0)
		do_receive(play, words);
	else if (strcmp(words[0], "card") == 0)
		do_card(play, words);
	else if (strcmp(words[0], "sent") == 0)
		do_sent(play, words);
	else if (strcmp(words[0], "in") == 0 || strcmp(words[0], "out") == 0)
		do_presence(play, words);
	else if (strcmp(words[0], "atr") == 0)
		do_atr(play, words);
	else if (strcmp(words[0], "notify") == 0)
		do_notify(play, words);
	else if (strcmp(words[0], "deadline") == 0)
		do_deadline(play, words);
	else if (strcmp(words[0], "abort") == 0)
		do_abort(play, words, false);
	else if (strcmp(words[0], "stall") == 0)
		do_abort(play, words + 1, true);
	else if (strcmp(words[0], "reset") == 0)
		ccid_reader_reset(play->reader);
	else
		stop(play, "no such line", words[0]);
}

static void do_line(Play *play, const char *line)
{
	g_auto(GStrv) words = g_strsplit_set(line, " \t", -1);

	if (strcmp(words[0], "slots") == 0) {
		begin(play, number(play, words[1], CCID_SLOTS_MAX));
		return;
	}
	if (!play->reader)
		begin(play, 1);
	/* What came of a line is read before the next one causes more. */
	if (words[0][0] != '<' && !g_queue_is_empty(&play->answers))
		stop(play, "not read before", line);
	if (strcmp(words[0], "tick") == 0) {
		play->now += number(play, words[1], 1u << 30);
		ccid_reader_tick(play->reader, play->now);
	} else {
		do_words(play, words);
	}
}

static void test_transcript(void **state)
{
	Play play = { .file = *state, .now = 1000000 };
	g_autofree char *path = g_build_filename(FOLDER, play.file, NULL);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	g_queue_init(&play.answers);
	lines = g_strsplit(text, "\n", -1);
	for (unsigned i = 0; lines[i]; i++) {
		char *comment = strchr(lines[i], '#');

		if (comment)
			*comment = '\0';
		play.line = i + 1;
		if (*g_strstrip(lines[i]))
			do_line(&play, lines[i]);
	}
	assert_non_null(play.reader);
	end(&play);
}

/* ---- What needs no card that waits ---- */

/* All opcodes for slots that are not there: bError 5, no ICC, and the slot and
 * sequence number of the message. */
static void test_wrong_slots(void **state)
{
	static const uint8_t slots[] = { 1, 2, 15, 16, 0x7F, 0x80, 0xFF };
	Play play = { .file = "wrong slots" };

	(void)state;
	g_queue_init(&play.answers);
	begin(&play, 1);
	for (unsigned type = 0; type < 256; type++)
		for (size_t i = 0; i < G_N_ELEMENTS(slots); i++) {
			uint8_t message[CCID_HEADER] = { (uint8_t)type,      0, 0, 0, 0, slots[i],
							 (uint8_t)(type + 1) };
			g_autoptr(GByteArray) got = NULL;

			ccid_reader_message(play.reader, vmc_span(message, sizeof(message)), 0);
			got = g_queue_pop_head(&play.answers);
			assert_non_null(got);
			assert_int_equal(got->len, CCID_HEADER);
			assert_int_equal(got->data[0], ccid_message_answer((uint8_t)type));
			assert_int_equal(got->data[5], slots[i]);
			assert_int_equal(got->data[6], (uint8_t)(type + 1));
			assert_int_equal(got->data[7], 0x42);
			assert_int_equal(got->data[8], 5);
		}
	end(&play);
}

/* The longest command and the longest response, whole. */
static void test_longest(void **state)
{
	g_autofree uint8_t *message = g_malloc(CCID_MESSAGE_MAX);
	g_autofree uint8_t *response = g_malloc(VSC_RESPONSE_MAX);
	Play play = { .file = "longest" };
	g_autoptr(GByteArray) got = NULL;
	VmcSpan sent;

	(void)state;
	g_queue_init(&play.answers);
	begin(&play, 1);
	vsc_test_card_set_present(play.cards[0], true);
	ccid_reader_message(play.reader, vmc_span("\x62\0\0\0\0\0\1\0\0\0", 10), 0);
	vsc_test_card_answer(play.cards[0], VSC_OUTCOME_OK, vmc_span(NULL, 0));
	g_byte_array_unref(g_queue_pop_head(&play.answers));
	memset(message, 0xA5, CCID_MESSAGE_MAX);
	memcpy(message, "\x6F\0\0\0\0\0\2\0\0\0", 10);
	vmc_put_u32le(&message[1], VSC_COMMAND_MAX);
	ccid_reader_message(play.reader, vmc_span(message, CCID_MESSAGE_MAX), 0);
	vsc_test_card_last(play.cards[0], NULL, &sent);
	assert_int_equal(sent.len, VSC_COMMAND_MAX);
	assert_memory_equal(sent.data, message + 10, sent.len);
	memset(response, 0x5A, VSC_RESPONSE_MAX);
	vsc_test_card_answer(play.cards[0], VSC_OUTCOME_OK, vmc_span(response, VSC_RESPONSE_MAX));
	got = g_queue_pop_head(&play.answers);
	assert_int_equal(got->len, CCID_HEADER + VSC_RESPONSE_MAX);
	assert_memory_equal(got->data, "\x80\x02\0\1\0\0\2\0\0\0", 10);
	assert_memory_equal(got->data + 10, response, VSC_RESPONSE_MAX);
	end(&play);
}

/* The test card itself: its answers come from the loop, by its convention. */
static void test_card_by_itself(void **state)
{
	static const uint8_t echo[] = { 0x00, 0xEC, 0x00, 0x21, 0x02, 0xF0, 0x20, 0x03 };
	static const uint8_t all[] = { 0x00, 0xEC, 0x00, 0x00, 0x00, 0x00, 0x00 };
	unsigned delay;
	GByteArray *response = vsc_test_card_response(vmc_span(echo, sizeof(echo)), &delay);

	(void)state;
	/* seed = 21 xor (F0 + 20 mod 100) = 21 xor 10 = 31 */
	assert_int_equal(response->len, 5);
	assert_memory_equal(response->data, "\x31\x38\x3F\x90\x00", 5);
	g_byte_array_unref(response);
	response = vsc_test_card_response(vmc_span(all, sizeof(all)), &delay);
	assert_int_equal(response->len, VSC_RESPONSE_MAX);
	assert_int_equal(response->data[251], (uint8_t)(251 * 7 + 1));
	g_byte_array_unref(response);
	response = vsc_test_card_response(vmc_span("\0\xED\1\2", 4), &delay);
	assert_int_equal(delay, 25800);
	g_byte_array_unref(response);
	response = vsc_test_card_response(vmc_span("\0\xEC\1", 3), &delay);
	assert_memory_equal(response->data, "\x67\x00", 2);
	g_byte_array_unref(response);
}

int main(void)
{
	g_autoptr(GArray) tests = g_array_new(FALSE, FALSE, sizeof(struct CMUnitTest));
	const struct CMUnitTest fixed[] = {
		cmocka_unit_test(test_wrong_slots),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_card_by_itself),
	};
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	GDir *dir = g_dir_open(FOLDER, 0, NULL);
	const char *name;

	g_array_append_vals(tests, fixed, G_N_ELEMENTS(fixed));
	while (dir && (name = g_dir_read_name(dir)))
		if (g_str_has_prefix(name, "ccid-") && g_str_has_suffix(name, ".txt")) {
			char *copy = g_strdup(name);
			struct CMUnitTest test = { copy, test_transcript, NULL, NULL, copy };

			g_ptr_array_add(names, copy);
			g_array_append_val(tests, test);
		}
	g_clear_pointer(&dir, g_dir_close);
	if (names->len == 0)
		return 1;
	return _cmocka_run_group_tests("reader", (const struct CMUnitTest *)(void *)tests->data,
				       tests->len, NULL, NULL);
}

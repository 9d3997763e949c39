/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The host session over its transcripts, and what no transcript can say: long
 * messages, floods, and that every request has exactly one answer wherever a
 * conversation ends.
 */

#include "tests/unit/transcript.h"
#include "vscard/host.h"

#define TOKENS 64u

typedef struct Machine {
	VscHost *host;
	int64_t now;
	int owed[TOKENS]; /* answers due to each token */
} Machine;

static void *make(VscOrder order, unsigned n, uint32_t caps)
{
	Machine *m = g_new0(Machine, 1);

	assert_int_equal(order, VSC_ORDER_BIG);
	m->host = vsc_host_new(n, VSC_CAP_APDU_LEVEL | caps);
	return m;
}

static void drop(void *machine)
{
	Machine *m = machine;

	for (unsigned i = 0; i < TOKENS; i++)
		assert_int_equal(m->owed[i], 0);
	vsc_host_free(m->host);
	g_free(m);
}

static void message(void *machine, const VscMessage *msg)
{
	Machine *m = machine;

	vsc_host_message(m->host, msg, m->now);
}

static void closed(void *machine)
{
	vsc_host_closed(((Machine *)machine)->host);
}

/* "tick MS": so much time passes. "deadline MS" or "deadline -": the machine's
 * is so far away. Requests of the test, not of a user; false when it is none. */
static bool time_request(Machine *m, char **words)
{
	int64_t deadline = vsc_host_deadline(m->host);

	if (strcmp(words[0], "tick") == 0) {
		m->now += atoi(words[1]);
		vsc_host_tick(m->host, m->now);
		return true;
	}
	if (strcmp(words[0], "deadline") != 0)
		return false;
	assert_int_equal(deadline < 0 ? -1 : deadline - m->now,
			 strcmp(words[1], "-") == 0 ? -1 : atoi(words[1]));
	return true;
}

static void request(void *machine, char **words)
{
	Machine *m = machine;
	uint32_t id = words[1] != NULL ? (uint32_t)atoi(words[1]) : 0;
	VscToken token = words[1] != NULL && words[2] != NULL ? (VscToken)atoi(words[2]) : 0;

	if (time_request(m, words))
		return;
	if (strcmp(words[0], "opened") == 0) {
		vsc_host_opened(m->host);
		return;
	}
	if (strcmp(words[0], "closed") == 0) {
		vsc_host_closed(m->host);
		return;
	}
	if (strcmp(words[0], "cancel") == 0) {
		vsc_host_cancel(m->host, id, token);
		return;
	}
	m->owed[token]++;
	if (strcmp(words[0], "power-on") == 0) {
		vsc_host_power_on(m->host, id, token, m->now);
	} else if (strcmp(words[0], "power-off") == 0) {
		vsc_host_power_off(m->host, id, token, m->now);
	} else if (strcmp(words[0], "reset") == 0) {
		vsc_host_reset(m->host, id, token, m->now);
	} else {
		g_autoptr(GByteArray) command = hex_bytes(words[3]);

		assert_string_equal(words[0], "transmit");
		vsc_host_transmit(m->host, id, token, vmc_span(command->data, command->len),
				  m->now);
	}
}

static const char *outcome_word(VscOutcome outcome)
{
	static const char *const words[] = {
		[VSC_OUTCOME_OK] = "ok",
		[VSC_OUTCOME_NO_CARD] = "no-card",
		[VSC_OUTCOME_NOT_POWERED] = "not-powered",
		[VSC_OUTCOME_MUTE] = "mute",
		[VSC_OUTCOME_FAILED] = "failed",
		[VSC_OUTCOME_CANCELLED] = "cancelled",
	};

	return words[outcome];
}

static char *answer_line(Machine *m, const VscHostAction *a)
{
	GString *line = g_string_new(NULL);

	m->owed[a->token]--;
	assert_true(m->owed[a->token] >= 0);
	g_string_printf(line, "! answer %u %u %s ", a->reader_id, a->token,
			outcome_word(a->outcome));
	append_hex(line, a->data);
	return g_strchomp(g_string_free(line, FALSE));
}

static char *text_line(const char *what, const VscHostAction *a, bool with_id)
{
	g_autofree char *id = with_id ? g_strdup_printf(" %u", a->reader_id) : g_strdup("");

	return g_strchomp(g_strdup_printf("! %s%s %.*s", what, id, (int)a->data.len,
					  (const char *)a->data.data));
}

/* "! described ID name|vendor|type|serial" */
static char *described_line(Machine *m, const VscHostAction *a)
{
	const VscDescription *who = vsc_host_description(m->host, a->reader_id);
	const char *texts[] = { who->name, who->info.vendor, who->info.type, who->info.serial };

	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++)
		texts[i] = texts[i] != NULL ? texts[i] : "-";
	return g_strdup_printf("! described %u %s|%s|%s|%s", a->reader_id, texts[0], texts[1],
			       texts[2], texts[3]);
}

static char *next(void *machine, VscOrder order)
{
	Machine *m = machine;
	VscHostAction a;
	GString *line;

	if (!vsc_host_next(m->host, &a))
		return NULL;
	switch (a.kind) {
	case VSC_HOST_SEND:
		return sent_line(order, a.type, a.reader_id, a.data);
	case VSC_HOST_READER_ADDED:
		return text_line("reader-added", &a, true);
	case VSC_HOST_READER_REFUSED:
		return text_line("reader-refused", &a, false);
	case VSC_HOST_READER_DESCRIBED:
		return described_line(m, &a);
	case VSC_HOST_READER_REMOVED:
		return text_line("reader-removed", &a, true);
	case VSC_HOST_CARD_INSERTED:
		line = g_string_new(NULL);
		g_string_printf(line, "! card-inserted %u ", a.reader_id);
		append_hex(line, a.data);
		return g_string_free(line, FALSE);
	case VSC_HOST_CARD_REMOVED:
		return text_line("card-removed", &a, true);
	case VSC_HOST_ANSWER:
		return answer_line(m, &a);
	case VSC_HOST_WORKING:
		return g_strdup_printf("! working %u %u", a.reader_id, a.token);
	case VSC_HOST_CLOSE:
		return text_line("close", &a, false);
	case VSC_HOST_NOTE:
		return text_line("note", &a, false);
	}
	return NULL;
}

static const SessionClass host_class = { "host", make, drop, message, request, closed, next };

static void test_transcripts(void **state)
{
	(void)state;
	assert_true(run_transcripts(&host_class) >= 15);
}

/* A host with one reader and a powered card in it, of a peer that takes extended
 * APDUs. */
static VscHost *ready_host(void)
{
	static const uint8_t init[] = { 'V', 'S', 'C', 'D', 0, 0, 0, 2, 0x20, 0, 0, 0 };
	static const uint8_t atr[] = { 0x3b, 0x00 };
	VscHost *host = vsc_host_new(1, 0);
	VscHostAction a;

	vsc_host_opened(host);
	vsc_host_message(
		host,
		&(VscMessage){ .type = VSC_TYPE_INIT, .payload = vmc_span(init, sizeof(init)) }, 0);
	vsc_host_message(host, &(VscMessage){ .type = VSC_TYPE_READER_ADD }, 0);
	vsc_host_message(
		host, &(VscMessage){ .type = VSC_TYPE_ATR, .payload = vmc_span(atr, sizeof(atr)) },
		0);
	vsc_host_power_on(host, 0, 1, 0);
	while (vsc_host_next(host, &a))
		;
	return host;
}

/* Lengths of answers: what is longer than a response can be is none. */
static void test_answer_lengths(void **state)
{
	static const struct {
		size_t len;
		VscOutcome outcome;
	} cases[] = {
		{ 0, VSC_OUTCOME_FAILED },
		{ 1, VSC_OUTCOME_FAILED },
		{ 2, VSC_OUTCOME_OK },
		{ 8, VSC_OUTCOME_OK },
		{ 65524, VSC_OUTCOME_OK },
		{ VSC_RESPONSE_MAX, VSC_OUTCOME_OK },
		{ VSC_RESPONSE_MAX + 1, VSC_OUTCOME_FAILED },
		{ VSC_WIRE_PAYLOAD_MAX, VSC_OUTCOME_FAILED },
	};
	g_autofree uint8_t *data = g_malloc0(VSC_WIRE_PAYLOAD_MAX);
	g_autoptr(VscHost) host = ready_host();
	VscHostAction a;

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		bool answered = false;

		vsc_host_transmit(host, 0, (VscToken)(100 + i), vmc_span(data, VSC_COMMAND_MAX), 0);
		assert_true(vsc_host_next(host, &a));
		assert_int_equal(a.kind, VSC_HOST_SEND);
		assert_int_equal(a.data.len, VSC_COMMAND_MAX);
		vsc_host_message(host,
				 &(VscMessage){ .type = VSC_TYPE_APDU,
						.payload = vmc_span(data, cases[i].len) },
				 0);
		while (vsc_host_next(host, &a)) {
			if (a.kind != VSC_HOST_ANSWER)
				continue;
			assert_int_equal(a.outcome, cases[i].outcome);
			if (a.outcome == VSC_OUTCOME_OK)
				assert_int_equal(a.data.len, cases[i].len);
			answered = true;
		}
		assert_true(answered);
	}
	/* A response is no ATR, however long. */
	vsc_host_message(
		host, &(VscMessage){ .type = VSC_TYPE_ATR, .payload = vmc_span(data, 65536) }, 0);
	while (vsc_host_next(host, &a))
		assert_int_not_equal(a.kind, VSC_HOST_CARD_INSERTED);
}

/* A peer cannot fill the log: notes end, the conversation goes on. */
static void test_notes_end(void **state)
{
	g_autoptr(VscHost) host = ready_host();
	VscHostAction a;
	unsigned notes = 0;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		vsc_host_message(host, &(VscMessage){ .type = 0x55 }, 0);
		while (vsc_host_next(host, &a))
			notes++;
	}
	assert_in_range(notes, 10, 100);
	vsc_host_message(host, &(VscMessage){ .type = VSC_TYPE_CARD_REMOVE }, 0);
	assert_true(vsc_host_next(host, &a));
	assert_int_equal(a.kind, VSC_HOST_CARD_REMOVED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transcripts),
		cmocka_unit_test(test_answer_lengths),
		cmocka_unit_test(test_notes_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The client session over its transcripts, and against hosts that never
 * answer or never stop.
 */

#include "tests/unit/transcript.h"
#include "vscard/client.h"

/* Of the transcript that runs: sessions come one after the other. */
static VscOrder wire;

static void *make(VscOrder order, unsigned n, uint32_t caps)
{
	(void)n;
	wire = order;
	return vsc_client_new(caps);
}

static void drop(void *machine)
{
	vsc_client_free(machine);
}

static void message(void *machine, const VscMessage *msg)
{
	vsc_client_message(machine, msg);
}

static void closed(void *machine)
{
	vsc_client_closed(machine);
}

static VscOutcome parse_outcome(const char *word)
{
	return strcmp(word, "ok") == 0          ? VSC_OUTCOME_OK :
	       strcmp(word, "no-card") == 0     ? VSC_OUTCOME_NO_CARD :
	       strcmp(word, "not-powered") == 0 ? VSC_OUTCOME_NOT_POWERED :
	       strcmp(word, "failed") == 0      ? VSC_OUTCOME_FAILED :
	       strcmp(word, "cancelled") == 0   ? VSC_OUTCOME_CANCELLED :
						  VSC_OUTCOME_MUTE;
}

/* "reader-added SLOT NAME [VENDOR TYPE SERIAL]", "-" for what is not known. */
static const VscReaderInfo *parse_info(char **words, VscReaderInfo *info)
{
	char **texts[] = { &info->vendor, &info->type, &info->serial };

	if (words[2] == NULL || words[3] == NULL)
		return NULL;
	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
		assert_non_null(words[3 + i]);
		*texts[i] = strcmp(words[3 + i], "-") != 0 ? words[3 + i] : NULL;
	}
	return info;
}

static void request(void *machine, char **words)
{
	VscClient *client = machine;
	const char *what = words[0];
	uint32_t slot = words[1] != NULL ? (uint32_t)atoi(words[1]) : 0;
	VscReaderInfo info;

	if (strcmp(what, "opened") == 0) {
		vsc_client_opened(client, wire);
	} else if (strcmp(what, "closed") == 0) {
		vsc_client_closed(client);
	} else if (strcmp(what, "reader-added") == 0) {
		vsc_client_reader_added(client, slot, words[2], parse_info(words, &info));
	} else if (strcmp(what, "reader-described") == 0) {
		vsc_client_reader_described(client, slot, words[2], parse_info(words, &info));
	} else if (strcmp(what, "working") == 0) {
		vsc_client_working(client, slot);
	} else if (strcmp(what, "reader-removed") == 0) {
		vsc_client_reader_removed(client, slot);
	} else if (strcmp(what, "card-removed") == 0) {
		vsc_client_card_removed(client, slot);
	} else if (strcmp(what, "card-inserted") == 0) {
		g_autoptr(GByteArray) atr = hex_bytes(words[2]);

		vsc_client_card_inserted(client, slot, vmc_span(atr->data, atr->len));
	} else {
		g_autoptr(GByteArray) response = hex_bytes(words[4] != NULL ? words[4] : "");

		assert_string_equal(what, "answer");
		vsc_client_answer(client, slot, (VscToken)atoi(words[2]), parse_outcome(words[3]),
				  vmc_span(response->data, response->len));
	}
}

static char *next(void *machine, VscOrder order)
{
	VscClientAction a;
	GString *line;

	if (!vsc_client_next(machine, &a))
		return NULL;
	switch (a.kind) {
	case VSC_CLIENT_SEND:
		return sent_line(order, a.type, a.reader_id, a.data);
	case VSC_CLIENT_READY:
		return g_strdup_printf("! ready %x", a.caps);
	case VSC_CLIENT_READER_TAKEN:
		return g_strdup_printf("! taken %u", a.slot);
	case VSC_CLIENT_READER_REFUSED:
		return g_strdup_printf("! refused %u %u", a.slot, (unsigned)a.code);
	case VSC_CLIENT_TRANSMIT:
		line = g_string_new(NULL);
		g_string_printf(line, "! transmit %u %u ", a.slot, a.token);
		append_hex(line, a.data);
		return g_string_free(line, FALSE);
	case VSC_CLIENT_POWER_ON:
		return g_strdup_printf("! power-on %u %u", a.slot, a.token);
	case VSC_CLIENT_POWER_OFF:
		return g_strdup_printf("! power-off %u %u", a.slot, a.token);
	case VSC_CLIENT_RESET:
		return g_strdup_printf("! reset %u %u", a.slot, a.token);
	case VSC_CLIENT_CANCEL:
		return g_strdup_printf("! cancel %u %u", a.slot, a.token);
	case VSC_CLIENT_CLOSE:
		return g_strdup_printf("! close %.*s", (int)a.data.len, (const char *)a.data.data);
	case VSC_CLIENT_NOTE:
		return g_strdup_printf("! note %.*s", (int)a.data.len, (const char *)a.data.data);
	}
	return NULL;
}

static const SessionClass client_class = { "client", make, drop, message, request, closed, next };

static void test_transcripts(void **state)
{
	(void)state;
	assert_true(run_transcripts(&client_class) >= 10);
}

static const uint8_t atr[] = { 0x3b, 0x00 };
static const uint8_t ours[] = { 'V', 'S', 'C', 'D', 0, 0, 0, 2, 0x80, 0, 0, 0 };
static const uint8_t old[] = { 'V', 'S', 'C', 'D', 0, 0, 0, 2, 0, 0, 0, 0 };
static const uint8_t success[4];

/* A client whose one card the host knows, which says `init`. */
static VscClient *ready_client(const uint8_t init[12])
{
	VscClient *client = vsc_client_new(0);
	VscClientAction a;

	vsc_client_reader_added(client, 0, "A", NULL);
	vsc_client_card_inserted(client, 0, vmc_span(atr, sizeof(atr)));
	vsc_client_opened(client, VSC_ORDER_BIG);
	vsc_client_message(client,
			   &(VscMessage){ .type = VSC_TYPE_INIT, .payload = vmc_span(init, 12) });
	/* To ReaderAdd and ATR; an old host is sent a ReaderRemove before. */
	for (unsigned i = 0; i < (init == old ? 3 : 2); i++)
		vsc_client_message(client, &(VscMessage){ .type = VSC_TYPE_ERROR,
							  .payload = vmc_span(success, 4) });
	while (vsc_client_next(client, &a))
		;
	return client;
}

static unsigned count(VscClient *client, VscClientActionKind kind)
{
	VscClientAction a;
	unsigned n = 0;

	while (vsc_client_next(client, &a))
		n += a.kind == kind;
	return n;
}

/* A host that answers nothing does not make the client grow, and when it wakes
 * up the client is still of this world. */
static void test_silent_host(void **state)
{
	g_autoptr(VscClient) client = ready_client(old);

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		vsc_client_card_removed(client, 0);
		vsc_client_card_inserted(client, 0, vmc_span(atr, sizeof(atr)));
	}
	assert_int_equal(count(client, VSC_CLIENT_SEND), 2000);
	for (unsigned i = 0; i < 2000; i++)
		vsc_client_message(client, &(VscMessage){ .type = VSC_TYPE_ERROR,
							  .payload = vmc_span(success, 4) });
	count(client, VSC_CLIENT_NOTE);
	vsc_client_message(client,
			   &(VscMessage){ .type = VSC_TYPE_APDU, .payload = vmc_span(ours, 5) });
	assert_int_equal(count(client, VSC_CLIENT_TRANSMIT), 1);
}

/* A host of ours was promised that nothing is answered late; what it has seen
 * of 65 operations cannot be told any more. */
static void test_promise(void **state)
{
	g_autoptr(VscClient) client = ready_client(ours);

	(void)state;
	for (unsigned i = 0; i < 32; i++) {
		vsc_client_card_removed(client, 0);
		vsc_client_card_inserted(client, 0, vmc_span(atr, sizeof(atr)));
	}
	assert_int_equal(count(client, VSC_CLIENT_CLOSE), 0);
	vsc_client_card_removed(client, 0);
	assert_int_equal(count(client, VSC_CLIENT_CLOSE), 1);
}

/* Commands without end are held, then answered, then too many. */
static void test_flood(void **state)
{
	const VscMessage apdu = { .type = VSC_TYPE_APDU, .payload = vmc_span(ours, 5) };
	g_autoptr(VscClient) client = ready_client(ours);
	unsigned closes = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		vsc_client_message(client, &apdu);
		closes += count(client, VSC_CLIENT_CLOSE);
	}
	assert_int_equal(closes, 1);

	vsc_client_opened(client, VSC_ORDER_BIG);
	assert_int_equal(count(client, VSC_CLIENT_SEND), 1);
}

/* Sixteen readers and more conversations than tokens would need. */
static void test_many_readers(void **state)
{
	g_autoptr(VscClient) client = vsc_client_new(0);
	unsigned taken = 0;

	(void)state;
	for (uint32_t slot = 0; slot < VSC_CLIENT_READERS_MAX; slot++)
		vsc_client_reader_added(client, slot, "R", NULL);
	vsc_client_opened(client, VSC_ORDER_BIG);
	vsc_client_message(client, &(VscMessage){ .type = VSC_TYPE_INIT,
						  .payload = vmc_span(ours, sizeof(ours)) });
	for (uint32_t id = 0; id < 100; id++) {
		vsc_client_message(client, &(VscMessage){ .type = VSC_TYPE_ERROR,
							  .reader_id = id,
							  .payload = vmc_span(success, 4) });
		taken += count(client, VSC_CLIENT_READER_TAKEN);
	}
	assert_int_equal(taken, VSC_CLIENT_READERS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transcripts),  cmocka_unit_test(test_silent_host),
		cmocka_unit_test(test_promise),      cmocka_unit_test(test_flood),
		cmocka_unit_test(test_many_readers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

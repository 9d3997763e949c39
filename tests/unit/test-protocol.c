/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The example of vscard/PROTOCOL.md is what our two ends say to each other: a
 * host and a client session hold that conversation, and each message is the
 * next line of the document.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>
#include <string.h>

#include "vscard/client.h"
#include "vscard/host.h"

#define DOCUMENT "vscard/PROTOCOL.md"

static const uint8_t atr[] = { 0x3b, 0x66, 0x00, 0x00, 0x41, 0x43, 0x53, 0x2d, 0x30, 0x31 };

typedef struct Ends {
	VscHost *host;
	VscClient *client;
	char **lines; /* of the example, "C" or "H" and hex digits */
	unsigned at;
} Ends;

/* The lines of the document that are messages, without blanks, bars and words. */
static char **example(void)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	GPtrArray *found = g_ptr_array_new();

	assert_true(g_file_get_contents(DOCUMENT, &text, NULL, NULL));
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line != NULL; line++) {
		g_autoptr(GString) tight = g_string_new(NULL);

		if (!g_str_has_prefix(*line, "    C 0") && !g_str_has_prefix(*line, "    H 0"))
			continue;
		for (const char *c = *line + 4; *c != '\0'; c++) {
			/* Two blanks before a word end the bytes. */
			if (g_ascii_isupper(*c) && c > *line + 4)
				break;
			if (g_ascii_isxdigit(*c) || g_ascii_isupper(*c))
				g_string_append_c(tight, *c);
		}
		g_ptr_array_add(found, g_strdup(tight->str));
	}
	g_ptr_array_add(found, NULL);
	return (char **)g_ptr_array_free(found, FALSE);
}

/* What an end sends is the next line. */
static void check(Ends *ends, char who, uint32_t type, uint32_t id, VmcSpan payload)
{
	g_autoptr(GString) line = g_string_new(NULL);

	g_string_printf(line, "%c%08x%08x%08zx", who, type, id, payload.len);
	for (size_t i = 0; i < payload.len; i++)
		g_string_append_printf(line, "%02x", payload.data[i]);
	assert_non_null(ends->lines[ends->at]);
	assert_string_equal(line->str, ends->lines[ends->at++]);
}

/* The guest's part: power on, a command, a reset. */
static void host_says(Ends *ends, const VscHostAction *a)
{
	if (a->kind == VSC_HOST_SEND) {
		check(ends, 'H', a->type, a->reader_id, a->data);
		vsc_client_message(ends->client, &(VscMessage){ a->type, a->reader_id, a->data });
	} else if (a->kind == VSC_HOST_CARD_INSERTED) {
		vsc_host_power_on(ends->host, 0, 1, 0);
	} else if (a->kind == VSC_HOST_ANSWER && a->token == 1) {
		vsc_host_transmit(ends->host, 0, 2, vmc_span("\0\x46\0\0\0", 5), 0);
	} else if (a->kind == VSC_HOST_ANSWER && a->token == 2) {
		vsc_host_reset(ends->host, 0, 3, 0);
	}
}

/* The card's. */
static void client_says(Ends *ends, const VscClientAction *a)
{
	switch (a->kind) {
	case VSC_CLIENT_SEND:
		check(ends, 'C', a->type, a->reader_id, a->data);
		vsc_host_message(ends->host, &(VscMessage){ a->type, a->reader_id, a->data }, 0);
		break;
	case VSC_CLIENT_POWER_ON:
	case VSC_CLIENT_RESET:
		vsc_client_answer(ends->client, 0, a->token, VSC_OUTCOME_OK,
				  vmc_span(atr, sizeof(atr)));
		break;
	case VSC_CLIENT_TRANSMIT:
		vsc_client_working(ends->client, 0);
		vsc_client_answer(ends->client, 0, a->token, VSC_OUTCOME_OK, vmc_span("\x90", 2));
		break;
	default:
		break;
	}
}

static void test_example(void **state)
{
	const VscReaderInfo info = { .serial = (char *)"4711" };
	Ends ends = {
		.host = vsc_host_new(1, VSC_CAP_APDU_LEVEL | VSC_CAP_REQUESTS),
		.client = vsc_client_new(VSC_CAP_EXTENDED | VSC_CAP_REQUESTS),
		.lines = example(),
	};
	VscHostAction from_host;
	VscClientAction from_client;
	bool some = true;

	(void)state;
	vsc_client_reader_added(ends.client, 0, "one", &info);
	vsc_client_card_inserted(ends.client, 0, vmc_span(atr, sizeof(atr)));
	vsc_host_opened(ends.host);
	vsc_client_opened(ends.client, VSC_ORDER_BIG);
	while (some) {
		some = false;
		while (vsc_client_next(ends.client, &from_client)) {
			client_says(&ends, &from_client);
			some = true;
		}
		while (vsc_host_next(ends.host, &from_host)) {
			host_says(&ends, &from_host);
			some = true;
		}
	}
	assert_int_equal(ends.at, g_strv_length(ends.lines));
	assert_int_equal(ends.at, 14);
	vsc_host_free(ends.host);
	vsc_client_free(ends.client);
	g_strfreev(ends.lines);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_example) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

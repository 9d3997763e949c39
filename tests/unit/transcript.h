/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Transcripts of VSCard conversations (fixtures/transcripts), for the tests of
 * both sessions. One line is one step; `#` starts a comment:
 *
 *   host N [requests] | client [requests] [little]
 *                              the session under test comes first; `requests`:
 *                              it offers VSC_CAP_REQUESTS
 *   < HEX                      bytes of the peer
 *   > HEX                      the next thing the session does: it sends this
 *   ! WORDS                    the next thing it does: it says this; a line
 *                              that ends in "..." is compared up to there
 *   ? WORDS                    the local user asks this
 *
 * A session is run over the steps with the peer's bytes in one piece a line,
 * byte by byte, cut in two at every position, and closed at every position.
 */

#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "vmc/buf.h"
#include "vscard/wire.h"

#define TRANSCRIPTS "fixtures/transcripts"

/* A session under test. */
typedef struct Session Session;
typedef struct SessionClass {
	const char *role;
	void *(*make)(VscOrder order, unsigned n, uint32_t caps);
	void (*drop)(void *machine);
	void (*message)(void *machine, const VscMessage *message);
	void (*request)(void *machine, char **words);
	void (*closed)(void *machine);
	/* The next action as a line ("> HEX", "! WORDS", to be freed), or NULL. */
	char *(*next)(void *machine, VscOrder order);
} SessionClass;

struct Session {
	const SessionClass *class;
	void *machine;
	VscOrder order;
	VmcBuf in;
	bool bad;    /* the stream ended in what is no message */
	GQueue said; /* lines */
};

/* Where the peer's bytes are cut. */
typedef struct Cuts {
	bool every; /* after each byte */
	size_t at;  /* after this many bytes in all, if not 0 */
	bool close; /* and nothing follows there */
} Cuts;

static GByteArray *hex_bytes(const char *text)
{
	GByteArray *bytes = g_byte_array_new();
	int high = -1;

	for (; *text != '\0'; text++) {
		int digit = g_ascii_xdigit_value(*text);
		uint8_t byte;

		if (digit < 0) {
			assert_true(g_ascii_isspace(*text));
			continue;
		}
		if (high < 0) {
			high = digit;
			continue;
		}
		byte = (uint8_t)(high << 4 | digit);
		g_byte_array_append(bytes, &byte, 1);
		high = -1;
	}
	assert_int_equal(high, -1);
	return bytes;
}

static void append_hex(GString *line, VmcSpan bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		g_string_append_printf(line, "%02x", bytes.data[i]);
}

/* "> " and a message as hex. */
static char *sent_line(VscOrder order, uint32_t type, uint32_t id, VmcSpan payload)
{
	uint8_t header[VSC_WIRE_HEADER];
	GString *line = g_string_new("> ");

	vsc_wire_put_header(header, order, type, id, (uint32_t)payload.len);
	append_hex(line, vmc_span(header, sizeof(header)));
	append_hex(line, payload);
	return g_string_free(line, FALSE);
}

static void session_take(Session *s)
{
	char *line;

	while ((line = s->class->next(s->machine, s->order)) != NULL)
		g_queue_push_tail(&s->said, line);
}

static void session_bytes(Session *s, const uint8_t *data, size_t len)
{
	const char *because = NULL;
	VscMessage message;

	assert_true(vmc_buf_append(&s->in, vmc_span(data, len)));
	while (!s->bad) {
		VmcSpan in = vmc_buf_span(&s->in);
		size_t had = in.len;
		VscWireResult result = vsc_wire_get(&in, s->order, &message, &because);

		if (result == VSC_WIRE_NEED_MORE)
			break;
		if (result == VSC_WIRE_BAD) {
			s->bad = true;
			g_queue_push_tail(&s->said, g_strdup_printf("! bad %s", because));
			break;
		}
		s->class->message(s->machine, &message);
		session_take(s);
		vmc_buf_consume(&s->in, had - in.len);
	}
}

/* Feeds one line's bytes; `fed` counts all. False when it was closed there. */
static bool session_feed(Session *s, const char *hex, const Cuts *cuts, size_t *fed)
{
	g_autoptr(GByteArray) bytes = hex_bytes(hex);
	size_t from = 0;

	for (size_t i = 1; i <= bytes->len; i++) {
		bool here = cuts->at != 0 && *fed + i == cuts->at;

		if (!cuts->every && !here && i < bytes->len)
			continue;
		session_bytes(s, bytes->data + from, i - from);
		from = i;
		if (here && cuts->close)
			return false;
	}
	*fed += bytes->len;
	return true;
}

static void expect_line(Session *s, const char *where, const char *line)
{
	g_autofree char *said = g_queue_pop_head(&s->said);
	g_autofree char *want = g_strdup(line);
	size_t len = strlen(want);

	/* Hex may be spaced for reading. */
	if (want[0] == '>') {
		g_autoptr(GByteArray) bytes = hex_bytes(want + 1);
		GString *tight = g_string_new("> ");

		append_hex(tight, vmc_span(bytes->data, bytes->len));
		g_free(want);
		want = g_string_free(tight, FALSE);
		len = strlen(want);
	}
	if (said == NULL)
		fail_msg("%s: nothing was done, expected:\n%s", where, want);
	if (g_str_has_suffix(want, "..."))
		len -= 3;
	else
		len++;
	if (strncmp(said, want, len) != 0)
		fail_msg("%s: expected\n%s\nbut it did\n%s", where, want, said);
}

static void session_start(Session *s, const SessionClass *class, const char *role)
{
	g_auto(GStrv) words = g_strsplit(role, " ", -1);
	uint32_t caps = 0;

	*s = (Session){ .class = class };
	if (g_strv_contains((const char *const *)words, "little"))
		s->order = VSC_ORDER_LITTLE;
	if (g_strv_contains((const char *const *)words, "requests"))
		caps = VSC_CAP_REQUESTS;
	vmc_buf_init(&s->in, VSC_WIRE_MESSAGE_MAX);
	s->machine = class->make(s->order, words[1] != NULL ? (unsigned)atoi(words[1]) : 1, caps);
}

static void session_end(Session *s)
{
	g_queue_clear_full(&s->said, g_free);
	vmc_buf_clear(&s->in);
	s->class->drop(s->machine);
}

/* Runs the steps; answers how many bytes the peer sent. With `cuts->close` the
 * rest is left out and every request must have had its one answer. */
static size_t run_steps(const SessionClass *class, const char *name, char **lines, const Cuts *cuts)
{
	Session s = { 0 };
	size_t fed = 0;

	for (unsigned i = 0; lines[i] != NULL; i++) {
		g_autofree char *where = g_strdup_printf("%s:%u", name, i + 1);
		g_autofree char *line = g_strdup(lines[i]);

		if (strchr(line, '#') != NULL)
			*strchr(line, '#') = '\0';
		g_strchomp(line);
		if (*line == '\0')
			continue;
		if (s.class == NULL) {
			session_start(&s, class, line);
		} else if (*line == '<') {
			if (!session_feed(&s, line + 1, cuts, &fed))
				break;
		} else if (*line == '?') {
			g_auto(GStrv) words = g_strsplit(line + 2, " ", -1);

			class->request(s.machine, words);
			session_take(&s);
		} else if (cuts->close && !s.bad) {
			/* Which of them came before the cut is not the question. */
			g_free(g_queue_pop_head(&s.said));
		} else {
			expect_line(&s, where, line);
		}
	}
	if (!cuts->close && !g_queue_is_empty(&s.said))
		fail_msg("%s: left at the end:\n%s", name, (char *)g_queue_peek_head(&s.said));
	class->closed(s.machine);
	session_take(&s);
	session_end(&s);
	return fed;
}

static void run_transcript(const SessionClass *class, const char *name)
{
	g_autofree char *path = g_build_filename(TRANSCRIPTS, name, NULL);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	size_t all;

	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	lines = g_strsplit(text, "\n", -1);
	all = run_steps(class, name, lines, &(Cuts){ 0 });
	run_steps(class, name, lines, &(Cuts){ .every = true });
	/* Long ones are cut at some 500 places: enough for each header. */
	for (size_t at = 1; at < all; at += 1 + all / 500) {
		run_steps(class, name, lines, &(Cuts){ .at = at });
		run_steps(class, name, lines, &(Cuts){ .at = at, .close = true });
	}
}

/* All transcripts whose name starts with the role. */
static unsigned run_transcripts(const SessionClass *class)
{
	g_autoptr(GDir) dir = g_dir_open(TRANSCRIPTS, 0, NULL);
	const char *name;
	unsigned n = 0;

	assert_non_null(dir);
	while ((name = g_dir_read_name(dir)) != NULL) {
		if (!g_str_has_prefix(name, class->role) || !g_str_has_suffix(name, ".txt"))
			continue;
		run_transcript(class, name);
		n++;
	}
	return n;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The link machine over conversations: each is what the server sends, in words,
 * and what comes of it; whole, byte by byte, and cut at every position.
 */

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "vmc/spice-link.h"

static EVP_PKEY *key;
static uint8_t *key_der;

static int setup(void **state)
{
	(void)state;
	key = EVP_RSA_gen(1024);
	return i2d_PUBKEY(key, &key_der) == SPICE_TICKET_PUBKEY_BYTES ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	OPENSSL_free(key_der);
	EVP_PKEY_free(key);
	return 0;
}

/* ---- The server, in words ---- */

static void put_hex(GByteArray *to, const char *hex)
{
	for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
		uint8_t byte =
			(uint8_t)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));

		g_byte_array_append(to, &byte, 1);
	}
}

static void put_u32(GByteArray *to, size_t value)
{
	uint8_t word[4];

	vmc_put_u32le(word, (uint32_t)value);
	g_byte_array_append(to, word, sizeof(word));
}

/* A good reply with these common capabilities, and channel capabilities 5. */
static void put_reply(GByteArray *to, uint32_t common)
{
	uint8_t refusal[VMC_SPICE_REFUSAL];

	vmc_spice_put_refusal(refusal, SPICE_LINK_ERR_OK);
	vmc_put_u32le(refusal + 12, 178 + 8);
	memcpy(refusal + 20, key_der, SPICE_TICKET_PUBKEY_BYTES);
	vmc_put_u32le(refusal + 182, 1);
	vmc_put_u32le(refusal + 186, 1);
	vmc_put_u32le(refusal + 190, 178);
	g_byte_array_append(to, refusal, sizeof(refusal));
	put_u32(to, common);
	put_u32(to, 5);
}

static void put_message(GByteArray *to, bool mini, char **words)
{
	g_autoptr(GByteArray) body = g_byte_array_new();
	uint8_t bytes[VMC_SPICE_FULL_HEADER];
	VmcSpiceHeader header = { .serial = 1, .type = (uint16_t)atoi(words[1]) };

	put_hex(body, words[2]);
	header.size = body->len;
	header.sub_list = mini ? 0 : (uint32_t)atoi(words[3]);
	g_byte_array_append(to, bytes, (guint)vmc_spice_put_header(bytes, mini, &header));
	if (body->len > 0)
		g_byte_array_append(to, body->data, body->len);
}

/* reply:CAPS refuse:ERROR word:N mini:TYPE:HEX full:TYPE:HEX:SUBLIST raw:HEX */
static GByteArray *server_bytes(const char *script)
{
	GByteArray *bytes = g_byte_array_new();
	g_auto(GStrv) items = g_strsplit(script, " ", -1);

	for (char **item = items; *item != NULL; item++) {
		g_auto(GStrv) words = g_strsplit(*item, ":", -1);
		uint8_t refusal[VMC_SPICE_REFUSAL];

		if (words[0] == NULL)
			continue;
		if (strcmp(words[0], "reply") == 0) {
			put_reply(bytes, (uint32_t)strtoul(words[1], NULL, 16));
		} else if (strcmp(words[0], "refuse") == 0) {
			vmc_spice_put_refusal(refusal, (uint32_t)atoi(words[1]));
			g_byte_array_append(bytes, refusal, sizeof(refusal));
		} else if (strcmp(words[0], "word") == 0) {
			put_u32(bytes, (size_t)atoi(words[1]));
		} else if (strcmp(words[0], "raw") == 0) {
			put_hex(bytes, words[1]);
		} else {
			put_message(bytes, strcmp(words[0], "mini") == 0, words);
		}
	}
	return bytes;
}

/* ---- What comes of it, in words ---- */

static void put_action(GString *trace, const VmcSpiceLinkAction *a)
{
	switch (a->kind) {
	case VMC_SPICE_LINK_SEND:
		if (a->data.len > 32) {
			g_string_append_printf(trace, "send-%zu ", a->data.len);
			return;
		}
		g_string_append(trace, "send:");
		break;
	case VMC_SPICE_LINK_UP:
		g_string_append(trace, "up ");
		return;
	case VMC_SPICE_LINK_MESSAGE:
		g_string_append_printf(trace, "message:%u:", a->type);
		break;
	case VMC_SPICE_LINK_NOTE:
		g_string_append_printf(trace, "note:%.*s ", (int)a->data.len,
				       (const char *)a->data.data);
		return;
	case VMC_SPICE_LINK_FAILED:
		g_string_append_printf(trace, "failed:%d:%.*s", (int)a->code, (int)a->data.len,
				       (const char *)a->data.data);
		return;
	}
	for (size_t i = 0; i < a->data.len; i++)
		g_string_append_printf(trace, "%02x", a->data.data[i]);
	g_string_append_c(trace, ' ');
}

static void drain(VmcSpiceLink *link, GString *trace)
{
	VmcSpiceLinkAction action;

	while (vmc_spice_link_next(link, &action))
		put_action(trace, &action);
}

typedef struct Case {
	const char *server;
	uint8_t channel;
	const char *user;
	const char *password;
	const char *expected; /* after the link message; the text of FAILED from its start */
} Case;

/* Feeds in pieces: the first of `first` bytes, the others of `step`. */
static char *converse(const Case *c, size_t first, size_t step)
{
	VmcSpiceLinkConfig config = { .mess = { .channel_type = c->channel },
				      .host = "localhost",
				      .user = c->user,
				      .password = c->password };
	g_autoptr(VmcSpiceLink) link = vmc_spice_link_new(&config);
	g_autoptr(GByteArray) bytes = server_bytes(c->server);
	GString *trace = g_string_new(NULL);
	size_t at = 0;

	while (at < bytes->len) {
		size_t n = MIN(at == 0 && first > 0 ? first : step, bytes->len - at);
		uint8_t *copy = g_memdup2(bytes->data + at, n);

		vmc_spice_link_input(link, vmc_span(copy, n));
		g_free(copy);
		drain(link, trace);
		at += n;
	}
	vmc_spice_link_ended(link);
	vmc_spice_link_ended(link);
	drain(link, trace);
	return g_string_free(trace, FALSE);
}

#define MESS "send-38 "
#define TICKET "send:01000000 send-128 "
#define UP "reply:0b word:0 "
#define UP_FULL "reply:03 word:0 "

/* Common capabilities: 1 selection, 2 ticket, 4 SASL, 8 mini header. Message
 * types: 1 migrate, 3 set ack, 4 ping, 5 wait, 6 disconnecting, 7 notify, 8
 * list; of the client 1 ack sync, 2 ack, 3 pong. */
static const Case cases[] = {
	/* The link and its errors. */
	{ UP, 8, NULL, "x", MESS TICKET "up failed:2:the smartcard channel is taken" },
	{ UP, 1, NULL, "x", MESS TICKET "up failed:7:the server is gone" },
	{ "reply:00 word:0", 1, NULL, NULL, MESS "send-128 up failed:7:" },
	{ "reply:01", 1, NULL, "x", MESS "failed:6:the server takes neither" },
	{ "reply:0b word:7", 1, NULL, "x", MESS TICKET "failed:0:wrong password" },
	{ "reply:0b word:7", 1, NULL, NULL, MESS TICKET "failed:0:the server wants a password" },
	{ "reply:0b", 1, NULL, "x", MESS TICKET "failed:0:wrong password" },
	{ "reply:0b word:8", 8, NULL, NULL, MESS TICKET "failed:5:the server has no such session" },
	{ "reply:0b word:9", 8, NULL, NULL,
	  MESS TICKET "failed:1:the server has no smartcard channel: add -chardev spicevmc," },
	{ "reply:0b word:99", 8, NULL, NULL,
	  MESS TICKET "failed:6:the server refuses the link (99" },
	{ "reply:0b refuse:3", 8, NULL, NULL,
	  MESS TICKET "failed:6:the server refuses the link (3" },
	{ "reply:0b reply:0b", 8, NULL, NULL, MESS TICKET "failed:6:what answers" },
	{ "refuse:5", 8, NULL, NULL, MESS "failed:3:the server serves its smartcard channel over" },
	{ "refuse:6", 10, NULL, NULL, MESS "failed:4:the server serves its port channel without" },
	{ "refuse:4", 1, NULL, NULL, MESS "failed:6:the server speaks another version" },
	{ "refuse:7", 1, NULL, NULL, MESS "failed:0:the server wants a password" },
	{ "", 9, NULL, NULL, MESS "failed:1:the server has no usbredir channel: add -chardev" },
	{ "", 10, NULL, NULL,
	  MESS "failed:1:the server has no port channel: add -chardev spiceport" },
	{ "", 1, NULL, NULL, MESS "failed:6:the server closed without an answer" },
	{ "raw:5245", 8, NULL, NULL, MESS "failed:6:the server closed without an answer" },
	{ "raw:485454502f312e31", 1, NULL, NULL, MESS "failed:6:what answers is no SPICE server" },
	{ "raw:524544510300000000000000b2000000", 1, NULL, NULL, MESS "failed:6:what answers" },
	{ "raw:5245445102000000020000000000ffff", 1, NULL, NULL, MESS "failed:6:what answers" },

	/* SASL: alone, chosen by a user name, not chosen without one. */
	{ "reply:0d", 1, "u", "p",
	  MESS "send:02000000 failed:0:the server refuses the SASL identity" },
	{ "reply:0f", 1, "u", "p",
	  MESS "send:02000000 failed:0:the server refuses the SASL identity" },
	{ "reply:0f", 1, NULL, "p", MESS TICKET "failed:0:wrong password" },
	{ "reply:0d refuse:3", 1, "u", "p", MESS "send:02000000 failed:6:the server refuses the" },
	{ "reply:0d word:2 raw:2c2c", 1, "u", "p",
	  MESS "send:02000000 failed:0:the server has no SASL mechanism for a stream without TLS" },
	{ "reply:0d word:301", 1, "u", "p", MESS "send:02000000 failed:0:SASL failed" },

	/* Messages; the common ones. */
	{ UP "mini:101:aabb mini:103:", 8, NULL, NULL,
	  MESS TICKET "up message:101:aabb message:103: failed:7:the server is gone" },
	{ UP_FULL "full:101:aabb:0 full:103::0", 8, NULL, NULL,
	  MESS TICKET "up message:101:aabb message:103: failed:7:" },
	{ UP "mini:4:010203040506070809101112ffffff", 8, NULL, NULL,
	  MESS TICKET "up send:03000c000000010203040506070809101112 failed:7:" },
	{ UP_FULL "full:4:010203040506070809101112:0 full:4:ff0203040506070809101112:0", 8, NULL,
	  NULL,
	  MESS TICKET
	  "up send:010000000000000003000c00000000000000010203040506070809101112 "
	  "send:020000000000000003000c00000000000000ff0203040506070809101112 failed:7:" },
	{ UP "mini:4:0102030405060708091011", 8, NULL, NULL,
	  MESS TICKET "up failed:6:what answers" },
	{ UP "mini:3:0900000002000000 mini:101: mini:101: mini:101: mini:101: mini:101:", 8, NULL,
	  NULL,
	  MESS TICKET "up send:01000400000009000000 message:101: send:020000000000 message:101: "
		      "message:101: send:020000000000 message:101: message:101: failed:7:" },
	{ UP "mini:3:0900000000000000 mini:101:", 8, NULL, NULL,
	  MESS TICKET "up send:01000400000009000000 message:101: failed:7:" },
	{ UP "mini:3:09000000020000", 8, NULL, NULL, MESS TICKET "up failed:6:what answers" },
	{ UP "mini:1:03000000 mini:2:abcd", 8, NULL, NULL,
	  MESS TICKET "up message:1:03000000 message:2:abcd failed:7:" },
	{ UP "mini:5:01080000 mini:100:", 8, NULL, NULL, MESS TICKET "up failed:7:" },
	{ UP "mini:6:000000000000000007000000", 8, NULL, NULL,
	  MESS TICKET "up failed:7:the server ended the connection: permission denied" },
	{ UP "mini:6:000000000000000000000000", 8, NULL, NULL,
	  MESS TICKET "up failed:7:the server ended the connection" },
	{ UP "mini:7:0000000000000000020000000000000000000000040000006f0a1bff", 8, NULL, NULL,
	  MESS TICKET "up note:the server says, an error: o  \xef\xbf\xbd failed:7:" },
	{ UP "mini:7:0000", 8, NULL, NULL, MESS TICKET "up failed:7:" },

	/* Sub messages: of a list, beside a message; outside, overlapping. */
	{ UP "mini:8:01000600000065000100000042", 8, NULL, NULL,
	  MESS TICKET "up message:101:42 failed:7:" },
	{ UP_FULL "full:102:ee01000700000065000100000042:1", 8, NULL, NULL,
	  MESS TICKET "up message:101:42 message:102:ee01000700000065000100000042 failed:7:" },
	{ UP_FULL "full:102:ee:1", 8, NULL, NULL, MESS TICKET "up failed:6:what answers" },
	{ UP_FULL "full:102:ee:2000000000", 8, NULL, NULL, MESS TICKET "up failed:6:what answers" },
	{ UP "mini:8:01000700000065000100000042", 8, NULL, NULL,
	  MESS TICKET "up failed:6:what answers" },
	{ UP "mini:8:03000e0000000e0000000e00000065000100000042", 8, NULL, NULL,
	  MESS TICKET "up message:101:42 message:101:42 message:101:42 failed:7:" },
	{ UP "mini:8:04001200000012000000120000001200000065000100000042", 8, NULL, NULL,
	  MESS TICKET "up message:101:42 message:101:42 message:101:42 failed:6:what answers" },

	/* Lengths that lie. */
	{ UP "raw:650001001000", 8, NULL, NULL,
	  MESS TICKET "up failed:6:the server sent a message" },
	{ UP "raw:6500ffffffff", 8, NULL, NULL,
	  MESS TICKET "up failed:6:the server sent a message" },
	{ UP "raw:65000000100000", 8, NULL, NULL, MESS TICKET "up failed:2:" },
};

static void test_conversations(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *whole = converse(&cases[i], 0, SIZE_MAX);
		g_autofree char *bytewise = converse(&cases[i], 0, 1);

		if (!g_str_has_prefix(whole, cases[i].expected))
			print_message("case %zu: %s\n wants: %s\n", i, whole, cases[i].expected);
		assert_true(g_str_has_prefix(whole, cases[i].expected));
		assert_string_equal(whole, bytewise);
	}
}

static void test_cuts(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *whole = converse(&cases[i], 0, SIZE_MAX);
		g_autoptr(GByteArray) bytes = server_bytes(cases[i].server);

		/* Within the first reply all cuts are alike but for its key, which costs. */
		for (size_t cut = 1; cut < bytes->len; cut += cut < 200 ? 37 : 1) {
			g_autofree char *got = converse(&cases[i], cut, SIZE_MAX);

			assert_string_equal(got, whole);
		}
	}
}

/* ---- Beyond the table ---- */

static VmcSpiceLink *make_up(const char *script)
{
	VmcSpiceLinkConfig config = { .mess = { .channel_type = 8 } };
	VmcSpiceLink *link = vmc_spice_link_new(&config);
	g_autoptr(GByteArray) bytes = server_bytes(script);
	GString *trace = g_string_new(NULL);

	vmc_spice_link_input(link, vmc_span(bytes->data, bytes->len));
	drain(link, trace);
	assert_true(g_str_has_suffix(trace->str, "up "));
	g_string_free(trace, TRUE);
	return link;
}

static void test_longest(void **state)
{
	g_autoptr(VmcSpiceLink) link = make_up(UP);
	g_autofree uint8_t *message = g_malloc0(2 * (VMC_SPICE_MINI_HEADER + VMC_SPICE_BODY_MAX));
	VmcSpiceHeader header = { .type = 101, .size = VMC_SPICE_BODY_MAX };
	size_t len = vmc_spice_put_header(message, true, &header) + VMC_SPICE_BODY_MAX;
	VmcSpiceLinkAction action;

	(void)state;
	memcpy(message + len, message, VMC_SPICE_MINI_HEADER);
	vmc_spice_link_input(link, vmc_span(message, 2 * len));
	for (unsigned i = 0; i < 2; i++) {
		assert_true(vmc_spice_link_next(link, &action));
		assert_int_equal(action.kind, VMC_SPICE_LINK_MESSAGE);
		assert_int_equal(action.data.len, VMC_SPICE_BODY_MAX);
	}
	assert_false(vmc_spice_link_next(link, &action));
	assert_int_equal(vmc_spice_link_caps(link)->words[0], 5);

	vmc_spice_link_send(link, 101, vmc_span(message, VMC_SPICE_BODY_MAX));
	assert_true(vmc_spice_link_next(link, &action));
	assert_int_equal(action.data.len, len);
	assert_memory_equal(action.data.data, message, VMC_SPICE_MINI_HEADER);
}

/* A server that never stops noting does not fill the log. */
static void test_notes(void **state)
{
	g_autoptr(VmcSpiceLink) link = make_up(UP);
	g_autoptr(GByteArray) bytes =
		server_bytes("mini:7:00000000000000000200000000000000000000000100000041");
	VmcSpiceLinkAction action;
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		vmc_spice_link_input(link, vmc_span(bytes->data, bytes->len));
		while (vmc_spice_link_next(link, &action))
			n++;
	}
	assert_int_equal(n, 33);
}

/* After FAILED nothing comes any more, whatever is done. */
static void test_over(void **state)
{
	g_autoptr(VmcSpiceLink) link = make_up(UP);
	g_autoptr(GByteArray) bytes = server_bytes("mini:101:");
	VmcSpiceLinkAction action;

	(void)state;
	vmc_spice_link_ended(link);
	assert_true(vmc_spice_link_next(link, &action));
	assert_int_equal(action.kind, VMC_SPICE_LINK_FAILED);
	vmc_spice_link_input(link, vmc_span(bytes->data, bytes->len));
	vmc_spice_link_send(link, 101, vmc_span("x", 1));
	vmc_spice_link_ended(link);
	assert_false(vmc_spice_link_next(link, &action));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conversations), cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_longest),       cmocka_unit_test(test_notes),
		cmocka_unit_test(test_over),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

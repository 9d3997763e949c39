/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The codec of SPICE's bytes: what servers send, cut at every position, and
 * with every length and offset that lies.
 */

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "vmc/spice-wire.h"

#define SPAN(...)                                                                                  \
	vmc_span((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* A block of its own, so that a sanitizer sees a read past it. */
static VmcSpan copy_of(const void *data, size_t len)
{
	return vmc_span(len > 0 ? g_memdup2(data, len) : NULL, len);
}

static void assert_text(VmcSpan text, const char *expected)
{
	assert_int_equal(text.len, strlen(expected));
	if (text.len > 0)
		assert_memory_equal(text.data, expected, text.len);
}

static void test_link_mess(void **state)
{
	VmcSpiceLinkMess mess = { .connection_id = 0x01020304, .channel_type = 8, .channel_id = 2 };
	VmcSpiceLinkMess got;
	uint8_t bytes[VMC_SPICE_LINK_MESS_MAX];
	const char *because;
	static const uint8_t expected[] = { 'R',  'E', 'D', 'Q', 2,    0, 0,  0, 2, 0, 0, 0,
					    0x1e, 0,   0,   0,   0x04, 3, 2,  1, 8, 2, 1, 0,
					    0,    0,   2,   0,   0,    0, 18, 0, 0, 0, 9, 0,
					    0,    0,   0,   0,   0,    0, 1,  0, 0, 0 };
	size_t len;

	(void)state;
	vmc_spice_caps_set(&mess.common, 0);
	vmc_spice_caps_set(&mess.common, 3);
	vmc_spice_caps_set(&mess.channel, 32);
	len = vmc_spice_put_link_mess(bytes, &mess);
	assert_int_equal(len, sizeof(expected));
	assert_memory_equal(bytes, expected, len);

	for (size_t cut = 0; cut <= len; cut++) {
		VmcSpan copy = copy_of(bytes, cut), in = copy;
		VmcSpiceResult result = vmc_spice_get_link_mess(&in, &got, &because);

		assert_int_equal(result, cut < len ? VMC_SPICE_NEED_MORE : VMC_SPICE_OK);
		assert_int_equal(in.len, cut < len ? cut : 0);
		g_free((void *)copy.data);
	}
	assert_memory_equal(&got, &mess, sizeof(got));
}

/* Each changes one byte of a good message. */
static void test_bad_link_mess(void **state)
{
	static const struct {
		size_t at;
		uint8_t byte;
		VmcSpiceResult result;
	} cases[] = {
		{ 0, 'X', VMC_SPICE_BAD },
		{ 3, 'q', VMC_SPICE_BAD },
		{ 4, 1, VMC_SPICE_BAD },
		{ 5, 1, VMC_SPICE_BAD },
		{ 8, 9, VMC_SPICE_OK },
		{ 12, 17, VMC_SPICE_BAD },
		{ 13, 0x11, VMC_SPICE_BAD },
		{ 15, 0x80, VMC_SPICE_BAD },
		{ 13, 0x01, VMC_SPICE_NEED_MORE },
		{ 22, 2, VMC_SPICE_BAD },
		{ 25, 0xff, VMC_SPICE_BAD },
		{ 26, 1, VMC_SPICE_BAD },
		{ 29, 0xc0, VMC_SPICE_BAD },
		{ 30, 19, VMC_SPICE_BAD },
		{ 33, 0xff, VMC_SPICE_BAD },
	};
	VmcSpiceLinkMess mess = { .channel_type = 1, .common.words = { 9 } }, got;
	uint8_t bytes[VMC_SPICE_LINK_MESS_MAX];

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		size_t len = vmc_spice_put_link_mess(bytes, &mess);
		const char *because = NULL;
		VmcSpan copy, in;

		bytes[cases[i].at] = cases[i].byte;
		in = copy = copy_of(bytes, len);
		assert_int_equal(vmc_spice_get_link_mess(&in, &got, &because), cases[i].result);
		assert_true((because != NULL) == (cases[i].result == VMC_SPICE_BAD));
		g_free((void *)copy.data);
	}
}

static size_t make_reply(uint8_t bytes[300], uint32_t error)
{
	uint8_t *p = bytes + VMC_SPICE_LINK_HEADER;

	vmc_spice_put_refusal(bytes, error);
	memset(p + 4, 0x5a, 162);
	vmc_put_u32le(bytes + 12, 178 + 12);
	vmc_put_u32le(p + 166, 1);
	vmc_put_u32le(p + 170, 2);
	vmc_put_u32le(p + 174, 178);
	vmc_put_u32le(p + 178, 0x0b);
	vmc_put_u32le(p + 182, 0x40);
	vmc_put_u32le(p + 186, 0x41);
	return VMC_SPICE_LINK_HEADER + 178 + 12;
}

static void test_link_reply(void **state)
{
	uint8_t bytes[300];
	size_t len = make_reply(bytes, SPICE_LINK_ERR_OK);
	VmcSpiceLinkReply reply;
	const char *because;
	VmcSpan in;

	(void)state;
	for (size_t cut = 0; cut < len; cut++) {
		VmcSpan copy = copy_of(bytes, cut);

		in = copy;
		assert_int_equal(vmc_spice_get_link_reply(&in, &reply, &because),
				 VMC_SPICE_NEED_MORE);
		assert_int_equal(in.len, cut);
		g_free((void *)copy.data);
	}
	in = vmc_span(bytes, len);
	assert_int_equal(vmc_spice_get_link_reply(&in, &reply, &because), VMC_SPICE_OK);
	assert_int_equal(reply.error, SPICE_LINK_ERR_OK);
	assert_int_equal(reply.public_key.len, 162);
	assert_int_equal(reply.public_key.data[161], 0x5a);
	assert_true(vmc_spice_caps_has(&reply.common, SPICE_COMMON_CAP_MINI_HEADER));
	assert_false(vmc_spice_caps_has(&reply.common, SPICE_COMMON_CAP_AUTH_SASL));
	assert_int_equal(reply.channel.words[0], 0x40);
	assert_int_equal(reply.channel.words[1], 0x41);
	assert_false(vmc_spice_caps_has(&reply.channel, 100000));
}

/* An error may stand alone; with no error all must be there. */
static void test_short_reply(void **state)
{
	uint8_t bytes[300];

	(void)state;
	for (uint32_t size = 0; size < 178 + 12; size++) {
		for (uint32_t error = 0; error < 2; error++) {
			size_t len;
			VmcSpiceLinkReply reply;
			const char *because = NULL;
			VmcSpan copy, in;

			make_reply(bytes, error);
			vmc_put_u32le(bytes + 12, size);
			len = VMC_SPICE_LINK_HEADER + size;
			in = copy = copy_of(bytes, len);
			assert_int_equal(vmc_spice_get_link_reply(&in, &reply, &because),
					 size >= 4 && error != 0 ? VMC_SPICE_OK : VMC_SPICE_BAD);
			if (size >= 4 && error != 0)
				assert_int_equal(reply.error, error);
			g_free((void *)copy.data);
		}
	}
}

static void test_refusal(void **state)
{
	uint8_t bytes[VMC_SPICE_REFUSAL];
	VmcSpan in = vmc_span(bytes, sizeof(bytes));
	VmcSpiceLinkReply reply;
	const char *because;

	(void)state;
	vmc_spice_put_refusal(bytes, SPICE_LINK_ERR_NEED_SECURED);
	assert_int_equal(vmc_spice_get_link_reply(&in, &reply, &because), VMC_SPICE_OK);
	assert_int_equal(reply.error, SPICE_LINK_ERR_NEED_SECURED);
	assert_int_equal(in.len, 0);
	for (uint32_t error = 0; error < 12; error++)
		assert_non_null(vmc_spice_link_error_text(error));
	assert_string_equal(vmc_spice_link_error_text(7), "permission denied");
	assert_string_equal(vmc_spice_link_error_text(UINT32_MAX), "an unknown error");
}

static void test_headers(void **state)
{
	VmcSpiceHeader h = { 0x1122334455667788, 0x0201, 0x06050403, 0x0a090807 }, got;
	uint8_t bytes[VMC_SPICE_FULL_HEADER];
	static const uint8_t mini[] = { 1, 2, 3, 4, 5, 6 };
	static const uint8_t full[] = { 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 1,
					2,    3,    4,    5,    6,    7,    8,    9,    10 };

	(void)state;
	assert_int_equal(vmc_spice_put_header(bytes, true, &h), sizeof(mini));
	assert_memory_equal(bytes, mini, sizeof(mini));
	assert_int_equal(vmc_spice_put_header(bytes, false, &h), sizeof(full));
	assert_memory_equal(bytes, full, sizeof(full));
	for (size_t cut = 0; cut <= sizeof(full); cut++) {
		VmcSpan a = vmc_span(full, cut), b = vmc_span(mini, MIN(cut, sizeof(mini)));

		assert_int_equal(vmc_spice_get_header(&a, false, &got) == VMC_SPICE_OK,
				 cut == sizeof(full));
		assert_int_equal(vmc_spice_get_header(&b, true, &got) == VMC_SPICE_OK,
				 cut >= sizeof(mini));
	}
	assert_int_equal(got.serial, 0);
	assert_int_equal(got.type, h.type);
	assert_int_equal(got.size, h.size);
	assert_int_equal(got.sub_list, 0);
}

static void test_sub_messages(void **state)
{
	/* Two at 10 and 17; the list of them at 0. */
	VmcSpan body =
		SPAN(2, 0, 10, 0, 0, 0, 17, 0, 0, 0, 4, 0, 1, 0, 0, 0, 0xaa, 5, 0, 0, 0, 0, 0);
	VmcSpan list, sub;
	uint16_t type;

	(void)state;
	assert_true(vmc_spice_get_sub_list(body, 0, &list));
	assert_true(vmc_spice_next_sub_message(body, &list, &type, &sub));
	assert_int_equal(type, 4);
	assert_int_equal(sub.len, 1);
	assert_int_equal(sub.data[0], 0xaa);
	assert_true(vmc_spice_next_sub_message(body, &list, &type, &sub));
	assert_int_equal(type, 5);
	assert_int_equal(sub.len, 0);
	assert_int_equal(list.len, 0);
	assert_false(vmc_spice_next_sub_message(body, &list, &type, &sub));

	assert_false(vmc_spice_get_sub_list(body, 22, &list));
	assert_false(vmc_spice_get_sub_list(body, UINT32_MAX, &list));
	for (size_t cut = 0; cut < body.len; cut++) {
		VmcSpan copy = copy_of(body.data, cut);
		unsigned n = 0;

		if (vmc_spice_get_sub_list(copy, 0, &list)) {
			while (vmc_spice_next_sub_message(copy, &list, &type, &sub))
				n++;
		}
		assert_int_equal(n, cut >= 17);
		g_free((void *)copy.data);
	}
}

static void test_common(void **state)
{
	VmcSpan ack = SPAN(1, 0, 0, 0, 20, 0, 0, 0, 99), text;
	VmcSpan bye = SPAN(0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0);
	uint8_t notify[27] = { [8] = SPICE_NOTIFY_SEVERITY_WARN, [20] = 3, [24] = 'a', 'b', 'c' };
	uint32_t a, b;

	(void)state;
	assert_true(vmc_spice_get_set_ack(ack, &a, &b));
	assert_int_equal(a, 1);
	assert_int_equal(b, 20);
	assert_false(vmc_spice_get_set_ack(vmc_span(ack.data, 7), &a, &b));

	assert_true(vmc_spice_get_disconnecting(bye, &a));
	assert_int_equal(a, SPICE_LINK_ERR_PERMISSION_DENIED);
	assert_false(vmc_spice_get_disconnecting(vmc_span(bye.data, 11), &a));

	assert_true(vmc_spice_get_migrate(SPAN(3, 0, 0, 0), &a));
	assert_int_equal(a, SPICE_MIGRATE_NEED_FLUSH | SPICE_MIGRATE_NEED_DATA_TRANSFER);
	assert_false(vmc_spice_get_migrate(SPAN(3, 0, 0), &a));

	assert_true(vmc_spice_get_notify(vmc_span(notify, 27), &a, &text));
	assert_int_equal(a, SPICE_NOTIFY_SEVERITY_WARN);
	assert_text(text, "abc");
	notify[20] = 2;
	assert_true(vmc_spice_get_notify(vmc_span(notify, 27), &a, &text));
	assert_text(text, "ab");
	notify[23] = 0xff;
	assert_true(vmc_spice_get_notify(vmc_span(notify, 25), &a, &text));
	assert_text(text, "a");
	assert_true(vmc_spice_get_notify(vmc_span(notify, 24), &a, &text));
	assert_text(text, "");
	assert_false(vmc_spice_get_notify(vmc_span(notify, 23), &a, &text));
}

static void test_main(void **state)
{
	uint8_t body[32] = { 0xd, 0xc, 0xb, 0xa, [16] = 1, [20] = 10 };
	VmcSpan list, channels = SPAN(2, 0, 0, 0, 8, 0, 10, 1, 77);
	VmcSpiceMainInit init;
	uint8_t type, id;

	(void)state;
	assert_true(vmc_spice_get_main_init(vmc_span(body, 32), &init));
	assert_int_equal(init.session_id, 0x0a0b0c0d);
	assert_true(init.agent_connected);
	assert_int_equal(init.agent_tokens, 10);
	assert_false(vmc_spice_get_main_init(vmc_span(body, 31), &init));

	assert_true(vmc_spice_get_channels(channels, &list));
	assert_true(vmc_spice_next_channel(&list, &type, &id));
	assert_true(type == 8 && id == 0);
	assert_true(vmc_spice_next_channel(&list, &type, &id));
	assert_true(type == 10 && id == 1);
	assert_false(vmc_spice_next_channel(&list, &type, &id));
	assert_false(vmc_spice_get_channels(vmc_span(channels.data, 7), &list));
	assert_false(vmc_spice_get_channels(SPAN(0, 0, 0, 0x80, 1, 1), &list));
	assert_false(vmc_spice_get_channels(SPAN(0, 0, 0), &list));
	assert_true(vmc_spice_get_channels(SPAN(0, 0, 0, 0), &list));
	assert_int_equal(list.len, 0);
}

/* As QEMU 7.2 sends it: ports, then length and offset of host and subject. */
static const uint8_t begin[] = { 0xaf, 0xb3, 0xae, 0xb3, 10,  0,   0,   0,   20,  0,
				 0,    0,    7,    0,    0,   0,   30,  0,   0,   0,
				 '1',  '2',  '7',  '.',  '0', '.', '0', '.', '1', 0,
				 'C',  'N',  '=',  'f',  'o', 'o', 0 };

static void test_destination(void **state)
{
	VmcSpiceDestination d;
	uint8_t bytes[sizeof(begin)];

	(void)state;
	assert_true(vmc_spice_get_destination(vmc_span(begin, sizeof(begin)), false, &d));
	assert_int_equal(d.port, 45999);
	assert_int_equal(d.tls_port, 45998);
	assert_text(d.host, "127.0.0.1");
	assert_text(d.cert_subject, "CN=foo");
	for (size_t cut = 0; cut < sizeof(begin); cut++)
		assert_false(vmc_spice_get_destination(vmc_span(begin, cut), false, &d));

	/* No host, no end of either, outside of the body, no subject. */
	static const struct {
		size_t at;
		uint8_t byte;
		bool good;
	} cases[] = {
		{ 4, 0, false },     { 4, 18, false }, { 7, 0xff, false }, { 8, 29, false },
		{ 11, 0xff, false }, { 12, 8, false }, { 12, 0, true },    { 15, 0x80, false },
		{ 16, 31, false },   { 4, 9, true },   { 12, 6, true },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		VmcSpan copy;

		memcpy(bytes, begin, sizeof(begin));
		bytes[cases[i].at] = cases[i].byte;
		copy = copy_of(bytes, sizeof(bytes));
		assert_int_equal(vmc_spice_get_destination(copy, false, &d), cases[i].good);
		g_free((void *)copy.data);
	}
}

static void test_seamless(void **state)
{
	VmcSpan body = SPAN(1, 0, 0, 0, 2, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0,
			    'h', 0);
	VmcSpiceDestination d;
	uint8_t *longest = g_malloc0(24 + 300);

	(void)state;
	assert_true(vmc_spice_get_destination(body, true, &d));
	assert_int_equal(d.src_version, 9);
	assert_text(d.host, "h");
	assert_text(d.cert_subject, "");

	memcpy(longest, body.data, 24);
	memset(longest + 24, 'h', 300);
	vmc_put_u32le(longest + 4, 255);
	assert_true(vmc_spice_get_destination(vmc_span(longest, 324), true, &d));
	vmc_put_u32le(longest + 4, 256);
	assert_false(vmc_spice_get_destination(vmc_span(longest, 324), true, &d));
	g_free(longest);
}

static void test_port(void **state)
{
	VmcSpan body = SPAN(4, 0, 0, 0, 9, 0, 0, 0, 1, 'a', '.', 'b', 0), name;
	bool opened = false;
	uint8_t event;

	(void)state;
	assert_true(vmc_spice_get_port_init(body, &name, &opened));
	assert_text(name, "a.b");
	assert_true(opened);
	for (size_t cut = 0; cut < body.len; cut++) {
		VmcSpan copy = copy_of(body.data, cut);

		assert_false(vmc_spice_get_port_init(copy, &name, &opened));
		g_free((void *)copy.data);
	}
	assert_true(vmc_spice_get_port_event(SPAN(SPICE_PORT_EVENT_BREAK), &event));
	assert_int_equal(event, SPICE_PORT_EVENT_BREAK);
	assert_false(vmc_spice_get_port_event(vmc_span(NULL, 0), &event));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_link_mess),    cmocka_unit_test(test_bad_link_mess),
		cmocka_unit_test(test_link_reply),   cmocka_unit_test(test_short_reply),
		cmocka_unit_test(test_refusal),      cmocka_unit_test(test_headers),
		cmocka_unit_test(test_sub_messages), cmocka_unit_test(test_common),
		cmocka_unit_test(test_main),         cmocka_unit_test(test_destination),
		cmocka_unit_test(test_seamless),     cmocka_unit_test(test_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

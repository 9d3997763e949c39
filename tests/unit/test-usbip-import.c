/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A USB/IP client's commands with a device that does what the test says, wrong
 * things included: which transfers they become, and that each has one reply, in
 * its bounds.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ccid/usbip-import.h"

#define DEVID 0x00010003u

/* ---- A device made of wood ---- */

typedef struct Fake {
	UsbDevice usb;
	GString *log;  /* what was asked of it: "in 81 64; " */
	uint64_t last; /* id of the last transfer */
	bool at_once;  /* ends transfers in the call: OUT whole, IN with `answer` */
	VmcSpan answer;
	unsigned resets;
} Fake;

static const UsbEndpoint endpoints[] = {
	{ 0x01, USB_ENDPOINT_BULK, 512, 0 },
	{ 0x82, USB_ENDPOINT_BULK, 512, 0 },
	{ 0x83, USB_ENDPOINT_INTERRUPT, 8, 9 },
};
static const UsbDeviceInfo info = { .endpoints = endpoints, .n_endpoints = 3 };

static const UsbDeviceInfo *fake_info(UsbDevice *usb)
{
	(void)usb;
	return &info;
}

static void fake_began(Fake *fake, uint64_t id, VmcSpan in, size_t actual)
{
	fake->last = id;
	if (fake->at_once)
		usb_device_complete(&fake->usb, id, USB_STATUS_OK, in, actual);
}

static void fake_control(UsbDevice *usb, uint64_t id, const UsbSetup *setup, VmcSpan data)
{
	Fake *fake = (Fake *)usb;
	bool in = (setup->request_type & 0x80u) != 0;

	g_string_append_printf(fake->log, "control %02x%02x %04x %04x %u+%zu; ",
			       setup->request_type, setup->request, setup->value, setup->index,
			       setup->length, data.len);
	fake_began(fake, id, in ? fake->answer : vmc_span(NULL, 0),
		   in ? fake->answer.len : data.len);
}

static void fake_in(UsbDevice *usb, uint64_t id, uint8_t endpoint, size_t length)
{
	Fake *fake = (Fake *)usb;

	g_string_append_printf(fake->log, "in %02x %zu; ", endpoint, length);
	fake_began(fake, id, fake->answer, fake->answer.len);
}

static void fake_out(UsbDevice *usb, uint64_t id, uint8_t endpoint, VmcSpan data)
{
	Fake *fake = (Fake *)usb;

	g_string_append_printf(fake->log, "out %02x %zu; ", endpoint, data.len);
	fake_began(fake, id, vmc_span(NULL, 0), data.len);
}

static void fake_cancel(UsbDevice *usb, uint64_t id)
{
	Fake *fake = (Fake *)usb;

	g_string_append_printf(fake->log, "cancel %s; ", id == fake->last ? "last" : "earlier");
}

static void fake_reset(UsbDevice *usb)
{
	Fake *fake = (Fake *)usb;

	fake->resets++;
	g_string_append(fake->log, "reset; ");
}

static const UsbDeviceClass fake_class = {
	.info = fake_info,
	.control = fake_control,
	.in = fake_in,
	.out = fake_out,
	.cancel = fake_cancel,
	.reset = fake_reset,
};

/* ---- Its client ---- */

typedef struct Bench {
	Fake fake;
	UsbipImport *import;
	GPtrArray *replies; /* GByteArray */
	unsigned changes;
} Bench;

static void on_reply(void *user, VmcSpan reply)
{
	Bench *bench = user;
	GByteArray *bytes = g_byte_array_new();

	g_byte_array_append(bytes, reply.data, (guint)reply.len);
	g_ptr_array_add(bench->replies, bytes);
}

static void on_changed(void *user)
{
	((Bench *)user)->changes++;
}

static const UsbipImportEvents events = { .send = on_reply, .changed = on_changed };

static int set_up(void **state)
{
	Bench *bench = g_new0(Bench, 1);

	g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);
	bench->fake.usb.class = &fake_class;
	bench->fake.log = g_string_new(NULL);
	bench->replies = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref);
	bench->import = usbip_import_new(&bench->fake.usb, DEVID, &events, bench);
	assert_non_null(bench->import);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	Bench *bench = *state;

	usbip_import_free(bench->import);
	g_string_free(bench->fake.log, TRUE);
	g_ptr_array_unref(bench->replies);
	g_free(bench);
	return 0;
}

static void assert_asked(Bench *bench, const char *log)
{
	assert_string_equal(bench->fake.log->str, log);
	g_string_truncate(bench->fake.log, 0);
}

/* The words of a reply, by their place in the header. */
static uint32_t word(const GByteArray *reply, unsigned i)
{
	VmcSpan span = vmc_span(reply->data + 4 * i, 4);
	uint32_t value = 0;

	assert_true(vmc_span_u32be(&span, &value));
	return value;
}

/* The oldest reply is this one, and no other is there. */
static void assert_reply(Bench *bench, uint32_t command, uint32_t seqnum, UsbipStatus status,
			 uint32_t actual, size_t data)
{
	GByteArray *reply;

	assert_int_equal(bench->replies->len, 1);
	reply = bench->replies->pdata[0];
	assert_int_equal(word(reply, 0), command);
	assert_int_equal(word(reply, 1), seqnum);
	assert_int_equal((int32_t)word(reply, 5), status);
	if (command == USBIP_RET_SUBMIT)
		assert_int_equal(word(reply, 6), actual);
	assert_int_equal(reply->len, 48 + data);
	g_ptr_array_set_size(bench->replies, 0);
}

static void command(Bench *bench, UsbipCommand what)
{
	const char *because = NULL;

	what.devid = DEVID;
	assert_true(usbip_import_command(bench->import, &what, &because));
	assert_null(because);
}

static void submit_in(Bench *bench, uint32_t seqnum, uint8_t endpoint, uint32_t length,
		      uint32_t flags)
{
	command(bench, (UsbipCommand){ .code = USBIP_CMD_SUBMIT,
				       .seqnum = seqnum,
				       .in = true,
				       .endpoint = endpoint,
				       .flags = flags,
				       .length = length,
				       .packets = USBIP_NO_PACKETS });
}

static uint8_t some[USBIP_OUT_MAX];

static void submit_out(Bench *bench, uint32_t seqnum, uint8_t endpoint, uint32_t length,
		       uint32_t flags)
{
	command(bench, (UsbipCommand){ .code = USBIP_CMD_SUBMIT,
				       .seqnum = seqnum,
				       .endpoint = endpoint,
				       .flags = flags,
				       .length = length,
				       .packets = USBIP_NO_PACKETS,
				       .data = vmc_span(some, length) });
}

static void submit_control(Bench *bench, bool in, uint32_t length, UsbSetup setup)
{
	command(bench, (UsbipCommand){ .code = USBIP_CMD_SUBMIT,
				       .seqnum = 1,
				       .in = in,
				       .length = length,
				       .packets = USBIP_NO_PACKETS,
				       .setup = setup,
				       .data = vmc_span(some, in ? 0 : length) });
}

static void unlink_seqnum(Bench *bench, uint32_t seqnum, uint32_t which)
{
	command(bench,
		(UsbipCommand){ .code = USBIP_CMD_UNLINK, .seqnum = seqnum, .unlink = which });
}

static void complete(Bench *bench, UsbStatus status, size_t len)
{
	usb_device_complete(&bench->fake.usb, bench->fake.last, status, vmc_span(some, len), len);
}

/* ---- Transfers ---- */

static void test_in(void **state)
{
	Bench *bench = *state;

	submit_in(bench, 7, 2, 300, 0);
	assert_asked(bench, "in 82 300; ");
	assert_int_equal(bench->replies->len, 0);
	complete(bench, USB_STATUS_OK, 20);
	assert_reply(bench, USBIP_RET_SUBMIT, 7, USBIP_OK, 20, 20);
	submit_in(bench, 8, 3, 8, 0);
	assert_asked(bench, "in 83 8; ");
	complete(bench, USB_STATUS_OK, 2);
	assert_reply(bench, USBIP_RET_SUBMIT, 8, USBIP_OK, 2, 2);
}

/* Whatever a device brings, no more is sent than was asked for. */
static void test_never_more_than_asked(void **state)
{
	static const uint32_t asked[] = { 0, 1, 9, 63, 64, 65 };
	Bench *bench = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(asked); i++) {
		submit_in(bench, 1, 2, asked[i], 0);
		complete(bench, USB_STATUS_OK, 66);
		assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, asked[i], asked[i]);
		/* A device may count wrongly, too. */
		submit_in(bench, 1, 2, asked[i], 0);
		usb_device_complete(&bench->fake.usb, bench->fake.last, USB_STATUS_OK,
				    vmc_span(some, 0), SIZE_MAX);
		assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 0, 0);
	}
}

static void test_control_never_more_than_asked(void **state)
{
	Bench *bench = *state;
	UsbSetup setup = { .request_type = 0x80, .request = 6, .value = 0x0100, .length = 18 };

	bench->fake.at_once = true;
	bench->fake.answer = vmc_span(some, 100);
	submit_control(bench, true, 18, setup);
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 18, 18);
	/* The client's buffer is shorter than the request, or longer. */
	submit_control(bench, true, 5, setup);
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 5, 5);
	submit_control(bench, true, 64, setup);
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 18, 18);
	submit_control(bench, true, 0, setup);
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 0, 0);
}

static void test_out(void **state)
{
	Bench *bench = *state;

	submit_out(bench, 9, 1, 100, 0);
	assert_asked(bench, "out 01 100; ");
	complete(bench, USB_STATUS_OK, 100);
	/* The bytes that moved, and none of them. */
	assert_reply(bench, USBIP_RET_SUBMIT, 9, USBIP_OK, 100, 0);
	submit_out(bench, 10, 1, 0, 0);
	complete(bench, USB_STATUS_OK, 100);
	assert_reply(bench, USBIP_RET_SUBMIT, 10, USBIP_OK, 0, 0);
}

static void test_statuses(void **state)
{
	static const struct {
		UsbStatus device;
		UsbipStatus client;
	} statuses[] = {
		{ USB_STATUS_STALL, USBIP_STALLED },
		{ USB_STATUS_ERROR, USBIP_FAILED },
		{ USB_STATUS_CANCELLED, USBIP_SHUT_DOWN },
	};
	Bench *bench = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(statuses); i++) {
		submit_in(bench, 1, 2, 64, 0);
		complete(bench, statuses[i].device, 0);
		assert_reply(bench, USBIP_RET_SUBMIT, 1, statuses[i].client, 0, 0);
		submit_out(bench, 1, 1, 64, 0);
		complete(bench, statuses[i].device, 0);
		assert_reply(bench, USBIP_RET_SUBMIT, 1, statuses[i].client, 0, 0);
	}
}

static void test_no_such_endpoint(void **state)
{
	Bench *bench = *state;

	submit_in(bench, 1, 1, 64, 0);
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_NO_ENDPOINT, 0, 0);
	submit_out(bench, 2, 15, 64, 0);
	assert_reply(bench, USBIP_RET_SUBMIT, 2, USBIP_NO_ENDPOINT, 0, 0);
	assert_asked(bench, "");
}

static void test_isochronous(void **state)
{
	Bench *bench = *state;

	command(bench, (UsbipCommand){ .code = USBIP_CMD_SUBMIT,
				       .seqnum = 5,
				       .in = true,
				       .endpoint = 2,
				       .length = 64,
				       .packets = 3,
				       .isochronous = true });
	assert_int_equal(word(bench->replies->pdata[0], 8), 0); /* no descriptors */
	assert_reply(bench, USBIP_RET_SUBMIT, 5, USBIP_INVALID, 0, 0);
	assert_asked(bench, "");
}

static void test_short_not_ok(void **state)
{
	Bench *bench = *state;

	submit_in(bench, 1, 2, 64, USBIP_SHORT_NOT_OK);
	complete(bench, USB_STATUS_OK, 63);
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_SHORT, 63, 63);
	submit_in(bench, 2, 2, 64, USBIP_SHORT_NOT_OK);
	complete(bench, USB_STATUS_OK, 64);
	assert_reply(bench, USBIP_RET_SUBMIT, 2, USBIP_OK, 64, 64);
	submit_in(bench, 3, 2, 64, USBIP_SHORT_NOT_OK);
	complete(bench, USB_STATUS_STALL, 0);
	assert_reply(bench, USBIP_RET_SUBMIT, 3, USBIP_STALLED, 0, 0);
	/* It says nothing of OUT. */
	submit_out(bench, 4, 1, 64, USBIP_SHORT_NOT_OK);
	complete(bench, USB_STATUS_OK, 63);
	assert_reply(bench, USBIP_RET_SUBMIT, 4, USBIP_OK, 63, 0);
}

static void test_zero_packet(void **state)
{
	Bench *bench = *state;

	bench->fake.at_once = true;
	submit_out(bench, 1, 1, 1024, USBIP_ZERO_PACKET);
	assert_asked(bench, "out 01 1024; out 01 0; ");
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 1024, 0);
	submit_out(bench, 1, 1, 1023, USBIP_ZERO_PACKET);
	assert_asked(bench, "out 01 1023; ");
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 1023, 0);
	submit_out(bench, 1, 1, 0, USBIP_ZERO_PACKET);
	assert_asked(bench, "out 01 0; ");
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 0, 0);
	submit_out(bench, 1, 1, 1024, 0);
	assert_asked(bench, "out 01 1024; ");
}

/* ---- Control ---- */

static void test_control_out(void **state)
{
	Bench *bench = *state;

	bench->fake.at_once = true;
	submit_control(bench, false, 0,
		       (UsbSetup){ .request_type = 2, .request = 1, .index = 0x82 });
	assert_asked(bench, "control 0201 0000 0082 0+0; ");
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 0, 0);
	submit_control(bench, false, 4,
		       (UsbSetup){ .request_type = 0x21, .request = 9, .length = 4 });
	assert_asked(bench, "control 2109 0000 0000 4+4; ");
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 4, 0);
}

/* Lengths and directions that contradict each other never reach the device. */
static void test_control_mismatch(void **state)
{
	Bench *bench = *state;

	submit_control(bench, false, 3,
		       (UsbSetup){ .request_type = 0x21, .request = 9, .length = 4 });
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_INVALID, 0, 0);
	submit_control(bench, false, 5,
		       (UsbSetup){ .request_type = 0x21, .request = 9, .length = 4 });
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_INVALID, 0, 0);
	submit_control(bench, false, 4,
		       (UsbSetup){ .request_type = 0xA1, .request = 9, .length = 4 });
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_INVALID, 0, 0);
	submit_control(bench, true, 4,
		       (UsbSetup){ .request_type = 0x21, .request = 9, .length = 4 });
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_INVALID, 0, 0);
	assert_asked(bench, "");
	/* With no data stage the direction is nobody's. */
	submit_control(bench, true, 0, (UsbSetup){ .request_type = 0x01, .request = 0x0B });
	assert_asked(bench, "control 010b 0000 0000 0+0; ");
}

static void test_port_reset(void **state)
{
	Bench *bench = *state;
	UsbSetup reset = { .request_type = 0x23, .request = 3, .value = 4, .index = 1 };

	bench->fake.at_once = true;
	submit_control(bench, false, 0, reset);
	assert_asked(bench, "reset; ");
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 0, 0);
	/* A device that was configured is so afterwards. */
	submit_control(bench, false, 0, (UsbSetup){ .request = 9, .value = 1 });
	assert_asked(bench, "control 0009 0001 0000 0+0; ");
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 0, 0);
	submit_control(bench, false, 0, reset);
	assert_asked(bench, "reset; control 0009 0001 0000 0+0; ");
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 0, 0);
}

/* ---- Unlinking ---- */

static void test_unlink_pending(void **state)
{
	Bench *bench = *state;

	submit_in(bench, 1, 3, 8, 0);
	assert_asked(bench, "in 83 8; ");
	unlink_seqnum(bench, 2, 1);
	assert_asked(bench, "cancel last; ");
	assert_reply(bench, USBIP_RET_UNLINK, 2, USBIP_UNLINKED, 0, 0);
	/* No reply to it any more, whatever the device does. */
	complete(bench, USB_STATUS_OK, 2);
	assert_int_equal(bench->replies->len, 0);
	/* Its number is free. */
	submit_in(bench, 1, 3, 8, 0);
	complete(bench, USB_STATUS_OK, 2);
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 2, 2);
}

static void test_unlink_ended(void **state)
{
	Bench *bench = *state;

	submit_in(bench, 1, 3, 8, 0);
	complete(bench, USB_STATUS_OK, 2);
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 2, 2);
	unlink_seqnum(bench, 2, 1);
	assert_reply(bench, USBIP_RET_UNLINK, 2, USBIP_OK, 0, 0);
	unlink_seqnum(bench, 3, 999);
	assert_reply(bench, USBIP_RET_UNLINK, 3, USBIP_OK, 0, 0);
	assert_asked(bench, "in 83 8; ");
}

static void test_unlink_out_with_its_end(void **state)
{
	Bench *bench = *state;

	submit_out(bench, 1, 1, 512, USBIP_ZERO_PACKET);
	assert_asked(bench, "out 01 512; out 01 0; ");
	unlink_seqnum(bench, 2, 1);
	assert_asked(bench, "cancel earlier; cancel last; ");
	assert_reply(bench, USBIP_RET_UNLINK, 2, USBIP_UNLINKED, 0, 0);
}

/* ---- Limits and what ends a conversation ---- */

static void assert_ends(Bench *bench, UsbipCommand what, const char *words)
{
	const char *because = NULL;

	assert_false(usbip_import_command(bench->import, &what, &because));
	assert_non_null(because);
	assert_non_null(strstr(because, words));
	assert_int_equal(bench->replies->len, 0);
}

static void test_other_device(void **state)
{
	Bench *bench = *state;

	assert_ends(bench, (UsbipCommand){ .code = USBIP_CMD_SUBMIT, .devid = DEVID + 1 },
		    "another device");
	assert_ends(bench, (UsbipCommand){ .code = USBIP_CMD_UNLINK, .devid = 0 },
		    "another device");
}

static void test_number_taken(void **state)
{
	Bench *bench = *state;

	submit_in(bench, 1, 3, 8, 0);
	assert_ends(bench, (UsbipCommand){ .code = USBIP_CMD_SUBMIT, .devid = DEVID, .seqnum = 1 },
		    "number");
}

static void test_too_many(void **state)
{
	Bench *bench = *state;

	for (uint32_t i = 0; i < USBIP_SUBMITS_MAX; i++)
		submit_in(bench, i, 2, 64, 0);
	assert_ends(bench,
		    (UsbipCommand){ .code = USBIP_CMD_SUBMIT,
				    .devid = DEVID,
				    .seqnum = USBIP_SUBMITS_MAX,
				    .in = true,
				    .endpoint = 2 },
		    "pending");
	/* One ends, one more is taken. */
	complete(bench, USB_STATUS_OK, 0);
	g_ptr_array_set_size(bench->replies, 0);
	submit_in(bench, USBIP_SUBMITS_MAX, 2, 64, 0);
}

static void test_too_many_bytes(void **state)
{
	Bench *bench = *state;
	UsbipCommand more = { .code = USBIP_CMD_SUBMIT,
			      .devid = DEVID,
			      .seqnum = 100,
			      .endpoint = 1,
			      .length = 1,
			      .data = vmc_span(some, 1) };

	submit_out(bench, 1, 1, USBIP_PENDING_MAX - 10, 0);
	submit_out(bench, 2, 1, 10, 0);
	assert_ends(bench, more, "pending");
	/* What ended, or was unlinked, counts no more. */
	complete(bench, USB_STATUS_OK, 10);
	unlink_seqnum(bench, 3, 1);
	g_ptr_array_set_size(bench->replies, 0);
	submit_out(bench, 4, 1, USBIP_PENDING_MAX, 0);
}

/* ---- One at a time ---- */

static void test_second_import(void **state)
{
	Bench *bench = *state;

	assert_null(usbip_import_new(&bench->fake.usb, DEVID, &events, bench));
	submit_in(bench, 1, 3, 8, 0);
	usbip_import_free(bench->import);
	assert_int_equal(bench->fake.resets, 1);
	/* The next one hears nothing of the last one's. */
	bench->import = usbip_import_new(&bench->fake.usb, DEVID, &events, bench);
	assert_non_null(bench->import);
	complete(bench, USB_STATUS_OK, 2);
	assert_int_equal(bench->replies->len, 0);
}

static void test_changed(void **state)
{
	Bench *bench = *state;

	submit_in(bench, 1, 3, 8, 0);
	usb_device_changed(&bench->fake.usb);
	assert_int_equal(bench->changes, 1);
	/* What becomes of it is for others to say. */
	complete(bench, USB_STATUS_OK, 2);
	assert_reply(bench, USBIP_RET_SUBMIT, 1, USBIP_OK, 2, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(in),
		TEST(never_more_than_asked),
		TEST(control_never_more_than_asked),
		TEST(out),
		TEST(statuses),
		TEST(no_such_endpoint),
		TEST(isochronous),
		TEST(short_not_ok),
		TEST(zero_packet),
		TEST(control_out),
		TEST(control_mismatch),
		TEST(port_reset),
		TEST(unlink_pending),
		TEST(unlink_ended),
		TEST(unlink_out_with_its_end),
		TEST(other_device),
		TEST(number_taken),
		TEST(too_many),
		TEST(too_many_bytes),
		TEST(second_import),
		TEST(changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

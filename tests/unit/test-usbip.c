/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * USB/IP's bytes. The tables are written from usbip_protocol.rst, field by
 * field, and from the capture at its end; nothing in them came from our code.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "ccid/usbip.h"

/* Bytes from hexadecimal digits and blanks. */
static GByteArray *hex(const char *text)
{
	GByteArray *bytes = g_byte_array_new();

	while (*text != '\0') {
		uint8_t byte;

		if (*text == ' ') {
			text++;
			continue;
		}
		byte = (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 |
				 g_ascii_xdigit_value(text[1]));
		g_byte_array_append(bytes, &byte, 1);
		text += 2;
	}
	return bytes;
}

static VmcSpan span_of(const GByteArray *bytes)
{
	return vmc_span(bytes->data, bytes->len);
}

/* ---- Operations ---- */

typedef struct OpCase {
	const char *name, *bytes;
	size_t need; /* bytes it takes */
	uint16_t version, code;
	const char *busid;
} OpCase;

#define BUSID_3_2 "332d3200 00000000 00000000 00000000 00000000 00000000 00000000 00000000"
#define BUSID_FULL "31313131 31313131 31313131 31313131 31313131 31313131 31313131 31313131"

static const OpCase ops[] = {
	{ "list", "0111 8005 00000000", 8, 0x0111, 0x8005, "" },
	{ "import", "0111 8003 00000000" BUSID_3_2, 40, 0x0111, 0x8003, "3-2" },
	{ "status is unused", "0111 8005 ffffffff", 8, 0x0111, 0x8005, "" },
	{ "no zero byte", "0111 8003 00000000" BUSID_FULL, 40, 0x0111, 0x8003,
	  "11111111111111111111111111111111" },
	{ "no busid", "0111 8003 00000000 00" BUSID_3_2, 40, 0x0111, 0x8003, "" },
	{ "older", "0106 8003 00000000", 8, 0x0106, 0x8003, "" },
	{ "another's", "0111 8004 00000000", 8, 0x0111, 0x8004, "" },
	{ "a reply", "0111 0003 00000000", 8, 0x0111, 0x0003, "" },
};

static void test_get_op(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(ops); i++) {
		g_autoptr(GByteArray) bytes = hex(ops[i].bytes);
		UsbipOp op;

		print_message("%s\n", ops[i].name);
		for (size_t cut = 0; cut < ops[i].need; cut++) {
			VmcSpan in = vmc_span(bytes->data, cut);

			assert_int_equal(usbip_get_op(&in, &op), USBIP_RESULT_NEED_MORE);
			assert_int_equal(in.len, cut);
		}
		VmcSpan in = span_of(bytes);

		assert_int_equal(usbip_get_op(&in, &op), USBIP_RESULT_OK);
		assert_int_equal(in.len, bytes->len - ops[i].need);
		assert_int_equal(op.version, ops[i].version);
		assert_int_equal(op.code, ops[i].code);
		assert_int_equal(op.busid.len, strlen(ops[i].busid));
		assert_memory_equal(op.busid.data ? op.busid.data : (const uint8_t *)"",
				    ops[i].busid, op.busid.len);
	}
}

static void test_put_op(void **state)
{
	g_autoptr(GByteArray) import = hex("0111 0003 00000002");
	g_autoptr(GByteArray) list = hex("0111 0005 00000000");
	uint8_t to[8];

	(void)state;
	usbip_put_op(to, USBIP_OP_REP_IMPORT, USBIP_OP_BUSY);
	assert_memory_equal(to, import->data, 8);
	usbip_put_op(to, USBIP_OP_REP_DEVLIST, USBIP_OP_OK);
	assert_memory_equal(to, list->data, 8);
	/* usbip_common.h */
	assert_int_equal(USBIP_OP_NO_DEVICE, 4);
	assert_int_equal(USBIP_OP_ERROR, 5);
}

static const UsbDeviceInfo device = {
	.speed = USB_SPEED_HIGH,
	.device_class = 0x01,
	.device_subclass = 0x02,
	.device_protocol = 0x03,
	.interface_class = 0x0B,
	.interface_subclass = 0x05,
	.interface_protocol = 0x06,
	.vendor_id = 0x0E0F,
	.product_id = 0x1234,
	.release = 0x0102,
	.configuration = 0x07,
};

/* Offsets within OP_REP_IMPORT, less its header of 8. */
static void test_put_device(void **state)
{
	g_autoptr(GByteArray) rest = hex("00000003 00000002 00000003 0e0f 1234 0102 01 02 03 07 "
					 "01 01");
	UsbipExport export = {
		.path = "/sys/devices/pci0000:00/0000:00:1d.1/usb3/3-2",
		.busid = "3-2",
		.busnum = 3,
		.devnum = 2,
		.info = &device,
	};
	uint8_t to[USBIP_DEVICE], zeros[256] = { 0 };
	size_t len = strlen(export.path);

	(void)state;
	assert_int_equal(USBIP_DEVICE, 0x140 - 8);
	memset(to, 0xA5, sizeof(to));
	usbip_put_device(to, &export);
	assert_memory_equal(to, export.path, len);
	assert_memory_equal(to + len, zeros, 256 - len);
	assert_memory_equal(to + 0x108 - 8, "3-2", 3);
	assert_memory_equal(to + 0x108 - 8 + 3, zeros, 32 - 3);
	assert_int_equal(rest->len, 0x140 - 0x128);
	assert_memory_equal(to + 0x128 - 8, rest->data, rest->len);
	assert_int_equal(USBIP_DEVID(3, 2), 0x00030002);
}

static void test_put_device_cut(void **state)
{
	g_autofree char *path = g_strnfill(1000, 'p');
	UsbDeviceInfo full = device;
	UsbipExport export = { .path = path, .busid = "1-127", .info = &full };
	uint8_t to[USBIP_DEVICE];

	(void)state;
	full.speed = USB_SPEED_FULL;
	usbip_put_device(to, &export);
	assert_int_equal(to[254], 'p');
	assert_int_equal(to[255], 0);
	assert_memory_equal(to + 256, "1-127", 6);
	assert_int_equal(to[0x130 - 8 + 3], 2);
}

static void test_put_interface(void **state)
{
	uint8_t to[USBIP_INTERFACE] = { 9, 9, 9, 9 };

	(void)state;
	usbip_put_interface(to, &device);
	assert_memory_equal(to, "\x0B\x05\x06\x00", 4);
}

/* ---- Commands ---- */

/* The text's capture: an interrupt transfer each way of 64 bytes, from a Linux
 * client, whose number_of_packets for none is 0. */
#define CAPTURE_IN                                                                                 \
	"00000001 00000d05 0001000f 00000001 00000001 00000200 00000040 ffffffff 00000000 "        \
	"00000004 00000000 00000000"
#define CAPTURE_OUT                                                                                \
	"00000001 00000d06 0001000f 00000000 00000001 00000000 00000040 ffffffff 00000000 "        \
	"00000004 00000000 00000000"
#define CAPTURE_DATA                                                                               \
	"ffffffff860008a784ce5ae21237630000000000000000000000000000000000"                         \
	"0000000000000000000000000000000000000000000000000000000000000000"

/* GET_DESCRIPTOR(device), 18 bytes, as the text has it: all ones for none. */
#define GET_DESCRIPTOR                                                                             \
	"00000001 00000001 00010002 00000001 00000000 00000200 00000012 00000000 ffffffff "        \
	"00000000 80060001 00001200"
#define UNLINK                                                                                     \
	"00000002 00000d07 0001000f 00000000 00000000 00000d05 00000000 00000000 00000000 "        \
	"00000000 00000000 00000000"

static UsbipCommand get(const char *text, size_t need)
{
	g_autoptr(GByteArray) bytes = hex(text);
	const char *because = NULL;
	UsbipCommand command;
	VmcSpan in;

	assert_int_equal(bytes->len, need);
	for (size_t cut = 0; cut < need; cut++) {
		in = vmc_span(bytes->data, cut);
		assert_int_equal(usbip_get_command(&in, &command, &because),
				 USBIP_RESULT_NEED_MORE);
		assert_int_equal(in.len, cut);
	}
	/* What follows is left. */
	g_byte_array_append(bytes, (const uint8_t *)"\1", 1);
	in = span_of(bytes);
	assert_int_equal(usbip_get_command(&in, &command, &because), USBIP_RESULT_OK);
	assert_int_equal(in.len, 1);
	assert_null(because);
	return command;
}

static void test_submit_in(void **state)
{
	UsbipCommand command = get(CAPTURE_IN, 48);

	(void)state;
	assert_int_equal(command.code, USBIP_CMD_SUBMIT);
	assert_int_equal(command.seqnum, 0x0d05);
	assert_int_equal(command.devid, 0x0001000f);
	assert_true(command.in);
	assert_int_equal(command.endpoint, 1);
	assert_int_equal(command.flags, 0x200);
	assert_int_equal(command.length, 64);
	assert_int_equal(command.packets, 0);
	assert_false(command.isochronous);
	assert_int_equal(command.data.len, 0);
}

static void test_submit_out(void **state)
{
	g_autoptr(GByteArray) bytes = hex(CAPTURE_OUT CAPTURE_DATA);
	const char *because;
	UsbipCommand command = get(CAPTURE_OUT CAPTURE_DATA, 48 + 64);
	VmcSpan in = span_of(bytes);

	(void)state;
	assert_int_equal(usbip_get_command(&in, &command, &because), USBIP_RESULT_OK);
	assert_false(command.in);
	assert_int_equal(command.seqnum, 0x0d06);
	assert_int_equal(command.endpoint, 1);
	assert_int_equal(command.length, 64);
	assert_int_equal(command.data.len, 64);
	assert_ptr_equal(command.data.data, bytes->data + 48);
}

static void test_submit_control(void **state)
{
	UsbipCommand command = get(GET_DESCRIPTOR, 48);

	(void)state;
	assert_true(command.in);
	assert_int_equal(command.endpoint, 0);
	assert_int_equal(command.length, 18);
	assert_int_equal(command.packets, USBIP_NO_PACKETS);
	assert_false(command.isochronous);
	/* The setup packet is USB's: little-endian. */
	assert_int_equal(command.setup.request_type, 0x80);
	assert_int_equal(command.setup.request, 6);
	assert_int_equal(command.setup.value, 0x0100);
	assert_int_equal(command.setup.index, 0);
	assert_int_equal(command.setup.length, 0x12);
}

static void test_unlink(void **state)
{
	UsbipCommand command = get(UNLINK, 48);

	(void)state;
	assert_int_equal(command.code, USBIP_CMD_UNLINK);
	assert_int_equal(command.seqnum, 0x0d07);
	assert_int_equal(command.devid, 0x0001000f);
	assert_int_equal(command.unlink, 0x0d05);
}

/* Isochronous: `n` bytes out, then the packets' descriptors of 16 bytes. */
static void test_isochronous(void **state)
{
	static const char out[] =
		"00000001 00000009 00010001 00000000 00000001 00000002 00000003 00000000 00000002 "
		"00000001 00000000 00000000 aabbcc "
		"00000000 00000002 00000000 00000000 00000002 00000001 00000000 00000000";
	static const char in[] =
		"00000001 00000009 00010001 00000001 00000001 00000002 00000300 00000000 00000001 "
		"00000001 00000000 00000000 00000000 00000300 00000000 00000000";
	UsbipCommand command = get(out, 48 + 3 + 32);

	(void)state;
	assert_true(command.isochronous);
	assert_int_equal(command.packets, 2);
	assert_int_equal(command.data.len, 3);
	command = get(in, 48 + 16);
	assert_true(command.isochronous);
	assert_int_equal(command.data.len, 0);
}

/* ---- What is none ---- */

/* A header with one word, counted from 0, replaced. */
typedef struct BadCase {
	const char *name, *header;
	unsigned word;
	uint32_t value;
	const char *because; /* a part of it; NULL: not bad */
} BadCase;

static const BadCase bad_cases[] = {
	{ "no command", CAPTURE_IN, 0, 0, "command" },
	{ "a reply", CAPTURE_IN, 0, 3, "command" },
	{ "the other reply", CAPTURE_IN, 0, 4, "command" },
	{ "all ones", CAPTURE_IN, 0, UINT32_MAX, "command" },
	{ "direction 2", CAPTURE_IN, 3, 2, "direction" },
	{ "direction all ones", CAPTURE_OUT, 3, UINT32_MAX, "direction" },
	{ "endpoint 15", CAPTURE_IN, 4, 15, NULL },
	{ "endpoint 16", CAPTURE_IN, 4, 16, "endpoint" },
	{ "endpoint 0x81", CAPTURE_IN, 4, 0x81, "endpoint" },
	{ "the longest in", CAPTURE_IN, 6, INT32_MAX, NULL },
	{ "in, negative", CAPTURE_IN, 6, 0x80000000, "negative" },
	{ "in, -1", CAPTURE_IN, 6, UINT32_MAX, "negative" },
	{ "out, negative", CAPTURE_OUT, 6, 0x80000000, "negative" },
	{ "out, -1", CAPTURE_OUT, 6, UINT32_MAX, "negative" },
	{ "out, too long", CAPTURE_OUT, 6, USBIP_OUT_MAX + 1, "more data" },
	{ "out, huge", CAPTURE_OUT, 6, INT32_MAX, "more data" },
	{ "too many packets", CAPTURE_IN, 8, 1025, "packets" },
	{ "packets negative", CAPTURE_IN, 8, 0x80000000, "packets" },
	{ "packets -2", CAPTURE_IN, 8, 0xFFFFFFFE, "packets" },
};

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(bad_cases); i++) {
		const BadCase *test = &bad_cases[i];
		g_autoptr(GByteArray) bytes = hex(test->header);
		VmcSpan in = span_of(bytes);
		const char *because = NULL;
		UsbipCommand command;

		print_message("%s\n", test->name);
		vmc_put_u32be(bytes->data + 4 * test->word, test->value);
		if (test->because == NULL) {
			assert_int_equal(usbip_get_command(&in, &command, &because),
					 USBIP_RESULT_OK);
			continue;
		}
		/* With no more than the header. */
		assert_int_equal(usbip_get_command(&in, &command, &because), USBIP_RESULT_BAD);
		assert_int_equal(in.len, 48);
		assert_non_null(strstr(because, test->because));
	}
}

/* The longest of all is announced as such, not as bad. */
static void test_longest(void **state)
{
	g_autoptr(GByteArray) bytes = hex(CAPTURE_OUT);
	const char *because = NULL;
	UsbipCommand command;
	VmcSpan in;

	(void)state;
	vmc_put_u32be(bytes->data + 24, USBIP_OUT_MAX);
	vmc_put_u32be(bytes->data + 32, USBIP_PACKETS_MAX);
	g_byte_array_set_size(bytes, USBIP_COMMAND_MAX);
	in = vmc_span(bytes->data, USBIP_COMMAND_MAX - 1);
	assert_int_equal(usbip_get_command(&in, &command, &because), USBIP_RESULT_NEED_MORE);
	in = span_of(bytes);
	assert_int_equal(usbip_get_command(&in, &command, &because), USBIP_RESULT_OK);
	assert_int_equal(in.len, 0);
}

/* ---- Replies ---- */

typedef struct ReplyCase {
	const char *bytes;
	uint32_t seqnum;
	UsbipStatus status;
	uint32_t actual, packets;
} ReplyCase;

static const ReplyCase replies[] = {
	{ "00000003 00000d05 00000000 00000000 00000000 00000000 00000040 00000000 00000000 "
	  "00000000 00000000 00000000",
	  0x0d05, USBIP_OK, 64, 0 },
	{ "00000003 ffffffff 00000000 00000000 00000000 00000000 00000012 00000000 ffffffff "
	  "00000000 00000000 00000000",
	  UINT32_MAX, USBIP_OK, 18, 0xFFFFFFFF },
	{ "00000003 00000001 00000000 00000000 00000000 ffffffe0 00000000 00000000 ffffffff "
	  "00000000 00000000 00000000",
	  1, USBIP_STALLED, 0, 0xFFFFFFFF },
	/* Refused: no descriptor follows. */
	{ "00000003 00000001 00000000 00000000 00000000 ffffffea 00000000 00000000 00000000 "
	  "00000000 00000000 00000000",
	  1, USBIP_INVALID, 0, 7 },
};

static void test_put_submitted(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(replies); i++) {
		g_autoptr(GByteArray) bytes = hex(replies[i].bytes);
		uint8_t to[USBIP_HEADER];

		memset(to, 0xA5, sizeof(to));
		usbip_put_submitted(to, replies[i].seqnum, replies[i].status, replies[i].actual,
				    replies[i].packets);
		assert_int_equal(bytes->len, sizeof(to));
		assert_memory_equal(to, bytes->data, sizeof(to));
	}
}

static void test_put_unlinked(void **state)
{
	g_autoptr(GByteArray) unlinked =
		hex("00000004 00000d07 00000000 00000000 00000000 ffffff98 00000000 00000000 "
		    "00000000 00000000 00000000 00000000");
	uint8_t to[USBIP_HEADER];

	(void)state;
	memset(to, 0xA5, sizeof(to));
	usbip_put_unlinked(to, 0x0d07, USBIP_UNLINKED);
	assert_memory_equal(to, unlinked->data, sizeof(to));
	usbip_put_unlinked(to, 0x0d07, USBIP_OK);
	memset(unlinked->data + 20, 0, 4);
	assert_memory_equal(to, unlinked->data, sizeof(to));
}

/* The numbers of Linux's errno (asm-generic/errno-base.h, errno.h). */
static void test_numbers(void **state)
{
	(void)state;
	assert_int_equal(USBIP_NO_ENDPOINT, -2);
	assert_int_equal(USBIP_INVALID, -22);
	assert_int_equal(USBIP_STALLED, -32);
	assert_int_equal(USBIP_FAILED, -71);
	assert_int_equal(USBIP_UNLINKED, -104);
	assert_int_equal(USBIP_SHUT_DOWN, -108);
	assert_int_equal(USBIP_SHORT, -121);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get_op),        cmocka_unit_test(test_put_op),
		cmocka_unit_test(test_put_device),    cmocka_unit_test(test_put_device_cut),
		cmocka_unit_test(test_put_interface), cmocka_unit_test(test_submit_in),
		cmocka_unit_test(test_submit_out),    cmocka_unit_test(test_submit_control),
		cmocka_unit_test(test_unlink),        cmocka_unit_test(test_isochronous),
		cmocka_unit_test(test_bad),           cmocka_unit_test(test_longest),
		cmocka_unit_test(test_put_submitted), cmocka_unit_test(test_put_unlinked),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

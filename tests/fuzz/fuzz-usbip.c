/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The USB/IP server with a client that sends the input: from the first byte, or
 * as commands for a device that it imported. Nothing ends the process; every
 * reply is to a command that is pending and brings no more than that asked for;
 * a command that was unlinked has no other reply; output stays in its bounds,
 * and the next client gets the device. What the codec takes of the whole input
 * it takes of its pieces.
 *
 * The first byte of the input chooses: bit 0 whether a device is imported, bit 1
 * whether it is configured, bit 2 whether a powered card is there, bits 7..4 in
 * how large pieces it is sent.
 */

#include <stdint.h>
#include <string.h>

#include "ccid/device.h"
#include "ccid/usbip-import.h"
#include "ccid/usbip-server.h"
#include "tests/lib/testcard.h"
#include "vmc/chardev.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEVID USBIP_DEVID(1, 1)
#define CONFIGURE_SEQNUM 0xC0000000u

/* A command that was sent and has had no reply. */
typedef struct Asked {
	uint32_t seqnum, length;
	bool in, submit;
} Asked;

typedef struct Fuzz {
	CcidDevice *device;
	VscTestCard *card;
	VmcChardev *near, *far;
	CcidUsbipServer *server;
	bool open;
	bool imported;    /* sent so: replies to commands come after one header */
	bool unsure;      /* the client used a number twice */
	GByteArray *sent; /* not yet taken as commands */
	GArray *asked;
	GByteArray *received; /* not yet taken as replies */
	size_t skip;          /* bytes of the import's reply still to come */
} Fuzz;

static void on_opened(void *user)
{
	((Fuzz *)user)->open = true;
}

static void on_closed(void *user, const GError *reason)
{
	(void)reason;
	((Fuzz *)user)->open = false;
}

static void on_readable(void *user)
{
	Fuzz *fuzz = user;
	uint8_t bytes[4096];
	size_t n;

	while ((n = vmc_chardev_read(fuzz->far, bytes, sizeof(bytes))) > 0)
		g_byte_array_append(fuzz->received, bytes, (guint)n);
}

static const VmcChardevEvents events = {
	.opened = on_opened,
	.closed = on_closed,
	.readable = on_readable,
};

static void run_loop(void)
{
	for (int i = 0; i < 64 && g_main_context_iteration(NULL, FALSE); i++)
		;
}

/* ---- What the client knows ---- */

static Asked *find_asked(Fuzz *fuzz, uint32_t seqnum, guint *at)
{
	for (*at = 0; *at < fuzz->asked->len; (*at)++)
		if (g_array_index(fuzz->asked, Asked, *at).seqnum == seqnum)
			return &g_array_index(fuzz->asked, Asked, *at);
	return NULL;
}

/* Notes the commands in what was sent so far. */
static void note_sent(Fuzz *fuzz)
{
	VmcSpan in = vmc_span(fuzz->sent->data, fuzz->sent->len);
	const char *because;
	UsbipCommand command;
	guint at;

	while (usbip_get_command(&in, &command, &because) == USBIP_RESULT_OK) {
		Asked asked = { command.seqnum, command.length, command.in,
				command.code == USBIP_CMD_SUBMIT };

		fuzz->unsure |= find_asked(fuzz, command.seqnum, &at) != NULL;
		g_array_append_val(fuzz->asked, asked);
	}
	g_byte_array_remove_range(fuzz->sent, 0, fuzz->sent->len - (guint)in.len);
}

static uint32_t word(VmcSpan reply, unsigned i)
{
	VmcSpan at = vmc_span(reply.data + 4 * i, 4);
	uint32_t value = 0;

	g_assert_true(vmc_span_u32be(&at, &value));
	return value;
}

/* Takes one reply from the front of `in`; false: not all of it is there. */
static bool take_reply(Fuzz *fuzz, VmcSpan *in)
{
	uint32_t code, actual;
	bool brings;
	Asked *asked;
	VmcSpan part;
	guint at;

	if (in->len < USBIP_HEADER)
		return false;
	code = word(*in, 0);
	actual = code == USBIP_RET_SUBMIT ? word(*in, 6) : 0;
	asked = find_asked(fuzz, word(*in, 1), &at);
	g_assert_true(code == USBIP_RET_SUBMIT || code == USBIP_RET_UNLINK);
	g_assert_nonnull(asked);
	g_assert_true(asked->submit == (code == USBIP_RET_SUBMIT));
	g_assert_true(actual <= asked->length);
	brings = asked->submit && asked->in;
	if (in->len < USBIP_HEADER + (brings ? actual : 0))
		return false;
	g_array_remove_index(fuzz->asked, at);
	vmc_span_take(in, USBIP_HEADER + (brings ? actual : 0), &part);
	return true;
}

static void check_replies(Fuzz *fuzz)
{
	VmcSpan in = vmc_span(fuzz->received->data, fuzz->received->len), part;

	vmc_span_take(&in, MIN(fuzz->skip, in.len), &part);
	fuzz->skip -= part.len;
	while (!fuzz->unsure && fuzz->skip == 0 && take_reply(fuzz, &in))
		;
	g_byte_array_remove_range(fuzz->received, 0, fuzz->received->len - (guint)in.len);
}

static void send(Fuzz *fuzz, VmcSpan bytes)
{
	if (fuzz->open)
		vmc_chardev_write(fuzz->far, bytes);
	if (fuzz->imported) {
		g_byte_array_append(fuzz->sent, bytes.data, (guint)bytes.len);
		note_sent(fuzz);
	}
	run_loop();
	g_assert_true(vmc_chardev_pending(fuzz->near) <= VMC_CHARDEV_MAX_QUEUE);
	if (fuzz->imported)
		check_replies(fuzz);
}

/* ---- Conversations ---- */

static void send_import(Fuzz *fuzz)
{
	uint8_t op[USBIP_OP_MAX] = { 0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0, '1', '-', '1' };

	send(fuzz, vmc_span(op, sizeof(op)));
	fuzz->skip = 0;
	g_assert_true(fuzz->received->len == USBIP_OP_HEADER + USBIP_DEVICE);
	g_assert_true(fuzz->received->data[7] == USBIP_OP_OK);
	g_byte_array_set_size(fuzz->received, 0);
	fuzz->imported = true;
}

static void send_configure(Fuzz *fuzz)
{
	uint8_t command[USBIP_HEADER] = {
		[3] = USBIP_CMD_SUBMIT, [4] = 0xC0, [9] = 1, [11] = 1, [41] = 9, [42] = 1
	};

	send(fuzz, vmc_span(command, sizeof(command)));
	g_assert_true(fuzz->asked->len == 0);
}

static void connect_again(Fuzz *fuzz)
{
	vmc_chardev_set_user(fuzz->far, NULL, NULL);
	run_loop();
	fuzz->open = fuzz->imported = fuzz->unsure = false;
	g_byte_array_set_size(fuzz->sent, 0);
	g_byte_array_set_size(fuzz->received, 0);
	g_array_set_size(fuzz->asked, 0);
	vmc_chardev_set_user(fuzz->far, &events, fuzz);
	run_loop();
	g_assert_true(fuzz->open);
}

static void begin(Fuzz *fuzz, uint8_t choice)
{
	fuzz->sent = g_byte_array_new();
	fuzz->received = g_byte_array_new();
	fuzz->asked = g_array_new(FALSE, FALSE, sizeof(Asked));
	fuzz->device = ccid_device_new(1, NULL);
	fuzz->card = vsc_test_card_new("fuzz");
	ccid_reader_set_card(ccid_device_reader(fuzz->device), 0, vsc_test_card(fuzz->card));
	vmc_chardev_pair_new(&fuzz->near, &fuzz->far);
	fuzz->server = ccid_usbip_server_new(fuzz->near, NULL);
	g_assert_nonnull(fuzz->server);
	g_assert_true(ccid_usbip_server_add(fuzz->server, ccid_device_usb(fuzz->device)));
	connect_again(fuzz);
	vsc_test_card_set_present(fuzz->card, choice & 4);
	if (choice & 1)
		send_import(fuzz);
	if ((choice & 3) == 3)
		send_configure(fuzz);
}

static void finish(Fuzz *fuzz)
{
	ccid_usbip_server_free(fuzz->server);
	vmc_chardev_free(fuzz->near);
	vmc_chardev_free(fuzz->far);
	ccid_device_free(fuzz->device);
	vsc_test_card_free(fuzz->card);
	g_byte_array_unref(fuzz->sent);
	g_byte_array_unref(fuzz->received);
	g_array_unref(fuzz->asked);
}

/* ---- The codec by itself ---- */

/* A message cut short is one that needs more, and nothing else. */
static void check_codec(VmcSpan input)
{
	const char *because = NULL;
	UsbipCommand command;
	UsbipOp op;
	VmcSpan in = input;

	if (usbip_get_op(&in, &op) == USBIP_RESULT_OK) {
		g_assert_true(op.busid.len <= USBIP_BUSID);
		in = vmc_span(input.data, input.len - in.len - 1);
		g_assert_true(usbip_get_op(&in, &op) == USBIP_RESULT_NEED_MORE);
	}
	in = input;
	switch (usbip_get_command(&in, &command, &because)) {
	case USBIP_RESULT_OK:
		g_assert_true(command.data.len == (command.in ? 0 : command.length));
		g_assert_true(input.len - in.len <= USBIP_COMMAND_MAX);
		in = vmc_span(input.data, input.len - in.len - 1);
		g_assert_true(usbip_get_command(&in, &command, &because) == USBIP_RESULT_NEED_MORE);
		break;
	case USBIP_RESULT_NEED_MORE:
		g_assert_true(in.len == input.len && input.len < USBIP_COMMAND_MAX);
		break;
	case USBIP_RESULT_BAD:
		g_assert_nonnull(because);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	VmcSpan input = vmc_span(data, size), piece;
	Fuzz fuzz = { .open = false };
	uint8_t choice = 0;

	vmc_span_u8(&input, &choice);
	check_codec(input);
	begin(&fuzz, choice);
	while (vmc_span_take(&input, MIN(input.len, (size_t)1 << (choice >> 4)), &piece) &&
	       piece.len > 0)
		send(&fuzz, piece);
	/* Another client, after whatever this one did. */
	connect_again(&fuzz);
	send_import(&fuzz);
	finish(&fuzz);
	return 0;
}

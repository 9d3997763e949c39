/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The USB device with an attach point that does whatever the input says, and a
 * card that answers from the main loop. Each transfer completes exactly once,
 * unless it was cancelled, with no more bytes than asked for; what comes in
 * on the bulk pipe is whole messages, none of which shares a transfer.
 *
 * The input is a row of steps: a byte that chooses, then its arguments.
 */

#include <stdint.h>

#include "ccid/descriptors.h"
#include "ccid/device.h"
#include "tests/lib/testcard.h"

#define STEPS_MAX 512u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Transfer {
	uint64_t id;
	uint8_t endpoint; /* 0x80: control */
	size_t length;
} Transfer;

typedef struct Fuzz {
	VmcSpan input;
	CcidDevice *device;
	UsbDevice *usb;
	VscTestCard *card;
	GArray *pending; /* Transfer */
	uint64_t last_id;
	uint8_t header[CCID_HEADER]; /* of the bulk-IN message that has begun */
	size_t have;                 /* bytes of it */
} Fuzz;

static uint8_t next_byte(Fuzz *fuzz)
{
	uint8_t byte = 0;

	vmc_span_u8(&fuzz->input, &byte);
	return byte;
}

/* One transfer's bytes: of one message at most. */
static void bulk_in(Fuzz *fuzz, VmcSpan data)
{
	CcidMessage message;
	uint8_t byte;

	while (vmc_span_u8(&data, &byte)) {
		if (fuzz->have < CCID_HEADER)
			fuzz->header[fuzz->have] = byte;
		if (++fuzz->have < CCID_HEADER)
			continue;
		ccid_message_read(vmc_span(fuzz->header, CCID_HEADER), &message);
		g_assert_true(message.type >= CCID_DATA_BLOCK &&
			      message.type <= CCID_RATE_AND_CLOCK);
		g_assert_true(message.length <= CCID_MESSAGE_MAX - CCID_HEADER);
		if (fuzz->have < CCID_HEADER + message.length)
			continue;
		fuzz->have = 0;
		g_assert_true(data.len == 0);
	}
}

static void on_complete(void *user, uint64_t id, UsbStatus status, VmcSpan data, size_t actual)
{
	Fuzz *fuzz = user;

	for (guint i = 0; i < fuzz->pending->len; i++) {
		Transfer transfer = g_array_index(fuzz->pending, Transfer, i);

		if (transfer.id != id)
			continue;
		g_array_remove_index(fuzz->pending, i);
		g_assert_true(actual <= transfer.length && data.len <= actual);
		if (transfer.endpoint == CCID_ENDPOINT_IN && status == USB_STATUS_OK)
			bulk_in(fuzz, data);
		return;
	}
	g_assert_not_reached();
}

static const UsbDeviceEvents events = { .complete = on_complete };

static uint64_t submit(Fuzz *fuzz, uint8_t endpoint, size_t length)
{
	Transfer transfer = { ++fuzz->last_id, endpoint, length };

	g_array_append_val(fuzz->pending, transfer);
	return transfer.id;
}

static void control(Fuzz *fuzz, UsbSetup setup)
{
	/* What may drop a message that has begun begins the count anew. */
	if (!(setup.request_type & 0x80u) && setup.request == 9 && setup.value <= 1)
		fuzz->have = 0;
	usb_device_control(fuzz->usb, submit(fuzz, 0x80, setup.length), &setup, vmc_span(NULL, 0));
}

static void any_control(Fuzz *fuzz)
{
	UsbSetup setup = { .request_type = next_byte(fuzz), .request = next_byte(fuzz) };

	setup.value = (uint16_t)(next_byte(fuzz) << 8 | next_byte(fuzz));
	setup.index = next_byte(fuzz);
	setup.length = next_byte(fuzz);
	control(fuzz, setup);
}

static void in(Fuzz *fuzz, uint8_t endpoint, size_t length)
{
	usb_device_in(fuzz->usb, submit(fuzz, endpoint, length), endpoint, length);
}

static void out(Fuzz *fuzz, uint8_t endpoint, VmcSpan data)
{
	usb_device_out(fuzz->usb, submit(fuzz, endpoint, data.len), endpoint, data);
}

static void any_out(Fuzz *fuzz)
{
	VmcSpan bytes;
	size_t n = next_byte(fuzz);

	vmc_span_take(&fuzz->input, MIN(n, fuzz->input.len), &bytes);
	out(fuzz, CCID_ENDPOINT_OUT, bytes);
}

/* A command that holds together, padded to make whole packets if asked. */
static void command(Fuzz *fuzz, bool pad)
{
	uint8_t bytes[512] = { (uint8_t)(0x60 + next_byte(fuzz) % 0x14) };
	size_t n = next_byte(fuzz) & 0x3Fu, len = CCID_HEADER;

	bytes[6] = next_byte(fuzz);
	for (; n > 0; n--)
		bytes[len++] = next_byte(fuzz);
	if (pad)
		len = (len + 63) / 64 * 64;
	vmc_put_u32le(&bytes[1], (uint32_t)(len - CCID_HEADER));
	out(fuzz, CCID_ENDPOINT_OUT, vmc_span(bytes, len));
}

static void echo(Fuzz *fuzz)
{
	uint8_t bytes[] = { 0x6F, 7, 0, 0, 0, 0, next_byte(fuzz), 0, 0, 0, 0, 0xEC, 0, 0, 0, 0, 0 };

	bytes[15] = next_byte(fuzz) & 0x0Fu;
	bytes[16] = next_byte(fuzz);
	out(fuzz, CCID_ENDPOINT_OUT, vmc_span(bytes, sizeof(bytes)));
}

static void cancel(Fuzz *fuzz)
{
	guint at = next_byte(fuzz);

	if (at >= fuzz->pending->len) {
		usb_device_cancel(fuzz->usb, 0);
		return;
	}
	usb_device_cancel(fuzz->usb, g_array_index(fuzz->pending, Transfer, at).id);
	g_array_remove_index(fuzz->pending, at);
}

static void run_loop(void)
{
	for (int i = 0; i < 8 && g_main_context_iteration(NULL, FALSE); i++)
		;
}

static void step(Fuzz *fuzz)
{
	static const size_t lengths[] = { 64, 512, 16384, 65556 };
	uint8_t choice = next_byte(fuzz);

	switch (choice & 0x0F) {
	case 0:
		any_control(fuzz);
		break;
	case 1:
		control(fuzz, (UsbSetup){ .request = 9, .value = 1 });
		break;
	case 2:
	case 3:
		in(fuzz, CCID_ENDPOINT_IN, lengths[choice >> 6]);
		break;
	case 4:
		in(fuzz, next_byte(fuzz), choice >> 4);
		break;
	case 5:
		in(fuzz, CCID_ENDPOINT_INTERRUPT, 8);
		break;
	case 6:
		any_out(fuzz);
		break;
	case 7:
	case 8:
		command(fuzz, choice & 0x10);
		break;
	case 9:
		echo(fuzz);
		break;
	case 10:
		out(fuzz, next_byte(fuzz), vmc_span("x", 1));
		break;
	case 11:
		cancel(fuzz);
		break;
	case 12:
		vsc_test_card_set_present(fuzz->card, choice & 0x10);
		break;
	case 13:
		fuzz->have = 0;
		usb_device_reset(fuzz->usb);
		g_assert_true(fuzz->pending->len == 0);
		break;
	default:
		run_loop();
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Fuzz fuzz = { .input = vmc_span(data, size),
		      .pending = g_array_new(FALSE, FALSE, sizeof(Transfer)) };

	fuzz.device = ccid_device_new(1, NULL);
	fuzz.usb = ccid_device_usb(fuzz.device);
	fuzz.card = vsc_test_card_new("fuzz");
	ccid_reader_set_card(ccid_device_reader(fuzz.device), 0, vsc_test_card(fuzz.card));
	usb_device_attach(fuzz.usb, &events, &fuzz);
	for (unsigned i = 0; i < STEPS_MAX && fuzz.input.len > 0; i++)
		step(&fuzz);
	usb_device_reset(fuzz.usb);
	g_assert_true(fuzz.pending->len == 0);
	usb_device_attach(fuzz.usb, NULL, NULL);
	ccid_device_free(fuzz.device);
	vsc_test_card_free(fuzz.card);
	g_array_unref(fuzz.pending);
	return 0;
}

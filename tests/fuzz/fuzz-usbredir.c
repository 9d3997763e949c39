/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The usbredir attach point with a peer that sends the input: after a hello of
 * each generation and SET_CONFIGURATION, or from the first byte. Nothing ends
 * the process, output stays in its bounds, and the next peer gets a device.
 *
 * The first byte of the input chooses: bits 1..0 how it begins, bit 2 whether
 * a powered card is there, bit 3 whether the second half comes on another
 * connection, which goes on where the first one ended, bits 7..4 in how large
 * pieces it is sent, bit 4 by itself whether the device becomes another before
 * the second half, for a peer that can acknowledge it.
 */

#include <stdint.h>

#include "ccid/device.h"
#include "ccid/usbredir.h"
#include "tests/lib/testcard.h"
#include "vmc/chardev.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Fuzz {
	CcidDevice *device;
	VscTestCard *card;
	VmcChardev *near, *far;
	CcidUsbredir *usbredir;
	bool open;
	size_t received;
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
		fuzz->received += n;
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

static void send(Fuzz *fuzz, VmcSpan bytes)
{
	if (fuzz->open)
		vmc_chardev_write(fuzz->far, bytes);
	g_assert_true(vmc_chardev_pending(fuzz->near) <= VMC_CHARDEV_MAX_QUEUE);
}

static void send_hello(Fuzz *fuzz, uint8_t caps)
{
	uint8_t hello[12 + 64 + 4] = { [4] = 68, [12] = 'f', [76] = caps };

	send(fuzz, vmc_span(hello, sizeof(hello)));
}

static void send_configure(Fuzz *fuzz, bool ids64)
{
	static const uint8_t packet[] = { 6, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1 };

	if (ids64) {
		send(fuzz, vmc_span(packet, sizeof(packet)));
	} else {
		send(fuzz, vmc_span(packet, 12));
		send(fuzz, vmc_span(packet + 16, 1));
	}
}

static void begin(Fuzz *fuzz, uint8_t choice)
{
	fuzz->device = ccid_device_new(1, NULL);
	fuzz->card = vsc_test_card_new("fuzz");
	ccid_reader_set_card(ccid_device_reader(fuzz->device), 0, vsc_test_card(fuzz->card));
	vmc_chardev_pair_new(&fuzz->near, &fuzz->far);
	fuzz->usbredir = ccid_usbredir_new(fuzz->near, ccid_device_usb(fuzz->device), NULL);
	g_assert_nonnull(fuzz->usbredir);
	g_assert_true(vmc_chardev_set_user(fuzz->far, &events, fuzz));
	run_loop();
	g_assert_true(fuzz->open);
	vsc_test_card_set_present(fuzz->card, choice & 4);
	if (choice & 1)
		send_hello(fuzz, (uint8_t)((choice & 2 ? 0x76 : 0x00) | (choice & 0x10) >> 1));
	if (choice & 2)
		send_configure(fuzz, choice & 1);
	run_loop();
}

static void connect_again(Fuzz *fuzz)
{
	vmc_chardev_set_user(fuzz->far, NULL, NULL);
	run_loop();
	fuzz->open = false;
	fuzz->received = 0;
	vmc_chardev_set_user(fuzz->far, &events, fuzz);
	run_loop();
	g_assert_true(fuzz->open);
}

/* Another peer after whatever this one did. */
static void check_next(Fuzz *fuzz)
{
	connect_again(fuzz);
	send_hello(fuzz, 0x76);
	run_loop();
	/* Our hello alone has 80 bytes. */
	g_assert_true(fuzz->received > 300);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	VmcSpan input = vmc_span(data, size), piece;
	Fuzz fuzz = { .open = false };
	uint8_t choice = 0;
	bool again, changed;

	vmc_span_u8(&input, &choice);
	again = !(choice & 8);
	changed = !(choice & 0x10);
	begin(&fuzz, choice);
	while (vmc_span_take(&input, MIN(input.len, (size_t)1 << (choice >> 4)), &piece) &&
	       piece.len > 0) {
		if (!changed && input.len < size / 2) {
			changed = true;
			usb_device_changed(ccid_device_usb(fuzz.device));
		}
		if (!again && input.len < size / 2) {
			again = true;
			connect_again(&fuzz);
		}
		send(&fuzz, piece);
		run_loop();
	}
	check_next(&fuzz);
	ccid_usbredir_free(fuzz.usbredir);
	vmc_chardev_free(fuzz.near);
	vmc_chardev_free(fuzz.far);
	ccid_device_free(fuzz.device);
	vsc_test_card_free(fuzz.card);
	return 0;
}

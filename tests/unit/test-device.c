/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidDevice as an attach point sees it: control requests, bulk and interrupt
 * transfers, stalls, cancels and resets, with a card that answers from the
 * main loop.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ccid/bulk-in.h"
#include "ccid/descriptors.h"
#include "ccid/device.h"
#include "tests/lib/testcard.h"

/* What nothing here takes longer than. */
#define LIMIT_US (20 * G_USEC_PER_SEC)

typedef struct Done {
	uint64_t id;
	UsbStatus status;
	GByteArray *data;
	size_t actual;
} Done;

typedef struct Host {
	CcidDevice *device;
	UsbDevice *usb;
	VscTestCard *card;
	GQueue done; /* Done */
	uint64_t last_id;
	uint8_t seq;
	unsigned changes;
} Host;

static void done_free(void *data)
{
	Done *done = data;

	g_byte_array_unref(done->data);
	g_free(done);
}

static void on_complete(void *user, uint64_t id, UsbStatus status, VmcSpan data, size_t actual)
{
	Host *host = user;
	Done *done = g_new0(Done, 1);

	done->id = id;
	done->status = status;
	done->actual = actual;
	done->data = g_byte_array_new();
	g_byte_array_append(done->data, data.data, (guint)data.len);
	g_queue_push_tail(&host->done, done);
}

static void on_changed(void *user)
{
	((Host *)user)->changes++;
}

static const UsbDeviceEvents events = { .complete = on_complete, .changed = on_changed };

/* The completion of `id`, NULL if there is none yet; freed by the caller. */
static Done *take(Host *host, uint64_t id)
{
	for (GList *i = host->done.head; i; i = i->next) {
		Done *done = i->data;

		if (done->id != id)
			continue;
		g_queue_delete_link(&host->done, i);
		return done;
	}
	return NULL;
}

static Done *wait_for(Host *host, uint64_t id)
{
	int64_t end = g_get_monotonic_time() + LIMIT_US;
	Done *done;

	while (!(done = take(host, id))) {
		assert_true(g_get_monotonic_time() < end);
		if (!g_main_context_iteration(NULL, FALSE))
			g_usleep(200);
	}
	return done;
}

static void settle(void)
{
	while (g_main_context_iteration(NULL, FALSE))
		;
}

/* ---- Transfers ---- */

static uint64_t submit_in(Host *host, uint8_t endpoint, size_t length)
{
	usb_device_in(host->usb, ++host->last_id, endpoint, length);
	return host->last_id;
}

static uint64_t submit_out(Host *host, const void *bytes, size_t len)
{
	usb_device_out(host->usb, ++host->last_id, CCID_ENDPOINT_OUT, vmc_span(bytes, len));
	return host->last_id;
}

static void check_done(Host *host, uint64_t id, UsbStatus status, size_t actual)
{
	Done *done = wait_for(host, id);

	assert_int_equal(done->status, status);
	assert_int_equal(done->actual, actual);
	done_free(done);
}

/* A control request; answers its data, NULL if it stalled. */
static GByteArray *control(Host *host, uint16_t request, uint16_t value, uint16_t index,
			   uint16_t length)
{
	UsbSetup setup = { (uint8_t)(request >> 8), (uint8_t)request, value, index, length };
	GByteArray *data = NULL;
	Done *done;

	usb_device_control(host->usb, ++host->last_id, &setup, vmc_span(NULL, 0));
	done = take(host, host->last_id);
	assert_non_null(done);
	assert_true(done->actual <= length);
	if (done->status == USB_STATUS_OK)
		data = g_byte_array_ref(done->data);
	else
		assert_int_equal(done->status, USB_STATUS_STALL);
	done_free(done);
	return data;
}

static void check_control(Host *host, uint16_t request, uint16_t value, uint16_t index,
			  uint16_t length, const void *want, size_t len)
{
	g_autoptr(GByteArray) data = control(host, request, value, index, length);

	assert_non_null(data);
	assert_int_equal(data->len, len);
	if (len)
		assert_memory_equal(data->data, want, len);
}

static void check_stall(Host *host, uint16_t request, uint16_t value, uint16_t index,
			uint16_t length)
{
	assert_null(control(host, request, value, index, length));
}

static void configure(Host *host)
{
	check_control(host, 0x0009, 1, 0, 0, NULL, 0);
}

/* A command of `len` bytes with `data`; answers its sequence number. */
static uint8_t command(Host *host, uint8_t type, const void *data, size_t len)
{
	g_autofree uint8_t *bytes = g_malloc0(CCID_HEADER + len);

	bytes[0] = type;
	vmc_put_u32le(&bytes[1], (uint32_t)len);
	bytes[6] = ++host->seq;
	if (len)
		memcpy(bytes + CCID_HEADER, data, len);
	submit_out(host, bytes, CCID_HEADER + len);
	return host->seq;
}

/* Reads one message in transfers of `length`; a short one ends it. */
static GByteArray *read_message(Host *host, size_t length)
{
	GByteArray *message = g_byte_array_new();
	size_t got;

	do {
		Done *done = wait_for(host, submit_in(host, CCID_ENDPOINT_IN, length));

		assert_int_equal(done->status, USB_STATUS_OK);
		assert_true(done->actual <= length);
		got = done->actual;
		g_byte_array_append(message, done->data->data, done->data->len);
		done_free(done);
	} while (got == length && message->len % 64 == 0);
	assert_true(message->len >= CCID_HEADER);
	return message;
}

static void check_answer(Host *host, uint8_t type, uint8_t seq, uint8_t status, uint8_t error)
{
	g_autoptr(GByteArray) answer = read_message(host, CCID_MESSAGE_MAX);

	assert_int_equal(answer->data[0], type);
	assert_int_equal(answer->data[6], seq);
	assert_int_equal(answer->data[7], status);
	assert_int_equal(answer->data[8], error);
}

static void power_on(Host *host)
{
	vsc_test_card_set_present(host->card, true);
	check_answer(host, CCID_DATA_BLOCK, command(host, CCID_ICC_POWER_ON, NULL, 0), 0, 0);
}

static int setup_host(void **state)
{
	Host *host = g_new0(Host, 1);

	host->device = ccid_device_new(1, NULL);
	host->usb = ccid_device_usb(host->device);
	host->card = vsc_test_card_new("test");
	g_queue_init(&host->done);
	ccid_reader_set_card(ccid_device_reader(host->device), 0, vsc_test_card(host->card));
	assert_true(usb_device_attach(host->usb, &events, host));
	configure(host);
	*state = host;
	return 0;
}

static int teardown_host(void **state)
{
	Host *host = *state;

	ccid_device_free(host->device);
	vsc_test_card_free(host->card);
	g_queue_clear_full(&host->done, done_free);
	g_free(host);
	return 0;
}

/* ---- Control ---- */

static void test_descriptors(void **state)
{
	Host *host = *state;
	GByteArray *data = control(host, 0x8006, 0x0100, 0, 64);

	assert_int_equal(data->len, 18);
	g_byte_array_unref(data);
	data = control(host, 0x8006, 0x0100, 0, 8);
	assert_int_equal(data->len, 8);
	g_byte_array_unref(data);
	data = control(host, 0x8006, 0x0200, 0, 9);
	assert_int_equal(data->len, 9);
	assert_int_equal(data->data[2], 93);
	g_byte_array_unref(data);
	data = control(host, 0x8006, 0x0200, 0, 0xFFFF);
	assert_int_equal(data->len, 93);
	g_byte_array_unref(data);
	check_control(host, 0x8006, 0x0300, 0, 255, "\4\3\x09\4", 4);
	check_control(host, 0x8006, 0x0301, 0x0409, 255, "\xE\3v\0s\0c\0a\0r\0d\0", 14);
	check_stall(host, 0x8006, 0x0303, 0x0409, 255);
	check_stall(host, 0x8006, 0x0F00, 0, 255);
	check_stall(host, 0x8006, 0x0201, 0, 255);
}

static void test_standard_requests(void **state)
{
	Host *host = *state;

	check_control(host, 0x8000, 0, 0, 2, "\0\0", 2);
	check_control(host, 0x8100, 0, 0, 2, "\0\0", 2);
	check_control(host, 0x8200, 0, 0x80, 2, "\0\0", 2);
	check_control(host, 0x8200, 0, CCID_ENDPOINT_IN, 2, "\0\0", 2);
	check_stall(host, 0x8200, 0, 0x04, 2);
	check_stall(host, 0x8200, 0, 0x0182, 2);
	check_control(host, 0x8008, 0, 0, 1, "\1", 1);
	check_control(host, 0x810A, 0, 0, 1, "\0", 1);
	check_control(host, 0x010B, 0, 0, 0, NULL, 0);
	check_stall(host, 0x010B, 1, 0, 0);
	check_stall(host, 0x010B, 0, 1, 0);
	check_stall(host, 0x810A, 0, 1, 1);
	check_control(host, 0x0005, 7, 0, 0, NULL, 0);
	check_stall(host, 0x0009, 2, 0, 0);
	check_stall(host, 0x0003, 1, 0, 0); /* SET_FEATURE of the device */
	check_stall(host, 0x8007, 0, 0, 8);
	check_stall(host, 0xC0FF, 0, 0, 8);
	check_control(host, 0x0009, 0, 0, 0, NULL, 0);
	check_control(host, 0x8008, 0, 0, 1, "\0", 1);
	check_stall(host, 0x810A, 0, 0, 1); /* not configured: no interface */
}

static void test_class_requests(void **state)
{
	Host *host = *state;
	g_autoptr(GByteArray) rates = control(host, 0xA103, 0, 0, 255);

	check_control(host, 0xA102, 0, 0, 255, "\xA0\x0F\0\0", 4);
	check_control(host, 0xA102, 0, 0, 2, "\xA0\x0F", 2);
	assert_int_equal(rates->len, 24);
	check_stall(host, 0xA102, 0, 1, 255);
	check_stall(host, 0x2101, 0x0501, 0, 0); /* no such slot */
	check_control(host, 0x2101, 0x0500, 0, 0, NULL, 0);
	command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	check_answer(host, CCID_SLOT_STATUS, host->seq, 0x42, 0xFF);
	host->seq = 4;
	command(host, CCID_ABORT, NULL, 0);
	check_answer(host, CCID_SLOT_STATUS, 5, 0x02, 0);
	check_stall(host, 0x2104, 0, 0, 0);
}

static void test_halt(void **state)
{
	Host *host = *state;
	uint64_t in = submit_in(host, CCID_ENDPOINT_IN, 512);

	check_stall(host, 0x0203, 1, CCID_ENDPOINT_IN, 0);
	check_stall(host, 0x0203, 0, 0x04, 0);
	check_control(host, 0x0203, 0, CCID_ENDPOINT_IN, 0, NULL, 0);
	check_done(host, in, USB_STATUS_STALL, 0);
	check_control(host, 0x8200, 0, CCID_ENDPOINT_IN, 2, "\1\0", 2);
	check_done(host, submit_in(host, CCID_ENDPOINT_IN, 512), USB_STATUS_STALL, 0);
	command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	check_control(host, 0x0201, 0, CCID_ENDPOINT_IN, 0, NULL, 0);
	check_answer(host, CCID_SLOT_STATUS, host->seq, 2, 0);
	check_control(host, 0x0203, 0, CCID_ENDPOINT_OUT, 0, NULL, 0);
	check_done(host, submit_out(host, "x", 1), USB_STATUS_STALL, 0);
	check_control(host, 0x0201, 0, CCID_ENDPOINT_OUT, 0, NULL, 0);
	command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	check_answer(host, CCID_SLOT_STATUS, host->seq, 2, 0);
	check_control(host, 0x0201, 0, 0, 0, NULL, 0);
}

static void test_no_endpoint(void **state)
{
	Host *host = *state;

	check_done(host, submit_in(host, 0x81, 64), USB_STATUS_ERROR, 0);
	check_done(host, submit_in(host, 0x01, 64), USB_STATUS_ERROR, 0);
	usb_device_out(host->usb, ++host->last_id, CCID_ENDPOINT_IN, vmc_span("x", 1));
	check_done(host, host->last_id, USB_STATUS_ERROR, 0);
	check_control(host, 0x0009, 0, 0, 0, NULL, 0);
	check_done(host, submit_in(host, CCID_ENDPOINT_IN, 64), USB_STATUS_ERROR, 0);
	check_done(host, submit_out(host, "x", 1), USB_STATUS_ERROR, 0);
}

/* ---- Bulk ---- */

/* Responses around each multiple of a packet, read as each kind of bus does. */
static void test_response_sizes(void **state)
{
	static const size_t lengths[] = { 64, 512, 16384, 65556 };
	static const unsigned totals[] = { 12,  13,  63,  64,   65,    127,   128,   129,   511,
					   512, 513, 576, 1024, 16383, 16384, 16385, 65546, 65548 };
	Host *host = *state;

	power_on(host);
	for (size_t i = 0; i < G_N_ELEMENTS(totals); i++)
		for (size_t l = 0; l < G_N_ELEMENTS(lengths); l++) {
			unsigned ne = totals[i] - 12, delay;
			uint8_t apdu[] = { 0,          0xEC, 0, (uint8_t)i, 0, (uint8_t)(ne >> 8),
					   (uint8_t)ne };
			size_t len = ne ? sizeof(apdu) : 4;
			GByteArray *want = vsc_test_card_response(vmc_span(apdu, len), &delay);
			GByteArray *got;
			uint8_t seq = command(host, CCID_XFR_BLOCK, apdu, len);

			got = read_message(host, lengths[l]);
			assert_int_equal(got->len, totals[i]);
			assert_int_equal(got->data[6], seq);
			assert_memory_equal(got->data + CCID_HEADER, want->data, want->len);
			g_byte_array_unref(want);
			g_byte_array_unref(got);
		}
	assert_int_equal(vsc_test_card_most_pending(host->card), 1);
}

/* Commands of each size, whole or in pieces, with the packet of length zero
 * that some hosts add and without. */
static void test_command_sizes(void **state)
{
	static const size_t pieces[] = { 64, 512, 16384, 65556 };
	static const size_t totals[] = { 64, 65, 128, 512, 513, 1024, 16384, CCID_MESSAGE_MAX };
	Host *host = *state;

	power_on(host);
	for (size_t i = 0; i < G_N_ELEMENTS(totals); i++)
		for (size_t p = 0; p < 2 * G_N_ELEMENTS(pieces); p++) {
			g_autofree uint8_t *m = g_malloc0(totals[i]);
			size_t nc = totals[i] - CCID_HEADER - 9, piece = pieces[p / 2];

			memcpy(m, "\x6F\0\0\0\0\0\0\0\0\0\0\xEC\0\0\0\0\0", 17);
			vmc_put_u32le(&m[1], (uint32_t)(totals[i] - CCID_HEADER));
			m[6] = ++host->seq;
			vmc_put_u16be(&m[15], (uint16_t)nc);
			m[totals[i] - 1] = 9; /* Ne */
			for (size_t at = 0; at < totals[i]; at += piece)
				submit_out(host, m + at, MIN(piece, totals[i] - at));
			if (p % 2 && totals[i] % 64 == 0)
				submit_out(host, NULL, 0);
			check_answer(host, CCID_DATA_BLOCK, host->seq, 0, 0);
		}
}

/* Whatever is wrong with a message: its error, and then all is in step. */
static void test_wrong_messages(void **state)
{
	Host *host = *state;

	power_on(host);
	for (size_t n = 1; n <= 12; n++) {
		uint8_t m[] = { 0x6F, 4, 0, 0, 0, 0, 0x77, 0, 0, 0, 0, 0xEC };

		submit_out(host, m, n);
		check_answer(host, CCID_DATA_BLOCK, n > 6 ? 0x77 : 0, 0x40, 1);
		command(host, CCID_GET_SLOT_STATUS, NULL, 0);
		check_answer(host, CCID_SLOT_STATUS, host->seq, 0, 0);
	}
	for (size_t n = 64; n <= 1024; n += 64) {
		g_autofree uint8_t *m = g_malloc0(n);

		m[0] = 0x6F;
		m[6] = 0x78;
		vmc_put_u32le(&m[1], 0xFFFFFFF0);
		submit_out(host, m, n);
		check_answer(host, CCID_DATA_BLOCK, 0x78, 0x40, 1);
		command(host, CCID_GET_SLOT_STATUS, NULL, 0);
		check_answer(host, CCID_SLOT_STATUS, host->seq, 0, 0);
	}
}

/* The order of completions: a command is taken before it is answered, and the
 * answer waits for a transfer to carry it. */
static void test_order(void **state)
{
	Host *host = *state;
	uint64_t in, out;

	in = submit_in(host, CCID_ENDPOINT_IN, 512);
	assert_null(take(host, in));
	command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	out = host->last_id;
	assert_int_equal(((Done *)g_queue_peek_nth(&host->done, 0))->id, out);
	assert_int_equal(((Done *)g_queue_peek_nth(&host->done, 1))->id, in);
	check_done(host, out, USB_STATUS_OK, 10);
	check_done(host, in, USB_STATUS_OK, 10);
}

/* Many commands and no IN transfer: those beyond the bound are held, none is
 * lost, all answers come in order. */
static void check_unread(Host *host, unsigned count)
{
	g_autofree uint64_t *ids = g_new(uint64_t, count);
	uint8_t first = (uint8_t)(host->seq + 1);

	for (unsigned i = 0; i < count; i++) {
		command(host, CCID_GET_SLOT_STATUS, NULL, 0);
		ids[i] = host->last_id;
	}
	assert_int_equal(host->done.length, MIN(count, CCID_ANSWERS_MAX));
	for (unsigned i = 0; i < count; i++)
		check_answer(host, CCID_SLOT_STATUS, (uint8_t)(first + i), 2, 0);
	for (unsigned i = 0; i < count; i++)
		check_done(host, ids[i], USB_STATUS_OK, 10);
}

static void test_unread(void **state)
{
	Host *host = *state;

	for (unsigned count = 1; count <= 20; count++)
		check_unread(host, count);
	check_unread(host, 4000);
	assert_int_equal(host->done.length, 0);
}

/* Beyond what may wait, transfers fail; the device goes on. */
static void test_too_many(void **state)
{
	Host *host = *state;
	unsigned errors = 0;

	for (unsigned i = 0; i < 6000; i++) {
		submit_in(host, CCID_ENDPOINT_INTERRUPT, 8);
		submit_out(host, "\x65\0\0\0\0\0\1\0\0\0", 10);
	}
	for (GList *i = host->done.head; i; i = i->next)
		errors += ((Done *)i->data)->status == USB_STATUS_ERROR;
	assert_in_range(errors, 3000, 4000);
	usb_device_reset(host->usb);
	assert_int_equal(host->done.length, 12000);
	g_queue_clear_full(&host->done, done_free);
	configure(host);
	command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	check_answer(host, CCID_SLOT_STATUS, host->seq, 2, 0);
}

static void test_held_bytes(void **state)
{
	Host *host = *state;
	g_autofree uint8_t *much = g_malloc0(CCID_MESSAGE_MAX);
	unsigned errors = 0;

	check_unread(host, CCID_ANSWERS_MAX);
	for (unsigned i = 0; i < CCID_ANSWERS_MAX; i++)
		command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	for (unsigned i = 0; i < 100; i++)
		submit_out(host, much, CCID_MESSAGE_MAX);
	for (GList *i = host->done.head; i; i = i->next)
		errors += ((Done *)i->data)->status == USB_STATUS_ERROR;
	assert_int_equal(errors, 96);
}

static void test_cancel(void **state)
{
	Host *host = *state;
	uint64_t in = submit_in(host, CCID_ENDPOINT_IN, 512), held;

	usb_device_cancel(host->usb, in);
	usb_device_cancel(host->usb, 123456);
	command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	check_answer(host, CCID_SLOT_STATUS, host->seq, 2, 0); /* not lost with it */
	assert_null(take(host, in));
	for (unsigned i = 0; i < CCID_ANSWERS_MAX; i++)
		command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	held = submit_out(host, "\x65\0\0\0\0\0\xEE\0\0\0", 10);
	usb_device_cancel(host->usb, held);
	for (unsigned i = 0; i < CCID_ANSWERS_MAX; i++)
		g_byte_array_unref(read_message(host, 512));
	assert_null(take(host, held));
	in = submit_in(host, CCID_ENDPOINT_IN, 512);
	settle();
	assert_null(take(host, in));
}

static void test_reset(void **state)
{
	Host *host = *state;
	uint64_t in, interrupt;

	power_on(host);
	vsc_test_card_set_mode(host->card, VSC_TEST_SILENT);
	command(host, CCID_XFR_BLOCK, "\0\xEC\0\0", 4);
	in = submit_in(host, CCID_ENDPOINT_IN, 512);
	check_done(host, submit_in(host, CCID_ENDPOINT_INTERRUPT, 8), USB_STATUS_OK, 2);
	interrupt = submit_in(host, CCID_ENDPOINT_INTERRUPT, 8);
	usb_device_reset(host->usb);
	check_done(host, in, USB_STATUS_CANCELLED, 0);
	check_done(host, interrupt, USB_STATUS_CANCELLED, 0);
	check_control(host, 0x8008, 0, 0, 1, "\0", 1);
	settle();
	assert_false(vsc_test_card_powered(host->card));
	configure(host);
	interrupt = submit_in(host, CCID_ENDPOINT_INTERRUPT, 8);
	check_done(host, interrupt, USB_STATUS_OK, 2); /* what is there is new again */
	command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	check_answer(host, CCID_SLOT_STATUS, host->seq, 1, 0);
}

static void test_attach(void **state)
{
	Host *host = *state;
	uint64_t in = submit_in(host, CCID_ENDPOINT_IN, 512);

	assert_false(usb_device_attach(host->usb, &events, host));
	assert_true(usb_device_attach(host->usb, NULL, NULL));
	assert_null(take(host, in)); /* dropped, not completed */
	assert_true(usb_device_attach(host->usb, &events, host));
	check_control(host, 0x8008, 0, 0, 1, "\0", 1);
}

/* ---- Interrupt ---- */

static void check_notify(Host *host, uint8_t bits)
{
	Done *done = wait_for(host, submit_in(host, CCID_ENDPOINT_INTERRUPT, 8));

	assert_int_equal(done->status, USB_STATUS_OK);
	assert_int_equal(done->actual, 2);
	assert_int_equal(done->data->data[0], CCID_NOTIFY_SLOT_CHANGE);
	assert_int_equal(done->data->data[1], bits);
	done_free(done);
}

static void test_interrupt(void **state)
{
	Host *host = *state;
	uint64_t id = submit_in(host, CCID_ENDPOINT_INTERRUPT, 8);

	assert_null(take(host, id)); /* nothing to tell of an empty slot */
	vsc_test_card_set_present(host->card, true);
	check_done(host, id, USB_STATUS_OK, 2);
	vsc_test_card_set_present(host->card, false);
	check_notify(host, 2);
	vsc_test_card_set_present(host->card, true);
	vsc_test_card_set_present(host->card, false);
	vsc_test_card_set_present(host->card, true);
	check_notify(host, 3);
	id = submit_in(host, CCID_ENDPOINT_INTERRUPT, 8);
	assert_null(take(host, id));
	configure(host); /* again: the initial report */
	check_done(host, id, USB_STATUS_CANCELLED, 0);
	check_notify(host, 3);
}

/* ---- Time ---- */

static void test_time_extension(void **state)
{
	Host *host = *state;
	int64_t begin = g_get_monotonic_time(), took;
	uint8_t seq;

	power_on(host);
	seq = command(host, CCID_XFR_BLOCK, "\0\xED\0\x0F", 4); /* 1.5 s */
	check_answer(host, CCID_DATA_BLOCK, seq, 0x80, CCID_TIME_EXTENSION_FACTOR);
	took = g_get_monotonic_time() - begin;
	assert_in_range(took, G_USEC_PER_SEC * 9 / 10, 2 * G_USEC_PER_SEC);
	check_answer(host, CCID_DATA_BLOCK, seq, 0, 0);
	/* A command that is done needs no timer. */
	assert_int_equal(ccid_reader_deadline(ccid_device_reader(host->device)), -1);
}

/* ---- The name of the card's reader ---- */

static void describe(Host *host, const char *name, const char *serial)
{
	vsc_card_describe(vsc_test_card(host->card), name,
			  &(VscReaderInfo){ .serial = (char *)serial });
}

/* String `index`, of ASCII, is `text`. */
static void check_string(Host *host, uint8_t index, const char *text)
{
	uint8_t bytes[64] = { 0, 3 };
	size_t len = 2;

	for (; *text != '\0'; text++, len += 2)
		bytes[len] = (uint8_t)*text;
	bytes[0] = (uint8_t)len;
	check_control(host, 0x8006, (uint16_t)(0x0300 | index), 0x0409, sizeof(bytes), bytes, len);
}

static void test_follow(void **state)
{
	Host *host = *state;
	int64_t end = g_get_monotonic_time() + LIMIT_US;

	describe(host, "unheard", "1");
	assert_int_equal(host->changes, 0);
	check_string(host, 4, "vscard");
	ccid_device_follow_card(host->device);
	describe(host, "reader", "2");
	assert_int_equal(host->changes, 1);
	check_string(host, 4, "reader");
	check_string(host, 3, "2");
	/* What is not shown is no change; and what flickers comes to one. */
	vsc_card_describe(vsc_test_card(host->card), NULL,
			  &(VscReaderInfo){ .vendor = (char *)"v", .serial = (char *)"2" });
	for (unsigned i = 0; i < 100; i++)
		describe(host, i % 2 ? "other" : "another", NULL);
	assert_int_equal(host->changes, 1);
	check_string(host, 4, "reader");
	while (host->changes < 2) {
		assert_true(g_get_monotonic_time() < end);
		g_main_context_iteration(NULL, TRUE);
	}
	check_string(host, 4, "other");
	check_stall(host, 0x8006, 0x0303, 0x0409, 64);
}

static void test_removal_pending(void **state)
{
	Host *host = *state;
	uint8_t seq;

	power_on(host);
	seq = command(host, CCID_XFR_BLOCK, "\0\xED\0\xFF", 4);
	settle();
	vsc_test_card_set_present(host->card, false);
	check_answer(host, CCID_DATA_BLOCK, seq, 0x42, 0xFE);
	command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	check_answer(host, CCID_SLOT_STATUS, host->seq, 2, 0);
}

#define HOST_TEST(f) cmocka_unit_test_setup_teardown(f, setup_host, teardown_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOST_TEST(test_descriptors),    HOST_TEST(test_standard_requests),
		HOST_TEST(test_class_requests), HOST_TEST(test_halt),
		HOST_TEST(test_no_endpoint),    HOST_TEST(test_response_sizes),
		HOST_TEST(test_command_sizes),  HOST_TEST(test_wrong_messages),
		HOST_TEST(test_order),          HOST_TEST(test_unread),
		HOST_TEST(test_too_many),       HOST_TEST(test_held_bytes),
		HOST_TEST(test_cancel),         HOST_TEST(test_reset),
		HOST_TEST(test_attach),         HOST_TEST(test_interrupt),
		HOST_TEST(test_time_extension), HOST_TEST(test_removal_pending),
		HOST_TEST(test_follow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

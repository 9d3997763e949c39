/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The pure parts of ccid/: the message codec, parameters, descriptors, and how
 * transfers become messages and answers become transfers.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ccid/bulk-in.h"
#include "ccid/bulk-out.h"
#include "ccid/descriptors.h"
#include "ccid/message.h"
#include "ccid/params.h"

/* ---- Messages ---- */

static void test_message_read(void **state)
{
	const uint8_t bytes[] = { 0x6F, 2, 0, 0, 0, 3, 9, 1, 2, 4, 0xAA, 0xBB };
	CcidMessage message;
	uint8_t back[CCID_HEADER];

	(void)state;
	assert_int_equal(ccid_message_read(vmc_span(bytes, sizeof(bytes)), &message), CCID_READ_OK);
	assert_int_equal(message.type, CCID_XFR_BLOCK);
	assert_int_equal(message.length, 2);
	assert_int_equal(message.slot, 3);
	assert_int_equal(message.seq, 9);
	assert_memory_equal(message.specific, bytes + 7, 3);
	assert_ptr_equal(message.data.data, bytes + 10);
	assert_int_equal(message.data.len, 2);
	ccid_message_put_header(back, &message);
	assert_memory_equal(back, bytes, CCID_HEADER);
}

static void test_message_lengths(void **state)
{
	static const uint32_t wrong[] = { 1, 3, 0xFFFFFFF0, 0xFFFFFFFF, 0x02000000 };
	uint8_t bytes[] = { 0x6F, 2, 0, 0, 0, 3, 9, 1, 2, 4, 0xAA, 0xBB };
	CcidMessage message;

	(void)state;
	for (size_t n = 0; n < CCID_HEADER; n++) {
		assert_int_equal(ccid_message_read(vmc_span(bytes, n), &message), CCID_READ_SHORT);
		assert_int_equal(message.type, n > 0 ? 0x6F : 0);
		assert_int_equal(message.slot, n > 5 ? 3 : 0);
		assert_int_equal(message.seq, n > 6 ? 9 : 0);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
		vmc_put_u32le(&bytes[1], wrong[i]);
		assert_int_equal(ccid_message_read(vmc_span(bytes, sizeof(bytes)), &message),
				 CCID_READ_LENGTH);
		assert_int_equal(message.seq, 9);
	}
}

static void test_message_types(void **state)
{
	static const uint8_t pairs[][2] = {
		{ 0x61, 0x82 }, { 0x62, 0x80 }, { 0x63, 0x81 }, { 0x65, 0x81 }, { 0x69, 0x80 },
		{ 0x6A, 0x81 }, { 0x6B, 0x83 }, { 0x6C, 0x82 }, { 0x6D, 0x82 }, { 0x6E, 0x81 },
		{ 0x6F, 0x80 }, { 0x71, 0x81 }, { 0x72, 0x81 }, { 0x73, 0x84 },
	};
	size_t at = 0;

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		bool command = at < G_N_ELEMENTS(pairs) && pairs[at][0] == type;

		assert_int_equal(ccid_message_is_command((uint8_t)type), command);
		assert_int_equal(ccid_message_answer((uint8_t)type), command ? pairs[at][1] : 0x81);
		assert_non_null(ccid_message_name((uint8_t)type));
		at += command;
	}
	assert_int_equal(at, G_N_ELEMENTS(pairs));
	assert_string_equal(ccid_message_name(0x62), "IccPowerOn");
	assert_string_equal(ccid_message_name(0x00), "unknown");
}

/* ---- Parameters ---- */

typedef struct AtrCase {
	uint8_t bytes[VSC_ATR_MAX];
	size_t len;
	uint8_t protocol;
	uint8_t params[CCID_PARAMS_T1];
	size_t params_len;
} AtrCase;

static const AtrCase atr_cases[] = {
	/* No interface bytes: T=0 with the defaults. */
	{ { 0x3B, 0x00 }, 2, 0, { 0x11, 0x00, 0x00, 0x0A, 0x00 }, 5 },
	/* Inverse convention. */
	{ { 0x3F, 0x00 }, 2, 0, { 0x11, 0x02, 0x00, 0x0A, 0x00 }, 5 },
	/* TA1, TC1 and TC2. */
	{ { 0x3B, 0xD0, 0x96, 0xFF, 0x40, 0x20 }, 6, 0, { 0x96, 0x00, 0xFF, 0x20, 0x00 }, 5 },
	/* T=1 with IFSC 254 and BWI/CWI 45, LRC. */
	{ { 0x3B, 0x80, 0x81, 0x31, 0xFE, 0x45, 0x8B },
	  7,
	  1,
	  { 0x11, 0x10, 0x00, 0x45, 0x00, 0xFE, 0x00 },
	  7 },
	/* T=1 bare: defaults. */
	{ { 0x3B, 0x80, 0x01, 0x81 }, 4, 1, { 0x11, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x00 }, 7 },
	/* T=1 with CRC (TC3 = 1). */
	{ { 0x3B, 0x80, 0x81, 0x41, 0x01, 0x41 },
	  6,
	  1,
	  { 0x11, 0x11, 0x00, 0x4D, 0x00, 0x20, 0x00 },
	  7 },
	/* T=0 first, T=1 too. */
	{ { 0x3B, 0x80, 0x80, 0x01, 0x01 }, 5, 0, { 0x11, 0x00, 0x00, 0x0A, 0x00 }, 5 },
};

static void test_params_from_atr(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(atr_cases); i++) {
		const AtrCase *c = &atr_cases[i];
		const char *because = "";
		CcidParams params;
		VscAtr atr;

		if (!vsc_atr_parse(vmc_span(c->bytes, c->len), &atr, &because))
			fail_msg("case %zu: %s", i, because);
		ccid_params_from_atr(&atr, &params);
		assert_int_equal(params.protocol, c->protocol);
		assert_int_equal(params.len, c->params_len);
		assert_memory_equal(params.bytes, c->params, c->params_len);
	}
}

typedef struct ParamsCase {
	uint8_t protocol;
	uint8_t bytes[9];
	size_t len;
	uint8_t error;
} ParamsCase;

static const ParamsCase params_cases[] = {
	{ 0, { 0x11, 0x00, 0x00, 0x0A, 0x00 }, 5, 0 },
	{ 0, { 0x96, 0x02, 0xFF, 0xFF, 0x03 }, 5, 0 },
	{ 0, { 0x11, 0x00, 0x00, 0x0A }, 4, 1 },
	{ 0, { 0x11, 0x00, 0x00, 0x0A, 0x00, 0x00 }, 6, 1 },
	{ 0, { 0x11, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x00 }, 7, 1 },
	{ 0, { 0 }, 0, 1 },
	{ 0, { 0x71, 0x00, 0x00, 0x0A, 0x00 }, 5, 10 },
	{ 0, { 0x10, 0x00, 0x00, 0x0A, 0x00 }, 5, 10 },
	{ 0, { 0x1A, 0x00, 0x00, 0x0A, 0x00 }, 5, 10 },
	{ 0, { 0x11, 0x10, 0x00, 0x0A, 0x00 }, 5, 11 },
	{ 0, { 0x11, 0x01, 0x00, 0x0A, 0x00 }, 5, 11 },
	{ 0, { 0x11, 0x00, 0x00, 0x00, 0x00 }, 5, 13 },
	{ 0, { 0x11, 0x00, 0x00, 0x0A, 0x04 }, 5, 14 },
	{ 1, { 0x11, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x00 }, 7, 0 },
	{ 1, { 0x18, 0x13, 0x00, 0x9F, 0x03, 0xFE, 0x00 }, 7, 0 },
	{ 1, { 0x11, 0x10, 0x00, 0x4D, 0x00, 0x20 }, 6, 1 },
	{ 1, { 0x11, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x00, 0x00, 0x00 }, 9, 1 },
	{ 1, { 0xE1, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x00 }, 7, 10 },
	{ 1, { 0x11, 0x00, 0x00, 0x4D, 0x00, 0x20, 0x00 }, 7, 11 },
	{ 1, { 0x11, 0x10, 0x00, 0xAD, 0x00, 0x20, 0x00 }, 7, 13 },
	{ 1, { 0x11, 0x10, 0x00, 0x4D, 0x05, 0x20, 0x00 }, 7, 14 },
	{ 1, { 0x11, 0x10, 0x00, 0x4D, 0x00, 0x00, 0x00 }, 7, 15 },
	{ 1, { 0x11, 0x10, 0x00, 0x4D, 0x00, 0xFF, 0x00 }, 7, 15 },
	{ 1, { 0x11, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x12 }, 7, 16 },
	{ 2, { 0x11, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x00 }, 7, 7 },
	{ 0xFF, { 0 }, 0, 7 },
};

static void test_params_check(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(params_cases); i++) {
		const ParamsCase *c = &params_cases[i];
		CcidParams params = { .protocol = 9 };
		uint8_t error =
			ccid_params_check(c->protocol, vmc_span(c->bytes, c->len), NULL, &params);

		if (error != c->error)
			fail_msg("case %zu: error %u, not %u", i, error, c->error);
		assert_int_equal(params.protocol, error ? 9 : c->protocol);
		if (!error)
			assert_memory_equal(params.bytes, c->bytes, c->len);
	}
}

static void test_params_not_offered(void **state)
{
	const VscAtr t0 = { .t0 = true }, t1 = { .t1 = true };
	CcidParams params;

	(void)state;
	assert_int_equal(ccid_params_check(1, vmc_span(params_cases[13].bytes, 7), &t0, &params),
			 7);
	assert_int_equal(ccid_params_check(0, vmc_span(params_cases[0].bytes, 5), &t1, &params), 7);
	assert_int_equal(ccid_params_check(1, vmc_span(params_cases[13].bytes, 7), &t1, &params),
			 0);
	assert_int_equal(ccid_params_check(0, vmc_span(params_cases[0].bytes, 5), &t0, &params), 0);
}

/* ---- Descriptors ---- */

static void test_descriptor_device(void **state)
{
	CcidIdentity plain = ccid_descriptors_identity(NULL);
	CcidIdentity named = ccid_descriptors_identity(
		&(CcidIdentity){ .vendor_id = 0x1234, .product_id = 0x5678, .serial = "7" });
	uint8_t bytes[CCID_DESCRIPTOR_MAX];

	(void)state;
	assert_int_equal(ccid_descriptors_build(1, 0, 1, &plain, bytes), 18);
	assert_int_equal(bytes[0], 18);
	assert_int_equal(bytes[7], 64);
	assert_memory_equal(&bytes[8], "\x0F\x0E\x04\x00", 4);
	assert_int_equal(bytes[16], 0);
	assert_int_equal(ccid_descriptors_build(1, 0, 1, &named, bytes), 18);
	assert_memory_equal(&bytes[8], "\x34\x12\x78\x56", 4);
	assert_int_equal(bytes[16], 3);
	assert_int_equal(ccid_descriptors_build(3, 3, 1, &named, bytes), 4);
	assert_memory_equal(bytes,
			    "\x04\x03"
			    "7\0",
			    4);
	assert_int_equal(ccid_descriptors_build(3, 3, 1, &plain, bytes), 0);
	assert_int_equal(ccid_descriptors_build(1, 1, 1, &plain, bytes), 0);
	assert_int_equal(ccid_descriptors_build(6, 0, 1, &plain, bytes), 10);
	assert_int_equal(ccid_descriptors_build(0x29, 0, 1, &plain, bytes), 0);
}

static void check_configuration(uint8_t type, unsigned slots, uint16_t bulk, uint8_t interval)
{
	CcidIdentity identity = ccid_descriptors_identity(NULL);
	uint8_t b[CCID_DESCRIPTOR_MAX];
	const uint8_t *class = b + 18;

	assert_int_equal(ccid_descriptors_build(type, 0, slots, &identity, b), 93);
	assert_memory_equal(b, ((const uint8_t[]){ 9, type, 93, 0, 1, 1, 0, 0x80 }), 8);
	assert_memory_equal(b + 9, ((const uint8_t[]){ 9, 4, 0, 0, 3, 0x0B, 0, 0 }), 8);
	assert_memory_equal(
		class,
		((const uint8_t[]){ 54, 0x21, 0x10, 0x01, (uint8_t)(slots - 1), 7, 3, 0, 0, 0 }),
		10);
	/* dwFeatures, dwMaxCCIDMessageLength, bPINSupport, bMaxCCIDBusySlots */
	assert_memory_equal(class + 40, ((const uint8_t[]){ 0x7A, 0x04, 0x04, 0x00 }), 4);
	assert_memory_equal(class + 44, ((const uint8_t[]){ 0x12, 0x00, 0x01, 0x00 }), 4);
	assert_int_equal(class[52], 0);
	assert_int_equal(class[53], slots);
	assert_memory_equal(
		b + 72,
		((const uint8_t[]){ 7, 5, 0x01, 2, (uint8_t)bulk, (uint8_t)(bulk >> 8), 0 }), 7);
	assert_memory_equal(
		b + 79,
		((const uint8_t[]){ 7, 5, 0x82, 2, (uint8_t)bulk, (uint8_t)(bulk >> 8), 0 }), 7);
	assert_memory_equal(b + 86, ((const uint8_t[]){ 7, 5, 0x83, 3, 8, 0, interval }), 7);
}

static void test_descriptor_configuration(void **state)
{
	(void)state;
	check_configuration(2, 1, 512, 9);
	check_configuration(2, 16, 512, 9);
	check_configuration(7, 2, 64, 32);
}

static void test_descriptor_strings(void **state)
{
	char longest[400];
	CcidIdentity identity = { .product = longest,
				  .manufacturer = "\xFF\xFE",
				  .serial = "\xC3\xA4" };
	uint8_t b[CCID_DESCRIPTOR_MAX];

	(void)state;
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(ccid_descriptors_build(3, 0, 1, &identity, b), 4);
	assert_memory_equal(b, "\x04\x03\x09\x04", 4);
	assert_int_equal(ccid_descriptors_build(3, 2, 1, &identity, b), 254);
	assert_int_equal(b[0], 254);
	assert_int_equal(ccid_descriptors_build(3, 1, 1, &identity, b), 2); /* not UTF-8: empty */
	assert_int_equal(ccid_descriptors_build(3, 3, 1, &identity, b), 4);
	assert_memory_equal(b, "\x04\x03\xE4\x00", 4);
	assert_int_equal(ccid_descriptors_build(3, 0xEE, 1, &identity, b), 0);
}

/* ---- Bulk-OUT ---- */

#define HUGE 0x10000000

typedef struct Given {
	unsigned n;
	CcidRead read[4];
	uint8_t seq[4];
	size_t len[4];
} Given;

static void on_given(void *user, VmcSpan bytes)
{
	Given *given = user;
	CcidMessage message;

	assert_true(given->n < G_N_ELEMENTS(given->read));
	given->read[given->n] = ccid_message_read(bytes, &message);
	given->seq[given->n] = message.seq;
	given->len[given->n] = bytes.len;
	given->n++;
}

/* A message of `total` bytes in all whose dwLength is `off` too much; or is
 * `off`, if that is huge. */
static uint8_t *make_message(uint8_t seq, size_t total, int64_t off)
{
	uint8_t *bytes = g_malloc0(MAX(total, CCID_HEADER));

	bytes[0] = CCID_XFR_BLOCK;
	if (off < HUGE)
		off += (int64_t)total - (int64_t)CCID_HEADER;
	vmc_put_u32le(&bytes[1], (uint32_t)off);
	bytes[6] = seq;
	for (size_t i = CCID_HEADER; i < total; i++)
		bytes[i] = (uint8_t)i;
	return bytes;
}

static void feed(CcidBulkOut *out, const uint8_t *bytes, size_t len, size_t piece, bool zlp,
		 Given *given)
{
	for (size_t at = 0; at < len; at += piece)
		ccid_bulk_out_transfer(out, vmc_span(bytes + at, MIN(piece, len - at)), on_given,
				       given);
	if (zlp)
		ccid_bulk_out_transfer(out, vmc_span(NULL, 0), on_given, given);
}

static const size_t sizes[] = { 10,
				11,
				63,
				64,
				65,
				127,
				128,
				129,
				511,
				512,
				513,
				1024,
				4096,
				16384,
				65535,
				65536,
				CCID_MESSAGE_MAX };

static void check_right(size_t total, size_t piece, bool zlp)
{
	CcidBulkOut out;
	Given given = { 0 };
	uint8_t *one = make_message(1, total, 0), *two = make_message(2, total, 0);

	ccid_bulk_out_init(&out);
	feed(&out, one, total, piece, zlp, &given);
	feed(&out, two, total, piece, zlp, &given);
	assert_int_equal(given.n, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(given.read[i], CCID_READ_OK);
		assert_int_equal(given.seq[i], i + 1);
		assert_int_equal(given.len[i], total);
	}
	ccid_bulk_out_clear(&out);
	g_free(one);
	g_free(two);
}

static void test_out_right(void **state)
{
	static const size_t pieces[] = { 64, 512, 16384, SIZE_MAX / 2 };

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
		for (size_t p = 0; p < G_N_ELEMENTS(pieces); p++) {
			check_right(sizes[i], pieces[p], false);
			/* A zero-length packet ends only what is whole packets. */
			if (sizes[i] % 64 == 0)
				check_right(sizes[i], pieces[p], true);
		}
}

/* A wrong message, then a right one: one error, then the right one whole,
 * whatever the wrong one's length and even if it ended on a packet's end. */
static void check_wrong(size_t total, int64_t off, size_t piece, bool zlp)
{
	CcidBulkOut out;
	Given given = { 0 };
	uint8_t *wrong = make_message(1, total, off), *right = make_message(2, 14, 0);

	ccid_bulk_out_init(&out);
	feed(&out, wrong, total, piece, zlp, &given);
	feed(&out, right, 14, 64, false, &given);
	if (given.n != 2)
		fail_msg("%zu bytes, off by %d, pieces of %zu: %u messages", total, (int)off, piece,
			 given.n);
	assert_int_not_equal(given.read[0], CCID_READ_OK);
	assert_int_equal(given.seq[0], total > 6 ? 1 : 0);
	assert_int_equal(given.read[1], CCID_READ_OK);
	assert_int_equal(given.seq[1], 2);
	ccid_bulk_out_clear(&out);
	g_free(wrong);
	g_free(right);
}

static void test_out_wrong(void **state)
{
	static const int64_t offs[] = { -1, 1, 100, 0xFFFFFFF0, 0x7FFFFFFF };

	(void)state;
	for (size_t n = 1; n < CCID_HEADER; n++)
		check_wrong(n, 0, 64, false);
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
		for (size_t o = 0; o < G_N_ELEMENTS(offs); o++) {
			if (sizes[i] == 10 && offs[o] < 0)
				continue;
			check_wrong(sizes[i], offs[o], SIZE_MAX / 2, false);
			check_wrong(sizes[i], offs[o], SIZE_MAX / 2, sizes[i] % 64 == 0);
			/* One byte too many that makes a packet of its own is a
			 * message of its own on a bus that cuts there. */
			if (offs[o] < 0)
				continue;
			check_wrong(sizes[i], offs[o], 512, false);
			check_wrong(sizes[i], offs[o], 64, sizes[i] % 64 == 0);
		}
	check_wrong(CCID_MESSAGE_MAX + 1, 0, SIZE_MAX / 2, false);
	check_wrong(200000, 0, 512, false);
}

/* ---- Bulk-IN ---- */

static size_t push(CcidBulkIn *in, size_t total, uint8_t seq, uint8_t status)
{
	g_autofree uint8_t *bytes = g_malloc0(total);

	bytes[0] = CCID_DATA_BLOCK;
	vmc_put_u32le(&bytes[1], (uint32_t)(total - CCID_HEADER));
	bytes[6] = seq;
	bytes[7] = status;
	ccid_bulk_in_push(in, vmc_span(bytes, total));
	return total;
}

/* A host that reads `total` bytes in transfers of `length` until one is short
 * gets them, and then nothing. */
static void check_in(size_t total, size_t length)
{
	CcidBulkIn in;
	VmcSpan data;
	size_t got = 0;

	ccid_bulk_in_init(&in);
	push(&in, total, 1, 0);
	do {
		assert_true(ccid_bulk_in_take(&in, length, &data));
		got += data.len;
	} while (data.len == length && got % 64 == 0);
	assert_int_equal(got, total);
	assert_false(ccid_bulk_in_take(&in, length, &data));
	ccid_bulk_in_clear(&in);
}

static void test_in_sizes(void **state)
{
	static const size_t lengths[] = { 64, 512, 16384, 65556 };

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
		for (size_t l = 0; l < G_N_ELEMENTS(lengths); l++)
			check_in(sizes[i], lengths[l]);
}

/* A host that asked for exactly what came, and goes on to its next command:
 * no packet of length zero comes before the next answer. */
static void test_in_exact(void **state)
{
	static const size_t exact[] = { 64, 128, 512, 1024 };
	CcidBulkIn in;
	VmcSpan data;

	(void)state;
	ccid_bulk_in_init(&in);
	for (size_t i = 0; i < G_N_ELEMENTS(exact); i++) {
		push(&in, exact[i], 1, 0);
		assert_true(ccid_bulk_in_take(&in, exact[i], &data));
		assert_int_equal(data.len, exact[i]);
		ccid_bulk_in_command(&in);
		push(&in, 12, 2, 0);
		assert_true(ccid_bulk_in_take(&in, exact[i], &data));
		assert_int_equal(data.len, 12);
	}
	/* In pieces, the end is still owed when the next command comes. */
	push(&in, 128, 1, 0);
	assert_true(ccid_bulk_in_take(&in, 64, &data));
	assert_true(ccid_bulk_in_take(&in, 64, &data));
	ccid_bulk_in_command(&in);
	assert_true(ccid_bulk_in_take(&in, 64, &data));
	assert_int_equal(data.len, 0);
	assert_false(ccid_bulk_in_take(&in, 64, &data));
	/* A cleared halt forgets it. */
	push(&in, 64, 1, 0);
	assert_true(ccid_bulk_in_take(&in, 64, &data));
	ccid_bulk_in_halt_cleared(&in);
	assert_false(ccid_bulk_in_take(&in, 64, &data));
	ccid_bulk_in_clear(&in);
}

static void test_in_extensions(void **state)
{
	CcidBulkIn in;

	(void)state;
	ccid_bulk_in_init(&in);
	push(&in, 10, 1, CCID_COMMAND_TIME_EXTENSION);
	push(&in, 10, 1, CCID_COMMAND_TIME_EXTENSION);
	assert_int_equal(in.answers.length, 1);
	push(&in, 10, 2, CCID_COMMAND_TIME_EXTENSION);
	push(&in, 10, 1, 0);
	assert_int_equal(in.answers.length, 3);
	for (unsigned i = 3; i < CCID_ANSWERS_MAX; i++) {
		assert_false(ccid_bulk_in_full(&in));
		push(&in, 10, 1, 0);
	}
	assert_true(ccid_bulk_in_full(&in));
	ccid_bulk_in_clear(&in);
	assert_false(ccid_bulk_in_full(&in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_read),
		cmocka_unit_test(test_message_lengths),
		cmocka_unit_test(test_message_types),
		cmocka_unit_test(test_params_from_atr),
		cmocka_unit_test(test_params_check),
		cmocka_unit_test(test_params_not_offered),
		cmocka_unit_test(test_descriptor_device),
		cmocka_unit_test(test_descriptor_configuration),
		cmocka_unit_test(test_descriptor_strings),
		cmocka_unit_test(test_out_right),
		cmocka_unit_test(test_out_wrong),
		cmocka_unit_test(test_in_sizes),
		cmocka_unit_test(test_in_exact),
		cmocka_unit_test(test_in_extensions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

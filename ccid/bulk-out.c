/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* CcidBulkOut: see bulk-out.h. */

#include "ccid/bulk-out.h"

#include "ccid/descriptors.h"
#include "ccid/message.h"

/* One byte more than the longest message, to tell one that is too long. */
#define PARTIAL_MAX (CCID_MESSAGE_MAX + 1u)

void ccid_bulk_out_init(CcidBulkOut *out)
{
	out->skipping = false;
	vmc_buf_init(&out->partial, PARTIAL_MAX);
}

void ccid_bulk_out_clear(CcidBulkOut *out)
{
	out->skipping = false;
	vmc_buf_clear(&out->partial);
}

/* Does a transfer of `n` bytes end in a short packet, at whichever speed? */
static bool ends_short(size_t n)
{
	return n == 0 || n % CCID_BULK_PACKET_FULL != 0;
}

/* Is this one transfer one message? What belongs to the end of a message that
 * went wrong hardly ever is. */
static bool is_whole(VmcSpan data)
{
	uint32_t length;

	return ccid_message_announced(data, &length) && data.len >= CCID_HEADER &&
	       data.len - CCID_HEADER == length && ccid_message_is_command(data.data[0]);
}

/* How long the message that begins with `bytes` will be; 0: too early to say. */
static uint64_t expected(VmcSpan bytes)
{
	uint32_t length;

	return ccid_message_announced(bytes, &length) ? (uint64_t)CCID_HEADER + length : 0;
}

/* Would the message that begins with `partial` be wrong with `data` as its
 * next piece? Pieces of a right one are never looked into: they may hold
 * anything, messages included. */
static bool spoils(VmcSpan partial, VmcSpan data)
{
	uint64_t total = (uint64_t)partial.len + data.len, want = expected(partial);

	return total > want || (ends_short(data.len) && total != want);
}

/* Gives at most `most` bytes of the partial message, and wipes it: buffers
 * that held APDUs are. */
static void give_partial(CcidBulkOut *out, size_t most, CcidBulkOutMessage message, void *user)
{
	VmcSpan bytes = vmc_buf_span(&out->partial);
	size_t len = bytes.len;

	bytes.len = bytes.len < most ? bytes.len : most;
	message(user, bytes);
	vmc_buf_consume(&out->partial, len);
}

/* Takes a transfer that belongs to a message too long for any buffer. True
 * when it is a message of its own after all. */
static bool skip(CcidBulkOut *out, VmcSpan data)
{
	bool whole = is_whole(data);

	if (whole || ends_short(data.len))
		out->skipping = false;
	return whole;
}

static void add(CcidBulkOut *out, VmcSpan data, CcidBulkOutMessage message, void *user)
{
	VmcSpan bytes = data;
	uint64_t want;

	/* More than one byte too many tells nobody anything new. */
	if (bytes.len > PARTIAL_MAX - vmc_buf_span(&out->partial).len)
		bytes.len = PARTIAL_MAX - vmc_buf_span(&out->partial).len;
	vmc_buf_append(&out->partial, bytes);
	bytes = vmc_buf_span(&out->partial);
	want = expected(bytes);
	if (want > CCID_MESSAGE_MAX) {
		/* The header says it all, and its dwLength is wrong without
		 * the rest. */
		out->skipping = !ends_short(data.len);
		give_partial(out, CCID_HEADER, message, user);
	} else if (bytes.len >= want || ends_short(data.len)) {
		give_partial(out, PARTIAL_MAX, message, user);
	}
}

void ccid_bulk_out_transfer(CcidBulkOut *out, VmcSpan data, CcidBulkOutMessage message, void *user)
{
	VmcSpan partial = vmc_buf_span(&out->partial);

	if (out->skipping && !skip(out, data))
		return;
	if (partial.len > 0 && spoils(partial, data) && is_whole(data)) {
		/* What had begun never got its end: this is the next one. */
		give_partial(out, PARTIAL_MAX, message, user);
		partial.len = 0;
	}
	if (partial.len > 0)
		add(out, data, message, user);
	else if (is_whole(data) && data.len <= CCID_MESSAGE_MAX)
		message(user, data);
	else if (data.len > 0)
		add(out, data, message, user);
}

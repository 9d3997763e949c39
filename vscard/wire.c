/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The VSCard codec. Everything is read through a span, in the order of the
 * wire; lengths are checked against what is there before anything is taken.
 */

#include "vscard/wire.h"

#include <string.h>

/* VSC_Init's magic, in this order on every wire. */
static const uint8_t init_magic[4] = { 'V', 'S', 'C', 'D' };

static bool take_u32(VmcSpan *span, VscOrder order, uint32_t *out)
{
	return order == VSC_ORDER_BIG ? vmc_span_u32be(span, out) : vmc_span_u32le(span, out);
}

static void put_u32(uint8_t *to, VscOrder order, uint32_t value)
{
	if (order == VSC_ORDER_BIG)
		vmc_put_u32be(to, value);
	else
		vmc_put_u32le(to, value);
}

static uint32_t payload_max(uint32_t type)
{
	return type == VSC_TYPE_REQUEST || type == VSC_TYPE_ANSWER ? VSC_WIRE_PAYLOAD_MAX :
								     VSC_WIRE_OLD_PAYLOAD_MAX;
}

VscWireResult vsc_wire_get(VmcSpan *in, VscOrder order, VscMessage *message, const char **because)
{
	VmcSpan rest = *in;
	VscMessage m;
	uint32_t length;

	if (!take_u32(&rest, order, &m.type) || !take_u32(&rest, order, &m.reader_id) ||
	    !take_u32(&rest, order, &length))
		return VSC_WIRE_NEED_MORE;
	if (length > payload_max(m.type)) {
		*because = "a message says it is longer than the longest APDU";
		return VSC_WIRE_BAD;
	}
	if (!vmc_span_take(&rest, length, &m.payload))
		return VSC_WIRE_NEED_MORE;

	*in = rest;
	*message = m;
	return VSC_WIRE_MESSAGE;
}

void vsc_wire_put_header(uint8_t to[VSC_WIRE_HEADER], VscOrder order, uint32_t type,
			 uint32_t reader_id, uint32_t length)
{
	put_u32(to, order, type);
	put_u32(to + 4, order, reader_id);
	put_u32(to + 8, order, length);
}

bool vsc_wire_get_init(VmcSpan payload, VscOrder order, uint32_t *version, uint32_t *caps0,
		       size_t *n_caps, const char **because)
{
	VmcSpan magic;
	uint32_t word;

	if (!vmc_span_take(&payload, sizeof(init_magic), &magic)) {
		*because = "Init is cut short";
		return false;
	}
	if (memcmp(magic.data, init_magic, sizeof(init_magic)) != 0) {
		*because = "Init has the wrong magic: this is not VSCard";
		return false;
	}
	if (!take_u32(&payload, order, version)) {
		*because = "Init is cut short";
		return false;
	}
	if (payload.len % 4 != 0) {
		*because = "Init ends within a capability word";
		return false;
	}

	*n_caps = payload.len / 4;
	*caps0 = take_u32(&payload, order, &word) ? word : 0;
	return true;
}

size_t vsc_wire_put_init(uint8_t to[VSC_WIRE_INIT_MAX], VscOrder order, uint32_t caps0)
{
	memcpy(to, init_magic, sizeof(init_magic));
	put_u32(to + 4, order, VSC_VERSION);
	put_u32(to + 8, order, caps0);
	return VSC_WIRE_INIT_MAX;
}

static bool is_code(uint32_t value)
{
	return value <= VSC_ERROR_CARD_ALREADY_INSERTED;
}

bool vsc_wire_get_error(VmcSpan payload, VscErrorCode *code)
{
	VmcSpan again = payload;
	uint32_t big, little;

	if (payload.len != 4 || !vmc_span_u32be(&payload, &big) || !vmc_span_u32le(&again, &little))
		return false;

	/* Codes are small: at most one of the two readings is one. */
	if (is_code(big))
		*code = (VscErrorCode)big;
	else if (is_code(little))
		*code = (VscErrorCode)little;
	else
		*code = VSC_ERROR_GENERAL;
	return true;
}

void vsc_wire_put_error(uint8_t to[4], VscOrder order, VscErrorCode code)
{
	put_u32(to, order, (uint32_t)code);
}

const char *vsc_type_name(uint32_t type)
{
	static const char *const ours[] = {
		[VSC_TYPE_REQUEST - VSC_TYPE_REQUEST] = "Request",
		[VSC_TYPE_ANSWER - VSC_TYPE_REQUEST] = "Answer",
		[VSC_TYPE_CANCEL - VSC_TYPE_REQUEST] = "Cancel",
		[VSC_TYPE_WORKING - VSC_TYPE_REQUEST] = "Working",
		[VSC_TYPE_READER_INFO - VSC_TYPE_REQUEST] = "ReaderInfo",
	};
	static const char *const names[] = {
		[VSC_TYPE_INIT] = "Init",
		[VSC_TYPE_ERROR] = "Error",
		[VSC_TYPE_READER_ADD] = "ReaderAdd",
		[VSC_TYPE_READER_REMOVE] = "ReaderRemove",
		[VSC_TYPE_ATR] = "ATR",
		[VSC_TYPE_CARD_REMOVE] = "CardRemove",
		[VSC_TYPE_APDU] = "APDU",
		[VSC_TYPE_FLUSH] = "Flush",
		[VSC_TYPE_FLUSH_COMPLETE] = "FlushComplete",
	};

	if (type >= VSC_TYPE_REQUEST && type - VSC_TYPE_REQUEST < G_N_ELEMENTS(ours))
		return ours[type - VSC_TYPE_REQUEST];
	return type < G_N_ELEMENTS(names) ? names[type] : NULL;
}

const char *vsc_error_name(VscErrorCode code)
{
	switch (code) {
	case VSC_ERROR_SUCCESS:
		return "success";
	case VSC_ERROR_GENERAL:
		return "general error";
	case VSC_ERROR_CANNOT_ADD_MORE_READERS:
		return "cannot add more readers";
	case VSC_ERROR_CARD_ALREADY_INSERTED:
		return "card already inserted";
	}
	g_return_val_if_reached("unknown");
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The VSCard codec over any bytes: what is taken is what was there, what is
 * put is what is taken.
 */

#include <stdlib.h>
#include <string.h>

#include "vscard/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

/* What is known of a reader is what is put of it again. */
static void try_description(VmcSpan payload)
{
	VscDescription description, again;
	uint8_t bytes[VSC_READER_INFO_MAX];
	const char *texts[4];
	size_t len;

	if (!vsc_description_get(payload, &description))
		return;
	texts[0] = description.name;
	texts[1] = description.info.vendor;
	texts[2] = description.info.type;
	texts[3] = description.info.serial;
	for (unsigned i = 0; i < 4; i++)
		check(texts[i] == NULL ||
		      (texts[i][0] != '\0' && g_utf8_validate(texts[i], -1, NULL)));
	len = vsc_description_put(bytes, &description);
	check(len <= sizeof(bytes));
	check(vsc_description_get(vmc_span(bytes, len), &again));
	check(vsc_description_equal(&description, &again));
	vsc_description_clear(&description);
	vsc_description_clear(&again);
}

static void try_request(VmcSpan payload)
{
	uint8_t bytes[VSC_WIRE_PREFIX];
	VscRequest request;
	VscWireToken token;

	if (vsc_request_get_token(payload, &token)) {
		vsc_request_put_token(bytes, token);
		check(memcmp(bytes, payload.data, VSC_TOKEN_LENGTH) == 0);
	}
	if (!vsc_request_get(payload, &request)) {
		check(payload.len < VSC_WIRE_PREFIX);
		return;
	}
	check(request.data.len == payload.len - VSC_WIRE_PREFIX);
	vsc_request_put(bytes, request.token, request.what);
	check(memcmp(bytes, payload.data, sizeof(bytes)) == 0);
	check(vsc_outcome_name(vsc_request_outcome(request.what)) != NULL);
	vsc_request_name(request.what);
}

static void try_payload(VmcSpan payload, VscOrder order)
{
	uint32_t version, caps0;
	const char *because = NULL;
	VscErrorCode code;
	uint8_t bytes[VSC_WIRE_INIT_MAX];
	size_t n;

	try_request(payload);
	try_description(payload);
	if (vsc_wire_get_init(payload, order, &version, &caps0, &n, &because))
		check(payload.len == 8 + 4 * n);
	else
		check(because != NULL);
	if (!vsc_wire_get_error(payload, &code))
		return;
	check(payload.len == 4 && vsc_error_name(code) != NULL);
	vsc_wire_put_error(bytes, order, code);
	check(code == VSC_ERROR_GENERAL || bytes[0] == payload.data[0] ||
	      bytes[0] == payload.data[3]);
}

static void try_order(VmcSpan in, VscOrder order)
{
	VscMessage m;
	const char *because = NULL;

	for (;;) {
		VmcSpan before = in;
		uint8_t header[VSC_WIRE_HEADER];

		switch (vsc_wire_get(&in, order, &m, &because)) {
		case VSC_WIRE_NEED_MORE:
			check(in.len == before.len && in.data == before.data);
			return;
		case VSC_WIRE_BAD:
			check(because != NULL && in.len >= VSC_WIRE_HEADER);
			return;
		case VSC_WIRE_MESSAGE:
			break;
		}
		check(before.len - in.len == VSC_WIRE_HEADER + m.payload.len);
		check(m.payload.len <= VSC_WIRE_PAYLOAD_MAX);
		vsc_wire_put_header(header, order, m.type, m.reader_id, (uint32_t)m.payload.len);
		check(memcmp(header, before.data, sizeof(header)) == 0);
		vsc_type_name(m.type);
		try_payload(m.payload, order);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_order(vmc_span(data, size), VSC_ORDER_BIG);
	try_order(vmc_span(data, size), VSC_ORDER_LITTLE);
	try_payload(vmc_span(data, size), VSC_ORDER_BIG);
	return 0;
}

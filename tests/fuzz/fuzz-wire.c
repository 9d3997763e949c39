/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The VSCard codec over any bytes: what is taken is what was there, what is
 * put is what is taken.
 */

#include <stdlib.h>
#include <string.h>

#include "vscard/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

static void try_payload(VmcSpan payload, VscOrder order)
{
	uint32_t version, caps0;
	const char *because = NULL;
	VscErrorCode code;
	uint8_t bytes[VSC_WIRE_INIT_MAX];
	size_t n;

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

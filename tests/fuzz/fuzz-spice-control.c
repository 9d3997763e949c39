/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the process of the SPICE server may say to vscardd once a client has
 * taken it over: any bytes. What is taken for a message is written again as it
 * was, and its texts end where they say.
 */

#include <stdlib.h>
#include <string.h>

#include "vmc/spice-control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

static void check_text(VmcSpan text, const uint8_t *data, size_t size)
{
	check(text.len == 0 || (text.data >= data && text.data + text.len <= data + size));
	check(text.len == 0 || memchr(text.data, '\0', text.len) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[VMC_SPICE_CONTROL_MAX];
	VmcSpiceControl message;
	size_t len;

	if (!vmc_spice_control_decode(vmc_span(data, size), &message))
		return 0;
	check_text(message.key, data, size);
	check_text(message.text, data, size);
	len = vmc_spice_control_encode(&message, again, sizeof(again));
	check(len == (size <= sizeof(again) ? size : 0));
	check(len == 0 || memcmp(again, data, len) == 0);
	return 0;
}

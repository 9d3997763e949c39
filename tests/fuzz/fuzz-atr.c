/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ATRs of any bytes: what is taken for one holds together, and what a T=0 host
 * is shown instead is one that offers T=0 first.
 */

#include <stdlib.h>
#include <string.h>

#include "vscard/atr.h"
#include "vscard/t0.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t shown[VSC_ATR_MAX];
	const char *because = NULL;
	VscAtr atr, again;
	size_t len;

	len = vsc_t0_atr(vmc_span(data, size), shown);
	check(len <= VSC_ATR_MAX && len <= size);
	if (!vsc_atr_parse(vmc_span(data, size), &atr, &because)) {
		check(because != NULL);
		return 0;
	}
	check(size >= VSC_ATR_MIN && size <= VSC_ATR_MAX);
	check(atr.historical.len <= 15 && atr.historical.data >= data &&
	      atr.historical.data + atr.historical.len <= data + size);
	check(atr.clock_stop <= 3 && atr.first <= 15);
	check(vsc_atr_parse(vmc_span(shown, len), &again, &because) && again.first == 0);
	check(again.historical.len == atr.historical.len);
	check(atr.first == 0 || !again.t1);
	return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VscFetch: see fetch.h. */

#include "vscard/fetch.h"

#include <glib.h>

#include "vscard/card.h" /* VSC_RESPONSE_MAX */

void vsc_fetch_init(VscFetch *fetch)
{
	*fetch = (VscFetch){ 0 };
	vmc_buf_init(&fetch->response, VSC_RESPONSE_MAX);
}

void vsc_fetch_begin(VscFetch *fetch, uint8_t cla, uint32_t ne)
{
	vsc_fetch_forget(fetch);
	fetch->cla = cla;
	fetch->ne = ne;
}

void vsc_fetch_forget(VscFetch *fetch)
{
	vmc_buf_clear(&fetch->response);
	fetch->ne = 0;
}

uint32_t vsc_fetch_left(const VscFetch *fetch)
{
	size_t had = vmc_buf_span(&fetch->response).len;

	return had < fetch->ne ? fetch->ne - (uint32_t)had : 0;
}

bool vsc_fetch_take(VscFetch *fetch, VmcSpan data, uint16_t sw, uint32_t *le)
{
	*le = 0;
	/* Room for the status is kept. */
	if (vmc_buf_span(&fetch->response).len + data.len > VSC_APDU_NE_EXTENDED ||
	    !vmc_buf_append(&fetch->response, data))
		return false;
	if (sw >> 8 == VSC_SW1_MORE)
		*le = MIN(vsc_apdu_count((uint8_t)sw), vsc_fetch_left(fetch));
	return true;
}

void vsc_fetch_command(const VscFetch *fetch, uint32_t le, uint8_t to[VSC_FETCH_COMMAND])
{
	to[0] = vsc_apdu_plain_class(fetch->cla);
	to[1] = VSC_INS_GET_RESPONSE;
	to[2] = 0;
	to[3] = 0;
	to[4] = (uint8_t)le;
}

VmcSpan vsc_fetch_whole(VscFetch *fetch, uint16_t sw)
{
	uint8_t bytes[2];

	vmc_put_u16be(bytes, sw);
	/* vsc_fetch_take() kept the room. */
	g_warn_if_fail(vmc_buf_append(&fetch->response, vmc_span(bytes, sizeof(bytes))));
	return vmc_buf_span(&fetch->response);
}

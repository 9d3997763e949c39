/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscFetch: response data that a card hands out in portions, brought together by
 * GET RESPONSE (ISO/IEC 7816-4:2013, 5.3.4 and 7816-3:2006, 12.2). What VscShort
 * and VscTpdu have in common: the one says extended APDUs in short ones, the other
 * says APDUs in T=0 TPDUs, and a GET RESPONSE is the same five bytes in both.
 */

#pragma once

#include "vmc/buf.h"
#include "vscard/apdu.h"

/* CLA C0 00 00 Le. */
#define VSC_FETCH_COMMAND (VSC_APDU_HEADER + 1)

/* How many commands one command may become: 258 pieces, each once more after
 * 6Cxx, and the longest response in portions of 48 bytes. A card that says 61xx
 * for longer than that never ends. */
#define VSC_FETCH_ROUNDS_MAX 2048u

typedef struct VscFetch {
	uint8_t cla;     /* of the command that the data answers */
	uint32_t ne;     /* bytes wanted in all */
	VmcBuf response; /* so far; with the status, once it is whole */
} VscFetch;

void vsc_fetch_init(VscFetch *fetch);

/* A new command of class `cla` wants at most `ne` bytes; what was there is
 * wiped. */
void vsc_fetch_begin(VscFetch *fetch, uint8_t cla, uint32_t ne);

/* Wipes and drops what was collected. */
void vsc_fetch_forget(VscFetch *fetch);

/* Bytes still wanted. */
uint32_t vsc_fetch_left(const VscFetch *fetch);

/* Keeps `data` that came with the status `sw`. True: in `*le` is how many bytes
 * to ask for next, 1 to 256, or 0 when the response is whole. False: more data
 * than a response may have. */
bool vsc_fetch_take(VscFetch *fetch, VmcSpan data, uint16_t sw, uint32_t *le);

/* GET RESPONSE for `le` bytes (1 to 256), on the command's logical channel,
 * without its secure messaging. */
void vsc_fetch_command(const VscFetch *fetch, uint32_t le, uint8_t to[VSC_FETCH_COMMAND]);

/* All that was kept with the status `sw` behind; valid until the next call. */
VmcSpan vsc_fetch_whole(VscFetch *fetch, uint16_t sw);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscAtr: what an answer to reset says (ISO/IEC 7816-3:2006, clause 8): the
 * protocols a card offers and their parameters.
 */

#pragma once

#include "vscard/card.h" /* VSC_ATR_MAX */

#define VSC_ATR_MIN 2u  /* TS and T0 */

typedef struct VscAtr {
	bool t0, t1;        /* protocols offered; T=0 alone if no TD says else (8.2.3) */
	uint8_t first;      /* the protocol used without a PPS: 0, 1 or another */
	bool specific;      /* TA2 is there: specific mode, `first` is its protocol */
	bool inverse;       /* TS is '3F': inverse convention */
	uint8_t ta1;        /* Fi and Di, default 0x11 */
	uint8_t guard_n;    /* N of TC1, default 0 */
	uint8_t t0_wi;      /* WI of TC2, default 10 */
	uint8_t t1_ifsc;    /* TA of the first T=1 group, default 32 */
	uint8_t t1_bwi_cwi; /* TB, default 0x4D */
	bool t1_crc;        /* TC bit 1: CRC instead of LRC */
	uint8_t clock_stop; /* XI of the T=15 TA: 0 none, 1 low, 2 high, 3 either */
	VmcSpan historical; /* borrowed from the ATR given */
} VscAtr;

/*
 * Reads `bytes`, a whole ATR. False with a static `*because` when it is not
 * one: too short or long, bad TS, interface or historical bytes cut off, TCK
 * missing or wrong, more bytes than T0 announces.
 */
bool vsc_atr_parse(VmcSpan bytes, VscAtr *atr, const char **because);

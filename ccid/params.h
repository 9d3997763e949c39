/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidParams: a slot's protocol parameters, abProtocolDataStructure (CCID 1.1,
 * 6.1.7 and 6.2.3): what they are after an answer to reset, and which ones a
 * host may set. The card may be behind a wire, so they steer no UART; hosts
 * read them back and compare.
 */

#pragma once

#include "vmc/span.h"
#include "vscard/atr.h"

/* Bytes of abProtocolDataStructure: exactly these, hosts count them. */
#define CCID_PARAMS_T0 5u
#define CCID_PARAMS_T1 7u

typedef struct CcidParams {
	uint8_t protocol; /* bProtocolNum: 0 or 1 */
	uint8_t bytes[CCID_PARAMS_T1];
	size_t len; /* CCID_PARAMS_T0 or CCID_PARAMS_T1 */
} CcidParams;

/* What the ATR asks for, in the protocol it puts first; `atr` NULL for the
 * defaults of ISO/IEC 7816-3 in T=0. */
void ccid_params_from_atr(const VscAtr *atr, CcidParams *params);

/*
 * Checks a SetParameters: `protocol` (bProtocolNum) and `bytes`, for a card
 * with this `atr` (NULL: unknown, either protocol will do). Answers 0 with
 * `params` filled in, or the offset of the wrong field in the message, as
 * bError wants it (table 6.2-2).
 */
uint8_t ccid_params_check(uint8_t protocol, VmcSpan bytes, const VscAtr *atr, CcidParams *params);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscCacardGuard: stands between the commands of a reader and one card that
 * libcacard emulates. The library does not count wrong PINs, and it keeps
 * without end what is sent to SIGN/DECRYPT in pieces. No I/O: commands and
 * status words go in, status words come out.
 */

#pragma once

#include <stdbool.h>

#include "vmc/span.h"

/* Wrong PINs in a row until VERIFY is refused: what a CAC allows. */
#define VSC_CACARD_PIN_TRIES 3u
/* Logical channels of the class byte, as libcacard reads it. */
#define VSC_CACARD_CHANNELS 4u

typedef struct VscCacardGuard {
	unsigned tries;                      /* of the PIN, left */
	size_t operand[VSC_CACARD_CHANNELS]; /* bytes the card keeps for SIGN/DECRYPT, at most */
} VscCacardGuard;

/* Another card is there: all tries are left. */
void vsc_cacard_guard_inserted(VscCacardGuard *guard);

/* Power on or reset: nothing is selected; the tries stay as they are. */
void vsc_cacard_guard_reset(VscCacardGuard *guard);

/* 0: the card may have `command`; otherwise the status word to answer instead. */
unsigned vsc_cacard_guard_before(const VscCacardGuard *guard, VmcSpan command);

/* The card answered `command` with the status word `sw`, after `data_len`
 * bytes: the status word to pass on. */
unsigned vsc_cacard_guard_after(VscCacardGuard *guard, VmcSpan command, size_t data_len,
				unsigned sw);

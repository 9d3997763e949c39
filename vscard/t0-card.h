/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscT0Card: a VscCard around another that acts as a T=0 card, for hosts that
 * exchange T=0 TPDUs (t0.h). It can be told to let everything through as it
 * is, for hosts that exchange APDUs; so its user keeps one card for both.
 */

#pragma once

#include "vscard/card.h"

typedef struct VscT0Card VscT0Card;

/* Wraps `inner` (borrowed; the wrapper becomes its user and outlives no
 * request to it). Free with vsc_card_free() of vsc_t0_card(). */
VscT0Card *vsc_t0_card_new(VscCard *inner);

/* The card for the user; it is the same object. */
VscCard *vsc_t0_card(VscT0Card *t0);

/* T=0 TPDUs or APDUs, from the next power on. TPDUs is how it starts. */
void vsc_t0_card_set_tpdu(VscT0Card *t0, bool tpdu);

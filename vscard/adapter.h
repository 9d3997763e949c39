/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscAdapter: a VscCard around another, for a host that may not exchange what
 * the card takes. Which machine stands between them is seen anew at each power
 * on, from what the host exchanges, which the user says, and what the card takes,
 * which vsc_card_exchange() says:
 *
 *   host   card
 *   APDUs  APDUs  none: all passes as it is
 *   APDUs  T=0    VscTpdu (tpdu.h)
 *   T=0    APDUs  VscT0 (t0.h)
 *   T=0    T=0    both, so that the host's side and the card's are each a T=0
 *                 exchange of their own: what a host sends that is no TPDU, and
 *                 what QEMU's reader cannot pass on, ends between them
 */

#pragma once

#include "vscard/card.h"

typedef struct VscAdapter VscAdapter;

/* Wraps `inner` (borrowed; the adapter becomes its user and outlives no
 * request to it). Free with vsc_card_free() of vsc_adapter_card(). */
VscAdapter *vsc_adapter_new(VscCard *inner);

/* The card for the user; it is the same object. Its vsc_card_atr() is what the
 * host is to be shown. A request that is made before the outcome of another waits
 * for that; a power off ends as CANCELLED what waits before it. */
VscCard *vsc_adapter_card(VscAdapter *adapter);

/* What the host exchanges, from the next power on. T=0 TPDUs is how it starts. */
void vsc_adapter_set_host(VscAdapter *adapter, VscExchange host);

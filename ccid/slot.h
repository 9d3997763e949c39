/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidSlot: one slot of a reader: its card, the command that is pending, the
 * chain of a command that comes in pieces, the two halves of an abort. The
 * reader hands it messages whose header holds together and whose bSlot is
 * its own. No I/O; time is an argument.
 */

#pragma once

#include "ccid/message.h"
#include "vscard/card.h"

typedef struct CcidSlot CcidSlot;

typedef struct CcidSlotEvents {
	/* A whole RDR_to_PC message, valid during the call. */
	void (*message)(void *user, VmcSpan message);
	/* The card came or went. */
	void (*changed)(void *user);
	/* vsc_card_name() or vsc_card_info() of the slot's card say something else. */
	void (*described)(void *user);
} CcidSlotEvents;

CcidSlot *ccid_slot_new(uint8_t index, const CcidSlotEvents *events, void *user);
void ccid_slot_free(CcidSlot *slot);

/* Puts `card` (borrowed) in the slot, NULL for none. */
void ccid_slot_set_card(CcidSlot *slot, VscCard *card);

/* The card in the slot, or NULL. */
const VscCard *ccid_slot_card(const CcidSlot *slot);

/* bmICCStatus now. */
uint8_t ccid_slot_status(const CcidSlot *slot);

bool ccid_slot_present(const CcidSlot *slot);

/* Did the card come or go since the last call, or has the host not looked since it
 * was told? It is told at `now`, then. */
bool ccid_slot_take_change(CcidSlot *slot, int64_t now);

/* A command: answered now or later, once. */
void ccid_slot_command(CcidSlot *slot, const CcidMessage *message, int64_t now);

/* The class request ABORT (5.3.1). */
void ccid_slot_abort(CcidSlot *slot, uint8_t seq);

/* When ccid_slot_tick() is due: a time extension, the end of a power on, or a
 * change to be said once more; -1 for never. */
int64_t ccid_slot_deadline(const CcidSlot *slot);
void ccid_slot_tick(CcidSlot *slot, int64_t now);

/* Forgets the host: nothing is answered, the card is powered off, and a card
 * that is there counts as a change. */
void ccid_slot_reset(CcidSlot *slot);

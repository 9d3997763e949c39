/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidReader: the reader's command engine (CCID revision 1.1, clause 6). It
 * takes PC_to_RDR messages and slots that hold a VscCard, and gives
 * RDR_to_PC messages back. No I/O, no clock: time is an argument, and the
 * next deadline is an answer. Slot and sequence number travel with each
 * request; each command gets exactly one final response.
 */

#pragma once

#include "ccid/message.h"
#include "vscard/card.h"

typedef struct CcidReader CcidReader;

#define CCID_SLOTS_MAX 16u

/* dwMaxCCIDMessageLength: what the descriptor says is what the buffers hold. */
#define CCID_MESSAGE_MAX (CCID_HEADER + VSC_COMMAND_MAX)

/* A host such as libccid waits 3 s for a response (facts: read timeout); the
 * first time extension leaves well before and each next one follows as soon. */
#define CCID_TIME_EXTENSION_MS 1000

/* IccPowerOn is another matter: libccid waits 60 s for its answer and takes a
 * time extension for an empty ATR. So none is sent; a card that has no ATR for
 * so long, because it still works on what was cancelled by a reset, say, is
 * mute, as one would be in a reader that can hold it. The host may try again,
 * and there is time for the answer on its way. As long as a wire may be silent:
 * VSC_HOST_SILENT_MS. */
#define CCID_POWER_ON_MS 30000

/* bError of a time extension: hosts multiply their timeout by it (6.2.6). More
 * than one, so that an extension which a loaded machine sends late is not too
 * late. */
#define CCID_TIME_EXTENSION_FACTOR 3u

/* A host that is told of a change looks at the slot: IccPowerOn, GetSlotStatus.
 * One that has not by then may have lost the message inside (libccid does, of
 * several slots: one whose thread does not wait just then hears nothing), so it is
 * said again, so often: it is no more than true. */
#define CCID_NOTIFY_AGAIN_MS 1500
#define CCID_NOTIFY_AGAIN_TIMES 4u

typedef struct CcidReaderEvents {
	/* A whole RDR_to_PC message, valid during the call; it may come from
	 * within ccid_reader_message() and friends. */
	void (*message)(void *user, VmcSpan message);
	/* A slot's status changed: ccid_reader_slot_change() has news. */
	void (*slot_change)(void *user);
	/* vsc_card_name() or vsc_card_info() of a slot's card say something
	 * else. May be NULL. */
	void (*described)(void *user);
} CcidReaderEvents;

/* A reader of `n_slots` (1 to CCID_SLOTS_MAX) empty slots. */
CcidReader *ccid_reader_new(unsigned n_slots, const CcidReaderEvents *events, void *user);
void ccid_reader_free(CcidReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CcidReader, ccid_reader_free)

unsigned ccid_reader_slots(const CcidReader *reader);

/* Puts `card` (borrowed; the reader becomes its user) behind `slot`, NULL to
 * take it away. A card's coming and going is the slot's. */
void ccid_reader_set_card(CcidReader *reader, unsigned slot, VscCard *card);

/* The card behind `slot`, there or not; NULL for none. */
const VscCard *ccid_reader_card(const CcidReader *reader, unsigned slot);

/* One PC_to_RDR message as the bulk-OUT pipe brought it, whole or not: what
 * does not hold together is answered as 6.2.6's error table says. `now`: a
 * monotonic time in ms. */
void ccid_reader_message(CcidReader *reader, VmcSpan message, int64_t now);

/* The class request ABORT (5.3.1) for `slot` and `seq`. False when the slot
 * does not exist: the request stalls. */
bool ccid_reader_abort(CcidReader *reader, unsigned slot, uint8_t seq);

/* Builds the RDR_to_PC_NotifySlotChange message (6.3.1) into `to` and forgets
 * the change bits; answers its length, 0 when nothing changed since the last. The
 * host is told at `now`. */
size_t ccid_reader_slot_change(CcidReader *reader, uint8_t to[1 + CCID_SLOTS_MAX / 4], int64_t now);

/* When ccid_reader_tick() is due, in the time of `now`; -1 for not at all. */
int64_t ccid_reader_deadline(const CcidReader *reader);
void ccid_reader_tick(CcidReader *reader, int64_t now);

/* The host is gone or has reset the bus: pending commands are cancelled and
 * answered no more, cards are powered off, change bits say what is there. */
void ccid_reader_reset(CcidReader *reader);

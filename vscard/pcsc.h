/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscPcsc: the cards in the PC/SC readers of this machine, by pcsc-lite, as
 * they are. Each reader is a VscCard whose slot is the reader's; readers and
 * cards come and go as pcscd says, which itself may come and go.
 *
 * The owner's programs use the cards as well; share.h says how both get along.
 * Power on and reset are real: the card forgets what was selected and verified
 * for everybody. A card that another program reset is gone and there again, as
 * all that was known of it is lost.
 */

#pragma once

#include "vscard/card.h"
#include "vscard/share.h"

typedef struct VscPcsc VscPcsc;

/* What the set of readers tells its owner, from the main loop. Any member may
 * be NULL. */
typedef struct VscPcscEvents {
	/* Is the reader to be one of the set? NULL: all are. */
	bool (*wanted)(void *user, const char *name);
	void (*reader_added)(void *user, VscCard *card);   /* owned by the VscPcsc */
	void (*reader_removed)(void *user, VscCard *card); /* valid during the call */
	/* A card came or went, after the card's one user heard of it. */
	void (*card_changed)(void *user, VscCard *card);
	/* pcscd serves, or does no more; the first is told soon after the start. */
	void (*service)(void *user, bool running);
	/* All readers there are at the start were told. */
	void (*settled)(void *user);
} VscPcscEvents;

/* Starts to watch the readers; `mode` is how each card is shared. */
VscPcsc *vsc_pcsc_new(VscShareMode mode, const VscPcscEvents *events, void *user);

/* Ends it; cards that are powered on are reset, unless the reader hangs. */
void vsc_pcsc_free(VscPcsc *pcsc);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VscPcsc, vsc_pcsc_free)

/* Takes a card out of what is lent, though it stays in its reader, and puts it
 * back. False if that is how it was. */
bool vsc_pcsc_remove(VscCard *card);
bool vsc_pcsc_insert(VscCard *card);

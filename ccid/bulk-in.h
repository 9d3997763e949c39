/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidBulkIn: the answers on their way to the host, and how IN transfers
 * carry them. A message ends with a short packet. One that filled its
 * transfers to the last byte with whole packets ends with a zero-length one
 * (USB 2.0, 5.8.3): the next transfer gets it, for a host that cuts its read
 * into 64-byte pieces (UHCI) or 16 KiB ones (usbfs) still waits for the end.
 *
 * A host that asked for exactly the message's length in one transfer knows
 * that it is over and never fetches that packet; it would come before the
 * next answer and shift all the rest. So it is dropped when the host's next
 * command arrives first.
 */

#pragma once

#include <glib.h>

#include "vmc/span.h"

/* Answers that wait unread before the device holds further commands back
 * (NAK). What is already under way still adds to them: for each slot one
 * answer, one time extension and one to an Abort. */
#define CCID_ANSWERS_MAX 8u

typedef struct CcidBulkIn {
	GQueue answers;          /* CcidAnswer, the oldest first */
	struct CcidAnswer *last; /* went whole; its bytes are still lent out */
	size_t sent;             /* bytes of the oldest that went */
	bool owed;               /* a zero-length packet */
	bool owed_idly;          /* by a message that took one transfer */
} CcidBulkIn;

void ccid_bulk_in_init(CcidBulkIn *in);

/* Forgets and wipes all answers. */
void ccid_bulk_in_clear(CcidBulkIn *in);

/* One more answer (copied). A time extension like one that still waits
 * unread is left out. */
void ccid_bulk_in_push(CcidBulkIn *in, VmcSpan answer);

/* Does the host read too slowly for another command? */
bool ccid_bulk_in_full(const CcidBulkIn *in);

/* The host sent a command. */
void ccid_bulk_in_command(CcidBulkIn *in);

/* The host cleared the endpoint's halt: no transfer waits for its end now. */
void ccid_bulk_in_halt_cleared(CcidBulkIn *in);

/* Takes what a transfer of up to `length` bytes carries now, valid until the
 * next call here; false when there is nothing and it has to wait. */
bool ccid_bulk_in_take(CcidBulkIn *in, size_t length, VmcSpan *data);

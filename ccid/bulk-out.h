/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidBulkOut: puts the transfers of the bulk-OUT pipe together to PC_to_RDR
 * messages. A message ends where its dwLength says, or with a short packet
 * (USB 2.0, 5.8.3), and a message of exactly whole packets may be followed by
 * a zero-length one or not: hosts do both.
 *
 * Nobody tells the device on which bus it sits. On a full-speed one a message
 * may come in pieces of 64 bytes, so whole packets are multiples of 64. What
 * high speed would take for a short packet then may end a message that never
 * gets the rest its dwLength announces; the next one finds it out.
 */

#pragma once

#include "vmc/buf.h"

typedef struct CcidBulkOut {
	VmcBuf partial; /* the message that has begun */
	bool skipping;  /* the rest of a message that was too long, already given */
} CcidBulkOut;

/* A message, valid during the call: whole, or whatever came in the place of
 * one, which ccid_message_read() will find wrong. */
typedef void (*CcidBulkOutMessage)(void *user, VmcSpan message);

void ccid_bulk_out_init(CcidBulkOut *out);

/* Forgets a message that has begun, and wipes it. */
void ccid_bulk_out_clear(CcidBulkOut *out);

/* One transfer. Gives none, one, or two messages: a wrong one, and a right
 * one by which it was found out. */
void ccid_bulk_out_transfer(CcidBulkOut *out, VmcSpan data, CcidBulkOutMessage message, void *user);

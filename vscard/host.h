/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscHost: the VSCard protocol's host end, the side that uses cards, as a
 * machine without I/O. Messages of the peer and requests of the local user go
 * in; actions come out of vsc_host_next(), to be carried out in order. It
 * never asserts, blocks or grows on the peer's account: what breaks the
 * protocol beyond repair is a CLOSE action, all else is answered or ignored
 * as the table in host.c says.
 */

#pragma once

#include "vscard/wire.h"

typedef struct VscHost VscHost;

/* How many readers one host session can offer (VSCard reader ids 0 to n-1);
 * what a CCID device has slots for (CCID 1.1, 5.1 bMaxSlotIndex kept to 16). */
#define VSC_HOST_READERS_MAX 16u

typedef enum VscHostActionKind {
	VSC_HOST_SEND,           /* send type, reader_id, data to the peer */
	VSC_HOST_READER_ADDED,   /* the peer has a reader reader_id, its name is data */
	VSC_HOST_READER_REMOVED, /* that reader is gone; it had no card and no request any more */
	VSC_HOST_CARD_INSERTED,  /* a card in reader_id, its ATR is data */
	VSC_HOST_CARD_REMOVED,   /* no card in reader_id any more */
	VSC_HOST_ANSWER,         /* outcome and data for token, on reader_id */
	VSC_HOST_CLOSE,          /* end the conversation; data is why, as text */
	VSC_HOST_NOTE,           /* worth a log line; data is the text */
} VscHostActionKind;

typedef struct VscHostAction {
	VscHostActionKind kind;
	uint32_t reader_id;
	uint32_t type;       /* SEND: a VscType */
	VscToken token;      /* ANSWER */
	VscOutcome outcome;  /* ANSWER */
	VmcSpan data;        /* valid until the next vsc_host_… call */
} VscHostAction;

/* A host with room for `max_readers` (1 to VSC_HOST_READERS_MAX), writing
 * Error codes and Init in `order`, offering `caps` in its VSC_Init. */
VscHost *vsc_host_new(VscOrder order, uint32_t max_readers, uint32_t caps);
void vsc_host_free(VscHost *host);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VscHost, vsc_host_free)

/* A peer is there, a new conversation begins / it is gone: every card is
 * removed, every pending request ends NO_CARD, every reader is removed. */
void vsc_host_opened(VscHost *host);
void vsc_host_closed(VscHost *host);

/* One message of the peer (only while open). */
void vsc_host_message(VscHost *host, const VscMessage *message);

/* Requests of the local user, outcome by ANSWER. The old protocol knows no
 * power: power on and reset are answered with the ATR the peer sent at
 * insertion, power off with OK. A second request on a reader while one is
 * pending is answered FAILED. */
void vsc_host_power_on(VscHost *host, uint32_t reader_id, VscToken token);
void vsc_host_power_off(VscHost *host, uint32_t reader_id, VscToken token);
void vsc_host_reset(VscHost *host, uint32_t reader_id, VscToken token);
void vsc_host_transmit(VscHost *host, uint32_t reader_id, VscToken token, VmcSpan command);
/* The answer to `token` is dropped when it comes; only then is the next
 * command of that reader sent (an old peer's answers have no names, so order
 * is what tells them apart). The outcome CANCELLED comes at once. */
void vsc_host_cancel(VscHost *host, uint32_t reader_id, VscToken token);

/* Takes the next action into `*action`; false when there is none. */
bool vsc_host_next(VscHost *host, VscHostAction *action);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscClient: the VSCard protocol's client end, the side that owns cards, as a
 * machine without I/O. The local readers' events and answers and the peer's
 * messages go in; actions come out of vsc_client_next(), in order. A local
 * reader is known by the number its owner gave it (`slot`); the id the host
 * allots is the machine's own business. Readers are announced one after the
 * other, each after the host's Error message has answered the one before:
 * that is how the id reaches the right reader, and how SPICE clients do it.
 */

#pragma once

#include "vscard/wire.h"

typedef struct VscClient VscClient;

#define VSC_CLIENT_READERS_MAX 16u

typedef enum VscClientActionKind {
	VSC_CLIENT_SEND,           /* send type, reader_id, data */
	VSC_CLIENT_READY,          /* readers follow: `caps` are what the host can do */
	VSC_CLIENT_READER_TAKEN,   /* the host took the reader of slot */
	VSC_CLIENT_READER_REFUSED, /* the host refused the reader of slot with `code` */
	VSC_CLIENT_TRANSMIT,       /* the host sends the command data to slot, token names it */
	VSC_CLIENT_CLOSE,          /* end the conversation; data is why, as text */
	VSC_CLIENT_NOTE,           /* worth a log line; data is the text */
} VscClientActionKind;

typedef struct VscClientAction {
	VscClientActionKind kind;
	uint32_t slot;
	uint32_t reader_id; /* SEND */
	uint32_t type;      /* SEND: a VscType */
	uint32_t caps;      /* READY */
	VscErrorCode code;  /* READER_REFUSED */
	VscToken token;     /* TRANSMIT */
	VmcSpan data;       /* valid until the next vsc_client_… call */
} VscClientAction;

/* A client that offers `caps` in its VSC_Init, and with them
 * VSC_CAP_NO_LATE_ANSWER, which is this machine's own promise. */
VscClient *vsc_client_new(uint32_t caps);
void vsc_client_free(VscClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VscClient, vsc_client_free)

/* The link is up (VSC_Init goes out, then readers and ATRs known so far) /
 * down (what the peer asked is forgotten; later answers are dropped). `order`
 * is the wire's: VSC_ORDER_LITTLE is SPICE's smartcard channel, where there is
 * no Init, so READY comes at once with no capabilities, and room for one
 * reader: all others are REFUSED. */
void vsc_client_opened(VscClient *client, VscOrder order);
void vsc_client_closed(VscClient *client);

void vsc_client_message(VscClient *client, const VscMessage *message);

/* The local side. `slot` below VSC_CLIENT_READERS_MAX. A card's `atr` (2 to 33
 * bytes, copied) is announced when the reader is taken, and again at each
 * insertion. These may be called while the link is down: they are told to the
 * host when it comes up. */
void vsc_client_reader_added(VscClient *client, uint32_t slot, const char *name);
void vsc_client_reader_removed(VscClient *client, uint32_t slot);
void vsc_client_card_inserted(VscClient *client, uint32_t slot, VmcSpan atr);
void vsc_client_card_removed(VscClient *client, uint32_t slot);

/* The response to `token` (a TRANSMIT of the present conversation). An outcome
 * other than OK becomes a response the host can pass on (SW 6F00) unless the
 * card is gone, where CardRemove says it all. Unknown tokens are dropped. */
void vsc_client_answer(VscClient *client, uint32_t slot, VscToken token, VscOutcome outcome,
		       VmcSpan response);

bool vsc_client_next(VscClient *client, VscClientAction *action);

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

#include "vscard/request.h"

typedef struct VscClient VscClient;

#define VSC_CLIENT_READERS_MAX 16u

/* How often, in ms, to say vsc_client_working() of a card that works: often
 * enough that a host which waits VSC_HOST_SILENT_MS hears it in spite of a slow
 * wire, seldom enough to be no load. */
#define VSC_WORKING_MS 2000

typedef enum VscClientActionKind {
	VSC_CLIENT_SEND,           /* send type, reader_id, data */
	VSC_CLIENT_READY,          /* readers follow: `caps` are what the host can do */
	VSC_CLIENT_READER_TAKEN,   /* the host took the reader of slot */
	VSC_CLIENT_READER_REFUSED, /* the host refused the reader of slot with `code` */
	VSC_CLIENT_TRANSMIT,       /* the host sends the command data to slot, token names it */
	VSC_CLIENT_POWER_ON,       /* the host asks this of the card of slot, token names it */
	VSC_CLIENT_POWER_OFF,
	VSC_CLIENT_RESET,
	VSC_CLIENT_CANCEL, /* the host no longer waits for what token names */
	VSC_CLIENT_CLOSE,  /* end the conversation; data is why, as text */
	VSC_CLIENT_NOTE,   /* worth a log line; data is the text */
} VscClientActionKind;

typedef struct VscClientAction {
	VscClientActionKind kind;
	uint32_t slot;
	uint32_t reader_id; /* SEND */
	uint32_t type;      /* SEND: a VscType */
	uint32_t caps;      /* READY */
	uint32_t version;   /* READY: of the host's Init; 0: there was none */
	VscErrorCode code;  /* READER_REFUSED */
	VscToken token;     /* TRANSMIT, POWER_ON, POWER_OFF, RESET, CANCEL */
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

/* The local side. `slot` below VSC_CLIENT_READERS_MAX; `name` and `info` are
 * copied, `info` may be NULL. A card's `atr` (2 to 33 bytes, copied) is announced
 * when the reader is taken, and again at each insertion. To a host with
 * VSC_CAP_REQUESTS the card is without power then; to an old one it has power as
 * long as it is there. These may be called while the link is down: they are told
 * to the host when it comes up. */
void vsc_client_reader_added(VscClient *client, uint32_t slot, const char *name,
			     const VscReaderInfo *info);
void vsc_client_reader_described(VscClient *client, uint32_t slot, const char *name,
				 const VscReaderInfo *info);
void vsc_client_reader_removed(VscClient *client, uint32_t slot);
void vsc_client_card_inserted(VscClient *client, uint32_t slot, VmcSpan atr);
void vsc_client_card_removed(VscClient *client, uint32_t slot);

/* The outcome of `token` (of the present conversation), OK with the response or
 * the ATR. An old host is told of outcomes other than OK by a response it can
 * pass on (SW 6F00), unless the card is gone, where CardRemove says it all.
 * Unknown tokens are dropped. */
void vsc_client_answer(VscClient *client, uint32_t slot, VscToken token, VscOutcome outcome,
		       VmcSpan response);

/* Has the host, which has the reader of `slot`, acknowledged the card in it? */
bool vsc_client_is_card_known(const VscClient *client, uint32_t slot);

/* The card of `slot` still works, if it was asked for something: a host that
 * knows the word is told. */
void vsc_client_working(VscClient *client, uint32_t slot);

bool vsc_client_next(VscClient *client, VscClientAction *action);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscCard: a card in some slot of the world: in a certificate database, in a
 * reader, or behind a wire. It is asked to power on, power off, reset,
 * transmit one command; each request carries a token that its user chose, and
 * its one outcome comes later under that token. So a card that is slow and a
 * card that is far away look the same. The slot outlives its cards: a VscCard
 * is made once for a slot and says when a card comes and goes.
 */

#pragma once

#include <glib.h>

#include "vmc/span.h"

typedef struct VscCard VscCard;
typedef struct VscCardClass VscCardClass;

/* Names one request of one user; never 0, never used again by that user. */
typedef uint32_t VscToken;
#define VSC_TOKEN_NONE 0u

/* A token that nobody in this process has used (main loop only): for users
 * that come one after the other to the same card, where the outcome of an
 * earlier one's request may still be on its way. */
VscToken vsc_token_next(void);

/* How a request ended. Whoever takes an outcome switches over all of them. */
typedef enum VscOutcome {
	VSC_OUTCOME_OK,          /* power on, reset: the ATR; transmit: the response APDU */
	VSC_OUTCOME_NO_CARD,     /* there is no card, or it was removed meanwhile */
	VSC_OUTCOME_NOT_POWERED, /* transmit to a card that is not powered on */
	VSC_OUTCOME_MUTE,        /* the card is there but does not answer */
	VSC_OUTCOME_FAILED,      /* the card or the way to it answered nonsense or an error */
	VSC_OUTCOME_CANCELLED,   /* vsc_card_cancel() came in time */
} VscOutcome;

/* "no card", ... : for messages. */
const char *vsc_outcome_name(VscOutcome outcome);

/* What a card takes as a command. */
typedef enum VscExchange {
	VSC_EXCHANGE_APDU, /* whole APDUs, whatever the card itself speaks */
	VSC_EXCHANGE_T0,   /* T=0 TPDUs: 61xx, 6Cxx and GET RESPONSE are the user's (ISO/IEC
			    * 7816-3, 12.2) */
} VscExchange;

/* The longest ATR: TS and at most 32 characters (ISO/IEC 7816-3, 8.2.1). */
#define VSC_ATR_MAX 33u

/* What is known of the reader that the card is in; each NULL if nothing is.
 * UTF-8, as PC/SC's attributes of these names have it (PC/SC part 3, 3.1.1). */
typedef struct VscReaderInfo {
	char *vendor; /* Vendor-Name */
	char *type;   /* Vendor-IFD-Type: the product */
	char *serial; /* Vendor-IFD-Serial-No */
} VscReaderInfo;

/* What a card tells its one user. None of these comes from within a call of
 * vsc_card_…() by that user, but later, from the main loop. */
typedef struct VscCardEvents {
	/* A card is there now (again). Not powered. */
	void (*inserted)(void *user);
	/* It is gone. Each pending request has had, or gets, its outcome NO_CARD. */
	void (*removed)(void *user);
	/* The one outcome of the request `token`. `data` is valid during the
	 * call, empty unless OK. */
	void (*answered)(void *user, VscToken token, VscOutcome outcome, VmcSpan data);
	/* The card still works on `token`; may come any number of times. */
	void (*working)(void *user, VscToken token);
	/* vsc_card_name() or vsc_card_info() say something else now. May be NULL. */
	void (*described)(void *user);
} VscCardEvents;

/* The longest command APDU: extended case 4, 4 + 3 + 65,535 + 2 bytes, and
 * the longest response: 65,536 + 2 (ISO/IEC 7816-4:2013, 5.1). */
#define VSC_COMMAND_MAX 65544u
#define VSC_RESPONSE_MAX 65538u

/* Makes `events` with `user` the card's one user; both outlive the use. NULL
 * ends it: later outcomes are dropped. If a card is there, `inserted` does not
 * come: ask vsc_card_present(). */
void vsc_card_set_user(VscCard *card, const VscCardEvents *events, void *user);

/* The slot's name for people, UTF-8, owned by the card. */
const char *vsc_card_name(const VscCard *card);

/* What is known of its reader; owned by the card, valid until `described`. */
const VscReaderInfo *vsc_card_info(const VscCard *card);

/* Is a card in the slot as far as is known now? */
bool vsc_card_present(const VscCard *card);

/* The ATR of the card that is there, for kinds of card that know it without
 * being powered on; else, and with no card, empty. Valid until the next event
 * or request. */
VmcSpan vsc_card_atr(const VscCard *card);

/* What it takes as commands, from the OK of a power on or reset to the next. */
VscExchange vsc_card_exchange(const VscCard *card);

/* Cold reset and activation (ISO/IEC 7816-3, 6.2): OK brings the ATR. */
void vsc_card_power_on(VscCard *card, VscToken token);

/* Deactivation (ISO/IEC 7816-3, 6.4): OK brings nothing. */
void vsc_card_power_off(VscCard *card, VscToken token);

/* Warm reset of a powered card: OK brings the ATR. What was selected or
 * verified is forgotten. */
void vsc_card_reset(VscCard *card, VscToken token);

/* Sends one command APDU (ISO/IEC 7816-4; copied, at most VSC_COMMAND_MAX
 * bytes): OK brings the response with SW1 SW2, 2 to VSC_RESPONSE_MAX bytes.
 * One at a time for one card: the next after the outcome. */
void vsc_card_transmit(VscCard *card, VscToken token, VmcSpan command);

/* The user wants the outcome of `token` no more. It may still come, as
 * CANCELLED or as it would have been; an unknown token is fine. */
void vsc_card_cancel(VscCard *card, VscToken token);

/* Frees a card that stands alone, a VscAdapter's say; its user hears no more of
 * it. Not for the cards of a host link or of libcacard's: those belong to what
 * they came from and end with it. NULL is fine. */
void vsc_card_free(VscCard *card);

/* ---- For the kinds of card ---- */

struct VscCardClass {
	void (*power_on)(VscCard *card, VscToken token);
	void (*power_off)(VscCard *card, VscToken token);
	void (*reset)(VscCard *card, VscToken token);
	void (*transmit)(VscCard *card, VscToken token, VmcSpan command);
	void (*cancel)(VscCard *card, VscToken token);
	void (*free)(VscCard *card);
};

/* The first member of each kind of card. */
struct VscCard {
	const VscCardClass *class;
	const VscCardEvents *events;
	void *user;
	char *name;
	VscReaderInfo info;
	bool present;
	uint8_t atr[VSC_ATR_MAX]; /* of the card that is there; set before it is emitted */
	size_t atr_len;           /* 0: not known */
	VscExchange exchange;     /* set before the OK of power on and reset */
};

/* Sets up the common part; `name` is copied. */
void vsc_card_init(VscCard *card, const VscCardClass *class, const char *name);

/* Releases what vsc_card_init() made; not the card itself. */
void vsc_card_finish(VscCard *card);

/* Keeps what is known of the reader (copied; `name` NULL: as it was) and tells
 * the user if it is news. */
void vsc_card_describe(VscCard *card, const char *name, const VscReaderInfo *info);

/* Keeps the ATR for vsc_card_atr(); one that is longer than VSC_ATR_MAX, or
 * empty, is none. A removal forgets it. */
void vsc_card_set_atr(VscCard *card, VmcSpan atr);

/* Keep `present` and tell the user; nothing happens if nothing changed. */
void vsc_card_emit_inserted(VscCard *card);
void vsc_card_emit_removed(VscCard *card);

void vsc_card_emit_answered(VscCard *card, VscToken token, VscOutcome outcome, VmcSpan data);
void vsc_card_emit_working(VscCard *card, VscToken token);

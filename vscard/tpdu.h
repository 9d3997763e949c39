/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscTpdu: a machine without I/O that says APDUs to a card that takes T=0 TPDUs
 * only, as one in a PC/SC reader does whose protocol is T=0. It serves 61xx and
 * 6Cxx where the card is, so that a command crosses the wire once (ISO/IEC
 * 7816-3:2006, 12.2). The other direction is VscT0 (t0.h), which makes any card
 * a T=0 card.
 *
 * Command data over 255 bytes goes by ENVELOPE (12.2.7, 12.2.8). A card that does
 * not know ENVELOPE gets a chain of commands (7816-4:2013, 5.3.3) if the class
 * has a bit for that; else the response is 6700, wrong length. Response data over
 * 256 bytes comes by GET RESPONSE.
 *
 * Nothing is fetched that nobody asked for: a command without Le that the card
 * answers 61xx ends with this, and a GET RESPONSE of the host's goes to the card
 * as any other command.
 */

#pragma once

#include "vscard/fetch.h"

/* The longest TPDU: header, P3, 255 bytes. */
#define VSC_TPDU_MAX (VSC_APDU_HEADER + 1 + VSC_APDU_NC_SHORT)

/* How many TPDUs one command may become. */
#define VSC_TPDU_ROUNDS_MAX VSC_FETCH_ROUNDS_MAX

typedef enum VscTpduStep {
	VSC_TPDU_REPLY,   /* to whoever gave the command */
	VSC_TPDU_FORWARD, /* to the card; its response goes to vsc_tpdu_response() */
} VscTpduStep;

/* How the command in hand goes to the card. */
typedef enum VscTpduWay {
	VSC_TPDU_WHOLE,    /* in one TPDU */
	VSC_TPDU_ENVELOPE, /* all its bytes, in pieces */
	VSC_TPDU_CHAIN,    /* its data, in pieces */
} VscTpduWay;

typedef struct VscTpdu {
	VscTpduWay way;
	uint8_t *command; /* as given */
	size_t command_len;
	size_t data_at;  /* where its data is in it */
	size_t data_len; /* 0: none */
	size_t sent;     /* bytes of the command, or of its data, with the last piece */
	bool fetching;   /* GET RESPONSE is out, not the command */
	bool unasked;    /* and the card has not said that there is something */
	bool corrected;  /* 6Cxx was obeyed */
	unsigned rounds; /* TPDUs so far */
	uint8_t tpdu[VSC_TPDU_MAX];
	size_t tpdu_len;
	VscFetch fetch;    /* the response */
	uint8_t status[2]; /* a response of our own */
} VscTpdu;

void vsc_tpdu_init(VscTpdu *tpdu);

/* Wipes and drops the command in hand: after its reply, a removal, a cancel. */
void vsc_tpdu_forget(VscTpdu *tpdu);

/* A command APDU (any bytes, at most VSC_COMMAND_MAX). `*out` is valid until the
 * next call: a FORWARD is a C-TPDU of header and P3, then P3 bytes or none, a
 * REPLY is a status word. */
VscTpduStep vsc_tpdu_command(VscTpdu *tpdu, VmcSpan command, VmcSpan *out);

/* The card's R-TPDU for what was forwarded. `*out` is valid until the next call
 * and no longer than `response`: a REPLY has at most as much data as the command
 * asked for, or is `response` as it is. */
VscTpduStep vsc_tpdu_response(VscTpdu *tpdu, VmcSpan response, VmcSpan *out);

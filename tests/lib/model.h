/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A card and a host by the book, for what stands between them: VscModelCard
 * takes T=0 TPDUs or APDUs and notes each breach of ISO/IEC 7816-3:2006, clauses
 * 10.3 and 12.2, or 7816-4:2013, 5.1; VscModelHost gives an APDU to something
 * that takes one or the other and gathers the response. Neither uses the code
 * under test.
 *
 * The card tells by INS what a command is:
 *
 *   10  case 1   B0  case 2   D6  case 3   2A  case 4
 *   C0  GET RESPONSE   C2  ENVELOPE
 */

#pragma once

#include <glib.h>

#include "vmc/span.h"

#define VSC_MODEL_CASE1 0x10u
#define VSC_MODEL_CASE2 0xb0u
#define VSC_MODEL_CASE3 0xd6u
#define VSC_MODEL_CASE4 0x2au

/* Byte `i` of what the card has to say. */
#define VSC_MODEL_BYTE(i) ((uint8_t)((i)*7 + (i) / 251 + 1))

typedef struct VscModelCard {
	/* What kind of card it is. */
	bool t0;          /* takes T=0 TPDUs, else APDUs */
	bool extended;    /* APDUs: extended ones too */
	bool strict;      /* APDUs: 6700 to an Le where there is nothing to say */
	bool envelope;    /* T=0: takes ENVELOPE */
	bool chain;       /* T=0: takes chains */
	bool exact;       /* T=0: P3 has to be what is there, less will not do */
	bool quiet;       /* T=0: says 9000, not 61xx, when there is something */
	uint32_t portion; /* T=0: the most that one GET RESPONSE brings; 0: 256 */
	size_t there;     /* bytes that it has to say */

	/* What it saw: valid when `carried_out`. */
	unsigned carried_out; /* how many commands */
	uint8_t cla;          /* of the command */
	GByteArray *data;     /* its data */
	const char *wrong;    /* the first breach; NULL: none */

	/* Its state. */
	size_t said, left;   /* of the response */
	bool chaining;       /* `data` grows */
	GByteArray *letters; /* of an envelope */
} VscModelCard;

void vsc_model_card_init(VscModelCard *card);
void vsc_model_card_finish(VscModelCard *card);

/* One command, one response (a new array). */
GByteArray *vsc_model_card_exchange(VscModelCard *card, VmcSpan command);

/* What is wrong with a C-TPDU, or NULL: the form, and an INS that T=0 has not. */
const char *vsc_model_tpdu_wrong(VmcSpan tpdu);

typedef enum VscModelForm {
	VSC_MODEL_APDUS,     /* the other side takes APDUs */
	VSC_MODEL_TPDUS,     /* T=0 TPDUs; an extended APDU it gets as it is */
	VSC_MODEL_ENVELOPES, /* T=0 TPDUs; long commands in envelopes */
} VscModelForm;

/* Gives one command, and answers the response (a new array). */
typedef GByteArray *(*VscModelExchange)(void *user, VmcSpan command);

typedef struct VscModelHost {
	VscModelForm form;
	VscModelExchange exchange;
	void *user;
	const char *wrong; /* the first breach of the other side */
} VscModelHost;

/* Has the APDU carried out: all data of the response, cut to Ne, with the last
 * status. */
GByteArray *vsc_model_host_run(VscModelHost *host, VmcSpan apdu);

/* The APDU `cla` `ins` 00 00 with `nc` bytes of data and `ne` wanted (0: none),
 * in the short form if there is one and `extended` is not asked for. */
GByteArray *vsc_model_apdu(uint8_t cla, uint8_t ins, size_t nc, uint32_t ne, bool extended);

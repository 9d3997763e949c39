/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscShort: a machine without I/O that says extended APDUs in short ones, for
 * peers that have room for no others. Command data over 255 bytes goes in a
 * chain of commands, response data over 256 comes by GET RESPONSE (ISO/IEC
 * 7816-4:2013, 5.3.3 and 5.3.4). What is short already passes as it is, and so
 * does its response.
 *
 * A chain needs a card that takes chains, and a class byte that has a bit for
 * them: the interindustry classes have, the proprietary ones (CLA 80 and up)
 * mean by it what they like. A command that cannot be said ends with 6700,
 * wrong length; what a card that takes no chains says, 6884 most often, is the
 * response.
 */

#pragma once

#include "vscard/card.h"
#include "vscard/fetch.h"

/* The longest short command: header, Lc, 255 bytes, Le. */
#define VSC_SHORT_COMMAND_MAX (VSC_APDU_HEADER + 1 + VSC_APDU_NC_SHORT + 1)

/* How many short commands one extended one may become. */
#define VSC_SHORT_ROUNDS_MAX VSC_FETCH_ROUNDS_MAX

typedef enum VscShortStep {
	VSC_SHORT_REPLY,   /* to whoever gave the command */
	VSC_SHORT_FORWARD, /* to the card; its response goes to vsc_short_response() */
} VscShortStep;

typedef struct VscShort {
	bool as_is;                      /* the command in hand was short already */
	bool fetching;                   /* GET RESPONSE is out, not the command */
	bool corrected;                  /* 6Cxx was obeyed */
	uint8_t header[VSC_APDU_HEADER]; /* CLA INS P1 P2 of the command */
	uint8_t *data;                   /* its Nc bytes, while not all are sent */
	size_t data_len;
	size_t sent;      /* of them, with the last piece */
	uint32_t last_le; /* what the last piece of the command asks for, at most 256; 0: none */
	uint32_t le;      /* what the one that is out asks for */
	unsigned rounds;  /* short commands so far */
	uint8_t piece[VSC_SHORT_COMMAND_MAX];
	size_t piece_len;
	VscFetch fetch; /* the response */
} VscShort;

void vsc_short_init(VscShort *s);

/* Wipes and drops the command in hand: after its reply, a removal, a cancel. */
void vsc_short_forget(VscShort *s);

/* A command APDU (any bytes, at most VSC_COMMAND_MAX). `*out` is valid until
 * the next call and no longer than `command`: a FORWARD has at most
 * VSC_SHORT_COMMAND_MAX bytes, a REPLY is a status word. */
VscShortStep vsc_short_command(VscShort *s, VmcSpan command, VmcSpan *out);

/* The card's response to what was forwarded. `*out` is valid until the next
 * call and no longer than `response`: a REPLY has at most VSC_RESPONSE_MAX
 * bytes, or is `response` as it is. */
VscShortStep vsc_short_response(VscShort *s, VmcSpan response, VmcSpan *out);

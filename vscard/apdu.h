/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscApdu: what a command APDU says, and where a response ends (ISO/IEC
 * 7816-4:2013, 5.1). Pure functions over spans.
 */

#pragma once

#include "vmc/span.h"

/* CLA INS P1 P2. */
#define VSC_APDU_HEADER 4u

/* The most that the length fields can say (5.1): Nc, and Ne. */
#define VSC_APDU_NC_SHORT 255u
#define VSC_APDU_NC_EXTENDED 65535u
#define VSC_APDU_NE_SHORT 256u
#define VSC_APDU_NE_EXTENDED 65536u

/* Instructions and status words that the machines between a host and a card act
 * upon (ISO/IEC 7816-4:2013, 5.4.2 and 5.6). */
#define VSC_INS_GET_RESPONSE 0xc0u
#define VSC_INS_ENVELOPE 0xc2u
#define VSC_SW_OK 0x9000u
#define VSC_SW_WRONG_LENGTH 0x6700u
#define VSC_SW_INS_INVALID 0x6d00u
#define VSC_SW_NO_DIAGNOSIS 0x6f00u
#define VSC_SW1_MORE 0x61u     /* SW2 bytes are there for GET RESPONSE */
#define VSC_SW1_WRONG_LE 0x6cu /* SW2 is the right Le */

/* The bit of CLA that says "more of this command follows" (5.3.3). */
#define VSC_CLA_CHAIN 0x10u

/* Which fields there are, and whether they are short or extended. */
typedef enum VscApduCase {
	VSC_APDU_1,  /* header */
	VSC_APDU_2S, /* header, Le */
	VSC_APDU_3S, /* header, Lc, data */
	VSC_APDU_4S, /* header, Lc, data, Le */
	VSC_APDU_2E,
	VSC_APDU_3E,
	VSC_APDU_4E,
} VscApduCase;

typedef struct VscApdu {
	VscApduCase kind;
	uint8_t cla, ins, p1, p2;
	VmcSpan data; /* Nc bytes, borrowed from the APDU given */
	uint32_t ne;  /* the most bytes of response data wanted; 0: none */
} VscApdu;

/* Reads `bytes`, a whole command APDU. False, with a static `*because`, when
 * its length and its length fields do not agree. */
bool vsc_apdu_parse(VmcSpan bytes, VscApdu *apdu, const char **because);

/* Splits a response into its data (borrowed) and SW1 SW2. False when it is
 * shorter than its status. */
bool vsc_apdu_response(VmcSpan bytes, VmcSpan *data, uint16_t *sw);

/* How many bytes a short Le, or SW2 after 61 or 6C, stands for: 00 is 256. */
uint32_t vsc_apdu_count(uint8_t byte);

/* The logical channel that a class byte names (5.4.1): 0 to 19. Proprietary
 * classes are read as the interindustry ones they were made after. */
unsigned vsc_apdu_channel(uint8_t cla);

/* The interindustry class byte of `cla`'s channel, with neither secure messaging
 * nor chaining: for a GET RESPONSE or an ENVELOPE that belongs to the command. */
uint8_t vsc_apdu_plain_class(uint8_t cla);

/* Has the class a bit for chaining? The proprietary ones mean by it what they
 * like, the reserved ones nothing yet (5.4.1). */
bool vsc_apdu_can_chain(uint8_t cla);

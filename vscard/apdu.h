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

/* The logical channel that a class byte names (5.4.1): 0 to 19. Proprietary
 * classes are read as the interindustry ones they were made after. */
unsigned vsc_apdu_channel(uint8_t cla);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscT0: a machine without I/O that makes any card a T=0 card. QEMU's reader
 * exchanges T=0 TPDUs only (ISO/IEC 7816-3:2006, clause 10), whatever the card
 * is; so commands come as TPDUs, go to the card as APDUs, and responses leave
 * in the pieces that T=0 knows: 61xx and GET RESPONSE, 6Cxx and the command
 * again (12.2). Behind it may be a card that speaks T=0 itself, by way of VscTpdu
 * (tpdu.h): then it is the card that says 61xx to a command with data, and the
 * host that fetches.
 *
 * No reply carries exactly 52 bytes of data: with the status and the CCID
 * header that makes 64 bytes, which QEMU's reader follows with a stray empty
 * packet on xHCI. Where 52 bytes are due the host is told of 51 (61 33 or
 * 6C 33) and then of one more, all of it ordinary T=0.
 */

#pragma once

#include "vmc/buf.h"
#include "vscard/atr.h"
#include "vscard/card.h"

/* The longest reply: 256 bytes and SW1 SW2. QEMU's reader drops what is longer
 * than 374. */
#define VSC_T0_REPLY_MAX 258u

/* As many bytes of data as a reply never has. */
#define VSC_T0_NOT_THIS_LONG 52u

typedef enum VscT0Step {
	VSC_T0_REPLY,   /* to the host */
	VSC_T0_FORWARD, /* to the card; its response goes to vsc_t0_response() */
} VscT0Step;

typedef struct VscT0 {
	bool native;   /* the card speaks T=0 itself */
	bool extended; /* it does not, and its ATR says that it takes extended APDUs: their
			* pieces in ENVELOPEs are put together for it */

	/* The command in hand. */
	uint8_t header[4]; /* CLA INS P1 P2 of the TPDU */
	uint32_t want;     /* bytes of data that P3 asks for; 0: none */
	uint8_t *apdu;     /* as given to the card */
	size_t apdu_len;
	size_t le_len;       /* bytes of Le at the end of `apdu` */
	size_t fallback_len; /* bytes to try instead on 6700; 0: do not */
	bool retried;

	/* Response data not handed out yet. */
	uint8_t *kept;
	size_t kept_len;
	size_t kept_at;
	uint16_t kept_sw; /* the status after the last byte */
	bool again;       /* after 6Cxx: the command itself fetches it */

	VmcBuf envelope; /* an extended APDU that comes in pieces */
	uint8_t reply[VSC_T0_REPLY_MAX];
} VscT0;

void vsc_t0_init(VscT0 *t0);

/* Wipes and drops what is kept, and the command in hand: after a reset, a
 * power off, a removal, a failure. */
void vsc_t0_forget(VscT0 *t0);

/* Puts the ATR for a T=0 host at `to`, answers its length: `atr` (any bytes)
 * itself if its first protocol is T=0 or it is no ATR, else one that offers T=0
 * only, with the card's historical bytes. */
size_t vsc_t0_atr(VmcSpan atr, uint8_t to[VSC_ATR_MAX]);

/* The card was powered on, said `atr` (any bytes), and takes `exchange`. */
void vsc_t0_powered(VscT0 *t0, VmcSpan atr, VscExchange exchange);

/* A TPDU of the host: 4 bytes, or a header of 5 and P3 bytes of data. APDUs
 * that are not TPDUs (with Lc and Le, extended) are taken too. `*out` is valid
 * until the next call, a REPLY has 2 to VSC_T0_REPLY_MAX bytes. */
VscT0Step vsc_t0_command(VscT0 *t0, VmcSpan tpdu, VmcSpan *out);

/* The card's response (2 bytes at least) to what was forwarded. */
VscT0Step vsc_t0_response(VscT0 *t0, VmcSpan response, VmcSpan *out);

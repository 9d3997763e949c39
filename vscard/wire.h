/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The VSCard protocol's messages as bytes: a header of type, reader id and
 * payload length, four bytes each, then the payload. Over a char device all
 * is big-endian; on SPICE's smartcard channel the header is little-endian.
 * Pure functions; the sessions (host.h, client.h) know what the messages mean.
 * Source: libcacard's vscard_common.h, and what QEMU's ccid-card-passthru does.
 */

#pragma once

#include "vscard/card.h"

typedef enum VscOrder { VSC_ORDER_BIG, VSC_ORDER_LITTLE } VscOrder;

typedef enum VscType {
	VSC_TYPE_INIT = 1,
	VSC_TYPE_ERROR = 2,
	VSC_TYPE_READER_ADD = 3,
	VSC_TYPE_READER_REMOVE = 4,
	VSC_TYPE_ATR = 5,
	VSC_TYPE_CARD_REMOVE = 6,
	VSC_TYPE_APDU = 7,
	VSC_TYPE_FLUSH = 8,
	VSC_TYPE_FLUSH_COMPLETE = 9,

	/* Of ours, between two that have VSC_CAP_REQUESTS: request.h. */
	VSC_TYPE_REQUEST = 0x100,
	VSC_TYPE_ANSWER = 0x101,
	VSC_TYPE_CANCEL = 0x102,
	VSC_TYPE_WORKING = 0x103,
	VSC_TYPE_READER_INFO = 0x104,
} VscType;

typedef enum VscErrorCode {
	VSC_ERROR_SUCCESS = 0,
	VSC_ERROR_GENERAL = 1,
	VSC_ERROR_CANNOT_ADD_MORE_READERS = 2,
	VSC_ERROR_CARD_ALREADY_INSERTED = 3,
} VscErrorCode;

#define VSC_READER_UNDEFINED 0xffffffffu

/* What vsc_wire_get() accepts as payload: the longest APDU there is, and in a
 * Request or Answer what goes before it there. */
#define VSC_WIRE_HEADER 12u
#define VSC_WIRE_PREFIX 8u
#define VSC_WIRE_OLD_PAYLOAD_MAX VSC_COMMAND_MAX
#define VSC_WIRE_PAYLOAD_MAX (VSC_WIRE_PREFIX + VSC_COMMAND_MAX)
#define VSC_WIRE_MESSAGE_MAX (VSC_WIRE_HEADER + VSC_WIRE_PAYLOAD_MAX)

/* VSC_Init's constants: the magic is the bytes "VSCD" on every wire; version
 * 0.0.2 in the 11.11.10 bits of the protocol. */
#define VSC_VERSION 2u

/* Capability bits of ours, in the first word, from the top down: an old peer
 * has never set one. APDU_LEVEL: this host's reader exchanges whole APDUs, so
 * the client need not act as a T=0 card. */
#define VSC_CAP_APDU_LEVEL (1u << 31)
/* NO_LATE_ANSWER: this client answers no command for a reader any more once it
 * has sent ReaderRemove, CardRemove or a new ATR for it. An old client may. */
#define VSC_CAP_NO_LATE_ANSWER (1u << 30)
/* EXTENDED: this client takes commands and gives answers longer than short
 * APDUs. Old ones have 270 bytes for either: libcacard's vscclient and SPICE's
 * clients overrun or drop what is longer, and SPICE's server hangs or dies of
 * it. A client without the bit, or with no Init at all, is given short APDUs
 * only (short.h). */
#define VSC_CAP_EXTENDED (1u << 29)
/* REQUESTS: said by both, all commands are Requests, which name themselves, and
 * power is one of them; long ones as they are. PROTOCOL.md has the rules. */
#define VSC_CAP_REQUESTS (1u << 28)

typedef struct VscMessage {
	uint32_t type; /* a VscType, or anything a peer says */
	uint32_t reader_id;
	VmcSpan payload; /* borrowed */
} VscMessage;

typedef enum VscWireResult {
	VSC_WIRE_MESSAGE,   /* one message taken from the front */
	VSC_WIRE_NEED_MORE, /* nothing taken */
	VSC_WIRE_BAD,       /* no message can be made of this: end the link */
} VscWireResult;

/*
 * Takes one message from the front of `in` in byte order `order`. On MESSAGE,
 * `*message` borrows from `in`'s owner. On BAD, `*because` is a static text.
 * A length over what the type may have is bad as soon as the header is there.
 */
VscWireResult vsc_wire_get(VmcSpan *in, VscOrder order, VscMessage *message, const char **because);

/* Puts the 12 bytes of a header for a payload of `length` bytes at `to`. */
void vsc_wire_put_header(uint8_t to[VSC_WIRE_HEADER], VscOrder order, uint32_t type,
			 uint32_t reader_id, uint32_t length);

/* VSC_Init's payload, always magic, version, then capability words (0 and
 * more; the first only is kept in `*caps0`, 0 if none). False: not one, with a
 * static `*because` (wrong magic, cut short). */
bool vsc_wire_get_init(VmcSpan payload, VscOrder order, uint32_t *version, uint32_t *caps0,
		       size_t *n_caps, const char **because);
#define VSC_WIRE_INIT_MAX 12u
/* Puts an Init payload with one capability word; answers its length, 12. */
size_t vsc_wire_put_init(uint8_t to[VSC_WIRE_INIT_MAX], VscOrder order, uint32_t caps0);

/* VSC_Error's payload: the code, whichever byte order the peer wrote it in
 * (both occur: QEMU's ccid-card-passthru swaps it, libcacard's vscclient does
 * not). Any non-zero unknown code is VSC_ERROR_GENERAL. False when it is not 4
 * bytes. */
bool vsc_wire_get_error(VmcSpan payload, VscErrorCode *code);
/* Puts the 4 bytes of a code in `order`. */
void vsc_wire_put_error(uint8_t to[4], VscOrder order, VscErrorCode code);

/* "APDU", "ReaderAdd", ... for messages and traces; static. NULL for a type
 * that is not a VscType. */
const char *vsc_type_name(uint32_t type);
const char *vsc_error_name(VscErrorCode code);

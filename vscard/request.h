/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The payloads of the messages that two ends of ours have beside the old ones
 * (VSC_CAP_REQUESTS, PROTOCOL.md): requests that name themselves, their
 * answers, and what is known of a reader. Pure functions; over char devices
 * only, so all numbers are big-endian.
 */

#pragma once

#include "vscard/wire.h"

/* What the host asks of a card. */
typedef enum VscRequestKind {
	VSC_REQUEST_POWER_ON = 1,
	VSC_REQUEST_POWER_OFF = 2,
	VSC_REQUEST_RESET = 3,
	VSC_REQUEST_TRANSMIT = 4, /* `data` is the command */
} VscRequestKind;

/* Names one request in one conversation; the host's choice. */
typedef uint32_t VscWireToken;

/* A Request or an Answer: its token, `what`, then `data` to the end. */
typedef struct VscRequest {
	VscWireToken token;
	uint32_t what; /* Request: a VscRequestKind, or anything a peer says */
	VmcSpan data;  /* borrowed */
} VscRequest;

/* Takes the payload of a Request or an Answer apart. False when it is shorter
 * than VSC_WIRE_PREFIX. */
bool vsc_request_get(VmcSpan payload, VscRequest *request);

/* Puts what goes before the data: the token and `what`. */
void vsc_request_put(uint8_t to[VSC_WIRE_PREFIX], VscWireToken token, uint32_t what);

/* An Answer's `what` for an outcome, and back; one that is not known is FAILED. */
uint32_t vsc_request_code(VscOutcome outcome);
VscOutcome vsc_request_outcome(uint32_t code);

/* The payload of Cancel and Working is a token alone. False when it is not 4
 * bytes. */
#define VSC_TOKEN_LENGTH 4u
bool vsc_request_get_token(VmcSpan payload, VscWireToken *token);
void vsc_request_put_token(uint8_t to[VSC_TOKEN_LENGTH], VscWireToken token);

/* "power on", ... for traces; static. NULL for what is no VscRequestKind. */
const char *vsc_request_name(uint32_t kind);

/* ---- ReaderInfo ---- */

/* The most bytes of one text in it: what is longer is cut. PC/SC has no names
 * beyond MAX_READERNAME, 128. */
#define VSC_READER_TEXT_MAX 128u

/* All that a ReaderInfo says; each NULL if it says nothing of it. */
typedef struct VscDescription {
	char *name; /* of the slot, for people */
	VscReaderInfo info;
} VscDescription;

void vsc_description_clear(VscDescription *description);
void vsc_description_copy(VscDescription *to, const char *name, const VscReaderInfo *info);
bool vsc_description_equal(const VscDescription *one, const VscDescription *other);

/* Text from outside as people may be shown it: valid UTF-8 of at most
 * VSC_READER_TEXT_MAX bytes on one line, no blanks at its ends. For the caller
 * to g_free(). */
char *vsc_description_text(VmcSpan text);

/*
 * Reads a ReaderInfo: a tag of 2 bytes, a length of 2, and so many bytes, over
 * and over; tags that are not known are passed over, of one that is there twice
 * the last counts. False, with nothing set, when the last is cut short.
 */
bool vsc_description_get(VmcSpan payload, VscDescription *description);

/* A ReaderInfo's payload of what is known, each text cut to
 * VSC_READER_TEXT_MAX bytes; answers its length. */
#define VSC_READER_INFO_MAX (4u * (4u + VSC_READER_TEXT_MAX))
size_t vsc_description_put(uint8_t to[VSC_READER_INFO_MAX], const VscDescription *description);

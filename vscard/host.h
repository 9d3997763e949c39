/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscHost: the VSCard protocol's host end, the side that uses cards, as a
 * machine without I/O. Messages of the peer and requests of the local user go
 * in; actions come out of vsc_host_next(), to be carried out in order. It
 * never asserts, blocks or grows on the peer's account: what breaks the
 * protocol beyond repair is a CLOSE action, all else is answered or ignored
 * as the table in host.c says.
 */

#pragma once

#include "vscard/places.h"

typedef struct VscHost VscHost;

/* How many readers one host session can offer (VSCard reader ids 0 to n-1). */
#define VSC_HOST_READERS_MAX VSC_PLACES_MAX

/* How long, in ms, the next card's first command waits for the answer that a
 * command to the card before it may still get. Such a client answers as soon as
 * its thread has what a removed card says: longer than that and a busy machine
 * take; shorter than the 3 s that libccid gives a command. */
#define VSC_HOST_STALE_MS 2000

/* How long, in ms, a command waits for the answer to a cancelled one before it
 * ends MUTE: as long as a card may take for a long operation, an RSA key. */
#define VSC_HOST_HELD_MS 30000

/* How long, in ms, a Request may be out with neither Answer nor Working. A peer
 * says Working every VSC_WORKING_MS while its card works, so this is not about
 * slow cards but slow wires: one that was cut for ten seconds is back by then. */
#define VSC_HOST_SILENT_MS 30000

typedef enum VscHostActionKind {
	VSC_HOST_SEND,             /* send type, reader_id, data to the peer */
	VSC_HOST_READER_ADDED,     /* the peer has a reader reader_id, its name is data */
	VSC_HOST_READER_REFUSED,   /* there is no place for the peer's reader, its name is data */
	VSC_HOST_READER_DESCRIBED, /* what vsc_host_description() has of it is news */
	VSC_HOST_READER_REMOVED,   /* that reader is gone; it had no card and no request any more */
	VSC_HOST_CARD_INSERTED,    /* a card in reader_id, its ATR is data */
	VSC_HOST_CARD_REMOVED,     /* no card in reader_id any more */
	VSC_HOST_ANSWER,           /* outcome and data for token, on reader_id */
	VSC_HOST_WORKING,          /* the card works on token, on reader_id */
	VSC_HOST_CLOSE,            /* end the conversation; data is why, as text */
	VSC_HOST_NOTE,             /* worth a log line; data is the text */
} VscHostActionKind;

typedef struct VscHostAction {
	VscHostActionKind kind;
	uint32_t reader_id;
	uint32_t type;      /* SEND: a VscType */
	VscToken token;     /* ANSWER, WORKING */
	VscOutcome outcome; /* ANSWER */
	VmcSpan data;       /* valid until the next vsc_host_… call */
} VscHostAction;

/* A host with room for `max_readers` (1 to VSC_HOST_READERS_MAX), offering
 * `caps` in its VSC_Init, which answers the peer's. It is at the end of a char
 * device, where all is big-endian: so it is behind SPICE's server too, but
 * there no Init comes. */
VscHost *vsc_host_new(uint32_t max_readers, uint32_t caps);
void vsc_host_free(VscHost *host);

/* Makes room for `n` more readers; all in all VSC_HOST_READERS_MAX at most. */
void vsc_host_grow(VscHost *host, uint32_t n);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VscHost, vsc_host_free)

/* A peer is there, a new conversation begins / it is gone: every card is
 * removed, every pending request ends NO_CARD, every reader is removed. */
void vsc_host_opened(VscHost *host);
void vsc_host_closed(VscHost *host);

/* One message of the peer (only while open), which came at `now`: here and
 * below ms on any clock that does not go back, from 0. */
void vsc_host_message(VscHost *host, const VscMessage *message, int64_t now);

/* What the peer says of its reader `reader_id`, or said of the last that was
 * there, by ReaderInfo; all NULL if nothing. Valid until the next call but this. */
const VscDescription *vsc_host_description(const VscHost *host, uint32_t reader_id);

/* When vsc_host_tick() is due, or -1: never as things are. Only while a request
 * is held back or, at a peer with VSC_CAP_REQUESTS, out; it may change with each
 * call. */
int64_t vsc_host_deadline(const VscHost *host);
void vsc_host_tick(VscHost *host, int64_t now);

/* Requests of the local user, outcome by ANSWER. A second request on a reader
 * while one is pending is answered FAILED.
 *
 * A peer with VSC_CAP_REQUESTS is asked for each, one at a time: while the
 * Answer to one that was cancelled, or to a power off, is awaited the next is
 * held back. Power off is OK at once, and done before all that is asked later.
 * When for VSC_HOST_SILENT_MS nothing is heard of what is out, all that waits
 * ends MUTE.
 *
 * The old protocol knows no power: power on and reset are answered with the ATR
 * the peer sent at insertion, power off with OK. An old peer's answers have no
 * names, so order is what tells them apart: a command is held back while an
 * earlier one's answer is owed. When the card of the earlier one is gone, the
 * answer may never come: after VSC_HOST_STALE_MS the command goes. When the
 * earlier one was only cancelled, the answer must come: after VSC_HOST_HELD_MS
 * the command ends MUTE, unsent, and so does each later one until the peer has
 * answered, or removed the card, or is gone. */
void vsc_host_power_on(VscHost *host, uint32_t reader_id, VscToken token, int64_t now);
void vsc_host_power_off(VscHost *host, uint32_t reader_id, VscToken token, int64_t now);
void vsc_host_reset(VscHost *host, uint32_t reader_id, VscToken token, int64_t now);
void vsc_host_transmit(VscHost *host, uint32_t reader_id, VscToken token, VmcSpan command,
		       int64_t now);
/* The answer to `token` is dropped when it comes, see above. The outcome
 * CANCELLED comes at once. */
void vsc_host_cancel(VscHost *host, uint32_t reader_id, VscToken token);

/* Takes the next action into `*action`; false when there is none. */
bool vsc_host_next(VscHost *host, VscHostAction *action);

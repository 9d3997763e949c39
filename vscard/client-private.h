/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the two halves of the client session share: client.c speaks the old
 * protocol, whose commands have no names; client-requests.c what two ends of
 * ours have instead.
 */

#pragma once

#include "vmc/queue.h"
#include "vscard/client.h"

/* Operations the host has not answered. A host that never answers makes the
 * oldest be forgotten; one that answers late is given time for this many. A
 * host of ours answers each, and was promised VSC_CAP_NO_LATE_ANSWER, which
 * takes its answers to keep: for that one it is the end. */
#define OPS_MAX 64u

/* Commands that wait behind the one the card works on. Old hosts give one
 * command at a time; but a guest that loses its patience gives another, and
 * QEMU's reader counts on an answer to each, in order. */
#define HELD_MAX 4u

typedef enum ReaderState {
	READER_NONE,
	READER_LOCAL, /* not announced in this conversation */
	READER_ASKED, /* ReaderAdd is out */
	READER_TAKEN, /* the host gave it an id */
	READER_REFUSED,
} ReaderState;

typedef struct Held {
	uint8_t *command;
	size_t len;
} Held;

typedef struct ClientReader {
	ReaderState state;
	VscDescription described;
	bool untold;    /* the description changed since ReaderAdd, and is still to be told */
	uint32_t id;    /* TAKEN */
	size_t atr_len; /* 0: no card */
	bool atr_refused;
	uint8_t atr[VSC_ATR_MAX];
	VscToken token; /* what the card works on; NONE: it is idle */

	/* For an old host. */
	Held held[HELD_MAX];
	unsigned n_held;
	uint32_t overflow; /* commands beyond those: answered in their turn, not run */

	/* For one of ours. */
	VscWireToken asked; /* `token`, as the host calls it */
	VscRequestKind kind;
} ClientReader;

typedef struct Op {
	uint32_t type; /* VscType */
	uint32_t id;   /* all but ReaderAdd */
	uint32_t slot; /* or SLOT_NOBODY */
} Op;

struct VscClient {
	VscOrder order;
	uint32_t caps;
	uint32_t host_caps; /* of its Init, 0 before */
	bool open;
	bool ready;         /* readers may be announced */
	bool answers_all;   /* this host is one of ours */
	bool no_atr_errors; /* this host does not answer ATR */
	bool flush;         /* FlushComplete is due */
	uint32_t flush_id;
	unsigned notes;
	VscToken last_token;
	ClientReader readers[VSC_CLIENT_READERS_MAX];
	Op ops[OPS_MAX];
	unsigned n_ops;
	VmcQueue actions;
};

/* In an operation, or of an id: no local reader of ours (any more). */
#define SLOT_NOBODY VSC_CLIENT_READERS_MAX

/* ---- client.c ---- */

void client_push(VscClient *client, const VscClientAction *action, VmcSpan data);
void client_send(VscClient *client, uint32_t type, uint32_t id, VmcSpan data);
void client_note(VscClient *client, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Is the host still to answer such an operation? */
bool client_has_op(const VscClient *client, uint32_t type, uint32_t id);

/* The slot of the reader that has `id` at the host, or SLOT_NOBODY. */
uint32_t client_find_taken(const VscClient *client, uint32_t id);

/* A name for what the card is asked next. */
VscToken client_new_token(VscClient *client);

/* SW1 SW2 "wrong length" (ISO/IEC 7816-4:2013, 5.6), for what cannot be an
 * APDU. */
extern const uint8_t client_sw_wrong_length[2];

/* ---- client-requests.c ---- */

/* Have the host's commands names? */
bool client_has_requests(const VscClient *client);

void client_on_request(VscClient *client, const VscMessage *message);
void client_on_cancel(VscClient *client, const VscMessage *message);

/* The outcome of what the card of `slot` worked on. */
void client_answer_request(VscClient *client, uint32_t slot, VscOutcome outcome, VmcSpan data);

/* Tells the host what is known of a reader: `id`, or VSC_READER_UNDEFINED for
 * the one that is added next. */
void client_send_reader_info(VscClient *client, uint32_t slot, uint32_t id);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the two halves of the host session share: host.c speaks the old
 * protocol, whose answers have no names; host-requests.c what two ends of ours
 * have instead.
 */

#pragma once

#include "vmc/queue.h"
#include "vscard/host.h"
#include "vscard/short.h"

/* What an old peer still has to answer on a reader; it outlives card and
 * reader. */
typedef enum Debt {
	DEBT_NONE,
	DEBT_ANSWER, /* to a command to the card that is there */
	DEBT_STALE,  /* perhaps: to a command to a card that is gone */
} Debt;

/* A request of the user that waits until it may go. */
typedef struct HeldRequest {
	VscToken token; /* NONE: there is none */
	VscRequestKind kind;
	uint8_t *data;
	size_t len;
} HeldRequest;

typedef struct HostReader {
	bool there;
	bool described; /* by a ReaderInfo; stays when it goes */
	bool card;
	bool powered;
	/* When `held` may go in spite of a STALE debt; else when it, and what is
	 * out, is given up. */
	int64_t until;
	VscToken pending; /* the request that the peer is at; NONE: nobody wants it */
	HeldRequest held; /* the next */
	uint8_t atr[VSC_ATR_MAX];
	size_t atr_len;

	/* At an old peer. */
	Debt debt;
	VscShort brief; /* `pending`, if it takes short APDUs only */

	/* At one of ours. */
	VscWireToken out; /* the Request that has no Answer; 0: there is none */
	VscRequestKind out_kind;
	bool off_due; /* a power off goes first when it is answered */
} HostReader;

struct VscHost {
	uint32_t max_readers;
	uint32_t caps;
	bool open;
	bool init_seen;
	bool reader_seen;   /* in this conversation */
	bool promised_zero; /* the next reader gets id 0: see answer_no_reader() */
	uint32_t peer_caps; /* of its Init, 0 before */
	int64_t now;        /* when the peer's present message came */
	unsigned notes;
	VscWireToken last_out;    /* in this conversation */
	VscDescription described; /* ReaderInfo of the reader that is added next */
	bool is_described;
	VscPlaces places;
	HostReader readers[VSC_HOST_READERS_MAX];
	VmcQueue actions;
};

/* ---- host.c ---- */

void host_push(VscHost *host, const VscHostAction *action, VmcSpan data);
void host_send(VscHost *host, uint32_t type, uint32_t id, VmcSpan data);
void host_answer(VscHost *host, uint32_t id, VscToken token, VscOutcome outcome, VmcSpan data);
void host_note(VscHost *host, uint32_t id, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Keeps a copy of a request in `reader->held`, which is empty / wipes it. */
void host_hold(HostReader *reader, VscToken token, VscRequestKind kind, VmcSpan data);
void host_drop_held(HostReader *reader);

/* ---- host-requests.c ---- */

/* Have the peer's commands names? */
bool host_has_requests(const VscHost *host);

/* A request of the user, for a card that is there and has none pending. */
void host_request(VscHost *host, uint32_t id, VscToken token, VscRequestKind kind, VmcSpan data,
		  int64_t now);

/* The user gave up the pending request: the peer is told. */
void host_request_cancel(VscHost *host, uint32_t id);

/* The card is gone, and with it what was out. */
void host_request_forget(VscHost *host, uint32_t id);

/* The deadline passed: all that waits ends. */
void host_request_overdue(VscHost *host, uint32_t id);

void host_on_answer(VscHost *host, const VscMessage *message);
void host_on_working(VscHost *host, const VscMessage *message);
void host_on_reader_info(VscHost *host, const VscMessage *message);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the two halves of the usbredir attach point share: usbredir.c takes the
 * peer's packets, usbredir-transfer.c keeps what is pending and answers it.
 */

#pragma once

#include "ccid/usbredir.h"

#include <usbredirparser.h>

#include "vmc/buf.h"

/* Transfers that may be pending: those that CcidDevice lets wait on one pipe,
 * and some on the others. */
#define USBREDIR_TRANSFERS_MAX 4352u

#define USBREDIR_ENDPOINTS 32u

/* What the peer is told of its bulk endpoints' packets, see send_ep_info(). */
#define USBREDIR_PACKET 64u

/* Who is on the other side. A VM that moves to another QEMU takes its side of
 * the conversation along: the next connection says no hello and goes on. */
typedef enum UsbredirPeer {
	USBREDIR_NOBODY,
	USBREDIR_PRESENT,
	USBREDIR_AWAY,      /* it left; the next one may go on for it */
	USBREDIR_RETURNING, /* the next one is there: its first packet says */
} UsbredirPeer;

typedef enum UsbredirKind {
	USBREDIR_CONTROL,
	USBREDIR_BULK,
	USBREDIR_INTERRUPT_OUT,
	USBREDIR_INTERRUPT_IN,
	USBREDIR_SET_CONFIGURATION,
	USBREDIR_GET_CONFIGURATION,
	USBREDIR_SET_ALT,
	USBREDIR_GET_ALT,
} UsbredirKind;

typedef struct UsbredirTransfer {
	UsbredirKind kind;
	uint64_t id; /* ours, the device's */
	uint64_t peer_id;
	union {
		struct usb_redir_control_packet_header control;
		struct usb_redir_bulk_packet_header bulk;
		struct usb_redir_interrupt_packet_header interrupt;
		struct usb_redir_set_alt_setting_header alt;
		uint8_t configuration;
	};
} UsbredirTransfer;

struct CcidUsbredir {
	VmcChardev *chardev;
	UsbDevice *device;
	const CcidUsbredirEvents *events; /* NULL: nobody wants to know */
	void *user;
	UsbredirPeer peer;
	struct usbredirparser *parser; /* NULL: NOBODY */
	bool silent;                   /* AWAY, RETURNING: what is sent waits in `parser` */
	guint timer;                   /* until it is forgotten, or believed to be back */
	int64_t forget_at;             /* AWAY: monotonic, us */
	unsigned away_ms, silence_ms;  /* how long, see usbredir-return.c */
	bool announced;                /* the device, after the peer's hello */
	bool unplugged;                /* it is to be again, after the peer's word for it */
	bool changed;                  /* what was announced is another now */
	const char *broken;            /* why the peer is to be dropped */
	bool held;                     /* output is high: no input until it is low */
	bool closing;                  /* output goes nowhere */
	VmcBuf in;                     /* read and not yet parsed */

	uint8_t header[sizeof(struct usb_redir_header)];
	size_t header_have;
	uint32_t body_left;

	GQueue transfers; /* UsbredirTransfer */
	uint64_t last_id;
	uint64_t interrupt_id; /* of interrupt packets, counted up */
	bool receiving[USBREDIR_ENDPOINTS];
	bool unpolled[USBREDIR_ENDPOINTS]; /* receiving, once output is low */

	GQueue sent; /* the last answers, see usbredir-sent.c */
	size_t sent_bytes;
	guint sent_timer;
	bool sent_due;        /* some of them are to be sent again */
	bool message_goes_on; /* the last piece of bulk output was a full packet */
};

/* The index of an endpoint in ep_info: usb-redir-protocol.txt. */
static inline unsigned usbredir_endpoint_index(uint8_t address)
{
	return (address & 0x80u) >> 3 | (address & 0x0Fu);
}

/* A new transfer under an id of ours for the peer's request `peer_id`. */
UsbredirTransfer *usbredir_transfer_new(CcidUsbredir *usbredir, UsbredirKind kind,
					uint64_t peer_id);

/* The data packet that the peer knows as `peer_id`, NULL if none is pending. */
UsbredirTransfer *usbredir_transfer_find(CcidUsbredir *usbredir, uint64_t peer_id);

/* Takes `transfer`, pending, from the device and answers it as cancelled. */
void usbredir_transfer_cancel(CcidUsbredir *usbredir, UsbredirTransfer *transfer);

/* Forgets all that is pending; nothing is answered. */
void usbredir_transfer_drop_all(CcidUsbredir *usbredir);

/* Answers a request that became no transfer, or no longer is one. */
void usbredir_answer(CcidUsbredir *usbredir, UsbredirTransfer *transfer, uint8_t status,
		     VmcSpan data, size_t actual);

void usbredir_answer_receiving(CcidUsbredir *usbredir, uint64_t id, uint8_t endpoint,
			       uint8_t status);

/* Polls an interrupt endpoint for the peer until told to stop. */
void usbredir_receive(CcidUsbredir *usbredir, uint8_t endpoint);
void usbredir_stop_receiving(CcidUsbredir *usbredir, uint8_t endpoint);

/* Output is low again: goes on polling. */
void usbredir_receive_again(CcidUsbredir *usbredir);

/* Gives the parser's queue to the char device. */
void usbredir_flush(CcidUsbredir *usbredir);

/* Tells the peer of the device. */
void usbredir_announce(CcidUsbredir *usbredir);

/* ---- usbredir-replug.c ---- */

/* The device is another now: it is unplugged and plugged in again, when the
 * peer is there to see it. */
void usbredir_device_changed(CcidUsbredir *usbredir);

/* The peer is back: what changed meanwhile is told. */
void usbredir_replug(CcidUsbredir *usbredir);

/* The peer has unplugged the device. */
void usbredir_plug(CcidUsbredir *usbredir);

/* ---- usbredir-sent.c ---- */

/* An answer goes out: it is kept until the peer is known to have had it, or for
 * some time. */
void usbredir_sent_keep(CcidUsbredir *usbredir, const UsbredirTransfer *transfer, uint8_t status,
			VmcSpan data, size_t actual);

/* True if an answer must not go out now, but behind others of its pipe that are
 * to be sent again: usbredir_sent_again() sends it. */
bool usbredir_sent_hold(CcidUsbredir *usbredir, const UsbredirTransfer *transfer, uint8_t status,
			VmcSpan data, size_t actual);

/* The peer submits `transfer`, by which it says what answers it has had. */
void usbredir_sent_obsolete(CcidUsbredir *usbredir, const UsbredirTransfer *transfer);

/* The peer left: wipes what it cannot have missed. `cut`: it did not leave in
 * order, and may not have read all. */
void usbredir_sent_left(CcidUsbredir *usbredir, bool cut);

/* Wipes all. */
void usbredir_sent_forget(CcidUsbredir *usbredir);

/* Sends once more what is kept from before the peer left. */
void usbredir_sent_again(CcidUsbredir *usbredir);

/* ---- usbredir-return.c ---- */

/* Sets the times, for a peer that was never there. */
void usbredir_return_init(CcidUsbredir *usbredir);

/* The conversation went well and ended: all of it is kept for the peer's return,
 * for some seconds; then usbredir_forget_peer() is called. `cut`: the peer may
 * not have read all that was sent. */
void usbredir_peer_left(CcidUsbredir *usbredir, bool cut);

/* A connection while the peer is AWAY. */
void usbredir_peer_returns(CcidUsbredir *usbredir);

/* RETURNING: looks at what it says. False: nothing that tells, so far. Else it
 * is PRESENT again, or NOBODY: it begins anew, with what is in `in`. */
bool usbredir_peer_tells(CcidUsbredir *usbredir);

/* Ends the wait, however it was. */
void usbredir_stop_waiting(CcidUsbredir *usbredir);

/* Forgets the peer: the device is as after a reset, for the next one. */
void usbredir_forget_peer(CcidUsbredir *usbredir);

/* What the device tells its attach point; the user is the CcidUsbredir. */
extern const UsbDeviceEvents usbredir_device_events;

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscLink: the glue between a char device and one end of the VSCard protocol.
 * It cuts the stream into messages, feeds the machine, carries out its
 * actions, and pauses whoever produces when the wire is slow.
 */

#pragma once

#include "vmc/chardev.h"
#include "vscard/client.h"
#include "vscard/host.h"

typedef struct VscHostLink VscHostLink;
typedef struct VscClientLink VscClientLink;

/*
 * The host end on `chardev` (borrowed; it outlives the link) with `n_slots` (1
 * to VSC_HOST_READERS_MAX) places for readers of peers. Each place is a VscCard
 * of vsc_host_link_card(): no peer, no reader or no card is all the same to it,
 * a slot without a card. NULL with `error` when the chardev has a user.
 */
VscHostLink *vsc_host_link_new(VmcChardev *chardev, uint32_t n_slots, GError **error);
void vsc_host_link_free(VscHostLink *link);

/* Adds `n` places, VSC_HOST_READERS_MAX in all at most; they follow those there
 * are. False with `error` when that is too many. */
bool vsc_host_link_grow(VscHostLink *link, uint32_t n, GError **error);

/* What a host link tells its owner; members may be NULL. */
typedef struct VscHostLinkEvents {
	/* All places are taken: the peer's reader `name` finds none. */
	void (*refused)(void *user, const char *name);
} VscHostLinkEvents;

/* Makes `events` with `user` (both outlive the link) the ones to be told. */
void vsc_host_link_set_events(VscHostLink *link, const VscHostLinkEvents *events, void *user);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VscHostLink, vsc_host_link_free)

/* The card of place `slot` (below n_slots); owned by the link. A remote reader
 * that was there before gets the place it had. What its side says of it by
 * ReaderInfo is told as vsc_card_name() and vsc_card_info(), and stays when it
 * goes, until another comes; an old peer says nothing. */
VscCard *vsc_host_link_card(VscHostLink *link, uint32_t slot);

/* What a client link tells its owner; members may be NULL. */
typedef struct VscClientLinkEvents {
	void (*connected)(void *user); /* to whoever it is: Init is not answered */
	/* Connected and Init answered, or on SPICE's smartcard channel, where
	 * there is no Init, connected. */
	void (*up)(void *user);
	void (*down)(void *user, const GError *reason);
	void (*taken)(void *user, VscCard *card); /* the host has this reader */
	void (*refused)(void *user, VscCard *card, VscErrorCode code);
	/* The host has acknowledged the card in this reader. */
	void (*seen)(void *user, VscCard *card);
	/* No connection came about; the next attempt is in `again_ms` ms, 0: none. */
	void (*failed)(void *user, const GError *reason, unsigned again_ms);
} VscClientLinkEvents;

/* The client end on `chardev` (borrowed). What its conversations are, a byte
 * stream or SPICE's smartcard channel, it says for each. */
VscClientLink *vsc_client_link_new(VmcChardev *chardev, const VscClientLinkEvents *events,
				   void *user, GError **error);
void vsc_client_link_free(VscClientLink *link);

/* What is known of the host that a client link is up with. */
typedef struct VscClientHost {
	uint32_t version;     /* of its VSC_Init; 0: on SPICE's smartcard channel there is none */
	VscExchange exchange; /* what its reader exchanges */
	bool requests;        /* it has VSC_CAP_REQUESTS */
} VscClientHost;

VscClientHost vsc_client_link_host(const VscClientLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VscClientLink, vsc_client_link_free)

/*
 * Lends `card` (borrowed; the link becomes its user) to the host as a reader,
 * commands passed as they come, and with VSC_CAP_REQUESTS power as the host
 * wants it. Toward a host without VSC_CAP_APDU_LEVEL it acts as a T=0 card,
 * whatever it is (adapter.h).
 * False when VSC_CLIENT_READERS_MAX are lent.
 */
bool vsc_client_link_add(VscClientLink *link, VscCard *card);
void vsc_client_link_remove(VscClientLink *link, VscCard *card);

/* Lines about what both links do, for people; NULL for none. `level` 1 says
 * events, 2 each message's type and length, 3 also CLA INS P1 P2 (never data). */
#define VSC_TRACE_MAX 3
typedef void (*VscTrace)(const char *line);
void vsc_link_set_trace(int level, VscTrace trace);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSpiceConnection: one connection of a SPICE client to a server, for one
 * channel: a socket, TLS over it if wanted, and the VmcSpiceLink that speaks on
 * it. What the channel's messages mean is its user's affair.
 */

#pragma once

#include "vmc/chardev.h"
#include "vmc/spice-address.h"
#include "vmc/spice-link.h"
#include "vmc/tls.h"

typedef struct VmcSpiceConnection VmcSpiceConnection;

/* From nothing to a link that the server took, at most. */
#define VMC_SPICE_CONNECT_SECONDS 10u

/* What a connection tells. Its user may call it in any of them, drop included. */
typedef struct VmcSpiceConnectionEvents {
	/* The server took the link. */
	void (*up)(void *user);
	/* A message of the channel; `body` is valid during the call. */
	void (*message)(void *user, uint16_t type, VmcSpan body);
	/* Output goes on after VMC_WRITE_HIGH. */
	void (*writable)(void *user);
	/* It failed or ended, and nothing follows: drop it. `text` is for people
	 * and valid during the call. */
	void (*over)(void *user, VmcSpiceError code, const char *text);
} VmcSpiceConnectionEvents;

typedef struct VmcSpiceConnectionConfig {
	const VmcSpiceAddress *address;
	VmcTls *tls; /* connect over TLS with this; NULL: plain */
	uint32_t connection_id;
	uint8_t type; /* SPICE_CHANNEL_… */
	uint8_t id;
	VmcSpiceCaps caps; /* the channel's */
} VmcSpiceConnectionConfig;

/* What a client needs for TLS with the server of `address`; NULL if that has no
 * TLS port, or with `error`. */
VmcTls *vmc_spice_connection_tls(const VmcSpiceAddress *address, GError **error);

/* A char device that connects to the server of `address` once: over TLS with
 * `tls`, at its TLS port, or plain (NULL). NULL with `error`. */
VmcChardev *vmc_spice_connection_stream(const VmcSpiceAddress *address, VmcTls *tls,
					GError **error);

/* Starts to connect; everything in `config` is copied. `over` tells a failure,
 * from the loop. */
VmcSpiceConnection *vmc_spice_connection_new(const VmcSpiceConnectionConfig *config,
					     const VmcSpiceConnectionEvents *events, void *user);

/* Gives it to another user. */
void vmc_spice_connection_set_user(VmcSpiceConnection *connection,
				   const VmcSpiceConnectionEvents *events, void *user);

/* Closes it once all is sent, at most after some seconds; no event follows. It
 * is freed from the loop, or with `grave` (an array that frees by
 * vmc_spice_connection_free()), where it waits. */
void vmc_spice_connection_drop(VmcSpiceConnection *connection, GPtrArray *grave);

/* Sends what is queued and its end, so that the server closes once it has dealt
 * with all; `over` tells that, at most some seconds later. Closed while its
 * device answers, spice-server 0.15.1 ends by an assertion, and QEMU with it. */
void vmc_spice_connection_finish(VmcSpiceConnection *connection);

/* Closes at once and frees; not in one of its events. */
void vmc_spice_connection_free(VmcSpiceConnection *connection);

bool vmc_spice_connection_is_up(const VmcSpiceConnection *connection);

/* The server's capabilities of the channel, once up. */
bool vmc_spice_connection_has_cap(const VmcSpiceConnection *connection, unsigned bit);

/* Sends a message, once up. A queue that would overflow ends it (`over`, from
 * the loop). True as long as more may follow now; false: wait for `writable`. */
bool vmc_spice_connection_send(VmcSpiceConnection *connection, uint16_t type, VmcSpan body);

/* False while output has to wait. */
bool vmc_spice_connection_may_send(const VmcSpiceConnection *connection);

/* While held, nothing is read of the server once the link is up, and no message
 * is told, what is there already included. */
void vmc_spice_connection_hold(VmcSpiceConnection *connection, bool held);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSpiceRelay stands between a viewer and its SPICE server, on loopback. It
 * passes the viewer's connections through untouched, reads on the way in which
 * session they belong to, and keeps free the channel that is wanted beside
 * them. TLS ends on both sides: the server is checked as the viewer would, the
 * viewer is given a certificate made for it.
 */

#pragma once

#include "vmc/spice-address.h"
#include "vmc/spice-session.h"

typedef struct VmcSpiceRelay VmcSpiceRelay;

/* What a relay tells; it may not be freed in these. */
typedef struct VmcSpiceRelayEvents {
	/* The viewer's session has this connection id, learnt from its link
	 * messages. Again when a new session starts. */
	void (*session)(void *user, uint32_t connection_id);
	/* The viewer's main connection is gone, and its session with it. */
	void (*ended)(void *user, const char *because);
	/* A connection of the viewer found no server, or the viewer did not take the
	 * relay's certificate: `reason` is for people. */
	void (*failed)(void *user, const GError *reason);
	/* The viewer wanted a channel of the type that is ours, and does without. */
	void (*refused)(void *user);
} VmcSpiceRelayEvents;

/*
 * Listens on 127.0.0.1, on a port for plain connections if `address` (copied)
 * has one or is a UNIX socket, and on one for TLS if it has a tls_port. A
 * viewer's link for a channel of type `claimed` (SPICE_CHANNEL_…, 0: none) is
 * refused as not available: it is ours. A viewer that the server sends to
 * another host, when the VM migrates, goes there by itself: its session is then
 * `ended` here. NULL with `error` (GIOError or VMC_TLS_ERROR).
 */
VmcSpiceRelay *vmc_spice_relay_new(const VmcSpiceAddress *address, uint8_t claimed,
				   const VmcSpiceRelayEvents *events, void *user, GError **error);
void vmc_spice_relay_free(VmcSpiceRelay *relay);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcSpiceRelay, vmc_spice_relay_free)

/* Ports of the relay, 0: none. */
uint16_t vmc_spice_relay_port(const VmcSpiceRelay *relay);
uint16_t vmc_spice_relay_tls_port(const VmcSpiceRelay *relay);
/* PEM of what makes a viewer trust the relay's TLS port; NULL without one. */
const char *vmc_spice_relay_ca(const VmcSpiceRelay *relay);

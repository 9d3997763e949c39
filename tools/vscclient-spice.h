/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ClientSpice: the way to a host over SPICE: the session, the channel of it
 * that carries the cards, the password that it may take, and the viewer beside
 * which it may stand.
 */

#pragma once

#include "tools/vscclient-options.h"
#include "vmc/chardev.h"

typedef struct ClientSpice ClientSpice;

/* What it tells; nothing may be freed in these. */
typedef struct ClientSpiceEvents {
	/* There is a password to try: client_spice_open() again. */
	void (*again)(void *user);
	/* It is over: the viewer ended, or nobody gave a password. Said why. */
	void (*ended)(void *user, ClientExit status);
	/* An attempt failed, as client_spice_failed() was told: to be said. */
	void (*failed)(void *user, const GError *reason, unsigned again_ms);
	/* The terminal is being read: nobody else may. */
	void (*asking)(void *user, bool asking);
} ClientSpiceEvents;

/* The way that `options` (borrowed; the address's password is known by now if
 * it ever was) describe. */
ClientSpice *client_spice_new(const ClientOptions *options, const ClientSpiceEvents *events,
			      void *user);
/* Its channel must have no user. NULL is fine. */
void client_spice_free(ClientSpice *spice);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ClientSpice, client_spice_free)

/* The channel, of a new session; that of the call before is freed, and must
 * have no user. Owned by `spice`. The first call starts the viewer if there is
 * one. NULL with `error`. */
VmcChardev *client_spice_open(ClientSpice *spice, GError **error);

/*
 * An attempt failed for `reason`, the next one is in `again_ms` (0: never): says
 * what there is to say; a missing password is asked for. True: it goes on by
 * itself, by `again`, the viewer's or the session's next attempt. False: it is
 * over, end with client_spice_exit().
 */
bool client_spice_failed(ClientSpice *spice, const GError *reason, unsigned again_ms);

/* The exit status that goes with the session's last error; `other` if that has
 * none of its own. */
ClientExit client_spice_exit(const ClientSpice *spice, ClientExit other);

/* SPICE's number (SPICE_CHANNEL_…) of the type of channel that `want` is first
 * looked for on. */
uint8_t client_spice_channel_type(VmcSpiceWant want);

/* True if a viewer keeps the session: it may come and go. */
bool client_spice_has_viewer(const ClientSpice *spice);

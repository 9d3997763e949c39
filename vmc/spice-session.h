/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSpiceSession: a SPICE client's session with a server, and channels of it
 * as char devices. It owns the main channel, or stands beside a viewer that
 * does; it follows the VM when that is migrated; it connects again when the
 * server is gone, if asked.
 */

#pragma once

#include "vmc/chardev.h"
#include "vmc/spice-address.h"
#include "vmc/spice-link.h"

typedef struct VmcSpiceSession VmcSpiceSession;

/*
 * The session's one client at the server of `address` (copied): a SPICE server
 * keeps one, and lets the last that came in throw the first out. It connects
 * when the first channel has a user. After an end, or a failure to connect, it
 * tries again in `reconnect` seconds, doubling to a minute; 0: never. NULL with
 * `error` when the address's TLS files cannot be used. Free its channels first.
 */
VmcSpiceSession *vmc_spice_session_new(const VmcSpiceAddress *address, unsigned reconnect,
				       GError **error);

/* A session that another client, a viewer, opened and keeps: nothing happens
 * until vmc_spice_session_join() tells its connection id. */
VmcSpiceSession *vmc_spice_session_new_beside(const VmcSpiceAddress *address, GError **error);

/* The viewer has a session of this id / has it no more: channels open / close. */
void vmc_spice_session_join(VmcSpiceSession *session, uint32_t connection_id);
void vmc_spice_session_leave(VmcSpiceSession *session, const char *because);

void vmc_spice_session_free(VmcSpiceSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcSpiceSession, vmc_spice_session_free)

/* Which channel is wanted. */
typedef enum VmcSpiceWant {
	VMC_SPICE_WANT_CARD, /* the port of the given name if there is one, else smartcard */
	VMC_SPICE_WANT_SMARTCARD,
	VMC_SPICE_WANT_PORT,     /* the port of the given name */
	VMC_SPICE_WANT_USBREDIR, /* the first that nobody has */
} VmcSpiceWant;

/* The port that carries VSCard whole, when nothing else is said: the name to
 * give to -chardev spiceport. */
#define VMC_SPICE_CARD_PORT "org.vscard.ccid.0"

/*
 * A channel of `session` (borrowed; it outlives the channel) as a char device.
 * `port` (copied) is the name of a port, NULL: VMC_SPICE_CARD_PORT. It opens
 * when the server has taken the channel (and, a port, when its other side is
 * open); `failed` tells what was in the way (VMC_CHARDEV_ERROR_OPEN, the text
 * of a VmcSpiceError or VmcTlsError), and for how long. On the smartcard
 * channel vmc_chardev_is_smartcard_channel() is true, each message of the
 * user's stream (12 bytes of header, little-endian, with the length at 8) is
 * sent as one SPICE message. During a seamless migration a conversation goes
 * on; after any other it closes and opens.
 */
VmcChardev *vmc_spice_session_channel(VmcSpiceSession *session, VmcSpiceWant want,
				      const char *port);

/* The error behind the last `failed` or `closed`, or VMC_SPICE_ERROR_GONE. */
VmcSpiceError vmc_spice_session_error(const VmcSpiceSession *session);

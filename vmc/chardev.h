/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcChardev: a duplex byte stream with a life of its own. A char device opens
 * when its other side is there and closes when it is gone, again and again; its
 * one user is told of both, of input that can be read, and of output that may
 * go on. Nothing here blocks: what the other side does not take at once waits
 * in a bounded queue. All of it happens on the thread of the default
 * GMainContext.
 */

#pragma once

#include <gio/gio.h>

#include "vmc/opts.h"
#include "vmc/span.h"

#define VMC_CHARDEV_ERROR (vmc_chardev_error_quark())
GQuark vmc_chardev_error_quark(void);

typedef enum VmcChardevError {
	VMC_CHARDEV_ERROR_OPEN,   /* cannot listen or connect: port taken, no such path */
	VMC_CHARDEV_ERROR_HANGUP, /* the other side closed in order */
	VMC_CHARDEV_ERROR_IO,     /* the stream broke */
	VMC_CHARDEV_ERROR_USER,   /* vmc_chardev_disconnect(); another has it */
} VmcChardevError;

typedef struct VmcChardev VmcChardev;
typedef struct VmcChardevClass VmcChardevClass;

/* What a char device tells its one user; any member may be NULL. A user may
 * write, read, pause and disconnect in any of them, but not free. */
typedef struct VmcChardevEvents {
	/* The other side is there; a new conversation starts. */
	void (*opened)(void *user);
	/* It is gone. `reason` (VMC_CHARDEV_ERROR) is valid during the call.
	 * Input not yet read and output not yet sent are lost. */
	void (*closed)(void *user, const GError *reason);
	/* There may be input: call vmc_chardev_read() until it answers 0, or
	 * pause. Comes again as long as input is left and not paused. */
	void (*readable)(void *user);
	/* The output queue fell to its low mark after it had reached the high. */
	void (*writable)(void *user);
	/* A connecting device did not reach the other side: `reason`
	 * (VMC_CHARDEV_ERROR_OPEN) is valid during the call. The next attempt is
	 * `again` milliseconds away; 0: there will be none. */
	void (*failed)(void *user, const GError *reason, unsigned again);
	/* Not NULL: the user can have many conversations at once. A server that
	 * can, too (a listening socket; nothing else) then hands each over as a
	 * device of its own, open, in this call: `connection` is the user's to
	 * give events to and, outside of any, to free, and ends with its one
	 * conversation. One that began before there was such a user, and those
	 * of all other devices, come by `opened`. */
	void (*accepted)(void *user, VmcChardev *connection);
	/* The user starts away; see vmc_chardev_set_away(). */
	bool away;
} VmcChardevEvents;

/* Output waiting above this makes vmc_chardev_write() answer VMC_WRITE_HIGH,
 * and at or under the low mark `writable` follows: a few of the largest
 * messages anyone here sends (65,556 bytes). */
#define VMC_CHARDEV_HIGH_MARK (256u * 1024)
#define VMC_CHARDEV_LOW_MARK (64u * 1024)
/* What the queue may ever hold: room for a user to finish what it is in the
 * middle of after VMC_WRITE_HIGH. */
#define VMC_CHARDEV_MAX_QUEUE (1024u * 1024)

/* Connections of one server that users may have and not have freed; the next
 * ones wait in the system's backlog. Room for a connection to each device of a
 * USB bus and as many that only ask. */
#define VMC_CHARDEV_ACCEPTED_MAX 256u

typedef enum VmcWrite {
	VMC_WRITE_OK,     /* taken, go on */
	VMC_WRITE_HIGH,   /* taken; stop producing until `writable`, which will come */
	VMC_WRITE_FULL,   /* not taken: it would pass VMC_CHARDEV_MAX_QUEUE */
	VMC_WRITE_CLOSED, /* not taken: nobody is there */
} VmcWrite;

/*
 * Makes a char device from a checked or unchecked option set whose "backend"
 * names one of vmc_chardev_classes() and whose "id" names the device. Listening
 * sockets listen at once, connecting ones start to connect; with a server's
 * `wait=on` the call returns when the first client is there. NULL with `error`
 * (VMC_OPTS_ERROR or VMC_CHARDEV_ERROR). Free with vmc_chardev_free().
 */
VmcChardev *vmc_chardev_new(VmcOpts *opts, GError **error);

/* Closes without telling the user and releases all; NULL is fine. */
void vmc_chardev_free(VmcChardev *chardev);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcChardev, vmc_chardev_free)

/* The backends there are, NULL-terminated. */
const VmcChardevClass *const *vmc_chardev_classes(void);

/* Prints the backends (`backend` NULL) or the keys of one to stdout. False
 * with `error` when there is no such backend. */
bool vmc_chardev_help(const char *backend, GError **error);

/* Its id; "" if it has none. Owned by the device. */
const char *vmc_chardev_id(const VmcChardev *chardev);

/* Where it leads, in words for people: "tcp:127.0.0.1:2001,server". */
const char *vmc_chardev_describe(const VmcChardev *chardev);

/* How long vmc_chardev_disconnect() tries to send what is queued, and how long
 * it then waits for the other side to take it and close. */
#define VMC_CHARDEV_FLUSH_SECONDS 5u
#define VMC_CHARDEV_LINGER_SECONDS 1u

/* What one `readable` event hands out at most before the loop turns to others:
 * a peer that sends faster than we read must not keep the loop for itself. */
#define VMC_CHARDEV_READ_BUDGET (256u * 1024)

/*
 * Makes `events` with `user` the one user (both outlive the use); NULL events
 * ends it. If the device is open already, `opened` follows from the loop.
 * False if another user has it.
 */
bool vmc_chardev_set_user(VmcChardev *chardev, const VmcChardevEvents *events, void *user);

/* Sets `error` (VMC_CHARDEV_ERROR_USER): `chardev` has a user, and what to do. */
void vmc_chardev_set_in_use_error(const VmcChardev *chardev, GError **error);

/* True from just before `opened` to the end of the conversation, which may be
 * a little before `closed`. Without a user: true if the other side is there. */
bool vmc_chardev_is_open(const VmcChardev *chardev);

/* True while it is open and output has not broken; what the other side sent
 * before that may still be there to read. */
bool vmc_chardev_is_writable(const VmcChardev *chardev);

/* Reads up to `len` (> 0) bytes into `data`; answers how many, 0 when there
 * are none now or the device is closed. An end of stream is the `closed`
 * event, later. */
size_t vmc_chardev_read(VmcChardev *chardev, uint8_t *data, size_t len);

/*
 * Sends all of `bytes` (copied) or nothing. What the kernel does not take at
 * once is queued; one call is one write when it does. Sent bytes are wiped.
 */
VmcWrite vmc_chardev_write(VmcChardev *chardev, VmcSpan bytes);

/* True if the present conversation is on SPICE's smartcard channel, as its
 * client: headers are little-endian there, and VSC_Init is dropped. Known from
 * `opened` on. */
bool vmc_chardev_is_smartcard_channel(const VmcChardev *chardev);

/* Bytes in the output queue. */
size_t vmc_chardev_pending(const VmcChardev *chardev);

/* While paused, `readable` does not come and the peer feels back-pressure. It
 * stays so over the ends of conversations until resumed; a new user starts
 * resumed. */
void vmc_chardev_pause(VmcChardev *chardev, bool paused);

/* While held, as while paused: for a user that cannot start on a conversation
 * yet. Should the other side go meanwhile, `closed` comes without waiting for
 * what it sent to be read. A new user starts without. */
void vmc_chardev_hold(VmcChardev *chardev, bool held);

/* For a user that stands for somebody else: is that one away now? A device that
 * shows its other side whether there is a user, as those of SPICE do, shows
 * none while it is away. */
void vmc_chardev_set_away(VmcChardev *chardev, bool away);

/* Ends the present conversation (`closed` follows from the loop with `because`
 * as its message) after the queue is sent if `flush`, at most for some
 * seconds. The device lives on: a server takes the next client, a
 * reconnecting client tries again. */
void vmc_chardev_disconnect(VmcChardev *chardev, bool flush, const char *because);

/*
 * Two char devices in this process joined to each other: what is written to
 * one is read from the other. Both open when both have users; freeing or
 * disconnecting one, or taking its user away, closes the other. After that a
 * new conversation starts when one of them is given a user anew while the other
 * has one. For tests and for joining parts.
 */
void vmc_chardev_pair_new(VmcChardev **one, VmcChardev **other);

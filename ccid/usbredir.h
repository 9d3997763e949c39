/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidUsbredir: the attach point that lends a UsbDevice to a usbredir peer,
 * such as QEMU's `-device usb-redir`, over any char device. Framing is
 * libusbredirparser's.
 */

#pragma once

#include "ccid/usb.h"
#include "vmc/chardev.h"

typedef struct CcidUsbredir CcidUsbredir;

/* Offers `device` on `chardev` (both borrowed, they outlive it): announced
 * when a peer is there and has said hello, gone when it goes. NULL with
 * `error` when either has a user already. */
CcidUsbredir *ccid_usbredir_new(VmcChardev *chardev, UsbDevice *device, GError **error);
void ccid_usbredir_free(CcidUsbredir *usbredir);

/* What goes on, for an owner who tells people; any member may be NULL. Nothing
 * may be freed in them. */
typedef struct CcidUsbredirEvents {
	void (*connected)(void *user); /* to whoever it is: it has said nothing yet */
	void (*announced)(void *user); /* it said hello and was told of the device */
	void (*rejected)(void *user);  /* and does not want it: a filter, or no fitting port */
	void (*closed)(void *user, const GError *reason);
	/* A connecting char device did not reach a peer; `again` as in VmcChardevEvents. */
	void (*failed)(void *user, const GError *reason, unsigned again);
} CcidUsbredirEvents;

/* Makes `events` with `user` (both outlive `usbredir`) the ones to be told. */
void ccid_usbredir_set_events(CcidUsbredir *usbredir, const CcidUsbredirEvents *events, void *user);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CcidUsbredir, ccid_usbredir_free)

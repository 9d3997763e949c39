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
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CcidUsbredir, ccid_usbredir_free)

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidUsbipServer: the attach point that exports UsbDevices by USB/IP, to the
 * kernels of Linux hosts (vhci-hcd with the tool usbip) and to Windows hosts.
 * Each connection to its char device asks which devices there are, or imports
 * one and uses it until it is closed.
 */

#pragma once

#include "ccid/usb.h"
#include "vmc/chardev.h"

/* Where clients look for a server, by default. */
#define CCID_USBIP_PORT 3240u

/* The devices of one server: the addresses of a USB bus (USB 2.0, 9.4.6). */
#define CCID_USBIP_DEVICES_MAX 127u

/* How long a connection may take to ask for something. */
#define CCID_USBIP_ASK_SECONDS 10u

/* How long a client waits for a device that somebody has before it is refused:
 * one that detaches and attaches again may be faster than the end of its last
 * connection (the kernel closes it on its own time). */
#define CCID_USBIP_BUSY_MS 500u

typedef struct CcidUsbipServer CcidUsbipServer;

/*
 * Serves on `chardev` (borrowed, outlives it), which is best a listening
 * socket: any other has one connection at a time, so that nobody can ask while
 * a device is imported. NULL with `error` when it has a user already.
 */
CcidUsbipServer *ccid_usbip_server_new(VmcChardev *chardev, GError **error);
void ccid_usbip_server_free(CcidUsbipServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CcidUsbipServer, ccid_usbip_server_free)

/*
 * What becomes of an import whose device has another name now. USB/IP cannot
 * plug it in again, so by default it is left as it is, and the next import
 * brings the new name. With `replug` it is ended, for clients that attach again
 * by themselves.
 */
void ccid_usbip_server_set_replug(CcidUsbipServer *server, bool replug);

/* Exports `device` (borrowed until it is removed) by the lowest busid that is
 * free: 1-1, 1-2, ... False when there is no room. */
bool ccid_usbip_server_add(CcidUsbipServer *server, UsbDevice *device);

/* Exports it no more: whoever has it is disconnected. */
void ccid_usbip_server_remove(CcidUsbipServer *server, UsbDevice *device);

/* By which busid `device` is exported; owned by the server, NULL if it is not. */
const char *ccid_usbip_server_busid(CcidUsbipServer *server, const UsbDevice *device);

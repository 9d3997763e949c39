/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * UsbipImport: a UsbDevice in the hands of a USB/IP client: its commands become
 * the device's transfers, and each of these one reply. It does no I/O: commands
 * go in, replies come out by a callback. Until it is freed the device is
 * attached here and nowhere else.
 */

#pragma once

#include "ccid/usbip.h"

typedef struct UsbipImport UsbipImport;

/* Transfers that may be pending. A driver has one or two on each endpoint; a
 * program that cuts its reads into packets some tens. */
#define USBIP_SUBMITS_MAX 1024u

/* Bytes of OUT transfers that may be pending: one of the longest. The device
 * takes each at once unless its host leaves answers unread. */
#define USBIP_PENDING_MAX USBIP_OUT_MAX

/* What an import tells who has it. */
typedef struct UsbipImportEvents {
	/* Sends `reply`, a whole one, valid during the call. Comes from within
	 * usbip_import_command() and from the loop. */
	void (*send)(void *user, VmcSpan reply);
	/* The device says other things of itself than it did; see UsbDeviceEvents. */
	void (*changed)(void *user);
} UsbipImportEvents;

/* Attaches `device` (borrowed) for the client that names it `devid`; NULL if it
 * is attached already. */
UsbipImport *usbip_import_new(UsbDevice *device, uint32_t devid, const UsbipImportEvents *events,
			      void *user);

/* Detaches the device, which is then as after a reset. Not from within `events`. */
void usbip_import_free(UsbipImport *import);

/*
 * Does what the client's command says; its data is copied. False with a static
 * `*because` when the conversation has to end: another device's id, a number
 * that is pending already, more pending than the limits above.
 */
bool usbip_import_command(UsbipImport *import, const UsbipCommand *command, const char **because);

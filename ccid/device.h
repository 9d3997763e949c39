/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidDevice: the USB device around a CcidReader: descriptors (USB 2.0
 * chapter 9, CCID 1.1 clause 5.1), control requests, a bulk pipe each way and
 * the interrupt pipe, stall and clear-stall, short and zero-length packets.
 */

#pragma once

#include "ccid/reader.h"
#include "ccid/usb.h"

typedef struct CcidDevice CcidDevice;

typedef struct CcidIdentity {
	uint16_t vendor_id, product_id;
	/* UTF-8, copied; NULL: default. `interface` is what pcscd shows, in
	 * brackets, beside its driver's name for the reader; then `serial`. */
	const char *manufacturer, *product, *serial, *interface;
} CcidIdentity;

/* A device with `n_slots` slots; `identity` NULL, or its zero members, for the
 * default. Owns its reader. */
CcidDevice *ccid_device_new(unsigned n_slots, const CcidIdentity *identity);
void ccid_device_free(CcidDevice *device);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CcidDevice, ccid_device_free)

/* How often, in ms, the device may become another at most: each time a host
 * reads its descriptors anew and its driver starts again. */
#define CCID_CHANGE_MS 5000

/*
 * From now on the device, of one slot, calls itself what the card in it says of
 * its reader, each time it is described: its name as `interface`, its serial
 * number as `serial`. Where that is something else than before the device is
 * unplugged and plugged in again (UsbDeviceEvents.changed), at once or
 * CCID_CHANGE_MS after it was the last time.
 */
void ccid_device_follow_card(CcidDevice *device);

/* For ccid_reader_set_card(); owned by the device. */
CcidReader *ccid_device_reader(CcidDevice *device);

/* The device as attach points see it; owned by the device. */
UsbDevice *ccid_device_usb(CcidDevice *device);

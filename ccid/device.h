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
	const char *manufacturer, *product, *serial; /* UTF-8, copied; NULL: default */
} CcidIdentity;

/* A device with `n_slots` slots; `identity` NULL, or its zero members, for the
 * default. Owns its reader. */
CcidDevice *ccid_device_new(unsigned n_slots, const CcidIdentity *identity);
void ccid_device_free(CcidDevice *device);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CcidDevice, ccid_device_free)

/* For ccid_reader_set_card(); owned by the device. */
CcidReader *ccid_device_reader(CcidDevice *device);

/* The device as attach points see it; owned by the device. */
UsbDevice *ccid_device_usb(CcidDevice *device);

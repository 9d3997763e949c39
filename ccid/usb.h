/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * UsbDevice: a USB device as an attach point sees it: control, in, out, cancel.
 * Each transfer carries an id its attach point chose and ends with exactly one
 * completion under that id, now or later, unless it is cancelled first. The
 * attach points (usbredir, USB/IP) know nothing of what the device is.
 * Terms are those of USB 2.0, chapters 5, 8 and 9.
 */

#pragma once

#include <glib.h>

#include "vmc/span.h"

typedef struct UsbDevice UsbDevice;
typedef struct UsbDeviceClass UsbDeviceClass;

/* How a transfer ended. */
typedef enum UsbStatus {
	USB_STATUS_OK,
	USB_STATUS_STALL,     /* the endpoint is halted, or the request is not known */
	USB_STATUS_CANCELLED, /* never delivered for usb_device_cancel(), only for resets */
	USB_STATUS_ERROR,     /* no such endpoint, or not configured */
} UsbStatus;

typedef enum UsbSpeed { USB_SPEED_FULL, USB_SPEED_HIGH } UsbSpeed;

typedef enum UsbEndpointType {
	USB_ENDPOINT_CONTROL = 0, /* bmAttributes bits 1..0, USB 2.0 table 9-13 */
	USB_ENDPOINT_ISOCHRONOUS = 1,
	USB_ENDPOINT_BULK = 2,
	USB_ENDPOINT_INTERRUPT = 3,
} UsbEndpointType;

typedef struct UsbEndpoint {
	uint8_t address; /* bit 7: in */
	UsbEndpointType type;
	uint16_t max_packet_size; /* bytes */
	uint8_t interval;         /* bInterval */
} UsbEndpoint;

/* What an attach point announces before any transfer. */
typedef struct UsbDeviceInfo {
	UsbSpeed speed;
	uint8_t device_class, device_subclass, device_protocol;
	uint8_t interface_class, interface_subclass, interface_protocol; /* its one interface */
	uint16_t vendor_id, product_id, release;                         /* release: bcdDevice */
	uint8_t configuration;        /* bConfigurationValue of its one configuration */
	const UsbEndpoint *endpoints; /* beside endpoint 0 */
	size_t n_endpoints;
	const char *name; /* for people */
} UsbDeviceInfo;

/* The 8 bytes of a SETUP packet, USB 2.0 table 9-2. */
typedef struct UsbSetup {
	uint8_t request_type;
	uint8_t request;
	uint16_t value, index, length;
} UsbSetup;

/* What a device tells the attach point that has it. */
typedef struct UsbDeviceEvents {
	/* Transfer `id` ended. `data` (valid during the call) is what came in,
	 * empty for out; `actual` the bytes moved. May come from within the call
	 * that submitted the transfer. */
	void (*complete)(void *user, uint64_t id, UsbStatus status, VmcSpan data, size_t actual);
	/* The device is another now: its info and descriptors say other things.
	 * Hosts read them once, so it is to be unplugged, all that is pending
	 * dropped, the device reset, and plugged in again. Never from within a call
	 * of usb_device_…(). May be NULL: it cannot be done. */
	void (*changed)(void *user);
} UsbDeviceEvents;

struct UsbDeviceClass {
	const UsbDeviceInfo *(*info)(UsbDevice *device);
	void (*control)(UsbDevice *device, uint64_t id, const UsbSetup *setup, VmcSpan data);
	void (*in)(UsbDevice *device, uint64_t id, uint8_t endpoint, size_t length);
	void (*out)(UsbDevice *device, uint64_t id, uint8_t endpoint, VmcSpan data);
	void (*cancel)(UsbDevice *device, uint64_t id);
	void (*reset)(UsbDevice *device);
};

/* The first member of each kind of device. */
struct UsbDevice {
	const UsbDeviceClass *class;
	const UsbDeviceEvents *events;
	void *user;
};

/* For the kinds of device: ends transfer `id`; nothing happens when no attach
 * point is there to hear it. */
void usb_device_complete(UsbDevice *device, uint64_t id, UsbStatus status, VmcSpan data,
			 size_t actual);

/* For the kinds of device: tells `changed`. */
void usb_device_changed(UsbDevice *device);

/* Makes `events` with `user` the one attach point (they outlive the use); NULL
 * ends it: what is pending is dropped and the device is as after a reset.
 * False if it is attached elsewhere. */
bool usb_device_attach(UsbDevice *device, const UsbDeviceEvents *events, void *user);

/* Owned by the device, valid and constant until `changed`. */
const UsbDeviceInfo *usb_device_info(UsbDevice *device);

/* Its endpoint at `address` (bit 7: in), beside endpoint 0; NULL if it has none.
 * Owned by the device as its info is. */
const UsbEndpoint *usb_device_endpoint(UsbDevice *device, uint8_t address);

/* A control transfer on endpoint 0; `data` is the OUT data stage (its length
 * must be setup->length) or empty. Completes with at most setup->length bytes. */
void usb_device_control(UsbDevice *device, uint64_t id, const UsbSetup *setup, VmcSpan data);

/* One IN transfer of up to `length` bytes on `endpoint` (bit 7 set): completes
 * when it is full or the device ends it with a short or zero-length packet.
 * A full transfer followed by nothing leaves the zero-length packet that ends
 * the message for the next transfer. */
void usb_device_in(UsbDevice *device, uint64_t id, uint8_t endpoint, size_t length);

/* One OUT transfer; `data` is copied. A transfer whose length is a multiple of
 * the packet size does not by itself end a message; one of length 0 does, if
 * one has begun. */
void usb_device_out(UsbDevice *device, uint64_t id, uint8_t endpoint, VmcSpan data);

/* Transfer `id` is given up: no completion comes, and data not yet delivered
 * stays for the next. Unknown ids are fine. */
void usb_device_cancel(UsbDevice *device, uint64_t id);

/* A bus reset: pending transfers complete CANCELLED, address and configuration
 * are as at power-up. */
void usb_device_reset(UsbDevice *device);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* UsbDevice: see usb.h. What all kinds of device have in common. */

#include "ccid/usb.h"

bool usb_device_attach(UsbDevice *device, const UsbDeviceEvents *events, void *user)
{
	if (events && device->events)
		return false;
	device->events = events;
	device->user = events ? user : NULL;
	if (!events)
		device->class->reset(device);
	return true;
}

const UsbDeviceInfo *usb_device_info(UsbDevice *device)
{
	return device->class->info(device);
}

const UsbEndpoint *usb_device_endpoint(UsbDevice *device, uint8_t address)
{
	const UsbDeviceInfo *info = usb_device_info(device);

	for (size_t i = 0; i < info->n_endpoints; i++)
		if (info->endpoints[i].address == address)
			return &info->endpoints[i];
	return NULL;
}

void usb_device_control(UsbDevice *device, uint64_t id, const UsbSetup *setup, VmcSpan data)
{
	device->class->control(device, id, setup, data);
}

void usb_device_in(UsbDevice *device, uint64_t id, uint8_t endpoint, size_t length)
{
	device->class->in(device, id, endpoint, length);
}

void usb_device_out(UsbDevice *device, uint64_t id, uint8_t endpoint, VmcSpan data)
{
	device->class->out(device, id, endpoint, data);
}

void usb_device_cancel(UsbDevice *device, uint64_t id)
{
	device->class->cancel(device, id);
}

void usb_device_reset(UsbDevice *device)
{
	device->class->reset(device);
}

void usb_device_changed(UsbDevice *device)
{
	if (device->events && device->events->changed)
		device->events->changed(device->user);
}

void usb_device_complete(UsbDevice *device, uint64_t id, UsbStatus status, VmcSpan data,
			 size_t actual)
{
	if (device->events)
		device->events->complete(device->user, id, status, data, actual);
}

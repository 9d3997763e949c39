/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The driver usbip of -device: the attach point of several readers for hosts
 * that import USB devices over the network, Linux or Windows.
 */

#define G_LOG_DOMAIN "vscardd"

#include "ccid/usbip-server.h"
#include "tools/machine.h"

typedef struct UsbipState {
	CcidUsbipServer *server;
	unsigned devices;
} UsbipState;

static const VmcOptDesc usbip_options[] = {
	{ "chardev", VMC_OPT_STRING, 0, 0,
	  "chardev that USB/IP clients connect to, a socket with server=on; their port is 3240" },
	{ "replug", VMC_OPT_BOOL, 0, 0,
	  "end a client's connection when its reader's name changes, for one that attaches again "
	  "by itself (off)" },
	{ 0 },
};

static bool usbip_create(Machine *machine, Device *device, GError **error)
{
	VmcChardev *chardev;
	UsbipState *state;

	if (!vmc_opts_has(device->opts, "chardev")) {
		vmc_opts_set_error(device->opts, error, VMC_OPTS_ERROR_MISSING,
				   "chardev is missing; add -chardev socket,id=usbip0,"
				   "host=127.0.0.1,port=%u,server=on,wait=off and here "
				   "chardev=usbip0",
				   CCID_USBIP_PORT);
		return false;
	}
	chardev = device_chardev(machine, device, error);
	if (chardev == NULL)
		return false;
	state = g_new0(UsbipState, 1);
	device->state = state;
	state->server = ccid_usbip_server_new(chardev, error);
	if (state->server == NULL) {
		g_prefix_error(error, "%s: ", vmc_opts_text(device->opts));
		return false;
	}
	ccid_usbip_server_set_replug(state->server, vmc_opts_bool(device->opts, "replug", false));
	return true;
}

static void usbip_free(Device *device)
{
	UsbipState *state = device->state;

	ccid_usbip_server_free(state->server);
	g_free(state);
}

static bool usbip_has_room(const Device *device)
{
	const UsbipState *state = device->state;

	return state->devices < CCID_USBIP_DEVICES_MAX;
}

static bool usbip_attach(Device *device, UsbDevice *usb, GError **error)
{
	UsbipState *state = device->state;

	(void)error;
	g_return_val_if_fail(usbip_has_room(device), false);

	state->devices++;
	ccid_usbip_server_add(state->server, usb);
	g_debug("%s exports a reader as %s", device->id,
		ccid_usbip_server_busid(state->server, usb));
	return true;
}

static void usbip_detach(Device *device, UsbDevice *usb)
{
	UsbipState *state = device->state;

	state->devices--;
	ccid_usbip_server_remove(state->server, usb);
}

const DeviceDriver usbip_driver = {
	.name = "usbip",
	.help = "attach point: exports the readers on its bus to USB/IP clients (Linux, Windows)",
	.rank = DEVICE_ATTACH,
	.options = usbip_options,
	.create = usbip_create,
	.free = usbip_free,
	.has_room = usbip_has_room,
	.attach = usbip_attach,
	.detach = usbip_detach,
};

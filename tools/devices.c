/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The drivers of -device, spelled as QEMU spells its own: the table of all, and
 * here the attach point usbredir and the reader usb-ccid. Each names its keys
 * in a table and joins one piece of ccid/ or vscard/ to the machine. An attach
 * point knows only UsbDevices, a card device only slots: so any reader goes on
 * any bus, and any card into any reader.
 */

#define G_LOG_DOMAIN "vscardd"

#include <string.h>

#include "ccid/usbredir.h"
#include "tools/machine.h"

/* ---- usbredir: an attach point ---- */

typedef struct UsbredirState {
	VmcChardev *chardev;
	CcidUsbredir *usbredir; /* once a device is on its bus */
} UsbredirState;

static const VmcOptDesc usbredir_options[] = {
	{ "chardev", VMC_OPT_STRING, 0, 0,
	  "chardev that the usbredir peer is on, such as QEMU's usb-redir" },
	{ 0 },
};

VmcChardev *device_chardev(Machine *machine, Device *device, GError **error)
{
	const char *id = vmc_opts_get(device->opts, "chardev");

	if (id == NULL) {
		vmc_opts_set_error(device->opts, error, VMC_OPTS_ERROR_MISSING,
				   "chardev is missing; add chardev=ID of a -chardev");
		return NULL;
	}
	return machine_chardev(machine, device->opts, id, error);
}

static bool usbredir_create(Machine *machine, Device *device, GError **error)
{
	VmcChardev *chardev = device_chardev(machine, device, error);
	UsbredirState *state;

	if (chardev == NULL)
		return false;
	state = g_new0(UsbredirState, 1);
	state->chardev = chardev;
	device->state = state;
	return true;
}

static void usbredir_free(Device *device)
{
	UsbredirState *state = device->state;

	ccid_usbredir_free(state->usbredir);
	g_free(state);
}

/* A usbredir conversation is of one device. */
static bool usbredir_has_room(const Device *device)
{
	const UsbredirState *state = device->state;

	return state->usbredir == NULL;
}

static bool usbredir_attach(Device *device, UsbDevice *usb, GError **error)
{
	UsbredirState *state = device->state;

	state->usbredir = ccid_usbredir_new(state->chardev, usb, error);
	if (state->usbredir == NULL)
		g_prefix_error(error, "%s: ", vmc_opts_text(device->opts));
	return state->usbredir != NULL;
}

static void usbredir_detach(Device *device, G_GNUC_UNUSED UsbDevice *usb)
{
	UsbredirState *state = device->state;

	g_clear_pointer(&state->usbredir, ccid_usbredir_free);
}

static const DeviceDriver usbredir_driver = {
	.name = "usbredir",
	.help = "attach point: lends the reader on its bus to a usbredir peer (QEMU's usb-redir)",
	.rank = DEVICE_ATTACH,
	.options = usbredir_options,
	.create = usbredir_create,
	.free = usbredir_free,
	.has_room = usbredir_has_room,
	.attach = usbredir_attach,
	.detach = usbredir_detach,
};

/* ---- usb-ccid: a reader ---- */

typedef struct UsbCcidState {
	CcidDevice *ccid;
	Device *attached; /* where, or NULL */
} UsbCcidState;

static const VmcOptDesc usb_ccid_options[] = {
	{ "bus", VMC_OPT_STRING, 0, 0,
	  "bus of an attach point, ID.0; the one there is if not given" },
	{ "slots", VMC_OPT_NUMBER, 1, CCID_SLOTS_MAX,
	  "slots for cards, all of them at work at once; 1 if not given" },
	{ "vendorid", VMC_OPT_NUMBER, 1, 0xffff, "idVendor" },
	{ "productid", VMC_OPT_NUMBER, 1, 0xffff, "idProduct" },
	/* A string descriptor holds 126 UTF-16 units (USB 2.0, 9.6.7). */
	{ "serial", VMC_OPT_STRING, 0, 126, "iSerialNumber" },
	{ "name", VMC_OPT_STRING, 0, 126,
	  "name that hosts show beside their own; with slots=1, if neither it nor serial is given, "
	  "both are those of the remote reader" },
	{ "debug", VMC_OPT_NUMBER, 0, 4, "taken as QEMU takes it; use -d ccid" },
	{ 0 },
};

static bool attach_has_room(const Device *device)
{
	return device->driver->has_room(device);
}

static bool usb_ccid_create(Machine *machine, Device *device, GError **error)
{
	CcidIdentity identity = {
		.vendor_id = (uint16_t)vmc_opts_number(device->opts, "vendorid", 0),
		.product_id = (uint16_t)vmc_opts_number(device->opts, "productid", 0),
		.serial = vmc_opts_get(device->opts, "serial"),
		.interface = vmc_opts_get(device->opts, "name"),
	};
	unsigned n_slots = (unsigned)vmc_opts_number(device->opts, "slots", 1);
	Device *bus =
		machine_bus(machine, device->opts, DEVICE_ATTACH, attach_has_room,
			    "add an attach point for it: "
			    "-chardev socket,id=usb0,path=PATH,server=on,wait=off "
			    "-device usbredir,chardev=usb0, or -usb for one at a default place, "
			    "or -device usbip for hosts on the network",
			    error);
	UsbCcidState *state;

	if (bus == NULL)
		return false;
	state = g_new0(UsbCcidState, 1);
	state->ccid = ccid_device_new(n_slots, &identity);
	device->state = state;
	if (n_slots == 1 && identity.serial == NULL && identity.interface == NULL)
		ccid_device_follow_card(state->ccid);
	if (!bus->driver->attach(bus, ccid_device_usb(state->ccid), error))
		return false;
	state->attached = bus;
	return true;
}

static void usb_ccid_free(Device *device)
{
	UsbCcidState *state = device->state;

	if (state->attached != NULL)
		state->attached->driver->detach(state->attached, ccid_device_usb(state->ccid));
	ccid_device_free(state->ccid);
	g_free(state);
}

static unsigned usb_ccid_slots(const Device *device)
{
	const UsbCcidState *state = device->state;

	return ccid_reader_slots(ccid_device_reader(state->ccid));
}

static void usb_ccid_set_card(Device *device, unsigned slot, VscCard *card)
{
	const UsbCcidState *state = device->state;

	ccid_reader_set_card(ccid_device_reader(state->ccid), slot, card);
}

static const DeviceDriver usb_ccid_driver = {
	.name = "usb-ccid",
	.help = "reader: a USB CCID smartcard reader, on the bus of an attach point",
	.rank = DEVICE_READER,
	.options = usb_ccid_options,
	.create = usb_ccid_create,
	.free = usb_ccid_free,
	.slots = usb_ccid_slots,
	.set_card = usb_ccid_set_card,
};

const DeviceDriver *const *device_drivers(void)
{
	static const DeviceDriver *const drivers[] = {
		&usbredir_driver,
		&usbip_driver,
		&usb_ccid_driver,
		&passthru_driver,
		&emulated_driver,
		&ifd_driver,
		&chardev_join_driver,
		&virtio_serial_driver,
		&virtserialport_driver,
		NULL,
	};

	return drivers;
}

const DeviceDriver *device_driver(const char *name)
{
	for (const DeviceDriver *const *driver = device_drivers(); *driver != NULL; driver++) {
		if (strcmp((*driver)->name, name) == 0)
			return *driver;
	}
	return NULL;
}

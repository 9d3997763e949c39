/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The drivers of -device: attach points, readers and cards, spelled as QEMU
 * spells its own. Each names its keys in a table and joins one piece of ccid/
 * or vscard/ to the machine.
 */

#define G_LOG_DOMAIN "vscardd"

#include <string.h>

#include "ccid/usbredir.h"
#include "tools/machine.h"
#include "vscard/cacard.h"
#include "vscard/link.h"

/* ---- usbredir: an attach point ---- */

typedef struct UsbredirState {
	VmcChardev *chardev;
	CcidUsbredir *usbredir; /* once a reader is on its bus */
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

static const DeviceDriver usbredir_driver = {
	.name = "usbredir",
	.help = "attach point: lends the reader on its bus to a usbredir peer (QEMU's usb-redir)",
	.rank = DEVICE_ATTACH,
	.options = usbredir_options,
	.create = usbredir_create,
	.free = usbredir_free,
};

/* ---- usb-ccid: a reader ---- */

/* One slot a reader, as QEMU's usb-ccid. */
#define USB_CCID_SLOTS 1u

typedef struct UsbCcidState {
	CcidDevice *ccid;
	UsbredirState *attached;
	bool taken; /* its slot has a card device */
} UsbCcidState;

static const VmcOptDesc usb_ccid_options[] = {
	{ "bus", VMC_OPT_STRING, 0, 0,
	  "bus of an attach point, ID.0; the one there is if not given" },
	{ "vendorid", VMC_OPT_NUMBER, 1, 0xffff, "idVendor" },
	{ "productid", VMC_OPT_NUMBER, 1, 0xffff, "idProduct" },
	/* A string descriptor holds 126 UTF-16 units (USB 2.0, 9.6.7). */
	{ "serial", VMC_OPT_STRING, 0, 126, "iSerialNumber" },
	{ "debug", VMC_OPT_NUMBER, 0, 4, "taken as QEMU takes it; use -d ccid" },
	{ 0 },
};

static bool attach_has_room(const Device *device)
{
	const UsbredirState *state = device->state;

	return state->usbredir == NULL;
}

static bool usb_ccid_create(Machine *machine, Device *device, GError **error)
{
	CcidIdentity identity = {
		.vendor_id = (uint16_t)vmc_opts_number(device->opts, "vendorid", 0),
		.product_id = (uint16_t)vmc_opts_number(device->opts, "productid", 0),
		.serial = vmc_opts_get(device->opts, "serial"),
	};
	Device *bus =
		machine_bus(machine, device->opts, DEVICE_ATTACH, attach_has_room,
			    "add an attach point for it: "
			    "-chardev socket,id=usb0,path=PATH,server=on,wait=off "
			    "-device usbredir,chardev=usb0, or -usb for one at a default place",
			    error);
	UsbredirState *attach;
	UsbCcidState *state;

	if (bus == NULL)
		return false;
	attach = bus->state;
	state = g_new0(UsbCcidState, 1);
	state->ccid = ccid_device_new(USB_CCID_SLOTS, &identity);
	device->state = state;
	attach->usbredir = ccid_usbredir_new(attach->chardev, ccid_device_usb(state->ccid), error);
	if (attach->usbredir == NULL)
		return false;
	state->attached = attach;
	return true;
}

static void usb_ccid_free(Device *device)
{
	UsbCcidState *state = device->state;

	if (state->attached != NULL)
		g_clear_pointer(&state->attached->usbredir, ccid_usbredir_free);
	ccid_device_free(state->ccid);
	g_free(state);
}

static const DeviceDriver usb_ccid_driver = {
	.name = "usb-ccid",
	.help = "reader: a USB CCID smartcard reader, on the bus of an attach point",
	.rank = DEVICE_READER,
	.options = usb_ccid_options,
	.create = usb_ccid_create,
	.free = usb_ccid_free,
};

static bool reader_has_room(const Device *device)
{
	const UsbCcidState *state = device->state;

	return !state->taken;
}

/* The reader whose slot a card device takes, marked as taken. */
static CcidReader *take_reader(Machine *machine, Device *device, GError **error)
{
	Device *bus = machine_bus(machine, device->opts, DEVICE_READER, reader_has_room,
				  "add a reader for it: -device usb-ccid", error);
	UsbCcidState *state;

	if (bus == NULL)
		return NULL;
	state = bus->state;
	state->taken = true;
	return ccid_device_reader(state->ccid);
}

/* ---- ccid-card-passthru: a card of a VSCard peer ---- */

typedef struct PassthruState {
	CcidReader *reader;
	VscHostLink *link;
} PassthruState;

static const VmcOptDesc passthru_options[] = {
	{ "chardev", VMC_OPT_STRING, 0, 0,
	  "chardev that the VSCard peer is on, such as vscclient" },
	{ "bus", VMC_OPT_STRING, 0, 0, "bus of a reader, ID.0; the first with room if not given" },
	{ "debug", VMC_OPT_NUMBER, 0, 4, "taken as QEMU takes it; use -d vscard,messages,apdu" },
	{ 0 },
};

static bool passthru_create(Machine *machine, Device *device, GError **error)
{
	VmcChardev *chardev = device_chardev(machine, device, error);
	CcidReader *reader = chardev != NULL ? take_reader(machine, device, error) : NULL;
	PassthruState *state;
	VscHostLink *link;

	if (reader == NULL)
		return false;
	link = vsc_host_link_new(chardev, 1, error);
	if (link == NULL)
		return false;
	state = g_new0(PassthruState, 1);
	state->reader = reader;
	state->link = link;
	device->state = state;
	ccid_reader_set_card(reader, 0, vsc_host_link_card(link, 0));
	return true;
}

static void passthru_free(Device *device)
{
	PassthruState *state = device->state;

	ccid_reader_set_card(state->reader, 0, NULL);
	vsc_host_link_free(state->link);
	g_free(state);
}

static const DeviceDriver passthru_driver = {
	.name = "ccid-card-passthru",
	.help = "card: that of a VSCard peer on a chardev",
	.rank = DEVICE_CARD,
	.options = passthru_options,
	.create = passthru_create,
	.free = passthru_free,
};

/* ---- ccid-card-emulated: a card of libcacard in this process ---- */

typedef struct EmulatedState {
	CcidReader *reader;
	VscCacard *cacard;
	VscCard *card; /* the one libcacard reader in the slot, or NULL */
} EmulatedState;

static const VmcOptDesc emulated_options[] = {
	{ "backend", VMC_OPT_STRING, 0, 0,
	  "nss-emulated (default): the cards of NSS's modules; certificates: cert1 to cert3 of db" },
	{ "cert1", VMC_OPT_STRING, 0, 0, "nickname of a certificate in db" },
	{ "cert2", VMC_OPT_STRING, 0, 0, "nickname of a certificate in db" },
	{ "cert3", VMC_OPT_STRING, 0, 0, "nickname of a certificate in db" },
	{ "db", VMC_OPT_STRING, 0, 0,
	  "folder of the NSS database; NSS's own default if not given" },
	{ "bus", VMC_OPT_STRING, 0, 0, "bus of a reader, ID.0; the first with room if not given" },
	{ "debug", VMC_OPT_NUMBER, 0, 4, "taken as QEMU takes it; use -d ccid,vscard" },
	{ 0 },
};

static void emulated_reader_added(void *user, VscCard *card)
{
	EmulatedState *state = user;

	if (state->card != NULL) {
		g_message("one slot only: the card reader '%s' finds no place",
			  vsc_card_name(card));
		return;
	}
	state->card = card;
	ccid_reader_set_card(state->reader, 0, card);
}

static void emulated_reader_removed(void *user, VscCard *card)
{
	EmulatedState *state = user;

	if (state->card != card)
		return;
	state->card = NULL;
	ccid_reader_set_card(state->reader, 0, NULL);
}

static const VscCacardEvents emulated_events = {
	.reader_added = emulated_reader_added,
	.reader_removed = emulated_reader_removed,
};

/* The libcacard options of backend=certificates. */
static char *certificates_options(Device *device, GError **error)
{
	const char *certs[4] = {
		vmc_opts_get(device->opts, "cert1"),
		vmc_opts_get(device->opts, "cert2"),
		vmc_opts_get(device->opts, "cert3"),
	};

	for (int i = 0; i < 3; i++) {
		if (certs[i] == NULL) {
			vmc_opts_set_error(device->opts, error, VMC_OPTS_ERROR_MISSING,
					   "cert%d is missing; backend=certificates wants cert1=, "
					   "cert2= and cert3=",
					   i + 1);
			return NULL;
		}
	}
	return vsc_cacard_options(vmc_opts_get(device->opts, "db"), certs, error);
}

/* The libcacard options of backend=nss-emulated; "" is libcacard's default. */
static char *nss_options(Device *device, GError **error)
{
	const char *db = vmc_opts_get(device->opts, "db");

	return db != NULL ? vsc_cacard_db(db, error) : g_strdup("");
}

static char *emulated_cacard_options(Device *device, GError **error)
{
	const char *backend = vmc_opts_get(device->opts, "backend");

	if (backend == NULL || strcmp(backend, "nss-emulated") == 0)
		return nss_options(device, error);
	if (strcmp(backend, "certificates") == 0)
		return certificates_options(device, error);
	vmc_opts_set_error(device->opts, error, VMC_OPTS_ERROR_VALUE,
			   "backend '%s' is not known; there are: nss-emulated, certificates",
			   backend);
	return NULL;
}

static void emulated_free(Device *device)
{
	EmulatedState *state = device->state;

	ccid_reader_set_card(state->reader, 0, NULL);
	vsc_cacard_free(state->cacard);
	g_free(state);
}

static bool emulated_create(Machine *machine, Device *device, GError **error)
{
	g_autofree char *options = emulated_cacard_options(device, error);
	CcidReader *reader = options != NULL ? take_reader(machine, device, error) : NULL;
	EmulatedState *state;

	if (reader == NULL)
		return false;
	state = g_new0(EmulatedState, 1);
	state->reader = reader;
	device->state = state;
	state->cacard =
		vsc_cacard_new(options[0] != '\0' ? options : NULL, &emulated_events, state, error);
	if (state->cacard == NULL) {
		g_prefix_error(error, "%s: ", vmc_opts_text(device->opts));
		return false;
	}
	return true;
}

static const DeviceDriver emulated_driver = {
	.name = "ccid-card-emulated",
	.help = "card: a virtual one over an NSS certificate database, in this process",
	.rank = DEVICE_CARD,
	.options = emulated_options,
	.create = emulated_create,
	.free = emulated_free,
};

const DeviceDriver *const *device_drivers(void)
{
	static const DeviceDriver *const drivers[] = {
		&usbredir_driver,       &usb_ccid_driver,
		&passthru_driver,       &emulated_driver,
		&chardev_join_driver,   &virtio_serial_driver,
		&virtserialport_driver, NULL,
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

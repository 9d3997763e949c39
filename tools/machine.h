/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Machine: what a command line or a config file describes: char devices and
 * the devices that stand on them. First everything is added, then the machine
 * starts: char devices, attach points, readers, cards, in that order whatever
 * order they were written in.
 */

#pragma once

#include <gio/gio.h>

#include "ccid/device.h"
#include "vmc/chardev.h"

#define MACHINE_ERROR (machine_error_quark())
GQuark machine_error_quark(void);

typedef enum MachineError {
	MACHINE_ERROR_REFERENCE,  /* a chardev, bus or id that is not there, or is taken */
	MACHINE_ERROR_INCOMPLETE, /* nothing to serve, or a device with no place to go */
} MachineError;

typedef struct Machine Machine;
typedef struct Device Device;
typedef struct DeviceDriver DeviceDriver;

Machine *machine_new(void);
/* Ends devices, then char devices; NULL is fine. */
void machine_free(Machine *machine);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Machine, machine_free)

/* Take `opts` (owned from now on, in any case), a -chardev or -device. False
 * with `error` when ids repeat, the driver is unknown or a key is wrong. */
bool machine_add_chardev(Machine *machine, VmcOpts *opts, GError **error);
bool machine_add_device(Machine *machine, VmcOpts *opts, GError **error);

/* -spice: adds what `text` says, or one key of a config file, to the SPICE
 * server's keys. False with `error`. */
bool machine_add_spice(Machine *machine, const char *text, GError **error);
bool machine_add_spice_key(Machine *machine, const char *key, const char *value, GError **error);

/* -object: takes `opts` (owned from now on, in any case), a secret. */
bool machine_add_object(Machine *machine, VmcOpts *opts, GError **error);

/* -usb: if no attach point is described, machine_start() makes one. */
void machine_set_usb(Machine *machine);

/* Makes and joins all that was added. False with `error`. */
bool machine_start(Machine *machine, GError **error);

/* ---- For the drivers in devices.c and beside it ---- */

/* In which order machine_start() makes them; of one rank those first that a key
 * `slot` leaves no choice. */
typedef enum DeviceRank {
	DEVICE_ATTACH,
	DEVICE_READER,
	DEVICE_CARD,
	DEVICE_SERIAL_BUS,
	DEVICE_JOIN, /* serves without a reader: two char devices joined */
	DEVICE_RANKS,
} DeviceRank;

struct DeviceDriver {
	const char *name;
	const char *help;
	DeviceRank rank;
	const VmcOptDesc *options; /* beside id */
	/* Makes the device's state in device->state. */
	bool (*create)(Machine *machine, Device *device, GError **error);
	void (*free)(Device *device);

	/* Of an attach point: has its bus room for one more USB device? */
	bool (*has_room)(const Device *device);
	/* Puts `usb` (borrowed, until it is detached) on the bus. False with
	 * `error`. */
	bool (*attach)(Device *device, UsbDevice *usb, GError **error);
	void (*detach)(Device *device, UsbDevice *usb);

	/* Of a reader: its slots, at most DEVICE_SLOTS_MAX. */
	unsigned (*slots)(const Device *device);
	/* Puts `card` (borrowed, until another or NULL is put there) in one. */
	void (*set_card)(Device *device, unsigned slot, VscCard *card);
};

#define DEVICE_SLOTS_MAX CCID_SLOTS_MAX

struct Device {
	const DeviceDriver *driver;
	VmcOpts *opts;
	char *id;       /* its own or one made up: usb-ccid#1 */
	void *state;    /* the driver's; NULL before create */
	uint32_t taken; /* of a reader: bit n for slot n, which a card device has */
};

/* Slots of one reader that a card device has. */
typedef struct DeviceSlots {
	Device *reader;
	unsigned n;
	uint8_t slot[DEVICE_SLOTS_MAX];
} DeviceSlots;

/*
 * Takes for the card `device` the slots that its keys `bus` and `slot` name:
 * without `bus` of the first reader with a free one, without `slot` all that
 * are free. False with `error`: there is none, or another card has it.
 */
bool device_take_slots(Machine *machine, Device *device, DeviceSlots *slots, GError **error);

/* Puts `card` in the `i`th of them; NULL: none. */
void device_set_card(const DeviceSlots *slots, unsigned i, VscCard *card);

/* The drivers there are, NULL-terminated. */
const DeviceDriver *const *device_drivers(void);

/* Those of devices-cards.c. */
extern const DeviceDriver passthru_driver, emulated_driver;

/* That of devices-usbip.c. */
extern const DeviceDriver usbip_driver;

/* That of devices-ifd.c. */
extern const DeviceDriver ifd_driver;

/* Those of devices-join.c. */
extern const DeviceDriver chardev_join_driver, virtio_serial_driver, virtserialport_driver;

/* The char device that the key `chardev` of `device` names, which has to be
 * there. NULL with `error`. */
VmcChardev *device_chardev(Machine *machine, Device *device, GError **error);

/* The keys that every device takes beside its driver's; ends with a NULL name. */
extern const VmcOptDesc device_common[];

/* The driver called `name`, or NULL. */
const DeviceDriver *device_driver(const char *name);

/* The char device `id`, given as a key of `opts`. NULL with `error` naming
 * those there are. */
VmcChardev *machine_chardev(Machine *machine, const VmcOpts *opts, const char *id, GError **error);

/* Another device of the same driver, made already, whose key `key` says the
 * same; NULL if there is none. */
Device *machine_sibling(Machine *machine, const Device *device, const char *key);

/* The folder for sockets whose place is not given, made if need be: for root
 * /run/vscard, for others below their XDG_RUNTIME_DIR. NULL with `error`. */
char *machine_runtime_dir(GError **error);

/* Makes that folder if `path`, where a socket shall be, is in it: after a boot it
 * is gone. False with `error`. */
bool machine_make_place(const char *path, GError **error);

/*
 * The device of `rank` whose bus the key `bus` of `opts` names ("ID.0"), or
 * without the key the first for which `has_room` answers true. NULL with
 * `error`; `cure` says then what to add.
 */
Device *machine_bus(Machine *machine, const VmcOpts *opts, DeviceRank rank,
		    bool (*has_room)(const Device *device), const char *cure, GError **error);

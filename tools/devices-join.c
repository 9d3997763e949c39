/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The drivers of -device that join char devices: chardev-join, which takes any
 * two, and virtio-serial with its ports. What is a virtio port in a guest of
 * QEMU is here a UNIX socket, where whoever would open the port connects:
 * spice-vdagentd, for one, with `-s PATH`.
 */

#define G_LOG_DOMAIN "vscardd"

#include <string.h>

#include "tools/machine.h"
#include "vmc/join.h"

/* ---- chardev-join ---- */

static const VmcOptDesc chardev_join_options[] = {
	{ "chardev", VMC_OPT_STRING, 0, 0,
	  "chardev that gets a user, such as a spicevmc: while somebody is on the other" },
	{ "with", VMC_OPT_STRING, 0, 0, "chardev that this user is on" },
	{ 0 },
};

/* Joins for `device`: its state, or NULL with `error`. */
static VmcJoin *join(const Device *device, VmcChardev *offered, VmcChardev *with, GError **error)
{
	VmcJoin *made = vmc_join_new(offered, with, error);

	if (made == NULL)
		g_prefix_error(error, "%s: ", vmc_opts_text(device->opts));
	return made;
}

static bool chardev_join_create(Machine *machine, Device *device, GError **error)
{
	const char *id = vmc_opts_get(device->opts, "with");
	VmcChardev *offered = device_chardev(machine, device, error);
	VmcChardev *with;

	if (offered == NULL)
		return false;
	if (id == NULL) {
		vmc_opts_set_error(device->opts, error, VMC_OPTS_ERROR_MISSING,
				   "with is missing; add with=ID of the -chardev to join '%s' with",
				   vmc_chardev_id(offered));
		return false;
	}
	with = machine_chardev(machine, device->opts, id, error);
	if (with == NULL)
		return false;
	if (with == offered) {
		vmc_opts_set_error(device->opts, error, VMC_OPTS_ERROR_VALUE,
				   "chardev and with are both '%s'; name two that differ", id);
		return false;
	}
	device->state = join(device, offered, with, error);
	return device->state != NULL;
}

static void chardev_join_free(Device *device)
{
	vmc_join_free(device->state);
}

const DeviceDriver chardev_join_driver = {
	.name = "chardev-join",
	.help = "join: what comes from either of two chardevs goes to the other",
	.rank = DEVICE_JOIN,
	.options = chardev_join_options,
	.create = chardev_join_create,
	.free = chardev_join_free,
};

/* ---- virtio-serial: where ports go ---- */

/* As many as QEMU's, whose first is kept for a console. */
#define SERIAL_PORTS 31u

typedef struct SerialBus {
	unsigned ports;
} SerialBus;

static const VmcOptDesc virtio_serial_options[] = {
	{ "max_ports", VMC_OPT_NUMBER, 1, SERIAL_PORTS, "taken as QEMU takes it" },
	{ 0 },
};

static bool virtio_serial_create(Machine *machine, Device *device, GError **error)
{
	(void)machine;
	(void)error;
	device->state = g_new0(SerialBus, 1);
	return true;
}

static void virtio_serial_free(Device *device)
{
	g_free(device->state);
}

const DeviceDriver virtio_serial_driver = {
	.name = "virtio-serial",
	.help = "bus: where virtserialport goes",
	.rank = DEVICE_SERIAL_BUS,
	.options = virtio_serial_options,
	.create = virtio_serial_create,
	.free = virtio_serial_free,
};

/* ---- virtserialport ---- */

typedef struct SerialPort {
	VmcChardev *place; /* the socket that stands for the port */
	VmcJoin *join;
} SerialPort;

static const VmcOptDesc virtserialport_options[] = {
	{ "chardev", VMC_OPT_STRING, 0, 0, "chardev that the port leads to" },
	{ "name", VMC_OPT_STRING, 0, 0, "name of the port, such as com.redhat.spice.0" },
	{ "path", VMC_OPT_STRING, 0, 0,
	  "UNIX socket that is the port; NAME in /run/vscard or XDG_RUNTIME_DIR/vscard" },
	{ "bus", VMC_OPT_STRING, 0, 0,
	  "bus of a virtio-serial, ID.0; the first with room if not given" },
	{ "nr", VMC_OPT_NUMBER, 0, SERIAL_PORTS - 1, "taken as QEMU takes it" },
	{ 0 },
};

static bool serial_bus_has_room(const Device *device)
{
	const SerialBus *bus = device->state;

	return bus->ports < vmc_opts_number(device->opts, "max_ports", SERIAL_PORTS);
}

/* The port's name, which its socket may be called by. */
static const char *port_name(const Device *device, GError **error)
{
	const char *name = vmc_opts_get(device->opts, "name");

	if (name == NULL) {
		vmc_opts_set_error(device->opts, error, VMC_OPTS_ERROR_MISSING,
				   "name is missing; add the port's name, such as "
				   "name=com.redhat.spice.0");
		return NULL;
	}
	if (vmc_opts_has(device->opts, "path"))
		return name;
	if (name[0] == '.' || strchr(name, '/') != NULL) {
		vmc_opts_set_error(device->opts, error, VMC_OPTS_ERROR_VALUE,
				   "'%.80s' cannot be the name of a socket; add path=PATH", name);
		return NULL;
	}
	return name;
}

/* Where the port is; free with g_free(). */
static char *port_path(const Device *device, const char *name, GError **error)
{
	const char *path = vmc_opts_get(device->opts, "path");
	g_autofree char *dir = NULL;

	if (path != NULL) {
		if (machine_make_place(path, error))
			return g_strdup(path);
		g_prefix_error(error, "%s: ", vmc_opts_text(device->opts));
		return NULL;
	}
	dir = machine_runtime_dir(error);
	if (dir == NULL) {
		g_prefix_error(error, "%s: path=PATH; ", vmc_opts_text(device->opts));
		return NULL;
	}
	return g_build_filename(dir, name, NULL);
}

/* The socket at `path`. */
static VmcChardev *make_place(const Device *device, const char *path, GError **error)
{
	g_autoptr(VmcOpts) opts = vmc_opts_new(vmc_opts_text(device->opts));

	if (!vmc_opts_add(opts, "backend", "socket", error) ||
	    !vmc_opts_add(opts, "path", path, error) ||
	    !vmc_opts_add(opts, "server", "on", error) || !vmc_opts_add(opts, "wait", "off", error))
		return NULL;
	return vmc_chardev_new(opts, error);
}

static void virtserialport_free(Device *device)
{
	SerialPort *port = device->state;

	vmc_join_free(port->join);
	vmc_chardev_free(port->place);
	g_free(port);
}

static bool virtserialport_create(Machine *machine, Device *device, GError **error)
{
	VmcChardev *chardev = device_chardev(machine, device, error);
	const char *name = chardev != NULL ? port_name(device, error) : NULL;
	Device *bus;
	SerialPort *port;
	g_autofree char *path = NULL;

	if (name == NULL)
		return false;
	bus = machine_bus(machine, device->opts, DEVICE_SERIAL_BUS, serial_bus_has_room,
			  "add a virtio-serial-bus for it: -device virtio-serial", error);
	path = bus != NULL ? port_path(device, name, error) : NULL;
	if (path == NULL)
		return false;
	((SerialBus *)bus->state)->ports++;
	port = g_new0(SerialPort, 1);
	device->state = port;
	port->place = make_place(device, path, error);
	if (port->place == NULL)
		return false;
	port->join = join(device, chardev, port->place, error);
	if (port->join == NULL)
		return false;
	if (!vmc_opts_has(device->opts, "path"))
		g_message("the port %s is at %s", name, path);
	return true;
}

const DeviceDriver virtserialport_driver = {
	.name = "virtserialport",
	.help = "port: a UNIX socket joined to a chardev, for programs such as spice-vdagentd",
	.rank = DEVICE_JOIN,
	.options = virtserialport_options,
	.create = virtserialport_create,
	.free = virtserialport_free,
};

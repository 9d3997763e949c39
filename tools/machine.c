/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The machine: keeps what was described, checks that names fit together, makes
 * it in order and ends it in the opposite one.
 */

#define G_LOG_DOMAIN "vscardd"

#include "tools/machine.h"

#include <string.h>
#include <unistd.h>

#include "tools/spice.h"

G_DEFINE_QUARK(machine_error_quark, machine_error)

struct Machine {
	GPtrArray *chardev_opts; /* VmcOpts, before the start */
	GPtrArray *chardevs;     /* VmcChardev */
	GPtrArray *devices;      /* Device, as described */
	GPtrArray *secrets;      /* Secret */
	VmcOpts *spice_opts;     /* NULL: no -spice */
	VmcSpiceServer *spice;
	bool usb;
};

const VmcOptDesc device_common[] = {
	{ "driver", VMC_OPT_STRING, 0, 0, NULL }, /* the word before the keys */
	{ "id", VMC_OPT_STRING, 0, 0, "name of this device; its bus is ID.0" },
	{ 0 },
};

static void free_opts(gpointer opts)
{
	vmc_opts_free(opts);
}

static void free_chardev(gpointer chardev)
{
	vmc_chardev_free(chardev);
}

static void free_secret(gpointer secret)
{
	secret_free(secret);
}

static void free_device(gpointer data)
{
	Device *device = data;

	if (device->state != NULL)
		device->driver->free(device);
	vmc_opts_free(device->opts);
	g_free(device->id);
	g_free(device);
}

Machine *machine_new(void)
{
	Machine *machine = g_new0(Machine, 1);

	machine->chardev_opts = g_ptr_array_new_with_free_func(free_opts);
	machine->chardevs = g_ptr_array_new_with_free_func(free_chardev);
	machine->devices = g_ptr_array_new_with_free_func(free_device);
	machine->secrets = g_ptr_array_new_with_free_func(free_secret);
	return machine;
}

/* Cards let go of their readers, readers of their attach points, and those of
 * the char devices: last made, first ended. */
static void end_devices(Machine *machine)
{
	for (int rank = DEVICE_RANKS - 1; rank >= 0; rank--) {
		for (guint i = machine->devices->len; i-- > 0;) {
			Device *device = machine->devices->pdata[i];

			if (device->state != NULL && (int)device->driver->rank == rank) {
				device->driver->free(device);
				device->state = NULL;
			}
		}
	}
}

void machine_free(Machine *machine)
{
	if (machine == NULL)
		return;
	end_devices(machine);
	g_ptr_array_unref(machine->devices);
	g_ptr_array_unref(machine->chardevs);
	vmc_spice_server_free(machine->spice);
	g_ptr_array_unref(machine->chardev_opts);
	g_ptr_array_unref(machine->secrets);
	vmc_opts_free(machine->spice_opts);
	g_free(machine);
}

bool machine_add_chardev(Machine *machine, VmcOpts *opts, GError **error)
{
	const char *id = vmc_opts_get(opts, "id");

	g_ptr_array_add(machine->chardev_opts, opts);
	if (id == NULL) {
		vmc_opts_set_error(
			opts, error, VMC_OPTS_ERROR_MISSING,
			"id is missing; add id=NAME, so that a -device can say chardev=NAME");
		return false;
	}
	for (guint i = 0; i + 1 < machine->chardev_opts->len; i++) {
		if (strcmp(vmc_opts_get(machine->chardev_opts->pdata[i], "id"), id) == 0) {
			vmc_opts_set_error(
				opts, error, VMC_OPTS_ERROR_REPEATED,
				"there is a chardev '%s' already; give this one another id", id);
			return false;
		}
	}
	return true;
}

static Device *find_device(Machine *machine, const char *id)
{
	for (guint i = 0; i < machine->devices->len; i++) {
		Device *device = machine->devices->pdata[i];

		if (strcmp(device->id, id) == 0)
			return device;
	}
	return NULL;
}

/* DRIVER#1, DRIVER#2, ...: ids for those that were given none. No id of a user
 * can have a '#'. */
static char *make_up_id(Machine *machine, const char *driver)
{
	char *id = NULL;
	unsigned n = 0;

	do {
		g_free(id);
		id = g_strdup_printf("%s#%u", driver, ++n);
	} while (find_device(machine, id) != NULL);
	return id;
}

static char *driver_names(void)
{
	GString *names = g_string_new(NULL);

	for (const DeviceDriver *const *driver = device_drivers(); *driver != NULL; driver++)
		g_string_append_printf(names, "%s%s", names->len > 0 ? ", " : "", (*driver)->name);
	return g_string_free(names, FALSE);
}

bool machine_add_device(Machine *machine, VmcOpts *opts, GError **error)
{
	const char *name = vmc_opts_get(opts, "driver");
	const char *id = vmc_opts_get(opts, "id");
	Device *device = g_new0(Device, 1);
	g_autofree char *names = NULL;

	device->opts = opts;
	device->id = id != NULL ? g_strdup(id) : make_up_id(machine, name != NULL ? name : "");
	device->driver = name != NULL ? device_driver(name) : NULL;
	if (device->driver == NULL) {
		names = driver_names();
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_UNKNOWN,
				   "unknown driver '%s'; there are: %s", name != NULL ? name : "",
				   names);
		free_device(device);
		return false;
	}
	if (id != NULL && find_device(machine, id) != NULL) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_REPEATED,
				   "there is a device '%s' already; give this one another id", id);
		free_device(device);
		return false;
	}
	g_ptr_array_add(machine->devices, device);
	return vmc_opts_check(opts, name, device->driver->options, device_common, error);
}

static VmcOpts *spice_opts(Machine *machine)
{
	if (machine->spice_opts == NULL)
		machine->spice_opts = spice_opts_new();
	return machine->spice_opts;
}

bool machine_add_spice(Machine *machine, const char *text, GError **error)
{
	return vmc_opts_merge(spice_opts(machine), text, error);
}

bool machine_add_spice_key(Machine *machine, const char *key, const char *value, GError **error)
{
	return vmc_opts_add(spice_opts(machine), key, value, error);
}

bool machine_add_object(Machine *machine, VmcOpts *opts, GError **error)
{
	Secret *secret = secret_new(opts, error);
	bool ok = secret != NULL;

	for (guint i = 0; ok && i < machine->secrets->len; i++) {
		if (strcmp(secret_id(machine->secrets->pdata[i]), secret_id(secret)) != 0)
			continue;
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_REPEATED,
				   "there is a secret '%s' already; give this one another id",
				   secret_id(secret));
		ok = false;
	}
	if (ok)
		g_ptr_array_add(machine->secrets, secret);
	else
		secret_free(secret);
	vmc_opts_free(opts);
	return ok;
}

void machine_set_usb(Machine *machine)
{
	machine->usb = true;
}

VmcChardev *machine_chardev(Machine *machine, const VmcOpts *opts, const char *id, GError **error)
{
	GString *names = g_string_new(NULL);

	for (guint i = 0; i < machine->chardevs->len; i++) {
		VmcChardev *chardev = machine->chardevs->pdata[i];

		if (strcmp(vmc_chardev_id(chardev), id) == 0) {
			g_string_free(names, TRUE);
			return chardev;
		}
		g_string_append_printf(names, "%s%s", i > 0 ? ", " : "", vmc_chardev_id(chardev));
	}
	g_set_error(error, MACHINE_ERROR, MACHINE_ERROR_REFERENCE,
		    "%s: there is no chardev '%s'; there are: %s", vmc_opts_text(opts), id,
		    names->len > 0 ? names->str : "none; add -chardev socket,id=...");
	g_string_free(names, TRUE);
	return NULL;
}

/* The device whose bus is called `bus`: its id, or its id and ".0". */
static Device *find_bus(Machine *machine, DeviceRank rank, const char *bus)
{
	for (guint i = 0; i < machine->devices->len; i++) {
		Device *device = machine->devices->pdata[i];
		g_autofree char *name = g_strdup_printf("%s.0", device->id);

		if (device->driver->rank == rank &&
		    (strcmp(bus, name) == 0 || strcmp(bus, device->id) == 0))
			return device;
	}
	return NULL;
}

Device *machine_bus(Machine *machine, const VmcOpts *opts, DeviceRank rank,
		    bool (*has_room)(const Device *device), const char *cure, GError **error)
{
	const char *bus = vmc_opts_get(opts, "bus");
	g_autoptr(GString) names = g_string_new(NULL);
	Device *found;

	for (guint i = 0; i < machine->devices->len; i++) {
		Device *device = machine->devices->pdata[i];

		if (device->driver->rank != rank)
			continue;
		if (bus == NULL && has_room(device))
			return device;
		g_string_append_printf(names, "%s%s.0", names->len > 0 ? ", " : "", device->id);
	}
	found = bus != NULL ? find_bus(machine, rank, bus) : NULL;
	if (found != NULL && has_room(found))
		return found;
	if (found != NULL)
		g_set_error(error, MACHINE_ERROR, MACHINE_ERROR_REFERENCE,
			    "%s: bus '%s' is full; %s", vmc_opts_text(opts), bus, cure);
	else if (bus != NULL)
		g_set_error(error, MACHINE_ERROR, MACHINE_ERROR_REFERENCE,
			    "%s: there is no bus '%s' for it; there are: %s", vmc_opts_text(opts),
			    bus, names->len > 0 ? names->str : "none");
	else
		g_set_error(error, MACHINE_ERROR, MACHINE_ERROR_INCOMPLETE, "%s: %s; %s",
			    vmc_opts_text(opts),
			    names->len > 0 ? "every bus it could go to is full" :
					     "there is no bus it could go to",
			    cure);
	return NULL;
}

Device *machine_sibling(Machine *machine, const Device *device, const char *key)
{
	const char *value = vmc_opts_get(device->opts, key);

	for (guint i = 0; i < machine->devices->len; i++) {
		Device *other = machine->devices->pdata[i];

		if (other != device && other->driver == device->driver && other->state != NULL &&
		    g_strcmp0(vmc_opts_get(other->opts, key), value) == 0)
			return other;
	}
	return NULL;
}

static bool has_rank(Machine *machine, DeviceRank rank)
{
	for (guint i = 0; i < machine->devices->len; i++) {
		Device *device = machine->devices->pdata[i];

		if (device->driver->rank == rank)
			return true;
	}
	return false;
}

static char *runtime_dir(void)
{
	return g_build_filename(getuid() == 0 ? "/run" : g_get_user_runtime_dir(), "vscard", NULL);
}

char *machine_runtime_dir(GError **error)
{
	g_autofree char *dir = runtime_dir();

	if (g_mkdir_with_parents(dir, 0700) < 0) {
		g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
			    "cannot make the folder %s: %s; name a place of your own", dir,
			    g_strerror(errno));
		return NULL;
	}
	return g_steal_pointer(&dir);
}

bool machine_make_place(const char *path, GError **error)
{
	g_autofree char *dir = runtime_dir();
	g_autofree char *parent = g_path_get_dirname(path);
	g_autofree char *made = NULL;

	if (strcmp(parent, dir) != 0)
		return true;
	made = machine_runtime_dir(error);
	return made != NULL;
}

/* Where -usb listens. */
static char *default_usb_path(GError **error)
{
	g_autoptr(GError) problem = NULL;
	g_autofree char *dir = machine_runtime_dir(&problem);

	if (dir == NULL) {
		g_set_error(error, problem->domain, problem->code,
			    "-usb: %s: -chardev socket,id=usb0,path=PATH,server=on,wait=off "
			    "-device usbredir,chardev=usb0",
			    problem->message);
		return NULL;
	}
	return g_build_filename(dir, "usb-bus.0.sock", NULL);
}

/* The attach point of -usb: usbredir on a UNIX socket, called usb-bus as the
 * bus that QEMU's -usb makes. */
static bool add_default_usb(Machine *machine, GError **error)
{
	g_autofree char *path = default_usb_path(error);
	g_autoptr(VmcOpts) chardev = vmc_opts_new("-usb's -chardev");
	g_autoptr(VmcOpts) device = vmc_opts_new("-usb's -device");

	if (path == NULL)
		return false;
	if (!vmc_opts_add(chardev, "backend", "socket", error) ||
	    !vmc_opts_add(chardev, "id", "usb-bus", error) ||
	    !vmc_opts_add(chardev, "path", path, error) ||
	    !vmc_opts_add(chardev, "server", "on", error) ||
	    !vmc_opts_add(chardev, "wait", "off", error) ||
	    !vmc_opts_add(device, "driver", "usbredir", error) ||
	    !vmc_opts_add(device, "id", "usb-bus", error) ||
	    !vmc_opts_add(device, "chardev", "usb-bus", error))
		return false;
	g_message("the USB bus of -usb is a usbredir peer at %s", path);
	return machine_add_chardev(machine, g_steal_pointer(&chardev), error) &&
	       machine_add_device(machine, g_steal_pointer(&device), error);
}

/* The SPICE server, if one is asked for or a char device is of it. */
static bool start_spice(Machine *machine, GError **error)
{
	bool wanted = machine->spice_opts != NULL;

	for (guint i = 0; i < machine->chardev_opts->len; i++) {
		const char *backend = vmc_opts_get(machine->chardev_opts->pdata[i], "backend");

		wanted |=
			g_strcmp0(backend, "spicevmc") == 0 || g_strcmp0(backend, "spiceport") == 0;
	}
	if (!wanted)
		return true;
	machine->spice = spice_start(machine->spice_opts, machine->secrets, error);
	return machine->spice != NULL;
}

/* The one that `opts` describe; NULL with `error`. */
static VmcChardev *make_chardev(VmcOpts *opts, GError **error)
{
	const char *path = vmc_opts_get(opts, "path");

	if (path != NULL && vmc_opts_has(opts, "server") && !machine_make_place(path, error)) {
		g_prefix_error(error, "%s: ", vmc_opts_text(opts));
		return NULL;
	}
	return vmc_chardev_new(opts, error);
}

static bool start_chardevs(Machine *machine, GError **error)
{
	for (guint i = 0; i < machine->chardev_opts->len; i++) {
		VmcChardev *chardev = make_chardev(machine->chardev_opts->pdata[i], error);

		if (chardev == NULL)
			return false;
		g_ptr_array_add(machine->chardevs, chardev);
		g_debug("chardev %s: %s", vmc_chardev_id(chardev), vmc_chardev_describe(chardev));
	}
	return true;
}

/* Those of `rank` that a slot was given to, or those that take what is left. */
static bool create_devices(Machine *machine, DeviceRank rank, bool with_slot, GError **error)
{
	for (guint i = 0; i < machine->devices->len; i++) {
		Device *device = machine->devices->pdata[i];

		if (device->driver->rank != rank ||
		    (vmc_opts_get(device->opts, "slot") != NULL) != with_slot)
			continue;
		if (!device->driver->create(machine, device, error))
			return false;
		g_debug("device %s (%s) is made", device->id, device->driver->name);
	}
	return true;
}

bool machine_start(Machine *machine, GError **error)
{
	if (machine->usb && !has_rank(machine, DEVICE_ATTACH) && !add_default_usb(machine, error))
		return false;
	if (!start_spice(machine, error) || !start_chardevs(machine, error))
		return false;
	if (!has_rank(machine, DEVICE_READER) && !has_rank(machine, DEVICE_JOIN)) {
		g_set_error(
			error, MACHINE_ERROR, MACHINE_ERROR_INCOMPLETE,
			"nothing to serve: add a reader, such as -device usb-ccid (see --help)");
		return false;
	}
	for (int rank = 0; rank < DEVICE_RANKS; rank++) {
		if (!create_devices(machine, (DeviceRank)rank, true, error) ||
		    !create_devices(machine, (DeviceRank)rank, false, error))
			return false;
	}
	return true;
}

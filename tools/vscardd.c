/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * vscardd, the appliance: reads a command line spelled like QEMU's, makes the
 * machine it describes, and serves until it is told to end.
 */

#define G_LOG_DOMAIN "vscardd"

#include <glib-unix.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/config.h"
#include "tools/daemon.h"
#include "tools/log.h"
#include "tools/machine.h"
#include "tools/secret.h"
#include "vmc/socket.h"
#include "vmc/spice-server.h"

typedef struct Appliance {
	Machine *machine;
	GMainLoop *loop;
	bool ending; /* a signal said so */
	bool daemonize;
	const char *pidfile;
} Appliance;

/* What an option's handler wants done next. */
typedef enum Next { NEXT_GO_ON, NEXT_EXIT, NEXT_FAIL } Next;

typedef struct Option {
	const char *name;     /* without dashes: -name and --name are the same */
	const char *argument; /* what it takes, or NULL for none */
	const char *help;
	Next (*take)(Appliance *appliance, const char *argument, GError **error);
} Option;

static Next next_if(bool ok)
{
	return ok ? NEXT_GO_ON : NEXT_FAIL;
}

static bool is_help(const char *text)
{
	return strcmp(text, "help") == 0 || strcmp(text, "?") == 0;
}

static Next take_chardev(Appliance *appliance, const char *argument, GError **error)
{
	g_autoptr(VmcOpts) opts = NULL;

	if (is_help(argument))
		return vmc_chardev_help(NULL, error) ? NEXT_EXIT : NEXT_FAIL;
	opts = vmc_opts_parse("-chardev", argument, "backend", error);
	if (opts == NULL)
		return NEXT_FAIL;
	if (vmc_opts_wants_help(opts))
		return vmc_chardev_help(vmc_opts_get(opts, "backend"), error) ? NEXT_EXIT :
										NEXT_FAIL;
	return next_if(machine_add_chardev(appliance->machine, g_steal_pointer(&opts), error));
}

static void print_drivers(void)
{
	printf("Drivers for -device (`-device DRIVER,help` lists the keys of one):\n");
	for (const DeviceDriver *const *driver = device_drivers(); *driver != NULL; driver++)
		printf("  %-20s %s\n", (*driver)->name, (*driver)->help);
}

static Next take_device(Appliance *appliance, const char *argument, GError **error)
{
	g_autoptr(VmcOpts) opts = NULL;
	const DeviceDriver *driver;

	if (is_help(argument)) {
		print_drivers();
		return NEXT_EXIT;
	}
	opts = vmc_opts_parse("-device", argument, "driver", error);
	if (opts == NULL)
		return NEXT_FAIL;
	driver = vmc_opts_wants_help(opts) ? device_driver(vmc_opts_get(opts, "driver")) : NULL;
	if (driver != NULL) {
		printf("%s: %s\n", driver->name, driver->help);
		vmc_opts_print_table(device_common);
		vmc_opts_print_table(driver->options);
		return NEXT_EXIT;
	}
	return next_if(machine_add_device(appliance->machine, g_steal_pointer(&opts), error));
}

static Next take_spice(Appliance *appliance, const char *argument, GError **error)
{
	if (is_help(argument)) {
		printf("Keys of -spice:\n");
		vmc_opts_print_table(vmc_spice_server_options);
		return NEXT_EXIT;
	}
	return next_if(machine_add_spice(appliance->machine, argument, error));
}

static Next take_object(Appliance *appliance, const char *argument, GError **error)
{
	g_autoptr(VmcOpts) opts = NULL;

	if (is_help(argument)) {
		printf("Objects for -object (`-object OBJECT,help` lists the keys of one):\n"
		       "  secret               a password or key, by name\n");
		return NEXT_EXIT;
	}
	opts = vmc_opts_parse("-object", argument, "qom-type", error);
	if (opts == NULL)
		return NEXT_FAIL;
	if (vmc_opts_wants_help(opts)) {
		vmc_opts_print_table(secret_options);
		return NEXT_EXIT;
	}
	return next_if(machine_add_object(appliance->machine, g_steal_pointer(&opts), error));
}

static Next take_usb(Appliance *appliance, const char *argument, GError **error)
{
	(void)argument;
	(void)error;
	machine_set_usb(appliance->machine);
	return NEXT_GO_ON;
}

static Next take_readconfig(Appliance *appliance, const char *argument, GError **error)
{
	return next_if(config_read(appliance->machine, argument, error));
}

static Next take_log_items(Appliance *appliance, const char *argument, GError **error)
{
	(void)appliance;
	if (is_help(argument)) {
		log_print_items();
		return NEXT_EXIT;
	}
	return next_if(log_enable(argument, error));
}

static Next take_log_file(Appliance *appliance, const char *argument, GError **error)
{
	(void)appliance;
	return next_if(log_to_file(argument, error));
}

static Next take_daemonize(Appliance *appliance, const char *argument, GError **error)
{
	(void)argument;
	(void)error;
	appliance->daemonize = true;
	return NEXT_GO_ON;
}

static Next take_pidfile(Appliance *appliance, const char *argument, GError **error)
{
	(void)error;
	appliance->pidfile = argument;
	return NEXT_GO_ON;
}

static Next take_version(Appliance *appliance, const char *argument, GError **error)
{
	(void)appliance;
	(void)argument;
	(void)error;
	printf("vscardd %s\n", VSCARD_RELEASE);
	return NEXT_EXIT;
}

static Next take_help(Appliance *appliance, const char *argument, GError **error);

static const Option options[] = {
	{ "chardev", "BACKEND,id=ID[,KEY=VALUE...]",
	  "add a char device; `-chardev help` lists backends", take_chardev },
	{ "device", "DRIVER[,KEY=VALUE...]", "add a device; `-device help` lists drivers",
	  take_device },
	{ "spice", "KEY=VALUE[,...]", "serve SPICE clients; `-spice help` lists the keys",
	  take_spice },
	{ "object", "secret,id=ID,file=PATH", "a password by name; `-object help` lists objects",
	  take_object },
	{ "usb", NULL, "make an attach point at a default place if none is given", take_usb },
	{ "readconfig", "FILE", "read groups of options from a config file", take_readconfig },
	{ "d", "ITEM[,...]", "log these items; `-d help` lists them", take_log_items },
	{ "D", "FILE", "write the log to a file instead of stderr", take_log_file },
	{ "daemonize", NULL, "go to the background once it serves", take_daemonize },
	{ "pidfile", "FILE", "write the process id to a file, and hold it", take_pidfile },
	{ "h", NULL, "same as --help", take_help },
	{ "help", NULL, "say this and exit", take_help },
	{ "version", NULL, "say the version and exit", take_version },
};

static Next take_help(Appliance *appliance, const char *argument, GError **error)
{
	(void)appliance;
	(void)argument;
	(void)error;
	printf("Usage: vscardd [OPTION...]\n"
	       "Gives a virtual machine or host a USB smartcard reader whose card is elsewhere.\n\n");
	for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
		const char *argument_text = options[i].argument != NULL ? options[i].argument : "";

		printf("  %s%s %s\n        %s\n", strlen(options[i].name) > 1 ? "--" : "-",
		       options[i].name, argument_text, options[i].help);
	}
	printf("\nExample: a reader for QEMU's usb-redir at /run/vm1.usb, for a vscclient on port 2001\n"
	       "  vscardd -chardev socket,id=usb0,path=/run/vm1.usb,server=on,wait=off \\\n"
	       "          -device usbredir,id=bus0,chardev=usb0 -device usb-ccid,bus=bus0.0 \\\n"
	       "          -chardev socket,id=ccid,host=127.0.0.1,port=2001,server=on,wait=off \\\n"
	       "          -device ccid-card-passthru,chardev=ccid\n");
	return NEXT_EXIT;
}

static const Option *find_option(const char *word)
{
	const char *name = word + (g_str_has_prefix(word, "--") ? 2 : 1);

	for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
		if (word[0] == '-' && strcmp(options[i].name, name) == 0)
			return &options[i];
	}
	return NULL;
}

static Next take_options(Appliance *appliance, int argc, char **argv, GError **error)
{
	Next next = NEXT_GO_ON;

	for (int i = 1; i < argc && next == NEXT_GO_ON; i++) {
		const Option *option = find_option(argv[i]);
		const char *argument = NULL;

		if (option == NULL) {
			g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION,
				    "unknown option '%s'; see vscardd --help", argv[i]);
			return NEXT_FAIL;
		}
		if (option->argument != NULL) {
			argument = argv[++i];
			if (argument == NULL) {
				g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
					    "-%s wants an argument: -%s %s", option->name,
					    option->name, option->argument);
				return NEXT_FAIL;
			}
		}
		next = option->take(appliance, argument, error);
	}
	return next;
}

static gboolean on_signal(gpointer user)
{
	Appliance *appliance = user;

	appliance->ending = true;
	vmc_socket_stop_waiting();
	g_main_loop_quit(appliance->loop);
	return G_SOURCE_CONTINUE;
}

/* From the described machine to the end of its service. */
static bool serve(Appliance *appliance, GError **error)
{
	if (appliance->daemonize && !daemon_fork(error))
		return false;
	signal(SIGPIPE, SIG_IGN);
	g_unix_signal_add(SIGTERM, on_signal, appliance);
	g_unix_signal_add(SIGINT, on_signal, appliance);
	log_start();
	if (appliance->pidfile != NULL && !daemon_write_pidfile(appliance->pidfile, error))
		return false;
	if (!machine_start(appliance->machine, error)) {
		/* Ended while a server waited for its client: as was asked. */
		if (appliance->ending)
			g_clear_error(error);
		return appliance->ending;
	}
	daemon_ready();
	g_main_loop_run(appliance->loop);
	g_debug("ending");
	return true;
}

/* The heap's unused end stays this large. The longest messages are 64 KiB and a
 * few are made and freed for each; glibc would give their pages back and take
 * them again every time, which is half of what such a command costs. */
#define HEAP_END_KEPT (512 * 1024)

int main(int argc, char **argv)
{
	Appliance appliance = {
		.machine = machine_new(),
		.loop = g_main_loop_new(NULL, FALSE),
	};
	g_autoptr(GError) error = NULL;
	Next next;

	mallopt(M_TRIM_THRESHOLD, HEAP_END_KEPT);
	next = take_options(&appliance, argc, argv, &error);
	if (next == NEXT_GO_ON && !serve(&appliance, &error))
		next = NEXT_FAIL;
	if (next == NEXT_FAIL)
		fprintf(stderr, "vscardd: %s\n", error->message);
	machine_free(appliance.machine);
	g_main_loop_unref(appliance.loop);
	daemon_remove_pidfile();
	return next == NEXT_FAIL ? 1 : 0;
}

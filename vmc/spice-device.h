/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSpiceDevice: a char device of the SPICE server, in the process that holds
 * it. Each conversation with a client gets a socket pair: one end goes to
 * vscardd, the other is what the library's reads and writes come to. Flow
 * control is the sockets'; what a client leaves half said or half heard ends
 * with its conversation.
 */

#pragma once

#include <glib.h>
#include <spice.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VmcSpiceDevice VmcSpiceDevice;

/*
 * A device called `number` toward vscardd, for `server` (outlives it), of
 * `subtype`: one of the library's, or "port" with `port` as its name. `debug`:
 * 1 says registrations, 2 sizes, 3 partial reads and writes too. A port is there
 * for clients at once, others once their front end is.
 */
VmcSpiceDevice *vmc_spice_device_new(SpiceServer *server, uint32_t number, const char *subtype,
				     const char *port, unsigned debug);
void vmc_spice_device_free(VmcSpiceDevice *device);

uint32_t vmc_spice_device_number(const VmcSpiceDevice *device);

/*
 * The front end came or went. False when the library cannot follow in this
 * process: it registers a smartcard once and keeps what it knows of it.
 */
bool vmc_spice_device_set_front(VmcSpiceDevice *device, bool there);

/* What a device asks of the process around it. */
typedef struct VmcSpiceDeviceEvents {
	/* A conversation begins: `fd` goes to vscardd; the caller closes it. */
	void (*opened)(uint32_t number, int fd);
	/* Only a new process can go on from here. */
	void (*anew)(const char *because);
} VmcSpiceDeviceEvents;

/* For all devices; outlives them. */
void vmc_spice_device_set_events(const VmcSpiceDeviceEvents *events);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSpiceServer: the SPICE server whose channels are the char devices
 * spicevmc and spiceport. libspice-server runs in a process of its own,
 * vscardd-spice: what a client can do to that library ends that process and
 * no more. Its char devices then close, and the process is started anew. One that
 * hangs ends itself after some seconds. It
 * has a picture to show (spice-display.h, vmc_spice_display_add() after
 * spice_server_init()): viewers of spice-gtk do not take up the smartcard
 * channel of a server without a display channel (seen with spicy and
 * remote-viewer of spice-gtk 0.42).
 */

#pragma once

#include "vmc/chardev.h"

/* The keys of -spice; ends with a NULL name. QEMU's words. */
extern const VmcOptDesc vmc_spice_server_options[];

typedef struct VmcSpiceServer VmcSpiceServer;

/*
 * Starts the server as `opts` (checked here; borrowed) say, and makes it the
 * one that spicevmc and spiceport devices made from now on belong to. `password`
 * is that of `password=` or of the secret that `password-secret=` names,
 * NULL: none. `program` is the path of vscardd-spice. Waits until it listens or
 * has said why not: NULL with `error` (VMC_OPTS_ERROR or VMC_CHARDEV_ERROR_OPEN).
 */
VmcSpiceServer *vmc_spice_server_new(VmcOpts *opts, const char *password, const char *program,
				     GError **error);
/* Its char devices are closed for good. */
void vmc_spice_server_free(VmcSpiceServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcSpiceServer, vmc_spice_server_free)

/* ---- For the char devices in spicevmc.c ---- */

/* What the server knows of one of its char devices. */
typedef struct VmcSpiceEnd {
	VmcSpiceServer *server; /* NULL: freed before the device */
	uint32_t number;        /* the server's */
	const char *subtype;
	const char *port; /* NULL if not a port */
	unsigned debug;
	bool front; /* its user is there */
	/* A client is on the channel: `fd` is the stream of this conversation,
	 * the callee's from now on. Its end is end of stream. */
	void (*opened)(struct VmcSpiceEnd *end, int fd);
} VmcSpiceEnd;

/* The server that was made last and is not freed, or NULL. */
VmcSpiceServer *vmc_spice_server_current(void);

/* What a spicevmc may be called, NULL-terminated, owned by the server. */
const char *const *vmc_spice_server_subtypes(const VmcSpiceServer *server);

/* True if a device of `subtype` is there. */
bool vmc_spice_server_has(const VmcSpiceServer *server, const char *subtype);

/* Adds `end` (subtype, port, debug and opened set; borrowed until removed). */
void vmc_spice_server_add(VmcSpiceServer *server, VmcSpiceEnd *end);
void vmc_spice_server_remove(VmcSpiceEnd *end);

/* The user of the device came or went. */
void vmc_spice_server_set_front(VmcSpiceEnd *end, bool there);

/* ---- For vscardd-spice and spice-server.c ---- */

/* Checks `opts` against vmc_spice_server_options and what the keys mean
 * together; `password` as for vmc_spice_server_new(). False with `error`. */
bool vmc_spice_options_check(VmcOpts *opts, const char *password, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSpiceServer: the SPICE server whose channels are the char devices
 * spicevmc and spiceport. libspice-server runs in a process of its own,
 * vscardd-spice: what a client can do to that library ends that process and
 * no more. Its char devices then close, and the process is started anew.
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

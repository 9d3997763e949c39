/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcListener: the listening side of the socket backend: one socket, or one
 * for each address that a host name has. Private to the socket backend.
 */

#pragma once

#include <gio/gio.h>

#include "vmc/socket-config.h"

typedef struct VmcListener VmcListener;

/*
 * Listens as `config` says. NULL with `error` (VMC_CHARDEV_ERROR_OPEN; `opts`
 * is for its text). A host name is looked up here and now, before there is
 * anybody the program could keep waiting. Free with vmc_listener_free(), which
 * also removes the path of a UNIX socket if it is still ours.
 */
VmcListener *vmc_listener_new(const VmcSocketConfig *config, const VmcOpts *opts, GError **error);
void vmc_listener_free(VmcListener *listener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcListener, vmc_listener_free)

/* The sockets, GSocket, non-blocking; owned by the listener. */
const GPtrArray *vmc_listener_sockets(const VmcListener *listener);

/* The TCP port, or 0. */
uint16_t vmc_listener_port(const VmcListener *listener);

/* In words for people, with the real address and port. */
char *vmc_listener_describe(const VmcListener *listener, const VmcSocketConfig *config);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What libspice-server wants of a main loop, on GLib's: watches on descriptors
 * and timers. Only vscardd-spice is linked with that library.
 */

#pragma once

#include <glib.h>
#include <spice.h>

/* The interface, for spice_server_init(); on the default GMainContext. */
extern SpiceCoreInterface vmc_spice_core;

/* The same watch for our own use. While `mask` (SPICE_WATCH_EVENT_*) is 0
 * nothing is told, not even the descriptor's end; an end or an error counts
 * as whatever is asked for. */
SpiceWatch *vmc_spice_watch_new(int fd, int mask, SpiceWatchFunc function, void *user);
void vmc_spice_watch_set(SpiceWatch *watch, int mask);
void vmc_spice_watch_free(SpiceWatch *watch);

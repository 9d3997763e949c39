/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A display with nothing on it. The viewers that people have (spicy,
 * remote-viewer, virt-manager: all on spice-gtk's display widget) take the
 * smartcard channel when they show a display, and not before; so a server that
 * wants their card has to show one.
 */

#pragma once

#include <spice.h>
#include <stdbool.h>

/* Adds the display to `server`, once a process. False if the library does not
 * take it. */
bool vmc_spice_display_add(SpiceServer *server);

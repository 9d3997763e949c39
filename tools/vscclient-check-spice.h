/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The steps of --check up to a SPICE server's door: whether it is there, is who
 * it should be, takes the password, and has a channel of the kind that is
 * wanted. A SPICE server has one client and throws it out for the next: so this
 * one asks for a channel of a session that there is not, which is refused last,
 * after all else was looked at.
 */

#pragma once

#include "tools/vscclient-options.h"

/* Says what is found. DONE: the server would let this client in. */
ClientExit client_check_spice(const ClientOptions *options);

/* What --check ends with for this error. */
ClientExit client_check_spice_exit(VmcSpiceError error);

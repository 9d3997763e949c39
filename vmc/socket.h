/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the socket backend answers beside what every VmcChardev does.
 */

#pragma once

#include "vmc/chardev.h"

/* The TCP port a server listens on: the real one after `port=0` or `to=`. 0
 * for a client, a UNIX socket and any other backend. */
uint16_t vmc_socket_port(const VmcChardev *chardev);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the socket backend answers beside what every VmcChardev does.
 */

#pragma once

#include "vmc/chardev.h"

/* The TCP port a server listens on: the real one after `port=0` or `to=`. 0
 * for a client, a UNIX socket and any other backend. */
uint16_t vmc_socket_port(const VmcChardev *chardev);

/* Makes every vmc_chardev_new() that waits for a client (wait=on), now and
 * from now on, fail instead: the program is to end. */
void vmc_socket_stop_waiting(void);

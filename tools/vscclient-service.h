/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What vscclient tells the service manager that started it, if one did: that it
 * serves, how it is, that it ends.
 */

#pragma once

#include <glib.h>

/* The cards are there, and the host is being connected to. */
void client_service_ready(void);

/* A line for `systemctl status`. */
void client_service_status(const char *format, ...) G_GNUC_PRINTF(1, 2);

void client_service_stopping(void);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscPcscService: where pcscd is to be found, and the wait for it when it is
 * not there. The wait watches the socket's directory, and tries by itself now
 * and then, ever less often, for what no watch can see.
 */

#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct VscPcscService VscPcscService;

/* pcscd's socket, as libpcsclite finds it. */
const char *vsc_pcsc_service_path(void);

VscPcscService *vsc_pcsc_service_new(void);
void vsc_pcsc_service_free(VscPcscService *service);

/* Blocks until it is worth another try. False: vsc_pcsc_service_wake(). */
bool vsc_pcsc_service_wait(VscPcscService *service);

/* The next wait, after pcscd was there, begins anew. */
void vsc_pcsc_service_found(VscPcscService *service);

/* Ends a wait, or the next; from any thread. */
void vsc_pcsc_service_wake(VscPcscService *service);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscPcscClients: is this program the only client of pcscd, and was it all the
 * time? PC/SC does not say, and a card that another program selected something
 * on looks like any other. So it is the machine that is asked, and any doubt is
 * a no.
 */

#pragma once

#include <stdbool.h>
#include <time.h>

/* What is known at one time. */
typedef struct VscPcscClients {
	bool alone;              /* there are no others, and it can be told if one comes */
	struct timespec arrival; /* of the last one, this program's own included */
} VscPcscClients;

/* A context of pcsc-lite's was made, or is about to be released: one client.
 * From any thread. */
void vsc_pcsc_clients_joined(void);
void vsc_pcsc_clients_leaving(void);

/* How it is now. */
VscPcscClients vsc_pcsc_clients_see(void);

/* Was this program alone all the time between `then` and `now`? */
bool vsc_pcsc_clients_none_between(const VscPcscClients *then, const VscPcscClients *now);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcRetry: when to try again what failed. Each wait is twice the one before, so
 * that a server that is away for the night is not knocked at every second, and
 * up to a quarter shorter by chance, so that a hundred clients of one server do
 * not come back in step. A wait goes on while the machine sleeps, and ends early
 * when it wakes or its network changes: then the next attempt may well succeed.
 * Nothing of this polls or needs a bus.
 */

#pragma once

#include <glib.h>

/* No wait is longer, but for a first one that is asked for so. */
#define VMC_RETRY_MAX_SECONDS 60u

/* After a conversation this long, which was a good one, the next wait is a
 * first one. */
#define VMC_RETRY_SETTLED_SECONDS 10

/* When the network changes it does so in several steps: an attempt is made this
 * long after the first. So is one after the machine woke. No more are made
 * early than one in so long. */
#define VMC_RETRY_CHANGE_MS 1000u

typedef struct VmcRetry VmcRetry;

/* Milliseconds to wait before attempt number `attempts` (from 0) when the first
 * waits `base` seconds; 0 if `base` is. */
unsigned vmc_retry_delay(unsigned base, unsigned attempts);

/* `due` is called from the main loop at the end of each wait. */
VmcRetry *vmc_retry_new(void (*due)(void *user), void *user);
void vmc_retry_free(VmcRetry *retry);

/* Waits `ms` from now, in the place of a wait that is under way. */
void vmc_retry_wait(VmcRetry *retry, unsigned ms);
void vmc_retry_stop(VmcRetry *retry);

/* How long a second of vmc_retry_delay() is, in milliseconds: for tests, which
 * have less time. */
extern unsigned vmc_retry_second_ms;

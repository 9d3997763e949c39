/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * IfdOptions: what a reader.conf entry's DEVICENAME says. It is the option
 * string of vscardd's -chardev socket, with keys of the reader beside:
 *
 *   "vscard:socket,host=127.0.0.1,port=2001,server=on,slots=2"
 *
 * pcscd hands it over with its quotes, without which it takes no comma, and
 * wants a colon in what is not the name of a file: so there is a first word.
 */

#pragma once

#include "vmc/opts.h"
#include "vscard/host.h"

/* How long, in seconds, a request may go without a word of its card, if not
 * given: a command may be held back behind a cancelled one for as long as
 * VSC_HOST_HELD_MS, and its own answer takes a moment more. And the most. */
#define IFD_TIMEOUT_DEFAULT (VSC_HOST_HELD_MS / 1000u + 5u)
#define IFD_TIMEOUT_MAX 3600u

typedef struct IfdOptions {
	VmcOpts *chardev; /* for vmc_chardev_new() */
	uint32_t slots;   /* 1 to VSC_HOST_READERS_MAX */
	unsigned timeout; /* seconds, 1 to IFD_TIMEOUT_MAX */
} IfdOptions;

/*
 * Reads `text` into `options`, which is zeroed; `id` names the char device in
 * messages, unless `text` does. A server's wait is off and a client's reconnect
 * 1 if not given. False with `error` (VMC_OPTS_ERROR) when a key or value is
 * wrong, as far as it shows before the device is made. Clear it in either case.
 */
bool ifd_options_read(IfdOptions *options, const char *text, const char *id, GError **error);
void ifd_options_clear(IfdOptions *options);

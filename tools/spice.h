/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * -spice: from its keys, and the secrets they name, to a server; and the server
 * that a spicevmc gets when no -spice was given.
 */

#pragma once

#include "tools/secret.h"
#include "vmc/spice-server.h"

/* An empty set for the keys of -spice, which may be given in parts. */
VmcOpts *spice_opts_new(void);

/* The server of `opts`, or without (NULL) one on a UNIX socket at a default
 * place. `secrets` holds Secret. NULL with `error`. */
VmcSpiceServer *spice_start(VmcOpts *opts, const GPtrArray *secrets, GError **error);

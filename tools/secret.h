/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * -object secret: passwords by name, so that they stand in a file and in no
 * command line. Keys and formats are QEMU's.
 */

#pragma once

#include "vmc/opts.h"

typedef struct Secret Secret;

/* The keys of -object secret; ends with a NULL name. */
extern const VmcOptDesc secret_options[];

/* Reads the secret that `opts`, an -object, describes. NULL with `error`: the
 * object is another, a key is wrong, the file cannot be read. */
Secret *secret_new(VmcOpts *opts, GError **error);
void secret_free(Secret *secret);

const char *secret_id(const Secret *secret);

/* Its text; NULL with `error` if it is none (a NUL or invalid UTF-8 in it).
 * Owned by the secret. */
const char *secret_text(const Secret *secret, GError **error);

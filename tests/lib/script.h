/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscScript: conversations through a machine between a host and a card, as lines
 * of a file in fixtures/transcripts:
 *
 *   WHAT | KIND | STEP STEP ...
 *
 * KIND is what the test makes of it. A step is a letter and bytes in hex: h the
 * host says, f the card gets, c the card says, r the host gets. "*NN." after a
 * byte repeats it, NN times in all. Lines that begin with # are comments.
 */

#pragma once

#include <glib.h>

#include "vmc/span.h"

typedef struct VscScript {
	char *what;
	char *kind;
	char **steps;
} VscScript;

/* All scripts of a file; free with g_ptr_array_unref(). A file or line that is
 * none ends the test. */
GPtrArray *vsc_scripts_read(const char *path);

/* The bytes of a step, or of any hex with repeats (a new array). */
GByteArray *vsc_script_bytes(const char *hex);

/* And back, without repeats; free with g_free(). */
char *vsc_script_hex(VmcSpan bytes);

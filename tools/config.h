/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Config files of -readconfig, as QEMU writes them: groups [chardev "ID"],
 * [device "ID"] or [device], [object "ID"] and [spice], each with lines
 * key = "value"; '#' starts a comment line.
 */

#pragma once

#include "tools/machine.h"

/* Reads `path` (a file of at most 1 MiB) into `machine`. False with `error`,
 * which begins with the file and line. */
bool config_read(Machine *machine, const char *path, GError **error);

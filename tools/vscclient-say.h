/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What vscclient says of itself: a line on stderr, so that stdout has nothing
 * but the answers to commands.
 */

#pragma once

#include <glib.h>

void say(const char *format, ...) G_GNUC_PRINTF(1, 2);

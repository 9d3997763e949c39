/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vscclient --list: says which PC/SC readers there are, and what is in them. */

#pragma once

#include "tools/vscclient-options.h"

/* A line on stdout for each reader that `options` (borrowed; cleared) leave,
 * with its card's ATR. Answers what to end with. */
ClientExit client_list(ClientOptions *options);

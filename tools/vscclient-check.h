/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * vscclient --check: goes the way of a card to the other side step by step, and
 * says of each step in one line how it is, and where it ends why, and what to
 * do. A host that serves another client is left alone.
 */

#pragma once

#include "tools/vscclient-options.h"

/* Checks what `options` ask for. DONE: the card is in the host's reader, or as
 * much of that as can be known without throwing others out. */
ClientExit client_check(const ClientOptions *options);

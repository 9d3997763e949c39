/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The first steps of --check for real cards: what pcscd says of its readers. No
 * card is touched, so nobody who uses one notices.
 */

#pragma once

#include "tools/vscclient-options.h"

/* Says step by step what there is, and at the first thing amiss what to do.
 * DONE: there is a card that can be lent. Blocks, for some seconds at most. */
ClientExit client_check_pcsc(const ClientOptions *options);

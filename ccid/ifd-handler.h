/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The IFD handler's functions as pcsc-lite declares them (ifdhandler.h, API
 * version 3.0), which are all that libifdvscard.so shows; and the codes that
 * PC/SC part 10 leaves to a driver.
 */

#pragma once

#pragma GCC visibility push(default)
#include <ifdhandler.h>
#include <reader.h>
#pragma GCC visibility pop

/* What FEATURE_GET_TLV_PROPERTIES is asked for with: ours to choose, as
 * CM_IOCTL_GET_FEATURE_REQUEST answers it (PC/SC part 10, 2.2). */
#define IFD_CTL_TLV_PROPERTIES SCARD_CTL_CODE(FEATURE_GET_TLV_PROPERTIES)

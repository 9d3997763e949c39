/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcJoin: two char devices joined, the bytes of each sent to the other, with
 * back-pressure both ways. While one side is not open, the other is kept from
 * reading and, once one side closes, the other's conversation is ended too, so
 * that no peer ever sees half of a conversation.
 */

#pragma once

#include "vmc/chardev.h"

typedef struct VmcJoin VmcJoin;

/* Becomes the user of both (borrowed; they outlive it). NULL with `error`
 * (VMC_CHARDEV_ERROR_USER) when one has another. */
VmcJoin *vmc_join_new(VmcChardev *one, VmcChardev *other, GError **error);
void vmc_join_free(VmcJoin *join);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcJoin, vmc_join_free)

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

/*
 * Becomes the user of both (borrowed; they outlive it). To `offered`, who is on
 * `with` is its user: while nobody is, its user is away
 * (vmc_chardev_set_away()), so that a SPICE client sees no agent and no USB
 * device that are not there. NULL with `error` (VMC_CHARDEV_ERROR_USER) when
 * one has another user, or they are the same.
 */
VmcJoin *vmc_join_new(VmcChardev *offered, VmcChardev *with, GError **error);

/* Ends both conversations; the devices are free for other users. NULL is fine.
 * Not from an event of one of them. */
void vmc_join_free(VmcJoin *join);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcJoin, vmc_join_free)

/* For who joins two devices by rules of its own: in `readable` of `from`, brings
 * what there is to `to`, and pauses `from` when that has enough, until the
 * caller resumes it in `writable` of `to`. */
void vmc_join_pump(VmcChardev *from, VmcChardev *to);

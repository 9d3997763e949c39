/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * IfdReaders: which channel and slot a Lun means. pcscd numbers the readers of
 * one driver from 0 in the upper half of a Lun, and the slots of a reader in
 * the lower, and opens each slot by itself: the first makes the channel, the
 * last ends it.
 */

#pragma once

#include "ccid/ifd-channel.h"

/* How many readers there may be: what TAG_IFD_SIMULTANEOUS_ACCESS, one byte,
 * can say. pcscd 1.9 has room for 16. */
#define IFD_READERS_MAX 255u

/* A slot in use by a call; the channel lives until it is put back. */
typedef struct IfdPlace {
	IfdChannel *channel;
	uint32_t slot;
} IfdPlace;

/* The open channel and the slot of `lun`; false when there is none. */
bool ifd_readers_get(unsigned long lun, IfdPlace *place);
void ifd_readers_put(const IfdPlace *place);

/* Opens `lun` as DEVICENAME `name` says; a slot of a reader that is there
 * already has to name the same. False with `error`. */
bool ifd_readers_open(unsigned long lun, const char *name, GError **error);

/* Closes `lun`; false when it was not open. */
bool ifd_readers_close(unsigned long lun);

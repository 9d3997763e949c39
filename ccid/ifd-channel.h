/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * IfdChannel: one reader of the IFD handler: a char device with a VSCard peer,
 * the host link on it, and the slots that show the peer's readers. pcscd's
 * threads ask here and wait; what they ask is done in IfdThread's loop. A slot
 * has one request at a time; it ends with the card's answer, when the card
 * goes, when the slot is closed, or when no word of the card came for as long
 * as the options say. An answer that comes later is nobody's.
 */

#pragma once

#include "ccid/ifd-options.h"
#include "vscard/card.h"

typedef struct IfdChannel IfdChannel;

typedef enum IfdResult {
	IFD_RESULT_OK,
	IFD_RESULT_NO_CARD,     /* there is none, or it was removed meanwhile */
	IFD_RESULT_NOT_POWERED, /* the card has no power */
	IFD_RESULT_MUTE,        /* no answer in time, or the peer says so */
	IFD_RESULT_FAILED,      /* the card, or the way to it, answered nonsense or an error */
	IFD_RESULT_NO_ROOM,     /* the response is longer than the buffer */
	IFD_RESULT_BUSY,        /* another thread has a request on this slot */
	IFD_RESULT_CLOSED,      /* the slot is not open, or was closed meanwhile */
} IfdResult;

typedef enum IfdPower {
	IFD_POWER_COLD, /* power on; a card with power is reset */
	IFD_POWER_WARM, /* warm reset; a card without power gets it */
	IFD_POWER_NONE, /* power off */
} IfdPower;

/* Makes the reader that `options` (borrowed) describe: its device listens or
 * connects from now on. NULL with `error`. Calls that make or shut channels
 * must not overlap. */
IfdChannel *ifd_channel_new(const IfdOptions *options, GError **error);

/* Ends its conversation and what waits in it; not the memory, which others may
 * still hold. Once, before the last unref. */
void ifd_channel_shut(IfdChannel *channel);

IfdChannel *ifd_channel_ref(IfdChannel *channel);
void ifd_channel_unref(IfdChannel *channel);

uint32_t ifd_channel_slots(const IfdChannel *channel);

/* Opens slot `n`; false when there is no such slot or it is open. */
bool ifd_channel_open(IfdChannel *channel, uint32_t n);

/* Closes slot `n`: the card is powered off, threads that wait for it return.
 * False when it was not open. `*last` says whether no slot is open any more. */
bool ifd_channel_close(IfdChannel *channel, uint32_t n, bool *last);

/* Below, `n` is a slot, below ifd_channel_slots(); each may be called from any
 * thread, and is answered for a slot that is not open as for one without card,
 * unless there is an IfdResult that says so. */

/*
 * Powers the card. `atr` has room for VSC_ATR_MAX bytes and may be NULL for
 * IFD_POWER_NONE; `*atr_len` is 0 unless OK brings an ATR.
 */
IfdResult ifd_channel_power(IfdChannel *channel, uint32_t n, IfdPower power, uint8_t *atr,
			    size_t *atr_len);

/* Sends one command APDU; the response goes to `response`, which has room for
 * `*len` bytes; `*len` is then its length, 0 unless OK. */
IfdResult ifd_channel_transmit(IfdChannel *channel, uint32_t n, VmcSpan command, uint8_t *response,
			       size_t *len);

/* Is a card in the slot? A card that was taken out is away until the thread
 * that waits in ifd_channel_wait() had the time to see it, even if another one
 * is there already. */
bool ifd_channel_present(IfdChannel *channel, uint32_t n);

/* There will be a thread that calls ifd_channel_wait(). */
void ifd_channel_will_wait(IfdChannel *channel, uint32_t n);

/* Returns when a card came or went since the last return, when
 * ifd_channel_wake() was called since then, when the slot is closed, or after
 * `ms`. For one thread a slot. */
void ifd_channel_wait(IfdChannel *channel, uint32_t n, int ms);
void ifd_channel_wake(IfdChannel *channel, uint32_t n);

/* Copies the ATR of a powered card to `atr`, VSC_ATR_MAX bytes; 0: none. */
size_t ifd_channel_atr(IfdChannel *channel, uint32_t n, uint8_t *atr);

/* What is known of the reader that the card is in; its name is its type if that
 * is not known. Each text is the caller's to g_free(). */
void ifd_channel_info(IfdChannel *channel, uint32_t n, VscReaderInfo *info);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ClientLender: what the cards are lent to, on a char device: a host of the
 * VSCard protocol, which has the CCID reader, or the CCID reader of this
 * program, which a usbredir host has as a USB device.
 */

#pragma once

#include "vscard/link.h"

typedef struct ClientLender ClientLender;

/* Its events are those of a client link, for either kind. `up`: the host has
 * answered, or was told of the USB device. */
typedef VscClientLinkEvents ClientLenderEvents;

/* Speaks the VSCard protocol on `chardev` (borrowed), which has no user. */
ClientLender *client_lender_new_vscard(VmcChardev *chardev, const ClientLenderEvents *events,
				       void *user);
/* Runs a reader of one slot and offers it on `chardev` as a USB device. */
ClientLender *client_lender_new_usb(VmcChardev *chardev, const ClientLenderEvents *events,
				    void *user);

/* The cards must have been taken back. Not from within its events. */
void client_lender_free(ClientLender *lender);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ClientLender, client_lender_free)

/* The host of the VSCard protocol that it is up with; false: it is not of that
 * kind. */
bool client_lender_host(const ClientLender *lender, VscClientHost *host);

/* How many readers it can lend at a time. */
unsigned client_lender_max(const ClientLender *lender);

/* Lends `card` (borrowed) until it is removed. False if there is no place. */
bool client_lender_add(ClientLender *lender, VscCard *card);
/* Takes back a card that was added. */
void client_lender_remove(ClientLender *lender, VscCard *card);

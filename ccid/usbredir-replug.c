/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A device that becomes another while a peer has it: a host reads descriptors
 * when a device is plugged in, so it is unplugged and plugged in again, as by
 * hand, in the same conversation. What the peer sent before it knew is for the
 * old device: a peer that can say device_disconnect_ack, as every one by
 * libusbredirparser since 0.5, says with it that nothing more of that comes, and
 * until then all is dropped.
 */

#include "ccid/usbredir-private.h"

static void unplug(CcidUsbredir *usbredir)
{
	usbredir->changed = false;
	usbredir->announced = false;
	usbredir->unplugged = true;
	usbredir_sent_forget(usbredir);
	usbredir_transfer_drop_all(usbredir);
	usb_device_reset(usbredir->device);
	usbredirparser_send_device_disconnect(usbredir->parser);
	usbredir_flush(usbredir);
	if (!usbredirparser_peer_has_cap(usbredir->parser, usb_redir_cap_device_disconnect_ack))
		usbredir_plug(usbredir);
}

void usbredir_plug(CcidUsbredir *usbredir)
{
	if (!usbredir->unplugged)
		return;
	usbredir->unplugged = false;
	usbredir_announce(usbredir);
}

void usbredir_replug(CcidUsbredir *usbredir)
{
	if (usbredir->changed && usbredir->announced && !usbredir->broken)
		unplug(usbredir);
}

void usbredir_device_changed(CcidUsbredir *usbredir)
{
	/* One that was not told of the device will be told of what it is then. */
	usbredir->changed = usbredir->announced;
	/* One that is away sees it when it is back. */
	if (!usbredir->silent)
		usbredir_replug(usbredir);
}

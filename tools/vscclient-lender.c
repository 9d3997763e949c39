/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The two kinds of lender behind one small table.
 */

#include "tools/vscclient-lender.h"

#include "ccid/device.h"
#include "ccid/usbredir.h"
#include "vscard/adapter.h"

/* One, as QEMU's usb-ccid and a SPICE smartcard channel have. */
#define USB_SLOTS 1u

typedef struct LenderClass {
	unsigned max;
	bool (*add)(ClientLender *lender, VscCard *card);
	void (*remove)(ClientLender *lender, VscCard *card);
	bool (*host)(const ClientLender *lender, VscClientHost *host); /* NULL: none */
	void (*free)(ClientLender *lender);
} LenderClass;

struct ClientLender {
	const LenderClass *class;
};

void client_lender_free(ClientLender *lender)
{
	if (lender != NULL)
		lender->class->free(lender);
}

unsigned client_lender_max(const ClientLender *lender)
{
	return lender->class->max;
}

bool client_lender_host(const ClientLender *lender, VscClientHost *host)
{
	return lender->class->host != NULL && lender->class->host(lender, host);
}

bool client_lender_add(ClientLender *lender, VscCard *card)
{
	return lender->class->add(lender, card);
}

void client_lender_remove(ClientLender *lender, VscCard *card)
{
	lender->class->remove(lender, card);
}

/* ---- To a host of the VSCard protocol ---- */

typedef struct VscardLender {
	ClientLender lender;
	VscClientLink *link;
} VscardLender;

static bool vscard_add(ClientLender *lender, VscCard *card)
{
	return vsc_client_link_add(((VscardLender *)lender)->link, card);
}

static void vscard_remove(ClientLender *lender, VscCard *card)
{
	vsc_client_link_remove(((VscardLender *)lender)->link, card);
}

static bool vscard_host(const ClientLender *lender, VscClientHost *host)
{
	*host = vsc_client_link_host(((const VscardLender *)lender)->link);
	return true;
}

static void vscard_free(ClientLender *lender)
{
	VscardLender *vscard = (VscardLender *)lender;

	vsc_client_link_free(vscard->link);
	g_free(vscard);
}

static const LenderClass vscard_class = {
	.max = VSC_CLIENT_READERS_MAX,
	.add = vscard_add,
	.remove = vscard_remove,
	.host = vscard_host,
	.free = vscard_free,
};

ClientLender *client_lender_new_vscard(VmcChardev *chardev, const ClientLenderEvents *events,
				       void *user)
{
	VscardLender *vscard = g_new0(VscardLender, 1);
	g_autoptr(GError) error = NULL;

	vscard->lender.class = &vscard_class;
	vscard->link = vsc_client_link_new(chardev, events, user, &error);
	g_assert_no_error(error); /* the device has no other user */
	return &vscard->lender;
}

/* ---- To a usbredir host, in a reader of this program ---- */

typedef struct UsbLender {
	ClientLender lender;
	const ClientLenderEvents *events;
	void *user;
	CcidDevice *ccid;
	CcidUsbredir *usbredir;
	VscCard *card;       /* in the one slot; NULL */
	VscAdapter *adapter; /* around `card`: the reader exchanges APDUs */
	bool announced;      /* the host has the reader */
	bool rejected;
} UsbLender;

/* What the host did with the reader is what it did with the card's. */
static void usb_tell(UsbLender *usb)
{
	if (usb->card == NULL)
		return;
	if (usb->rejected)
		usb->events->refused(usb->user, usb->card, VSC_ERROR_GENERAL);
	else if (usb->announced)
		usb->events->taken(usb->user, usb->card);
}

static void on_connected(void *user)
{
	UsbLender *usb = user;

	usb->events->connected(usb->user);
}

static void on_announced(void *user)
{
	UsbLender *usb = user;

	usb->announced = true;
	usb->events->up(usb->user);
	usb_tell(usb);
}

static void on_rejected(void *user)
{
	UsbLender *usb = user;

	usb->rejected = true;
	usb_tell(usb);
}

static void on_closed(void *user, const GError *reason)
{
	UsbLender *usb = user;

	usb->announced = usb->rejected = false;
	usb->events->down(usb->user, reason);
}

static void on_failed(void *user, const GError *reason, unsigned again)
{
	UsbLender *usb = user;

	usb->events->failed(usb->user, reason, again);
}

static const CcidUsbredirEvents usbredir_events = {
	.connected = on_connected,
	.announced = on_announced,
	.rejected = on_rejected,
	.closed = on_closed,
	.failed = on_failed,
};

static bool usb_add(ClientLender *lender, VscCard *card)
{
	UsbLender *usb = (UsbLender *)lender;

	if (usb->card != NULL)
		return false;
	usb->card = card;
	usb->adapter = vsc_adapter_new(card);
	vsc_adapter_set_host(usb->adapter, VSC_EXCHANGE_APDU);
	ccid_reader_set_card(ccid_device_reader(usb->ccid), 0, vsc_adapter_card(usb->adapter));
	usb_tell(usb);
	return true;
}

/* The slot has let go of the adapter. */
static void usb_release(UsbLender *usb)
{
	if (usb->card != NULL)
		vsc_card_free(vsc_adapter_card(usb->adapter));
	usb->card = NULL;
	usb->adapter = NULL;
}

static void usb_remove(ClientLender *lender, VscCard *card)
{
	UsbLender *usb = (UsbLender *)lender;

	if (usb->card != card)
		return;
	ccid_reader_set_card(ccid_device_reader(usb->ccid), 0, NULL);
	usb_release(usb);
}

static void usb_free(ClientLender *lender)
{
	UsbLender *usb = (UsbLender *)lender;

	ccid_usbredir_free(usb->usbredir);
	ccid_device_free(usb->ccid);
	usb_release(usb);
	g_free(usb);
}

static const LenderClass usb_class = {
	.max = USB_SLOTS,
	.add = usb_add,
	.remove = usb_remove,
	.free = usb_free,
};

ClientLender *client_lender_new_usb(VmcChardev *chardev, const ClientLenderEvents *events,
				    void *user)
{
	UsbLender *usb = g_new0(UsbLender, 1);
	g_autoptr(GError) error = NULL;

	usb->lender.class = &usb_class;
	usb->events = events;
	usb->user = user;
	usb->ccid = ccid_device_new(USB_SLOTS, NULL);
	usb->usbredir = ccid_usbredir_new(chardev, ccid_device_usb(usb->ccid), &error);
	g_assert_no_error(error); /* neither has another user */
	ccid_usbredir_set_events(usb->usbredir, &usbredir_events, usb);
	return &usb->lender;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * UsbipImport: see usbip-import.h. A reply never brings more than its command
 * asked for, whatever the device says: a kernel on the other side has no room
 * for it. Once a command is unlinked there is no other reply to it: a kernel
 * ends the conversation over a reply to what it no longer knows.
 */

#include "ccid/usbip-import.h"

#include <string.h>

/* bmRequestType and bRequest in one, and wValue. */
#define SET_CONFIGURATION 0x0009u /* USB 2.0, table 9-4 */
#define SET_PORT_FEATURE 0x2303u  /* table 11-16 */
#define PORT_RESET 4u             /* table 11-17 */

typedef struct Submit {
	uint64_t id;     /* ours, the device's */
	uint64_t end_id; /* of the empty transfer that follows, 0: none */
	uint32_t seqnum; /* the client's */
	uint32_t packets;
	uint32_t length; /* the most that its reply may bring, or that goes out */
	bool in;
	bool short_not_ok;
	bool configures; /* SET_CONFIGURATION of `configuration` */
	uint8_t configuration;
} Submit;

struct UsbipImport {
	UsbDevice *device;
	uint32_t devid;
	const UsbipImportEvents *events;
	void *user;
	GQueue submits; /* Submit */
	size_t pending; /* bytes on their way out */
	uint64_t last_id;
	uint8_t configuration; /* the one that the client chose */
};

/* ---- What is pending ---- */

static Submit *submit_new(UsbipImport *import, const UsbipCommand *command, uint32_t length)
{
	Submit *submit = g_new0(Submit, 1);

	submit->id = ++import->last_id;
	submit->seqnum = command->seqnum;
	submit->packets = command->packets;
	submit->length = length;
	submit->in = command->in;
	submit->short_not_ok = command->in && (command->flags & USBIP_SHORT_NOT_OK) != 0;
	if (!submit->in)
		import->pending += length;
	g_queue_push_tail(&import->submits, submit);
	return submit;
}

static GList *find_seqnum(UsbipImport *import, uint32_t seqnum)
{
	for (GList *i = import->submits.head; i != NULL; i = i->next)
		if (((Submit *)i->data)->seqnum == seqnum)
			return i;
	return NULL;
}

static GList *find_id(UsbipImport *import, uint64_t id)
{
	for (GList *i = import->submits.head; i != NULL; i = i->next)
		if (((Submit *)i->data)->id == id)
			return i;
	return NULL;
}

/* The submit at `link`, no longer pending and the caller's to free. */
static Submit *take(UsbipImport *import, GList *link)
{
	Submit *submit = link->data;

	g_queue_delete_link(&import->submits, link);
	if (!submit->in)
		import->pending -= submit->length;
	return submit;
}

/* ---- Replies ---- */

static UsbipStatus client_status(UsbStatus status)
{
	switch (status) {
	case USB_STATUS_OK:
		return USBIP_OK;
	case USB_STATUS_STALL:
		return USBIP_STALLED;
	case USB_STATUS_CANCELLED:
		return USBIP_SHUT_DOWN;
	case USB_STATUS_ERROR:
		return USBIP_FAILED;
	}
	g_return_val_if_reached(USBIP_FAILED);
}

/* A transfer that came to nothing, or to no data. */
static void reply_empty(UsbipImport *import, const UsbipCommand *command, UsbipStatus status)
{
	uint8_t header[USBIP_HEADER];

	usbip_put_submitted(header, command->seqnum, status, 0, command->packets);
	import->events->send(import->user, vmc_span(header, sizeof(header)));
}

/* Header and data in one, so that they go in one write. */
static void reply(UsbipImport *import, const Submit *submit, UsbipStatus status, VmcSpan data,
		  uint32_t actual)
{
	size_t len = USBIP_HEADER + data.len;
	g_autofree uint8_t *bytes = g_malloc(len);

	usbip_put_submitted(bytes, submit->seqnum, status, actual, submit->packets);
	if (data.len > 0)
		memcpy(bytes + USBIP_HEADER, data.data, data.len);
	import->events->send(import->user, vmc_span(bytes, len));
	vmc_wipe(bytes, len);
}

static void on_complete(void *user, uint64_t id, UsbStatus status, VmcSpan data, size_t actual)
{
	UsbipImport *import = user;
	GList *link = find_id(import, id);
	g_autofree Submit *submit = link != NULL ? take(import, link) : NULL;
	UsbipStatus told = client_status(status);

	if (submit == NULL)
		return;
	if (submit->in) {
		data.len = MIN(data.len, submit->length);
		actual = data.len;
	} else {
		data.len = 0;
		actual = MIN(actual, submit->length);
	}
	if (status == USB_STATUS_OK && submit->configures)
		import->configuration = submit->configuration;
	if (told == USBIP_OK && submit->short_not_ok && actual < submit->length)
		told = USBIP_SHORT;
	reply(import, submit, told, data, (uint32_t)actual);
}

static void on_changed(void *user)
{
	UsbipImport *import = user;

	import->events->changed(import->user);
}

static const UsbDeviceEvents device_events = { .complete = on_complete, .changed = on_changed };

/* ---- Commands ---- */

/* A request to the hub that the device is in: clients without a hub of their
 * own send it (the kernel's stub_rx.c takes it). It leaves the device as the
 * client configured it, for that is not done again. */
static void reset_port(UsbipImport *import, const UsbipCommand *command)
{
	UsbSetup again = { .request = SET_CONFIGURATION, .value = import->configuration };

	usb_device_reset(import->device);
	if (import->configuration != 0)
		usb_device_control(import->device, ++import->last_id, &again, vmc_span(NULL, 0));
	reply_empty(import, command, USBIP_OK);
}

static void submit_control(UsbipImport *import, const UsbipCommand *command)
{
	const UsbSetup *setup = &command->setup;
	unsigned request = (unsigned)setup->request_type << 8 | setup->request;
	bool in = (setup->request_type & 0x80u) != 0;
	Submit *submit;

	if (request == SET_PORT_FEATURE && setup->value == PORT_RESET) {
		reset_port(import, command);
		return;
	}
	/* With no data stage either direction is said. */
	if ((in != command->in && setup->length > 0) ||
	    (!command->in && command->length != setup->length)) {
		reply_empty(import, command, USBIP_INVALID);
		return;
	}
	submit = submit_new(import, command,
			    command->in ? MIN(command->length, setup->length) : command->length);
	submit->configures = request == SET_CONFIGURATION;
	submit->configuration = (uint8_t)setup->value;
	usb_device_control(import->device, submit->id, setup, command->data);
}

static void submit_out(UsbipImport *import, const UsbipCommand *command,
		       const UsbEndpoint *endpoint)
{
	Submit *submit = submit_new(import, command, command->length);
	uint64_t end_id = 0;

	if ((command->flags & USBIP_ZERO_PACKET) != 0 && endpoint->type == USB_ENDPOINT_BULK &&
	    command->length > 0 && command->length % endpoint->max_packet_size == 0)
		end_id = submit->end_id = ++import->last_id;
	/* May complete, and free `submit`, in the call. */
	usb_device_out(import->device, submit->id, endpoint->address, command->data);
	if (end_id != 0)
		usb_device_out(import->device, end_id, endpoint->address, vmc_span(NULL, 0));
}

static bool submit(UsbipImport *import, const UsbipCommand *command, const char **because)
{
	uint8_t address = (uint8_t)(command->endpoint | (command->in ? 0x80u : 0));
	const UsbEndpoint *endpoint = usb_device_endpoint(import->device, address);

	if (find_seqnum(import, command->seqnum) != NULL) {
		*because = "it used the number of a transfer that is pending";
		return false;
	}
	if (import->submits.length >= USBIP_SUBMITS_MAX ||
	    command->data.len > USBIP_PENDING_MAX - import->pending) {
		*because = "it has more transfers pending than any driver has";
		return false;
	}
	if (command->isochronous)
		reply_empty(import, command, USBIP_INVALID);
	else if (command->endpoint == 0)
		submit_control(import, command);
	else if (endpoint == NULL)
		reply_empty(import, command, USBIP_NO_ENDPOINT);
	else if (command->in)
		usb_device_in(import->device, submit_new(import, command, command->length)->id,
			      address, command->length);
	else
		submit_out(import, command, endpoint);
	return true;
}

/* A transfer that has ended has had its reply: then there is nothing to do. */
static void unlink_submit(UsbipImport *import, const UsbipCommand *command)
{
	GList *link = find_seqnum(import, command->unlink);
	g_autofree Submit *submit = link != NULL ? take(import, link) : NULL;
	uint8_t header[USBIP_HEADER];

	if (submit != NULL) {
		usb_device_cancel(import->device, submit->id);
		if (submit->end_id != 0)
			usb_device_cancel(import->device, submit->end_id);
	}
	usbip_put_unlinked(header, command->seqnum, submit != NULL ? USBIP_UNLINKED : USBIP_OK);
	import->events->send(import->user, vmc_span(header, sizeof(header)));
}

bool usbip_import_command(UsbipImport *import, const UsbipCommand *command, const char **because)
{
	if (command->devid != import->devid) {
		*because = "it sent a command for another device than its own";
		return false;
	}
	if (command->code == USBIP_CMD_SUBMIT)
		return submit(import, command, because);
	unlink_submit(import, command);
	return true;
}

/* ---- Life ---- */

UsbipImport *usbip_import_new(UsbDevice *device, uint32_t devid, const UsbipImportEvents *events,
			      void *user)
{
	UsbipImport *import = g_new0(UsbipImport, 1);

	import->device = device;
	import->devid = devid;
	import->events = events;
	import->user = user;
	g_queue_init(&import->submits);
	if (usb_device_attach(device, &device_events, import))
		return import;
	g_free(import);
	return NULL;
}

void usbip_import_free(UsbipImport *import)
{
	if (import == NULL)
		return;
	usb_device_attach(import->device, NULL, NULL);
	g_queue_clear_full(&import->submits, g_free);
	g_free(import);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The transfers of the usbredir attach point. Each request of the peer becomes
 * a transfer of the device under an id of our own, for the peer's ids may
 * repeat; what the answer needs is kept with it until the device completes it.
 */

#include "ccid/usbredir-private.h"

#include <string.h>

static uint8_t peer_status(UsbStatus status)
{
	switch (status) {
	case USB_STATUS_OK:
		return usb_redir_success;
	case USB_STATUS_STALL:
		return usb_redir_stall;
	case USB_STATUS_CANCELLED:
		return usb_redir_cancelled;
	case USB_STATUS_ERROR:
		return usb_redir_ioerror;
	}
	g_return_val_if_reached(usb_redir_ioerror);
}

void usbredir_flush(CcidUsbredir *usbredir)
{
	if (!usbredir->silent)
		usbredirparser_do_write(usbredir->parser);
}

/* ---- What is pending ---- */

static bool is_data_packet(UsbredirKind kind)
{
	return kind == USBREDIR_CONTROL || kind == USBREDIR_BULK || kind == USBREDIR_INTERRUPT_OUT;
}

UsbredirTransfer *usbredir_transfer_new(CcidUsbredir *usbredir, UsbredirKind kind, uint64_t peer_id)
{
	UsbredirTransfer *transfer = g_new0(UsbredirTransfer, 1);

	transfer->kind = kind;
	transfer->id = ++usbredir->last_id;
	transfer->peer_id = peer_id;
	g_queue_push_tail(&usbredir->transfers, transfer);
	return transfer;
}

static UsbredirTransfer *take_transfer(CcidUsbredir *usbredir, uint64_t id)
{
	for (GList *i = usbredir->transfers.head; i; i = i->next) {
		UsbredirTransfer *transfer = i->data;

		if (transfer->id != id)
			continue;
		g_queue_delete_link(&usbredir->transfers, i);
		return transfer;
	}
	return NULL;
}

UsbredirTransfer *usbredir_transfer_find(CcidUsbredir *usbredir, uint64_t peer_id)
{
	for (GList *i = usbredir->transfers.head; i; i = i->next) {
		UsbredirTransfer *transfer = i->data;

		if (transfer->peer_id == peer_id && is_data_packet(transfer->kind))
			return transfer;
	}
	return NULL;
}

void usbredir_transfer_cancel(CcidUsbredir *usbredir, UsbredirTransfer *transfer)
{
	usb_device_cancel(usbredir->device, transfer->id);
	g_queue_remove(&usbredir->transfers, transfer);
	usbredir_answer(usbredir, transfer, usb_redir_cancelled, vmc_span(NULL, 0), 0);
	g_free(transfer);
}

void usbredir_transfer_drop_all(CcidUsbredir *usbredir)
{
	g_queue_clear_full(&usbredir->transfers, g_free);
	memset(usbredir->receiving, 0, sizeof(usbredir->receiving));
	memset(usbredir->unpolled, 0, sizeof(usbredir->unpolled));
}

/* ---- Interrupt endpoints ---- */

void usbredir_answer_receiving(CcidUsbredir *usbredir, uint64_t id, uint8_t endpoint,
			       uint8_t status)
{
	struct usb_redir_interrupt_receiving_status_header header = { .status = status,
								      .endpoint = endpoint };

	usbredirparser_send_interrupt_receiving_status(usbredir->parser, id, &header);
}

static void poll_interrupt(CcidUsbredir *usbredir, const UsbEndpoint *endpoint)
{
	UsbredirTransfer *transfer;

	/* A peer that does not read gets no more until it does. */
	usbredir->unpolled[usbredir_endpoint_index(endpoint->address)] = usbredir->held;
	if (usbredir->held)
		return;
	transfer = usbredir_transfer_new(usbredir, USBREDIR_INTERRUPT_IN, 0);
	transfer->interrupt.endpoint = endpoint->address;
	usb_device_in(usbredir->device, transfer->id, endpoint->address, endpoint->max_packet_size);
}

void usbredir_receive(CcidUsbredir *usbredir, uint8_t endpoint)
{
	bool *receiving = &usbredir->receiving[usbredir_endpoint_index(endpoint)];

	if (*receiving)
		return;
	*receiving = true;
	poll_interrupt(usbredir, usb_device_endpoint(usbredir->device, endpoint));
}

void usbredir_stop_receiving(CcidUsbredir *usbredir, uint8_t endpoint)
{
	usbredir->receiving[usbredir_endpoint_index(endpoint)] = false;
	usbredir->unpolled[usbredir_endpoint_index(endpoint)] = false;
	for (GList *i = usbredir->transfers.head; i; i = i->next) {
		UsbredirTransfer *transfer = i->data;

		if (transfer->kind != USBREDIR_INTERRUPT_IN ||
		    transfer->interrupt.endpoint != endpoint)
			continue;
		usb_device_cancel(usbredir->device, transfer->id);
		g_queue_delete_link(&usbredir->transfers, i);
		g_free(transfer);
		return;
	}
}

void usbredir_receive_again(CcidUsbredir *usbredir)
{
	const UsbDeviceInfo *info = usb_device_info(usbredir->device);

	for (size_t i = 0; i < info->n_endpoints; i++)
		if (usbredir->unpolled[usbredir_endpoint_index(info->endpoints[i].address)])
			poll_interrupt(usbredir, &info->endpoints[i]);
}

static void interrupt_received(CcidUsbredir *usbredir, UsbredirTransfer *transfer, UsbStatus status,
			       VmcSpan data)
{
	uint8_t endpoint = transfer->interrupt.endpoint;
	bool *receiving = &usbredir->receiving[usbredir_endpoint_index(endpoint)];

	if (status == USB_STATUS_OK) {
		transfer->peer_id = usbredir->interrupt_id++;
		transfer->kind = USBREDIR_INTERRUPT_OUT; /* the same packet either way */
		usbredir_answer(usbredir, transfer, usb_redir_success, data, data.len);
		poll_interrupt(usbredir, usb_device_endpoint(usbredir->device, endpoint));
		return;
	}
	*receiving = false;
	/* After a reset the peer begins anew by itself. */
	if (status != USB_STATUS_CANCELLED)
		usbredir_answer_receiving(usbredir, 0, endpoint, peer_status(status));
}

/* ---- Answers ---- */

static void answer_control(CcidUsbredir *usbredir, UsbredirTransfer *transfer, VmcSpan data)
{
	usbredirparser_send_control_packet(usbredir->parser, transfer->peer_id, &transfer->control,
					   (uint8_t *)data.data, (int)data.len);
}

static void answer_bulk(CcidUsbredir *usbredir, UsbredirTransfer *transfer, VmcSpan data)
{
	usbredirparser_send_bulk_packet(usbredir->parser, transfer->peer_id, &transfer->bulk,
					(uint8_t *)data.data, (int)data.len);
}

static void answer_interrupt(CcidUsbredir *usbredir, UsbredirTransfer *transfer, VmcSpan data)
{
	usbredirparser_send_interrupt_packet(usbredir->parser, transfer->peer_id,
					     &transfer->interrupt, (uint8_t *)data.data,
					     (int)data.len);
}

static void answer_configuration(CcidUsbredir *usbredir, const UsbredirTransfer *transfer,
				 uint8_t status, uint8_t configuration)
{
	struct usb_redir_configuration_status_header header = {
		.status = status,
		.configuration = configuration,
	};

	usbredirparser_send_configuration_status(usbredir->parser, transfer->peer_id, &header);
}

static void answer_alt(CcidUsbredir *usbredir, const UsbredirTransfer *transfer, uint8_t status,
		       uint8_t alt)
{
	struct usb_redir_alt_setting_status_header header = {
		.status = status,
		.interface = transfer->alt.interface,
		.alt = alt,
	};

	usbredirparser_send_alt_setting_status(usbredir->parser, transfer->peer_id, &header);
}

void usbredir_answer(CcidUsbredir *usbredir, UsbredirTransfer *transfer, uint8_t status,
		     VmcSpan data, size_t actual)
{
	uint8_t first = data.len ? data.data[0] : 0;

	if (usbredir_sent_hold(usbredir, transfer, status, data, actual))
		return;
	usbredir_sent_keep(usbredir, transfer, status, data, actual);
	/* The parser takes no pointer, empty or not, where no data belongs. */
	if (data.len == 0)
		data.data = NULL;
	switch (transfer->kind) {
	case USBREDIR_CONTROL:
		transfer->control.status = status;
		transfer->control.length = (uint16_t)actual;
		answer_control(usbredir, transfer, data);
		break;
	case USBREDIR_BULK:
		transfer->bulk.status = status;
		transfer->bulk.length = (uint16_t)actual;
		transfer->bulk.length_high = (uint16_t)(actual >> 16);
		answer_bulk(usbredir, transfer, data);
		break;
	case USBREDIR_INTERRUPT_OUT:
		transfer->interrupt.status = status;
		transfer->interrupt.length = (uint16_t)actual;
		answer_interrupt(usbredir, transfer, data);
		break;
	case USBREDIR_INTERRUPT_IN:
		break; /* answered by packets of their own */
	case USBREDIR_SET_CONFIGURATION:
		answer_configuration(usbredir, transfer, status, transfer->configuration);
		break;
	case USBREDIR_GET_CONFIGURATION:
		answer_configuration(usbredir, transfer, status, first);
		break;
	case USBREDIR_SET_ALT:
		answer_alt(usbredir, transfer, status, transfer->alt.alt);
		break;
	case USBREDIR_GET_ALT:
		answer_alt(usbredir, transfer, status, first);
		break;
	}
}

static void on_complete(void *user, uint64_t id, UsbStatus status, VmcSpan data, size_t actual)
{
	CcidUsbredir *usbredir = user;
	UsbredirTransfer *transfer = take_transfer(usbredir, id);

	if (!transfer || !usbredir->parser)
		return;
	if (transfer->kind == USBREDIR_INTERRUPT_IN)
		interrupt_received(usbredir, transfer, status, data);
	else
		usbredir_answer(usbredir, transfer, peer_status(status), data, actual);
	g_free(transfer);
	usbredir_flush(usbredir);
}

static void on_changed(void *user)
{
	usbredir_device_changed(user);
}

const UsbDeviceEvents usbredir_device_events = { .complete = on_complete, .changed = on_changed };

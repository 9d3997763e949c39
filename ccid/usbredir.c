/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidUsbredir: see usbredir.h. This is the peer's side of it: the char device,
 * the parser, and what the peer's packets ask for.
 *
 * Of libusbredirparser 0.13, with the peer's bytes: it asserts its invariants
 * only when built for that, aborts only when a write function that owns its
 * buffers answers neither all nor nothing, and calls callbacks without a check
 * whether they are set, so all are. It allocates what a packet's header
 * announces, up to 128 MiB, before the bytes are there: see guard().
 */

#include "ccid/usbredir-private.h"

#include <stdlib.h>
#include <string.h>
#include <usbredirfilter.h>

#define VERSION "vscard"

/* The longest packet a peer may send: a transfer of any size a CCID driver
 * has reason for, and far below what would hurt. */
#define PACKET_MAX (1024u * 1024)
/* The parser reads a packet in up to three pieces; the kernel is asked once for
 * as much as this. */
#define READ_AHEAD 4096u

#define CONTROL_PACKET 64u /* endpoint 0, both speeds: USB 2.0, 5.5.3 */

static void free_data(CcidUsbredir *usbredir, uint8_t *data, int len)
{
	if (!data)
		return;
	vmc_wipe(data, (size_t)len);
	usbredirparser_free_packet_data(usbredir->parser, data);
}

/* ---- The device's description ---- */

static void send_interface_info(CcidUsbredir *usbredir, const UsbDeviceInfo *info)
{
	struct usb_redir_interface_info_header header = { .interface_count = 1 };

	header.interface_class[0] = info->interface_class;
	header.interface_subclass[0] = info->interface_subclass;
	header.interface_protocol[0] = info->interface_protocol;
	usbredirparser_send_interface_info(usbredir->parser, &header);
}

static void send_ep_info(CcidUsbredir *usbredir, const UsbDeviceInfo *info)
{
	struct usb_redir_ep_info_header header = { .max_packet_size = { 0 } };

	memset(header.type, usb_redir_type_invalid, sizeof(header.type));
	header.type[usbredir_endpoint_index(0x00)] = usb_redir_type_control;
	header.type[usbredir_endpoint_index(0x80)] = usb_redir_type_control;
	header.max_packet_size[usbredir_endpoint_index(0x00)] = CONTROL_PACKET;
	header.max_packet_size[usbredir_endpoint_index(0x80)] = CONTROL_PACKET;
	for (size_t i = 0; i < info->n_endpoints; i++) {
		const UsbEndpoint *endpoint = &info->endpoints[i];
		unsigned at = usbredir_endpoint_index(endpoint->address);

		header.type[at] = (uint8_t)endpoint->type;
		header.interval[at] = endpoint->interval;
		/* 64 also where the descriptor says 512. QEMU joins the pieces
		 * of a guest's read to one transfer if each is a multiple of
		 * this, and on a full-speed bus they are 64: else every 64
		 * bytes cost it a round trip to here. */
		header.max_packet_size[at] = MIN(endpoint->max_packet_size, USBREDIR_PACKET);
	}
	usbredirparser_send_ep_info(usbredir->parser, &header);
}

/* In this order: QEMU wants to know all of it when device_connect comes. */
void usbredir_announce(CcidUsbredir *usbredir)
{
	const UsbDeviceInfo *info = usb_device_info(usbredir->device);
	struct usb_redir_device_connect_header header = {
		.speed =
			info->speed == USB_SPEED_HIGH ? usb_redir_speed_high : usb_redir_speed_full,
		.device_class = info->device_class,
		.device_subclass = info->device_subclass,
		.device_protocol = info->device_protocol,
		.vendor_id = info->vendor_id,
		.product_id = info->product_id,
		.device_version_bcd = info->release,
	};

	send_interface_info(usbredir, info);
	send_ep_info(usbredir, info);
	usbredirparser_send_device_connect(usbredir->parser, &header);
	usbredir->announced = true;
	usbredir_flush(usbredir);
}

/* ---- The peer's packets ---- */

/* The peer is dropped once the parser is done with what it has. */
static void give_up(CcidUsbredir *usbredir, const char *because)
{
	if (!usbredir->broken)
		usbredir->broken = because;
}

/* Nothing but a hello makes sense before the device was announced; what is for
 * one that was unplugged is for nobody. */
static bool ready(CcidUsbredir *usbredir)
{
	if (usbredir->unplugged)
		return false;
	if (!usbredir->announced)
		give_up(usbredir, "it sent a request before its hello");
	return usbredir->announced && !usbredir->broken;
}

static void on_hello(void *priv, struct usb_redir_hello_header *hello)
{
	CcidUsbredir *usbredir = priv;

	(void)hello;
	usbredir_announce(usbredir);
	if (usbredir->announced && usbredir->events != NULL && usbredir->events->announced != NULL)
		usbredir->events->announced(usbredir->user);
}

static void on_reset(void *priv)
{
	CcidUsbredir *usbredir = priv;

	if (ready(usbredir))
		usb_device_reset(usbredir->device);
}

/* A standard request for a packet that stands for one. The device answers
 * those at once, so they need no limit. */
static void request(CcidUsbredir *usbredir, UsbredirTransfer *transfer, const UsbSetup *setup)
{
	usbredir_sent_obsolete(usbredir, transfer);
	usb_device_control(usbredir->device, transfer->id, setup, vmc_span(NULL, 0));
}

static void on_set_configuration(void *priv, uint64_t id,
				 struct usb_redir_set_configuration_header *header)
{
	CcidUsbredir *usbredir = priv;
	UsbSetup setup = { .request = 0x09, .value = header->configuration };
	UsbredirTransfer *transfer;

	if (!ready(usbredir))
		return;
	transfer = usbredir_transfer_new(usbredir, USBREDIR_SET_CONFIGURATION, id);
	transfer->configuration = header->configuration;
	request(usbredir, transfer, &setup);
}

static void on_get_configuration(void *priv, uint64_t id)
{
	CcidUsbredir *usbredir = priv;
	UsbSetup setup = { .request_type = 0x80, .request = 0x08, .length = 1 };

	if (ready(usbredir))
		request(usbredir, usbredir_transfer_new(usbredir, USBREDIR_GET_CONFIGURATION, id),
			&setup);
}

static void on_set_alt_setting(void *priv, uint64_t id,
			       struct usb_redir_set_alt_setting_header *header)
{
	CcidUsbredir *usbredir = priv;
	UsbSetup setup = {
		.request_type = 0x01,
		.request = 0x0B,
		.value = header->alt,
		.index = header->interface,
	};
	UsbredirTransfer *transfer;

	if (!ready(usbredir))
		return;
	transfer = usbredir_transfer_new(usbredir, USBREDIR_SET_ALT, id);
	transfer->alt = *header;
	request(usbredir, transfer, &setup);
}

static void on_get_alt_setting(void *priv, uint64_t id,
			       struct usb_redir_get_alt_setting_header *header)
{
	CcidUsbredir *usbredir = priv;
	UsbSetup setup = {
		.request_type = 0x81, .request = 0x0A, .index = header->interface, .length = 1
	};
	UsbredirTransfer *transfer;

	if (!ready(usbredir))
		return;
	transfer = usbredir_transfer_new(usbredir, USBREDIR_GET_ALT, id);
	transfer->alt.interface = header->interface;
	request(usbredir, transfer, &setup);
}

static void on_start_interrupt(void *priv, uint64_t id,
			       struct usb_redir_start_interrupt_receiving_header *header)
{
	CcidUsbredir *usbredir = priv;
	const UsbEndpoint *endpoint = usb_device_endpoint(usbredir->device, header->endpoint);
	bool right =
		endpoint && endpoint->type == USB_ENDPOINT_INTERRUPT && (header->endpoint & 0x80u);

	if (!ready(usbredir))
		return;
	usbredir_answer_receiving(usbredir, id, header->endpoint,
				  right ? usb_redir_success : usb_redir_inval);
	if (right)
		usbredir_receive(usbredir, header->endpoint);
}

static void on_stop_interrupt(void *priv, uint64_t id,
			      struct usb_redir_stop_interrupt_receiving_header *header)
{
	CcidUsbredir *usbredir = priv;

	if (!ready(usbredir))
		return;
	usbredir_stop_receiving(usbredir, header->endpoint);
	usbredir_answer_receiving(usbredir, id, header->endpoint, usb_redir_success);
}

/* No endpoint here is isochronous, and the capabilities say nothing of
 * streams or buffered bulk input. */
static void refuse_iso(CcidUsbredir *usbredir, uint64_t id, uint8_t endpoint)
{
	struct usb_redir_iso_stream_status_header status = {
		.status = usb_redir_inval,
		.endpoint = endpoint,
	};

	if (ready(usbredir))
		usbredirparser_send_iso_stream_status(usbredir->parser, id, &status);
}

static void on_start_iso(void *priv, uint64_t id, struct usb_redir_start_iso_stream_header *header)
{
	refuse_iso(priv, id, header->endpoint);
}

static void on_stop_iso(void *priv, uint64_t id, struct usb_redir_stop_iso_stream_header *header)
{
	refuse_iso(priv, id, header->endpoint);
}

static void on_alloc_streams(void *priv, uint64_t id,
			     struct usb_redir_alloc_bulk_streams_header *header)
{
	(void)id;
	(void)header;
	give_up(priv, "it asked for bulk streams, which were not offered");
}

static void on_free_streams(void *priv, uint64_t id,
			    struct usb_redir_free_bulk_streams_header *header)
{
	(void)id;
	(void)header;
	give_up(priv, "it freed bulk streams, which were not offered");
}

static void on_start_bulk(void *priv, uint64_t id,
			  struct usb_redir_start_bulk_receiving_header *header)
{
	(void)id;
	(void)header;
	give_up(priv, "it asked for bulk receiving, which was not offered");
}

static void on_stop_bulk(void *priv, uint64_t id,
			 struct usb_redir_stop_bulk_receiving_header *header)
{
	(void)id;
	(void)header;
	give_up(priv, "it stopped bulk receiving, which was not offered");
}

static void on_cancel(void *priv, uint64_t id)
{
	CcidUsbredir *usbredir = priv;
	UsbredirTransfer *transfer = ready(usbredir) ? usbredir_transfer_find(usbredir, id) : NULL;

	/* One that has ended has had its answer: the two crossed. */
	if (transfer)
		usbredir_transfer_cancel(usbredir, transfer);
}

static void on_filter_reject(void *priv)
{
	CcidUsbredir *usbredir = priv;

	g_message(
		"usbredir: the peer on %s does not want the device (its filter, or no port of its speed)",
		vmc_chardev_describe(usbredir->chardev));
	usb_device_reset(usbredir->device);
	if (usbredir->events != NULL && usbredir->events->rejected != NULL)
		usbredir->events->rejected(usbredir->user);
}

static void on_filter_filter(void *priv, struct usbredirfilter_rule *rules, int count)
{
	(void)priv;
	(void)count;
	/* A peer with a filter rejects by itself what it does not want. */
	free(rules);
}

static void on_disconnect_ack(void *priv)
{
	usbredir_plug(priv);
}

static void on_control(void *priv, uint64_t id, struct usb_redir_control_packet_header *header,
		       uint8_t *data, int len)
{
	CcidUsbredir *usbredir = priv;
	UsbSetup setup = {
		.request_type = header->requesttype,
		.request = header->request,
		.value = header->value,
		.index = header->index,
		.length = header->length,
	};
	UsbredirTransfer refused = { .kind = USBREDIR_CONTROL, .peer_id = id, .control = *header };
	UsbredirTransfer *transfer;

	if (!ready(usbredir)) {
		/* Nobody to answer. */
	} else if (header->endpoint != (header->requesttype & 0x80u)) {
		/* Another endpoint, or against the request's own direction. */
		usbredir_answer(usbredir, &refused, usb_redir_inval, vmc_span(NULL, 0), 0);
	} else {
		transfer = usbredir_transfer_new(usbredir, USBREDIR_CONTROL, id);
		transfer->control = *header;
		usbredir_sent_obsolete(usbredir, transfer);
		usb_device_control(usbredir->device, transfer->id, &setup,
				   vmc_span(data, (size_t)len));
	}
	free_data(usbredir, data, len);
}

static size_t bulk_length(CcidUsbredir *usbredir, const struct usb_redir_bulk_packet_header *header)
{
	size_t high = header->length_high;

	if (!usbredirparser_peer_has_cap(usbredir->parser, usb_redir_cap_32bits_bulk_length))
		return header->length;
	return high << 16 | header->length;
}

/* What keeps a data packet for `address` from becoming a transfer: a usbredir
 * status, success for nothing. */
static uint8_t refusal(CcidUsbredir *usbredir, uint8_t address, UsbEndpointType type)
{
	const UsbEndpoint *endpoint = usb_device_endpoint(usbredir->device, address);

	if (!endpoint || endpoint->type != type)
		return usb_redir_inval;
	if (usbredir->transfers.length >= USBREDIR_TRANSFERS_MAX)
		return usb_redir_ioerror;
	return usb_redir_success;
}

static void on_bulk(void *priv, uint64_t id, struct usb_redir_bulk_packet_header *header,
		    uint8_t *data, int len)
{
	CcidUsbredir *usbredir = priv;
	uint8_t address = header->endpoint, status = refusal(usbredir, address, USB_ENDPOINT_BULK);
	UsbredirTransfer refused = { .kind = USBREDIR_BULK, .peer_id = id, .bulk = *header };
	UsbredirTransfer *transfer;

	if (!ready(usbredir)) {
		/* Nobody to answer. */
	} else if (status != usb_redir_success) {
		usbredir_answer(usbredir, &refused, status, vmc_span(NULL, 0), 0);
	} else {
		transfer = usbredir_transfer_new(usbredir, USBREDIR_BULK, id);
		transfer->bulk = *header;
		usbredir_sent_obsolete(usbredir, transfer);
		if (address & 0x80u)
			usb_device_in(usbredir->device, transfer->id, address,
				      bulk_length(usbredir, header));
		else
			usb_device_out(usbredir->device, transfer->id, address,
				       vmc_span(data, (size_t)len));
	}
	free_data(usbredir, data, len);
}

static void on_iso(void *priv, uint64_t id, struct usb_redir_iso_packet_header *header,
		   uint8_t *data, int len)
{
	refuse_iso(priv, id, header->endpoint);
	free_data(priv, data, len);
}

static void on_interrupt_out(void *priv, uint64_t id,
			     struct usb_redir_interrupt_packet_header *header, uint8_t *data,
			     int len)
{
	CcidUsbredir *usbredir = priv;
	uint8_t address = header->endpoint,
		status = refusal(usbredir, address, USB_ENDPOINT_INTERRUPT);
	UsbredirTransfer refused = { .kind = USBREDIR_INTERRUPT_OUT,
				     .peer_id = id,
				     .interrupt = *header };
	UsbredirTransfer *transfer;

	if (!ready(usbredir)) {
		/* Nobody to answer. */
	} else if (status != usb_redir_success) {
		usbredir_answer(usbredir, &refused, status, vmc_span(NULL, 0), 0);
	} else {
		transfer = usbredir_transfer_new(usbredir, USBREDIR_INTERRUPT_OUT, id);
		transfer->interrupt = *header;
		usbredir_sent_obsolete(usbredir, transfer);
		usb_device_out(usbredir->device, transfer->id, address,
			       vmc_span(data, (size_t)len));
	}
	free_data(usbredir, data, len);
}

/* ---- The parser's I/O ---- */

static void on_log(void *priv, int level, const char *message)
{
	(void)priv;
	if (level <= usbredirparser_warning)
		g_info("%s", message);
	else
		g_debug("%s", message);
}

static size_t header_size(CcidUsbredir *usbredir)
{
	/* Ids have 32 bits until both sides know that both know 64. */
	if (usbredirparser_peer_has_cap(usbredir->parser, usb_redir_cap_64bits_ids))
		return sizeof(struct usb_redir_header);
	return sizeof(struct usb_redir_header) - 4;
}

/*
 * Reads along with the parser, which takes a header, then what it announces,
 * and never some of both: finds a packet that is too long before the parser
 * allocates for it. False when there is one.
 */
static bool guard(CcidUsbredir *usbredir, VmcSpan bytes)
{
	size_t want = header_size(usbredir);
	VmcSpan header, part;
	uint32_t type;

	while (bytes.len > 0) {
		size_t n = usbredir->body_left > 0 ? usbredir->body_left :
						     want - usbredir->header_have;

		n = MIN(n, bytes.len);
		vmc_span_take(&bytes, n, &part);
		if (usbredir->body_left > 0) {
			usbredir->body_left -= (uint32_t)n;
			continue;
		}
		memcpy(usbredir->header + usbredir->header_have, part.data, n);
		usbredir->header_have += n;
		if (usbredir->header_have < want)
			continue;
		usbredir->header_have = 0;
		header = vmc_span(usbredir->header, want);
		if (!vmc_span_u32le(&header, &type) ||
		    !vmc_span_u32le(&header, &usbredir->body_left) ||
		    usbredir->body_left > PACKET_MAX)
			return false;
	}
	return true;
}

/* Up to `count` bytes of input into `data`; a long piece goes there directly. */
static size_t read_ahead(CcidUsbredir *usbredir, uint8_t *data, size_t count)
{
	VmcSpan have = vmc_buf_span(&usbredir->in);
	size_t room;
	uint8_t *to;

	if (have.len == 0 && count >= READ_AHEAD)
		return vmc_chardev_read(usbredir->chardev, data, count);
	if (have.len == 0) {
		to = vmc_buf_room(&usbredir->in, READ_AHEAD, &room);
		vmc_buf_added(&usbredir->in, vmc_chardev_read(usbredir->chardev, to, room));
		have = vmc_buf_span(&usbredir->in);
	}
	count = MIN(count, have.len);
	if (count > 0)
		memcpy(data, have.data, count);
	vmc_buf_consume(&usbredir->in, count);
	return count;
}

static int on_read(void *priv, uint8_t *data, int count)
{
	CcidUsbredir *usbredir = priv;
	size_t n;

	if (usbredir->broken || usbredir->held || count <= 0)
		return 0;
	n = read_ahead(usbredir, data, (size_t)count);
	if (guard(usbredir, vmc_span(data, n)))
		return (int)n;
	give_up(usbredir, "it announced a packet longer than any transfer to a reader");
	return 0;
}

/* Owns `data`, whatever holds a response is wiped here; all or nothing. */
static int on_write(void *priv, uint8_t *data, int count)
{
	CcidUsbredir *usbredir = priv;
	VmcWrite result = VMC_WRITE_CLOSED;

	if (!usbredir->closing)
		result = vmc_chardev_write(usbredir->chardev, vmc_span(data, (size_t)count));
	if (result == VMC_WRITE_HIGH || result == VMC_WRITE_FULL) {
		usbredir->held = true;
		vmc_chardev_pause(usbredir->chardev, true);
	}
	if (result == VMC_WRITE_FULL)
		return 0;
	vmc_wipe(data, (size_t)count);
	usbredirparser_free_write_buffer(usbredir->parser, data);
	return count;
}

static void set_callbacks(struct usbredirparser *parser, CcidUsbredir *usbredir)
{
	parser->priv = usbredir;
	parser->log_func = on_log;
	parser->read_func = on_read;
	parser->write_func = on_write;
	parser->hello_func = on_hello;
	parser->reset_func = on_reset;
	parser->set_configuration_func = on_set_configuration;
	parser->get_configuration_func = on_get_configuration;
	parser->set_alt_setting_func = on_set_alt_setting;
	parser->get_alt_setting_func = on_get_alt_setting;
	parser->start_iso_stream_func = on_start_iso;
	parser->stop_iso_stream_func = on_stop_iso;
	parser->start_interrupt_receiving_func = on_start_interrupt;
	parser->stop_interrupt_receiving_func = on_stop_interrupt;
	parser->alloc_bulk_streams_func = on_alloc_streams;
	parser->free_bulk_streams_func = on_free_streams;
	parser->start_bulk_receiving_func = on_start_bulk;
	parser->stop_bulk_receiving_func = on_stop_bulk;
	parser->cancel_data_packet_func = on_cancel;
	parser->filter_reject_func = on_filter_reject;
	parser->filter_filter_func = on_filter_filter;
	parser->device_disconnect_ack_func = on_disconnect_ack;
	parser->control_packet_func = on_control;
	parser->bulk_packet_func = on_bulk;
	parser->iso_packet_func = on_iso;
	parser->interrupt_packet_func = on_interrupt_out;
}

/* ---- The peer ---- */

/* A conversation begins: our hello goes out. */
static void begin(CcidUsbredir *usbredir)
{
	uint32_t caps[USB_REDIR_CAPS_SIZE] = { 0 };

	usbredir->parser = usbredirparser_create();
	g_return_if_fail(usbredir->parser != NULL);
	usbredir->peer = USBREDIR_PRESENT;
	set_callbacks(usbredir->parser, usbredir);
	/* Without the second and the last two, QEMU's xHCI refuses the device. */
	usbredirparser_caps_set_cap(caps, usb_redir_cap_connect_device_version);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_ep_info_max_packet_size);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_filter);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_device_disconnect_ack);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_64bits_ids);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_32bits_bulk_length);
	usbredirparser_init(usbredir->parser, VERSION, caps, USB_REDIR_CAPS_SIZE,
			    usbredirparser_fl_usb_host | usbredirparser_fl_write_cb_owns_buffer);
	usbredir_flush(usbredir);
}

static void on_opened(void *user)
{
	CcidUsbredir *usbredir = user;

	if (usbredir->peer == USBREDIR_AWAY)
		usbredir_peer_returns(usbredir);
	else
		begin(usbredir);
	if (usbredir->events != NULL && usbredir->events->connected != NULL)
		usbredir->events->connected(usbredir->user);
}

void usbredir_forget_peer(CcidUsbredir *usbredir)
{
	struct usbredirparser *parser = g_steal_pointer(&usbredir->parser);

	if (!parser)
		return;
	usbredir_stop_waiting(usbredir);
	usbredir_sent_forget(usbredir);
	usbredir->peer = USBREDIR_NOBODY;
	usbredir_transfer_drop_all(usbredir);
	usb_device_reset(usbredir->device);
	/* What was not sent is wiped on its way to nowhere. */
	usbredir->parser = parser;
	usbredir->closing = true;
	usbredir_flush(usbredir);
	usbredir->parser = NULL;
	usbredirparser_destroy(parser);
	usbredir->closing = false;
	usbredir->announced = false;
	usbredir->unplugged = false;
	usbredir->changed = false;
	usbredir->broken = NULL;
	usbredir->header_have = 0;
	usbredir->body_left = 0;
	vmc_buf_clear(&usbredir->in);
	usbredir->held = false;
}

/* Only from a conversation that went well can a peer go on. */
static bool may_return(const CcidUsbredir *usbredir)
{
	return usbredir->announced && usbredir->broken == NULL &&
	       vmc_buf_span(&usbredir->in).len == 0;
}

static void on_closed(void *user, const GError *reason)
{
	CcidUsbredir *usbredir = user;

	g_debug("usbredir: the peer is gone: %s", reason ? reason->message : "");
	if (may_return(usbredir))
		usbredir_peer_left(usbredir, !g_error_matches(reason, VMC_CHARDEV_ERROR,
							      VMC_CHARDEV_ERROR_HANGUP));
	else
		usbredir_forget_peer(usbredir);
	vmc_chardev_pause(usbredir->chardev, false);
	if (usbredir->events != NULL && usbredir->events->closed != NULL)
		usbredir->events->closed(usbredir->user, reason);
}

static void on_failed(void *user, const GError *reason, unsigned again)
{
	CcidUsbredir *usbredir = user;

	if (usbredir->events != NULL && usbredir->events->failed != NULL)
		usbredir->events->failed(usbredir->user, reason, again);
}

static void on_readable(void *user)
{
	CcidUsbredir *usbredir = user;
	g_autofree char *because = NULL;

	if (usbredir->peer == USBREDIR_RETURNING && !usbredir_peer_tells(usbredir))
		return;
	if (usbredir->peer == USBREDIR_NOBODY)
		begin(usbredir);
	if (usbredir->broken)
		return;
	if (usbredirparser_do_read(usbredir->parser) == usbredirparser_read_parse_error)
		give_up(usbredir, "it sent a packet that is none");
	usbredir_flush(usbredir);
	if (!usbredir->broken)
		return;
	g_message("usbredir: dropping the peer on %s: %s", vmc_chardev_describe(usbredir->chardev),
		  usbredir->broken);
	because = g_strdup_printf("not a usbredir peer: %s", usbredir->broken);
	vmc_chardev_disconnect(usbredir->chardev, false, because);
}

static void on_writable(void *user)
{
	CcidUsbredir *usbredir = user;

	if (usbredir->silent)
		return;
	usbredir->held = false;
	if (!usbredir->parser)
		return;
	usbredir_flush(usbredir);
	usbredir_receive_again(usbredir);
	if (usbredir->held)
		return;
	vmc_chardev_pause(usbredir->chardev, false);
	on_readable(usbredir); /* what was read before */
}

static const VmcChardevEvents chardev_events = {
	.opened = on_opened,
	.closed = on_closed,
	.readable = on_readable,
	.writable = on_writable,
	.failed = on_failed,
};

/* ---- Life ---- */

CcidUsbredir *ccid_usbredir_new(VmcChardev *chardev, UsbDevice *device, GError **error)
{
	CcidUsbredir *usbredir = g_new0(CcidUsbredir, 1);

	usbredir->chardev = chardev;
	usbredir->device = device;
	g_queue_init(&usbredir->transfers);
	g_queue_init(&usbredir->sent);
	vmc_buf_init(&usbredir->in, READ_AHEAD);
	usbredir_return_init(usbredir);
	if (!usb_device_attach(device, &usbredir_device_events, usbredir)) {
		g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
			    "the device is attached elsewhere already");
		g_free(usbredir);
		return NULL;
	}
	if (!vmc_chardev_set_user(chardev, &chardev_events, usbredir)) {
		usb_device_attach(device, NULL, NULL);
		vmc_chardev_set_in_use_error(chardev, error);
		g_free(usbredir);
		return NULL;
	}
	return usbredir;
}

void ccid_usbredir_free(CcidUsbredir *usbredir)
{
	if (!usbredir)
		return;
	vmc_chardev_set_user(usbredir->chardev, NULL, NULL);
	usbredir_forget_peer(usbredir);
	usb_device_attach(usbredir->device, NULL, NULL);
	g_free(usbredir);
}

void ccid_usbredir_set_events(CcidUsbredir *usbredir, const CcidUsbredirEvents *events, void *user)
{
	usbredir->events = events;
	usbredir->user = user;
}

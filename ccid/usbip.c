/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* USB/IP's bytes: see usbip.h. */

#include "ccid/usbip.h"

#include <string.h>

/* usb_device_speed of the kernel's include/uapi/linux/usb/ch9.h. */
#define SPEED_FULL 2u
#define SPEED_HIGH 3u

#define DIRECTION_OUT 0u
#define DIRECTION_IN 1u

/* ---- Operations ---- */

/* A text in a field that it need not fill. */
static VmcSpan until_zero(VmcSpan field)
{
	const uint8_t *end = field.len > 0 ? memchr(field.data, 0, field.len) : NULL;

	return vmc_span(field.data, end != NULL ? (size_t)(end - field.data) : field.len);
}

UsbipResult usbip_get_op(VmcSpan *in, UsbipOp *op)
{
	VmcSpan rest = *in, busid;
	uint32_t status; /* of a request: nothing */

	*op = (UsbipOp){ .code = 0 };
	if (!vmc_span_u16be(&rest, &op->version) || !vmc_span_u16be(&rest, &op->code) ||
	    !vmc_span_u32be(&rest, &status))
		return USBIP_RESULT_NEED_MORE;
	if (op->version == USBIP_VERSION && op->code == USBIP_OP_REQ_IMPORT) {
		if (!vmc_span_take(&rest, USBIP_BUSID, &busid))
			return USBIP_RESULT_NEED_MORE;
		op->busid = until_zero(busid);
	}
	*in = rest;
	return USBIP_RESULT_OK;
}

void usbip_put_op(uint8_t to[USBIP_OP_HEADER], uint16_t code, UsbipOpStatus status)
{
	vmc_put_u16be(to, USBIP_VERSION);
	vmc_put_u16be(to + 2, code);
	vmc_put_u32be(to + 4, (uint32_t)status);
}

/* As much of `text` as leaves room for the zero byte; the rest is zero. */
static void put_text(uint8_t *to, size_t size, const char *text)
{
	memset(to, 0, size);
	memcpy(to, text, strnlen(text, size - 1));
}

void usbip_put_device(uint8_t to[USBIP_DEVICE], const UsbipExport *export)
{
	const UsbDeviceInfo *info = export->info;

	put_text(to, USBIP_PATH, export->path);
	put_text(to + 256, USBIP_BUSID, export->busid);
	vmc_put_u32be(to + 288, export->busnum);
	vmc_put_u32be(to + 292, export->devnum);
	vmc_put_u32be(to + 296, info->speed == USB_SPEED_HIGH ? SPEED_HIGH : SPEED_FULL);
	vmc_put_u16be(to + 300, info->vendor_id);
	vmc_put_u16be(to + 302, info->product_id);
	vmc_put_u16be(to + 304, info->release);
	to[306] = info->device_class;
	to[307] = info->device_subclass;
	to[308] = info->device_protocol;
	to[309] = info->configuration;
	to[310] = 1; /* bNumConfigurations */
	to[311] = 1; /* bNumInterfaces */
}

void usbip_put_interface(uint8_t to[USBIP_INTERFACE], const UsbDeviceInfo *info)
{
	to[0] = info->interface_class;
	to[1] = info->interface_subclass;
	to[2] = info->interface_protocol;
	to[3] = 0;
}

/* ---- Commands ---- */

static UsbipResult bad(const char **because, const char *text)
{
	*because = text;
	return USBIP_RESULT_BAD;
}

static UsbSetup get_setup(VmcSpan *from)
{
	UsbSetup setup = { .length = 0 };

	/* The bytes are there: they are of a header. */
	(void)(vmc_span_u8(from, &setup.request_type) && vmc_span_u8(from, &setup.request) &&
	       vmc_span_u16le(from, &setup.value) && vmc_span_u16le(from, &setup.index) &&
	       vmc_span_u16le(from, &setup.length));
	return setup;
}

/* The rest of CMD_SUBMIT after its basic header: `header` the fixed part, `in`
 * what follows it. */
static UsbipResult get_submit(VmcSpan header, VmcSpan *in, uint32_t direction, uint32_t endpoint,
			      UsbipCommand *command, const char **because)
{
	VmcSpan descriptors;
	uint32_t start_frame, interval;
	size_t out;

	if (!vmc_span_u32be(&header, &command->flags) ||
	    !vmc_span_u32be(&header, &command->length) || !vmc_span_u32be(&header, &start_frame) ||
	    !vmc_span_u32be(&header, &command->packets) || !vmc_span_u32be(&header, &interval))
		return USBIP_RESULT_NEED_MORE;
	command->setup = get_setup(&header);
	if (direction > DIRECTION_IN)
		return bad(because, "it sent a transfer with a direction that is none");
	if (endpoint > 15)
		return bad(because, "it sent a transfer for an endpoint above 15");
	if (command->length > INT32_MAX)
		return bad(because, "it sent a transfer of a negative length");
	command->in = direction == DIRECTION_IN;
	command->endpoint = (uint8_t)endpoint;
	command->isochronous = command->packets != 0 && command->packets != USBIP_NO_PACKETS;
	if (command->isochronous && command->packets > USBIP_PACKETS_MAX)
		return bad(because, "it sent a transfer of too many isochronous packets");
	out = command->in ? 0 : command->length;
	if (out > USBIP_OUT_MAX)
		return bad(because, "it announced more data than any transfer to a reader has");
	if (!vmc_span_take(in, out, &command->data) ||
	    (command->isochronous &&
	     !vmc_span_take(in, command->packets * USBIP_PACKET, &descriptors)))
		return USBIP_RESULT_NEED_MORE;
	return USBIP_RESULT_OK;
}

UsbipResult usbip_get_command(VmcSpan *in, UsbipCommand *command, const char **because)
{
	VmcSpan rest = *in, header;
	uint32_t code, direction, endpoint;
	UsbipResult result;

	*command = (UsbipCommand){ .seqnum = 0 };
	if (!vmc_span_take(&rest, USBIP_HEADER, &header) || !vmc_span_u32be(&header, &code) ||
	    !vmc_span_u32be(&header, &command->seqnum) ||
	    !vmc_span_u32be(&header, &command->devid) || !vmc_span_u32be(&header, &direction) ||
	    !vmc_span_u32be(&header, &endpoint))
		return USBIP_RESULT_NEED_MORE;
	command->code = (UsbipCommandCode)code;
	switch (code) {
	case USBIP_CMD_SUBMIT:
		result = get_submit(header, &rest, direction, endpoint, command, because);
		break;
	case USBIP_CMD_UNLINK:
		/* Direction and endpoint say nothing here. */
		result = vmc_span_u32be(&header, &command->unlink) ? USBIP_RESULT_OK :
								     USBIP_RESULT_NEED_MORE;
		break;
	default:
		return bad(because, "it sent a command that is none");
	}
	if (result == USBIP_RESULT_OK)
		*in = rest;
	return result;
}

/* A reply's device id, direction and endpoint are 0. */
static void put_reply(uint8_t to[USBIP_HEADER], UsbipCommandCode code, uint32_t seqnum,
		      UsbipStatus status)
{
	memset(to, 0, USBIP_HEADER);
	vmc_put_u32be(to, (uint32_t)code);
	vmc_put_u32be(to + 4, seqnum);
	vmc_put_u32be(to + 20, (uint32_t)status);
}

void usbip_put_submitted(uint8_t to[USBIP_HEADER], uint32_t seqnum, UsbipStatus status,
			 uint32_t actual, uint32_t packets)
{
	put_reply(to, USBIP_RET_SUBMIT, seqnum, status);
	vmc_put_u32be(to + 24, actual);
	/* None went, however many there were to be: a peer reads as many
	 * descriptors as this says. */
	vmc_put_u32be(to + 32, packets == USBIP_NO_PACKETS ? USBIP_NO_PACKETS : 0);
}

void usbip_put_unlinked(uint8_t to[USBIP_HEADER], uint32_t seqnum, UsbipStatus status)
{
	put_reply(to, USBIP_RET_UNLINK, seqnum, status);
}

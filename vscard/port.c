/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The way between a char device and a session. The input buffer holds one
 * message of the largest size; while output waits above its mark nothing is
 * read, so a peer that asks and does not listen is the one that waits.
 */

#include "vscard/port.h"

#include <string.h>

#include "vscard/link.h"
#include "vscard/request.h"

/* How much is read at a time: several short messages, a piece of a long one. */
#define READ_SIZE 8192u

/* Reads in a row before the loop turns to others: a peer that floods gets its
 * share, no more. */
#define READS_MAX 16u

/* Messages up to this size are put together without an allocation. */
#define SMALL_MESSAGE 512u

_Static_assert(VSC_WIRE_MESSAGE_MAX <= VMC_CHARDEV_HIGH_MARK,
	       "a message fits into the output queue whatever was queued below its mark");

/* ---- Trace ---- */

static int trace_level;
static VscTrace trace_sink;

void vsc_link_set_trace(int level, VscTrace trace)
{
	trace_level = level;
	trace_sink = trace;
}

static bool traces(int level)
{
	return trace_sink != NULL && trace_level >= level;
}

void vsc_port_trace(const VscPort *port, int level, const char *format, ...)
{
	g_autofree char *text = NULL;
	g_autofree char *line = NULL;
	va_list args;

	if (!traces(level))
		return;
	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	line = g_strdup_printf("%s: %s", vmc_chardev_id(port->chardev), text);
	trace_sink(line);
}

/* Never data: of commands CLA INS P1 P2, of responses nothing but lengths. The
 * command in what is sent by the side that has commands, if any. */
static VmcSpan command_in(const VscMessage *message)
{
	VscRequest request;

	if (message->type == VSC_TYPE_APDU)
		return message->payload;
	if (message->type == VSC_TYPE_REQUEST && vsc_request_get(message->payload, &request) &&
	    request.what == VSC_REQUEST_TRANSMIT)
		return request.data;
	return vmc_span(NULL, 0);
}

/* What a message of ours is about: ", request 5, reset". */
static char *describe_request(const VscMessage *message)
{
	VscWireToken token;
	VscRequest request;

	if (message->type < VSC_TYPE_REQUEST || message->type == VSC_TYPE_READER_INFO)
		return g_strdup("");
	if (vsc_request_get_token(message->payload, &token))
		return g_strdup_printf(", request %u", token);
	if (!vsc_request_get(message->payload, &request))
		return g_strdup("");
	if (message->type == VSC_TYPE_REQUEST && vsc_request_name(request.what) != NULL)
		return g_strdup_printf(", request %u, %s", request.token,
				       vsc_request_name(request.what));
	return g_strdup_printf(", request %u, code %u", request.token, request.what);
}

static void trace_message(const VscPort *port, bool out, const VscMessage *message)
{
	const char *name = vsc_type_name(message->type);
	g_autofree char *number = NULL;
	g_autofree char *request = NULL;
	char header[16] = "";
	VmcSpan command;

	if (!traces(2))
		return;
	if (name == NULL)
		name = number = g_strdup_printf("type 0x%x", message->type);
	request = describe_request(message);
	command = out == port->is_host ? command_in(message) : vmc_span(NULL, 0);
	if (traces(3) && command.len >= 4)
		g_snprintf(header, sizeof(header), ": %02X %02X %02X %02X", command.data[0],
			   command.data[1], command.data[2], command.data[3]);
	vsc_port_trace(port, 2, "%s %s reader %d%s, %zu bytes%s", out ? "sends" : "gets", name,
		       (int)message->reader_id, request, message->payload.len, header);
}

/* ---- Output ---- */

static void set_full(VscPort *port, bool full)
{
	port->full = full;
	vmc_chardev_pause(port->chardev, full);
}

void vsc_port_send(VscPort *port, uint32_t type, uint32_t reader_id, VmcSpan payload)
{
	uint8_t small[SMALL_MESSAGE];
	size_t len = VSC_WIRE_HEADER + payload.len;
	uint8_t *message;
	VmcWrite wrote;

	g_return_if_fail(payload.len <= VSC_WIRE_PAYLOAD_MAX);

	if (!port->open || port->closing)
		return;
	trace_message(port, true,
		      &(VscMessage){ .type = type, .reader_id = reader_id, .payload = payload });

	/* Header and payload leave together: apart, Nagle's algorithm and the
	 * peer's delayed acknowledgement would hold each message for 40 ms. */
	message = len <= sizeof(small) ? small : g_malloc(len);
	vsc_wire_put_header(message, port->order, type, reader_id, (uint32_t)payload.len);
	if (payload.len > 0)
		memcpy(message + VSC_WIRE_HEADER, payload.data, payload.len);
	wrote = vmc_chardev_write(port->chardev, vmc_span(message, len));
	vmc_wipe(message, len);
	if (message != small)
		g_free(message);

	switch (wrote) {
	case VMC_WRITE_OK:
	case VMC_WRITE_CLOSED: /* `closed` follows */
		break;
	case VMC_WRITE_HIGH:
		set_full(port, true);
		break;
	case VMC_WRITE_FULL:
		port->closing = true;
		vmc_chardev_disconnect(port->chardev, false, "the peer does not read");
		break;
	}
}

void vsc_port_close(VscPort *port, const char *because)
{
	if (!port->open || port->closing)
		return;
	port->closing = true;
	vsc_port_trace(port, 1, "ends the conversation: %s", because);
	vmc_chardev_disconnect(port->chardev, true, because);
}

/* ---- Input ---- */

static bool takes_input(const VscPort *port)
{
	return port->open && !port->closing && !port->full;
}

/* Hands on the whole messages there are. */
static void take_messages(VscPort *port)
{
	while (takes_input(port)) {
		VmcSpan in = vmc_buf_span(&port->in);
		size_t had = in.len;
		const char *because;
		VscMessage message;

		switch (vsc_wire_get(&in, port->order, &message, &because)) {
		case VSC_WIRE_NEED_MORE:
			return;
		case VSC_WIRE_BAD:
			vsc_port_close(port, because);
			return;
		case VSC_WIRE_MESSAGE:
			break;
		}
		trace_message(port, false, &message);
		port->events->message(port->user, &message);
		vmc_buf_consume(&port->in, had - in.len);
	}
}

static bool read_some(VscPort *port)
{
	size_t room, got;
	uint8_t *to = vmc_buf_room(&port->in, READ_SIZE, &room);

	/* It holds the largest message: a whole one was taken out before. */
	g_return_val_if_fail(to != NULL, false);

	got = vmc_chardev_read(port->chardev, to, room);
	vmc_buf_added(&port->in, got);
	return got > 0;
}

static void on_readable(void *user)
{
	VscPort *port = user;

	for (unsigned i = 0; i < READS_MAX && takes_input(port); i++) {
		bool some = read_some(port);

		take_messages(port);
		if (!some)
			break;
	}
}

static void on_writable(void *user)
{
	VscPort *port = user;

	if (!port->full)
		return;
	set_full(port, false);
	take_messages(port);
}

static void on_opened(void *user)
{
	VscPort *port = user;

	vmc_buf_clear(&port->in);
	port->open = true;
	port->closing = false;
	/* One conversation may be on SPICE's smartcard channel, the next not. */
	port->order =
		vmc_chardev_is_smartcard_channel(port->chardev) ? VSC_ORDER_LITTLE : VSC_ORDER_BIG;
	set_full(port, false);
	vsc_port_trace(port, 1, "connected%s",
		       port->order == VSC_ORDER_LITTLE ? " to a smartcard channel" : "");
	port->events->opened(port->user);
}

static void on_closed(void *user, const GError *reason)
{
	VscPort *port = user;

	port->open = false;
	vmc_buf_clear(&port->in);
	vsc_port_trace(port, 1, "disconnected: %s", reason != NULL ? reason->message : "closed");
	port->events->closed(port->user, reason);
}

static void on_failed(void *user, const GError *reason, unsigned again_ms)
{
	VscPort *port = user;

	vsc_port_trace(port, 1, "%s", reason->message);
	if (port->events->failed != NULL)
		port->events->failed(port->user, reason, again_ms);
}

static const VmcChardevEvents chardev_events = {
	.opened = on_opened,
	.closed = on_closed,
	.failed = on_failed,
	.readable = on_readable,
	.writable = on_writable,
};

bool vsc_port_init(VscPort *port, VmcChardev *chardev, bool is_host, const VscPortEvents *events,
		   void *user, GError **error)
{
	*port = (VscPort){
		.chardev = chardev,
		.is_host = is_host,
		.events = events,
		.user = user,
	};
	vmc_buf_init(&port->in, VSC_WIRE_MESSAGE_MAX);
	if (vmc_chardev_set_user(chardev, &chardev_events, port))
		return true;
	vmc_chardev_set_in_use_error(chardev, error);
	return false;
}

void vsc_port_finish(VscPort *port)
{
	if (port->full)
		vmc_chardev_pause(port->chardev, false);
	vmc_chardev_set_user(port->chardev, NULL, NULL);
	vmc_buf_clear(&port->in);
	port->open = false;
}

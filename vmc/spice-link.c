/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The machine of one connection. In order: our link message; the server's reply
 * with its key and capabilities; how we shall say who we are, then the ticket or
 * SASL; one word, the outcome of the link; messages, each with a header.
 *
 * A server that refuses does so in many ways: in the reply, by a reply where it
 * should send something else, in the outcome, or by closing. Each becomes one
 * VmcSpiceError here (refuse(), vmc_spice_link_ended()).
 */

#include "vmc/spice-link.h"

#include <string.h>

#include "vmc/buf.h"
#include "vmc/queue.h"
#include "vmc/spice-auth.h"

/* Log lines a server can cause by one connection, and the length of each. */
#define NOTES_MAX 32u
#define NOTE_LEN_MAX 400u

/* One chunk of input beside the longest message: what SASL's layer makes of one
 * that completes packets, and no less than a chunk without it. */
#define CHUNK_ROOM (128u * 1024)

/* The first bytes of a TLS alert (RFC 8446, 5.1): type, major version. */
#define TLS_ALERT 0x15u
#define TLS_MAJOR 0x03u

typedef enum LinkState {
	LINK_AWAITS_REPLY,
	LINK_AWAITS_SASL,
	LINK_AWAITS_OUTCOME,
	LINK_AWAITS_REFUSAL, /* a reply where something else was due */
	LINK_IS_UP,
	LINK_IS_OVER,
} LinkState;

struct VmcSpiceLink {
	LinkState state;
	VmcSpiceLinkMess mess;
	char *host;
	char *user;
	char *password;
	bool tls;
	bool mini;
	bool spoke;  /* the server sent something */
	bool served; /* the server sent a message */
	bool leaving;
	uint32_t leaving_reason; /* of SPICE_MSG_DISCONNECTING, if `leaving` */
	VmcSpiceCaps caps;
	VmcSpiceSasl *sasl; /* while it goes on, and after if it is a layer */
	GByteArray *sealed; /* input that came with the last of SASL, encrypted */
	uint64_t serial;    /* of our last message */
	uint32_t ack_window;
	uint32_t ack_left; /* messages until the next ACK; 0: none is wanted */
	unsigned notes;
	VmcBuf in;
	VmcQueue actions;
};

G_DEFINE_QUARK(vmc_spice_error_quark, vmc_spice_error)

/* ---- Actions ---- */

static void push(VmcSpiceLink *link, const VmcSpiceLinkAction *action, VmcSpan data)
{
	vmc_queue_push(&link->actions, action, sizeof(*action), offsetof(VmcSpiceLinkAction, data),
		       data);
}

static void push_send(VmcSpiceLink *link, const void *data, size_t len)
{
	push(link, &(VmcSpiceLinkAction){ .kind = VMC_SPICE_LINK_SEND }, vmc_span(data, len));
}

static void forget_password(VmcSpiceLink *link)
{
	if (link->password != NULL)
		vmc_wipe(link->password, strlen(link->password));
	g_clear_pointer(&link->password, g_free);
}

static G_GNUC_PRINTF(3, 4) void fail(VmcSpiceLink *link, VmcSpiceError code, const char *format,
				     ...)
{
	g_autofree char *text = NULL;
	va_list args;

	if (link->state == LINK_IS_OVER)
		return;
	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	link->state = LINK_IS_OVER;
	forget_password(link);
	vmc_buf_clear(&link->in);
	push(link, &(VmcSpiceLinkAction){ .kind = VMC_SPICE_LINK_FAILED, .code = code },
	     vmc_span(text, strlen(text)));
}

/* The server's text as one line that a log can hold. */
static char *clean_text(VmcSpan text)
{
	g_autofree char *valid =
		g_utf8_make_valid((const char *)text.data, (gssize)MIN(text.len, NOTE_LEN_MAX));

	for (char *p = valid; *p != '\0'; p++) {
		if (g_ascii_iscntrl(*p))
			*p = ' ';
	}
	return g_steal_pointer(&valid);
}

static void note(VmcSpiceLink *link, const char *text)
{
	if (link->notes > NOTES_MAX)
		return;
	if (link->notes++ == NOTES_MAX)
		text = "the server goes on like this; no more is noted";
	push(link, &(VmcSpiceLinkAction){ .kind = VMC_SPICE_LINK_NOTE },
	     vmc_span(text, strlen(text)));
}

/* ---- What went wrong, and what would be right ---- */

static const char *channel_name(const VmcSpiceLink *link)
{
	switch (link->mess.channel_type) {
	case SPICE_CHANNEL_MAIN:
		return "main";
	case SPICE_CHANNEL_SMARTCARD:
		return "smartcard";
	case SPICE_CHANNEL_USBREDIR:
		return "usbredir";
	case SPICE_CHANNEL_PORT:
		return "port";
	default:
		return "wanted";
	}
}

static const char *channel_cure(const VmcSpiceLink *link)
{
	switch (link->mess.channel_type) {
	case SPICE_CHANNEL_SMARTCARD:
		return "add -chardev spicevmc,id=ccid,name=smartcard -device usb-ccid "
		       "-device ccid-card-passthru,chardev=ccid to the server's command";
	case SPICE_CHANNEL_USBREDIR:
		return "add -chardev spicevmc,id=usbredir,name=usbredir "
		       "-device usb-redir,chardev=usbredir to the server's command";
	case SPICE_CHANNEL_PORT:
		return "add -chardev spiceport,id=ccid,name=org.vscard.ccid.0 "
		       "-device usb-ccid -device ccid-card-passthru,chardev=ccid "
		       "to the server's command";
	default:
		return "see the server's command";
	}
}

static void fail_no_channel(VmcSpiceLink *link)
{
	if (link->mess.channel_id == 0)
		fail(link, VMC_SPICE_ERROR_NO_CHANNEL, "the server has no %s channel: %s",
		     channel_name(link), channel_cure(link));
	else
		fail(link, VMC_SPICE_ERROR_NO_CHANNEL, "the server has no %s channel %u: %s",
		     channel_name(link), link->mess.channel_id, channel_cure(link));
}

static void fail_password(VmcSpiceLink *link, bool given)
{
	if (given)
		fail(link, VMC_SPICE_ERROR_PASSWORD,
		     "wrong password, or it has expired: give the one of the server's -spice "
		     "password-secret= or password= with --password-file");
	else
		fail(link, VMC_SPICE_ERROR_PASSWORD,
		     "the server wants a password: give the one of its -spice "
		     "password-secret= or password= with --password-file");
}

/* The server refuses by an SPICE_LINK_ERR_ code. */
static void refuse(VmcSpiceLink *link, uint32_t error)
{
	switch (error) {
	case SPICE_LINK_ERR_NEED_SECURED:
		fail(link, VMC_SPICE_ERROR_TLS_WANTED,
		     "the server serves its %s channel over TLS only: "
		     "use spice+tls:// with the server's tls-port",
		     channel_name(link));
		break;
	case SPICE_LINK_ERR_NEED_UNSECURED:
		fail(link, VMC_SPICE_ERROR_TLS_UNWANTED,
		     "the server serves its %s channel without TLS only: "
		     "use spice:// with the server's port, or drop its -spice plaintext-channel=",
		     channel_name(link));
		break;
	case SPICE_LINK_ERR_PERMISSION_DENIED:
		fail_password(link, link->password != NULL);
		break;
	case SPICE_LINK_ERR_BAD_CONNECTION_ID:
		fail(link, VMC_SPICE_ERROR_SESSION,
		     "the server has no such session (any more): its client left; connect anew");
		break;
	case SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE:
		fail_no_channel(link);
		break;
	case SPICE_LINK_ERR_VERSION_MISMATCH:
		fail(link, VMC_SPICE_ERROR_PROTOCOL,
		     "the server speaks another version of SPICE: one of version 2 is needed");
		break;
	default:
		fail(link, VMC_SPICE_ERROR_PROTOCOL,
		     "the server refuses the link (%u: %s): is it a SPICE server of version 2?",
		     (unsigned)error, vmc_spice_link_error_text(error));
		break;
	}
}

static void fail_protocol(VmcSpiceLink *link, const char *because)
{
	VmcSpan in = vmc_buf_span(&link->in);

	if (in.len >= 2 && in.data[0] == TLS_ALERT && in.data[1] == TLS_MAJOR)
		fail(link, VMC_SPICE_ERROR_TLS_WANTED,
		     "the server speaks TLS on this port: use spice+tls://, or its port without TLS");
	else
		fail(link, VMC_SPICE_ERROR_PROTOCOL,
		     "what answers is no SPICE server of version 2 (%s): check host and port",
		     because);
}

/* ---- Sending ---- */

/* Through SASL's layer, in the chunks that it takes. */
static void send_layered(VmcSpiceLink *link, VmcSpan bytes)
{
	g_autoptr(GByteArray) sent = g_byte_array_new();
	VmcSpan chunk, packet;

	while (vmc_span_take(&bytes, MIN(bytes.len, VMC_SPICE_SASL_CHUNK), &chunk) &&
	       chunk.len > 0) {
		if (!vmc_spice_sasl_encode(link->sasl, chunk, &packet)) {
			fail(link, VMC_SPICE_ERROR_GONE,
			     "SASL cannot encrypt any more: connect anew");
			return;
		}
		g_byte_array_append(sent, packet.data, (guint)packet.len);
	}
	push_send(link, sent->data, sent->len);
}

void vmc_spice_link_send(VmcSpiceLink *link, uint16_t type, VmcSpan body)
{
	VmcSpiceHeader header = { .type = type, .size = (uint32_t)body.len };
	uint8_t *message;
	size_t len;

	if (link->state == LINK_IS_OVER)
		return;
	g_return_if_fail(link->state == LINK_IS_UP && body.len <= VMC_SPICE_BODY_MAX);

	header.serial = ++link->serial;
	message = g_malloc(VMC_SPICE_FULL_HEADER + body.len);
	len = vmc_spice_put_header(message, link->mini, &header);
	if (body.len > 0)
		memcpy(message + len, body.data, body.len);
	len += body.len;
	if (link->sasl != NULL)
		send_layered(link, vmc_span(message, len));
	else
		push_send(link, message, len);
	vmc_wipe(message, len);
	g_free(message);
}

/* ---- Messages ---- */

static void set_ack(VmcSpiceLink *link, VmcSpan body)
{
	uint32_t generation, window;
	uint8_t sync[4];

	if (!vmc_spice_get_set_ack(body, &generation, &window)) {
		fail_protocol(link, "its SET_ACK is too short");
		return;
	}
	link->ack_window = link->ack_left = window;
	vmc_put_u32le(sync, generation);
	vmc_spice_link_send(link, SPICE_MSGC_ACK_SYNC, vmc_span(sync, sizeof(sync)));
}

static void count_for_ack(VmcSpiceLink *link)
{
	if (link->ack_left == 0 || --link->ack_left > 0)
		return;
	link->ack_left = link->ack_window;
	vmc_spice_link_send(link, SPICE_MSGC_ACK, vmc_span(NULL, 0));
}

/* Answers with id and time; what follows them only fills the line. */
static void pong(VmcSpiceLink *link, VmcSpan body)
{
	VmcSpan id_and_time;

	if (vmc_span_take(&body, 12, &id_and_time))
		vmc_spice_link_send(link, SPICE_MSGC_PONG, id_and_time);
	else
		fail_protocol(link, "its PING is too short");
}

static void notify(VmcSpiceLink *link, VmcSpan body)
{
	uint32_t severity;
	VmcSpan text;
	g_autofree char *clean = NULL, *line = NULL;

	if (!vmc_spice_get_notify(body, &severity, &text))
		return;
	clean = clean_text(text);
	line = g_strdup_printf("the server says%s: %s",
			       severity == SPICE_NOTIFY_SEVERITY_ERROR ? ", an error" :
			       severity == SPICE_NOTIFY_SEVERITY_WARN  ? ", a warning" :
									 "",
			       clean);
	note(link, line);
}

static void handle(VmcSpiceLink *link, uint16_t type, VmcSpan body)
{
	switch (type) {
	case SPICE_MSG_SET_ACK:
		set_ack(link, body);
		return;
	case SPICE_MSG_PING:
		pong(link, body);
		return;
	case SPICE_MSG_NOTIFY:
		notify(link, body);
		return;
	case SPICE_MSG_DISCONNECTING:
		link->leaving = vmc_spice_get_disconnecting(body, &link->leaving_reason);
		return;
	/* One channel here never waits for another. */
	case SPICE_MSG_WAIT_FOR_CHANNELS:
	case SPICE_MSG_LIST:
	case SPICE_MSG_BASE_LAST:
		return;
	default:
		push(link, &(VmcSpiceLinkAction){ .kind = VMC_SPICE_LINK_MESSAGE, .type = type },
		     body);
		return;
	}
}

/* Sub messages lie beside each other, so all of them are no more than the body:
 * a list that names one again and again is no way to make us hold more. */
static void handle_list(VmcSpiceLink *link, VmcSpan body, uint32_t sub_list)
{
	VmcSpan list, sub;
	size_t left = body.len;
	uint16_t type;

	if (!vmc_spice_get_sub_list(body, sub_list, &list)) {
		fail_protocol(link, "its list of sub messages is cut");
		return;
	}
	while (list.len > 0 && link->state == LINK_IS_UP) {
		if (!vmc_spice_next_sub_message(body, &list, &type, &sub) ||
		    sub.len + VMC_SPICE_MINI_HEADER > left) {
			fail_protocol(link, "a sub message lies outside of its message");
			return;
		}
		left -= sub.len + VMC_SPICE_MINI_HEADER;
		handle(link, type, sub);
	}
}

/* True if a message was taken from the front of `in`. */
static bool take_message(VmcSpiceLink *link, VmcSpan *in)
{
	VmcSpan rest = *in, body;
	VmcSpiceHeader header;

	if (vmc_spice_get_header(&rest, link->mini, &header) != VMC_SPICE_OK)
		return false;
	if (header.size > VMC_SPICE_BODY_MAX) {
		fail(link, VMC_SPICE_ERROR_PROTOCOL,
		     "the server sent a message of %u bytes, which is too long: "
		     "is it a SPICE server of version 2?",
		     (unsigned)header.size);
		return false;
	}
	if (!vmc_span_take(&rest, header.size, &body))
		return false;
	*in = rest;
	link->served = true;
	count_for_ack(link);
	if (header.type == SPICE_MSG_LIST || header.sub_list != 0)
		handle_list(link, body, header.sub_list);
	if (link->state == LINK_IS_UP)
		handle(link, header.type, body);
	return true;
}

/* ---- The link ---- */

static void send_ticket(VmcSpiceLink *link, VmcSpan public_key)
{
	uint8_t ticket[VMC_SPICE_TICKET];
	const char *because;

	if (!vmc_spice_ticket(public_key, link->password, ticket, &because)) {
		fail(link, VMC_SPICE_ERROR_PASSWORD, "%s", because);
		return;
	}
	push_send(link, ticket, sizeof(ticket));
	vmc_wipe(ticket, sizeof(ticket));
	link->state = LINK_AWAITS_OUTCOME;
}

static void send_mechanism(VmcSpiceLink *link, uint32_t mechanism)
{
	uint8_t word[4];

	vmc_put_u32le(word, mechanism);
	push_send(link, word, sizeof(word));
}

static void start_sasl(VmcSpiceLink *link)
{
	g_autoptr(GError) error = NULL;

	link->sasl = vmc_spice_sasl_new(link->host, link->user, link->password, link->tls, &error);
	if (link->sasl == NULL) {
		fail(link, VMC_SPICE_ERROR_PASSWORD, "%s", error->message);
		return;
	}
	send_mechanism(link, SPICE_COMMON_CAP_AUTH_SASL);
	link->state = LINK_AWAITS_SASL;
}

static void authenticate(VmcSpiceLink *link, const VmcSpiceLinkReply *reply)
{
	bool ticket = vmc_spice_caps_has(&reply->common, SPICE_COMMON_CAP_AUTH_SPICE);
	bool sasl = vmc_spice_caps_has(&reply->common, SPICE_COMMON_CAP_AUTH_SASL);

	/* A server from before the selection reads a ticket at once. */
	if (!vmc_spice_caps_has(&reply->common, SPICE_COMMON_CAP_PROTOCOL_AUTH_SELECTION)) {
		send_ticket(link, reply->public_key);
	} else if (sasl && (!ticket || link->user != NULL)) {
		start_sasl(link);
	} else if (ticket) {
		send_mechanism(link, SPICE_COMMON_CAP_AUTH_SPICE);
		send_ticket(link, reply->public_key);
	} else {
		fail(link, VMC_SPICE_ERROR_PROTOCOL,
		     "the server takes neither a password nor SASL: a newer client is needed");
	}
}

static bool take_reply(VmcSpiceLink *link, VmcSpan *in)
{
	VmcSpiceLinkReply reply;
	const char *because = NULL;

	switch (vmc_spice_get_link_reply(in, &reply, &because)) {
	case VMC_SPICE_NEED_MORE:
		return false;
	case VMC_SPICE_BAD:
		fail_protocol(link, because);
		return false;
	case VMC_SPICE_OK:
		break;
	}
	if (reply.error != SPICE_LINK_ERR_OK) {
		refuse(link, reply.error);
	} else if (link->state == LINK_AWAITS_REFUSAL) {
		fail_protocol(link, "a second link reply");
	} else {
		link->mini = vmc_spice_caps_has(&reply.common, SPICE_COMMON_CAP_MINI_HEADER);
		link->caps = reply.channel;
		authenticate(link, &reply);
	}
	return true;
}

/* A server that does not like what it was just sent may answer by a reply: its
 * magic is no length and no outcome. */
static bool is_refusal(VmcSpiceLink *link, VmcSpan in)
{
	if (in.len < 4 || memcmp(in.data, "REDQ", 4) != 0)
		return false;
	link->state = LINK_AWAITS_REFUSAL;
	return true;
}

/* What is left of the input is the layer's, and comes in again through it. */
static void start_layer(VmcSpiceLink *link, VmcSpan *in)
{
	link->sealed = g_byte_array_new();
	if (in->len > 0)
		g_byte_array_append(link->sealed, in->data, (guint)in->len);
	*in = vmc_span(NULL, 0);
}

static bool take_sasl(VmcSpiceLink *link, VmcSpan *in)
{
	VmcSpiceSaslResult result;
	VmcSpan out;
	const char *because;

	if (is_refusal(link, *in))
		return true;
	result = vmc_spice_sasl_take(link->sasl, in, &out, &because);
	if (out.len > 0)
		push_send(link, out.data, out.len);
	switch (result) {
	case VMC_SPICE_SASL_MORE:
		return false;
	case VMC_SPICE_SASL_FAILED:
		fail(link, VMC_SPICE_ERROR_PASSWORD, "%s", because);
		return false;
	case VMC_SPICE_SASL_DONE:
		break;
	}
	link->state = LINK_AWAITS_OUTCOME;
	if (vmc_spice_sasl_has_layer(link->sasl))
		start_layer(link, in);
	else
		g_clear_pointer(&link->sasl, vmc_spice_sasl_free);
	return true;
}

static bool take_outcome(VmcSpiceLink *link, VmcSpan *in)
{
	uint32_t error;

	if (is_refusal(link, *in))
		return true;
	if (!vmc_span_u32le(in, &error))
		return false;
	if (error != SPICE_LINK_ERR_OK) {
		refuse(link, error);
		return true;
	}
	forget_password(link);
	link->state = LINK_IS_UP;
	push(link, &(VmcSpiceLinkAction){ .kind = VMC_SPICE_LINK_UP }, vmc_span(NULL, 0));
	return true;
}

/* True if it went on a step. */
static bool take_step(VmcSpiceLink *link, VmcSpan *in)
{
	switch (link->state) {
	case LINK_AWAITS_REPLY:
	case LINK_AWAITS_REFUSAL:
		return take_reply(link, in);
	case LINK_AWAITS_SASL:
		return take_sasl(link, in);
	case LINK_AWAITS_OUTCOME:
		return take_outcome(link, in);
	case LINK_IS_UP:
		return take_message(link, in);
	case LINK_IS_OVER:
		break;
	}
	return false;
}

static void feed(VmcSpiceLink *link, VmcSpan bytes)
{
	VmcSpan in;
	size_t had;
	bool more = true;

	/* Room enough for the longest message and this chunk. */
	if (!vmc_buf_append(&link->in, bytes)) {
		fail_protocol(link, "it sends more than it may");
		return;
	}
	while (more) {
		in = vmc_buf_span(&link->in);
		had = in.len;
		more = take_step(link, &in);
		if (link->state == LINK_IS_OVER)
			return;
		if (had > in.len)
			vmc_buf_consume(&link->in, had - in.len);
		if (link->sealed != NULL) {
			g_autoptr(GByteArray) sealed = g_steal_pointer(&link->sealed);

			vmc_spice_link_input(link, vmc_span(sealed->data, sealed->len));
			return;
		}
	}
}

void vmc_spice_link_input(VmcSpiceLink *link, VmcSpan bytes)
{
	VmcSpan chunk, plain;

	while (link->state != LINK_IS_OVER && bytes.len > 0) {
		vmc_span_take(&bytes, MIN(bytes.len, VMC_SPICE_SASL_CHUNK), &chunk);
		link->spoke = true;
		if (link->sasl == NULL || !vmc_spice_sasl_has_layer(link->sasl))
			feed(link, chunk);
		else if (vmc_spice_sasl_decode(link->sasl, chunk, &plain))
			feed(link, plain);
		else
			fail(link, VMC_SPICE_ERROR_PROTOCOL,
			     "the server's SASL encryption is broken: use TLS (spice+tls://)");
	}
}

/* ---- The end ---- */

static void ended_in_link(VmcSpiceLink *link)
{
	/* It closes without a word when it has no such channel. */
	if (link->mess.channel_type != SPICE_CHANNEL_MAIN && !link->spoke)
		fail_no_channel(link);
	else
		fail(link, VMC_SPICE_ERROR_PROTOCOL,
		     "the server closed without an answer: is this the port of a SPICE server%s?",
		     link->tls ? "" : ", and not its TLS port (spice+tls://)");
}

static void ended_up(VmcSpiceLink *link)
{
	if (link->leaving && link->leaving_reason != SPICE_LINK_ERR_OK)
		fail(link, VMC_SPICE_ERROR_GONE, "the server ended the connection: %s",
		     vmc_spice_link_error_text(link->leaving_reason));
	else if (link->leaving)
		fail(link, VMC_SPICE_ERROR_GONE, "the server ended the connection");
	else if (!link->served && link->mess.channel_type != SPICE_CHANNEL_MAIN)
		fail(link, VMC_SPICE_ERROR_BUSY,
		     "the %s channel is taken by another client of this session: "
		     "end that one, or its use of the channel",
		     channel_name(link));
	else
		fail(link, VMC_SPICE_ERROR_GONE,
		     "the server is gone: it ended, or another client took the session over");
}

void vmc_spice_link_ended(VmcSpiceLink *link)
{
	switch (link->state) {
	case LINK_AWAITS_REPLY:
		ended_in_link(link);
		break;
	case LINK_AWAITS_SASL:
		fail(link, VMC_SPICE_ERROR_PASSWORD,
		     "the server refuses the SASL identity: give the user name and the password "
		     "that saslpasswd2 set on the server%s",
		     link->tls ? "" : ", or TLS (spice+tls://) if its mechanisms want that");
		break;
	case LINK_AWAITS_OUTCOME:
	case LINK_AWAITS_REFUSAL:
		fail_password(link, link->password != NULL);
		break;
	case LINK_IS_UP:
		ended_up(link);
		break;
	case LINK_IS_OVER:
		break;
	}
}

/* ---- Life ---- */

VmcSpiceLink *vmc_spice_link_new(const VmcSpiceLinkConfig *config)
{
	VmcSpiceLink *link = g_new0(VmcSpiceLink, 1);
	uint8_t bytes[VMC_SPICE_LINK_MESS_MAX];

	link->mess = config->mess;
	link->host = g_strdup(config->host);
	link->user = g_strdup(config->user);
	link->password = g_strdup(config->password);
	link->tls = config->tls;
	vmc_buf_init(&link->in, VMC_SPICE_FULL_HEADER + VMC_SPICE_BODY_MAX + CHUNK_ROOM);
	vmc_queue_init(&link->actions);
	vmc_spice_caps_set(&link->mess.common, SPICE_COMMON_CAP_PROTOCOL_AUTH_SELECTION);
	vmc_spice_caps_set(&link->mess.common, SPICE_COMMON_CAP_AUTH_SPICE);
	vmc_spice_caps_set(&link->mess.common, SPICE_COMMON_CAP_AUTH_SASL);
	vmc_spice_caps_set(&link->mess.common, SPICE_COMMON_CAP_MINI_HEADER);
	push_send(link, bytes, vmc_spice_put_link_mess(bytes, &link->mess));
	return link;
}

void vmc_spice_link_free(VmcSpiceLink *link)
{
	if (link == NULL)
		return;
	forget_password(link);
	vmc_spice_sasl_free(link->sasl);
	vmc_buf_clear(&link->in);
	vmc_queue_clear(&link->actions);
	if (link->sealed != NULL)
		g_byte_array_unref(link->sealed);
	g_free(link->host);
	g_free(link->user);
	g_free(link);
}

bool vmc_spice_link_next(VmcSpiceLink *link, VmcSpiceLinkAction *action)
{
	return vmc_queue_next(&link->actions, action, sizeof(*action));
}

const VmcSpiceCaps *vmc_spice_link_caps(const VmcSpiceLink *link)
{
	return &link->caps;
}

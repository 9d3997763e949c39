/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The codec of SPICE's bytes. A text on the main or port channel is a length
 * and an offset from the start of the message's body, where the text lies, with
 * or without a NUL: both are the peer's claims and are checked against the body
 * (spice.proto of spice-common, pointers of 32 bits).
 */

#include "vmc/spice-wire.h"

#include <glib.h>
#include <string.h>

/* SpiceLinkMess and SpiceLinkReply without their capabilities. */
#define LINK_MESS 18u
#define LINK_REPLY 178u
#define PUBLIC_KEY SPICE_TICKET_PUBKEY_BYTES

_Static_assert(VMC_SPICE_LINK_HEADER == sizeof(SpiceLinkHeader), "link header");
_Static_assert(LINK_MESS == sizeof(SpiceLinkMess), "link message");
_Static_assert(LINK_REPLY == sizeof(SpiceLinkReply), "link reply");
_Static_assert(VMC_SPICE_REFUSAL == VMC_SPICE_LINK_HEADER + LINK_REPLY, "refusal");
_Static_assert(VMC_SPICE_MINI_HEADER == sizeof(SpiceMiniDataHeader), "mini header");
_Static_assert(VMC_SPICE_FULL_HEADER == sizeof(SpiceDataHeader), "data header");

static const uint8_t magic[4] = "REDQ";

/* ---- Link messages ---- */

static void put_link_header(uint8_t to[VMC_SPICE_LINK_HEADER], size_t size)
{
	memcpy(to, magic, sizeof(magic));
	vmc_put_u32le(to + 4, SPICE_VERSION_MAJOR);
	vmc_put_u32le(to + 8, SPICE_VERSION_MINOR);
	vmc_put_u32le(to + 12, (uint32_t)size);
}

/* Takes header and body, if the body has at least `least` bytes. */
static VmcSpiceResult get_link_body(VmcSpan *in, size_t least, VmcSpan *body, const char **because)
{
	VmcSpan rest = *in, skipped;
	uint32_t major, minor, size;

	/* Another protocol's greeting may be shorter than this header. */
	if (rest.len > 0 && memcmp(rest.data, magic, MIN(rest.len, sizeof(magic))) != 0) {
		*because = "it does not begin as SPICE does";
		return VMC_SPICE_BAD;
	}
	if (!vmc_span_take(&rest, sizeof(magic), &skipped) || !vmc_span_u32le(&rest, &major) ||
	    !vmc_span_u32le(&rest, &minor) || !vmc_span_u32le(&rest, &size))
		return VMC_SPICE_NEED_MORE;
	if (major != SPICE_VERSION_MAJOR) {
		*because = "its version of SPICE is not 2";
		return VMC_SPICE_BAD;
	}
	if (size < least || size > VMC_SPICE_LINK_MAX) {
		*because = "its link message has an impossible length";
		return VMC_SPICE_BAD;
	}
	if (!vmc_span_take(&rest, size, body))
		return VMC_SPICE_NEED_MORE;
	*in = rest;
	return VMC_SPICE_OK;
}

static size_t caps_used(const VmcSpiceCaps *caps)
{
	size_t n = VMC_SPICE_CAPS_WORDS;

	while (n > 0 && caps->words[n - 1] == 0)
		n--;
	return n;
}

static uint8_t *put_caps(uint8_t *to, const VmcSpiceCaps *caps, size_t n)
{
	for (size_t i = 0; i < n; i++, to += 4)
		vmc_put_u32le(to, caps->words[i]);
	return to;
}

static bool get_caps(VmcSpan *in, uint32_t n, VmcSpiceCaps *caps)
{
	uint32_t word;

	*caps = (VmcSpiceCaps){ 0 };
	for (uint32_t i = 0; i < n; i++) {
		if (!vmc_span_u32le(in, &word))
			return false;
		if (i < VMC_SPICE_CAPS_WORDS)
			caps->words[i] = word;
	}
	return true;
}

/* The end of a link message and of a reply: two counts, and the offset of the
 * capabilities from the start of `body`. */
static bool get_both_caps(VmcSpan body, VmcSpan tail, VmcSpiceCaps *common, VmcSpiceCaps *channel)
{
	uint32_t n_common, n_channel, offset;
	VmcSpan skipped;

	if (!vmc_span_u32le(&tail, &n_common) || !vmc_span_u32le(&tail, &n_channel) ||
	    !vmc_span_u32le(&tail, &offset))
		return false;
	/* Where no capabilities lie does not matter. */
	if (n_common == 0 && n_channel == 0)
		offset = 0;
	return vmc_span_take(&body, offset, &skipped) && get_caps(&body, n_common, common) &&
	       get_caps(&body, n_channel, channel);
}

size_t vmc_spice_put_link_mess(uint8_t to[VMC_SPICE_LINK_MESS_MAX], const VmcSpiceLinkMess *mess)
{
	size_t n_common = caps_used(&mess->common), n_channel = caps_used(&mess->channel);
	size_t size = LINK_MESS + 4 * (n_common + n_channel);
	uint8_t *p = to + VMC_SPICE_LINK_HEADER;

	put_link_header(to, size);
	vmc_put_u32le(p, mess->connection_id);
	p[4] = mess->channel_type;
	p[5] = mess->channel_id;
	vmc_put_u32le(p + 6, (uint32_t)n_common);
	vmc_put_u32le(p + 10, (uint32_t)n_channel);
	vmc_put_u32le(p + 14, LINK_MESS);
	put_caps(put_caps(p + LINK_MESS, &mess->common, n_common), &mess->channel, n_channel);
	return VMC_SPICE_LINK_HEADER + size;
}

VmcSpiceResult vmc_spice_get_link_mess(VmcSpan *in, VmcSpiceLinkMess *mess, const char **because)
{
	VmcSpan rest = *in, body, tail;
	VmcSpiceResult result = get_link_body(&rest, LINK_MESS, &body, because);

	if (result != VMC_SPICE_OK)
		return result;
	tail = body;
	if (!vmc_span_u32le(&tail, &mess->connection_id) ||
	    !vmc_span_u8(&tail, &mess->channel_type) || !vmc_span_u8(&tail, &mess->channel_id) ||
	    !get_both_caps(body, tail, &mess->common, &mess->channel)) {
		*because = "its capabilities lie outside of its link message";
		return VMC_SPICE_BAD;
	}
	*in = rest;
	return VMC_SPICE_OK;
}

VmcSpiceResult vmc_spice_get_link_reply(VmcSpan *in, VmcSpiceLinkReply *reply, const char **because)
{
	VmcSpan rest = *in, body, tail;
	VmcSpiceResult result = get_link_body(&rest, sizeof(reply->error), &body, because);

	if (result != VMC_SPICE_OK)
		return result;
	*reply = (VmcSpiceLinkReply){ 0 };
	tail = body;
	if (!vmc_span_u32le(&tail, &reply->error))
		return VMC_SPICE_BAD;
	if (!vmc_span_take(&tail, PUBLIC_KEY, &reply->public_key) ||
	    !get_both_caps(body, tail, &reply->common, &reply->channel)) {
		if (reply->error == SPICE_LINK_ERR_OK) {
			*because = "its key or capabilities lie outside of its link reply";
			return VMC_SPICE_BAD;
		}
		*reply = (VmcSpiceLinkReply){ .error = reply->error };
	}
	*in = rest;
	return VMC_SPICE_OK;
}

void vmc_spice_put_refusal(uint8_t to[VMC_SPICE_REFUSAL], uint32_t error)
{
	memset(to, 0, VMC_SPICE_REFUSAL);
	put_link_header(to, LINK_REPLY);
	vmc_put_u32le(to + VMC_SPICE_LINK_HEADER, error);
}

const char *vmc_spice_link_error_text(uint32_t error)
{
	static const char *const texts[] = {
		[SPICE_LINK_ERR_OK] = "no error",
		[SPICE_LINK_ERR_ERROR] = "an error",
		[SPICE_LINK_ERR_INVALID_MAGIC] = "invalid magic",
		[SPICE_LINK_ERR_INVALID_DATA] = "invalid data",
		[SPICE_LINK_ERR_VERSION_MISMATCH] = "another version",
		[SPICE_LINK_ERR_NEED_SECURED] = "TLS needed",
		[SPICE_LINK_ERR_NEED_UNSECURED] = "no TLS allowed",
		[SPICE_LINK_ERR_PERMISSION_DENIED] = "permission denied",
		[SPICE_LINK_ERR_BAD_CONNECTION_ID] = "no such connection id",
		[SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE] = "channel not available",
	};

	if (error >= sizeof(texts) / sizeof(texts[0]))
		return "an unknown error";
	return texts[error];
}

/* ---- Data headers ---- */

static bool get_u64le(VmcSpan *in, uint64_t *out)
{
	uint32_t low, high;
	VmcSpan rest = *in;

	if (!vmc_span_u32le(&rest, &low) || !vmc_span_u32le(&rest, &high))
		return false;
	*out = (uint64_t)high << 32 | low;
	*in = rest;
	return true;
}

VmcSpiceResult vmc_spice_get_header(VmcSpan *in, bool mini, VmcSpiceHeader *header)
{
	VmcSpan rest = *in;
	VmcSpiceHeader h = { 0 };

	if ((!mini && !get_u64le(&rest, &h.serial)) || !vmc_span_u16le(&rest, &h.type) ||
	    !vmc_span_u32le(&rest, &h.size) || (!mini && !vmc_span_u32le(&rest, &h.sub_list)))
		return VMC_SPICE_NEED_MORE;
	*in = rest;
	*header = h;
	return VMC_SPICE_OK;
}

size_t vmc_spice_put_header(uint8_t to[VMC_SPICE_FULL_HEADER], bool mini,
			    const VmcSpiceHeader *header)
{
	if (mini) {
		vmc_put_u16le(to, header->type);
		vmc_put_u32le(to + 2, header->size);
		return VMC_SPICE_MINI_HEADER;
	}
	vmc_put_u32le(to, (uint32_t)header->serial);
	vmc_put_u32le(to + 4, (uint32_t)(header->serial >> 32));
	vmc_put_u16le(to + 8, header->type);
	vmc_put_u32le(to + 10, header->size);
	vmc_put_u32le(to + 14, header->sub_list);
	return VMC_SPICE_FULL_HEADER;
}

bool vmc_spice_next_sub_message(VmcSpan body, VmcSpan *list, uint16_t *type, VmcSpan *sub_body)
{
	uint32_t offset, size;
	VmcSpan sub = body, skipped;

	return vmc_span_u32le(list, &offset) && vmc_span_take(&sub, offset, &skipped) &&
	       vmc_span_u16le(&sub, type) && vmc_span_u32le(&sub, &size) &&
	       vmc_span_take(&sub, size, sub_body);
}

bool vmc_spice_get_sub_list(VmcSpan body, uint32_t sub_list, VmcSpan *list)
{
	VmcSpan rest = body, skipped;
	uint16_t n;

	return vmc_span_take(&rest, sub_list, &skipped) && vmc_span_u16le(&rest, &n) &&
	       vmc_span_take(&rest, (size_t)n * 4, list);
}

/* ---- Bodies ---- */

/* The `size` bytes of text at `offset` of `body`, up to the first NUL. */
static bool get_text(VmcSpan body, uint32_t size, uint32_t offset, VmcSpan *text)
{
	VmcSpan skipped, found;
	const uint8_t *nul;

	if (!vmc_span_take(&body, offset, &skipped) || !vmc_span_take(&body, size, &found))
		return false;
	nul = size > 0 ? memchr(found.data, 0, found.len) : NULL;
	if (nul != NULL)
		found.len = (size_t)(nul - found.data);
	*text = found;
	return true;
}

bool vmc_spice_get_set_ack(VmcSpan body, uint32_t *generation, uint32_t *window)
{
	return vmc_span_u32le(&body, generation) && vmc_span_u32le(&body, window);
}

bool vmc_spice_get_notify(VmcSpan body, uint32_t *severity, VmcSpan *text)
{
	uint64_t time;
	uint32_t visibility, what, len;

	if (!get_u64le(&body, &time) || !vmc_span_u32le(&body, severity) ||
	    !vmc_span_u32le(&body, &visibility) || !vmc_span_u32le(&body, &what) ||
	    !vmc_span_u32le(&body, &len))
		return false;
	return get_text(body, (uint32_t)MIN(len, body.len), 0, text);
}

bool vmc_spice_get_disconnecting(VmcSpan body, uint32_t *reason)
{
	uint64_t time;

	return get_u64le(&body, &time) && vmc_span_u32le(&body, reason);
}

bool vmc_spice_get_migrate(VmcSpan body, uint32_t *flags)
{
	return vmc_span_u32le(&body, flags);
}

bool vmc_spice_get_main_init(VmcSpan body, VmcSpiceMainInit *init)
{
	/* Session, display channels hint, supported and current mouse mode, agent
	 * connected, agent tokens, multimedia time, RAM hint. */
	uint32_t words[8];

	for (size_t i = 0; i < 8; i++) {
		if (!vmc_span_u32le(&body, &words[i]))
			return false;
	}
	init->session_id = words[0];
	init->agent_connected = words[4] != 0;
	init->agent_tokens = words[5];
	return true;
}

bool vmc_spice_get_channels(VmcSpan body, VmcSpan *list)
{
	uint32_t n;

	if (!vmc_span_u32le(&body, &n) || n > body.len / 2)
		return false;
	return vmc_span_take(&body, (size_t)n * 2, list);
}

bool vmc_spice_next_channel(VmcSpan *list, uint8_t *type, uint8_t *id)
{
	VmcSpan rest = *list;

	if (!vmc_span_u8(&rest, type) || !vmc_span_u8(&rest, id))
		return false;
	*list = rest;
	return true;
}

/* Longest host or subject: with a NUL it is 256 bytes. */
#define NAME_MAX_BYTES 255u

bool vmc_spice_get_destination(VmcSpan body, bool seamless, VmcSpiceDestination *destination)
{
	VmcSpiceDestination d = { 0 };
	uint32_t host_size, host, subject_size, subject;
	VmcSpan rest = body;

	if (!vmc_span_u16le(&rest, &d.port) || !vmc_span_u16le(&rest, &d.tls_port) ||
	    !vmc_span_u32le(&rest, &host_size) || !vmc_span_u32le(&rest, &host) ||
	    !vmc_span_u32le(&rest, &subject_size) || !vmc_span_u32le(&rest, &subject) ||
	    (seamless && !vmc_span_u32le(&rest, &d.src_version)))
		return false;
	if (!get_text(body, host_size, host, &d.host) || d.host.len == 0 ||
	    d.host.len > NAME_MAX_BYTES)
		return false;
	if (subject_size > 0 && (!get_text(body, subject_size, subject, &d.cert_subject) ||
				 d.cert_subject.len > NAME_MAX_BYTES))
		return false;
	*destination = d;
	return true;
}

bool vmc_spice_get_port_init(VmcSpan body, VmcSpan *name, bool *opened)
{
	uint32_t size, offset;
	uint8_t open;
	VmcSpan rest = body;

	if (!vmc_span_u32le(&rest, &size) || !vmc_span_u32le(&rest, &offset) ||
	    !vmc_span_u8(&rest, &open) || !get_text(body, size, offset, name))
		return false;
	*opened = open != 0;
	return true;
}

bool vmc_spice_get_port_event(VmcSpan body, uint8_t *event)
{
	return vmc_span_u8(&body, event);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The link machine against a server that says anything. The input: a byte that
 * chooses the channel and the identity, then steps. A step of 1 to 239 is so
 * many bytes of the server, which follow; 0 is a message of ours, above is the
 * end of the stream. With the first byte's high bit the server begins with a
 * link that it takes, so that messages come at once.
 */

#include <stdlib.h>
#include <string.h>

#include "vmc/spice-link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A SubjectPublicKeyInfo of 1024 bits is 162 bytes: what stands before and after
 * the modulus, which is any odd number here. */
static const uint8_t key_head[29] = { 0x30, 0x81, 0x9f, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48,
				      0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x81,
				      0x8d, 0x00, 0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00 };
static const uint8_t key_tail[5] = { 0x02, 0x03, 0x01, 0x00, 0x01 };

typedef struct World {
	VmcSpiceLink *link;
	bool up;
	bool over;
	size_t heard; /* bytes of the server */
	size_t told;  /* bytes of its messages that came out */
} World;

static void check(bool good)
{
	if (!good)
		abort();
}

static void see(World *w, const VmcSpiceLinkAction *a)
{
	check(!w->over);
	switch (a->kind) {
	case VMC_SPICE_LINK_SEND:
		check(a->data.len > 0);
		break;
	case VMC_SPICE_LINK_UP:
		check(!w->up);
		w->up = true;
		break;
	case VMC_SPICE_LINK_MESSAGE:
		check(w->up);
		w->told += a->data.len;
		/* A message and its sub messages. */
		check(w->told <= 2 * w->heard);
		break;
	case VMC_SPICE_LINK_NOTE:
		check(w->up && memchr(a->data.data, '\n', a->data.len) == NULL);
		break;
	case VMC_SPICE_LINK_FAILED:
		check(a->data.len > 0 && a->code <= VMC_SPICE_ERROR_GONE);
		w->over = true;
		break;
	}
}

static void drain(World *w)
{
	VmcSpiceLinkAction action;

	while (vmc_spice_link_next(w->link, &action))
		see(w, &action);
}

static void feed(World *w, const void *data, size_t len)
{
	w->heard += len;
	vmc_spice_link_input(w->link, vmc_span(data, len));
	drain(w);
}

static void feed_link(World *w, uint8_t caps)
{
	uint8_t reply[VMC_SPICE_REFUSAL + 4 + 4];
	uint8_t *key = reply + VMC_SPICE_LINK_HEADER + 4;

	vmc_spice_put_refusal(reply, SPICE_LINK_ERR_OK);
	vmc_put_u32le(reply + 12, 178 + 4);
	memset(key, 0xa5, SPICE_TICKET_PUBKEY_BYTES);
	memcpy(key, key_head, sizeof(key_head));
	memcpy(key + SPICE_TICKET_PUBKEY_BYTES - sizeof(key_tail), key_tail, sizeof(key_tail));
	vmc_put_u32le(key + 162, 1);
	vmc_put_u32le(key + 166, 0);
	vmc_put_u32le(key + 170, 178);
	vmc_put_u32le(key + 174, caps);
	vmc_put_u32le(key + 178, SPICE_LINK_ERR_OK);
	feed(w, reply, sizeof(reply));
}

static void step(World *w, uint8_t n, VmcSpan *in)
{
	VmcSpan bytes;

	if (n >= 240) {
		vmc_spice_link_ended(w->link);
		drain(w);
		check(w->over);
	} else if (n > 0) {
		if (vmc_span_take(in, n, &bytes))
			feed(w, bytes.data, bytes.len);
	} else if (w->up) {
		vmc_spice_link_send(w->link, 101, vmc_span("card", 4));
		drain(w);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	VmcSpan in = vmc_span(data, size);
	VmcSpiceLinkConfig config = { .host = "localhost" };
	World w = { 0 };
	uint8_t choice = 0, n;

	vmc_span_u8(&in, &choice);
	config.mess.channel_type = choice & 0x0f;
	config.user = (choice & 0x10) != 0 ? "user" : NULL;
	config.password = (choice & 0x20) != 0 ? "password" : NULL;
	config.tls = (choice & 0x40) != 0;
	w.link = vmc_spice_link_new(&config);
	drain(&w);
	/* Mini headers over TLS, full ones without. */
	if ((choice & 0x80) != 0)
		feed_link(&w, config.tls ? 0x0b : 0x03);
	while (vmc_span_u8(&in, &n))
		step(&w, n, &in);
	vmc_spice_link_free(w.link);
	return 0;
}

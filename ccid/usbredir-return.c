/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A peer that leaves and comes back. When QEMU moves a VM to another process,
 * that one connects for itself and goes on where the first one stopped: no
 * hello, the device attached and configured, transfers under way. So the end of
 * a conversation is not yet the end of it: parser, transfers and device stay as
 * they are for some seconds, and what falls due waits. Then the first packet of
 * the next connection tells. A hello begins anew: the device is reset, and
 * what was verified on its cards is gone, as it is when nobody comes.
 *
 * A peer that is back may have nothing to say: its guest is idle. A new one says
 * hello at once. So after a moment of silence it is taken to be back, and is
 * told of slot changes; should it say hello after all, it begins anew even then.
 * Our own hello waits until it is known to be wanted: a peer that is back would
 * read it with the header that both had agreed on, four bytes longer than a
 * hello's, and all that follows it wrongly.
 *
 * Both QEMUs' connections overlap: the second one's waits to be accepted until
 * the first one's is closed.
 */

#include "ccid/usbredir-private.h"

#include <string.h>

/* From the end of a conversation until the next has begun. QEMU connects before
 * it migrates, and leaves when that is done; longer, and a card whose PIN was
 * verified would be left alone. */
#define AWAY_MS 10000u

/* How long a new peer may take until its first byte: it is on its way when the
 * connection is. */
#define SILENCE_MS 500u

/* How long the first packets of one that is back may take: they tell which
 * answers it has had. */
#define AGAIN_MS 100u

/* A hello's header, with 32 bits of id as always: type, length, id. */
#define HELLO_HEADER 12u
#define HELLO_TYPE 0u
#define HELLO_MIN ((uint32_t)sizeof(struct usb_redir_hello_header))
#define HELLO_MAX (HELLO_MIN + 4u * USB_REDIR_CAPS_SIZE)

void usbredir_return_init(CcidUsbredir *usbredir)
{
	usbredir->away_ms = AWAY_MS;
	usbredir->silence_ms = SILENCE_MS;
}

void usbredir_stop_waiting(CcidUsbredir *usbredir)
{
	g_clear_handle_id(&usbredir->timer, g_source_remove);
	usbredir->silent = false;
}

static gboolean on_forget(void *user)
{
	CcidUsbredir *usbredir = user;

	usbredir->timer = 0;
	g_info("usbredir: the peer did not come back");
	usbredir_forget_peer(usbredir);
	return G_SOURCE_REMOVE;
}

void usbredir_peer_left(CcidUsbredir *usbredir, bool cut)
{
	int64_t now = g_get_monotonic_time();

	/* One that was there for a moment and said nothing has no time of its own. */
	if (!usbredir->silent) {
		usbredir->forget_at = now + (int64_t)usbredir->away_ms * 1000;
		usbredir_sent_left(usbredir, cut);
	}
	usbredir_stop_waiting(usbredir);
	usbredir->peer = USBREDIR_AWAY;
	usbredir->silent = true;
	/* No interrupt endpoint is polled while nobody takes what it brings. */
	usbredir->held = true;
	usbredir->timer = g_timeout_add((guint)(MAX(usbredir->forget_at - now, 0) / 1000),
					on_forget, usbredir);
}

/* What waited goes out. */
static void speak(CcidUsbredir *usbredir)
{
	usbredir_stop_waiting(usbredir);
	usbredir->held = false;
	usbredir_flush(usbredir);
	usbredir_receive_again(usbredir);
	usbredir_flush(usbredir);
	usbredir_replug(usbredir);
}

static gboolean on_again(void *user)
{
	CcidUsbredir *usbredir = user;

	usbredir->timer = 0;
	usbredir_sent_again(usbredir);
	return G_SOURCE_REMOVE;
}

static gboolean on_silence(void *user)
{
	CcidUsbredir *usbredir = user;

	usbredir->timer = 0;
	speak(usbredir);
	usbredir_sent_again(usbredir);
	return G_SOURCE_REMOVE;
}

void usbredir_peer_returns(CcidUsbredir *usbredir)
{
	usbredir_stop_waiting(usbredir);
	usbredir->peer = USBREDIR_RETURNING;
	usbredir->silent = true;
	usbredir->timer = g_timeout_add(usbredir->silence_ms, on_silence, usbredir);
}

typedef enum First {
	FIRST_UNKNOWN, /* too little of it */
	FIRST_HELLO,
	FIRST_OTHER,
} First;

/* Do these bytes begin a hello? Anything else is the next packet of a peer that
 * is back, or the rest of one that it had begun to send. */
static First first_packet(VmcSpan in)
{
	VmcSpan rest = in;
	uint32_t type, length, id;

	for (size_t i = 0; i < MIN(in.len, 4u); i++)
		if (in.data[i] != HELLO_TYPE)
			return FIRST_OTHER;
	if (in.len < HELLO_HEADER)
		return FIRST_UNKNOWN;
	if (vmc_span_u32le(&rest, &type) && vmc_span_u32le(&rest, &length) &&
	    vmc_span_u32le(&rest, &id) && length >= HELLO_MIN && length <= HELLO_MAX && id == 0)
		return FIRST_HELLO;
	return FIRST_OTHER;
}

static void begin_anew(CcidUsbredir *usbredir)
{
	VmcSpan in = vmc_buf_span(&usbredir->in);
	g_autofree uint8_t *said = g_memdup2(in.data, in.len);

	usbredir_forget_peer(usbredir);
	vmc_buf_append(&usbredir->in, vmc_span(said, in.len));
}

bool usbredir_peer_tells(CcidUsbredir *usbredir)
{
	size_t room;
	uint8_t *to = vmc_buf_room(&usbredir->in, HELLO_HEADER, &room);

	vmc_buf_added(&usbredir->in, vmc_chardev_read(usbredir->chardev, to, room));
	if (vmc_buf_span(&usbredir->in).len == 0)
		return false;
	switch (first_packet(vmc_buf_span(&usbredir->in))) {
	case FIRST_UNKNOWN:
		return false;
	case FIRST_HELLO:
		begin_anew(usbredir);
		return true;
	case FIRST_OTHER:
		g_info("usbredir: the peer goes on where it left");
		usbredir->peer = USBREDIR_PRESENT;
		speak(usbredir);
		usbredir->timer = g_timeout_add(AGAIN_MS, on_again, usbredir);
		return true;
	}
	g_return_val_if_reached(true);
}

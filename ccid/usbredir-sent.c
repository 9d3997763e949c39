/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The answers that were sent last. QEMU stops to read when it stops its VM to
 * move it, so what is sent to it from then on is lost with its connection; the
 * QEMU that goes on waits for those answers. Its kernel says so: a connection
 * that is closed with bytes unread is reset, and so is one that is written to
 * after its end. Then the last answer of each pipe is sent once more, unless the
 * pipe was used since: who submits has had the answer before. QEMU drops an
 * answer for which it has no transfer, but takes it for another's, or aborts, if
 * it has used the id again: so only what it can still be waiting for is kept.
 */

#include "ccid/usbredir-private.h"

#include <string.h>

/* From the moment that QEMU stops its VM until it ends; then they are wiped. */
#define KEPT_MS 3000u

/* From the end of a connection until it is seen here, at most: what was sent in
 * that time is lost even if the end was in order. */
#define LATE_MS 50u

/* What no answer of a CCID device exceeds. */
#define KEPT_BYTES_MAX (256u * 1024)

typedef struct Sent {
	UsbredirTransfer transfer;
	uint8_t status;
	int64_t at; /* monotonic, us */
	size_t actual;
	size_t len;
	uint8_t data[];
} Sent;

static Sent *take_out(CcidUsbredir *usbredir, GList *link)
{
	Sent *sent = link->data;

	usbredir->sent_bytes -= sent->len;
	g_queue_delete_link(&usbredir->sent, link);
	return sent;
}

static void sent_free(Sent *sent)
{
	vmc_wipe(sent->data, sent->len);
	g_free(sent);
}

static void drop(CcidUsbredir *usbredir, GList *link)
{
	sent_free(take_out(usbredir, link));
}

static void drop_older(CcidUsbredir *usbredir, int64_t than)
{
	for (GList *i = usbredir->sent.head; i && ((Sent *)i->data)->at < than;
	     i = usbredir->sent.head)
		drop(usbredir, i);
}

void usbredir_sent_forget(CcidUsbredir *usbredir)
{
	drop_older(usbredir, INT64_MAX);
	g_clear_handle_id(&usbredir->sent_timer, g_source_remove);
}

static void fade(CcidUsbredir *usbredir, unsigned ms)
{
	drop_older(usbredir, g_get_monotonic_time() - ms * 1000);
}

void usbredir_sent_left(CcidUsbredir *usbredir, bool cut)
{
	fade(usbredir, cut ? KEPT_MS : LATE_MS);
}

static gboolean on_fade(void *user)
{
	CcidUsbredir *usbredir = user;

	/* Nothing grows old while the peer is away. */
	if (!usbredir->silent)
		fade(usbredir, KEPT_MS);
	if (usbredir->sent.length > 0)
		return G_SOURCE_CONTINUE;
	usbredir->sent_timer = 0;
	return G_SOURCE_REMOVE;
}

static bool is_kept(const UsbredirTransfer *transfer)
{
	switch (transfer->kind) {
	case USBREDIR_CONTROL:
	case USBREDIR_BULK:
	case USBREDIR_INTERRUPT_OUT: /* and what came in, see interrupt_received() */
		return true;
	case USBREDIR_INTERRUPT_IN:
	case USBREDIR_SET_CONFIGURATION:
	case USBREDIR_GET_CONFIGURATION:
	case USBREDIR_SET_ALT:
	case USBREDIR_GET_ALT:
		return false;
	}
	g_return_val_if_reached(false);
}

/* The pipe of a transfer, as an endpoint address; control requests have two. */
static uint8_t pipe_of(const UsbredirTransfer *transfer)
{
	switch (transfer->kind) {
	case USBREDIR_BULK:
		return transfer->bulk.endpoint;
	case USBREDIR_INTERRUPT_OUT:
		return transfer->interrupt.endpoint;
	default:
		return 0;
	}
}

/* The peer's id, which it may use again; of interrupt input we count our own. */
static bool has_peers_id(const UsbredirTransfer *transfer)
{
	return transfer->kind != USBREDIR_INTERRUPT_OUT ||
	       (transfer->interrupt.endpoint & 0x80u) == 0;
}

static bool is_obsolete(const UsbredirTransfer *sent, const UsbredirTransfer *by)
{
	return pipe_of(sent) == pipe_of(by) ||
	       (sent->peer_id == by->peer_id && has_peers_id(sent) && has_peers_id(by));
}

void usbredir_sent_obsolete(CcidUsbredir *usbredir, const UsbredirTransfer *transfer)
{
	GList *next;

	for (GList *i = usbredir->sent.head; i; i = next) {
		const Sent *sent = i->data;

		next = i->next;
		if (is_obsolete(&sent->transfer, transfer))
			drop(usbredir, i);
	}
}

void usbredir_sent_keep(CcidUsbredir *usbredir, const UsbredirTransfer *transfer, uint8_t status,
			VmcSpan data, size_t actual)
{
	Sent *sent;

	usbredir_sent_obsolete(usbredir, transfer);
	/* What waits for the peer's return is not sent yet. */
	if (usbredir->silent || !is_kept(transfer) || data.len > KEPT_BYTES_MAX)
		return;
	while (usbredir->sent_bytes + data.len > KEPT_BYTES_MAX)
		drop(usbredir, usbredir->sent.head);

	sent = g_malloc(sizeof(*sent) + data.len);
	sent->transfer = *transfer;
	sent->status = status;
	sent->at = g_get_monotonic_time();
	sent->actual = actual;
	sent->len = data.len;
	if (data.len > 0)
		memcpy(sent->data, data.data, data.len);
	usbredir->sent_bytes += data.len;
	g_queue_push_tail(&usbredir->sent, sent);
	if (usbredir->sent_timer == 0)
		usbredir->sent_timer = g_timeout_add(KEPT_MS, on_fade, usbredir);
}

void usbredir_sent_again(CcidUsbredir *usbredir)
{
	int64_t left = usbredir->forget_at - (int64_t)usbredir->away_ms * 1000;

	/* Answered again they are kept anew, as of now: the peer may leave once
	 * more. */
	for (GList *i = usbredir->sent.head; i && ((Sent *)i->data)->at <= left;
	     i = usbredir->sent.head) {
		Sent *sent = take_out(usbredir, i);

		usbredir_answer(usbredir, &sent->transfer, sent->status,
				vmc_span(sent->data, sent->len), sent->actual);
		sent_free(sent);
	}
	usbredir_flush(usbredir);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The answers that were sent of late. QEMU stops to read when it stops its VM
 * to move it, so what is sent to it from then on is lost with its connection;
 * the QEMU that goes on waits for those answers. Which ones they are is not
 * known here. So the last ones are sent once more when the peer is back; it
 * drops those for which it has no transfer. None is kept whose id the peer has
 * used again; and a peer that is back and goes on with a pipe misses none of
 * that pipe's: QEMU aborts at an answer whose id it has used again meanwhile.
 */

#include "ccid/usbredir-private.h"

#include <string.h>

/* From the moment that QEMU stops its VM until it ends; then they are wiped. */
#define KEPT_MS 3000u

/* In a CCID conversation there are two or three answers a command. */
#define KEPT_MAX 32u
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
	usbredir->again_due = false;
	g_clear_handle_id(&usbredir->sent_timer, g_source_remove);
}

void usbredir_sent_fade(CcidUsbredir *usbredir)
{
	drop_older(usbredir, g_get_monotonic_time() - KEPT_MS * 1000);
}

static gboolean on_fade(void *user)
{
	CcidUsbredir *usbredir = user;

	/* Nothing grows old while the peer is away. */
	if (!usbredir->silent)
		usbredir_sent_fade(usbredir);
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

void usbredir_sent_keep(CcidUsbredir *usbredir, const UsbredirTransfer *transfer, uint8_t status,
			VmcSpan data, size_t actual)
{
	Sent *sent;

	/* What waits for the peer's return is not sent yet. */
	if (usbredir->silent || !is_kept(transfer) || data.len > KEPT_BYTES_MAX)
		return;
	while (usbredir->sent.length >= KEPT_MAX ||
	       usbredir->sent_bytes + data.len > KEPT_BYTES_MAX)
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

void usbredir_sent_obsolete(CcidUsbredir *usbredir, const UsbredirTransfer *transfer)
{
	GList *next;

	for (GList *i = usbredir->sent.head; i; i = next) {
		const Sent *sent = i->data;

		next = i->next;
		if (sent->transfer.peer_id == transfer->peer_id ||
		    (usbredir->again_due && pipe_of(&sent->transfer) == pipe_of(transfer)))
			drop(usbredir, i);
	}
}

void usbredir_sent_again(CcidUsbredir *usbredir)
{
	usbredir->again_due = false;
	for (guint n = usbredir->sent.length; n > 0; n--) {
		Sent *sent = take_out(usbredir, usbredir->sent.head);

		/* This keeps it anew: the peer may leave once more. */
		usbredir_answer(usbredir, &sent->transfer, sent->status,
				vmc_span(sent->data, sent->len), sent->actual);
		sent_free(sent);
	}
	usbredir_flush(usbredir);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The answers that were sent last. QEMU stops to read when it stops its VM to
 * move it, so what is sent to it from then on is lost with its connection; the
 * QEMU that goes on waits for those answers. Its kernel says so: a connection
 * that is closed with bytes unread is reset, and so is one that is written to
 * after its end. Then what it may have missed is sent once more.
 *
 * What QEMU makes of such an answer (hw/usb/redirect.c and core.c): it drops one
 * whose id no transfer of that endpoint has. It takes it for another transfer's
 * if the id was used again. And it aborts if the transfer is not the oldest one
 * under way on its endpoint. So all is sent again that it may have missed, in
 * order, and nothing else of a pipe before that.
 *
 * What it has had is seen from what it submits: a pipe used again, or an id. It
 * reads in order, so it has had all that was sent before that too. Two things
 * say nothing: a further piece of one message, since UHCI submits them all and
 * then waits; and an answer to what was cancelled, since for the guest that was
 * over before it came. QEMU keeps the id of a cancelled transfer until the answer
 * is there, and drops the next answer with that id, whosever it is: so those are
 * sent again like the others.
 */

#include "ccid/usbredir-private.h"

#include <string.h>

/* From the moment that QEMU stops its VM until it ends; then they are wiped. */
#define KEPT_MS 3000u

/* From the end of a connection until it is seen here, at most: what was sent in
 * that time is lost even if the end was in order. */
#define LATE_MS 50u

/* Of what was sent: no answer of a CCID device exceeds it, nor do the answers to
 * all pieces of the longest message. */
#define KEPT_BYTES_MAX (256u * 1024)

typedef struct Sent {
	UsbredirTransfer transfer;
	uint8_t status;
	bool again; /* from before the peer left: to be sent once more */
	bool held;  /* behind one of those: not sent yet */
	int64_t at; /* monotonic, us */
	size_t actual;
	size_t len;
	uint8_t data[];
} Sent;

static size_t cost_of(const Sent *sent)
{
	return sizeof(*sent) + sent->len;
}

static void sent_free(Sent *sent)
{
	vmc_wipe(sent->data, sent->len);
	g_free(sent);
}

static void drop(CcidUsbredir *usbredir, GList *link)
{
	Sent *sent = link->data;

	usbredir->sent_bytes -= cost_of(sent);
	g_queue_delete_link(&usbredir->sent, link);
	sent_free(sent);
}

void usbredir_sent_forget(CcidUsbredir *usbredir)
{
	while (usbredir->sent.head)
		drop(usbredir, usbredir->sent.head);
	usbredir->sent_due = false;
	usbredir->message_goes_on = false;
	g_clear_handle_id(&usbredir->sent_timer, g_source_remove);
}

/* ---- Pipes and ids ---- */

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

/* Interrupt input is a packet of our own: nobody submits it, the last one says
 * all, and its id is one of ours. */
static bool is_interrupt_input(const UsbredirTransfer *transfer)
{
	return transfer->kind == USBREDIR_INTERRUPT_OUT &&
	       (transfer->interrupt.endpoint & 0x80u) != 0;
}

/* The last that is kept of `pipe`, or NULL. */
static const Sent *last_of(const CcidUsbredir *usbredir, uint8_t pipe)
{
	for (GList *i = usbredir->sent.tail; i; i = i->prev) {
		const Sent *sent = i->data;

		if (pipe_of(&sent->transfer) == pipe)
			return sent;
	}
	return NULL;
}

/* ---- What the peer has had ---- */

/* Those of a pipe grow old together, so that none is missing before another. */
static void fade(CcidUsbredir *usbredir, unsigned ms)
{
	int64_t than = g_get_monotonic_time() - ms * 1000;
	GList *next;

	for (GList *i = usbredir->sent.head; i; i = next) {
		const Sent *sent = i->data;

		next = i->next;
		if (!sent->again && last_of(usbredir, pipe_of(&sent->transfer))->at < than)
			drop(usbredir, i);
	}
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

/* Is `transfer` a further piece of the message before it? A message ends with a
 * piece shorter than a packet. */
static bool is_further_piece(CcidUsbredir *usbredir, const UsbredirTransfer *transfer)
{
	bool further = usbredir->message_goes_on;

	if (transfer->kind != USBREDIR_BULK || (transfer->bulk.endpoint & 0x80u) != 0)
		return false;
	usbredir->message_goes_on =
		transfer->bulk.length != 0 && transfer->bulk.length % USBREDIR_PACKET == 0;
	return further;
}

static bool has_id_of(const Sent *sent, const UsbredirTransfer *transfer)
{
	return !sent->held && !is_interrupt_input(&sent->transfer) &&
	       sent->transfer.peer_id == transfer->peer_id;
}

/* All that was sent on that connection up to `last` has arrived. */
static void drop_to(CcidUsbredir *usbredir, GList *last)
{
	bool again = ((Sent *)last->data)->again;
	GList *next;

	for (GList *i = usbredir->sent.head; i; i = next) {
		const Sent *sent = i->data;
		bool end = i == last;

		next = end ? NULL : i->next;
		if (!sent->held && sent->again == again)
			drop(usbredir, i);
	}
}

void usbredir_sent_obsolete(CcidUsbredir *usbredir, const UsbredirTransfer *transfer)
{
	bool further = is_further_piece(usbredir, transfer);
	GList *prev;

	for (GList *i = usbredir->sent.tail; i; i = prev) {
		const Sent *sent = i->data;
		bool same_id = has_id_of(sent, transfer);
		bool same_pipe =
			!further && !sent->held && pipe_of(&sent->transfer) == pipe_of(transfer);

		prev = i->prev;
		if ((same_id || same_pipe) && sent->status != usb_redir_cancelled) {
			drop_to(usbredir, i);
			return;
		}
		if (same_id)
			drop(usbredir, i);
	}
}

/* ---- Keeping ---- */

static void push(CcidUsbredir *usbredir, const Sent *like, VmcSpan data)
{
	Sent *sent = g_malloc(sizeof(*sent) + data.len);

	*sent = *like;
	sent->at = g_get_monotonic_time();
	sent->len = data.len;
	if (data.len > 0)
		memcpy(sent->data, data.data, data.len);
	usbredir->sent_bytes += cost_of(sent);
	g_queue_push_tail(&usbredir->sent, sent);
	if (usbredir->sent_timer == 0)
		usbredir->sent_timer = g_timeout_add(KEPT_MS, on_fade, usbredir);
}

static void drop_sent(CcidUsbredir *usbredir, const UsbredirTransfer *displaced)
{
	GList *next;

	for (GList *i = usbredir->sent.head; i; i = next) {
		const Sent *sent = i->data;

		next = i->next;
		if (displaced ? pipe_of(&sent->transfer) == pipe_of(displaced) : !sent->again)
			drop(usbredir, i);
	}
}

void usbredir_sent_keep(CcidUsbredir *usbredir, const UsbredirTransfer *transfer, uint8_t status,
			VmcSpan data, size_t actual)
{
	Sent sent = { .transfer = *transfer, .status = status, .actual = actual };

	if (is_interrupt_input(transfer))
		drop_sent(usbredir, transfer);
	/* What waits for the peer's return is not sent yet. */
	if (usbredir->silent)
		return;
	/* A peer with so much under way gets nothing again, rather than a part. */
	if (usbredir->sent_bytes + sizeof(sent) + data.len > KEPT_BYTES_MAX)
		drop_sent(usbredir, NULL);
	if (usbredir->sent_bytes + sizeof(sent) + data.len <= KEPT_BYTES_MAX)
		push(usbredir, &sent, data);
}

/* ---- The peer's return ---- */

void usbredir_sent_left(CcidUsbredir *usbredir, bool cut)
{
	fade(usbredir, cut ? KEPT_MS : LATE_MS);
	for (GList *i = usbredir->sent.head; i; i = i->next)
		((Sent *)i->data)->again = true;
	usbredir->sent_due = usbredir->sent.length > 0;
}

bool usbredir_sent_hold(CcidUsbredir *usbredir, const UsbredirTransfer *transfer, uint8_t status,
			VmcSpan data, size_t actual)
{
	Sent sent = {
		.transfer = *transfer,
		.status = status,
		.again = true,
		.held = true,
		.actual = actual,
	};
	const Sent *last = NULL;

	if (usbredir->sent_due && !is_interrupt_input(transfer))
		last = last_of(usbredir, pipe_of(transfer));
	if (!last || !last->again)
		return false;
	push(usbredir, &sent, data);
	return true;
}

void usbredir_sent_again(CcidUsbredir *usbredir)
{
	GQueue due = G_QUEUE_INIT;
	GList *next;
	Sent *sent;

	usbredir->sent_due = false;
	for (GList *i = usbredir->sent.head; i; i = next) {
		sent = i->data;
		next = i->next;
		if (!sent->again)
			continue;
		usbredir->sent_bytes -= cost_of(sent);
		g_queue_unlink(&usbredir->sent, i);
		g_queue_push_tail_link(&due, i);
	}
	/* Answered again they are kept anew, as of now: the peer may leave once
	 * more. */
	while ((sent = g_queue_pop_head(&due))) {
		usbredir_answer(usbredir, &sent->transfer, sent->status,
				vmc_span(sent->data, sent->len), sent->actual);
		sent_free(sent);
	}
	usbredir_flush(usbredir);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The set of readers. A thread that watches and a thread a reader that works
 * (pcsc-monitor.h, pcsc-reader.h) post what happens to the main loop; here it
 * becomes readers, cards and outcomes. The newest word on a card is the count
 * of its insertions: what was asked of an earlier card ends with NO_CARD.
 */

#include "vscard/pcsc.h"

#include <string.h>

#include "vscard/pcsc-monitor.h"
#include "vscard/pcsc-reader.h"
#include "vscard/post.h"

/* How long cards may take to be reset at the end. */
#define STOP_MS 2000
/* A card that another program has for itself is lent when pcscd says that it is
 * free; it does not say so of a use shorter than 0.4 s. So it is tried as well,
 * ever less often. */
#define PROBE_FIRST_SECONDS 1u
#define PROBE_MAX_SECONDS 60u

/* One reader. */
typedef struct Slot {
	VscCard card; /* first */
	VscPcsc *owner;
	unsigned serial; /* what jobs call it: one may come after its slot is gone */
	VscPcscReader *reader;
	GQueue pending;     /* jobs not yet answered, borrowed */
	unsigned insertion; /* counts cards */
	bool there;         /* a card is in the reader, */
	bool out;           /* taken out by hand, */
	bool blocked;       /* another program's alone */
	bool missing;       /* or so it says; who asked it found none */
	guint probe_timer;
	unsigned probe_seconds;
	uint8_t atr[VSC_ATR_MAX]; /* of the card that is there */
	size_t atr_len;
} Slot;

/* What threads post: a job done, or a change. */
typedef struct News {
	VscPcscJob *job; /* NULL: a change */
	VscPcscChange change;
	char *name;
	uint8_t atr[VSC_ATR_MAX];
} News;

struct VscPcsc {
	const VscPcscEvents *events;
	void *user;
	VscShareMode mode;
	VscPost *post;
	VscPcscMonitor *monitor;
	GPtrArray *slots;
	unsigned last_serial;
};

/* ---- From the threads ---- */

static void news_free(gpointer data)
{
	News *news = data;

	if (news->job != NULL)
		vsc_pcsc_job_free(news->job);
	g_free(news->name);
	g_free(news);
}

static void on_changed(void *user, const VscPcscChange *change)
{
	VscPcsc *pcsc = user;
	News *news = g_new0(News, 1);

	news->change = *change;
	news->name = g_strdup(change->name);
	if (change->atr.len > 0)
		memcpy(news->atr, change->atr.data, change->atr.len);
	news->change.atr.data = news->atr;
	vsc_post_send(pcsc->post, news);
}

static void on_done(void *user, VscPcscJob *job)
{
	VscPcsc *pcsc = user;
	News *news = g_new0(News, 1);

	news->job = job;
	vsc_post_send(pcsc->post, news);
}

/* ---- Requests ---- */

static Slot *slot_of(VscCard *card)
{
	return (Slot *)card;
}

static void request(VscCard *card, VscPcscJobKind kind, VscToken token, VmcSpan command)
{
	Slot *slot = slot_of(card);
	VscPcscJob *job = vsc_pcsc_job_new(kind, command);

	job->slot = slot->serial;
	job->token = token;
	job->insertion = slot->insertion;
	g_queue_push_tail(&slot->pending, job);
	if (card->present) {
		vsc_pcsc_reader_push(slot->reader, job);
		return;
	}
	job->outcome = VSC_OUTCOME_NO_CARD;
	on_done(slot->owner, job);
}

static void card_power_on(VscCard *card, VscToken token)
{
	request(card, VSC_PCSC_POWER_ON, token, vmc_span(NULL, 0));
}

static void card_power_off(VscCard *card, VscToken token)
{
	request(card, VSC_PCSC_POWER_OFF, token, vmc_span(NULL, 0));
}

static void card_reset(VscCard *card, VscToken token)
{
	request(card, VSC_PCSC_RESET, token, vmc_span(NULL, 0));
}

static void card_transmit(VscCard *card, VscToken token, VmcSpan command)
{
	request(card, VSC_PCSC_TRANSMIT, token, command);
}

/* pcsc-lite cannot stop what a card does; what has not begun does not begin. */
static void card_cancel(VscCard *card, VscToken token)
{
	for (GList *link = slot_of(card)->pending.head; link != NULL; link = link->next) {
		VscPcscJob *job = link->data;

		if (job->token == token)
			g_atomic_int_set(&job->begun, VSC_PCSC_CANCELLED);
	}
}

/* The VscPcsc owns its cards. */
static void card_free(VscCard *card)
{
	(void)card;
}

static const VscCardClass pcsc_class = {
	.power_on = card_power_on,
	.power_off = card_power_off,
	.reset = card_reset,
	.transmit = card_transmit,
	.cancel = card_cancel,
	.free = card_free,
};

/* ---- Cards come and go ---- */

static void tell_card_changed(Slot *slot)
{
	if (slot->owner->events->card_changed != NULL)
		slot->owner->events->card_changed(slot->owner->user, &slot->card);
}

static void push_own(Slot *slot, VscPcscJobKind kind)
{
	VscPcscJob *job = vsc_pcsc_job_new(kind, vmc_span(NULL, 0));

	job->slot = slot->serial;
	vsc_pcsc_reader_push(slot->reader, job);
}

/* What is still asked of the card is asked in vain, and the worker lets go. */
static void card_gone(Slot *slot)
{
	if (!slot->card.present)
		return;
	for (GList *link = slot->pending.head; link != NULL; link = link->next)
		g_atomic_int_set(&((VscPcscJob *)link->data)->begun, VSC_PCSC_CANCELLED);
	push_own(slot, slot->there ? VSC_PCSC_WITHDRAW : VSC_PCSC_DROP);
	vsc_card_emit_removed(&slot->card);
	tell_card_changed(slot);
}

static void card_there(Slot *slot)
{
	if (slot->card.present || !slot->there || slot->out || slot->blocked || slot->missing)
		return;
	slot->insertion++;
	vsc_card_set_atr(&slot->card, vmc_span(slot->atr, slot->atr_len));
	vsc_card_emit_inserted(&slot->card);
	tell_card_changed(slot);
}

static void unblock(Slot *slot)
{
	g_clear_handle_id(&slot->probe_timer, g_source_remove);
	slot->blocked = slot->missing = false;
	card_there(slot);
}

static gboolean on_probe_time(gpointer user)
{
	Slot *slot = user;

	slot->probe_timer = 0;
	push_own(slot, VSC_PCSC_PROBE);
	return G_SOURCE_REMOVE;
}

static void probe_later(Slot *slot)
{
	g_clear_handle_id(&slot->probe_timer, g_source_remove);
	slot->probe_timer = g_timeout_add_seconds(slot->probe_seconds, on_probe_time, slot);
	slot->probe_seconds = MIN(slot->probe_seconds * 2, PROBE_MAX_SECONDS);
}

static void take_probe(Slot *slot, VscOutcome outcome)
{
	if (!slot->blocked && !slot->missing)
		return;
	if (outcome == VSC_OUTCOME_OK)
		unblock(slot);
	else
		probe_later(slot);
}

static void block(Slot *slot)
{
	g_message("another program has the card in reader '%s' for itself%s", slot->card.name,
		  slot->owner->mode == VSC_SHARE_ALONE ? ", or uses it" : "");
	slot->blocked = true;
	slot->probe_seconds = PROBE_FIRST_SECONDS;
	probe_later(slot);
	card_gone(slot);
}

/* What was asked of the card found none. pcscd says that it is gone, sooner or
 * later; or not at all, if it is back before pcscd looks. */
static void miss(Slot *slot)
{
	slot->there = false;
	card_gone(slot);
	slot->there = slot->missing = true;
	slot->probe_seconds = PROBE_FIRST_SECONDS;
	probe_later(slot);
}

static void take_finding(Slot *slot, VscPcscFinding finding)
{
	switch (finding) {
	case VSC_PCSC_NOTHING:
		break;
	case VSC_PCSC_REMOVED:
		miss(slot);
		break;
	case VSC_PCSC_LOST:
		g_message("another program reset the card in reader '%s'", slot->card.name);
		card_gone(slot);
		card_there(slot);
		break;
	case VSC_PCSC_BLOCKED:
		block(slot);
		break;
	}
}

/* ---- Readers come and go ---- */

static Slot *find(VscPcsc *pcsc, const char *name)
{
	for (guint i = 0; i < pcsc->slots->len; i++) {
		Slot *slot = pcsc->slots->pdata[i];

		if (strcmp(slot->card.name, name) == 0)
			return slot;
	}
	return NULL;
}

static Slot *find_serial(VscPcsc *pcsc, unsigned serial)
{
	for (guint i = 0; i < pcsc->slots->len; i++) {
		Slot *slot = pcsc->slots->pdata[i];

		if (slot->serial == serial)
			return slot;
	}
	return NULL;
}

static void slot_free(Slot *slot, gint64 until)
{
	g_clear_handle_id(&slot->probe_timer, g_source_remove);
	vsc_pcsc_reader_free(slot->reader, until);
	vsc_card_finish(&slot->card);
	g_queue_clear(&slot->pending);
	g_free(slot);
}

static void reader_added(VscPcsc *pcsc, const char *name)
{
	Slot *slot;

	if (pcsc->events->wanted != NULL && !pcsc->events->wanted(pcsc->user, name))
		return;
	slot = g_new0(Slot, 1);
	vsc_card_init(&slot->card, &pcsc_class, name);
	slot->owner = pcsc;
	slot->serial = ++pcsc->last_serial;
	g_queue_init(&slot->pending);
	slot->reader = vsc_pcsc_reader_new(name, pcsc->mode, on_done, pcsc);
	g_ptr_array_add(pcsc->slots, slot);
	push_own(slot, VSC_PCSC_DESCRIBE);
	if (pcsc->events->reader_added != NULL)
		pcsc->events->reader_added(pcsc->user, &slot->card);
}

static void reader_removed(VscPcsc *pcsc, Slot *slot)
{
	VscPcscJob *job;

	slot->there = false;
	card_gone(slot);
	while ((job = g_queue_pop_head(&slot->pending)) != NULL)
		vsc_card_emit_answered(&slot->card, job->token, VSC_OUTCOME_NO_CARD,
				       vmc_span(NULL, 0));
	g_ptr_array_remove(pcsc->slots, slot);
	if (pcsc->events->reader_removed != NULL)
		pcsc->events->reader_removed(pcsc->user, &slot->card);
	slot_free(slot, 0);
}

/* ---- News ---- */

static void take_sharing(Slot *slot, const VscPcscChange *change)
{
	bool free = slot->owner->mode == VSC_SHARE_ALONE ? !change->used : !change->exclusive;

	if (slot->blocked && free)
		unblock(slot);
}

static void take_card(Slot *slot, const VscPcscChange *change)
{
	if (slot->missing)
		g_clear_handle_id(&slot->probe_timer, g_source_remove);
	slot->there = true;
	slot->missing = false;
	slot->atr_len = change->atr.len;
	if (change->atr.len > 0)
		memcpy(slot->atr, change->atr.data, change->atr.len);
	card_there(slot);
}

static void tell_service(VscPcsc *pcsc, bool running)
{
	if (pcsc->events->service != NULL)
		pcsc->events->service(pcsc->user, running);
}

static void take_change(VscPcsc *pcsc, const News *news)
{
	const VscPcscChange *change = &news->change;
	Slot *slot = news->name != NULL ? find(pcsc, news->name) : NULL;

	switch (change->kind) {
	case VSC_PCSC_SERVICE:
	case VSC_PCSC_NO_SERVICE:
		tell_service(pcsc, change->kind == VSC_PCSC_SERVICE);
		return;
	case VSC_PCSC_SETTLED:
		if (pcsc->events->settled != NULL)
			pcsc->events->settled(pcsc->user);
		return;
	case VSC_PCSC_READER:
		reader_added(pcsc, news->name);
		return;
	case VSC_PCSC_READER_GONE:
		if (slot != NULL)
			reader_removed(pcsc, slot);
		return;
	case VSC_PCSC_CARD:
		if (slot != NULL)
			take_card(slot, change);
		return;
	case VSC_PCSC_CARD_GONE:
		if (slot != NULL) {
			slot->there = slot->blocked = slot->missing = false;
			g_clear_handle_id(&slot->probe_timer, g_source_remove);
			card_gone(slot);
		}
		return;
	case VSC_PCSC_SHARING:
		if (slot != NULL)
			take_sharing(slot, change);
		return;
	}
}

static void take_job(VscPcsc *pcsc, VscPcscJob *job)
{
	Slot *slot = find_serial(pcsc, job->slot);
	bool current;

	if (slot == NULL)
		return;
	if (job->kind == VSC_PCSC_DESCRIBE) {
		vsc_card_describe(&slot->card, NULL, &job->info);
		return;
	}
	if (job->kind == VSC_PCSC_PROBE) {
		take_probe(slot, job->outcome);
		return;
	}
	g_queue_remove(&slot->pending, job);
	current = slot->card.present && job->insertion == slot->insertion;
	if (current && job->outcome == VSC_OUTCOME_OK &&
	    (job->kind == VSC_PCSC_POWER_ON || job->kind == VSC_PCSC_RESET)) {
		slot->card.exchange = job->exchange;
		vsc_card_set_atr(&slot->card, vmc_span(job->data, job->len));
	}
	vsc_card_emit_answered(&slot->card, job->token,
			       current ? job->outcome : VSC_OUTCOME_NO_CARD,
			       vmc_span(job->data, job->len));
	if (current)
		take_finding(slot, job->finding);
}

static void tell_news(void *user, void *data)
{
	News *news = data;

	if (news->job != NULL)
		take_job(user, news->job);
	else
		take_change(user, news);
}

/* ---- By hand ---- */

bool vsc_pcsc_remove(VscCard *card)
{
	Slot *slot = slot_of(card);

	g_return_val_if_fail(card->class == &pcsc_class, false);

	if (slot->out || !slot->there)
		return false;
	slot->out = true;
	card_gone(slot);
	return true;
}

bool vsc_pcsc_insert(VscCard *card)
{
	Slot *slot = slot_of(card);

	g_return_val_if_fail(card->class == &pcsc_class, false);

	if (!slot->out)
		return false;
	slot->out = false;
	card_there(slot);
	return true;
}

/* ---- The whole ---- */

VscPcsc *vsc_pcsc_new(VscShareMode mode, const VscPcscEvents *events, void *user)
{
	VscPcsc *pcsc = g_new0(VscPcsc, 1);

	/* Else libpcsclite waits by itself where others use a card, and asking
	 * whether they do would not come back. */
	g_setenv("PCSCLITE_NO_BLOCKING", "1", TRUE);
	pcsc->events = events;
	pcsc->user = user;
	pcsc->mode = mode;
	pcsc->slots = g_ptr_array_new();
	pcsc->post = vsc_post_new(tell_news, news_free, pcsc);
	pcsc->monitor = vsc_pcsc_monitor_new(on_changed, pcsc);
	return pcsc;
}

/* All at once are told to end, then waited for together. */
void vsc_pcsc_free(VscPcsc *pcsc)
{
	gint64 until = g_get_monotonic_time() + STOP_MS * 1000;

	if (pcsc == NULL)
		return;
	for (guint i = 0; i < pcsc->slots->len; i++)
		vsc_pcsc_reader_stop(((Slot *)pcsc->slots->pdata[i])->reader);
	vsc_pcsc_monitor_free(pcsc->monitor);
	for (guint i = 0; i < pcsc->slots->len; i++)
		slot_free(pcsc->slots->pdata[i], until);
	vsc_post_free(pcsc->post);
	g_ptr_array_unref(pcsc->slots);
	g_free(pcsc);
}

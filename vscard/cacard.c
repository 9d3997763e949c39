/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Virtual cards of libcacard. Every call of the library that works on a card
 * is made by one worker thread, which takes jobs from a queue. The library's
 * own event queue can only be waited for by blocking, and with hardware tokens
 * its threads fill it at any time: a second thread, the waiter, does nothing
 * but block there and hand each event to the worker as a job. What comes of
 * jobs goes to the main loop as news, told from there and in order.
 */

#include "vscard/cacard.h"

#include <libcacard.h>
#include <string.h>

#include <nss.h>
#include <prerror.h>

#include "vscard/cacard-guard.h"
#include "vscard/cacard-options.h"
#include "vscard/post.h"

G_DEFINE_QUARK(vsc_cacard_error_quark, vsc_cacard_error)

/* An ATR has 33 bytes at most; of a passed-through card libcacard copies what
 * pcscd's struct holds without asking for room. */
#define ATR_ROOM 64
/* One reader of libcacard. Made by the worker, freed when neither side has it;
 * each member belongs to one of the two threads. */
typedef struct Slot {
	VscCard card;     /* main */
	VscCacard *owner; /* both, never changes */
	GQueue pending;   /* main: jobs not yet answered, borrowed */
	unsigned met;     /* main: the insertion its user knows of */
	bool gone;        /* main: reader_removed was told */

	VReader *reader;      /* worker */
	char *name;           /* worker until the news of it, then main */
	unsigned insertion;   /* worker: counts cards */
	bool present;         /* worker: a card is there, its event was seen */
	bool leaving;         /* worker: taken out by hand, the event will come */
	bool powered;         /* worker */
	VscCacardGuard guard; /* worker */
} Slot;

typedef enum JobKind {
	JOB_POWER_ON,
	JOB_POWER_OFF,
	JOB_RESET,
	JOB_TRANSMIT,
	JOB_INSERT,
	JOB_REMOVE,
	JOB_EVENT,
	JOB_STOP,
} JobKind;

/* A job's `begun`, changed by compare and exchange: whoever is first, the
 * worker to begin or the user to cancel, has it. */
enum { JOB_QUEUED, JOB_BEGUN, JOB_CANCELLED };

typedef struct Job {
	JobKind kind;
	Slot *slot; /* NULL for EVENT and STOP */
	VscToken token;
	unsigned insertion; /* the card it is meant for */
	gint begun;
	VEvent *event; /* EVENT */
	uint8_t *data; /* the command, then the response or ATR */
	size_t len;
	VscOutcome outcome;
} Job;

typedef enum NewsKind {
	NEWS_READER,
	NEWS_READER_GONE,
	NEWS_INSERTED,
	NEWS_REMOVED,
	NEWS_STAYED_IN,
	NEWS_STAYED_OUT,
	NEWS_ANSWER,
} NewsKind;

typedef struct News {
	NewsKind kind;
	Slot *slot;
	unsigned insertion; /* INSERTED */
	Job *job;           /* ANSWER */
} News;

struct VscCacard {
	const VscCacardEvents *events;
	void *user;
	GPtrArray *slots; /* main: those told to the user */
	VscPost *post;
	GThread *worker;
	GThread *waiter;
	GAsyncQueue *jobs;
	GAsyncQueue *started; /* the worker says once how it began */
	GError *failure;      /* of the beginning; the worker's until it said so */
	char *options;
	GPtrArray *readers; /* worker: its slots */
	uint8_t *response;  /* worker: room for the longest */
	bool emulates;      /* worker: the cards are the library's own, so guarded */
};

/* ---- Slots, jobs and news ---- */

static void slot_clear(gpointer data)
{
	Slot *slot = data;

	g_queue_clear(&slot->pending);
	g_free(slot->name);
}

static void slot_unref(gpointer slot)
{
	g_atomic_rc_box_release_full(slot, slot_clear);
}

static Slot *slot_new(VscCacard *cacard, VReader *reader)
{
	Slot *slot = g_atomic_rc_box_new0(Slot);

	slot->owner = cacard;
	slot->reader = vreader_reference(reader);
	slot->name = g_utf8_make_valid(vreader_get_name(reader), -1);
	g_queue_init(&slot->pending);
	return slot;
}

static Job *job_new(JobKind kind, Slot *slot)
{
	Job *job = g_new0(Job, 1);

	job->kind = kind;
	job->slot = slot != NULL ? g_atomic_rc_box_acquire(slot) : NULL;
	return job;
}

static void job_take_data(Job *job, const uint8_t *data, size_t len)
{
	vmc_wipe(job->data, job->len);
	g_free(job->data);
	job->data = g_memdup2(data, len);
	job->len = len;
}

static void job_free(gpointer data)
{
	Job *job = data;

	job_take_data(job, NULL, 0);
	vevent_delete(job->event);
	if (job->slot != NULL)
		slot_unref(job->slot);
	g_free(job);
}

static void news_free(gpointer data)
{
	News *news = data;

	slot_unref(news->slot);
	if (news->job != NULL)
		job_free(news->job);
	g_free(news);
}

static void send_news(VscCacard *cacard, NewsKind kind, Slot *slot, Job *job)
{
	News *news = g_new0(News, 1);

	news->kind = kind;
	news->slot = g_atomic_rc_box_acquire(slot);
	news->insertion = slot->insertion;
	news->job = job;
	vsc_post_send(cacard->post, news);
}

/* ---- The worker: commands ---- */

static void job_answer(Job *job, VscOutcome outcome, const uint8_t *data, size_t len)
{
	job->outcome = outcome;
	job_take_data(job, data, len);
}

/* What the card said, or the guard had it say. */
static void take_response(Slot *slot, Job *job, uint8_t *response, size_t len)
{
	unsigned sw = (unsigned)response[len - 2] << 8 | response[len - 1];

	if (slot->owner->emulates)
		sw = vsc_cacard_guard_after(&slot->guard, vmc_span(job->data, job->len), len - 2,
					    sw);
	response[len - 2] = (uint8_t)(sw >> 8);
	response[len - 1] = (uint8_t)sw;
	job_answer(job, VSC_OUTCOME_OK, response, len);
}

/* Is the command not for the card to see? Then it is answered. */
static bool answer_instead(Slot *slot, Job *job)
{
	unsigned sw = 0;
	uint8_t response[2];

	if (slot->owner->emulates)
		sw = vsc_cacard_guard_before(&slot->guard, vmc_span(job->data, job->len));
	response[0] = (uint8_t)(sw >> 8);
	response[1] = (uint8_t)sw;
	if (sw != 0)
		job_answer(job, VSC_OUTCOME_OK, response, sizeof(response));
	return sw != 0;
}

static void do_transmit(Slot *slot, Job *job)
{
	uint8_t *response = slot->owner->response;
	int len = VSC_RESPONSE_MAX;

	if (!slot->powered) {
		job->outcome = VSC_OUTCOME_NOT_POWERED;
		return;
	}
	if (answer_instead(slot, job))
		return;
	if (vreader_xfr_bytes(slot->reader, job->data, (int)job->len, response, &len) != VREADER_OK)
		len = 0;
	if (len >= 2)
		take_response(slot, job, response, (size_t)len);
	else if (vreader_card_is_present(slot->reader) == VREADER_OK)
		job->outcome = VSC_OUTCOME_FAILED;
	else
		job->outcome = VSC_OUTCOME_NO_CARD;
	vmc_wipe(response, (size_t)len);
}

/* ---- The worker: power ---- */

static void power_off(Slot *slot)
{
	if (slot->powered)
		vreader_power_off(slot->reader);
	slot->powered = false;
}

static void do_power_on(Slot *slot, Job *job)
{
	uint8_t atr[ATR_ROOM];
	int len = sizeof(atr);

	if (vreader_power_on(slot->reader, atr, &len) != VREADER_OK) {
		job->outcome = VSC_OUTCOME_NO_CARD;
		return;
	}
	slot->powered = true;
	vsc_cacard_guard_reset(&slot->guard);
	if (len < 2 || len > (int)sizeof(atr))
		job->outcome = VSC_OUTCOME_MUTE;
	else
		job_answer(job, VSC_OUTCOME_OK, atr, (size_t)len);
}

static void do_request(Slot *slot, Job *job)
{
	job->outcome = VSC_OUTCOME_OK;
	switch (job->kind) {
	case JOB_RESET:
		power_off(slot);
		do_power_on(slot, job);
		break;
	case JOB_POWER_ON:
		do_power_on(slot, job);
		break;
	case JOB_POWER_OFF:
		power_off(slot);
		break;
	case JOB_TRANSMIT:
		do_transmit(slot, job);
		break;
	case JOB_INSERT:
	case JOB_REMOVE:
	case JOB_EVENT:
	case JOB_STOP:
		g_assert_not_reached();
	}
}

/* One request, and its answer to the main loop, which frees it. */
static void serve_request(Slot *slot, Job *job)
{
	if (!g_atomic_int_compare_and_exchange(&job->begun, JOB_QUEUED, JOB_BEGUN))
		job->outcome = VSC_OUTCOME_CANCELLED;
	else if (!slot->present || slot->leaving || slot->insertion != job->insertion)
		job->outcome = VSC_OUTCOME_NO_CARD;
	else
		do_request(slot, job);
	if (job->outcome != VSC_OUTCOME_OK)
		job_take_data(job, NULL, 0);
	send_news(slot->owner, NEWS_ANSWER, slot, job);
}

/* ---- The worker: readers and cards come and go ---- */

static Slot *find_slot(VscCacard *cacard, VReader *reader)
{
	for (guint i = 0; i < cacard->readers->len; i++) {
		Slot *slot = cacard->readers->pdata[i];

		if (slot->reader == reader)
			return slot;
	}
	return NULL;
}

static void card_gone(Slot *slot)
{
	if (!slot->present)
		return;
	slot->present = slot->powered = false;
	send_news(slot->owner, NEWS_REMOVED, slot, NULL);
}

static void card_there(Slot *slot)
{
	card_gone(slot);
	slot->present = true;
	slot->leaving = false;
	slot->insertion++;
	vsc_cacard_guard_inserted(&slot->guard);
	send_news(slot->owner, NEWS_INSERTED, slot, NULL);
}

/* The worker's part of a slot ends here; only its memory may live on. */
static void forget_reader(Slot *slot)
{
	power_off(slot);
	slot->present = false;
	g_clear_pointer(&slot->reader, vreader_free);
}

static void handle_event(VscCacard *cacard, const VEvent *event)
{
	Slot *slot = find_slot(cacard, event->reader);

	if (event->type == VEVENT_READER_INSERT && slot == NULL) {
		slot = slot_new(cacard, event->reader);
		g_ptr_array_add(cacard->readers, slot);
		send_news(cacard, NEWS_READER, slot, NULL);
	} else if (event->type == VEVENT_READER_REMOVE && slot != NULL) {
		forget_reader(slot);
		send_news(cacard, NEWS_READER_GONE, slot, NULL);
		g_ptr_array_remove(cacard->readers, slot);
	} else if (event->type == VEVENT_CARD_INSERT && slot != NULL) {
		card_there(slot);
	} else if (event->type == VEVENT_CARD_REMOVE && slot != NULL) {
		card_gone(slot);
	}
}

/* By hand, the reader is asked: what `present` says is older than the jobs
 * before this one. */
static void insert_card(Slot *slot)
{
	if (slot->reader == NULL)
		return;
	if (vreader_card_is_present(slot->reader) == VREADER_OK)
		send_news(slot->owner, NEWS_STAYED_IN, slot, NULL);
	else
		vcard_emul_force_card_insert(slot->reader);
}

/* The library's event says so a little later, but requests already behind this
 * one must not meet the next card. Put back, a soft card is the same object
 * with the same PIN verified, so it is powered off first. */
static void remove_card(Slot *slot)
{
	if (slot->reader == NULL)
		return;
	if (vreader_card_is_present(slot->reader) != VREADER_OK) {
		send_news(slot->owner, NEWS_STAYED_OUT, slot, NULL);
		return;
	}
	power_off(slot);
	slot->leaving = vcard_emul_force_card_remove(slot->reader) == VCARD_EMUL_OK;
}

static void serve_job(VscCacard *cacard, Job *job)
{
	switch (job->kind) {
	case JOB_POWER_ON:
	case JOB_POWER_OFF:
	case JOB_RESET:
	case JOB_TRANSMIT:
		serve_request(job->slot, job);
		return;
	case JOB_INSERT:
		insert_card(job->slot);
		break;
	case JOB_REMOVE:
		remove_card(job->slot);
		break;
	case JOB_EVENT:
		handle_event(cacard, job->event);
		break;
	case JOB_STOP:
		break;
	}
	job_free(job);
}

/* ---- The worker: from start to end ---- */

/* Opened the database, why does it not go on? Asked in any case: the library
 * may have gone on without what it was asked for. */
static bool check_library(const VscCacardOptions *options, VCardEmulError result, GError **error)
{
	if (!NSS_IsInitialized()) {
		g_set_error(error, VSC_CACARD_ERROR, VSC_CACARD_ERROR_DATABASE,
			    "certificate database '%s': NSS cannot open it: %s", options->db,
			    PR_ErrorToString(PR_GetError(), PR_LANGUAGE_I_DEFAULT));
		return false;
	}
	if (!vsc_cacard_options_check_certs(options, error))
		return false;
	if (result != VCARD_EMUL_OK)
		return vsc_cacard_options_bad(error, "there is neither soft= nor use_hw=yes");
	return true;
}

/* The library's one start in this process is used up. */
static gint library_started;

static bool start_library(VscCacard *cacard, const VscCacardOptions *options, GError **error)
{
	VCardEmulOptions *emul = NULL;
	VCardEmulError result;

	if (g_atomic_int_get(&library_started)) {
		g_set_error(error, VSC_CACARD_ERROR, VSC_CACARD_ERROR_TWICE,
			    "libcacard was used before in this process, and works but once");
		return false;
	}
	if (cacard->options != NULL) {
		emul = vcard_emul_options(cacard->options);
		if (emul == NULL)
			return vsc_cacard_options_bad(error, "libcacard does not take '%s'",
						      cacard->options);
	}
	g_atomic_int_set(&library_started, 1);
	result = vcard_emul_init(emul);
	cacard->emulates = !options->passthru;
	if (!options->passthru)
		return check_library(options, result, error);
	if (result != VCARD_EMUL_OK)
		g_set_error(error, VSC_CACARD_ERROR, VSC_CACARD_ERROR_PCSCD,
			    "libcacard cannot reach pcscd");
	return result == VCARD_EMUL_OK;
}

static bool start(VscCacard *cacard)
{
	VscCacardOptions options;
	bool ok = vsc_cacard_options_read(&options, cacard->options, &cacard->failure) &&
		  (options.passthru ||
		   vsc_cacard_options_check_database(&options, &cacard->failure)) &&
		  start_library(cacard, &options, &cacard->failure);

	vsc_cacard_options_clear(&options);
	return ok;
}

static gpointer work(gpointer user)
{
	VscCacard *cacard = user;
	bool running = start(cacard);
	Job *job;

	/* The pointer says only that there is an answer; `failure` has it. */
	g_async_queue_push(cacard->started, cacard);
	while (running) {
		job = g_async_queue_pop(cacard->jobs);
		running = job->kind != JOB_STOP;
		serve_job(cacard, job);
	}
	/* The library's readers stay in its lists, which end with the process;
	 * removing more than one would leave those lists broken. */
	for (guint i = 0; i < cacard->readers->len; i++)
		forget_reader(cacard->readers->pdata[i]);
	return NULL;
}

/* Blocks in the library and forwards. Nothing else: events hold counted
 * references that only the worker may touch. */
static gpointer wait_for_events(gpointer user)
{
	VscCacard *cacard = user;
	VEvent *event;

	while ((event = vevent_wait_next_vevent())->type != VEVENT_LAST) {
		Job *job = job_new(JOB_EVENT, NULL);

		job->event = event;
		g_async_queue_push(cacard->jobs, job);
	}
	vevent_delete(event);
	return NULL;
}

/* ---- The main loop's side: cards ---- */

static Slot *slot_of(VscCard *card)
{
	return (Slot *)card;
}

static void request(VscCard *card, JobKind kind, VscToken token, VmcSpan command)
{
	Slot *slot = slot_of(card);
	Job *job = job_new(kind, slot);

	job->token = token;
	job->insertion = slot->met;
	if (command.len > 0)
		job_take_data(job, command.data, command.len);
	g_queue_push_tail(&slot->pending, job);
	g_async_queue_push(slot->owner->jobs, job);
}

static void card_power_on(VscCard *card, VscToken token)
{
	request(card, JOB_POWER_ON, token, vmc_span(NULL, 0));
}

static void card_power_off(VscCard *card, VscToken token)
{
	request(card, JOB_POWER_OFF, token, vmc_span(NULL, 0));
}

static void card_reset(VscCard *card, VscToken token)
{
	request(card, JOB_RESET, token, vmc_span(NULL, 0));
}

static void card_transmit(VscCard *card, VscToken token, VmcSpan command)
{
	g_return_if_fail(command.len <= VSC_COMMAND_MAX);
	request(card, JOB_TRANSMIT, token, command);
}

static void card_cancel(VscCard *card, VscToken token)
{
	for (GList *link = slot_of(card)->pending.head; link != NULL; link = link->next) {
		Job *job = link->data;

		if (job->token == token)
			g_atomic_int_compare_and_exchange(&job->begun, JOB_QUEUED, JOB_CANCELLED);
	}
}

/* The VscCacard owns its cards: nothing to do for a user who is done. */
static void card_free(VscCard *card)
{
	(void)card;
}

static const VscCardClass cacard_class = {
	.power_on = card_power_on,
	.power_off = card_power_off,
	.reset = card_reset,
	.transmit = card_transmit,
	.cancel = card_cancel,
	.free = card_free,
};

static void by_hand(VscCard *card, JobKind kind)
{
	g_return_if_fail(card->class == &cacard_class);
	g_async_queue_push(slot_of(card)->owner->jobs, job_new(kind, slot_of(card)));
}

void vsc_cacard_insert(VscCard *card)
{
	by_hand(card, JOB_INSERT);
}

void vsc_cacard_remove(VscCard *card)
{
	by_hand(card, JOB_REMOVE);
}

/* ---- The main loop's side: news ---- */

static void tell_reader(VscCacard *cacard, Slot *slot)
{
	vsc_card_init(&slot->card, &cacard_class, slot->name);
	g_ptr_array_add(cacard->slots, g_atomic_rc_box_acquire(slot));
	if (cacard->events->reader_added != NULL)
		cacard->events->reader_added(cacard->user, &slot->card);
}

static void tell_reader_gone(VscCacard *cacard, Slot *slot)
{
	Job *job;

	vsc_card_emit_removed(&slot->card);
	slot->gone = true;
	/* Their own answers come after this and are dropped. */
	while ((job = g_queue_pop_head(&slot->pending)) != NULL)
		vsc_card_emit_answered(&slot->card, job->token, VSC_OUTCOME_NO_CARD,
				       vmc_span(NULL, 0));
	g_ptr_array_remove(cacard->slots, slot);
	if (cacard->events->reader_removed != NULL)
		cacard->events->reader_removed(cacard->user, &slot->card);
	vsc_card_finish(&slot->card);
}

static void tell_answer(Slot *slot, const Job *job)
{
	if (slot->gone)
		return;
	g_queue_remove(&slot->pending, job);
	vsc_card_emit_answered(&slot->card, job->token, job->outcome,
			       vmc_span(job->data, job->len));
}

static void tell_changed(VscCacard *cacard, Slot *slot)
{
	if (cacard->events->card_changed != NULL)
		cacard->events->card_changed(cacard->user, &slot->card);
}

static void tell_stayed(VscCacard *cacard, Slot *slot, bool present)
{
	if (!slot->gone && cacard->events->card_stayed != NULL)
		cacard->events->card_stayed(cacard->user, &slot->card, present);
}

static void tell_news(void *user, void *data)
{
	VscCacard *cacard = user;
	const News *news = data;

	switch (news->kind) {
	case NEWS_READER:
		tell_reader(cacard, news->slot);
		break;
	case NEWS_READER_GONE:
		tell_reader_gone(cacard, news->slot);
		break;
	case NEWS_INSERTED:
		news->slot->met = news->insertion;
		vsc_card_emit_inserted(&news->slot->card);
		tell_changed(cacard, news->slot);
		break;
	case NEWS_REMOVED:
		vsc_card_emit_removed(&news->slot->card);
		tell_changed(cacard, news->slot);
		break;
	case NEWS_STAYED_IN:
	case NEWS_STAYED_OUT:
		tell_stayed(cacard, news->slot, news->kind == NEWS_STAYED_IN);
		break;
	case NEWS_ANSWER:
		tell_answer(news->slot, news->job);
		break;
	}
}

/* ---- The whole ---- */

VscCacard *vsc_cacard_new(const char *options, const VscCacardEvents *events, void *user,
			  GError **error)
{
	VscCacard *cacard = g_new0(VscCacard, 1);

	cacard->events = events;
	cacard->user = user;
	/* The library takes a blank at the end for an unknown option. */
	cacard->options = options != NULL ? g_strchomp(g_strdup(options)) : NULL;
	cacard->post = vsc_post_new(tell_news, news_free, cacard);
	cacard->jobs = g_async_queue_new_full(job_free);
	cacard->started = g_async_queue_new();
	cacard->slots = g_ptr_array_new_with_free_func(slot_unref);
	cacard->readers = g_ptr_array_new_with_free_func(slot_unref);
	cacard->response = g_malloc0(VSC_RESPONSE_MAX);
	cacard->worker = g_thread_new("cacard", work, cacard);
	g_async_queue_pop(cacard->started);
	if (cacard->failure != NULL) {
		g_propagate_error(error, g_steal_pointer(&cacard->failure));
		vsc_cacard_free(cacard);
		return NULL;
	}
	cacard->waiter = g_thread_new("cacard-events", wait_for_events, cacard);
	return cacard;
}

/* Ends both threads; the worker after the request it is at. */
static void stop_threads(VscCacard *cacard)
{
	g_async_queue_push_front(cacard->jobs, job_new(JOB_STOP, NULL));
	g_thread_join(cacard->worker);
	if (cacard->waiter == NULL)
		return;
	vevent_queue_vevent(vevent_new(VEVENT_LAST, NULL, NULL));
	g_thread_join(cacard->waiter);
}

void vsc_cacard_free(VscCacard *cacard)
{
	if (cacard == NULL)
		return;
	stop_threads(cacard);
	for (guint i = 0; i < cacard->slots->len; i++)
		vsc_card_finish(cacard->slots->pdata[i]);
	vsc_post_free(cacard->post);
	g_async_queue_unref(cacard->jobs);
	g_async_queue_unref(cacard->started);
	g_ptr_array_unref(cacard->slots);
	g_ptr_array_unref(cacard->readers);
	g_free(cacard->response);
	g_free(cacard->options);
	g_free(cacard);
}

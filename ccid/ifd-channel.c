/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One mutex a channel guards what its slots share between pcscd's threads and
 * the loop's. It is held while a card is asked for something, which is right because
 * no card answers within the call; never while ifd_thread_call() is waited for.
 *
 * pcscd looks at a slot again whenever ifd_channel_wait() returns, and takes a
 * card that was swapped between two looks for the one it knew. So a removal is
 * kept, as "no card", over one whole turn of that thread: from one return of
 * the wait to the next call.
 */

#include "ccid/ifd-channel.h"

#include <string.h>

#include "ccid/ifd-thread.h"
#include "vscard/link.h"

typedef enum Ask {
	ASK_POWER_ON,
	ASK_POWER_OFF,
	ASK_RESET,
	ASK_TRANSMIT,
} Ask;

/* What one of pcscd's threads waits for; on its stack. */
typedef struct Request {
	Ask ask;
	VmcSpan command;
	uint8_t *response;
	size_t room;
	size_t len; /* of the response */
	bool begun; /* the card has it */
	bool done;
	IfdResult result;
} Request;

typedef struct Slot {
	IfdChannel *channel;
	uint32_t n;
	VscCard *card; /* in the loop only */
	char *unnamed; /* what the card is called while nobody says its name */
	IfdWork work;

	GCond answered; /* the request is done, or has more time */
	Request *request;
	gint64 deadline;  /* monotonic, µs */
	VscToken token;   /* of the request that the card has */
	VscToken dropped; /* of one that nobody waits for: to be cancelled */

	bool open;
	bool present, powered;
	bool lit; /* was asked for its ATR, so it has, or may get, power */
	uint8_t atr[VSC_ATR_MAX];
	size_t atr_len;
	VscReaderInfo info;

	GCond changed;
	bool wake;
	bool waits;   /* a thread waits for changes, or will */
	bool removed; /* a card was removed, which was not seen yet */
	bool showing; /* since the wait returned last, `removed` is seen */
} Slot;

struct IfdChannel {
	gint refs;
	GMutex lock;
	gint64 timeout;      /* µs */
	VmcChardev *chardev; /* in the loop only, as the link */
	VscHostLink *link;
	uint32_t n_slots;
	Slot slots[VSC_HOST_READERS_MAX];
};

/* ---- What the cards say, in the loop ---- */

static void end_request(Slot *slot, IfdResult result)
{
	if (slot->request != NULL) {
		slot->request->result = result;
		slot->request->done = true;
	}
	slot->request = NULL;
	slot->token = VSC_TOKEN_NONE;
	g_cond_broadcast(&slot->answered);
}

static void say_changed(Slot *slot)
{
	slot->wake = true;
	g_cond_broadcast(&slot->changed);
}

static IfdResult result_of(VscOutcome outcome)
{
	switch (outcome) {
	case VSC_OUTCOME_OK:
		return IFD_RESULT_OK;
	case VSC_OUTCOME_NO_CARD:
		return IFD_RESULT_NO_CARD;
	case VSC_OUTCOME_NOT_POWERED:
		return IFD_RESULT_NOT_POWERED;
	case VSC_OUTCOME_MUTE:
		return IFD_RESULT_MUTE;
	case VSC_OUTCOME_FAILED:
	case VSC_OUTCOME_CANCELLED:
		return IFD_RESULT_FAILED;
	}
	g_return_val_if_reached(IFD_RESULT_FAILED);
}

/* The card is as its answer to `ask` says. */
static void keep_power(Slot *slot, Ask ask, IfdResult result, VmcSpan atr)
{
	if (ask == ASK_TRANSMIT)
		return;
	slot->powered = ask != ASK_POWER_OFF && result == IFD_RESULT_OK;
	slot->atr_len = 0;
	if (!slot->powered)
		return;
	slot->atr_len = atr.len;
	memcpy(slot->atr, atr.data, atr.len);
}

/* The answer to the slot's request. */
static void take_answer(Slot *slot, VscOutcome outcome, VmcSpan data)
{
	Request *request = slot->request;
	IfdResult result = result_of(outcome);
	bool brings_atr = request->ask == ASK_POWER_ON || request->ask == ASK_RESET;

	if (brings_atr && result == IFD_RESULT_OK && (data.len == 0 || data.len > VSC_ATR_MAX))
		result = IFD_RESULT_FAILED;
	keep_power(slot, request->ask, result, data);
	if (result == IFD_RESULT_NOT_POWERED)
		slot->powered = false;
	if (result == IFD_RESULT_OK && data.len > request->room)
		result = IFD_RESULT_NO_ROOM;
	if (result == IFD_RESULT_OK && data.len > 0) {
		memcpy(request->response, data.data, data.len);
		request->len = data.len;
	}
	end_request(slot, result);
}

static void on_answered(void *user, VscToken token, VscOutcome outcome, VmcSpan data)
{
	Slot *slot = user;

	g_mutex_lock(&slot->channel->lock);
	if (token == slot->token && slot->request != NULL)
		take_answer(slot, outcome, data);
	g_mutex_unlock(&slot->channel->lock);
}

static void on_working(void *user, VscToken token)
{
	Slot *slot = user;

	g_mutex_lock(&slot->channel->lock);
	if (token == slot->token && slot->request != NULL) {
		slot->deadline = g_get_monotonic_time() + slot->channel->timeout;
		g_cond_broadcast(&slot->answered);
	}
	g_mutex_unlock(&slot->channel->lock);
}

static void on_inserted(void *user)
{
	Slot *slot = user;

	g_mutex_lock(&slot->channel->lock);
	slot->present = true;
	say_changed(slot);
	g_mutex_unlock(&slot->channel->lock);
}

static void on_removed(void *user)
{
	Slot *slot = user;

	g_mutex_lock(&slot->channel->lock);
	slot->present = false;
	slot->powered = slot->lit = false;
	slot->atr_len = 0;
	slot->removed = true;
	end_request(slot, IFD_RESULT_NO_CARD);
	say_changed(slot);
	g_mutex_unlock(&slot->channel->lock);
}

static void info_clear(VscReaderInfo *info)
{
	g_clear_pointer(&info->vendor, g_free);
	g_clear_pointer(&info->type, g_free);
	g_clear_pointer(&info->serial, g_free);
}

static void info_copy(VscReaderInfo *to, const VscReaderInfo *from)
{
	info_clear(to);
	to->vendor = g_strdup(from->vendor);
	to->type = g_strdup(from->type);
	to->serial = g_strdup(from->serial);
}

static void on_described(void *user)
{
	Slot *slot = user;
	const char *name = vsc_card_name(slot->card);

	g_mutex_lock(&slot->channel->lock);
	info_copy(&slot->info, vsc_card_info(slot->card));
	/* pcscd's name of the reader is fixed; here the other side's shows. */
	if (slot->info.type == NULL && g_strcmp0(name, slot->unnamed) != 0)
		slot->info.type = g_strdup(name);
	g_mutex_unlock(&slot->channel->lock);
}

static const VscCardEvents card_events = {
	.inserted = on_inserted,
	.removed = on_removed,
	.answered = on_answered,
	.working = on_working,
	.described = on_described,
};

/* ---- What the cards are asked, in the loop ---- */

static void begin(Slot *slot, Request *request)
{
	request->begun = true;
	slot->token = vsc_token_next();
	if (request->ask != ASK_TRANSMIT)
		slot->lit = request->ask != ASK_POWER_OFF;
	switch (request->ask) {
	case ASK_POWER_ON:
		vsc_card_power_on(slot->card, slot->token);
		break;
	case ASK_POWER_OFF:
		vsc_card_power_off(slot->card, slot->token);
		break;
	case ASK_RESET:
		vsc_card_reset(slot->card, slot->token);
		break;
	case ASK_TRANSMIT:
		vsc_card_transmit(slot->card, slot->token, request->command);
		break;
	}
}

/* What the slot's user left to do: first to give up the request that nobody
 * waits for, then to begin the one that somebody does. */
static void work(void *data)
{
	Slot *slot = data;

	g_mutex_lock(&slot->channel->lock);
	if (slot->dropped != VSC_TOKEN_NONE)
		vsc_card_cancel(slot->card, slot->dropped);
	slot->dropped = VSC_TOKEN_NONE;
	if (slot->request != NULL && !slot->request->begun)
		begin(slot, slot->request);
	g_mutex_unlock(&slot->channel->lock);
}

/* ---- Requests of pcscd's threads ---- */

/* What keeps a request from being made; OK if nothing does. */
static IfdResult refusal(const Slot *slot)
{
	if (!slot->open)
		return IFD_RESULT_CLOSED;
	if (slot->request != NULL)
		return IFD_RESULT_BUSY;
	if (!slot->present || slot->removed)
		return IFD_RESULT_NO_CARD;
	return IFD_RESULT_OK;
}

/* Nobody waits for the request any more: the card is told, and what it says
 * then is under a token that is no request's. */
static void drop(Slot *slot, IfdResult result)
{
	if (slot->token != VSC_TOKEN_NONE) {
		slot->dropped = slot->token;
		ifd_thread_post(&slot->work);
	}
	end_request(slot, result);
}

/* Under the lock: gives the request up if its time is over. */
static bool is_over(Slot *slot, const Request *request)
{
	if (!request->done && g_get_monotonic_time() >= slot->deadline)
		drop(slot, IFD_RESULT_MUTE);
	return request->done;
}

/* The loop is run by another thread: what is to be done is done there. */
static void wait_for_loop(Slot *slot, const Request *request)
{
	GMutex *lock = &slot->channel->lock;

	g_mutex_lock(lock);
	/* Not when it was closed meanwhile, and the loop with it. */
	if (!request->done)
		ifd_thread_post(&slot->work);
	while (!is_over(slot, request))
		g_cond_wait_until(&slot->answered, lock, slot->deadline);
	g_mutex_unlock(lock);
	ifd_thread_waits_no_more();
}

/* The loop is run by this thread. */
static void run_loop(Slot *slot, const Request *request)
{
	GMutex *lock = &slot->channel->lock;
	gint64 deadline;
	bool over;

	work(slot);
	do {
		g_mutex_lock(lock);
		over = is_over(slot, request);
		deadline = slot->deadline;
		g_mutex_unlock(lock);
		if (!over)
			ifd_thread_turn(deadline);
	} while (!over);
	ifd_thread_leave();
}

static IfdResult ask(Slot *slot, Request *request)
{
	GMutex *lock = &slot->channel->lock;

	g_mutex_lock(lock);
	request->result = refusal(slot);
	if (request->result == IFD_RESULT_OK) {
		slot->request = request;
		slot->deadline = g_get_monotonic_time() + slot->channel->timeout;
	}
	g_mutex_unlock(lock);
	if (request->result != IFD_RESULT_OK)
		return request->result;
	if (ifd_thread_enter())
		run_loop(slot, request);
	else
		wait_for_loop(slot, request);
	return request->result;
}

IfdResult ifd_channel_power(IfdChannel *channel, uint32_t n, IfdPower power, uint8_t *atr,
			    size_t *atr_len)
{
	Request request = { .response = atr, .room = atr != NULL ? VSC_ATR_MAX : 0 };
	Slot *slot;
	IfdResult result;

	g_return_val_if_fail(channel != NULL && n < channel->n_slots, IFD_RESULT_CLOSED);
	g_return_val_if_fail(power == IFD_POWER_NONE || atr != NULL, IFD_RESULT_FAILED);

	slot = &channel->slots[n];
	switch (power) {
	case IFD_POWER_COLD:
		request.ask = ASK_POWER_ON;
		break;
	case IFD_POWER_WARM:
		g_mutex_lock(&channel->lock);
		request.ask = slot->powered ? ASK_RESET : ASK_POWER_ON;
		g_mutex_unlock(&channel->lock);
		break;
	case IFD_POWER_NONE:
		request.ask = ASK_POWER_OFF;
		break;
	}
	result = ask(slot, &request);
	*atr_len = request.len;
	return result;
}

IfdResult ifd_channel_transmit(IfdChannel *channel, uint32_t n, VmcSpan command, uint8_t *response,
			       size_t *len)
{
	Request request = {
		.ask = ASK_TRANSMIT,
		.command = command,
		.response = response,
		.room = *len,
	};
	IfdResult result;

	*len = 0;
	g_return_val_if_fail(channel != NULL && n < channel->n_slots, IFD_RESULT_CLOSED);
	g_return_val_if_fail(command.len <= VSC_COMMAND_MAX, IFD_RESULT_FAILED);

	result = ask(&channel->slots[n], &request);
	*len = request.len;
	return result;
}

/* ---- Presence ---- */

bool ifd_channel_present(IfdChannel *channel, uint32_t n)
{
	Slot *slot;
	bool present;

	g_return_val_if_fail(channel != NULL && n < channel->n_slots, false);

	slot = &channel->slots[n];
	g_mutex_lock(&channel->lock);
	present = slot->open && slot->present && !slot->removed;
	/* With nobody who waits, this is how a removal is seen. */
	if (!slot->waits)
		slot->removed = false;
	g_mutex_unlock(&channel->lock);
	return present;
}

void ifd_channel_will_wait(IfdChannel *channel, uint32_t n)
{
	g_return_if_fail(channel != NULL && n < channel->n_slots);

	g_mutex_lock(&channel->lock);
	channel->slots[n].waits = true;
	g_mutex_unlock(&channel->lock);
}

void ifd_channel_wait(IfdChannel *channel, uint32_t n, int ms)
{
	gint64 until = g_get_monotonic_time() + (gint64)MAX(ms, 0) * 1000;
	Slot *slot;

	g_return_if_fail(channel != NULL && n < channel->n_slots);

	slot = &channel->slots[n];
	g_mutex_lock(&channel->lock);
	slot->waits = true;
	/* A whole turn was made with "no card". What is there now is news. */
	if (slot->showing) {
		slot->removed = false;
		slot->wake = slot->wake || slot->present;
	}
	while (slot->open && !slot->wake && !slot->removed &&
	       g_cond_wait_until(&slot->changed, &channel->lock, until))
		;
	slot->wake = false;
	slot->showing = slot->removed;
	g_mutex_unlock(&channel->lock);
}

void ifd_channel_wake(IfdChannel *channel, uint32_t n)
{
	g_return_if_fail(channel != NULL && n < channel->n_slots);

	g_mutex_lock(&channel->lock);
	say_changed(&channel->slots[n]);
	g_mutex_unlock(&channel->lock);
}

size_t ifd_channel_atr(IfdChannel *channel, uint32_t n, uint8_t *atr)
{
	Slot *slot;
	size_t len;

	g_return_val_if_fail(channel != NULL && n < channel->n_slots && atr != NULL, 0);

	slot = &channel->slots[n];
	g_mutex_lock(&channel->lock);
	len = slot->open && !slot->removed ? slot->atr_len : 0;
	memcpy(atr, slot->atr, len);
	g_mutex_unlock(&channel->lock);
	return len;
}

void ifd_channel_info(IfdChannel *channel, uint32_t n, VscReaderInfo *info)
{
	g_return_if_fail(channel != NULL && n < channel->n_slots && info != NULL);

	g_mutex_lock(&channel->lock);
	info_copy(info, &channel->slots[n].info);
	g_mutex_unlock(&channel->lock);
}

/* ---- Opening and closing ---- */

uint32_t ifd_channel_slots(const IfdChannel *channel)
{
	g_return_val_if_fail(channel != NULL, 0);

	return channel->n_slots;
}

bool ifd_channel_open(IfdChannel *channel, uint32_t n)
{
	Slot *slot;
	bool free;

	g_return_val_if_fail(channel != NULL, false);

	if (n >= channel->n_slots)
		return false;
	slot = &channel->slots[n];
	g_mutex_lock(&channel->lock);
	free = !slot->open;
	if (free) {
		slot->open = true;
		slot->wake = slot->waits = slot->removed = slot->showing = false;
	}
	g_mutex_unlock(&channel->lock);
	return free;
}

/* In the loop: whatever the card does for the slot ends. */
static void let_go(void *data)
{
	Slot *slot = data;

	g_mutex_lock(&slot->channel->lock);
	if (slot->token != VSC_TOKEN_NONE)
		vsc_card_cancel(slot->card, slot->token);
	if (slot->dropped != VSC_TOKEN_NONE)
		vsc_card_cancel(slot->card, slot->dropped);
	slot->dropped = VSC_TOKEN_NONE;
	end_request(slot, IFD_RESULT_CLOSED);
	if (slot->lit)
		vsc_card_power_off(slot->card, vsc_token_next());
	slot->powered = slot->lit = false;
	slot->atr_len = 0;
	g_mutex_unlock(&slot->channel->lock);
}

bool ifd_channel_close(IfdChannel *channel, uint32_t n, bool *last)
{
	Slot *slot;
	bool was;

	g_return_val_if_fail(channel != NULL && last != NULL, false);

	*last = false;
	if (n >= channel->n_slots)
		return false;
	slot = &channel->slots[n];
	g_mutex_lock(&channel->lock);
	was = slot->open;
	slot->open = false;
	g_cond_broadcast(&slot->changed);
	*last = was;
	for (uint32_t i = 0; i < channel->n_slots; i++)
		*last = *last && !channel->slots[i].open;
	g_mutex_unlock(&channel->lock);
	if (was)
		ifd_thread_call(let_go, slot);
	return was;
}

/* ---- The channel ---- */

typedef struct Making {
	IfdChannel *channel;
	const IfdOptions *options;
	GError *error;
} Making;

static void make(void *data)
{
	Making *making = data;
	IfdChannel *channel = making->channel;

	channel->chardev = vmc_chardev_new(making->options->chardev, &making->error);
	if (channel->chardev == NULL)
		return;
	channel->link = vsc_host_link_new(channel->chardev, channel->n_slots, &making->error);
	if (channel->link == NULL)
		return;
	for (uint32_t n = 0; n < channel->n_slots; n++) {
		Slot *slot = &channel->slots[n];

		slot->card = vsc_host_link_card(channel->link, n);
		slot->unnamed = g_strdup(vsc_card_name(slot->card));
		vsc_card_set_user(slot->card, &card_events, slot);
		slot->present = vsc_card_present(slot->card);
	}
}

static void unmake(void *data)
{
	IfdChannel *channel = data;

	for (uint32_t n = 0; n < channel->n_slots; n++) {
		ifd_thread_take_back(&channel->slots[n].work);
		if (channel->slots[n].card != NULL)
			vsc_card_set_user(channel->slots[n].card, NULL, NULL);
		channel->slots[n].card = NULL;
	}
	g_clear_pointer(&channel->link, vsc_host_link_free);
	g_clear_pointer(&channel->chardev, vmc_chardev_free);
}

IfdChannel *ifd_channel_new(const IfdOptions *options, GError **error)
{
	IfdChannel *channel;
	Making making = { .options = options };

	g_return_val_if_fail(options != NULL && options->chardev != NULL, NULL);

	if (!ifd_thread_use(error))
		return NULL;
	channel = g_new0(IfdChannel, 1);
	channel->refs = 1;
	channel->n_slots = options->slots;
	channel->timeout = (gint64)options->timeout * G_USEC_PER_SEC;
	g_mutex_init(&channel->lock);
	for (uint32_t n = 0; n < channel->n_slots; n++) {
		Slot *slot = &channel->slots[n];

		slot->channel = channel;
		slot->n = n;
		slot->work = (IfdWork){ .run = work, .data = slot };
		g_cond_init(&slot->answered);
		g_cond_init(&slot->changed);
	}
	making.channel = channel;
	ifd_thread_call(make, &making);
	if (making.error == NULL)
		return channel;
	g_propagate_error(error, making.error);
	ifd_channel_shut(channel);
	ifd_channel_unref(channel);
	return NULL;
}

void ifd_channel_shut(IfdChannel *channel)
{
	g_return_if_fail(channel != NULL);

	ifd_thread_call(unmake, channel);
	ifd_thread_unuse();
}

IfdChannel *ifd_channel_ref(IfdChannel *channel)
{
	g_return_val_if_fail(channel != NULL, NULL);

	g_atomic_int_inc(&channel->refs);
	return channel;
}

void ifd_channel_unref(IfdChannel *channel)
{
	g_return_if_fail(channel != NULL);

	if (!g_atomic_int_dec_and_test(&channel->refs))
		return;
	for (uint32_t n = 0; n < channel->n_slots; n++) {
		info_clear(&channel->slots[n].info);
		g_free(channel->slots[n].unnamed);
		g_cond_clear(&channel->slots[n].answered);
		g_cond_clear(&channel->slots[n].changed);
	}
	g_mutex_clear(&channel->lock);
	g_free(channel);
}

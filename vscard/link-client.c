/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The client link: a VscClient fed from a char device on one side and from the
 * lent cards on the other. Each card goes through a VscAdapter, which is told
 * at the start of a conversation what the host exchanges.
 *
 * A card is the present host's only from a power on that the present
 * conversation began: what one host verified, the next one must verify again.
 * So when a conversation ends, what runs is cancelled and the card is powered
 * off, before it is powered on for the next.
 *
 * To a host with VSC_CAP_REQUESTS the card's power is its own: it is told of a
 * card that has none. An ATR that is not known without power is asked for first,
 * by a power on that ends in a power off. To an old host the card has power as
 * long as it is there.
 */

#include "vscard/link.h"

#include <string.h>

#include "vscard/adapter.h"
#include "vscard/atr.h"
#include "vscard/port.h"

/* Beside what VscClient promises by itself. */
#define CLIENT_CAPS (VSC_CAP_EXTENDED | VSC_CAP_REQUESTS)

/* What the card was asked for last and has not answered. */
typedef enum Step {
	STEP_NONE,
	STEP_ON,      /* for us: to have its ATR */
	STEP_OFF,     /* for us: what it was told is to be forgotten */
	STEP_RUN,     /* for the host: one of its commands */
	STEP_RUN_ON,  /* for the host: power on or reset */
	STEP_RUN_OFF, /* for the host */
} Step;

typedef struct Lent {
	VscClientLink *link;
	uint32_t slot;
	VscCard *card;       /* NULL: the slot is free */
	VscAdapter *adapter; /* around `card` */
	Step step;
	VscToken token; /* of `step`, ours to the card */
	VscToken run;   /* STEP_RUN...: the client's; NONE: nobody wants it any more */
	bool told;      /* the host knows of the card, */
	bool seen;      /* has acknowledged it, and `seen` was called */
	bool powered;
	bool stale;               /* has or gets power of an earlier conversation */
	bool mute;                /* did not answer to power on: until it is taken out */
	uint8_t atr[VSC_ATR_MAX]; /* as power on brought it, for a host with requests */
	size_t atr_len;           /* 0: not asked for yet */
	bool at_last_look;        /* STEP_RUN...: so it was when the timer looked */
} Lent;

struct VscClientLink {
	VscPort port;
	VscClient *client;
	const VscClientLinkEvents *events;
	void *user;
	bool ready;
	VscExchange host; /* what the host exchanges */
	bool requests;    /* the host has VSC_CAP_REQUESTS */
	uint32_t version; /* its, 0: not known */
	guint timer;      /* says Working; there only while the host waits */
	bool running;
	Lent lent[VSC_CLIENT_READERS_MAX];
};

static void run(VscClientLink *link);

/* ---- The cards ---- */

static VscCard *card_of(Lent *lent)
{
	return vsc_adapter_card(lent->adapter);
}

static VscToken begin(Lent *lent, Step step)
{
	lent->step = step;
	lent->token = vsc_token_next();
	lent->at_last_look = false;
	return lent->token;
}

static bool is_running(const Lent *lent)
{
	return lent->step == STEP_RUN || lent->step == STEP_RUN_ON || lent->step == STEP_RUN_OFF;
}

/* The ATR as far as it is known without power, as the host is to see it. */
static VmcSpan known_atr(Lent *lent)
{
	VmcSpan atr = vsc_card_atr(card_of(lent));

	return atr.len < VSC_ATR_MIN ? vmc_span(lent->atr, lent->atr_len) : atr;
}

static void tell_host(Lent *lent, VmcSpan atr)
{
	lent->told = true;
	lent->seen = false;
	vsc_client_card_inserted(lent->link->client, lent->slot, atr);
}

/* Asks the card for what brings it nearer to what it should be, or tells the
 * host of it. What is told is carried out by run(). */
static void go_on(Lent *lent)
{
	bool wanted = lent->link->ready && vsc_card_present(card_of(lent)) && !lent->mute;
	bool only_atr = lent->link->requests && !lent->told;

	if (lent->step != STEP_NONE)
		return;
	if (lent->powered && (!wanted || lent->stale || only_atr)) {
		vsc_card_power_off(card_of(lent), begin(lent, STEP_OFF));
	} else if (wanted && only_atr && known_atr(lent).len > 0) {
		tell_host(lent, known_atr(lent));
	} else if (wanted && !lent->told) {
		vsc_card_power_on(card_of(lent), begin(lent, STEP_ON));
	}
}

static void powered_on(Lent *lent, VscOutcome outcome, VmcSpan atr)
{
	VscClientLink *link = lent->link;

	/* For a conversation that has ended: what came of it is not for the next,
	 * and it is powered off first, for one that failed may have power too. */
	if (lent->stale) {
		lent->powered = true;
		return;
	}
	if (outcome != VSC_OUTCOME_OK || atr.len < VSC_ATR_MIN || atr.len > VSC_ATR_MAX) {
		/* NO_CARD comes with, or after, its removal. */
		lent->mute = outcome != VSC_OUTCOME_NO_CARD;
		vsc_port_trace(&link->port, 1, "card '%s': power on: %s", vsc_card_name(lent->card),
			       outcome == VSC_OUTCOME_OK ? "no ATR" : vsc_outcome_name(outcome));
		return;
	}
	lent->powered = true;
	if (!link->ready)
		return;
	if (!link->requests) {
		tell_host(lent, atr);
		return;
	}
	memcpy(lent->atr, atr.data, atr.len);
	lent->atr_len = atr.len;
}

static void tell_outcome(Lent *lent, VscOutcome outcome, VmcSpan data)
{
	if (lent->run != VSC_TOKEN_NONE)
		vsc_client_answer(lent->link->client, lent->slot, lent->run, outcome, data);
}

static void on_answered(void *user, VscToken token, VscOutcome outcome, VmcSpan data)
{
	Lent *lent = user;
	Step step = lent->step;

	if (token != lent->token || step == STEP_NONE)
		return;
	lent->step = STEP_NONE;
	switch (step) {
	case STEP_ON:
		powered_on(lent, outcome, data);
		break;
	case STEP_OFF:
		lent->powered = false;
		lent->stale = false;
		break;
	case STEP_RUN:
		tell_outcome(lent, outcome, data);
		break;
	case STEP_RUN_ON:
		/* One that failed may have power all the same. */
		lent->powered |= outcome == VSC_OUTCOME_OK || lent->stale;
		tell_outcome(lent, outcome, data);
		break;
	case STEP_RUN_OFF:
		/* One that was cancelled may have done nothing: it is done again. */
		lent->powered = lent->stale;
		tell_outcome(lent, outcome, data);
		break;
	case STEP_NONE:
		break;
	}
	go_on(lent);
	run(lent->link);
}

static void on_inserted(void *user)
{
	Lent *lent = user;

	go_on(lent);
	run(lent->link);
}

static void on_removed(void *user)
{
	Lent *lent = user;

	lent->told = false;
	lent->powered = false;
	lent->stale = false;
	lent->mute = false;
	lent->atr_len = 0;
	lent->run = VSC_TOKEN_NONE;
	vsc_client_card_removed(lent->link->client, lent->slot);
	run(lent->link);
}

static void on_described(void *user)
{
	Lent *lent = user;

	vsc_client_reader_described(lent->link->client, lent->slot, vsc_card_name(lent->card),
				    vsc_card_info(lent->card));
	run(lent->link);
}

/* `working` has no place here: that a card works is told while it has not
 * answered, for a card that blocks cannot say so. */
static const VscCardEvents card_events = {
	.inserted = on_inserted,
	.removed = on_removed,
	.answered = on_answered,
	.described = on_described,
};

/* ---- Working ---- */

/* Tells the host of what was out already when the timer looked last. */
static gboolean on_timer(void *data)
{
	VscClientLink *link = data;
	bool any = false;

	for (size_t i = 0; i < G_N_ELEMENTS(link->lent); i++) {
		Lent *lent = &link->lent[i];

		if (!is_running(lent) || lent->run == VSC_TOKEN_NONE)
			continue;
		any = true;
		if (lent->at_last_look)
			vsc_client_working(link->client, lent->slot);
		lent->at_last_look = true;
	}
	run(link);
	if (any)
		return G_SOURCE_CONTINUE;
	link->timer = 0;
	return G_SOURCE_REMOVE;
}

/* A request of the host is with the card. The timer stays for the next: one
 * for each would cost more than many a command. */
static void watch(VscClientLink *link)
{
	if (link->requests && link->timer == 0)
		link->timer = g_timeout_add(VSC_WORKING_MS, on_timer, link);
}

/* ---- What comes out of the machine ---- */

/* Why the card is not asked for `kind`; OK: it is. The machine gives one
 * request at a time, to cards it was told of. */
static VscOutcome refusal(const Lent *lent, VscClientActionKind kind)
{
	if (lent->step != STEP_NONE || lent->stale)
		return VSC_OUTCOME_FAILED;
	if (!lent->powered && (kind == VSC_CLIENT_RESET || kind == VSC_CLIENT_TRANSMIT))
		return VSC_OUTCOME_NOT_POWERED;
	return VSC_OUTCOME_OK;
}

static void carry_out_request(Lent *lent, const VscClientAction *action)
{
	VscOutcome outcome = refusal(lent, action->kind);

	if (outcome != VSC_OUTCOME_OK || (action->kind == VSC_CLIENT_POWER_OFF && !lent->powered)) {
		vsc_client_answer(lent->link->client, lent->slot, action->token, outcome,
				  vmc_span(NULL, 0));
		return;
	}
	lent->run = action->token;
	watch(lent->link);
	switch (action->kind) {
	case VSC_CLIENT_POWER_ON:
		vsc_card_power_on(card_of(lent), begin(lent, STEP_RUN_ON));
		break;
	case VSC_CLIENT_RESET:
		vsc_card_reset(card_of(lent), begin(lent, STEP_RUN_ON));
		break;
	case VSC_CLIENT_POWER_OFF:
		vsc_card_power_off(card_of(lent), begin(lent, STEP_RUN_OFF));
		break;
	default:
		vsc_card_transmit(card_of(lent), begin(lent, STEP_RUN), action->data);
		break;
	}
}

static void carry_out_cancel(Lent *lent, VscToken token)
{
	if (is_running(lent) && lent->run == token)
		vsc_card_cancel(card_of(lent), lent->token);
}

static void carry_out_ready(VscClientLink *link, uint32_t caps, uint32_t version)
{
	link->ready = true;
	link->version = version;
	link->host = (caps & VSC_CAP_APDU_LEVEL) == 0 ? VSC_EXCHANGE_T0 : VSC_EXCHANGE_APDU;
	link->requests = (caps & CLIENT_CAPS & VSC_CAP_REQUESTS) != 0;
	vsc_port_trace(&link->port, 1, "the host exchanges %s",
		       link->host == VSC_EXCHANGE_T0 ? "T=0 TPDUs" : "APDUs");
	if (link->events != NULL && link->events->up != NULL)
		link->events->up(link->user);
	for (size_t i = 0; i < G_N_ELEMENTS(link->lent); i++) {
		if (link->lent[i].card == NULL)
			continue;
		vsc_adapter_set_host(link->lent[i].adapter, link->host);
		go_on(&link->lent[i]);
	}
}

static void carry_out_taken(VscClientLink *link, Lent *lent)
{
	vsc_port_trace(&link->port, 1, "the host took reader '%s'", vsc_card_name(lent->card));
	if (link->events != NULL && link->events->taken != NULL)
		link->events->taken(link->user, lent->card);
}

static void carry_out_refused(VscClientLink *link, Lent *lent, VscErrorCode code)
{
	vsc_port_trace(&link->port, 1, "the host refused reader '%s': %s",
		       vsc_card_name(lent->card), vsc_error_name(code));
	if (link->events != NULL && link->events->refused != NULL)
		link->events->refused(link->user, lent->card, code);
}

static void carry_out(VscClientLink *link, const VscClientAction *action)
{
	Lent *lent = &link->lent[action->slot];

	switch (action->kind) {
	case VSC_CLIENT_SEND:
		vsc_port_send(&link->port, action->type, action->reader_id, action->data);
		break;
	case VSC_CLIENT_READY:
		carry_out_ready(link, action->caps, action->version);
		break;
	case VSC_CLIENT_READER_TAKEN:
		if (lent->card != NULL)
			carry_out_taken(link, lent);
		break;
	case VSC_CLIENT_READER_REFUSED:
		if (lent->card != NULL)
			carry_out_refused(link, lent, action->code);
		break;
	case VSC_CLIENT_TRANSMIT:
	case VSC_CLIENT_POWER_ON:
	case VSC_CLIENT_POWER_OFF:
	case VSC_CLIENT_RESET:
		if (lent->card != NULL)
			carry_out_request(lent, action);
		break;
	case VSC_CLIENT_CANCEL:
		if (lent->card != NULL)
			carry_out_cancel(lent, action->token);
		break;
	case VSC_CLIENT_CLOSE: {
		g_autofree char *because =
			g_strndup((const char *)action->data.data, action->data.len);

		vsc_port_close(&link->port, because);
		break;
	}
	case VSC_CLIENT_NOTE:
		vsc_port_trace(&link->port, 1, "%.*s", (int)action->data.len,
			       (const char *)action->data.data);
		break;
	}
}

static void run(VscClientLink *link)
{
	VscClientAction action;

	if (link->running)
		return;
	link->running = true;
	while (vsc_client_next(link->client, &action))
		carry_out(link, &action);
	link->running = false;
}

/* ---- What the char device says ---- */

static void on_opened(void *user)
{
	VscClientLink *link = user;

	if (link->events != NULL && link->events->connected != NULL)
		link->events->connected(link->user);
	vsc_client_opened(link->client, link->port.order);
	run(link);
}

/* The card is nobody's until the next conversation. */
static void orphan(Lent *lent)
{
	vsc_client_card_removed(lent->link->client, lent->slot);
	lent->run = VSC_TOKEN_NONE;
	lent->told = false;
	lent->mute = false;
	lent->atr_len = 0;
	lent->stale = lent->powered || lent->step == STEP_ON || lent->step == STEP_RUN_ON;
	if (is_running(lent))
		vsc_card_cancel(card_of(lent), lent->token);
	go_on(lent);
}

static void on_closed(void *user, const GError *reason)
{
	VscClientLink *link = user;

	link->ready = false;
	link->requests = false;
	vsc_client_closed(link->client);
	for (size_t i = 0; i < G_N_ELEMENTS(link->lent); i++) {
		if (link->lent[i].card != NULL)
			orphan(&link->lent[i]);
	}
	run(link);
	if (link->events != NULL && link->events->down != NULL)
		link->events->down(link->user, reason);
}

/* Each card that the host has acknowledged since this was called last. */
static void tell_seen(VscClientLink *link)
{
	for (size_t i = 0; i < G_N_ELEMENTS(link->lent); i++) {
		Lent *lent = &link->lent[i];

		if (!lent->told || lent->seen ||
		    !vsc_client_is_card_known(link->client, lent->slot))
			continue;
		lent->seen = true;
		link->events->seen(link->user, lent->card);
	}
}

static void on_message(void *user, const VscMessage *message)
{
	VscClientLink *link = user;

	vsc_client_message(link->client, message);
	run(link);
	if (link->events != NULL && link->events->seen != NULL)
		tell_seen(link);
}

static void on_failed(void *user, const GError *reason, unsigned again_ms)
{
	VscClientLink *link = user;

	if (link->events != NULL && link->events->failed != NULL)
		link->events->failed(link->user, reason, again_ms);
}

static const VscPortEvents port_events = {
	.opened = on_opened,
	.closed = on_closed,
	.failed = on_failed,
	.message = on_message,
};

/* ---- The link ---- */

VscClientLink *vsc_client_link_new(VmcChardev *chardev, const VscClientLinkEvents *events,
				   void *user, GError **error)
{
	VscClientLink *link;

	g_return_val_if_fail(chardev != NULL, NULL);

	link = g_new0(VscClientLink, 1);
	link->client = vsc_client_new(CLIENT_CAPS);
	link->events = events;
	link->user = user;
	if (!vsc_port_init(&link->port, chardev, false, &port_events, link, error)) {
		vsc_client_free(link->client);
		g_free(link);
		return NULL;
	}
	return link;
}

VscClientHost vsc_client_link_host(const VscClientLink *link)
{
	g_return_val_if_fail(link != NULL, (VscClientHost){ 0 });

	return (VscClientHost){ .version = link->version,
				.exchange = link->host,
				.requests = link->requests };
}

/* The card goes back with no user and not powered. One that works on a command
 * is told that nobody waits, and is powered off after it: what was verified does
 * not stay so for whoever comes. */
static void release(Lent *lent)
{
	bool powered = lent->powered || (lent->step != STEP_NONE && lent->step != STEP_OFF);

	if (is_running(lent))
		vsc_card_cancel(card_of(lent), lent->token);
	vsc_card_free(card_of(lent));
	/* The card itself is asked: the adapter's queue has ended with it. */
	if (powered && vsc_card_present(lent->card))
		vsc_card_power_off(lent->card, vsc_token_next());
	*lent = (Lent){ .link = lent->link, .slot = lent->slot };
}

void vsc_client_link_free(VscClientLink *link)
{
	if (link == NULL)
		return;
	vsc_port_finish(&link->port);
	g_clear_handle_id(&link->timer, g_source_remove);
	for (size_t i = 0; i < G_N_ELEMENTS(link->lent); i++) {
		if (link->lent[i].card != NULL)
			release(&link->lent[i]);
	}
	vsc_client_free(link->client);
	g_free(link);
}

bool vsc_client_link_add(VscClientLink *link, VscCard *card)
{
	Lent *lent;
	uint32_t slot = 0;

	g_return_val_if_fail(link != NULL && card != NULL, false);

	while (slot < G_N_ELEMENTS(link->lent) && link->lent[slot].card != NULL)
		slot++;
	if (slot == G_N_ELEMENTS(link->lent))
		return false;

	lent = &link->lent[slot];
	*lent = (Lent){ .link = link, .slot = slot, .card = card };
	lent->adapter = vsc_adapter_new(card);
	vsc_adapter_set_host(lent->adapter, link->host);
	vsc_card_set_user(card_of(lent), &card_events, lent);
	vsc_client_reader_added(link->client, slot, vsc_card_name(card), vsc_card_info(card));
	go_on(lent);
	run(link);
	return true;
}

void vsc_client_link_remove(VscClientLink *link, VscCard *card)
{
	g_return_if_fail(link != NULL && card != NULL);

	for (uint32_t slot = 0; slot < G_N_ELEMENTS(link->lent); slot++) {
		Lent *lent = &link->lent[slot];

		if (lent->card != card)
			continue;
		vsc_client_reader_removed(link->client, slot);
		run(link);
		release(lent);
		return;
	}
}

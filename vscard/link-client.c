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
 */

#include "vscard/link.h"

#include "vscard/adapter.h"
#include "vscard/atr.h"
#include "vscard/port.h"

/* Beside what VscClient promises by itself. */
#define CLIENT_CAPS VSC_CAP_EXTENDED

/* What the card was asked for last and has not answered. */
typedef enum Step {
	STEP_NONE,
	STEP_ON,
	STEP_OFF,
	STEP_RUN,
} Step;

typedef struct Lent {
	VscClientLink *link;
	uint32_t slot;
	VscCard *card;       /* NULL: the slot is free */
	VscAdapter *adapter; /* around `card` */
	Step step;
	VscToken token; /* of `step`, ours to the card */
	VscToken run;   /* STEP_RUN: the client's; NONE: nobody wants it any more */
	bool powered;
	bool stale; /* powered by an earlier conversation */
	bool mute;  /* did not answer to power on: until it is taken out */
} Lent;

struct VscClientLink {
	VscPort port;
	VscClient *client;
	const VscClientLinkEvents *events;
	void *user;
	bool ready;
	bool tpdu; /* what the host exchanges */
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
	return lent->token;
}

/* Asks the card for what brings it nearer to what it should be. */
static void go_on(Lent *lent)
{
	bool wanted = lent->link->ready && vsc_card_present(card_of(lent)) && !lent->mute;

	if (lent->step != STEP_NONE)
		return;
	if (lent->powered && (!wanted || lent->stale)) {
		vsc_card_power_off(card_of(lent), begin(lent, STEP_OFF));
	} else if (!lent->powered && wanted) {
		vsc_adapter_set_host(lent->adapter,
				     lent->link->tpdu ? VSC_EXCHANGE_T0 : VSC_EXCHANGE_APDU);
		vsc_card_power_on(card_of(lent), begin(lent, STEP_ON));
	}
}

static void powered_on(Lent *lent, VscOutcome outcome, VmcSpan atr)
{
	VscClientLink *link = lent->link;

	if (outcome != VSC_OUTCOME_OK || atr.len < VSC_ATR_MIN || atr.len > VSC_ATR_MAX) {
		/* NO_CARD comes with, or after, its removal. */
		lent->mute = outcome != VSC_OUTCOME_NO_CARD;
		vsc_port_trace(&link->port, 1, "card '%s': power on: %s", vsc_card_name(lent->card),
			       outcome == VSC_OUTCOME_OK ? "no ATR" : vsc_outcome_name(outcome));
		return;
	}
	lent->powered = true;
	if (!lent->stale && link->ready)
		vsc_client_card_inserted(link->client, lent->slot, atr);
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
		if (lent->run != VSC_TOKEN_NONE)
			vsc_client_answer(lent->link->client, lent->slot, lent->run, outcome, data);
		break;
	case STEP_NONE:
		break;
	}
	run(lent->link);
	go_on(lent);
}

static void on_inserted(void *user)
{
	Lent *lent = user;

	go_on(lent);
}

static void on_removed(void *user)
{
	Lent *lent = user;

	lent->powered = false;
	lent->stale = false;
	lent->mute = false;
	lent->run = VSC_TOKEN_NONE;
	vsc_client_card_removed(lent->link->client, lent->slot);
	run(lent->link);
}

/* `working` has no place here: the old protocol has no word for it. */
static const VscCardEvents card_events = {
	.inserted = on_inserted,
	.removed = on_removed,
	.answered = on_answered,
};

/* ---- What comes out of the machine ---- */

static void carry_out_transmit(Lent *lent, const VscClientAction *action)
{
	/* The machine gives one at a time, to cards it was told of. */
	if (lent->step != STEP_NONE || !lent->powered || lent->stale) {
		vsc_client_answer(lent->link->client, lent->slot, action->token, VSC_OUTCOME_FAILED,
				  vmc_span(NULL, 0));
		return;
	}
	lent->run = action->token;
	vsc_card_transmit(card_of(lent), begin(lent, STEP_RUN), action->data);
}

static void carry_out_ready(VscClientLink *link, uint32_t caps)
{
	link->ready = true;
	link->tpdu = (caps & VSC_CAP_APDU_LEVEL) == 0;
	vsc_port_trace(&link->port, 1, "the host exchanges %s", link->tpdu ? "T=0 TPDUs" : "APDUs");
	if (link->events != NULL && link->events->up != NULL)
		link->events->up(link->user);
	for (size_t i = 0; i < G_N_ELEMENTS(link->lent); i++) {
		if (link->lent[i].card != NULL)
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
		carry_out_ready(link, action->caps);
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
		if (lent->card != NULL)
			carry_out_transmit(lent, action);
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
	lent->mute = false;
	lent->stale = lent->powered || lent->step == STEP_ON;
	if (lent->step == STEP_RUN)
		vsc_card_cancel(card_of(lent), lent->token);
	go_on(lent);
}

static void on_closed(void *user, const GError *reason)
{
	VscClientLink *link = user;

	link->ready = false;
	vsc_client_closed(link->client);
	for (size_t i = 0; i < G_N_ELEMENTS(link->lent); i++) {
		if (link->lent[i].card != NULL)
			orphan(&link->lent[i]);
	}
	run(link);
	if (link->events != NULL && link->events->down != NULL)
		link->events->down(link->user, reason);
}

static void on_message(void *user, const VscMessage *message)
{
	VscClientLink *link = user;

	vsc_client_message(link->client, message);
	run(link);
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

/* The card goes back with no user and, if it is idle, not powered. One that
 * works on a command is told that nobody waits. */
static void release(Lent *lent)
{
	bool idle = lent->step == STEP_NONE && vsc_card_present(lent->card);

	if (lent->step == STEP_RUN)
		vsc_card_cancel(card_of(lent), lent->token);
	vsc_card_set_user(card_of(lent), NULL, NULL);
	if (idle && lent->powered)
		vsc_card_power_off(card_of(lent), begin(lent, STEP_OFF));
	vsc_card_free(card_of(lent));
	*lent = (Lent){ .link = lent->link, .slot = lent->slot };
}

void vsc_client_link_free(VscClientLink *link)
{
	if (link == NULL)
		return;
	vsc_port_finish(&link->port);
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
	vsc_card_set_user(card_of(lent), &card_events, lent);
	vsc_client_reader_added(link->client, slot, vsc_card_name(card));
	run(link);
	go_on(lent);
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

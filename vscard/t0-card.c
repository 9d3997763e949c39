/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The wrapper: one request of its user at a time becomes one or two of the
 * inner card, or none when the answer is at hand; that one comes from an idle
 * source, since no answer may come from within the request.
 */

#include "vscard/t0-card.h"

#include "vscard/t0.h"

typedef enum Doing {
	DOING_NOTHING,
	DOING_POWER_ON, /* and reset */
	DOING_POWER_OFF,
	DOING_TRANSMIT,
	DOING_REPLY, /* the reply waits for the loop */
} Doing;

struct VscT0Card {
	VscCard base;
	VscCard *inner;
	VscT0 t0;
	bool tpdu;   /* as told */
	bool active; /* as of the last power on */
	Doing doing;
	bool cancelled;
	VscToken outer; /* the user's request */
	VscToken token; /* ours to the inner card */
	VmcSpan reply;  /* in `t0` */
	guint idle;
};

static VscT0Card *t0_of(VscCard *card)
{
	return (VscT0Card *)card;
}

/* ---- What the inner card says ---- */

static void on_inserted(void *user)
{
	VscT0Card *card = user;

	vsc_card_emit_inserted(&card->base);
}

static void on_removed(void *user)
{
	VscT0Card *card = user;

	/* A reply about to be told is in what is wiped here. */
	if (card->doing != DOING_REPLY)
		vsc_t0_forget(&card->t0);
	vsc_card_emit_removed(&card->base);
}

static void finish(VscT0Card *card, VscOutcome outcome, VmcSpan data)
{
	card->doing = DOING_NOTHING;
	vsc_card_emit_answered(&card->base, card->outer, outcome, data);
}

static void finish_power_on(VscT0Card *card, VmcSpan atr)
{
	uint8_t shown[VSC_ATR_MAX];

	card->active = card->tpdu;
	if (card->active)
		atr = vmc_span(shown, vsc_t0_powered(&card->t0, atr, shown));
	finish(card, VSC_OUTCOME_OK, atr);
}

static void finish_transmit(VscT0Card *card, VmcSpan response)
{
	VmcSpan out;

	if (!card->active) {
		finish(card, VSC_OUTCOME_OK, response);
		return;
	}
	if (vsc_t0_response(&card->t0, response, &out) == VSC_T0_REPLY) {
		finish(card, VSC_OUTCOME_OK, out);
		return;
	}
	if (card->cancelled) {
		vsc_t0_forget(&card->t0);
		finish(card, VSC_OUTCOME_CANCELLED, vmc_span(NULL, 0));
		return;
	}
	card->token = vsc_token_next();
	vsc_card_transmit(card->inner, card->token, out);
}

static void on_answered(void *user, VscToken token, VscOutcome outcome, VmcSpan data)
{
	VscT0Card *card = user;

	if (token != card->token || card->doing == DOING_NOTHING || card->doing == DOING_REPLY)
		return;
	if (outcome != VSC_OUTCOME_OK || card->doing == DOING_POWER_OFF) {
		vsc_t0_forget(&card->t0);
		finish(card, outcome, vmc_span(NULL, 0));
	} else if (card->doing == DOING_POWER_ON) {
		finish_power_on(card, data);
	} else {
		finish_transmit(card, data);
	}
}

static void on_working(void *user, VscToken token)
{
	VscT0Card *card = user;

	if (token == card->token && card->doing != DOING_NOTHING)
		vsc_card_emit_working(&card->base, card->outer);
}

static void on_described(void *user)
{
	VscT0Card *card = user;

	vsc_card_describe(&card->base, vsc_card_name(card->inner), vsc_card_info(card->inner));
}

static const VscCardEvents inner_events = {
	.inserted = on_inserted,
	.removed = on_removed,
	.answered = on_answered,
	.working = on_working,
	.described = on_described,
};

/* ---- What the user asks ---- */

/* False if a request is under way: the user's mistake. */
static bool start(VscT0Card *card, VscToken token, Doing doing)
{
	g_return_val_if_fail(card->doing == DOING_NOTHING, false);

	card->doing = doing;
	card->outer = token;
	card->cancelled = false;
	card->token = vsc_token_next();
	return true;
}

static void t0_power_on(VscCard *base, VscToken token)
{
	VscT0Card *card = t0_of(base);

	if (start(card, token, DOING_POWER_ON))
		vsc_card_power_on(card->inner, card->token);
}

static void t0_power_off(VscCard *base, VscToken token)
{
	VscT0Card *card = t0_of(base);

	if (start(card, token, DOING_POWER_OFF))
		vsc_card_power_off(card->inner, card->token);
}

static void t0_reset(VscCard *base, VscToken token)
{
	VscT0Card *card = t0_of(base);

	if (start(card, token, DOING_POWER_ON))
		vsc_card_reset(card->inner, card->token);
}

static gboolean tell_reply(void *data)
{
	VscT0Card *card = data;

	card->idle = 0;
	finish(card, VSC_OUTCOME_OK, card->reply);
	if (!vsc_card_present(&card->base))
		vsc_t0_forget(&card->t0);
	return G_SOURCE_REMOVE;
}

static void t0_transmit(VscCard *base, VscToken token, VmcSpan command)
{
	VscT0Card *card = t0_of(base);
	VmcSpan out = command;

	if (!start(card, token, DOING_TRANSMIT))
		return;
	if (!card->active || vsc_t0_command(&card->t0, command, &out) == VSC_T0_FORWARD) {
		vsc_card_transmit(card->inner, card->token, out);
		return;
	}
	card->doing = DOING_REPLY;
	card->reply = out;
	card->idle = g_idle_add_full(G_PRIORITY_HIGH, tell_reply, card, NULL);
}

static void t0_cancel(VscCard *base, VscToken token)
{
	VscT0Card *card = t0_of(base);

	if (token != card->outer || card->doing == DOING_NOTHING || card->doing == DOING_REPLY)
		return;
	card->cancelled = true;
	vsc_card_cancel(card->inner, card->token);
}

static void t0_free(VscCard *base)
{
	VscT0Card *card = t0_of(base);

	vsc_card_set_user(card->inner, NULL, NULL);
	g_clear_handle_id(&card->idle, g_source_remove);
	vsc_t0_forget(&card->t0);
	vsc_card_finish(&card->base);
	g_free(card);
}

static const VscCardClass t0_class = {
	.power_on = t0_power_on,
	.power_off = t0_power_off,
	.reset = t0_reset,
	.transmit = t0_transmit,
	.cancel = t0_cancel,
	.free = t0_free,
};

VscT0Card *vsc_t0_card_new(VscCard *inner)
{
	VscT0Card *card;

	g_return_val_if_fail(inner != NULL, NULL);

	card = g_new0(VscT0Card, 1);
	vsc_card_init(&card->base, &t0_class, vsc_card_name(inner));
	card->base.present = vsc_card_present(inner);
	card->inner = inner;
	card->tpdu = true;
	vsc_t0_init(&card->t0);
	vsc_card_set_user(inner, &inner_events, card);
	return card;
}

VscCard *vsc_t0_card(VscT0Card *t0)
{
	return &t0->base;
}

void vsc_t0_card_set_tpdu(VscT0Card *t0, bool tpdu)
{
	g_return_if_fail(t0 != NULL);

	t0->tpdu = tpdu;
}

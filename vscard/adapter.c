/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The adapter: one request of its user at a time becomes one or more of the
 * inner card, or none when the answer is at hand; that one comes from an idle
 * source, since no answer may come from within the request. A request that comes
 * while another is under way, as a power off may, waits for its turn; a power off
 * ends what waits before it, so that a card that hangs gathers no more than that
 * and what its user still wants.
 *
 * A command goes down through the machines that there are, the host's first, a
 * response up through them. Each may turn it around.
 */

#include "vscard/adapter.h"

#include "vscard/t0.h"
#include "vscard/tpdu.h"

typedef enum Doing {
	DOING_NOTHING,
	DOING_POWER_ON,
	DOING_RESET,
	DOING_POWER_OFF,
	DOING_TRANSMIT,
	DOING_REPLY, /* the reply waits for the loop */
} Doing;

/* A request that waits. */
typedef struct Waiting {
	Doing doing;
	VscToken outer;
	GByteArray *command; /* TRANSMIT; else NULL */
} Waiting;

struct VscAdapter {
	VscCard base;
	VscCard *inner;
	VscExchange host; /* as told */
	/* As of the last power on. */
	bool host_t0; /* `t0` is the host's side */
	bool card_t0; /* `tpdu` is the card's */
	VscT0 t0;
	VscTpdu tpdu;
	Doing doing;
	bool cancelled;
	VscToken outer; /* the user's request */
	VscToken token; /* ours to the inner card */
	VmcSpan reply;  /* in `t0` or `tpdu` */
	guint idle;
	GQueue waiting; /* Waiting, in their order */
	GQueue dropped; /* tokens of what waited and will not be asked: to be told */
	guint next;     /* tells them, and asks what waits */
};

static VscAdapter *adapter_of(VscCard *card)
{
	return (VscAdapter *)card;
}

/* ---- What the inner card says ---- */

/* The inner card's ATR, if it is known without power, as the host is to see it. */
static void show_atr(VscAdapter *adapter)
{
	VmcSpan atr = vsc_card_atr(adapter->inner);
	uint8_t shown[VSC_ATR_MAX];

	if (adapter->host == VSC_EXCHANGE_T0)
		atr = vmc_span(shown, vsc_t0_atr(atr, shown));
	vsc_card_set_atr(&adapter->base, atr);
}

static void on_inserted(void *user)
{
	VscAdapter *adapter = user;

	show_atr(adapter);
	vsc_card_emit_inserted(&adapter->base);
}

static void forget(VscAdapter *adapter)
{
	vsc_t0_forget(&adapter->t0);
	vsc_tpdu_forget(&adapter->tpdu);
}

static void on_removed(void *user)
{
	VscAdapter *adapter = user;

	/* A reply about to be told is in what is wiped here. */
	if (adapter->doing != DOING_REPLY)
		forget(adapter);
	vsc_card_emit_removed(&adapter->base);
}

static gboolean on_next(void *data);

static void schedule_next(VscAdapter *adapter)
{
	if (adapter->next == 0)
		adapter->next = g_idle_add_full(G_PRIORITY_HIGH, on_next, adapter, NULL);
}

static void finish(VscAdapter *adapter, VscOutcome outcome, VmcSpan data)
{
	adapter->doing = DOING_NOTHING;
	if (!g_queue_is_empty(&adapter->waiting))
		schedule_next(adapter);
	vsc_card_emit_answered(&adapter->base, adapter->outer, outcome, data);
}

static void finish_power_on(VscAdapter *adapter, VmcSpan atr)
{
	VscExchange exchange = vsc_card_exchange(adapter->inner);
	uint8_t shown[VSC_ATR_MAX];

	forget(adapter);
	adapter->card_t0 = exchange == VSC_EXCHANGE_T0;
	adapter->host_t0 = adapter->host == VSC_EXCHANGE_T0;
	adapter->base.exchange = adapter->host;
	if (adapter->host_t0) {
		vsc_t0_powered(&adapter->t0, atr, exchange);
		atr = vmc_span(shown, vsc_t0_atr(atr, shown));
	}
	show_atr(adapter);
	finish(adapter, VSC_OUTCOME_OK, atr);
}

/* ---- Through the machines ---- */

/* A command comes down to the card's machine. True: `*bytes` is for the card;
 * false: it is a response already. */
static bool go_down(VscAdapter *adapter, VmcSpan *bytes)
{
	return !adapter->card_t0 ||
	       vsc_tpdu_command(&adapter->tpdu, *bytes, bytes) == VSC_TPDU_FORWARD;
}

/* A response comes up to the host's machine. True: that has another command, and
 * `*bytes` is for the card; false: it is for the host. */
static bool go_up(VscAdapter *adapter, VmcSpan *bytes)
{
	/* VscT0 forwards a command twice at most. */
	while (adapter->host_t0 && vsc_t0_response(&adapter->t0, *bytes, bytes) == VSC_T0_FORWARD) {
		if (go_down(adapter, bytes))
			return true;
	}
	return false;
}

/* The host's command. True: `*bytes` is for the card; false: for the host. */
static bool take_command(VscAdapter *adapter, VmcSpan *bytes)
{
	if (adapter->host_t0 && vsc_t0_command(&adapter->t0, *bytes, bytes) == VSC_T0_REPLY)
		return false;
	return go_down(adapter, bytes) || go_up(adapter, bytes);
}

/* The card's response; as above. */
static bool take_response(VscAdapter *adapter, VmcSpan *bytes)
{
	if (adapter->card_t0 &&
	    vsc_tpdu_response(&adapter->tpdu, *bytes, bytes) == VSC_TPDU_FORWARD)
		return true;
	return go_up(adapter, bytes);
}

static void finish_transmit(VscAdapter *adapter, VmcSpan bytes)
{
	if (!take_response(adapter, &bytes)) {
		finish(adapter, VSC_OUTCOME_OK, bytes);
		return;
	}
	if (adapter->cancelled) {
		forget(adapter);
		finish(adapter, VSC_OUTCOME_CANCELLED, vmc_span(NULL, 0));
		return;
	}
	adapter->token = vsc_token_next();
	vsc_card_transmit(adapter->inner, adapter->token, bytes);
}

static void on_answered(void *user, VscToken token, VscOutcome outcome, VmcSpan data)
{
	VscAdapter *adapter = user;

	if (token != adapter->token || adapter->doing == DOING_NOTHING ||
	    adapter->doing == DOING_REPLY)
		return;
	if (outcome != VSC_OUTCOME_OK || adapter->doing == DOING_POWER_OFF) {
		forget(adapter);
		finish(adapter, outcome, vmc_span(NULL, 0));
	} else if (adapter->doing == DOING_POWER_ON || adapter->doing == DOING_RESET) {
		finish_power_on(adapter, data);
	} else {
		finish_transmit(adapter, data);
	}
}

/* Who waits, waits for what works. */
static void on_working(void *user, VscToken token)
{
	VscAdapter *adapter = user;
	const Waiting *last = g_queue_peek_tail(&adapter->waiting);
	VscToken waits = last != NULL ? last->outer : VSC_TOKEN_NONE;

	if (token != adapter->token || adapter->doing == DOING_NOTHING)
		return;
	vsc_card_emit_working(&adapter->base, adapter->outer);
	if (waits != VSC_TOKEN_NONE)
		vsc_card_emit_working(&adapter->base, waits);
}

static void on_described(void *user)
{
	VscAdapter *adapter = user;

	vsc_card_describe(&adapter->base, vsc_card_name(adapter->inner),
			  vsc_card_info(adapter->inner));
}

static const VscCardEvents inner_events = {
	.inserted = on_inserted,
	.removed = on_removed,
	.answered = on_answered,
	.working = on_working,
	.described = on_described,
};

/* ---- What the user asks ---- */

static gboolean tell_reply(void *data)
{
	VscAdapter *adapter = data;

	adapter->idle = 0;
	finish(adapter, VSC_OUTCOME_OK, adapter->reply);
	if (!vsc_card_present(&adapter->base))
		forget(adapter);
	return G_SOURCE_REMOVE;
}

static void begin_transmit(VscAdapter *adapter, VmcSpan bytes)
{
	if (take_command(adapter, &bytes)) {
		vsc_card_transmit(adapter->inner, adapter->token, bytes);
		return;
	}
	adapter->doing = DOING_REPLY;
	adapter->reply = bytes;
	adapter->idle = g_idle_add_full(G_PRIORITY_HIGH, tell_reply, adapter, NULL);
}

static void begin(VscAdapter *adapter, VscToken outer, Doing doing, VmcSpan command)
{
	adapter->doing = doing;
	adapter->outer = outer;
	adapter->cancelled = false;
	adapter->token = vsc_token_next();
	if (doing == DOING_POWER_ON)
		vsc_card_power_on(adapter->inner, adapter->token);
	else if (doing == DOING_RESET)
		vsc_card_reset(adapter->inner, adapter->token);
	else if (doing == DOING_POWER_OFF)
		vsc_card_power_off(adapter->inner, adapter->token);
	else
		begin_transmit(adapter, command);
}

static void waiting_free(void *data)
{
	Waiting *waiting = data;

	if (waiting->command != NULL) {
		vmc_wipe(waiting->command->data, waiting->command->len);
		g_byte_array_unref(waiting->command);
	}
	g_free(waiting);
}

/* It will not be asked; its outcome comes from the loop. */
static void drop(VscAdapter *adapter, Waiting *waiting)
{
	g_queue_remove(&adapter->waiting, waiting);
	g_queue_push_tail(&adapter->dropped, GUINT_TO_POINTER(waiting->outer));
	waiting_free(waiting);
	schedule_next(adapter);
}

static void ask(VscAdapter *adapter, VscToken outer, Doing doing, VmcSpan command)
{
	Waiting *waiting;

	if (doing == DOING_POWER_OFF) {
		while ((waiting = g_queue_peek_head(&adapter->waiting)) != NULL)
			drop(adapter, waiting);
	}
	if (adapter->doing == DOING_NOTHING && g_queue_is_empty(&adapter->waiting)) {
		begin(adapter, outer, doing, command);
		return;
	}
	waiting = g_new0(Waiting, 1);
	waiting->doing = doing;
	waiting->outer = outer;
	if (doing == DOING_TRANSMIT)
		waiting->command =
			g_byte_array_append(g_byte_array_new(), command.data, (guint)command.len);
	g_queue_push_tail(&adapter->waiting, waiting);
}

static gboolean on_next(void *data)
{
	VscAdapter *adapter = data;
	Waiting *waiting;

	/* One at a time, for whatever the user does about it. */
	if (!g_queue_is_empty(&adapter->dropped)) {
		vsc_card_emit_answered(&adapter->base,
				       GPOINTER_TO_UINT(g_queue_pop_head(&adapter->dropped)),
				       VSC_OUTCOME_CANCELLED, vmc_span(NULL, 0));
		return G_SOURCE_CONTINUE;
	}
	adapter->next = 0;
	if (adapter->doing == DOING_NOTHING && !g_queue_is_empty(&adapter->waiting)) {
		waiting = g_queue_pop_head(&adapter->waiting);
		begin(adapter, waiting->outer, waiting->doing,
		      waiting->command != NULL ?
			      vmc_span(waiting->command->data, waiting->command->len) :
			      vmc_span(NULL, 0));
		waiting_free(waiting);
	}
	return G_SOURCE_REMOVE;
}

static void adapter_power_on(VscCard *base, VscToken token)
{
	ask(adapter_of(base), token, DOING_POWER_ON, vmc_span(NULL, 0));
}

static void adapter_power_off(VscCard *base, VscToken token)
{
	ask(adapter_of(base), token, DOING_POWER_OFF, vmc_span(NULL, 0));
}

static void adapter_reset(VscCard *base, VscToken token)
{
	ask(adapter_of(base), token, DOING_RESET, vmc_span(NULL, 0));
}

static void adapter_transmit(VscCard *base, VscToken token, VmcSpan command)
{
	ask(adapter_of(base), token, DOING_TRANSMIT, command);
}

static void adapter_cancel(VscCard *base, VscToken token)
{
	VscAdapter *adapter = adapter_of(base);

	if (token == adapter->outer && adapter->doing != DOING_NOTHING) {
		if (adapter->doing == DOING_REPLY)
			return;
		adapter->cancelled = true;
		vsc_card_cancel(adapter->inner, adapter->token);
		return;
	}
	for (GList *l = adapter->waiting.head; l != NULL; l = l->next) {
		if (((Waiting *)l->data)->outer == token) {
			drop(adapter, l->data);
			return;
		}
	}
}

static void adapter_free(VscCard *base)
{
	VscAdapter *adapter = adapter_of(base);

	vsc_card_set_user(adapter->inner, NULL, NULL);
	g_clear_handle_id(&adapter->idle, g_source_remove);
	g_clear_handle_id(&adapter->next, g_source_remove);
	g_queue_clear_full(&adapter->waiting, waiting_free);
	g_queue_clear(&adapter->dropped);
	forget(adapter);
	vsc_card_finish(&adapter->base);
	g_free(adapter);
}

static const VscCardClass adapter_class = {
	.power_on = adapter_power_on,
	.power_off = adapter_power_off,
	.reset = adapter_reset,
	.transmit = adapter_transmit,
	.cancel = adapter_cancel,
	.free = adapter_free,
};

VscAdapter *vsc_adapter_new(VscCard *inner)
{
	VscAdapter *adapter;

	g_return_val_if_fail(inner != NULL, NULL);

	adapter = g_new0(VscAdapter, 1);
	vsc_card_init(&adapter->base, &adapter_class, vsc_card_name(inner));
	vsc_card_describe(&adapter->base, NULL, vsc_card_info(inner));
	adapter->base.present = vsc_card_present(inner);
	adapter->inner = inner;
	vsc_t0_init(&adapter->t0);
	vsc_tpdu_init(&adapter->tpdu);
	vsc_adapter_set_host(adapter, VSC_EXCHANGE_T0);
	vsc_card_set_user(inner, &inner_events, adapter);
	return adapter;
}

VscCard *vsc_adapter_card(VscAdapter *adapter)
{
	return &adapter->base;
}

void vsc_adapter_set_host(VscAdapter *adapter, VscExchange host)
{
	g_return_if_fail(adapter != NULL);

	adapter->host = host;
	show_atr(adapter);
}

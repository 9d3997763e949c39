/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscCard, the part that all kinds of card share: who the user is, whether a
 * card is there, and the way of an event from one to the other.
 */

#include "vscard/card.h"

#include <string.h>

const char *vsc_outcome_name(VscOutcome outcome)
{
	switch (outcome) {
	case VSC_OUTCOME_OK:
		return "ok";
	case VSC_OUTCOME_NO_CARD:
		return "no card";
	case VSC_OUTCOME_NOT_POWERED:
		return "card not powered";
	case VSC_OUTCOME_MUTE:
		return "card does not answer";
	case VSC_OUTCOME_FAILED:
		return "failed";
	case VSC_OUTCOME_CANCELLED:
		return "cancelled";
	}
	g_return_val_if_reached("unknown");
}

VscToken vsc_token_next(void)
{
	static VscToken last = VSC_TOKEN_NONE;

	if (++last == VSC_TOKEN_NONE)
		last++;
	return last;
}

void vsc_card_init(VscCard *card, const VscCardClass *class, const char *name)
{
	*card = (VscCard){ .class = class, .name = g_strdup(name) };
}

static void info_clear(VscReaderInfo *info)
{
	g_clear_pointer(&info->vendor, g_free);
	g_clear_pointer(&info->type, g_free);
	g_clear_pointer(&info->serial, g_free);
}

void vsc_card_finish(VscCard *card)
{
	g_clear_pointer(&card->name, g_free);
	info_clear(&card->info);
	card->events = NULL;
}

void vsc_card_set_user(VscCard *card, const VscCardEvents *events, void *user)
{
	g_return_if_fail(card != NULL);

	card->events = events;
	card->user = user;
}

const char *vsc_card_name(const VscCard *card)
{
	g_return_val_if_fail(card != NULL, NULL);

	return card->name;
}

const VscReaderInfo *vsc_card_info(const VscCard *card)
{
	g_return_val_if_fail(card != NULL, NULL);

	return &card->info;
}

VmcSpan vsc_card_atr(const VscCard *card)
{
	g_return_val_if_fail(card != NULL, vmc_span(NULL, 0));

	return vmc_span(card->atr, card->atr_len);
}

VscExchange vsc_card_exchange(const VscCard *card)
{
	g_return_val_if_fail(card != NULL, VSC_EXCHANGE_APDU);

	return card->exchange;
}

bool vsc_card_present(const VscCard *card)
{
	g_return_val_if_fail(card != NULL, false);

	return card->present;
}

void vsc_card_power_on(VscCard *card, VscToken token)
{
	g_return_if_fail(card != NULL && token != VSC_TOKEN_NONE);

	card->class->power_on(card, token);
}

void vsc_card_power_off(VscCard *card, VscToken token)
{
	g_return_if_fail(card != NULL && token != VSC_TOKEN_NONE);

	card->class->power_off(card, token);
}

void vsc_card_reset(VscCard *card, VscToken token)
{
	g_return_if_fail(card != NULL && token != VSC_TOKEN_NONE);

	card->class->reset(card, token);
}

void vsc_card_transmit(VscCard *card, VscToken token, VmcSpan command)
{
	g_return_if_fail(card != NULL && token != VSC_TOKEN_NONE);
	g_return_if_fail(command.len <= VSC_COMMAND_MAX);

	card->class->transmit(card, token, command);
}

void vsc_card_cancel(VscCard *card, VscToken token)
{
	g_return_if_fail(card != NULL);

	card->class->cancel(card, token);
}

void vsc_card_free(VscCard *card)
{
	if (card != NULL)
		card->class->free(card);
}

static bool info_equal(const VscReaderInfo *one, const VscReaderInfo *other)
{
	return g_strcmp0(one->vendor, other->vendor) == 0 &&
	       g_strcmp0(one->type, other->type) == 0 &&
	       g_strcmp0(one->serial, other->serial) == 0;
}

void vsc_card_describe(VscCard *card, const char *name, const VscReaderInfo *info)
{
	VscReaderInfo copy = {
		.vendor = g_strdup(info->vendor),
		.type = g_strdup(info->type),
		.serial = g_strdup(info->serial),
	};
	bool news = !info_equal(&card->info, info);

	info_clear(&card->info);
	card->info = copy;
	if (name != NULL && strcmp(name, card->name) != 0) {
		g_free(card->name);
		card->name = g_strdup(name);
		news = true;
	}
	if (news && card->events != NULL && card->events->described != NULL)
		card->events->described(card->user);
}

void vsc_card_set_atr(VscCard *card, VmcSpan atr)
{
	card->atr_len = atr.len <= VSC_ATR_MAX ? atr.len : 0;
	if (card->atr_len > 0)
		memcpy(card->atr, atr.data, card->atr_len);
}

void vsc_card_emit_inserted(VscCard *card)
{
	if (card->present)
		return;
	card->present = true;
	if (card->events != NULL && card->events->inserted != NULL)
		card->events->inserted(card->user);
}

void vsc_card_emit_removed(VscCard *card)
{
	if (!card->present)
		return;
	card->present = false;
	card->atr_len = 0;
	if (card->events != NULL && card->events->removed != NULL)
		card->events->removed(card->user);
}

void vsc_card_emit_answered(VscCard *card, VscToken token, VscOutcome outcome, VmcSpan data)
{
	if (outcome != VSC_OUTCOME_OK)
		data = vmc_span(NULL, 0);
	if (card->events != NULL && card->events->answered != NULL)
		card->events->answered(card->user, token, outcome, data);
}

void vsc_card_emit_working(VscCard *card, VscToken token)
{
	if (card->events != NULL && card->events->working != NULL)
		card->events->working(card->user, token);
}

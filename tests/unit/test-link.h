/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The other sides for the tests of links: a raw peer that sends what it is
 * told, a user of a card that keeps what it hears, and a card that echoes.
 */

#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "vscard/link.h"

static void iterate(void)
{
	for (unsigned i = 0; i < 10000 && g_main_context_iteration(NULL, FALSE); i++)
		;
}

/* ---- A raw peer ---- */

typedef struct Raw {
	VmcChardev *chardev;
	GByteArray *got;
	bool open, deaf;
	unsigned closes;
} Raw;

static void raw_opened(void *user)
{
	((Raw *)user)->open = true;
}

static void raw_closed(void *user, const GError *reason)
{
	Raw *raw = user;

	(void)reason;
	raw->open = false;
	raw->closes++;
}

static void raw_readable(void *user)
{
	Raw *raw = user;
	uint8_t data[1000];
	size_t n;

	while (!raw->deaf && (n = vmc_chardev_read(raw->chardev, data, sizeof(data))) > 0)
		g_byte_array_append(raw->got, data, (guint)n);
}

static const VmcChardevEvents raw_events = {
	.opened = raw_opened,
	.closed = raw_closed,
	.readable = raw_readable,
};

static void raw_start(Raw *raw, VmcChardev *chardev)
{
	*raw = (Raw){ .chardev = chardev, .got = g_byte_array_new() };
	assert_true(vmc_chardev_set_user(chardev, &raw_events, raw));
}

/* A pair stays closed until one of its users comes anew. */
static G_GNUC_UNUSED void raw_reopen(Raw *raw)
{
	vmc_chardev_set_user(raw->chardev, NULL, NULL);
	assert_true(vmc_chardev_set_user(raw->chardev, &raw_events, raw));
	iterate();
	assert_true(raw->open);
}

static G_GNUC_UNUSED void raw_set_deaf(Raw *raw, bool deaf)
{
	raw->deaf = deaf;
	vmc_chardev_pause(raw->chardev, deaf);
}

static void raw_stop(Raw *raw)
{
	vmc_chardev_free(raw->chardev);
	g_byte_array_unref(raw->got);
}

static VmcWrite raw_send(Raw *raw, uint32_t type, uint32_t id, const void *data, size_t len)
{
	g_autofree uint8_t *message = g_malloc(VSC_WIRE_HEADER + len);

	vsc_wire_put_header(message, VSC_ORDER_BIG, type, id, (uint32_t)len);
	if (len > 0)
		memcpy(message + VSC_WIRE_HEADER, data, len);
	return vmc_chardev_write(raw->chardev, vmc_span(message, VSC_WIRE_HEADER + len));
}

/* Takes the next message that came; its payload is in `got` until then. */
static bool raw_take(Raw *raw, VscMessage *message)
{
	static uint8_t payload[VSC_WIRE_PAYLOAD_MAX];
	VmcSpan in = vmc_span(raw->got->data, raw->got->len);
	const char *because;

	if (vsc_wire_get(&in, VSC_ORDER_BIG, message, &because) != VSC_WIRE_MESSAGE)
		return false;
	if (message->payload.len > 0)
		memcpy(payload, message->payload.data, message->payload.len);
	message->payload.data = payload;
	g_byte_array_remove_range(raw->got, 0, raw->got->len - (guint)in.len);
	return true;
}

static void raw_expect(Raw *raw, uint32_t type, uint32_t id, const char *data, size_t len)
{
	VscMessage m;

	iterate();
	assert_true(raw_take(raw, &m));
	assert_int_equal(m.type, type);
	assert_int_equal(m.reader_id, id);
	assert_int_equal(m.payload.len, len);
	if (len > 0)
		assert_memory_equal(m.payload.data, data, len);
}

static const char init_old[] = "VSCD\0\0\0\2\0\0\0";
/* Takes commands and gives answers longer than short APDUs. */
static const char init_extended[] = "VSCD\0\0\0\2\x20\0\0";
/* A host that exchanges APDUs, of before there were Requests. */
static const char init_ours[] = "VSCD\0\0\0\2\x80\0\0";
/* What our host and our client say. */
static const char init_host[] = "VSCD\0\0\0\2\x90\0\0";
static const char init_client[] = "VSCD\0\0\0\2\x70\0\0";
static const char atr_t0[] = { 0x3b, 0x00 };
static const char atr_t1[] = { 0x3b, (char)0x80, 0x01, (char)0x81 };
static const char success[4];

/* ---- A user of a card ---- */

typedef struct User {
	VscCard *card;
	unsigned inserted, removed, answered;
	bool in_call, called_back_in_call;
	VscToken token;
	VscOutcome outcome;
	GByteArray *data;
	VmcSpan next; /* what to transmit from within `answered` */
} User;

static void user_inserted(void *data)
{
	User *user = data;

	user->inserted++;
	user->called_back_in_call |= user->in_call;
}

static void user_removed(void *data)
{
	User *user = data;

	user->removed++;
	user->called_back_in_call |= user->in_call;
}

static void user_answered(void *data, VscToken token, VscOutcome outcome, VmcSpan bytes)
{
	User *user = data;
	VmcSpan next = user->next;

	user->called_back_in_call |= user->in_call;
	user->answered++;
	user->token = token;
	user->outcome = outcome;
	g_byte_array_set_size(user->data, 0);
	if (bytes.len > 0)
		g_byte_array_append(user->data, bytes.data, (guint)bytes.len);
	user->next = vmc_span(NULL, 0);
	if (next.len > 0)
		vsc_card_transmit(user->card, token + 1, next);
}

static const VscCardEvents user_events = {
	.inserted = user_inserted,
	.removed = user_removed,
	.answered = user_answered,
};

static void user_start(User *user, VscCard *card)
{
	*user = (User){ .card = card, .data = g_byte_array_new() };
	vsc_card_set_user(card, &user_events, user);
}

static void user_stop(User *user)
{
	g_byte_array_unref(user->data);
}

static G_GNUC_UNUSED void user_power_on(User *user, VscToken token)
{
	user->in_call = true;
	vsc_card_power_on(user->card, token);
	user->in_call = false;
	iterate();
	assert_int_equal(user->token, token);
}

static G_GNUC_UNUSED void user_transmit(User *user, VscToken token, const void *data, size_t len)
{
	user->in_call = true;
	vsc_card_transmit(user->card, token, vmc_span(data, len));
	user->in_call = false;
}

/* ---- A card that answers from the loop ---- */

typedef struct Echo {
	VscCard base;
	const char *atr;
	size_t atr_len;
	bool slow;       /* commands are answered by echo_finish() */
	bool slow_power; /* and so are power on and off */
	VscToken token;
	VscToken cancelled;
	unsigned ons, offs, commands;
	GByteArray *answer;
	VscOutcome outcome;
	guint idle;
} Echo;

static gboolean echo_finish(void *data)
{
	Echo *echo = data;

	echo->idle = 0;
	vsc_card_emit_answered(&echo->base, echo->token, echo->outcome,
			       vmc_span(echo->answer->data, echo->answer->len));
	return G_SOURCE_REMOVE;
}

static void echo_later(Echo *echo, VscToken token, VscOutcome outcome, VmcSpan data)
{
	assert_int_equal(echo->idle, 0);
	echo->token = token;
	echo->outcome = outcome;
	g_byte_array_set_size(echo->answer, 0);
	if (data.len > 0)
		g_byte_array_append(echo->answer, data.data, (guint)data.len);
	echo->idle = g_idle_add(echo_finish, echo);
}

static void echo_power_on(VscCard *card, VscToken token)
{
	Echo *echo = (Echo *)card;

	echo->ons++;
	echo_later(echo, token, VSC_OUTCOME_OK, vmc_span(echo->atr, echo->atr_len));
	if (echo->slow_power)
		g_clear_handle_id(&echo->idle, g_source_remove);
}

static void echo_power_off(VscCard *card, VscToken token)
{
	Echo *echo = (Echo *)card;

	echo->offs++;
	echo_later(echo, token, VSC_OUTCOME_OK, vmc_span(NULL, 0));
	if (echo->slow_power)
		g_clear_handle_id(&echo->idle, g_source_remove);
}

/* The command after its header comes back, with 9000. */
static void echo_transmit(VscCard *card, VscToken token, VmcSpan command)
{
	Echo *echo = (Echo *)card;
	g_autoptr(GByteArray) answer = g_byte_array_new();

	echo->commands++;
	g_byte_array_append(answer, command.data + 4, (guint)command.len - 4);
	g_byte_array_append(answer, (const uint8_t *)"\x90", 2);
	echo_later(echo, token, VSC_OUTCOME_OK, vmc_span(answer->data, answer->len));
	if (echo->slow)
		g_clear_handle_id(&echo->idle, g_source_remove);
}

static void echo_cancel(VscCard *card, VscToken token)
{
	((Echo *)card)->cancelled = token;
}

static void echo_free(VscCard *card)
{
	Echo *echo = (Echo *)card;

	g_clear_handle_id(&echo->idle, g_source_remove);
	g_byte_array_unref(echo->answer);
	vsc_card_finish(card);
}

static const VscCardClass echo_class = {
	.power_on = echo_power_on,
	.power_off = echo_power_off,
	.reset = echo_power_on,
	.transmit = echo_transmit,
	.cancel = echo_cancel,
	.free = echo_free,
};

static void echo_start(Echo *echo, const char *name, const char *atr, size_t atr_len)
{
	*echo = (Echo){ .atr = atr, .atr_len = atr_len, .answer = g_byte_array_new() };
	vsc_card_init(&echo->base, &echo_class, name);
}

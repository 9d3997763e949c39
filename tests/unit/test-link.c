/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Both links over an in-process pair: with each other, and each against a raw
 * peer that floods, lies, cuts, stops reading or leaves.
 */

#include "tests/unit/test-link.h"
#include "vmc/chardev-backend.h"

/* ---- Host and client with each other ---- */

typedef struct Both {
	VmcChardev *one, *other;
	VscHostLink *host;
	VscClientLink *client;
	Echo echo;
	User user;
	unsigned up, down, taken, refused;
} Both;

static void both_up(void *data)
{
	((Both *)data)->up++;
}

static void both_down(void *data, const GError *reason)
{
	(void)reason;
	((Both *)data)->down++;
}

static void both_taken(void *data, VscCard *card)
{
	(void)card;
	((Both *)data)->taken++;
}

static void both_refused(void *data, VscCard *card, VscErrorCode code)
{
	(void)card;
	assert_int_equal(code, VSC_ERROR_CANNOT_ADD_MORE_READERS);
	((Both *)data)->refused++;
}

static const VscClientLinkEvents both_events = {
	.up = both_up,
	.down = both_down,
	.taken = both_taken,
	.refused = both_refused,
};

static void both_start(Both *both)
{
	*both = (Both){ 0 };
	vmc_chardev_pair_new(&both->one, &both->other);
	both->host = vsc_host_link_new(both->one, 1, NULL);
	both->client = vsc_client_link_new(both->other, &both_events, both, NULL);
	assert_non_null(both->host);
	assert_non_null(both->client);
	echo_start(&both->echo, "echo", atr_t1, sizeof(atr_t1));
	user_start(&both->user, vsc_host_link_card(both->host, 0));
	assert_true(vsc_client_link_add(both->client, &both->echo.base));
	vsc_card_emit_inserted(&both->echo.base);
	iterate();
}

static void both_stop(Both *both)
{
	vsc_client_link_free(both->client);
	vsc_host_link_free(both->host);
	vsc_card_free(&both->echo.base);
	vmc_chardev_free(both->one);
	vmc_chardev_free(both->other);
	user_stop(&both->user);
}

static void test_both(void **state)
{
	g_autofree uint8_t *command = g_malloc(VSC_COMMAND_MAX);
	Both both;

	(void)state;
	both_start(&both);
	assert_int_equal(both.up, 1);
	assert_int_equal(both.taken, 1);
	assert_int_equal(both.user.inserted, 1);
	assert_true(vsc_card_present(both.user.card));

	user_power_on(&both.user, 1);
	assert_int_equal(both.user.outcome, VSC_OUTCOME_OK);
	assert_memory_equal(both.user.data->data, atr_t1, sizeof(atr_t1));

	/* The host is one of ours: an extended APDU goes as it is. */
	for (size_t i = 0; i < VSC_COMMAND_MAX; i++)
		command[i] = (uint8_t)(i % 251);
	user_transmit(&both.user, 2, command, VSC_COMMAND_MAX - 6);
	iterate();
	assert_int_equal(both.user.token, 2);
	assert_int_equal(both.user.outcome, VSC_OUTCOME_OK);
	assert_int_equal(both.user.data->len, VSC_COMMAND_MAX - 8);
	assert_memory_equal(both.user.data->data, command + 4, VSC_COMMAND_MAX - 10);
	assert_false(both.user.called_back_in_call);

	/* A user may ask from within what it is told. */
	both.user.next = vmc_span("\0\xb0\0\0\5", 5);
	user_transmit(&both.user, 3, "\0\xb0\0\0\1", 5);
	iterate();
	assert_int_equal(both.user.token, 4);
	assert_memory_equal(both.user.data->data, "\5\x90\0", 3);
	both_stop(&both);
}

static void test_removal(void **state)
{
	Both both;

	(void)state;
	both_start(&both);
	user_power_on(&both.user, 1);
	both.echo.slow = true;
	user_transmit(&both.user, 2, "\0\xb0\0\0\1", 5);
	iterate();
	assert_int_equal(both.echo.commands, 1);
	vsc_card_emit_removed(&both.echo.base);
	iterate();
	assert_int_equal(both.user.removed, 1);
	assert_int_equal(both.user.token, 2);
	assert_int_equal(both.user.outcome, VSC_OUTCOME_NO_CARD);
	both.echo.outcome = VSC_OUTCOME_NO_CARD;
	echo_finish(&both.echo);
	both.echo.slow = false;

	vsc_card_emit_inserted(&both.echo.base);
	iterate();
	assert_int_equal(both.user.inserted, 2);
	user_power_on(&both.user, 3);
	user_transmit(&both.user, 4, "\0\xb0\0\0\2", 5);
	iterate();
	assert_int_equal(both.user.token, 4);
	assert_memory_equal(both.user.data->data, "\2\x90\0", 3);
	assert_int_equal(both.user.answered, 4);
	both_stop(&both);
}

/* What one conversation verified is gone in the next: the command is
 * cancelled, the card is powered off, then on. */
static void test_reconnect(void **state)
{
	Both both;

	(void)state;
	both_start(&both);
	assert_int_equal(both.echo.ons, 1);
	user_power_on(&both.user, 1);
	both.echo.slow = true;
	user_transmit(&both.user, 2, "\0\xb0\0\0\1", 5);
	iterate();

	vsc_client_link_free(both.client);
	iterate();
	assert_int_equal(both.user.outcome, VSC_OUTCOME_NO_CARD);
	assert_int_equal(both.user.removed, 1);
	assert_int_not_equal(both.echo.cancelled, 0);
	both.echo.slow = false;
	both.client = vsc_client_link_new(both.other, &both_events, &both, NULL);
	assert_true(vsc_client_link_add(both.client, &both.echo.base));
	iterate();
	assert_int_equal(both.user.inserted, 2);

	/* Now the host goes, with a command under way. */
	user_power_on(&both.user, 3);
	both.echo.slow = true;
	both.echo.cancelled = 0;
	user_transmit(&both.user, 4, "\0\xb0\0\0\1", 5);
	iterate();
	both.echo.ons = both.echo.offs = 0;
	vmc_chardev_disconnect(both.one, false, "test");
	iterate();
	assert_int_equal(both.user.token, 4);
	assert_int_equal(both.user.outcome, VSC_OUTCOME_NO_CARD);
	assert_int_not_equal(both.echo.cancelled, 0);
	assert_int_equal(both.down, 1);
	vsc_host_link_free(both.host);
	both.host = vsc_host_link_new(both.one, 1, NULL);
	both.user.card = vsc_host_link_card(both.host, 0);
	vsc_card_set_user(both.user.card, &user_events, &both.user);
	iterate();
	/* It opened again; the card is still at work. */
	assert_int_equal(both.up, 3);
	assert_int_equal(both.echo.offs + both.echo.ons, 0);
	echo_finish(&both.echo);
	both.echo.slow = false;
	iterate();
	/* Off, so that nothing is left; on and off, for its ATR. */
	assert_int_equal(both.echo.offs, 2);
	assert_int_equal(both.echo.ons, 1);
	assert_int_equal(both.user.inserted, 3);
	user_power_on(&both.user, 5);
	user_transmit(&both.user, 6, "\0\xb0\0\0\3", 5);
	iterate();
	assert_memory_equal(both.user.data->data, "\3\x90\0", 3);
	both_stop(&both);
}

/* A card that is lent again while it works for an earlier link: the late answer
 * is nobody's, and what was verified is not for the next. */
static void test_late_answer(void **state)
{
	VscToken late;
	unsigned offs;
	Both both;

	(void)state;
	both_start(&both);
	user_power_on(&both.user, 1);
	both.echo.slow = true;
	user_transmit(&both.user, 2, "\0\xb0\0\0\1", 5);
	iterate();
	late = both.echo.token;
	offs = both.echo.offs;
	vsc_client_link_free(both.client);
	assert_int_equal(both.echo.offs, offs + 1);
	iterate();
	both.client = vsc_client_link_new(both.other, &both_events, &both, NULL);
	assert_true(vsc_client_link_add(both.client, &both.echo.base));
	both.echo.slow = false;
	iterate();
	user_power_on(&both.user, 3);
	both.echo.slow = true;
	user_transmit(&both.user, 4, "\0\xb0\0\0\2", 5);
	iterate();
	assert_int_not_equal(both.echo.token, late);
	vsc_card_emit_answered(&both.echo.base, late, VSC_OUTCOME_OK, vmc_span("\x66\x66", 2));
	iterate();
	assert_int_equal(both.user.token, 3);
	echo_finish(&both.echo);
	iterate();
	assert_int_equal(both.user.token, 4);
	assert_memory_equal(both.user.data->data, "\2\x90\0", 3);
	both_stop(&both);
}

static void test_two_cards_one_place(void **state)
{
	Both both;
	Echo second;

	(void)state;
	both_start(&both);
	echo_start(&second, "second", atr_t0, sizeof(atr_t0));
	assert_true(vsc_client_link_add(both.client, &second.base));
	iterate();
	assert_int_equal(both.refused, 1);
	vsc_client_link_remove(both.client, &second.base);
	vsc_client_link_remove(both.client, &both.echo.base);
	iterate();
	assert_int_equal(both.user.removed, 1);
	assert_true(vsc_client_link_add(both.client, &second.base));
	vsc_card_emit_inserted(&second.base);
	iterate();
	assert_int_equal(both.user.inserted, 2);
	user_power_on(&both.user, 1);
	assert_int_equal(both.user.data->len, sizeof(atr_t0));
	vsc_client_link_remove(both.client, &second.base);
	vsc_card_free(&second.base);
	both_stop(&both);
}

/* ---- SPICE's smartcard channel ---- */

/* The next little-endian message, `len` bytes with its header. */
static void expect_little(Raw *raw, const void *bytes, size_t len)
{
	iterate();
	assert_true(raw->got->len >= len);
	assert_memory_equal(raw->got->data, bytes, len);
	g_byte_array_remove_range(raw->got, 0, (guint)len);
}

/* The device says what its conversation is: on SPICE's channel there is no
 * Init and one reader; the next conversation, on a port, has both again. */
static void test_smartcard_channel(void **state)
{
	static const char success_little[] = "\2\0\0\0\0\0\0\0\4\0\0\0\0\0\0";
	Both both = { 0 };
	Echo second;
	Raw raw;

	(void)state;
	vmc_chardev_pair_new(&both.one, &both.other);
	both.other->smartcard_channel = true;
	raw_start(&raw, both.one);
	both.client = vsc_client_link_new(both.other, &both_events, &both, NULL);
	echo_start(&both.echo, "echo", atr_t1, sizeof(atr_t1));
	echo_start(&second, "second", atr_t0, sizeof(atr_t0));
	assert_true(vsc_client_link_add(both.client, &both.echo.base));
	assert_true(vsc_client_link_add(both.client, &second.base));
	vsc_card_emit_inserted(&both.echo.base);
	expect_little(&raw, "\3\0\0\0\xff\xff\xff\xff\4\0\0\0echo", 16);
	assert_int_equal(both.up, 1);
	vmc_chardev_write(raw.chardev, vmc_span(success_little, 16));
	/* The host said nothing of APDUs: a T=0 card. */
	expect_little(&raw, "\5\0\0\0\0\0\0\0\2\0\0\0\x3b\0", 14);
	assert_int_equal(raw.got->len, 0);
	assert_int_equal(both.taken, 1);
	assert_int_equal(both.refused, 1);

	both.other->smartcard_channel = false;
	raw_reopen(&raw);
	raw_expect(&raw, VSC_TYPE_INIT, VSC_READER_UNDEFINED, init_client, 12);
	assert_int_equal(both.up, 1);
	raw_send(&raw, VSC_TYPE_INIT, 0, init_ours, 12);
	raw_expect(&raw, VSC_TYPE_READER_ADD, VSC_READER_UNDEFINED, "echo", 4);
	raw_send(&raw, VSC_TYPE_ERROR, 0, success, 4);
	raw_expect(&raw, VSC_TYPE_ATR, 0, atr_t1, sizeof(atr_t1));
	raw_expect(&raw, VSC_TYPE_READER_ADD, VSC_READER_UNDEFINED, "second", 6);
	vsc_client_link_free(both.client);
	vsc_card_free(&both.echo.base);
	vsc_card_free(&second.base);
	vmc_chardev_free(both.other);
	raw_stop(&raw);
}

/* ---- The host link against a raw peer ---- */

typedef struct Host {
	VmcChardev *chardev;
	VscHostLink *link;
	Raw raw;
	User user;
} Host;

static void host_start(Host *h)
{
	VmcChardev *other;

	*h = (Host){ 0 };
	vmc_chardev_pair_new(&h->chardev, &other);
	h->link = vsc_host_link_new(h->chardev, 1, NULL);
	user_start(&h->user, vsc_host_link_card(h->link, 0));
	raw_start(&h->raw, other);
	iterate();
	assert_true(h->raw.open);
}

static void host_card(Host *h)
{
	raw_send(&h->raw, VSC_TYPE_INIT, 0, init_old, 12);
	raw_expect(&h->raw, VSC_TYPE_INIT, VSC_READER_UNDEFINED, init_host, 12);
	raw_send(&h->raw, VSC_TYPE_READER_ADD, VSC_READER_UNDEFINED, NULL, 0);
	raw_expect(&h->raw, VSC_TYPE_ERROR, 0, success, 4);
	raw_send(&h->raw, VSC_TYPE_ATR, 0, atr_t0, sizeof(atr_t0));
	raw_expect(&h->raw, VSC_TYPE_ERROR, 0, success, 4);
	user_power_on(&h->user, 1);
	assert_int_equal(h->user.outcome, VSC_OUTCOME_OK);
}

static void host_stop(Host *h)
{
	assert_false(h->user.called_back_in_call);
	vsc_host_link_free(h->link);
	vmc_chardev_free(h->chardev);
	raw_stop(&h->raw);
	user_stop(&h->user);
}

/* A bad length, a bad Init: the conversation ends, the next one works. */
static void test_host_closes(void **state)
{
	static const uint32_t lengths[] = { 65545, 0x80000000, 0xffffffff };
	Host h;

	(void)state;
	host_start(&h);
	for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
		uint8_t header[VSC_WIRE_HEADER];

		host_card(&h);
		vsc_wire_put_header(header, VSC_ORDER_BIG, VSC_TYPE_APDU, 0, lengths[i]);
		vmc_chardev_write(h.raw.chardev, vmc_span(header, sizeof(header)));
		iterate();
		assert_int_equal(h.raw.closes, i + 1);
		assert_int_equal(h.user.removed, i + 1);
		g_byte_array_set_size(h.raw.got, 0);
		raw_reopen(&h.raw);
	}
	raw_send(&h.raw, VSC_TYPE_INIT, 0, "VSCD", 4);
	raw_send(&h.raw, VSC_TYPE_READER_ADD, 0, NULL, 0);
	iterate();
	assert_int_equal(h.raw.closes, G_N_ELEMENTS(lengths) + 1);
	assert_int_equal(h.raw.got->len, 0);
	raw_reopen(&h.raw);
	host_card(&h);
	host_stop(&h);
}

/* Ten thousand messages, a piece of the next one always behind them. */
static void test_host_partial(void **state)
{
	g_autoptr(GByteArray) stream = g_byte_array_new();
	size_t sent = 0, step = 1;
	Host h;

	(void)state;
	host_start(&h);
	host_card(&h);
	for (unsigned i = 0; i < 10000; i++) {
		uint8_t message[VSC_WIRE_HEADER + 4] = { 0 };

		vsc_wire_put_header(message, VSC_ORDER_BIG, VSC_TYPE_ERROR, 0, 4);
		g_byte_array_append(stream, message, sizeof(message));
	}
	while (sent < stream->len) {
		size_t n = MIN(step, stream->len - sent);

		vmc_chardev_write(h.raw.chardev, vmc_span(stream->data + sent, n));
		iterate();
		sent += n;
		step = step * 5 % 4099 + 1;
	}
	assert_true(h.raw.open);
	user_transmit(&h.user, 2, "\0\xb0\0\0\1", 5);
	raw_expect(&h.raw, VSC_TYPE_APDU, 0, "\0\xb0\0\0\1", 5);
	raw_send(&h.raw, VSC_TYPE_APDU, 0, "\x90", 2);
	iterate();
	assert_int_equal(h.user.token, 2);
	assert_int_equal(h.user.outcome, VSC_OUTCOME_OK);
	host_stop(&h);
}

/* A peer that asks and never reads: it waits, we do not grow. When it reads
 * again, every answer is there. */
static void test_host_deaf_peer(void **state)
{
	const unsigned asks = 60000;
	unsigned sent = 0, got = 0;
	VscMessage m;
	Host h;

	(void)state;
	host_start(&h);
	host_card(&h);
	raw_set_deaf(&h.raw, true);
	while (sent < asks) {
		VmcWrite wrote = raw_send(&h.raw, VSC_TYPE_READER_ADD, 0, NULL, 0);

		if (wrote == VMC_WRITE_FULL)
			break;
		sent++;
		if (wrote == VMC_WRITE_HIGH)
			iterate();
		assert_true(vmc_chardev_pending(h.chardev) < VMC_CHARDEV_HIGH_MARK + 4096);
	}
	iterate();
	assert_true(vmc_chardev_pending(h.chardev) >= VMC_CHARDEV_HIGH_MARK);
	raw_set_deaf(&h.raw, false);
	for (unsigned i = 0; i < 100 && h.raw.got->len < sent * 16; i++)
		iterate();
	assert_int_equal(h.raw.got->len, sent * 16);
	while (got < 10 && raw_take(&h.raw, &m))
		got++;
	assert_int_equal(m.reader_id, VSC_READER_UNDEFINED);
	assert_true(h.raw.open);
	host_stop(&h);
}

/* What was read already when the output filled up is dealt with as soon as it
 * drains, though no further input comes. */
static void test_host_rest_of_input(void **state)
{
	uint8_t asks[500 * VSC_WIRE_HEADER];
	size_t sent = 0;
	Host h;

	(void)state;
	host_start(&h);
	host_card(&h);
	raw_set_deaf(&h.raw, true);
	for (size_t i = 0; i < sizeof(asks); i += VSC_WIRE_HEADER)
		vsc_wire_put_header(asks + i, VSC_ORDER_BIG, VSC_TYPE_READER_ADD, 0, 0);
	while (vmc_chardev_pending(h.chardev) < VMC_CHARDEV_HIGH_MARK - 1000) {
		raw_send(&h.raw, VSC_TYPE_READER_ADD, 0, NULL, 0);
		sent++;
		iterate();
	}
	vmc_chardev_write(h.raw.chardev, vmc_span(asks, sizeof(asks)));
	sent += sizeof(asks) / VSC_WIRE_HEADER;
	iterate();
	raw_set_deaf(&h.raw, false);
	iterate();
	assert_int_equal(h.raw.got->len, sent * 16);
	host_stop(&h);
}

/* The peer leaves at every byte of a conversation; every request ends. */
static void test_host_cut(void **state)
{
	g_autoptr(GByteArray) all = g_byte_array_new();
	static const struct {
		uint32_t type;
		const char *data;
		size_t len;
	} messages[] = {
		{ VSC_TYPE_INIT, init_old, 12 }, { VSC_TYPE_READER_ADD, "name", 4 },
		{ VSC_TYPE_ATR, atr_t0, 2 },     { VSC_TYPE_CARD_REMOVE, NULL, 0 },
		{ VSC_TYPE_ATR, atr_t0, 2 },
	};
	Host h;

	(void)state;
	host_start(&h);
	for (size_t i = 0; i < G_N_ELEMENTS(messages); i++) {
		uint8_t header[VSC_WIRE_HEADER];

		vsc_wire_put_header(header, VSC_ORDER_BIG, messages[i].type, 0,
				    (uint32_t)messages[i].len);
		g_byte_array_append(all, header, sizeof(header));
		if (messages[i].len > 0)
			g_byte_array_append(all, (const uint8_t *)messages[i].data,
					    (guint)messages[i].len);
	}
	for (size_t cut = 0; cut <= all->len; cut++) {
		unsigned answered = h.user.answered;

		vmc_chardev_write(h.raw.chardev, vmc_span(all->data, cut));
		iterate();
		vsc_card_power_on(h.user.card, (VscToken)(100 + cut * 2));
		iterate();
		vsc_card_transmit(h.user.card, (VscToken)(101 + cut * 2),
				  vmc_span("\0\xb0\0\0\1", 5));
		vmc_chardev_disconnect(h.raw.chardev, false, "cut");
		iterate();
		assert_int_equal(h.user.answered, answered + 2);
		assert_int_equal(h.user.inserted, h.user.removed);
		assert_false(vsc_card_present(h.user.card));
		raw_reopen(&h.raw);
	}
	host_stop(&h);
}

/* An old peer whose card is removed while it works, and which answers late or
 * never: the next card's command waits, but not for ever. */
static void test_host_stale(void **state)
{
	int64_t start;
	Host h;

	(void)state;
	host_start(&h);
	host_card(&h);
	user_transmit(&h.user, 2, "\0\xb0\0\0\1", 5);
	raw_expect(&h.raw, VSC_TYPE_APDU, 0, "\0\xb0\0\0\1", 5);
	for (VscToken token = 3; token < 7; token += 2) {
		start = g_get_monotonic_time();
		raw_send(&h.raw, VSC_TYPE_ATR, 0, atr_t0, sizeof(atr_t0));
		raw_expect(&h.raw, VSC_TYPE_ERROR, 0, success, 4);
		user_power_on(&h.user, token);
		user_transmit(&h.user, token + 1, "\0\xb0\0\0\2", 5);
		iterate();
		assert_int_equal(h.raw.got->len, 0);
		if (token == 3)
			raw_send(&h.raw, VSC_TYPE_APDU, 0, "\x66\x66", 2);
		while (h.raw.got->len == 0 &&
		       g_get_monotonic_time() - start < 2 * VSC_HOST_STALE_MS * 1000) {
			g_usleep(1000);
			iterate();
		}
		raw_expect(&h.raw, VSC_TYPE_APDU, 0, "\0\xb0\0\0\2", 5);
		assert_int_equal(g_get_monotonic_time() - start < (VSC_HOST_STALE_MS - 1) * 1000,
				 token == 3);
	}
	raw_send(&h.raw, VSC_TYPE_APDU, 0, "\x90", 2);
	iterate();
	assert_int_equal(h.user.token, 6);
	assert_memory_equal(h.user.data->data, "\x90", 2);
	host_stop(&h);
}

/* ---- The client link against a raw host ---- */

typedef struct Client {
	VmcChardev *chardev;
	VscClientLink *link;
	Raw raw;
	Echo echo;
} Client;

static void client_start(Client *c, const char *init, const char *atr, size_t atr_len)
{
	VmcChardev *other;

	*c = (Client){ 0 };
	vmc_chardev_pair_new(&c->chardev, &other);
	c->link = vsc_client_link_new(c->chardev, NULL, NULL, NULL);
	raw_start(&c->raw, other);
	echo_start(&c->echo, "echo", atr, atr_len);
	vsc_card_emit_inserted(&c->echo.base);
	assert_true(vsc_client_link_add(c->link, &c->echo.base));
	raw_expect(&c->raw, VSC_TYPE_INIT, VSC_READER_UNDEFINED, init_client, 12);
	raw_send(&c->raw, VSC_TYPE_INIT, VSC_READER_UNDEFINED, init, 12);
}

static void client_taken(Client *c, const char *atr, size_t atr_len)
{
	raw_expect(&c->raw, VSC_TYPE_READER_ADD, VSC_READER_UNDEFINED, "echo", 4);
	raw_send(&c->raw, VSC_TYPE_ERROR, 0, success, 4);
	raw_expect(&c->raw, VSC_TYPE_ATR, 0, atr, atr_len);
	raw_send(&c->raw, VSC_TYPE_ERROR, 0, success, 4);
}

static void client_stop(Client *c)
{
	vsc_client_link_free(c->link);
	vsc_card_free(&c->echo.base);
	vmc_chardev_free(c->chardev);
	raw_stop(&c->raw);
}

/* To QEMU a T=1 card is a T=0 card. */
static void test_client_qemu(void **state)
{
	Client c;

	(void)state;
	client_start(&c, init_old, atr_t1, sizeof(atr_t1));
	raw_expect(&c.raw, VSC_TYPE_READER_REMOVE, 0, NULL, 0);
	raw_send(&c.raw, VSC_TYPE_ERROR, 0, success, 4);
	client_taken(&c, atr_t0, sizeof(atr_t0));
	/* Lc 1, one byte, and the Le that was added come back: three bytes. */
	raw_send(&c.raw, VSC_TYPE_APDU, 0, "\0\xa4\0\0\1\x77", 6);
	raw_expect(&c.raw, VSC_TYPE_APDU, 0, "\x61\3", 2);
	raw_send(&c.raw, VSC_TYPE_APDU, 0, "\0\xc0\0\0\3", 5);
	raw_expect(&c.raw, VSC_TYPE_APDU, 0, "\1\x77\0\x90\0", 5);
	vsc_card_emit_removed(&c.echo.base);
	raw_expect(&c.raw, VSC_TYPE_CARD_REMOVE, 0, NULL, 0);
	client_stop(&c);
}

/* To a host of ours it is what it is. */
static void test_client_apdu(void **state)
{
	Client c;

	(void)state;
	client_start(&c, init_ours, atr_t1, sizeof(atr_t1));
	client_taken(&c, atr_t1, sizeof(atr_t1));
	raw_send(&c.raw, VSC_TYPE_APDU, 0, "\0\xa4\0\0\1\x77", 6);
	raw_expect(&c.raw, VSC_TYPE_APDU, 0, "\1\x77\x90\0", 4);
	client_stop(&c);
}

/* Another host, of the other kind: the same card is shown anew. */
static void test_client_other_host(void **state)
{
	Client c;

	(void)state;
	client_start(&c, init_ours, atr_t1, sizeof(atr_t1));
	client_taken(&c, atr_t1, sizeof(atr_t1));
	vmc_chardev_disconnect(c.raw.chardev, false, "test");
	iterate();
	raw_reopen(&c.raw);
	raw_expect(&c.raw, VSC_TYPE_INIT, VSC_READER_UNDEFINED, init_client, 12);
	assert_int_equal(c.echo.offs, 1);
	raw_send(&c.raw, VSC_TYPE_INIT, VSC_READER_UNDEFINED, init_old, 12);
	raw_expect(&c.raw, VSC_TYPE_READER_REMOVE, 0, NULL, 0);
	raw_send(&c.raw, VSC_TYPE_ERROR, 0, success, 4);
	client_taken(&c, atr_t0, sizeof(atr_t0));
	assert_int_equal(c.echo.ons, 2);
	client_stop(&c);
}

/* ---- The trace ---- */

static GString *traced;

static void keep_trace(const char *line)
{
	g_string_append_printf(traced, "%s\n", line);
}

static void test_trace(void **state)
{
	Client c;

	(void)state;
	traced = g_string_new(NULL);
	vsc_link_set_trace(3, keep_trace);
	client_start(&c, init_ours, atr_t1, sizeof(atr_t1));
	client_taken(&c, atr_t1, sizeof(atr_t1));
	raw_send(&c.raw, VSC_TYPE_APDU, 0, "\0\x20\0\x80\4\x31\x32\x33\x34", 9);
	iterate();
	assert_non_null(strstr(traced->str, "gets APDU reader 0, 9 bytes: 00 20 00 80\n"));
	assert_non_null(strstr(traced->str, "sends APDU reader 0, 7 bytes\n"));
	assert_null(strstr(traced->str, "31 32"));
	assert_null(strstr(traced->str, "1234"));

	g_string_truncate(traced, 0);
	vsc_link_set_trace(2, keep_trace);
	raw_send(&c.raw, VSC_TYPE_APDU, 0, "\0\x20\0\x80\4\x31\x32\x33\x34", 9);
	raw_send(&c.raw, 0x123, 0, NULL, 0);
	iterate();
	assert_non_null(strstr(traced->str, "gets APDU reader 0, 9 bytes\n"));
	assert_non_null(strstr(traced->str, "gets type 0x123 reader 0, 0 bytes\n"));
	vsc_link_set_trace(0, NULL);
	g_string_free(traced, TRUE);
	client_stop(&c);
}

/* One user for one char device. */
static void test_in_use(void **state)
{
	g_autoptr(GError) error = NULL;
	Host h;

	(void)state;
	host_start(&h);
	assert_null(vsc_host_link_new(h.chardev, 1, &error));
	assert_non_null(error);
	g_clear_error(&error);
	assert_null(vsc_client_link_new(h.chardev, NULL, NULL, &error));
	assert_non_null(error);
	host_stop(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both),
		cmocka_unit_test(test_removal),
		cmocka_unit_test(test_reconnect),
		cmocka_unit_test(test_late_answer),
		cmocka_unit_test(test_two_cards_one_place),
		cmocka_unit_test(test_smartcard_channel),
		cmocka_unit_test(test_host_closes),
		cmocka_unit_test(test_host_partial),
		cmocka_unit_test(test_host_deaf_peer),
		cmocka_unit_test(test_host_rest_of_input),
		cmocka_unit_test(test_host_cut),
		cmocka_unit_test(test_host_stale),
		cmocka_unit_test(test_client_qemu),
		cmocka_unit_test(test_client_apdu),
		cmocka_unit_test(test_client_other_host),
		cmocka_unit_test(test_trace),
		cmocka_unit_test(test_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

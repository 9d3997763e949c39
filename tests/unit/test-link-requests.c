/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Both links with VSC_CAP_REQUESTS: with each other, and each against a raw peer
 * that speaks by the book. What the sessions do with each message is in their
 * transcripts; here it is what cards, users and timers see of it.
 */

#include "tests/unit/test-link.h"
#include "vscard/request.h"

/* Runs the loop until `*what` is `value` or more; a guard against a hang, no
 * measure of time. */
static gboolean on_limit(void *data)
{
	*(bool *)data = true;
	return G_SOURCE_REMOVE;
}

static void wait_for(const unsigned *what, unsigned value)
{
	bool late = false;
	guint limit = g_timeout_add_seconds(30, on_limit, &late);

	while (*what < value && !late)
		g_main_context_iteration(NULL, TRUE);
	assert_true(*what >= value);
	if (!late)
		g_source_remove(limit);
}

/* ---- The client link and a raw host ---- */

typedef struct Client {
	Raw raw;
	VmcChardev *chardev;
	VscClientLink *link;
	Echo echo;
} Client;

static const char info_echo[] = "\0\1\0\4echo";

/* What a conversation begins with. */
static void client_greet(Client *c)
{
	raw_expect(&c->raw, VSC_TYPE_INIT, VSC_READER_UNDEFINED, init_client, 12);
	raw_send(&c->raw, VSC_TYPE_INIT, 0, init_host, 12);
	raw_expect(&c->raw, VSC_TYPE_READER_INFO, VSC_READER_UNDEFINED, info_echo, 8);
	raw_expect(&c->raw, VSC_TYPE_READER_ADD, VSC_READER_UNDEFINED, "echo", 4);
	raw_send(&c->raw, VSC_TYPE_ERROR, 0, success, 4);
}

static void client_start(Client *c)
{
	VmcChardev *other;

	vmc_chardev_pair_new(&c->chardev, &other);
	raw_start(&c->raw, other);
	c->link = vsc_client_link_new(c->chardev, NULL, NULL, NULL);
	echo_start(&c->echo, "echo", atr_t1, sizeof(atr_t1));
	assert_true(vsc_client_link_add(c->link, &c->echo.base));
	client_greet(c);
	iterate();
}

static void client_stop(Client *c)
{
	vsc_client_link_free(c->link);
	iterate();
	vmc_chardev_free(c->chardev);
	raw_stop(&c->raw);
	vsc_card_free(&c->echo.base);
}

static void client_insert(Client *c)
{
	vsc_card_emit_inserted(&c->echo.base);
	raw_expect(&c->raw, VSC_TYPE_ATR, 0, atr_t1, sizeof(atr_t1));
	raw_send(&c->raw, VSC_TYPE_ERROR, 0, success, 4);
}

static void send_request(Client *c, VscWireToken token, uint32_t kind, const char *data, size_t len)
{
	uint8_t payload[64];

	vsc_request_put(payload, token, kind);
	if (len > 0)
		memcpy(payload + VSC_WIRE_PREFIX, data, len);
	raw_send(&c->raw, VSC_TYPE_REQUEST, 0, payload, VSC_WIRE_PREFIX + len);
}

static void expect_answer(Client *c, VscWireToken token, VscOutcome outcome, const char *data,
			  size_t len)
{
	char payload[64];

	vsc_request_put((uint8_t *)payload, token, vsc_request_code(outcome));
	if (len > 0)
		memcpy(payload + VSC_WIRE_PREFIX, data, len);
	raw_expect(&c->raw, VSC_TYPE_ANSWER, 0, payload, VSC_WIRE_PREFIX + len);
}

/* A card whose ATR is not known is asked for it and has no power afterwards;
 * then all is as the host wants it. */
static void test_client_power(void **state)
{
	Client c;

	(void)state;
	client_start(&c);
	client_insert(&c);
	assert_int_equal(c.echo.ons, 1);
	assert_int_equal(c.echo.offs, 1);

	send_request(&c, 7, VSC_REQUEST_TRANSMIT, "\0\xb0\0\0\1", 5);
	expect_answer(&c, 7, VSC_OUTCOME_NOT_POWERED, NULL, 0);
	send_request(&c, 8, VSC_REQUEST_RESET, NULL, 0);
	expect_answer(&c, 8, VSC_OUTCOME_NOT_POWERED, NULL, 0);
	send_request(&c, 9, VSC_REQUEST_POWER_OFF, NULL, 0);
	expect_answer(&c, 9, VSC_OUTCOME_OK, NULL, 0);
	assert_int_equal(c.echo.commands, 0);
	assert_int_equal(c.echo.offs, 1);

	send_request(&c, 10, VSC_REQUEST_POWER_ON, NULL, 0);
	expect_answer(&c, 10, VSC_OUTCOME_OK, atr_t1, sizeof(atr_t1));
	send_request(&c, 11, VSC_REQUEST_TRANSMIT, "\0\xb0\0\0\1", 5);
	expect_answer(&c, 11, VSC_OUTCOME_OK, "\1\x90\0", 3);
	send_request(&c, 12, VSC_REQUEST_RESET, NULL, 0);
	expect_answer(&c, 12, VSC_OUTCOME_OK, atr_t1, sizeof(atr_t1));
	assert_int_equal(c.echo.ons, 3);
	send_request(&c, 13, VSC_REQUEST_POWER_OFF, NULL, 0);
	expect_answer(&c, 13, VSC_OUTCOME_OK, NULL, 0);
	assert_int_equal(c.echo.offs, 2);
	client_stop(&c);
}

/* One that is known needs no power for it. */
static void test_client_known_atr(void **state)
{
	Client c;

	(void)state;
	client_start(&c);
	vsc_card_set_atr(&c.echo.base, vmc_span(atr_t1, sizeof(atr_t1)));
	client_insert(&c);
	assert_int_equal(c.echo.ons + c.echo.offs, 0);
	/* What a host left behind is gone for the next. */
	send_request(&c, 1, VSC_REQUEST_POWER_ON, NULL, 0);
	expect_answer(&c, 1, VSC_OUTCOME_OK, atr_t1, sizeof(atr_t1));
	vmc_chardev_disconnect(c.raw.chardev, false, "test");
	iterate();
	assert_int_equal(c.echo.offs, 1);
	assert_int_equal(c.echo.ons, 1);
	client_stop(&c);
}

/* The wire goes while the card is at `kind`, which then ends as `outcome`; for
 * the next host the card is as good as new. */
static void lose_host_during(uint32_t kind, VscOutcome outcome)
{
	Client c;

	client_start(&c);
	vsc_card_set_atr(&c.echo.base, vmc_span(atr_t1, sizeof(atr_t1)));
	client_insert(&c);
	if (kind == VSC_REQUEST_POWER_OFF) {
		send_request(&c, 1, VSC_REQUEST_POWER_ON, NULL, 0);
		expect_answer(&c, 1, VSC_OUTCOME_OK, atr_t1, sizeof(atr_t1));
	}
	c.echo.slow_power = true;
	send_request(&c, 2, kind, NULL, 0);
	iterate();
	vmc_chardev_disconnect(c.raw.chardev, false, "test");
	iterate();
	c.echo.slow_power = false;
	c.echo.outcome = outcome;
	echo_finish(&c.echo);
	iterate();

	raw_reopen(&c.raw);
	client_greet(&c);
	raw_expect(&c.raw, VSC_TYPE_ATR, 0, atr_t1, sizeof(atr_t1));
	raw_send(&c.raw, VSC_TYPE_ERROR, 0, success, 4);
	/* Whatever the host before left, it has no power. */
	send_request(&c, 3, VSC_REQUEST_TRANSMIT, "\0\xb0\0\0\1", 5);
	expect_answer(&c, 3, VSC_OUTCOME_NOT_POWERED, NULL, 0);
	send_request(&c, 4, VSC_REQUEST_POWER_ON, NULL, 0);
	expect_answer(&c, 4, VSC_OUTCOME_OK, atr_t1, sizeof(atr_t1));
	client_stop(&c);
}

static void test_client_lost_host(void **state)
{
	static const uint32_t kinds[] = { VSC_REQUEST_POWER_ON, VSC_REQUEST_POWER_OFF };
	static const VscOutcome outcomes[] = { VSC_OUTCOME_OK, VSC_OUTCOME_CANCELLED,
					       VSC_OUTCOME_MUTE };

	(void)state;
	for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
		for (size_t o = 0; o < G_N_ELEMENTS(outcomes); o++)
			lose_host_during(kinds[k], outcomes[o]);
	}
}

/* Cancel reaches the card; a second request meanwhile fails, and the cancelled
 * one has its answer when the card has. */
static void test_client_cancel(void **state)
{
	Client c;

	(void)state;
	client_start(&c);
	client_insert(&c);
	send_request(&c, 1, VSC_REQUEST_POWER_ON, NULL, 0);
	expect_answer(&c, 1, VSC_OUTCOME_OK, atr_t1, sizeof(atr_t1));
	c.echo.slow = true;
	send_request(&c, 2, VSC_REQUEST_TRANSMIT, "\0\xb0\0\0\1", 5);
	send_request(&c, 3, VSC_REQUEST_TRANSMIT, "\0\xb0\0\0\2", 5);
	expect_answer(&c, 3, VSC_OUTCOME_FAILED, NULL, 0);
	assert_int_equal(c.echo.cancelled, 0);
	raw_send(&c.raw, VSC_TYPE_CANCEL, 0, "\0\0\0\2", 4);
	iterate();
	assert_int_not_equal(c.echo.cancelled, 0);
	assert_int_equal(c.echo.cancelled, c.echo.token);
	assert_int_equal(c.raw.got->len, 0);
	c.echo.outcome = VSC_OUTCOME_CANCELLED;
	echo_finish(&c.echo);
	expect_answer(&c, 2, VSC_OUTCOME_CANCELLED, NULL, 0);
	client_stop(&c);
}

/* While the card works the host is told so, and then no more. */
static void test_client_working(void **state)
{
	unsigned before;
	VscMessage m;
	Client c;

	(void)state;
	client_start(&c);
	client_insert(&c);
	send_request(&c, 1, VSC_REQUEST_POWER_ON, NULL, 0);
	expect_answer(&c, 1, VSC_OUTCOME_OK, atr_t1, sizeof(atr_t1));
	c.echo.slow = true;
	send_request(&c, 0xfedcba98, VSC_REQUEST_TRANSMIT, "\0\xb0\0\0\1", 5);
	before = c.raw.got->len;
	for (unsigned i = 0; i < 2; i++) {
		wait_for(&c.raw.got->len, before + VSC_WIRE_HEADER + 4);
		assert_true(raw_take(&c.raw, &m));
		assert_int_equal(m.type, VSC_TYPE_WORKING);
		assert_memory_equal(m.payload.data, "\xfe\xdc\xba\x98", 4);
	}
	echo_finish(&c.echo);
	expect_answer(&c, 0xfedcba98, VSC_OUTCOME_OK, "\1\x90\0", 3);
	client_stop(&c);
}

static void test_client_described(void **state)
{
	Client c;

	(void)state;
	client_start(&c);
	vsc_card_describe(&c.echo.base, "other", &(VscReaderInfo){ .serial = (char *)"42" });
	raw_expect(&c.raw, VSC_TYPE_READER_INFO, 0,
		   "\0\1\0\5other\0\4\0\2"
		   "42",
		   15);
	client_stop(&c);
}

/* ---- The host link and a raw client ---- */

typedef struct Host {
	Raw raw;
	VmcChardev *chardev;
	VscHostLink *link;
	User user;
	unsigned refused;
	unsigned working, described;
	VscToken worked;
} Host;

static Host *the_host;

static void host_working(void *data, VscToken token)
{
	(void)data;
	the_host->working++;
	the_host->worked = token;
}

static void host_described(void *data)
{
	(void)data;
	the_host->described++;
}

static void host_refused(void *data, const char *name)
{
	assert_string_equal(name, "third");
	((Host *)data)->refused++;
}

static const VscHostLinkEvents host_events = { .refused = host_refused };

static void host_start(Host *h)
{
	static VscCardEvents events;
	VmcChardev *other;

	the_host = h;
	*h = (Host){ 0 };
	events = user_events;
	events.working = host_working;
	events.described = host_described;
	vmc_chardev_pair_new(&h->chardev, &other);
	raw_start(&h->raw, other);
	h->link = vsc_host_link_new(h->chardev, 1, NULL);
	vsc_host_link_set_events(h->link, &host_events, h);
	user_start(&h->user, vsc_host_link_card(h->link, 0));
	vsc_card_set_user(h->user.card, &events, &h->user);
	iterate();
	raw_send(&h->raw, VSC_TYPE_INIT, 0, init_client, 12);
	raw_expect(&h->raw, VSC_TYPE_INIT, VSC_READER_UNDEFINED, init_host, 12);
}

static void host_stop(Host *h)
{
	vsc_host_link_free(h->link);
	vmc_chardev_free(h->chardev);
	raw_stop(&h->raw);
	user_stop(&h->user);
}

static void host_add(Host *h, uint32_t id)
{
	raw_send(&h->raw, VSC_TYPE_READER_ADD, VSC_READER_UNDEFINED, "plain", 5);
	raw_expect(&h->raw, VSC_TYPE_ERROR, id, success, 4);
}

static void test_host_requests(void **state)
{
	VmcSpan atr;
	Host h;

	(void)state;
	host_start(&h);
	host_add(&h, 0);
	raw_send(&h.raw, VSC_TYPE_ATR, 0, atr_t0, sizeof(atr_t0));
	raw_expect(&h.raw, VSC_TYPE_ERROR, 0, success, 4);
	assert_int_equal(h.user.inserted, 1);
	atr = vsc_card_atr(h.user.card);
	assert_int_equal(atr.len, sizeof(atr_t0));
	assert_memory_equal(atr.data, atr_t0, atr.len);

	vsc_card_power_on(h.user.card, 5);
	raw_expect(&h.raw, VSC_TYPE_REQUEST, 0, "\0\0\0\1\0\0\0\1", 8);
	assert_int_equal(h.user.answered, 0);
	raw_send(&h.raw, VSC_TYPE_WORKING, 0, "\0\0\0\1", 4);
	iterate();
	assert_int_equal(h.working, 1);
	assert_int_equal(h.worked, 5);
	raw_send(&h.raw, VSC_TYPE_ANSWER, 0, "\0\0\0\1\0\0\0\0\x3b\x80\x01\x81", 12);
	iterate();
	assert_int_equal(h.user.token, 5);
	assert_int_equal(h.user.outcome, VSC_OUTCOME_OK);
	assert_memory_equal(h.user.data->data, atr_t1, 4);
	assert_false(h.user.called_back_in_call);

	vsc_card_power_off(h.user.card, 6);
	raw_expect(&h.raw, VSC_TYPE_REQUEST, 0, "\0\0\0\2\0\0\0\2", 8);
	assert_int_equal(h.user.token, 6);
	raw_send(&h.raw, VSC_TYPE_CARD_REMOVE, 0, NULL, 0);
	iterate();
	assert_int_equal(vsc_card_atr(h.user.card).len, 0);
	host_stop(&h);
}

/* What a reader's side says of it is its card's, and stays when it goes; the
 * name of ReaderAdd alone is not. */
static void test_host_described(void **state)
{
	static const char info[] = "\0\1\0\4name\0\2\0\6vendor\0\4\0\1"
				   "7";
	g_autofree char *unnamed = NULL;
	Host h;

	(void)state;
	host_start(&h);
	host_add(&h, 0);
	unnamed = g_strdup(vsc_card_name(h.user.card));
	assert_int_equal(h.described, 0);
	assert_string_not_equal(vsc_card_name(h.user.card), "plain");
	raw_send(&h.raw, VSC_TYPE_READER_INFO, 0, info, sizeof(info) - 1);
	iterate();
	assert_int_equal(h.described, 1);
	assert_string_equal(vsc_card_name(h.user.card), "name");
	assert_string_equal(vsc_card_info(h.user.card)->vendor, "vendor");
	assert_null(vsc_card_info(h.user.card)->type);
	assert_string_equal(vsc_card_info(h.user.card)->serial, "7");
	raw_send(&h.raw, VSC_TYPE_READER_INFO, 0, info, sizeof(info) - 1);
	vmc_chardev_disconnect(h.raw.chardev, false, "test");
	iterate();
	assert_int_equal(h.described, 1);
	assert_string_equal(vsc_card_name(h.user.card), "name");

	/* An old client's reader is not the one that was there before. */
	raw_reopen(&h.raw);
	raw_send(&h.raw, VSC_TYPE_INIT, 0, init_old, 12);
	raw_expect(&h.raw, VSC_TYPE_INIT, VSC_READER_UNDEFINED, init_host, 12);
	host_add(&h, 0);
	assert_int_equal(h.described, 2);
	assert_string_equal(vsc_card_name(h.user.card), unnamed);
	assert_null(vsc_card_info(h.user.card)->vendor);
	assert_null(vsc_card_info(h.user.card)->serial);
	host_stop(&h);
}

/* More places, up to the sixteen there can be; a reader too many is said. */
static void test_host_places(void **state)
{
	g_autoptr(GError) error = NULL;
	Host h;

	(void)state;
	host_start(&h);
	assert_true(vsc_host_link_grow(h.link, 1, NULL));
	assert_non_null(vsc_host_link_card(h.link, 1));
	host_add(&h, 0);
	host_add(&h, 1);
	assert_int_equal(h.refused, 0);
	raw_send(&h.raw, VSC_TYPE_READER_ADD, VSC_READER_UNDEFINED, "third", 5);
	raw_expect(&h.raw, VSC_TYPE_ERROR, VSC_READER_UNDEFINED, "\0\0\0\2", 4);
	assert_int_equal(h.refused, 1);
	assert_false(vsc_host_link_grow(h.link, 15, &error));
	assert_non_null(error);
	assert_true(vsc_host_link_grow(h.link, 14, NULL));
	for (uint32_t id = 2; id < VSC_HOST_READERS_MAX; id++)
		host_add(&h, id);
	host_stop(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_power),     cmocka_unit_test(test_client_known_atr),
		cmocka_unit_test(test_client_lost_host), cmocka_unit_test(test_client_cancel),
		cmocka_unit_test(test_client_working),   cmocka_unit_test(test_client_described),
		cmocka_unit_test(test_host_requests),    cmocka_unit_test(test_host_described),
		cmocka_unit_test(test_host_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * TLS over a char device, both ends ours over an in-process pair: names, the
 * ends of conversations, and that nothing is lost, stuck or piled up.
 */

#include "tests/unit/test-tls.h"

typedef struct Both {
	Recorder server, client;
} Both;

static void start_both(Both *both, const char *named, const char *wanted)
{
	g_autofree char *pem = NULL;
	g_autoptr(VmcTls) server = vmc_tls_server_new_self_signed(named, &pem, NULL);
	g_autoptr(VmcTls) client = NULL;
	VmcTlsTrust trust = { .ca_pem = pem, .host = wanted };
	VmcChardev *one, *other;

	assert_non_null(server);
	client = client_new(&trust);
	vmc_chardev_pair_new(&one, &other);
	recorder_start(&both->server, vmc_tls_chardev_new(server, one));
	recorder_start(&both->client, vmc_tls_chardev_new(client, other));
	run_until(both->server.log->len > 0 && both->client.log->len > 0, 10);
}

static void open_both(Both *both)
{
	start_both(both, "vm.example", "vm.example");
	assert_log(&both->server, "opened ");
	assert_log(&both->client, "opened ");
	recorder_forget(&both->server);
	recorder_forget(&both->client);
}

static void stop_both(Both *both)
{
	recorder_stop(&both->server);
	recorder_stop(&both->client);
}

static void test_both_ways(void **state)
{
	Both both;

	(void)state;
	open_both(&both);
	assert_int_equal(vmc_chardev_write(both.client.dev, vmc_span("hello", 5)), VMC_WRITE_OK);
	assert_int_equal(vmc_chardev_write(both.server.dev, vmc_span("you", 3)), VMC_WRITE_OK);
	run_until(recorder_got(&both.server, "hello") && recorder_got(&both.client, "you"), 5);

	vmc_chardev_disconnect(both.client.dev, true, "done");
	run_until(both.server.log->len > 0 && both.client.log->len > 0, 5);
	assert_log(&both.server, "closed ");
	assert_int_equal(both.server.reason->code, VMC_CHARDEV_ERROR_HANGUP);
	assert_log(&both.client, "closed ");
	assert_int_equal(both.client.reason->code, VMC_CHARDEV_ERROR_USER);
	stop_both(&both);
}

static void test_names(void **state)
{
	static const struct {
		const char *named, *wanted;
		bool good;
	} cases[] = {
		{ "vm.example", "VM.example", true },
		{ "127.0.0.1", "127.0.0.1", true },
		{ "::1", "::1", true },
		{ "::1", "0:0::1", true },
		{ "vm.example", "vm.example.x", false },
		{ "127.0.0.1", "127.0.0.2", false },
		{ "vm.example", "127.0.0.1", false },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		Both both;

		start_both(&both, cases[i].named, cases[i].wanted);
		assert_log(&both.client, cases[i].good ? "opened " : "failed ");
		assert_log(&both.server, cases[i].good ? "opened " : "failed ");
		if (!cases[i].good) {
			assert_int_equal(vmc_tls_chardev_error(both.client.dev),
					 VMC_TLS_ERROR_NAME);
			assert_int_equal(both.client.reason->code, VMC_CHARDEV_ERROR_OPEN);
			assert_non_null(strstr(both.client.reason->message, "host-subject="));
			assert_non_null(strstr(both.client.reason->message, cases[i].wanted));
		}
		stop_both(&both);
	}
}

/* One side does not read for a while: the other is told to stop, and holds
 * little; then all comes, both ways at once. */
static void test_back_pressure(void **state)
{
	size_t up = 0, down = 0, stuck;
	Both both;

	(void)state;
	open_both(&both);
	vmc_chardev_pause(both.server.dev, true);
	pour(both.client.dev, &up, MIB);
	assert_true(up < MIB);
	for (unsigned i = 0; i < 20; i++) {
		run_for(10);
		if (strstr(both.client.log->str, "writable") != NULL)
			pour(both.client.dev, &up, MIB);
		recorder_forget(&both.client);
	}
	stuck = up;
	run_for(50);
	assert_int_equal(both.client.log->len, 0);
	assert_int_equal(both.server.in->len, 0);
	/* Its queue, the one below, the pair's and one piece here. */
	assert_true(stuck < 2 * (VMC_CHARDEV_HIGH_MARK + 9000) + 3 * 64 * 1024);

	both.server.piece = 777;
	vmc_chardev_pause(both.server.dev, false);
	while (both.server.in->len < MIB || both.client.in->len < MIB) {
		pour(both.client.dev, &up, MIB);
		pour(both.server.dev, &down, MIB);
		g_main_context_iteration(NULL, TRUE);
	}
	check_pattern(&both.server, MIB);
	check_pattern(&both.client, MIB);
	stop_both(&both);
}

/* All of a record is in the device after its first byte was read: a user that
 * takes little each time must be told again, with nothing more from below. */
static void test_nothing_stranded(void **state)
{
	unsigned told;
	uint8_t byte;
	Both both;

	(void)state;
	open_both(&both);
	both.server.idle = true;
	vmc_chardev_write(both.client.dev, vmc_span("0123456789", 10));
	for (unsigned i = 0; i < 10; i++) {
		told = both.server.readable;
		run_until(both.server.readable > told, 5);
		assert_int_equal(vmc_chardev_read(both.server.dev, &byte, 1), 1);
		assert_int_equal(byte, '0' + i);
	}
	/* After a pause, too. */
	told = both.server.readable;
	vmc_chardev_write(both.client.dev, vmc_span("abc", 3));
	run_until(both.server.readable > told, 5);
	assert_int_equal(vmc_chardev_read(both.server.dev, &byte, 1), 1);
	vmc_chardev_pause(both.server.dev, true);
	run_for(20);
	both.server.idle = false;
	vmc_chardev_pause(both.server.dev, false);
	run_until(recorder_got(&both.server, "bc"), 5);
	assert_true(run_for(100) <= 3); /* and then it sleeps */
	stop_both(&both);
}

/* What was written before leaving arrives, however slowly it is read. */
static void test_flush(void **state)
{
	size_t at = 0;
	Both both;

	(void)state;
	open_both(&both);
	vmc_chardev_pause(both.server.dev, true);
	pour(both.client.dev, &at, 200 * 1024);
	vmc_chardev_disconnect(both.client.dev, true, "done");
	run_for(50);
	vmc_chardev_pause(both.server.dev, false);
	run_until(both.server.log->len > 0, 5);
	check_pattern(&both.server, at);
	assert_int_equal(both.server.reason->code, VMC_CHARDEV_ERROR_HANGUP);
	stop_both(&both);
}

/* Who does not read still hears of the end, if there is nothing before it;
 * otherwise what there is is not lost. */
static void test_end_while_paused(void **state)
{
	Both both;

	(void)state;
	open_both(&both);
	vmc_chardev_pause(both.server.dev, true);
	vmc_chardev_disconnect(both.client.dev, false, "done");
	run_until(both.server.log->len > 0, 5);
	assert_int_equal(both.server.reason->code, VMC_CHARDEV_ERROR_HANGUP);
	stop_both(&both);

	open_both(&both);
	vmc_chardev_pause(both.server.dev, true);
	vmc_chardev_write(both.client.dev, vmc_span("last", 4));
	vmc_chardev_disconnect(both.client.dev, true, "done");
	run_until(both.client.log->len > 0, 5);
	run_for(20);
	assert_int_equal(both.server.log->len, 0);
	vmc_chardev_pause(both.server.dev, false);
	run_until(both.server.log->len > 0, 5);
	assert_true(recorder_got(&both.server, "last"));
	assert_int_equal(both.server.reason->code, VMC_CHARDEV_ERROR_HANGUP);
	stop_both(&both);

	/* Held: it cannot start, so the end is all that counts. */
	open_both(&both);
	vmc_chardev_hold(both.server.dev, true);
	vmc_chardev_write(both.client.dev, vmc_span("last", 4));
	run_for(20);
	vmc_chardev_disconnect(both.client.dev, true, "done");
	run_until(both.server.log->len > 0, 5);
	assert_log(&both.server, "closed ");
	assert_int_equal(both.server.in->len, 0);
	stop_both(&both);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),     cmocka_unit_test(test_names),
		cmocka_unit_test(test_back_pressure), cmocka_unit_test(test_nothing_stranded),
		cmocka_unit_test(test_flush),         cmocka_unit_test(test_end_while_paused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

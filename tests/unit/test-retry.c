/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Waits between attempts: how long, that a change of the network ends one, in a
 * network of this test's own, and that days of attempts leave nothing behind.
 * (A clock that jumps, as it does at resume, is the whole machine's: that is not
 * tried here.)
 */

#include <malloc.h>
#include <sched.h>
#include <stdlib.h>

#include "tests/unit/test-chardev.h"
#include "vmc/retry.h"
#include "vmc/spice-session.h"

static unsigned dues;

static void on_due(void *user)
{
	unsigned *n = user;

	(*n)++;
}

static void test_delays(void **state)
{
	static const unsigned wanted[] = { 3, 6, 12, 24, 48, 60, 60, 60 };

	(void)state;
	for (unsigned i = 0; i < G_N_ELEMENTS(wanted); i++) {
		unsigned ms = vmc_retry_delay(3, i);

		assert_in_range(ms, wanted[i] * 750, wanted[i] * 1000);
	}
	assert_int_equal(vmc_retry_delay(0, 5), 0);
	assert_in_range(vmc_retry_delay(3600, 5), 2700 * 1000, 3600 * 1000);
	assert_in_range(vmc_retry_delay(1, G_MAXUINT), 45 * 1000, 60 * 1000);
}

static void test_spread(void **state)
{
	unsigned first = vmc_retry_delay(60, 0), same = 0;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		same += vmc_retry_delay(60, 0) == first;
	assert_int_not_equal(same, 20);
}

static void test_wait(void **state)
{
	VmcRetry *retry = vmc_retry_new(on_due, &dues);

	(void)state;
	dues = 0;
	vmc_retry_wait(retry, 0);
	assert_int_equal(dues, 0);
	run_until(dues > 0, 5);
	vmc_retry_wait(retry, 20);
	run_until(dues > 1, 5);
	/* The next takes the place of the one before; none comes after a stop. */
	vmc_retry_wait(retry, 20);
	vmc_retry_wait(retry, 60000);
	run_for(200);
	assert_int_equal(dues, 2);
	vmc_retry_wait(retry, 20);
	vmc_retry_stop(retry);
	run_for(200);
	assert_int_equal(dues, 2);
	vmc_retry_free(retry);
}

static void free_it(void *user)
{
	VmcRetry **retry = user;

	dues++;
	g_clear_pointer(retry, vmc_retry_free);
}

static void test_free_in_due(void **state)
{
	VmcRetry *retry = vmc_retry_new(free_it, &retry);

	(void)state;
	dues = 0;
	vmc_retry_wait(retry, 1);
	run_until(dues > 0, 5);
	assert_null(retry);
}

static void shell(const char *command)
{
	assert_int_equal(system(command), 0);
}

static void test_network(void **state)
{
	VmcRetry *retry = vmc_retry_new(on_due, &dues);

	(void)state;
	dues = 0;
	vmc_retry_wait(retry, 10 * 60 * 1000);
	run_for(100);
	assert_int_equal(dues, 0);
	shell("ip link set lo up"); /* with its addresses and routes */
	run_until(dues > 0, 30);
	/* What goes is no reason to try. */
	vmc_retry_wait(retry, 10 * 60 * 1000);
	shell("ip addr del 127.0.0.1/8 dev lo");
	run_for(3 * VMC_RETRY_CHANGE_MS / 2);
	assert_int_equal(dues, 1);
	/* A network that never rests does not put the attempt off. */
	for (unsigned i = 0; dues < 2 && i < 600; i++) {
		shell("ip addr add 127.0.0.1/8 dev lo && ip addr del 127.0.0.1/8 dev lo");
		run_for(50);
	}
	assert_int_equal(dues, 2);
	shell("ip addr add 127.0.0.1/8 dev lo");
	vmc_retry_free(retry);
}

/* ---- Days of attempts ---- */

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t allocated(void)
{
	if (__sanitizer_get_current_allocated_bytes != NULL)
		return __sanitizer_get_current_allocated_bytes();
	return mallinfo2().uordblks;
}

static void on_failed(void *user, const GError *reason, unsigned again)
{
	unsigned *n = user;

	(void)reason;
	(void)again;
	(*n)++;
}

static const VmcChardevEvents failed_events = { .failed = on_failed };

/* What attempts cost in memory, once all that is made once is there. */
static void leaves_nothing(VmcChardev *chardev, unsigned attempts)
{
	unsigned n = 0;
	size_t before;

	assert_true(vmc_chardev_set_user(chardev, &failed_events, &n));
	run_until(n >= attempts / 4, 120);
	before = allocated();
	run_until(n >= attempts, 120);
	assert_in_range(allocated(), 0, before + 16 * 1024);
	vmc_chardev_set_user(chardev, NULL, NULL);
}

static VmcChardev *connecting(const char *key, const char *value)
{
	g_autoptr(VmcOpts) opts = vmc_opts_new("-chardev");

	vmc_opts_add(opts, "backend", "socket", NULL);
	vmc_opts_add(opts, key, value, NULL);
	if (g_str_equal(key, "port"))
		vmc_opts_add(opts, "host", "127.0.0.1", NULL);
	vmc_opts_add(opts, "reconnect", "1", NULL);
	return vmc_chardev_new(opts, NULL);
}

static void test_days_of_socket(void **state)
{
	g_autoptr(VmcChardev) nobody = NULL;
	g_autoptr(VmcChardev) nowhere = NULL;

	(void)state;
	vmc_retry_second_ms = 0;
	nobody = connecting("port", "1");
	leaves_nothing(nobody, 5000);
	nowhere = connecting("path", "/nonexistent/socket");
	leaves_nothing(nowhere, 5000);
	vmc_retry_second_ms = 1000;
}

static void test_days_of_spice(void **state)
{
	VmcSpiceAddress address = { .host = (char *)"127.0.0.1", .port = 1 };
	VmcSpiceSession *session = vmc_spice_session_new(&address, 1, NULL);
	VmcChardev *channel = vmc_spice_session_channel(session, VMC_SPICE_WANT_CARD, NULL);

	(void)state;
	vmc_retry_second_ms = 1;
	leaves_nothing(channel, 200);
	vmc_retry_second_ms = 1000;
	vmc_chardev_free(channel);
	vmc_spice_session_free(session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delays),        cmocka_unit_test(test_spread),
		cmocka_unit_test(test_wait),          cmocka_unit_test(test_free_in_due),
		cmocka_unit_test(test_network),       cmocka_unit_test(test_days_of_socket),
		cmocka_unit_test(test_days_of_spice),
	};

	if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) != 0) {
		perror("a network of the test's own");
		return 1;
	}
	return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}

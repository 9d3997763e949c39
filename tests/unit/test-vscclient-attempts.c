/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How much vscclient says of a connection that fails for days. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/vscclient-attempts.h"

#define SECOND ((gint64)G_USEC_PER_SEC)
#define DAY (86400 * SECOND)

/* Attempts a minute apart for three days. */
static void test_same(void **state)
{
	ClientAttempts attempts = { 0 };
	unsigned said = 0, unsaid = 0, all = 0;

	(void)state;
	for (gint64 now = 5 * SECOND; now < 3 * DAY; now += 60 * SECOND) {
		all++;
		if (!client_attempts_failed(&attempts, "refused", now, &unsaid))
			continue;
		said++;
		assert_int_equal(unsaid, said == 1 ? 0 : 59);
	}
	assert_int_equal(said, all / 60);
	client_attempts_clear(&attempts);
}

static void test_changes(void **state)
{
	ClientAttempts attempts = { 0 };
	unsigned unsaid = 0;

	(void)state;
	assert_true(client_attempts_failed(&attempts, "refused", SECOND, &unsaid));
	assert_false(client_attempts_failed(&attempts, "refused", 2 * SECOND, &unsaid));
	assert_true(client_attempts_failed(&attempts, "no route", 3 * SECOND, &unsaid));
	assert_int_equal(unsaid, 0);
	assert_false(client_attempts_failed(&attempts, "no route", 4 * SECOND, &unsaid));
	client_attempts_up(&attempts);
	assert_true(client_attempts_failed(&attempts, "no route", 5 * SECOND, &unsaid));
	assert_int_equal(unsaid, 0);
	client_attempts_clear(&attempts);
}

/* A host that takes each connection, and closes it: for three days. */
static void test_flapping(void **state)
{
	ClientAttempts attempts = { 0 };
	unsigned said = 0, unsaid, first = 0;

	(void)state;
	for (gint64 now = 5 * SECOND; now < 3 * DAY; now += SECOND) {
		said += client_attempts_failed(&attempts, "refused", now, &unsaid);
		client_attempts_up(&attempts);
		said += client_attempts_tell(&attempts, now);
		said += client_attempts_tell(&attempts, now);
		if (now == 10 * SECOND)
			first = said;
	}
	assert_int_equal(first, 18); /* at the start each is told */
	assert_in_range(said, 71 * CLIENT_LINES_MAX, 73 * CLIENT_LINES_MAX);
	client_attempts_clear(&attempts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_flapping),
	};

	return cmocka_run_group_tests_name("vscclient attempts", tests, NULL, NULL);
}

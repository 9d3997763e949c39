/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcJoin between two in-process pairs, with a recorder at either far end; and
 * between sockets where the kernel's part counts.
 */

#include "tests/unit/test-chardev.h"

#include <sys/socket.h>
#include <unistd.h>

#include "vmc/join.h"

#define MIB ((size_t)1024 * 1024)
#define UNREAD ((size_t)64 * 1024)

/* a <-> offered, joined with: b <-> with. */
typedef struct Rig {
	VmcChardev *offered, *with;
	VmcChardev *a_dev, *b_dev;
	Recorder a, b;
	VmcJoin *join;
	size_t sent_a, sent_b; /* of pattern(MIB) */
} Rig;

static VmcSpan text(const char *string)
{
	return vmc_span(string, strlen(string));
}

static VmcSpan pattern(size_t len)
{
	static uint8_t bytes[MIB];

	assert_true(len <= sizeof(bytes));
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i % 251 + 1);
	return vmc_span(bytes, len);
}

static void make_rig(Rig *rig)
{
	g_autoptr(GError) error = NULL;

	*rig = (Rig){ 0 };
	vmc_chardev_pair_new(&rig->a_dev, &rig->offered);
	vmc_chardev_pair_new(&rig->b_dev, &rig->with);
	rig->join = vmc_join_new(rig->offered, rig->with, &error);
	assert_null(error);
	assert_non_null(rig->join);
}

static void start_rig(Rig *rig)
{
	make_rig(rig);
	recorder_start(&rig->a, rig->a_dev);
	recorder_start(&rig->b, rig->b_dev);
	run_until(vmc_chardev_is_open(rig->a_dev) && vmc_chardev_is_open(rig->b_dev), 5);
	recorder_forget(&rig->a);
	recorder_forget(&rig->b);
}

static void stop_rig(Rig *rig)
{
	vmc_join_free(rig->join);
	vmc_chardev_free(rig->offered);
	vmc_chardev_free(rig->with);
	recorder_stop(&rig->a);
	recorder_stop(&rig->b);
}

/* The user of a far end leaves, and comes anew. */
static void leave(Recorder *r)
{
	vmc_chardev_set_user(r->dev, NULL, NULL);
	recorder_forget(r);
}

static void come(Recorder *r)
{
	assert_true(vmc_chardev_set_user(r->dev, &recorder_events, r));
}

static void test_both_ways(void **state)
{
	Rig rig;

	(void)state;
	start_rig(&rig);
	assert_int_equal(vmc_chardev_write(rig.a_dev, text("hello")), VMC_WRITE_OK);
	assert_int_equal(vmc_chardev_write(rig.b_dev, text("you")), VMC_WRITE_OK);
	run_until(recorder_got(&rig.b, "hello") && recorder_got(&rig.a, "you"), 5);
	assert_log(&rig.a, "");
	assert_log(&rig.b, "");
	stop_rig(&rig);
}

/* Writes what fits of the pattern; counts it in `sent`. */
static void feed(VmcChardev *dev, size_t *sent)
{
	VmcSpan all = pattern(MIB);

	while (*sent < MIB && vmc_chardev_is_open(dev) && vmc_chardev_pending(dev) == 0) {
		size_t n = MIN((size_t)50000, MIB - *sent);

		assert_int_equal(vmc_chardev_write(dev, vmc_span(all.data + *sent, n)),
				 VMC_WRITE_OK);
		*sent += n;
	}
}

static bool has_pattern(const Recorder *r)
{
	return r->in->len == MIB && memcmp(r->in->data, pattern(MIB).data, MIB) == 0;
}

static bool all_over(Rig *rig)
{
	feed(rig->a_dev, &rig->sent_a);
	feed(rig->b_dev, &rig->sent_b);
	return rig->a.in->len >= MIB && rig->b.in->len >= MIB;
}

static void test_mebibyte_each_way(void **state)
{
	Rig rig;

	(void)state;
	start_rig(&rig);
	rig.b.piece = 777; /* a slow side */
	run_until(all_over(&rig), 30);
	assert_true(has_pattern(&rig.a));
	assert_true(has_pattern(&rig.b));
	stop_rig(&rig);
}

/* Until no more goes. */
static void fill(VmcChardev *dev, size_t *sent)
{
	for (size_t before = MIB; before != *sent;) {
		before = *sent;
		feed(dev, sent);
		run_for(20);
	}
}

static bool is_fed(Recorder *from, const Recorder *to, size_t *sent)
{
	feed(from->dev, sent);
	return to->in->len >= MIB;
}

/* The side that does not read stops its sender, and nothing in between grows. */
static void check_stop(Recorder *from, Recorder *to, VmcChardev *out)
{
	size_t sent = 0;
	size_t marks = VMC_CHARDEV_HIGH_MARK + 3 * 65536;

	vmc_chardev_pause(to->dev, true);
	fill(from->dev, &sent);
	assert_in_range(sent, VMC_CHARDEV_HIGH_MARK, marks);
	assert_in_range(vmc_chardev_pending(out), VMC_CHARDEV_HIGH_MARK, marks);
	assert_true(run_for(50) < 5);
	/* The other direction is free meanwhile. */
	vmc_chardev_write(to->dev, text("still"));
	run_until(recorder_got(from, "still"), 5);

	vmc_chardev_pause(to->dev, false);
	recorder_forget(from);
	run_until(is_fed(from, to, &sent), 10);
	assert_true(has_pattern(to));
}

static void test_back_pressure(void **state)
{
	Rig rig;

	(void)state;
	start_rig(&rig);
	check_stop(&rig.a, &rig.b, rig.with);
	stop_rig(&rig);
	start_rig(&rig);
	check_stop(&rig.b, &rig.a, rig.offered);
	stop_rig(&rig);
}

static void check_close(Rig *rig, Recorder *leaving, Recorder *staying)
{
	/* What was sent before the end arrives, even to who is slow. */
	vmc_chardev_pause(staying->dev, true);
	vmc_chardev_write(leaving->dev, pattern(200000));
	vmc_chardev_disconnect(leaving->dev, true, "enough");
	run_until(strcmp(leaving->log->str, "closed ") == 0, 5);
	run_for(10);
	vmc_chardev_pause(staying->dev, false);
	run_until(strstr(staying->log->str, "closed ") != NULL, 5);
	assert_int_equal(staying->in->len, 200000);
	assert_log(staying, "closed ");
	assert_false(vmc_chardev_is_open(staying->dev));
	assert_false(vmc_chardev_is_open(rig->offered));
	assert_false(vmc_chardev_is_open(rig->with));
}

/* Whichever closes, the other is closed too; then a new conversation works. */
static void test_close_and_reopen(void **state)
{
	Rig rig;

	(void)state;
	start_rig(&rig);
	for (int i = 0; i < 4; i++) {
		Recorder *leaving = i % 2 == 0 ? &rig.a : &rig.b;
		Recorder *staying = i % 2 == 0 ? &rig.b : &rig.a;

		check_close(&rig, leaving, staying);
		leave(&rig.a);
		leave(&rig.b);
		come(i < 2 ? &rig.a : &rig.b);
		run_for(10);
		come(i < 2 ? &rig.b : &rig.a);
		run_until(vmc_chardev_is_open(rig.a_dev) && vmc_chardev_is_open(rig.b_dev), 5);
		vmc_chardev_write(rig.a_dev, text("anew"));
		vmc_chardev_write(rig.b_dev, text("again"));
		run_until(recorder_got(&rig.b, "anew") && recorder_got(&rig.a, "again"), 5);
		recorder_forget(&rig.a);
		recorder_forget(&rig.b);
	}
	stop_rig(&rig);
}

/* A side that closes while its output is full of what nobody reads. */
static void test_close_when_full(void **state)
{
	Rig rig;

	(void)state;
	start_rig(&rig);
	vmc_chardev_pause(rig.b_dev, true);
	fill(rig.a_dev, &rig.sent_a);
	assert_true(vmc_chardev_pending(rig.with) > VMC_CHARDEV_HIGH_MARK);
	leave(&rig.b);
	run_until(strcmp(rig.a.log->str, "closed ") == 0, 5);
	leave(&rig.a);
	come(&rig.a);
	come(&rig.b);
	run_until(vmc_chardev_is_open(rig.a_dev) && vmc_chardev_is_open(rig.b_dev), 5);
	vmc_chardev_write(rig.a_dev, text("anew"));
	run_until(recorder_got(&rig.b, "anew"), 5);
	stop_rig(&rig);
}

/* The offered side has no user until somebody is on the other. */
static void test_offered_is_away(void **state)
{
	Rig rig;

	(void)state;
	make_rig(&rig);
	recorder_start(&rig.a, rig.a_dev);
	run_for(20);
	assert_log(&rig.a, "");
	recorder_start(&rig.b, rig.b_dev);
	run_until(vmc_chardev_is_open(rig.a_dev), 5);
	assert_log(&rig.b, "opened ");

	leave(&rig.b);
	run_until(strcmp(rig.a.log->str, "opened closed ") == 0, 5);
	come(&rig.b);
	run_until(strcmp(rig.a.log->str, "opened closed opened ") == 0, 5);
	stop_rig(&rig);
}

/* What the one side sends before the other is there waits, and is not lost. */
static void test_one_side_absent(void **state)
{
	Rig rig;

	(void)state;
	make_rig(&rig);
	recorder_start(&rig.b, rig.b_dev);
	run_until(vmc_chardev_is_open(rig.b_dev), 5);
	vmc_chardev_write(rig.b_dev, text("early"));
	assert_true(run_for(20) < 8);
	assert_true(vmc_chardev_is_open(rig.with));
	recorder_start(&rig.a, rig.a_dev);
	run_until(recorder_got(&rig.a, "early"), 5);
	assert_log(&rig.a, "opened ");

	/* Nor in the next conversation. */
	leave(&rig.a);
	leave(&rig.b);
	run_for(10);
	come(&rig.b);
	run_until(vmc_chardev_is_open(rig.b_dev), 5);
	vmc_chardev_write(rig.b_dev, text("early too"));
	run_for(20);
	come(&rig.a);
	run_until(recorder_got(&rig.a, "early too"), 5);
	stop_rig(&rig);
}

/* Who left before the other came leaves nothing for it. */
static void test_absent_and_gone(void **state)
{
	Rig rig;

	(void)state;
	make_rig(&rig);
	recorder_start(&rig.b, rig.b_dev);
	run_until(vmc_chardev_is_open(rig.with), 5);
	vmc_chardev_write(rig.b_dev, text("stale"));
	run_for(10);
	leave(&rig.b);
	run_for(10);
	assert_false(vmc_chardev_is_open(rig.with));
	recorder_start(&rig.a, rig.a_dev);
	come(&rig.b);
	vmc_chardev_write(rig.b_dev, text("no one"));
	run_until(vmc_chardev_is_open(rig.a_dev) && vmc_chardev_is_open(rig.b_dev), 5);
	vmc_chardev_write(rig.b_dev, text("fresh"));
	run_until(recorder_got(&rig.a, "fresh"), 5);
	assert_log(&rig.a, "opened ");
	stop_rig(&rig);
}

/* ---- Sockets: the end of a peer whose bytes nobody has read ---- */

static VmcChardev *make_socket(int fd)
{
	g_autofree char *words = g_strdup_printf("socket,id=s,fd=%d", fd);
	g_autoptr(VmcOpts) opts = vmc_opts_parse("-chardev", words, "backend", NULL);
	g_autoptr(GError) error = NULL;
	VmcChardev *dev = vmc_chardev_new(opts, &error);

	assert_null(error);
	return dev;
}

static void test_socket_gone_unread(void **state)
{
	VmcChardev *far_end, *offered, *with;
	VmcJoin *join;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	with = make_socket(ends[0]);
	vmc_chardev_pair_new(&far_end, &offered);
	join = vmc_join_new(offered, with, NULL);
	run_until(vmc_chardev_is_open(with), 5);
	assert_int_equal(write(ends[1], "stale", 5), 5);
	run_for(20);
	assert_true(vmc_chardev_is_open(with));
	close(ends[1]);
	run_until(!vmc_chardev_is_open(with), 5);
	vmc_join_free(join);
	vmc_chardev_free(with);
	vmc_chardev_free(offered);
	vmc_chardev_free(far_end);
}

/* Both peers leave with bytes of theirs unread: each side breaks when the other's
 * are written to it, and neither may wait for the other's end. */
static void test_both_sockets_gone(void **state)
{
	VmcChardev *offered, *with;
	VmcJoin *join;
	int a[2], b[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
	offered = make_socket(a[0]);
	with = make_socket(b[0]);
	join = vmc_join_new(offered, with, NULL);
	run_until(vmc_chardev_is_open(offered) && vmc_chardev_is_open(with), 5);
	run_for(20);
	/* More than is read at a time. */
	assert_int_equal(write(a[1], pattern(UNREAD).data, UNREAD), UNREAD);
	assert_int_equal(write(b[1], pattern(UNREAD).data, UNREAD), UNREAD);
	close(a[1]);
	close(b[1]);
	run_until(!vmc_chardev_is_open(offered) && !vmc_chardev_is_open(with), 5);
	vmc_join_free(join);
	vmc_chardev_free(offered);
	vmc_chardev_free(with);
}

/* A socket lives on without a user; its conversation must not. */
static void test_socket_freed(void **state)
{
	VmcChardev *far_end, *offered, *with;
	uint8_t byte;
	VmcJoin *join;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	with = make_socket(ends[0]);
	vmc_chardev_pair_new(&far_end, &offered);
	join = vmc_join_new(offered, with, NULL);
	run_until(vmc_chardev_is_open(with), 5);
	vmc_join_free(join);
	run_for(10);
	assert_int_equal(recv(ends[1], &byte, 1, MSG_DONTWAIT), 0);
	close(ends[1]);
	vmc_chardev_free(with);
	vmc_chardev_free(offered);
	vmc_chardev_free(far_end);
}

/* ---- Users and freeing ---- */

static void test_users(void **state)
{
	g_autoptr(GError) error = NULL;
	Rig rig;
	VmcChardev *one, *other;

	(void)state;
	start_rig(&rig);
	vmc_chardev_pair_new(&one, &other);
	assert_null(vmc_join_new(one, rig.with, &error));
	assert_true(g_error_matches(error, VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_USER));
	g_clear_error(&error);
	assert_null(vmc_join_new(rig.offered, one, &error));
	assert_true(g_error_matches(error, VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_USER));
	g_clear_error(&error);
	assert_null(vmc_join_new(one, one, &error));
	assert_true(g_error_matches(error, VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_USER));

	/* None of the refused kept what it had got. */
	vmc_join_free(vmc_join_new(one, other, NULL));
	assert_true(vmc_chardev_set_user(one, &recorder_events, NULL));
	assert_true(vmc_chardev_set_user(one, NULL, NULL));
	vmc_chardev_free(one);
	vmc_chardev_free(other);

	vmc_chardev_write(rig.a_dev, text("hello"));
	run_until(recorder_got(&rig.b, "hello"), 5);
	stop_rig(&rig);
}

/* In the middle of bytes, of an end, before anyone came: whenever. */
static void test_free_at_any_time(void **state)
{
	(void)state;
	for (int turns = 0; turns < 24; turns++) {
		Rig rig;

		make_rig(&rig);
		recorder_start(&rig.a, rig.a_dev);
		recorder_start(&rig.b, rig.b_dev);
		for (int i = 0; i < turns; i++) {
			feed(rig.a_dev, &rig.sent_a);
			if (turns >= 12 && i == turns - 6)
				vmc_chardev_disconnect(rig.b_dev, turns % 2, "enough");
			g_main_context_iteration(NULL, FALSE);
		}
		vmc_join_free(rig.join);
		rig.join = NULL;
		run_for(2);
		assert_false(vmc_chardev_is_open(rig.a_dev));
		assert_false(vmc_chardev_is_open(rig.b_dev));
		assert_false(vmc_chardev_is_open(rig.offered));
		assert_false(vmc_chardev_is_open(rig.with));
		stop_rig(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),          cmocka_unit_test(test_mebibyte_each_way),
		cmocka_unit_test(test_back_pressure),      cmocka_unit_test(test_close_and_reopen),
		cmocka_unit_test(test_close_when_full),    cmocka_unit_test(test_offered_is_away),
		cmocka_unit_test(test_one_side_absent),    cmocka_unit_test(test_absent_and_gone),
		cmocka_unit_test(test_socket_gone_unread), cmocka_unit_test(test_both_sockets_gone),
		cmocka_unit_test(test_socket_freed),       cmocka_unit_test(test_users),
		cmocka_unit_test(test_free_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

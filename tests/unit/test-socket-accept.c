/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A listening socket for a user that takes many conversations at once: each
 * connection a device of its own, beside one that began before, up to the
 * limit, and after the server is gone.
 */

#include "tests/unit/test-socket.h"

#include <sys/resource.h>

/* A user of a server that takes every connection. */
typedef struct Many {
	Recorder r;       /* the server's own conversation */
	GPtrArray *taken; /* Recorder, one a connection */
} Many;

static Many *the_many;

static void many_accepted(void *user, VmcChardev *connection)
{
	Recorder *r = g_new0(Recorder, 1);

	(void)user;
	recorder_start(r, connection);
	g_ptr_array_add(the_many->taken, r);
}

static VmcChardevEvents many_events;

static void drop(Many *many, guint i)
{
	Recorder *r = g_ptr_array_steal_index(many->taken, i);

	recorder_stop(r);
	g_free(r);
}

static Recorder *taken(Many *many, guint i)
{
	assert_true(i < many->taken->len);
	return many->taken->pdata[i];
}

static void take_many(Many *many, VmcChardev *dev)
{
	many_events = recorder_events;
	many_events.accepted = many_accepted;
	recorder_start(&many->r, dev);
	assert_true(vmc_chardev_set_user(dev, NULL, NULL));
	assert_true(vmc_chardev_set_user(dev, &many_events, &many->r));
	many->taken = g_ptr_array_new();
	the_many = many;
}

static void start_many(Many *many)
{
	take_many(many, good("socket,id=x,host=127.0.0.1,port=0,server,nowait"));
}

static int connect_to(Many *many)
{
	int fd = plain_connect("127.0.0.1", vmc_socket_port(many->r.dev));

	assert_true(fd >= 0);
	return fd;
}

static void stop_many(Many *many)
{
	while (many->taken->len > 0)
		drop(many, 0);
	g_ptr_array_unref(many->taken);
	recorder_stop(&many->r);
}

/* Three at once, each with its own words, and nothing on the server itself. */
static void test_side_by_side(void **state)
{
	static const char *const words[] = { "one", "two", "three" };
	int fds[3];
	Many many;

	(void)state;
	start_many(&many);
	for (guint i = 0; i < 3; i++) {
		fds[i] = connect_to(&many);
		run_until(many.taken->len == i + 1, 5);
	}
	for (guint i = 0; i < 3; i++) {
		Recorder *r = taken(&many, i);
		char got[6] = "";

		plain_send(fds[i], words[i]);
		run_until(recorder_got(r, words[i]), 5);
		assert_log(r, "opened ");
		assert_string_equal(vmc_chardev_id(r->dev), "x");
		assert_memory_equal(vmc_chardev_describe(r->dev), "tcp:127.0.0.1:", 14);
		assert_int_equal(vmc_chardev_write(r->dev, vmc_span(words[i], 3)), VMC_WRITE_OK);
		assert_int_equal(plain_read(fds[i], got, 3), 3);
		assert_memory_equal(got, words[i], 3);
	}
	assert_log(&many.r, "");
	for (guint i = 0; i < 3; i++)
		close(fds[i]);
	stop_many(&many);
}

static void test_tcp_options(void **state)
{
	Many many;
	int fd, mine;

	(void)state;
	start_many(&many);
	mine = connect_to(&many);
	run_until(many.taken->len == 1, 5);
	fd = other_end(mine);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(get_option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 10);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 20000);
	close(mine);
	stop_many(&many);
}

/* Each ends by itself, once, and does not come back. */
static void test_one_ends(void **state)
{
	Many many;
	int one, two;

	(void)state;
	start_many(&many);
	one = connect_to(&many);
	run_until(many.taken->len == 1, 5);
	two = connect_to(&many);
	run_until(many.taken->len == 2, 5);
	close(one);
	run_until(strstr(taken(&many, 0)->log->str, "closed") != NULL, 5);
	run_for(20);
	assert_log(taken(&many, 0), "opened closed ");
	assert_int_equal(taken(&many, 0)->reason->code, VMC_CHARDEV_ERROR_HANGUP);
	plain_send(two, "still here");
	run_until(recorder_got(taken(&many, 1), "still here"), 5);
	close(two);
	stop_many(&many);
}

/* Freeing one closes it; the others and those to come do not notice. */
static void test_user_frees(void **state)
{
	Many many;
	int fds[2];

	(void)state;
	start_many(&many);
	for (guint i = 0; i < 2; i++) {
		fds[i] = connect_to(&many);
		run_until(many.taken->len == i + 1, 5);
	}
	run_until(strcmp(taken(&many, 1)->log->str, "opened ") == 0, 5);
	drop(&many, 0);
	run_until(plain_ended(fds[0]), 5);
	close(fds[0]);
	fds[0] = connect_to(&many);
	run_until(many.taken->len == 2, 5);
	assert_log(taken(&many, 0), "opened ");
	close(fds[0]);
	close(fds[1]);
	stop_many(&many);
}

/* The one that began with nobody there is the server's own; more come beside. */
static void test_begun_before(void **state)
{
	VmcChardev *dev = good("socket,id=x,host=127.0.0.1,port=0,server,nowait");
	int early = plain_connect("127.0.0.1", vmc_socket_port(dev)), late;
	Many many;

	(void)state;
	run_until(vmc_chardev_is_open(dev), 5);
	take_many(&many, dev);
	run_until(strcmp(many.r.log->str, "opened ") == 0, 5);
	late = connect_to(&many);
	run_until(many.taken->len == 1, 5);
	plain_send(early, "early");
	plain_send(late, "late");
	run_until(recorder_got(&many.r, "early") && recorder_got(taken(&many, 0), "late"), 5);
	close(early);
	run_until(strcmp(many.r.log->str, "opened closed ") == 0, 5);
	/* All later ones are handed over. */
	early = connect_to(&many);
	run_until(many.taken->len == 2, 5);
	close(early);
	close(late);
	stop_many(&many);
}

/* The next user takes one at a time, as ever. */
static void test_next_user(void **state)
{
	Many many;
	int one, two;

	(void)state;
	start_many(&many);
	one = connect_to(&many);
	run_until(many.taken->len == 1, 5);
	drop(&many, 0);
	close(one);
	assert_true(vmc_chardev_set_user(many.r.dev, NULL, NULL));
	assert_true(vmc_chardev_set_user(many.r.dev, &recorder_events, &many.r));
	one = connect_to(&many);
	run_until(strcmp(many.r.log->str, "opened ") == 0, 5);
	two = connect_to(&many);
	run_for(50);
	plain_send(one, "one");
	run_until(recorder_got(&many.r, "one"), 5);
	assert_log(&many.r, "opened ");
	assert_int_equal(many.taken->len, 0);
	close(one);
	close(two);
	stop_many(&many);
}

/* Its user is gone while it has a conversation of its own: one at a time. */
static void test_user_leaves(void **state)
{
	VmcChardev *dev = good("socket,id=x,host=127.0.0.1,port=0,server,nowait");
	int early = plain_connect("127.0.0.1", vmc_socket_port(dev)), late;
	Many many;

	(void)state;
	run_until(vmc_chardev_is_open(dev), 5);
	take_many(&many, dev);
	assert_true(vmc_chardev_set_user(dev, NULL, NULL));
	late = connect_to(&many);
	run_for(50);
	assert_true(vmc_chardev_set_user(dev, &recorder_events, &many.r));
	plain_send(early, "early");
	run_until(recorder_got(&many.r, "early"), 5);
	close(early);
	close(late);
	stop_many(&many);
}

static void test_server_goes_first(void **state)
{
	Recorder *r;
	Many many;
	int fd;

	(void)state;
	start_many(&many);
	fd = connect_to(&many);
	run_until(many.taken->len == 1, 5);
	r = taken(&many, 0);
	recorder_stop(&many.r);
	plain_send(fd, "alone");
	run_until(recorder_got(r, "alone"), 5);
	drop(&many, 0);
	run_until(plain_ended(fd), 5);
	close(fd);
	g_ptr_array_unref(many.taken);
}

/* The limit holds, and the next one is served when there is room. */
static void test_limit(void **state)
{
	struct rlimit files;
	g_autofree int *fds = g_new(int, VMC_CHARDEV_ACCEPTED_MAX + 1);
	Many many;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &files);
	assert_true(files.rlim_cur > 2 * VMC_CHARDEV_ACCEPTED_MAX + 64);
	start_many(&many);
	for (guint i = 0; i < VMC_CHARDEV_ACCEPTED_MAX; i++) {
		fds[i] = connect_to(&many);
		run_until(many.taken->len == i + 1, 5);
	}
	fds[VMC_CHARDEV_ACCEPTED_MAX] = connect_to(&many);
	run_for(50);
	assert_int_equal(many.taken->len, VMC_CHARDEV_ACCEPTED_MAX);
	assert_true(run_for(100) <= 2); /* and nobody spins */
	drop(&many, 7);
	run_until(many.taken->len == VMC_CHARDEV_ACCEPTED_MAX, 5);
	plain_send(fds[VMC_CHARDEV_ACCEPTED_MAX], "last");
	run_until(recorder_got(taken(&many, VMC_CHARDEV_ACCEPTED_MAX - 1), "last"), 5);
	for (guint i = 0; i <= VMC_CHARDEV_ACCEPTED_MAX; i++)
		close(fds[i]);
	stop_many(&many);
}

static void test_unix(void **state)
{
	g_autofree char *dir = g_dir_make_tmp("vscard-XXXXXX", NULL);
	g_autofree char *path = g_build_filename(dir, "sock", NULL);
	int fds[2];
	Many many;

	(void)state;
	take_many(&many, good("socket,id=x,path=%s,server,nowait", path));
	for (guint i = 0; i < 2; i++) {
		fds[i] = unix_connect(path, false, false);
		run_until(many.taken->len == i + 1, 5);
	}
	assert_non_null(strstr(vmc_chardev_describe(taken(&many, 0)->dev), path));
	for (guint i = 0; i < 2; i++)
		close(fds[i]);
	stop_many(&many);
	rmdir(dir);
}

/* A device that has one conversation has it by `opened`. */
static void test_pair(void **state)
{
	VmcChardev *near, *far;
	Recorder other;
	Many many;

	(void)state;
	vmc_chardev_pair_new(&near, &far);
	take_many(&many, near);
	recorder_start(&other, far);
	run_until(strcmp(many.r.log->str, "opened ") == 0, 5);
	assert_int_equal(many.taken->len, 0);
	recorder_stop(&other);
	stop_many(&many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_side_by_side), cmocka_unit_test(test_tcp_options),
		cmocka_unit_test(test_one_ends),     cmocka_unit_test(test_user_frees),
		cmocka_unit_test(test_begun_before), cmocka_unit_test(test_next_user),
		cmocka_unit_test(test_user_leaves),  cmocka_unit_test(test_server_goes_first),
		cmocka_unit_test(test_limit),        cmocka_unit_test(test_unix),
		cmocka_unit_test(test_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

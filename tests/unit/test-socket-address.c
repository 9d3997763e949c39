/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How the socket backend comes to its conversations: listening and connecting
 * over TCP, UNIX sockets and inherited descriptors, with each key there is.
 */

#include "tests/unit/test-socket.h"

static char *dir; /* of this run's UNIX sockets */

/* ---- Servers ---- */

static void test_verbatim(void **state)
{
	g_autoptr(GError) error = NULL;
	VmcChardev *dev = make(&error, "socket,server,host=0.0.0.0,port=2001,id=ccid,nowait");

	(void)state;
	if (dev == NULL) { /* 2001 is somebody's on this machine; the rest holds */
		assert_non_null(strstr(error->message, "Address already in use"));
		dev = good("socket,server,host=0.0.0.0,port=2001,to=2100,id=ccid,nowait");
	} else {
		assert_string_equal(vmc_chardev_describe(dev), "tcp:0.0.0.0:2001,server");
	}
	assert_string_equal(vmc_chardev_id(dev), "ccid");
	assert_false(vmc_chardev_is_open(dev));
	vmc_chardev_free(dev);
}

static gboolean connect_late(void *data)
{
	int *fd_and_port = data;

	fd_and_port[0] = plain_connect("127.0.0.1", (uint16_t)fd_and_port[1]);
	return G_SOURCE_REMOVE;
}

static void test_wait(void **state)
{
	uint16_t port = 0;
	int late[2] = { -1, 0 };
	VmcChardev *dev;

	(void)state;
	close(plain_listen("127.0.0.1", &port)); /* a free one */
	late[1] = port;
	g_timeout_add(100, connect_late, late);
	dev = good("socket,id=x,host=127.0.0.1,port=%u,server=on,wait=on", port);
	assert_true(late[0] >= 0);
	assert_true(vmc_chardev_is_open(dev));
	vmc_chardev_free(dev);
	close(late[0]);

	/* Waiting is the default, as QEMU's. */
	late[0] = -1;
	g_timeout_add(100, connect_late, late);
	dev = good("socket,id=x,host=127.0.0.1,port=%u,server", port);
	assert_true(late[0] >= 0);
	vmc_chardev_free(dev);
	close(late[0]);
}

static void test_port_taken(void **state)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) both = NULL;
	g_autofree char *expected = NULL;
	uint16_t port = 0;
	int taken = plain_listen("127.0.0.1", &port);
	VmcChardev *dev;

	(void)state;
	assert_null(make(&error, "socket,server,host=127.0.0.1,port=%u,nowait", port));
	expected = g_strdup_printf("-chardev socket,server,host=127.0.0.1,port=%u,nowait: "
				   "cannot listen on 127.0.0.1:%u: Address already in use (another "
				   "program has it; give another port, or 'to' to try several)",
				   port, port);
	assert_string_equal(error->message, expected);
	assert_int_equal(error->domain, VMC_CHARDEV_ERROR);
	assert_int_equal(error->code, VMC_CHARDEV_ERROR_OPEN);

	if (port < 65500) {
		dev = good("socket,server,host=127.0.0.1,port=%u,to=%u,nowait", port, port + 20);
		assert_in_range(vmc_socket_port(dev), port + 1, port + 20);
		vmc_chardev_free(dev);
	}
	assert_null(make(&both, "socket,server,port=%u,to=%u,nowait", port, port));
	assert_non_null(strstr(both->message, "cannot listen on *:"));
	close(taken);

	dev = good("socket,server,host=127.0.0.1,port=%u,nowait", port);
	vmc_chardev_free(dev);
}

static void test_no_such_address(void **state)
{
	g_autoptr(GError) error = NULL;

	(void)state;
	assert_null(make(&error, "socket,server,host=192.0.2.1,port=0,nowait"));
	assert_string_equal(error->message,
			    "-chardev socket,server,host=192.0.2.1,port=0,nowait: cannot listen on "
			    "192.0.2.1:0: Cannot assign requested address (this machine does not "
			    "have that address)");
}

static bool have_ipv6(void)
{
	uint16_t port = 0;
	socklen_t len;
	struct sockaddr_storage address = tcp_address("::1", port, &len);
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool have = fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0;

	if (fd >= 0)
		close(fd);
	return have;
}

/* Which of 127.0.0.1 and ::1 a server answers at. */
static void test_families(void **state)
{
	static const struct {
		const char *options;
		bool ipv4, ipv6;
	} cases[] = {
		{ "", true, true },
		{ ",host=", true, true },
		{ ",host=localhost", true, true },
		{ ",ipv4", true, false },
		{ ",ipv6=off", true, false },
		{ ",ipv6", false, true },
		{ ",noipv4", false, true },
		{ ",ipv4,ipv6", true, true },
		{ ",host=localhost,ipv4", true, false },
		{ ",host=localhost,ipv6", false, true },
		{ ",host=127.0.0.1", true, false },
		{ ",host=0.0.0.0", true, false },
		{ ",host=::1", false, true },
		{ ",host=[::1]", false, true },
	};

	(void)state;
	if (!have_ipv6())
		skip();
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		VmcChardev *dev = good("socket,server,nowait,port=0%s", cases[i].options);
		uint16_t port = vmc_socket_port(dev);
		int ipv4 = plain_connect("127.0.0.1", port);
		int ipv6 = plain_connect("::1", port);

		print_message("%s: %s\n", cases[i].options, vmc_chardev_describe(dev));
		assert_int_equal(ipv4 >= 0, cases[i].ipv4);
		assert_int_equal(ipv6 >= 0, cases[i].ipv6);
		run_until(vmc_chardev_is_open(dev), 5);
		vmc_chardev_free(dev);
		close(ipv4);
		close(ipv6);
	}
}

/* One client at a time, also where a name has two addresses to listen at. */
static void test_one_client_of_two_addresses(void **state)
{
	Recorder r;
	int ipv4, ipv6;

	(void)state;
	if (!have_ipv6())
		skip();
	recorder_start(&r, good("socket,server,nowait,port=0,host=localhost"));
	ipv4 = plain_connect("127.0.0.1", vmc_socket_port(r.dev));
	run_until(r.log->len > 0, 5);
	ipv6 = plain_connect("::1", vmc_socket_port(r.dev));
	plain_send(ipv6, "6");
	assert_true(run_for(30) <= 2);
	plain_send(ipv4, "4");
	close(ipv4);
	run_until(recorder_got(&r, "46"), 5);
	assert_log(&r, "opened closed opened ");
	close(ipv6);
	recorder_stop(&r);
}

static void test_describe(void **state)
{
	g_autofree char *expected = NULL;
	VmcChardev *dev = good("socket,server,nowait,host=127.0.0.1,port=0");

	(void)state;
	assert_int_not_equal(vmc_socket_port(dev), 0);
	expected = g_strdup_printf("tcp:127.0.0.1:%u,server", vmc_socket_port(dev));
	assert_string_equal(vmc_chardev_describe(dev), expected);
	vmc_chardev_free(dev);

	dev = good("socket,host=[::1],port=9");
	assert_string_equal(vmc_chardev_describe(dev), "tcp:[::1]:9");
	assert_int_equal(vmc_socket_port(dev), 0);
	vmc_chardev_free(dev);
	dev = good("socket,host=,port=9");
	assert_string_equal(vmc_chardev_describe(dev), "tcp:localhost:9");
	vmc_chardev_free(dev);
	dev = good("socket,port=ssh");
	assert_string_equal(vmc_chardev_describe(dev), "tcp:localhost:22");
	vmc_chardev_free(dev);
	dev = good("socket,path=name,abstract,server,nowait");
	assert_string_equal(vmc_chardev_describe(dev), "unix:@name,server");
	vmc_chardev_free(dev);
	run_for(20); /* attempts that were given up end here */
}

/* ---- UNIX sockets ---- */

static char *path_of(const char *name)
{
	return g_strdup_printf("%s/%s", dir, name);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static void test_unix_server(void **state)
{
	g_autofree char *path = path_of("a,b");
	g_autofree char *escaped = path_of("a,,b");
	VmcChardev *dev = good("socket,path=%s,server,nowait", escaped);
	Recorder r;
	int fd;

	(void)state;
	recorder_start(&r, dev);
	fd = unix_connect(path, false, false);
	assert_true(fd >= 0);
	plain_send(fd, "hi");
	run_until(recorder_got(&r, "hi"), 5);
	close(fd);
	run_until(strcmp(r.log->str, "opened closed ") == 0, 5);
	assert_true(exists(path));
	recorder_stop(&r);
	assert_false(exists(path));
}

static void test_stale_path(void **state)
{
	g_autofree char *path = path_of("stale");
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) file = NULL;
	VmcChardev *dev, *other;
	int fd = unix_listen(path);

	(void)state;
	/* Somebody listens: his. */
	assert_null(make(&error, "socket,path=%s,server,nowait", path));
	assert_non_null(strstr(error->message, "Address already in use (somebody listens there)"));
	assert_int_equal(error->code, VMC_CHARDEV_ERROR_OPEN);
	close(fd);
	/* Nobody any more: ours. */
	assert_true(exists(path));
	dev = good("socket,path=%s,server,nowait", path);
	fd = unix_connect(path, false, false);
	assert_true(fd >= 0);
	close(fd);

	/* Somebody else took it meanwhile: not ours to remove. */
	unlink(path);
	other = good("socket,path=%s,server,nowait", path);
	vmc_chardev_free(dev);
	assert_true(exists(path));
	vmc_chardev_free(other);
	assert_false(exists(path));

	/* No socket at all: never touched. */
	assert_true(g_file_set_contents(path, "precious", -1, NULL));
	assert_null(make(&file, "socket,path=%s,server,nowait", path));
	assert_non_null(strstr(file->message, "it is there and is not a socket"));
	assert_true(exists(path));
	unlink(path);
}

static void test_no_such_dir(void **state)
{
	g_autoptr(GError) error = NULL;

	(void)state;
	assert_null(make(&error, "socket,path=/nonexistent/s,server,nowait"));
	assert_string_equal(error->message,
			    "-chardev socket,path=/nonexistent/s,server,nowait: cannot listen on "
			    "/nonexistent/s: No such file or directory (its folder is not "
			    "there; make it, or give another path)");
}

static void test_longest_path(void **state)
{
	g_autofree char *name = g_strnfill(107 - strlen(dir) - 1, 'n');
	g_autofree char *path = path_of(name);
	VmcChardev *dev = good("socket,path=%s,server,nowait", path);
	int fd = unix_connect(path, false, false);

	(void)state;
	assert_int_equal(strlen(path), 107);
	assert_true(fd >= 0);
	close(fd);
	vmc_chardev_free(dev);
}

static void test_abstract(void **state)
{
	g_autofree char *name = g_strdup_printf("vmc-test-%d", (int)getpid());

	(void)state;
	for (int tight = 0; tight < 2; tight++) {
		VmcChardev *dev = good("socket,path=%s,abstract=on,tight=%s,server,nowait", name,
				       tight ? "on" : "off");
		VmcChardev *client =
			good("socket,path=%s,abstract=on,tight=%s", name, tight ? "on" : "off");
		int fd;

		run_until(vmc_chardev_is_open(client) && vmc_chardev_is_open(dev), 5);
		fd = unix_connect(name, true, tight);
		assert_true(fd >= 0);
		close(fd);
		assert_int_equal(unix_connect(name, true, !tight), -1);
		vmc_chardev_free(client);
		vmc_chardev_free(dev);
	}
}

/* ---- Inherited descriptors ---- */

static void test_fd_connected(void **state)
{
	g_autofree char *expected = NULL;
	VmcChardev *dev;
	Recorder r;
	int pair[2];

	(void)state;
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), errno);
	dev = good("socket,fd=%d", pair[0]);
	expected = g_strdup_printf("fd:%d", pair[0]);
	assert_string_equal(vmc_chardev_describe(dev), expected);
	assert_int_not_equal(fcntl(pair[0], F_GETFD) & FD_CLOEXEC, 0);
	recorder_start(&r, dev);
	plain_send(pair[1], "hi");
	run_until(recorder_got(&r, "hi"), 5);
	close(pair[1]);
	run_until(strcmp(r.log->str, "opened closed ") == 0, 5);
	recorder_stop(&r);
}

static void test_fd_listening(void **state)
{
	uint16_t port = 0;
	int listening = plain_listen("127.0.0.1", &port);
	VmcChardev *dev = good("socket,fd=%d,server,nowait", listening);
	Recorder r;
	int fd;

	(void)state;
	assert_int_equal(vmc_socket_port(dev), port);
	recorder_start(&r, dev);
	for (unsigned i = 0; i < 2; i++) {
		fd = plain_connect("127.0.0.1", port);
		run_until(g_str_has_suffix(r.log->str, "opened "), 5);
		close(fd);
		run_until(g_str_has_suffix(r.log->str, "closed "), 5);
	}
	recorder_stop(&r);
	assert_int_equal(plain_connect("127.0.0.1", port), -1);
}

static void test_fd_wrong(void **state)
{
	static const char *const wrong[][2] = {
		{ "socket,fd=%d", "cannot use fd %d: Socket operation on non-socket" },
		{ "socket,fd=%d,server,nowait",
		  "cannot listen on fd %d: Socket operation on non-socket" },
	};
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) unconnected = NULL;
	g_autoptr(GError) datagram = NULL;
	int pair[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
		g_auto(GStrv) words = g_strsplit(wrong[i][1], "%d", 2);
		g_autofree char *expected = g_strdup_printf("%s%d%s", words[0], null, words[1]);

		g_clear_error(&error);
		assert_null(i == 0 ? make(&error, "socket,fd=%d", null) :
				     make(&error, "socket,fd=%d,server,nowait", null));
		assert_non_null(strstr(error->message, expected));
	}
	assert_null(make(&unconnected, "socket,fd=%d", plain));
	assert_non_null(strstr(unconnected->message, "Transport endpoint is not connected"));
	g_clear_error(&unconnected);
	assert_null(make(&unconnected, "socket,fd=%d,server,nowait", plain));
	assert_non_null(strstr(unconnected->message, "it is not a listening socket"));
	g_clear_error(&unconnected);
	assert_null(make(&unconnected, "socket,fd=1000000"));
	assert_non_null(strstr(unconnected->message, "Bad file descriptor"));
	assert_return_code(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), errno);
	assert_null(make(&datagram, "socket,fd=%d", pair[0]));
	assert_non_null(strstr(datagram->message, "it is not a stream socket"));
	close(pair[0]);
	close(pair[1]);
	close(plain);
	close(null);
}

/* ---- Clients ---- */

static int accepted(int listening)
{
	return accept4(listening, NULL, NULL, SOCK_CLOEXEC);
}

static void test_client(void **state)
{
	static const char *const hosts[] = { "host=127.0.0.1", "host=localhost,ipv4", "ipv4" };
	uint16_t port = 0;
	int listening = plain_listen("127.0.0.1", &port);

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(hosts); i++) {
		VmcChardev *dev = good("socket,id=c,%s,port=%u", hosts[i], port);
		Recorder r;
		int fd = -1;

		assert_false(vmc_chardev_is_open(dev)); /* it did not wait */
		recorder_start(&r, dev);
		run_until(vmc_chardev_is_open(dev), 5);
		fd = accepted(listening);
		assert_true(fd >= 0);
		assert_int_equal(get_option(other_end(fd), IPPROTO_TCP, TCP_NODELAY), 1);
		plain_send(fd, "hi");
		run_until(recorder_got(&r, "hi"), 5);
		close(fd);
		run_until(strcmp(r.log->str, "opened closed ") == 0, 5);
		assert_true(run_for(50) <= 2); /* and that was it */
		recorder_stop(&r);
	}
	close(listening);
}

static void test_client_ipv6(void **state)
{
	uint16_t port = 0;
	int listening, fd;
	VmcChardev *dev;

	(void)state;
	if (!have_ipv6())
		skip();
	listening = plain_listen("::1", &port);
	for (unsigned i = 0; i < 2; i++) {
		dev = good("socket,%s,port=%u", i == 0 ? "host=::1" : "ipv6", port);
		run_until(vmc_chardev_is_open(dev), 5);
		fd = accepted(listening);
		assert_true(fd >= 0);
		close(fd);
		vmc_chardev_free(dev);
	}
	close(listening);
}

static void test_refused(void **state)
{
	g_autofree char *expected = NULL;
	uint16_t port = 0;
	Recorder r;

	(void)state;
	close(plain_listen("127.0.0.1", &port));
	recorder_start(&r, good("socket,host=127.0.0.1,port=%u", port));
	run_until(r.log->len > 0, 5);
	assert_log(&r, "failed ");
	assert_int_equal(r.again, 0);
	assert_int_equal(r.reason->code, VMC_CHARDEV_ERROR_OPEN);
	expected = g_strdup_printf("cannot connect to tcp:127.0.0.1:%u: Connection refused", port);
	assert_string_equal(r.reason->message, expected);
	assert_true(run_for(50) <= 2);
	recorder_stop(&r);

	recorder_start(&r, good("socket,path=/nonexistent/s"));
	run_until(r.log->len > 0, 5);
	assert_string_equal(r.reason->message,
			    "cannot connect to unix:/nonexistent/s: No such file or directory");
	recorder_stop(&r);
}

/* A failure before there is a user is told to the first one. */
static void test_refused_early(void **state)
{
	uint16_t port = 0;
	VmcChardev *dev;
	Recorder r;

	(void)state;
	close(plain_listen("127.0.0.1", &port));
	dev = good("socket,host=127.0.0.1,port=%u", port);
	run_for(50);
	recorder_start(&r, dev);
	assert_log(&r, "");
	run_until(r.log->len > 0, 5);
	assert_log(&r, "failed ");
	recorder_stop(&r);
}

/* A server that closes at once: attempts are apart, and more so each time. */
static void test_backoff(void **state)
{
	uint16_t port = 0;
	int listening = plain_listen("127.0.0.1", &port);
	gint64 times[8] = { 0 };
	unsigned n = 0;
	gint64 start;
	Recorder r;

	(void)state;
	recorder_start(&r, good("socket,host=127.0.0.1,port=%u,reconnect=1", port));
	start = g_get_monotonic_time();
	while (g_get_monotonic_time() - start < 3600 * 1000) {
		int fd = accepted(listening);

		if (fd >= 0 && n < G_N_ELEMENTS(times))
			times[n++] = g_get_monotonic_time() - start;
		if (fd >= 0)
			close(fd);
		run_for(5);
	}
	assert_int_equal(n, 3); /* at 0, about 0.75 to 1, and 1.5 to 2 later */
	assert_in_range(times[1] - times[0], 700 * 1000, 1300 * 1000);
	assert_in_range(times[2] - times[1], 1450 * 1000, 2300 * 1000);
	close(listening);
	recorder_stop(&r);
}

/* Nobody listens, then somebody does. */
static void test_reconnect(void **state)
{
	g_autofree char *path = path_of("later");
	int listening;
	Recorder r;

	(void)state;
	recorder_start(&r, good("socket,path=%s,reconnect=1", path));
	run_until(r.log->len > 0, 5);
	assert_log(&r, "failed ");
	assert_in_range(r.again, 750, 1000);
	assert_true(run_for(200) <= 2);
	listening = unix_listen(path);
	run_until(strcmp(r.log->str, "failed opened ") == 0, 3);
	vmc_chardev_disconnect(r.dev, false, "once more");
	run_until(strcmp(r.log->str, "failed opened closed opened ") == 0, 4);
	close(listening);
	recorder_stop(&r);
	unlink(path);
}

/* Freed in every state of a connection, before the loop has seen it. */
static void test_free_early(void **state)
{
	uint16_t port = 0;
	int listening = plain_listen("127.0.0.1", &port);

	(void)state;
	for (unsigned turns = 0; turns < 12; turns++) {
		VmcChardev *dev = good("socket,host=localhost,port=%u,reconnect=1", port);

		for (unsigned i = 0; i < turns; i++)
			g_main_context_iteration(NULL, FALSE);
		vmc_chardev_free(dev);
	}
	run_for(50);
	close(listening);
	vmc_chardev_free(NULL);
}

static int make_dir(void **state)
{
	(void)state;
	dir = g_dir_make_tmp("vmc-socket-XXXXXX", NULL);
	return dir == NULL;
}

static int remove_dir(void **state)
{
	(void)state;
	rmdir(dir);
	g_free(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verbatim),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_port_taken),
		cmocka_unit_test(test_no_such_address),
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_one_client_of_two_addresses),
		cmocka_unit_test(test_describe),
		cmocka_unit_test(test_unix_server),
		cmocka_unit_test(test_stale_path),
		cmocka_unit_test(test_no_such_dir),
		cmocka_unit_test(test_longest_path),
		cmocka_unit_test(test_abstract),
		cmocka_unit_test(test_fd_connected),
		cmocka_unit_test(test_fd_listening),
		cmocka_unit_test(test_fd_wrong),
		cmocka_unit_test(test_client),
		cmocka_unit_test(test_client_ipv6),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_early),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_reconnect),
		cmocka_unit_test(test_free_early),
	};

	return cmocka_run_group_tests_name("socket-address", tests, make_dir, remove_dir);
}

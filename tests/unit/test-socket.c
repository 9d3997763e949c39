/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The socket backend's conversations, against plain sockets on the loopback:
 * peers that wait, stall, reset, half-close, and those that come next.
 */

#include "tests/unit/test-socket.h"

/* ---- A server with one client, the setting of most tests ---- */

typedef struct Link {
	Recorder r;
	int fd;
} Link;

static void start_link(Link *link, const char *more)
{
	VmcChardev *dev = good("socket,id=x,host=127.0.0.1,port=0,server,nowait%s", more);

	link->fd = plain_connect("127.0.0.1", vmc_socket_port(dev));
	assert_true(link->fd >= 0);
	recorder_start(&link->r, dev);
	run_until(link->r.log->len > 0, 5);
	assert_log(&link->r, "opened ");
	recorder_forget(&link->r);
}

static void stop_link(Link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	recorder_stop(&link->r);
}

static void test_both_ways(void **state)
{
	char got[8] = "";
	Link link;

	(void)state;
	start_link(&link, "");
	plain_send(link.fd, "hello");
	run_until(recorder_got(&link.r, "hello"), 5);
	assert_int_equal(vmc_chardev_write(link.r.dev, vmc_span("you", 3)), VMC_WRITE_OK);
	assert_int_equal(vmc_chardev_pending(link.r.dev), 0); /* sent at once */
	assert_int_equal(plain_read(link.fd, got, 3), 3);
	assert_string_equal(got, "you");
	stop_link(&link);
}

static void test_idle_sleeps(void **state)
{
	Link link;

	(void)state;
	start_link(&link, "");
	run_for(20);
	assert_true(run_for(200) <= 2);
	vmc_chardev_pause(link.r.dev, true);
	assert_true(run_for(100) <= 2);
	stop_link(&link);
}

static void test_tcp_options(void **state)
{
	Link link;
	int fd;

	(void)state;
	start_link(&link, "");
	fd = other_end(link.fd);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(get_option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 10);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 3);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 20000);
	assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	stop_link(&link);

	start_link(&link, ",delay");
	assert_int_equal(get_option(other_end(link.fd), IPPROTO_TCP, TCP_NODELAY), 0);
	stop_link(&link);
	start_link(&link, ",nodelay=off");
	assert_int_equal(get_option(other_end(link.fd), IPPROTO_TCP, TCP_NODELAY), 0);
	stop_link(&link);
}

/* How long a peer with Nagle's algorithm on takes for messages in two parts. */
static gint64 two_part_messages(const char *more)
{
	gint64 start;
	Link link;

	start_link(&link, more);
	start = g_get_monotonic_time();
	for (unsigned i = 1; i <= 20; i++) {
		char got[1];

		plain_send(link.fd, "head");
		plain_send(link.fd, "body");
		run_until(link.r.in->len == 8 * i, 5);
		vmc_chardev_write(link.r.dev, vmc_span("r", 1));
		assert_int_equal(plain_read(link.fd, got, 1), 1);
	}
	stop_link(&link);
	return g_get_monotonic_time() - start;
}

static void test_quickack(void **state)
{
	gint64 quick = two_part_messages("");
	gint64 slow = two_part_messages(",quickack=off");

	(void)state;
	print_message("20 messages in two parts: quickack %d us, without %d us\n", (int)quick,
		      (int)slow);
	assert_true(quick < slow / 3);
}

/* ---- Ends ---- */

static void test_eof_after_input(void **state)
{
	Link link;

	(void)state;
	start_link(&link, "");
	plain_send(link.fd, "last words");
	close(link.fd);
	link.fd = -1;
	run_until(link.r.log->len > 0, 5);
	assert_true(recorder_got(&link.r, "last words"));
	assert_log(&link.r, "closed ");
	assert_int_equal(link.r.reason->code, VMC_CHARDEV_ERROR_HANGUP);
	assert_string_equal(link.r.reason->message, "the other side closed the connection");
	stop_link(&link);
}

static void test_half_close(void **state)
{
	Link link;

	(void)state;
	start_link(&link, "");
	plain_send(link.fd, "x");
	shutdown(link.fd, SHUT_WR);
	run_until(link.r.log->len > 0, 5);
	assert_true(recorder_got(&link.r, "x"));
	assert_log(&link.r, "closed ");
	run_until(plain_ended(link.fd), 5);
	stop_link(&link);
}

static void test_reset(void **state)
{
	Link link;

	(void)state;
	start_link(&link, "");
	reset(link.fd);
	link.fd = -1;
	run_until(link.r.log->len > 0, 5);
	assert_log(&link.r, "closed ");
	assert_int_equal(link.r.reason->code, VMC_CHARDEV_ERROR_IO);
	assert_non_null(strstr(link.r.reason->message, "the connection broke: "));
	assert_non_null(strstr(link.r.reason->message, "Connection reset by peer"));
	stop_link(&link);
}

/* A write finds the stream broken: the input from before is read first. */
static void test_broken_write_with_input(void **state)
{
	Link link;
	unsigned tries = 0;

	(void)state;
	start_link(&link, "");
	plain_send(link.fd, "before; ");
	run_until(recorder_got(&link.r, "before; "), 5);
	recorder_forget(&link.r);
	plain_send(link.fd, "the reason why");
	reset(link.fd);
	link.fd = -1;
	g_usleep(20000);
	while (vmc_chardev_write(link.r.dev, vmc_span("x", 1)) != VMC_WRITE_CLOSED)
		assert_true(tries++ < 100);
	assert_log(&link.r, "");
	assert_int_equal(link.r.in->len, 0);
	run_until(link.r.log->len > 0, 5);
	assert_true(recorder_got(&link.r, "the reason why"));
	assert_log(&link.r, "closed ");
	assert_int_equal(link.r.reason->code, VMC_CHARDEV_ERROR_IO);
	stop_link(&link);
}

/* Paused, nothing left to read: the end is noticed at once. */
static void test_end_while_paused(void **state)
{
	Link link;

	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		start_link(&link, "");
		vmc_chardev_pause(link.r.dev, true);
		if (how == 0)
			shutdown(link.fd, SHUT_WR);
		else if (how == 1)
			close(link.fd);
		else
			reset(link.fd);
		if (how > 0)
			link.fd = -1;
		run_until(link.r.log->len > 0, 2);
		assert_log(&link.r, "closed ");
		stop_link(&link);
	}
}

/* Paused, input left: no spinning, and the input is still read on resuming. */
static void test_end_while_paused_with_input(void **state)
{
	Link link;

	(void)state;
	for (unsigned how = 0; how < 2; how++) {
		start_link(&link, "");
		vmc_chardev_pause(link.r.dev, true);
		plain_send(link.fd, "unread");
		if (how == 0)
			close(link.fd);
		else
			reset(link.fd);
		link.fd = -1;
		assert_true(run_for(100) <= 5);
		assert_log(&link.r, "");
		vmc_chardev_pause(link.r.dev, false);
		vmc_chardev_pause(link.r.dev, true);
		assert_true(run_for(50) <= 5);
		vmc_chardev_pause(link.r.dev, false);
		run_until(link.r.log->len > 0, 5);
		assert_true(recorder_got(&link.r, "unread"));
		assert_log(&link.r, "closed ");
		stop_link(&link);
	}
}

/* Without a user a client that left is noticed too, and the next one taken. */
static void test_no_user(void **state)
{
	VmcChardev *dev = good("socket,host=127.0.0.1,port=0,server,nowait");
	int first = plain_connect("127.0.0.1", vmc_socket_port(dev));
	int second;
	Recorder r;

	(void)state;
	run_until(vmc_chardev_is_open(dev), 5);
	plain_send(first, "gone");
	close(first);
	assert_true(run_for(50) <= 5);
	assert_true(vmc_chardev_is_open(dev)); /* its words are kept */

	second = plain_connect("127.0.0.1", vmc_socket_port(dev));
	plain_send(second, "here");
	recorder_start(&r, dev);
	run_until(strcmp(r.log->str, "opened closed opened ") == 0, 5);
	run_until(recorder_got(&r, "gonehere"), 5);
	close(second);
	recorder_stop(&r);
}

/* Closing over unread input would be a reset, and might cost the peer what it
 * was sent last. */
static void test_free_is_no_reset(void **state)
{
	char got[4] = "";
	Link link;

	(void)state;
	start_link(&link, "");
	vmc_chardev_pause(link.r.dev, true);
	plain_send(link.fd, "never read");
	vmc_chardev_write(link.r.dev, vmc_span("bye", 3));
	recorder_stop(&link.r);
	assert_int_equal(plain_read(link.fd, got, 3), 3);
	assert_string_equal(got, "bye");
	assert_int_equal(recv(link.fd, got, 1, 0), 0);
	close(link.fd);
}

/* ---- Pressure ---- */

static void test_slow_reader(void **state)
{
	static uint8_t piece[10000];
	char *sink = malloc(64 * 1024 * 1024);
	VmcWrite answer;
	size_t sent = 0;
	Link link;

	(void)state;
	memset(piece, 'p', sizeof(piece));
	start_link(&link, "");
	/* First the kernel's buffers fill, then ours. */
	while ((answer = vmc_chardev_write(link.r.dev, vmc_span(piece, sizeof(piece)))) ==
	       VMC_WRITE_OK)
		sent += sizeof(piece);
	assert_int_equal(answer, VMC_WRITE_HIGH);
	sent += sizeof(piece);
	while ((answer = vmc_chardev_write(link.r.dev, vmc_span(piece, sizeof(piece)))) ==
	       VMC_WRITE_HIGH)
		sent += sizeof(piece);
	assert_int_equal(answer, VMC_WRITE_FULL);
	assert_true(vmc_chardev_pending(link.r.dev) > VMC_CHARDEV_MAX_QUEUE - sizeof(piece));
	assert_true(run_for(50) <= 5);
	assert_log(&link.r, "");

	assert_int_equal(plain_read(link.fd, sink, sent), sent);
	run_until(link.r.log->len > 0, 5);
	assert_log(&link.r, "writable ");
	assert_int_equal(vmc_chardev_pending(link.r.dev), 0);
	assert_int_equal(vmc_chardev_write(link.r.dev, vmc_span("x", 1)), VMC_WRITE_OK);
	free(sink);
	stop_link(&link);
}

/* A peer that sends much in one go gets its share of the loop, not all of it. */
static void test_read_budget(void **state)
{
	const size_t total = 3 * VMC_CHARDEV_READ_BUDGET + 1;
	int size = 4 * 1024 * 1024, pair[2];
	char *bytes = calloc(1, total);
	VmcChardev *dev;
	Recorder r;

	(void)state;
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	dev = good("socket,fd=%d", pair[0]);
	recorder_start(&r, dev);
	r.piece = 60000;
	for (size_t sent = 0; sent < total;) {
		ssize_t n = send(pair[1], bytes, total - sent, MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else
			g_main_context_iteration(NULL, FALSE);
	}
	run_until(r.in->len == total, 5);
	assert_true(r.readable >= 4);
	close(pair[1]);
	free(bytes);
	recorder_stop(&r);
}

/* Disconnecting with a flush, although the peer still talks and nobody reads
 * that: all of it arrives, not a reset. */
static void test_flush(void **state)
{
	const size_t len = 900000;
	uint8_t *bytes = calloc(1, len);
	char *sink = malloc(len + 1);
	Link link;

	(void)state;
	start_link(&link, "");
	link.r.idle = true;
	plain_send(link.fd, "never read");
	vmc_chardev_write(link.r.dev, vmc_span(bytes, len));
	vmc_chardev_disconnect(link.r.dev, true, "farewell");
	plain_send(link.fd, "nor this");
	assert_int_equal(plain_read(link.fd, sink, len + 1), len);
	assert_true(plain_ended(link.fd));
	assert_log(&link.r, ""); /* it waits for the peer to close */
	close(link.fd);
	link.fd = -1;
	run_until(link.r.log->len > 0, 1);
	assert_log(&link.r, "closed ");
	assert_int_equal(link.r.reason->code, VMC_CHARDEV_ERROR_USER);
	assert_string_equal(link.r.reason->message, "farewell");
	free(bytes);
	free(sink);
	stop_link(&link);
}

/* A peer that does not close gets a second, and the next client is served. */
static void test_linger_is_short(void **state)
{
	Link link;
	int next;

	(void)state;
	start_link(&link, "");
	vmc_chardev_disconnect(link.r.dev, true, "farewell");
	next = plain_connect("127.0.0.1", vmc_socket_port(link.r.dev));
	run_until(strcmp(link.r.log->str, "closed opened ") == 0, 3);
	close(next);
	stop_link(&link);
}

/* ---- Servers ---- */

static void test_second_client_waits(void **state)
{
	Link link;
	int second;

	(void)state;
	start_link(&link, "");
	second = plain_connect("127.0.0.1", vmc_socket_port(link.r.dev));
	assert_true(second >= 0);
	plain_send(second, "second");
	assert_true(run_for(50) <= 2);
	assert_log(&link.r, "");
	assert_int_equal(link.r.in->len, 0);

	plain_send(link.fd, "first");
	close(link.fd);
	link.fd = second;
	run_until(strcmp(link.r.log->str, "closed opened ") == 0, 5);
	run_until(recorder_got(&link.r, "firstsecond"), 5);
	vmc_chardev_disconnect(link.r.dev, false, "next, please");
	run_until(strcmp(link.r.log->str, "closed opened closed ") == 0, 5);
	assert_string_equal(link.r.reason->message, "next, please");
	run_until(plain_ended(second), 5);
	stop_link(&link);
}

/* Output for one client never reaches the next. */
static void test_queue_dies_with_client(void **state)
{
	static uint8_t much[VMC_CHARDEV_MAX_QUEUE];
	Link link;
	int second;

	(void)state;
	start_link(&link, "");
	while (vmc_chardev_write(link.r.dev, vmc_span(much, sizeof(much) / 4)) != VMC_WRITE_FULL)
		;
	second = plain_connect("127.0.0.1", vmc_socket_port(link.r.dev));
	reset(link.fd);
	link.fd = second;
	run_until(strcmp(link.r.log->str, "closed opened ") == 0, 5);
	assert_int_equal(vmc_chardev_pending(link.r.dev), 0);
	run_for(20);
	assert_int_equal(unread(second), 0);
	stop_link(&link);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_idle_sleeps),
		cmocka_unit_test(test_tcp_options),
		cmocka_unit_test(test_quickack),
		cmocka_unit_test(test_eof_after_input),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_broken_write_with_input),
		cmocka_unit_test(test_end_while_paused),
		cmocka_unit_test(test_end_while_paused_with_input),
		cmocka_unit_test(test_no_user),
		cmocka_unit_test(test_free_is_no_reset),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_read_budget),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_linger_is_short),
		cmocka_unit_test(test_second_client_waits),
		cmocka_unit_test(test_queue_dies_with_client),
	};

	return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}

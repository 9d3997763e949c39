/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcChardev, the common part, over the in-process pair: who is told what and
 * when, marks, pausing, endings; and what vmc_chardev_new() refuses.
 */

#include "tests/unit/test-chardev.h"

#include <stdio.h>
#include <unistd.h>

#include "vmc/chardev-backend.h"

typedef struct Pair {
	Recorder a, b;
} Pair;

static void start_pair(Pair *pair)
{
	VmcChardev *one, *other;

	vmc_chardev_pair_new(&one, &other);
	recorder_start(&pair->a, one);
	recorder_start(&pair->b, other);
	run_until(vmc_chardev_is_open(one) && vmc_chardev_is_open(other), 5);
	assert_log(&pair->a, "opened ");
	assert_log(&pair->b, "opened ");
	recorder_forget(&pair->a);
	recorder_forget(&pair->b);
}

static void stop_pair(Pair *pair)
{
	recorder_stop(&pair->a);
	recorder_stop(&pair->b);
}

static VmcSpan text(const char *string)
{
	return vmc_span(string, strlen(string));
}

/* `len` bytes of a pattern; good until the next call. */
static VmcSpan pattern(size_t len)
{
	static uint8_t bytes[VMC_CHARDEV_MAX_QUEUE + 65536 + 1];

	assert_true(len <= sizeof(bytes));
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i % 251 + 1);
	return vmc_span(bytes, len);
}

/* ---- The pair ---- */

static void test_opens_with_both_users(void **state)
{
	VmcChardev *one, *other;
	Recorder a, b;

	(void)state;
	vmc_chardev_pair_new(&one, &other);
	recorder_start(&a, one);
	run_for(20);
	assert_log(&a, "");
	assert_false(vmc_chardev_is_open(one));
	assert_int_equal(vmc_chardev_write(one, text("x")), VMC_WRITE_CLOSED);

	recorder_start(&b, other);
	/* Nobody was told yet, so nobody may write yet. */
	assert_false(vmc_chardev_is_open(one));
	assert_log(&a, "");
	run_for(20);
	assert_log(&a, "opened ");
	assert_log(&b, "opened ");
	assert_string_equal(vmc_chardev_id(one), "");
	assert_string_equal(vmc_chardev_describe(one), "pair");
	recorder_stop(&a);
	recorder_stop(&b);
}

static void test_bytes_both_ways(void **state)
{
	Pair p;
	uint8_t byte;

	(void)state;
	start_pair(&p);
	assert_int_equal(vmc_chardev_write(p.a.dev, text("hello")), VMC_WRITE_OK);
	assert_int_equal(vmc_chardev_write(p.a.dev, text("")), VMC_WRITE_OK);
	assert_int_equal(vmc_chardev_write(p.b.dev, text("you")), VMC_WRITE_OK);
	/* Nothing is told inside a write. */
	assert_int_equal(p.a.readable + p.b.readable, 0);
	run_until(recorder_got(&p.b, "hello") && recorder_got(&p.a, "you"), 5);
	assert_int_equal(p.a.readable, 1);
	assert_int_equal(p.b.readable, 1);
	assert_int_equal(vmc_chardev_read(p.a.dev, &byte, 1), 0);
	assert_log(&p.a, "");
	stop_pair(&p);
}

/* A user that reads a little of it is told again, without being asked. */
static void partly_readable(void *user)
{
	Recorder *r = user;
	uint8_t data[2];
	size_t n = vmc_chardev_read(r->dev, data, sizeof(data));

	r->readable++;
	g_byte_array_append(r->in, data, (guint)n);
}

static void test_partial_reads(void **state)
{
	static const VmcChardevEvents events = { .readable = partly_readable };
	Pair p;

	(void)state;
	start_pair(&p);
	vmc_chardev_set_user(p.b.dev, NULL, NULL);
	vmc_chardev_set_user(p.b.dev, &events, &p.b);
	run_until(vmc_chardev_is_open(p.a.dev) && vmc_chardev_is_open(p.b.dev), 5);
	vmc_chardev_write(p.a.dev, text("abcdefg"));
	run_until(recorder_got(&p.b, "abcdefg"), 5);
	assert_int_equal(p.b.readable, 4);
	assert_true(run_for(20) < 5);
	stop_pair(&p);
}

static void test_one_user(void **state)
{
	Pair p;

	(void)state;
	start_pair(&p);
	assert_false(vmc_chardev_set_user(p.a.dev, &recorder_events, &p.b));
	assert_true(vmc_chardev_set_user(p.a.dev, NULL, NULL));
	run_until(strcmp(p.b.log->str, "closed ") == 0, 5);
	assert_log(&p.a, "");
	assert_int_equal(p.b.reason->code, VMC_CHARDEV_ERROR_HANGUP);

	/* A new user, a new conversation. */
	recorder_forget(&p.b);
	assert_true(vmc_chardev_set_user(p.a.dev, &recorder_events, &p.a));
	run_until(strcmp(p.b.log->str, "opened ") == 0, 5);
	assert_log(&p.a, "opened ");
	vmc_chardev_write(p.b.dev, text("again"));
	run_until(recorder_got(&p.a, "again"), 5);
	stop_pair(&p);
}

static void test_free_closes_other(void **state)
{
	Pair p;

	(void)state;
	start_pair(&p);
	vmc_chardev_write(p.a.dev, text("last words"));
	recorder_stop(&p.a);
	assert_int_equal(vmc_chardev_write(p.b.dev, text("x")), VMC_WRITE_CLOSED);
	run_until(strcmp(p.b.log->str, "closed ") == 0, 5);
	assert_true(recorder_got(&p.b, "last words"));
	assert_int_equal(p.b.reason->code, VMC_CHARDEV_ERROR_HANGUP);
	assert_false(vmc_chardev_is_open(p.b.dev));
	run_for(20);
	assert_log(&p.b, "closed ");
	recorder_stop(&p.b);
}

/* ---- Endings ---- */

static void test_disconnect(void **state)
{
	Pair p;

	(void)state;
	start_pair(&p);
	vmc_chardev_write(p.a.dev, text("bye"));
	vmc_chardev_disconnect(p.a.dev, false, "because of a test");
	assert_log(&p.a, ""); /* from the loop */
	assert_false(vmc_chardev_is_open(p.a.dev));
	assert_int_equal(vmc_chardev_write(p.a.dev, text("x")), VMC_WRITE_CLOSED);
	vmc_chardev_disconnect(p.a.dev, false, "twice is once");
	run_until(p.a.log->len > 0 && p.b.log->len > 0, 5);
	assert_log(&p.a, "closed ");
	assert_log(&p.b, "closed ");
	assert_int_equal(p.a.reason->code, VMC_CHARDEV_ERROR_USER);
	assert_string_equal(p.a.reason->message, "because of a test");
	assert_int_equal(p.b.reason->code, VMC_CHARDEV_ERROR_HANGUP);
	assert_true(recorder_got(&p.b, "bye"));
	run_for(20);
	assert_log(&p.a, "closed "); /* and does not open by itself */
	stop_pair(&p);
}

static void test_disconnect_in_readable(void **state)
{
	Pair p;

	(void)state;
	start_pair(&p);
	p.b.leave = true;
	vmc_chardev_write(p.a.dev, text("go"));
	run_until(p.a.log->len > 0 && p.b.log->len > 0, 5);
	assert_log(&p.b, "closed ");
	assert_string_equal(p.b.reason->message, "enough");
	assert_int_equal(p.b.in->len, 0); /* a read after it finds nothing */
	assert_log(&p.a, "closed ");
	stop_pair(&p);
}

static void test_flush(void **state)
{
	const size_t len = 300000;
	Pair p;

	(void)state;
	start_pair(&p);
	assert_int_equal(vmc_chardev_write(p.a.dev, pattern(len)), VMC_WRITE_OK);
	assert_true(vmc_chardev_pending(p.a.dev) > 0);
	vmc_chardev_disconnect(p.a.dev, true, "done");
	assert_int_equal(vmc_chardev_write(p.a.dev, text("x")), VMC_WRITE_CLOSED);
	run_until(p.a.log->len > 0 && p.b.log->len > 0, 5);
	assert_log(&p.a, "closed ");
	assert_string_equal(p.a.reason->message, "done");
	assert_int_equal(p.b.in->len, len);
	assert_memory_equal(p.b.in->data, pattern(len).data, len);
	stop_pair(&p);
}

/* Without `flush` what waits in the queue is lost. */
static void test_no_flush(void **state)
{
	Pair p;

	(void)state;
	start_pair(&p);
	vmc_chardev_write(p.a.dev, pattern(300000));
	vmc_chardev_disconnect(p.a.dev, false, "done");
	assert_int_equal(vmc_chardev_pending(p.a.dev), 0);
	run_until(p.a.log->len > 0 && p.b.log->len > 0, 5);
	assert_true(p.b.in->len < 300000);
	stop_pair(&p);
}

/* A peer that never reads does not hold the flush for ever. */
static void test_flush_gives_up(void **state)
{
	gint64 start = g_get_monotonic_time();
	Pair p;

	(void)state;
	start_pair(&p);
	vmc_chardev_pause(p.b.dev, true);
	vmc_chardev_write(p.a.dev, pattern(300000));
	vmc_chardev_disconnect(p.a.dev, true, "done");
	run_until(p.a.log->len > 0, VMC_CHARDEV_FLUSH_SECONDS + 3);
	assert_log(&p.a, "closed ");
	assert_true(g_get_monotonic_time() - start >=
		    (VMC_CHARDEV_FLUSH_SECONDS - 1) * G_USEC_PER_SEC);
	stop_pair(&p);
}

/* ---- Marks ---- */

static void test_marks(void **state)
{
	size_t sent = 0;
	VmcWrite answer;
	Pair p;

	(void)state;
	start_pair(&p);
	vmc_chardev_pause(p.b.dev, true);
	do {
		answer = vmc_chardev_write(p.a.dev, pattern(10000));
		sent += 10000;
		assert_true(sent < 2 * VMC_CHARDEV_HIGH_MARK);
		assert_int_equal(answer == VMC_WRITE_HIGH,
				 vmc_chardev_pending(p.a.dev) > VMC_CHARDEV_HIGH_MARK);
	} while (answer == VMC_WRITE_OK);
	assert_int_equal(answer, VMC_WRITE_HIGH);

	/* Somewhat more is taken, to finish what was begun, but not all. */
	while ((answer = vmc_chardev_write(p.a.dev, pattern(10000))) == VMC_WRITE_HIGH)
		sent += 10000;
	assert_int_equal(answer, VMC_WRITE_FULL);
	assert_true(vmc_chardev_pending(p.a.dev) <= VMC_CHARDEV_MAX_QUEUE);
	assert_true(vmc_chardev_pending(p.a.dev) > VMC_CHARDEV_MAX_QUEUE - 10000);
	run_for(20);
	assert_log(&p.a, "");

	vmc_chardev_pause(p.b.dev, false);
	run_until(p.a.log->len > 0, 5);
	assert_log(&p.a, "writable ");
	assert_in_range(p.a.left, 1, VMC_CHARDEV_LOW_MARK);
	run_until(p.b.in->len == sent, 5);
	assert_log(&p.a, "writable "); /* once */
	for (size_t i = 0; i < sent; i++)
		assert_int_equal(p.b.in->data[i], i % 10000 % 251 + 1);
	assert_int_equal(vmc_chardev_write(p.a.dev, text("x")), VMC_WRITE_OK);
	stop_pair(&p);
}

static void test_too_large_for_ever(void **state)
{
	Pair p;

	(void)state;
	start_pair(&p);
	assert_int_equal(vmc_chardev_write(p.a.dev, pattern(VMC_CHARDEV_MAX_QUEUE + 1)),
			 VMC_WRITE_FULL);
	assert_int_equal(vmc_chardev_pending(p.a.dev), 0);
	assert_int_equal(vmc_chardev_write(p.a.dev, pattern(VMC_CHARDEV_MAX_QUEUE)),
			 VMC_WRITE_HIGH);
	run_until(p.b.in->len == VMC_CHARDEV_MAX_QUEUE, 5);
	stop_pair(&p);
}

/* What was sent is not left in the queue's memory. */
static void test_sent_is_wiped(void **state)
{
	Pair p;
	VmcBuf *out;

	(void)state;
	start_pair(&p);
	vmc_chardev_pause(p.b.dev, true);
	vmc_chardev_write(p.a.dev, pattern(65536 + 9000));
	out = &p.a.dev->out;
	assert_int_equal(out->end - out->start, 9000);
	/* Ends inside the buffer: one byte stays, the rest must be zero. */
	vmc_buf_append(out, text("z"));
	vmc_buf_consume(out, 9000);
	for (size_t i = 0; i < 9000; i++)
		assert_int_equal(out->data[i], 0);
	stop_pair(&p);
}

/* ---- Pausing and fairness ---- */

static void test_pause(void **state)
{
	uint8_t data[16];
	Pair p;

	(void)state;
	start_pair(&p);
	vmc_chardev_pause(p.b.dev, true);
	vmc_chardev_write(p.a.dev, text("wait"));
	assert_true(run_for(30) < 10);
	assert_int_equal(p.b.readable, 0);
	/* Reading is still allowed. */
	assert_int_equal(vmc_chardev_read(p.b.dev, data, 1), 1);
	vmc_chardev_pause(p.b.dev, false);
	run_until(recorder_got(&p.b, "ait"), 5);

	/* The end comes when all is read, so not while paused. */
	vmc_chardev_pause(p.b.dev, true);
	vmc_chardev_write(p.a.dev, text("more"));
	vmc_chardev_disconnect(p.a.dev, true, "done");
	run_for(30);
	assert_log(&p.a, "closed ");
	assert_log(&p.b, "");
	vmc_chardev_pause(p.b.dev, false);
	run_until(p.b.log->len > 0, 5);
	assert_true(recorder_got(&p.b, "aitmore"));
	assert_log(&p.b, "closed ");
	stop_pair(&p);
}

/* Pausing lasts over conversations for as long as the user stays. */
static void test_pause_stays(void **state)
{
	Pair p;

	(void)state;
	start_pair(&p);
	vmc_chardev_pause(p.b.dev, true);
	vmc_chardev_set_user(p.a.dev, NULL, NULL);
	vmc_chardev_set_user(p.a.dev, &recorder_events, &p.a);
	run_until(strcmp(p.b.log->str, "closed opened ") == 0, 5);
	vmc_chardev_write(p.a.dev, text("x"));
	run_for(20);
	assert_int_equal(p.b.readable, 0);
	vmc_chardev_pause(p.b.dev, false);
	run_until(recorder_got(&p.b, "x"), 5);
	stop_pair(&p);
}

/* A user that answers what it reads, for ever, does not keep the loop. */
static void echo_readable(void *user)
{
	Recorder *r = user;
	uint8_t data[512];
	size_t n;

	while ((n = vmc_chardev_read(r->dev, data, sizeof(data))) > 0)
		vmc_chardev_write(r->dev, vmc_span(data, n));
}

static void test_fairness(void **state)
{
	static const VmcChardevEvents echo = { .readable = echo_readable };
	VmcChardev *one, *other;
	Recorder a = { 0 }, b = { 0 };

	(void)state;
	vmc_chardev_pair_new(&one, &other);
	a.dev = one;
	b.dev = other;
	vmc_chardev_set_user(one, &echo, &a);
	vmc_chardev_set_user(other, &echo, &b);
	run_until(vmc_chardev_is_open(one) && vmc_chardev_is_open(other), 5);
	vmc_chardev_write(one, text("ping"));
	assert_true(run_for(50) > 20);
	vmc_chardev_free(one);
	vmc_chardev_free(other);
}

/* ---- What there is, and what is refused ---- */

static VmcChardev *make(const char *options, GError **error)
{
	g_autoptr(VmcOpts) opts = vmc_opts_parse("-chardev", options, "backend", error);

	return opts != NULL ? vmc_chardev_new(opts, error) : NULL;
}

#define KEYS                                                                                       \
	"abstract, fd, host, id, ipv4, ipv6, nodelay, path, port, quickack, "                      \
	"reconnect, server, tight, to, wait"
#define KINDS "give host and port (TCP), path (UNIX) or fd"
#define PORTS "a number from 0 to 65535 or a service name"
#define CLIENT_PORTS "a number from 1 to 65535 or a service name"
#define P108                                                                                       \
	"/123456789/123456789/123456789/123456789/123456789/123456789/123456789"                   \
	"/123456789/123456789/123456789/1234567"

static const struct {
	const char *options;
	int code;
	const char *message;
} refused[] = {
	{ "id=x", VMC_OPTS_ERROR_MISSING,
	  "no backend is given; there are: socket, spicevmc, spiceport" },
	{ "sokcet,id=x", VMC_OPTS_ERROR_UNKNOWN,
	  "unknown backend 'sokcet'; there are: socket, spicevmc, spiceport" },
	{ "socket,id=x,prot=1", VMC_OPTS_ERROR_UNKNOWN, "unknown key 'prot'; socket takes: " KEYS },
	{ "socket,id=x", VMC_OPTS_ERROR_MISSING, "no address is given; " KINDS },
	{ "socket,host=h", VMC_OPTS_ERROR_MISSING, "'port' is missing: " CLIENT_PORTS },
	{ "socket,host=h,server", VMC_OPTS_ERROR_MISSING, "'port' is missing: " PORTS },
	{ "socket,server,port=99999", VMC_OPTS_ERROR_VALUE,
	  "bad value '99999' for 'port': " PORTS },
	{ "socket,server,port=-1", VMC_OPTS_ERROR_VALUE, "bad value '-1' for 'port': " PORTS },
	{ "socket,port=0", VMC_OPTS_ERROR_VALUE, "bad value '0' for 'port': " CLIENT_PORTS },
	{ "socket,port=no-such-service", VMC_OPTS_ERROR_VALUE,
	  "bad value 'no-such-service' for 'port': " CLIENT_PORTS },
	{ "socket,port=1,path=/x", VMC_OPTS_ERROR_VALUE, "'port' does not go with 'path'; " KINDS },
	{ "socket,host=h,path=/x", VMC_OPTS_ERROR_VALUE, "'host' does not go with 'path'; " KINDS },
	{ "socket,fd=3,path=/x", VMC_OPTS_ERROR_VALUE, "'path' does not go with 'fd'; " KINDS },
	{ "socket,fd=3,host=h", VMC_OPTS_ERROR_VALUE, "'host' does not go with 'fd'; " KINDS },
	{ "socket,fd=3,reconnect=1", VMC_OPTS_ERROR_VALUE,
	  "'reconnect' does not go with 'fd'; " KINDS },
	{ "socket,port=1,abstract", VMC_OPTS_ERROR_VALUE,
	  "'abstract' does not go with 'port'; " KINDS },
	{ "socket,path=/x,tight", VMC_OPTS_ERROR_VALUE,
	  "'tight' is for abstract names; add abstract=on or leave it out" },
	{ "socket,fd=-1", VMC_OPTS_ERROR_VALUE,
	  "bad value '-1' for 'fd': a number from 0 to 2147483647" },
	{ "socket,server,port=2001,to=2000", VMC_OPTS_ERROR_VALUE,
	  "bad value '2000' for 'to': a number from 2001 to 65535, with a port that is not 0" },
	{ "socket,server,port=0,to=9", VMC_OPTS_ERROR_VALUE,
	  "bad value '9' for 'to': a number from 0 to 65535, with a port that is not 0" },
	{ "socket,port=2001,to=2002", VMC_OPTS_ERROR_VALUE,
	  "'to' is for servers; add server=on or leave it out" },
	{ "socket,server,port=1,reconnect=1", VMC_OPTS_ERROR_VALUE,
	  "'reconnect' is for clients; a server waits for its client anyway" },
	{ "socket,server,port=1,proxy=http://p:1", VMC_OPTS_ERROR_VALUE,
	  "'proxy' is for clients; leave it out" },
	{ "socket,path=/x,proxy=http://p:1", VMC_OPTS_ERROR_VALUE,
	  "'proxy' does not go with 'path'; " KINDS },
	{ "socket,port=1,nowait", VMC_OPTS_ERROR_VALUE,
	  "'wait' is for servers; add server=on or leave it out" },
	{ "socket,port=1,reconnect=86401", VMC_OPTS_ERROR_VALUE,
	  "bad value '86401' for 'reconnect': a number from 0 to 86400" },
	{ "socket,port=1,ipv4=off,noipv6", VMC_OPTS_ERROR_VALUE,
	  "'ipv4' and 'ipv6' are both off; one has to be on" },
	{ "socket,port=1,host=::1,ipv4", VMC_OPTS_ERROR_VALUE,
	  "bad value '::1' for 'host': an address of the family that is off" },
	{ "socket,port=1,host=127.0.0.1,ipv4=off", VMC_OPTS_ERROR_VALUE,
	  "bad value '127.0.0.1' for 'host': an address of the family that is off" },
	{ "socket,port=1,host=[127.0.0.1]", VMC_OPTS_ERROR_VALUE,
	  "bad value '[127.0.0.1]' for 'host': between [ and ] an IPv6 address is expected" },
	{ "socket,port=1,host=[]", VMC_OPTS_ERROR_VALUE,
	  "bad value '[]' for 'host': between [ and ] an IPv6 address is expected" },
	{ "socket,port=1,nodelay,delay", VMC_OPTS_ERROR_REPEATED,
	  "'delay' and 'nodelay' say the same thing; give one of them" },
	{ "socket,port=1,telnet", VMC_OPTS_ERROR_VALUE,
	  "QEMU takes 'telnet', vscard does not do that; leave it out" },
	{ "socket,port=1,websocket=on", VMC_OPTS_ERROR_VALUE,
	  "QEMU takes 'websocket', vscard does not do that; leave it out" },
	{ "socket,port=1,tls-creds=t", VMC_OPTS_ERROR_VALUE,
	  "QEMU takes 'tls-creds', vscard does not do that; leave it out" },
	{ "socket,path=" P108, VMC_OPTS_ERROR_VALUE,
	  "the value of 'path' is 108 bytes long: 107 at most" },
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
		g_autofree char *whole =
			g_strdup_printf("-chardev %s: %s", refused[i].options, refused[i].message);
		g_autoptr(GError) error = NULL;

		assert_null(make(refused[i].options, &error));
		assert_non_null(error);
		assert_string_equal(error->message, whole);
		assert_int_equal(error->domain, VMC_OPTS_ERROR);
		assert_int_equal(error->code, refused[i].code);
		assert_null(make(refused[i].options, NULL));
	}
}

static char *captured_help(const char *backend)
{
	char said[4096] = "";
	int saved = dup(STDOUT_FILENO);
	FILE *file = tmpfile();

	fflush(stdout);
	dup2(fileno(file), STDOUT_FILENO);
	assert_true(vmc_chardev_help(backend, NULL));
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	rewind(file);
	assert_true(fread(said, 1, sizeof(said) - 1, file) > 0);
	fclose(file);
	return g_strdup(said);
}

static void test_help(void **state)
{
	g_autofree char *all = captured_help(NULL);
	g_autofree char *socket = captured_help("socket");
	g_auto(GStrv) keys = g_strsplit(KEYS, ", ", -1);
	g_autoptr(GError) error = NULL;

	(void)state;
	assert_non_null(strstr(all, "  socket "));
	for (size_t i = 0; keys[i] != NULL; i++) {
		g_autofree char *line = g_strdup_printf("\n  %s=", keys[i]);

		if (strstr(socket, line) == NULL)
			fail_msg("no help for %s", keys[i]);
	}
	assert_null(strstr(socket, "telnet"));
	assert_false(vmc_chardev_help("sokcet", &error));
	assert_string_equal(
		error->message,
		"-chardev: unknown backend 'sokcet'; there are: socket, spicevmc, spiceport");
	assert_string_equal(vmc_chardev_classes()[0]->name, "socket");
	assert_string_equal(vmc_chardev_classes()[1]->name, "spicevmc");
	assert_string_equal(vmc_chardev_classes()[2]->name, "spiceport");
	assert_null(vmc_chardev_classes()[3]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens_with_both_users),
		cmocka_unit_test(test_bytes_both_ways),
		cmocka_unit_test(test_partial_reads),
		cmocka_unit_test(test_one_user),
		cmocka_unit_test(test_free_closes_other),
		cmocka_unit_test(test_disconnect),
		cmocka_unit_test(test_disconnect_in_readable),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_no_flush),
		cmocka_unit_test(test_flush_gives_up),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_too_large_for_ever),
		cmocka_unit_test(test_sent_is_wiped),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_pause_stays),
		cmocka_unit_test(test_fairness),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests_name("chardev", tests, NULL, NULL);
}

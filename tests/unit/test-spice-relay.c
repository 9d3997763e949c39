/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The relay between a viewer and a server that are played here, plain, over a
 * UNIX socket and over TLS on both sides.
 */

#include "tests/unit/test-socket.h"

#include <glib/gstdio.h>

#include "vmc/spice-relay.h"
#include "vmc/spice-wire.h"
#include "vmc/tls.h"

typedef struct Setting {
	VmcSpiceRelay *relay;
	GString *log; /* "session:ID ended failed refused " */
	char *why;
	int listener; /* of the server */
	char *path;
} Setting;

static void on_session(void *user, uint32_t id)
{
	Setting *s = user;

	g_string_append_printf(s->log, "session:%u ", id);
}

static void on_ended(void *user, const char *because)
{
	Setting *s = user;

	assert_non_null(because);
	g_string_append(s->log, "ended ");
}

static void on_failed(void *user, const GError *reason)
{
	Setting *s = user;

	g_string_append(s->log, "failed ");
	g_free(s->why);
	s->why = g_strdup(reason->message);
}

static void on_refused(void *user)
{
	Setting *s = user;

	g_string_append(s->log, "refused ");
}

static const VmcSpiceRelayEvents events = {
	.session = on_session,
	.ended = on_ended,
	.failed = on_failed,
	.refused = on_refused,
};

static void start(Setting *s, const VmcSpiceAddress *address, uint8_t claimed)
{
	g_autoptr(GError) error = NULL;

	g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);
	s->log = g_string_new(NULL);
	s->relay = vmc_spice_relay_new(address, claimed, &events, s, &error);
	if (s->relay == NULL)
		fail_msg("%s", error->message);
}

/* A plain TCP server and a relay before it. */
static void start_plain(Setting *s, uint8_t claimed)
{
	VmcSpiceAddress address = { .host = (char *)"127.0.0.1" };

	*s = (Setting){ .listener = plain_listen("127.0.0.1", &address.port) };
	start(s, &address, claimed);
	assert_int_not_equal(vmc_spice_relay_port(s->relay), 0);
	assert_int_equal(vmc_spice_relay_tls_port(s->relay), 0);
	assert_null(vmc_spice_relay_ca(s->relay));
}

static void stop(Setting *s)
{
	vmc_spice_relay_free(s->relay);
	g_string_free(s->log, TRUE);
	g_free(s->why);
	if (s->listener >= 0)
		close(s->listener);
	if (s->path != NULL)
		g_unlink(s->path);
	g_free(s->path);
}

static int accept_now(int listener)
{
	int fd = -1;

	for (unsigned i = 0; i < 2000 && fd < 0; i++) {
		run_for(1);
		fd = accept(listener, NULL, NULL);
	}
	assert_true(fd >= 0);
	return fd;
}

static size_t put_mess(uint8_t to[VMC_SPICE_LINK_MESS_MAX], uint8_t type, uint32_t id)
{
	VmcSpiceLinkMess mess = { .connection_id = id, .channel_type = type };

	vmc_spice_caps_set(&mess.common, 3);
	return vmc_spice_put_link_mess(to, &mess);
}

static int viewer(Setting *s)
{
	int fd = plain_connect("127.0.0.1", vmc_spice_relay_port(s->relay));

	assert_true(fd >= 0);
	return fd;
}

/* A viewer's connection, and the server's, once the link message went over. */
static void link_up(Setting *s, uint8_t type, uint32_t id, int fds[2])
{
	uint8_t mess[VMC_SPICE_LINK_MESS_MAX];
	char got[VMC_SPICE_LINK_MESS_MAX];
	size_t len = put_mess(mess, type, id);

	fds[0] = viewer(s);
	assert_int_equal(send(fds[0], mess, len, 0), len);
	fds[1] = accept_now(s->listener);
	assert_int_equal(plain_read(fds[1], got, len), len);
	assert_memory_equal(got, mess, len);
}

static void test_session_id(void **state)
{
	int main_channel[2], display[2], again[2];
	char got[8] = "";
	Setting s;

	(void)state;
	start_plain(&s, 0);
	/* Before there is a session nobody can claim to be of one. */
	link_up(&s, SPICE_CHANNEL_DISPLAY, 7, again);
	assert_string_equal(s.log->str, "");
	link_up(&s, SPICE_CHANNEL_MAIN, 0, main_channel);
	assert_string_equal(s.log->str, "");
	link_up(&s, SPICE_CHANNEL_DISPLAY, 4711, display);
	assert_string_equal(s.log->str, "session:4711 ");

	plain_send(display[0], "up");
	assert_int_equal(plain_read(display[1], got, 2), 2);
	plain_send(display[1], "down");
	assert_int_equal(plain_read(display[0], got, 4), 4);
	assert_string_equal(got, "down");

	/* A channel's end is no session's; the main channel's is. */
	close(display[0]);
	run_until(plain_ended(display[1]), 5);
	assert_string_equal(s.log->str, "session:4711 ");
	close(main_channel[0]);
	run_until(strcmp(s.log->str, "session:4711 ended ") == 0, 5);
	run_until(plain_ended(main_channel[1]), 5);
	close(main_channel[1]);
	close(display[1]);

	/* The next one. */
	link_up(&s, SPICE_CHANNEL_MAIN, 0, main_channel);
	link_up(&s, SPICE_CHANNEL_INPUTS, 12, display);
	assert_string_equal(s.log->str, "session:4711 ended session:12 ");
	/* This time the server goes. */
	close(main_channel[1]);
	run_until(plain_ended(main_channel[0]), 5);
	assert_string_equal(s.log->str, "session:4711 ended session:12 ended ");
	stop(&s);
}

static void test_claimed(void **state)
{
	uint8_t mess[VMC_SPICE_LINK_MESS_MAX];
	char got[VMC_SPICE_REFUSAL + 1];
	VmcSpiceLinkReply reply;
	const char *because;
	int channel[2], fd;
	VmcSpan span;
	Setting s;
	size_t len;

	(void)state;
	start_plain(&s, SPICE_CHANNEL_SMARTCARD);
	link_up(&s, SPICE_CHANNEL_MAIN, 0, channel);
	link_up(&s, SPICE_CHANNEL_USBREDIR, 5, channel);
	len = put_mess(mess, SPICE_CHANNEL_SMARTCARD, 5);
	fd = viewer(&s);
	/* In pieces, however they come. */
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(send(fd, mess + i, 1, 0), 1);
		run_for(1);
	}
	assert_int_equal(plain_read(fd, got, sizeof(got)), VMC_SPICE_REFUSAL);
	span = vmc_span(got, VMC_SPICE_REFUSAL);
	assert_int_equal(vmc_spice_get_link_reply(&span, &reply, &because), VMC_SPICE_OK);
	assert_int_equal(reply.error, SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE);
	run_until(plain_ended(fd), 5);
	assert_true(accept(s.listener, NULL, NULL) < 0);
	assert_string_equal(s.log->str, "session:5 refused ");
	stop(&s);
}

static void test_no_viewer(void **state)
{
	uint8_t endless[64] = "REDQ\x02\0\0\0\x02\0\0\0\xff\xff\0";
	Setting s;
	int fd;

	(void)state;
	start_plain(&s, 0);
	fd = viewer(&s);
	plain_send(fd, "GET / HTTP/1.0\r\n\r\n");
	run_until(plain_ended(fd), 5);
	close(fd);
	fd = viewer(&s);
	assert_int_equal(send(fd, endless, sizeof(endless), 0), sizeof(endless));
	run_until(plain_ended(fd), 5);
	close(fd);
	assert_true(accept(s.listener, NULL, NULL) < 0);
	assert_string_equal(s.log->str, "");
	stop(&s);
}

static void test_no_server(void **state)
{
	uint8_t mess[VMC_SPICE_LINK_MESS_MAX];
	size_t len = put_mess(mess, SPICE_CHANNEL_MAIN, 0);
	Setting s;
	int fd;

	(void)state;
	start_plain(&s, 0);
	close(s.listener);
	s.listener = -1;
	fd = viewer(&s);
	assert_int_equal(send(fd, mess, len, 0), len);
	run_until(plain_ended(fd), 5);
	assert_string_equal(s.log->str, "failed ");
	assert_non_null(strstr(s.why, "127.0.0.1"));
	close(fd);
	stop(&s);
}

/* Bytes stand in the sockets and the queues on the way, and no further. */
static void test_back_pressure(void **state)
{
	g_autofree char *piece = g_malloc0(65536);
	int channel[2];
	size_t sent = 0, got = 0;
	Setting s;

	(void)state;
	start_plain(&s, 0);
	link_up(&s, SPICE_CHANNEL_MAIN, 0, channel);
	fcntl(channel[1], F_SETFL, O_NONBLOCK);
	for (unsigned still = 0; still < 50;) {
		ssize_t n = send(channel[1], piece, 65536, MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		still = n > 0 ? 0 : still + 1;
		run_for(2);
		assert_true(sent < 64u * 1024 * 1024);
	}
	while (got < sent) {
		size_t n = plain_read(channel[0], piece, MIN(65536, sent - got));

		assert_true(n > 0);
		got += n;
	}
	plain_send(channel[0], "on");
	assert_int_equal(plain_read(channel[1], piece, 2), 2);
	stop(&s);
}

static void test_bounded(void **state)
{
	int fds[65], last;
	Setting s;

	(void)state;
	start_plain(&s, 0);
	for (size_t i = 0; i < 64; i++) {
		fds[i] = viewer(&s);
		run_for(2);
	}
	last = viewer(&s);
	run_until(plain_ended(last), 5);
	close(last);
	assert_false(plain_ended(fds[0]));
	/* One goes, and there is room. */
	close(fds[5]);
	run_for(50);
	last = viewer(&s);
	run_for(50);
	assert_false(plain_ended(last));
	stop(&s);
}

static void test_unix(void **state)
{
	g_autofree char *folder = g_dir_make_tmp("test-relay-XXXXXX", NULL);
	char *path = g_build_filename(folder, "spice.sock", NULL);
	VmcSpiceAddress address = { .path = path };
	Setting s = { .path = path };
	int channel[2];

	(void)state;
	s.listener = unix_listen(path);
	start(&s, &address, 0);
	link_up(&s, SPICE_CHANNEL_MAIN, 0, channel);
	stop(&s);
	g_rmdir(folder);
}

/* ---- TLS ---- */

/* A server's device, or a viewer's, over TLS. */
static VmcChardev *over_tls(VmcTls *tls, VmcChardev *under)
{
	assert_non_null(tls);
	return vmc_tls_chardev_new(tls, under);
}

static VmcTls *viewer_tls(const char *pem, const char *host)
{
	VmcTlsTrust trust = { .ca_pem = pem, .host = host };

	return vmc_tls_client_new(&trust, NULL);
}

static void start_secure(Setting *s, Recorder *server, const char *host)
{
	g_autofree char *pem = NULL;
	g_autoptr(VmcTls) tls = vmc_tls_server_new_self_signed("127.0.0.1", &pem, NULL);
	VmcChardev *under = good("socket,id=s,host=127.0.0.1,port=0,server,nowait");
	VmcSpiceAddress address = {
		.host = (char *)"127.0.0.1",
		.host_subject = (char *)host,
		.ca_pem = pem,
		.tls_port = vmc_socket_port(under),
	};

	*s = (Setting){ .listener = -1 };
	recorder_start(server, over_tls(tls, under));
	start(s, &address, 0);
	assert_int_equal(vmc_spice_relay_port(s->relay), 0);
	assert_int_not_equal(vmc_spice_relay_tls_port(s->relay), 0);
	assert_non_null(vmc_spice_relay_ca(s->relay));
}

static void view_secure(Setting *s, Recorder *v, const char *host)
{
	g_autoptr(VmcTls) tls = viewer_tls(vmc_spice_relay_ca(s->relay), host);

	recorder_start(v, over_tls(tls, good("socket,id=v,host=127.0.0.1,port=%u",
					     vmc_spice_relay_tls_port(s->relay))));
	run_until(v->log->len > 0, 5);
}

static void test_tls(void **state)
{
	uint8_t mess[VMC_SPICE_LINK_MESS_MAX];
	size_t len = put_mess(mess, SPICE_CHANNEL_MAIN, 0);
	Recorder server, v;
	Setting s;

	(void)state;
	start_secure(&s, &server, "CN=127.0.0.1");
	view_secure(&s, &v, "127.0.0.1");
	assert_log(&v, "opened ");
	vmc_chardev_write(v.dev, vmc_span(mess, len));
	run_until(server.in->len == len, 5);
	assert_memory_equal(server.in->data, mess, len);
	vmc_chardev_write(server.dev, vmc_span("hello", 5));
	run_until(recorder_got(&v, "hello"), 5);

	vmc_chardev_disconnect(server.dev, true, "done");
	run_until(strcmp(v.log->str, "opened closed ") == 0, 5);
	assert_int_equal(v.reason->code, VMC_CHARDEV_ERROR_HANGUP);
	recorder_stop(&v);
	stop(&s);
	recorder_stop(&server);
}

/* The server is checked as the viewer would; so is the relay by the viewer. */
static void test_tls_refused(void **state)
{
	uint8_t mess[VMC_SPICE_LINK_MESS_MAX];
	size_t len = put_mess(mess, SPICE_CHANNEL_MAIN, 0);
	Recorder server, v;
	Setting s;

	(void)state;
	start_secure(&s, &server, "CN=somebody else");
	view_secure(&s, &v, "127.0.0.1");
	vmc_chardev_write(v.dev, vmc_span(mess, len));
	run_until(strcmp(v.log->str, "opened closed ") == 0, 5);
	assert_string_equal(s.log->str, "failed ");
	assert_non_null(strstr(s.why, "CN=127.0.0.1"));
	assert_int_equal(server.in->len, 0);
	recorder_stop(&v);

	view_secure(&s, &v, "127.0.0.2");
	assert_log(&v, "failed ");
	run_until(strcmp(s.log->str, "failed failed ") == 0, 5);
	assert_non_null(strstr(s.why, "the viewer does not take"));
	recorder_stop(&v);
	stop(&s);
	recorder_stop(&server);
}

static void test_bad_address(void **state)
{
	VmcSpiceAddress no_ca = { .host = (char *)"h",
				  .tls_port = 1,
				  .ca_file = (char *)"/nonexistent" };
	g_autoptr(GError) error = NULL;

	(void)state;
	assert_null(vmc_spice_relay_new(&no_ca, 0, &events, NULL, &error));
	assert_int_equal(error->domain, VMC_TLS_ERROR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_session_id),    cmocka_unit_test(test_claimed),
		cmocka_unit_test(test_no_viewer),     cmocka_unit_test(test_no_server),
		cmocka_unit_test(test_back_pressure), cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_unix),          cmocka_unit_test(test_tls),
		cmocka_unit_test(test_tls_refused),   cmocka_unit_test(test_bad_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

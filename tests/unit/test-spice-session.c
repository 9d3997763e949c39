/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A SPICE session's decisions, without a server: when it tries again, what goes
 * over TLS, what its user hears of a server that is none. Its conversations are
 * in tests/peer.
 */

#include "tests/unit/test-chardev.h"
#include "vmc/socket.h"
#include "vmc/spice-session-parts.h"

static VmcSpiceAddress nowhere = { .host = (char *)"127.0.0.1", .port = 1 };

static void test_delay(void **state G_GNUC_UNUSED)
{
	static const struct {
		unsigned reconnect;
		unsigned attempts;
		unsigned seconds;
	} rows[] = {
		{ 0, 0, 0 },  { 0, 5, 0 },   { 1, 0, 1 },     { 1, 1, 2 },
		{ 1, 5, 32 }, { 1, 6, 60 },  { 1, 4000, 60 }, { 7, 3, 56 },
		{ 7, 4, 60 }, { 90, 0, 90 }, { 90, 9, 90 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(VmcSpiceSession) session =
			vmc_spice_session_new(&nowhere, rows[i].reconnect, NULL);

		for (unsigned n = 0; n < 100; n++) {
			unsigned ms = vmc_spice_session_delay(session, rows[i].attempts);

			assert_in_range(ms, rows[i].seconds * 750, rows[i].seconds * 1000);
		}
	}
}

static void test_tls(void **state G_GNUC_UNUSED)
{
	static const struct {
		uint16_t port;
		uint16_t tls_port;
		const char *path;
		const char *secure;
		bool main;
		bool smartcard;
	} rows[] = {
		{ 1, 0, NULL, NULL, false, false },
		{ 1, 2, NULL, NULL, false, false },
		{ 0, 2, NULL, NULL, true, true },
		{ 1, 2, NULL, "main;smartcard", true, true },
		{ 1, 2, NULL, "smain;sinputs", true, false },
		{ 1, 2, NULL, "ssmartcard", false, true },
		{ 1, 2, NULL, "all", true, true },
		{ 1, 2, NULL, "mains;cursor;", false, false },
		{ 0, 0, "/run/spice", "all", false, false },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		const VmcSpiceAddress address = {
			.host = rows[i].path == NULL ? (char *)"localhost" : NULL,
			.port = rows[i].port,
			.tls_port = rows[i].tls_port,
			.path = (char *)rows[i].path,
			.secure_channels = (char *)rows[i].secure,
		};
		g_autoptr(VmcSpiceSession) session = vmc_spice_session_new(&address, 0, NULL);

		assert_non_null(session);
		assert_int_equal(vmc_spice_session_wants_tls(session, SPICE_CHANNEL_MAIN),
				 rows[i].main);
		assert_int_equal(vmc_spice_session_wants_tls(session, SPICE_CHANNEL_SMARTCARD),
				 rows[i].smartcard);
	}
}

/* A server that wants TLS for one channel gets it for that one, once. */
static void test_turn_to_tls(void **state G_GNUC_UNUSED)
{
	const VmcSpiceAddress both = { .host = (char *)"localhost", .port = 1, .tls_port = 2 };
	g_autoptr(VmcSpiceSession) session = vmc_spice_session_new(&both, 0, NULL);
	g_autoptr(VmcSpiceSession) plain = vmc_spice_session_new(&nowhere, 0, NULL);

	assert_true(vmc_spice_session_turn_to_tls(session, SPICE_CHANNEL_SMARTCARD, false));
	assert_true(vmc_spice_session_wants_tls(session, SPICE_CHANNEL_SMARTCARD));
	assert_false(vmc_spice_session_wants_tls(session, SPICE_CHANNEL_MAIN));
	assert_false(vmc_spice_session_turn_to_tls(session, SPICE_CHANNEL_SMARTCARD, true));
	assert_false(vmc_spice_session_turn_to_tls(plain, SPICE_CHANNEL_SMARTCARD, false));
	assert_false(vmc_spice_session_wants_tls(plain, SPICE_CHANNEL_SMARTCARD));
}

/* Where the VM is then: `port` and `tls_port` as on the wire. */
static void switch_host(VmcSpiceSession *session, uint16_t port, uint16_t tls_port)
{
	uint8_t body[20 + sizeof("127.0.0.1")] = { 0 };

	vmc_put_u16le(body, port);
	vmc_put_u16le(body + 2, tls_port);
	vmc_put_u32le(body + 4, sizeof("127.0.0.1"));
	vmc_put_u32le(body + 8, 20);
	memcpy(body + 20, "127.0.0.1", sizeof("127.0.0.1"));
	vmc_spice_migration_main(session, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST,
				 vmc_span(body, sizeof(body)));
}

/* What was reached over TLS only is on the next host, too. */
static void test_tls_elsewhere(void **state G_GNUC_UNUSED)
{
	const VmcSpiceAddress secure = { .host = (char *)"127.0.0.1", .tls_port = 1 };
	const VmcSpiceAddress both = { .host = (char *)"127.0.0.1", .port = 1, .tls_port = 1 };
	g_autoptr(VmcSpiceSession) session = vmc_spice_session_new(&secure, 0, NULL);
	g_autoptr(VmcSpiceSession) other = vmc_spice_session_new(&both, 0, NULL);

	switch_host(session, 3, 2);
	assert_int_equal(session->address.tls_port, 2);
	assert_true(vmc_spice_session_wants_tls(session, SPICE_CHANNEL_MAIN));
	assert_true(vmc_spice_session_wants_tls(session, SPICE_CHANNEL_SMARTCARD));
	assert_true(session->main_tls);
	switch_host(session, 5, 0xffff);
	assert_int_equal(session->address.tls_port, 2);
	assert_int_equal(session->state, VMC_SPICE_SESSION_DOWN);

	switch_host(other, 3, 2);
	assert_int_equal(other->address.port, 3);
	assert_false(vmc_spice_session_wants_tls(other, SPICE_CHANNEL_MAIN));
}

static void test_bad_ca(void **state G_GNUC_UNUSED)
{
	const VmcSpiceAddress address = { .host = (char *)"localhost",
					  .tls_port = 2,
					  .ca_file = (char *)"/nonexistent/ca.pem" };
	g_autoptr(GError) error = NULL;

	assert_null(vmc_spice_session_new(&address, 0, &error));
	assert_true(g_error_matches(error, VMC_TLS_ERROR, VMC_TLS_ERROR_CREDENTIALS));
	g_clear_error(&error);
	assert_null(vmc_spice_session_new_beside(&address, &error));
	assert_non_null(error);
}

/* Nothing happens before there is a user; then each attempt is told of. */
static void test_nobody_there(void **state G_GNUC_UNUSED)
{
	g_autoptr(VmcSpiceSession) session = vmc_spice_session_new(&nowhere, 0, NULL);
	VmcChardev *channel = vmc_spice_session_channel(session, VMC_SPICE_WANT_CARD, NULL);
	Recorder r;

	run_for(20);
	assert_int_equal(session->state, VMC_SPICE_SESSION_DOWN);
	for (unsigned i = 0; i < 3; i++) {
		recorder_start(&r, channel);
		run_until(r.log->len > 0, 10);
		assert_log(&r, "failed ");
		assert_int_equal(r.again, 0);
		assert_int_equal(vmc_spice_session_error(session), VMC_SPICE_ERROR_GONE);
		vmc_chardev_set_user(channel, NULL, NULL);
		if (i < 2) {
			r.dev = NULL;
			recorder_stop(&r);
		}
	}
	recorder_stop(&r);
}

/* Freed at any time, with what is under way. */
static void test_freed_early(void **state G_GNUC_UNUSED)
{
	for (unsigned i = 0; i < 4; i++) {
		VmcSpiceSession *session = vmc_spice_session_new(&nowhere, 1, NULL);
		VmcChardev *one = vmc_spice_session_channel(session, VMC_SPICE_WANT_USBREDIR, NULL);
		VmcChardev *other = vmc_spice_session_channel(session, VMC_SPICE_WANT_PORT, "a");
		Recorder r;

		recorder_start(&r, one);
		for (unsigned n = 0; n < i * 2; n++)
			g_main_context_iteration(NULL, FALSE);
		recorder_stop(&r);
		vmc_chardev_free(other);
		vmc_spice_session_free(session);
	}
}

static void test_no_spice(void **state G_GNUC_UNUSED)
{
	g_autoptr(VmcOpts) opts =
		vmc_opts_parse("-chardev", "socket,id=s,host=127.0.0.1,port=0,server=on,wait=off",
			       "backend", NULL);
	VmcChardev *server = vmc_chardev_new(opts, NULL);
	VmcSpiceAddress address = { .host = (char *)"127.0.0.1", .port = vmc_socket_port(server) };
	g_autoptr(VmcSpiceSession) session = vmc_spice_session_new(&address, 1, NULL);
	const char *greeting = "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n";
	Recorder r, s;

	recorder_start(&s, server);
	recorder_start(&r, vmc_spice_session_channel(session, VMC_SPICE_WANT_CARD, NULL));
	run_until(s.in->len > 0, 10);
	assert_memory_equal(s.in->data, "REDQ", 4);
	vmc_chardev_write(server, vmc_span(greeting, strlen(greeting)));
	run_until(r.log->len > 0, 10);
	assert_log(&r, "failed ");
	assert_in_range(r.again, 750, 1000);
	assert_int_equal(vmc_spice_session_error(session), VMC_SPICE_ERROR_PROTOCOL);
	recorder_stop(&r);
	recorder_stop(&s);
}

/* Beside a viewer nothing is connected without its session's id. */
static void test_beside(void **state G_GNUC_UNUSED)
{
	g_autoptr(VmcSpiceSession) session = vmc_spice_session_new_beside(&nowhere, NULL);
	Recorder r;

	recorder_start(&r, vmc_spice_session_channel(session, VMC_SPICE_WANT_SMARTCARD, NULL));
	run_for(20);
	assert_log(&r, "");
	vmc_spice_session_leave(session, "it was never there");
	vmc_spice_session_join(session, 17);
	run_until(r.log->len > 0, 10);
	assert_log(&r, "failed ");
	assert_in_range(r.again, 1500, 2000);
	vmc_spice_session_leave(session, "the viewer ended");
	run_for(20);
	assert_log(&r, "failed ");
	recorder_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delay),       cmocka_unit_test(test_tls),
		cmocka_unit_test(test_turn_to_tls), cmocka_unit_test(test_tls_elsewhere),
		cmocka_unit_test(test_bad_ca),      cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_freed_early), cmocka_unit_test(test_no_spice),
		cmocka_unit_test(test_beside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

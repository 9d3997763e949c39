/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * TLS over a char device against OpenSSL's own s_server and s_client, over UNIX
 * sockets, with certificates that the openssl command makes here; and against
 * peers that speak none.
 */

#include "tests/unit/test-tls.h"

#include <gio/gunixinputstream.h>
#include <gio/gunixoutputstream.h>
#include <glib/gstdio.h>

static char *folder;

static char *in_folder(const char *name)
{
	return g_build_filename(folder, name, NULL);
}

/* ---- Certificates ---- */

static void sh(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Runs in the folder of this test. */
static void sh(const char *format, ...)
{
	g_autofree char *command = NULL;
	g_autofree char *said = NULL;
	char *argv[] = { (char *)"sh", (char *)"-ec", NULL, NULL };
	g_autoptr(GError) error = NULL;
	int status = 0;
	va_list args;

	va_start(args, format);
	command = g_strdup_vprintf(format, args);
	va_end(args);
	argv[2] = command;
	if (!g_spawn_sync(folder, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, &said, &status,
			  &error) ||
	    !g_spawn_check_wait_status(status, &error))
		fail_msg("%s: %s: %s", command, error->message, said);
}

#define SUBJECT "/C=IL/O=Red Hat, Inc/CN=spice"

/* A certificate `name`.pem signed by the CA, with `extension` and for `days`. */
static void make_cert(const char *name, const char *subject, const char *extension, int days)
{
	sh("openssl req -new -newkey rsa:2048 -nodes -keyout %s.key -subj '%s' -out %s.csr", name,
	   subject, name);
	sh("echo '%s' > %s.ext", extension, name);
	sh("openssl x509 -req -in %s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days %d "
	   "-extfile %s.ext -out %s.pem",
	   name, days, name, name);
}

static int make_certs(void **state)
{
	(void)state;
	folder = g_dir_make_tmp("test-tls-XXXXXX", NULL);
	assert_non_null(folder);
	sh("openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -subj /CN=authority "
	   "-days 30 -out ca.pem");
	sh("openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -subj /CN=other "
	   "-days 30 -out other.pem");
	make_cert("good", SUBJECT, "subjectAltName=DNS:vm.example,IP:127.0.0.1,IP:::1", 30);
	make_cert("expired", SUBJECT, "subjectAltName=DNS:vm.example", -1);
	make_cert("old", "/CN=127.0.0.1", "basicConstraints=CA:FALSE", 30);
	return 0;
}

static int remove_certs(void **state)
{
	(void)state;
	sh("rm -f *");
	g_rmdir(folder);
	g_free(folder);
	return 0;
}

/* The public key of good.pem as `pubkey=` takes it. */
static char *public_key(const char *how)
{
	g_autofree char *path = in_folder("key.txt");
	char *text = NULL;

	sh("openssl x509 -in good.pem -noout -pubkey | openssl pkey -pubin -outform DER | %s "
	   "> key.txt",
	   how);
	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	return g_strchomp(text);
}

#define AS_HEX "od -An -v -tx1 | tr -d ' \\n'"
#define AS_HASH "openssl dgst -sha256 -binary | openssl base64"

/* ---- Credentials ---- */

static void test_bad_credentials(void **state)
{
	g_autofree char *absent = in_folder("absent.pem");
	g_autofree char *empty = in_folder("ca.key");
	g_autofree char *ca = in_folder("ca.pem");
	const struct {
		VmcTlsTrust trust;
		const char *says;
	} cases[] = {
		{ { .ca_file = absent, .host = "x" }, "No such file" },
		{ { .ca_file = empty, .host = "x" }, "BEGIN CERTIFICATE" },
		{ { .ca_pem = "nothing", .host = "x" }, "BEGIN CERTIFICATE" },
		{ { .ca_pem = "", .host = "x" }, "BEGIN CERTIFICATE" },
		{ { .ca_file = ca }, "host-subject or its public key" },
		{ { .ca_file = ca, .host_subject = "" }, "host-subject" },
		{ { .ca_file = ca, .host_subject = "CN" }, "KEY=VALUE" },
		{ { .ca_file = ca, .host_subject = "CN=" }, "KEY=VALUE" },
		{ { .ca_file = ca, .host_subject = "C=IL,,CN=x" }, "KEY=VALUE" },
		{ { .ca_file = ca, .host_subject = "CN=a\\b" }, "KEY=VALUE" },
		{ { .ca_file = ca, .host_subject = "CN=a\\" }, "KEY=VALUE" },
		{ { .ca_file = ca, .host_subject = "Nonsense=x" }, "Nonsense=x" },
		{ { .public_key = "" }, "public key" },
		{ { .public_key = "abc" }, "public key" },
		{ { .public_key = "sha256:AAAA" }, "public key" },
		{ { .ca_file = ca, .host = "x", .ciphers = "NOSUCH" }, "NOSUCH" },
		{ { .ca_file = ca, .host = "x", .ciphers = "aNULL:@SECLEVEL=0" },
		  "authentication" },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;

		if (vmc_tls_client_new(&cases[i].trust, &error) != NULL)
			fail_msg("taken: case %zu", i);
		assert_int_equal(error->domain, VMC_TLS_ERROR);
		assert_int_equal(error->code, VMC_TLS_ERROR_CREDENTIALS);
		if (strstr(error->message, cases[i].says) == NULL)
			fail_msg("'%s' has no '%s'", error->message, cases[i].says);
		assert_null(strchr(error->message, '\n'));
	}
}

/* ---- OpenSSL's server ---- */

typedef struct Peer {
	GSubprocess *process;
	GOutputStream *in;
	GInputStream *out;
	char *path;
} Peer;

static void start_peer(Peer *peer, const char *path, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* `openssl` with the words of `format`; paths in it are in this folder. */
static void start_peer(Peer *peer, const char *path, const char *format, ...)
{
	g_autofree char *words = NULL;
	g_autofree char *line = NULL;
	g_autoptr(GError) error = NULL;
	va_list args;

	va_start(args, format);
	words = g_strdup_vprintf(format, args);
	va_end(args);
	line = g_strdup_printf("cd %s && exec openssl %s", folder, words);
	peer->path = g_strdup(path);
	peer->process =
		g_subprocess_new(G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE |
					 G_SUBPROCESS_FLAGS_STDERR_SILENCE,
				 &error, "sh", "-c", line, NULL);
	if (peer->process == NULL)
		fail_msg("%s", error->message);
	peer->in = g_subprocess_get_stdin_pipe(peer->process);
	peer->out = g_subprocess_get_stdout_pipe(peer->process);
}

static bool is_listening(const char *path)
{
	int fd = unix_connect(path, false, false);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void start_server(Peer *peer, const char *cert, const char *more)
{
	/* Each has its own: one that a failed test left behind is in nobody's way. */
	static unsigned count;
	g_autofree char *name = g_strdup_printf("peer%u.sock", count++);
	g_autofree char *path = in_folder(name);

	start_peer(peer, path, "s_server -quiet -unix %s -cert %s.pem -key %s.key %s", name, cert,
		   cert, more);
	for (unsigned i = 0; i < 1000 && !is_listening(path); i++)
		run_for(10);
}

static void stop_peer(Peer *peer)
{
	g_subprocess_force_exit(peer->process);
	g_subprocess_wait(peer->process, NULL, NULL);
	g_object_unref(peer->process);
	g_unlink(peer->path);
	g_free(peer->path);
}

static void peer_says(Peer *peer, const char *text)
{
	assert_true(g_output_stream_write_all(peer->in, text, strlen(text), NULL, NULL, NULL));
	assert_true(g_output_stream_flush(peer->in, NULL, NULL));
}

/* Reads what the peer printed, as long as the loop runs, until `total`. */
static void peer_hears(Peer *peer, GByteArray *heard, size_t total)
{
	int fd = g_unix_input_stream_get_fd(G_UNIX_INPUT_STREAM(peer->out));

	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (unsigned i = 0; i < 10000 && heard->len < total; i++) {
		uint8_t piece[4096];
		ssize_t n = read(fd, piece, sizeof(piece));

		if (n > 0)
			g_byte_array_append(heard, piece, (guint)n);
		else
			run_for(1);
	}
	assert_int_equal(heard->len, total);
}

static void connect_to(Recorder *r, const char *path, const VmcTlsTrust *trust)
{
	g_autoptr(VmcTls) tls = client_new(trust);
	VmcChardev *under = good("socket,id=x,path=%s", path);

	recorder_start(r, vmc_tls_chardev_new(tls, under));
	run_until(r->log->len > 0, 10);
}

typedef struct Case {
	VmcTlsTrust trust;
	int error; /* VmcTlsError, or -1: it opens */
	const char *says;
} Case;

static void try_cases(const char *cert, const char *more, const Case *cases, size_t n)
{
	Peer peer;

	start_server(&peer, cert, more);
	for (size_t i = 0; i < n; i++) {
		Recorder r;

		connect_to(&r, peer.path, &cases[i].trust);
		if (cases[i].error < 0) {
			if (strcmp(r.log->str, "opened ") != 0)
				fail_msg("case %zu: %s", i, r.reason->message);
		} else {
			assert_log(&r, "failed ");
			assert_int_equal(r.reason->code, VMC_CHARDEV_ERROR_OPEN);
			assert_int_equal(vmc_tls_chardev_error(r.dev), cases[i].error);
			assert_null(strchr(r.reason->message, '\n'));
			if (strstr(r.reason->message, cases[i].says) == NULL)
				fail_msg("case %zu: '%s' has no '%s'", i, r.reason->message,
					 cases[i].says);
		}
		recorder_stop(&r);
	}
	stop_peer(&peer);
}

static void test_whom_to_trust(void **state)
{
	g_autofree char *ca = in_folder("ca.pem");
	g_autofree char *other = in_folder("other.pem");
	g_autofree char *hex = public_key(AS_HEX);
	g_autofree char *base64 = public_key(AS_HASH);
	g_autofree char *hash = g_strdup_printf("sha256:%s", base64);
	g_autofree char *pem = NULL;
	const char *real = "C=IL,O=Red Hat\\, Inc,CN=spice";
	const char *spaced = "C=IL, O=Red Hat\\, Inc, CN=Spice";
	const char *shuffled = "CN=spice,O=Red Hat\\, Inc,C=IL";
	const char *partly = "O=Red Hat\\, Inc,CN=spice";
	const char *zeros = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

	(void)state;
	assert_true(g_file_get_contents(ca, &pem, NULL, NULL));
	{
		const Case cases[] = {
			{ { .ca_file = ca, .host = "vm.example" }, -1, NULL },
			{ { .ca_pem = pem, .host = "127.0.0.1" }, -1, NULL },
			{ { .ca_pem = pem, .host = "::1" }, -1, NULL },
			{ { .ca_file = other, .ca_pem = pem, .host = "::1" }, -1, NULL },
			{ { .host = "vm.example" }, VMC_TLS_ERROR_UNTRUSTED, "--ca-file" },
			{ { .ca_file = other, .host = "vm.example" },
			  VMC_TLS_ERROR_UNTRUSTED,
			  "ca=" },
			{ { .ca_file = ca, .host = "spice" }, VMC_TLS_ERROR_NAME, real },
			{ { .ca_file = ca, .host = "127.0.0.2" }, VMC_TLS_ERROR_NAME, real },
			/* The subject decides, and the host no more. */
			{ { .ca_file = ca, .host = "x", .host_subject = real }, -1, NULL },
			{ { .ca_file = ca, .host_subject = spaced }, -1, NULL },
			{ { .ca_file = ca, .host = "vm.example", .host_subject = shuffled },
			  VMC_TLS_ERROR_NAME,
			  real },
			{ { .ca_file = ca, .host_subject = partly }, VMC_TLS_ERROR_NAME, real },
			{ { .ca_file = other, .host_subject = real },
			  VMC_TLS_ERROR_UNTRUSTED,
			  "--ca-file" },
			/* The key decides, and nothing else any more. */
			{ { .public_key = hex }, -1, NULL },
			{ { .public_key = hash, .host = "x", .host_subject = "CN=x" }, -1, NULL },
			{ { .public_key = zeros, .ca_file = ca, .host = "vm.example" },
			  VMC_TLS_ERROR_NAME,
			  hash },
			{ { .public_key = "3000" }, VMC_TLS_ERROR_NAME, hash },
		};

		try_cases("good", "", cases, G_N_ELEMENTS(cases));
		try_cases("good", "-tls1_2", cases, 1);
	}
}

static void test_poor_certificates(void **state)
{
	g_autofree char *ca = in_folder("ca.pem");
	const Case expired[] = {
		{ { .ca_file = ca, .host = "vm.example" }, VMC_TLS_ERROR_UNTRUSTED, "expired at" },
	};
	const Case old[] = {
		{ { .ca_file = ca, .host = "127.0.0.1" }, -1, NULL },
		{ { .ca_file = ca, .host = "127.0.0.2" }, VMC_TLS_ERROR_NAME, "CN=127.0.0.1" },
	};

	(void)state;
	try_cases("expired", "", expired, G_N_ELEMENTS(expired));
	try_cases("old", "", old, G_N_ELEMENTS(old));
}

static void test_no_common_ground(void **state)
{
	g_autofree char *ca = in_folder("ca.pem");
	const Case version[] = {
		{ { .ca_file = ca, .host = "vm.example" }, VMC_TLS_ERROR_HANDSHAKE, "TLS 1.2" },
	};
	const Case cipher[] = {
		{ { .ca_file = ca, .host = "vm.example", .ciphers = "AES128-GCM-SHA256" },
		  VMC_TLS_ERROR_HANDSHAKE,
		  "tls-ciphers" },
	};

	(void)state;
	try_cases("good", "-tls1_1 -cipher ALL:@SECLEVEL=0", version, G_N_ELEMENTS(version));
	try_cases("good", "-tls1_2 -cipher AES256-GCM-SHA384", cipher, G_N_ELEMENTS(cipher));
}

/* Whatever the list of ciphers lets in: nobody's server is none, and neither is
 * one without encryption. */
static void test_unsafe_ciphers(void **state)
{
	g_autofree char *ca = in_folder("ca.pem");
	const Case cases[] = {
		{ { .ca_file = ca, .host = "vm.example", .ciphers = "ALL:eNULL:@SECLEVEL=0" },
		  VMC_TLS_ERROR_HANDSHAKE,
		  "tls-ciphers" },
	};

	(void)state;
	try_cases("good", "-tls1_2 -cipher aNULL:@SECLEVEL=0", cases, G_N_ELEMENTS(cases));
	try_cases("good", "-tls1_2 -cipher eNULL:@SECLEVEL=0", cases, G_N_ELEMENTS(cases));
}

static void start_talk(Peer *peer, Recorder *r, const char *more)
{
	g_autofree char *ca = in_folder("ca.pem");
	VmcTlsTrust trust = { .ca_file = ca, .host = "vm.example" };

	start_server(peer, "good", more);
	connect_to(r, peer->path, &trust);
	assert_log(r, "opened ");
	recorder_forget(r);
}

static void test_talk_to_server(void **state)
{
	static const char *const versions[] = { "-tls1_3", "-tls1_2" };

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
		g_autoptr(GByteArray) heard = g_byte_array_new();
		Recorder r;
		Peer peer;

		start_talk(&peer, &r, versions[i]);
		vmc_chardev_write(r.dev, vmc_span("hello", 5));
		peer_hears(&peer, heard, 5);
		assert_memory_equal(heard->data, "hello", 5);
		peer_says(&peer, "you");
		run_until(recorder_got(&r, "you"), 5);

		/* Killed, it cannot say goodbye. */
		g_subprocess_force_exit(peer.process);
		run_until(r.log->len > 0, 5);
		assert_log(&r, "closed ");
		assert_int_equal(r.reason->code, VMC_CHARDEV_ERROR_IO);
		assert_non_null(strstr(r.reason->message, "close_notify"));
		recorder_stop(&r);
		stop_peer(&peer);
	}
}

/* 1 MiB each way at once, read slowly on both sides. */
static void test_bulk(void **state)
{
	g_autoptr(GByteArray) heard = g_byte_array_new();
	g_autofree uint8_t *data = g_malloc(MIB);
	size_t at = 0, given = 0;
	Recorder r;
	Peer peer;
	int fd, out;

	(void)state;
	for (size_t i = 0; i < MIB; i++)
		data[i] = pattern(i);
	start_talk(&peer, &r, "");
	r.piece = 1111;
	out = g_unix_output_stream_get_fd(G_UNIX_OUTPUT_STREAM(peer.in));
	fd = g_unix_input_stream_get_fd(G_UNIX_INPUT_STREAM(peer.out));
	fcntl(out, F_SETFL, O_NONBLOCK);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (heard->len < MIB || r.in->len < MIB) {
		uint8_t piece[4096];
		ssize_t n = read(fd, piece, sizeof(piece));

		if (n > 0)
			g_byte_array_append(heard, piece, (guint)n);
		n = given < MIB ? write(out, data + given, MIN(MIB - given, 4096)) : 0;
		if (n > 0)
			given += (size_t)n;
		vmc_chardev_pause(r.dev, (heard->len >> 14) % 4 == 1 && heard->len < MIB);
		pour(r.dev, &at, MIB);
		while (g_main_context_iteration(NULL, FALSE))
			;
	}
	check_pattern(&r, MIB);
	assert_int_equal(heard->len, MIB);
	assert_memory_equal(heard->data, data, MIB);
	recorder_stop(&r);
	stop_peer(&peer);
}

/* ---- Peers that are no TLS server ---- */

/* A plain server that answers `text` and then may close. */
static void try_plain(const char *text, bool closes, const char *says)
{
	g_autofree char *path = in_folder("plain.sock");
	g_autoptr(VmcTls) tls = NULL;
	VmcTlsTrust trust = { .host = "vm.example" };
	int listener = unix_listen(path), fd = -1;
	VmcChardev *under = good("socket,id=x,path=%s", path);
	char hello[5] = "";
	Recorder r;

	tls = client_new(&trust);
	recorder_start(&r, vmc_tls_chardev_new(tls, under));
	for (unsigned i = 0; i < 1000 && fd < 0; i++) {
		run_for(1);
		fd = accept(listener, NULL, NULL);
	}
	assert_true(fd >= 0);
	assert_int_equal(plain_read(fd, hello, 3), 3);
	assert_memory_equal(hello, "\x16\x03\x01", 3); /* a ClientHello */
	plain_send(fd, text);
	if (closes)
		close(fd);
	run_until(r.log->len > 0, 20);
	assert_log(&r, "failed ");
	assert_int_equal(vmc_tls_chardev_error(r.dev), VMC_TLS_ERROR_HANDSHAKE);
	if (strstr(r.reason->message, says) == NULL)
		fail_msg("'%s' has no '%s'", r.reason->message, says);
	recorder_stop(&r);
	if (!closes)
		close(fd);
	close(listener);
	g_unlink(path);
}

static void test_no_tls(void **state)
{
	/* A record of 0x101 bytes, of a handshake message that there is not. */
	g_autofree char *zs = g_strnfill(0x101, 'z');
	g_autofree char *nonsense = g_strconcat("\x16\x03\x03\x01\x01", zs, NULL);

	(void)state;
	try_plain("REDQ, as SPICE says", true, "speaks no TLS");
	try_plain("HTTP/1.0 400 Bad Request\r\n\r\n", false, "speaks no TLS");
	try_plain(nonsense, false, "the TLS handshake failed");
	try_plain("", true, "in the middle of the TLS handshake");
	try_plain("\x16\x03\x03", true, "in the middle of the TLS handshake");
}

static void test_silence_is_bounded(void **state)
{
	(void)state;
	try_plain("", false, "not done in 10 s");
}

/* ---- OpenSSL's client ---- */

typedef struct Served {
	Recorder r;
	char *path;
} Served;

static void serve(Served *served)
{
	g_autofree char *pem = NULL;
	g_autofree char *ca = in_folder("own.pem");
	g_autoptr(VmcTls) tls = vmc_tls_server_new_self_signed("vm.example", &pem, NULL);
	VmcChardev *under;

	served->path = in_folder("own.sock");
	under = good("socket,id=x,path=%s,server,nowait", served->path);
	assert_true(g_file_set_contents(ca, pem, -1, NULL));
	recorder_start(&served->r, vmc_tls_chardev_new(tls, under));
}

static void stop_serving(Served *served)
{
	recorder_stop(&served->r);
	g_free(served->path);
}

#define S_CLIENT                                                                                   \
	"s_client -quiet -no_ign_eof -verify_quiet -unix own.sock -CAfile own.pem -verify_return_error"

/* One after the other: trusted, not trusted, not TLS, TLS 1.1, trusted again. */
static void test_serve(void **state)
{
	g_autoptr(GByteArray) heard = g_byte_array_new();
	Served served;
	Peer peer;
	int fd;

	(void)state;
	serve(&served);
	for (unsigned i = 0; i < 2; i++) {
		start_peer(&peer, "none", S_CLIENT " -verify_hostname vm.example");
		peer_says(&peer, "hello");
		run_until(recorder_got(&served.r, "hello"), 5);
		assert_log(&served.r, "opened ");
		vmc_chardev_write(served.r.dev, vmc_span("you", 3));
		peer_hears(&peer, heard, 3);
		g_byte_array_set_size(heard, 0);
		recorder_forget(&served.r);

		/* Its standard input ends: it says goodbye. */
		g_output_stream_close(peer.in, NULL, NULL);
		run_until(served.r.log->len > 0, 5);
		assert_log(&served.r, "closed ");
		assert_int_equal(served.r.reason->code, VMC_CHARDEV_ERROR_HANGUP);
		stop_peer(&peer);
		recorder_forget(&served.r);
	}

	start_peer(&peer, "none", S_CLIENT " -verify_hostname vm.other");
	run_until(served.r.log->len > 0, 5);
	assert_log(&served.r, "failed ");
	stop_peer(&peer);
	recorder_forget(&served.r);

	fd = unix_connect(served.path, false, false);
	plain_send(fd, "REDQ");
	run_until(served.r.log->len > 0, 5);
	assert_log(&served.r, "failed ");
	assert_non_null(strstr(served.r.reason->message, "speaks no TLS"));
	close(fd);
	recorder_forget(&served.r);

	start_peer(&peer, "none", S_CLIENT " -tls1_1 -cipher ALL:@SECLEVEL=0");
	run_until(served.r.log->len > 0, 5);
	assert_log(&served.r, "failed ");
	assert_non_null(strstr(served.r.reason->message, "TLS 1.2"));
	stop_peer(&peer);
	stop_serving(&served);
}

/* In TLS 1.2 a client may ask for a new handshake: we go on without. */
static void test_no_renegotiation(void **state)
{
	Served served;
	Peer peer;

	(void)state;
	serve(&served);
	start_peer(&peer, "none",
		   "s_client -unix own.sock -CAfile own.pem -tls1_2 -verify_return_error");
	run_until(served.r.log->len > 0, 5);
	assert_log(&served.r, "opened ");
	recorder_forget(&served.r);
	peer_says(&peer, "R\n");
	run_until(served.r.log->len > 0, 5);
	assert_log(&served.r, "closed ");
	stop_peer(&peer);
	stop_serving(&served);
}

/* Keys may change in mid-stream in TLS 1.3. */
static void test_key_update(void **state)
{
	Served served;
	Peer peer;

	(void)state;
	serve(&served);
	start_peer(&peer, "none",
		   "s_client -unix own.sock -CAfile own.pem -tls1_3 -verify_return_error");
	run_until(served.r.log->len > 0, 5);
	peer_says(&peer, "one\n");
	run_until(recorder_got(&served.r, "one\n"), 5);
	peer_says(&peer, "K\n");
	run_for(50);
	peer_says(&peer, "two\n");
	run_until(recorder_got(&served.r, "one\ntwo\n"), 5);
	assert_log(&served.r, "opened ");
	stop_peer(&peer);
	stop_serving(&served);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_credentials),
		cmocka_unit_test(test_whom_to_trust),
		cmocka_unit_test(test_poor_certificates),
		cmocka_unit_test(test_no_common_ground),
		cmocka_unit_test(test_unsafe_ciphers),
		cmocka_unit_test(test_talk_to_server),
		cmocka_unit_test(test_bulk),
		cmocka_unit_test(test_no_tls),
		cmocka_unit_test(test_silence_is_bounded),
		cmocka_unit_test(test_serve),
		cmocka_unit_test(test_no_renegotiation),
		cmocka_unit_test(test_key_update),
	};

	return cmocka_run_group_tests(tests, make_certs, remove_certs);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The ticket, opened again with the private key; SASL against a server of
 * libsasl2 with a user database of its own, framed as SPICE's server does.
 */

#include <glib.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <sasl/sasl.h>
#include <string.h>
#include <unistd.h>

#include "vmc/spice-auth.h"
#include "vmc/spice-link.h"

/* libsasl2's DIGEST-MD5 (2.1.28) loses an OpenSSL library context with each
 * connection; to know it by its name, whole stacks are needed. */
const char *__lsan_default_suppressions(void) __attribute__((visibility("default")));
const char *__asan_default_options(void) __attribute__((visibility("default")));

const char *__lsan_default_suppressions(void)
{
	return "leak:libdigestmd5.so\n";
}

const char *__asan_default_options(void)
{
	return "fast_unwind_on_malloc=0";
}

/* ---- Ticket ---- */

static VmcSpan public_of(EVP_PKEY *key)
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(key, &der);

	assert_true(len > 0);
	return vmc_span(der, (size_t)len);
}

static void assert_ticket(EVP_PKEY *key, const uint8_t *ticket, const char *password)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	unsigned char plain[VMC_SPICE_TICKET];
	size_t len = sizeof(plain);

	assert_true(EVP_PKEY_decrypt_init(ctx) > 0);
	assert_true(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0);
	assert_true(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha1()) > 0);
	assert_true(EVP_PKEY_decrypt(ctx, plain, &len, ticket, VMC_SPICE_TICKET) > 0);
	assert_int_equal(len, strlen(password) + 1);
	assert_memory_equal(plain, password, len);
	EVP_PKEY_CTX_free(ctx);
}

static void test_ticket(void **state)
{
	static const char *const passwords[] = {
		NULL, "", "secret", "p\xc3\xa4ss",
		"123456789012345678901234567890123456789012345678901234567890"
	};
	EVP_PKEY *key = EVP_RSA_gen(1024);
	VmcSpan der = public_of(key);
	uint8_t ticket[VMC_SPICE_TICKET];
	const char *because = NULL;

	(void)state;
	assert_int_equal(der.len, SPICE_TICKET_PUBKEY_BYTES);
	for (size_t i = 0; i < G_N_ELEMENTS(passwords); i++) {
		assert_true(vmc_spice_ticket(der, passwords[i], ticket, &because));
		assert_ticket(key, ticket, passwords[i] != NULL ? passwords[i] : "");
	}
	assert_false(vmc_spice_ticket(
		der, "1234567890123456789012345678901234567890123456789012345678901", ticket,
		&because));
	assert_non_null(strstr(because, "60 bytes"));
	for (size_t cut = 0; cut < der.len; cut++)
		assert_false(vmc_spice_ticket(vmc_span(der.data, cut), "x", ticket, &because));
	OPENSSL_free((void *)der.data);
	EVP_PKEY_free(key);
}

static void test_wrong_keys(void **state)
{
	EVP_PKEY *keys[] = { EVP_RSA_gen(2048), EVP_RSA_gen(768), EVP_EC_gen("P-256") };
	static const uint8_t zeros[SPICE_TICKET_PUBKEY_BYTES];
	uint8_t ticket[VMC_SPICE_TICKET];
	const char *because;

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
		VmcSpan der = public_of(keys[i]);

		because = NULL;
		assert_false(vmc_spice_ticket(der, "x", ticket, &because));
		assert_non_null(because);
		OPENSSL_free((void *)der.data);
		EVP_PKEY_free(keys[i]);
	}
	assert_false(vmc_spice_ticket(vmc_span(zeros, sizeof(zeros)), "x", ticket, &because));
}

/* ---- A SASL server ---- */

static char *database;
static const char *mechanisms;

typedef struct Server {
	sasl_conn_t *conn;
	bool started;
	bool over;
	bool closed; /* as SPICE's server does when a step fails */
	GByteArray *in;
	GByteArray *out;
} Server;

static int get_option(void *context, const char *plugin, const char *option, const char **result,
		      unsigned *len)
{
	(void)context;
	(void)plugin;
	if (strcmp(option, "sasldb_path") == 0)
		*result = database;
	else if (strcmp(option, "mech_list") == 0)
		*result = mechanisms;
	else if (strcmp(option, "auxprop_plugin") == 0)
		*result = "sasldb";
	else if (strcmp(option, "pwcheck_method") == 0)
		*result = "auxprop";
	else if (strcmp(option, "log_level") == 0)
		*result = "0";
	else
		return SASL_FAIL;
	if (len != NULL)
		*len = (unsigned)strlen(*result);
	return SASL_OK;
}

typedef int (*AnyCallback)(void);
typedef void (*AnyFunction)(void);
static const sasl_callback_t callbacks[] = {
	{ SASL_CB_GETOPT, (AnyCallback)(AnyFunction)get_option, NULL },
	{ SASL_CB_LIST_END, NULL, NULL },
};

static void put_u32(GByteArray *to, size_t value)
{
	uint8_t word[4];

	vmc_put_u32le(word, (uint32_t)value);
	g_byte_array_append(to, word, 4);
}

static Server *server_new(const char *list, bool tls)
{
	Server *s = g_new0(Server, 1);
	sasl_security_properties_t wanted = {
		.min_ssf = tls ? 0 : 56,
		.max_ssf = tls ? 0 : 100000,
		.maxbufsize = 8192,
		.security_flags = tls ? 0 : SASL_SEC_NOANONYMOUS | SASL_SEC_NOPLAINTEXT,
	};
	sasl_ssf_t ssf = 256;
	const char *offered;

	mechanisms = list;
	s->in = g_byte_array_new();
	s->out = g_byte_array_new();
	assert_int_equal(sasl_server_new("spice", "localhost", "localhost", NULL, NULL, callbacks,
					 SASL_SUCCESS_DATA, &s->conn),
			 SASL_OK);
	if (tls)
		assert_int_equal(sasl_setprop(s->conn, SASL_SSF_EXTERNAL, &ssf), SASL_OK);
	assert_int_equal(sasl_setprop(s->conn, SASL_SEC_PROPS, &wanted), SASL_OK);
	if (sasl_listmech(s->conn, NULL, ",", ",", ",", &offered, NULL, NULL) != SASL_OK)
		offered = ",,";
	put_u32(s->out, strlen(offered));
	g_byte_array_append(s->out, (const guint8 *)offered, (guint)strlen(offered));
	return s;
}

static void server_free(Server *s)
{
	sasl_dispose(&s->conn);
	g_byte_array_unref(s->in);
	g_byte_array_unref(s->out);
	g_free(s);
}

static bool take_field(Server *s, VmcSpan *in, VmcSpan *field)
{
	VmcSpan rest = *in;
	uint32_t len;

	(void)s;
	if (!vmc_span_u32le(&rest, &len) || !vmc_span_take(&rest, len, field))
		return false;
	*in = rest;
	return true;
}

/* One message of the client: at the start a mechanism and data, then data. */
static bool server_step(Server *s, VmcSpan *in)
{
	VmcSpan rest = *in, mech = { 0 }, data;
	const char *out = NULL, *given;
	unsigned len = 0, given_len;
	g_autofree char *name = NULL;
	int err;

	if ((!s->started && !take_field(s, &rest, &mech)) || !take_field(s, &rest, &data))
		return false;
	given = data.len > 0 ? (const char *)data.data : NULL;
	given_len = data.len > 0 ? (unsigned)data.len - 1 : 0;
	if (given != NULL)
		assert_int_equal(data.data[data.len - 1], 0);
	name = g_strndup((const char *)mech.data, mech.len);
	err = s->started ? sasl_server_step(s->conn, given, given_len, &out, &len) :
			   sasl_server_start(s->conn, name, given, given_len, &out, &len);
	s->started = true;
	*in = rest;
	if (err != SASL_OK && err != SASL_CONTINUE) {
		s->closed = true;
		return false;
	}
	put_u32(s->out, len > 0 ? len + 1 : 0);
	if (len > 0) {
		g_byte_array_append(s->out, (const guint8 *)out, len);
		g_byte_array_append(s->out, (const guint8 *)"", 1);
	}
	s->over = err == SASL_OK;
	g_byte_array_append(s->out, s->over ? (const guint8 *)"\1" : (const guint8 *)"", 1);
	if (s->over)
		put_u32(s->out, 0);
	return !s->over;
}

static void server_take(Server *s, VmcSpan bytes)
{
	VmcSpan in;

	if (bytes.len > 0)
		g_byte_array_append(s->in, bytes.data, (guint)bytes.len);
	in = vmc_span(s->in->data, s->in->len);
	while (!s->closed && !s->over && server_step(s, &in))
		;
	g_byte_array_remove_range(s->in, 0, s->in->len - (guint)in.len);
}

/* Lets both talk, `step` bytes of the server at once; what the client says at
 * the end. MORE: the server closed. */
static VmcSpiceSaslResult converse(VmcSpiceSasl *sasl, Server *s, size_t step, char **because)
{
	VmcSpiceSaslResult result = VMC_SPICE_SASL_MORE;
	size_t shown = 0, used = 0;
	const char *text = NULL;

	while (result == VMC_SPICE_SASL_MORE && shown < s->out->len) {
		VmcSpan in, out;

		shown = MIN(shown + step, s->out->len);
		in = vmc_span(s->out->data + used, shown - used);
		result = vmc_spice_sasl_take(sasl, &in, &out, &text);
		used = shown - in.len;
		server_take(s, out);
	}
	if (result == VMC_SPICE_SASL_DONE)
		assert_int_equal(used, s->out->len);
	if (because != NULL)
		*because = g_strdup(text);
	return result;
}

static void set_user(const char *user, const char *password)
{
	Server *s = server_new("PLAIN", true);

	assert_int_equal(sasl_setpass(s->conn, user, password, (unsigned)strlen(password), NULL, 0,
				      SASL_SET_CREATE),
			 SASL_OK);
	server_free(s);
}

static int setup(void **state)
{
	(void)state;
	database = g_strdup_printf("%s/vscard-sasl-%d.db", g_get_tmp_dir(), (int)getpid());
	mechanisms = "PLAIN";
	assert_int_equal(sasl_server_init(callbacks, "vscard-test"), SASL_OK);
	set_user("alice", "geheim");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	g_unlink(database);
	g_free(database);
	return 0;
}

/* ---- SASL ---- */

static void test_sasl(void **state)
{
	static const struct {
		const char *mechs;
		bool tls;
		const char *user;
		const char *password;
		VmcSpiceSaslResult result;
		const char *because; /* part of it; NULL: the server closes */
	} cases[] = {
		{ "DIGEST-MD5", false, "alice", "geheim", VMC_SPICE_SASL_DONE, NULL },
		{ "DIGEST-MD5 PLAIN", true, "alice", "geheim", VMC_SPICE_SASL_DONE, NULL },
		{ "PLAIN", true, "alice", "geheim", VMC_SPICE_SASL_DONE, NULL },
		{ "CRAM-MD5", true, "alice", "geheim", VMC_SPICE_SASL_DONE, NULL },
		{ "SCRAM-SHA-256", true, "alice", "geheim", VMC_SPICE_SASL_DONE, NULL },
		{ "ANONYMOUS", true, NULL, NULL, VMC_SPICE_SASL_DONE, NULL },
		{ "DIGEST-MD5", false, "alice", "falsch", VMC_SPICE_SASL_MORE, NULL },
		{ "PLAIN", true, "alice", "falsch", VMC_SPICE_SASL_MORE, NULL },
		{ "PLAIN", true, "bob", "geheim", VMC_SPICE_SASL_MORE, NULL },
		{ "PLAIN", true, NULL, "geheim", VMC_SPICE_SASL_FAILED, "user name" },
		{ "PLAIN", true, "alice", NULL, VMC_SPICE_SASL_FAILED, "password" },
		{ "DIGEST-MD5", false, NULL, NULL, VMC_SPICE_SASL_FAILED, "user name" },
		{ "PLAIN", false, "alice", "geheim", VMC_SPICE_SASL_FAILED, "use TLS" },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		for (size_t step = 1; step < 5000; step *= 70) {
			g_autofree char *because = NULL;
			VmcSpiceSasl *sasl = vmc_spice_sasl_new(
				"localhost", cases[i].user, cases[i].password, cases[i].tls, NULL);
			Server *s = server_new(cases[i].mechs, cases[i].tls);
			VmcSpiceSaslResult result = converse(sasl, s, step, &because);

			if (result != cases[i].result)
				print_message("case %zu: %s\n", i, because);
			assert_int_equal(result, cases[i].result);
			assert_int_equal(s->closed, result == VMC_SPICE_SASL_MORE);
			assert_int_equal(vmc_spice_sasl_has_layer(sasl),
					 result == VMC_SPICE_SASL_DONE && !cases[i].tls);
			if (cases[i].because != NULL)
				assert_non_null(strstr(because, cases[i].because));
			server_free(s);
			vmc_spice_sasl_free(sasl);
		}
	}
}

static void test_layer(void **state)
{
	VmcSpiceSasl *sasl = vmc_spice_sasl_new(NULL, "alice", "geheim", false, NULL);
	Server *s = server_new("DIGEST-MD5", false);
	uint8_t chunk[VMC_SPICE_SASL_CHUNK];
	VmcSpan out;
	const char *data;
	unsigned len;

	(void)state;
	memset(chunk, 7, sizeof(chunk));
	assert_int_equal(converse(sasl, s, 5000, NULL), VMC_SPICE_SASL_DONE);
	assert_true(vmc_spice_sasl_encode(sasl, vmc_span(chunk, sizeof(chunk)), &out));
	assert_true(out.len > sizeof(chunk));
	assert_int_equal(
		sasl_decode(s->conn, (const char *)out.data, (unsigned)out.len, &data, &len),
		SASL_OK);
	assert_int_equal(len, sizeof(chunk));
	assert_memory_equal(data, chunk, len);

	/* Cut in two, then broken. */
	assert_int_equal(sasl_encode(s->conn, "hello", 5, &data, &len), SASL_OK);
	assert_true(vmc_spice_sasl_decode(sasl, vmc_span(data, 3), &out));
	assert_int_equal(out.len, 0);
	assert_true(vmc_spice_sasl_decode(sasl, vmc_span(data + 3, len - 3), &out));
	assert_int_equal(out.len, 5);
	assert_memory_equal(out.data, "hello", 5);
	memset(chunk, 0xff, sizeof(chunk));
	assert_false(vmc_spice_sasl_decode(sasl, vmc_span(chunk, sizeof(chunk)), &out));
	server_free(s);
	vmc_spice_sasl_free(sasl);
}

/* Bytes of a server that is none, or lies. */
static void test_hostile(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		bool failed;
	} cases[] = {
		{ "\x2d\1\0\0", 4, true }, /* a list of 301 bytes */
		{ "\xff\xff\xff\xff", 4, true },
		{ "\x2c\1\0\0", 4, false },
		{ "\0\0\0\0", 4, true },
		{ "\3\0\0\0%n\n", 7, true },
		{ "\5\0\0\0PLAIN\1\0\1\0", 13, true }, /* 65,537 bytes of data */
		{ "\5\0\0\0PLAIN\0\0\0\0\1\1\0\0\0", 18, true },
		{ "\5\0\0\0PLAIN\0\0\0\0\0", 14, true },          /* goes on after PLAIN's end */
		{ "\xd\0\0\0SCRAM-SHA-256\0\0\0\0\1", 22, true }, /* over too early */
		/* A challenge that is the last, and wants an answer. */
		{ "\xa\0\0\0DIGEST-MD5\x42\0\0\0"
		  "realm=\"h\",nonce=\"abc\",qop=\"auth\",charset=utf-8,algorithm=md5-sess\0\1",
		  85, true },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		VmcSpiceSasl *sasl = vmc_spice_sasl_new("h", "u", "p", true, NULL);
		uint8_t *copy = g_memdup2(cases[i].bytes, cases[i].len);
		VmcSpan in = vmc_span(copy, cases[i].len), out;
		const char *because = NULL;
		VmcSpiceSaslResult result = vmc_spice_sasl_take(sasl, &in, &out, &because);

		if ((result == VMC_SPICE_SASL_FAILED) != cases[i].failed)
			print_message("case %zu: %d %s\n", i, (int)result, because);
		assert_int_equal(result == VMC_SPICE_SASL_FAILED, cases[i].failed);
		assert_int_not_equal(result, VMC_SPICE_SASL_DONE);
		/* It stays over. */
		in = vmc_span("\0\0\0\0", 4);
		if (cases[i].failed)
			assert_int_equal(vmc_spice_sasl_take(sasl, &in, &out, &because),
					 VMC_SPICE_SASL_FAILED);
		vmc_spice_sasl_free(sasl);
		g_free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ticket),  cmocka_unit_test(test_wrong_keys),
		cmocka_unit_test(test_sasl),    cmocka_unit_test(test_layer),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

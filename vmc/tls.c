/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The credentials of TLS: what an SSL_CTX is made of, and whether a peer is
 * who it should be, decided as SPICE's other clients decide it.
 */

#include "vmc/tls-backend.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

/* How long a certificate of our own counts: it lives as long as its process,
 * and a viewer may stay open for months. A day back for clocks that differ. */
#define OWN_DAYS 3650
#define OWN_DAYS_BACK 1
/* What of a peer's names an error shows. */
#define SHOWN_MAX 256u

struct VmcTls {
	grefcount refs;
	bool server;
	SSL_CTX *ctx;
	/* Who a server has to be. */
	char *host;
	char *host_subject;
	X509_NAME *subject; /* host_subject parsed */
	GByteArray *key;    /* SubjectPublicKeyInfo, DER; NULL */
	uint8_t *key_hash;  /* or its SHA-256; NULL */
};

G_DEFINE_QUARK(vmc_tls_error_quark, vmc_tls_error)

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free_all)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_NAME, X509_NAME_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GENERAL_NAMES, GENERAL_NAMES_free)

const char *vmc_tls_reason(unsigned long *code)
{
	unsigned long first = ERR_get_error();
	const char *text = ERR_reason_error_string(first);

	ERR_clear_error();
	if (code != NULL)
		*code = first;
	return text != NULL ? text : "no reason is known";
}

static void set_credentials_error(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void set_credentials_error(GError **error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (error != NULL)
		*error = g_error_new_valist(VMC_TLS_ERROR, VMC_TLS_ERROR_CREDENTIALS, format, args);
	va_end(args);
	ERR_clear_error();
}

/* ---- Names ---- */

/* `text` of a peer on one line: control characters become '?'. */
static void append_clean(GString *to, const char *text, size_t len)
{
	g_autofree char *valid = g_utf8_make_valid(text, (gssize)len);

	for (const char *c = valid; *c != '\0'; c = g_utf8_next_char(c)) {
		gunichar u = g_utf8_get_char(c);

		if (u == ',' || u == '\\')
			g_string_append_c(to, '\\');
		g_string_append_unichar(to, g_unichar_isprint(u) ? u : '?');
		if (to->len > SHOWN_MAX)
			break;
	}
}

/* A subject as host_subject would say it: "C=IL,O=Red Hat,CN=server". */
static char *show_subject(X509 *cert)
{
	X509_NAME *name = X509_get_subject_name(cert);
	GString *text = g_string_new(NULL);

	for (int i = 0; i < X509_NAME_entry_count(name) && text->len <= SHOWN_MAX; i++) {
		X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
		int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
		unsigned char *value = NULL;
		int len = ASN1_STRING_to_UTF8(&value, X509_NAME_ENTRY_get_data(entry));

		g_string_append_printf(text, "%s%s=", i > 0 ? "," : "",
				       nid != NID_undef ? OBJ_nid2sn(nid) : "?");
		if (len > 0)
			append_clean(text, (const char *)value, (size_t)len);
		OPENSSL_free(value);
	}
	ERR_clear_error();
	return g_string_free(text, FALSE);
}

/* Takes the next part of a subject, up to `stop` or the end: a backslash makes
 * a comma or a backslash plain. False when it stands before anything else, or
 * `stop` does not come though it must. */
static bool next_part(const char **at, char stop, bool must, GString *part)
{
	g_string_truncate(part, 0);
	for (; **at != '\0' && **at != stop; (*at)++) {
		if (**at == ',' && stop != ',')
			return false;
		if (**at == '\\') {
			(*at)++;
			if (**at != '\\' && **at != ',')
				return false;
		}
		g_string_append_c(part, **at);
	}
	if (**at == '\0')
		return !must;
	(*at)++;
	return true;
}

/* "C=IL,O=Red Hat,CN=server" in that order; spaces before a key do not count.
 * NULL with `error`. */
static X509_NAME *parse_subject(const char *text, GError **error)
{
	g_autoptr(X509_NAME) name = X509_NAME_new();
	g_autoptr(GString) key = g_string_new(NULL);
	g_autoptr(GString) value = g_string_new(NULL);
	const char *at = text;

	do {
		at += strspn(at, " ");
		if (*at == '\0')
			break;
		if (!next_part(&at, '=', true, key) || !next_part(&at, ',', false, value) ||
		    key->len == 0 || value->len == 0) {
			set_credentials_error(
				error,
				"host-subject '%s' is none: it is written as KEY=VALUE,"
				"KEY=VALUE, a comma in a value as '\\,'",
				text);
			return NULL;
		}
		if (!X509_NAME_add_entry_by_txt(name, key->str, MBSTRING_UTF8,
						(const unsigned char *)value->str, -1, -1, 0)) {
			set_credentials_error(
				error,
				"host-subject '%s': there is no '%s=%s' in a subject; "
				"keys are C, ST, L, O, OU, CN and the like",
				text, key->str, value->str);
			return NULL;
		}
	} while (*at != '\0');
	if (X509_NAME_entry_count(name) == 0) {
		set_credentials_error(error, "host-subject is empty: KEY=VALUE is wanted");
		return NULL;
	}
	return g_steal_pointer(&name);
}

static bool has_alternative_names(X509 *cert)
{
	g_autoptr(GENERAL_NAMES) names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		int type = sk_GENERAL_NAME_value(names, i)->type;

		if (type == GEN_DNS || type == GEN_IPADD)
			return true;
	}
	return false;
}

/* Old certificates have an address as their common name and no other names:
 * that counts for SPICE's clients. */
static bool bears_host(X509 *cert, const char *host)
{
	g_autofree char *bare = g_strndup(host, strcspn(host, "%"));
	int match = X509_check_ip_asc(cert, bare, 0);

	if (match == 1)
		return true;
	if (match == 0 && has_alternative_names(cert))
		return false;
	return X509_check_host(cert, bare, 0, 0, NULL) == 1;
}

/* ---- Whether to trust ---- */

static bool refuse(X509_STORE_CTX *store, int as, VmcTlsVerdict *verdict, VmcTlsError code,
		   const char *format, ...) G_GNUC_PRINTF(5, 6);

/* `as` decides which alert the peer is sent. */
static bool refuse(X509_STORE_CTX *store, int as, VmcTlsVerdict *verdict, VmcTlsError code,
		   const char *format, ...)
{
	va_list args;

	g_free(verdict->text);
	va_start(args, format);
	verdict->text = g_strdup_vprintf(format, args);
	va_end(args);
	verdict->code = code;
	X509_STORE_CTX_set_error(store, as);
	return false;
}

static char *show_time(const ASN1_TIME *time)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(time, &tm))
		return g_strdup("an unreadable date");
	return g_strdup_printf("%04d-%02d-%02d %02d:%02d UTC", tm.tm_year + 1900, tm.tm_mon + 1,
			       tm.tm_mday, tm.tm_hour, tm.tm_min);
}

static bool check_chain(X509_STORE_CTX *store, VmcTlsVerdict *verdict)
{
	g_autofree char *subject = NULL;
	g_autofree char *when = NULL;
	X509 *cert;
	int why;

	if (X509_verify_cert(store) == 1)
		return true;

	why = X509_STORE_CTX_get_error(store);
	cert = X509_STORE_CTX_get_current_cert(store);
	if (cert == NULL)
		cert = X509_STORE_CTX_get0_cert(store);
	subject = show_subject(cert);
	switch (why) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		when = show_time(X509_get0_notAfter(cert));
		return refuse(store, why, verdict, VMC_TLS_ERROR_UNTRUSTED,
			      "the server's certificate '%s' expired at %s: it needs a new one "
			      "(or this machine's clock is wrong)",
			      subject, when);
	case X509_V_ERR_CERT_NOT_YET_VALID:
		when = show_time(X509_get0_notBefore(cert));
		return refuse(store, why, verdict, VMC_TLS_ERROR_UNTRUSTED,
			      "the server's certificate '%s' counts from %s on: this machine's "
			      "clock, or the server's, is wrong",
			      subject, when);
	default:
		return refuse(store, why, verdict, VMC_TLS_ERROR_UNTRUSTED,
			      "the server's certificate '%s' is not trusted (%s): name the file of "
			      "the CA that signed it with --ca-file, or give it as ca= in the .vv "
			      "file",
			      subject, X509_verify_cert_error_string(why));
	}
}

static bool check_key(const VmcTls *tls, X509 *cert, X509_STORE_CTX *store, VmcTlsVerdict *verdict)
{
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	uint8_t hash[32] = { 0 };
	bool same = false;

	if (len > 0 && EVP_Digest(der, (size_t)len, hash, NULL, EVP_sha256(), NULL))
		same = tls->key_hash != NULL ?
			       memcmp(hash, tls->key_hash, sizeof(hash)) == 0 :
			       (guint)len == tls->key->len &&
				       memcmp(der, tls->key->data, tls->key->len) == 0;
	OPENSSL_free(der);
	if (!same) {
		g_autofree char *real = g_base64_encode(hash, sizeof(hash));

		return refuse(
			store, X509_V_ERR_CERT_REJECTED, verdict, VMC_TLS_ERROR_NAME,
			"the server has another public key, sha256:%s, than the one pinned: if "
			"that is known to be right, give it as pubkey=",
			real);
	}
	X509_STORE_CTX_set_error(store, X509_V_OK);
	return true;
}

static bool check_subject(const VmcTls *tls, X509 *cert, X509_STORE_CTX *store,
			  VmcTlsVerdict *verdict)
{
	X509_NAME *name = X509_get_subject_name(cert);
	g_autofree char *real = NULL;

	if (X509_NAME_entry_count(name) == X509_NAME_entry_count(tls->subject) &&
	    X509_NAME_cmp(name, tls->subject) == 0)
		return true;
	real = show_subject(cert);
	return refuse(store, X509_V_ERR_SUBJECT_ISSUER_MISMATCH, verdict, VMC_TLS_ERROR_NAME,
		      "the server's certificate is of '%s', not of '%s': give the right "
		      "host-subject",
		      real, tls->host_subject);
}

static bool check_host(const VmcTls *tls, X509 *cert, X509_STORE_CTX *store, VmcTlsVerdict *verdict)
{
	g_autofree char *real = NULL;

	if (bears_host(cert, tls->host))
		return true;
	real = show_subject(cert);
	return refuse(store, X509_V_ERR_HOSTNAME_MISMATCH, verdict, VMC_TLS_ERROR_NAME,
		      "the server's certificate, of '%s', does not name '%s': connect by a name "
		      "that it bears, or give host-subject=",
		      real, tls->host);
}

/* What OpenSSL asks instead of looking at the chain alone. */
static int verify(X509_STORE_CTX *store, void *data)
{
	const VmcTls *tls = data;
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	VmcTlsVerdict *verdict = SSL_get_app_data(ssl);
	X509 *cert = X509_STORE_CTX_get0_cert(store);

	if (tls->key != NULL || tls->key_hash != NULL)
		return check_key(tls, cert, store, verdict);
	if (!check_chain(store, verdict))
		return 0;
	if (tls->subject != NULL)
		return check_subject(tls, cert, store, verdict);
	return check_host(tls, cert, store, verdict);
}

/* ---- A client's ---- */

static bool add_ca_text(X509_STORE *store, const char *pem, GError **error)
{
	g_autoptr(BIO) bio = BIO_new_mem_buf(pem, -1);
	unsigned found = 0;

	for (;;) {
		g_autoptr(X509) cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

		if (cert == NULL)
			break;
		if (X509_STORE_add_cert(store, cert))
			found++;
	}
	if (found == 0) {
		set_credentials_error(error, "ca= has no certificate in PEM, a text that starts "
					     "-----BEGIN CERTIFICATE-----");
		return false;
	}
	ERR_clear_error();
	return true;
}

static bool add_ca_file(SSL_CTX *ctx, const char *path, GError **error)
{
	int code;

	errno = 0;
	if (SSL_CTX_load_verify_file(ctx, path))
		return true;
	code = errno;
	if (g_file_test(path, G_FILE_TEST_IS_REGULAR) && code != EACCES)
		set_credentials_error(error,
				      "the CA file '%s' has no certificate in PEM, a text that "
				      "starts -----BEGIN CERTIFICATE-----",
				      path);
	else
		set_credentials_error(error, "cannot read the CA file '%s': %s", path,
				      g_strerror(code != 0 ? code : EINVAL));
	return false;
}

static bool add_authorities(VmcTls *tls, const VmcTlsTrust *trust, GError **error)
{
	if (trust->ca_file != NULL && !add_ca_file(tls->ctx, trust->ca_file, error))
		return false;
	if (trust->ca_pem != NULL &&
	    !add_ca_text(SSL_CTX_get_cert_store(tls->ctx), trust->ca_pem, error))
		return false;
	if (trust->ca_file == NULL && trust->ca_pem == NULL)
		SSL_CTX_set_default_verify_paths(tls->ctx);
	return true;
}

/* Bytes of `text` in hexadecimal; NULL if it is not. */
static GByteArray *parse_hex(const char *text)
{
	g_autoptr(GByteArray) bytes = g_byte_array_new();
	size_t len = strlen(text);

	if (len == 0 || len % 2 != 0 || strspn(text, "0123456789abcdefABCDEF") != len)
		return NULL;
	for (size_t i = 0; i < len; i += 2) {
		uint8_t byte = (uint8_t)(g_ascii_xdigit_value(text[i]) << 4 |
					 g_ascii_xdigit_value(text[i + 1]));

		g_byte_array_append(bytes, &byte, 1);
	}
	return g_steal_pointer(&bytes);
}

static bool set_key(VmcTls *tls, const char *text, GError **error)
{
	gsize len = 0;

	if (g_str_has_prefix(text, "sha256:")) {
		tls->key_hash = g_base64_decode(text + strlen("sha256:"), &len);
		if (len == 32)
			return true;
	} else {
		tls->key = parse_hex(text);
		if (tls->key != NULL)
			return true;
	}
	set_credentials_error(error,
			      "the pinned public key '%.80s' is none: it is the key in DER as "
			      "hexadecimal digits, or sha256: and the base64 of its SHA-256",
			      text);
	return false;
}

/* A server that shows no certificate is nobody, and what is not encrypted is no
 * TLS: no list has those ciphers. */
static bool set_ciphers(VmcTls *tls, const char *ciphers, GError **error)
{
	g_autofree char *safe = NULL;

	if (ciphers == NULL)
		return true;
	safe = g_strdup_printf("%s:!aNULL:!eNULL", ciphers);
	if (SSL_CTX_set_cipher_list(tls->ctx, safe))
		return true;
	set_credentials_error(error,
			      "tls-ciphers '%s' names no cipher with authentication and "
			      "encryption: `openssl ciphers` lists those there are",
			      ciphers);
	return false;
}

static VmcTls *tls_new(bool server)
{
	VmcTls *tls = g_new0(VmcTls, 1);

	g_ref_count_init(&tls->refs);
	tls->server = server;
	tls->ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	g_assert(tls->ctx != NULL); /* out of memory only */
	SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					      SSL_OP_NO_TICKET | SSL_OP_CLEANSE_PLAINTEXT);
	SSL_CTX_set_mode(tls->ctx,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_OFF);
	return tls;
}

VmcTls *vmc_tls_client_new(const VmcTlsTrust *trust, GError **error)
{
	g_autoptr(VmcTls) tls = NULL;

	g_return_val_if_fail(trust != NULL, NULL);

	tls = tls_new(false);
	tls->host = g_strdup(trust->host);
	tls->host_subject = g_strdup(trust->host_subject);
	if (trust->host == NULL && trust->host_subject == NULL && trust->public_key == NULL) {
		set_credentials_error(error, "nothing says who the server has to be: give its "
					     "host-subject or its public key");
		return NULL;
	}
	if (!set_ciphers(tls, trust->ciphers, error))
		return NULL;
	if (trust->public_key != NULL) {
		if (!set_key(tls, trust->public_key, error))
			return NULL;
	} else if (!add_authorities(tls, trust, error)) {
		return NULL;
	}
	if (trust->host_subject != NULL) {
		tls->subject = parse_subject(trust->host_subject, error);
		if (tls->subject == NULL)
			return NULL;
	}
	SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(tls->ctx, verify, tls);
	return g_steal_pointer(&tls);
}

/* ---- A server's ---- */

/* `name` as an alternative name, which is where clients look. */
static bool add_alternative_name(X509 *cert, const char *name)
{
	g_autoptr(GENERAL_NAMES) names = sk_GENERAL_NAME_new_null();
	ASN1_OCTET_STRING *address = a2i_IPADDRESS(name);
	GENERAL_NAME *entry = GENERAL_NAME_new();

	if (address != NULL) {
		GENERAL_NAME_set0_value(entry, GEN_IPADD, address);
	} else {
		ASN1_IA5STRING *dns = ASN1_IA5STRING_new();

		ASN1_STRING_set(dns, name, -1);
		GENERAL_NAME_set0_value(entry, GEN_DNS, dns);
	}
	sk_GENERAL_NAME_push(names, entry);
	return X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;
}

static bool add_constraints(X509 *cert)
{
	BASIC_CONSTRAINTS constraints = { .ca = 1 };

	return X509_add1_ext_i2d(cert, NID_basic_constraints, &constraints, 1, 0) == 1;
}

static X509 *make_certificate(EVP_PKEY *key, const char *name)
{
	g_autoptr(X509) cert = X509_new();
	X509_NAME *subject = X509_get_subject_name(cert);
	uint64_t serial = 0;

	/* Two relays' certificates have one issuer: the serial tells them apart. */
	if (RAND_bytes((unsigned char *)&serial, sizeof(serial)) != 1)
		return NULL;
	if (X509_set_version(cert, 2) && /* X.509v3 */
	    ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1) &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), -86400L * OWN_DAYS_BACK) != NULL &&
	    X509_gmtime_adj(X509_getm_notAfter(cert), 86400L * OWN_DAYS) != NULL &&
	    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name,
				       -1, -1, 0) &&
	    X509_set_issuer_name(cert, subject) && X509_set_pubkey(cert, key) &&
	    add_alternative_name(cert, name) && add_constraints(cert) &&
	    X509_sign(cert, key, EVP_sha256()) > 0)
		return g_steal_pointer(&cert);
	return NULL;
}

static char *to_pem(X509 *cert)
{
	g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
	char *data = NULL;
	long len;

	PEM_write_bio_X509(bio, cert);
	len = BIO_get_mem_data(bio, &data);
	return g_strndup(data, (gsize)len);
}

VmcTls *vmc_tls_server_new_self_signed(const char *name, char **ca_pem, GError **error)
{
	g_autoptr(VmcTls) tls = NULL;
	g_autoptr(EVP_PKEY) key = NULL;
	g_autoptr(X509) cert = NULL;

	g_return_val_if_fail(name != NULL && ca_pem != NULL, NULL);

	tls = tls_new(true);
	key = EVP_EC_gen("P-256");
	cert = key != NULL ? make_certificate(key, name) : NULL;
	if (cert == NULL || SSL_CTX_use_certificate(tls->ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey(tls->ctx, key) != 1) {
		const char *why = vmc_tls_reason(NULL);

		set_credentials_error(error, "cannot make a certificate for '%s': %s", name, why);
		return NULL;
	}
	SSL_CTX_set_num_tickets(tls->ctx, 0);
	*ca_pem = to_pem(cert);
	return g_steal_pointer(&tls);
}

/* ---- Both ---- */

SSL *vmc_tls_start(VmcTls *tls, VmcTlsVerdict *verdict)
{
	SSL *ssl = SSL_new(tls->ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

	g_assert(ssl != NULL && in != NULL && out != NULL); /* out of memory only */
	/* Empty means wait, not the end. */
	BIO_set_mem_eof_return(in, -1);
	BIO_set_mem_eof_return(out, -1);
	SSL_set_bio(ssl, in, out);
	SSL_set_app_data(ssl, verdict);
	if (tls->server) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	/* What is no name, an address or a proxy's word for a host, is not said. */
	if (tls->host != NULL && strchr(tls->host, ':') == NULL &&
	    !g_hostname_is_ip_address(tls->host))
		SSL_set_tlsext_host_name(ssl, tls->host);
	SSL_set_connect_state(ssl);
	ERR_clear_error();
	return ssl;
}

VmcTls *vmc_tls_ref(VmcTls *tls)
{
	g_return_val_if_fail(tls != NULL, NULL);

	g_ref_count_inc(&tls->refs);
	return tls;
}

void vmc_tls_unref(VmcTls *tls)
{
	if (tls == NULL || !g_ref_count_dec(&tls->refs))
		return;
	SSL_CTX_free(tls->ctx);
	X509_NAME_free(tls->subject);
	g_clear_pointer(&tls->key, g_byte_array_unref);
	g_free(tls->key_hash);
	g_free(tls->host);
	g_free(tls->host_subject);
	g_free(tls);
}

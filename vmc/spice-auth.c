/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The ticket by OpenSSL, SASL by Cyrus SASL (libsasl2). A SPICE server frames
 * SASL in little-endian lengths: the mechanism list without a NUL; names without
 * one; responses and challenges with one, where a length of 0 is "no data" and 1
 * is "empty data", which SASL tells apart. After each challenge a byte says
 * whether it was the last.
 */

#include "vmc/spice-auth.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <sasl/sasl.h>
#include <string.h>

#include "vmc/spice-link.h"

/* ---- Ticket ---- */

static EVP_PKEY *parse_key(VmcSpan public_key)
{
	const unsigned char *der = public_key.data;
	EVP_PKEY *key;

	if (public_key.len == 0 || public_key.len > VMC_SPICE_LINK_MAX)
		return NULL;
	key = d2i_PUBKEY(NULL, &der, (long)public_key.len);
	if (key != NULL && (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA ||
			    EVP_PKEY_get_size(key) != (int)VMC_SPICE_TICKET)) {
		EVP_PKEY_free(key);
		return NULL;
	}
	return key;
}

/* RSAES-OAEP (RFC 8017, 7.1) with SHA-1 for both hashes. */
static bool encrypt(EVP_PKEY *key, const char *password, uint8_t to[VMC_SPICE_TICKET])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	size_t len = VMC_SPICE_TICKET;
	bool good = ctx != NULL && EVP_PKEY_encrypt_init(ctx) > 0 &&
		    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
		    EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha1()) > 0 &&
		    EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha1()) > 0 &&
		    EVP_PKEY_encrypt(ctx, to, &len, (const unsigned char *)password,
				     strlen(password) + 1) > 0 &&
		    len == VMC_SPICE_TICKET;

	EVP_PKEY_CTX_free(ctx);
	return good;
}

bool vmc_spice_ticket(VmcSpan public_key, const char *password, uint8_t to[VMC_SPICE_TICKET],
		      const char **because)
{
	EVP_PKEY *key;
	bool good;

	if (password == NULL)
		password = "";
	if (strlen(password) > VMC_SPICE_PASSWORD_MAX) {
		*because =
			"the password is longer than SPICE's 60 bytes: give the one of the server";
		return false;
	}
	key = parse_key(public_key);
	if (key == NULL) {
		*because = "the server's key is no RSA key of 1024 bits: is it a SPICE server?";
		return false;
	}
	good = encrypt(key, password, to);
	EVP_PKEY_free(key);
	if (!good)
		*because = "the password cannot be encrypted: OpenSSL's configuration forbids "
			   "RSA-OAEP with 1024 bits and SHA-1, which SPICE uses";
	return good;
}

/* ---- SASL ---- */

/* What the server's own side takes (spice-server's red-stream): longer is a
 * violation. */
#define MECHLIST_MAX 300u
#define STEP_MAX (64u * 1024)

/* SSF: the strength of a security layer in bits of key; this or more is asked of
 * SASL on a stream without TLS by all SPICE peers. */
#define SSF_LEAST 56u
#define SSF_MOST 100000u
#define SSF_OF_TLS 128u
/* The largest packet of the layer that a peer may send. */
#define LAYER_PACKET_MAX (64u * 1024)

typedef enum SaslState {
	SASL_AWAITS_LIST,
	SASL_AWAITS_STEP,
	SASL_AWAITS_OUTCOME,
	SASL_IS_OVER,
} SaslState;

struct VmcSpiceSasl {
	sasl_conn_t *conn;
	sasl_callback_t callbacks[4];
	char *user;
	sasl_secret_t *secret; /* the password in libsasl2's form; NULL: none */
	SaslState state;
	bool tls;
	bool ready; /* the mechanism is content */
	bool layer;
	GByteArray *out;
	char *because;
};

/* libsasl2's callback type has no arguments; its members are told apart by id. */
typedef int (*AnyCallback)(void);
typedef void (*AnyFunction)(void);

static int get_name(void *context, int id, const char **result, unsigned *len)
{
	VmcSpiceSasl *sasl = context;

	/* Act as oneself: no identity to authorise as (SASL_CB_USER). */
	*result = id == SASL_CB_AUTHNAME && sasl->user != NULL ? sasl->user : "";
	if (len != NULL)
		*len = (unsigned)strlen(*result);
	return SASL_OK;
}

static int get_secret(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
	VmcSpiceSasl *sasl = context;

	(void)conn;
	(void)id;
	*secret = sasl->secret;
	return SASL_OK;
}

/* A mechanism that wants what has no callback is passed over. */
static void set_callbacks(VmcSpiceSasl *sasl)
{
	sasl_callback_t *c = sasl->callbacks;

	*c++ = (sasl_callback_t){ SASL_CB_USER, (AnyCallback)(AnyFunction)get_name, sasl };
	if (sasl->user != NULL)
		*c++ = (sasl_callback_t){ SASL_CB_AUTHNAME, (AnyCallback)(AnyFunction)get_name,
					  sasl };
	if (sasl->secret != NULL)
		*c++ = (sasl_callback_t){ SASL_CB_PASS, (AnyCallback)(AnyFunction)get_secret,
					  sasl };
	*c = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
}

static size_t secret_size(size_t len)
{
	return sizeof(sasl_secret_t) + len + 1;
}

static sasl_secret_t *make_secret(const char *password)
{
	size_t len = strlen(password);
	sasl_secret_t *secret = g_malloc0(secret_size(len));

	secret->len = len;
	memcpy(secret->data, password, len);
	return secret;
}

static int set_security(VmcSpiceSasl *sasl)
{
	sasl_ssf_t external = SSF_OF_TLS;
	sasl_security_properties_t wanted = {
		.min_ssf = sasl->tls ? 0 : SSF_LEAST,
		.max_ssf = sasl->tls ? 0 : SSF_MOST,
		.maxbufsize = LAYER_PACKET_MAX,
		.security_flags = sasl->tls ? 0 : SASL_SEC_NOANONYMOUS | SASL_SEC_NOPLAINTEXT,
	};
	int err = SASL_OK;

	if (sasl->tls)
		err = sasl_setprop(sasl->conn, SASL_SSF_EXTERNAL, &external);
	return err == SASL_OK ? sasl_setprop(sasl->conn, SASL_SEC_PROPS, &wanted) : err;
}

/* Once a process; never undone, for another library may use it too. */
static int init_library(void)
{
	static gsize once;
	static int err;

	if (g_once_init_enter(&once)) {
		err = sasl_client_init(NULL);
		g_once_init_leave(&once, 1);
	}
	return err;
}

VmcSpiceSasl *vmc_spice_sasl_new(const char *host, const char *user, const char *password, bool tls,
				 GError **error)
{
	g_autoptr(VmcSpiceSasl) sasl = g_new0(VmcSpiceSasl, 1);
	int err = init_library();

	sasl->out = g_byte_array_new();
	sasl->tls = tls;
	sasl->user = g_strdup(user);
	if (password != NULL)
		sasl->secret = make_secret(password);
	set_callbacks(sasl);
	if (host == NULL || *host == '\0')
		host = "localhost";
	if (err == SASL_OK)
		err = sasl_client_new("spice", host, NULL, NULL, sasl->callbacks, SASL_SUCCESS_DATA,
				      &sasl->conn);
	if (err == SASL_OK)
		err = set_security(sasl);
	if (err == SASL_OK)
		return g_steal_pointer(&sasl);
	g_set_error(error, VMC_SPICE_ERROR, VMC_SPICE_ERROR_PASSWORD, "SASL cannot start: %s",
		    sasl_errstring(err, NULL, NULL));
	return NULL;
}

static void clear_out(VmcSpiceSasl *sasl)
{
	vmc_wipe(sasl->out->data, sasl->out->len);
	g_byte_array_set_size(sasl->out, 0);
}

void vmc_spice_sasl_free(VmcSpiceSasl *sasl)
{
	if (sasl == NULL)
		return;
	sasl_dispose(&sasl->conn);
	if (sasl->secret != NULL)
		vmc_wipe(sasl->secret, secret_size(sasl->secret->len));
	g_free(sasl->secret);
	g_free(sasl->user);
	clear_out(sasl);
	g_byte_array_unref(sasl->out);
	g_free(sasl->because);
	g_free(sasl);
}

static G_GNUC_PRINTF(2, 3) VmcSpiceSaslResult fail(VmcSpiceSasl *sasl, const char *format, ...)
{
	va_list args;

	g_free(sasl->because);
	va_start(args, format);
	sasl->because = g_strdup_vprintf(format, args);
	va_end(args);
	sasl->state = SASL_IS_OVER;
	return VMC_SPICE_SASL_FAILED;
}

static VmcSpiceSaslResult fail_sasl(VmcSpiceSasl *sasl, int err)
{
	if (sasl->user == NULL || sasl->secret == NULL)
		return fail(sasl,
			    "the server wants SASL, and no %s is given: give the user name and the "
			    "password that saslpasswd2 set on the server",
			    sasl->user == NULL ? "user name" : "password");
	if (err == SASL_BADAUTH || err == SASL_BADSERV)
		return fail(sasl, "SASL failed: the server does not know the password itself; "
				  "is it the server meant?");
	return fail(sasl, "SASL failed: %s", sasl_errdetail(sasl->conn));
}

/* No mechanism of the list can be used. */
static VmcSpiceSaslResult fail_list(VmcSpiceSasl *sasl, char *mechs)
{
	g_strdelimit(mechs, ",", ' ');
	g_strstrip(g_strcanon(mechs, G_CSET_A_2_Z G_CSET_DIGITS "-_ ", '?'));
	if (*mechs == '\0')
		return fail(sasl, "the server has no SASL mechanism%s",
			    sasl->tls ? ": set mech_list in its SASL configuration" :
					" for a stream without TLS: use TLS (spice+tls://)");
	return fail(sasl,
		    "no SASL mechanism of the server (%s) can be used with what is given: give the "
		    "user name and the password that saslpasswd2 set on the server",
		    mechs);
}

static void put_u32(VmcSpiceSasl *sasl, size_t value)
{
	uint8_t bytes[4];

	vmc_put_u32le(bytes, (uint32_t)value);
	g_byte_array_append(sasl->out, bytes, sizeof(bytes));
}

static void put_data(VmcSpiceSasl *sasl, const char *data, unsigned len)
{
	if (data == NULL) {
		put_u32(sasl, 0);
		return;
	}
	put_u32(sasl, (size_t)len + 1);
	g_byte_array_append(sasl->out, (const guint8 *)data, len);
	g_byte_array_append(sasl->out, (const guint8 *)"", 1);
}

static VmcSpiceSaslResult start(VmcSpiceSasl *sasl, VmcSpan list)
{
	g_autofree char *mechs = g_strndup((const char *)list.data, list.len);
	const char *out = NULL, *mech = NULL;
	unsigned len = 0;
	int err = sasl_client_start(sasl->conn, mechs, NULL, &out, &len, &mech);

	if (err == SASL_NOMECH || err == SASL_INTERACT)
		return fail_list(sasl, mechs);
	if (err != SASL_OK && err != SASL_CONTINUE)
		return fail_sasl(sasl, err);
	sasl->ready = err == SASL_OK;
	put_u32(sasl, strlen(mech));
	g_byte_array_append(sasl->out, (const guint8 *)mech, (guint)strlen(mech));
	put_data(sasl, out, len);
	sasl->state = SASL_AWAITS_STEP;
	return VMC_SPICE_SASL_MORE;
}

/* `data` as the server sent it: empty, or ended by a NUL. A mechanism may take it
 * for a string, so that NUL is of our making. */
static VmcSpiceSaslResult step(VmcSpiceSasl *sasl, VmcSpan data, bool last)
{
	unsigned in_len = data.len > 0 ? (unsigned)data.len - 1 : 0, len = 0;
	g_autofree char *in = data.len > 0 ? g_malloc0(data.len) : NULL;
	const char *out = NULL;
	int err = SASL_OK;

	if (in_len > 0)
		memcpy(in, data.data, in_len);
	if (!sasl->ready || !last)
		err = sasl_client_step(sasl->conn, in, in_len, NULL, &out, &len);
	if (err != SASL_OK && err != SASL_CONTINUE)
		return fail_sasl(sasl, err);
	sasl->ready = err == SASL_OK;
	if (!last) {
		put_data(sasl, out, len);
		return VMC_SPICE_SASL_MORE;
	}
	if (!sasl->ready)
		return fail(sasl, "SASL failed: the server ended it before it was done");
	sasl->state = SASL_AWAITS_OUTCOME;
	return VMC_SPICE_SASL_MORE;
}

static VmcSpiceSaslResult outcome(VmcSpiceSasl *sasl, uint32_t word)
{
	const void *value = NULL;
	sasl_ssf_t ssf = 0;

	if (word != SPICE_LINK_ERR_OK)
		return fail(sasl,
			    "the server refuses the SASL identity: give the user name and the "
			    "password that saslpasswd2 set on the server");
	if (sasl_getprop(sasl->conn, SASL_SSF, &value) == SASL_OK && value != NULL)
		memcpy(&ssf, value, sizeof(ssf));
	if (!sasl->tls && ssf < SSF_LEAST)
		return fail(sasl, "SASL brought no encryption: use TLS (spice+tls://)");
	sasl->layer = !sasl->tls;
	sasl->state = SASL_IS_OVER;
	return VMC_SPICE_SASL_DONE;
}

/* Takes the next thing if all of it is there; `*taken` says so. */
static VmcSpiceSaslResult take_one(VmcSpiceSasl *sasl, VmcSpan *in, bool *taken)
{
	VmcSpan rest = *in, data;
	uint32_t len;
	uint8_t last = 0;
	bool list = sasl->state == SASL_AWAITS_LIST;

	*taken = false;
	if (!vmc_span_u32le(&rest, &len))
		return VMC_SPICE_SASL_MORE;
	if (sasl->state == SASL_AWAITS_OUTCOME) {
		*in = rest;
		*taken = true;
		return outcome(sasl, len);
	}
	if (len > (list ? MECHLIST_MAX : STEP_MAX))
		return fail(sasl, "SASL failed: the server's message of %u bytes is too long",
			    (unsigned)len);
	if (!vmc_span_take(&rest, len, &data) || (!list && !vmc_span_u8(&rest, &last)))
		return VMC_SPICE_SASL_MORE;
	*in = rest;
	*taken = true;
	return list ? start(sasl, data) : step(sasl, data, last != 0);
}

VmcSpiceSaslResult vmc_spice_sasl_take(VmcSpiceSasl *sasl, VmcSpan *in, VmcSpan *out,
				       const char **because)
{
	VmcSpiceSaslResult result = VMC_SPICE_SASL_MORE;
	bool taken = true;

	clear_out(sasl);
	if (sasl->state == SASL_IS_OVER)
		result = VMC_SPICE_SASL_FAILED;
	while (result == VMC_SPICE_SASL_MORE && taken)
		result = take_one(sasl, in, &taken);
	*out = vmc_span(sasl->out->data, sasl->out->len);
	*because = sasl->because != NULL ? sasl->because : "SASL is over";
	return result;
}

bool vmc_spice_sasl_has_layer(const VmcSpiceSasl *sasl)
{
	return sasl->layer;
}

bool vmc_spice_sasl_encode(VmcSpiceSasl *sasl, VmcSpan chunk, VmcSpan *out)
{
	const char *data = NULL;
	unsigned len = 0;

	g_return_val_if_fail(chunk.len <= VMC_SPICE_SASL_CHUNK, false);
	if (sasl_encode(sasl->conn, (const char *)chunk.data, (unsigned)chunk.len, &data, &len) !=
	    SASL_OK)
		return false;
	*out = vmc_span(data, len);
	return true;
}

bool vmc_spice_sasl_decode(VmcSpiceSasl *sasl, VmcSpan chunk, VmcSpan *out)
{
	const char *data = NULL;
	unsigned len = 0;

	g_return_val_if_fail(chunk.len <= VMC_SPICE_SASL_CHUNK, false);
	if (sasl_decode(sasl->conn, (const char *)chunk.data, (unsigned)chunk.len, &data, &len) !=
	    SASL_OK)
		return false;
	*out = vmc_span(data, len);
	return true;
}

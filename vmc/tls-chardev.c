/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * TLS as a backend of VmcChardev: OpenSSL between two memory BIOs, the device
 * below on the other side of them. Ciphertext is taken from below only when
 * OpenSSL has no plaintext left, so what waits here is one piece and one
 * record; plaintext is taken only while the queue below is under its high mark.
 */

#include "vmc/tls-backend.h"

#include <openssl/err.h>

#include "vmc/chardev-backend.h"

/* A handshake that is not done in this time is not done. */
#define HANDSHAKE_SECONDS 10u
/* Plaintext and ciphertext move in pieces of this size, TLS's largest record. */
#define PIECE SSL3_RT_MAX_PLAIN_LENGTH
/* What a TLS connection starts with: the content types of RFC 8446 section 5.1
 * that can come first. */
#define TLS_ALERT 0x15
#define TLS_HANDSHAKE 0x16

typedef struct VmcTlsChardev {
	VmcChardev base;
	VmcTls *tls;
	VmcChardev *under;
	VmcTlsError last; /* of the handshakes that failed */

	/* The conversation. */
	SSL *ssl; /* NULL: none */
	VmcTlsVerdict verdict;
	guint timer; /* of the handshake */
	bool sniffed;
	bool alien; /* the peer's first byte is not TLS */
	bool established;
	bool high;    /* `under` has enough */
	bool flushed; /* the user left in order */
	GError *end;  /* of `under`; what was read before it may be left */

	bool next; /* `under` is open again already */
} VmcTlsChardev;

static VmcTlsChardev *tls_of(VmcChardev *chardev)
{
	return (VmcTlsChardev *)chardev;
}

static GError *io_error(const char *format, ...) G_GNUC_PRINTF(1, 2);

static GError *io_error(const char *format, ...)
{
	GError *error;
	va_list args;

	va_start(args, format);
	error = g_error_new_valist(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_IO, format, args);
	va_end(args);
	return error;
}

/* ---- Between OpenSSL and the device below ---- */

/* Brings one piece from below to OpenSSL; false when there is none now. */
static bool take_input(VmcTlsChardev *self)
{
	uint8_t piece[PIECE];
	size_t n = vmc_chardev_read(self->under, piece, sizeof(piece));

	if (n == 0)
		return false;
	if (!self->sniffed) {
		self->sniffed = true;
		self->alien = piece[0] != TLS_HANDSHAKE && piece[0] != TLS_ALERT;
	}
	BIO_write(SSL_get_rbio(self->ssl), piece, (int)n);
	return true;
}

/* Sends what OpenSSL made. Since plaintext stops at the high mark, only what
 * the peer asks OpenSSL for can fill the queue. */
static bool give_output(VmcTlsChardev *self)
{
	BIO *out = SSL_get_wbio(self->ssl);
	char *data = NULL;
	long len = BIO_get_mem_data(out, &data);
	VmcWrite result;

	if (len <= 0)
		return true;
	result = vmc_chardev_write(self->under, vmc_span(data, (size_t)len));
	(void)BIO_reset(out);
	if (result == VMC_WRITE_HIGH)
		self->high = true;
	return result == VMC_WRITE_OK || result == VMC_WRITE_HIGH;
}

/* True if a read may find something without `under`. */
static bool has_rest(const VmcTlsChardev *self)
{
	return SSL_pending(self->ssl) > 0 || BIO_ctrl_pending(SSL_get_rbio(self->ssl)) > 0;
}

static void end_ssl(VmcTlsChardev *self)
{
	g_clear_handle_id(&self->timer, g_source_remove);
	g_clear_pointer(&self->ssl, SSL_free);
	g_clear_pointer(&self->verdict.text, g_free);
	g_clear_error(&self->end);
	self->established = false;
	self->flushed = false;
	self->high = false;
}

/* What an SSL_read or SSL_peek that moved nothing means: 1 go on, 0 nothing
 * now, -1 with `error` over. */
static int read_on(VmcTlsChardev *self, int code, GError **error)
{
	bool given = give_output(self);

	if (code == SSL_ERROR_WANT_READ) {
		if (!given && vmc_chardev_is_open(self->under)) {
			g_propagate_error(error, io_error("the peer asks for more answers than it "
							  "takes"));
			return -1;
		}
		if (take_input(self))
			return 1;
		if (self->end == NULL)
			return 0;
		g_propagate_error(error, g_error_copy(self->end));
	} else if (code == SSL_ERROR_ZERO_RETURN) {
		g_propagate_error(error, vmc_chardev_hangup_error());
	} else {
		g_propagate_error(error,
				  io_error("the TLS connection broke: %s", vmc_tls_reason(NULL)));
	}
	return -1;
}

static gssize tls_read(VmcChardev *chardev, uint8_t *data, size_t len, GError **error)
{
	VmcTlsChardev *self = tls_of(chardev);
	int more;

	do {
		size_t n = 0;

		ERR_clear_error();
		if (SSL_read_ex(self->ssl, data, len, &n))
			return (gssize)n;
		more = read_on(self, SSL_get_error(self->ssl, 0), error);
	} while (more > 0);
	return more;
}

/* Nobody reads: finds the end of the stream if there is nothing before it. What
 * there is stops `under`, which then tells of its own end: to a user that reads
 * some time only when all was read. */
static void look_ahead(VmcTlsChardev *self)
{
	GError *error = NULL;
	int more;

	do {
		uint8_t first;
		size_t n;

		ERR_clear_error();
		if (SSL_peek_ex(self->ssl, &first, sizeof(first), &n)) {
			vmc_wipe(&first, sizeof(first));
			if (vmc_chardev_never_reads(&self->base))
				vmc_chardev_hold(self->under, true);
			else
				vmc_chardev_pause(self->under, true);
			return;
		}
		more = read_on(self, SSL_get_error(self->ssl, 0), &error);
	} while (more > 0);
	if (more < 0)
		vmc_chardev_emit_gone(&self->base, error);
}

/* Before the user was told that it is open, the end would be no news. */
static bool may_look_ahead(const VmcTlsChardev *self)
{
	return self->established && !self->base.reading &&
	       (self->base.told || self->base.events == NULL) &&
	       (self->base.state == VMC_CHARDEV_UP || self->base.state == VMC_CHARDEV_ENDING);
}

static gssize tls_write(VmcChardev *chardev, VmcSpan bytes, GError **error)
{
	VmcTlsChardev *self = tls_of(chardev);
	VmcSpan rest = bytes;

	while (rest.len > 0 && !self->high) {
		size_t n = 0;

		ERR_clear_error();
		if (!SSL_write_ex(self->ssl, rest.data, MIN(rest.len, PIECE), &n)) {
			g_propagate_error(error, io_error("the TLS connection broke: %s",
							  vmc_tls_reason(NULL)));
			return -1;
		}
		if (!give_output(self)) {
			g_propagate_error(error, io_error("the connection below TLS is gone"));
			return -1;
		}
		rest = vmc_span(rest.data + n, rest.len - n);
	}
	return (gssize)(bytes.len - rest.len);
}

static void tls_want_read(VmcChardev *chardev, bool wanted)
{
	VmcTlsChardev *self = tls_of(chardev);

	if (self->ssl == NULL)
		return;
	if (!wanted) {
		if (vmc_chardev_never_reads(chardev) && may_look_ahead(self))
			look_ahead(self);
		return;
	}
	vmc_chardev_hold(self->under, false);
	vmc_chardev_pause(self->under, false);
	if (has_rest(self) || self->end != NULL)
		vmc_chardev_defer_readable(chardev);
}

static void tls_want_write(VmcChardev *chardev, bool wanted)
{
	if (wanted && !tls_of(chardev)->high)
		vmc_chardev_defer_writable(chardev);
}

/* ---- The handshake ---- */

static void fail(VmcTlsChardev *self, VmcTlsError code, const char *text)
{
	g_autofree char *because = g_strdup(text);
	bool open = self->end == NULL;

	end_ssl(self);
	self->last = code;
	vmc_chardev_emit_failed(
		&self->base,
		g_error_new_literal(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_OPEN, because), 0);
	if (open)
		vmc_chardev_disconnect(self->under, true, because);
}

static const char *reason_text(unsigned long code)
{
	switch (ERR_GET_REASON(code)) {
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
	case SSL_R_VERSION_TOO_LOW:
	case SSL_R_WRONG_SSL_VERSION:
	case SSL_R_NO_PROTOCOLS_AVAILABLE:
		return "no TLS version in common: this side takes TLS 1.2 and 1.3";
	case SSL_R_NO_SHARED_CIPHER:
	case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
	case SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY:
		return "no cipher in common: look at tls-ciphers of both sides";
	case SSL_R_EE_KEY_TOO_SMALL:
	case SSL_R_CA_KEY_TOO_SMALL:
	case SSL_R_CA_MD_TOO_WEAK:
	case SSL_R_DH_KEY_TOO_SMALL:
		return "the server's keys are too weak for this system's policy: give it new ones, "
		       "or say tls-ciphers=DEFAULT@SECLEVEL=1";
	default:
		return NULL;
	}
}

static void handshake_failed(VmcTlsChardev *self)
{
	unsigned long code = 0;
	const char *reason = vmc_tls_reason(&code);
	const char *text = reason_text(code);
	g_autofree char *made = NULL;

	if (self->alien) {
		fail(self, VMC_TLS_ERROR_HANDSHAKE,
		     "this port speaks no TLS: connect to it without, or to the TLS port");
	} else if (self->verdict.text != NULL) {
		g_autofree char *verdict = g_steal_pointer(&self->verdict.text);

		fail(self, self->verdict.code, verdict);
	} else {
		made = text != NULL ? g_strdup(text) :
				      g_strdup_printf("the TLS handshake failed: %s", reason);
		fail(self, VMC_TLS_ERROR_HANDSHAKE, made);
	}
}

static gboolean handshake_timed_out(void *data)
{
	VmcTlsChardev *self = data;
	g_autofree char *text =
		g_strdup_printf("the TLS handshake was not done in %u s: does this port speak TLS?",
				HANDSHAKE_SECONDS);

	self->timer = 0;
	fail(self, VMC_TLS_ERROR_HANDSHAKE, text);
	return G_SOURCE_REMOVE;
}

static void go_on_with_handshake(VmcTlsChardev *self)
{
	for (;;) {
		int result, code;

		ERR_clear_error();
		result = SSL_do_handshake(self->ssl);
		code = SSL_get_error(self->ssl, result);
		give_output(self);
		if (result == 1)
			break;
		if (code != SSL_ERROR_WANT_READ || self->alien) {
			handshake_failed(self);
			return;
		}
		if (!take_input(self))
			return;
	}

	g_clear_handle_id(&self->timer, g_source_remove);
	self->established = true;
	g_debug("tls %s: %s, %s", vmc_chardev_describe(&self->base), SSL_get_version(self->ssl),
		SSL_get_cipher_name(self->ssl));
	vmc_chardev_emit_opened(&self->base);
}

static void begin(VmcTlsChardev *self)
{
	self->next = false;
	self->sniffed = false;
	self->alien = false;
	self->verdict = (VmcTlsVerdict){ .text = NULL };
	self->ssl = vmc_tls_start(self->tls, &self->verdict);
	self->timer = g_timeout_add_seconds(HANDSHAKE_SECONDS, handshake_timed_out, self);
	vmc_chardev_hold(self->under, false);
	vmc_chardev_pause(self->under, false);
	go_on_with_handshake(self);
}

/* ---- What the device below tells ---- */

static void under_opened(void *user)
{
	VmcTlsChardev *self = user;

	/* The end of the conversation before may not be told yet. */
	if (self->ssl != NULL) {
		self->next = true;
		vmc_chardev_pause(self->under, true);
		return;
	}
	begin(self);
}

static void under_closed(void *user, const GError *reason)
{
	VmcTlsChardev *self = user;

	self->next = false;
	if (self->ssl == NULL || self->end != NULL)
		return;
	if (!self->established) {
		self->end = g_error_copy(reason);
		fail(self, VMC_TLS_ERROR_HANDSHAKE,
		     "the other side closed in the middle of the TLS handshake: does this port "
		     "speak TLS?");
		return;
	}
	if (g_error_matches(reason, VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_HANGUP))
		self->end = io_error("the connection was closed without TLS's close_notify");
	else
		self->end = g_error_copy(reason);
	if (self->base.reading)
		vmc_chardev_defer_readable(&self->base);
	else if (vmc_chardev_never_reads(&self->base) && self->base.told)
		vmc_chardev_emit_gone(&self->base, g_error_copy(self->end));
	else if (may_look_ahead(self))
		look_ahead(self);
}

static void under_readable(void *user)
{
	VmcTlsChardev *self = user;

	if (self->ssl == NULL)
		return;
	if (!self->established)
		go_on_with_handshake(self);
	else if (self->base.reading)
		vmc_chardev_emit_readable(&self->base);
	else if (may_look_ahead(self))
		look_ahead(self);
}

static void under_writable(void *user)
{
	VmcTlsChardev *self = user;

	self->high = false;
	if (self->established && self->base.writing)
		vmc_chardev_emit_writable(&self->base);
}

static void under_failed(void *user, const GError *reason, unsigned again)
{
	VmcTlsChardev *self = user;

	self->last = VMC_TLS_ERROR_UNREACHED;
	vmc_chardev_emit_failed(&self->base, g_error_copy(reason), again);
}

static const VmcChardevEvents under_events = {
	.opened = under_opened,
	.closed = under_closed,
	.readable = under_readable,
	.writable = under_writable,
	.failed = under_failed,
};

/* ---- The device ---- */

static void say_goodbye(VmcTlsChardev *self)
{
	ERR_clear_error();
	if ((SSL_get_shutdown(self->ssl) & SSL_SENT_SHUTDOWN) == 0)
		SSL_shutdown(self->ssl);
	give_output(self);
}

static void tls_finish(VmcChardev *chardev)
{
	VmcTlsChardev *self = tls_of(chardev);

	self->flushed = true;
	say_goodbye(self);
}

static void tls_hangup(VmcChardev *chardev)
{
	VmcTlsChardev *self = tls_of(chardev);
	bool open = self->end == NULL, flushed = self->flushed;

	if (open)
		say_goodbye(self);
	end_ssl(self);
	if (open)
		vmc_chardev_disconnect(self->under, flushed, "the TLS connection over it ended");
	else if (self->next)
		begin(self);
}

static void tls_free(VmcChardev *chardev)
{
	VmcTlsChardev *self = tls_of(chardev);

	if (self->established && self->end == NULL)
		say_goodbye(self);
	end_ssl(self);
	vmc_chardev_free(self->under);
	vmc_tls_unref(self->tls);
}

static const VmcChardevClass tls_class = {
	.name = "tls",
	.help = "TLS over another device",
	.read = tls_read,
	.write = tls_write,
	.want_read = tls_want_read,
	.want_write = tls_want_write,
	.finish = tls_finish,
	.hangup = tls_hangup,
	.free = tls_free,
};

VmcChardev *vmc_tls_chardev_new(VmcTls *tls, VmcChardev *under)
{
	VmcTlsChardev *self;

	g_return_val_if_fail(tls != NULL && under != NULL, NULL);

	self = g_new0(VmcTlsChardev, 1);
	vmc_chardev_init(&self->base, &tls_class, vmc_chardev_id(under));
	vmc_chardev_take_describe(&self->base,
				  g_strdup_printf("tls:%s", vmc_chardev_describe(under)));
	self->tls = vmc_tls_ref(tls);
	self->under = under;
	self->last = VMC_TLS_ERROR_HANDSHAKE;
	if (!vmc_chardev_set_user(under, &under_events, self))
		g_critical("the device under TLS has a user already");
	return &self->base;
}

VmcTlsError vmc_tls_chardev_error(const VmcChardev *chardev)
{
	g_return_val_if_fail(chardev != NULL && chardev->class == &tls_class,
			     VMC_TLS_ERROR_HANDSHAKE);

	return ((const VmcTlsChardev *)chardev)->last;
}

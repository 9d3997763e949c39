/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The two ways a SPICE client says who it is: a ticket, the password encrypted
 * with the server's key, and SASL. No I/O: bytes in, bytes out.
 */

#pragma once

#include <glib.h>

#include "vmc/span.h"

/* SPICE_MAX_PASSWORD_LENGTH: what fits RSA-OAEP in a 1024 bit key, with a NUL. */
#define VMC_SPICE_PASSWORD_MAX 60u
#define VMC_SPICE_TICKET 128u /* bytes: SPICE_TICKET_KEY_PAIR_LENGTH / 8 */

/*
 * Encrypts `password` (UTF-8, its NUL included; NULL as "") with the RSA key
 * `public_key` (SubjectPublicKeyInfo, DER) by OAEP with SHA-1. False when the
 * key is none, or not of 1024 bits, or the password is too long; `*because` is
 * then a static text.
 */
bool vmc_spice_ticket(VmcSpan public_key, const char *password, uint8_t to[VMC_SPICE_TICKET],
		      const char **because);

/*
 * SASL as SPICE frames it, the client's side (Cyrus SASL).
 * Server: mechanism list; client: one mechanism with its first response; then
 * steps, until the server says that it is over; then one word, the outcome.
 * Without TLS a server takes only mechanisms that bring encryption of their own
 * (DIGEST-MD5, GSSAPI), and all that follows the outcome goes through it.
 */
typedef struct VmcSpiceSasl VmcSpiceSasl;

typedef enum VmcSpiceSaslResult {
	VMC_SPICE_SASL_MORE,   /* `out` is to be sent (may be empty); feed more */
	VMC_SPICE_SASL_DONE,   /* authenticated; what is left of the input is the link's */
	VMC_SPICE_SASL_FAILED, /* `*because` says why */
} VmcSpiceSaslResult;

/* `host` is the server's name for GSSAPI and the like (NULL or "": localhost);
 * `user` and `password` may be NULL if the mechanism needs none. `tls`: the
 * stream is encrypted already, so that SASL need not. All copied. NULL with
 * `error` (VMC_SPICE_ERROR_PASSWORD) when libsasl2 cannot start. */
VmcSpiceSasl *vmc_spice_sasl_new(const char *host, const char *user, const char *password, bool tls,
				 GError **error);
void vmc_spice_sasl_free(VmcSpiceSasl *sasl);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcSpiceSasl, vmc_spice_sasl_free)

/* Takes what it needs from the front of `in`. `*out` is valid until the next
 * call; `*because` as long as `sasl`. Lengths are bounded as the server's are. */
VmcSpiceSaslResult vmc_spice_sasl_take(VmcSpiceSasl *sasl, VmcSpan *in, VmcSpan *out,
				       const char **because);

/* After DONE: true if SASL encrypts the stream from here on. Then what is left of
 * the input, and all that comes, goes through _decode(), and what is sent through
 * _encode(). */
bool vmc_spice_sasl_has_layer(const VmcSpiceSasl *sasl);

/* What the mechanism takes at once. */
#define VMC_SPICE_SASL_CHUNK 4096u

/* One chunk of at most VMC_SPICE_SASL_CHUNK bytes; `*out` is valid until the next
 * call, and empty while a packet is incomplete. False when the peer's bytes are
 * no packet of this layer: end the connection. */
bool vmc_spice_sasl_encode(VmcSpiceSasl *sasl, VmcSpan chunk, VmcSpan *out);
bool vmc_spice_sasl_decode(VmcSpiceSasl *sasl, VmcSpan chunk, VmcSpan *out);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * TLS as a char device over another: what its user writes is encrypted onto the
 * one below, and the other way round. It opens when the handshake is done and
 * the peer is who it should be. OpenSSL between two memory buffers: no I/O of
 * its own, nothing blocks.
 */

#pragma once

#include "vmc/chardev.h"

#define VMC_TLS_ERROR (vmc_tls_error_quark())
GQuark vmc_tls_error_quark(void);

/* Each text is one line that names the cure. */
typedef enum VmcTlsError {
	VMC_TLS_ERROR_CREDENTIALS, /* a CA file, certificate or key that cannot be used */
	VMC_TLS_ERROR_UNTRUSTED,   /* the peer's certificate: unknown CA, expired */
	VMC_TLS_ERROR_NAME,        /* trusted, but of another host, subject or key */
	VMC_TLS_ERROR_HANDSHAKE,   /* the peer speaks no TLS, or no common version or cipher */
	VMC_TLS_ERROR_UNREACHED,   /* the device below did not open: not TLS's affair */
} VmcTlsError;

/* Who a server has to be. Of host, host_subject and public_key the last that is
 * given decides; with public_key no CA is needed. */
typedef struct VmcTlsTrust {
	const char *ca_file; /* PEM; NULL with ca_pem NULL: the system's CAs */
	const char *ca_pem;
	const char *host;         /* name or address that the certificate has to bear */
	const char *host_subject; /* its subject, "C=IL,O=Red Hat,CN=server", in that order */
	const char *public_key;   /* as in VmcSpiceAddress */
	const char *ciphers;      /* NULL: OpenSSL's default */
} VmcTlsTrust;

/* What one side of TLS needs; counted references. */
typedef struct VmcTls VmcTls;

/* A client's. Everything is copied. NULL with `error` (CREDENTIALS). */
VmcTls *vmc_tls_client_new(const VmcTlsTrust *trust, GError **error);

/*
 * A server's with a certificate made here and now for `name` (a subject's CN
 * and a DNS name or IP address) and signed by itself; `*ca_pem` (free with
 * g_free()) is what makes a client trust it. The key never leaves the process.
 */
VmcTls *vmc_tls_server_new_self_signed(const char *name, char **ca_pem, GError **error);

VmcTls *vmc_tls_ref(VmcTls *tls);
void vmc_tls_unref(VmcTls *tls);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcTls, vmc_tls_unref)

/*
 * A char device that speaks TLS over `under` (owned from now on; it must have
 * no user). Each conversation of `under` is one of this device, opened when the
 * handshake is done. Whoever fails it is told to the user by `failed`
 * (VMC_CHARDEV_ERROR_OPEN with the text of a VmcTlsError), and `under` is
 * disconnected. An orderly end is close_notify; a stream cut without it is
 * VMC_CHARDEV_ERROR_IO.
 */
VmcChardev *vmc_tls_chardev_new(VmcTls *tls, VmcChardev *under);

/* Of the last failed handshake of a device from vmc_tls_chardev_new(): which
 * kind, or UNREACHED; HANDSHAKE if there was none. */
VmcTlsError vmc_tls_chardev_error(const VmcChardev *chardev);

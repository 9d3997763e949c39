/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What vmc/tls.c (credentials, and whom to trust) tells vmc/tls-chardev.c (the
 * stream): a connection's SSL, and why it was not trusted. Users include
 * vmc/tls.h only.
 */

#pragma once

#include <openssl/ssl.h>

#include "vmc/tls.h"

/* Why the peer's certificate was refused. */
typedef struct VmcTlsVerdict {
	VmcTlsError code;
	char *text; /* NULL: it was not */
} VmcTlsVerdict;

/* A connection's SSL in the state to connect or accept, over two memory BIOs;
 * `verdict`, zeroed, is filled when the peer is refused and outlives the SSL. */
SSL *vmc_tls_start(VmcTls *tls, VmcTlsVerdict *verdict);

/* OpenSSL's reason for what failed last, for people; empties its queue. The
 * text is static. */
const char *vmc_tls_reason(unsigned long *code);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the tests of TLS share: a client's credentials, and long streams whose
 * every byte is known.
 */

#pragma once

#include "tests/unit/test-socket.h"

#include "vmc/tls.h"

#define MIB (1024u * 1024)

static inline VmcTls *client_new(const VmcTlsTrust *trust)
{
	g_autoptr(GError) error = NULL;
	VmcTls *tls = vmc_tls_client_new(trust, &error);

	if (tls == NULL)
		fail_msg("%s", error->message);
	return tls;
}

static inline uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) + (at >> 16));
}

/* Writes on from `*at` as long as the device takes it, up to `total`. */
static inline void pour(VmcChardev *dev, size_t *at, size_t total)
{
	uint8_t piece[9000];
	VmcWrite result = VMC_WRITE_OK;

	while (*at < total && result == VMC_WRITE_OK) {
		size_t n = MIN(sizeof(piece), total - *at);

		for (size_t i = 0; i < n; i++)
			piece[i] = pattern(*at + i);
		result = vmc_chardev_write(dev, vmc_span(piece, n));
		assert_true(result == VMC_WRITE_OK || result == VMC_WRITE_HIGH);
		*at += n;
	}
}

static inline void check_pattern(const Recorder *r, size_t total)
{
	assert_int_equal(r->in->len, total);
	for (size_t i = 0; i < total; i++)
		assert_int_equal(r->in->data[i], pattern(i));
}

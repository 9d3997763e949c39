/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * SPICE addresses: any text is one, or is refused with one line of UTF-8; one
 * that is says where to connect to, and can be copied and described. An input
 * that starts "spice" is a URI, any other a .vv file's text; both are tried as
 * the host subject and the key that TLS is given, too.
 */

#include <glib.h>
#include <string.h>

#include "vmc/spice-address.h"
#include "vmc/tls.h"

/* Longer than the longest seed; keeps one run short. */
#define INPUT_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const GError *error)
{
	g_assert_nonnull(error);
	g_assert_true(g_utf8_validate(error->message, -1, NULL));
	for (const char *c = error->message; *c != '\0'; c++)
		g_assert_false(g_ascii_iscntrl(*c));
}

static void check_address(const VmcSpiceAddress *address)
{
	g_autofree char *text = vmc_spice_address_describe(address);
	VmcSpiceAddress copy = { 0 };

	g_assert_nonnull(text);
	g_assert_true((address->path != NULL) != (address->host != NULL));
	g_assert_true(address->path != NULL || address->port != 0 || address->tls_port != 0);
	g_assert_true(address->host == NULL || address->host[0] != '\0');
	g_assert_true(address->password == NULL || strstr(text, address->password) == NULL ||
		      strlen(address->password) < 8);
	vmc_spice_address_copy(&copy, address);
	g_assert_cmpstr(copy.host, ==, address->host);
	vmc_spice_address_clear(&copy);
}

static void try_trust(const VmcSpiceAddress *address)
{
	const VmcTlsTrust trust = {
		.ca_pem = address->ca_pem,
		.host = address->host,
		.host_subject = address->host_subject,
		.public_key = address->public_key != NULL ? address->public_key : "00",
	};
	g_autoptr(GError) error = NULL;
	g_autoptr(VmcTls) tls = vmc_tls_client_new(&trust, &error);

	if (tls == NULL)
		g_assert_nonnull(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* No input may come as NULL. */
	g_autofree char *text = g_strndup(size > 0 ? (const char *)data : "", MIN(size, INPUT_MAX));
	bool uri = g_str_has_prefix(text, "spice") && strstr(text, "://") != NULL;
	g_autoptr(GError) error = NULL;
	VmcSpiceAddress address = { 0 };
	bool read;

	if (uri)
		read = vmc_spice_address_read(&address, text, &error);
	else
		read = vmc_spice_address_parse_file(&address, "x.vv", text, strlen(text), &error);
	if (read) {
		g_assert_no_error(error);
		check_address(&address);
		try_trust(&address);
	} else {
		check_error(error);
	}
	vmc_spice_address_clear(&address);
	return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Option strings: any text parses or is refused with one line of UTF-8, and
 * what was checked against a table can be asked for.
 */

#include <glib.h>
#include <string.h>

#include "vmc/chardev-backend.h"
#include "vmc/socket-config.h"

/* Longer than any command line of a person; keeps one run short. */
#define INPUT_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const GError *error)
{
	g_assert_nonnull(error);
	g_assert_true(g_utf8_validate(error->message, -1, NULL));
	for (const char *c = error->message; *c != '\0'; c++)
		g_assert_false(g_ascii_iscntrl(*c));
}

static void ask(const VmcOpts *opts, const VmcOptDesc *table)
{
	for (const VmcOptDesc *d = table; d->name != NULL; d++) {
		const char *text = vmc_opts_get(opts, d->name);

		if (text == NULL)
			continue;
		if (d->type == VMC_OPT_NUMBER) {
			uint64_t number = vmc_opts_number(opts, d->name, d->max);

			g_assert_true(number >= d->min && number <= d->max);
		} else if (d->type == VMC_OPT_BOOL) {
			g_assert_true(vmc_opts_bool(opts, d->name, true) ==
				      vmc_opts_bool(opts, d->name, false));
		} else {
			g_assert_true(d->max == 0 || strlen(text) <= d->max);
			g_assert_true(d->type == VMC_OPT_TEXT || text[0] != '\0');
		}
	}
}

static void check_against(VmcOpts *opts, const VmcOptDesc *table)
{
	static const VmcOptDesc common[] = {
		{ "id", VMC_OPT_STRING, 0, 0, "name" },
		{ "backend", VMC_OPT_STRING, 0, 0, "kind" },
		{ NULL, VMC_OPT_BOOL, 0, 0, NULL },
	};
	VmcSocketConfig config = { 0 };
	g_autoptr(GError) error = NULL;

	if (!vmc_opts_check(opts, "socket", table, common, &error)) {
		check_error(error);
		return;
	}
	ask(opts, table);
	if (!vmc_socket_config_read(&config, opts, &error)) {
		check_error(error);
	} else if (config.kind == VMC_SOCKET_TCP) {
		g_assert_true(config.ipv4 || config.ipv6);
		g_assert_true(config.server || (config.port != 0 && config.host[0] != '\0'));
		g_assert_true(config.to >= config.port);
	}
	vmc_socket_config_clear(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const implied[] = { "backend", NULL };
	/* No input may come as NULL. */
	g_autofree char *text = g_strndup(size > 0 ? (const char *)data : "", MIN(size, INPUT_MAX));

	for (size_t i = 0; i < G_N_ELEMENTS(implied); i++) {
		g_autoptr(GError) error = NULL;
		g_autoptr(VmcOpts) opts = vmc_opts_parse("-chardev", text, implied[i], &error);

		if (opts == NULL) {
			check_error(error);
			continue;
		}
		g_assert_no_error(error);
		vmc_opts_wants_help(opts);
		check_against(opts, vmc_socket_options);
	}
	return 0;
}

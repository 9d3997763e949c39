/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where the SPICE server's program, its password and its default place are.
 */

#define G_LOG_DOMAIN "vscardd"

#include "tools/spice.h"

#include <gio/gio.h>
#include <string.h>
#include <unistd.h>

#include "tools/machine.h"

#define PROGRAM "vscardd-spice"

static const char *const repeating[] = { "tls-channel", "plaintext-channel", NULL };

VmcOpts *spice_opts_new(void)
{
	VmcOpts *opts = vmc_opts_new("-spice");

	vmc_opts_let_repeat(opts, repeating);
	return opts;
}

/* Beside vscardd, as it is built; where it is installed, seen from vscardd; and
 * where it was to be installed. */
static char *find_program(const VmcOpts *opts, GError **error)
{
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *dir = self != NULL ? g_path_get_dirname(self) : g_strdup("");
	char *const places[] = {
		g_build_filename(dir, PROGRAM, NULL),
		g_build_filename(dir, "..", "libexec", "vscard", PROGRAM, NULL),
		g_build_filename(VSCARD_LIBEXECDIR, PROGRAM, NULL),
	};
	char *found = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
		if (found == NULL && access(places[i], X_OK) == 0)
			found = places[i];
		else
			g_free(places[i]);
	}
	if (found == NULL)
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_MISSING,
				   "the program %s is missing; install it at %s/%s, or beside "
				   "vscardd",
				   PROGRAM, VSCARD_LIBEXECDIR, PROGRAM);
	return found;
}

/* The password that -spice gives or names; NULL without `error` if none. */
static const char *find_password(const VmcOpts *opts, const GPtrArray *secrets, GError **error)
{
	const char *id = vmc_opts_get(opts, "password-secret");
	g_autoptr(GString) ids = g_string_new(NULL);

	if (id == NULL && vmc_opts_has(opts, "password"))
		g_message("-spice password= can be read by every user of this machine; use "
			  "password-secret=ID and -object secret,id=ID,file=PATH");
	if (id == NULL)
		return vmc_opts_get(opts, "password");
	for (guint i = 0; i < secrets->len; i++) {
		const Secret *secret = secrets->pdata[i];

		if (strcmp(secret_id(secret), id) == 0)
			return secret_text(secret, error);
		g_string_append_printf(ids, "%s%s", i > 0 ? ", " : "", secret_id(secret));
	}
	vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
			   "there is no secret '%s'; there are: %s", id,
			   ids->len > 0 ? ids->str : "none; add -object secret,id=ID,file=PATH");
	return NULL;
}

/* At the default place. */
static VmcOpts *default_opts(GError **error)
{
	g_autoptr(GError) problem = NULL;
	g_autofree char *dir = machine_runtime_dir(&problem);
	g_autofree char *path = dir != NULL ? g_build_filename(dir, "spice.sock", NULL) : NULL;
	g_autoptr(VmcOpts) opts = spice_opts_new();

	if (dir == NULL) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_MISSING,
				   "none is given, and for a default one: %s: -spice port=PORT or "
				   "unix=on,addr=PATH",
				   problem->message);
		return NULL;
	}
	if (!vmc_opts_add(opts, "unix", "on", error) || !vmc_opts_add(opts, "addr", path, error) ||
	    !vmc_opts_add(opts, "disable-ticketing", "on", error))
		return NULL;
	g_message("no -spice is given: the SPICE server is at spice+unix://%s, for those who may "
		  "open that",
		  path);
	return g_steal_pointer(&opts);
}

VmcSpiceServer *spice_start(VmcOpts *opts, const GPtrArray *secrets, GError **error)
{
	g_autoptr(VmcOpts) made = opts == NULL ? default_opts(error) : NULL;
	g_autofree char *program = NULL;
	GError *problem = NULL;
	const char *password;

	if (opts == NULL)
		opts = made;
	program = opts != NULL ? find_program(opts, error) : NULL;
	if (program == NULL)
		return NULL;
	password = find_password(opts, secrets, &problem);
	if (problem != NULL) {
		g_propagate_error(error, problem);
		return NULL;
	}
	return vmc_spice_server_new(opts, password, program, error);
}

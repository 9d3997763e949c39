/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Secrets from -object: the bytes of a file or of a key, plain or in base64,
 * wiped when they are let go of.
 */

#define G_LOG_DOMAIN "vscardd"

#include "tools/secret.h"

#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <unistd.h>

#include "vmc/span.h"

/* More than any password or key has, and a bound on a wrong file. */
#define SECRET_MAX (64u * 1024)

struct Secret {
	char *id;
	char *bytes; /* with a NUL after them */
	size_t len;
};

const VmcOptDesc secret_options[] = {
	{ "qom-type", VMC_OPT_STRING, 0, 0, NULL }, /* the word before the keys */
	{ "id", VMC_OPT_STRING, 0, 0, "the name other options call it by" },
	{ "file", VMC_OPT_STRING, 0, 0, "the file that holds it, to its last byte" },
	{ "data", VMC_OPT_TEXT, 0, 0, "the secret itself, for every user of this machine to see" },
	{ "format", VMC_OPT_STRING, 0, 0, "of file or data: raw (default) or base64" },
	{ "keyid", VMC_OPT_STRING, 0, 0, NULL },
	{ "iv", VMC_OPT_STRING, 0, 0, NULL },
	{ 0 },
};

static bool fail(const VmcOpts *opts, GError **error, VmcOptsError code, const char *text)
{
	vmc_opts_set_error(opts, error, code, "%s", text);
	return false;
}

static bool check(VmcOpts *opts, GError **error)
{
	const char *type = vmc_opts_get(opts, "qom-type");
	const char *format = vmc_opts_get(opts, "format");

	if (g_strcmp0(type, "secret") != 0) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_UNKNOWN,
				   "unknown object '%s'; there are: secret",
				   type != NULL ? type : "");
		return false;
	}
	if (!vmc_opts_check(opts, "secret", secret_options, NULL, error))
		return false;
	if (!vmc_opts_has(opts, "id"))
		return fail(opts, error, VMC_OPTS_ERROR_MISSING,
			    "id is missing; add id=NAME, so that password-secret=NAME finds it");
	if (vmc_opts_has(opts, "keyid") || vmc_opts_has(opts, "iv"))
		return fail(opts, error, VMC_OPTS_ERROR_VALUE,
			    "encrypted secrets (keyid, iv) are not taken; protect a file by its "
			    "mode and give file=PATH");
	if (vmc_opts_has(opts, "file") == vmc_opts_has(opts, "data"))
		return fail(opts, error, VMC_OPTS_ERROR_MISSING,
			    "give one of file=PATH and data=TEXT");
	if (format != NULL && strcmp(format, "raw") != 0 && strcmp(format, "base64") != 0)
		return fail(opts, error, VMC_OPTS_ERROR_VALUE, "format is neither raw nor base64");
	return true;
}

/* All of the file, up to SECRET_MAX bytes. It may be a pipe. */
static bool load(Secret *secret, const VmcOpts *opts, GError **error)
{
	const char *path = vmc_opts_get(opts, "file");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	secret->bytes = g_malloc0(SECRET_MAX + 1);
	while (fd >= 0 && secret->len < SECRET_MAX) {
		n = read(fd, secret->bytes + secret->len, SECRET_MAX - secret->len);
		if (n <= 0)
			break;
		secret->len += (size_t)n;
	}
	if (n < 0)
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE, "cannot read %s: %s", path,
				   g_strerror(errno));
	else if (secret->len == SECRET_MAX)
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "%s is too long for a secret (less than %u bytes)", path,
				   SECRET_MAX);
	if (fd >= 0)
		close(fd);
	return n >= 0 && secret->len < SECRET_MAX;
}

/* Spaces and line ends between the digits are fine, as base64(1) writes them. */
static bool decode(Secret *secret, const VmcOpts *opts, GError **error)
{
	size_t digits = 0;
	gsize len = 0;

	for (size_t i = 0; i < secret->len; i++) {
		char c = secret->bytes[i];

		if (!g_ascii_isalnum(c) && !g_ascii_isspace(c) && (c == '\0' || !strchr("+/=", c)))
			return fail(opts, error, VMC_OPTS_ERROR_VALUE,
				    "it is not base64; leave format= out if it is meant as it is");
		digits += !g_ascii_isspace(c);
	}
	if (digits % 4 != 0)
		return fail(opts, error, VMC_OPTS_ERROR_VALUE,
			    "it is not base64: bytes are missing");
	if (digits > 0)
		g_base64_decode_inplace(secret->bytes, &len);
	vmc_wipe(secret->bytes + len, secret->len - len);
	secret->len = len;
	return true;
}

Secret *secret_new(VmcOpts *opts, GError **error)
{
	Secret *secret;
	bool ok = true;

	if (!check(opts, error))
		return NULL;
	secret = g_new0(Secret, 1);
	secret->id = g_strdup(vmc_opts_get(opts, "id"));
	if (vmc_opts_has(opts, "file")) {
		ok = load(secret, opts, error);
	} else {
		secret->bytes = g_strdup(vmc_opts_get(opts, "data"));
		secret->len = strlen(secret->bytes);
	}
	if (ok && g_strcmp0(vmc_opts_get(opts, "format"), "base64") == 0)
		ok = decode(secret, opts, error);
	if (!ok)
		g_clear_pointer(&secret, secret_free);
	return secret;
}

void secret_free(Secret *secret)
{
	if (secret == NULL)
		return;
	if (secret->bytes != NULL)
		vmc_wipe(secret->bytes, secret->len);
	g_free(secret->bytes);
	g_free(secret->id);
	g_free(secret);
}

const char *secret_id(const Secret *secret)
{
	return secret->id;
}

const char *secret_text(const Secret *secret, GError **error)
{
	if (memchr(secret->bytes, '\0', secret->len) != NULL ||
	    !g_utf8_validate(secret->bytes, (gssize)secret->len, NULL)) {
		g_set_error(error, VMC_OPTS_ERROR, VMC_OPTS_ERROR_VALUE,
			    "the secret '%s' is no text in UTF-8, as a password has to be",
			    secret->id);
		return NULL;
	}
	if (g_str_has_suffix(secret->bytes, "\n"))
		g_message("the secret '%s' ends with a line end, which is part of the password",
			  secret->id);
	return secret->bytes;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Splits the text between the reader's keys and the char device's, and sets
 * what is different in pcscd, which can neither wait for a client nor be
 * started again for each connection.
 */

#include "ccid/ifd-options.h"

#include <string.h>

#define OPTION "DEVICENAME"
#define FIRST_WORD "vscard:"

static const VmcOptDesc reader_keys[] = {
	{ "slots", VMC_OPT_NUMBER, 1, VSC_HOST_READERS_MAX, "readers that the peer may have" },
	{ "timeout", VMC_OPT_NUMBER, 1, IFD_TIMEOUT_MAX,
	  "seconds that a request may go without a word of its card" },
	{ 0 },
};

/* Without quotes, of which pcscd's parser lets the last be missing, and
 * without the first word. */
static char *bare(const char *text)
{
	g_autofree char *line = g_strstrip(g_strdup(text));
	size_t len = strlen(line);
	const char *from = line;

	if (len > 0 && (from[0] == '"' || from[0] == '\'')) {
		if (len > 1 && from[len - 1] == from[0])
			line[len - 1] = '\0';
		from++;
	}
	if (g_str_has_prefix(from, FIRST_WORD))
		from += strlen(FIRST_WORD);
	return g_strdup(from);
}

static bool is_reader_key(const char *field)
{
	size_t len = strcspn(field, "=,");

	for (const VmcOptDesc *key = reader_keys; key->name != NULL; key++) {
		if (strlen(key->name) == len && strncmp(key->name, field, len) == 0)
			return true;
	}
	return false;
}

/* The end of the field at `field`: a comma that is not doubled, or the NUL. */
static const char *field_end(const char *field)
{
	while (*field != '\0' && (*field != ',' || field[1] == ','))
		field += *field == ',' ? 2 : 1;
	return field;
}

/* Moves the reader's keys from `text` to `reader`, the others to `chardev`. */
static void split(const char *text, GString *chardev, GString *reader)
{
	for (const char *field = text;;) {
		const char *end = field_end(field);
		GString *to = is_reader_key(field) ? reader : chardev;

		if (to->len > 0)
			g_string_append_c(to, ',');
		g_string_append_len(to, field, end - field);
		if (*end == '\0')
			return;
		field = end + 1;
	}
}

static bool read_reader(IfdOptions *options, const char *text, GError **error)
{
	g_autoptr(VmcOpts) opts = vmc_opts_new(OPTION);

	if (text[0] != '\0' && !vmc_opts_merge(opts, text, error))
		return false;
	if (!vmc_opts_check(opts, "a reader", reader_keys, NULL, error))
		return false;
	options->slots = (uint32_t)vmc_opts_number(opts, "slots", 1);
	options->timeout = (unsigned)vmc_opts_number(opts, "timeout", IFD_TIMEOUT_DEFAULT);
	return true;
}

static bool set_defaults(VmcOpts *opts, const char *id, GError **error)
{
	bool server = vmc_opts_bool(opts, "server", false);
	bool says_wait = vmc_opts_has(opts, "wait") || vmc_opts_has(opts, "nowait");

	if (!vmc_opts_has(opts, "id") && !vmc_opts_add(opts, "id", id, error))
		return false;
	if (server)
		return says_wait || vmc_opts_add(opts, "wait", "off", error);
	return vmc_opts_has(opts, "reconnect") || vmc_opts_add(opts, "reconnect", "1", error);
}

/* What makes no sense in pcscd. */
static bool refuse(const VmcOpts *opts, GError **error)
{
	const char *backend = vmc_opts_get(opts, "backend");

	if (g_strcmp0(backend, "socket") != 0) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "the backend is 'socket', not '%s', such as "
				   "vscard:socket,host=127.0.0.1,port=2001,server=on",
				   backend != NULL ? backend : "");
		return true;
	}
	if (vmc_opts_bool(opts, "wait", false)) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "pcscd cannot wait for a client; leave 'wait' out");
		return true;
	}
	if (vmc_opts_has(opts, "fd")) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "pcscd inherits no socket for us; give a host and port, or a "
				   "path, in place of 'fd'");
		return true;
	}
	return false;
}

bool ifd_options_read(IfdOptions *options, const char *text, const char *id, GError **error)
{
	g_autofree char *plain = NULL;
	g_autoptr(GString) chardev = g_string_new(NULL);
	g_autoptr(GString) reader = g_string_new(NULL);

	g_return_val_if_fail(options != NULL && text != NULL && id != NULL, false);

	plain = bare(text);
	split(plain, chardev, reader);
	if (!read_reader(options, reader->str, error))
		return false;
	options->chardev = vmc_opts_parse(OPTION, chardev->str, "backend", error);
	return options->chardev != NULL && !refuse(options->chardev, error) &&
	       set_defaults(options->chardev, id, error);
}

void ifd_options_clear(IfdOptions *options)
{
	g_clear_pointer(&options->chardev, vmc_opts_free);
}

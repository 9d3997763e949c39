/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * SPICE addresses from text. Errors show the part that is wrong and never the
 * whole, because a password may be in it.
 */

#include "vmc/spice-address.h"

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmc/span.h"

#define SCHEME_PLAIN "spice://"
#define SCHEME_TLS "spice+tls://"
#define SCHEME_UNIX "spice+unix://"
#define FORMS "spice://HOST:PORT, spice+tls://HOST:PORT, spice+unix://PATH or a .vv file"

#define VV_SUFFIX ".vv"
#define VV_GROUP "[virt-viewer]"

/* The one kind of proxy there is for SPICE, and its port if none is given. */
#define PROXY_SCHEME "http"
#define PROXY_PORT 3128

/* What of a wrong text an error shows. */
#define SHOWN_MAX 80u

#define TRUSTSTORE ".spicec/spice_truststore.pem"

G_DEFINE_QUARK(vmc_spice_address_error_quark, vmc_spice_address_error)

/* ---- Words for people ---- */

/* A short copy on one line; free with g_free(). */
static char *show(const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, (gssize)strnlen(text, SHOWN_MAX));
	GString *shown = g_string_new(NULL);

	for (const char *c = valid; *c != '\0'; c = g_utf8_next_char(c)) {
		gunichar u = g_utf8_get_char(c);

		g_string_append_unichar(shown, g_unichar_isprint(u) ? u : '?');
	}
	return g_string_free(shown, FALSE);
}

static bool fail(GError **error, VmcSpiceAddressError code, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

static bool fail(GError **error, VmcSpiceAddressError code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (error != NULL)
		*error = g_error_new_valist(VMC_SPICE_ADDRESS_ERROR, (int)code, format, args);
	va_end(args);
	return false;
}

/* ---- Values ---- */

static void free_secret(char *secret)
{
	if (secret != NULL)
		vmc_wipe(secret, strlen(secret));
	g_free(secret);
}

static bool set_port(uint16_t *to, const char *key, const char *text, GError **error)
{
	guint64 port;

	if (!g_ascii_string_to_unsigned(text, 10, 1, UINT16_MAX, &port, NULL)) {
		g_autofree char *shown = show(text);

		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "'%s' is no %s: a number from 1 to 65535 is wanted", shown, key);
	}
	*to = (uint16_t)port;
	return true;
}

/* Control characters and spaces are in no name and no address. */
static bool is_host(const char *text)
{
	for (const char *c = text; *c != '\0'; c++) {
		if (!g_ascii_isgraph(*c) && (*c & 0x80) == 0)
			return false;
		if (strchr("[]/?#@", *c) != NULL)
			return false;
	}
	return *text != '\0' && g_utf8_validate(text, -1, NULL);
}

/* Takes `text`: a name, an IPv4 address, or an IPv6 address in [] or, where no
 * port can follow (`bare`), without. */
static bool set_host(VmcSpiceAddress *address, const char *text, bool bare, GError **error)
{
	size_t len = strlen(text);
	bool bracketed = len > 1 && text[0] == '[' && text[len - 1] == ']';
	g_autofree char *host = bracketed ? g_strndup(text + 1, len - 2) : g_strdup(text);
	bool colon = strchr(host, ':') != NULL;

	if (!is_host(host) || (colon && !g_hostname_is_ip_address(host)) ||
	    (bracketed ? !colon : colon && !bare)) {
		g_autofree char *shown = show(text);

		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "'%s' is no host: a name, an IPv4 address or an IPv6 address in [] is "
			    "wanted",
			    shown);
	}
	g_free(address->host);
	address->host = g_steal_pointer(&host);
	return true;
}

/* ---- URIs ---- */

/* `len` bytes at `text` without %XX; NULL with `error`. */
static char *unescape(const char *text, size_t len, GError **error)
{
	char *plain = g_uri_unescape_segment(text, text + len, NULL);

	if (plain == NULL) {
		fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
		     "the address has a '%%' that two hexadecimal digits do not follow");
	} else if (!g_utf8_validate(plain, -1, NULL)) {
		g_clear_pointer(&plain, free_secret);
		fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX, "the address is no UTF-8 text");
	}
	return plain;
}

static bool refuse_password(GError **error)
{
	return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
		    "a password does not belong into an address, where every user of this machine "
		    "can read it: give it in a file (--password-file), in the environment or when "
		    "asked");
}

typedef struct Text {
	const char *name;
	size_t offset;
} Text;

static char **text_of(VmcSpiceAddress *address, const Text *text)
{
	return (char **)(void *)((char *)address + text->offset);
}

static const Text queries[] = {
	{ "ca-file", offsetof(VmcSpiceAddress, ca_file) },
	{ "host-subject", offsetof(VmcSpiceAddress, host_subject) },
	{ "pubkey", offsetof(VmcSpiceAddress, public_key) },
	{ "tls-ciphers", offsetof(VmcSpiceAddress, ciphers) },
};

static bool set_query(VmcSpiceAddress *address, bool tls, const char *key, const char *value,
		      GError **error)
{
	g_autofree char *shown = NULL;

	if (strcmp(key, "password") == 0)
		return refuse_password(error);
	if (*value == '\0')
		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "the address gives a key no value: KEY=VALUE is wanted after '?'");
	if (strcmp(key, "port") == 0 || strcmp(key, "tls-port") == 0) {
		uint16_t *to = key[0] == 'p' ? &address->port : &address->tls_port;

		if (tls)
			return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
				    "spice+tls:// has one port, after the host; for two say "
				    "spice://HOST?port=PORT&tls-port=PORT");
		if (*to != 0)
			return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
				    "the address gives %s twice", key);
		return set_port(to, key, value, error);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(queries); i++) {
		char **to = text_of(address, &queries[i]);

		if (strcmp(key, queries[i].name) != 0)
			continue;
		if (*to != NULL)
			return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
				    "the address gives %s twice", queries[i].name);
		*to = g_strdup(value);
		return true;
	}
	shown = show(key);
	return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
		    "the address has no key '%s'; there are: port, tls-port, ca-file, "
		    "host-subject, pubkey, tls-ciphers",
		    shown);
}

/* "key=value" pairs with '&' or ';' between. */
static bool read_queries(VmcSpiceAddress *address, bool tls, const char *text, GError **error)
{
	while (*text != '\0') {
		size_t len = strcspn(text, "&;");
		const char *sign = memchr(text, '=', len);
		size_t key_len = sign != NULL ? (size_t)(sign - text) : len;
		size_t value_at = sign != NULL ? key_len + 1 : len;
		g_autofree char *key = NULL;
		char *value;
		bool set;

		key = unescape(text, key_len, error);
		if (key == NULL)
			return false;
		value = unescape(text + value_at, len - value_at, error);
		if (value == NULL)
			return false;
		set = len == 0 || set_query(address, tls, key, value, error);
		free_secret(value);
		if (!set)
			return false;
		text += len;
		text += strspn(text, "&;");
	}
	return true;
}

/* "HOST", "HOST:PORT", "[ADDRESS]:PORT". */
static bool read_host_and_port(VmcSpiceAddress *address, const char *text, size_t len,
			       uint16_t *port, GError **error)
{
	const char *host_end = text[0] == '[' ? memchr(text, ']', len) : NULL;
	const char *colon = host_end != NULL ? host_end + 1 : memchr(text, ':', len);
	const char *end = text + len;
	g_autofree char *host = NULL;
	g_autofree char *number = NULL;

	if (colon == NULL || colon >= end)
		colon = end;
	host = unescape(text, (size_t)(colon - text), error);
	if (host == NULL || !set_host(address, host, false, error))
		return false;
	if (colon == end)
		return true;
	if (*colon != ':')
		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "after [ADDRESS] only :PORT can follow");
	number = g_strndup(colon + 1, (gsize)(end - colon - 1));
	return set_port(port, "port", number, error);
}

/* What is before the '@': a SASL user. */
static bool read_user(VmcSpiceAddress *address, const char *text, size_t len, GError **error)
{
	if (memchr(text, ':', len) != NULL)
		return refuse_password(error);
	address->user = unescape(text, len, error);
	if (address->user != NULL && address->user[0] == '\0')
		g_clear_pointer(&address->user, g_free);
	else if (address->user == NULL)
		return false;
	return true;
}

static bool read_uri(VmcSpiceAddress *address, const char *text, bool tls, GError **error)
{
	size_t len = strcspn(text, "/?");
	const char *at = memchr(text, '@', len);
	const char *host = at != NULL ? at + 1 : text;
	const char *rest = text + len;

	if (at != NULL && !read_user(address, text, (size_t)(at - text), error))
		return false;
	if (!read_host_and_port(address, host, (size_t)(rest - host),
				tls ? &address->tls_port : &address->port, error))
		return false;
	if (*rest == '/')
		rest++;
	if (*rest != '\0' && *rest != '?')
		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "the address has a path, which SPICE has not: %s", FORMS);
	if (*rest == '?' && !read_queries(address, tls, rest + 1, error))
		return false;
	if (address->port == 0 && address->tls_port == 0)
		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "the address has no port: spice%s://HOST:PORT is wanted",
			    tls ? "+tls" : "");
	return true;
}

static bool read_unix(VmcSpiceAddress *address, const char *path, GError **error)
{
	if (*path == '\0')
		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "the address has no path: spice+unix://PATH is wanted");
	address->path = g_strdup(path);
	return true;
}

/* ---- .vv files ---- */

static const Text file_texts[] = {
	{ "unix-path", offsetof(VmcSpiceAddress, path) },
	{ "username", offsetof(VmcSpiceAddress, user) },
	{ "password", offsetof(VmcSpiceAddress, password) },
	{ "ca", offsetof(VmcSpiceAddress, ca_pem) },
	{ "host-subject", offsetof(VmcSpiceAddress, host_subject) },
	{ "tls-ciphers", offsetof(VmcSpiceAddress, ciphers) },
	{ "secure-channels", offsetof(VmcSpiceAddress, secure_channels) },
};

typedef struct VvFile {
	VmcSpiceAddress *address;
	const char *name; /* shown in errors */
	char *host;       /* as it stands there: what it has to be, a proxy says; NULL */
	char *proxy;      /* the same; NULL: none */
	bool group;       /* inside the one that counts */
	bool seen;        /* and it was there */
	bool typed;       /* type=spice */
} VvFile;

/* Resolves what the file format escapes: \s \t \n \r \\. NULL if another
 * character follows a backslash. */
static char *unescape_value(const char *text, size_t len)
{
	static const char escapes[] = "stnr\\", plain[] = " \t\n\r\\";
	char *value = g_malloc(len + 1);
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		const char *found;

		if (text[i] != '\\') {
			value[n++] = text[i];
			continue;
		}
		i++;
		found = i < len && text[i] != '\0' ? strchr(escapes, text[i]) : NULL;
		if (found == NULL) {
			value[n] = '\0';
			free_secret(value);
			return NULL;
		}
		value[n++] = plain[found - escapes];
	}
	value[n] = '\0';
	return value;
}

static bool set_type(VvFile *file, const char *value, GError **error)
{
	g_autofree char *shown = NULL;

	if (strcmp(value, "spice") == 0) {
		file->typed = true;
		return true;
	}
	shown = show(value);
	return fail(error, VMC_SPICE_ADDRESS_ERROR_KIND,
		    "%s: it leads to a server of type '%s'; only type=spice carries a card",
		    file->name, shown);
}

/* -1 and 0 are how some writers say none. */
static bool set_file_port(VvFile *file, uint16_t *to, const char *key, const char *value,
			  GError **error)
{
	*to = 0;
	if (strcmp(value, "-1") == 0 || strcmp(value, "0") == 0 || *value == '\0')
		return true;
	if (set_port(to, key, value, error))
		return true;
	g_prefix_error(error, "%s: ", file->name);
	return false;
}

/* An empty value is none. The last of two counts. */
static bool set_file_key(VvFile *file, const char *key, char *value, GError **error)
{
	VmcSpiceAddress *address = file->address;

	if (strcmp(key, "type") == 0)
		return set_type(file, value, error);
	if (strcmp(key, "port") == 0)
		return set_file_port(file, &address->port, key, value, error);
	if (strcmp(key, "tls-port") == 0)
		return set_file_port(file, &address->tls_port, key, value, error);
	if (strcmp(key, "delete-this-file") == 0) {
		address->delete_file = strtol(value, NULL, 10) != 0;
		return true;
	}
	if (strcmp(key, "host") == 0 || strcmp(key, "proxy") == 0) {
		char **to = *key == 'h' ? &file->host : &file->proxy;

		free_secret(*to);
		*to = *value != '\0' ? g_strdup(value) : NULL;
		return true;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(file_texts); i++) {
		char **to = text_of(address, &file_texts[i]);

		if (strcmp(key, file_texts[i].name) != 0)
			continue;
		free_secret(*to);
		*to = *value != '\0' ? g_strdup(value) : NULL;
	}
	return true;
}

static bool read_line(VvFile *file, const char *line, size_t len, GError **error)
{
	const char *sign = memchr(line, '=', len);
	g_autofree char *key = NULL;
	char *value;
	bool set;

	if (len == 0 || line[0] == '#')
		return true;
	if (line[0] == '[') {
		file->group = len == strlen(VV_GROUP) && memcmp(line, VV_GROUP, len) == 0;
		file->seen = file->seen || file->group;
		return true;
	}
	if (sign == NULL)
		return fail(error, VMC_SPICE_ADDRESS_ERROR_FILE,
			    "%s: it has a line that is no KEY=VALUE, so it is no .vv file",
			    file->name);
	if (!file->group)
		return true;

	key = g_strchomp(g_strndup(line, (gsize)(sign - line)));
	for (sign++; sign < line + len && g_ascii_isspace(*sign);)
		sign++;
	value = unescape_value(sign, (size_t)(line + len - sign));
	if (value == NULL) {
		g_autofree char *shown = show(key);

		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "%s: '%s' has a backslash that none of s, t, n, r and \\ follows",
			    file->name, shown);
	}
	set = set_file_key(file, key, value, error);
	free_secret(value);
	return set;
}

/* The proxy as a URI with a port; free with free_secret(). NULL if it is none. */
static char *read_proxy(const char *text)
{
	g_autofree char *scheme = NULL, *host = NULL;
	char *whole = strstr(text, "://") != NULL ? g_strdup(text) :
						    g_strconcat(PROXY_SCHEME "://", text, NULL);
	char *user = NULL, *proxy = NULL;
	int port = -1;

	if (g_uri_split(whole, G_URI_FLAGS_ENCODED, &scheme, &user, &host, &port, NULL, NULL, NULL,
			NULL) &&
	    g_strcmp0(scheme, PROXY_SCHEME) == 0 && host != NULL && *host != '\0')
		proxy = g_uri_join(G_URI_FLAGS_ENCODED, scheme, user, host,
				   port > 0 ? port : PROXY_PORT, "", NULL, NULL);
	free_secret(whole);
	free_secret(user);
	return proxy;
}

/* A host behind a proxy has whatever name that one gave it. */
static bool set_proxied(const VvFile *file, GError **error)
{
	VmcSpiceAddress *address = file->address;
	const char *at = strrchr(file->proxy, '@'); /* before it, a password */
	g_autofree char *shown = NULL;

	address->proxy = read_proxy(file->proxy);
	if (address->proxy == NULL) {
		shown = show(at != NULL ? at + 1 : file->proxy);
		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "'%s' is no proxy: http://HOST:PORT is wanted", shown);
	}
	if (!is_host(file->host)) {
		shown = show(file->host);
		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX, "'%s' is no host", shown);
	}
	address->host = g_strdup(file->host);
	return true;
}

/* What virt-viewer would not connect without must not be left out. */
static bool check_place(const VvFile *file, GError **error)
{
	const VmcSpiceAddress *address = file->address;

	if (address->path != NULL)
		return true;
	if (file->host == NULL)
		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "%s: it has neither host= nor unix-path=", file->name);
	if (address->port == 0 && address->tls_port == 0)
		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "%s: it has neither port= nor tls-port=", file->name);
	if (address->secure_channels != NULL && address->tls_port == 0)
		return fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "%s: secure-channels= wants TLS, and there is no tls-port=: one of "
			    "them is wrong",
			    file->name);
	if (file->proxy != NULL ? set_proxied(file, error) :
				  set_host(file->address, file->host, true, error))
		return true;
	g_prefix_error(error, "%s: ", file->name);
	return false;
}

static bool check_file(const VvFile *file, GError **error)
{

	if (!file->seen)
		return fail(error, VMC_SPICE_ADDRESS_ERROR_FILE,
			    "%s: it has no line %s, so it is no .vv file", file->name, VV_GROUP);
	if (!file->typed)
		return fail(error, VMC_SPICE_ADDRESS_ERROR_KIND,
			    "%s: it does not say what it leads to: type=spice is wanted",
			    file->name);
	return check_place(file, error);
}

static bool read_lines(VvFile *file, const char *text, size_t len, GError **error)
{
	while (len > 0) {
		const char *newline = memchr(text, '\n', len);
		size_t line = newline != NULL ? (size_t)(newline - text) : len;
		size_t step = newline != NULL ? line + 1 : line;
		size_t start = 0;

		while (start < line && g_ascii_isspace(text[start]))
			start++;
		if (line > start && text[line - 1] == '\r')
			line--;
		if (!read_line(file, text + start, line - start, error))
			return false;
		text += step;
		len -= step;
	}
	return check_file(file, error);
}

bool vmc_spice_address_parse_file(VmcSpiceAddress *address, const char *name, const char *text,
				  size_t len, GError **error)
{
	g_autofree char *shown = show(name);
	VvFile file = { .address = address, .name = shown };
	bool read;

	if (!g_utf8_validate(text, (gssize)len, NULL))
		return fail(error, VMC_SPICE_ADDRESS_ERROR_FILE,
			    "%s: it is no UTF-8 text, so it is no .vv file", file.name);
	read = read_lines(&file, text, len, error);
	g_free(file.host);
	free_secret(file.proxy);
	if (!read)
		return false;
	address->file_text = g_strndup(text, len);
	/* The path leads there; what else is said is of another network. */
	if (address->path != NULL) {
		address->port = 0;
		address->tls_port = 0;
	}
	return true;
}

static bool read_file(VmcSpiceAddress *address, const char *path, GError **error)
{
	g_autoptr(GError) problem = NULL;
	g_autofree char *shown = show(path);
	char *text = NULL;
	gsize len = 0;
	GStatBuf st;
	bool read;

	if (g_stat(path, &st) == 0 && (uint64_t)st.st_size > VMC_SPICE_ADDRESS_FILE_MAX)
		return fail(error, VMC_SPICE_ADDRESS_ERROR_FILE,
			    "%s: it is too large for a .vv file", shown);
	if (!g_file_get_contents(path, &text, &len, &problem))
		return fail(error, VMC_SPICE_ADDRESS_ERROR_FILE, "cannot read the .vv file: %s",
			    problem->message);
	read = vmc_spice_address_parse_file(address, path, text, len, error);
	vmc_wipe(text, len);
	g_free(text);
	if (read && address->delete_file && g_unlink(path) < 0)
		g_warning("%s: it asks to be deleted, which cannot be done", shown);
	return read;
}

/* ---- Both ---- */

bool vmc_spice_address_is(const char *text)
{
	g_return_val_if_fail(text != NULL, false);

	return g_str_has_prefix(text, SCHEME_PLAIN) || g_str_has_prefix(text, SCHEME_TLS) ||
	       g_str_has_prefix(text, SCHEME_UNIX) || g_str_has_suffix(text, VV_SUFFIX);
}

/* Where SPICE's own clients keep the CA of the servers they know. */
static void look_for_truststore(VmcSpiceAddress *address)
{
	g_autofree char *path = NULL;

	if (address->tls_port == 0 || address->ca_file != NULL || address->ca_pem != NULL ||
	    address->public_key != NULL)
		return;
	path = g_build_filename(g_get_home_dir(), TRUSTSTORE, NULL);
	if (g_file_test(path, G_FILE_TEST_IS_REGULAR))
		address->ca_file = g_steal_pointer(&path);
}

bool vmc_spice_address_read(VmcSpiceAddress *address, const char *text, GError **error)
{
	bool read;

	g_return_val_if_fail(address != NULL && text != NULL, false);

	if (g_str_has_prefix(text, SCHEME_PLAIN))
		read = read_uri(address, text + strlen(SCHEME_PLAIN), false, error);
	else if (g_str_has_prefix(text, SCHEME_TLS))
		read = read_uri(address, text + strlen(SCHEME_TLS), true, error);
	else if (g_str_has_prefix(text, SCHEME_UNIX))
		read = read_unix(address, text + strlen(SCHEME_UNIX), error);
	else if (strstr(text, "://") != NULL)
		read = fail(error, VMC_SPICE_ADDRESS_ERROR_SYNTAX,
			    "this is no SPICE address: %s is wanted", FORMS);
	else
		read = read_file(address, text, error);
	if (read)
		look_for_truststore(address);
	return read;
}

static const Text all_texts[] = {
	{ "host", offsetof(VmcSpiceAddress, host) },
	{ "path", offsetof(VmcSpiceAddress, path) },
	{ "user", offsetof(VmcSpiceAddress, user) },
	{ "password", offsetof(VmcSpiceAddress, password) },
	{ "ca_file", offsetof(VmcSpiceAddress, ca_file) },
	{ "ca_pem", offsetof(VmcSpiceAddress, ca_pem) },
	{ "host_subject", offsetof(VmcSpiceAddress, host_subject) },
	{ "public_key", offsetof(VmcSpiceAddress, public_key) },
	{ "ciphers", offsetof(VmcSpiceAddress, ciphers) },
	{ "secure_channels", offsetof(VmcSpiceAddress, secure_channels) },
	{ "proxy", offsetof(VmcSpiceAddress, proxy) },
	{ "file_text", offsetof(VmcSpiceAddress, file_text) },
};

void vmc_spice_address_clear(VmcSpiceAddress *address)
{
	g_return_if_fail(address != NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(all_texts); i++)
		free_secret(*text_of(address, &all_texts[i]));
	*address = (VmcSpiceAddress){ .host = NULL };
}

void vmc_spice_address_copy(VmcSpiceAddress *to, const VmcSpiceAddress *from)
{
	VmcSpiceAddress copy;

	g_return_if_fail(to != NULL && from != NULL);

	copy = *from;
	for (size_t i = 0; i < G_N_ELEMENTS(all_texts); i++) {
		char **text = text_of(&copy, &all_texts[i]);

		*text = g_strdup(*text);
	}
	*to = copy;
}

char *vmc_spice_address_describe(const VmcSpiceAddress *address)
{
	g_autofree char *host = NULL;
	bool colon;

	g_return_val_if_fail(address != NULL, NULL);

	if (address->path != NULL)
		return g_strdup_printf(SCHEME_UNIX "%s", address->path);
	colon = address->host != NULL && strchr(address->host, ':') != NULL;
	host = g_strdup_printf("%s%s%s", colon ? "[" : "", address->host, colon ? "]" : "");
	if (address->port != 0 && address->tls_port != 0)
		return g_strdup_printf(SCHEME_PLAIN "%s?port=%u&tls-port=%u", host, address->port,
				       address->tls_port);
	return g_strdup_printf("%s%s:%u", address->tls_port != 0 ? SCHEME_TLS : SCHEME_PLAIN, host,
			       address->tls_port != 0 ? address->tls_port : address->port);
}

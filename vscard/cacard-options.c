/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Option strings of libcacard: made, read by the library's own rules for where
 * a part ends, and held against the database they name.
 */

#include "vscard/cacard-options.h"

#include <string.h>

#include <cert.h>
#include <keyhi.h>
#include <pk11pub.h>

#include "vscard/cacard.h"

/* What libcacard opens when it is given no db=. */
#define DEFAULT_DB "/etc/pki/nssdb"
/* The most certificates its CAC applets have places for. */
#define CERTS_MAX 10u

#define SOFT_FORM "(,READER NAME,CAC,,CERT[,CERT...])"
#define BLANKS " \t\n\v\f\r"

bool vsc_cacard_options_bad(GError **error, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	g_set_error(error, VSC_CACARD_ERROR, VSC_CACARD_ERROR_OPTIONS, "card options: %s", text);
	return false;
}

/* Takes `db="..."` from after the sign; answers what follows or NULL. */
static const char *take_db(VscCacardOptions *options, const char *at, GError **error)
{
	const char *end;

	at += strspn(at, BLANKS);
	end = *at == '"' ? strpbrk(at + 1, "\"\n") : NULL;
	if (end == NULL) {
		vsc_cacard_options_bad(error, "db= takes a directory in double quotes: db=\"DIR\"");
		return NULL;
	}
	if (options->db != NULL) {
		vsc_cacard_options_bad(error, "db= is given twice");
		return NULL;
	}
	options->db = g_strndup(at + 1, (size_t)(end - at - 1));
	return end + 1;
}

static bool check_soft(char **fields, GError **error)
{
	guint certs = 0;

	if (g_strv_length(fields) <= VSC_CACARD_SOFT_CERTS)
		return vsc_cacard_options_bad(error, "soft= takes " SOFT_FORM);
	for (char **cert = fields + VSC_CACARD_SOFT_CERTS; *cert != NULL; cert++)
		certs += **cert != '\0';
	if (certs == 0)
		return vsc_cacard_options_bad(error, "soft= names no certificate");
	if (certs > CERTS_MAX)
		return vsc_cacard_options_bad(
			error, "soft= names %u certificates; a card has places for %u", certs,
			CERTS_MAX);
	return true;
}

/* Takes `soft=(...)` from after the sign; answers what follows or NULL. */
static const char *take_soft(VscCacardOptions *options, const char *at, GError **error)
{
	g_autofree char *list = NULL;
	g_auto(GStrv) fields = NULL;
	const char *end;

	at += strspn(at, BLANKS);
	end = *at == '(' ? strchr(at, ')') : NULL;
	if (end == NULL) {
		vsc_cacard_options_bad(error, "soft= takes a list in parentheses, " SOFT_FORM);
		return NULL;
	}
	list = g_strndup(at + 1, (size_t)(end - at - 1));
	fields = g_strsplit(list, ",", -1);
	/* The library drops blanks before a field, and only those. */
	for (char **field = fields; *field != NULL; field++)
		g_strchug(*field);
	if (!check_soft(fields, error))
		return NULL;
	g_ptr_array_add(options->soft, g_steal_pointer(&fields));
	return end + 1;
}

/* What a word says about hardware; all else in it the library judges. */
typedef struct Hardware {
	bool used;
	bool passthru;
} Hardware;

static const char *take_word(Hardware *hardware, const char *at)
{
	if (g_str_has_prefix(at, "use_hw=")) {
		hardware->used = at[7] == '\0' || strchr("0NnF", at[7]) == NULL;
	} else if (g_str_has_prefix(at, "hw_type=")) {
		hardware->passthru = g_ascii_strncasecmp(at + 8, "passthru", 8) == 0;
	} else if (g_str_has_prefix(at, "nssemul") || g_str_has_prefix(at, "passthru")) {
		hardware->used = true;
		hardware->passthru = *at == 'p';
	}
	return at + strcspn(at, BLANKS);
}

bool vsc_cacard_options_read(VscCacardOptions *options, const char *text, GError **error)
{
	const char *at = text != NULL ? text : "";
	Hardware hardware = { .used = true };

	*options = (VscCacardOptions){
		.soft = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev),
	};
	while (at != NULL && *(at += strspn(at, BLANKS ",")) != '\0') {
		if (g_str_has_prefix(at, "db="))
			at = take_db(options, at + 3, error);
		else if (g_str_has_prefix(at, "soft="))
			at = take_soft(options, at + 5, error);
		else
			at = take_word(&hardware, at);
	}
	if (at == NULL)
		return false;
	options->passthru = hardware.used && hardware.passthru;
	if (options->passthru && options->soft->len > 0)
		return vsc_cacard_options_bad(error, "a passed-through card and a soft card "
						     "cannot be had together");
	if (options->db == NULL)
		options->db = g_strdup(DEFAULT_DB);
	return true;
}

void vsc_cacard_options_clear(VscCacardOptions *options)
{
	g_free(options->db);
	g_ptr_array_unref(options->soft);
}

bool vsc_cacard_options_check_database(const VscCacardOptions *options, GError **error)
{
	const char *db = options->db;
	const char *dir = g_str_has_prefix(db, "sql:") ? db + 4 : db;
	g_autofree char *certs = g_build_filename(dir, "cert9.db", NULL);
	const char *wrong = NULL;

	if (g_str_has_prefix(db, "dbm:") || g_str_has_prefix(db, "extern:"))
		return true;
	if (!g_file_test(dir, G_FILE_TEST_EXISTS))
		wrong = "there is no such directory";
	else if (!g_file_test(dir, G_FILE_TEST_IS_DIR))
		wrong = "it is not a directory";
	else if (!g_file_test(certs, G_FILE_TEST_EXISTS))
		wrong = "there is no cert9.db in it";
	if (wrong != NULL)
		g_set_error(error, VSC_CACARD_ERROR, VSC_CACARD_ERROR_DATABASE,
			    "certificate database '%s': %s", dir, wrong);
	return wrong == NULL;
}

static bool check_cert(const char *db, const char *nickname, GError **error)
{
	CERTCertificate *cert = PK11_FindCertFromNickname(nickname, NULL);
	const char *wrong = NULL;

	if (cert == NULL)
		wrong = "there is no certificate of that name";
	else if (!CERT_IsUserCert(cert))
		wrong = "its private key is not there";
	else if (CERT_GetCertKeyType(&cert->subjectPublicKeyInfo) != rsaKey)
		wrong = "its key is not an RSA key, which is what a CAC has";
	if (cert != NULL)
		CERT_DestroyCertificate(cert);
	if (wrong != NULL)
		g_set_error(error, VSC_CACARD_ERROR, VSC_CACARD_ERROR_CERT,
			    "certificate '%s' in database '%s': %s", nickname, db, wrong);
	return wrong == NULL;
}

bool vsc_cacard_options_check_certs(const VscCacardOptions *options, GError **error)
{
	for (guint i = 0; i < options->soft->len; i++) {
		char **fields = options->soft->pdata[i];
		PK11SlotInfo *token = PK11_FindSlotByName(fields[VSC_CACARD_SOFT_SLOT]);

		if (token == NULL)
			return vsc_cacard_options_bad(error, "NSS has no slot named '%s'",
						      fields[VSC_CACARD_SOFT_SLOT]);
		PK11_FreeSlot(token);
		for (char **cert = fields + VSC_CACARD_SOFT_CERTS; *cert != NULL; cert++) {
			if (**cert != '\0' && !check_cert(options->db, *cert, error))
				return false;
		}
	}
	return true;
}

/* Can `name` stand among the names of soft=()? */
static bool check_name(const char *what, const char *name, GError **error)
{
	const char *wrong = NULL;

	if (*name == '\0')
		wrong = "is empty";
	else if (strpbrk(name, ",)\n") != NULL)
		wrong = "has a ',', a ')' or a line end, which libcacard cannot take in a name";
	else if (g_ascii_isspace(*name))
		wrong = "begins with a blank, which libcacard would drop";
	if (wrong != NULL)
		return vsc_cacard_options_bad(error, "%s name '%s' %s", what, name, wrong);
	return true;
}

char *vsc_cacard_db(const char *db, GError **error)
{
	const char *wrong = NULL;

	if (*db == '\0')
		wrong = "is empty";
	else if (strpbrk(db, "\"\n") != NULL)
		wrong = "has a '\"' or a line end, which libcacard cannot take in a path";
	if (wrong != NULL) {
		vsc_cacard_options_bad(error, "database directory '%s' %s", db, wrong);
		return NULL;
	}
	return g_strdup_printf("db=\"%s\"", db);
}

char *vsc_cacard_soft(const char *reader, const char *const *certs, GError **error)
{
	g_autofree char *names = NULL;
	guint n_certs = g_strv_length((char **)certs);

	if (reader == NULL)
		reader = "Virtual Reader";
	if (!check_name("reader", reader, error))
		return NULL;
	if (n_certs == 0 || n_certs > CERTS_MAX) {
		vsc_cacard_options_bad(error, "a card has 1 to %u certificates, not %u", CERTS_MAX,
				       n_certs);
		return NULL;
	}
	for (guint i = 0; i < n_certs; i++) {
		if (!check_name("certificate", certs[i], error))
			return NULL;
	}
	names = g_strjoinv(",", (char **)certs);
	return g_strdup_printf("soft=(,%s,CAC,,%s)", reader, names);
}

char *vsc_cacard_options(const char *db, const char *const *certs, GError **error)
{
	g_autofree char *where = NULL;
	g_autofree char *soft = NULL;

	if (db != NULL && (where = vsc_cacard_db(db, error)) == NULL)
		return NULL;
	soft = vsc_cacard_soft(NULL, certs, error);
	if (soft == NULL)
		return NULL;
	return g_strdup_printf("%s%suse_hw=no %s", db != NULL ? where : "", db != NULL ? " " : "",
			       soft);
}

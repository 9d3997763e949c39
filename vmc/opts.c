/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcOpts: option strings as QEMU spells them. The set is a list of pairs in
 * the order they came; there are never more than a few dozen, so looking one
 * up walks the list.
 */

#include "vmc/opts.h"

#include <stdio.h>
#include <string.h>

/* How much of the user's words an error repeats: enough to find the place,
 * and the line stays one that can be read. */
#define OPTION_SHOWN 160u
#define VALUE_SHOWN 80u

typedef struct Pair {
	char *key;
	char *value;
	bool alone; /* written without a value: `key` or `nokey` */
} Pair;

struct VmcOpts {
	char *option;
	char *text;
	char *implied;                /* key of the first value; NULL if none may be there */
	const char *const *repeating; /* keys that may be given again, or NULL */
	GPtrArray *pairs;
};

G_DEFINE_QUARK(vmc_opts_error_quark, vmc_opts_error)

static void pair_free(void *data)
{
	Pair *pair = data;

	g_free(pair->key);
	g_free(pair->value);
	g_free(pair);
}

VmcOpts *vmc_opts_new(const char *option)
{
	VmcOpts *opts;

	g_return_val_if_fail(option != NULL, NULL);

	opts = g_new0(VmcOpts, 1);
	opts->option = g_strdup(option);
	opts->text = g_strdup(option);
	opts->pairs = g_ptr_array_new_with_free_func(pair_free);
	return opts;
}

void vmc_opts_free(VmcOpts *opts)
{
	if (opts == NULL)
		return;
	g_free(opts->option);
	g_free(opts->text);
	g_free(opts->implied);
	g_ptr_array_unref(opts->pairs);
	g_free(opts);
}

/* ---- Errors ---- */

/* `text` as it may stand in an error: valid UTF-8 without control characters,
 * at most about `most` bytes. */
static char *shown(const char *text, size_t most)
{
	size_t len = strlen(text);
	g_autofree char *head = NULL;
	char *valid;

	/* A character that the cut halves becomes U+FFFD, which is fine. */
	head = len > most ? g_strdup_printf("%.*s…", (int)most, text) : g_strdup(text);
	valid = g_utf8_make_valid(head, -1);
	for (char *c = valid; *c != '\0'; c = g_utf8_next_char(c)) {
		/* Those beyond ASCII are two bytes each. */
		if (g_unichar_iscntrl(g_utf8_get_char(c)))
			memset(c, '?', (size_t)(g_utf8_next_char(c) - c));
	}
	return valid;
}

void vmc_opts_set_error(const VmcOpts *opts, GError **error, VmcOptsError code, const char *format,
			...)
{
	g_autofree char *text = NULL;
	g_autofree char *message = NULL;
	g_autofree char *line = NULL;
	va_list args;

	g_return_if_fail(opts != NULL && format != NULL);

	va_start(args, format);
	message = g_strdup_vprintf(format, args);
	va_end(args);

	text = shown(opts->text, OPTION_SHOWN);
	line = shown(message, SIZE_MAX);
	g_set_error(error, VMC_OPTS_ERROR, (int)code, "%s: %s", text, line);
}

static void set_value_error(const VmcOpts *opts, GError **error, const Pair *pair,
			    const char *allowed)
{
	g_autofree char *value = shown(pair->value, VALUE_SHOWN);

	vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE, "bad value '%s' for '%s': %s", value,
			   pair->key, allowed);
}

/* ---- Taking an option string apart ---- */

static Pair *find(const VmcOpts *opts, const char *key)
{
	for (guint i = 0; i < opts->pairs->len; i++) {
		Pair *pair = opts->pairs->pdata[i];

		if (strcmp(pair->key, key) == 0)
			return pair;
	}
	return NULL;
}

static bool is_id(const char *text)
{
	if (!g_ascii_isalpha(text[0]))
		return false;
	for (const char *c = text + 1; *c != '\0'; c++) {
		if (!g_ascii_isalnum(*c) && strchr("-._", *c) == NULL)
			return false;
	}
	return true;
}

static bool may_repeat(const VmcOpts *opts, const char *key)
{
	return opts->repeating != NULL && g_strv_contains(opts->repeating, key);
}

static bool add(VmcOpts *opts, const char *key, const char *value, bool alone, GError **error)
{
	g_autofree char *seen = shown(key, VALUE_SHOWN);
	Pair *pair;

	if (key[0] == '\0') {
		vmc_opts_set_error(
			opts, error, VMC_OPTS_ERROR_SYNTAX,
			"a key is empty; expected KEY=VALUE, separated by single commas");
		return false;
	}
	pair = find(opts, key);
	if (pair != NULL && may_repeat(opts, key)) {
		g_autofree char *before = pair->value;

		pair->value = g_strconcat(before, ":", value, NULL);
		return true;
	}
	if (pair != NULL) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_REPEATED, "key '%s' is given twice",
				   seen);
		return false;
	}
	if (strcmp(key, "id") == 0 && (alone || !is_id(value))) {
		g_autofree char *id = shown(alone ? "" : value, VALUE_SHOWN);

		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_SYNTAX,
				   "bad id '%s': a letter first, then letters, digits, "
				   "'-', '.', '_'",
				   id);
		return false;
	}

	pair = g_new0(Pair, 1);
	pair->key = g_strdup(key);
	pair->value = g_strdup(value);
	pair->alone = alone;
	g_ptr_array_add(opts->pairs, pair);
	return true;
}

bool vmc_opts_add(VmcOpts *opts, const char *key, const char *value, GError **error)
{
	g_return_val_if_fail(opts != NULL && key != NULL && value != NULL, false);

	return add(opts, key, value, false, error);
}

/* Takes a value from `*at`, up to a single comma; a double one stands for a
 * comma in it. `*at` is then past the comma or at the end. */
static char *take_value(const char **at)
{
	GString *value = g_string_new(NULL);
	const char *c = *at;

	for (; *c != '\0'; c++) {
		if (*c == ',' && *++c != ',')
			break;
		g_string_append_c(value, *c);
	}
	*at = c;
	return g_string_free(value, FALSE);
}

/* Takes the next `key=value` or `key` from `*at`, which is not at the end. */
static bool take_pair(VmcOpts *opts, const char **at, GError **error)
{
	size_t len = strcspn(*at, "=,");
	g_autofree char *key = g_strndup(*at, len);
	g_autofree char *value = NULL;

	*at += len;
	if (**at != '=') {
		if (**at == ',')
			(*at)++;
		return add(opts, key, "on", true, error);
	}
	(*at)++;
	value = take_value(at);
	return add(opts, key, value, false, error);
}

static bool take_implied(VmcOpts *opts, const char **at, GError **error)
{
	g_autofree char *value = take_value(at);

	if (value[0] == '\0') {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_SYNTAX,
				   "the %s is missing; it comes first, before any KEY=VALUE",
				   opts->implied);
		return false;
	}
	return add(opts, opts->implied, value, false, error);
}

/* `text` for messages: the values of the keys that are a secret are not in it. */
static char *without_secrets(const char *text)
{
	g_autoptr(GRegex) secret = g_regex_new("((?:^|,)(?:[a-z0-9-]*password|data)=)"
					       "(?:[^,]++|,,)*+",
					       G_REGEX_RAW, 0, NULL);
	char *answer = g_regex_replace(secret, text, -1, 0, "\\1...", 0, NULL);

	return answer != NULL ? answer : g_strdup("...");
}

static bool take_pairs(VmcOpts *opts, const char *at, GError **error)
{
	while (*at != '\0') {
		if (!take_pair(opts, &at, error))
			return false;
	}
	return true;
}

VmcOpts *vmc_opts_parse(const char *option, const char *text, const char *implied, GError **error)
{
	g_autoptr(VmcOpts) opts = NULL;
	g_autofree char *shown_text = NULL;
	const char *at = text;
	size_t first;

	g_return_val_if_fail(option != NULL && text != NULL, NULL);

	opts = vmc_opts_new(option);
	g_free(opts->text);
	shown_text = without_secrets(text);
	opts->text = g_strdup_printf("%s %s", option, shown_text);
	opts->implied = g_strdup(implied);

	first = strcspn(text, "=,");
	if (implied != NULL && text[first] != '=' && !take_implied(opts, &at, error))
		return NULL;
	if (!take_pairs(opts, at, error))
		return NULL;
	return g_steal_pointer(&opts);
}

void vmc_opts_let_repeat(VmcOpts *opts, const char *const *repeating)
{
	g_return_if_fail(opts != NULL);

	opts->repeating = repeating;
}

bool vmc_opts_merge(VmcOpts *opts, const char *text, GError **error)
{
	g_autofree char *before = NULL;
	g_autofree char *shown_text = without_secrets(text);

	g_return_val_if_fail(opts != NULL && text != NULL, false);

	before = opts->text;
	opts->text = g_strdup_printf("%s%c%s", before, strchr(before, ' ') != NULL ? ',' : ' ',
				     shown_text);
	return take_pairs(opts, text, error);
}

/* ---- Checking against a table ---- */

static const VmcOptDesc *find_desc(const char *key, const VmcOptDesc *table,
				   const VmcOptDesc *common)
{
	for (const VmcOptDesc *d = table; d != NULL && d->name != NULL; d++) {
		if (strcmp(d->name, key) == 0)
			return d;
	}
	for (const VmcOptDesc *d = common; d != NULL && d->name != NULL; d++) {
		if (strcmp(d->name, key) == 0)
			return d;
	}
	return NULL;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys that have help, in order: "fd, host, id". */
static char *list_keys(const VmcOpts *opts, const VmcOptDesc *table, const VmcOptDesc *common)
{
	const VmcOptDesc *const tables[] = { table, common };
	g_autoptr(GPtrArray) names = g_ptr_array_new();

	for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
		for (const VmcOptDesc *d = tables[i]; d != NULL && d->name != NULL; d++) {
			if (d->help != NULL && g_strcmp0(d->name, opts->implied) != 0)
				g_ptr_array_add(names, (void *)(uintptr_t)d->name);
		}
	}
	g_ptr_array_sort(names, compare_names);
	g_ptr_array_add(names, NULL);
	return g_strjoinv(", ", (char **)names->pdata);
}

/* Settles `nokey`: the pair becomes key=off. A key that is itself in a table,
 * such as `nodelay`, never gets here. */
static const VmcOptDesc *settle_negated(VmcOpts *opts, Pair *pair, const VmcOptDesc *table,
					const VmcOptDesc *common, GError **error)
{
	const VmcOptDesc *desc = NULL;

	if (pair->alone && g_str_has_prefix(pair->key, "no"))
		desc = find_desc(pair->key + 2, table, common);
	if (desc == NULL || desc->type != VMC_OPT_BOOL)
		return NULL;
	if (find(opts, desc->name) != NULL) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_REPEATED,
				   "key '%s' is given twice ('%s' is %s=off)", desc->name,
				   pair->key, desc->name);
		return NULL;
	}

	g_free(pair->key);
	g_free(pair->value);
	pair->key = g_strdup(desc->name);
	pair->value = g_strdup("off");
	return desc;
}

static bool parse_bool(const char *value, bool *out)
{
	static const char *const words[2][5] = {
		{ "off", "no", "false", "n", NULL },
		{ "on", "yes", "true", "y", NULL },
	};

	for (int answer = 0; answer < 2; answer++) {
		if (g_strv_contains(words[answer], value)) {
			*out = answer != 0;
			return true;
		}
	}
	return false;
}

static bool parse_number(const char *value, uint64_t min, uint64_t max, uint64_t *out)
{
	bool hex = value[0] == '0' && (value[1] == 'x' || value[1] == 'X');
	guint64 number;

	if (!g_ascii_string_to_unsigned(hex ? value + 2 : value, hex ? 16 : 10, min, max, &number,
					NULL))
		return false;
	*out = number;
	return true;
}

static bool check_length(const VmcOpts *opts, const Pair *pair, const VmcOptDesc *desc,
			 GError **error)
{
	size_t len = strlen(pair->value);

	if (len == 0 && desc->type == VMC_OPT_STRING) {
		set_value_error(opts, error, pair, "it must not be empty");
		return false;
	}
	if (desc->max != 0 && len > desc->max) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "the value of '%s' is %zu bytes long: %" G_GUINT64_FORMAT
				   " at most",
				   pair->key, len, desc->max);
		return false;
	}
	return true;
}

static bool check_value(const VmcOpts *opts, const Pair *pair, const VmcOptDesc *desc,
			GError **error)
{
	g_autofree char *range = NULL;
	uint64_t number;
	bool flag;

	if (pair->alone && desc->type != VMC_OPT_BOOL) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "key '%s' needs a value: %s=%s", pair->key, pair->key,
				   desc->type == VMC_OPT_NUMBER ? "NUMBER" : "TEXT");
		return false;
	}

	switch (desc->type) {
	case VMC_OPT_STRING:
	case VMC_OPT_TEXT:
		return check_length(opts, pair, desc, error);
	case VMC_OPT_BOOL:
		if (parse_bool(pair->value, &flag))
			return true;
		set_value_error(opts, error, pair, "on or off");
		return false;
	case VMC_OPT_NUMBER:
		if (parse_number(pair->value, desc->min, desc->max, &number))
			return true;
		range = g_strdup_printf("a number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
					desc->min, desc->max);
		set_value_error(opts, error, pair, range);
		return false;
	}
	g_return_val_if_reached(false);
}

static bool check_pair(VmcOpts *opts, Pair *pair, const char *what, const VmcOptDesc *table,
		       const VmcOptDesc *common, GError **error)
{
	const VmcOptDesc *desc = find_desc(pair->key, table, common);
	g_autoptr(GError) problem = NULL;
	g_autofree char *keys = NULL;
	g_autofree char *seen = NULL;

	if (desc == NULL)
		desc = settle_negated(opts, pair, table, common, &problem);
	if (problem != NULL) {
		g_propagate_error(error, g_steal_pointer(&problem));
		return false;
	}
	if (desc != NULL)
		return check_value(opts, pair, desc, error);

	keys = list_keys(opts, table, common);
	seen = shown(pair->key, VALUE_SHOWN);
	vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_UNKNOWN, "unknown key '%s'; %s takes: %s",
			   seen, what, keys[0] != '\0' ? keys : "no keys");
	return false;
}

bool vmc_opts_check(VmcOpts *opts, const char *what, const VmcOptDesc *table,
		    const VmcOptDesc *common, GError **error)
{
	g_return_val_if_fail(opts != NULL && what != NULL, false);

	for (guint i = 0; i < opts->pairs->len; i++) {
		if (!check_pair(opts, opts->pairs->pdata[i], what, table, common, error))
			return false;
	}
	return true;
}

/* ---- Answers ---- */

const char *vmc_opts_get(const VmcOpts *opts, const char *key)
{
	const Pair *pair;

	g_return_val_if_fail(opts != NULL && key != NULL, NULL);

	pair = find(opts, key);
	return pair != NULL ? pair->value : NULL;
}

bool vmc_opts_has(const VmcOpts *opts, const char *key)
{
	return vmc_opts_get(opts, key) != NULL;
}

bool vmc_opts_bool(const VmcOpts *opts, const char *key, bool otherwise)
{
	const char *value = vmc_opts_get(opts, key);
	bool answer;

	return value != NULL && parse_bool(value, &answer) ? answer : otherwise;
}

uint64_t vmc_opts_number(const VmcOpts *opts, const char *key, uint64_t otherwise)
{
	const char *value = vmc_opts_get(opts, key);
	uint64_t answer;

	return value != NULL && parse_number(value, 0, UINT64_MAX, &answer) ? answer : otherwise;
}

static bool is_help_word(const char *text)
{
	return strcmp(text, "help") == 0 || strcmp(text, "?") == 0;
}

bool vmc_opts_wants_help(const VmcOpts *opts)
{
	g_return_val_if_fail(opts != NULL, false);

	for (guint i = 0; i < opts->pairs->len; i++) {
		const Pair *pair = opts->pairs->pdata[i];

		if (pair->alone && is_help_word(pair->key))
			return true;
		if (g_strcmp0(pair->key, opts->implied) == 0 && is_help_word(pair->value))
			return true;
	}
	return false;
}

const char *vmc_opts_text(const VmcOpts *opts)
{
	g_return_val_if_fail(opts != NULL, NULL);

	return opts->text;
}

void vmc_opts_print_table(const VmcOptDesc *table)
{
	static const char *const values[] = {
		[VMC_OPT_STRING] = "TEXT",
		[VMC_OPT_BOOL] = "on|off",
		[VMC_OPT_NUMBER] = "NUMBER",
		[VMC_OPT_TEXT] = "TEXT",
	};

	for (const VmcOptDesc *d = table; d != NULL && d->name != NULL; d++) {
		g_autofree char *left = NULL;

		if (d->help == NULL)
			continue;
		left = g_strdup_printf("%s=%s", d->name, values[d->type]);
		printf("  %-18s %s\n", left, d->help);
	}
}

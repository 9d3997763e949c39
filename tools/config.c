/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The reader of config files. A group is a set of options like an argument of
 * -chardev, -device, -object or -spice, and goes the same way from there.
 */

#include "tools/config.h"

#include <string.h>
#include <sys/stat.h>

/* More than anyone writes by hand, and a bound on a wrong file. */
#define CONFIG_SIZE_MAX (1024 * 1024)

/* A kind of group. */
typedef struct Group {
	const char *name;
	const char *label; /* of its keys in errors */
	/* Takes the whole group; NULL: its keys go to the one SPICE server. */
	bool (*add)(Machine *machine, VmcOpts *opts, GError **error);
} Group;

static const Group groups[] = {
	{ "chardev", "[chardev]", machine_add_chardev },
	{ "device", "[device]", machine_add_device },
	{ "object", "[object]", machine_add_object },
	{ "spice", "[spice]", NULL },
};

#define GROUPS "[chardev \"ID\"], [device \"ID\"], [object \"ID\"], [spice]"

typedef struct Config {
	Machine *machine;
	const char *path;
	unsigned line;
	unsigned group_line; /* where `opts` began */
	const Group *group;  /* the one being read, or NULL */
	VmcOpts *opts;       /* its keys; NULL for those of the one SPICE server */
} Config;

static bool fail(const Config *config, GError **error, const char *text)
{
	g_set_error(error, VMC_OPTS_ERROR, VMC_OPTS_ERROR_SYNTAX, "-readconfig %s:%u: %s",
		    config->path, config->line, text);
	return false;
}

/* Prefixes an error of the options with the place. */
static bool at_line(const Config *config, bool ok, GError **error)
{
	if (!ok)
		g_prefix_error(error, "-readconfig %s:%u: ", config->path, config->line);
	return ok;
}

/* The group is whole: it becomes part of the machine. */
static bool finish_group(Config *config, GError **error)
{
	VmcOpts *opts = g_steal_pointer(&config->opts);

	if (opts == NULL || config->group->add(config->machine, opts, error))
		return true;
	g_prefix_error(error, "-readconfig %s:%u: ", config->path, config->group_line);
	return false;
}

/* The text between the first and the last '"' of `from`, or NULL. */
static char *unquote(const char *from)
{
	size_t len = strlen(from);

	if (len < 2 || from[0] != '"' || from[len - 1] != '"')
		return NULL;
	return g_strndup(from + 1, len - 2);
}

static const Group *find_group(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(groups); i++) {
		if (strcmp(groups[i].name, name) == 0)
			return &groups[i];
	}
	return NULL;
}

/* `[group]` or `[group "id"]`, `text` without its brackets. */
static bool begin_group(Config *config, char *text, GError **error)
{
	char *space = strpbrk(text, " \t");
	g_autofree char *id = NULL;

	if (space != NULL) {
		*space = '\0';
		id = unquote(g_strstrip(space + 1));
		if (id == NULL)
			return fail(config, error,
				    "the id of a group stands in quotes: [device \"id\"]");
	}
	config->group = find_group(text);
	if (config->group == NULL)
		return fail(config, error, "unknown group; there are: " GROUPS);
	if (config->group->add == NULL && id != NULL)
		return fail(config, error, "there is one SPICE server: [spice] has no id");
	config->group_line = config->line;
	if (config->group->add != NULL)
		config->opts = vmc_opts_new(config->group->label);
	return id == NULL || at_line(config, vmc_opts_add(config->opts, "id", id, error), error);
}

static bool read_key(Config *config, char *text, GError **error)
{
	char *equals = strchr(text, '=');
	g_autofree char *value = NULL;

	if (config->group == NULL)
		return fail(config, error, "a key before any group; begin with one of: " GROUPS);
	if (equals != NULL) {
		*equals = '\0';
		value = unquote(g_strstrip(equals + 1));
	}
	if (value == NULL)
		return fail(config, error, "expected key = \"value\"");
	text = g_strstrip(text);
	return at_line(config,
		       config->opts != NULL ?
			       vmc_opts_add(config->opts, text, value, error) :
			       machine_add_spice_key(config->machine, text, value, error),
		       error);
}

static bool read_line(Config *config, char *line, GError **error)
{
	size_t len;

	line = g_strstrip(line);
	len = strlen(line);
	if (len == 0 || line[0] == '#')
		return true;
	if (line[0] != '[')
		return read_key(config, line, error);
	if (line[len - 1] != ']')
		return fail(config, error, "a group ends with ']'");
	line[len - 1] = '\0';
	return finish_group(config, error) && begin_group(config, line + 1, error);
}

/* The text of a file of bounded size. */
static char *load(const char *path, GError **error)
{
	struct stat st;
	char *text = NULL;

	if (stat(path, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > CONFIG_SIZE_MAX)) {
		g_set_error(error, VMC_OPTS_ERROR, VMC_OPTS_ERROR_VALUE,
			    "-readconfig %s: not a file of at most %d bytes", path,
			    CONFIG_SIZE_MAX);
		return NULL;
	}
	if (!g_file_get_contents(path, &text, NULL, error)) {
		g_prefix_error(error, "-readconfig: ");
		return NULL;
	}
	return text;
}

bool config_read(Machine *machine, const char *path, GError **error)
{
	Config config = { .machine = machine, .path = path };
	g_autofree char *text = load(path, error);
	g_auto(GStrv) lines = NULL;
	bool ok = true;

	if (text == NULL)
		return false;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; ok && *line != NULL; line++) {
		config.line++;
		ok = read_line(&config, *line, error);
	}
	ok = ok && finish_group(&config, error);
	vmc_opts_free(config.opts);
	return ok;
}

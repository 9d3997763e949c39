/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The log: GLib's messages of our domains, filtered by item, and the trace of
 * the VSCard links, written a line each with the time.
 */

#include "tools/log.h"

#include <stdio.h>
#include <string.h>

#include "vscard/link.h"

typedef struct LogItem {
	const char *name;
	const char *domain; /* GLib domain whose debug lines it shows, or NULL */
	int trace;          /* level of the links' trace it turns on */
	const char *help;
} LogItem;

static const LogItem items[] = {
	{ "chardev", "vmc", 0, "char devices: opened, closed, listening, trying again" },
	{ "vscard", "vscard", 1, "card links: readers and cards that come and go" },
	{ "messages", NULL, 2, "each VSCard message: type, reader, length" },
	{ "apdu", NULL, 3, "each command's CLA INS P1 P2 and lengths, never its data" },
	{ "ccid", "ccid", 0, "the reader and its USB side" },
	{ "machine", "vscardd", 0, "devices as they are made and joined" },
};

static bool enabled[G_N_ELEMENTS(items)];
static FILE *file;

static void write_line(const char *kind, const char *text)
{
	FILE *out = file != NULL ? file : stderr;
	g_autoptr(GDateTime) now = g_date_time_new_now_local();
	g_autofree char *stamp = file != NULL ? g_date_time_format(now, "%F %T.%f ") : NULL;

	fprintf(out, "%svscardd: %s%s\n", stamp != NULL ? stamp : "", kind, text);
	fflush(out);
}

static void write_trace(const char *line)
{
	write_line("", line);
}

static bool wants_debug(const char *domain)
{
	for (size_t i = 0; i < G_N_ELEMENTS(items); i++) {
		if (enabled[i] && items[i].domain != NULL &&
		    g_strcmp0(items[i].domain, domain) == 0)
			return true;
	}
	return false;
}

static void handle(const char *domain, GLogLevelFlags level, const char *message, void *user)
{
	(void)user;
	if (level & (G_LOG_LEVEL_DEBUG | G_LOG_LEVEL_INFO)) {
		if (wants_debug(domain))
			write_line("", message);
	} else if (level & G_LOG_LEVEL_MESSAGE) {
		write_line("", message);
	} else if (level & G_LOG_LEVEL_WARNING) {
		write_line("warning: ", message);
	} else {
		write_line("error: ", message);
	}
}

bool log_enable(const char *list, GError **error)
{
	g_auto(GStrv) names = g_strsplit(list, ",", -1);

	for (char **name = names; *name != NULL; name++) {
		bool found = false;

		for (size_t i = 0; i < G_N_ELEMENTS(items); i++) {
			if (strcmp(*name, items[i].name) == 0 || strcmp(*name, "all") == 0) {
				enabled[i] = true;
				found = true;
			}
		}
		if (!found) {
			g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
				    "-d %s: unknown item '%s'; `-d help` lists the items", list,
				    *name);
			return false;
		}
	}
	return true;
}

void log_print_items(void)
{
	printf("Items for -d, separated by commas:\n");
	for (size_t i = 0; i < G_N_ELEMENTS(items); i++)
		printf("  %-10s %s\n", items[i].name, items[i].help);
	printf("  %-10s %s\n", "all", "all of them");
}

bool log_to_file(const char *path, GError **error)
{
	FILE *opened = fopen(path, "ae");

	if (opened == NULL) {
		g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
			    "-D %s: cannot open the log file: %s", path, g_strerror(errno));
		return false;
	}
	if (file != NULL)
		fclose(file);
	file = opened;
	return true;
}

void log_start(void)
{
	int level = 0;

	for (size_t i = 0; i < G_N_ELEMENTS(items); i++) {
		if (enabled[i])
			level = MAX(level, items[i].trace);
	}
	vsc_link_set_trace(level, level > 0 ? write_trace : NULL);
	g_log_set_default_handler(handle, NULL);
}

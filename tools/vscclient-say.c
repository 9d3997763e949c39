/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines of vscclient, each in one write and without control characters. */

#include "tools/vscclient-say.h"

#include <stdio.h>

char *say_clean(const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	GString *clean = g_string_new(NULL);

	for (const char *at = valid; *at != '\0'; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);

		g_string_append_unichar(clean, g_unichar_iscntrl(c) ? '?' : c);
	}
	return g_string_free(clean, FALSE);
}

static char *clean_line(const char *format, va_list args) G_GNUC_PRINTF(1, 0);
static char *clean_line(const char *format, va_list args)
{
	g_autofree char *text = g_strdup_vprintf(format, args);

	return say_clean(text);
}

void say(const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = clean_line(format, args);
	va_end(args);
	fprintf(stderr, "vscclient: %s\n", text);
}

void answer(const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = clean_line(format, args);
	va_end(args);
	printf("%s\n", text);
}

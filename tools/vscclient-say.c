/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines of vscclient on stderr, each in one write. */

#include "tools/vscclient-say.h"

#include <stdio.h>

void say(const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	/* Names come from certificates and readers: nothing of them may steer a
	 * terminal. */
	for (char *at = text; *at != '\0'; at++) {
		if (g_ascii_iscntrl(*at))
			*at = '?';
	}
	fprintf(stderr, "vscclient: %s\n", text);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VscScript: see script.h. */

#include "tests/lib/script.h"

GByteArray *vsc_script_bytes(const char *hex)
{
	GByteArray *bytes = g_byte_array_new();
	uint8_t byte = 0;

	while (*hex != '\0') {
		if (*hex == '*') {
			guint64 n = g_ascii_strtoull(hex + 1, (char **)&hex, 10);

			for (; n > 1; n--)
				g_byte_array_append(bytes, &byte, 1);
			hex += *hex == '.';
			continue;
		}
		if (!g_ascii_isxdigit(hex[0]) || !g_ascii_isxdigit(hex[1]))
			g_error("no hex: %s", hex);
		byte = (uint8_t)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));
		g_byte_array_append(bytes, &byte, 1);
		hex += 2;
	}
	return bytes;
}

char *vsc_script_hex(VmcSpan bytes)
{
	GString *hex = g_string_new(NULL);

	for (size_t i = 0; i < bytes.len; i++)
		g_string_append_printf(hex, "%02x", bytes.data[i]);
	return g_string_free(hex, FALSE);
}

static void script_free(void *data)
{
	VscScript *script = data;

	g_free(script->what);
	g_free(script->kind);
	g_strfreev(script->steps);
	g_free(script);
}

static VscScript *script_of(const char *line)
{
	g_auto(GStrv) fields = g_strsplit(line, " | ", -1);
	VscScript *script;

	if (g_strv_length(fields) != 3)
		g_error("no script: %s", line);
	script = g_new0(VscScript, 1);
	script->what = g_strdup(fields[0]);
	script->kind = g_strdup(fields[1]);
	script->steps = g_strsplit(fields[2], " ", -1);
	return script;
}

GPtrArray *vsc_scripts_read(const char *path)
{
	GPtrArray *scripts = g_ptr_array_new_with_free_func(script_free);
	g_auto(GStrv) lines = NULL;
	g_autofree char *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		g_error("cannot read %s", path);
	lines = g_strsplit(text, "\n", -1);
	for (unsigned i = 0; lines[i] != NULL; i++) {
		if (lines[i][0] != '\0' && lines[i][0] != '#')
			g_ptr_array_add(scripts, script_of(lines[i]));
	}
	return scripts;
}

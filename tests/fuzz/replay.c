/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Runs a fuzz harness over files and folders of inputs, once each: what
 * libFuzzer does with a corpus, for a compiler that has no libFuzzer. Each
 * input lies at the end of a heap block of its own size, so that a sanitizer
 * sees a read past it.
 */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;

static void replay_input(const char *data, size_t len)
{
	uint8_t *copy = g_memdup2(data, len);

	LLVMFuzzerTestOneInput(copy, len);
	g_free(copy);
	replayed++;
}

static bool replay_path(const char *path)
{
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	g_autoptr(GError) error = NULL;
	g_autofree char *data = NULL;
	const char *name;
	gsize len;

	if (dir == NULL) {
		if (!g_file_get_contents(path, &data, &len, &error)) {
			fprintf(stderr, "%s\n", error->message);
			return false;
		}
		replay_input(data, len);
		return true;
	}

	while ((name = g_dir_read_name(dir)) != NULL) {
		g_autofree char *inner = g_build_filename(path, name, NULL);

		if (!replay_path(inner))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	replay_input("", 0);
	for (int i = 1; i < argc; i++) {
		if (!replay_path(argv[i]))
			return 1;
	}
	printf("%u inputs\n", replayed);
	return replayed > 1 ? 0 : 1;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where passwords come from; each copy on the way is wiped. */

#include "tools/vscclient-password.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/vscclient-options.h"
#include "vmc/span.h"

char *client_password_from_environment(void)
{
	char *value = getenv(CLIENT_PASSWORD_VARIABLE);
	char *password;

	if (value == NULL)
		return NULL;
	password = *value != '\0' ? g_strdup(value) : NULL;
	vmc_wipe(value, strlen(value));
	unsetenv(CLIENT_PASSWORD_VARIABLE);
	return password;
}

void client_password_free(char *password)
{
	if (password == NULL)
		return;
	vmc_wipe(password, strlen(password));
	g_free(password);
}

/* Bytes read until the first line has ended; -1: `errno`. It may be a pipe. */
static ssize_t read_line(const char *file, char *to, size_t size)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 1;

	if (fd < 0)
		return -1;
	while (n > 0 && len < size && memchr(to, '\n', len) == NULL) {
		n = read(fd, to + len, size - len);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			len += (size_t)n;
	}
	if (n < 0) {
		int because = errno;

		close(fd);
		errno = because;
		return -1;
	}
	close(fd);
	return (ssize_t)len;
}

/* The length of the first line in `text`; more than the maximum: too long. */
static size_t line_length(const char *text, size_t len)
{
	const char *end = memchr(text, '\n', len);

	if (end != NULL)
		len = (size_t)(end - text);
	return len > 0 && text[len - 1] == '\r' ? len - 1 : len;
}

static bool bad_file(GError **error, const char *file, const char *because)
{
	g_set_error(error, CLIENT_OPTIONS_ERROR, 0, "--password-file '%s': %s", file, because);
	return false;
}

static bool check_line(const char *file, const char *line, size_t len, GError **error)
{
	if (len == 0)
		return bad_file(error, file, "its first line, the password, is empty");
	if (len > CLIENT_PASSWORD_MAX)
		return bad_file(error, file, "its first line is too long for a password");
	if (memchr(line, '\0', len) != NULL)
		return bad_file(error, file, "its first line has a NUL byte; it is no text");
	return true;
}

char *client_password_from_file(const char *file, GError **error)
{
	char line[CLIENT_PASSWORD_MAX + 2];
	ssize_t got = read_line(file, line, sizeof(line));
	char *password = NULL;
	size_t len;

	if (got < 0) {
		bad_file(error, file, g_strerror(errno));
		return NULL;
	}
	len = line_length(line, (size_t)got);
	if (check_line(file, line, len, error))
		password = g_strndup(line, len);
	vmc_wipe(line, sizeof(line));
	return password;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The terminal is opened anew, so that not blocking on it is nobody else's
 * business, and so that it is found when stdin is something else.
 */

#include "tools/vscclient-prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdbool.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "vmc/span.h"

struct ClientPrompt {
	int fd;
	guint source;
	struct termios before;
	void (*answered)(void *user, const char *password);
	void *user;
	char line[CLIENT_PROMPT_MAX + 1];
	size_t len;
};

static void print(int fd, const char *text)
{
	/* A terminal that does not take it shows no question; that is all. */
	if (write(fd, text, strlen(text)) < 0)
		return;
}

static void answer_once(ClientPrompt *prompt, bool given)
{
	prompt->source = 0;
	prompt->line[prompt->len] = '\0';
	prompt->answered(prompt->user, given ? prompt->line : NULL);
}

/* The terminal gives whole lines; the end of one is the end of the password. */
static gboolean on_input(gint fd, GIOCondition condition, gpointer user)
{
	ClientPrompt *prompt = user;
	ssize_t n = read(fd, prompt->line + prompt->len, CLIENT_PROMPT_MAX - prompt->len);
	char *end;

	(void)condition;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return G_SOURCE_CONTINUE;
	if (n <= 0) {
		answer_once(prompt, false);
		return G_SOURCE_REMOVE;
	}
	prompt->len += (size_t)n;
	end = memchr(prompt->line, '\n', prompt->len);
	if (end == NULL && prompt->len < CLIENT_PROMPT_MAX)
		return G_SOURCE_CONTINUE;
	if (end != NULL)
		prompt->len = (size_t)(end - prompt->line);
	answer_once(prompt, true);
	return G_SOURCE_REMOVE;
}

/* Without echo, and without being stopped: a shell would have the echo back. */
static bool hush(ClientPrompt *prompt)
{
	struct termios quiet;

	if (tcgetpgrp(prompt->fd) != getpgrp() || tcgetattr(prompt->fd, &prompt->before) != 0)
		return false;
	quiet = prompt->before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	quiet.c_lflag |= ICANON | ISIG;
	quiet.c_cc[VSUSP] = _POSIX_VDISABLE;
	return tcsetattr(prompt->fd, TCSAFLUSH, &quiet) == 0;
}

ClientPrompt *client_prompt_new(const char *text,
				void (*answered)(void *user, const char *password), void *user)
{
	ClientPrompt *prompt = g_new0(ClientPrompt, 1);

	prompt->answered = answered;
	prompt->user = user;
	prompt->fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (prompt->fd < 0 || !hush(prompt)) {
		if (prompt->fd >= 0)
			close(prompt->fd);
		g_free(prompt);
		return NULL;
	}
	print(prompt->fd, "\r");
	print(prompt->fd, text);
	prompt->source = g_unix_fd_add(prompt->fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_input, prompt);
	return prompt;
}

void client_prompt_free(ClientPrompt *prompt)
{
	if (prompt == NULL)
		return;
	if (prompt->source != 0)
		g_source_remove(prompt->source);
	tcsetattr(prompt->fd, TCSAFLUSH, &prompt->before);
	print(prompt->fd, "\n");
	close(prompt->fd);
	vmc_wipe(prompt->line, sizeof(prompt->line));
	g_free(prompt);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Background and pid file. The fork comes before GLib and NSS have threads or
 * state, so that the child is a process like any other.
 */

#include "tools/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static int ready_fd = -1;
static int pid_fd = -1;
static char *pid_path;

static bool set_error_errno(GError **error, const char *what)
{
	g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: %s", what,
		    g_strerror(errno));
	return false;
}

/* The parent's part: 0 once the byte came, 1 when the pipe ended without it. */
G_NORETURN static void wait_for_child(int fd)
{
	char byte;
	ssize_t got;

	do
		got = read(fd, &byte, 1);
	while (got < 0 && errno == EINTR);
	_exit(got == 1 ? 0 : 1);
}

bool daemon_fork(GError **error)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return set_error_errno(error, "-daemonize: cannot make a pipe");
	pid = fork();
	if (pid < 0) {
		close(ends[0]);
		close(ends[1]);
		return set_error_errno(error, "-daemonize: cannot fork");
	}
	if (pid > 0) {
		close(ends[1]);
		wait_for_child(ends[0]);
	}
	close(ends[0]);
	ready_fd = ends[1];
	setsid();
	return true;
}

void daemon_ready(void)
{
	int null;

	sd_notify(0, "READY=1");
	if (ready_fd < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	if (write(ready_fd, "", 1) != 1)
		g_debug("the process that started this one is gone");
	close(ready_fd);
	ready_fd = -1;
}

bool daemon_write_pidfile(const char *path, GError **error)
{
	g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());
	g_autofree char *what = g_strdup_printf("-pidfile %s: cannot write it", path);
	size_t len = strlen(text);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return set_error_errno(error, what);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		g_set_error(
			error, G_IO_ERROR, G_IO_ERROR_BUSY,
			"-pidfile %s: another vscardd holds it; stop that one or name another file",
			path);
		return false;
	}
	if (ftruncate(fd, 0) < 0 || write(fd, text, len) != (ssize_t)len) {
		set_error_errno(error, what);
		close(fd);
		return false;
	}
	pid_fd = fd; /* stays open: the lock is its life */
	pid_path = g_canonicalize_filename(path, NULL);
	return true;
}

void daemon_remove_pidfile(void)
{
	if (pid_fd < 0)
		return;
	unlink(pid_path);
	close(pid_fd);
	pid_fd = -1;
	g_clear_pointer(&pid_path, g_free);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the tests of the socket backend share: plain sockets of the system as
 * the other side.
 */

#pragma once

#include "tests/unit/test-chardev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmc/socket.h"

/* ---- Plain sockets ---- */

static inline VmcChardev *make(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static inline VmcChardev *make(GError **error, const char *format, ...)
{
	g_autoptr(VmcOpts) opts = NULL;
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	opts = vmc_opts_parse("-chardev", text, "backend", error);
	return opts != NULL ? vmc_chardev_new(opts, error) : NULL;
}

#define good(...) assert_made(make(&made_error, __VA_ARGS__))
static GError *made_error;

static inline VmcChardev *assert_made(VmcChardev *dev)
{
	if (dev == NULL)
		fail_msg("%s", made_error->message);
	return dev;
}

static inline struct sockaddr_storage tcp_address(const char *host, uint16_t port, socklen_t *len)
{
	struct sockaddr_storage address = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		*len = sizeof(*v4);
	} else {
		assert_int_equal(inet_pton(AF_INET6, host, &v6->sin6_addr), 1);
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		*len = sizeof(*v6);
	}
	return address;
}

/* A connected socket, or -1 with errno. */
static inline int plain_connect(const char *host, uint16_t port)
{
	socklen_t len;
	struct sockaddr_storage address = tcp_address(host, port, &len);
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&address, len) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline int plain_listen(const char *host, uint16_t *port)
{
	socklen_t len;
	struct sockaddr_storage address = tcp_address(host, *port, &len);
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_return_code(bind(fd, (struct sockaddr *)&address, len), errno);
	assert_return_code(listen(fd, 8), errno);
	assert_return_code(getsockname(fd, (struct sockaddr *)&address, &len), errno);
	*port = ntohs(((struct sockaddr_in *)&address)->sin_port);
	return fd;
}

static inline struct sockaddr_un unix_address(const char *path, bool abstract, bool tight,
					      socklen_t *len)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path + (abstract ? 1 : 0), path, strlen(path));
	*len = sizeof(address);
	if (abstract && tight)
		*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(path));
	return address;
}

static inline int unix_connect(const char *path, bool abstract, bool tight)
{
	socklen_t len;
	struct sockaddr_un address = unix_address(path, abstract, tight, &len);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&address, len) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline int unix_listen(const char *path)
{
	socklen_t len;
	struct sockaddr_un address = unix_address(path, false, false, &len);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_return_code(bind(fd, (struct sockaddr *)&address, len), errno);
	assert_return_code(listen(fd, 8), errno);
	return fd;
}

static inline void plain_send(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static inline int unread(int fd)
{
	int n = 0;

	assert_return_code(ioctl(fd, FIONREAD, &n), errno);
	return n;
}

static inline void reset(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* Reads what there is until `total` came or the end. */
static inline size_t plain_read(int fd, char *to, size_t total)
{
	size_t got = 0;
	ssize_t n = 1;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (unsigned i = 0; i < 3000 && got < total && n != 0; i++) {
		n = recv(fd, to + got, total - got, 0);
		if (n > 0)
			got += (size_t)n;
		else
			run_for(1);
	}
	return got;
}

/* The end of the stream, in order or by a reset, and nothing before it. */
static inline bool plain_ended(int fd)
{
	char byte;
	ssize_t n;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	n = recv(fd, &byte, 1, 0);
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

static inline int get_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_return_code(getsockopt(fd, level, name, &value, &len), errno);
	return value;
}

/* The one descriptor of this process that is connected to `peer`. */
static inline int other_end(int peer)
{
	struct sockaddr_storage mine = { 0 }, theirs = { 0 };
	socklen_t len = sizeof(mine);

	getsockname(peer, (struct sockaddr *)&mine, &len);
	for (int fd = 3; fd < 256; fd++) {
		socklen_t n = sizeof(theirs);

		memset(&theirs, 0, sizeof(theirs));
		if (fd != peer && getpeername(fd, (struct sockaddr *)&theirs, &n) == 0 &&
		    n == len && memcmp(&mine, &theirs, len) == 0)
			return fd;
	}
	fail_msg("no other end");
	return -1;
}

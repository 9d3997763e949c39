/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The tests' echo card (tests/lib/testcard.h) for Debian's vpcd driver, as fast
 * as can be, to measure that driver:
 *
 *   vpcd-card FD [quickack]
 *
 * FD is a socket that is connected to the driver: messages of two bytes of
 * length, big-endian, then 0 to 4 for power off, on, reset and the ATR, or a
 * command. With `quickack` it acknowledges at once what it read, else as the
 * system does.
 */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/testcard.h"

#define GET_ATR 4u
#define MESSAGE_MAX 65535u

static bool read_all(int fd, bool quickack, uint8_t *to, size_t len)
{
	int on = 1;

	while (len > 0) {
		ssize_t n = read(fd, to, len);

		if (n <= 0)
			return false;
		if (quickack)
			setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
		to += n;
		len -= (size_t)n;
	}
	return true;
}

/* Length and answer leave together. */
static bool answer(int fd, VmcSpan bytes)
{
	static uint8_t message[2 + MESSAGE_MAX];
	size_t len = MIN(bytes.len, MESSAGE_MAX);

	vmc_put_u16be(message, (uint16_t)len);
	memcpy(message + 2, bytes.data, len);
	return write(fd, message, len + 2) == (ssize_t)(len + 2);
}

static bool serve(int fd, VmcSpan message)
{
	GByteArray *response;
	unsigned delay;
	bool ok;

	if (message.len == 1)
		return message.data[0] != GET_ATR || answer(fd, vsc_test_atr_t1);
	response = vsc_test_card_response(message, &delay);
	ok = answer(fd, vmc_span(response->data, response->len));
	g_byte_array_unref(response);
	return ok;
}

int main(int argc, char **argv)
{
	static uint8_t message[MESSAGE_MAX];
	bool quickack = argc > 2 && strcmp(argv[2], "quickack") == 0;
	uint8_t head[2];
	int fd, on = 1;

	if (argc < 2) {
		fprintf(stderr, "usage: vpcd-card FD [quickack]\n");
		return 1;
	}
	fd = atoi(argv[1]);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	while (read_all(fd, quickack, head, sizeof(head))) {
		size_t len = (size_t)head[0] << 8 | head[1];

		if (!read_all(fd, quickack, message, len) || !serve(fd, vmc_span(message, len)))
			break;
	}
	return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What vscardd and vscardd-spice say to each other: as bytes, and on a socket. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmc/spice-control.h"

static const VmcSpiceControl sample = {
	.type = VMC_SPICE_DEVICE,
	.channel = 0x01020304,
	.value = 3,
	.key = { (const uint8_t *)"port", 4 },
	.text = { (const uint8_t *)"org.example", 11 },
};

static const char sample_bytes[] = "\0\0\0\3\1\2\3\4\0\0\0\3\0\0\0\4portorg.example";
#define SAMPLE_SIZE (sizeof(sample_bytes) - 1)

static void assert_span(VmcSpan span, const char *text)
{
	assert_int_equal(span.len, strlen(text));
	assert_memory_equal(span.data, text, span.len);
}

static void test_bytes(void **state)
{
	uint8_t packet[VMC_SPICE_CONTROL_MAX];
	VmcSpiceControl seen;

	(void)state;
	assert_int_equal(vmc_spice_control_encode(&sample, packet, sizeof(packet)), SAMPLE_SIZE);
	assert_memory_equal(packet, sample_bytes, SAMPLE_SIZE);
	assert_true(vmc_spice_control_decode(vmc_span(packet, SAMPLE_SIZE), &seen));
	assert_int_equal(seen.type, VMC_SPICE_DEVICE);
	assert_int_equal(seen.channel, 0x01020304);
	assert_int_equal(seen.value, 3);
	assert_span(seen.key, "port");
	assert_span(seen.text, "org.example");
}

static void test_room(void **state)
{
	uint8_t packet[64];

	(void)state;
	for (size_t size = 0; size < SAMPLE_SIZE; size++)
		assert_int_equal(vmc_spice_control_encode(&sample, packet, size), 0);
	assert_int_equal(vmc_spice_control_encode(&sample, packet, SAMPLE_SIZE), SAMPLE_SIZE);
}

static void test_cut(void **state)
{
	VmcSpiceControl seen;

	(void)state;
	for (size_t len = 0; len < 20; len++)
		assert_false(vmc_spice_control_decode(vmc_span(sample_bytes, len), &seen));
	assert_true(vmc_spice_control_decode(vmc_span(sample_bytes, 20), &seen));
	assert_int_equal(seen.text.len, 0);
}

static void check_bad(size_t at, uint8_t byte)
{
	uint8_t packet[SAMPLE_SIZE];
	VmcSpiceControl seen;

	memcpy(packet, sample_bytes, sizeof(packet));
	packet[at] = byte;
	assert_false(vmc_spice_control_decode(vmc_span(packet, sizeof(packet)), &seen));
}

static void test_bad(void **state)
{
	(void)state;
	check_bad(3, 0);               /* no type */
	check_bad(3, VMC_SPICE_TYPES); /* one past the last */
	check_bad(0, 1);
	check_bad(15, 16);   /* a key longer than the packet */
	check_bad(12, 0xff); /* much longer */
	check_bad(17, 0);    /* a NUL in the key */
	check_bad(SAMPLE_SIZE - 1, 0);
}

typedef struct Ends {
	int one, other;
} Ends;

static int make_ends(void **state)
{
	static Ends ends;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	ends = (Ends){ pair[0], pair[1] };
	*state = &ends;
	return 0;
}

static int close_ends(void **state)
{
	Ends *ends = *state;

	if (ends->one >= 0)
		close(ends->one);
	close(ends->other);
	return 0;
}

static void test_descriptor(void **state)
{
	Ends *ends = *state;
	uint8_t packet[VMC_SPICE_CONTROL_MAX];
	VmcSpiceControl seen;
	int pipes[2], passed;
	char byte = 0;

	assert_int_equal(pipe(pipes), 0);
	assert_true(vmc_spice_control_send(ends->one, &sample, pipes[1], false));
	close(pipes[1]);
	assert_int_equal(vmc_spice_control_receive(ends->other, packet, &seen, &passed),
			 VMC_SPICE_RECEIVED);
	assert_true(passed >= 0);
	assert_int_equal(write(passed, "x", 1), 1);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	close(passed);
	close(pipes[0]);
	assert_int_equal(vmc_spice_control_receive(ends->other, packet, &seen, &passed),
			 VMC_SPICE_NOTHING);
	assert_int_equal(passed, -1);
}

/* A packet that is no message leaves no descriptor behind. */
static void test_bad_descriptor(void **state)
{
	Ends *ends = *state;
	uint8_t packet[VMC_SPICE_CONTROL_MAX];
	VmcSpiceControl seen, bad = sample;
	int pipes[2], passed;
	char byte;

	bad.type = VMC_SPICE_TYPES;
	assert_int_equal(pipe(pipes), 0);
	assert_true(vmc_spice_control_send(ends->one, &bad, pipes[1], false));
	close(pipes[1]);
	assert_int_equal(vmc_spice_control_receive(ends->other, packet, &seen, &passed),
			 VMC_SPICE_BAD);
	assert_int_equal(passed, -1);
	assert_int_equal(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
}

/* Nor does one that comes with more of them than a message has. */
static void test_two_descriptors(void **state)
{
	Ends *ends = *state;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} ancillary = { 0 };
	struct iovec part = { .iov_base = (void *)(uintptr_t)sample_bytes, .iov_len = SAMPLE_SIZE };
	struct msghdr header = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = ancillary.bytes,
		.msg_controllen = CMSG_SPACE(2 * sizeof(int)),
	};
	struct cmsghdr *control = CMSG_FIRSTHDR(&header);
	uint8_t packet[VMC_SPICE_CONTROL_MAX];
	VmcSpiceControl seen;
	int pipes[2], passed;
	char byte;

	assert_int_equal(pipe(pipes), 0);
	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(control), (int[]){ pipes[1], pipes[1] }, 2 * sizeof(int));
	assert_int_equal(sendmsg(ends->one, &header, 0), SAMPLE_SIZE);
	close(pipes[1]);
	assert_int_equal(vmc_spice_control_receive(ends->other, packet, &seen, &passed),
			 VMC_SPICE_RECEIVED);
	if (passed >= 0)
		close(passed);
	/* Not EAGAIN: nobody has the other end open. */
	assert_int_equal(fcntl(pipes[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
}

static void test_long_packet(void **state)
{
	static uint8_t large[VMC_SPICE_CONTROL_MAX + 1];
	Ends *ends = *state;
	uint8_t packet[VMC_SPICE_CONTROL_MAX];
	VmcSpiceControl seen;
	int passed;

	memcpy(large, sample_bytes, SAMPLE_SIZE);
	memset(large + SAMPLE_SIZE, 'x', sizeof(large) - SAMPLE_SIZE);
	assert_int_equal(send(ends->one, large, sizeof(large), 0), sizeof(large));
	assert_int_equal(vmc_spice_control_receive(ends->other, packet, &seen, &passed),
			 VMC_SPICE_BAD);
}

static void test_gone(void **state)
{
	Ends *ends = *state;
	uint8_t packet[VMC_SPICE_CONTROL_MAX];
	VmcSpiceControl seen;
	int passed;

	assert_true(vmc_spice_control_send(ends->one, &sample, -1, false));
	close(ends->one);
	ends->one = -1;
	assert_int_equal(vmc_spice_control_receive(ends->other, packet, &seen, &passed),
			 VMC_SPICE_RECEIVED);
	assert_int_equal(vmc_spice_control_receive(ends->other, packet, &seen, &passed),
			 VMC_SPICE_GONE);
	assert_false(vmc_spice_control_send(ends->other, &sample, -1, false));
}

/* A reader that has stopped costs a sender nothing but the message. */
static void test_full(void **state)
{
	Ends *ends = *state;
	bool sent = true;

	for (unsigned i = 0; i < 100000 && sent; i++)
		sent = vmc_spice_control_send(ends->one, &sample, -1, false);
	assert_false(sent);
}

#define socket_test(name) cmocka_unit_test_setup_teardown(name, make_ends, close_ends)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_bad),
		socket_test(test_descriptor),
		socket_test(test_bad_descriptor),
		socket_test(test_two_descriptors),
		socket_test(test_long_packet),
		socket_test(test_gone),
		socket_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

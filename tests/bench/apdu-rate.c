/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Measures round trips per second, of two kinds with the same sizes:
 *
 *   apdu-rate pingpong COMMAND RESPONSE SECONDS
 *       a raw TCP ping-pong on loopback with a child process: the yardstick;
 *   apdu-rate usbredir PATH COMMAND RESPONSE SECONDS
 *       APDUs as a guest's driver sends them, PC_to_RDR_XfrBlock out and
 *       RDR_to_PC_DataBlock in, to the reader of a vscardd whose usbredir
 *       attach point listens on the UNIX socket PATH, with an echo card in it.
 *
 * COMMAND and RESPONSE are bytes of data in the APDU (of the message for the
 * ping-pong). Prints "RATE MEDIAN": round trips per second, and the median
 * round trip in microseconds. Answers are checked byte for byte.
 */

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <glib.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <usbredirparser.h>

#include "ccid/message.h"
#include "ccid/reader.h"
#include "vmc/span.h"
#include "vscard/card.h"

#define SAMPLES_MAX 4000000u

static void send_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0)
			err(1, "send");
		data += n;
		len -= (size_t)n;
	}
}

static void receive_all(int fd, uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = recv(fd, data, len, 0);

		if (n <= 0)
			errx(1, "the peer closed");
		data += n;
		len -= (size_t)n;
	}
}

static gint compare_times(gconstpointer a, gconstpointer b)
{
	gint64 x = *(const gint64 *)a, y = *(const gint64 *)b;

	return (x > y) - (x < y);
}

/* Runs `once` for `seconds`, and prints rate and median. */
static void measure(void (*once)(void *user, uint32_t round), void *user, double seconds)
{
	g_autoptr(GArray) times = g_array_new(FALSE, FALSE, sizeof(gint64));
	gint64 begin, before, now;
	uint32_t round = 0;

	for (; round < 20; round++) /* warm-up */
		once(user, round);
	begin = before = now = g_get_monotonic_time();
	while ((double)(now - begin) < seconds * 1e6 && times->len < SAMPLES_MAX) {
		gint64 took;

		once(user, round++);
		now = g_get_monotonic_time();
		took = now - before;
		before = now;
		g_array_append_val(times, took);
	}
	g_array_sort(times, compare_times);
	printf("%.0f %" G_GINT64_FORMAT "\n", times->len / ((double)(now - begin) / 1e6),
	       g_array_index(times, gint64, times->len / 2));
}

/* ---- the yardstick ---- */

typedef struct PingPong {
	int fd;
	uint8_t *command, *response;
	size_t command_len, response_len;
} PingPong;

static void pingpong_once(void *user, uint32_t round)
{
	PingPong *p = user;

	p->command[0] = (uint8_t)round;
	send_all(p->fd, p->command, p->command_len);
	receive_all(p->fd, p->response, p->response_len);
	if (p->response[0] != (uint8_t)round)
		errx(1, "the wrong answer came");
}

static void pingpong_child(int listener, PingPong *p)
{
	int one = 1;
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		err(1, "accept");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (;;) {
		receive_all(fd, p->command, p->command_len);
		p->response[0] = p->command[0];
		send_all(fd, p->response, p->response_len);
	}
}

static void run_pingpong(size_t command, size_t response, double seconds)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int one = 1;
	PingPong p = {
		.command = g_malloc0(command + 1),
		.response = g_malloc0(response + 1),
		.command_len = MAX(command, 1),
		.response_len = MAX(response, 1),
	};
	pid_t child;

	if (bind(listener, (struct sockaddr *)&address, len) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &len) < 0)
		err(1, "listen");
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pingpong_child(listener, &p);
	}
	p.fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(p.fd, (struct sockaddr *)&address, len) < 0)
		err(1, "connect");
	setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	measure(pingpong_once, &p, seconds);
	kill(child, SIGKILL);
}

/* ---- the reader ---- */

typedef struct UsbHost {
	int fd;
	struct usbredirparser *parser;
	bool connected, configured;
	uint8_t bulk_in, bulk_out;
	uint64_t next_id;
	uint8_t seq;
	uint8_t answer[CCID_HEADER + VSC_RESPONSE_MAX];
	size_t answer_len;
	bool answered;
	uint8_t command[CCID_HEADER + VSC_COMMAND_MAX];
	size_t command_len, response_len;
	uint8_t *expected;
} UsbHost;

static int host_read(void *priv, uint8_t *data, int count)
{
	UsbHost *host = priv;
	ssize_t n = recv(host->fd, data, (size_t)count, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return 0;
	return n > 0 ? (int)n : -1;
}

static int host_write(void *priv, uint8_t *data, int count)
{
	send_all(((UsbHost *)priv)->fd, data, (size_t)count);
	return count;
}

static void host_log(void *priv, int level, const char *text)
{
	(void)priv;
	if (level <= usbredirparser_warning)
		fprintf(stderr, "usbredir: %s\n", text);
}

static void on_hello(void *priv, struct usb_redir_hello_header *hello)
{
	(void)priv;
	(void)hello;
}

static void on_connect(void *priv, struct usb_redir_device_connect_header *connect_header)
{
	(void)connect_header;
	((UsbHost *)priv)->connected = true;
}

static void on_interfaces(void *priv, struct usb_redir_interface_info_header *info)
{
	(void)priv;
	(void)info;
}

static void on_endpoints(void *priv, struct usb_redir_ep_info_header *info)
{
	UsbHost *host = priv;

	for (uint8_t i = 0; i < 32; i++) {
		if (info->type[i] != usb_redir_type_bulk)
			continue;
		if (i & 0x10)
			host->bulk_in = (uint8_t)(0x80 | (i & 0x0f));
		else
			host->bulk_out = i;
	}
}

static void on_configured(void *priv, uint64_t id,
			  struct usb_redir_configuration_status_header *status)
{
	(void)id;
	((UsbHost *)priv)->configured = status->status == usb_redir_success;
}

static void on_bulk(void *priv, uint64_t id, struct usb_redir_bulk_packet_header *header,
		    uint8_t *data, int len)
{
	UsbHost *host = priv;

	(void)id;
	if (header->status != usb_redir_success)
		errx(1, "a bulk transfer ended with status %u", header->status);
	if ((header->endpoint & 0x80) && (size_t)len <= sizeof(host->answer)) {
		memcpy(host->answer, data, (size_t)len);
		host->answer_len = (size_t)len;
		host->answered = true;
	}
	usbredirparser_free_packet_data(host->parser, data);
}

static void on_interrupt_status(void *priv, uint64_t id,
				struct usb_redir_interrupt_receiving_status_header *status)
{
	(void)priv;
	(void)id;
	(void)status;
}

static void on_interrupt(void *priv, uint64_t id, struct usb_redir_interrupt_packet_header *header,
			 uint8_t *data, int len)
{
	(void)id;
	(void)header;
	(void)len;
	usbredirparser_free_packet_data(((UsbHost *)priv)->parser, data);
}

static void flush_parser(UsbHost *host)
{
	while (usbredirparser_has_data_to_write(host->parser) > 0) {
		if (usbredirparser_do_write(host->parser) < 0)
			errx(1, "usbredir: cannot write");
	}
}

/* Blocks for input and lets the parser have it. */
static void pump(UsbHost *host)
{
	uint8_t byte;

	flush_parser(host);
	if (recv(host->fd, &byte, 1, MSG_PEEK) <= 0 || usbredirparser_do_read(host->parser) < 0)
		errx(1, "the appliance closed the connection");
	flush_parser(host);
}

static void host_connect(UsbHost *host, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint32_t caps[USB_REDIR_CAPS_SIZE] = { 0 };

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	host->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(host->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		err(1, "connect to %s", path);
	host->parser = usbredirparser_create();
	host->parser->priv = host;
	host->parser->log_func = host_log;
	host->parser->read_func = host_read;
	host->parser->write_func = host_write;
	host->parser->hello_func = on_hello;
	host->parser->device_connect_func = on_connect;
	host->parser->interface_info_func = on_interfaces;
	host->parser->ep_info_func = on_endpoints;
	host->parser->configuration_status_func = on_configured;
	host->parser->bulk_packet_func = on_bulk;
	host->parser->interrupt_receiving_status_func = on_interrupt_status;
	host->parser->interrupt_packet_func = on_interrupt;
	usbredirparser_caps_set_cap(caps, usb_redir_cap_connect_device_version);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_ep_info_max_packet_size);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_64bits_ids);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_32bits_bulk_length);
	usbredirparser_init(host->parser, "apdu-rate", caps, USB_REDIR_CAPS_SIZE, 0);
	while (!host->connected || host->bulk_in == 0)
		pump(host);
}

/* Sends one PC_to_RDR message and waits for its answer, time extensions aside. */
static void exchange(UsbHost *host, uint8_t *message, size_t len)
{
	struct usb_redir_bulk_packet_header out = {
		.endpoint = host->bulk_out,
		.length = (uint16_t)len,
		.length_high = (uint16_t)(len >> 16),
	};
	struct usb_redir_bulk_packet_header in = {
		.endpoint = host->bulk_in,
		.length = (uint16_t)CCID_MESSAGE_MAX,
		.length_high = (uint16_t)(CCID_MESSAGE_MAX >> 16),
	};

	message[6] = ++host->seq;
	usbredirparser_send_bulk_packet(host->parser, host->next_id++, &out, message, (int)len);
	do {
		usbredirparser_send_bulk_packet(host->parser, host->next_id++, &in, NULL, 0);
		host->answered = false;
		while (!host->answered)
			pump(host);
		if (host->answer_len < CCID_HEADER || host->answer[6] != host->seq)
			errx(1, "an answer that belongs to no command");
	} while (host->answer[7] >> 6 == 2);
	if (host->answer[7] >> 6 != 0)
		errx(1, "bStatus %02x, bError %02x", host->answer[7], host->answer[8]);
}

static void usbredir_once(void *user, uint32_t round)
{
	UsbHost *host = user;

	(void)round;
	exchange(host, host->command, host->command_len);
	if (host->answer_len != CCID_HEADER + host->response_len + 2 ||
	    memcmp(host->answer + CCID_HEADER, host->expected, host->response_len + 2) != 0)
		errx(1, "the wrong answer came");
}

/* The echo card's command (tests/lib/testcard.h) with `command` bytes of data
 * and an Le of `response`, in the shortest form that holds both. */
static size_t build_apdu(uint8_t *apdu, size_t command, size_t response)
{
	bool extended = command > 255 || response > 256;
	size_t n = 4;

	memcpy(apdu, "\x00\xec\x00\x00", 4);
	if (extended)
		apdu[n++] = 0;
	if (command > 0) {
		if (extended)
			apdu[n++] = (uint8_t)(command >> 8);
		apdu[n++] = (uint8_t)command;
		memset(apdu + n, 1, command);
		n += command;
	}
	if (response > 0) {
		if (extended)
			apdu[n++] = (uint8_t)(response >> 8);
		apdu[n++] = (uint8_t)response;
	}
	return n;
}

/* What the echo card answers to that. */
static uint8_t *build_expected(size_t command, size_t response)
{
	uint8_t *expected = g_malloc(response + 2);
	uint8_t seed = (uint8_t)command; /* the sum of as many ones; P2 is 0 */

	for (size_t i = 0; i < response; i++)
		expected[i] = (uint8_t)(seed + i * 7 + i / 251);
	expected[response] = 0x90;
	expected[response + 1] = 0x00;
	return expected;
}

static void put_header(uint8_t *message, uint8_t type, size_t len)
{
	memset(message, 0, CCID_HEADER);
	message[0] = type;
	vmc_put_u32le(message + 1, (uint32_t)len);
}

static void run_usbredir(const char *path, size_t command, size_t response, double seconds)
{
	UsbHost *host = g_new0(UsbHost, 1);
	struct usb_redir_set_configuration_header configuration = { .configuration = 1 };
	uint8_t power_on[CCID_HEADER];
	size_t apdu;

	host_connect(host, path);
	usbredirparser_send_set_configuration(host->parser, host->next_id++, &configuration);
	while (!host->configured)
		pump(host);
	put_header(power_on, CCID_ICC_POWER_ON, 0);
	exchange(host, power_on, sizeof(power_on));
	apdu = build_apdu(host->command + CCID_HEADER, command, response);
	put_header(host->command, CCID_XFR_BLOCK, apdu);
	host->command_len = CCID_HEADER + apdu;
	host->response_len = response;
	host->expected = build_expected(command, response);
	measure(usbredir_once, host, seconds);
	usbredirparser_destroy(host->parser);
	close(host->fd);
	g_free(host->expected);
	g_free(host);
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "pingpong") == 0)
		run_pingpong((size_t)atol(argv[2]), (size_t)atol(argv[3]), atof(argv[4]));
	else if (argc == 6 && strcmp(argv[1], "usbredir") == 0)
		run_usbredir(argv[2], (size_t)atol(argv[3]), (size_t)atol(argv[4]), atof(argv[5]));
	else
		errx(1, "usage: apdu-rate pingpong COMMAND RESPONSE SECONDS | "
			"apdu-rate usbredir PATH COMMAND RESPONSE SECONDS");
	return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A SPICE client that does what its standard input says and tells what it
 * hears, for suites that have a server:
 *
 *   spice-probe ADDRESS card|smartcard|usbredir|port=NAME [RECONNECT|beside]
 *
 * The password is in SPICE_PASSWORD. Input, a line each: "send HEX",
 * "disconnect", "detach", "attach", "join ID", "leave", "pause", "go",
 * "fill BYTES", "quit". Output: "opened [smartcard]", "closed CODE TEXT",
 * "failed MS CODE TEXT", "data HEX", "filled".
 */

#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmc/spice-session.h"

typedef struct Probe {
	GMainLoop *loop;
	VmcSpiceSession *session;
	VmcChardev *channel;
	char input[256 * 1024];
	size_t filled;
	size_t to_fill;
} Probe;

static void on_opened(void *user)
{
	const Probe *self = user;

	printf("opened%s\n", vmc_chardev_is_smartcard_channel(self->channel) ? " smartcard" : "");
}

static void on_closed(void *user, const GError *reason)
{
	const Probe *self = user;

	printf("closed %u %s\n", vmc_spice_session_error(self->session), reason->message);
}

static void on_failed(void *user, const GError *reason, unsigned again)
{
	const Probe *self = user;

	printf("failed %u %u %s\n", again, vmc_spice_session_error(self->session), reason->message);
}

static void on_readable(void *user)
{
	const Probe *self = user;
	uint8_t data[4096];
	size_t n;

	while ((n = vmc_chardev_read(self->channel, data, sizeof(data))) > 0) {
		printf("data ");
		for (size_t i = 0; i < n; i++)
			printf("%02x", data[i]);
		printf("\n");
	}
}

static void fill(Probe *self)
{
	uint8_t piece[1000];

	memset(piece, 'x', sizeof(piece));
	while (self->to_fill > 0) {
		size_t n = MIN(self->to_fill, sizeof(piece));
		VmcWrite result = vmc_chardev_write(self->channel, vmc_span(piece, n));

		if (result == VMC_WRITE_CLOSED || result == VMC_WRITE_FULL)
			return;
		self->to_fill -= n;
		if (self->to_fill == 0)
			printf("filled\n");
		if (result == VMC_WRITE_HIGH)
			return;
	}
}

static void on_writable(void *user)
{
	fill(user);
}

static const VmcChardevEvents events = {
	.opened = on_opened,
	.closed = on_closed,
	.failed = on_failed,
	.readable = on_readable,
	.writable = on_writable,
};

static void send_hex(const Probe *self, const char *hex)
{
	g_autoptr(GByteArray) bytes = g_byte_array_new();

	for (; g_ascii_isxdigit(hex[0]) && g_ascii_isxdigit(hex[1]); hex += 2) {
		guint8 byte =
			(guint8)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));

		g_byte_array_append(bytes, &byte, 1);
	}
	if (vmc_chardev_write(self->channel, vmc_span(bytes->data, bytes->len)) > VMC_WRITE_HIGH)
		printf("unsent\n");
}

static void obey(Probe *self, const char *line)
{
	if (g_str_has_prefix(line, "send "))
		send_hex(self, line + 5);
	else if (g_str_has_prefix(line, "fill ")) {
		self->to_fill = strtoul(line + 5, NULL, 10);
		fill(self);
	} else if (strcmp(line, "disconnect") == 0)
		vmc_chardev_disconnect(self->channel, true, "told to");
	else if (strcmp(line, "detach") == 0)
		vmc_chardev_set_user(self->channel, NULL, NULL);
	else if (strcmp(line, "attach") == 0)
		vmc_chardev_set_user(self->channel, &events, self);
	else if (strcmp(line, "pause") == 0)
		vmc_chardev_pause(self->channel, true);
	else if (strcmp(line, "go") == 0)
		vmc_chardev_pause(self->channel, false);
	else if (g_str_has_prefix(line, "join "))
		vmc_spice_session_join(self->session, (uint32_t)strtoul(line + 5, NULL, 0));
	else if (strcmp(line, "leave") == 0)
		vmc_spice_session_leave(self->session, "told to leave");
	else if (strcmp(line, "quit") == 0)
		g_main_loop_quit(self->loop);
	else
		printf("what is '%s'?\n", line);
}

static gboolean on_input(gint fd, GIOCondition condition G_GNUC_UNUSED, gpointer user)
{
	Probe *self = user;
	ssize_t n = read(fd, self->input + self->filled, sizeof(self->input) - self->filled);
	char *line = self->input, *end;

	if (n <= 0) {
		g_main_loop_quit(self->loop);
		return G_SOURCE_REMOVE;
	}
	self->filled += (size_t)n;
	while ((end = memchr(line, '\n', self->filled - (size_t)(line - self->input))) != NULL) {
		*end = '\0';
		obey(self, line);
		line = end + 1;
	}
	self->filled -= (size_t)(line - self->input);
	memmove(self->input, line, self->filled);
	return G_SOURCE_CONTINUE;
}

static gboolean on_terminate(gpointer user)
{
	g_main_loop_quit(((Probe *)user)->loop);
	return G_SOURCE_CONTINUE;
}

static bool open_session(Probe *self, char **argv, GError **error)
{
	VmcSpiceAddress address = { .host = NULL };
	const char *how = argv[3] != NULL ? argv[3] : "0";

	if (vmc_spice_address_read(&address, argv[1], error)) {
		if (address.password == NULL)
			address.password = g_strdup(g_getenv("SPICE_PASSWORD"));
		self->session = strcmp(how, "beside") == 0 ?
					vmc_spice_session_new_beside(&address, error) :
					vmc_spice_session_new(&address, (unsigned)atoi(how), error);
	}
	vmc_spice_address_clear(&address);
	return self->session != NULL;
}

static VmcChardev *open_channel(const Probe *self, const char *want)
{
	if (g_str_has_prefix(want, "port="))
		return vmc_spice_session_channel(self->session, VMC_SPICE_WANT_PORT, want + 5);
	if (strcmp(want, "usbredir") == 0)
		return vmc_spice_session_channel(self->session, VMC_SPICE_WANT_USBREDIR, NULL);
	if (strcmp(want, "smartcard") == 0)
		return vmc_spice_session_channel(self->session, VMC_SPICE_WANT_SMARTCARD, NULL);
	return vmc_spice_session_channel(self->session, VMC_SPICE_WANT_CARD, NULL);
}

int main(int argc, char **argv)
{
	static Probe probe;
	g_autoptr(GError) error = NULL;

	if (argc < 3) {
		fprintf(stderr, "usage: spice-probe ADDRESS WANT [RECONNECT|beside]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!open_session(&probe, argv, &error)) {
		fprintf(stderr, "spice-probe: %s\n", error->message);
		return 1;
	}
	probe.loop = g_main_loop_new(NULL, FALSE);
	probe.channel = open_channel(&probe, argv[2]);
	vmc_chardev_set_user(probe.channel, &events, &probe);
	g_unix_fd_add(0, G_IO_IN | G_IO_HUP, on_input, &probe);
	g_unix_signal_add(SIGTERM, on_terminate, &probe);
	g_main_loop_run(probe.loop);

	vmc_chardev_free(probe.channel);
	vmc_spice_session_free(probe.session);
	g_main_loop_unref(probe.loop);
	return 0;
}

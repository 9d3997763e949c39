/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One connection, or some: the server may want TLS for the channel, or have the
 * other of two kinds.
 */

#include "tools/vscclient-check-spice.h"

#include <spice/enums.h>

#include "tools/vscclient-say.h"
#include "tools/vscclient-spice.h"
#include "vmc/spice-connection.h"

/* Servers number their sessions by rand(), below this. */
#define NO_SESSION 0xffffffffu

typedef struct Probe {
	const ClientOptions *options;
	GMainLoop *loop;
	VmcTls *tls; /* NULL: there is none */
	VmcSpiceConnection *connection;
	bool over_tls;
	uint8_t type;     /* of channel; */
	char *no_channel; /* what was said of the first kind, NULL: nothing */
	ClientExit exit;
} Probe;

ClientExit client_check_spice_exit(VmcSpiceError error)
{
	switch (error) {
	case VMC_SPICE_ERROR_PASSWORD:
		return CLIENT_EXIT_PASSWORD;
	case VMC_SPICE_ERROR_UNTRUSTED:
		return CLIENT_EXIT_UNTRUSTED;
	case VMC_SPICE_ERROR_NO_CHANNEL:
		return CLIENT_EXIT_NO_CHANNEL;
	case VMC_SPICE_ERROR_BUSY:
		return CLIENT_EXIT_CHANNEL_BUSY;
	case VMC_SPICE_ERROR_PROTOCOL:
		return CLIENT_EXIT_NOT_VSCARD;
	case VMC_SPICE_ERROR_TLS_WANTED:
	case VMC_SPICE_ERROR_TLS_UNWANTED:
	case VMC_SPICE_ERROR_SESSION:
	case VMC_SPICE_ERROR_GONE:
		break;
	}
	return CLIENT_EXIT_UNREACHED;
}

static void stop(Probe *probe, ClientExit status)
{
	probe->exit = status;
	g_main_loop_quit(probe->loop);
}

static void let_in(Probe *probe)
{
	const VmcSpiceAddress *address = &probe->options->spice;
	g_autofree char *where = vmc_spice_address_describe(address);

	answer("ok: the SPICE server at %s answers%s%s", where,
	       probe->over_tls ? " over TLS, and is trusted" : "",
	       address->password != NULL ? ", and takes the password" : "");
	answer("ok: it has a %s channel", probe->type == SPICE_CHANNEL_PORT     ? "port" :
					  probe->type == SPICE_CHANNEL_USBREDIR ? "usbredir" :
										  "smartcard");
	stop(probe, CLIENT_EXIT_DONE);
}

static void connect_probe(Probe *probe);

static gboolean try_again(gpointer user)
{
	Probe *probe = user;

	g_clear_pointer(&probe->connection, vmc_spice_connection_free);
	connect_probe(probe);
	return G_SOURCE_REMOVE;
}

static void on_over(void *user, VmcSpiceError code, const char *text)
{
	Probe *probe = user;

	if (code == VMC_SPICE_ERROR_SESSION) {
		let_in(probe);
	} else if (code == VMC_SPICE_ERROR_TLS_WANTED && probe->tls != NULL && !probe->over_tls) {
		probe->over_tls = true;
		g_idle_add(try_again, probe);
	} else if (code == VMC_SPICE_ERROR_NO_CHANNEL && probe->no_channel == NULL &&
		   probe->options->want == VMC_SPICE_WANT_CARD) {
		probe->no_channel = g_strdup(text);
		probe->type = SPICE_CHANNEL_PORT;
		g_idle_add(try_again, probe);
	} else {
		answer("problem: %s%s", probe->no_channel != NULL ? probe->no_channel : text,
		       code == VMC_SPICE_ERROR_GONE ?
			       "; start the virtual machine, or correct host and port" :
			       "");
		stop(probe, client_check_spice_exit(code));
	}
}

/* Such a server takes anybody. */
static void on_up(void *user)
{
	let_in(user);
}

static void on_message(void *user, uint16_t type, VmcSpan body)
{
	(void)user;
	(void)type;
	(void)body;
}

static void on_writable(void *user)
{
	(void)user;
}

static const VmcSpiceConnectionEvents events = {
	.up = on_up,
	.message = on_message,
	.writable = on_writable,
	.over = on_over,
};

static void connect_probe(Probe *probe)
{
	const VmcSpiceConnectionConfig config = {
		.address = &probe->options->spice,
		.tls = probe->over_tls ? probe->tls : NULL,
		.connection_id = NO_SESSION,
		.type = probe->type,
	};

	probe->connection = vmc_spice_connection_new(&config, &events, probe);
}

ClientExit client_check_spice(const ClientOptions *options)
{
	g_autoptr(GError) error = NULL;
	Probe probe = { .options = options };

	probe.tls = vmc_spice_connection_tls(&options->spice, &error);
	if (error != NULL) {
		answer("problem: %s", error->message);
		return CLIENT_EXIT_UNTRUSTED;
	}
	probe.loop = g_main_loop_new(NULL, FALSE);
	probe.type = client_spice_channel_type(options->want);
	probe.over_tls = options->spice.path == NULL && options->spice.port == 0;
	connect_probe(&probe);
	g_main_loop_run(probe.loop);
	vmc_spice_connection_free(probe.connection);
	g_clear_pointer(&probe.tls, vmc_tls_unref);
	g_main_loop_unref(probe.loop);
	g_free(probe.no_channel);
	return probe.exit;
}

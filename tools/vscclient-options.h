/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * vscclient's command line: a table of options, those of libcacard's program
 * of that name among them, read into what the cards and the socket are made
 * from.
 */

#pragma once

#include <glib.h>
#include <stdbool.h>

#include "tools/vscclient-exit.h"
#include "vmc/opts.h"
#include "vmc/spice-address.h"
#include "vmc/spice-session.h"
#include "vscard/share.h"

#define CLIENT_OPTIONS_ERROR (client_options_error_quark())
GQuark client_options_error_quark(void);

typedef enum ClientAction {
	CLIENT_RUN,
	CLIENT_LIST,  /* the PC/SC readers */
	CLIENT_CHECK, /* why no card is seen on the other side */
	CLIENT_SHOW_HELP,
	CLIENT_SHOW_VERSION,
} ClientAction;

typedef struct ClientOptions {
	ClientAction action;
	char *cards; /* a vcard_emul_options string; NULL: libcacard's default */
	bool pcsc;   /* instead, the readers of this machine: */
	char **pcsc_readers, **pcsc_exclude; /* names or globs; NULL: all, and none */
	VscShareMode pcsc_share;
	char *host, *port; /* TCP, */
	char *path;        /* UNIX, */
	bool abstract;
	bool is_spice; /* or SPICE: */
	VmcSpiceAddress spice;
	VmcSpiceWant want;   /* which of its channels */
	char *port_channel;  /* the name of a port; NULL: the default one */
	char *password_file; /* NULL: none */
	char **viewer;       /* the program beside which it runs, and its words; NULL: none */
	bool as_usb;         /* lend a USB reader, not VSCard cards */
	unsigned reconnect;  /* seconds to the first new attempt; 0: never */
	bool check_all;      /* CLIENT_CHECK: a SPICE session, too, which throws others out */
	int trace;           /* a level of vsc_link_set_trace() */
} ClientOptions;

/*
 * Reads the command line, and the .vv file that it names. False with `error`
 * (CLIENT_OPTIONS_ERROR, VMC_SPICE_ADDRESS_ERROR, or VSC_CACARD_ERROR for names
 * that cannot stand in an option string); clear `options` either way. CLIENT_CHECK
 * sets what CLIENT_RUN does, CLIENT_LIST only what is of PC/SC, others nothing.
 * `argv` is reordered.
 */
bool client_options_read(ClientOptions *options, int argc, char **argv, GError **error);
void client_options_clear(ClientOptions *options);

/* The char device to make if it is not SPICE: backend socket with its keys. */
VmcOpts *client_options_socket(const ClientOptions *options);

/* What --help prints; free with g_free(). */
char *client_options_help(void);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSocketConfig: what the keys of `-chardev socket` come to once they are
 * checked against each other. Private to the socket backend.
 */

#pragma once

#include <gio/gio.h>

#include "vmc/opts.h"

typedef enum VmcSocketKind {
	VMC_SOCKET_TCP,
	VMC_SOCKET_UNIX,
	VMC_SOCKET_FD, /* inherited: what is behind it shows later */
} VmcSocketKind;

typedef struct VmcSocketConfig {
	VmcSocketKind kind;
	bool server;
	bool wait; /* server: for the first client */
	bool nodelay;
	bool quickack;
	bool ipv4; /* TCP: families that may be used; one at least */
	bool ipv6;
	char *host;    /* TCP: name or bare address; "": any, servers only */
	uint16_t port; /* TCP: 0, servers only: the system chooses */
	uint16_t to;   /* TCP server: the last port to try */
	char *proxy;   /* TCP client: "http://[USER:PASSWORD@]HOST:PORT", whom to ask
			* for the way; NULL: straight */
	char *path;    /* UNIX: path or abstract name */
	bool abstract;
	bool tight; /* abstract name without padding */
	int fd;
	unsigned reconnect; /* seconds; 0: never */
} VmcSocketConfig;

/* The longest path or name that fits in a sockaddr_un beside its NUL. */
#define VMC_SOCKET_PATH_MAX 107u

/* The keys; ends with a NULL name. */
extern const VmcOptDesc vmc_socket_options[];

/* The address of a UNIX socket by its path or name, the caller's to unref. */
GSocketAddress *vmc_socket_config_unix_address(const VmcSocketConfig *config);

/* Fills `config`, zeroed, from options checked against vmc_socket_options.
 * False with `error` (VMC_OPTS_ERROR) if they do not go together. Clear it in
 * either case. */
bool vmc_socket_config_read(VmcSocketConfig *config, const VmcOpts *opts, GError **error);
void vmc_socket_config_clear(VmcSocketConfig *config);

/* "tcp:HOST:PORT" with an IPv6 address in [], or "unix:PATH", "unix:@NAME",
 * "fd:N"; `host` and `port` say the real ones of a TCP server. */
char *vmc_socket_config_describe(const VmcSocketConfig *config, const char *host, uint16_t port);

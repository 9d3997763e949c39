/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The system's own means, tcp(7). */

#include "vmc/keepalive.h"

#include <glib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

void vmc_keepalive_set(int fd)
{
	static const struct {
		int level, name, value;
	} wanted[] = {
		{ IPPROTO_TCP, TCP_KEEPIDLE, VMC_KEEPALIVE_IDLE_SECONDS },
		{ IPPROTO_TCP, TCP_KEEPINTVL, VMC_KEEPALIVE_INTERVAL_SECONDS },
		{ IPPROTO_TCP, TCP_KEEPCNT, VMC_KEEPALIVE_PROBES },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, VMC_KEEPALIVE_UNACKNOWLEDGED_MS },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
	};

	/* The first one fails for what is no TCP. */
	for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++) {
		if (setsockopt(fd, wanted[i].level, wanted[i].name, &wanted[i].value,
			       sizeof(int)) != 0)
			return;
	}
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscPort: what both links do with a char device. It cuts the input into
 * messages, sends each message as one write, stops taking input while the
 * peer does not take output, ends a conversation that cannot go on, and says
 * in the trace what goes by.
 */

#pragma once

#include "vmc/buf.h"
#include "vmc/chardev.h"
#include "vscard/wire.h"

typedef struct VscPortEvents {
	void (*opened)(void *user);
	/* `reason` is valid during the call. */
	void (*closed)(void *user, const GError *reason);
	/* No conversation came about; as VmcChardevEvents has it. May be NULL. */
	void (*failed)(void *user, const GError *reason, unsigned again_ms);
	/* One message; borrowed during the call. */
	void (*message)(void *user, const VscMessage *message);
} VscPortEvents;

typedef struct VscPort {
	VmcChardev *chardev;
	VscOrder order; /* of the present conversation, from `opened` on */
	bool is_host;   /* the commands are what it sends */
	const VscPortEvents *events;
	void *user;
	VmcBuf in;
	bool open;
	bool closing; /* vsc_port_close() was called: nothing more is taken */
	bool full;    /* output is above the high mark */
} VscPort;

/* Makes the port the one user of `chardev` (borrowed). False with `error` when
 * it has one. */
bool vsc_port_init(VscPort *port, VmcChardev *chardev, bool is_host, const VscPortEvents *events,
		   void *user, GError **error);
void vsc_port_finish(VscPort *port);

/* Sends one message; dropped when nobody is there. */
void vsc_port_send(VscPort *port, uint32_t type, uint32_t reader_id, VmcSpan payload);

/* Ends the conversation after what was sent; `closed` follows from the loop. */
void vsc_port_close(VscPort *port, const char *because);

/* A line for the trace, after the name of the char device. */
void vsc_port_trace(const VscPort *port, int level, const char *format, ...) G_GNUC_PRINTF(3, 4);

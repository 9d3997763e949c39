/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What vscardd and the process that holds its SPICE server, vscardd-spice, say
 * to each other: one packet a message on a SOCK_SEQPACKET socket. A channel's
 * bytes are not among it: each conversation has a stream socket of its own,
 * passed along with the message that begins it, and ends with that. The
 * library may be made to do anything by a client, so what comes from that
 * process is read as a stranger's.
 */

#pragma once

#include "vmc/span.h"

/* Where vscardd-spice finds its socket. */
#define VMC_SPICE_CONTROL_FD 3

/* With this status vscardd-spice asks to be started anew: what is wanted of it
 * the library can do only once a process. */
#define VMC_SPICE_EXIT_ANEW 75

/* The longest packet; the longest text in it is a path or a line of log. */
#define VMC_SPICE_CONTROL_MAX 8192u

typedef enum VmcSpiceControlType {
	/* vscardd's: */
	VMC_SPICE_SETTING = 1, /* key of -spice and its text, the password among them */
	VMC_SPICE_START,       /* all settings are said: listen */
	VMC_SPICE_DEVICE,      /* a char device: key subtype, text port name, value debug */
	VMC_SPICE_FRONT,       /* its front end is there (value 1) or not (0) */
	VMC_SPICE_REMOVE,      /* the char device is no more */
	/* vscardd-spice's: */
	VMC_SPICE_SUBTYPES,  /* text: what a spicevmc may be called, comma-separated */
	VMC_SPICE_LISTENING, /* text: where, in words for people */
	VMC_SPICE_FAILED,    /* text: why it cannot */
	VMC_SPICE_LOG,       /* value VmcSpiceLogLevel, text a line */
	VMC_SPICE_OPENED,    /* a client is on the channel; with its stream socket */
	VMC_SPICE_TYPES,     /* one past the last */
} VmcSpiceControlType;

typedef enum VmcSpiceLogLevel {
	VMC_SPICE_LOG_WARNING,
	VMC_SPICE_LOG_MESSAGE,
	VMC_SPICE_LOG_DEBUG,
} VmcSpiceLogLevel;

typedef struct VmcSpiceControl {
	VmcSpiceControlType type;
	uint32_t channel; /* number of the char device */
	uint32_t value;
	VmcSpan key; /* without an end mark; borrowed */
	VmcSpan text;
} VmcSpiceControl;

/* Bytes of the packet written to the `size` bytes at `to`; 0 if they do not
 * hold it. */
size_t vmc_spice_control_encode(const VmcSpiceControl *message, uint8_t *to, size_t size);

/* False if `packet` is no message. The texts borrow from it and hold no NUL. */
bool vmc_spice_control_decode(VmcSpan packet, VmcSpiceControl *message);

/* A span over the bytes of `text`; NULL is empty. */
VmcSpan vmc_spice_control_text(const char *text);

/* Sends `message`, and a copy of the descriptor `passed` if that is not -1.
 * False when the other end is gone or, if not `wait`, does not take it now. */
bool vmc_spice_control_send(int fd, const VmcSpiceControl *message, int passed, bool wait);

typedef enum VmcSpiceReceived {
	VMC_SPICE_RECEIVED,
	VMC_SPICE_NOTHING, /* none now */
	VMC_SPICE_BAD,     /* a packet that is no message, dropped */
	VMC_SPICE_GONE,    /* the other end is gone */
} VmcSpiceReceived;

/* Receives into `packet` without waiting; `*passed` is then the caller's, or
 * -1. */
VmcSpiceReceived vmc_spice_control_receive(int fd, uint8_t packet[VMC_SPICE_CONTROL_MAX],
					   VmcSpiceControl *message, int *passed);

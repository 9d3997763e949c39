/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSpiceLink: one connection of a SPICE client, one channel, as a machine
 * without I/O. Bytes of the server go in, actions come out of
 * vmc_spice_link_next(): bytes to send, then, once the server has taken the
 * link, its messages. What every channel has is done here: both data headers,
 * acknowledgement windows, pings, notices, the reason of a disconnection.
 */

#pragma once

#include <glib.h>

#include "vmc/spice-wire.h"

#define VMC_SPICE_ERROR (vmc_spice_error_quark())
GQuark vmc_spice_error_quark(void);

/* Each is one line for people that names the cure. */
typedef enum VmcSpiceError {
	VMC_SPICE_ERROR_PASSWORD,     /* wrong or missing password or SASL identity */
	VMC_SPICE_ERROR_NO_CHANNEL,   /* the server has no such channel */
	VMC_SPICE_ERROR_BUSY,         /* the channel has another client */
	VMC_SPICE_ERROR_TLS_WANTED,   /* this channel is served over TLS only */
	VMC_SPICE_ERROR_TLS_UNWANTED, /* or without TLS only, or the port speaks no TLS */
	VMC_SPICE_ERROR_SESSION,      /* no session of this connection id (any more) */
	VMC_SPICE_ERROR_PROTOCOL,     /* not a SPICE server, or one of another version */
	VMC_SPICE_ERROR_GONE,         /* the server ended, or threw this client out */
	VMC_SPICE_ERROR_UNTRUSTED,    /* TLS: it is not who it should be */
} VmcSpiceError;

/* The largest message body taken whole; of longer ones a data channel has none
 * (usbredir sends 64 KiB and a header). One is the server's violation. */
#define VMC_SPICE_BODY_MAX (1024u * 1024)

typedef struct VmcSpiceLinkConfig {
	VmcSpiceLinkMess mess; /* its common capabilities are added here */
	const char *host;      /* for SASL and texts */
	const char *user;      /* SASL; may be NULL */
	const char *password;  /* may be NULL: none known */
	bool tls;              /* the stream is encrypted */
} VmcSpiceLinkConfig;

typedef enum VmcSpiceLinkActionKind {
	VMC_SPICE_LINK_SEND,    /* send data to the server */
	VMC_SPICE_LINK_UP,      /* the server took the link */
	VMC_SPICE_LINK_MESSAGE, /* of type, body in data; common ones do not come, except
				 * SPICE_MSG_MIGRATE and _MIGRATE_DATA */
	VMC_SPICE_LINK_NOTE,    /* worth a log line: data is the text */
	VMC_SPICE_LINK_FAILED,  /* it is over: code and the text in data; last action */
} VmcSpiceLinkActionKind;

typedef struct VmcSpiceLinkAction {
	VmcSpiceLinkActionKind kind;
	uint16_t type;      /* MESSAGE */
	VmcSpiceError code; /* FAILED */
	VmcSpan data;       /* valid until the next vmc_spice_link_… call */
} VmcSpiceLinkAction;

typedef struct VmcSpiceLink VmcSpiceLink;

/* A link that wants the channel of `config` (copied). SEND of the link message
 * is its first action. */
VmcSpiceLink *vmc_spice_link_new(const VmcSpiceLinkConfig *config);
/* Wipes password and input. */
void vmc_spice_link_free(VmcSpiceLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcSpiceLink, vmc_spice_link_free)

/* Bytes of the server, any cut; copied. Take all actions before the next. */
void vmc_spice_link_input(VmcSpiceLink *link, VmcSpan bytes);

/* The stream ended: says by FAILED what that means at this point (a server that
 * just closes after the ticket had a wrong one; a busy channel is closed after
 * the link). Nothing if FAILED came before. */
void vmc_spice_link_ended(VmcSpiceLink *link);

/* A message to the server, once UP; becomes one SEND. */
void vmc_spice_link_send(VmcSpiceLink *link, uint16_t type, VmcSpan body);

bool vmc_spice_link_next(VmcSpiceLink *link, VmcSpiceLinkAction *action);

/* The server's capabilities of the channel, once UP. */
const VmcSpiceCaps *vmc_spice_link_caps(const VmcSpiceLink *link);

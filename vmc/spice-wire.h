/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The SPICE protocol's bytes, as far as a client needs them that carries data
 * channels: the link messages that open a connection, the two data headers,
 * the messages common to all channels, and those of the main and the port
 * channel. Pure functions over spans; spice-link.h knows what they mean.
 * Numbers are little-endian. Names and values are those of spice-protocol
 * (spice/protocol.h, spice/enums.h), which also say what is not said here.
 */

#pragma once

#include <spice/enums.h>
#include <spice/protocol.h>

#include "vmc/span.h"

typedef enum VmcSpiceResult {
	VMC_SPICE_OK,        /* one thing taken from the front */
	VMC_SPICE_NEED_MORE, /* nothing taken */
	VMC_SPICE_BAD,       /* this is not SPICE: end the connection */
} VmcSpiceResult;

/* SpiceLinkHeader: magic "REDQ", major, minor, size of what follows. */
#define VMC_SPICE_LINK_HEADER 16u
/* The longest link message taken from a peer: a reply is 178 bytes and some
 * words of capabilities, of which spice-protocol 0.14 has one or two. */
#define VMC_SPICE_LINK_MAX 4096u

/* Capability words (32 bits each) kept of a peer's, common or of a channel; it
 * may send more, which are dropped. */
#define VMC_SPICE_CAPS_WORDS 4u

typedef struct VmcSpiceCaps {
	uint32_t words[VMC_SPICE_CAPS_WORDS];
} VmcSpiceCaps;

static inline void vmc_spice_caps_set(VmcSpiceCaps *caps, unsigned bit)
{
	caps->words[bit / 32] |= 1u << (bit % 32);
}

static inline bool vmc_spice_caps_has(const VmcSpiceCaps *caps, unsigned bit)
{
	return bit / 32 < VMC_SPICE_CAPS_WORDS && (caps->words[bit / 32] >> (bit % 32) & 1u) != 0;
}

/* SpiceLinkMess, the client's first message. */
typedef struct VmcSpiceLinkMess {
	uint32_t connection_id; /* 0 on a new session's main channel */
	uint8_t channel_type;   /* SPICE_CHANNEL_… */
	uint8_t channel_id;
	VmcSpiceCaps common;
	VmcSpiceCaps channel;
} VmcSpiceLinkMess;

/* Header and message as bytes; answers how many, at most VMC_SPICE_LINK_MESS_MAX. */
#define VMC_SPICE_LINK_MESS_MAX (VMC_SPICE_LINK_HEADER + 18u + 8u * VMC_SPICE_CAPS_WORDS)
size_t vmc_spice_put_link_mess(uint8_t to[VMC_SPICE_LINK_MESS_MAX], const VmcSpiceLinkMess *mess);

/* Takes header and SpiceLinkMess from the front of `in`: what a relay reads of
 * a client. On BAD, `*because` is a static text. */
VmcSpiceResult vmc_spice_get_link_mess(VmcSpan *in, VmcSpiceLinkMess *mess, const char **because);

/* SpiceLinkReply, the server's answer. */
typedef struct VmcSpiceLinkReply {
	uint32_t error;     /* SPICE_LINK_ERR_… */
	VmcSpan public_key; /* SubjectPublicKeyInfo, DER, 162 bytes; borrowed */
	VmcSpiceCaps common;
	VmcSpiceCaps channel;
} VmcSpiceLinkReply;

/* Takes header and SpiceLinkReply from the front of `in`. A reply of an error
 * may be cut after the error (key empty, no capabilities). */
VmcSpiceResult vmc_spice_get_link_reply(VmcSpan *in, VmcSpiceLinkReply *reply,
					const char **because);

/* A server's reply that refuses: `error` not OK, zeroed key, no capabilities. */
#define VMC_SPICE_REFUSAL (VMC_SPICE_LINK_HEADER + 178u)
void vmc_spice_put_refusal(uint8_t to[VMC_SPICE_REFUSAL], uint32_t error);

/* "permission denied", ... for an SPICE_LINK_ERR_ code; static. */
const char *vmc_spice_link_error_text(uint32_t error);

/* ---- After the link: messages with a data header ---- */

#define VMC_SPICE_MINI_HEADER 6u  /* type 16, size 32 */
#define VMC_SPICE_FULL_HEADER 18u /* serial 64, type 16, size 32, sub_list 32 */

typedef struct VmcSpiceHeader {
	uint64_t serial; /* full header only; 0 in a mini one */
	uint16_t type;
	uint32_t size;     /* bytes of the body */
	uint32_t sub_list; /* offset of a list of sub messages in the body, 0: none */
} VmcSpiceHeader;

/* Takes a mini or full header; OK or NEED_MORE. */
VmcSpiceResult vmc_spice_get_header(VmcSpan *in, bool mini, VmcSpiceHeader *header);
/* Puts one, answers its length. */
size_t vmc_spice_put_header(uint8_t to[VMC_SPICE_FULL_HEADER], bool mini,
			    const VmcSpiceHeader *header);

/*
 * The sub messages of a full header's message, SpiceSubMessageList: cuts the
 * list of offsets at `sub_list` (not 0) from the body; then each
 * _next_sub_message() takes one offset and answers the sub message there. False
 * at the list's end, and (the list not empty before) when it lies outside.
 */
bool vmc_spice_get_sub_list(VmcSpan body, uint32_t sub_list, VmcSpan *list);
bool vmc_spice_next_sub_message(VmcSpan body, VmcSpan *list, uint16_t *type, VmcSpan *sub_body);

/* ---- Bodies. Each get answers false when the body is too short; bytes more
 * than known are a newer peer's and are left alone. ---- */

/* SPICE_MSG_SET_ACK: generation, and after how many messages to acknowledge. */
bool vmc_spice_get_set_ack(VmcSpan body, uint32_t *generation, uint32_t *window);

/* SPICE_MSG_NOTIFY: severity (SPICE_NOTIFY_SEVERITY_…) and text, borrowed; a
 * text whose length does not fit is what there is of it. */
bool vmc_spice_get_notify(VmcSpan body, uint32_t *severity, VmcSpan *text);

/* SPICE_MSG_DISCONNECTING: reason (SPICE_LINK_ERR_…). */
bool vmc_spice_get_disconnecting(VmcSpan body, uint32_t *reason);

/* SPICE_MSG_MIGRATE: flags (SPICE_MIGRATE_NEED_…). */
bool vmc_spice_get_migrate(VmcSpan body, uint32_t *flags);

/* SPICE_MSG_MAIN_INIT: of its 32 bytes what matters here. */
typedef struct VmcSpiceMainInit {
	uint32_t session_id; /* the connection id for the other channels */
	bool agent_connected;
	uint32_t agent_tokens;
} VmcSpiceMainInit;
bool vmc_spice_get_main_init(VmcSpan body, VmcSpiceMainInit *init);

/* SPICE_MSG_MAIN_CHANNELS_LIST: takes the next of the list's pairs. First
 * vmc_spice_get_channels() cuts the list from the body, then _next_channel()
 * until it answers false. */
bool vmc_spice_get_channels(VmcSpan body, VmcSpan *list);
bool vmc_spice_next_channel(VmcSpan *list, uint8_t *type, uint8_t *id);

/* SPICE_MSG_MAIN_MIGRATE_BEGIN (`seamless` false), _BEGIN_SEAMLESS (true, which
 * adds the source's migration version) and SWITCH_HOST: where to go. */
typedef struct VmcSpiceDestination {
	uint16_t port;        /* 0: none */
	uint16_t tls_port;    /* 0: none */
	VmcSpan host;         /* text without a NUL, borrowed, 1 to 255 bytes */
	VmcSpan cert_subject; /* the same; empty: none */
	uint32_t src_version; /* seamless only */
} VmcSpiceDestination;
bool vmc_spice_get_destination(VmcSpan body, bool seamless, VmcSpiceDestination *destination);

/* SPICE_MSG_PORT_INIT: the port's name (without NUL, borrowed) and whether its
 * other side is open. SPICE_MSG_PORT_EVENT: SPICE_PORT_EVENT_…. */
bool vmc_spice_get_port_init(VmcSpan body, VmcSpan *name, bool *opened);
bool vmc_spice_get_port_event(VmcSpan body, uint8_t *event);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the three files of a SPICE client's session are to each other:
 * spice-session.c has the main channel and the list of channels, spice-channel.c
 * the channels as char devices, spice-migrate.c the way to another host. Users
 * include vmc/spice-session.h only.
 */

#pragma once

#include "vmc/buf.h"
#include "vmc/chardev-backend.h"
#include "vmc/retry.h"
#include "vmc/spice-connection.h"
#include "vmc/spice-session.h"

typedef struct VmcSpiceChannel VmcSpiceChannel;
typedef struct VmcSpiceMigration VmcSpiceMigration;

/* Channels of a server that are remembered; libvirt's limits are far below. */
#define VMC_SPICE_LIST_MAX 256u

typedef enum VmcSpiceSessionState {
	VMC_SPICE_SESSION_DOWN,    /* nobody asked, or it is over for good */
	VMC_SPICE_SESSION_WAITING, /* for the next attempt */
	VMC_SPICE_SESSION_LINKING, /* the main channel, up to the list of channels */
	VMC_SPICE_SESSION_READY,   /* channels may be opened */
} VmcSpiceSessionState;

typedef struct VmcSpiceChannelName {
	uint8_t type;
	uint8_t id;
} VmcSpiceChannelName;

struct VmcSpiceSession {
	VmcSpiceAddress address; /* of the present host */
	VmcTls *tls;             /* NULL: there is no TLS port */
	bool beside;
	unsigned reconnect;
	unsigned attempts; /* in a row without a settled session */
	gint64 since;      /* when it became ready, monotonic time */

	VmcSpiceSessionState state;
	VmcSpiceConnection *main;
	bool main_tls;
	guint timer; /* of the list of channels */
	VmcRetry *retry;
	uint32_t id; /* the connection id */
	VmcSpiceError error;
	VmcSpiceChannelName list[VMC_SPICE_LIST_MAX];
	unsigned listed;
	uint32_t secure; /* bit per channel type: the server wants TLS */

	GPtrArray *channels; /* VmcSpiceChannel, borrowed */
	GPtrArray *grave;    /* connections on their way out */
	VmcSpiceMigration *migration;
};

/* A channel of SPICE as a char device. */
struct VmcSpiceChannel {
	VmcChardev base;
	VmcSpiceSession *session;
	VmcSpiceWant want;
	char *port;

	/* Looking for it. */
	VmcSpiceConnection *connection;
	VmcSpiceChannelName name; /* what `connection` is for */
	bool tls;
	unsigned candidate; /* how many were tried */
	bool busy;          /* one was in use */
	bool found;         /* it is the right one */
	bool available;     /* and its other side is there */
	bool heard;         /* something came of it */
	bool keep;          /* the connection outlives this conversation */
	guint timer;        /* of the next attempt, or of a port's name */
	unsigned attempts;
	gint64 since;

	/* The conversation. */
	VmcBuf in;
	VmcBuf frame; /* a part of a smartcard message */
	bool held;    /* output waits for a migration */
	guint losing; /* source that tells of a refusal */
	GError *lost; /* why the conversation ends once `in` is read */
};

/* ---- spice-session.c ---- */

/* A connection to the session's present host. */
VmcSpiceConnection *vmc_spice_session_connect(VmcSpiceSession *session, VmcSpiceChannelName name,
					      bool tls, const VmcSpiceConnectionEvents *events,
					      void *user);

/* True if a channel of this type is to be connected over TLS. */
bool vmc_spice_session_wants_tls(const VmcSpiceSession *session, uint8_t type);

/* The server wants TLS for channels of this type; false if there is none, or it
 * was used already. */
bool vmc_spice_session_turn_to_tls(VmcSpiceSession *session, uint8_t type, bool tls);

/* A channel has a user: the session starts if it is down. */
void vmc_spice_session_wanted(VmcSpiceSession *session);

/* The session is over; it starts again as configured. */
void vmc_spice_session_lose(VmcSpiceSession *session, VmcSpiceError code, const char *text);

/* Milliseconds to attempt number `attempts`, 0: never. */
unsigned vmc_spice_session_delay(const VmcSpiceSession *session, unsigned attempts);

extern const VmcSpiceConnectionEvents vmc_spice_session_main_events;
VmcSpiceCaps vmc_spice_session_main_caps(void);

/* From now on the session's server is at `address` (copied), with `tls` (taken). */
void vmc_spice_session_set_address(VmcSpiceSession *session, const VmcSpiceAddress *address,
				   VmcTls *tls);

/* Its server is another now: all channels close and open there. */
void vmc_spice_session_restart(VmcSpiceSession *session);

/* ---- spice-channel.c ---- */

/* The session is ready: looks for the channel if it has a user. */
void vmc_spice_channel_look(VmcSpiceChannel *channel);

/* The session is lost, or there came none, and will be tried again in `again`
 * milliseconds. */
void vmc_spice_channel_session_lost(VmcSpiceChannel *channel, const char *text, bool was_ready,
				    unsigned again);

/* The conversation is on the way to another host: output waits. */
void vmc_spice_channel_hold(VmcSpiceChannel *channel);

/* And goes on where it was. */
void vmc_spice_channel_unhold(VmcSpiceChannel *channel);

/* Goes on over `connection` (owned from now on); answers the old one, whose
 * user the caller is now. */
VmcSpiceConnection *vmc_spice_channel_move(VmcSpiceChannel *channel,
					   VmcSpiceConnection *connection);

/* The same, but ends the conversation and starts another: the other side knows
 * nothing of it. */
VmcSpiceConnection *vmc_spice_channel_restart(VmcSpiceChannel *channel,
					      VmcSpiceConnection *connection);

/* ---- spice-migrate.c ---- */

/* A message of the main channel that may be one of migration. */
void vmc_spice_migration_main(VmcSpiceSession *session, uint16_t type, VmcSpan body);

/* SPICE_MSG_MIGRATE or _MIGRATE_DATA of a channel; `channel` NULL: main. */
void vmc_spice_migration_message(VmcSpiceSession *session, VmcSpiceChannel *channel, uint16_t type,
				 VmcSpan body);

/* The channel needs no connection to the new host any more. */
void vmc_spice_migration_forget(VmcSpiceSession *session, const VmcSpiceChannel *channel);

/* MAIN_INIT came: of the new host, if a migration waits for it. */
void vmc_spice_migration_init(VmcSpiceSession *session);

/* No migration is under way any more. */
void vmc_spice_migration_stop(VmcSpiceSession *session);

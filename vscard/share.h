/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscShare: how a card in a PC/SC reader is shared between the programs of its
 * owner and the one who borrows it, as a machine without I/O. PC/SC has
 * transactions: while one is open, commands of others wait. Nothing tells a
 * program what others did between two of its transactions; so:
 *
 * The borrower's commands run inside a transaction. It opens at the first one,
 * and ends when none came for VSC_SHARE_IDLE_MS. When it has been open for
 * VSC_SHARE_TURN_MS, it ends before the next command that selects anew (an
 * application by name, the master file), for VSC_SHARE_YIELD_MS, in which
 * those who wait get their turn.
 *
 * After a transaction ended, others may have selected something else. So
 * before the next command the borrower's selections since its last one that
 * began anew are sent again, unless that command itself selects anew. This
 * is only about the basic channel: a channel that the borrower opened is not
 * known to others (ISO/IEC 7816-4, 5.4.1).
 *
 * On many cards a SELECT forgets a verified PIN. So once the borrower did
 * something that no SELECT brings back, the transaction stays open for
 * VSC_SHARE_KEEP_MS after its last command, and afterwards nothing is sent
 * again if nobody else could have used the card meanwhile, as far as the
 * caller finds out. A PIN that is forgotten is asked for again; a security
 * environment that is, is not: then the card is lost.
 *
 * Times are milliseconds of a clock that only goes forward.
 */

#pragma once

#include <glib.h>

#include "vmc/span.h"

/* Above the time that a command takes to come from the other side of the
 * world, below what the owner's program notices. */
#define VSC_SHARE_IDLE_MS 500
/* Enough for a signature after its PIN, between which a person may be asked. */
#define VSC_SHARE_KEEP_MS 5000
#define VSC_SHARE_TURN_MS 2000
/* pcsc-lite's programs that wait try again after 200 ms at most. */
#define VSC_SHARE_YIELD_MS 250

/* Selections that are remembered since the one that began anew, and the bytes
 * of each: a name of 16 bytes or a path of 8 files has 22. */
#define VSC_SHARE_PATH_MAX 8u
#define VSC_SHARE_SELECT_MAX 40u

/* How much of the card the borrower has. */
typedef enum VscShareMode {
	VSC_SHARE_TURNS, /* as above */
	VSC_SHARE_HOLD,  /* one transaction for as long as the card is powered */
	VSC_SHARE_ALONE, /* exclusive: there are no others */
} VscShareMode;

typedef enum VscShareStep {
	VSC_SHARE_PASS,   /* send the command */
	VSC_SHARE_BEGIN,  /* open a transaction, then vsc_share_begun() */
	VSC_SHARE_YIELD,  /* end it, vsc_share_ended(), wait VSC_SHARE_YIELD_MS */
	VSC_SHARE_REPLAY, /* send vsc_share_replay(), then vsc_share_replayed() */
	VSC_SHARE_RENEW,  /* reset the card, as it was when the borrower got it */
	VSC_SHARE_LOST,   /* what was there cannot be brought back: as if reset */
} VscShareStep;

typedef struct VscShareSelect {
	uint8_t len;
	uint8_t bytes[VSC_SHARE_SELECT_MAX];
} VscShareSelect;

typedef struct VscShare {
	VscShareMode mode;
	bool open;      /* the transaction */
	gint64 opened;  /* when */
	gint64 used;    /* when the last command ended */
	bool disturbed; /* others may have used the card since */
	bool deep;      /* there is what no SELECT brings back */
	bool bound;     /* and that the next commands would not miss */
	bool channels;  /* others than the basic one are in use */
	bool midway;    /* the next command belongs to the last */
	bool lost;      /* the path is not known whole */
	unsigned path;  /* selections remembered */
	unsigned at;    /* of these, sent again so far */
	VscShareSelect selects[VSC_SHARE_PATH_MAX];
} VscShare;

/* The card was reset for the borrower, in an open transaction (or alone). */
void vsc_share_reset(VscShare *share, VscShareMode mode, gint64 now);

/* What to do before `command`; asked again after each step until PASS. */
VscShareStep vsc_share_before(VscShare *share, gint64 now, VmcSpan command);

/* The transaction is open; `others`: could anybody have used the card since
 * the last one? */
void vsc_share_begun(VscShare *share, gint64 now, bool others);
void vsc_share_ended(VscShare *share);

/* The command of REPLAY (valid until replayed), and what the card said. */
VmcSpan vsc_share_replay(const VscShare *share);
void vsc_share_replayed(VscShare *share, VmcSpan response);

/* The card answered `command`. */
void vsc_share_after(VscShare *share, gint64 now, VmcSpan command, VmcSpan response);

/* When the transaction is to end if no command comes; G_MAXINT64: never. */
gint64 vsc_share_deadline(const VscShare *share);

/* Does it matter at the next transaction whether others were there? */
bool vsc_share_asks(const VscShare *share);

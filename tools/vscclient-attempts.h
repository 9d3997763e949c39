/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ClientAttempts: how much is said of a host that does not come, or comes and
 * goes, for days. A failure is said at once, the same one again only as a
 * reminder now and then; and of all that happens with the connection there are
 * only so many lines an hour. Time is an argument, in microseconds of a clock
 * that only goes forward.
 */

#pragma once

#include <glib.h>
#include <stdbool.h>

/* A failure that stays the same is said again so long after. */
#define CLIENT_REMIND_SECONDS 3600
/* Lines in so many seconds: a dozen conversations are told in full. */
#define CLIENT_LINES_SECONDS 3600
#define CLIENT_LINES_MAX 40u

typedef struct ClientAttempts {
	char *reason;    /* of the last failure that was said; NULL: none since the last `up` */
	gint64 said;     /* when */
	unsigned unsaid; /* the same since */
	gint64 began;    /* when the first of `lines` was said */
	unsigned lines;
} ClientAttempts;

void client_attempts_clear(ClientAttempts *attempts);

/* A conversation began: the next failure is another. */
void client_attempts_up(ClientAttempts *attempts);

/* Is a line about the connection to be said? Says itself, once, that none is
 * for a while. */
bool client_attempts_tell(ClientAttempts *attempts, gint64 now);

/* An attempt failed for `reason`. True: that is to be said, and that `*unsaid`
 * failed in the same way before. */
bool client_attempts_failed(ClientAttempts *attempts, const char *reason, gint64 now,
			    unsigned *unsaid);

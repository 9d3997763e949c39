/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The lines of the present hour are counted. */

#include "tools/vscclient-attempts.h"

#include "tools/vscclient-say.h"

void client_attempts_clear(ClientAttempts *attempts)
{
	g_free(attempts->reason);
	*attempts = (ClientAttempts){ 0 };
}

void client_attempts_up(ClientAttempts *attempts)
{
	g_clear_pointer(&attempts->reason, g_free);
	attempts->unsaid = 0;
}

bool client_attempts_tell(ClientAttempts *attempts, gint64 now)
{
	if (now - attempts->began >= CLIENT_LINES_SECONDS * (gint64)G_USEC_PER_SEC)
		attempts->lines = 0;
	if (attempts->lines > CLIENT_LINES_MAX)
		return false;
	if (attempts->lines++ == 0)
		attempts->began = now;
	if (attempts->lines <= CLIENT_LINES_MAX)
		return true;
	say("the connection comes and goes; no more is said of it within the hour");
	return false;
}

bool client_attempts_failed(ClientAttempts *attempts, const char *reason, gint64 now,
			    unsigned *unsaid)
{
	bool same = g_strcmp0(attempts->reason, reason) == 0;
	bool due = now - attempts->said >= CLIENT_REMIND_SECONDS * (gint64)G_USEC_PER_SEC;

	if ((same && !due) || !client_attempts_tell(attempts, now)) {
		attempts->unsaid += same;
		return false;
	}
	*unsaid = same ? attempts->unsaid : 0;
	if (!same) {
		g_free(attempts->reason);
		attempts->reason = g_strdup(reason);
	}
	attempts->said = now;
	attempts->unsaid = 0;
	return true;
}

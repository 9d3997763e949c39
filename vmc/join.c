/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcJoin: a conversation of the join begins when both sides are open and is
 * over when one is not any more. Between those, each side is read as long as
 * the other's output queue is under its mark.
 */

#include "vmc/join.h"

#include "vmc/span.h"

/* What is taken from one side at a time: under the room that is left above the
 * high mark of the other, so that no write finds its queue full. */
#define PIECE_SIZE (16u * 1024)
_Static_assert(PIECE_SIZE <= VMC_CHARDEV_MAX_QUEUE - VMC_CHARDEV_HIGH_MARK,
	       "a piece read under the high mark can always be queued");

typedef struct Side Side;

struct Side {
	VmcChardev *chardev;
	Side *other;
	bool open;   /* in a conversation that the other side has not ended */
	bool ending; /* told to end; `closed` is still to come */
	bool offered;
};

struct VmcJoin {
	Side offered;
	Side with;
};

static const char *name(const Side *side)
{
	const char *id = vmc_chardev_id(side->chardev);

	return id[0] != '\0' ? id : vmc_chardev_describe(side->chardev);
}

/* The offered side's user is there as long as the other side is open. It is
 * away in between, even if the next one is there already: so each of them
 * begins with a conversation of its own. */
static void follow(Side *offered)
{
	if (offered->ending)
		return;
	vmc_chardev_set_away(offered->chardev, true);
	if (offered->other->open)
		vmc_chardev_set_away(offered->chardev, false);
}

static void on_opened(void *user)
{
	Side *side = user;
	Side *other = side->other;

	side->open = true;
	if (other->offered)
		follow(other);
	if (!other->open)
		return;
	g_debug("chardevs %s and %s: joined", name(side), name(other));
	vmc_chardev_hold(side->chardev, false);
	vmc_chardev_hold(other->chardev, false);
}

/* Back to where the next conversation of the join begins. */
static void wait(Side *side)
{
	side->open = false;
	vmc_chardev_pause(side->chardev, false);
	vmc_chardev_hold(side->chardev, true);
}

static void on_closed(void *user, const GError *reason)
{
	Side *side = user;
	Side *other = side->other;
	bool joined = side->open && other->open;
	g_autofree char *because = NULL;

	side->ending = false;
	wait(side);
	if (joined) {
		because = g_strdup_printf("chardev %s closed: %s", name(side), reason->message);
		other->ending = true;
		vmc_chardev_disconnect(other->chardev, true, because);
		wait(other);
	}
	follow(side->offered ? side : other);
}

void vmc_join_pump(VmcChardev *from, VmcChardev *to)
{
	uint8_t piece[PIECE_SIZE];
	VmcWrite result = VMC_WRITE_OK;
	size_t n;

	while (result == VMC_WRITE_OK && (n = vmc_chardev_read(from, piece, sizeof(piece))) > 0) {
		result = vmc_chardev_write(to, vmc_span(piece, n));
		vmc_wipe(piece, n);
		/* Neither can be written to: read to the end, or both wait for the
		 * other's. */
		if (result == VMC_WRITE_CLOSED && !vmc_chardev_is_writable(from))
			result = VMC_WRITE_OK;
	}
	/* Also if it cannot be written to any more: what it sent last is then
	 * read before its `closed` comes. */
	if (result != VMC_WRITE_OK)
		vmc_chardev_pause(from, true);
}

static void on_readable(void *user)
{
	Side *side = user;

	vmc_join_pump(side->chardev, side->other->chardev);
}

static void on_writable(void *user)
{
	Side *side = user;

	vmc_chardev_pause(side->other->chardev, false);
}

static void on_failed(void *user, const GError *reason, unsigned again)
{
	const Side *side = user;

	if (again > 0)
		g_message("chardev %s: %s; trying again in %u s", name(side), reason->message,
			  (again + 999) / 1000);
	else
		g_warning("chardev %s: %s; add reconnect=SECONDS to try again", name(side),
			  reason->message);
}

static const VmcChardevEvents with_events = {
	.opened = on_opened,
	.closed = on_closed,
	.readable = on_readable,
	.writable = on_writable,
	.failed = on_failed,
};

static const VmcChardevEvents offered_events = {
	.opened = on_opened,
	.closed = on_closed,
	.readable = on_readable,
	.writable = on_writable,
	.failed = on_failed,
	.away = true,
};

static bool start(Side *side, VmcChardev *chardev, Side *other, GError **error)
{
	side->other = other;
	if (!vmc_chardev_set_user(chardev, side->offered ? &offered_events : &with_events, side)) {
		vmc_chardev_set_in_use_error(chardev, error);
		return false;
	}
	side->chardev = chardev;
	vmc_chardev_hold(chardev, true);
	return true;
}

static void stop(Side *side)
{
	if (side->chardev == NULL)
		return;
	vmc_chardev_disconnect(side->chardev, false, "the join is taken apart");
	vmc_chardev_set_user(side->chardev, NULL, NULL);
}

VmcJoin *vmc_join_new(VmcChardev *offered, VmcChardev *with, GError **error)
{
	VmcJoin *join;

	g_return_val_if_fail(offered != NULL && with != NULL, NULL);

	join = g_new0(VmcJoin, 1);
	join->offered.offered = true;
	if (start(&join->offered, offered, &join->with, error) &&
	    start(&join->with, with, &join->offered, error))
		return join;
	vmc_join_free(join);
	return NULL;
}

void vmc_join_free(VmcJoin *join)
{
	if (join == NULL)
		return;
	stop(&join->offered);
	stop(&join->with);
	g_free(join);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A borrower, a card and others that do anything, with VscShare between them:
 * what is sent again the borrower itself has sent on the basic channel, no
 * command goes where others may have selected something else, none goes outside
 * of a transaction, and before each there are few steps. The input: the mode in
 * one byte, then records of one byte: how long nothing comes, in units of 40 ms,
 * and in its last bit whether others were there; a length and so many bytes: a
 * command; the same: the card's response. A length beyond the end stands for
 * success.
 */

#include <stdlib.h>
#include <string.h>

#include "vscard/apdu.h"
#include "vscard/share.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TICK_MS 40
/* Yield, begin, or a reset; and the path. */
#define STEPS_MAX (VSC_SHARE_PATH_MAX + 3)

typedef struct World {
	VscShare share;
	gint64 now;
	bool others;     /* could have used the card since */
	GPtrArray *sent; /* the borrower's commands on the basic channel, GBytes */
	bool open;
	bool strange;   /* the card is as others left it */
	unsigned again; /* commands sent again since */
} World;

static void check(bool good)
{
	if (!good)
		abort();
}

/* What is no command may be one of the basic channel to the card. */
static bool is_basic(VmcSpan command)
{
	const char *because;
	VscApdu apdu;

	return !vsc_apdu_parse(command, &apdu, &because) || vsc_apdu_channel(apdu.cla) == 0;
}

/* A file read or written by its short identifier is selected by reading a byte. */
static bool is_read_of(VmcSpan again, VmcSpan command)
{
	uint8_t ins;

	if (again.len != 5 || again.data[4] != 1 || command.len < 4)
		return false;
	ins = command.data[1];
	if (again.data[0] != command.data[0] || again.data[2] != command.data[2])
		return false;
	return again.data[1] == 0xb0 ?
		       ins == 0xb0 || ins == 0xd0 || ins == 0xd6 :
		       again.data[1] == 0xb2 && (ins == 0xb2 || ins == 0xd2 || ins == 0xdc) &&
			       again.data[3] == command.data[3];
}

static bool was_sent(const World *world, VmcSpan again)
{
	for (guint i = 0; i < world->sent->len; i++) {
		gsize len;
		const uint8_t *bytes = g_bytes_get_data(world->sent->pdata[i], &len);

		if ((len == again.len && memcmp(bytes, again.data, len) == 0) ||
		    is_read_of(again, vmc_span(bytes, len)))
			return true;
	}
	return false;
}

/* The card says `response` to whatever is sent again. */
static void carry_out(World *world, VscShareStep step, VmcSpan response)
{
	switch (step) {
	case VSC_SHARE_BEGIN:
		check(!world->open);
		world->open = true;
		world->strange |= world->others || !vsc_share_asks(&world->share);
		world->again = 0;
		vsc_share_begun(&world->share, world->now, world->strange);
		break;
	case VSC_SHARE_YIELD:
		check(world->open && world->share.mode == VSC_SHARE_TURNS);
		vsc_share_ended(&world->share);
		world->open = false;
		world->now += VSC_SHARE_YIELD_MS;
		break;
	case VSC_SHARE_REPLAY:
		check(world->open && was_sent(world, vsc_share_replay(&world->share)));
		world->again++;
		vsc_share_replayed(&world->share, response);
		break;
	case VSC_SHARE_RENEW:
		check(world->open);
		world->strange = false;
		vsc_share_reset(&world->share, world->share.mode, world->now);
		break;
	case VSC_SHARE_PASS:
	case VSC_SHARE_LOST:
		break;
	}
}

/* May the command go to a card that others have used? On a channel of its own, or
 * when it selects or all was selected again. */
static void check_pass(const World *world, VmcSpan command)
{
	bool apart = command.len >= 4 &&
		     (!is_basic(command) || command.data[1] == 0x70 || command.data[1] == 0xa4);

	check(world->open);
	check(!world->strange || apart || (world->again > 0 && world->again == world->share.path));
}

static void send(World *world, VmcSpan command, VmcSpan response)
{
	VscShareStep step;
	unsigned steps = 0;

	while ((step = vsc_share_before(&world->share, world->now, command)) != VSC_SHARE_PASS) {
		check(++steps <= STEPS_MAX);
		carry_out(world, step, response);
		if (step == VSC_SHARE_LOST)
			break;
	}
	if (step == VSC_SHARE_LOST) {
		check(world->share.mode == VSC_SHARE_TURNS && world->strange);
		vsc_share_reset(&world->share, world->share.mode, world->now);
		world->open = true;
		world->strange = false;
		return;
	}
	check_pass(world, command);
	if (is_basic(command))
		g_ptr_array_add(world->sent, g_bytes_new(command.data, command.len));
	vsc_share_after(&world->share, world->now, command, response);
	check(!world->strange || is_basic(command) || world->share.disturbed);
	world->strange = world->share.disturbed;
	check(world->share.path <= VSC_SHARE_PATH_MAX);
}

static void idle(World *world, uint8_t record)
{
	gint64 deadline = vsc_share_deadline(&world->share);

	check(world->share.mode == VSC_SHARE_TURNS || deadline == G_MAXINT64);
	check(deadline == G_MAXINT64 || deadline - world->now <= VSC_SHARE_KEEP_MS);
	world->now += (record >> 1) * TICK_MS;
	world->others = (record & 1) != 0;
	if (deadline > world->now)
		return;
	vsc_share_ended(&world->share);
	world->open = false;
}

static VmcSpan take(VmcSpan *in)
{
	VmcSpan bytes;
	uint8_t len;

	if (!vmc_span_u8(in, &len) || !vmc_span_take(in, len, &bytes))
		return vmc_span("\x90", 2);
	return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	VmcSpan in = vmc_span(data, size), command;
	World world = { .now = 1000, .open = true };
	uint8_t mode, record;

	if (!vmc_span_u8(&in, &mode))
		return 0;
	world.sent = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
	vsc_share_reset(&world.share, mode % (VSC_SHARE_ALONE + 1), world.now);
	while (vmc_span_u8(&in, &record)) {
		idle(&world, record);
		command = take(&in);
		send(&world, command, take(&in));
	}
	g_ptr_array_unref(world.sent);
	return 0;
}

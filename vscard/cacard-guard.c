/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What libcacard's cards are kept from, and what their answers to VERIFY are
 * made to say; see the header.
 */

#include "vscard/cacard-guard.h"

#include <string.h>

/* The longest RSA operand there is in NSS, 16,384 bits. */
#define OPERAND_MAX 2048u

enum { INS_VERIFY = 0x20, INS_SIGN_DECRYPT = 0x42, INS_SELECT = 0xa4 };
enum { SELECT_BY_NAME = 0x04, SIGN_MORE_FOLLOWS = 0x80 };

enum {
	SW_OK = 0x9000,
	SW_TRIES_LEFT = 0x63c0,
	SW_WRONG_LENGTH = 0x6700,
	SW_BLOCKED = 0x6983,
	SW_WRONG_PIN = 0x6985, /* libcacard's; ISO/IEC 7816-4 has 63Cx */
	SW_NO_DATA = 0x6a88,
};

/* The header of a command and how many body bytes it brings. */
typedef struct Command {
	uint8_t cla, ins, p1, p2;
	size_t lc;
} Command;

/* The library checks lengths itself, and answers 6700 to what is none of the
 * cases of ISO/IEC 7816-4, 5.1; this need not. */
static Command command_read(VmcSpan bytes)
{
	const uint8_t *at = bytes.data;
	Command command = { 0 };

	if (bytes.len < 4)
		return command;
	command = (Command){ at[0], at[1], at[2], at[3], 0 };
	if (bytes.len > 5 && at[4] != 0)
		command.lc = at[4];
	else if (bytes.len > 7)
		command.lc = (size_t)at[5] << 8 | at[6];
	return command;
}

static bool verifies(const Command *command)
{
	return command->ins == INS_VERIFY && command->p1 == 0 && command->p2 == 0;
}

static bool operates(const Command *command)
{
	return command->ins == INS_SIGN_DECRYPT && command->p2 == 0;
}

/* Which channel libcacard takes the command to be on. */
static unsigned channel(const Command *command)
{
	unsigned high = command->cla >> 4;
	bool has_channel = high == 0x0 || high == 0x8 || high == 0x9 || high == 0xa;

	return has_channel ? command->cla % VSC_CACARD_CHANNELS : 0;
}

void vsc_cacard_guard_inserted(VscCacardGuard *guard)
{
	*guard = (VscCacardGuard){ .tries = VSC_CACARD_PIN_TRIES };
}

void vsc_cacard_guard_reset(VscCacardGuard *guard)
{
	memset(guard->operand, 0, sizeof(guard->operand));
}

unsigned vsc_cacard_guard_before(const VscCacardGuard *guard, VmcSpan bytes)
{
	Command command = command_read(bytes);

	/* NSS would let whoever has the reader try all the PINs there are. */
	if (verifies(&command) && command.lc > 0 && guard->tries == 0)
		return SW_BLOCKED;
	if (operates(&command) && guard->operand[channel(&command)] + command.lc > OPERAND_MAX)
		return SW_WRONG_LENGTH;
	return 0;
}

/* What the card keeps is dropped when an operation ends or its applet is
 * selected anew; without a selection a channel cannot go on. */
static void count_operand(VscCacardGuard *guard, const Command *command, unsigned sw)
{
	size_t *operand = &guard->operand[channel(command)];

	if (operates(command))
		*operand = command->p1 == SIGN_MORE_FOLLOWS ? *operand + command->lc : 0;
	else if (command->ins == INS_SELECT && command->p1 == SELECT_BY_NAME &&
		 (sw == SW_OK || sw >> 8 == 0x61))
		*operand = 0;
}

/* The status of VERIFY as ISO/IEC 7816-4 (11.5.6) has it. */
static unsigned count_pin(VscCacardGuard *guard, const Command *command, unsigned sw)
{
	if (command->lc == 0) {
		/* Asked for its state, the library does not know the tries left
		 * (6A88) or, having met Windows, always says three. */
		if (sw != SW_NO_DATA && (sw & 0xfff0) != SW_TRIES_LEFT)
			return sw;
		return guard->tries > 0 ? SW_TRIES_LEFT | guard->tries : SW_BLOCKED;
	}
	if (sw == SW_OK)
		guard->tries = VSC_CACARD_PIN_TRIES;
	if (sw != SW_WRONG_PIN || guard->tries == 0)
		return sw;
	guard->tries--;
	return SW_TRIES_LEFT | guard->tries;
}

unsigned vsc_cacard_guard_after(VscCacardGuard *guard, VmcSpan bytes, size_t data_len, unsigned sw)
{
	Command command = command_read(bytes);

	count_operand(guard, &command, sw);
	return verifies(&command) && data_len == 0 ? count_pin(guard, &command, sw) : sw;
}

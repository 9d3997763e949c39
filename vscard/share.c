/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is remembered are the borrower's own commands, so that what is sent
 * again needs no understanding of the card. A file that was made current by
 * its short identifier (ISO/IEC 7816-4, 7.3.2) is remembered as a READ of one
 * byte of it.
 */

#include "vscard/share.h"

#include <string.h>

#include "vscard/apdu.h"

enum {
	INS_VERIFY = 0x20,
	INS_VERIFY_TLV = 0x21,
	INS_MANAGE_ENVIRONMENT = 0x22,
	INS_SECURITY_OPERATION = 0x2a,
	INS_MANAGE_CHANNEL = 0x70,
	INS_GET_CHALLENGE = 0x84,
	INS_SEARCH_BINARY = 0xa0,
	INS_SEARCH_RECORD = 0xa2,
	INS_SELECT = 0xa4,
	INS_READ_BINARY = 0xb0,
	INS_READ_RECORD = 0xb2,
	INS_GET_RESPONSE = 0xc0,
	INS_GET_DATA = 0xca,
	INS_WRITE_BINARY = 0xd0,
	INS_WRITE_RECORD = 0xd2,
	INS_UPDATE_BINARY = 0xd6,
	INS_PUT_DATA = 0xda,
	INS_UPDATE_RECORD = 0xdc,
};

/* P1 of SELECT (ISO/IEC 7816-4:2013, table 39). */
enum { BY_FILE = 0x00, BY_EF = 0x02, BY_PARENT = 0x03, BY_NAME = 0x04, BY_PATH_FROM_MF = 0x08 };
/* P2 of SELECT: which occurrence; 0 is the first or only one. */
enum { OCCURRENCE = 0x03 };
/* The odd instruction next to an even one takes BER-TLV (5.4.2). */
enum { ODD = 0x01 };

static bool is_interindustry(uint8_t cla)
{
	return cla < 0x80;
}

/* Secure messaging (5.4.1): what it says is hidden. */
static bool is_secret(uint8_t cla)
{
	return is_interindustry(cla) && (cla & 0x40) != 0 ? (cla & 0x20) != 0 : (cla & 0x0c) != 0;
}

static bool is_chained(uint8_t cla)
{
	return (cla & 0x10) != 0;
}

static bool read_command(VmcSpan bytes, VscApdu *command)
{
	const char *because;

	return vsc_apdu_parse(bytes, command, &because);
}

/* Of PERFORM SECURITY OPERATION: what is hashed now is signed by the next
 * (ISO/IEC 7816-8). */
enum { P1_HASH = 0x90 };

/* Does what is current after it not depend on what was before, but for the
 * application? On a card of several, each has a master file to itself. */
static bool selects_anew(const VscApdu *command)
{
	static const uint8_t mf[] = { 0x3f, 0x00 };

	if (command->ins != INS_SELECT || is_secret(command->cla) || is_chained(command->cla))
		return false;
	switch (command->p1) {
	case BY_NAME:
		return (command->p2 & OCCURRENCE) == 0;
	case BY_PATH_FROM_MF:
		return true;
	case BY_FILE:
		return command->data.len == 0 || (command->data.len == sizeof(mf) &&
						  memcmp(command->data.data, mf, sizeof(mf)) == 0);
	default:
		return false;
	}
}

/* ---- What is remembered ---- */

static VscShareSelect *last(VscShare *share)
{
	return share->path > 0 ? &share->selects[share->path - 1] : NULL;
}

static bool last_is_read(VscShare *share)
{
	return last(share) != NULL && last(share)->bytes[1] != INS_SELECT;
}

static void remember(VscShare *share, VmcSpan bytes)
{
	VscShareSelect *to;

	if (share->path == VSC_SHARE_PATH_MAX || bytes.len > VSC_SHARE_SELECT_MAX) {
		share->lost = true;
		return;
	}
	to = &share->selects[share->path++];
	to->len = (uint8_t)bytes.len;
	memcpy(to->bytes, bytes.data, bytes.len);
}

/* Of the selections, those that chose the application come first. */
static unsigned application(const VscShare *share)
{
	unsigned n = 0;

	while (n < share->path && share->selects[n].bytes[1] == INS_SELECT &&
	       share->selects[n].bytes[2] == BY_NAME)
		n++;
	return n;
}

/* A file under the current directory takes the place of the one before. */
static bool replaces_last(VscShare *share, const VscApdu *command, VmcSpan bytes)
{
	const VscShareSelect *before = last(share);

	if (before == NULL || before->bytes[2] != command->p1)
		return false;
	if (command->p1 == BY_EF)
		return true;
	return command->p1 == BY_FILE && before->len == bytes.len &&
	       memcmp(before->bytes, bytes.data, bytes.len) == 0;
}

static void remember_select(VscShare *share, const VscApdu *command, VmcSpan bytes)
{
	if (selects_anew(command)) {
		share->path = command->p1 == BY_NAME ? 0 : application(share);
		share->lost = share->disturbed = share->bound = false;
	} else if (is_secret(command->cla) || is_chained(command->cla)) {
		share->lost = true;
		return;
	}
	if (last_is_read(share))
		share->path--;
	if (replaces_last(share, command, bytes))
		share->path--;
	remember(share, bytes);
}

/* Reading or writing by a short identifier makes the file the current one. */
static void remember_short_file(VscShare *share, const VscApdu *command)
{
	uint8_t ins = command->ins & (uint8_t)~ODD;
	bool binary = ins == INS_READ_BINARY || ins == INS_WRITE_BINARY || ins == INS_UPDATE_BINARY;
	bool record = ins == INS_READ_RECORD || ins == INS_WRITE_RECORD || ins == INS_UPDATE_RECORD;
	uint8_t again[] = { command->cla, INS_READ_BINARY, command->p1, 0, 1 };

	if ((!binary && !record) || (binary && (command->p1 & 0x80) == 0) ||
	    (record && command->p2 >> 3 == 0))
		return;
	if ((command->ins & ODD) != 0 || is_secret(command->cla)) {
		share->lost = true;
		return;
	}
	if (record) {
		again[1] = INS_READ_RECORD;
		again[3] = command->p2;
	}
	if (last_is_read(share))
		share->path--;
	remember(share, vmc_span(again, sizeof(again)));
}

/* The instructions after which the card knows no more than before, but which
 * file is current. */
static bool reads_or_writes(const VscApdu *command)
{
	switch (command->ins) {
	case INS_VERIFY:
	case INS_VERIFY_TLV:
		return command->data.len == 0; /* asks for the state */
	case INS_SELECT:
	case INS_MANAGE_CHANNEL:
	case INS_GET_CHALLENGE:
	case INS_SEARCH_BINARY:
	case INS_SEARCH_BINARY | ODD:
	case INS_SEARCH_RECORD:
	case INS_READ_BINARY:
	case INS_READ_BINARY | ODD:
	case INS_READ_RECORD:
	case INS_READ_RECORD | ODD:
	case INS_GET_RESPONSE:
	case INS_GET_DATA:
	case INS_GET_DATA | ODD:
	case INS_WRITE_BINARY:
	case INS_WRITE_BINARY | ODD:
	case INS_WRITE_RECORD:
	case INS_UPDATE_BINARY:
	case INS_UPDATE_BINARY | ODD:
	case INS_PUT_DATA:
	case INS_PUT_DATA | ODD:
	case INS_UPDATE_RECORD:
	case INS_UPDATE_RECORD | ODD:
		return true;
	default:
		return false;
	}
}

/* All others are taken to leave something that no SELECT brings back: a verified
 * PIN, a key, a security environment. What a class of a card's own means by an
 * instruction is not known. */
static bool is_shallow(const VscApdu *command)
{
	return !is_secret(command->cla) && is_interindustry(command->cla) &&
	       reads_or_writes(command);
}

/* Commands that leave what the next ones silently work with: without it those
 * do not fail, as they do without a PIN, but do something else. */
static bool is_binding(const VscApdu *command)
{
	if (!is_interindustry(command->cla))
		return command->ins != INS_VERIFY && !reads_or_writes(command);
	return command->ins == INS_MANAGE_ENVIRONMENT ||
	       (command->ins == INS_SECURITY_OPERATION && command->p1 == P1_HASH);
}

/* Done, perhaps with a warning or with more to fetch. Cards with a language of
 * their own say so by others of 9XXX: 9F17 a SIM, 91AF DESFire. */
static bool succeeded(uint16_t sw)
{
	return sw >> 12 == 9 || sw >> 8 == 0x61 || sw >> 8 == 0x62;
}

void vsc_share_after(VscShare *share, gint64 now, VmcSpan bytes, VmcSpan response)
{
	VmcSpan data;
	VscApdu command;
	uint16_t sw;

	share->used = now;
	share->midway = false;
	if (!vsc_apdu_response(response, &data, &sw) || !succeeded(sw))
		return;
	/* What the card takes for a command, though it is none, may do anything. */
	if (!read_command(bytes, &command)) {
		share->lost = share->deep = true;
		return;
	}
	share->midway =
		sw >> 8 == 0x61 || is_chained(command.cla) || command.ins == INS_GET_CHALLENGE;
	share->deep |= !is_shallow(&command);
	if (vsc_apdu_channel(command.cla) != 0) {
		share->channels = true;
		return;
	}
	share->bound |= is_binding(&command);
	if (command.ins == INS_SELECT)
		remember_select(share, &command, bytes);
	else
		remember_short_file(share, &command);
}

/* ---- What is to be done ---- */

void vsc_share_reset(VscShare *share, VscShareMode mode, gint64 now)
{
	*share = (VscShare){ .mode = mode, .open = true, .opened = now, .used = now };
}

/* Others have used the card, perhaps: what does the command need? */
static VscShareStep repair(VscShare *share, const VscApdu *command, bool anew)
{
	if (anew && (command->p1 == BY_NAME || application(share) == 0))
		return VSC_SHARE_PASS;
	if (share->lost || (share->bound && !anew))
		return VSC_SHARE_LOST;
	/* Nothing was selected: the card was as a reset leaves it. */
	if (share->path == 0)
		return share->deep || share->channels ? VSC_SHARE_LOST : VSC_SHARE_RENEW;
	if (share->at < share->path)
		return VSC_SHARE_REPLAY;
	share->disturbed = false;
	return VSC_SHARE_PASS;
}

VscShareStep vsc_share_before(VscShare *share, gint64 now, VmcSpan bytes)
{
	VscApdu command;
	bool known = read_command(bytes, &command);
	bool basic = known && vsc_apdu_channel(command.cla) == 0;
	bool anew = basic && selects_anew(&command);

	if (share->mode == VSC_SHARE_ALONE)
		return VSC_SHARE_PASS;
	if (!share->open)
		return VSC_SHARE_BEGIN;
	if (share->mode == VSC_SHARE_TURNS && anew && now - share->opened >= VSC_SHARE_TURN_MS)
		return VSC_SHARE_YIELD;
	if (!share->disturbed || (known && !basic) || (known && command.ins == INS_MANAGE_CHANNEL))
		return VSC_SHARE_PASS;
	return repair(share, &command, anew);
}

void vsc_share_begun(VscShare *share, gint64 now, bool others)
{
	share->open = true;
	share->opened = share->used = now;
	share->disturbed |= others;
	share->at = 0;
}

void vsc_share_ended(VscShare *share)
{
	share->open = false;
}

VmcSpan vsc_share_replay(const VscShare *share)
{
	g_return_val_if_fail(share->at < share->path, vmc_span(NULL, 0));

	return vmc_span(share->selects[share->at].bytes, share->selects[share->at].len);
}

void vsc_share_replayed(VscShare *share, VmcSpan response)
{
	bool is_read = share->at < share->path && share->selects[share->at].bytes[1] != INS_SELECT;
	VmcSpan data;
	uint16_t sw;

	share->at++;
	if (!vsc_apdu_response(response, &data, &sw))
		share->lost = true;
	else if (!succeeded(sw) && !(is_read && sw >> 8 == 0x6c))
		share->lost = true;
}

gint64 vsc_share_deadline(const VscShare *share)
{
	if (share->mode != VSC_SHARE_TURNS || !share->open)
		return G_MAXINT64;
	return share->used + (share->deep || share->midway ? VSC_SHARE_KEEP_MS : VSC_SHARE_IDLE_MS);
}

bool vsc_share_asks(const VscShare *share)
{
	return share->deep;
}

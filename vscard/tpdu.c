/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * APDUs in T=0 TPDUs, case by case as ISO/IEC 7816-3:2006, 12.2 has it. P3 is Lc
 * where there is data, else Le, else 00. A case 4 command loses its Le on the
 * way, and GET RESPONSE asks for it.
 */

#include "vscard/tpdu.h"

#include <glib.h>
#include <string.h>

#define P3_AT VSC_APDU_HEADER

void vsc_tpdu_init(VscTpdu *t)
{
	*t = (VscTpdu){ 0 };
	vsc_fetch_init(&t->fetch);
}

/* Nothing of the command is needed any more. */
static void forget_command(VscTpdu *t)
{
	if (t->command != NULL)
		vmc_wipe(t->command, t->command_len);
	g_clear_pointer(&t->command, g_free);
	vmc_wipe(t->tpdu, sizeof(t->tpdu));
}

void vsc_tpdu_forget(VscTpdu *t)
{
	forget_command(t);
	vsc_fetch_forget(&t->fetch);
	vsc_tpdu_init(t);
}

static VscTpduStep reply_sw(VscTpdu *t, uint16_t sw, VmcSpan *out)
{
	vsc_tpdu_forget(t);
	vmc_put_u16be(t->status, sw);
	*out = vmc_span(t->status, sizeof(t->status));
	return VSC_TPDU_REPLY;
}

/* ---- TPDUs ---- */

/* What is in `tpdu` goes to the card. */
static VscTpduStep forward(VscTpdu *t, VmcSpan *out)
{
	if (++t->rounds > VSC_TPDU_ROUNDS_MAX)
		return reply_sw(t, VSC_SW_NO_DIAGNOSIS, out);
	*out = vmc_span(t->tpdu, t->tpdu_len);
	return VSC_TPDU_FORWARD;
}

static VscTpduStep send(VscTpdu *t, const uint8_t header[VSC_APDU_HEADER], VmcSpan data,
			uint32_t le, VmcSpan *out)
{
	memcpy(t->tpdu, header, VSC_APDU_HEADER);
	t->tpdu[P3_AT] = (uint8_t)(data.len > 0 ? data.len : le);
	if (data.len > 0)
		memcpy(t->tpdu + P3_AT + 1, data.data, data.len);
	t->tpdu_len = P3_AT + 1 + data.len;
	return forward(t, out);
}

/* All that goes in pieces. */
static VmcSpan whole_of(const VscTpdu *t)
{
	if (t->way == VSC_TPDU_ENVELOPE)
		return vmc_span(t->command, t->command_len);
	return vmc_span(t->command + t->data_at, t->data_len);
}

/* How long the next piece is. In an envelope none ends between the data and Le:
 * a card that was given so much has a whole command of case 3. */
static size_t piece_len(const VscTpdu *t)
{
	size_t n = MIN(whole_of(t).len - t->sent, VSC_APDU_NC_SHORT);
	size_t le_at = t->data_at + t->data_len;

	if (t->way == VSC_TPDU_ENVELOPE && t->sent + n == le_at && le_at < t->command_len)
		n--;
	return n;
}

/* The command, or the next piece of it. */
static VscTpduStep send_piece(VscTpdu *t, VmcSpan *out)
{
	uint8_t header[VSC_APDU_HEADER] = { vsc_apdu_plain_class(t->command[0]), VSC_INS_ENVELOPE };
	VmcSpan whole = whole_of(t);
	size_t n = piece_len(t);
	VmcSpan piece = vmc_span(n > 0 ? whole.data + t->sent : NULL, n);

	t->sent += n;
	if (t->way != VSC_TPDU_ENVELOPE)
		memcpy(header, t->command, sizeof(header));
	if (t->way == VSC_TPDU_CHAIN && t->sent < whole.len)
		header[0] |= VSC_CLA_CHAIN;
	return send(t, header, piece, MIN(t->fetch.ne, VSC_APDU_NE_SHORT), out);
}

static VscTpduStep get_response(VscTpdu *t, uint32_t le, bool unasked, VmcSpan *out)
{
	uint8_t command[VSC_FETCH_COMMAND];

	vsc_fetch_command(&t->fetch, le, command);
	t->fetching = true;
	t->unasked = unasked;
	t->corrected = false;
	return send(t, command, vmc_span(NULL, 0), le, out);
}

/* ---- Commands ---- */

/* These would be taken for SW1 where a procedure byte is due (7816-3, 10.3.2). */
static bool is_invalid(uint8_t ins)
{
	return (ins & 0xf0) == 0x60 || (ins & 0xf0) == 0x90;
}

VscTpduStep vsc_tpdu_command(VscTpdu *t, VmcSpan command, VmcSpan *out)
{
	const char *because;
	VscApdu apdu;

	vsc_tpdu_forget(t);
	if (!vsc_apdu_parse(command, &apdu, &because))
		return reply_sw(t, VSC_SW_WRONG_LENGTH, out);
	if (is_invalid(apdu.ins))
		return reply_sw(t, VSC_SW_INS_INVALID, out);

	t->command = g_memdup2(command.data, command.len);
	t->command_len = command.len;
	t->data_len = apdu.data.len;
	if (t->data_len > 0)
		t->data_at = (size_t)(apdu.data.data - command.data);
	if (t->data_len > VSC_APDU_NC_SHORT)
		t->way = VSC_TPDU_ENVELOPE;
	vsc_fetch_begin(&t->fetch, apdu.cla, apdu.ne);
	return send_piece(t, out);
}

/* ---- Responses ---- */

/* More of the command is to go. An error to the first envelope says only that
 * the card takes none: of the command it knows nothing yet. */
static VscTpduStep piece_taken(VscTpdu *t, VmcSpan response, VmcSpan data, uint16_t sw,
			       VmcSpan *out)
{
	bool error = sw >> 12 == 6 && sw >> 8 > 0x63;

	if (data.len == 0 && sw == VSC_SW_OK)
		return send_piece(t, out);
	if (t->way == VSC_TPDU_ENVELOPE && t->rounds == 1 && error) {
		if (!vsc_apdu_can_chain(t->command[0]))
			return reply_sw(t, VSC_SW_WRONG_LENGTH, out);
		t->way = VSC_TPDU_CHAIN;
		t->sent = 0;
		return send_piece(t, out);
	}
	*out = response;
	return VSC_TPDU_REPLY;
}

/* 12.2.3, case 2S.3: the card has not worked and would with this Le. It is obeyed
 * once. */
static bool may_correct(const VscTpdu *t, VmcSpan data, uint16_t sw)
{
	return sw >> 8 == VSC_SW1_WRONG_LE && data.len == 0 && !t->corrected && t->fetch.ne > 0 &&
	       (t->fetching || t->data_len == 0);
}

/* Of more than was asked for, what was asked for (12.2.3, case 2S.3). */
static VscTpduStep collect(VscTpdu *t, VmcSpan data, uint16_t sw, VmcSpan *out)
{
	uint32_t le;

	data.len = MIN(data.len, vsc_fetch_left(&t->fetch));
	if (!vsc_fetch_take(&t->fetch, data, sw, &le))
		return reply_sw(t, VSC_SW_NO_DIAGNOSIS, out);
	if (le > 0)
		return get_response(t, le, false, out);
	*out = vsc_fetch_whole(&t->fetch, sw);
	return VSC_TPDU_REPLY;
}

/* The card's response to all of the command, or to a GET RESPONSE. */
static VscTpduStep respond(VscTpdu *t, VmcSpan response, VmcSpan data, uint16_t sw, VmcSpan *out)
{
	if (may_correct(t, data, sw)) {
		t->corrected = true;
		t->tpdu[P3_AT] = (uint8_t)sw;
		return forward(t, out);
	}
	/* 12.2.5, case 4S.2: it has worked, and there may be data. */
	if (!t->fetching && t->data_len > 0 && data.len == 0 && sw == VSC_SW_OK && t->fetch.ne > 0)
		return get_response(t, MIN(t->fetch.ne, VSC_APDU_NE_SHORT), true, out);
	/* That there is none is no failure of the command. */
	if (t->unasked && data.len == 0 && sw >> 8 != VSC_SW1_MORE)
		sw = VSC_SW_OK;
	if (t->fetch.ne > 0)
		return collect(t, data, sw, out);
	*out = response;
	return VSC_TPDU_REPLY;
}

VscTpduStep vsc_tpdu_response(VscTpdu *t, VmcSpan response, VmcSpan *out)
{
	VscTpduStep step;
	VmcSpan data;
	uint16_t sw;

	if (t->command == NULL || !vsc_apdu_response(response, &data, &sw))
		return reply_sw(t, VSC_SW_NO_DIAGNOSIS, out);
	if (t->sent < whole_of(t).len)
		step = piece_taken(t, response, data, sw, out);
	else
		step = respond(t, response, data, sw, out);
	if (step == VSC_TPDU_REPLY)
		forget_command(t);
	return step;
}

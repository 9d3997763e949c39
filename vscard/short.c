/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Extended APDUs in short ones. The command goes in pieces of 255 bytes, all
 * but the last with the class byte's chaining bit. Its response is whole with
 * the first status word that is not 61xx, or when as much is there as was
 * wanted. 6Cxx says that the card has not worked yet and would with another
 * Le: the whole command is given once more.
 */

#include "vscard/short.h"

#include <glib.h>
#include <string.h>

void vsc_short_init(VscShort *s)
{
	*s = (VscShort){ 0 };
	vsc_fetch_init(&s->fetch);
}

void vsc_short_forget(VscShort *s)
{
	if (s->data != NULL)
		vmc_wipe(s->data, s->data_len);
	g_free(s->data);
	vsc_fetch_forget(&s->fetch);
	vmc_wipe(s->piece, s->piece_len);
	vsc_short_init(s);
}

static VscShortStep reply_sw(VscShort *s, uint16_t sw, VmcSpan *out)
{
	vsc_short_forget(s);
	vmc_put_u16be(s->piece, sw);
	s->piece_len = 2;
	*out = vmc_span(s->piece, 2);
	return VSC_SHORT_REPLY;
}

/* ---- Pieces ---- */

/* Puts one short command into `piece`: header, `n` bytes of data, and Le. */
static VscShortStep forward(VscShort *s, const uint8_t header[VSC_APDU_HEADER], VmcSpan data,
			    VmcSpan *out)
{
	uint8_t *p = s->piece + VSC_APDU_HEADER;

	if (++s->rounds > VSC_SHORT_ROUNDS_MAX)
		return reply_sw(s, VSC_SW_NO_DIAGNOSIS, out);
	memcpy(s->piece, header, VSC_APDU_HEADER);
	if (data.len > 0) {
		*p++ = (uint8_t)data.len;
		memcpy(p, data.data, data.len);
		p += data.len;
	}
	if (s->le > 0)
		*p++ = (uint8_t)s->le;
	s->piece_len = (size_t)(p - s->piece);
	*out = vmc_span(s->piece, s->piece_len);
	return VSC_SHORT_FORWARD;
}

/* The next piece of the command. */
static VscShortStep send_piece(VscShort *s, VmcSpan *out)
{
	size_t n = MIN(s->data_len - s->sent, VSC_APDU_NC_SHORT);
	VmcSpan data = vmc_span(n > 0 ? s->data + s->sent : NULL, n);
	uint8_t header[VSC_APDU_HEADER];

	memcpy(header, s->header, sizeof(header));
	s->sent += n;
	s->le = s->last_le;
	if (s->sent < s->data_len) {
		header[0] |= VSC_CLA_CHAIN;
		s->le = 0;
	}
	return forward(s, header, data, out);
}

static VscShortStep get_response(VscShort *s, uint32_t le, VmcSpan *out)
{
	uint8_t command[VSC_FETCH_COMMAND];

	vsc_fetch_command(&s->fetch, le, command);
	s->fetching = true;
	s->le = le;
	return forward(s, command, vmc_span(NULL, 0), out);
}

/* ---- Commands ---- */

static bool is_extended(const VscApdu *apdu)
{
	return apdu->kind == VSC_APDU_2E || apdu->kind == VSC_APDU_3E || apdu->kind == VSC_APDU_4E;
}

VscShortStep vsc_short_command(VscShort *s, VmcSpan command, VmcSpan *out)
{
	const char *because;
	VscApdu apdu;
	bool parsed = vsc_apdu_parse(command, &apdu, &because);

	vsc_short_forget(s);
	if (parsed ? !is_extended(&apdu) : command.len <= VSC_SHORT_COMMAND_MAX) {
		s->as_is = true;
		*out = command;
		return VSC_SHORT_FORWARD;
	}
	if (!parsed || (apdu.data.len > VSC_APDU_NC_SHORT && !vsc_apdu_can_chain(apdu.cla)))
		return reply_sw(s, VSC_SW_WRONG_LENGTH, out);

	memcpy(s->header, command.data, sizeof(s->header));
	s->data = g_memdup2(apdu.data.data, apdu.data.len);
	s->data_len = apdu.data.len;
	s->last_le = MIN(apdu.ne, VSC_APDU_NE_SHORT);
	vsc_fetch_begin(&s->fetch, apdu.cla, apdu.ne);
	return send_piece(s, out);
}

/* ---- Responses ---- */

static VscShortStep collect(VscShort *s, VmcSpan data, uint16_t sw, VmcSpan *out)
{
	uint32_t le;

	if (!vsc_fetch_take(&s->fetch, data, sw, &le))
		return reply_sw(s, VSC_SW_NO_DIAGNOSIS, out);
	if (le > 0) {
		s->corrected = false;
		return get_response(s, le, out);
	}
	*out = vsc_fetch_whole(&s->fetch, sw);
	return VSC_SHORT_REPLY;
}

/* Asked for less than before, the card will work: the only Le that may be
 * obeyed, since nobody wanted more. */
static bool may_correct(const VscShort *s, VmcSpan data, uint16_t sw)
{
	return sw >> 8 == VSC_SW1_WRONG_LE && data.len == 0 && !s->corrected &&
	       vsc_apdu_count((uint8_t)sw) < s->le;
}

static VscShortStep correct(VscShort *s, uint32_t le, VmcSpan *out)
{
	s->corrected = true;
	if (s->fetching)
		return get_response(s, le, out);
	s->sent = 0;
	s->last_le = le;
	return send_piece(s, out);
}

VscShortStep vsc_short_response(VscShort *s, VmcSpan response, VmcSpan *out)
{
	VmcSpan data;
	uint16_t sw;

	*out = response;
	if (s->as_is)
		return VSC_SHORT_REPLY;
	if (!vsc_apdu_response(response, &data, &sw))
		return reply_sw(s, VSC_SW_NO_DIAGNOSIS, out);
	if (s->sent < s->data_len) {
		if (data.len > 0 || sw != VSC_SW_OK)
			return VSC_SHORT_REPLY;
		return send_piece(s, out);
	}
	if (may_correct(s, data, sw))
		return correct(s, vsc_apdu_count((uint8_t)sw), out);
	return collect(s, data, sw, out);
}

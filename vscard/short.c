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

#define INS_GET_RESPONSE 0xc0u

#define CLA_CHAIN 0x10u /* more pieces follow (5.3.3) */
/* Two bits of CLA: 00 and 01 are interindustry, first and further; 001 is
 * reserved (5.4.1). */
#define CLA_PROPRIETARY 0x80u
#define CLA_FURTHER 0x40u
#define CLA_RESERVED 0x20u

#define SW_OK 0x9000u
#define SW_WRONG_LENGTH 0x6700u
#define SW_NO_DIAGNOSIS 0x6f00u
#define SW1_MORE 0x61u     /* SW2 bytes are there for GET RESPONSE */
#define SW1_WRONG_LE 0x6cu /* SW2 is the right Le */

void vsc_short_init(VscShort *s)
{
	*s = (VscShort){ 0 };
	vmc_buf_init(&s->response, VSC_RESPONSE_MAX);
}

void vsc_short_forget(VscShort *s)
{
	if (s->data != NULL)
		vmc_wipe(s->data, s->data_len);
	g_free(s->data);
	vmc_buf_clear(&s->response);
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

/* SW2 and Le say 256 by 00. */
static uint32_t count_of(uint8_t byte)
{
	return byte != 0 ? byte : VSC_APDU_NE_SHORT;
}

/* Puts one short command into `piece`: header, `n` bytes of data, and Le. */
static VscShortStep forward(VscShort *s, const uint8_t header[VSC_APDU_HEADER], VmcSpan data,
			    VmcSpan *out)
{
	uint8_t *p = s->piece + VSC_APDU_HEADER;

	if (++s->rounds > VSC_SHORT_ROUNDS_MAX)
		return reply_sw(s, SW_NO_DIAGNOSIS, out);
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
		header[0] |= CLA_CHAIN;
		s->le = 0;
	}
	return forward(s, header, data, out);
}

/* GET RESPONSE, on the command's logical channel, without its secure
 * messaging. */
static VscShortStep fetch(VscShort *s, uint32_t le, VmcSpan *out)
{
	unsigned channel = vsc_apdu_channel(s->header[0]);
	uint8_t header[VSC_APDU_HEADER] = { 0, INS_GET_RESPONSE, 0, 0 };

	header[0] = (uint8_t)(channel < 4 ? channel : CLA_FURTHER | (channel - 4));
	s->fetching = true;
	s->le = le;
	return forward(s, header, vmc_span(NULL, 0), out);
}

/* ---- Commands ---- */

static bool is_extended(const VscApdu *apdu)
{
	return apdu->kind == VSC_APDU_2E || apdu->kind == VSC_APDU_3E || apdu->kind == VSC_APDU_4E;
}

static bool can_chain(uint8_t cla)
{
	return (cla & CLA_PROPRIETARY) == 0 && (cla & (CLA_FURTHER | CLA_RESERVED)) != CLA_RESERVED;
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
	if (!parsed || (apdu.data.len > VSC_APDU_NC_SHORT && !can_chain(apdu.cla)))
		return reply_sw(s, SW_WRONG_LENGTH, out);

	memcpy(s->header, command.data, sizeof(s->header));
	s->data = g_memdup2(apdu.data.data, apdu.data.len);
	s->data_len = apdu.data.len;
	s->ne = apdu.ne;
	s->last_le = MIN(s->ne, VSC_APDU_NE_SHORT);
	return send_piece(s, out);
}

/* ---- Responses ---- */

/* The response is whole. */
static VscShortStep reply_all(VscShort *s, uint16_t sw, VmcSpan *out)
{
	uint8_t bytes[2];

	vmc_put_u16be(bytes, sw);
	if (!vmc_buf_append(&s->response, vmc_span(bytes, sizeof(bytes))))
		return reply_sw(s, SW_NO_DIAGNOSIS, out);
	*out = vmc_buf_span(&s->response);
	return VSC_SHORT_REPLY;
}

static VscShortStep collect(VscShort *s, VmcSpan data, uint16_t sw, VmcSpan *out)
{
	size_t had;

	if (!vmc_buf_append(&s->response, data))
		return reply_sw(s, SW_NO_DIAGNOSIS, out);
	had = vmc_buf_span(&s->response).len;
	if (sw >> 8 != SW1_MORE || had >= s->ne)
		return reply_all(s, sw, out);
	s->corrected = false;
	return fetch(s, MIN(count_of((uint8_t)sw), s->ne - (uint32_t)had), out);
}

/* Asked for less than before, the card will work: the only Le that may be
 * obeyed, since nobody wanted more. */
static bool may_correct(const VscShort *s, VmcSpan data, uint16_t sw)
{
	return sw >> 8 == SW1_WRONG_LE && data.len == 0 && !s->corrected &&
	       count_of((uint8_t)sw) < s->le;
}

static VscShortStep correct(VscShort *s, uint32_t le, VmcSpan *out)
{
	s->corrected = true;
	if (s->fetching)
		return fetch(s, le, out);
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
		return reply_sw(s, SW_NO_DIAGNOSIS, out);
	if (s->sent < s->data_len) {
		if (data.len > 0 || sw != SW_OK)
			return VSC_SHORT_REPLY;
		return send_piece(s, out);
	}
	if (may_correct(s, data, sw))
		return correct(s, count_of((uint8_t)sw), out);
	return collect(s, data, sw, out);
}

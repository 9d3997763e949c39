/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The seven forms of a command APDU, told apart by how many bytes follow the
 * header and by the first of them (ISO/IEC 7816-4:2013, 5.1, decoding
 * conventions for command bodies).
 */

#include "vscard/apdu.h"

#include <glib.h>

/* Two bits of CLA: 00 and 01 are interindustry, first and further; 001 is
 * reserved (5.4.1). */
#define CLA_PROPRIETARY 0x80u
#define CLA_FURTHER 0x40u
#define CLA_RESERVED 0x20u

/* As many channels do the first interindustry values name. */
#define CHANNELS_FIRST 4u

uint32_t vsc_apdu_count(uint8_t byte)
{
	return byte != 0 ? byte : VSC_APDU_NE_SHORT;
}

static uint32_t ne_extended(uint16_t le)
{
	return le != 0 ? le : VSC_APDU_NE_EXTENDED;
}

static bool fail(const char **because, const char *text)
{
	*because = text;
	return false;
}

/* The body after a first byte that is not 0, or the only one. */
static bool parse_short(VmcSpan body, VscApdu *apdu, const char **because)
{
	uint8_t first, le;

	if (!vmc_span_u8(&body, &first))
		return fail(because, "no body");
	if (body.len == 0) {
		apdu->kind = VSC_APDU_2S;
		apdu->ne = vsc_apdu_count(first);
		return true;
	}
	if (!vmc_span_take(&body, first, &apdu->data))
		return fail(because, "less data than Lc says");
	if (body.len == 0) {
		apdu->kind = VSC_APDU_3S;
		return true;
	}
	if (body.len != 1 || !vmc_span_u8(&body, &le))
		return fail(because, "more data than Lc says");
	apdu->kind = VSC_APDU_4S;
	apdu->ne = vsc_apdu_count(le);
	return true;
}

/* The body after a first byte of 0 that is not alone. */
static bool parse_extended(VmcSpan body, VscApdu *apdu, const char **because)
{
	uint8_t zero;
	uint16_t number, le;

	if (!vmc_span_u8(&body, &zero) || !vmc_span_u16be(&body, &number))
		return fail(because, "an extended length field is cut short");
	if (body.len == 0) {
		apdu->kind = VSC_APDU_2E;
		apdu->ne = ne_extended(number);
		return true;
	}
	if (number == 0)
		return fail(because, "an extended Lc of 0");
	if (!vmc_span_take(&body, number, &apdu->data))
		return fail(because, "less data than Lc says");
	if (body.len == 0) {
		apdu->kind = VSC_APDU_3E;
		return true;
	}
	if (body.len != 2 || !vmc_span_u16be(&body, &le))
		return fail(because, "more data than Lc says");
	apdu->kind = VSC_APDU_4E;
	apdu->ne = ne_extended(le);
	return true;
}

bool vsc_apdu_parse(VmcSpan bytes, VscApdu *apdu, const char **because)
{
	VmcSpan in = bytes;

	*apdu = (VscApdu){ .kind = VSC_APDU_1 };
	if (!vmc_span_u8(&in, &apdu->cla) || !vmc_span_u8(&in, &apdu->ins) ||
	    !vmc_span_u8(&in, &apdu->p1) || !vmc_span_u8(&in, &apdu->p2))
		return fail(because, "shorter than CLA INS P1 P2");

	if (in.len == 0)
		return true;
	if (in.len == 1 || in.data[0] != 0)
		return parse_short(in, apdu, because);
	return parse_extended(in, apdu, because);
}

bool vsc_apdu_response(VmcSpan bytes, VmcSpan *data, uint16_t *sw)
{
	VmcSpan in = bytes;

	return in.len >= 2 && vmc_span_take(&in, in.len - 2, data) && vmc_span_u16be(&in, sw);
}

unsigned vsc_apdu_channel(uint8_t cla)
{
	/* 5.4.1: bit 7 tells the further interindustry values, whose low four
	 * bits count from channel 4. */
	return (cla & CLA_FURTHER) != 0 ? CHANNELS_FIRST + (cla & 0x0fu) : cla & 0x03u;
}

uint8_t vsc_apdu_plain_class(uint8_t cla)
{
	unsigned channel = vsc_apdu_channel(cla);

	return (uint8_t)(channel < CHANNELS_FIRST ? channel :
						    CLA_FURTHER | (channel - CHANNELS_FIRST));
}

bool vsc_apdu_can_chain(uint8_t cla)
{
	return (cla & CLA_PROPRIETARY) == 0 && (cla & (CLA_FURTHER | CLA_RESERVED)) != CLA_RESERVED;
}

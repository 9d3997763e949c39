/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading an ATR (ISO/IEC 7816-3:2006, 8.2): TS, T0, the chain of interface
 * bytes that each TD continues, historical bytes, and TCK.
 */

#include "vscard/atr.h"

/* Bits of T0 and of each TD that say which interface bytes follow (8.2.2). */
#define Y_TA 0x10u
#define Y_TB 0x20u
#define Y_TC 0x40u
#define Y_TD 0x80u

/* T of a TD whose interface bytes are global, not a protocol's (8.2.3). */
#define T_GLOBAL 15u

/* One group TA(i) TB(i) TC(i) TD(i) and what it is for. */
typedef struct Group {
	unsigned i;      /* from 1 */
	uint8_t t;       /* T of TD(i-1); for the first group 0 */
	bool first_of_t; /* first group with i > 2 for this T */
	bool has_ta, has_tb, has_tc;
	uint8_t ta, tb, tc;
} Group;

/* What the walk down the chain remembers. */
typedef struct Walk {
	bool any_td;
	bool needs_tck;
	uint16_t seen; /* bit t: a group with i > 2 was for T=t */
} Walk;

static bool take_group(VmcSpan *in, uint8_t y, Group *g)
{
	g->has_ta = (y & Y_TA) != 0;
	g->has_tb = (y & Y_TB) != 0;
	g->has_tc = (y & Y_TC) != 0;
	return (!g->has_ta || vmc_span_u8(in, &g->ta)) && (!g->has_tb || vmc_span_u8(in, &g->tb)) &&
	       (!g->has_tc || vmc_span_u8(in, &g->tc));
}

/* 8.3: the bytes of the first two groups are global or for T=0. */
static void keep_early(VscAtr *atr, const Group *g)
{
	if (g->i == 1) {
		if (g->has_ta)
			atr->ta1 = g->ta;
		if (g->has_tc)
			atr->guard_n = g->tc;
		return;
	}
	if (g->has_ta) {
		atr->specific = true;
		atr->first = g->ta & 0x0f;
	}
	if (g->has_tc)
		atr->t0_wi = g->tc;
}

/* From the third group on: bytes for T of the TD before (11.4 for T=1, 8.3
 * for T=15). Only a protocol's first group counts. */
static void keep_late(VscAtr *atr, const Group *g)
{
	if (!g->first_of_t)
		return;
	if (g->t == T_GLOBAL && g->has_ta)
		atr->clock_stop = g->ta >> 6;
	if (g->t != 1)
		return;
	if (g->has_ta)
		atr->t1_ifsc = g->ta;
	if (g->has_tb)
		atr->t1_bwi_cwi = g->tb;
	if (g->has_tc)
		atr->t1_crc = (g->tc & 1) != 0;
}

static void keep_td(VscAtr *atr, Walk *walk, uint8_t td)
{
	uint8_t t = td & 0x0f;

	/* TD1 names the first protocol, unless TA2 comes and says else. */
	if (!walk->any_td)
		atr->first = t;
	walk->any_td = true;
	if (t == 0)
		atr->t0 = true;
	if (t == 1)
		atr->t1 = true;
	/* 8.2.5: TCK is absent only if T=0 alone is named. */
	if (t != 0)
		walk->needs_tck = true;
}

static bool take_interface(VmcSpan *in, uint8_t y, VscAtr *atr, Walk *walk)
{
	uint8_t t = 0;

	/* The bytes run out before `i` can. */
	for (unsigned i = 1;; i++) {
		Group g = { .i = i, .t = t };
		uint8_t td;

		if (!take_group(in, y, &g))
			return false;
		if (i > 2) {
			g.first_of_t = (walk->seen & (1u << t)) == 0;
			walk->seen = (uint16_t)(walk->seen | (1u << t));
			keep_late(atr, &g);
		} else {
			keep_early(atr, &g);
		}
		if ((y & Y_TD) == 0)
			return true;
		if (!vmc_span_u8(in, &td))
			return false;
		keep_td(atr, walk, td);
		t = td & 0x0f;
		y = td & 0xf0;
	}
}

/* 8.2.5: all bytes from T0 to TCK, exclusive-ored, are 0. */
static bool check_tck(VmcSpan bytes)
{
	uint8_t sum = 0;

	for (size_t i = 1; i < bytes.len; i++)
		sum ^= bytes.data[i];
	return sum == 0;
}

static bool fail(const char **because, const char *text)
{
	*because = text;
	return false;
}

bool vsc_atr_parse(VmcSpan bytes, VscAtr *atr, const char **because)
{
	VmcSpan in = bytes;
	Walk walk = { 0 };
	uint8_t ts, t0, tck;

	*atr = (VscAtr){ .ta1 = 0x11, .t0_wi = 10, .t1_ifsc = 32, .t1_bwi_cwi = 0x4d };

	if (bytes.len < VSC_ATR_MIN)
		return fail(because, "shorter than TS and T0");
	if (bytes.len > VSC_ATR_MAX)
		return fail(because, "longer than 33 bytes");
	if (!vmc_span_u8(&in, &ts) || !vmc_span_u8(&in, &t0) || (ts != 0x3b && ts != 0x3f))
		return fail(because, "TS is neither 3B nor 3F");
	atr->inverse = ts == 0x3f;

	if (!take_interface(&in, t0 & 0xf0, atr, &walk))
		return fail(because, "cut short in its interface bytes");
	if (!vmc_span_take(&in, t0 & 0x0f, &atr->historical))
		return fail(because, "cut short in its historical bytes");
	if (!walk.any_td)
		atr->t0 = true;
	if (walk.needs_tck && !vmc_span_u8(&in, &tck))
		return fail(because, "TCK is missing");
	if (in.len > 0)
		return fail(because, "longer than its T0 announces");
	if (walk.needs_tck && !check_tck(bytes))
		return fail(because, "TCK is wrong");
	return true;
}

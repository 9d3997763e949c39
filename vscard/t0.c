/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * T=0 for cards that have none (ISO/IEC 7816-3:2006, 12.2: how each case of an
 * APDU is carried by TPDUs). A TPDU does not say whether a response is wanted:
 * P3 is Lc or Le, never both. So a command with data is given to the card with
 * the largest Le, and one with P3 = 00 as case 2; a card that finds this of the
 * wrong length (6700: it has not carried it out) is asked once more without.
 */

#include "vscard/t0.h"

#include <string.h>

#include "vscard/apdu.h"

void vsc_t0_init(VscT0 *t0)
{
	*t0 = (VscT0){ 0 };
	vmc_buf_init(&t0->envelope, VSC_COMMAND_MAX);
}

/* ---- What is remembered, and forgotten ---- */

static void forget_kept(VscT0 *t0)
{
	if (t0->kept != NULL)
		vmc_wipe(t0->kept, t0->kept_len);
	g_clear_pointer(&t0->kept, g_free);
	t0->kept_len = 0;
	t0->kept_at = 0;
	t0->again = false;
}

static void forget_apdu(VscT0 *t0)
{
	if (t0->apdu != NULL)
		vmc_wipe(t0->apdu, t0->apdu_len);
	g_clear_pointer(&t0->apdu, g_free);
	t0->apdu_len = 0;
}

void vsc_t0_forget(VscT0 *t0)
{
	forget_kept(t0);
	forget_apdu(t0);
	vmc_buf_clear(&t0->envelope);
	vmc_wipe(t0->reply, sizeof(t0->reply));
}

/* ---- Replies ---- */

static VscT0Step reply_data(VscT0 *t0, VmcSpan data, uint16_t sw, VmcSpan *out)
{
	if (data.len > 0)
		memcpy(t0->reply, data.data, data.len);
	vmc_put_u16be(t0->reply + data.len, sw);
	*out = vmc_span(t0->reply, data.len + 2);
	return VSC_T0_REPLY;
}

static VscT0Step reply_sw(VscT0 *t0, uint16_t sw, VmcSpan *out)
{
	return reply_data(t0, vmc_span(NULL, 0), sw, out);
}

/* SW2 for `n` bytes that are there: 00 says 256 or more. */
static uint16_t sw_for(uint8_t sw1, size_t n)
{
	if (n == VSC_T0_NOT_THIS_LONG)
		n--;
	return (uint16_t)((unsigned)sw1 << 8 | (n < VSC_APDU_NE_SHORT ? (unsigned)n : 0u));
}

/* Hands out `want` bytes of what is kept, or says how many to ask for. */
static VscT0Step hand_out(VscT0 *t0, uint32_t want, VmcSpan *out)
{
	size_t left = t0->kept_len - t0->kept_at;
	VscT0Step step;
	VmcSpan data;

	if (want == 0)
		return reply_sw(t0, sw_for(VSC_SW1_MORE, left), out);
	if (want > left || want == VSC_T0_NOT_THIS_LONG) {
		t0->again = true;
		return reply_sw(t0, sw_for(VSC_SW1_WRONG_LE, MIN(left, want)), out);
	}

	data = vmc_span(t0->kept + t0->kept_at, want);
	t0->kept_at += want;
	t0->again = false;
	left -= want;
	step = reply_data(t0, data, left > 0 ? sw_for(VSC_SW1_MORE, left) : t0->kept_sw, out);
	if (left == 0)
		forget_kept(t0);
	return step;
}

/* SW1 that T=0 knows: 6X and 9X, and 60 is no status but "wait" (7816-3, 10.3.3).
 * 6Cxx stands alone and is for who may ask again with another P3. */
static uint16_t legal_sw(const VscT0 *t0, VmcSpan data, uint16_t sw)
{
	uint8_t sw1 = (uint8_t)(sw >> 8);

	if (sw1 == 0x60 || ((sw1 & 0xf0) != 0x60 && (sw1 & 0xf0) != 0x90))
		return VSC_SW_NO_DIAGNOSIS;
	if (sw1 == VSC_SW1_WRONG_LE && (data.len > 0 || t0->want == 0))
		return VSC_SW_WRONG_LENGTH;
	return sw;
}

static VscT0Step respond(VscT0 *t0, VmcSpan data, uint16_t sw, VmcSpan *out)
{
	sw = legal_sw(t0, data, sw);
	if (data.len == 0)
		return reply_sw(t0, sw, out);
	forget_kept(t0);
	t0->kept = g_memdup2(data.data, data.len);
	t0->kept_len = data.len;
	t0->kept_sw = sw;
	return hand_out(t0, t0->want, out);
}

/* ---- Commands ---- */

/* Gives the card `bytes` with `le_len` (0 to 2) zeros, the largest Le, added. */
static VscT0Step forward(VscT0 *t0, VmcSpan bytes, size_t add_le, VmcSpan *out)
{
	forget_apdu(t0);
	t0->apdu_len = bytes.len + add_le;
	t0->apdu = g_malloc0(t0->apdu_len);
	memcpy(t0->apdu, bytes.data, bytes.len);
	*out = vmc_span(t0->apdu, t0->apdu_len);
	return VSC_T0_FORWARD;
}

/* An APDU or a TPDU, told apart by its form. `want` is set for TPDUs of case 2
 * alone: all others fetch their data by GET RESPONSE. A card that speaks T=0
 * gets no Le that nobody gave: it says itself when there is something. */
static VscT0Step forward_command(VscT0 *t0, VmcSpan bytes, bool tpdu, VmcSpan *out)
{
	VscApdu apdu;
	const char *because;

	t0->want = 0;
	t0->le_len = 0;
	t0->fallback_len = 0;
	t0->retried = false;

	if (!vsc_apdu_parse(bytes, &apdu, &because))
		return reply_sw(t0, VSC_SW_WRONG_LENGTH, out);
	if (apdu.kind == VSC_APDU_2S && tpdu)
		t0->want = apdu.ne;
	if (t0->native)
		return forward(t0, bytes, 0, out);
	switch (apdu.kind) {
	case VSC_APDU_1:
		return forward(t0, bytes, 0, out);
	case VSC_APDU_2S:
		t0->le_len = 1;
		/* P3 = 00 is also how a TPDU says case 1 (12.2.2). */
		if (apdu.ne == VSC_APDU_NE_SHORT)
			t0->fallback_len = VSC_APDU_HEADER;
		return forward(t0, bytes, 0, out);
	case VSC_APDU_3S:
		t0->le_len = 1;
		t0->fallback_len = bytes.len;
		return forward(t0, bytes, 1, out);
	case VSC_APDU_3E:
		t0->le_len = 2;
		t0->fallback_len = bytes.len;
		return forward(t0, bytes, 2, out);
	case VSC_APDU_4S:
		t0->le_len = 1;
		return forward(t0, bytes, 0, out);
	case VSC_APDU_2E:
	case VSC_APDU_4E:
		t0->le_len = 2;
		return forward(t0, bytes, 0, out);
	}
	g_return_val_if_reached(reply_sw(t0, VSC_SW_WRONG_LENGTH, out));
}

/* Is this the beginning of an extended APDU, and not a use of ENVELOPE that
 * the card knows better? */
static bool begins_extended(VmcSpan piece)
{
	return piece.len > VSC_APDU_HEADER && piece.data[VSC_APDU_HEADER] == 0;
}

/* A command with data says how long it is. The other forms may as well be the
 * beginning of one; they need no ENVELOPE and are whole when it ends. */
static bool is_whole(VmcSpan sofar)
{
	VscApdu apdu;
	const char *because;

	return vsc_apdu_parse(sofar, &apdu, &because) &&
	       (apdu.kind == VSC_APDU_3E || apdu.kind == VSC_APDU_4E);
}

/* ENVELOPE: under T=0 a long APDU comes in pieces (ISO/IEC 7816-3:2006, 12.2.7
 * and 12.2.8), and an empty piece is its end (7816-4). */
static VscT0Step take_piece(VscT0 *t0, VmcSpan tpdu, VmcSpan *out)
{
	VscApdu piece;
	const char *because;
	VmcSpan sofar = vmc_buf_span(&t0->envelope);
	VscT0Step step;

	if (!vsc_apdu_parse(tpdu, &piece, &because))
		return reply_sw(t0, VSC_SW_WRONG_LENGTH, out);
	if (sofar.len == 0 && !begins_extended(piece.data))
		return forward_command(t0, tpdu, true, out);
	if (!vmc_buf_append(&t0->envelope, piece.data)) {
		vmc_buf_clear(&t0->envelope);
		return reply_sw(t0, VSC_SW_WRONG_LENGTH, out);
	}

	sofar = vmc_buf_span(&t0->envelope);
	if (piece.data.len > 0 && !is_whole(sofar))
		return reply_sw(t0, VSC_SW_OK, out);
	/* What is forwarded or refused is a copy. */
	step = forward_command(t0, sofar, false, out);
	vmc_buf_clear(&t0->envelope);
	return step;
}

static bool is_for_kept(const VscT0 *t0, VmcSpan tpdu)
{
	if (t0->kept == NULL || tpdu.len != VSC_APDU_HEADER + 1)
		return false;
	if (t0->again && memcmp(tpdu.data, t0->header, sizeof(t0->header)) == 0)
		return true;
	return tpdu.data[1] == VSC_INS_GET_RESPONSE && tpdu.data[2] == 0 && tpdu.data[3] == 0 &&
	       vsc_apdu_channel(tpdu.data[0]) == vsc_apdu_channel(t0->header[0]);
}

VscT0Step vsc_t0_command(VscT0 *t0, VmcSpan tpdu, VmcSpan *out)
{
	VscT0Step step;

	if (tpdu.len < VSC_APDU_HEADER || tpdu.len > VSC_COMMAND_MAX) {
		vsc_t0_forget(t0);
		return reply_sw(t0, VSC_SW_WRONG_LENGTH, out);
	}
	if (is_for_kept(t0, tpdu)) {
		bool again = tpdu.data[1] != VSC_INS_GET_RESPONSE;
		uint8_t p3 = tpdu.data[4];

		step = hand_out(t0, p3 != 0 ? p3 : VSC_APDU_NE_SHORT, out);
		/* From the first GET RESPONSE on, the command is a new one. */
		t0->again = t0->again && again;
		return step;
	}

	forget_kept(t0);
	memcpy(t0->header, tpdu.data, sizeof(t0->header));
	if (t0->extended && tpdu.data[1] == VSC_INS_ENVELOPE)
		return take_piece(t0, tpdu, out);
	vmc_buf_clear(&t0->envelope);
	return forward_command(t0, tpdu, true, out);
}

/* ---- Responses ---- */

/* The card did not carry the command out: puts it in the form that helps. */
static bool rephrase(VscT0 *t0, uint16_t sw)
{
	if (sw == VSC_SW_WRONG_LENGTH && t0->fallback_len > 0) {
		vmc_wipe(t0->apdu + t0->fallback_len, t0->apdu_len - t0->fallback_len);
		t0->apdu_len = t0->fallback_len;
		if (t0->apdu_len == VSC_APDU_HEADER)
			t0->want = 0;
		return true;
	}
	/* The host of a command with data has no Le to put right; and from the
	 * data of the others the host is told of a length that T=0 may have. */
	if (sw >> 8 == VSC_SW1_WRONG_LE && t0->le_len > 0) {
		if (t0->le_len == 2)
			t0->apdu[t0->apdu_len - 2] = 0;
		t0->apdu[t0->apdu_len - 1] = (uint8_t)sw;
		return true;
	}
	return false;
}

VscT0Step vsc_t0_response(VscT0 *t0, VmcSpan response, VmcSpan *out)
{
	VmcSpan data;
	uint16_t sw;

	if (!vsc_apdu_response(response, &data, &sw)) {
		forget_apdu(t0);
		return reply_sw(t0, VSC_SW_NO_DIAGNOSIS, out);
	}
	if (data.len == 0 && t0->apdu != NULL && !t0->retried && rephrase(t0, sw)) {
		t0->retried = true;
		*out = vmc_span(t0->apdu, t0->apdu_len);
		return VSC_T0_FORWARD;
	}
	forget_apdu(t0);
	return respond(t0, data, sw, out);
}

/* ---- The ATR ---- */

/* Does the ATR say "extended Lc and Le fields"? ISO/IEC 7816-4:2013, 8.1.1:
 * compact-TLV after the category indicator 80, or 00 where three bytes of
 * status end it; tag 7 is the card capabilities, bit 7 of the third byte. */
static bool says_extended(VmcSpan historical)
{
	VmcSpan value;
	uint8_t category, tag;

	if (!vmc_span_u8(&historical, &category) || (category != 0x80 && category != 0x00))
		return false;
	if (category == 0x00)
		historical.len -= MIN(historical.len, 3u);
	while (vmc_span_u8(&historical, &tag) && vmc_span_take(&historical, tag & 0x0f, &value)) {
		if (tag >> 4 == 7 && value.len >= 3)
			return (value.data[2] & 0x40) != 0;
	}
	return false;
}

static size_t copy_atr(VmcSpan atr, uint8_t *to)
{
	size_t len = MIN(atr.len, VSC_ATR_MAX);

	if (len > 0)
		memcpy(to, atr.data, len);
	return len;
}

/* T0 without TD offers T=0 alone, and has no TCK (7816-3, 8.2.3 and 8.2.5). The
 * speed is kept. TA2, that the card speaks T=1 and nothing else, is not; nor TC1,
 * the guard time, which is between the card and its reader; nor TC2: a command
 * that crosses a wire may take the default waiting time, however fast the card. */
static size_t write_atr(const VscAtr *atr, uint8_t to[VSC_ATR_MAX])
{
	uint8_t k = (uint8_t)atr->historical.len;
	size_t n = 0;

	to[n++] = atr->inverse ? 0x3f : 0x3b;
	to[n++] = (uint8_t)(k | (atr->ta1 != 0x11 ? 0x10 : 0));
	if (atr->ta1 != 0x11)
		to[n++] = atr->ta1;
	if (k > 0)
		memcpy(to + n, atr->historical.data, k);
	return n + k;
}

size_t vsc_t0_atr(VmcSpan atr, uint8_t to[VSC_ATR_MAX])
{
	VscAtr parsed;
	const char *because;

	if (!vsc_atr_parse(atr, &parsed, &because) || parsed.first == 0)
		return copy_atr(atr, to);
	return write_atr(&parsed, to);
}

void vsc_t0_powered(VscT0 *t0, VmcSpan atr, VscExchange exchange)
{
	VscAtr parsed;
	const char *because;

	vsc_t0_forget(t0);
	t0->native = exchange == VSC_EXCHANGE_T0;
	t0->extended = !t0->native && vsc_atr_parse(atr, &parsed, &because) &&
		       says_extended(parsed.historical);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* CcidParams: see params.h. */

#include "ccid/params.h"

#include <string.h>

#include "ccid/message.h"

#define DEFAULT_FI_DI 0x11u /* ISO/IEC 7816-3, 8.3: F = 372, D = 1 */
#define DEFAULT_WI 10u      /* 10.2 */
#define DEFAULT_BWI_CWI 0x4Du
#define DEFAULT_IFSC 32u /* 11.4.2 */
#define BWI_MAX 9u       /* 11.4.3: greater ones are reserved */
#define IFSC_MAX 0xFEu
#define CLOCK_STOP_MAX 3u

/* bmTCCKST0 and bmTCCKST1 (6.1.7): bit 1 is the convention, bit 0 of T=1 the
 * kind of checksum. */
#define TCCKS_T0 0x00u
#define TCCKS_T1 0x10u
#define TCCKS_INVERSE 0x02u
#define TCCKS_CRC 0x01u

/* Fi and Di that are not reserved: ISO/IEC 7816-3:2006, tables 7 and 8. */
static bool fi_di_known(uint8_t fi_di)
{
	unsigned fi = fi_di >> 4, di = fi_di & 0x0Fu;

	return (fi <= 6 || (fi >= 9 && fi <= 13)) && di >= 1 && di <= 9;
}

/* A reserved value in an ATR gives way to the default: what the reader reports
 * it also takes when the host sets it. */
void ccid_params_from_atr(const VscAtr *atr, CcidParams *params)
{
	uint8_t fi_di = atr && fi_di_known(atr->ta1) ? atr->ta1 : DEFAULT_FI_DI;
	uint8_t inverse = atr && atr->inverse ? TCCKS_INVERSE : 0;
	uint8_t guard = atr ? atr->guard_n : 0;
	uint8_t clock_stop = atr ? atr->clock_stop & CLOCK_STOP_MAX : 0;

	memset(params, 0, sizeof(*params));
	params->bytes[0] = fi_di;
	params->bytes[2] = guard;
	params->bytes[4] = clock_stop;
	if (atr && atr->first != 0 && atr->t1) {
		params->protocol = 1;
		params->len = CCID_PARAMS_T1;
		params->bytes[1] = (uint8_t)(TCCKS_T1 | inverse | (atr->t1_crc ? TCCKS_CRC : 0));
		params->bytes[3] = atr->t1_bwi_cwi && atr->t1_bwi_cwi >> 4 <= BWI_MAX ?
					   atr->t1_bwi_cwi :
					   DEFAULT_BWI_CWI;
		params->bytes[5] =
			atr->t1_ifsc && atr->t1_ifsc <= IFSC_MAX ? atr->t1_ifsc : DEFAULT_IFSC;
	} else {
		params->len = CCID_PARAMS_T0;
		params->bytes[1] = (uint8_t)(TCCKS_T0 | inverse);
		params->bytes[3] = atr && atr->t0_wi ? atr->t0_wi : DEFAULT_WI;
	}
}

/* The index of the first byte of a T=0 structure that cannot be, -1 if all
 * is well. */
static int wrong_t0(const uint8_t *bytes)
{
	if (!fi_di_known(bytes[0]))
		return 0;
	if ((bytes[1] & ~TCCKS_INVERSE) != TCCKS_T0)
		return 1;
	if (bytes[3] == 0)
		return 3;
	return bytes[4] > CLOCK_STOP_MAX ? 4 : -1;
}

static int wrong_t1(const uint8_t *bytes)
{
	if (!fi_di_known(bytes[0]))
		return 0;
	if ((bytes[1] & ~(TCCKS_INVERSE | TCCKS_CRC)) != TCCKS_T1)
		return 1;
	if (bytes[3] >> 4 > BWI_MAX)
		return 3;
	if (bytes[4] > CLOCK_STOP_MAX)
		return 4;
	if (bytes[5] == 0 || bytes[5] > IFSC_MAX)
		return 5;
	/* bNadValue: dwFeatures does not claim NADs other than 0. */
	return bytes[6] != 0 ? 6 : -1;
}

static bool offered(uint8_t protocol, const VscAtr *atr)
{
	if (protocol > 1)
		return false;
	return !atr || (protocol == 0 ? atr->t0 : atr->t1);
}

uint8_t ccid_params_check(uint8_t protocol, VmcSpan bytes, const VscAtr *atr, CcidParams *params)
{
	size_t want = protocol == 0 ? CCID_PARAMS_T0 : CCID_PARAMS_T1;
	int wrong;

	if (!offered(protocol, atr))
		return CCID_ERROR_SPECIFIC;
	if (bytes.len != want)
		return CCID_ERROR_LENGTH;
	wrong = protocol == 0 ? wrong_t0(bytes.data) : wrong_t1(bytes.data);
	if (wrong >= 0)
		return (uint8_t)(CCID_ERROR_DATA + (unsigned)wrong);
	memset(params, 0, sizeof(*params));
	params->protocol = protocol;
	params->len = want;
	memcpy(params->bytes, bytes.data, want);
	return CCID_ERROR_NONE;
}

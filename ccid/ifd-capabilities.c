/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the IFD handler says of itself, its readers and their cards: the tags
 * of pcsc-lite's ifdhandler.h and the attributes of PC/SC part 3, 3.1.1. It
 * can wait for cards, so that pcscd need not look for them; the rest that is
 * said here is known without asking anybody.
 */

#include <string.h>

#include "ccid/ifd-handler.h"
#include "ccid/ifd-readers.h"

/* The longest value: a name of the peer's reader, which is cut by VscHost. */
#define VALUE_MAX 256u

/* SCARD_ATTR_ICC_PRESENCE and SCARD_ATTR_ICC_INTERFACE_STATUS. */
#define ICC_PRESENT_NOT_SWALLOWED 2u
#define ICC_ACTIVE 1u

/* What a reader is called whose peer says nothing of it. */
#define VENDOR "vscard"
#define TYPE "VSCard reader"

static RESPONSECODE wait_for_change(DWORD lun, int timeout)
{
	IfdPlace place;

	/* pcscd sleeps before it asks again. */
	if (!ifd_readers_get(lun, &place))
		return IFD_COMMUNICATION_ERROR;
	ifd_channel_wait(place.channel, place.slot, timeout);
	ifd_readers_put(&place);
	return IFD_SUCCESS;
}

static RESPONSECODE stop_waiting(DWORD lun)
{
	IfdPlace place;

	if (!ifd_readers_get(lun, &place))
		return IFD_COMMUNICATION_ERROR;
	ifd_channel_wake(place.channel, place.slot);
	ifd_readers_put(&place);
	return IFD_SUCCESS;
}

/* A value on its way to pcscd. */
typedef struct IfdValue {
	uint8_t bytes[VALUE_MAX];
	size_t len;
} IfdValue;

static bool put(IfdValue *value, const void *bytes, size_t len)
{
	value->len = MIN(len, sizeof(value->bytes));
	memcpy(value->bytes, bytes, value->len);
	return true;
}

static bool put_byte(IfdValue *value, size_t number)
{
	uint8_t byte = (uint8_t)number;

	return put(value, &byte, 1);
}

/* With its NUL; one that is too long is cut. */
static bool put_text(IfdValue *value, const char *text, const char *otherwise)
{
	if (text == NULL)
		text = otherwise;
	if (text == NULL)
		return false;
	value->len = g_strlcpy((char *)value->bytes, text, sizeof(value->bytes)) + 1;
	value->len = MIN(value->len, sizeof(value->bytes));
	return true;
}

static bool put_info(IfdValue *value, const IfdPlace *place, DWORD tag)
{
	VscReaderInfo info = { 0 };
	bool known;

	ifd_channel_info(place->channel, place->slot, &info);
	if (tag == SCARD_ATTR_VENDOR_NAME)
		known = put_text(value, info.vendor, VENDOR);
	else if (tag == SCARD_ATTR_VENDOR_IFD_TYPE)
		known = put_text(value, info.type, TYPE);
	else
		known = put_text(value, info.serial, NULL);
	g_free(info.vendor);
	g_free(info.type);
	g_free(info.serial);
	return known;
}

static bool put_atr(IfdValue *value, const IfdPlace *place)
{
	value->len = ifd_channel_atr(place->channel, place->slot, value->bytes);
	return true;
}

/* A pointer to a function, as pcscd wants it. */
static bool put_wait(IfdValue *value, const IfdPlace *place)
{
	RESPONSECODE (*function)(DWORD, int) = wait_for_change;

	ifd_channel_will_wait(place->channel, place->slot);
	return put(value, &function, sizeof(function));
}

static bool put_stop(IfdValue *value)
{
	RESPONSECODE (*function)(DWORD) = stop_waiting;

	return put(value, &function, sizeof(function));
}

/* False for a tag that is not known, or of which nothing is. */
static bool get(const IfdPlace *place, DWORD tag, IfdValue *value)
{
	uint32_t number;
	uint8_t atr[VSC_ATR_MAX];

	switch (tag) {
	case TAG_IFD_ATR:
	case SCARD_ATTR_ATR_STRING:
		return put_atr(value, place);
	case TAG_IFD_SIMULTANEOUS_ACCESS:
		return put_byte(value, IFD_READERS_MAX);
	case TAG_IFD_THREAD_SAFE:
	case TAG_IFD_SLOT_THREAD_SAFE:
		return put_byte(value, 1);
	case TAG_IFD_SLOTS_NUMBER:
		return put_byte(value, ifd_channel_slots(place->channel));
	case TAG_IFD_POLLING_THREAD_WITH_TIMEOUT:
		return put_wait(value, place);
	case TAG_IFD_POLLING_THREAD_KILLABLE:
		/* It would die with our locks held. */
		return put_byte(value, 0);
	case TAG_IFD_STOP_POLLING_THREAD:
		return put_stop(value);
	case SCARD_ATTR_VENDOR_NAME:
	case SCARD_ATTR_VENDOR_IFD_TYPE:
	case SCARD_ATTR_VENDOR_IFD_SERIAL_NO:
		return put_info(value, place, tag);
	case SCARD_ATTR_MAXINPUT:
		number = VSC_COMMAND_MAX;
		return put(value, &number, sizeof(number));
	case SCARD_ATTR_ICC_PRESENCE:
		return put_byte(value, ifd_channel_present(place->channel, place->slot) ?
					       ICC_PRESENT_NOT_SWALLOWED :
					       0);
	case SCARD_ATTR_ICC_INTERFACE_STATUS:
		return put_byte(value, ifd_channel_atr(place->channel, place->slot, atr) > 0 ?
					       ICC_ACTIVE :
					       0);
	default:
		return false;
	}
}

static RESPONSECODE hand_over(const IfdValue *value, PDWORD length, PUCHAR to)
{
	DWORD room = *length;

	*length = value->len;
	/* Without a place for it the length alone is asked for. */
	if (to == NULL)
		return IFD_SUCCESS;
	if (value->len > room)
		return IFD_ERROR_INSUFFICIENT_BUFFER;
	memcpy(to, value->bytes, value->len);
	return IFD_SUCCESS;
}

RESPONSECODE IFDHGetCapabilities(DWORD Lun, DWORD Tag, PDWORD Length, PUCHAR Value)
{
	IfdValue value = { .len = 0 };
	IfdPlace place;
	bool known;

	if (Length == NULL)
		return IFD_COMMUNICATION_ERROR;
	if (!ifd_readers_get(Lun, &place))
		return IFD_COMMUNICATION_ERROR;
	known = get(&place, Tag, &value);
	ifd_readers_put(&place);
	return known ? hand_over(&value, Length, Value) : IFD_ERROR_TAG;
}

/* Nothing can be set. */
RESPONSECODE IFDHSetCapabilities(DWORD Lun, DWORD Tag, G_GNUC_UNUSED DWORD Length,
				 G_GNUC_UNUSED PUCHAR Value)
{
	IfdValue value = { .len = 0 };
	IfdPlace place;
	bool known;

	if (!ifd_readers_get(Lun, &place))
		return IFD_COMMUNICATION_ERROR;
	known = get(&place, Tag, &value);
	ifd_readers_put(&place);
	return known ? IFD_ERROR_VALUE_READ_ONLY : IFD_ERROR_TAG;
}

/* ---- IFDHControl ---- */

/* The one feature of PC/SC part 10 that is there: properties as TLVs, of which
 * there is one, how much data an APDU may carry. No PIN pad, no display. */
static size_t features(uint8_t to[6])
{
	to[0] = FEATURE_GET_TLV_PROPERTIES;
	to[1] = 4;
	vmc_put_u32be(&to[2], IFD_CTL_TLV_PROPERTIES);
	return 6;
}

/* The data of the longest APDUs, 65,535 to the card and 65,536 from it; what
 * goes in both directions. */
#define MAX_APDU_DATA 65535u

/* Its number is little-endian (PC/SC part 10, 2.6.14). */
static size_t properties(uint8_t to[6])
{
	to[0] = PCSCv2_PART10_PROPERTY_dwMaxAPDUDataSize;
	to[1] = 4;
	vmc_put_u32le(&to[2], MAX_APDU_DATA);
	return 6;
}

RESPONSECODE IFDHControl(DWORD Lun, DWORD dwControlCode, G_GNUC_UNUSED PUCHAR TxBuffer,
			 G_GNUC_UNUSED DWORD TxLength, PUCHAR RxBuffer, DWORD RxLength,
			 LPDWORD pdwBytesReturned)
{
	IfdPlace place;
	uint8_t answer[6];
	size_t len;

	if (pdwBytesReturned == NULL)
		return IFD_COMMUNICATION_ERROR;
	*pdwBytesReturned = 0;
	if (!ifd_readers_get(Lun, &place))
		return IFD_COMMUNICATION_ERROR;
	ifd_readers_put(&place);
	if (dwControlCode == CM_IOCTL_GET_FEATURE_REQUEST)
		len = features(answer);
	else if (dwControlCode == IFD_CTL_TLV_PROPERTIES)
		len = properties(answer);
	else
		return IFD_ERROR_NOT_SUPPORTED;
	if (RxBuffer == NULL || RxLength < len)
		return IFD_ERROR_INSUFFICIENT_BUFFER;
	memcpy(RxBuffer, answer, len);
	*pdwBytesReturned = len;
	return IFD_SUCCESS;
}

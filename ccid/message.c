/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidMessage: see message.h. One table says everything about the types, so
 * that a name, a direction and the right answer never disagree.
 */

#include "ccid/message.h"

#include <string.h>

typedef struct TypeInfo {
	uint8_t type;
	uint8_t answer; /* 0: not a command */
	const char *name;
} TypeInfo;

/* Which answer belongs to which command: table 6.1-2. */
static const TypeInfo types[] = {
	{ CCID_SET_PARAMETERS, CCID_PARAMETERS, "SetParameters" },
	{ CCID_ICC_POWER_ON, CCID_DATA_BLOCK, "IccPowerOn" },
	{ CCID_ICC_POWER_OFF, CCID_SLOT_STATUS, "IccPowerOff" },
	{ CCID_GET_SLOT_STATUS, CCID_SLOT_STATUS, "GetSlotStatus" },
	{ CCID_SECURE, CCID_DATA_BLOCK, "Secure" },
	{ CCID_T0_APDU, CCID_SLOT_STATUS, "T0APDU" },
	{ CCID_ESCAPE, CCID_ESCAPE_ANSWER, "Escape" },
	{ CCID_GET_PARAMETERS, CCID_PARAMETERS, "GetParameters" },
	{ CCID_RESET_PARAMETERS, CCID_PARAMETERS, "ResetParameters" },
	{ CCID_ICC_CLOCK, CCID_SLOT_STATUS, "IccClock" },
	{ CCID_XFR_BLOCK, CCID_DATA_BLOCK, "XfrBlock" },
	{ CCID_MECHANICAL, CCID_SLOT_STATUS, "Mechanical" },
	{ CCID_ABORT, CCID_SLOT_STATUS, "Abort" },
	{ CCID_SET_RATE_AND_CLOCK, CCID_RATE_AND_CLOCK, "SetDataRateAndClockFrequency" },
	{ CCID_DATA_BLOCK, 0, "DataBlock" },
	{ CCID_SLOT_STATUS, 0, "SlotStatus" },
	{ CCID_PARAMETERS, 0, "Parameters" },
	{ CCID_ESCAPE_ANSWER, 0, "Escape" },
	{ CCID_RATE_AND_CLOCK, 0, "DataRateAndClockFrequency" },
	{ CCID_NOTIFY_SLOT_CHANGE, 0, "NotifySlotChange" },
	{ CCID_HARDWARE_ERROR, 0, "HardwareError" },
};

static const TypeInfo *find_type(uint8_t type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].type == type)
			return &types[i];
	return NULL;
}

static bool read_header(VmcSpan *bytes, CcidMessage *message)
{
	if (!vmc_span_u8(bytes, &message->type) || !vmc_span_u32le(bytes, &message->length))
		return false;
	if (!vmc_span_u8(bytes, &message->slot) || !vmc_span_u8(bytes, &message->seq))
		return false;
	for (size_t i = 0; i < sizeof(message->specific); i++)
		if (!vmc_span_u8(bytes, &message->specific[i]))
			return false;
	return true;
}

CcidRead ccid_message_read(VmcSpan bytes, CcidMessage *message)
{
	memset(message, 0, sizeof(*message));
	if (!read_header(&bytes, message))
		return CCID_READ_SHORT;
	message->data = bytes;
	return bytes.len == message->length ? CCID_READ_OK : CCID_READ_LENGTH;
}

bool ccid_message_announced(VmcSpan bytes, uint32_t *length)
{
	uint8_t type;

	return vmc_span_u8(&bytes, &type) && vmc_span_u32le(&bytes, length);
}

void ccid_message_put_header(uint8_t to[CCID_HEADER], const CcidMessage *message)
{
	to[0] = message->type;
	vmc_put_u32le(&to[1], message->length);
	to[5] = message->slot;
	to[6] = message->seq;
	memcpy(&to[7], message->specific, sizeof(message->specific));
}

CcidType ccid_message_answer(uint8_t type)
{
	const TypeInfo *info = find_type(type);

	return info && info->answer ? (CcidType)info->answer : CCID_SLOT_STATUS;
}

bool ccid_message_is_command(uint8_t type)
{
	const TypeInfo *info = find_type(type);

	return info && info->answer;
}

const char *ccid_message_name(uint8_t type)
{
	const TypeInfo *info = find_type(type);

	return info ? info->name : "unknown";
}

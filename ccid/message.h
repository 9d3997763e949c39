/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidMessage: the messages of the bulk pipes as CCID revision 1.1 lays them
 * out, both ways: a header of ten bytes, then dwLength bytes of data. A pure
 * codec: it knows where the fields are, not what a reader does with them.
 */

#pragma once

#include "vmc/span.h"

/* A PC_to_RDR or RDR_to_PC header (6.1, 6.2). */
#define CCID_HEADER 10u

/* bMessageType. PC_to_RDR: table 6.1-1; RDR_to_PC: table 6.2-1; the interrupt
 * pipe's: table 6.3-1. */
typedef enum CcidType {
	CCID_SET_PARAMETERS = 0x61,
	CCID_ICC_POWER_ON = 0x62,
	CCID_ICC_POWER_OFF = 0x63,
	CCID_GET_SLOT_STATUS = 0x65,
	CCID_SECURE = 0x69,
	CCID_T0_APDU = 0x6A,
	CCID_ESCAPE = 0x6B,
	CCID_GET_PARAMETERS = 0x6C,
	CCID_RESET_PARAMETERS = 0x6D,
	CCID_ICC_CLOCK = 0x6E,
	CCID_XFR_BLOCK = 0x6F,
	CCID_MECHANICAL = 0x71,
	CCID_ABORT = 0x72,
	CCID_SET_RATE_AND_CLOCK = 0x73,

	CCID_DATA_BLOCK = 0x80,
	CCID_SLOT_STATUS = 0x81,
	CCID_PARAMETERS = 0x82,
	CCID_ESCAPE_ANSWER = 0x83,
	CCID_RATE_AND_CLOCK = 0x84,

	CCID_NOTIFY_SLOT_CHANGE = 0x50,
	CCID_HARDWARE_ERROR = 0x51,
} CcidType;

/* bStatus: bmICCStatus in bits 1..0, bmCommandStatus in bits 7..6 (table
 * 6.2-3). */
#define CCID_ICC_ACTIVE 0x00u
#define CCID_ICC_INACTIVE 0x01u
#define CCID_ICC_ABSENT 0x02u
#define CCID_ICC_MASK 0x03u
#define CCID_COMMAND_OK 0x00u
#define CCID_COMMAND_FAILED 0x40u
#define CCID_COMMAND_TIME_EXTENSION 0x80u
#define CCID_COMMAND_MASK 0xC0u

/* bError when the command failed (table 6.2-2). 1 to 127 is the offset of the
 * field that is not supported or wrong. */
typedef enum CcidError {
	CCID_ERROR_NONE = 0x00,
	CCID_ERROR_NOT_SUPPORTED = 0x00, /* CMD_NOT_SUPPORTED, with a failed status */
	CCID_ERROR_LENGTH = 0x01,        /* offset of dwLength */
	CCID_ERROR_SLOT = 0x05,          /* offset of bSlot */
	CCID_ERROR_SPECIFIC = 0x07,      /* offset of the first message-specific byte */
	CCID_ERROR_LEVEL = 0x08,         /* offset of wLevelParameter */
	CCID_ERROR_DATA = 0x0A,          /* offset of the first data byte */
	CCID_ERROR_SLOT_BUSY = 0xE0,     /* CMD_SLOT_BUSY */
	CCID_ERROR_BAD_ATR_TS = 0xF8,
	CCID_ERROR_HARDWARE = 0xFB, /* HW_ERROR */
	CCID_ERROR_MUTE = 0xFE,     /* ICC_MUTE */
	CCID_ERROR_ABORTED = 0xFF,  /* CMD_ABORTED */
} CcidError;

/* bClockStatus (6.2.2). */
#define CCID_CLOCK_RUNNING 0x00u
#define CCID_CLOCK_STOPPED_LOW 0x01u

/* wLevelParameter of an XfrBlock and bChainParameter of a DataBlock at the
 * extended APDU level (6.1.4, 6.2.1). */
#define CCID_CHAIN_WHOLE 0x00u
#define CCID_CHAIN_BEGINS 0x01u
#define CCID_CHAIN_ENDS 0x02u
#define CCID_CHAIN_CONTINUES 0x03u
#define CCID_CHAIN_NEXT 0x10u

typedef struct CcidMessage {
	uint8_t type;        /* bMessageType */
	uint32_t length;     /* dwLength */
	uint8_t slot;        /* bSlot */
	uint8_t seq;         /* bSeq */
	uint8_t specific[3]; /* bytes 7 to 9; in an answer bStatus, bError and one more */
	VmcSpan data;        /* borrowed from the bytes read */
} CcidMessage;

typedef enum CcidRead {
	CCID_READ_OK,
	CCID_READ_SHORT,  /* fewer bytes than a header */
	CCID_READ_LENGTH, /* dwLength is not the number of bytes that follow */
} CcidRead;

/*
 * Reads `bytes`, one whole message or what the host sent in its place. Every
 * field that is there is filled in whatever the outcome, the rest is 0, so
 * that an error can be answered; `data` is what follows the header.
 */
CcidRead ccid_message_read(VmcSpan bytes, CcidMessage *message);

/* dwLength of the message that begins with `bytes`. False when they end
 * before it does. */
bool ccid_message_announced(VmcSpan bytes, uint32_t *length);

/* Stores the header of `message`; dwLength is message->length. */
void ccid_message_put_header(uint8_t to[CCID_HEADER], const CcidMessage *message);

/* The RDR_to_PC message that answers a PC_to_RDR message of `type`;
 * CCID_SLOT_STATUS for types nobody knows. */
CcidType ccid_message_answer(uint8_t type);

/* Is `type` one of the PC_to_RDR messages of CCID 1.1? */
bool ccid_message_is_command(uint8_t type);

/* "IccPowerOn", ... for logs; "unknown" for others. */
const char *ccid_message_name(uint8_t type);

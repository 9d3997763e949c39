/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The USB/IP protocol's bytes, version 1.1.1, as a server that exports devices
 * reads and writes them: the two operations that begin a connection (which
 * devices are there; import one), then commands and their replies on a
 * connection that imported. Pure functions over spans. All numbers are
 * big-endian but those of the setup packet. Source: usbip_protocol.rst of the
 * Linux kernel, and for what it leaves open the kernel's own two ends, which
 * each place names.
 */

#pragma once

#include "ccid/usb.h"

#define USBIP_VERSION 0x0111u

/* A reply's code lacks the top bit of its request's. */
typedef enum UsbipOpCode {
	USBIP_OP_REQ_IMPORT = 0x8003,
	USBIP_OP_REP_IMPORT = 0x0003,
	USBIP_OP_REQ_DEVLIST = 0x8005,
	USBIP_OP_REP_DEVLIST = 0x0005,
} UsbipOpCode;
#define USBIP_OP_REPLY_MASK 0x7FFFu

/* The status of an operation's reply. The text knows 0 and "1 for error"; the
 * others are what `usbip` (libsrc/usbip_common.h) tells its user in words. */
typedef enum UsbipOpStatus {
	USBIP_OP_OK = 0,
	USBIP_OP_BUSY = 2,      /* ST_DEV_BUSY: imported by somebody */
	USBIP_OP_NO_DEVICE = 4, /* ST_NODEV */
	USBIP_OP_ERROR = 5,     /* ST_ERROR */
} UsbipOpStatus;

/* The status of a reply to a command: an errno of Linux, negative, whatever
 * this machine's errno.h says. Meanings: the kernel's error-codes.rst. */
typedef enum UsbipStatus {
	USBIP_OK = 0,
	USBIP_NO_ENDPOINT = -2, /* ENOENT */
	USBIP_INVALID = -22,    /* EINVAL: a type of transfer that is not supported */
	USBIP_STALLED = -32,    /* EPIPE */
	USBIP_FAILED = -71,     /* EPROTO */
	USBIP_UNLINKED = -104,  /* ECONNRESET */
	USBIP_SHUT_DOWN = -108, /* ESHUTDOWN: the endpoint was disabled */
	USBIP_SHORT = -121,     /* EREMOTEIO: less came than USBIP_SHORT_NOT_OK wants */
} UsbipStatus;

typedef enum UsbipResult {
	USBIP_RESULT_OK,        /* one message taken from the front */
	USBIP_RESULT_NEED_MORE, /* nothing taken */
	USBIP_RESULT_BAD,       /* no message can be made of this: end the connection */
} UsbipResult;

/* ---- Operations ---- */

#define USBIP_OP_HEADER 8u /* version 16, code 16, status 32 */
#define USBIP_BUSID 32u    /* text that ends with a zero byte */
#define USBIP_PATH 256u    /* the same */
#define USBIP_OP_MAX (USBIP_OP_HEADER + USBIP_BUSID)

typedef struct UsbipOp {
	uint16_t version;
	uint16_t code; /* a UsbipOpCode, or anything a peer says */
	VmcSpan busid; /* REQ_IMPORT: without the zero byte, borrowed */
} UsbipOp;

/*
 * Takes one request from the front of `in`; never BAD. What a message of
 * another version or code looks like nobody knows: of it the header is taken.
 */
UsbipResult usbip_get_op(VmcSpan *in, UsbipOp *op);

/* Puts the header of a reply. */
void usbip_put_op(uint8_t to[USBIP_OP_HEADER], uint16_t code, UsbipOpStatus status);

/* What a list and an import say of a device; all of it borrowed. */
typedef struct UsbipExport {
	const char *path;  /* for people; cut to what fits */
	const char *busid; /* at most USBIP_BUSID - 1 bytes */
	uint32_t busnum, devnum;
	const UsbDeviceInfo *info;
} UsbipExport;

/* The device id that commands name it by. */
#define USBIP_DEVID(busnum, devnum) ((uint32_t)(busnum) << 16 | (uint32_t)(devnum))

#define USBIP_DEVICE 312u  /* follows the header in REP_IMPORT */
#define USBIP_INTERFACE 4u /* follows each device in REP_DEVLIST, one an interface */
void usbip_put_device(uint8_t to[USBIP_DEVICE], const UsbipExport *export);
void usbip_put_interface(uint8_t to[USBIP_INTERFACE], const UsbDeviceInfo *info);

/* ---- Commands ---- */

#define USBIP_HEADER 48u /* of each command and reply */

typedef enum UsbipCommandCode {
	USBIP_CMD_SUBMIT = 1,
	USBIP_CMD_UNLINK = 2,
	USBIP_RET_SUBMIT = 3,
	USBIP_RET_UNLINK = 4,
} UsbipCommandCode;

/* Of transfer_flags (include/uapi/linux/usbip.h) what matters to a device. */
#define USBIP_SHORT_NOT_OK 0x0001u /* IN: less than asked for is an error */
#define USBIP_ZERO_PACKET 0x0040u  /* OUT: whole packets are followed by an empty one */

/* The longest OUT transfer taken: a few of the longest messages to a reader,
 * which drivers send one a transfer. */
#define USBIP_OUT_MAX (256u * 1024)

/* number_of_packets when there are none: the text says all ones; Linux sends 0.
 * And the most there may be (USBIP_MAX_ISO_PACKETS), 16 bytes each. */
#define USBIP_NO_PACKETS 0xFFFFFFFFu
#define USBIP_PACKETS_MAX 1024u
#define USBIP_PACKET 16u

/* The longest command. */
#define USBIP_COMMAND_MAX (USBIP_HEADER + USBIP_OUT_MAX + USBIP_PACKETS_MAX * USBIP_PACKET)

typedef struct UsbipCommand {
	UsbipCommandCode code; /* CMD_SUBMIT or CMD_UNLINK */
	uint32_t seqnum;
	uint32_t devid;
	/* CMD_SUBMIT: */
	bool in;
	uint8_t endpoint; /* number, without the direction */
	uint32_t flags;   /* transfer_flags */
	uint32_t length;  /* transfer_buffer_length: at most INT32_MAX */
	uint32_t packets; /* number_of_packets, as the peer had it */
	bool isochronous; /* there are some */
	UsbSetup setup;   /* endpoint 0 */
	VmcSpan data;     /* out: `length` bytes, borrowed */
	/* CMD_UNLINK: */
	uint32_t unlink; /* seqnum of the CMD_SUBMIT */
} UsbipCommand;

/*
 * Takes one command from the front of `in`; `command` borrows from its owner.
 * On BAD, `*because` is a static text. What makes a command bad is said as
 * soon as its header is there: its data is not waited for.
 */
UsbipResult usbip_get_command(VmcSpan *in, UsbipCommand *command, const char **because);

/* The header of RET_SUBMIT; after it come `actual` bytes if it was IN. `packets`
 * is the command's: a peer that says 0 for none is told 0. */
void usbip_put_submitted(uint8_t to[USBIP_HEADER], uint32_t seqnum, UsbipStatus status,
			 uint32_t actual, uint32_t packets);

/* RET_UNLINK of the command `seqnum`. */
void usbip_put_unlinked(uint8_t to[USBIP_HEADER], uint32_t seqnum, UsbipStatus status);

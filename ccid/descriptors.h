/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidDescriptors: what the reader says it is: the descriptors of USB 2.0,
 * 9.6, and the class descriptor of CCID 1.1, 5.1, with the numbers behind them
 * in one place.
 *
 * Speed. The device calls itself high speed, with the 512-byte bulk endpoints
 * that USB 2.0, 5.8.3, demands there: EHCI alone and QEMU's xHCI take it as it
 * is, and so does Windows. QEMU puts the same device on a full-speed bus too
 * (UHCI), because its interrupt endpoint is small enough for one; Linux then
 * cuts 512 to the 64 bytes that full speed has and goes on. A device that says
 * full speed, or one with 64-byte bulk endpoints at high speed, is refused by
 * the first or breaks the standard on the others.
 *
 * Identity. By default 0E0F:0004, "VMware Virtual USB CCID", a virtual reader
 * like this one: it is in libccid's list of supported readers (pcscd starts
 * no driver for what is not), and neither libccid's nor GnuPG's own driver
 * has a special case for it, of product or of vendor. QEMU's 08E6:4433 has.
 * Windows takes any reader by its interface class.
 */

#pragma once

#include "ccid/device.h"

#define CCID_VENDOR_ID 0x0E0Fu
#define CCID_PRODUCT_ID 0x0004u
#define CCID_RELEASE 0x0100u /* bcdDevice */

#define CCID_CONFIGURATION 1u /* bConfigurationValue */
#define CCID_INTERFACE 0u     /* bInterfaceNumber */

#define CCID_ENDPOINT_OUT 0x01u
#define CCID_ENDPOINT_IN 0x82u
#define CCID_ENDPOINT_INTERRUPT 0x83u

#define CCID_INTERFACE_CLASS 0x0Bu /* smart card device: CCID 1.1, 4.3.1 */
#define CCID_CONTROL_PACKET 64u    /* both speeds: USB 2.0, 5.5.3 */
#define CCID_BULK_PACKET_FULL 64u
#define CCID_BULK_PACKET_HIGH 512u
#define CCID_INTERRUPT_PACKET 8u /* bMessageType and two bits a slot */

/* bInterval, both 32 ms: at full speed in frames, at high speed the exponent
 * of 2 to the n - 1 microframes (USB 2.0, table 9-13). */
#define CCID_INTERVAL_FULL 32u
#define CCID_INTERVAL_HIGH 9u

_Static_assert(1 + CCID_SLOTS_MAX / 4 <= CCID_INTERRUPT_PACKET, "a notification is one packet");

/* The one clock and the data rates a reader with it would have: F = 372, D = 1
 * to 32. Nothing is clocked here, but hosts compute timeouts from them. */
#define CCID_CLOCK_KHZ 4000u
#define CCID_RATE_DEFAULT 10752u
#define CCID_RATE_MAX 344086u

/* The longest descriptor here is the configuration's or a string's. */
#define CCID_DESCRIPTOR_MAX 256u

/* `identity` completed with the defaults; its strings are borrowed. */
CcidIdentity ccid_descriptors_identity(const CcidIdentity *identity);

/*
 * Builds descriptor `type` and `index` (wValue of GET_DESCRIPTOR, USB 2.0,
 * 9.4.3) of a reader of `n_slots` slots into `to`; `identity` is complete.
 * Answers its length, 0 when there is no such descriptor.
 */
size_t ccid_descriptors_build(uint8_t type, uint8_t index, unsigned n_slots,
			      const CcidIdentity *identity, uint8_t to[CCID_DESCRIPTOR_MAX]);

/* The answers to GET_CLOCK_FREQUENCIES (5.3.2) and GET_DATA_RATES (5.3.3). */
size_t ccid_descriptors_clocks(uint8_t to[CCID_DESCRIPTOR_MAX]);
size_t ccid_descriptors_rates(uint8_t to[CCID_DESCRIPTOR_MAX]);

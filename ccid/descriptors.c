/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* CcidDescriptors: see descriptors.h. */

#include "ccid/descriptors.h"

#include <string.h>

/* bDescriptorType: USB 2.0, table 9-5; the class's own: CCID 1.1, 5.1. */
#define TYPE_DEVICE 1u
#define TYPE_CONFIGURATION 2u
#define TYPE_STRING 3u
#define TYPE_INTERFACE 4u
#define TYPE_ENDPOINT 5u
#define TYPE_QUALIFIER 6u
#define TYPE_OTHER_SPEED 7u
#define TYPE_CCID 0x21u

#define LEN_DEVICE 18u
#define LEN_CONFIGURATION 9u
#define LEN_INTERFACE 9u
#define LEN_ENDPOINT 7u
#define LEN_QUALIFIER 10u
#define LEN_CCID 54u

#define STRING_MANUFACTURER 1u
#define STRING_PRODUCT 2u
#define STRING_SERIAL 3u
#define STRING_INTERFACE 4u
#define LANGUAGE_ENGLISH 0x0409u

#define BCD_USB 0x0200u
#define BCD_CCID 0x0110u
#define ATTRIBUTES_BUS_POWERED 0x80u
#define MAX_POWER 50u /* units of 2 mA */

#define DEFAULT_MANUFACTURER "vscard"
#define DEFAULT_PRODUCT "vscard CCID reader"
#define DEFAULT_INTERFACE "vscard"

/*
 * dwFeatures (5.1): parameters from the ATR (02), voltage (08), clock (10) and
 * rate (20) by the reader itself, parameters negotiated by it too (40), so
 * that no host sends a PPS to a card that is far away; IFSD (400); short and
 * extended APDUs (40000). Not claimed: activation on insertion (04), for a
 * VscCard comes unpowered; clock stop (100); NADs (200).
 */
#define FEATURES 0x0004047Au
#define PROTOCOLS 0x00000003u /* T=0 and T=1 */
#define VOLTAGES 0x07u        /* 5, 3 and 1.8 V */
#define MAX_IFSD 254u
#define CLASS_ECHO 0xFFu /* class byte of GET RESPONSE and ENVELOPE: the APDU's */

static const uint32_t rates[] = { CCID_RATE_DEFAULT, 21505, 43010, 86021, 172043, CCID_RATE_MAX };

#define N_RATES (sizeof(rates) / sizeof(rates[0]))

_Static_assert(sizeof(rates) <= CCID_DESCRIPTOR_MAX, "the rates fit their buffer");
_Static_assert(LEN_CONFIGURATION + LEN_INTERFACE + LEN_CCID + 3 * LEN_ENDPOINT <=
		       CCID_DESCRIPTOR_MAX,
	       "the configuration fits its buffer");

CcidIdentity ccid_descriptors_identity(const CcidIdentity *identity)
{
	CcidIdentity full = { 0 };

	if (identity)
		full = *identity;
	if (!full.vendor_id)
		full.vendor_id = CCID_VENDOR_ID;
	if (!full.product_id)
		full.product_id = CCID_PRODUCT_ID;
	if (!full.manufacturer)
		full.manufacturer = DEFAULT_MANUFACTURER;
	if (!full.product)
		full.product = DEFAULT_PRODUCT;
	if (!full.interface)
		full.interface = DEFAULT_INTERFACE;
	return full;
}

static size_t build_device(const CcidIdentity *identity, uint8_t *to)
{
	memset(to, 0, LEN_DEVICE);
	to[0] = LEN_DEVICE;
	to[1] = TYPE_DEVICE;
	vmc_put_u16le(&to[2], BCD_USB);
	/* bDeviceClass 0: the class is the interface's. */
	to[7] = CCID_CONTROL_PACKET;
	vmc_put_u16le(&to[8], identity->vendor_id);
	vmc_put_u16le(&to[10], identity->product_id);
	vmc_put_u16le(&to[12], CCID_RELEASE);
	to[14] = STRING_MANUFACTURER;
	to[15] = STRING_PRODUCT;
	/* None unless given: two readers of one serial number would be one
	 * and the same to Windows. */
	to[16] = identity->serial ? STRING_SERIAL : 0;
	to[17] = 1;
	return LEN_DEVICE;
}

static size_t build_qualifier(uint8_t *to)
{
	memset(to, 0, LEN_QUALIFIER);
	to[0] = LEN_QUALIFIER;
	to[1] = TYPE_QUALIFIER;
	vmc_put_u16le(&to[2], BCD_USB);
	to[7] = CCID_CONTROL_PACKET;
	to[8] = 1;
	return LEN_QUALIFIER;
}

static size_t put_interface(uint8_t *to)
{
	to[0] = LEN_INTERFACE;
	to[1] = TYPE_INTERFACE;
	to[2] = CCID_INTERFACE;
	to[3] = 0;
	to[4] = 3;
	to[5] = CCID_INTERFACE_CLASS;
	to[6] = 0;
	to[7] = 0; /* bulk transfers, optional interrupt-IN */
	to[8] = STRING_INTERFACE;
	return LEN_INTERFACE;
}

/* Table 5.1-1. */
static size_t put_class(unsigned n_slots, uint8_t *to)
{
	memset(to, 0, LEN_CCID);
	to[0] = LEN_CCID;
	to[1] = TYPE_CCID;
	vmc_put_u16le(&to[2], BCD_CCID);
	to[4] = (uint8_t)(n_slots - 1);
	to[5] = VOLTAGES;
	vmc_put_u32le(&to[6], PROTOCOLS);
	vmc_put_u32le(&to[10], CCID_CLOCK_KHZ);
	vmc_put_u32le(&to[14], CCID_CLOCK_KHZ);
	to[18] = 1;
	vmc_put_u32le(&to[19], CCID_RATE_DEFAULT);
	vmc_put_u32le(&to[23], CCID_RATE_MAX);
	to[27] = (uint8_t)N_RATES;
	vmc_put_u32le(&to[28], MAX_IFSD);
	vmc_put_u32le(&to[40], FEATURES);
	vmc_put_u32le(&to[44], CCID_MESSAGE_MAX);
	to[48] = CLASS_ECHO;
	to[49] = CLASS_ECHO;
	/* bMaxCCIDBusySlots: all of them, or libccid asks one after the other. */
	to[53] = (uint8_t)n_slots;
	return LEN_CCID;
}

static size_t put_endpoint(uint8_t *to, uint8_t address, UsbEndpointType type, uint16_t packet,
			   uint8_t interval)
{
	to[0] = LEN_ENDPOINT;
	to[1] = TYPE_ENDPOINT;
	to[2] = address;
	to[3] = (uint8_t)type;
	vmc_put_u16le(&to[4], packet);
	to[6] = interval;
	return LEN_ENDPOINT;
}

static size_t build_configuration(uint8_t type, unsigned n_slots, uint8_t *to)
{
	/* What the other speed would have is what full speed has. */
	bool other = type == TYPE_OTHER_SPEED;
	uint16_t bulk = other ? CCID_BULK_PACKET_FULL : CCID_BULK_PACKET_HIGH;
	uint8_t interval = other ? CCID_INTERVAL_FULL : CCID_INTERVAL_HIGH;
	size_t n = LEN_CONFIGURATION;

	n += put_interface(&to[n]);
	n += put_class(n_slots, &to[n]);
	n += put_endpoint(&to[n], CCID_ENDPOINT_OUT, USB_ENDPOINT_BULK, bulk, 0);
	n += put_endpoint(&to[n], CCID_ENDPOINT_IN, USB_ENDPOINT_BULK, bulk, 0);
	n += put_endpoint(&to[n], CCID_ENDPOINT_INTERRUPT, USB_ENDPOINT_INTERRUPT,
			  CCID_INTERRUPT_PACKET, interval);
	to[0] = LEN_CONFIGURATION;
	to[1] = type;
	vmc_put_u16le(&to[2], (uint16_t)n);
	to[4] = 1;
	to[5] = CCID_CONFIGURATION;
	to[6] = 0;
	to[7] = ATTRIBUTES_BUS_POWERED;
	to[8] = MAX_POWER;
	return n;
}

/* A UNICODE string descriptor (USB 2.0, 9.6.7): cut to what one holds. */
static size_t put_string(const char *text, uint8_t *to)
{
	glong units = 0;
	gunichar2 *utf16 = text ? g_utf8_to_utf16(text, -1, NULL, &units, NULL) : NULL;
	size_t n = 2;

	for (glong i = 0; utf16 && i < units && n + 2 <= UINT8_MAX; i++, n += 2)
		vmc_put_u16le(&to[n], utf16[i]);
	g_free(utf16);
	to[0] = (uint8_t)n;
	to[1] = TYPE_STRING;
	return n;
}

static size_t build_string(uint8_t index, const CcidIdentity *identity, uint8_t *to)
{
	switch (index) {
	case 0:
		to[0] = 4;
		to[1] = TYPE_STRING;
		vmc_put_u16le(&to[2], LANGUAGE_ENGLISH);
		return 4;
	case STRING_MANUFACTURER:
		return put_string(identity->manufacturer, to);
	case STRING_PRODUCT:
		return put_string(identity->product, to);
	case STRING_SERIAL:
		return identity->serial ? put_string(identity->serial, to) : 0;
	case STRING_INTERFACE:
		return put_string(identity->interface, to);
	default:
		return 0;
	}
}

size_t ccid_descriptors_build(uint8_t type, uint8_t index, unsigned n_slots,
			      const CcidIdentity *identity, uint8_t to[CCID_DESCRIPTOR_MAX])
{
	if (type == TYPE_STRING)
		return build_string(index, identity, to);
	if (index != 0)
		return 0;
	switch (type) {
	case TYPE_DEVICE:
		return build_device(identity, to);
	case TYPE_QUALIFIER:
		return build_qualifier(to);
	case TYPE_CONFIGURATION:
	case TYPE_OTHER_SPEED:
		return build_configuration(type, n_slots, to);
	default:
		return 0;
	}
}

size_t ccid_descriptors_clocks(uint8_t to[CCID_DESCRIPTOR_MAX])
{
	vmc_put_u32le(to, CCID_CLOCK_KHZ);
	return 4;
}

size_t ccid_descriptors_rates(uint8_t to[CCID_DESCRIPTOR_MAX])
{
	for (size_t i = 0; i < N_RATES; i++)
		vmc_put_u32le(&to[4 * i], rates[i]);
	return sizeof(rates);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The usbredir attach point over an in-process pair of char devices, with
 * libusbredirparser as the host that uses the device on the other end; and
 * peers that send what no host would.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <usbredirparser.h>

#include "ccid/descriptors.h"
#include "ccid/device.h"
#include "ccid/usbredir-private.h"
#include "tests/lib/testcard.h"
#include "vmc/chardev.h"

#define LIMIT_US (20 * G_USEC_PER_SEC)

/* A packet that came: which, under which id, its status and data. */
typedef struct Packet {
	int type;
	uint64_t id;
	uint8_t status, value;
	GByteArray *data;
} Packet;

typedef struct Host {
	CcidDevice *device;
	VscTestCard *card;
	VmcChardev *near, *far; /* far: the test's end */
	CcidUsbredir *usbredir;
	struct usbredirparser *parser;
	bool open;
	unsigned closes;
	struct usb_redir_device_connect_header connect;
	struct usb_redir_ep_info_header ep_info;
	struct usb_redir_interface_info_header interface_info;
	GString *order; /* of what came before the first answer */
	GQueue packets;
	uint64_t last_id;
	uint8_t seq;
} Host;

static void packet_free(void *data)
{
	Packet *packet = data;

	g_byte_array_unref(packet->data);
	g_free(packet);
}

static void came(Host *host, int type, uint64_t id, uint8_t status, uint8_t value, uint8_t *data,
		 int len)
{
	Packet *packet = g_new0(Packet, 1);

	packet->type = type;
	packet->id = id;
	packet->status = status;
	packet->value = value;
	packet->data = g_byte_array_new();
	g_byte_array_append(packet->data, data, (guint)len);
	if (data)
		usbredirparser_free_packet_data(host->parser, data);
	g_queue_push_tail(&host->packets, packet);
}

/* ---- The host's parser ---- */

static void on_log(void *priv, int level, const char *message)
{
	(void)priv;
	if (level == usbredirparser_error)
		print_message("%s\n", message);
}

static int on_read(void *priv, uint8_t *data, int count)
{
	Host *host = priv;

	return (int)vmc_chardev_read(host->far, data, (size_t)count);
}

static int on_write(void *priv, uint8_t *data, int count)
{
	VmcWrite result = vmc_chardev_write(((Host *)priv)->far, vmc_span(data, (size_t)count));

	return result == VMC_WRITE_OK || result == VMC_WRITE_HIGH ? count : 0;
}

static void on_hello(void *priv, struct usb_redir_hello_header *hello)
{
	(void)hello;
	g_string_append(((Host *)priv)->order, "hello ");
}

static void on_connect(void *priv, struct usb_redir_device_connect_header *header)
{
	Host *host = priv;

	host->connect = *header;
	g_string_append(host->order, "connect ");
}

static void on_disconnect(void *priv)
{
	g_string_append(((Host *)priv)->order, "disconnect ");
}

static void on_interface_info(void *priv, struct usb_redir_interface_info_header *header)
{
	Host *host = priv;

	host->interface_info = *header;
	g_string_append(host->order, "interfaces ");
}

static void on_ep_info(void *priv, struct usb_redir_ep_info_header *header)
{
	Host *host = priv;

	host->ep_info = *header;
	g_string_append(host->order, "endpoints ");
}

static void on_configuration(void *priv, uint64_t id,
			     struct usb_redir_configuration_status_header *header)
{
	came(priv, usb_redir_configuration_status, id, header->status, header->configuration, NULL,
	     0);
}

static void on_alt(void *priv, uint64_t id, struct usb_redir_alt_setting_status_header *header)
{
	came(priv, usb_redir_alt_setting_status, id, header->status, header->alt, NULL, 0);
}

static void on_iso(void *priv, uint64_t id, struct usb_redir_iso_stream_status_header *header)
{
	came(priv, usb_redir_iso_stream_status, id, header->status, header->endpoint, NULL, 0);
}

static void on_receiving(void *priv, uint64_t id,
			 struct usb_redir_interrupt_receiving_status_header *header)
{
	came(priv, usb_redir_interrupt_receiving_status, id, header->status, header->endpoint, NULL,
	     0);
}

static void on_control(void *priv, uint64_t id, struct usb_redir_control_packet_header *header,
		       uint8_t *data, int len)
{
	came(priv, usb_redir_control_packet, id, header->status, 0, data, len);
}

static void on_bulk(void *priv, uint64_t id, struct usb_redir_bulk_packet_header *header,
		    uint8_t *data, int len)
{
	if (header->endpoint & 0x80u)
		assert_int_equal((size_t)header->length_high << 16 | header->length, len);
	came(priv, usb_redir_bulk_packet, id, header->status, header->endpoint, data, len);
}

static void on_interrupt(void *priv, uint64_t id, struct usb_redir_interrupt_packet_header *header,
			 uint8_t *data, int len)
{
	came(priv, usb_redir_interrupt_packet, id, header->status, header->endpoint, data, len);
}

static void new_parser(Host *host, uint32_t caps)
{
	struct usbredirparser *parser = usbredirparser_create();

	parser->priv = host;
	parser->log_func = on_log;
	parser->read_func = on_read;
	parser->write_func = on_write;
	parser->hello_func = on_hello;
	parser->device_connect_func = on_connect;
	parser->device_disconnect_func = on_disconnect;
	parser->interface_info_func = on_interface_info;
	parser->ep_info_func = on_ep_info;
	parser->configuration_status_func = on_configuration;
	parser->alt_setting_status_func = on_alt;
	parser->iso_stream_status_func = on_iso;
	parser->interrupt_receiving_status_func = on_receiving;
	parser->control_packet_func = on_control;
	parser->bulk_packet_func = on_bulk;
	parser->interrupt_packet_func = on_interrupt;
	usbredirparser_init(parser, "test", &caps, 1, 0);
	host->parser = parser;
	usbredirparser_do_write(parser);
}

#define ALL_CAPS                                                                                   \
	(1u << usb_redir_cap_connect_device_version | 1u << usb_redir_cap_filter |                 \
	 1u << usb_redir_cap_ep_info_max_packet_size | 1u << usb_redir_cap_64bits_ids |            \
	 1u << usb_redir_cap_32bits_bulk_length)

/* ---- The test's end of the pair ---- */

static void on_opened(void *user)
{
	((Host *)user)->open = true;
}

static void on_closed(void *user, const GError *reason)
{
	Host *host = user;

	(void)reason;
	host->open = false;
	host->closes++;
}

static void on_readable(void *user)
{
	Host *host = user;
	uint8_t unread[4096];

	if (!host->parser) {
		while (vmc_chardev_read(host->far, unread, sizeof(unread)) > 0)
			;
		return;
	}
	assert_int_not_equal(usbredirparser_do_read(host->parser), usbredirparser_read_parse_error);
	/* The parser has acknowledged a device that was unplugged. */
	usbredirparser_do_write(host->parser);
}

static void on_writable(void *user)
{
	Host *host = user;

	if (host->parser)
		usbredirparser_do_write(host->parser);
}

static const VmcChardevEvents far_events = {
	.opened = on_opened,
	.closed = on_closed,
	.readable = on_readable,
	.writable = on_writable,
};

#define WAIT_UNTIL(condition)                                                                      \
	do {                                                                                       \
		int64_t end_ = g_get_monotonic_time() + LIMIT_US;                                  \
		while (!(condition)) {                                                             \
			assert_true(g_get_monotonic_time() < end_);                                \
			if (!g_main_context_iteration(NULL, FALSE))                                \
				g_usleep(200);                                                     \
		}                                                                                  \
	} while (0)

static void settle(void)
{
	for (int i = 0; i < 200; i++)
		g_main_context_iteration(NULL, FALSE);
}

/* The oldest packet of `type`, NULL if there is none. */
static Packet *take(Host *host, int type)
{
	for (GList *i = host->packets.head; i; i = i->next) {
		Packet *packet = i->data;

		if (packet->type != type)
			continue;
		g_queue_delete_link(&host->packets, i);
		return packet;
	}
	return NULL;
}

static Packet *wait_for(Host *host, int type)
{
	Packet *packet = NULL;

	WAIT_UNTIL((packet = take(host, type)));
	return packet;
}

static void check_packet(Host *host, int type, uint64_t id, uint8_t status, uint8_t value)
{
	Packet *packet = wait_for(host, type);

	assert_int_equal(packet->id, id);
	assert_int_equal(packet->status, status);
	assert_int_equal(packet->value, value);
	packet_free(packet);
}

/* ---- Life ---- */

/* A pair starts anew when one of its ends gets a user. */
static void wait_open(Host *host)
{
	if (!host->open) {
		vmc_chardev_set_user(host->far, NULL, NULL);
		vmc_chardev_set_user(host->far, &far_events, host);
	}
	WAIT_UNTIL(host->open);
}

static void connect_host(Host *host, uint32_t caps)
{
	wait_open(host);
	g_string_truncate(host->order, 0);
	new_parser(host, caps);
	WAIT_UNTIL(strstr(host->order->str, "connect"));
}

static void drop_parser(Host *host)
{
	g_clear_pointer(&host->parser, usbredirparser_destroy);
	g_queue_clear_full(&host->packets, packet_free);
	g_queue_init(&host->packets);
}

static void configure(Host *host)
{
	struct usb_redir_set_configuration_header header = { .configuration = 1 };

	usbredirparser_send_set_configuration(host->parser, ++host->last_id, &header);
	usbredirparser_do_write(host->parser);
	check_packet(host, usb_redir_configuration_status, host->last_id, usb_redir_success, 1);
}

static int setup_raw(void **state)
{
	Host *host = g_new0(Host, 1);

	host->device = ccid_device_new(1, NULL);
	host->card = vsc_test_card_new("test");
	host->order = g_string_new(NULL);
	g_queue_init(&host->packets);
	ccid_reader_set_card(ccid_device_reader(host->device), 0, vsc_test_card(host->card));
	vmc_chardev_pair_new(&host->near, &host->far);
	host->usbredir = ccid_usbredir_new(host->near, ccid_device_usb(host->device), NULL);
	assert_non_null(host->usbredir);
	assert_true(vmc_chardev_set_user(host->far, &far_events, host));
	*state = host;
	return 0;
}

static int setup_host(void **state)
{
	setup_raw(state);
	connect_host(*state, ALL_CAPS);
	configure(*state);
	return 0;
}

static int teardown_host(void **state)
{
	Host *host = *state;

	ccid_usbredir_free(host->usbredir);
	vmc_chardev_free(host->near);
	vmc_chardev_free(host->far);
	drop_parser(host);
	ccid_device_free(host->device);
	vsc_test_card_free(host->card);
	g_string_free(host->order, TRUE);
	g_free(host);
	return 0;
}

/* ---- Requests ---- */

static uint64_t bulk_in(Host *host, uint8_t endpoint, size_t length)
{
	struct usb_redir_bulk_packet_header header = {
		.endpoint = endpoint,
		.length = (uint16_t)length,
		.length_high = (uint16_t)(length >> 16),
	};

	usbredirparser_send_bulk_packet(host->parser, ++host->last_id, &header, NULL, 0);
	usbredirparser_do_write(host->parser);
	return host->last_id;
}

static uint64_t bulk_out(Host *host, uint8_t endpoint, const void *data, size_t length)
{
	struct usb_redir_bulk_packet_header header = {
		.endpoint = endpoint,
		.length = (uint16_t)length,
		.length_high = (uint16_t)(length >> 16),
	};

	usbredirparser_send_bulk_packet(host->parser, ++host->last_id, &header, (uint8_t *)data,
					(int)length);
	usbredirparser_do_write(host->parser);
	return host->last_id;
}

static void send_command(Host *host, uint8_t type, const void *data, size_t len)
{
	g_autofree uint8_t *bytes = g_malloc0(CCID_HEADER + len);
	uint64_t id;

	bytes[0] = type;
	vmc_put_u32le(&bytes[1], (uint32_t)len);
	bytes[6] = ++host->seq;
	if (len)
		memcpy(bytes + CCID_HEADER, data, len);
	id = bulk_out(host, CCID_ENDPOINT_OUT, bytes, CCID_HEADER + len);
	check_packet(host, usb_redir_bulk_packet, id, usb_redir_success, CCID_ENDPOINT_OUT);
}

static Packet *read_answer(Host *host, uint8_t type)
{
	uint64_t id = bulk_in(host, CCID_ENDPOINT_IN, CCID_MESSAGE_MAX + 2);
	Packet *packet = wait_for(host, usb_redir_bulk_packet);

	assert_int_equal(packet->id, id);
	assert_int_equal(packet->status, usb_redir_success);
	assert_true(packet->data->len >= CCID_HEADER);
	assert_int_equal(packet->data->data[0], type);
	assert_int_equal(packet->data->data[6], host->seq);
	return packet;
}

static void power_on(Host *host)
{
	vsc_test_card_set_present(host->card, true);
	send_command(host, CCID_ICC_POWER_ON, NULL, 0);
	packet_free(read_answer(host, CCID_DATA_BLOCK));
}

static void check_works(Host *host)
{
	send_command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	packet_free(read_answer(host, CCID_SLOT_STATUS));
}

/* ---- Tests: a host ---- */

static void test_announced(void **state)
{
	Host *host = *state;

	connect_host(host, ALL_CAPS);
	/* QEMU refuses a device whose interfaces it does not know yet. */
	assert_string_equal(host->order->str, "hello interfaces endpoints connect ");
	assert_int_equal(host->connect.speed, usb_redir_speed_high);
	assert_int_equal(host->connect.vendor_id, CCID_VENDOR_ID);
	assert_int_equal(host->connect.product_id, CCID_PRODUCT_ID);
	assert_int_equal(host->connect.device_version_bcd, CCID_RELEASE);
	assert_int_equal(host->interface_info.interface_count, 1);
	assert_int_equal(host->interface_info.interface_class[0], 0x0B);
	for (unsigned i = 0; i < 32; i++) {
		uint8_t type = i == 0 || i == 16 ? usb_redir_type_control :
			       i == 1 || i == 18 ? usb_redir_type_bulk :
			       i == 19           ? usb_redir_type_interrupt :
						   usb_redir_type_invalid;

		assert_int_equal(host->ep_info.type[i], type);
		assert_true(host->ep_info.max_packet_size[i] <= 64);
	}
	assert_int_equal(host->ep_info.max_packet_size[18], 64);
	assert_true(host->ep_info.interval[19] > 0); /* QEMU rejects 0 */
	/* What QEMU's xHCI asks of the peer. */
	assert_true(
		usbredirparser_peer_has_cap(host->parser, usb_redir_cap_connect_device_version));
	assert_true(
		usbredirparser_peer_has_cap(host->parser, usb_redir_cap_ep_info_max_packet_size));
	assert_true(usbredirparser_peer_has_cap(host->parser, usb_redir_cap_64bits_ids));
	assert_true(usbredirparser_peer_has_cap(host->parser, usb_redir_cap_32bits_bulk_length));
}

/* A host from before all those. */
static void test_old_host(void **state)
{
	Host *host = *state;
	uint64_t id;
	Packet *packet;

	connect_host(host, 0);
	configure(host);
	send_command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	id = bulk_in(host, CCID_ENDPOINT_IN, 65535);
	packet = wait_for(host, usb_redir_bulk_packet);
	assert_int_equal(packet->id, id);
	assert_int_equal(packet->data->len, 10);
	packet_free(packet);
}

static void test_configuration(void **state)
{
	Host *host = *state;
	struct usb_redir_set_configuration_header wrong = { .configuration = 9 };
	struct usb_redir_set_alt_setting_header alt = { .interface = 0, .alt = 0 };
	struct usb_redir_get_alt_setting_header get = { .interface = 0 };

	usbredirparser_send_get_configuration(host->parser, 1);
	usbredirparser_send_set_configuration(host->parser, 2, &wrong);
	usbredirparser_send_set_alt_setting(host->parser, 3, &alt);
	alt.alt = 1;
	usbredirparser_send_set_alt_setting(host->parser, 4, &alt);
	usbredirparser_send_get_alt_setting(host->parser, 5, &get);
	get.interface = 3;
	usbredirparser_send_get_alt_setting(host->parser, 6, &get);
	usbredirparser_do_write(host->parser);
	check_packet(host, usb_redir_configuration_status, 1, usb_redir_success, 1);
	check_packet(host, usb_redir_configuration_status, 2, usb_redir_stall, 9);
	check_packet(host, usb_redir_alt_setting_status, 3, usb_redir_success, 0);
	check_packet(host, usb_redir_alt_setting_status, 4, usb_redir_stall, 1);
	check_packet(host, usb_redir_alt_setting_status, 5, usb_redir_success, 0);
	check_packet(host, usb_redir_alt_setting_status, 6, usb_redir_stall, 0);
}

static void send_control(Host *host, uint8_t endpoint, uint8_t type, uint8_t request,
			 uint16_t value, uint16_t length)
{
	struct usb_redir_control_packet_header header = {
		.endpoint = endpoint,
		.requesttype = type,
		.request = request,
		.value = value,
		.length = length,
	};
	g_autofree uint8_t *data = g_malloc0(length + 1u);
	bool out = !(endpoint & 0x80u);

	usbredirparser_send_control_packet(host->parser, ++host->last_id, &header,
					   out && length ? data : NULL, out ? length : 0);
	usbredirparser_do_write(host->parser);
}

static void test_control(void **state)
{
	Host *host = *state;
	Packet *packet;

	send_control(host, 0x80, 0x80, 6, 0x0100, 64);
	packet = wait_for(host, usb_redir_control_packet);
	assert_int_equal(packet->status, usb_redir_success);
	assert_int_equal(packet->data->len, 18);
	packet_free(packet);
	send_control(host, 0x80, 0x80, 6, 0x0200, 0xFFFF);
	packet = wait_for(host, usb_redir_control_packet);
	assert_int_equal(packet->data->len, 93);
	packet_free(packet);
	send_control(host, 0x80, 0xC0, 0x33, 0, 64);
	check_packet(host, usb_redir_control_packet, host->last_id, usb_redir_stall, 0);
	send_control(host, 0x00, 0x21, 1, 0x0500, 0); /* ABORT */
	check_packet(host, usb_redir_control_packet, host->last_id, usb_redir_success, 0);
	send_control(host, 0x00, 0x40, 0x33, 0, 5000);
	check_packet(host, usb_redir_control_packet, host->last_id, usb_redir_stall, 0);
	/* Against its own direction; to an endpoint that is not 0. */
	send_control(host, 0x00, 0x80, 6, 0x0100, 18);
	check_packet(host, usb_redir_control_packet, host->last_id, usb_redir_inval, 0);
	send_control(host, 0x80, 0x00, 9, 0, 18);
	check_packet(host, usb_redir_control_packet, host->last_id, usb_redir_inval, 0);
	send_control(host, 0x82, 0x80, 6, 0x0100, 18);
	check_packet(host, usb_redir_control_packet, host->last_id, usb_redir_inval, 0);
}

static void test_apdus(void **state)
{
	static const unsigned nes[] = { 0, 1, 52, 116, 254, 500, 2000, 60000, 65536 };
	Host *host = *state;

	power_on(host);
	for (size_t i = 0; i < G_N_ELEMENTS(nes); i++) {
		uint8_t apdu[] = {
			0, 0xEC, 0, (uint8_t)i, 0, (uint8_t)(nes[i] >> 8), (uint8_t)nes[i]
		};
		size_t len = nes[i] ? sizeof(apdu) : 4;
		unsigned delay;
		GByteArray *want = vsc_test_card_response(vmc_span(apdu, len), &delay);
		Packet *packet;

		send_command(host, CCID_XFR_BLOCK, apdu, len);
		packet = read_answer(host, CCID_DATA_BLOCK);
		assert_int_equal(packet->data->len, CCID_HEADER + nes[i] + 2);
		assert_memory_equal(packet->data->data + CCID_HEADER, want->data, want->len);
		packet_free(packet);
		g_byte_array_unref(want);
	}
}

static void start_interrupt(Host *host, uint8_t endpoint, uint8_t status)
{
	struct usb_redir_start_interrupt_receiving_header header = { .endpoint = endpoint };

	usbredirparser_send_start_interrupt_receiving(host->parser, ++host->last_id, &header);
	usbredirparser_do_write(host->parser);
	check_packet(host, usb_redir_interrupt_receiving_status, host->last_id, status, endpoint);
}

static void check_notify(Host *host, uint8_t bits)
{
	Packet *packet = wait_for(host, usb_redir_interrupt_packet);

	assert_int_equal(packet->data->len, 2);
	assert_int_equal(packet->data->data[0], CCID_NOTIFY_SLOT_CHANGE);
	assert_int_equal(packet->data->data[1], bits);
	packet_free(packet);
}

static void test_interrupt(void **state)
{
	Host *host = *state;
	struct usb_redir_stop_interrupt_receiving_header stop = { .endpoint =
									  CCID_ENDPOINT_INTERRUPT };

	start_interrupt(host, CCID_ENDPOINT_IN, usb_redir_inval);
	start_interrupt(host, 0x8F, usb_redir_inval);
	start_interrupt(host, CCID_ENDPOINT_INTERRUPT, usb_redir_success);
	start_interrupt(host, CCID_ENDPOINT_INTERRUPT, usb_redir_success);
	vsc_test_card_set_present(host->card, true);
	check_notify(host, 3);
	vsc_test_card_set_present(host->card, false);
	check_notify(host, 2);
	settle();
	assert_null(take(host, usb_redir_interrupt_packet)); /* started twice, told once */
	usbredirparser_send_stop_interrupt_receiving(host->parser, ++host->last_id, &stop);
	usbredirparser_do_write(host->parser);
	check_packet(host, usb_redir_interrupt_receiving_status, host->last_id, usb_redir_success,
		     CCID_ENDPOINT_INTERRUPT);
	vsc_test_card_set_present(host->card, true);
	settle();
	assert_null(take(host, usb_redir_interrupt_packet));
	start_interrupt(host, CCID_ENDPOINT_INTERRUPT, usb_redir_success);
	check_notify(host, 3);
}

static void test_cancel(void **state)
{
	Host *host = *state;
	uint64_t id = bulk_in(host, CCID_ENDPOINT_IN, 100000000); /* and no allocation */

	settle();
	assert_null(take(host, usb_redir_bulk_packet));
	usbredirparser_send_cancel_data_packet(host->parser, id);
	usbredirparser_send_cancel_data_packet(host->parser, 4711);
	usbredirparser_do_write(host->parser);
	check_packet(host, usb_redir_bulk_packet, id, usb_redir_cancelled, CCID_ENDPOINT_IN);
	usbredirparser_send_cancel_data_packet(host->parser, id);
	check_works(host);
}

/* The same id twice: two transfers, two answers. */
static void test_same_id(void **state)
{
	Host *host = *state;
	uint64_t id = bulk_in(host, CCID_ENDPOINT_IN, 512);

	host->last_id--;
	bulk_in(host, CCID_ENDPOINT_IN, 512);
	bulk_out(host, CCID_ENDPOINT_OUT, "\x65\0\0\0\0\0\1\0\0\0", 10);
	check_packet(host, usb_redir_bulk_packet, host->last_id, usb_redir_success,
		     CCID_ENDPOINT_OUT);
	check_packet(host, usb_redir_bulk_packet, id, usb_redir_success, CCID_ENDPOINT_IN);
	usbredirparser_send_cancel_data_packet(host->parser, id);
	usbredirparser_do_write(host->parser);
	check_packet(host, usb_redir_bulk_packet, id, usb_redir_cancelled, CCID_ENDPOINT_IN);
}

static void test_reset(void **state)
{
	Host *host = *state;
	uint64_t id;

	power_on(host);
	start_interrupt(host, CCID_ENDPOINT_INTERRUPT, usb_redir_success);
	check_notify(host, 3);
	id = bulk_in(host, CCID_ENDPOINT_IN, 512);
	usbredirparser_send_reset(host->parser);
	usbredirparser_send_get_configuration(host->parser, ++host->last_id);
	usbredirparser_do_write(host->parser);
	check_packet(host, usb_redir_bulk_packet, id, usb_redir_cancelled, CCID_ENDPOINT_IN);
	check_packet(host, usb_redir_configuration_status, host->last_id, usb_redir_success, 0);
	bulk_in(host, CCID_ENDPOINT_IN, 512);
	check_packet(host, usb_redir_bulk_packet, host->last_id, usb_redir_ioerror,
		     CCID_ENDPOINT_IN);
	configure(host);
	start_interrupt(host, CCID_ENDPOINT_INTERRUPT, usb_redir_success);
	check_notify(host, 3);
	check_works(host);
	settle();
	assert_false(vsc_test_card_powered(host->card));
}

static void test_wrong_endpoints(void **state)
{
	Host *host = *state;
	struct usb_redir_start_iso_stream_header iso = { .endpoint = 0x81 };

	bulk_in(host, 0x81, 512);
	check_packet(host, usb_redir_bulk_packet, host->last_id, usb_redir_inval, 0x81);
	bulk_out(host, 0x02, "x", 1);
	check_packet(host, usb_redir_bulk_packet, host->last_id, usb_redir_inval, 0x02);
	bulk_in(host, CCID_ENDPOINT_INTERRUPT, 8);
	check_packet(host, usb_redir_bulk_packet, host->last_id, usb_redir_inval,
		     CCID_ENDPOINT_INTERRUPT);
	usbredirparser_send_start_iso_stream(host->parser, 77, &iso);
	usbredirparser_do_write(host->parser);
	check_packet(host, usb_redir_iso_stream_status, 77, usb_redir_inval, 0x81);
	check_works(host);
}

static void leave(Host *host)
{
	vmc_chardev_disconnect(host->far, false, "test");
	WAIT_UNTIL(!host->open);
}

/* As if the peer's process had died. */
static void cut(Host *host)
{
	vmc_chardev_disconnect(host->near, false, "test");
	WAIT_UNTIL(!host->open);
}

/* A peer goes in the middle of a command; the next one gets a fresh device. */
static void test_next_peer(void **state)
{
	Host *host = *state;

	for (int i = 0; i < 3; i++) {
		power_on(host);
		vsc_test_card_set_mode(host->card, VSC_TEST_SILENT);
		send_command(host, CCID_XFR_BLOCK, "\0\xEC\0\0", 4);
		bulk_in(host, CCID_ENDPOINT_IN, 512);
		vsc_test_card_set_mode(host->card, VSC_TEST_AUTO);
		leave(host);
		drop_parser(host);
		settle();
		assert_true(vsc_test_card_powered(host->card));
		connect_host(host, ALL_CAPS);
		settle();
		assert_false(vsc_test_card_powered(host->card));
		vsc_test_card_set_present(host->card, false);
		configure(host);
		check_works(host);
	}
}

/* The next connection goes on: what fell due between comes, the card has kept
 * its power, the device its configuration. */
static void test_peer_returns(void **state)
{
	Host *host = *state;
	Packet *packet;
	uint64_t id;

	power_on(host);
	start_interrupt(host, CCID_ENDPOINT_INTERRUPT, usb_redir_success);
	check_notify(host, 3);
	vsc_test_card_set_mode(host->card, VSC_TEST_MANUAL);
	send_command(host, CCID_XFR_BLOCK, "\0\xEC\0\0", 4);
	id = bulk_in(host, CCID_ENDPOINT_IN, 512);
	settle();
	leave(host);
	settle();
	vsc_test_card_answer(host->card, VSC_OUTCOME_OK, vmc_span("\x12\x34\x90", 4));
	settle();
	wait_open(host);
	settle();
	assert_int_equal(host->packets.length, 0);
	usbredirparser_send_get_configuration(host->parser, ++host->last_id);
	usbredirparser_do_write(host->parser);
	packet = wait_for(host, usb_redir_bulk_packet);
	assert_int_equal(packet->id, id);
	assert_int_equal(packet->data->len, CCID_HEADER + 4);
	assert_memory_equal(packet->data->data + CCID_HEADER, "\x12\x34\x90", 4);
	packet_free(packet);
	check_packet(host, usb_redir_configuration_status, host->last_id, usb_redir_success, 1);
	vsc_test_card_set_mode(host->card, VSC_TEST_AUTO);
	assert_true(vsc_test_card_powered(host->card));
	assert_string_equal(host->order->str, "hello interfaces endpoints connect ");
	vsc_test_card_set_present(host->card, false);
	check_notify(host, 2);
	check_works(host);
}

/* One that is back and has nothing to say hears of a slot change even so. */
static void test_silent_return(void **state)
{
	Host *host = *state;

	host->usbredir->silence_ms = 1;
	power_on(host);
	start_interrupt(host, CCID_ENDPOINT_INTERRUPT, usb_redir_success);
	check_notify(host, 3);
	cut(host);
	settle();
	for (unsigned i = 0; i < 1000; i++)
		vsc_test_card_set_present(host->card, i % 2);
	vsc_test_card_set_present(host->card, false);
	assert_true(host->usbredir->transfers.length <= 1);
	wait_open(host);
	/* The first change while it was away, and what the others came to. */
	check_notify(host, 2);
	check_notify(host, 2);
	for (unsigned i = 0; i < 20; i++)
		settle();
	assert_null(take(host, usb_redir_interrupt_packet));
	/* The last of each bulk pipe came again. */
	for (unsigned i = 0; i < 2; i++)
		packet_free(wait_for(host, usb_redir_bulk_packet));
	/* Nothing of the last moment is left to do so. */
	g_usleep(60 * 1000);
	leave(host);
	wait_open(host);
	check_works(host);
}

/* What the peer may not have read when it was cut off is sent once more, but for
 * what it has asked again since. */
static void test_lost_answers(void **state)
{
	Host *host = *state;
	uint64_t id, kept;

	vsc_test_card_set_present(host->card, true);
	send_command(host, CCID_GET_SLOT_STATUS, NULL, 0);
	kept = host->last_id;
	id = bulk_in(host, CCID_ENDPOINT_IN, 512);
	packet_free(wait_for(host, usb_redir_bulk_packet));
	cut(host);
	wait_open(host);
	/* The id of the last answer, for a transfer that has none yet. */
	host->last_id = id - 1;
	assert_int_equal(bulk_in(host, CCID_ENDPOINT_IN, 512), id);
	check_packet(host, usb_redir_bulk_packet, kept, usb_redir_success, CCID_ENDPOINT_OUT);
	settle();
	assert_null(take(host, usb_redir_bulk_packet));
	usbredirparser_send_cancel_data_packet(host->parser, id);
	usbredirparser_do_write(host->parser);
	check_packet(host, usb_redir_bulk_packet, id, usb_redir_cancelled, CCID_ENDPOINT_IN);
	/* Kept, but not for ever, and the last of each pipe: of the two bulk ones,
	 * the interrupt and the control one. */
	for (unsigned i = 0; i < 100; i++) {
		check_works(host);
		assert_true(host->usbredir->sent.length <= 4);
	}
	assert_int_not_equal(host->usbredir->sent_timer, 0);
	/* Who leaves in order has read all, but for the last moment. */
	g_usleep(60 * 1000);
	leave(host);
	settle();
	assert_int_equal(host->usbredir->sent.length, 0);
}

#define PLUGGED_TWICE "hello interfaces endpoints connect disconnect interfaces endpoints connect "

/* The device becomes another: it is unplugged and plugged in, and what the host
 * sent before it saw that is for nobody. */
static void test_changed(void **state)
{
	Host *host = *state;

	power_on(host);
	start_interrupt(host, CCID_ENDPOINT_INTERRUPT, usb_redir_success);
	check_notify(host, 3);
	bulk_in(host, CCID_ENDPOINT_IN, 512);
	settle();
	usb_device_changed(ccid_device_usb(host->device));
	/* On its way when the device goes. */
	bulk_in(host, CCID_ENDPOINT_IN, 512);
	usbredirparser_send_get_configuration(host->parser, ++host->last_id);
	usbredirparser_do_write(host->parser);
	WAIT_UNTIL(strcmp(host->order->str, PLUGGED_TWICE) == 0);
	settle();
	assert_int_equal(host->packets.length, 0);
	assert_int_equal(host->usbredir->transfers.length, 0);
	assert_false(vsc_test_card_powered(host->card));
	configure(host);
	check_works(host);
	power_on(host);
	assert_int_equal(host->closes, 0);
}

/* Twice in a row is once; and for a host of before 64-bit ids. */
static void test_changed_again(void **state)
{
	Host *host = *state;

	usb_device_changed(ccid_device_usb(host->device));
	usb_device_changed(ccid_device_usb(host->device));
	WAIT_UNTIL(strcmp(host->order->str, PLUGGED_TWICE) == 0);
	settle();
	configure(host);
	check_works(host);
	leave(host);
	drop_parser(host);
	connect_host(host, 0);
	configure(host);
	usb_device_changed(ccid_device_usb(host->device));
	WAIT_UNTIL(strcmp(host->order->str, PLUGGED_TWICE) == 0);
	configure(host);
	check_works(host);
}

/* Nobody is there to see it, or one who will be back. */
static void test_changed_away(void **state)
{
	Host *host = *state;

	power_on(host);
	leave(host);
	settle();
	usb_device_changed(ccid_device_usb(host->device));
	settle();
	assert_true(vsc_test_card_powered(host->card));
	wait_open(host);
	usbredirparser_send_get_configuration(host->parser, ++host->last_id);
	usbredirparser_do_write(host->parser);
	WAIT_UNTIL(strcmp(host->order->str, PLUGGED_TWICE) == 0);
	WAIT_UNTIL(!vsc_test_card_powered(host->card));
	drop_parser(host);
	cut(host);
	usbredir_forget_peer(host->usbredir);
	usb_device_changed(ccid_device_usb(host->device));
	connect_host(host, ALL_CAPS);
	settle();
	assert_string_equal(host->order->str, "hello interfaces endpoints connect ");
	configure(host);
	check_works(host);
}

/* Nobody comes back: the card loses its power, and who goes on later is wrong. */
static void test_away_too_long(void **state)
{
	Host *host = *state;

	host->usbredir->away_ms = 20;
	power_on(host);
	leave(host);
	WAIT_UNTIL(!vsc_test_card_powered(host->card));
	assert_int_equal(host->usbredir->sent.length, 0);
	/* One that comes and goes without a word wins no time. */
	drop_parser(host);
	connect_host(host, ALL_CAPS);
	configure(host);
	power_on(host);
	leave(host);
	for (unsigned i = 0; i < 3; i++) {
		wait_open(host);
		leave(host);
	}
	WAIT_UNTIL(!vsc_test_card_powered(host->card));
	wait_open(host);
	host->closes = 0;
	bulk_in(host, CCID_ENDPOINT_IN, 512);
	WAIT_UNTIL(host->closes == 1);
}

/* A peer that does not read: what it asked for waits, and nothing grows. */
static void test_peer_does_not_read(void **state)
{
	Host *host = *state;
	uint8_t apdu[] = { 0, 0xEC, 0, 0, 0, 0, 0 };
	unsigned before;

	power_on(host);
	start_interrupt(host, CCID_ENDPOINT_INTERRUPT, usb_redir_success);
	check_notify(host, 3);
	vmc_chardev_pause(host->far, true);
	for (unsigned i = 0; i < 200; i++) {
		uint8_t m[CCID_HEADER + sizeof(apdu)] = {
			0x6F, sizeof(apdu), 0, 0, 0, 0, (uint8_t)i
		};

		memcpy(m + CCID_HEADER, apdu, sizeof(apdu));
		bulk_out(host, CCID_ENDPOINT_OUT, m, sizeof(m));
		bulk_in(host, CCID_ENDPOINT_IN, CCID_MESSAGE_MAX);
		settle();
	}
	before = vsc_test_card_count(host->card, VSC_TEST_TRANSMIT);
	assert_in_range(before, 4, 20);
	for (unsigned i = 0; i < 20000; i++)
		vsc_test_card_set_present(host->card, i % 2);
	settle();
	assert_true(vmc_chardev_pending(host->near) <= VMC_CHARDEV_MAX_QUEUE);
	vmc_chardev_pause(host->far, false);
	for (unsigned i = 0; i < 400; i++)
		packet_free(wait_for(host, usb_redir_bulk_packet));
	/* Most removals and insertions became one change: what is told of them
	 * ends at the high mark. */
	settle();
	assert_true(host->packets.length < VMC_CHARDEV_HIGH_MARK / 20);
}

/* ---- Tests: peers that are none ---- */

static void send_raw(Host *host, const void *bytes, size_t len)
{
	wait_open(host);
	vmc_chardev_write(host->far, vmc_span(bytes, len));
}

typedef struct Raw {
	const char *what;
	uint32_t head[4]; /* type, length, id, the first word of the body */
	size_t len;
} Raw;

/* Before any hello, so that ids have 32 bits. */
static const Raw raws[] = {
	{ "no such type", { 77, 0, 0 }, 12 },
	{ "a length of 4 GiB", { usb_redir_hello, 0xFFFFFFFF, 0 }, 12 },
	{ "a length of 128 MiB", { usb_redir_hello, 0x08000000, 0 }, 12 },
	{ "a length of 2 MiB", { usb_redir_bulk_packet, 0x00200000, 0 }, 12 },
	{ "a hello that is too short", { usb_redir_hello, 4, 0, 0 }, 16 },
	{ "a request before its hello", { usb_redir_get_configuration, 0, 0 }, 12 },
	{ "a reset before its hello", { usb_redir_reset, 0, 0 }, 12 },
	{ "a transfer before its hello", { usb_redir_bulk_packet, 8, 0, 0x82 }, 20 },
	{ "a packet of the other direction", { usb_redir_device_connect, 10, 0, 0 }, 22 },
	{ "a body where none belongs", { usb_redir_reset, 4, 0, 0 }, 16 },
};

static void test_raw(void **state)
{
	Host *host = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(raws); i++) {
		unsigned closes = host->closes;
		uint8_t bytes[32] = { 0 };

		for (size_t w = 0; w < 4; w++)
			vmc_put_u32le(&bytes[4 * w], raws[i].head[w]);
		print_message("%s\n", raws[i].what);
		send_raw(host, bytes, raws[i].len);
		WAIT_UNTIL(host->closes > closes);
	}
	/* And a good one after all of them. */
	connect_host(host, ALL_CAPS);
	configure(host);
	check_works(host);
}

/* A conversation that ends after each of its bytes. */
static void test_cut(void **state)
{
	static const uint8_t conversation[] = {
		0,    0,   0,   0, 68, 0,  0,  0, 0, 0, 0,    0,                /* hello */
		't',  0,   0,   0, 0,  0,  0,  0, 0, 0, 0,    0, 0,    0, 0, 0, /* version */
		0,    0,   0,   0, 0,  0,  0,  0, 0, 0, 0,    0, 0,    0, 0, 0, 0, 0,
		0,    0,   0,   0, 0,  0,  0,  0, 0, 0, 0,    0, 0,    0, 0, 0, 0, 0,
		0,    0,   0,   0, 0,  0,  0,  0, 0, 0, 0,    0, 0x72, 0, 0, 0, /* capabilities, 64 bit ids */
		6,    0,   0,   0, 1,  0,  0,  0, 1, 0, 0,    0, 0,    0, 0, 0, /* set configuration */
		1,    101, 0,   0, 0,  20, 0,  0, 0, 2, 0,    0, 0,    0, 0, 0, 0, /* bulk out */
		0x01, 0,   10,  0, 0,  0,  0,  0, 0, 0, 0x65, 0, 0,    0, 0, 0, 1, 0,
		0,    0,   101, 0, 0,  0,  10, 0, 0, 0, 3,    0, 0,    0, 0, 0, 0, 0, /* bulk in */
		0x82, 0,   64,  0, 0,  0,  0,  0, 0, 0,
	};
	Host *host = *state;

	for (size_t n = 0; n <= sizeof(conversation); n++) {
		wait_open(host);
		if (n)
			send_raw(host, conversation, n);
		settle();
		assert_true(host->open);
		vmc_chardev_disconnect(host->far, false, "cut");
		WAIT_UNTIL(!host->open);
	}
	connect_host(host, ALL_CAPS);
	configure(host);
	check_works(host);
}

static void test_busy(void **state)
{
	Host *host = *state;
	g_autoptr(GError) error = NULL;
	VmcChardev *one, *other;
	CcidDevice *second = ccid_device_new(1, NULL);

	vmc_chardev_pair_new(&one, &other);
	assert_null(ccid_usbredir_new(one, ccid_device_usb(host->device), &error));
	assert_non_null(error);
	g_clear_error(&error);
	assert_null(ccid_usbredir_new(host->near, ccid_device_usb(second), &error));
	assert_non_null(error);
	/* Neither failure took anything. */
	ccid_usbredir_free(ccid_usbredir_new(one, ccid_device_usb(second), NULL));
	ccid_usbredir_free(ccid_usbredir_new(one, ccid_device_usb(second), NULL));
	ccid_device_free(second);
	vmc_chardev_free(one);
	vmc_chardev_free(other);
}

#define HOST_TEST(f) cmocka_unit_test_setup_teardown(f, setup_host, teardown_host)
#define RAW_TEST(f) cmocka_unit_test_setup_teardown(f, setup_raw, teardown_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RAW_TEST(test_announced),
		RAW_TEST(test_old_host),
		HOST_TEST(test_configuration),
		HOST_TEST(test_control),
		HOST_TEST(test_apdus),
		HOST_TEST(test_interrupt),
		HOST_TEST(test_cancel),
		HOST_TEST(test_same_id),
		HOST_TEST(test_reset),
		HOST_TEST(test_wrong_endpoints),
		HOST_TEST(test_next_peer),
		HOST_TEST(test_peer_returns),
		HOST_TEST(test_silent_return),
		HOST_TEST(test_lost_answers),
		HOST_TEST(test_changed),
		HOST_TEST(test_changed_again),
		HOST_TEST(test_changed_away),
		HOST_TEST(test_away_too_long),
		HOST_TEST(test_peer_does_not_read),
		RAW_TEST(test_raw),
		RAW_TEST(test_cut),
		RAW_TEST(test_busy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

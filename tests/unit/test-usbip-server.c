/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The USB/IP server's devices as they come and go under its clients, over an
 * in-process pair and over sockets. What clients say to it is the peer suites'.
 */

#include "tests/unit/test-socket.h"

#include "ccid/device.h"
#include "ccid/usbip-server.h"

#define IMPORT_REPLY (8u + 312u)

static const uint8_t import_1_1[40] = { 0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0, '1', '-', '1' };

/* A server on a socket with one device, and a plain client that imported it. */
typedef struct Setting {
	VmcChardev *chardev;
	CcidUsbipServer *server;
	CcidDevice *device;
	int fd;
} Setting;

static int import_plainly(VmcChardev *chardev, uint8_t *status)
{
	int fd = plain_connect("127.0.0.1", vmc_socket_port(chardev));
	char reply[IMPORT_REPLY];

	assert_true(fd >= 0);
	assert_int_equal(send(fd, import_1_1, sizeof(import_1_1), MSG_NOSIGNAL), 40);
	assert_int_equal(plain_read(fd, reply, 8), 8);
	*status = (uint8_t)reply[7];
	if (*status == 0)
		assert_int_equal(plain_read(fd, reply, IMPORT_REPLY - 8), IMPORT_REPLY - 8);
	return fd;
}

static void set_up(Setting *setting)
{
	uint8_t status;

	g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);
	setting->chardev = good("socket,id=x,host=127.0.0.1,port=0,server,nowait");
	setting->server = ccid_usbip_server_new(setting->chardev, NULL);
	assert_non_null(setting->server);
	setting->device = ccid_device_new(1, NULL);
	assert_true(ccid_usbip_server_add(setting->server, ccid_device_usb(setting->device)));
	setting->fd = import_plainly(setting->chardev, &status);
	assert_int_equal(status, 0);
}

static void tear_down(Setting *setting)
{
	close(setting->fd);
	ccid_usbip_server_free(setting->server);
	vmc_chardev_free(setting->chardev);
	ccid_device_free(setting->device);
}

/* A device that goes ends its connection, and only that; it is its owner's. */
static void test_removed_while_imported(void **state)
{
	UsbDeviceEvents nothing = { .complete = NULL };
	Setting setting;
	UsbDevice *usb;
	uint8_t status;
	int fd;

	(void)state;
	set_up(&setting);
	usb = ccid_device_usb(setting.device);
	assert_false(usb_device_attach(usb, &nothing, NULL));
	ccid_usbip_server_remove(setting.server, usb);
	assert_true(usb_device_attach(usb, &nothing, NULL));
	usb_device_attach(usb, NULL, NULL);
	run_until(plain_ended(setting.fd), 5);
	assert_null(ccid_usbip_server_busid(setting.server, usb));

	fd = import_plainly(setting.chardev, &status);
	assert_int_equal(status, 4); /* ST_NODEV */
	close(fd);
	/* And it may come again. */
	assert_true(ccid_usbip_server_add(setting.server, usb));
	fd = import_plainly(setting.chardev, &status);
	assert_int_equal(status, 0);
	close(fd);
	tear_down(&setting);
}

static void test_busids(void **state)
{
	CcidDevice *devices[CCID_USBIP_DEVICES_MAX + 1];
	VmcChardev *near, *far;
	CcidUsbipServer *server;

	(void)state;
	vmc_chardev_pair_new(&near, &far);
	server = ccid_usbip_server_new(near, NULL);
	for (unsigned i = 0; i <= CCID_USBIP_DEVICES_MAX; i++) {
		bool room = i < CCID_USBIP_DEVICES_MAX;

		devices[i] = ccid_device_new(1, NULL);
		assert_int_equal(ccid_usbip_server_add(server, ccid_device_usb(devices[i])), room);
	}
	assert_string_equal(ccid_usbip_server_busid(server, ccid_device_usb(devices[0])), "1-1");
	assert_string_equal(ccid_usbip_server_busid(server, ccid_device_usb(devices[126])),
			    "1-127");
	/* The lowest that is free. */
	ccid_usbip_server_remove(server, ccid_device_usb(devices[5]));
	ccid_usbip_server_remove(server, ccid_device_usb(devices[3]));
	assert_true(ccid_usbip_server_add(server, ccid_device_usb(devices[127])));
	assert_string_equal(ccid_usbip_server_busid(server, ccid_device_usb(devices[127])), "1-4");
	ccid_usbip_server_free(server);
	vmc_chardev_free(near);
	vmc_chardev_free(far);
	for (unsigned i = 0; i <= CCID_USBIP_DEVICES_MAX; i++)
		ccid_device_free(devices[i]);
}

/* Who asks a moment before the last connection's end waits for it. */
static void test_waits_for_the_end(void **state)
{
	char reply[IMPORT_REPLY];
	Setting setting;
	int early, gone, later;

	(void)state;
	set_up(&setting);
	gone = plain_connect("127.0.0.1", vmc_socket_port(setting.chardev));
	early = plain_connect("127.0.0.1", vmc_socket_port(setting.chardev));
	later = plain_connect("127.0.0.1", vmc_socket_port(setting.chardev));
	send(gone, import_1_1, sizeof(import_1_1), MSG_NOSIGNAL);
	run_for(10);
	close(gone); /* it does not wait to the end */
	send(early, import_1_1, sizeof(import_1_1), MSG_NOSIGNAL);
	run_for(10);
	send(later, import_1_1, sizeof(import_1_1), MSG_NOSIGNAL);
	assert_true(run_for(10) < 20); /* nor does anybody spin */
	assert_int_equal(unread(early), 0);
	close(setting.fd);
	assert_int_equal(plain_read(early, reply, IMPORT_REPLY), IMPORT_REPLY);
	assert_int_equal(reply[7], 0);
	/* The one after it waits anew, and in vain. */
	assert_int_equal(plain_read(later, reply, 8), 8);
	assert_int_equal(reply[7], 2);
	run_until(plain_ended(later), 5);
	close(later);
	setting.fd = early;
	tear_down(&setting);
}

/* A client that does not read, and goes: the device is free though much that it
 * had said is not read, either. */
static void test_gone_while_it_does_not_read(void **state)
{
	uint8_t command[48] = { [3] = 1,     [9] = 1,  [11] = 1, [15] = 1,  [27] = 255,
				[40] = 0x80, [41] = 6, [43] = 2, [46] = 255 };
	unsigned idle = 0;
	uint32_t seqnum = 0;
	Setting setting;
	uint8_t status;

	(void)state;
	set_up(&setting);
	fcntl(setting.fd, F_SETFL, O_NONBLOCK);
	/* Until neither side takes any more. */
	while (idle < 50) {
		vmc_put_u32be(command + 4, seqnum);
		if (send(setting.fd, command, sizeof(command), MSG_NOSIGNAL) ==
		    (ssize_t)sizeof(command)) {
			seqnum++;
			idle = 0;
		} else {
			run_for(1);
			idle++;
		}
	}
	assert_true(seqnum > 1000);
	close(setting.fd);
	setting.fd = import_plainly(setting.chardev, &status);
	assert_int_equal(status, 0);
	tear_down(&setting);
}

/* With a connection that imported, one that is silent, and one that is over. */
static void test_freed_in_use(void **state)
{
	Setting setting;
	uint8_t status;
	int silent, over;

	(void)state;
	set_up(&setting);
	silent = plain_connect("127.0.0.1", vmc_socket_port(setting.chardev));
	over = import_plainly(setting.chardev, &status);
	assert_int_equal(status, 2); /* ST_DEV_BUSY */
	close(over);
	ccid_usbip_server_free(g_steal_pointer(&setting.server));
	run_until(plain_ended(setting.fd) && plain_ended(silent), 5);
	close(silent);
	/* The char device is free for another. */
	setting.server = ccid_usbip_server_new(setting.chardev, NULL);
	assert_non_null(setting.server);
	tear_down(&setting);
}

static void test_taken_chardev(void **state)
{
	g_autoptr(GError) error = NULL;
	Setting setting;

	(void)state;
	set_up(&setting);
	assert_null(ccid_usbip_server_new(setting.chardev, &error));
	assert_non_null(strstr(error->message, "'x' is in use already"));
	tear_down(&setting);
}

/* A char device with one conversation: it imports, and imports again. */
static void test_pair(void **state)
{
	CcidDevice *device = ccid_device_new(1, NULL);
	VmcChardev *near, *far;
	CcidUsbipServer *server;
	Recorder r;

	(void)state;
	vmc_chardev_pair_new(&near, &far);
	server = ccid_usbip_server_new(near, NULL);
	assert_true(ccid_usbip_server_add(server, ccid_device_usb(device)));
	recorder_start(&r, far);
	for (unsigned i = 0; i < 3; i++) {
		run_until(vmc_chardev_is_open(far), 5);
		vmc_chardev_write(far, vmc_span(import_1_1, sizeof(import_1_1)));
		run_until(r.in->len == IMPORT_REPLY, 5);
		assert_int_equal(r.in->data[7], 0);
		assert_true(vmc_chardev_set_user(far, NULL, NULL));
		recorder_forget(&r);
		run_for(5);
		assert_true(vmc_chardev_set_user(far, &recorder_events, &r));
	}
	recorder_stop(&r);
	ccid_usbip_server_free(server);
	vmc_chardev_free(near);
	ccid_device_free(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_removed_while_imported),
		cmocka_unit_test(test_busids),
		cmocka_unit_test(test_waits_for_the_end),
		cmocka_unit_test(test_gone_while_it_does_not_read),
		cmocka_unit_test(test_freed_in_use),
		cmocka_unit_test(test_taken_chardev),
		cmocka_unit_test(test_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidDevice: see device.h. Transfers wait in one queue a pipe, and one pump
 * moves whatever can move after anything happened: an OUT transfer waits
 * while the host leaves answers unread, an IN transfer until there is one.
 */

#include "ccid/device.h"

#include <string.h>

#include "ccid/bulk-in.h"
#include "ccid/bulk-out.h"
#include "ccid/descriptors.h"

/* Transfers that may wait on one pipe: a full-speed bus brings the longest
 * message in 1,025 pieces, all at once, and several slots may be written to. */
#define WAITING_MAX 4096u
/* The bytes that waiting OUT transfers may hold. */
#define HELD_BYTES_MAX (4u * CCID_MESSAGE_MAX)

#define N_ENDPOINTS 3u

/* bmRequestType and bRequest in one: USB 2.0, tables 9-2 and 9-4; CCID 1.1,
 * 5.3. */
enum {
	GET_DEVICE_STATUS = 0x8000,
	GET_INTERFACE_STATUS = 0x8100,
	GET_ENDPOINT_STATUS = 0x8200,
	CLEAR_ENDPOINT_FEATURE = 0x0201,
	SET_ENDPOINT_FEATURE = 0x0203,
	SET_ADDRESS = 0x0005,
	GET_DESCRIPTOR = 0x8006,
	GET_CONFIGURATION = 0x8008,
	SET_CONFIGURATION = 0x0009,
	GET_INTERFACE = 0x810A,
	SET_INTERFACE = 0x010B,
	CLASS_ABORT = 0x2101,
	CLASS_GET_CLOCK_FREQUENCIES = 0xA102,
	CLASS_GET_DATA_RATES = 0xA103,
};

#define FEATURE_ENDPOINT_HALT 0u

typedef struct Transfer {
	uint64_t id;
	size_t length; /* IN: bytes wanted; OUT: bytes at data */
	uint8_t data[];
} Transfer;

/* One endpoint and what waits on it. */
typedef struct Pipe {
	GQueue waiting; /* Transfer, the oldest first */
	bool halted;
} Pipe;

struct CcidDevice {
	UsbDevice usb; /* first: UsbDeviceClass is given this */
	CcidReader *reader;
	CcidIdentity identity;
	char *strings[4];
	UsbDeviceInfo info;
	UsbEndpoint endpoints[N_ENDPOINTS];
	Pipe pipes[N_ENDPOINTS]; /* as `endpoints` */
	size_t held_bytes;
	bool configured;
	bool pumping;
	CcidBulkOut bulk_out;
	CcidBulkIn bulk_in;
	GSource *timer;

	bool follows;       /* takes the name and serial number of the card's reader */
	int64_t changed_at; /* when they were others last, ms; 0: never */
	guint change_timer; /* they are looked at again */
};

enum { PIPE_OUT, PIPE_IN, PIPE_INTERRUPT };

static const UsbEndpoint endpoints[N_ENDPOINTS] = {
	[PIPE_OUT] = { CCID_ENDPOINT_OUT, USB_ENDPOINT_BULK, CCID_BULK_PACKET_HIGH, 0 },
	[PIPE_IN] = { CCID_ENDPOINT_IN, USB_ENDPOINT_BULK, CCID_BULK_PACKET_HIGH, 0 },
	[PIPE_INTERRUPT] = { CCID_ENDPOINT_INTERRUPT, USB_ENDPOINT_INTERRUPT, CCID_INTERRUPT_PACKET,
			     CCID_INTERVAL_HIGH },
};

static int64_t now_ms(void)
{
	return g_get_monotonic_time() / 1000;
}

static CcidDevice *device_of(UsbDevice *usb)
{
	return (CcidDevice *)usb;
}

/* The pipe at `address`, NULL if there is none. */
static Pipe *find_pipe(CcidDevice *device, uint8_t address)
{
	for (size_t i = 0; i < N_ENDPOINTS; i++)
		if (endpoints[i].address == address)
			return &device->pipes[i];
	return NULL;
}

static void complete(CcidDevice *device, uint64_t id, UsbStatus status, VmcSpan data, size_t actual)
{
	usb_device_complete(&device->usb, id, status, data, actual);
}

static void complete_empty(CcidDevice *device, uint64_t id, UsbStatus status)
{
	complete(device, id, status, vmc_span(NULL, 0), 0);
}

/* ---- Waiting transfers ---- */

static void transfer_free(CcidDevice *device, Transfer *transfer, Pipe *pipe)
{
	if (pipe == &device->pipes[PIPE_OUT]) {
		device->held_bytes -= transfer->length;
		vmc_wipe(transfer->data, transfer->length);
	}
	g_free(transfer);
}

/* Ends all that waits on `pipe`. */
static void end_waiting(CcidDevice *device, Pipe *pipe, UsbStatus status)
{
	Transfer *transfer;

	/* What a completion submits anew is not this loop's. */
	for (unsigned n = pipe->waiting.length;
	     n > 0 && (transfer = g_queue_pop_head(&pipe->waiting)); n--) {
		uint64_t id = transfer->id;

		transfer_free(device, transfer, pipe);
		complete_empty(device, id, status);
	}
}

/* Lets a transfer wait on the pipe at `address`, unless it cannot. */
static void submit(CcidDevice *device, uint64_t id, uint8_t address, size_t length, VmcSpan data)
{
	Pipe *pipe = find_pipe(device, address);
	Transfer *transfer;

	if (!pipe || !device->configured || pipe->waiting.length >= WAITING_MAX ||
	    data.len > HELD_BYTES_MAX - device->held_bytes) {
		complete_empty(device, id, USB_STATUS_ERROR);
		return;
	}
	if (pipe->halted) {
		complete_empty(device, id, USB_STATUS_STALL);
		return;
	}
	transfer = g_malloc(sizeof(*transfer) + data.len);
	transfer->id = id;
	transfer->length = length;
	if (data.len)
		memcpy(transfer->data, data.data, data.len);
	device->held_bytes += data.len;
	g_queue_push_tail(&pipe->waiting, transfer);
}

/* ---- The pump ---- */

static void on_bulk_out_message(void *user, VmcSpan message)
{
	CcidDevice *device = user;

	ccid_bulk_in_command(&device->bulk_in);
	ccid_reader_message(device->reader, message, now_ms());
}

static bool pump_in(CcidDevice *device)
{
	Pipe *pipe = &device->pipes[PIPE_IN];
	Transfer *transfer = g_queue_peek_head(&pipe->waiting);
	VmcSpan data;
	uint64_t id;

	if (!transfer || !ccid_bulk_in_take(&device->bulk_in, transfer->length, &data))
		return false;
	id = transfer->id;
	transfer_free(device, g_queue_pop_head(&pipe->waiting), pipe);
	complete(device, id, USB_STATUS_OK, data, data.len);
	return true;
}

static bool pump_interrupt(CcidDevice *device)
{
	Pipe *pipe = &device->pipes[PIPE_INTERRUPT];
	Transfer *transfer = g_queue_peek_head(&pipe->waiting);
	uint8_t change[1 + CCID_SLOTS_MAX / 4];
	size_t len;
	uint64_t id;

	if (!transfer)
		return false;
	len = ccid_reader_slot_change(device->reader, change, now_ms());
	if (len == 0)
		return false;
	id = transfer->id;
	len = MIN(len, transfer->length);
	transfer_free(device, g_queue_pop_head(&pipe->waiting), pipe);
	complete(device, id, USB_STATUS_OK, vmc_span(change, len), len);
	return true;
}

static bool pump_out(CcidDevice *device)
{
	Pipe *pipe = &device->pipes[PIPE_OUT];
	Transfer *transfer;

	if (ccid_bulk_in_full(&device->bulk_in))
		return false;
	transfer = g_queue_pop_head(&pipe->waiting);
	if (!transfer)
		return false;
	/* First that it was taken, then what comes of it: hosts wait in this
	 * order. */
	complete(device, transfer->id, USB_STATUS_OK, vmc_span(NULL, 0), transfer->length);
	if (device->configured)
		ccid_bulk_out_transfer(&device->bulk_out,
				       vmc_span(transfer->data, transfer->length),
				       on_bulk_out_message, device);
	transfer_free(device, transfer, pipe);
	return true;
}

/* Moves all that can move. Whatever happens inside only adds to the queues. */
static void pump(CcidDevice *device)
{
	if (device->pumping)
		return;
	device->pumping = true;
	while (pump_in(device) || pump_interrupt(device) || pump_out(device))
		;
	device->pumping = false;
}

static void on_reader_message(void *user, VmcSpan message)
{
	CcidDevice *device = user;

	/* With no host there is nobody to read it. */
	if (!device->configured)
		return;
	ccid_bulk_in_push(&device->bulk_in, message);
	pump(device);
}

static void on_slot_change(void *user)
{
	pump(user);
}

/* ---- The name of the card's reader ---- */

enum { STRING_OF_SERIAL = 2, STRING_OF_INTERFACE = 3 };

static void set_string(CcidDevice *device, unsigned i, const char *text)
{
	g_free(device->strings[i]);
	device->strings[i] = g_strdup(text);
}

static const char *name_for_people(const CcidDevice *device)
{
	return device->identity.interface != NULL ? device->identity.interface :
						    device->identity.product;
}

/* Takes the name and serial number of the card's reader, if they are others. */
static void follow(CcidDevice *device)
{
	const VscCard *card = ccid_reader_card(device->reader, 0);
	const char *name = card ? vsc_card_name(card) : device->identity.interface;
	const char *serial = card ? vsc_card_info(card)->serial : device->identity.serial;

	if (g_strcmp0(name, device->identity.interface) == 0 &&
	    g_strcmp0(serial, device->identity.serial) == 0)
		return;
	set_string(device, STRING_OF_INTERFACE, name);
	set_string(device, STRING_OF_SERIAL, serial);
	device->identity.interface = device->strings[STRING_OF_INTERFACE];
	device->identity.serial = device->strings[STRING_OF_SERIAL];
	device->info.name = name_for_people(device);
	device->changed_at = now_ms();
	usb_device_changed(&device->usb);
}

static gboolean on_change_timer(void *user)
{
	CcidDevice *device = user;

	device->change_timer = 0;
	follow(device);
	return G_SOURCE_REMOVE;
}

static void on_described(void *user)
{
	CcidDevice *device = user;
	int64_t wait = device->changed_at + CCID_CHANGE_MS - now_ms();

	if (!device->follows || device->change_timer != 0)
		return;
	if (device->changed_at == 0 || wait <= 0)
		follow(device);
	else
		device->change_timer = g_timeout_add((guint)wait, on_change_timer, device);
}

static const CcidReaderEvents reader_events = {
	.message = on_reader_message,
	.slot_change = on_slot_change,
	.described = on_described,
};

/* ---- Control requests ---- */

static void stop(CcidDevice *device)
{
	device->configured = false;
	ccid_bulk_out_clear(&device->bulk_out);
	ccid_bulk_in_clear(&device->bulk_in);
	ccid_reader_reset(device->reader);
	for (size_t i = 0; i < N_ENDPOINTS; i++) {
		device->pipes[i].halted = false;
		end_waiting(device, &device->pipes[i], USB_STATUS_CANCELLED);
	}
}

static bool set_configuration(CcidDevice *device, const UsbSetup *setup)
{
	if (setup->value != 0 && setup->value != CCID_CONFIGURATION)
		return false;
	stop(device);
	device->configured = setup->value == CCID_CONFIGURATION;
	return true;
}

/* GET_STATUS of, and the halt of, an endpoint; control endpoints do not halt. */
static bool is_control_endpoint(uint16_t index)
{
	return (index & 0x7Fu) == 0 && index <= UINT8_MAX;
}

static bool set_halt(CcidDevice *device, const UsbSetup *setup, bool halted)
{
	Pipe *pipe = find_pipe(device, (uint8_t)setup->index);

	if (setup->value != FEATURE_ENDPOINT_HALT)
		return false;
	if (is_control_endpoint(setup->index))
		return true;
	if (!pipe || setup->index > UINT8_MAX || !device->configured)
		return false;
	pipe->halted = halted;
	if (halted)
		end_waiting(device, pipe, USB_STATUS_STALL);
	else if (pipe == &device->pipes[PIPE_IN])
		ccid_bulk_in_halt_cleared(&device->bulk_in);
	else if (pipe == &device->pipes[PIPE_OUT])
		ccid_bulk_out_clear(&device->bulk_out);
	return true;
}

static size_t put_status(uint8_t *to, bool halted)
{
	vmc_put_u16le(to, halted ? 1 : 0);
	return 2;
}

static size_t put_byte(uint8_t *to, uint8_t value)
{
	to[0] = value;
	return 1;
}

/* The answer to an IN request into `to`; 0: the request stalls. */
static size_t control_in(CcidDevice *device, const UsbSetup *setup, uint8_t to[CCID_DESCRIPTOR_MAX])
{
	Pipe *pipe = find_pipe(device, (uint8_t)setup->index);

	switch (setup->request_type << 8 | setup->request) {
	case GET_DESCRIPTOR:
		return ccid_descriptors_build((uint8_t)(setup->value >> 8), (uint8_t)setup->value,
					      ccid_reader_slots(device->reader), &device->identity,
					      to);
	case GET_DEVICE_STATUS:
		return put_status(to, false);
	case GET_CONFIGURATION:
		return put_byte(to, device->configured ? CCID_CONFIGURATION : 0);
	case GET_ENDPOINT_STATUS:
		if (is_control_endpoint(setup->index))
			return put_status(to, false);
		return pipe && setup->index <= UINT8_MAX ? put_status(to, pipe->halted) : 0;
	default:
		break;
	}
	/* What follows is for the interface: there is one. */
	if (setup->index != CCID_INTERFACE || !device->configured)
		return 0;
	switch (setup->request_type << 8 | setup->request) {
	case GET_INTERFACE_STATUS:
		return put_status(to, false);
	case GET_INTERFACE:
		return put_byte(to, 0);
	case CLASS_GET_CLOCK_FREQUENCIES:
		return ccid_descriptors_clocks(to);
	case CLASS_GET_DATA_RATES:
		return ccid_descriptors_rates(to);
	default:
		return 0;
	}
}

/* False: the request stalls. */
static bool control_out(CcidDevice *device, const UsbSetup *setup)
{
	bool interface = setup->index == CCID_INTERFACE && device->configured;

	switch (setup->request_type << 8 | setup->request) {
	case SET_ADDRESS:
		return true; /* addresses are the attach point's */
	case SET_CONFIGURATION:
		return set_configuration(device, setup);
	case CLEAR_ENDPOINT_FEATURE:
		return set_halt(device, setup, false);
	case SET_ENDPOINT_FEATURE:
		return set_halt(device, setup, true);
	case SET_INTERFACE:
		return interface && setup->value == 0;
	case CLASS_ABORT:
		return interface && ccid_reader_abort(device->reader, setup->value & 0xFFu,
						      (uint8_t)(setup->value >> 8));
	default:
		return false;
	}
}

/* ---- As a UsbDevice ---- */

static const UsbDeviceInfo *device_info(UsbDevice *usb)
{
	return &device_of(usb)->info;
}

static void device_control(UsbDevice *usb, uint64_t id, const UsbSetup *setup, VmcSpan data)
{
	CcidDevice *device = device_of(usb);
	uint8_t answer[CCID_DESCRIPTOR_MAX];
	bool in = setup->request_type & 0x80u, done;
	size_t len = 0;

	(void)data; /* no request here has an OUT data stage */
	if (in) {
		len = control_in(device, setup, answer);
		done = len > 0;
		len = MIN(len, setup->length);
	} else {
		done = control_out(device, setup);
	}
	complete(device, id, done ? USB_STATUS_OK : USB_STATUS_STALL, vmc_span(answer, len),
		 in ? len : data.len);
	pump(device);
}

static void device_in(UsbDevice *usb, uint64_t id, uint8_t endpoint, size_t length)
{
	CcidDevice *device = device_of(usb);

	if (endpoint & 0x80u)
		submit(device, id, endpoint, length, vmc_span(NULL, 0));
	else
		complete_empty(device, id, USB_STATUS_ERROR);
	pump(device);
}

static void device_out(UsbDevice *usb, uint64_t id, uint8_t endpoint, VmcSpan data)
{
	CcidDevice *device = device_of(usb);

	if (endpoint & 0x80u)
		complete_empty(device, id, USB_STATUS_ERROR);
	else
		submit(device, id, endpoint, data.len, data);
	pump(device);
}

static int has_id(const void *transfer, const void *id)
{
	return ((const Transfer *)transfer)->id == *(const uint64_t *)id ? 0 : 1;
}

static void device_cancel(UsbDevice *usb, uint64_t id)
{
	CcidDevice *device = device_of(usb);

	for (size_t i = 0; i < N_ENDPOINTS; i++) {
		GList *link = g_queue_find_custom(&device->pipes[i].waiting, &id, has_id);

		if (!link)
			continue;
		transfer_free(device, link->data, &device->pipes[i]);
		g_queue_delete_link(&device->pipes[i].waiting, link);
	}
}

static void device_reset(UsbDevice *usb)
{
	stop(device_of(usb));
}

static const UsbDeviceClass device_class = {
	.info = device_info,
	.control = device_control,
	.in = device_in,
	.out = device_out,
	.cancel = device_cancel,
	.reset = device_reset,
};

/* ---- The timer ---- */

/* A source that looks at the reader's deadline before each sleep of the loop:
 * arming and disarming cost nothing, and idle it never wakes. */
typedef struct Timer {
	GSource source;
	CcidDevice *device;
} Timer;

static gboolean timer_due(GSource *source)
{
	int64_t deadline = ccid_reader_deadline(((Timer *)source)->device->reader);

	return deadline >= 0 && g_source_get_time(source) / 1000 >= deadline;
}

static gboolean timer_prepare(GSource *source, int *timeout)
{
	int64_t deadline = ccid_reader_deadline(((Timer *)source)->device->reader);
	int64_t left = deadline - g_source_get_time(source) / 1000;

	*timeout = deadline < 0 ? -1 : (int)CLAMP(left, 0, INT_MAX);
	return timer_due(source);
}

static gboolean timer_dispatch(GSource *source, GSourceFunc callback, void *user)
{
	(void)callback;
	(void)user;
	ccid_reader_tick(((Timer *)source)->device->reader, g_source_get_time(source) / 1000);
	return G_SOURCE_CONTINUE;
}

static GSourceFuncs timer_funcs = {
	.prepare = timer_prepare,
	.check = timer_due,
	.dispatch = timer_dispatch,
};

static GSource *timer_new(CcidDevice *device)
{
	GSource *source = g_source_new(&timer_funcs, sizeof(Timer));

	((Timer *)source)->device = device;
	g_source_set_static_name(source, "CCID time extension");
	g_source_attach(source, NULL);
	return source;
}

/* ---- Life ---- */

static void copy_identity(CcidDevice *device, const CcidIdentity *identity)
{
	CcidIdentity full = ccid_descriptors_identity(identity);

	full.manufacturer = device->strings[0] = g_strdup(full.manufacturer);
	full.product = device->strings[1] = g_strdup(full.product);
	full.serial = device->strings[STRING_OF_SERIAL] = g_strdup(full.serial);
	full.interface = device->strings[STRING_OF_INTERFACE] = g_strdup(full.interface);
	device->identity = full;
}

static void fill_info(CcidDevice *device)
{
	memcpy(device->endpoints, endpoints, sizeof(endpoints));
	device->info = (UsbDeviceInfo){
		.speed = USB_SPEED_HIGH,
		.interface_class = CCID_INTERFACE_CLASS,
		.vendor_id = device->identity.vendor_id,
		.product_id = device->identity.product_id,
		.release = CCID_RELEASE,
		.configuration = CCID_CONFIGURATION,
		.endpoints = device->endpoints,
		.n_endpoints = N_ENDPOINTS,
		.name = name_for_people(device),
	};
}

CcidDevice *ccid_device_new(unsigned n_slots, const CcidIdentity *identity)
{
	CcidDevice *device;

	g_return_val_if_fail(n_slots >= 1 && n_slots <= CCID_SLOTS_MAX, NULL);

	device = g_new0(CcidDevice, 1);
	device->usb.class = &device_class;
	copy_identity(device, identity);
	fill_info(device);
	for (size_t i = 0; i < N_ENDPOINTS; i++)
		g_queue_init(&device->pipes[i].waiting);
	ccid_bulk_out_init(&device->bulk_out);
	ccid_bulk_in_init(&device->bulk_in);
	device->reader = ccid_reader_new(n_slots, &reader_events, device);
	device->timer = timer_new(device);
	return device;
}

void ccid_device_free(CcidDevice *device)
{
	if (!device)
		return;
	device->usb.events = NULL;
	stop(device);
	g_clear_handle_id(&device->change_timer, g_source_remove);
	g_source_destroy(device->timer);
	g_source_unref(device->timer);
	ccid_reader_free(device->reader);
	for (size_t i = 0; i < G_N_ELEMENTS(device->strings); i++)
		g_free(device->strings[i]);
	g_free(device);
}

void ccid_device_follow_card(CcidDevice *device)
{
	g_return_if_fail(device && ccid_reader_slots(device->reader) == 1);

	device->follows = true;
}

CcidReader *ccid_device_reader(CcidDevice *device)
{
	return device->reader;
}

UsbDevice *ccid_device_usb(CcidDevice *device)
{
	return &device->usb;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The char devices of libspice-server, and what has to be done around its
 * smartcard device (0.15.1). That one keeps a buffer for the message it reads
 * from us, whose growth forgets the header's 12 bytes and leaves the place to
 * read to in freed memory. So the buffer is made large before any client is
 * there, with a VSC_Init that the library throws away, and no message that would
 * make it grow again is let through.
 */

#include "vmc/spice-device.h"

#include <errno.h>
#include <spice/protocol.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmc/span.h"
#include "vmc/spice-core.h"

#define SMARTCARD "smartcard"
#define PORT "port"
#define VDAGENT "vdagent"

/* VSCard's header: type, reader, length, big-endian toward a char device. */
#define HEADER_SIZE 12u
#define TYPE_INIT 1u
/* The longest payload that goes to a client: VSCard's longest message and
 * more. The library's buffer is made to hold it. */
#define PAYLOAD_MAX (128u * 1024)

/* An agent that the library put away is offered anew after this, unless its
 * front end went away over it, as it should. */
#define AGENT_AGAIN_MS 500u

/* A port's next conversation begins this long after its front end ended one, unless
 * that has left over it, as it then says right after. */
#define PORT_AGAIN_MS 100u

/* What was handed to the library of the present message. */
typedef struct Framing {
	uint8_t header[HEADER_SIZE];
	size_t have;     /* of the header, from vscardd */
	size_t given;    /* of the header, to the library */
	size_t payload;  /* bytes of it still to come */
	bool skipping;   /* the library does not get this one */
	unsigned primed; /* 0: nothing, 1: the header of the large one, 2: done */
} Framing;

struct VmcSpiceDevice {
	SpiceCharDeviceInstance sin;
	SpiceServer *server;
	uint32_t number;
	unsigned debug;
	bool smartcard;
	bool registered;
	bool once;   /* was registered before */
	bool front;  /* its front end is there */
	bool client; /* and so is a client */
	bool open;   /* a port: clients were told so */
	bool left;   /* a port: its front end went since the conversation began */
	int fd;      /* the conversation; -1: none */
	SpiceWatch *watch;
	int wanted;   /* SPICE_WATCH_EVENT_* */
	guint ending; /* source: what follows the end of a conversation */
	Framing framing;
};

static const VmcSpiceDeviceEvents *events;

void vmc_spice_device_set_events(const VmcSpiceDeviceEvents *to)
{
	events = to;
}

static VmcSpiceDevice *device_of(SpiceCharDeviceInstance *sin)
{
	return SPICE_CONTAINEROF(sin, VmcSpiceDevice, sin);
}

static const char *name_of(const VmcSpiceDevice *device)
{
	return device->sin.portname != NULL ? device->sin.portname : device->sin.subtype;
}

/* A line of log for people who asked for `level`. */
#define debug_line(device, level, format, ...)                                                     \
	do {                                                                                       \
		if ((device)->debug >= (level))                                                    \
			g_message("%s: " format, name_of(device), ##__VA_ARGS__);                  \
	} while (0)

static void want(VmcSpiceDevice *device, int event, bool wanted)
{
	device->wanted = wanted ? device->wanted | event : device->wanted & ~event;
	if (device->watch != NULL)
		vmc_spice_watch_set(device->watch, device->wanted);
}

static void register_device(VmcSpiceDevice *device);
static void unregister_device(VmcSpiceDevice *device);
static gboolean end_port(gpointer user);

static bool is_port(const VmcSpiceDevice *device)
{
	return strcmp(device->sin.subtype, PORT) == 0;
}

/* ---- The conversation ---- */

static void close_conversation(VmcSpiceDevice *device)
{
	g_clear_pointer(&device->watch, vmc_spice_watch_free);
	g_clear_handle_id(&device->ending, g_source_remove);
	if (device->fd >= 0)
		close(device->fd);
	device->fd = -1;
	device->wanted = 0;
}

/* vscardd hung up, on another than a port. The library has no way to send one
 * channel's client away but to take the device from it. */
static gboolean end_client(gpointer user)
{
	VmcSpiceDevice *device = user;

	device->ending = 0;
	if (device->smartcard) {
		events->anew("the smartcard reader ended its conversation with the client");
		return G_SOURCE_REMOVE;
	}
	unregister_device(device);
	register_device(device);
	return G_SOURCE_REMOVE;
}

static void hung_up(VmcSpiceDevice *device)
{
	want(device, SPICE_WATCH_EVENT_READ | SPICE_WATCH_EVENT_WRITE, false);
	/* Not now: the library is in the midst of a call to us. */
	if (device->ending == 0)
		device->ending = g_idle_add(is_port(device) ? end_port : end_client, device);
}

static void on_watch(int fd, int event, void *user)
{
	VmcSpiceDevice *device = user;

	(void)fd;
	want(device, event, false);
	spice_server_char_device_wakeup(&device->sin);
}

static void open_conversation(VmcSpiceDevice *device)
{
	int pair[2];

	close_conversation(device);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		g_warning("%s: no socket for its client: %s", name_of(device), g_strerror(errno));
		return;
	}
	device->fd = pair[0];
	device->left = false;
	device->wanted = SPICE_WATCH_EVENT_READ;
	device->watch = vmc_spice_watch_new(pair[0], device->wanted, on_watch, device);
	events->opened(device->number, pair[1]);
	close(pair[1]);
}

/* ---- Ports ---- */

/* Tells a client, and those to come, whether there is somebody at the port. */
static void say_port(VmcSpiceDevice *device, bool open)
{
	if (!device->registered || device->open == open)
		return;
	device->open = open;
	spice_server_port_event(&device->sin,
				open ? SPICE_PORT_EVENT_OPENED : SPICE_PORT_EVENT_CLOSED);
}

/* A conversation is on while both are there. */
static void begin_port(VmcSpiceDevice *device)
{
	say_port(device, true);
	if (device->client)
		open_conversation(device);
}

static gboolean port_again(gpointer user)
{
	VmcSpiceDevice *device = user;

	device->ending = 0;
	if (device->front && device->fd < 0)
		begin_port(device);
	return G_SOURCE_REMOVE;
}

/* vscardd hung up, and the client was given all that came before. A port stays
 * where it is, and keeps its client. */
static gboolean end_port(gpointer user)
{
	VmcSpiceDevice *device = user;
	bool left = device->left;

	device->ending = 0;
	close_conversation(device);
	say_port(device, false);
	if (device->front && left)
		begin_port(device);
	else if (device->front)
		device->ending = g_timeout_add(PORT_AGAIN_MS, port_again, device);
	return G_SOURCE_REMOVE;
}

static void set_port_front(VmcSpiceDevice *device, bool there)
{
	/* What it said last is still to be read, then end_port() follows. */
	if (device->fd >= 0) {
		device->left |= !there;
		return;
	}
	g_clear_handle_id(&device->ending, g_source_remove);
	if (there)
		begin_port(device);
	else
		say_port(device, false);
}

/* ---- Clients ---- */

static gboolean flush_rest(gpointer user)
{
	VmcSpiceDevice *device = user;

	device->ending = 0;
	if (is_port(device))
		say_port(device, device->front);
	if (device->registered && device->fd < 0)
		spice_server_char_device_wakeup(&device->sin);
	return G_SOURCE_REMOVE;
}

static gboolean agent_again(gpointer user)
{
	VmcSpiceDevice *device = user;

	device->ending = 0;
	if (device->front)
		register_device(device);
	return G_SOURCE_REMOVE;
}

static void on_state(SpiceCharDeviceInstance *sin, int connected)
{
	VmcSpiceDevice *device = device_of(sin);

	debug_line(device, 1, "%s", connected ? "a client is there" : "no client is there");
	device->client = connected != 0;
	if (connected) {
		if (device->front)
			open_conversation(device);
		return;
	}
	close_conversation(device);
	if (!device->registered)
		return;
	/* What the client left half written or half read ends now, not in the
	 * next one's conversation. */
	if (strcmp(device->sin.subtype, VDAGENT) != 0) {
		device->ending = g_idle_add_full(G_PRIORITY_HIGH, flush_rest, device, NULL);
		return;
	}
	/* The library put an agent away that broke the protocol. */
	device->registered = false;
	device->ending = g_timeout_add(AGENT_AGAIN_MS, agent_again, device);
}

static void on_event(SpiceCharDeviceInstance *sin, uint8_t event)
{
	if (event == SPICE_PORT_EVENT_BREAK)
		debug_line(device_of(sin), 1, "a break from the client");
}

/* ---- From the client ---- */

static int on_write(SpiceCharDeviceInstance *sin, const uint8_t *data, int len)
{
	VmcSpiceDevice *device = device_of(sin);
	ssize_t n;

	/* Without a conversation there is nobody it could be for. */
	if (device->fd < 0 || len <= 0)
		return len;
	n = send(device->fd, data, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		hung_up(device);
		return len;
	}
	if (n < len)
		want(device, SPICE_WATCH_EVENT_WRITE, true);
	debug_line(device, 2, "%zd of %d bytes from the client", MAX(n, 0), len);
	return n < 0 ? 0 : (int)n;
}

/* ---- To the client ---- */

/* Bytes of the conversation now there; 0 for none, with more to be told of. */
static size_t take(VmcSpiceDevice *device, uint8_t *data, size_t len)
{
	ssize_t n;

	if (device->fd < 0)
		return 0;
	n = recv(device->fd, data, len, MSG_DONTWAIT);
	/* The library stops reading when it likes, and asks again by itself or
	 * not at all. */
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		want(device, SPICE_WATCH_EVENT_READ, true);
	else
		hung_up(device);
	return n > 0 ? (size_t)n : 0;
}

/* The whole of a header, unless it is still to come. */
static bool take_header(VmcSpiceDevice *device)
{
	Framing *framing = &device->framing;
	VmcSpan fields;
	uint32_t type, reader, length;

	framing->have += take(device, framing->header + framing->have, HEADER_SIZE - framing->have);
	if (framing->have < HEADER_SIZE)
		return false;
	fields = vmc_span(framing->header, HEADER_SIZE);
	vmc_span_u32be(&fields, &type);
	vmc_span_u32be(&fields, &reader);
	vmc_span_u32be(&fields, &length);
	framing->payload = length;
	framing->given = 0;
	framing->skipping = length > PAYLOAD_MAX;
	if (framing->skipping)
		g_warning("smartcard: a message of %u bytes is too long for the SPICE channel "
			  "(%u at most) and is dropped",
			  length, PAYLOAD_MAX);
	return true;
}

static void skip_payload(VmcSpiceDevice *device)
{
	Framing *framing = &device->framing;
	uint8_t scratch[4096];
	size_t n = 1;

	while (framing->payload > 0 && n > 0) {
		n = take(device, scratch, MIN(sizeof(scratch), framing->payload));
		vmc_wipe(scratch, n);
		framing->payload -= n;
	}
	if (framing->payload > 0)
		return;
	framing->skipping = false;
	framing->have = 0;
}

/* Without a conversation the library gets the rest of what it has begun, as
 * zeros, and throws it away. */
static size_t fill_payload(VmcSpiceDevice *device, uint8_t *data, size_t len)
{
	if (device->fd >= 0)
		return take(device, data, len);
	memset(data, 0, len);
	return len;
}

/* A message that was not begun to be given away is forgotten. */
static bool is_over(VmcSpiceDevice *device)
{
	Framing *framing = &device->framing;
	bool begun = framing->have == HEADER_SIZE && framing->given > 0 && !framing->skipping;

	if (device->fd >= 0 || begun)
		return false;
	framing->have = 0;
	framing->given = 0;
	framing->payload = 0;
	framing->skipping = false;
	return true;
}

/* The large VSC_Init: its header makes the library's buffer grow, which leaves
 * the place it reads the payload to in freed memory; so not a byte is written
 * there. After a message the place is right again. */
static int prime(VmcSpiceDevice *device, uint8_t *data, int len)
{
	if (device->framing.primed == 0) {
		if (len < (int)HEADER_SIZE)
			return 0;
		device->framing.primed = 1;
		vmc_put_u32be(data, TYPE_INIT);
		vmc_put_u32be(data + 4, 0);
		vmc_put_u32be(data + 8, PAYLOAD_MAX);
		return (int)HEADER_SIZE;
	}
	if (len < (int)PAYLOAD_MAX) {
		events->anew("the SPICE library's smartcard buffer did not grow");
		return 0;
	}
	device->framing.primed = 2;
	return (int)PAYLOAD_MAX;
}

static int read_smartcard(VmcSpiceDevice *device, uint8_t *data, int len)
{
	Framing *framing = &device->framing;
	size_t n;

	if (framing->primed < 2)
		return prime(device, data, len);
	if (is_over(device))
		return 0;
	do {
		if (framing->have < HEADER_SIZE && !take_header(device))
			return 0;
		if (framing->skipping)
			skip_payload(device);
	} while (framing->have == 0);
	if (framing->skipping)
		return 0;
	if (framing->given < HEADER_SIZE) {
		n = MIN((size_t)len, HEADER_SIZE - framing->given);
		memcpy(data, framing->header + framing->given, n);
		framing->given += n;
	} else {
		n = fill_payload(device, data, MIN((size_t)len, framing->payload));
		framing->payload -= n;
		if (n < (size_t)len && framing->payload > 0)
			debug_line(device, 3, "%zu bytes now, %zu to come", n, framing->payload);
	}
	if (framing->given == HEADER_SIZE && framing->payload == 0)
		framing->have = 0;
	return (int)n;
}

static int on_read(SpiceCharDeviceInstance *sin, uint8_t *data, int len)
{
	VmcSpiceDevice *device = device_of(sin);
	int n;

	if (len <= 0)
		return 0;
	if (device->smartcard)
		n = read_smartcard(device, data, len);
	else
		n = (int)take(device, data, (size_t)len);
	if (n > 0 && device->fd >= 0)
		debug_line(device, n < len ? 3 : 2, "%d bytes to the client, %d would fit", n, len);
	return n;
}

/* ---- Registration ---- */

static const SpiceCharDeviceInterface interface = {
	.base.type = SPICE_INTERFACE_CHAR_DEVICE,
	.base.description = "vscard's char device",
	.base.major_version = SPICE_INTERFACE_CHAR_DEVICE_MAJOR,
	.base.minor_version = SPICE_INTERFACE_CHAR_DEVICE_MINOR,
	.state = on_state,
	.write = on_write,
	.read = on_read,
	.event = on_event,
	.flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE,
};

static void register_device(VmcSpiceDevice *device)
{
	if (device->registered)
		return;
	device->sin.base.sif = &interface.base;
	if (spice_server_add_interface(device->server, &device->sin.base) != 0) {
		g_warning("%s: the SPICE library does not take it", name_of(device));
		return;
	}
	device->registered = true;
	device->once = true;
	debug_line(device, 1, "registered");
}

static void unregister_device(VmcSpiceDevice *device)
{
	if (!device->registered)
		return;
	device->registered = false;
	device->open = false;
	spice_server_remove_interface(&device->sin.base);
	close_conversation(device);
	debug_line(device, 1, "no longer registered");
}

VmcSpiceDevice *vmc_spice_device_new(SpiceServer *server, uint32_t number, const char *subtype,
				     const char *port, unsigned debug)
{
	VmcSpiceDevice *device = g_new0(VmcSpiceDevice, 1);

	device->server = server;
	device->number = number;
	device->debug = debug;
	device->fd = -1;
	device->smartcard = strcmp(subtype, SMARTCARD) == 0;
	device->sin.subtype = g_strdup(subtype);
	device->sin.portname = port != NULL ? g_strdup(port) : NULL;
	if (is_port(device))
		register_device(device);
	return device;
}

void vmc_spice_device_free(VmcSpiceDevice *device)
{
	unregister_device(device);
	close_conversation(device);
	g_free((char *)(uintptr_t)device->sin.subtype);
	g_free((char *)(uintptr_t)device->sin.portname);
	g_free(device);
}

uint32_t vmc_spice_device_number(const VmcSpiceDevice *device)
{
	return device->number;
}

bool vmc_spice_device_set_front(VmcSpiceDevice *device, bool there)
{
	if (device->front == there)
		return true;
	device->front = there;
	if (device->smartcard && device->once)
		return false;
	if (is_port(device))
		set_port_front(device, there);
	else if (there)
		register_device(device);
	else
		unregister_device(device);
	return true;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidUsbipServer: see usbip-server.h. The char device hands over a connection
 * for each client that comes, if it can; a conversation of its own is served
 * like any other. A char device is not to be freed in its events, so a
 * connection that is over is freed from the loop.
 */

#include "ccid/usbip-server.h"

#include <gio/gio.h>
#include <string.h>

#include "ccid/usbip-import.h"
#include "vmc/buf.h"

#define BUSNUM 1u

/* The kernel is asked once for as much as this: some hundred commands. */
#define READ_AHEAD 4096u

/* What is exported under one busid. */
typedef struct Export {
	UsbDevice *device; /* NULL: nothing */
	char busid[8];
	unsigned devnum;
} Export;

typedef struct Connection {
	CcidUsbipServer *server;
	VmcChardev *chardev;
	bool owned;           /* handed over to us */
	const Export *export; /* what it imported */
	UsbipImport *import;  /* NULL: it has not asked yet */
	VmcBuf in;
	bool held;    /* output is high: no input until it is low */
	bool waiting; /* its request stays in `in` while somebody has the device */
	bool waited;  /* long enough */
	bool ending;  /* disconnected, or to be */
	guint timer;  /* until it asks, or while it waits */
} Connection;

struct CcidUsbipServer {
	VmcChardev *chardev;
	Connection *own;    /* the conversation of `chardev` itself, or NULL */
	GQueue connections; /* Connection, handed over */
	GQueue over;        /* Connection, to be freed from the loop */
	guint reaper;
	bool replug;
	Export exports[CCID_USBIP_DEVICES_MAX];
};

/* ---- A connection's end ---- */

/* Gives the device back; it is free at once. */
static void detach(Connection *connection)
{
	if (connection->import == NULL)
		return;
	g_info("usbip: %s gave back %s", vmc_chardev_describe(connection->chardev),
	       connection->export->busid);
	g_clear_pointer(&connection->import, usbip_import_free);
}

static void connection_free(Connection *connection)
{
	g_clear_handle_id(&connection->timer, g_source_remove);
	detach(connection);
	vmc_buf_clear(&connection->in);
	if (connection->owned)
		vmc_chardev_free(connection->chardev);
	g_free(connection);
}

static gboolean on_reap(void *user)
{
	CcidUsbipServer *server = user;

	server->reaper = 0;
	g_queue_clear_full(&server->over, (GDestroyNotify)connection_free);
	return G_SOURCE_REMOVE;
}

/* Ends what the client says and hears; its `closed` follows. */
static void end(Connection *connection, bool flush, const char *because)
{
	if (connection->ending)
		return;
	connection->ending = true;
	vmc_chardev_disconnect(connection->chardev, flush, because);
}

/* The client is none. */
static void drop(Connection *connection, const char *because)
{
	g_autofree char *text = g_strdup_printf("not a USB/IP client: %s", because);

	if (connection->ending)
		return;
	g_message("usbip: dropping %s: %s", vmc_chardev_describe(connection->chardev), because);
	end(connection, false, text);
}

/* ---- Output ---- */

static void put(Connection *connection, VmcSpan bytes)
{
	switch (vmc_chardev_write(connection->chardev, bytes)) {
	case VMC_WRITE_OK:
		break;
	case VMC_WRITE_CLOSED:
		end(connection, false, "it is gone");
		break;
	case VMC_WRITE_HIGH:
		connection->held = true;
		vmc_chardev_pause(connection->chardev, true);
		break;
	case VMC_WRITE_FULL:
		drop(connection, "it does not read");
		break;
	}
}

static void on_reply(void *user, VmcSpan reply)
{
	put(user, reply);
}

static void on_changed(void *user)
{
	Connection *connection = user;

	if (connection->server->replug)
		end(connection, false, "its device has another name now");
}

static const UsbipImportEvents import_events = { .send = on_reply, .changed = on_changed };

/* ---- Operations ---- */

/* What people see of a device in a list: its name, which a card's owner may
 * have chosen, without what a terminal would obey. */
static char *path_of(const Export *export)
{
	const char *name = usb_device_info(export->device)->name;
	char *path = g_strdup_printf("/vscard/%s %s", export->busid, name != NULL ? name : "");

	for (char *c = path; *c != '\0'; c++)
		if (g_ascii_iscntrl(*c) || (uint8_t)*c >= 0x80u)
			*c = '?';
	return path;
}

static void put_device(uint8_t to[USBIP_DEVICE], const Export *export)
{
	g_autofree char *path = path_of(export);
	UsbipExport described = {
		.path = path,
		.busid = export->busid,
		.busnum = BUSNUM,
		.devnum = export->devnum,
		.info = usb_device_info(export->device),
	};

	usbip_put_device(to, &described);
}

/* All that is exported, whoever has it, as the text says: an import tells who
 * comes too late. */
static void answer_list(Connection *connection)
{
	CcidUsbipServer *server = connection->server;
	g_autoptr(GByteArray) list = g_byte_array_new();
	uint8_t header[USBIP_OP_HEADER + 4], device[USBIP_DEVICE + USBIP_INTERFACE];
	uint32_t n = 0;

	g_byte_array_append(list, header, sizeof(header));
	for (size_t i = 0; i < CCID_USBIP_DEVICES_MAX; i++) {
		const Export *export = &server->exports[i];

		if (export->device == NULL)
			continue;
		put_device(device, export);
		usbip_put_interface(device + USBIP_DEVICE, usb_device_info(export->device));
		g_byte_array_append(list, device, sizeof(device));
		n++;
	}
	usbip_put_op(list->data, USBIP_OP_REP_DEVLIST, USBIP_OP_OK);
	vmc_put_u32be(list->data + USBIP_OP_HEADER, n);
	put(connection, vmc_span(list->data, list->len));
	end(connection, true, "it was told what there is");
}

static void refuse(Connection *connection, const UsbipOp *op, UsbipOpStatus status,
		   const char *because)
{
	uint8_t header[USBIP_OP_HEADER];

	g_info("usbip: %s is refused: %s", vmc_chardev_describe(connection->chardev), because);
	usbip_put_op(header, op->code & USBIP_OP_REPLY_MASK, status);
	put(connection, vmc_span(header, sizeof(header)));
	end(connection, true, because);
}

static const Export *find_busid(CcidUsbipServer *server, VmcSpan busid)
{
	for (size_t i = 0; i < CCID_USBIP_DEVICES_MAX; i++) {
		const Export *export = &server->exports[i];

		if (export->device != NULL && strlen(export->busid) == busid.len &&
		    memcmp(export->busid, busid.data, busid.len) == 0)
			return export;
	}
	return NULL;
}

static gboolean on_waited(void *user);

/* False: the request stays, for the device may be free in a moment. */
static bool import(Connection *connection, const UsbipOp *op)
{
	const Export *export = find_busid(connection->server, op->busid);
	uint8_t answer[USBIP_OP_HEADER + USBIP_DEVICE];

	if (export == NULL) {
		refuse(connection, op, USBIP_OP_NO_DEVICE, "there is no such device");
		return true;
	}
	connection->import = usbip_import_new(export->device, USBIP_DEVID(BUSNUM, export->devnum),
					      &import_events, connection);
	if (connection->import == NULL && !connection->waited) {
		connection->waiting = true;
		connection->timer = g_timeout_add(CCID_USBIP_BUSY_MS, on_waited, connection);
		vmc_chardev_pause(connection->chardev, true);
		return false;
	}
	if (connection->import == NULL) {
		refuse(connection, op, USBIP_OP_BUSY, "somebody has the device");
		return true;
	}
	connection->export = export;
	g_info("usbip: %s has %s", vmc_chardev_describe(connection->chardev), export->busid);
	usbip_put_op(answer, USBIP_OP_REP_IMPORT, USBIP_OP_OK);
	put_device(answer + USBIP_OP_HEADER, export);
	put(connection, vmc_span(answer, sizeof(answer)));
	return true;
}

/* Takes a request from what came in; false: not now. */
static bool take_op(Connection *connection)
{
	VmcSpan in = vmc_buf_span(&connection->in);
	size_t len = in.len;
	UsbipOp op;

	if (usbip_get_op(&in, &op) != USBIP_RESULT_OK)
		return false;
	g_clear_handle_id(&connection->timer, g_source_remove);
	if (op.version != USBIP_VERSION)
		refuse(connection, &op, USBIP_OP_ERROR, "its version is not 1.1.1");
	else if (op.code == USBIP_OP_REQ_DEVLIST)
		answer_list(connection);
	else if (op.code != USBIP_OP_REQ_IMPORT)
		refuse(connection, &op, USBIP_OP_ERROR, "it asked for what is not known");
	else if (!import(connection, &op))
		return false;
	vmc_buf_consume(&connection->in, len - in.len);
	return true;
}

/* ---- Commands ---- */

/* Takes a command from what came in; false: not all of it is there. */
static bool take_command(Connection *connection)
{
	VmcSpan in = vmc_buf_span(&connection->in);
	size_t len = in.len;
	const char *because = NULL;
	UsbipCommand command;

	switch (usbip_get_command(&in, &command, &because)) {
	case USBIP_RESULT_NEED_MORE:
		return false;
	case USBIP_RESULT_BAD:
		drop(connection, because);
		return true;
	case USBIP_RESULT_OK:
		break;
	}
	if (!usbip_import_command(connection->import, &command, &because))
		drop(connection, because);
	vmc_buf_consume(&connection->in, len - in.len);
	return true;
}

/* Does what came in says; false: there is nothing more to do now. */
static bool take(Connection *connection)
{
	if (connection->ending || connection->held || connection->waiting)
		return false;
	return connection->import != NULL ? take_command(connection) : take_op(connection);
}

static void on_readable(void *user)
{
	Connection *connection = user;
	size_t room, n;
	uint8_t *to;

	do {
		while (take(connection))
			;
		if (connection->ending || connection->held || connection->waiting)
			return;
		/* A command's longest fits, so there is room. */
		to = vmc_buf_room(&connection->in, READ_AHEAD, &room);
		n = vmc_chardev_read(connection->chardev, to, room);
		vmc_buf_added(&connection->in, n);
	} while (n > 0);
}

/* Those that wait for a device ask for it again. */
static void ask_again(Connection *connection)
{
	if (!connection->waiting)
		return;
	connection->waiting = false;
	g_clear_handle_id(&connection->timer, g_source_remove);
	vmc_chardev_pause(connection->chardev, false);
	on_readable(connection);
}

static gboolean on_waited(void *user)
{
	Connection *connection = user;

	connection->timer = 0;
	connection->waited = true;
	ask_again(connection);
	return G_SOURCE_REMOVE;
}

/* Gives back what the client has, and to those who wait. */
static void pass_on(Connection *connection)
{
	CcidUsbipServer *server = connection->server;

	if (connection->import == NULL)
		return;
	detach(connection);
	for (GList *i = server->connections.head; i != NULL; i = i->next)
		ask_again(i->data);
	if (server->own != NULL)
		ask_again(server->own);
}

static void on_writable(void *user)
{
	Connection *connection = user;

	/* Output broke: what the client had said before is for nobody. */
	if (!vmc_chardev_is_writable(connection->chardev)) {
		end(connection, false, "it is gone");
		pass_on(connection);
		return;
	}
	connection->held = false;
	/* What was read before may bring output up to the mark again. */
	while (take(connection))
		;
	if (!connection->held)
		vmc_chardev_pause(connection->chardev, false);
}

/* ---- Connections ---- */

static void on_closed(void *user, const GError *reason)
{
	Connection *connection = user;
	CcidUsbipServer *server = connection->server;

	g_debug("usbip: %s is gone: %s", vmc_chardev_describe(connection->chardev),
		reason->message);
	connection->ending = true;
	connection->waiting = false;
	g_clear_handle_id(&connection->timer, g_source_remove);
	if (connection->owned)
		g_queue_remove(&server->connections, connection);
	else
		server->own = NULL;
	pass_on(connection);
	g_queue_push_tail(&server->over, connection);
	/* Before a client that keeps the loop busy: the number is limited. */
	if (server->reaper == 0)
		server->reaper = g_idle_add_full(G_PRIORITY_DEFAULT, on_reap, server, NULL);
}

static gboolean on_silence(void *user)
{
	Connection *connection = user;

	connection->timer = 0;
	end(connection, false, "it asked for nothing");
	return G_SOURCE_REMOVE;
}

static Connection *connection_new(CcidUsbipServer *server, VmcChardev *chardev)
{
	Connection *connection = g_new0(Connection, 1);

	connection->server = server;
	connection->chardev = chardev;
	connection->timer = g_timeout_add_seconds(CCID_USBIP_ASK_SECONDS, on_silence, connection);
	vmc_buf_init(&connection->in, USBIP_COMMAND_MAX + READ_AHEAD);
	return connection;
}

static const VmcChardevEvents connection_events = {
	.closed = on_closed,
	.readable = on_readable,
	.writable = on_writable,
};

static void on_accepted(void *user, VmcChardev *chardev)
{
	CcidUsbipServer *server = user;
	Connection *connection = connection_new(server, chardev);

	connection->owned = true;
	g_queue_push_tail(&server->connections, connection);
	vmc_chardev_set_user(chardev, &connection_events, connection);
}

/* The char device's own conversation: the same, by way of the server. */

static void on_own_opened(void *user)
{
	CcidUsbipServer *server = user;

	vmc_chardev_pause(server->chardev, false);
	server->own = connection_new(server, server->chardev);
}

static void on_own_closed(void *user, const GError *reason)
{
	CcidUsbipServer *server = user;

	if (server->own != NULL)
		on_closed(server->own, reason);
}

static void on_own_readable(void *user)
{
	on_readable(((CcidUsbipServer *)user)->own);
}

static void on_own_writable(void *user)
{
	on_writable(((CcidUsbipServer *)user)->own);
}

static const VmcChardevEvents server_events = {
	.opened = on_own_opened,
	.closed = on_own_closed,
	.readable = on_own_readable,
	.writable = on_own_writable,
	.accepted = on_accepted,
};

/* ---- Devices ---- */

static Export *find_device(CcidUsbipServer *server, const UsbDevice *device)
{
	for (size_t i = 0; i < CCID_USBIP_DEVICES_MAX; i++)
		if (server->exports[i].device == device)
			return &server->exports[i];
	return NULL;
}

void ccid_usbip_server_set_replug(CcidUsbipServer *server, bool replug)
{
	server->replug = replug;
}

bool ccid_usbip_server_add(CcidUsbipServer *server, UsbDevice *device)
{
	Export *export = find_device(server, NULL);

	if (export == NULL)
		return false;
	export->device = device;
	return true;
}

static void end_import_of(Connection *connection, const Export *export)
{
	if (connection == NULL || connection->import == NULL || connection->export != export)
		return;
	detach(connection);
	end(connection, false, "the device is gone");
}

void ccid_usbip_server_remove(CcidUsbipServer *server, UsbDevice *device)
{
	Export *export = find_device(server, device);

	g_return_if_fail(device != NULL && export != NULL);

	for (GList *i = server->connections.head; i != NULL; i = i->next)
		end_import_of(i->data, export);
	end_import_of(server->own, export);
	export->device = NULL;
}

const char *ccid_usbip_server_busid(CcidUsbipServer *server, const UsbDevice *device)
{
	const Export *export = device != NULL ? find_device(server, device) : NULL;

	return export != NULL ? export->busid : NULL;
}

/* ---- Life ---- */

CcidUsbipServer *ccid_usbip_server_new(VmcChardev *chardev, GError **error)
{
	CcidUsbipServer *server = g_new0(CcidUsbipServer, 1);

	server->chardev = chardev;
	g_queue_init(&server->connections);
	g_queue_init(&server->over);
	for (unsigned i = 0; i < CCID_USBIP_DEVICES_MAX; i++) {
		server->exports[i].devnum = i + 1;
		g_snprintf(server->exports[i].busid, sizeof(server->exports[i].busid), "%u-%u",
			   BUSNUM, i + 1);
	}
	if (vmc_chardev_set_user(chardev, &server_events, server))
		return server;
	g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY, "char device \"%s\" has a user already",
		    vmc_chardev_id(chardev));
	g_free(server);
	return NULL;
}

void ccid_usbip_server_free(CcidUsbipServer *server)
{
	if (server == NULL)
		return;
	vmc_chardev_set_user(server->chardev, NULL, NULL);
	g_clear_pointer(&server->own, connection_free);
	g_queue_clear_full(&server->connections, (GDestroyNotify)connection_free);
	g_queue_clear_full(&server->over, (GDestroyNotify)connection_free);
	g_clear_handle_id(&server->reaper, g_source_remove);
	g_free(server);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The backends "spicevmc" and "spiceport": a channel of the SPICE server. A
 * conversation is a stream socket that the server's process passes to us when a
 * client takes the channel, and ends with it; whatever becomes of that process
 * is an end of stream here.
 */

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "vmc/chardev-backend.h"
#include "vmc/spice-server.h"

#define DEBUG_MAX 3

typedef struct VmcSpicevmc {
	VmcChardev base;
	VmcSpiceEnd end;
	char *name;
	int fd;   /* the conversation; -1: none */
	int next; /* one that came before that had ended */
	GSource *readable;
	GSource *writable;
	bool drained; /* nothing to read until the kernel says so again */
} VmcSpicevmc;

static VmcSpicevmc *spicevmc_of(VmcChardev *chardev)
{
	return (VmcSpicevmc *)chardev;
}

static void drop_source(GSource **source)
{
	if (*source == NULL)
		return;
	g_source_destroy(*source);
	g_clear_pointer(source, g_source_unref);
}

static void watch(VmcSpicevmc *self, GSource **source, GIOCondition condition,
		  GUnixFDSourceFunc function)
{
	drop_source(source);
	*source = g_unix_fd_source_new(self->fd, condition);
	g_source_set_callback(*source, G_SOURCE_FUNC(function), self, NULL);
	g_source_attach(*source, NULL);
}

/* ---- The conversation ---- */

static gssize broken(GError **error)
{
	if (errno == ECONNRESET || errno == EPIPE)
		g_propagate_error(error, vmc_chardev_hangup_error());
	else
		g_set_error(error, VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_IO,
			    "the SPICE channel broke: %s", g_strerror(errno));
	return -1;
}

static gssize spicevmc_read(VmcChardev *chardev, uint8_t *data, size_t len, GError **error)
{
	VmcSpicevmc *self = spicevmc_of(chardev);
	ssize_t n;

	if (self->drained)
		return 0;
	n = recv(self->fd, data, len, MSG_DONTWAIT);
	if (n > 0) {
		self->drained = (size_t)n < len;
		return n;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		self->drained = true;
		return 0;
	}
	if (n < 0)
		return broken(error);
	g_propagate_error(error, vmc_chardev_hangup_error());
	return -1;
}

static gssize spicevmc_write(VmcChardev *chardev, VmcSpan bytes, GError **error)
{
	ssize_t n =
		send(spicevmc_of(chardev)->fd, bytes.data, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR ? 0 : broken(error);
}

static gboolean on_readable(int fd, GIOCondition condition, gpointer user)
{
	VmcSpicevmc *self = user;

	(void)fd;
	(void)condition;
	self->drained = false;
	vmc_chardev_emit_readable(&self->base);
	return G_SOURCE_CONTINUE;
}

/* The end of a conversation nobody reads; input that is left waits for its
 * reader. */
static gboolean on_ended(int fd, GIOCondition condition, gpointer user)
{
	VmcSpicevmc *self = user;
	int left = 0;

	(void)condition;
	drop_source(&self->readable);
	if (ioctl(fd, FIONREAD, &left) < 0 || left == 0 || vmc_chardev_never_reads(&self->base))
		vmc_chardev_emit_gone(&self->base, vmc_chardev_hangup_error());
	return G_SOURCE_REMOVE;
}

static gboolean on_writable(int fd, GIOCondition condition, gpointer user)
{
	VmcSpicevmc *self = user;

	(void)fd;
	(void)condition;
	vmc_chardev_emit_writable(&self->base);
	return G_SOURCE_CONTINUE;
}

static void spicevmc_want_read(VmcChardev *chardev, bool wanted)
{
	VmcSpicevmc *self = spicevmc_of(chardev);

	if (self->fd < 0)
		return;
	self->drained = false;
	if (wanted)
		watch(self, &self->readable, G_IO_IN | G_IO_HUP | G_IO_ERR, on_readable);
	else
		watch(self, &self->readable, G_IO_HUP | G_IO_ERR, on_ended);
}

static void spicevmc_want_write(VmcChardev *chardev, bool wanted)
{
	VmcSpicevmc *self = spicevmc_of(chardev);

	if (wanted && self->fd >= 0)
		watch(self, &self->writable, G_IO_OUT | G_IO_HUP | G_IO_ERR, on_writable);
	else
		drop_source(&self->writable);
}

static void close_conversation(VmcSpicevmc *self)
{
	drop_source(&self->readable);
	drop_source(&self->writable);
	if (self->fd >= 0)
		close(self->fd);
	self->fd = -1;
}

static void begin(VmcSpicevmc *self)
{
	self->fd = self->next;
	self->next = -1;
	self->drained = false;
	watch(self, &self->readable, G_IO_HUP | G_IO_ERR, on_ended);
	vmc_chardev_emit_opened(&self->base);
}

/* One that nobody is there for any more. */
static void drop_next(VmcSpicevmc *self)
{
	if (self->next >= 0)
		close(self->next);
	self->next = -1;
}

static void spicevmc_hangup(VmcChardev *chardev)
{
	VmcSpicevmc *self = spicevmc_of(chardev);

	close_conversation(self);
	if (self->next >= 0 && self->end.front)
		begin(self);
	else
		drop_next(self);
}

static void on_opened(VmcSpiceEnd *end, int fd)
{
	VmcSpicevmc *self = (VmcSpicevmc *)((char *)end - G_STRUCT_OFFSET(VmcSpicevmc, end));

	drop_next(self);
	self->next = fd;
	if (!self->end.front)
		drop_next(self);
	else if (self->base.state == VMC_CHARDEV_DOWN)
		begin(self);
	else
		vmc_chardev_emit_gone(&self->base, vmc_chardev_hangup_error());
}

static void spicevmc_attached(VmcChardev *chardev, bool there)
{
	VmcSpicevmc *self = spicevmc_of(chardev);

	vmc_spice_server_set_front(&self->end, there);
	if (!there)
		vmc_chardev_emit_gone(chardev, vmc_chardev_hangup_error());
}

static void spicevmc_free(VmcChardev *chardev)
{
	VmcSpicevmc *self = spicevmc_of(chardev);

	vmc_spice_server_remove(&self->end);
	close_conversation(self);
	drop_next(self);
	g_free(self->name);
}

/* ---- Making one ---- */

static VmcSpiceServer *server_for(VmcOpts *opts, GError **error)
{
	VmcSpiceServer *server = vmc_spice_server_current();

	if (server == NULL)
		vmc_chardev_set_open_error(opts, error, "there is no SPICE server; add -spice");
	return server;
}

static VmcChardev *make(const VmcChardevClass *class, VmcSpiceServer *server, VmcOpts *opts,
			const char *subtype)
{
	VmcSpicevmc *self = g_new0(VmcSpicevmc, 1);

	vmc_chardev_init(&self->base, class, vmc_opts_get(opts, "id"));
	self->name = g_strdup(vmc_opts_get(opts, "name"));
	vmc_chardev_take_describe(&self->base, g_strdup_printf("%s:%s", class->name, self->name));
	self->fd = -1;
	self->next = -1;
	self->end.subtype = subtype != NULL ? subtype : self->name;
	self->end.port = subtype != NULL ? self->name : NULL;
	self->end.debug = (unsigned)vmc_opts_number(opts, "debug", 0);
	self->end.opened = on_opened;
	vmc_spice_server_add(server, &self->end);
	return &self->base;
}

static const VmcOptDesc spicevmc_options[] = {
	{ "name", VMC_OPT_STRING, 0, 0, "what the channel carries: smartcard, vdagent, usbredir" },
	{ "debug", VMC_OPT_NUMBER, 0, DEBUG_MAX,
	  "1: log when it is registered, 2: sizes too, 3: partial reads too" },
	{ 0 },
};

/* The library has one of these a process, and there is one process. */
static bool is_single(const char *name)
{
	return strcmp(name, "smartcard") == 0 || strcmp(name, "vdagent") == 0;
}

static VmcChardev *spicevmc_create(VmcOpts *opts, GError **error);
static VmcChardev *spiceport_create(VmcOpts *opts, GError **error);

const VmcChardevClass vmc_spicevmc_class = {
	.name = "spicevmc",
	.help = "a channel of the SPICE server: a client's smartcard, agent or USB device",
	.options = spicevmc_options,
	.create = spicevmc_create,
	.read = spicevmc_read,
	.write = spicevmc_write,
	.want_read = spicevmc_want_read,
	.want_write = spicevmc_want_write,
	.attached = spicevmc_attached,
	.hangup = spicevmc_hangup,
	.free = spicevmc_free,
};

static VmcChardev *spicevmc_create(VmcOpts *opts, GError **error)
{
	const char *name = vmc_opts_get(opts, "name");
	VmcSpiceServer *server = server_for(opts, error);
	g_autofree char *names = NULL;

	if (server == NULL)
		return NULL;
	names = g_strjoinv(", ", (char **)(uintptr_t)vmc_spice_server_subtypes(server));
	if (name == NULL) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_MISSING,
				   "name is missing; add name= and one of: %s", names);
		return NULL;
	}
	if (!g_strv_contains(vmc_spice_server_subtypes(server), name)) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "name '%.80s' is not one of the allowed: %s", name, names);
		return NULL;
	}
	if (is_single(name) && vmc_spice_server_has(server, name)) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_REPEATED,
				   "a SPICE server has one %s channel, and there is a spicevmc "
				   "with name=%s already",
				   name, name);
		return NULL;
	}
	return make(&vmc_spicevmc_class, server, opts, NULL);
}

static const VmcOptDesc spiceport_options[] = {
	{ "name", VMC_OPT_STRING, 0, 255,
	  "the port's name, a reversed domain such as org.example.port.0" },
	{ "debug", VMC_OPT_NUMBER, 0, DEBUG_MAX, "as of spicevmc" },
	{ 0 },
};

const VmcChardevClass vmc_spiceport_class = {
	.name = "spiceport",
	.help = "a port channel of the SPICE server: a plain stream with a name",
	.options = spiceport_options,
	.create = spiceport_create,
	.read = spicevmc_read,
	.write = spicevmc_write,
	.want_read = spicevmc_want_read,
	.want_write = spicevmc_want_write,
	.attached = spicevmc_attached,
	.hangup = spicevmc_hangup,
	.free = spicevmc_free,
};

static VmcChardev *spiceport_create(VmcOpts *opts, GError **error)
{
	VmcSpiceServer *server = server_for(opts, error);

	if (server == NULL)
		return NULL;
	if (vmc_opts_get(opts, "name") == NULL) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_MISSING,
				   "name is missing; add the port's name, such as "
				   "name=org.example.port.0");
		return NULL;
	}
	return make(&vmc_spiceport_class, server, opts, "port");
}

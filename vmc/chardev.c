/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcChardev, the part that all backends share: the one user and the order in
 * which it hears of things, the output queue with its marks, pausing, and the
 * ways in which a conversation ends. What happens while the user is in a call
 * of its own (a read that finds the end, a write that finds the stream broken)
 * is told later, from the loop.
 */

#include "vmc/chardev-backend.h"

#include <stdio.h>
#include <string.h>

/* Events that the deferred source tells, in this order. */
enum {
	DUE_FAILED = 1 << 0,
	DUE_CLOSED = 1 << 1,
	DUE_OPENED = 1 << 2,
	DUE_READABLE = 1 << 3,
	DUE_WRITABLE = 1 << 4,
	DUE_LINGER = 1 << 5,
};

/* Input nobody wants any more is read in pieces of this size, and this often
 * in a row before the loop turns to others. */
#define DISCARD_SIZE 4096u
#define DISCARD_TIMES 16u

G_DEFINE_QUARK(vmc_chardev_error_quark, vmc_chardev_error)

static const VmcChardevClass *const classes[] = {
	&vmc_socket_class,
	&vmc_spicevmc_class,
	&vmc_spiceport_class,
	NULL,
};

static const VmcOptDesc common_options[] = {
	{ .name = "id", .type = VMC_OPT_STRING, .help = "the name other options call it by" },
	{ .name = "backend", .type = VMC_OPT_STRING },
	{ .name = NULL },
};

static gboolean tell_deferred(void *data);

/* ---- Making one ---- */

const VmcChardevClass *const *vmc_chardev_classes(void)
{
	return classes;
}

static const VmcChardevClass *find_class(const char *name)
{
	for (size_t i = 0; classes[i] != NULL; i++) {
		if (strcmp(classes[i]->name, name) == 0)
			return classes[i];
	}
	return NULL;
}

static char *list_classes(void)
{
	GString *list = g_string_new(NULL);

	for (size_t i = 0; classes[i] != NULL; i++)
		g_string_append_printf(list, "%s%s", i > 0 ? ", " : "", classes[i]->name);
	return g_string_free(list, FALSE);
}

VmcChardev *vmc_chardev_new(VmcOpts *opts, GError **error)
{
	g_autofree char *names = list_classes();
	const VmcChardevClass *class;
	const char *backend;

	g_return_val_if_fail(opts != NULL, NULL);

	backend = vmc_opts_get(opts, "backend");
	if (backend == NULL) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_MISSING,
				   "no backend is given; there are: %s", names);
		return NULL;
	}
	class = find_class(backend);
	if (class == NULL) {
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_UNKNOWN,
				   "unknown backend '%.80s'; there are: %s", backend, names);
		return NULL;
	}
	if (!vmc_opts_check(opts, class->name, class->options, common_options, error))
		return NULL;
	return class->create(opts, error);
}

bool vmc_chardev_help(const char *backend, GError **error)
{
	g_autofree char *names = list_classes();
	const VmcChardevClass *class;

	if (backend == NULL) {
		printf("Backends of -chardev (-chardev BACKEND,help lists the keys of one):\n");
		for (size_t i = 0; classes[i] != NULL; i++)
			printf("  %-18s %s\n", classes[i]->name, classes[i]->help);
		return true;
	}

	class = find_class(backend);
	if (class == NULL) {
		g_set_error(error, VMC_OPTS_ERROR, VMC_OPTS_ERROR_UNKNOWN,
			    "-chardev: unknown backend '%.80s'; there are: %s", backend, names);
		return false;
	}
	printf("Keys of -chardev %s:\n", class->name);
	vmc_opts_print_table(common_options);
	vmc_opts_print_table(class->options);
	return true;
}

GError *vmc_chardev_hangup_error(void)
{
	return g_error_new_literal(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_HANGUP,
				   "the other side closed the connection");
}

void vmc_chardev_set_open_error(const VmcOpts *opts, GError **error, const char *format, ...)
{
	g_autofree char *message = NULL;
	GError *made = NULL;
	va_list args;

	va_start(args, format);
	message = g_strdup_vprintf(format, args);
	va_end(args);

	/* The words are put together in one place; only the kind differs. */
	vmc_opts_set_error(opts, &made, VMC_OPTS_ERROR_VALUE, "%s", message);
	made->domain = VMC_CHARDEV_ERROR;
	made->code = VMC_CHARDEV_ERROR_OPEN;
	g_propagate_error(error, made);
}

void vmc_chardev_init(VmcChardev *chardev, const VmcChardevClass *class, const char *id)
{
	chardev->class = class;
	chardev->id = g_strdup(id != NULL ? id : "");
	chardev->describe = g_strdup(class->name);
	chardev->state = VMC_CHARDEV_DOWN;
	vmc_buf_init(&chardev->out, VMC_CHARDEV_MAX_QUEUE);
}

void vmc_chardev_take_describe(VmcChardev *chardev, char *describe)
{
	g_free(chardev->describe);
	chardev->describe = describe;
}

void vmc_chardev_free(VmcChardev *chardev)
{
	if (chardev == NULL)
		return;
	g_return_if_fail(chardev->busy == 0);

	chardev->events = NULL;
	chardev->class->free(chardev);
	g_clear_handle_id(&chardev->deferred, g_source_remove);
	g_clear_handle_id(&chardev->timer, g_source_remove);
	g_clear_error(&chardev->reason);
	g_clear_error(&chardev->failure);
	vmc_buf_clear(&chardev->out);
	g_free(chardev->id);
	g_free(chardev->describe);
	g_free(chardev);
}

const char *vmc_chardev_id(const VmcChardev *chardev)
{
	g_return_val_if_fail(chardev != NULL, NULL);

	return chardev->id;
}

const char *vmc_chardev_describe(const VmcChardev *chardev)
{
	g_return_val_if_fail(chardev != NULL, NULL);

	return chardev->describe;
}

/* ---- What is wanted of the backend ---- */

static void defer(VmcChardev *chardev, unsigned due)
{
	GSource *source;

	chardev->due |= due;
	if (chardev->deferred != 0)
		return;

	/* As early as input from anyone, or a busy device would hold it up. */
	source = g_idle_source_new();
	g_source_set_priority(source, G_PRIORITY_DEFAULT);
	g_source_set_callback(source, tell_deferred, chardev, NULL);
	chardev->deferred = g_source_attach(source, NULL);
	g_source_unref(source);
}

static bool is_live(const VmcChardev *chardev)
{
	return chardev->state == VMC_CHARDEV_UP || chardev->state == VMC_CHARDEV_ENDING;
}

static bool user_reads(const VmcChardev *chardev)
{
	return chardev->events != NULL && chardev->events->readable != NULL && chardev->told &&
	       !chardev->paused && !chardev->held;
}

static void want_read(VmcChardev *chardev, bool wanted)
{
	if (chardev->reading == wanted)
		return;
	chardev->reading = wanted;
	chardev->class->want_read(chardev, wanted);
}

static void want_write(VmcChardev *chardev, bool wanted)
{
	if (chardev->writing == wanted)
		return;
	chardev->writing = wanted;
	chardev->class->want_write(chardev, wanted);
}

/* Asks for input as the user takes it; other states ask for themselves. */
static void follow_user(VmcChardev *chardev)
{
	if (is_live(chardev))
		want_read(chardev, user_reads(chardev));
	if (chardev->state == VMC_CHARDEV_ENDING && user_reads(chardev))
		defer(chardev, DUE_READABLE);
}

/* ---- How a conversation ends ---- */

/* It is over: nothing moves any more, `closed` follows. Takes `reason`, which
 * counts if there was none before. */
static void finish_over(VmcChardev *chardev, GError *reason)
{
	if (chardev->reason == NULL)
		chardev->reason = reason;
	else
		g_clear_error(&reason);

	chardev->state = VMC_CHARDEV_OVER;
	g_clear_handle_id(&chardev->timer, g_source_remove);
	want_read(chardev, false);
	want_write(chardev, false);
	vmc_buf_clear(&chardev->out);
	chardev->high = false;
	chardev->due &= ~(unsigned)(DUE_OPENED | DUE_READABLE | DUE_WRITABLE | DUE_LINGER);
	defer(chardev, DUE_CLOSED);
}

/* Output broke. What the other side sent before is still worth reading. */
static void output_broke(VmcChardev *chardev, GError *reason)
{
	if (chardev->state != VMC_CHARDEV_UP || chardev->events == NULL ||
	    chardev->events->readable == NULL) {
		finish_over(chardev, reason);
		return;
	}

	chardev->state = VMC_CHARDEV_ENDING;
	chardev->reason = reason;
	want_write(chardev, false);
	vmc_buf_clear(&chardev->out);
	/* Who stopped at the high mark reads what is left only when told to go on. */
	if (chardev->high)
		defer(chardev, DUE_WRITABLE);
	follow_user(chardev);
}

static gboolean time_is_up(void *data)
{
	VmcChardev *chardev = data;

	chardev->timer = 0;
	finish_over(chardev, NULL);
	return G_SOURCE_REMOVE;
}

static void start_timer(VmcChardev *chardev, unsigned seconds)
{
	g_clear_handle_id(&chardev->timer, g_source_remove);
	chardev->timer = g_timeout_add(seconds * 1000, time_is_up, chardev);
}

/* The queue is sent. A stream closed with input unread is reset, and the reset
 * may overtake the last bytes: so the other side closes first, if it will. */
static void start_lingering(VmcChardev *chardev)
{
	if (chardev->state != VMC_CHARDEV_FLUSHING)
		return;
	if (chardev->class->finish == NULL || !chardev->reading) {
		finish_over(chardev, NULL);
		return;
	}
	chardev->state = VMC_CHARDEV_LINGERING;
	chardev->class->finish(chardev);
	start_timer(chardev, VMC_CHARDEV_LINGER_SECONDS);
}

void vmc_chardev_disconnect(VmcChardev *chardev, bool flush, const char *because)
{
	bool broken;

	g_return_if_fail(chardev != NULL && because != NULL);

	if (!is_live(chardev))
		return;

	broken = chardev->state == VMC_CHARDEV_ENDING;
	g_clear_error(&chardev->reason);
	chardev->reason = g_error_new_literal(VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_USER, because);
	if (!flush || broken) {
		finish_over(chardev, NULL);
		return;
	}

	chardev->state = VMC_CHARDEV_FLUSHING;
	chardev->high = false;
	chardev->due &= ~(unsigned)(DUE_OPENED | DUE_READABLE | DUE_WRITABLE);
	want_read(chardev, true);
	start_timer(chardev, VMC_CHARDEV_FLUSH_SECONDS);
	if (vmc_buf_span(&chardev->out).len == 0)
		defer(chardev, DUE_LINGER);
}

/* Input that comes while the user is leaving. Reading it keeps the other side
 * from being stuck in a write of its own, and finds its end. */
static void discard_input(VmcChardev *chardev)
{
	uint8_t scratch[DISCARD_SIZE];
	gssize n = 0;

	for (unsigned i = 0; i < DISCARD_TIMES; i++) {
		n = chardev->class->read(chardev, scratch, sizeof(scratch), NULL);
		if (n <= 0)
			break;
		vmc_wipe(scratch, (size_t)n);
	}
	if (n >= 0)
		return;

	/* It may have closed one direction only and read on: send the rest. */
	if (chardev->state == VMC_CHARDEV_FLUSHING && vmc_buf_span(&chardev->out).len > 0)
		want_read(chardev, false);
	else
		finish_over(chardev, NULL);
}

/* ---- Telling the user ---- */

static void tell_closed(VmcChardev *chardev)
{
	g_autoptr(GError) reason = g_steal_pointer(&chardev->reason);
	bool told = chardev->told;

	/* First the backend: a user that starts anew in `closed` finds it ready. */
	g_debug("chardev %s: closed: %s", chardev->id, reason->message);
	chardev->state = VMC_CHARDEV_DOWN;
	chardev->told = false;
	chardev->class->hangup(chardev);
	if (told && chardev->events != NULL && chardev->events->closed != NULL)
		chardev->events->closed(chardev->user, reason);
}

static void tell_opened(VmcChardev *chardev)
{
	if (chardev->events == NULL || chardev->told || !is_live(chardev))
		return;
	g_debug("chardev %s: opened", chardev->id);
	chardev->told = true;
	if (chardev->events->opened != NULL)
		chardev->events->opened(chardev->user);
	follow_user(chardev);
}

static void tell_readable(VmcChardev *chardev)
{
	if (chardev->state == VMC_CHARDEV_FLUSHING || chardev->state == VMC_CHARDEV_LINGERING) {
		discard_input(chardev);
		return;
	}
	if (!is_live(chardev) || !user_reads(chardev))
		return;
	chardev->budget = VMC_CHARDEV_READ_BUDGET;
	chardev->events->readable(chardev->user);
	/* A backend that is not driven by the kernel looks if there is more. */
	if (chardev->reading)
		chardev->class->want_read(chardev, true);
}

/* The queue is short again: who stopped producing may go on. */
static void leave_high_mark(VmcChardev *chardev)
{
	if (!chardev->high)
		return;
	chardev->high = false;
	if (chardev->told && chardev->events != NULL && chardev->events->writable != NULL)
		chardev->events->writable(chardev->user);
}

/* Sends of the queue what goes now; tells of the low mark. */
static void send_queue(VmcChardev *chardev)
{
	VmcSpan rest = vmc_buf_span(&chardev->out);

	while (rest.len > 0) {
		GError *error = NULL;
		gssize n = chardev->class->write(chardev, rest, &error);

		if (n < 0) {
			output_broke(chardev, error);
			return;
		}
		if (n == 0)
			break;
		vmc_buf_consume(&chardev->out, (size_t)n);
		rest = vmc_buf_span(&chardev->out);
	}

	want_write(chardev, rest.len > 0);
	if (rest.len == 0 && chardev->state == VMC_CHARDEV_FLUSHING)
		start_lingering(chardev);
	else if (rest.len <= VMC_CHARDEV_LOW_MARK)
		leave_high_mark(chardev);
}

static void tell_writable(VmcChardev *chardev)
{
	if (chardev->state == VMC_CHARDEV_UP || chardev->state == VMC_CHARDEV_FLUSHING)
		send_queue(chardev);
	else if (chardev->state == VMC_CHARDEV_ENDING)
		leave_high_mark(chardev);
}

static void tell_failed(VmcChardev *chardev)
{
	g_autoptr(GError) failure = NULL;

	/* Without a user it is kept for the first one. */
	if (chardev->events == NULL)
		return;
	failure = g_steal_pointer(&chardev->failure);
	if (failure != NULL && chardev->events->failed != NULL)
		chardev->events->failed(chardev->user, failure, chardev->again);
}

static void tell(VmcChardev *chardev, void (*what)(VmcChardev *chardev))
{
	chardev->busy++;
	what(chardev);
	chardev->busy--;
}

static gboolean tell_deferred(void *data)
{
	static const struct {
		unsigned due;
		void (*tell)(VmcChardev *chardev);
	} steps[] = {
		{ DUE_FAILED, tell_failed },     { DUE_CLOSED, tell_closed },
		{ DUE_OPENED, tell_opened },     { DUE_READABLE, tell_readable },
		{ DUE_WRITABLE, tell_writable }, { DUE_LINGER, start_lingering },
	};
	VmcChardev *chardev = data;
	unsigned due = chardev->due;

	/* What becomes due in the course of this waits for the next turn, so that
	 * two devices that feed each other cannot keep the loop. */
	chardev->deferred = 0;
	chardev->due = 0;
	for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
		if (due & steps[i].due)
			tell(chardev, steps[i].tell);
	}
	return G_SOURCE_REMOVE;
}

static void set_there(VmcChardev *chardev, bool there)
{
	if (chardev->there == there)
		return;
	chardev->there = there;
	if (chardev->class->attached != NULL)
		chardev->class->attached(chardev, there);
}

bool vmc_chardev_set_user(VmcChardev *chardev, const VmcChardevEvents *events, void *user)
{
	g_return_val_if_fail(chardev != NULL, false);

	if (events != NULL && chardev->events != NULL)
		return false;

	chardev->events = events;
	chardev->user = user;
	chardev->told = false;
	chardev->paused = false;
	chardev->held = false;
	chardev->high = false;
	follow_user(chardev);
	set_there(chardev, events != NULL && !events->away);
	if (events != NULL && is_live(chardev))
		defer(chardev, DUE_OPENED);
	if (events != NULL && chardev->failure != NULL)
		defer(chardev, DUE_FAILED);
	return true;
}

void vmc_chardev_set_in_use_error(const VmcChardev *chardev, GError **error)
{
	g_set_error(error, VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_USER,
		    "chardev '%s' is in use already; give this one a chardev of its own",
		    chardev->id);
}

/* ---- The user's calls ---- */

bool vmc_chardev_is_open(const VmcChardev *chardev)
{
	g_return_val_if_fail(chardev != NULL, false);

	return is_live(chardev) && (chardev->told || chardev->events == NULL);
}

bool vmc_chardev_is_writable(const VmcChardev *chardev)
{
	g_return_val_if_fail(chardev != NULL, false);

	return chardev->state == VMC_CHARDEV_UP && vmc_chardev_is_open(chardev);
}

size_t vmc_chardev_read(VmcChardev *chardev, uint8_t *data, size_t len)
{
	GError *error = NULL;
	gssize n;

	g_return_val_if_fail(chardev != NULL && data != NULL && len > 0, 0);

	if (!vmc_chardev_is_open(chardev) || chardev->budget == 0)
		return 0;

	n = chardev->class->read(chardev, data, MIN(len, chardev->budget), &error);
	if (n < 0)
		finish_over(chardev, error);
	else if (n == 0 && chardev->state == VMC_CHARDEV_ENDING)
		finish_over(chardev, NULL);
	if (n <= 0)
		return 0;
	chardev->budget -= (size_t)n;
	return (size_t)n;
}

VmcWrite vmc_chardev_write(VmcChardev *chardev, VmcSpan bytes)
{
	size_t pending;
	size_t sent = 0;

	g_return_val_if_fail(chardev != NULL, VMC_WRITE_CLOSED);

	if (!vmc_chardev_is_writable(chardev))
		return VMC_WRITE_CLOSED;

	pending = vmc_chardev_pending(chardev);
	if (bytes.len > VMC_CHARDEV_MAX_QUEUE - pending)
		return VMC_WRITE_FULL;
	if (pending == 0 && bytes.len > 0) {
		GError *error = NULL;
		gssize n = chardev->class->write(chardev, bytes, &error);

		if (n < 0) {
			output_broke(chardev, error);
			return VMC_WRITE_CLOSED;
		}
		sent = (size_t)n;
	}
	if (sent < bytes.len) {
		vmc_buf_append(&chardev->out, vmc_span(bytes.data + sent, bytes.len - sent));
		want_write(chardev, true);
	}
	if (vmc_chardev_pending(chardev) > VMC_CHARDEV_HIGH_MARK)
		chardev->high = true;
	return chardev->high ? VMC_WRITE_HIGH : VMC_WRITE_OK;
}

bool vmc_chardev_is_smartcard_channel(const VmcChardev *chardev)
{
	g_return_val_if_fail(chardev != NULL, false);

	return chardev->smartcard_channel;
}

size_t vmc_chardev_pending(const VmcChardev *chardev)
{
	g_return_val_if_fail(chardev != NULL, 0);

	return vmc_buf_span(&chardev->out).len;
}

void vmc_chardev_pause(VmcChardev *chardev, bool paused)
{
	g_return_if_fail(chardev != NULL);

	chardev->paused = paused;
	follow_user(chardev);
}

void vmc_chardev_hold(VmcChardev *chardev, bool held)
{
	g_return_if_fail(chardev != NULL);

	chardev->held = held;
	follow_user(chardev);
	/* An end that it kept for the user is told now. */
	if (held && is_live(chardev))
		chardev->class->want_read(chardev, false);
}

void vmc_chardev_set_away(VmcChardev *chardev, bool away)
{
	g_return_if_fail(chardev != NULL);

	if (chardev->events != NULL)
		set_there(chardev, !away);
}

/* ---- The backends' calls ---- */

void vmc_chardev_emit_opened(VmcChardev *chardev)
{
	g_return_if_fail(chardev->state == VMC_CHARDEV_DOWN);

	chardev->state = VMC_CHARDEV_UP;
	chardev->told = false;
	chardev->budget = VMC_CHARDEV_READ_BUDGET;
	g_clear_error(&chardev->failure);
	/* The end of an attempt that failed is no news any more. */
	chardev->due &= ~(unsigned)DUE_FAILED;
	defer(chardev, DUE_OPENED);
}

bool vmc_chardev_accepts(const VmcChardev *chardev)
{
	return chardev->events != NULL && chardev->events->accepted != NULL;
}

void vmc_chardev_emit_accepted(VmcChardev *chardev, VmcChardev *connection)
{
	g_return_if_fail(vmc_chardev_accepts(chardev));

	g_debug("chardev %s: accepted %s", chardev->id, connection->describe);
	chardev->busy++;
	chardev->events->accepted(chardev->user, connection);
	chardev->busy--;
}

void vmc_chardev_emit_readable(VmcChardev *chardev)
{
	tell(chardev, tell_readable);
}

void vmc_chardev_defer_readable(VmcChardev *chardev)
{
	defer(chardev, DUE_READABLE);
}

void vmc_chardev_emit_writable(VmcChardev *chardev)
{
	tell(chardev, tell_writable);
}

void vmc_chardev_defer_writable(VmcChardev *chardev)
{
	defer(chardev, DUE_WRITABLE);
}

void vmc_chardev_emit_gone(VmcChardev *chardev, GError *reason)
{
	if (chardev->state == VMC_CHARDEV_DOWN || chardev->state == VMC_CHARDEV_OVER)
		g_error_free(reason);
	else
		finish_over(chardev, reason);
}

bool vmc_chardev_never_reads(const VmcChardev *chardev)
{
	return chardev->events != NULL && (chardev->events->readable == NULL || chardev->held);
}

void vmc_chardev_emit_failed(VmcChardev *chardev, GError *reason, unsigned again)
{
	g_clear_error(&chardev->failure);
	g_debug("chardev %s: %s; next attempt in %u ms (0: none)", chardev->id, reason->message,
		again);
	chardev->failure = reason;
	chardev->again = again;
	defer(chardev, DUE_FAILED);
}

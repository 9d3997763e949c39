/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * SpiceCoreInterface on the GLib loop: a watch and a timer are a GSource each,
 * changed in place, since the library turns them on and off with every message.
 */

#include "vmc/spice-core.h"

#include "vmc/keepalive.h"

struct SpiceWatch {
	GSource source;
	gpointer tag; /* of the descriptor; NULL while nothing is asked for */
	int fd;
	int mask;
	SpiceWatchFunc function;
	void *user;
};

struct SpiceTimer {
	GSource source;
	SpiceTimerFunc function;
	void *user;
};

/* ---- Watches ---- */

static gboolean watch_dispatch(GSource *source, GSourceFunc unused, gpointer data)
{
	SpiceWatch *watch = (SpiceWatch *)source;
	GIOCondition seen;
	int event = 0;

	(void)unused;
	(void)data;
	if (watch->tag == NULL)
		return G_SOURCE_CONTINUE;
	seen = g_source_query_unix_fd(source, watch->tag);
	if (seen & (G_IO_IN | G_IO_HUP | G_IO_ERR))
		event |= SPICE_WATCH_EVENT_READ;
	if (seen & (G_IO_OUT | G_IO_HUP | G_IO_ERR))
		event |= SPICE_WATCH_EVENT_WRITE;
	event &= watch->mask;
	if (event != 0)
		watch->function(watch->fd, event, watch->user);
	return G_SOURCE_CONTINUE;
}

static GSourceFuncs watch_functions = { .dispatch = watch_dispatch };

void vmc_spice_watch_set(SpiceWatch *watch, int mask)
{
	GIOCondition wanted = 0;

	if (mask == watch->mask)
		return;
	watch->mask = mask;
	if (mask & SPICE_WATCH_EVENT_READ)
		wanted |= G_IO_IN | G_IO_HUP | G_IO_ERR;
	if (mask & SPICE_WATCH_EVENT_WRITE)
		wanted |= G_IO_OUT | G_IO_HUP | G_IO_ERR;
	if (wanted != 0 && watch->tag != NULL)
		g_source_modify_unix_fd(&watch->source, watch->tag, wanted);
	else if (wanted != 0)
		watch->tag = g_source_add_unix_fd(&watch->source, watch->fd, wanted);
	else
		g_source_remove_unix_fd(&watch->source, g_steal_pointer(&watch->tag));
}

SpiceWatch *vmc_spice_watch_new(int fd, int mask, SpiceWatchFunc function, void *user)
{
	SpiceWatch *watch = (SpiceWatch *)g_source_new(&watch_functions, sizeof(SpiceWatch));

	watch->fd = fd;
	watch->function = function;
	watch->user = user;
	vmc_spice_watch_set(watch, mask);
	g_source_attach(&watch->source, NULL);
	return watch;
}

void vmc_spice_watch_free(SpiceWatch *watch)
{
	if (watch == NULL)
		return;
	g_source_destroy(&watch->source);
	g_source_unref(&watch->source);
}

/* The library's own time for a client that died is ten minutes and more; it sets
 * that before it watches a connection. */
static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc function, void *user)
{
	vmc_keepalive_set(fd);
	return vmc_spice_watch_new(fd, mask, function, user);
}

/* ---- Timers ---- */

static gboolean timer_dispatch(GSource *source, GSourceFunc unused, gpointer data)
{
	SpiceTimer *timer = (SpiceTimer *)source;

	(void)unused;
	(void)data;
	g_source_set_ready_time(source, -1);
	timer->function(timer->user);
	return G_SOURCE_CONTINUE;
}

static GSourceFuncs timer_functions = { .dispatch = timer_dispatch };

static SpiceTimer *timer_add(SpiceTimerFunc function, void *user)
{
	SpiceTimer *timer = (SpiceTimer *)g_source_new(&timer_functions, sizeof(SpiceTimer));

	timer->function = function;
	timer->user = user;
	g_source_attach(&timer->source, NULL);
	return timer;
}

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
	g_source_set_ready_time(&timer->source,
				g_get_monotonic_time() + (gint64)ms * G_TIME_SPAN_MILLISECOND);
}

static void timer_cancel(SpiceTimer *timer)
{
	g_source_set_ready_time(&timer->source, -1);
}

static void timer_remove(SpiceTimer *timer)
{
	if (timer == NULL)
		return;
	g_source_destroy(&timer->source);
	g_source_unref(&timer->source);
}

/* ---- Clients that come and go ---- */

static void channel_event(int event, SpiceChannelEventInfo *info)
{
	static const char *const words[] = {
		[SPICE_CHANNEL_EVENT_CONNECTED] = "connected",
		[SPICE_CHANNEL_EVENT_INITIALIZED] = "ready",
		[SPICE_CHANNEL_EVENT_DISCONNECTED] = "disconnected",
	};

	if (event < 0 || event >= (int)G_N_ELEMENTS(words) || words[event] == NULL)
		return;
	g_debug("SPICE client's channel %d of type %d: %s%s", info->id, info->type, words[event],
		info->flags & SPICE_CHANNEL_EVENT_FLAG_TLS ? ", TLS" : "");
}

SpiceCoreInterface vmc_spice_core = {
	.base.type = SPICE_INTERFACE_CORE,
	.base.description = "vscard's main loop",
	.base.major_version = SPICE_INTERFACE_CORE_MAJOR,
	.base.minor_version = SPICE_INTERFACE_CORE_MINOR,
	.timer_add = timer_add,
	.timer_start = timer_start,
	.timer_cancel = timer_cancel,
	.timer_remove = timer_remove,
	.watch_add = watch_add,
	.watch_update_mask = vmc_spice_watch_set,
	.watch_remove = vmc_spice_watch_free,
	.channel_event = channel_event,
};

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The thread and the queue into it. One source stands in the main context for
 * the whole queue: to post is to link an entry and set the source ready, which
 * wakes the thread if it sleeps, with no allocation on a command's way.
 */

#include "ccid/ifd-thread.h"

#include <gio/gio.h>
#include <pthread.h>
#include <signal.h>

/* Sources that are left when the last reader is closed, the end of an attempt
 * to connect that was cancelled, are given this many turns of the loop. */
#define LAST_TURNS 100

typedef enum Start {
	START_WAITING,
	START_RUNS,
	START_TAKEN, /* somebody else owns the default main context */
} Start;

static struct {
	unsigned users; /* guarded by the caller, see ifd_thread_use() */
	GThread *thread;
	GMainLoop *loop;

	GMutex lock; /* for what follows */
	GCond cond;
	Start start;
	GQueue queue; /* IfdWork */
	GSource *source;
} the;

/* ---- The queue's source ---- */

static IfdWork *take_first(void)
{
	IfdWork *work = NULL;
	GList *link;

	g_mutex_lock(&the.lock);
	link = g_queue_pop_head_link(&the.queue);
	if (link != NULL) {
		work = link->data;
		work->posted = false;
	}
	g_mutex_unlock(&the.lock);
	return work;
}

/* The ready time goes first: a post from now on sets it again. */
static gboolean dispatch(GSource *source, G_GNUC_UNUSED GSourceFunc callback,
			 G_GNUC_UNUSED gpointer data)
{
	IfdWork *work;

	g_source_set_ready_time(source, -1);
	while ((work = take_first()) != NULL)
		work->run(work->data);
	return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = { .dispatch = dispatch };

void ifd_thread_post(IfdWork *work)
{
	g_mutex_lock(&the.lock);
	if (!work->posted) {
		work->posted = true;
		work->link = (GList){ .data = work };
		g_queue_push_tail_link(&the.queue, &work->link);
		g_source_set_ready_time(the.source, 0);
	}
	g_mutex_unlock(&the.lock);
}

void ifd_thread_take_back(IfdWork *work)
{
	g_mutex_lock(&the.lock);
	if (work->posted)
		g_queue_unlink(&the.queue, &work->link);
	work->posted = false;
	g_mutex_unlock(&the.lock);
}

/* ---- Calls ---- */

typedef struct Call {
	IfdWork work;
	void (*run)(void *data);
	void *data;
	bool done;
} Call;

static void run_call(void *data)
{
	Call *call = data;

	call->run(call->data);
	g_mutex_lock(&the.lock);
	call->done = true;
	g_cond_broadcast(&the.cond);
	g_mutex_unlock(&the.lock);
}

void ifd_thread_call(void (*run)(void *data), void *data)
{
	Call call = { .run = run, .data = data };

	call.work.run = run_call;
	call.work.data = &call;
	ifd_thread_post(&call.work);
	g_mutex_lock(&the.lock);
	while (!call.done)
		g_cond_wait(&the.cond, &the.lock);
	g_mutex_unlock(&the.lock);
}

/* ---- The thread ---- */

static void say_start(Start start)
{
	g_mutex_lock(&the.lock);
	the.start = start;
	g_cond_broadcast(&the.cond);
	g_mutex_unlock(&the.lock);
}

static gpointer run_thread(G_GNUC_UNUSED gpointer data)
{
	GMainContext *context = g_main_context_default();

	/* Owned until the end, so that no other thread can run what is ours. */
	if (!g_main_context_acquire(context)) {
		say_start(START_TAKEN);
		return NULL;
	}
	say_start(START_RUNS);
	g_main_loop_run(the.loop);
	for (unsigned i = 0; i < LAST_TURNS && g_main_context_iteration(context, FALSE); i++)
		;
	g_main_context_release(context);
	return NULL;
}

/* Signals are pcscd's: none is taken in our thread, nor in those that GLib
 * starts from it. */
static GThread *start_without_signals(void)
{
	sigset_t all, before;
	GThread *thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	thread = g_thread_try_new("vscard", run_thread, NULL, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return thread;
}

static void clear(void)
{
	if (the.thread != NULL)
		g_thread_join(g_steal_pointer(&the.thread));
	g_source_destroy(the.source);
	g_clear_pointer(&the.source, g_source_unref);
	g_clear_pointer(&the.loop, g_main_loop_unref);
}

static bool start(GError **error)
{
	the.loop = g_main_loop_new(NULL, FALSE);
	the.source = g_source_new(&source_funcs, sizeof(GSource));
	g_source_set_name(the.source, "vscard requests");
	/* Saves two wake-ups of the loop for each dispatch; see vmc/socket.c. */
	g_source_set_can_recurse(the.source, TRUE);
	g_source_attach(the.source, NULL);
	the.start = START_WAITING;
	the.thread = start_without_signals();

	g_mutex_lock(&the.lock);
	while (the.thread != NULL && the.start == START_WAITING)
		g_cond_wait(&the.cond, &the.lock);
	g_mutex_unlock(&the.lock);
	if (the.thread != NULL && the.start == START_RUNS)
		return true;
	g_set_error_literal(
		error, G_IO_ERROR, G_IO_ERROR_FAILED,
		the.thread == NULL ?
			"no thread can be started" :
			"another part of this process runs GLib's default main context");
	clear();
	return false;
}

bool ifd_thread_use(GError **error)
{
	if (the.users == 0 && !start(error))
		return false;
	the.users++;
	return true;
}

static void quit(void *loop)
{
	g_main_loop_quit(loop);
}

void ifd_thread_unuse(void)
{
	g_return_if_fail(the.users > 0);

	if (--the.users > 0)
		return;
	ifd_thread_call(quit, the.loop);
	clear();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The loop, who runs it, and the queue into it. One source stands in the main
 * context for the whole queue: to post is to link an entry and set the source
 * ready, which wakes who sleeps there, with no allocation on a command's way.
 *
 * When a thread of pcscd's has left the loop, ours gives it a moment to come
 * back before it takes over; but at once if there is something to do.
 */

#include "ccid/ifd-thread.h"

#include <gio/gio.h>
#include <pthread.h>
#include <signal.h>

/* How long, in µs, the loop is nobody's after a command: longer than programs
 * take from one command to the next, not long to hear of a removed card. */
#define PAUSE_US 5000

/* Sources that are left when the last reader is closed, the end of an attempt
 * to connect that was cancelled, are given this many turns of the loop. */
#define LAST_TURNS 100

typedef enum Start {
	START_WAITING,
	START_RUNS,
	START_TAKEN, /* somebody else owns the default main context */
} Start;

/* Who runs the loop. */
typedef enum Driver {
	DRIVER_NONE,
	DRIVER_OURS,
	DRIVER_GUEST, /* a thread of pcscd's */
} Driver;

static struct {
	unsigned users; /* guarded by the caller, see ifd_thread_use() */
	GThread *thread;

	GMutex lock; /* for what follows */
	GCond cond;  /* a call is done, our thread has started or stepped back */
	GCond turn;  /* our thread may have the loop */
	Start start;
	Driver driver;
	unsigned waiting; /* threads that could not enter */
	bool wanted;      /* a guest waits for our thread to step back */
	bool rests;       /* our thread waits for `turn` without a limit */
	bool quit;
	gint64 left;  /* when a guest left last */
	GQueue queue; /* IfdWork */
	GSource *source;
	GSource *timer; /* for ifd_thread_turn() */
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
		if (the.driver == DRIVER_NONE)
			g_cond_signal(&the.turn);
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

/* ---- Guests ---- */

/* Under the lock: must the loop be run, whoever was in it just now? */
static bool has_to_go_on(void)
{
	return the.quit || the.waiting > 0 || the.queue.length > 0;
}

bool ifd_thread_enter(void)
{
	bool ok;

	g_mutex_lock(&the.lock);
	if (the.driver == DRIVER_OURS && !the.wanted) {
		the.wanted = true;
		g_main_context_wakeup(NULL);
		while (the.driver == DRIVER_OURS)
			g_cond_wait(&the.cond, &the.lock);
		the.wanted = false;
	}
	/* Owned, so that sources are set without waking the loop for them. */
	ok = the.driver == DRIVER_NONE && g_main_context_acquire(NULL);
	if (ok)
		the.driver = DRIVER_GUEST;
	else
		the.waiting++;
	if (the.driver == DRIVER_NONE)
		g_cond_signal(&the.turn);
	g_mutex_unlock(&the.lock);
	return ok;
}

void ifd_thread_waits_no_more(void)
{
	g_mutex_lock(&the.lock);
	the.waiting--;
	g_mutex_unlock(&the.lock);
}

static gboolean time_is_up(GSource *source, G_GNUC_UNUSED GSourceFunc callback,
			   G_GNUC_UNUSED gpointer data)
{
	g_source_set_ready_time(source, -1);
	return G_SOURCE_CONTINUE;
}

static GSourceFuncs timer_funcs = { .dispatch = time_is_up };

void ifd_thread_turn(gint64 until)
{
	if (g_source_get_ready_time(the.timer) != until)
		g_source_set_ready_time(the.timer, until);
	g_main_context_iteration(NULL, TRUE);
}

void ifd_thread_leave(void)
{
	g_main_context_release(NULL);
	g_mutex_lock(&the.lock);
	the.driver = DRIVER_NONE;
	the.left = g_get_monotonic_time();
	if (the.rests || has_to_go_on())
		g_cond_signal(&the.turn);
	g_mutex_unlock(&the.lock);
}

/* ---- Our thread ---- */

/* Under the lock: is the loop ours to take? If it will be, `*until` says when. */
static bool is_our_turn(gint64 *until)
{
	*until = 0;
	if (the.driver != DRIVER_NONE || the.wanted)
		return false;
	*until = the.left + PAUSE_US;
	return has_to_go_on() || g_get_monotonic_time() >= *until;
}

/* Waits for its turn; false when there will be none any more. */
static bool take_loop(void)
{
	gint64 until;
	bool goes_on;

	g_mutex_lock(&the.lock);
	while (!is_our_turn(&until)) {
		the.rests = until == 0;
		if (the.rests)
			g_cond_wait(&the.turn, &the.lock);
		else
			g_cond_wait_until(&the.turn, &the.lock, until);
		the.rests = false;
	}
	goes_on = !the.quit;
	the.driver = DRIVER_OURS;
	g_mutex_unlock(&the.lock);
	return goes_on;
}

static void give_loop(void)
{
	g_mutex_lock(&the.lock);
	the.driver = DRIVER_NONE;
	g_cond_broadcast(&the.cond);
	g_mutex_unlock(&the.lock);
}

static bool is_wanted(void)
{
	bool wanted;

	g_mutex_lock(&the.lock);
	wanted = the.wanted || the.quit;
	g_mutex_unlock(&the.lock);
	return wanted;
}

static void say_start(Start start)
{
	g_mutex_lock(&the.lock);
	the.start = start;
	g_cond_broadcast(&the.cond);
	g_mutex_unlock(&the.lock);
}

static gpointer run_thread(G_GNUC_UNUSED gpointer data)
{
	if (!g_main_context_acquire(NULL)) {
		say_start(START_TAKEN);
		return NULL;
	}
	g_main_context_release(NULL);
	say_start(START_RUNS);
	while (take_loop()) {
		g_main_context_acquire(NULL);
		while (!is_wanted())
			g_main_context_iteration(NULL, TRUE);
		g_main_context_release(NULL);
		give_loop();
	}
	for (unsigned i = 0; i < LAST_TURNS && g_main_context_iteration(NULL, FALSE); i++)
		;
	give_loop();
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

static GSource *add_source(GSourceFuncs *funcs, const char *name)
{
	GSource *source = g_source_new(funcs, sizeof(GSource));

	g_source_set_name(source, name);
	/* Saves two wake-ups of the loop for each dispatch; see vmc/socket.c. */
	g_source_set_can_recurse(source, TRUE);
	g_source_attach(source, NULL);
	return source;
}

static void drop_source(GSource **source)
{
	g_source_destroy(*source);
	g_clear_pointer(source, g_source_unref);
}

/* With the thread gone or never there; no guest comes any more. */
static void clear(void)
{
	if (the.thread != NULL)
		g_thread_join(g_steal_pointer(&the.thread));
	g_mutex_lock(&the.lock);
	drop_source(&the.source);
	drop_source(&the.timer);
	the.quit = false;
	g_mutex_unlock(&the.lock);
}

static bool start(GError **error)
{
	the.source = add_source(&source_funcs, "vscard requests");
	the.timer = add_source(&timer_funcs, "vscard deadline");
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

static void quit(G_GNUC_UNUSED void *data)
{
	g_mutex_lock(&the.lock);
	the.quit = true;
	g_cond_signal(&the.turn);
	g_mutex_unlock(&the.lock);
}

void ifd_thread_unuse(void)
{
	g_return_if_fail(the.users > 0);

	if (--the.users > 0)
		return;
	ifd_thread_call(quit, NULL);
	clear();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What was told of each reader is kept, and the difference told. A card that
 * was replaced while nobody looked is known by pcscd's count of events.
 */

#include "vscard/pcsc-monitor.h"

#include <string.h>

#include "vscard/pcsc-clients.h"
#include "vscard/pcsc-service.h"

/* What SCardGetStatusChange() takes. */
#define READERS_MAX PCSCLITE_MAX_READERS_CONTEXTS
/* The name that stands for readers that come and go. */
#define PNP "\\\\?PnP?\\Notification"
/* A reader that comes between the listing and the wait is not noticed by the
 * wait: so the first wait after a change of readers is short, and each ends
 * about when libpcsclite itself looks around. */
#define SETTLE_MS 1000u
#define WAIT_MS 60000u
/* SCardCancel() does nothing to a thread that is about to wait: it is said
 * again until it is heard. */
#define CANCEL_EVERY_MS 20
/* A pcscd that does not answer must not keep the program. */
#define STOP_MS 2000

/* What was told of a reader. */
typedef struct Seen {
	char *name;
	DWORD state; /* SCARD_STATE_..., with the count of events */
	bool present;
	bool used, exclusive;
} Seen;

struct VscPcscMonitor {
	GMutex lock;
	GCond over;
	bool stopping, ended; /* under lock */
	bool has_context;     /* under lock: `context` may be cancelled */
	SCARDCONTEXT context;
	void (*changed)(void *user, const VscPcscChange *change);
	void *user;

	/* The thread's */
	VscPcscService *service;
	GPtrArray *seen; /* of Seen */
	bool served;     /* SERVICE was told, or NO_SERVICE */
	bool told;
	bool settled;
};

/* ---- Telling ---- */

static void tell(VscPcscMonitor *monitor, const VscPcscChange *change)
{
	g_mutex_lock(&monitor->lock);
	if (!monitor->stopping)
		monitor->changed(monitor->user, change);
	g_mutex_unlock(&monitor->lock);
}

static void tell_kind(VscPcscMonitor *monitor, VscPcscChangeKind kind, const char *name)
{
	tell(monitor, &(VscPcscChange){ .kind = kind, .name = name });
}

static void tell_service(VscPcscMonitor *monitor, bool served)
{
	if (monitor->told && monitor->served == served)
		return;
	monitor->told = true;
	monitor->served = served;
	tell_kind(monitor, served ? VSC_PCSC_SERVICE : VSC_PCSC_NO_SERVICE, NULL);
}

static void tell_settled(VscPcscMonitor *monitor)
{
	if (!monitor->settled)
		tell_kind(monitor, VSC_PCSC_SETTLED, NULL);
	monitor->settled = true;
}

static void seen_free(gpointer data)
{
	Seen *seen = data;

	g_free(seen->name);
	g_free(seen);
}

static bool is_stopping(VscPcscMonitor *monitor)
{
	bool stopping;

	g_mutex_lock(&monitor->lock);
	stopping = monitor->stopping;
	g_mutex_unlock(&monitor->lock);
	return stopping;
}

/* ---- Readers ---- */

static Seen *find(VscPcscMonitor *monitor, const char *name)
{
	for (guint i = 0; i < monitor->seen->len; i++) {
		Seen *seen = monitor->seen->pdata[i];

		if (strcmp(seen->name, name) == 0)
			return seen;
	}
	return NULL;
}

static bool is_listed(const char *names, const char *name)
{
	for (; *names != '\0'; names += strlen(names) + 1) {
		if (strcmp(names, name) == 0)
			return true;
	}
	return false;
}

static void reader_gone(VscPcscMonitor *monitor, guint i)
{
	Seen *seen = monitor->seen->pdata[i];

	tell_kind(monitor, VSC_PCSC_READER_GONE, seen->name);
	g_ptr_array_remove_index(monitor->seen, i);
}

/* Compares with the readers there are. True if any came or went. */
static bool compare(VscPcscMonitor *monitor, const char *names)
{
	bool changed = false;

	for (guint i = monitor->seen->len; i-- > 0;) {
		if (is_listed(names, ((Seen *)monitor->seen->pdata[i])->name))
			continue;
		reader_gone(monitor, i);
		changed = true;
	}
	for (const char *name = names; *name != '\0'; name += strlen(name) + 1) {
		Seen *seen;

		if (find(monitor, name) != NULL || monitor->seen->len == READERS_MAX)
			continue;
		seen = g_new0(Seen, 1);
		seen->name = g_strdup(name);
		seen->state = SCARD_STATE_UNAWARE;
		g_ptr_array_add(monitor->seen, seen);
		tell_kind(monitor, VSC_PCSC_READER, name);
		changed = true;
	}
	return changed;
}

static LONG list_readers(VscPcscMonitor *monitor, bool *changed)
{
	char *names = NULL;
	DWORD len = SCARD_AUTOALLOCATE;
	LONG error = SCardListReaders(monitor->context, NULL, (LPSTR)&names, &len);

	if (error == SCARD_E_NO_READERS_AVAILABLE) {
		*changed = compare(monitor, "");
		return SCARD_S_SUCCESS;
	}
	if (error == SCARD_S_SUCCESS) {
		*changed = compare(monitor, names);
		SCardFreeMemory(monitor->context, names);
	}
	return error;
}

/* ---- Cards ---- */

static void take_card(VscPcscMonitor *monitor, Seen *seen, const SCARD_READERSTATE *state)
{
	bool present = (state->dwEventState & SCARD_STATE_PRESENT) != 0;
	bool another = seen->state >> 16 != state->dwEventState >> 16;

	if (seen->present && (!present || another))
		tell_kind(monitor, VSC_PCSC_CARD_GONE, seen->name);
	if (present && (!seen->present || another))
		tell(monitor, &(VscPcscChange){ .kind = VSC_PCSC_CARD,
						.name = seen->name,
						.atr = vmc_span(state->rgbAtr,
								MIN(state->cbAtr, VSC_ATR_MAX)) });
	seen->present = present;
}

static void take_sharing(VscPcscMonitor *monitor, Seen *seen, DWORD state)
{
	bool exclusive = (state & SCARD_STATE_EXCLUSIVE) != 0;
	bool used = exclusive || (state & SCARD_STATE_INUSE) != 0;

	if (used != seen->used || exclusive != seen->exclusive)
		tell(monitor, &(VscPcscChange){ .kind = VSC_PCSC_SHARING,
						.name = seen->name,
						.used = used,
						.exclusive = exclusive });
	seen->used = used;
	seen->exclusive = exclusive;
}

/* One wait. Success: something changed, or the time is over. */
static LONG wait_for_change(VscPcscMonitor *monitor, DWORD ms)
{
	SCARD_READERSTATE states[READERS_MAX] = { 0 };
	guint n = monitor->seen->len;
	LONG error;

	for (guint i = 0; i < n; i++) {
		const Seen *seen = monitor->seen->pdata[i];

		states[i].szReader = seen->name;
		states[i].dwCurrentState = seen->state;
	}
	/* With a full house no reader can come, and one that goes is seen. */
	if (n < READERS_MAX)
		states[n].szReader = PNP;
	error = SCardGetStatusChange(monitor->context, ms, states, MIN(n + 1, READERS_MAX));
	if (error == SCARD_E_TIMEOUT || error == SCARD_E_UNKNOWN_READER)
		return SCARD_S_SUCCESS;
	if (error != SCARD_S_SUCCESS)
		return error;
	for (guint i = 0; i < n; i++) {
		Seen *seen = monitor->seen->pdata[i];

		take_card(monitor, seen, &states[i]);
		take_sharing(monitor, seen, states[i].dwEventState);
		seen->state = states[i].dwEventState & ~(DWORD)SCARD_STATE_CHANGED;
	}
	tell_settled(monitor);
	return SCARD_S_SUCCESS;
}

/* ---- The thread ---- */

static bool begin(VscPcscMonitor *monitor)
{
	SCARDCONTEXT context;
	bool ok =
		SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) == SCARD_S_SUCCESS;

	if (!ok)
		return false;
	vsc_pcsc_clients_joined();
	g_mutex_lock(&monitor->lock);
	monitor->context = context;
	monitor->has_context = true;
	g_mutex_unlock(&monitor->lock);
	vsc_pcsc_service_found(monitor->service);
	tell_service(monitor, true);
	return true;
}

static void end(VscPcscMonitor *monitor)
{
	g_mutex_lock(&monitor->lock);
	monitor->has_context = false;
	g_mutex_unlock(&monitor->lock);
	vsc_pcsc_clients_leaving();
	SCardReleaseContext(monitor->context);
	for (guint i = monitor->seen->len; i-- > 0;)
		reader_gone(monitor, i);
}

/* As long as pcscd is there. */
static void watch(VscPcscMonitor *monitor)
{
	LONG error = SCARD_S_SUCCESS;

	while (error == SCARD_S_SUCCESS && !is_stopping(monitor)) {
		bool changed = false;

		error = list_readers(monitor, &changed);
		if (error == SCARD_S_SUCCESS && monitor->seen->len == 0)
			tell_settled(monitor);
		if (error == SCARD_S_SUCCESS)
			error = wait_for_change(monitor, changed ? SETTLE_MS : WAIT_MS);
	}
}

static void monitor_release(VscPcscMonitor *monitor)
{
	vsc_pcsc_service_free(monitor->service);
	g_ptr_array_unref(monitor->seen);
	g_mutex_clear(&monitor->lock);
	g_cond_clear(&monitor->over);
}

static void monitor_unref(VscPcscMonitor *monitor)
{
	g_atomic_rc_box_release_full(monitor, (GDestroyNotify)monitor_release);
}

static gpointer work(gpointer user)
{
	VscPcscMonitor *monitor = user;

	while (!is_stopping(monitor)) {
		if (begin(monitor)) {
			watch(monitor);
			end(monitor);
		}
		tell_service(monitor, false);
		tell_settled(monitor);
		if (!vsc_pcsc_service_wait(monitor->service))
			break;
	}
	g_mutex_lock(&monitor->lock);
	monitor->ended = true;
	g_cond_broadcast(&monitor->over);
	g_mutex_unlock(&monitor->lock);
	monitor_unref(monitor);
	return NULL;
}

/* ---- The other side ---- */

VscPcscMonitor *vsc_pcsc_monitor_new(void (*changed)(void *user, const VscPcscChange *change),
				     void *user)
{
	VscPcscMonitor *monitor = g_atomic_rc_box_new0(VscPcscMonitor);

	monitor->changed = changed;
	monitor->user = user;
	monitor->service = vsc_pcsc_service_new();
	monitor->seen = g_ptr_array_new_with_free_func(seen_free);
	g_mutex_init(&monitor->lock);
	g_cond_init(&monitor->over);
	g_thread_unref(g_thread_new("pcsc-monitor", work, g_atomic_rc_box_acquire(monitor)));
	return monitor;
}

/* A thread, for a pcscd that does not answer keeps SCardCancel() too. */
static gpointer cancel(gpointer user)
{
	VscPcscMonitor *monitor = user;

	g_mutex_lock(&monitor->lock);
	while (!monitor->ended) {
		SCARDCONTEXT context = monitor->context;
		bool has_context = monitor->has_context;

		g_mutex_unlock(&monitor->lock);
		if (has_context)
			SCardCancel(context);
		g_mutex_lock(&monitor->lock);
		if (!monitor->ended)
			g_cond_wait_until(&monitor->over, &monitor->lock,
					  g_get_monotonic_time() + CANCEL_EVERY_MS * 1000);
	}
	g_mutex_unlock(&monitor->lock);
	monitor_unref(monitor);
	return NULL;
}

void vsc_pcsc_monitor_free(VscPcscMonitor *monitor)
{
	gint64 until = g_get_monotonic_time() + STOP_MS * 1000;
	bool in_time = true;

	vsc_pcsc_service_wake(monitor->service);
	g_mutex_lock(&monitor->lock);
	monitor->stopping = true;
	g_thread_unref(g_thread_new("pcsc-cancel", cancel, g_atomic_rc_box_acquire(monitor)));
	while (in_time && !monitor->ended)
		in_time = g_cond_wait_until(&monitor->over, &monitor->lock, until);
	g_mutex_unlock(&monitor->lock);
	monitor_unref(monitor);
}

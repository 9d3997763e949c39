/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The worker has a context of pcsc-lite to itself, made when there is something
 * to do, and a connection to the card for as long as the card is powered on.
 *
 * Who else uses a reader is not told by pcsc-lite. One thing is known: a change
 * to exclusive use succeeds only if nobody else is connected, and in a transaction
 * nobody notices that it is tried. Who connects and leaves between two of those
 * has to be a client of pcscd (pcsc-clients.h).
 */

#include "vscard/pcsc-reader.h"

#include <string.h>
#include <winscard.h>

#include <reader.h>

#include "vscard/pcsc-clients.h"

_Static_assert(VSC_COMMAND_MAX <= MAX_BUFFER_SIZE_EXTENDED, "pcsc-lite takes every command");
_Static_assert(VSC_RESPONSE_MAX <= MAX_BUFFER_SIZE_EXTENDED, "and every response");

/* An event of the card's may be there before each try to begin. */
#define BEGIN_TRIES 3
/* So often the programs of others may come in between. */
#define RESET_TRIES 10
/* An attribute of a reader is not longer. */
#define ATTRIBUTE_MAX 256u

struct VscPcscReader {
	/* Of both sides */
	char *name;
	GAsyncQueue *jobs;
	void (*done)(void *user, VscPcscJob *job); /* NULL: nobody listens; under lock */
	void *user;
	GMutex lock;
	GCond over;
	bool ended; /* under lock */

	/* The worker's */
	VscShareMode mode;
	SCARDCONTEXT context;
	bool has_context;
	SCARDHANDLE card;
	bool connected;
	DWORD protocol;
	VscShare share;         /* if connected */
	bool alone;             /* nobody else was connected when the transaction ended */
	VscPcscClients clients; /* then */
	uint8_t *response;
};

/* ---- Jobs ---- */

VscPcscJob *vsc_pcsc_job_new(VscPcscJobKind kind, VmcSpan data)
{
	VscPcscJob *job = g_new0(VscPcscJob, 1);

	job->kind = kind;
	job->data = g_memdup2(data.data, data.len);
	job->len = data.len;
	return job;
}

static void job_take_data(VscPcscJob *job, VmcSpan data)
{
	vmc_wipe(job->data, job->len);
	g_free(job->data);
	job->data = g_memdup2(data.data, data.len);
	job->len = data.len;
}

void vsc_pcsc_job_free(VscPcscJob *job)
{
	job_take_data(job, vmc_span(NULL, 0));
	g_free(job->info.vendor);
	g_free(job->info.type);
	g_free(job->info.serial);
	g_free(job);
}

static bool is_awaited(const VscPcscJob *job)
{
	return job->token != VSC_TOKEN_NONE || job->kind == VSC_PCSC_DESCRIBE ||
	       job->kind == VSC_PCSC_PROBE;
}

static void job_done(VscPcscReader *reader, VscPcscJob *job)
{
	if (job->outcome != VSC_OUTCOME_OK)
		job_take_data(job, vmc_span(NULL, 0));
	g_mutex_lock(&reader->lock);
	if (reader->done != NULL && is_awaited(job))
		reader->done(reader->user, g_steal_pointer(&job));
	g_mutex_unlock(&reader->lock);
	if (job != NULL)
		vsc_pcsc_job_free(job);
}

/* ---- What pcsc-lite's errors mean ---- */

static void take_error(VscPcscJob *job, LONG error)
{
	switch ((DWORD)error) {
	case (DWORD)SCARD_W_RESET_CARD:
		job->outcome = VSC_OUTCOME_NO_CARD;
		job->finding = VSC_PCSC_LOST;
		break;
	case (DWORD)SCARD_W_REMOVED_CARD:
	case (DWORD)SCARD_E_NO_SMARTCARD:
		job->outcome = VSC_OUTCOME_NO_CARD;
		job->finding = VSC_PCSC_REMOVED;
		break;
	case (DWORD)SCARD_W_UNPOWERED_CARD:
	case (DWORD)SCARD_W_UNRESPONSIVE_CARD:
	case (DWORD)SCARD_W_UNSUPPORTED_CARD:
		job->outcome = VSC_OUTCOME_MUTE;
		break;
	case (DWORD)SCARD_E_SHARING_VIOLATION:
		job->outcome = VSC_OUTCOME_MUTE;
		job->finding = VSC_PCSC_BLOCKED;
		break;
	case (DWORD)SCARD_E_UNKNOWN_READER:
	case (DWORD)SCARD_E_READER_UNAVAILABLE:
	case (DWORD)SCARD_E_NO_SERVICE:
	case (DWORD)SCARD_E_SERVICE_STOPPED:
	case (DWORD)SCARD_E_INVALID_HANDLE:
	case (DWORD)SCARD_F_COMM_ERROR:
	case (DWORD)SCARD_W_SECURITY_VIOLATION: /* pcscd reset the connection */
		job->outcome = VSC_OUTCOME_NO_CARD;
		break;
	default:
		job->outcome = VSC_OUTCOME_FAILED;
		break;
	}
}

/* Errors after which the context is good for nothing. */
static bool is_service_gone(LONG error)
{
	return error == SCARD_E_NO_SERVICE || error == SCARD_E_SERVICE_STOPPED ||
	       error == SCARD_E_INVALID_HANDLE || error == SCARD_F_COMM_ERROR ||
	       error == SCARD_W_SECURITY_VIOLATION;
}

static void forget_context(VscPcscReader *reader)
{
	if (reader->has_context) {
		vsc_pcsc_clients_leaving();
		SCardReleaseContext(reader->context);
	}
	reader->has_context = reader->connected = false;
}

static LONG need_context(VscPcscReader *reader)
{
	LONG error;

	if (reader->has_context)
		return SCARD_S_SUCCESS;
	error = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &reader->context);
	reader->has_context = error == SCARD_S_SUCCESS;
	if (reader->has_context)
		vsc_pcsc_clients_joined();
	return error;
}

/* ---- Others ---- */

static DWORD share_mode(const VscPcscReader *reader)
{
	return reader->mode == VSC_SHARE_ALONE ? SCARD_SHARE_EXCLUSIVE : SCARD_SHARE_SHARED;
}

static LONG reconnect(VscPcscReader *reader, DWORD mode, DWORD what)
{
	return SCardReconnect(reader->card, mode, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, what,
			      &reader->protocol);
}

/* Is nobody else connected to the reader? In a transaction. */
static bool is_alone(VscPcscReader *reader)
{
	return reconnect(reader, SCARD_SHARE_EXCLUSIVE, SCARD_LEAVE_CARD) == SCARD_S_SUCCESS &&
	       reconnect(reader, SCARD_SHARE_SHARED, SCARD_LEAVE_CARD) == SCARD_S_SUCCESS;
}

/* Could anybody have used the card since the last transaction? */
static bool others_were_there(VscPcscReader *reader)
{
	VscPcscClients now;

	if (!vsc_share_asks(&reader->share) || !reader->alone)
		return true;
	now = vsc_pcsc_clients_see();
	return !vsc_pcsc_clients_none_between(&reader->clients, &now) || !is_alone(reader);
}

/* ---- Transactions ---- */

static gint64 now_ms(void)
{
	return g_get_monotonic_time() / 1000;
}

static LONG begin(VscPcscReader *reader)
{
	LONG error = SCardBeginTransaction(reader->card);

	if (error == SCARD_S_SUCCESS)
		vsc_share_begun(&reader->share, now_ms(), others_were_there(reader));
	return error;
}

static void end(VscPcscReader *reader)
{
	if (!reader->connected || !reader->share.open || reader->mode == VSC_SHARE_ALONE)
		return;
	if (vsc_share_asks(&reader->share)) {
		reader->clients = vsc_pcsc_clients_see();
		reader->alone = reader->clients.alone && is_alone(reader);
	}
	vsc_share_ended(&reader->share);
	/* What is wrong now is found out at the next command. */
	SCardEndTransaction(reader->card, SCARD_LEAVE_CARD);
}

/* ---- Power ---- */

/* A reset waits for the transactions of others, and fails if the next of them is
 * faster than pcscd. */
static void disconnect(VscPcscReader *reader, DWORD disposition)
{
	LONG error = SCARD_E_SHARING_VIOLATION;

	for (int i = 0; i < RESET_TRIES && error == SCARD_E_SHARING_VIOLATION; i++)
		error = reader->connected ? SCardDisconnect(reader->card, disposition) :
					    SCARD_S_SUCCESS;
	if (error == SCARD_E_SHARING_VIOLATION)
		SCardDisconnect(reader->card, SCARD_LEAVE_CARD);
	reader->connected = false;
}

/* A connection and, unless it is exclusive, a transaction on it. The resets of
 * others are of no interest to who is about to reset. */
static LONG take_card(VscPcscReader *reader)
{
	LONG error = need_context(reader);

	if (error == SCARD_S_SUCCESS && !reader->connected) {
		error = SCardConnect(reader->context, reader->name, share_mode(reader),
				     SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, &reader->card,
				     &reader->protocol);
		reader->connected = error == SCARD_S_SUCCESS;
		reader->share = (VscShare){ .mode = reader->mode };
	}
	if (error != SCARD_S_SUCCESS || reader->mode == VSC_SHARE_ALONE || reader->share.open)
		return error;
	error = SCardBeginTransaction(reader->card);
	for (int i = 0; i < BEGIN_TRIES && error == SCARD_W_RESET_CARD; i++) {
		reconnect(reader, share_mode(reader), SCARD_LEAVE_CARD);
		error = SCardBeginTransaction(reader->card);
	}
	reader->share.open = error == SCARD_S_SUCCESS;
	return error;
}

static LONG read_atr(VscPcscReader *reader, VscPcscJob *job)
{
	uint8_t atr[MAX_ATR_SIZE];
	DWORD len = sizeof(atr), state, name_len = 0;
	LONG error =
		SCardStatus(reader->card, NULL, &name_len, &state, &reader->protocol, atr, &len);

	if (error == SCARD_S_SUCCESS)
		job_take_data(job, vmc_span(atr, len));
	return error;
}

/* Cold or warm: `how` is SCARD_UNPOWER_CARD or SCARD_RESET_CARD. */
static void do_reset(VscPcscReader *reader, VscPcscJob *job, DWORD how)
{
	LONG error = take_card(reader);

	if (error == SCARD_S_SUCCESS)
		error = reconnect(reader, share_mode(reader), how);
	if (error == SCARD_S_SUCCESS)
		error = read_atr(reader, job);
	if (error != SCARD_S_SUCCESS) {
		take_error(job, error);
		disconnect(reader, SCARD_LEAVE_CARD);
		if (is_service_gone(error))
			forget_context(reader);
		return;
	}
	vsc_share_reset(&reader->share, reader->mode, now_ms());
	job->outcome = VSC_OUTCOME_OK;
	job->exchange = reader->protocol == SCARD_PROTOCOL_T0 ? VSC_EXCHANGE_T0 : VSC_EXCHANGE_APDU;
}

/* Reset, not unpowered: connections of others go on. pcscd itself takes the
 * power away when there are none. */
static void do_power_off(VscPcscReader *reader, VscPcscJob *job)
{
	disconnect(reader, SCARD_RESET_CARD);
	job->outcome = VSC_OUTCOME_OK;
}

/* ---- Commands ---- */

/* The response stays in the reader's buffer, and is to be wiped there. */
static LONG exchange(VscPcscReader *reader, VmcSpan command, VmcSpan *response)
{
	const SCARD_IO_REQUEST *pci =
		reader->protocol == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1;
	DWORD len = VSC_RESPONSE_MAX;
	LONG error = SCardTransmit(reader->card, pci, command.data, command.len, NULL,
				   reader->response, &len);

	*response = vmc_span(reader->response, error == SCARD_S_SUCCESS ? len : 0);
	return error;
}

static LONG replay(VscPcscReader *reader)
{
	VmcSpan response;
	LONG error = exchange(reader, vsc_share_replay(&reader->share), &response);

	vsc_share_replayed(&reader->share, response);
	vmc_wipe(reader->response, response.len);
	return error;
}

static LONG renew(VscPcscReader *reader)
{
	LONG error = reconnect(reader, share_mode(reader), SCARD_RESET_CARD);

	if (error == SCARD_S_SUCCESS)
		vsc_share_reset(&reader->share, reader->mode, now_ms());
	return error;
}

static LONG make_way(VscPcscReader *reader, VscShareStep step)
{
	switch (step) {
	case VSC_SHARE_BEGIN:
		return begin(reader);
	case VSC_SHARE_YIELD:
		end(reader);
		g_usleep(VSC_SHARE_YIELD_MS * 1000);
		break;
	case VSC_SHARE_REPLAY:
		return replay(reader);
	case VSC_SHARE_RENEW:
		return renew(reader);
	case VSC_SHARE_LOST:
		return SCARD_W_RESET_CARD;
	case VSC_SHARE_PASS:
		break;
	}
	return SCARD_S_SUCCESS;
}

static LONG pass_command(VscPcscReader *reader, VscPcscJob *job)
{
	VmcSpan command = vmc_span(job->data, job->len);
	VmcSpan response;
	LONG error = exchange(reader, command, &response);

	if (error != SCARD_S_SUCCESS)
		return error;
	vsc_share_after(&reader->share, now_ms(), command, response);
	job->outcome = response.len >= 2 ? VSC_OUTCOME_OK : VSC_OUTCOME_FAILED;
	job_take_data(job, response);
	vmc_wipe(reader->response, response.len);
	return SCARD_S_SUCCESS;
}

static void do_transmit(VscPcscReader *reader, VscPcscJob *job)
{
	VmcSpan command = vmc_span(job->data, job->len);
	LONG error = SCARD_S_SUCCESS;
	VscShareStep step;

	job->outcome = VSC_OUTCOME_NOT_POWERED;
	if (!reader->connected)
		return;
	while (error == SCARD_S_SUCCESS &&
	       (step = vsc_share_before(&reader->share, now_ms(), command)) != VSC_SHARE_PASS)
		error = make_way(reader, step);
	if (g_atomic_int_get(&job->begun) == VSC_PCSC_CANCELLED) {
		job->outcome = VSC_OUTCOME_CANCELLED;
		return;
	}
	if (error == SCARD_S_SUCCESS)
		error = pass_command(reader, job);
	if (error == SCARD_S_SUCCESS)
		return;
	take_error(job, error);
	if (job->finding != VSC_PCSC_NOTHING)
		disconnect(reader, SCARD_LEAVE_CARD);
	if (is_service_gone(error))
		forget_context(reader);
}

/* ---- What the reader is ---- */

static void do_probe(VscPcscReader *reader, VscPcscJob *job)
{
	LONG error = need_context(reader);
	SCARDHANDLE card;
	DWORD protocol;

	job->outcome = VSC_OUTCOME_OK;
	if (error == SCARD_S_SUCCESS && !reader->connected)
		error = SCardConnect(reader->context, reader->name, share_mode(reader),
				     SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, &card, &protocol);
	if (error != SCARD_S_SUCCESS)
		take_error(job, error);
	else if (!reader->connected)
		SCardDisconnect(card, SCARD_LEAVE_CARD);
	if (is_service_gone(error))
		forget_context(reader);
}

static char *attribute(SCARDHANDLE card, DWORD which)
{
	uint8_t value[ATTRIBUTE_MAX];
	DWORD len = sizeof(value);

	if (SCardGetAttrib(card, which, value, &len) != SCARD_S_SUCCESS)
		return NULL;
	len = (DWORD)strnlen((char *)value, MIN(len, sizeof(value)));
	return len > 0 ? g_utf8_make_valid((char *)value, (gssize)len) : NULL;
}

static void do_describe(VscPcscReader *reader, VscPcscJob *job)
{
	SCARDHANDLE card;
	DWORD protocol;
	LONG error = need_context(reader);

	job->outcome = VSC_OUTCOME_OK;
	if (error == SCARD_S_SUCCESS)
		error = SCardConnect(reader->context, reader->name, SCARD_SHARE_DIRECT, 0, &card,
				     &protocol);
	if (is_service_gone(error))
		forget_context(reader);
	if (error != SCARD_S_SUCCESS)
		return;
	job->info.vendor = attribute(card, SCARD_ATTR_VENDOR_NAME);
	job->info.type = attribute(card, SCARD_ATTR_VENDOR_IFD_TYPE);
	job->info.serial = attribute(card, SCARD_ATTR_VENDOR_IFD_SERIAL_NO);
	SCardDisconnect(card, SCARD_LEAVE_CARD);
}

/* ---- The thread ---- */

static void serve(VscPcscReader *reader, VscPcscJob *job)
{
	if (!g_atomic_int_compare_and_exchange(&job->begun, VSC_PCSC_QUEUED, VSC_PCSC_BEGUN)) {
		job->outcome = VSC_OUTCOME_CANCELLED;
		return;
	}
	switch (job->kind) {
	case VSC_PCSC_POWER_ON:
		do_reset(reader, job, SCARD_UNPOWER_CARD);
		break;
	case VSC_PCSC_RESET:
		do_reset(reader, job, SCARD_RESET_CARD);
		break;
	case VSC_PCSC_POWER_OFF:
		do_power_off(reader, job);
		break;
	case VSC_PCSC_TRANSMIT:
		do_transmit(reader, job);
		break;
	case VSC_PCSC_DESCRIBE:
		do_describe(reader, job);
		break;
	case VSC_PCSC_PROBE:
		do_probe(reader, job);
		break;
	case VSC_PCSC_DROP:
		disconnect(reader, SCARD_LEAVE_CARD);
		break;
	case VSC_PCSC_WITHDRAW:
	case VSC_PCSC_STOP:
		disconnect(reader, SCARD_RESET_CARD);
		break;
	}
}

/* The next job; NULL when the transaction's time is over before one comes. */
static VscPcscJob *next_job(VscPcscReader *reader)
{
	gint64 deadline = reader->connected ? vsc_share_deadline(&reader->share) : G_MAXINT64;
	gint64 left;

	if (deadline == G_MAXINT64)
		return g_async_queue_pop(reader->jobs);
	left = deadline - now_ms();
	if (left <= 0)
		return g_async_queue_try_pop(reader->jobs);
	return g_async_queue_timeout_pop(reader->jobs, (guint64)left * 1000);
}

static void reader_clear(gpointer data)
{
	VscPcscReader *reader = data;

	g_async_queue_unref(reader->jobs);
	g_mutex_clear(&reader->lock);
	g_cond_clear(&reader->over);
	g_free(reader->response);
	g_free(reader->name);
}

static gpointer work(gpointer user)
{
	VscPcscReader *reader = user;
	bool running = true;

	while (running) {
		VscPcscJob *job = next_job(reader);

		if (job == NULL) {
			end(reader);
			continue;
		}
		running = job->kind != VSC_PCSC_STOP;
		serve(reader, job);
		if (running)
			job_done(reader, job);
		else
			vsc_pcsc_job_free(job);
	}
	forget_context(reader);
	g_mutex_lock(&reader->lock);
	reader->ended = true;
	g_cond_signal(&reader->over);
	g_mutex_unlock(&reader->lock);
	g_atomic_rc_box_release_full(reader, reader_clear);
	return NULL;
}

/* ---- The other side ---- */

VscPcscReader *vsc_pcsc_reader_new(const char *name, VscShareMode mode,
				   void (*done)(void *user, VscPcscJob *job), void *user)
{
	VscPcscReader *reader = g_atomic_rc_box_new0(VscPcscReader);

	reader->name = g_strdup(name);
	reader->mode = mode;
	reader->done = done;
	reader->user = user;
	reader->jobs = g_async_queue_new_full((GDestroyNotify)vsc_pcsc_job_free);
	reader->response = g_malloc(VSC_RESPONSE_MAX);
	g_mutex_init(&reader->lock);
	g_cond_init(&reader->over);
	g_thread_unref(g_thread_new("pcsc-reader", work, g_atomic_rc_box_acquire(reader)));
	return reader;
}

void vsc_pcsc_reader_push(VscPcscReader *reader, VscPcscJob *job)
{
	g_async_queue_push(reader->jobs, job);
}

void vsc_pcsc_reader_stop(VscPcscReader *reader)
{
	g_mutex_lock(&reader->lock);
	reader->done = NULL;
	g_mutex_unlock(&reader->lock);
	g_async_queue_push_front(reader->jobs, vsc_pcsc_job_new(VSC_PCSC_STOP, vmc_span(NULL, 0)));
}

void vsc_pcsc_reader_free(VscPcscReader *reader, gint64 until)
{
	bool in_time = until > 0;

	vsc_pcsc_reader_stop(reader);
	g_mutex_lock(&reader->lock);
	while (in_time && !reader->ended)
		in_time = g_cond_wait_until(&reader->over, &reader->lock, until);
	g_mutex_unlock(&reader->lock);
	g_atomic_rc_box_release_full(reader, reader_clear);
}

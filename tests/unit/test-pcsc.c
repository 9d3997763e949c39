/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The PC/SC cards with a pcsc-lite of the test's own in the library's place: it
 * fails on purpose, in every call, and shows what each failure becomes.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <winscard.h>

#include <reader.h>

#include "vscard/pcsc.h"

/* Far more than anything takes. */
#define LIMIT_US (20 * G_USEC_PER_SEC)

/* ---- A pcsc-lite ---- */

typedef enum Call {
	CALL_NONE,
	CALL_CONNECT,
	CALL_BEGIN,
	CALL_RECONNECT,
	CALL_STATUS,
	CALL_TRANSMIT,
	CALL_DISCONNECT,
	CALL_ATTRIBUTE,
	CALLS,
} Call;

/* One reader of two has the card. */
static struct {
	GMutex lock;
	GCond changed;
	bool running, cancelled;
	guint readers;
	bool present;
	unsigned counter;
	bool exclusive;
	DWORD protocol;
	LONG fails[CALLS];
	guint counts[CALLS];
	DWORD last_connect, last_reconnect, last_disconnect;
	bool hang, hanging; /* in SCardTransmit() */
	bool attributes;
	bool others;
	guint busy; /* so often disconnecting fails */
} fake;

static const uint8_t atr[] = { 0x3b, 0x80, 0x01, 0x81 };

static void fake_init(void)
{
	memset(fake.fails, 0, sizeof(fake.fails));
	memset(fake.counts, 0, sizeof(fake.counts));
	fake.running = true;
	fake.cancelled = fake.exclusive = fake.hang = fake.hanging = false;
	fake.attributes = fake.others = false;
	fake.busy = 0;
	fake.readers = 1;
	fake.present = true;
	fake.counter = 1;
	fake.protocol = SCARD_PROTOCOL_T1;
}

/* Changes something that the monitor is to see. */
#define CHANGE(what)                                                                               \
	do {                                                                                       \
		g_mutex_lock(&fake.lock);                                                          \
		what;                                                                              \
		g_cond_broadcast(&fake.changed);                                                   \
		g_mutex_unlock(&fake.lock);                                                        \
	} while (0)

static LONG call(Call which)
{
	LONG error;

	g_mutex_lock(&fake.lock);
	fake.counts[which]++;
	error = fake.running ? fake.fails[which] : SCARD_F_COMM_ERROR;
	g_mutex_unlock(&fake.lock);
	return error;
}

LONG SCardEstablishContext(DWORD scope, LPCVOID one, LPCVOID two, LPSCARDCONTEXT context)
{
	(void)scope;
	(void)one;
	(void)two;
	*context = 1;
	return call(CALL_NONE) == SCARD_S_SUCCESS ? SCARD_S_SUCCESS : SCARD_E_NO_SERVICE;
}

LONG SCardReleaseContext(SCARDCONTEXT context)
{
	(void)context;
	return SCARD_S_SUCCESS;
}

LONG SCardCancel(SCARDCONTEXT context)
{
	(void)context;
	CHANGE(fake.cancelled = true);
	return SCARD_S_SUCCESS;
}

LONG SCardListReaders(SCARDCONTEXT context, LPCSTR groups, LPSTR names, LPDWORD len)
{
	(void)context;
	(void)groups;
	(void)len;
	if (call(CALL_NONE) != SCARD_S_SUCCESS)
		return SCARD_F_COMM_ERROR;
	if (fake.readers == 0)
		return SCARD_E_NO_READERS_AVAILABLE;
	*(char **)names = g_memdup2("Reader 0\0Reader 1\0", 19);
	(*(char **)names)[fake.readers * 9] = '\0';
	return SCARD_S_SUCCESS;
}

LONG SCardFreeMemory(SCARDCONTEXT context, LPCVOID memory)
{
	(void)context;
	g_free((void *)memory);
	return SCARD_S_SUCCESS;
}

static DWORD state_now(const char *name)
{
	DWORD state = SCARD_STATE_EMPTY;

	if (strcmp(name, "Reader 0") != 0)
		return SCARD_STATE_EMPTY;
	if (fake.present)
		state = SCARD_STATE_PRESENT | (fake.exclusive ? SCARD_STATE_EXCLUSIVE : 0);
	return state | (DWORD)fake.counter << 16;
}

/* Is any state not what the caller knows? Under lock. */
static bool fill(SCARD_READERSTATE *states, DWORD n)
{
	bool news = false;

	for (DWORD i = 0; i < n; i++) {
		if (states[i].szReader[0] == '\\') {
			news |= n - 1 != fake.readers;
			continue;
		}
		states[i].dwEventState = state_now(states[i].szReader);
		states[i].cbAtr = fake.present ? sizeof(atr) : 0;
		memcpy(states[i].rgbAtr, atr, sizeof(atr));
		news |= states[i].dwEventState != states[i].dwCurrentState;
	}
	return news;
}

LONG SCardGetStatusChange(SCARDCONTEXT context, DWORD timeout, SCARD_READERSTATE *states, DWORD n)
{
	gint64 until = g_get_monotonic_time() + (gint64)timeout * 1000;
	LONG error = SCARD_S_SUCCESS;

	(void)context;
	g_mutex_lock(&fake.lock);
	while (error == SCARD_S_SUCCESS && !fill(states, n)) {
		if (!g_cond_wait_until(&fake.changed, &fake.lock, until))
			error = SCARD_E_TIMEOUT;
		if (!fake.running)
			error = SCARD_F_COMM_ERROR;
		else if (fake.cancelled)
			error = SCARD_E_CANCELLED;
	}
	g_mutex_unlock(&fake.lock);
	return error;
}

LONG SCardConnect(SCARDCONTEXT context, LPCSTR name, DWORD mode, DWORD protocols,
		  LPSCARDHANDLE card, LPDWORD protocol)
{
	(void)context;
	(void)name;
	(void)protocols;
	*card = 1;
	*protocol = fake.protocol;
	if (mode == SCARD_SHARE_DIRECT)
		return SCARD_S_SUCCESS;
	fake.last_connect = mode;
	return call(CALL_CONNECT);
}

LONG SCardReconnect(SCARDHANDLE card, DWORD mode, DWORD protocols, DWORD how, LPDWORD protocol)
{
	(void)card;
	(void)protocols;
	*protocol = fake.protocol;
	if (mode == SCARD_SHARE_EXCLUSIVE && how == SCARD_LEAVE_CARD)
		return fake.others ? SCARD_E_SHARING_VIOLATION : SCARD_S_SUCCESS;
	if (how != SCARD_LEAVE_CARD)
		fake.last_reconnect = how;
	return call(CALL_RECONNECT);
}

LONG SCardDisconnect(SCARDHANDLE card, DWORD how)
{
	(void)card;
	if (how != SCARD_LEAVE_CARD && fake.busy > 0) {
		fake.busy--;
		return SCARD_E_SHARING_VIOLATION;
	}
	fake.last_disconnect = how;
	return call(CALL_DISCONNECT);
}

LONG SCardBeginTransaction(SCARDHANDLE card)
{
	(void)card;
	return call(CALL_BEGIN);
}

LONG SCardEndTransaction(SCARDHANDLE card, DWORD how)
{
	(void)card;
	(void)how;
	return SCARD_S_SUCCESS;
}

LONG SCardStatus(SCARDHANDLE card, LPSTR name, LPDWORD name_len, LPDWORD state, LPDWORD protocol,
		 LPBYTE to, LPDWORD len)
{
	(void)card;
	(void)name;
	(void)name_len;
	*state = 0;
	*protocol = fake.protocol;
	memcpy(to, atr, sizeof(atr));
	*len = sizeof(atr);
	return call(CALL_STATUS);
}

LONG SCardTransmit(SCARDHANDLE card, const SCARD_IO_REQUEST *pci, LPCBYTE command, DWORD len,
		   SCARD_IO_REQUEST *got, LPBYTE to, LPDWORD to_len)
{
	(void)card;
	(void)command;
	(void)len;
	(void)got;
	if (pci->dwProtocol != fake.protocol)
		return SCARD_E_PROTO_MISMATCH;
	g_mutex_lock(&fake.lock);
	fake.hanging = true;
	while (fake.hang)
		g_cond_wait(&fake.changed, &fake.lock);
	fake.hanging = false;
	g_mutex_unlock(&fake.lock);
	memcpy(to, "\x90", 2);
	*to_len = 2;
	return call(CALL_TRANSMIT);
}

LONG SCardGetAttrib(SCARDHANDLE card, DWORD which, LPBYTE to, LPDWORD len)
{
	const char *value = which == SCARD_ATTR_VENDOR_NAME          ? "Acme" :
			    which == SCARD_ATTR_VENDOR_IFD_SERIAL_NO ? "A\xff"
								       "1" :
								       "";

	(void)card;
	if (!fake.attributes)
		return SCARD_E_UNSUPPORTED_FEATURE;
	*len = (DWORD)strlen(value) + 1;
	memcpy(to, value, *len);
	return SCARD_S_SUCCESS;
}

/* ---- A user ---- */

typedef struct User {
	VscPcsc *pcsc;
	VscCard *card; /* in reader 0 */
	guint readers, inserted, removed, described;
	int running; /* -1: not told */
	VscToken answered;
	VscOutcome outcome;
	GByteArray *data;
} User;

static void on_inserted(void *data)
{
	((User *)data)->inserted++;
}

static void on_removed(void *data)
{
	((User *)data)->removed++;
}

static void on_answered(void *data, VscToken token, VscOutcome outcome, VmcSpan bytes)
{
	User *user = data;

	user->answered = token;
	user->outcome = outcome;
	g_byte_array_set_size(user->data, 0);
	g_byte_array_append(user->data, bytes.data, (guint)bytes.len);
}

static void on_described(void *data)
{
	((User *)data)->described++;
}

static const VscCardEvents card_events = {
	.inserted = on_inserted,
	.removed = on_removed,
	.answered = on_answered,
	.described = on_described,
};

static void on_reader_added(void *data, VscCard *card)
{
	User *user = data;

	user->readers++;
	if (strcmp(vsc_card_name(card), "Reader 0") != 0)
		return;
	user->card = card;
	vsc_card_set_user(card, &card_events, user);
}

static void on_reader_removed(void *data, VscCard *card)
{
	User *user = data;

	user->readers--;
	if (card == user->card)
		user->card = NULL;
}

static void on_service(void *data, bool running)
{
	((User *)data)->running = running;
}

static const VscPcscEvents pcsc_events = {
	.reader_added = on_reader_added,
	.reader_removed = on_reader_removed,
	.service = on_service,
};

/* Threads may change what is waited for without a word to the loop. */
#define TICK_MS 5

static gboolean on_tick(gpointer data)
{
	(void)data;
	return G_SOURCE_CONTINUE;
}

/* Runs the main loop until `condition` holds. */
#define WAIT(condition)                                                                            \
	do {                                                                                       \
		gint64 wait_until = g_get_monotonic_time() + LIMIT_US;                             \
		guint tick = g_timeout_add(TICK_MS, on_tick, NULL);                                \
		while (!(condition) && g_get_monotonic_time() < wait_until)                        \
			g_main_context_iteration(NULL, TRUE);                                      \
		g_source_remove(tick);                                                             \
		if (g_get_monotonic_time() >= wait_until)                                          \
			fail_msg("never: %s", #condition);                                         \
	} while (0)

static void begin(User *user, VscShareMode mode)
{
	*user = (User){ .data = g_byte_array_new(), .running = -1 };
	user->pcsc = vsc_pcsc_new(mode, &pcsc_events, user);
	WAIT(user->card != NULL && (!fake.present || vsc_card_present(user->card)));
}

static void end(User *user)
{
	vsc_pcsc_free(user->pcsc);
	g_byte_array_unref(user->data);
}

static void answer_of(User *user, VscToken token)
{
	WAIT(user->answered == token);
}

static VscOutcome power_on(User *user)
{
	VscToken token = vsc_token_next();

	vsc_card_power_on(user->card, token);
	answer_of(user, token);
	return user->outcome;
}

static VscToken transmit(User *user)
{
	VscToken token = vsc_token_next();

	vsc_card_transmit(user->card, token, vmc_span("\0\xb0\0\0\1", 5));
	return token;
}

/* ---- The tests ---- */

static int setup(void **state)
{
	(void)state;
	fake_init();
	return 0;
}

static void powers_really(void **state)
{
	VscToken token = vsc_token_next();
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	assert_memory_equal(vsc_card_atr(user.card).data, atr, sizeof(atr));
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	assert_int_equal(user.data->len, sizeof(atr));
	assert_int_equal(fake.last_reconnect, SCARD_UNPOWER_CARD);
	assert_int_equal(fake.last_connect, SCARD_SHARE_SHARED);
	assert_int_equal(vsc_card_exchange(user.card), VSC_EXCHANGE_APDU);
	fake.protocol = SCARD_PROTOCOL_T0;
	vsc_card_reset(user.card, token);
	answer_of(&user, token);
	assert_int_equal(fake.last_reconnect, SCARD_RESET_CARD);
	assert_int_equal(vsc_card_exchange(user.card), VSC_EXCHANGE_T0);
	answer_of(&user, transmit(&user));
	assert_int_equal(user.outcome, VSC_OUTCOME_OK);
	token = vsc_token_next();
	vsc_card_power_off(user.card, token);
	answer_of(&user, token);
	assert_int_equal(fake.last_disconnect, SCARD_RESET_CARD);
	answer_of(&user, transmit(&user));
	assert_int_equal(user.outcome, VSC_OUTCOME_NOT_POWERED);
	end(&user);
}

/* The programs of others are at it; the card is reset all the same. */
static void resets_a_busy_card(void **state)
{
	VscToken token = vsc_token_next();
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	fake.busy = 3;
	fake.last_disconnect = SCARD_LEAVE_CARD;
	vsc_card_power_off(user.card, token);
	answer_of(&user, token);
	assert_int_equal(fake.last_disconnect, SCARD_RESET_CARD);
	assert_int_equal(fake.busy, 0);
	end(&user);
}

static void exclusive_is_exclusive(void **state)
{
	User user;

	(void)state;
	begin(&user, VSC_SHARE_ALONE);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	assert_int_equal(fake.last_connect, SCARD_SHARE_EXCLUSIVE);
	assert_int_equal(fake.counts[CALL_BEGIN], 0);
	end(&user);
	assert_int_equal(fake.last_disconnect, SCARD_RESET_CARD);
}

/* What becomes of a failure: the outcome, and how often the card goes and comes. */
typedef struct Failure {
	Call call;
	LONG error;
	VscOutcome outcome;
	guint removed, inserted;
} Failure;

static const Failure at_power_on[] = {
	{ CALL_CONNECT, SCARD_E_NO_SMARTCARD, VSC_OUTCOME_NO_CARD, 1, 0 },
	{ CALL_CONNECT, SCARD_W_REMOVED_CARD, VSC_OUTCOME_NO_CARD, 1, 0 },
	{ CALL_CONNECT, SCARD_W_UNPOWERED_CARD, VSC_OUTCOME_MUTE, 0, 0 },
	{ CALL_CONNECT, SCARD_W_UNRESPONSIVE_CARD, VSC_OUTCOME_MUTE, 0, 0 },
	{ CALL_CONNECT, SCARD_E_READER_UNAVAILABLE, VSC_OUTCOME_NO_CARD, 0, 0 },
	{ CALL_CONNECT, SCARD_E_UNKNOWN_READER, VSC_OUTCOME_NO_CARD, 0, 0 },
	{ CALL_CONNECT, SCARD_E_PROTO_MISMATCH, VSC_OUTCOME_FAILED, 0, 0 },
	{ CALL_CONNECT, SCARD_E_SHARING_VIOLATION, VSC_OUTCOME_MUTE, 1, 0 },
	{ CALL_BEGIN, SCARD_W_REMOVED_CARD, VSC_OUTCOME_NO_CARD, 1, 0 },
	{ CALL_BEGIN, SCARD_E_READER_UNAVAILABLE, VSC_OUTCOME_NO_CARD, 0, 0 },
	{ CALL_RECONNECT, SCARD_W_UNRESPONSIVE_CARD, VSC_OUTCOME_MUTE, 0, 0 },
	{ CALL_RECONNECT, SCARD_E_NO_SMARTCARD, VSC_OUTCOME_NO_CARD, 1, 0 },
	{ CALL_STATUS, SCARD_W_REMOVED_CARD, VSC_OUTCOME_NO_CARD, 1, 0 },
	{ CALL_STATUS, SCARD_F_COMM_ERROR, VSC_OUTCOME_NO_CARD, 0, 0 },
};

static const Failure at_transmit[] = {
	{ CALL_TRANSMIT, SCARD_W_REMOVED_CARD, VSC_OUTCOME_NO_CARD, 1, 0 },
	{ CALL_TRANSMIT, SCARD_E_NO_SMARTCARD, VSC_OUTCOME_NO_CARD, 1, 0 },
	{ CALL_TRANSMIT, SCARD_W_RESET_CARD, VSC_OUTCOME_NO_CARD, 1, 1 },
	{ CALL_TRANSMIT, SCARD_W_UNPOWERED_CARD, VSC_OUTCOME_MUTE, 0, 0 },
	{ CALL_TRANSMIT, SCARD_W_UNRESPONSIVE_CARD, VSC_OUTCOME_MUTE, 0, 0 },
	{ CALL_TRANSMIT, SCARD_E_NOT_TRANSACTED, VSC_OUTCOME_FAILED, 0, 0 },
	{ CALL_TRANSMIT, SCARD_E_INSUFFICIENT_BUFFER, VSC_OUTCOME_FAILED, 0, 0 },
	{ CALL_TRANSMIT, SCARD_E_INVALID_HANDLE, VSC_OUTCOME_NO_CARD, 0, 0 },
	{ CALL_TRANSMIT, SCARD_F_COMM_ERROR, VSC_OUTCOME_NO_CARD, 0, 0 },
	{ CALL_TRANSMIT, SCARD_W_SECURITY_VIOLATION, VSC_OUTCOME_NO_CARD, 0, 0 },
};

static void failed_as(User *user, const Failure *failure, guint was_inserted)
{
	if (user->outcome != failure->outcome || user->removed != failure->removed ||
	    user->inserted - was_inserted != failure->inserted)
		fail_msg("call %d, error %lx: %s, removed %u, inserted %u", failure->call,
			 (unsigned long)failure->error, vsc_outcome_name(user->outcome),
			 user->removed, user->inserted - was_inserted);
}

static void power_on_fails(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(at_power_on); i++) {
		const Failure *failure = &at_power_on[i];
		guint inserted;
		User user;

		fake_init();
		begin(&user, VSC_SHARE_TURNS);
		inserted = user.inserted;
		fake.fails[failure->call] = failure->error;
		power_on(&user);
		failed_as(&user, failure, inserted);
		end(&user);
	}
}

static void transmit_fails(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(at_transmit); i++) {
		const Failure *failure = &at_transmit[i];
		guint inserted;
		User user;

		fake_init();
		begin(&user, VSC_SHARE_TURNS);
		assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
		inserted = user.inserted;
		fake.fails[failure->call] = failure->error;
		answer_of(&user, transmit(&user));
		failed_as(&user, failure, inserted);
		end(&user);
	}
}

/* A card that is another program's alone is there when it is free. */
static void blocked_until_free(void **state)
{
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	fake.fails[CALL_CONNECT] = SCARD_E_SHARING_VIOLATION;
	CHANGE(fake.exclusive = true);
	power_on(&user);
	WAIT(user.removed == 1);
	fake.fails[CALL_CONNECT] = SCARD_S_SUCCESS;
	CHANGE(fake.exclusive = false);
	WAIT(user.inserted == 2);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	end(&user);
}

/* pcscd does not say so of a short use. */
static void blocked_unnoticed(void **state)
{
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	fake.fails[CALL_CONNECT] = SCARD_E_SHARING_VIOLATION;
	power_on(&user);
	WAIT(user.removed == 1);
	fake.fails[CALL_CONNECT] = SCARD_S_SUCCESS;
	WAIT(user.inserted == 2);
	end(&user);
}

/* pcscd does not say of a card that it is gone, if it is back by then. */
static void missing_unnoticed(void **state)
{
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	fake.fails[CALL_TRANSMIT] = SCARD_W_REMOVED_CARD;
	answer_of(&user, transmit(&user));
	assert_int_equal(user.outcome, VSC_OUTCOME_NO_CARD);
	assert_int_equal(user.removed, 1);
	fake.fails[CALL_TRANSMIT] = SCARD_S_SUCCESS;
	WAIT(user.inserted == 2);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	end(&user);
}

static void another_card_in_between(void **state)
{
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	CHANGE(fake.counter += 2);
	WAIT(user.inserted == 2);
	assert_int_equal(user.removed, 1);
	/* What was asked of the first is not asked of the second. */
	answer_of(&user, transmit(&user));
	assert_int_equal(user.outcome, VSC_OUTCOME_NOT_POWERED);
	end(&user);
}

static void gone_in_a_command(void **state)
{
	VscToken token;
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	CHANGE(fake.hang = true);
	token = transmit(&user);
	WAIT(fake.hanging);
	CHANGE(fake.present = false; fake.counter++);
	WAIT(user.removed == 1);
	/* The card has answered after all; but it is no card any more. */
	CHANGE(fake.hang = false);
	answer_of(&user, token);
	assert_int_equal(user.outcome, VSC_OUTCOME_NO_CARD);
	end(&user);
}

static void cancels_what_waits(void **state)
{
	VscToken first, second;
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	CHANGE(fake.hang = true);
	first = transmit(&user);
	WAIT(fake.hanging);
	second = transmit(&user);
	vsc_card_cancel(user.card, second);
	CHANGE(fake.hang = false);
	answer_of(&user, first);
	assert_int_equal(user.outcome, VSC_OUTCOME_OK);
	answer_of(&user, second);
	assert_int_equal(user.outcome, VSC_OUTCOME_CANCELLED);
	assert_int_equal(fake.counts[CALL_TRANSMIT], 1);
	end(&user);
}

static void by_hand(void **state)
{
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	assert_false(vsc_pcsc_insert(user.card));
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	assert_true(vsc_pcsc_remove(user.card));
	assert_false(vsc_pcsc_remove(user.card));
	WAIT(user.removed == 1);
	WAIT(fake.counts[CALL_DISCONNECT] > 0 && fake.last_disconnect == SCARD_RESET_CARD);
	answer_of(&user, transmit(&user));
	assert_int_equal(user.outcome, VSC_OUTCOME_NO_CARD);
	assert_true(vsc_pcsc_insert(user.card));
	assert_true(vsc_card_present(user.card));
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	end(&user);
}

static void service_stops_and_comes(void **state)
{
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	WAIT(user.running == 1);
	CHANGE(fake.running = false);
	WAIT(user.running == 0);
	assert_int_equal(user.readers, 0);
	assert_int_equal(user.removed, 1);
	CHANGE(fake.running = true; fake.readers = 2);
	WAIT(user.readers == 2);
	WAIT(user.card != NULL && vsc_card_present(user.card));
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	CHANGE(fake.readers = 0);
	WAIT(user.readers == 0);
	end(&user);
}

static void service_stops_in_a_command(void **state)
{
	VscToken token;
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	CHANGE(fake.hang = true);
	token = transmit(&user);
	WAIT(fake.hanging);
	CHANGE(fake.running = false);
	answer_of(&user, token);
	assert_int_equal(user.outcome, VSC_OUTCOME_NO_CARD);
	WAIT(user.card == NULL);
	/* The old worker's answer comes to nobody. */
	CHANGE(fake.running = true; fake.hang = false);
	WAIT(user.card != NULL && vsc_card_present(user.card));
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	assert_int_not_equal(user.answered, token);
	end(&user);
}

static void readers_come_and_go(void **state)
{
	User user;

	(void)state;
	fake.readers = 0;
	user = (User){ .data = g_byte_array_new(), .running = -1 };
	user.pcsc = vsc_pcsc_new(VSC_SHARE_TURNS, &pcsc_events, &user);
	WAIT(user.running == 1);
	CHANGE(fake.readers = 1);
	WAIT(user.readers == 1 && vsc_card_present(user.card));
	CHANGE(fake.readers = 2);
	WAIT(user.readers == 2);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	CHANGE(fake.readers = 1);
	WAIT(user.readers == 1);
	assert_int_equal(user.removed, 0);
	CHANGE(fake.readers = 0);
	WAIT(user.readers == 0);
	assert_int_equal(user.removed, 1);
	end(&user);
}

static void describes(void **state)
{
	User user;

	(void)state;
	fake.attributes = true;
	begin(&user, VSC_SHARE_TURNS);
	WAIT(user.described == 1);
	assert_string_equal(vsc_card_info(user.card)->vendor, "Acme");
	assert_null(vsc_card_info(user.card)->type);
	assert_true(g_utf8_validate(vsc_card_info(user.card)->serial, -1, NULL));
	end(&user);
}

/* A card that never answers does not keep the program. */
static void ends_anyway(void **state)
{
	User user;

	(void)state;
	begin(&user, VSC_SHARE_TURNS);
	assert_int_equal(power_on(&user), VSC_OUTCOME_OK);
	CHANGE(fake.hang = true);
	transmit(&user);
	WAIT(fake.hanging);
	end(&user);
	assert_true(fake.hanging);
	/* Let it go, before the next test or the end of all. */
	CHANGE(fake.hang = false);
	WAIT(fake.last_disconnect == SCARD_RESET_CARD && !fake.hanging);
	g_usleep(100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(powers_really, setup),
		cmocka_unit_test_setup(resets_a_busy_card, setup),
		cmocka_unit_test_setup(exclusive_is_exclusive, setup),
		cmocka_unit_test_setup(power_on_fails, setup),
		cmocka_unit_test_setup(transmit_fails, setup),
		cmocka_unit_test_setup(blocked_until_free, setup),
		cmocka_unit_test_setup(blocked_unnoticed, setup),
		cmocka_unit_test_setup(missing_unnoticed, setup),
		cmocka_unit_test_setup(another_card_in_between, setup),
		cmocka_unit_test_setup(gone_in_a_command, setup),
		cmocka_unit_test_setup(cancels_what_waits, setup),
		cmocka_unit_test_setup(by_hand, setup),
		cmocka_unit_test_setup(service_stops_and_comes, setup),
		cmocka_unit_test_setup(service_stops_in_a_command, setup),
		cmocka_unit_test_setup(readers_come_and_go, setup),
		cmocka_unit_test_setup(describes, setup),
		cmocka_unit_test_setup(ends_anyway, setup),
	};

	return cmocka_run_group_tests_name("pcsc", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The host session. What it does with each message of the peer:
 *
 *   Init          first: answered with Init, once; a later one is noted. One
 *                 that comes after a reader agrees on no more than there was:
 *                 what is out, or owed, has no name.
 *                 Not an Init by size or magic: CLOSE. Without one (SPICE's
 *                 server lets none through) all else is as with one.
 *   Error         ends a command the peer cannot carry out (old clients say so
 *                 this way); else nothing.
 *   ReaderAdd     the id it had before, else a free one (places.h), told by
 *                 Error SUCCESS with that id; full:
 *                 Error CANNOT_ADD_MORE_READERS with VSC_READER_UNDEFINED. The
 *                 message's own reader id means nothing.
 *   ReaderRemove  reader and card are gone; Error SUCCESS.
 *   ATR           a card: inserted, or reset or replaced, which for the user
 *                 is removed and inserted; Error SUCCESS. Not an ATR: no card,
 *                 Error GENERAL.
 *   CardRemove    the card is gone; Error SUCCESS.
 *   APDU          the answer to the command that was sent; else dropped, noted.
 *   Answer, Working, ReaderInfo
 *                 of a peer with VSC_CAP_REQUESTS: host-requests.c.
 *   all others    noted. An Error in return would be taken for the answer to
 *                 something else by clients that count their answers.
 *
 * A message for a reader that is not there is answered with Error GENERAL and
 * its id. One is not: libcacard's vscclient starts each conversation by
 * removing reader 0, which its predecessor may have left.
 *
 * An old peer's APDU answers have no names, but each command gets exactly one
 * answer, in order. So a command that was cancelled stays owed: its answer is
 * dropped and only then is the next command sent. After a card's removal peers
 * differ in whether an answer still follows (libcacard's vscclient answers from
 * one thread and removes from another). So there the answer stays owed too, but
 * not for long: one that never comes must not hang the next card. A peer with
 * VSC_CAP_NO_LATE_ANSWER owes nothing then.
 *
 * A peer without VSC_CAP_EXTENDED is sent short APDUs only: an extended one
 * becomes several (short.h), each with its answer, under the one request. What
 * ends the request ends the sequence.
 */

#include "vscard/host-private.h"

#include <string.h>

#include "vscard/atr.h"

/* Log lines a peer can cause in one conversation: enough to see what it does
 * wrong, too few to fill a disk. */
#define NOTES_MAX 32u

/* ---- Actions ---- */

void host_push(VscHost *host, const VscHostAction *action, VmcSpan data)
{
	vmc_queue_push(&host->actions, action, sizeof(*action), offsetof(VscHostAction, data),
		       data);
}

static void push_event(VscHost *host, VscHostActionKind kind, uint32_t id, VmcSpan data)
{
	host_push(host, &(VscHostAction){ .kind = kind, .reader_id = id }, data);
}

void host_send(VscHost *host, uint32_t type, uint32_t id, VmcSpan data)
{
	host_push(host, &(VscHostAction){ .kind = VSC_HOST_SEND, .reader_id = id, .type = type },
		  data);
}

static void push_error(VscHost *host, uint32_t id, VscErrorCode code)
{
	uint8_t payload[4];

	vsc_wire_put_error(payload, VSC_ORDER_BIG, code);
	host_send(host, VSC_TYPE_ERROR, id, vmc_span(payload, sizeof(payload)));
}

void host_answer(VscHost *host, uint32_t id, VscToken token, VscOutcome outcome, VmcSpan data)
{
	host_push(host,
		  &(VscHostAction){ .kind = VSC_HOST_ANSWER,
				    .reader_id = id,
				    .token = token,
				    .outcome = outcome },
		  data);
}

static void push_text(VscHost *host, VscHostActionKind kind, uint32_t id, const char *text)
{
	push_event(host, kind, id, vmc_span(text, strlen(text)));
}

void host_note(VscHost *host, uint32_t id, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	if (host->notes > NOTES_MAX)
		return;
	if (host->notes++ == NOTES_MAX) {
		push_text(host, VSC_HOST_NOTE, id, "the peer goes on like this; no more is noted");
		return;
	}
	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	push_text(host, VSC_HOST_NOTE, id, text);
}

/* Nothing more is taken from this peer. */
static void push_close(VscHost *host, const char *because)
{
	push_text(host, VSC_HOST_CLOSE, VSC_READER_UNDEFINED, because);
	vsc_host_closed(host);
}

bool vsc_host_next(VscHost *host, VscHostAction *action)
{
	g_return_val_if_fail(host != NULL && action != NULL, false);

	return vmc_queue_next(&host->actions, action, sizeof(*action));
}

/* ---- Readers ---- */

void host_hold(HostReader *reader, VscToken token, VscRequestKind kind, VmcSpan data)
{
	reader->held = (HeldRequest){
		.token = token,
		.kind = kind,
		.data = data.len > 0 ? g_memdup2(data.data, data.len) : NULL,
		.len = data.len,
	};
}

void host_drop_held(HostReader *reader)
{
	if (reader->held.data != NULL)
		vmc_wipe(reader->held.data, reader->held.len);
	g_free(reader->held.data);
	reader->held = (HeldRequest){ .token = VSC_TOKEN_NONE };
}

/* The card that a command was given to is gone. */
static void outdate_debt(VscHost *host, HostReader *reader)
{
	if (reader->debt != DEBT_ANSWER)
		return;
	reader->debt = (host->peer_caps & VSC_CAP_NO_LATE_ANSWER) != 0 ? DEBT_NONE : DEBT_STALE;
	reader->until = host->now + VSC_HOST_STALE_MS;
}

/* Ends the requests of a reader, whatever they wait for. */
static void end_requests(VscHost *host, uint32_t id, VscOutcome outcome)
{
	HostReader *reader = &host->readers[id];
	VscToken pending = reader->pending, held = reader->held.token;

	reader->pending = VSC_TOKEN_NONE;
	vsc_short_forget(&reader->brief);
	host_drop_held(reader);
	if (pending != VSC_TOKEN_NONE)
		host_answer(host, id, pending, outcome, vmc_span(NULL, 0));
	if (held != VSC_TOKEN_NONE)
		host_answer(host, id, held, outcome, vmc_span(NULL, 0));
}

static void remove_card(VscHost *host, uint32_t id)
{
	HostReader *reader = &host->readers[id];

	if (reader->card)
		push_event(host, VSC_HOST_CARD_REMOVED, id, vmc_span(NULL, 0));
	reader->card = false;
	reader->powered = false;
	reader->atr_len = 0;
	outdate_debt(host, reader);
	host_request_forget(host, id);
	end_requests(host, id, VSC_OUTCOME_NO_CARD);
}

static void remove_reader(VscHost *host, uint32_t id)
{
	if (!host->readers[id].there)
		return;
	remove_card(host, id);
	host->readers[id].there = false;
	vsc_places_leave(&host->places, id);
	push_event(host, VSC_HOST_READER_REMOVED, id, vmc_span(NULL, 0));
}

VscHost *vsc_host_new(uint32_t max_readers, uint32_t caps)
{
	VscHost *host;

	g_return_val_if_fail(max_readers >= 1 && max_readers <= VSC_HOST_READERS_MAX, NULL);

	host = g_new0(VscHost, 1);
	host->max_readers = max_readers;
	host->caps = caps;
	vsc_places_init(&host->places, max_readers);
	for (uint32_t id = 0; id < VSC_HOST_READERS_MAX; id++)
		vsc_short_init(&host->readers[id].brief);
	vmc_queue_init(&host->actions);
	return host;
}

void vsc_host_grow(VscHost *host, uint32_t n)
{
	g_return_if_fail(host != NULL && n <= VSC_HOST_READERS_MAX - host->max_readers);

	host->max_readers += n;
	host->places.n = host->max_readers;
}

void vsc_host_free(VscHost *host)
{
	if (host == NULL)
		return;
	for (uint32_t id = 0; id < host->max_readers; id++) {
		host_drop_held(&host->readers[id]);
		vsc_short_forget(&host->readers[id].brief);
	}
	vsc_places_clear(&host->places);
	vsc_description_clear(&host->described);
	vmc_queue_clear(&host->actions);
	g_free(host);
}

void vsc_host_opened(VscHost *host)
{
	g_return_if_fail(host != NULL);

	vsc_host_closed(host);
	host->open = true;
	host->init_seen = false;
	host->reader_seen = false;
	host->promised_zero = false;
	host->is_described = false;
	vsc_description_clear(&host->described);
	host->last_out = 0;
	host->peer_caps = 0;
	host->notes = 0;
}

void vsc_host_closed(VscHost *host)
{
	g_return_if_fail(host != NULL);

	host->open = false;
	for (uint32_t id = 0; id < host->max_readers; id++) {
		remove_reader(host, id);
		host->readers[id].debt = DEBT_NONE;
	}
}

/* ---- The peer's messages ---- */

static void on_init(VscHost *host, const VscMessage *message)
{
	/* To a client that speaks of readers first, and so is none of ours. */
	const uint32_t if_late = VSC_CAP_APDU_LEVEL;
	uint8_t payload[VSC_WIRE_INIT_MAX];
	const char *because;
	uint32_t version, caps;
	size_t n_caps, len;

	if (!vsc_wire_get_init(message->payload, VSC_ORDER_BIG, &version, &caps, &n_caps,
			       &because)) {
		push_close(host, because);
		return;
	}
	if (host->init_seen) {
		host_note(host, message->reader_id, "the peer sent Init again");
		return;
	}
	host->init_seen = true;
	host->peer_caps = host->reader_seen ? 0 : caps;
	if (version != VSC_VERSION)
		host_note(host, message->reader_id,
			  "the peer has protocol version 0x%x, we have 0x%x", version, VSC_VERSION);

	/* One word only: libcacard's vscclient has room for no more. */
	len = vsc_wire_put_init(payload, VSC_ORDER_BIG,
				host->reader_seen ? host->caps & if_late : host->caps);
	host_send(host, VSC_TYPE_INIT, VSC_READER_UNDEFINED, vmc_span(payload, len));
}

/* What is known of a reader that is added. */
static VscDescription describe_new(VscHost *host, VmcSpan name)
{
	VscDescription who = host->described;

	host->described = (VscDescription){ 0 };
	if (who.name == NULL)
		who.name = vsc_description_text(name);
	return who;
}

/* A place for it; max_readers when there is none. */
static uint32_t take_place(VscHost *host, const VscDescription *who)
{
	bool zero = host->promised_zero && !host->readers[0].there;

	host->promised_zero = false;
	if (!zero)
		return vsc_places_take(&host->places, who);
	vsc_places_take_this(&host->places, 0, who);
	return 0;
}

static void refuse_reader(VscHost *host, const char *name)
{
	push_error(host, VSC_READER_UNDEFINED, VSC_ERROR_CANNOT_ADD_MORE_READERS);
	/* One for each is enough; it counts as one of the notes. */
	if (host->notes < NOTES_MAX) {
		host->notes++;
		push_text(host, VSC_HOST_READER_REFUSED, VSC_READER_UNDEFINED, name);
	}
}

static void on_reader_add(VscHost *host, const VscMessage *message)
{
	VscDescription who = describe_new(host, message->payload);
	bool is_described = host->is_described;
	uint32_t id = take_place(host, &who);
	bool is_news;

	host->is_described = false;
	if (id == host->max_readers) {
		refuse_reader(host, who.name);
	} else {
		/* One of which nothing is told takes away what was told of the last. */
		is_news = is_described || host->readers[id].described;
		host->readers[id].there = true;
		host->readers[id].described = is_described;
		host->reader_seen = true;
		push_error(host, id, VSC_ERROR_SUCCESS);
		push_text(host, VSC_HOST_READER_ADDED, id, who.name);
		if (is_news)
			push_event(host, VSC_HOST_READER_DESCRIBED, id, vmc_span(NULL, 0));
	}
	vsc_description_clear(&who);
}

static void on_reader_remove(VscHost *host, const VscMessage *message)
{
	remove_reader(host, message->reader_id);
	push_error(host, message->reader_id, VSC_ERROR_SUCCESS);
}

static void on_atr(VscHost *host, const VscMessage *message)
{
	uint32_t id = message->reader_id;
	HostReader *reader = &host->readers[id];
	VscAtr atr;
	const char *because;

	/* The card that was there is reset or gone either way. */
	remove_card(host, id);
	if (!vsc_atr_parse(message->payload, &atr, &because)) {
		host_note(host, id, "the card's ATR (%zu bytes) is none: %s", message->payload.len,
			  because);
		push_error(host, id, VSC_ERROR_GENERAL);
		return;
	}

	memcpy(reader->atr, message->payload.data, message->payload.len);
	reader->atr_len = message->payload.len;
	reader->card = true;
	/* The Error first: a command may leave as soon as the user hears of the
	 * card, and clients take what comes before the Error for the old card's. */
	push_error(host, id, VSC_ERROR_SUCCESS);
	push_event(host, VSC_HOST_CARD_INSERTED, id, message->payload);
}

static void on_card_remove(VscHost *host, const VscMessage *message)
{
	remove_card(host, message->reader_id);
	push_error(host, message->reader_id, VSC_ERROR_SUCCESS);
}

/* A command leaves; its one answer is owed. */
static void send_command(VscHost *host, uint32_t id, VmcSpan command)
{
	host->readers[id].debt = DEBT_ANSWER;
	host_send(host, VSC_TYPE_APDU, id, command);
}

static bool takes_extended(const VscHost *host)
{
	return (host->peer_caps & VSC_CAP_EXTENDED) != 0;
}

/* The peer owes nothing (any more): the held command may go. */
static void send_held(VscHost *host, uint32_t id)
{
	HostReader *reader = &host->readers[id];
	VmcSpan out = vmc_span(reader->held.data, reader->held.len);
	VscToken held = reader->held.token;

	if (held == VSC_TOKEN_NONE)
		return;
	if (!takes_extended(host) &&
	    vsc_short_command(&reader->brief, out, &out) == VSC_SHORT_REPLY) {
		host_answer(host, id, held, VSC_OUTCOME_OK, out);
	} else {
		reader->pending = held;
		send_command(host, id, out);
	}
	host_drop_held(reader);
}

/* The peer answered; `data` goes to whoever asked. */
static void settle(VscHost *host, uint32_t id, VscOutcome outcome, VmcSpan data)
{
	HostReader *reader = &host->readers[id];
	VscToken pending = reader->pending;

	reader->debt = DEBT_NONE;
	if (pending != VSC_TOKEN_NONE && outcome == VSC_OUTCOME_OK && !takes_extended(host) &&
	    vsc_short_response(&reader->brief, data, &data) == VSC_SHORT_FORWARD) {
		send_command(host, id, data);
		return;
	}
	reader->pending = VSC_TOKEN_NONE;
	if (pending != VSC_TOKEN_NONE)
		host_answer(host, id, pending, outcome, data);
	vsc_short_forget(&reader->brief);
	send_held(host, id);
}

static void on_apdu(VscHost *host, const VscMessage *message)
{
	uint32_t id = message->reader_id;
	VmcSpan response = message->payload;

	if (host->readers[id].debt == DEBT_NONE) {
		host_note(host, id, "the peer answers a command that nobody gave; dropped");
		return;
	}
	if (host->readers[id].debt == DEBT_ANSWER &&
	    (response.len < 2 || response.len > VSC_RESPONSE_MAX)) {
		host_note(host, id, "the peer's answer of %zu bytes is no response APDU",
			  response.len);
		settle(host, id, VSC_OUTCOME_FAILED, vmc_span(NULL, 0));
		return;
	}
	settle(host, id, VSC_OUTCOME_OK, response);
}

static void on_error(VscHost *host, const VscMessage *message)
{
	uint32_t id = message->reader_id;
	VscErrorCode code;

	if (!vsc_wire_get_error(message->payload, &code)) {
		host_note(host, id, "an Error of %zu bytes", message->payload.len);
		return;
	}
	if (code == VSC_ERROR_SUCCESS)
		return;
	if (id >= host->max_readers || host->readers[id].debt == DEBT_NONE) {
		host_note(host, id, "the peer says: %s", vsc_error_name(code));
		return;
	}
	settle(host, id, VSC_OUTCOME_FAILED, vmc_span(NULL, 0));
}

typedef struct Handler {
	void (*handle)(VscHost *host, const VscMessage *message);
	bool for_reader; /* means nothing without one */
} Handler;

static const Handler handlers[] = {
	[VSC_TYPE_INIT] = { on_init, false },
	[VSC_TYPE_ERROR] = { on_error, false },
	[VSC_TYPE_READER_ADD] = { on_reader_add, false },
	[VSC_TYPE_READER_REMOVE] = { on_reader_remove, true },
	[VSC_TYPE_ATR] = { on_atr, true },
	[VSC_TYPE_CARD_REMOVE] = { on_card_remove, true },
	[VSC_TYPE_APDU] = { on_apdu, true },
};

/* Those from VSC_TYPE_REQUEST on. They look for their readers themselves: what
 * comes late is no mistake. */
static const Handler request_handlers[] = {
	[VSC_TYPE_ANSWER - VSC_TYPE_REQUEST] = { host_on_answer, false },
	[VSC_TYPE_WORKING - VSC_TYPE_REQUEST] = { host_on_working, false },
	[VSC_TYPE_READER_INFO - VSC_TYPE_REQUEST] = { host_on_reader_info, false },
};

/* NULL: no peer like this one sends such a message. */
static const Handler *handler_of(const VscHost *host, uint32_t type)
{
	const Handler *handler = NULL;

	if (type < G_N_ELEMENTS(handlers))
		handler = &handlers[type];
	else if (host_has_requests(host) && type >= VSC_TYPE_REQUEST &&
		 type - VSC_TYPE_REQUEST < G_N_ELEMENTS(request_handlers))
		handler = &request_handlers[type - VSC_TYPE_REQUEST];
	return handler != NULL && handler->handle != NULL ? handler : NULL;
}

static void answer_no_reader(VscHost *host, const VscMessage *message)
{
	/* What the peer wanted is so already; see above. Its first reader gets
	 * id 0, so even one that takes this Error for its ReaderAdd's is right. */
	if (message->type == VSC_TYPE_READER_REMOVE && message->reader_id == 0 &&
	    !host->reader_seen) {
		host->promised_zero = true;
		push_error(host, 0, VSC_ERROR_SUCCESS);
		return;
	}
	host_note(host, message->reader_id, "%s for reader %u, which is not there",
		  vsc_type_name(message->type), message->reader_id);
	push_error(host, message->reader_id, VSC_ERROR_GENERAL);
}

/* Has this message a reader to be for? A late answer may come after its reader
 * is gone, even. */
static bool has_reader(const VscHost *host, const VscMessage *message)
{
	const HostReader *reader;

	if (message->reader_id >= host->max_readers)
		return false;
	reader = &host->readers[message->reader_id];
	return reader->there || (message->type == VSC_TYPE_APDU && reader->debt == DEBT_STALE);
}

void vsc_host_message(VscHost *host, const VscMessage *message, int64_t now)
{
	const Handler *handler;

	g_return_if_fail(host != NULL && message != NULL && now >= 0);

	if (!host->open)
		return;
	host->now = now;
	handler = handler_of(host, message->type);
	if (handler == NULL)
		host_note(host, message->reader_id, "a message of type 0x%x, ignored",
			  message->type);
	else if (handler->for_reader && !has_reader(host, message))
		answer_no_reader(host, message);
	else
		handler->handle(host, message);
}

const VscDescription *vsc_host_description(const VscHost *host, uint32_t reader_id)
{
	static const VscDescription nothing;

	g_return_val_if_fail(host != NULL && reader_id < host->max_readers, NULL);

	return host->readers[reader_id].described ? &host->places.place[reader_id].who : &nothing;
}

/* ---- Time ---- */

/* Does a request of the user wait for a time to come? */
static bool waits(const VscHost *host, uint32_t id)
{
	const HostReader *reader = &host->readers[id];

	return reader->held.token != VSC_TOKEN_NONE ||
	       (reader->pending != VSC_TOKEN_NONE && host_has_requests(host));
}

int64_t vsc_host_deadline(const VscHost *host)
{
	int64_t first = -1;

	g_return_val_if_fail(host != NULL, -1);

	for (uint32_t id = 0; id < host->max_readers; id++) {
		int64_t until = host->readers[id].until;

		if (waits(host, id) && (first < 0 || until < first))
			first = until;
	}
	return first;
}

/* A command to an old peer was held back as long as may be. */
static void end_wait(VscHost *host, uint32_t id)
{
	HostReader *reader = &host->readers[id];
	VscToken held = reader->held.token;

	if (reader->debt == DEBT_STALE) {
		send_held(host, id);
		return;
	}
	host_drop_held(reader);
	host_answer(host, id, held, VSC_OUTCOME_MUTE, vmc_span(NULL, 0));
}

void vsc_host_tick(VscHost *host, int64_t now)
{
	g_return_if_fail(host != NULL);

	for (uint32_t id = 0; id < host->max_readers; id++) {
		if (!waits(host, id) || now < host->readers[id].until)
			continue;
		if (host_has_requests(host))
			host_request_overdue(host, id);
		else
			end_wait(host, id);
	}
}

/* ---- The local user's requests ---- */

/* The reader of a request; NULL when the request is answered already: there is
 * no card, or another request is pending. */
static HostReader *reader_for(VscHost *host, uint32_t id, VscToken token)
{
	HostReader *reader;

	if (id >= host->max_readers || !host->readers[id].card) {
		host_answer(host, id, token, VSC_OUTCOME_NO_CARD, vmc_span(NULL, 0));
		return NULL;
	}
	reader = &host->readers[id];
	if (reader->pending != VSC_TOKEN_NONE || reader->held.token != VSC_TOKEN_NONE) {
		host_answer(host, id, token, VSC_OUTCOME_FAILED, vmc_span(NULL, 0));
		return NULL;
	}
	return reader;
}

void vsc_host_power_on(VscHost *host, uint32_t reader_id, VscToken token, int64_t now)
{
	HostReader *reader;

	g_return_if_fail(host != NULL && token != VSC_TOKEN_NONE);

	reader = reader_for(host, reader_id, token);
	if (reader == NULL)
		return;
	if (host_has_requests(host)) {
		host_request(host, reader_id, token, VSC_REQUEST_POWER_ON, vmc_span(NULL, 0), now);
		return;
	}
	reader->powered = true;
	host_answer(host, reader_id, token, VSC_OUTCOME_OK, vmc_span(reader->atr, reader->atr_len));
}

void vsc_host_power_off(VscHost *host, uint32_t reader_id, VscToken token, int64_t now)
{
	HostReader *reader;

	g_return_if_fail(host != NULL && token != VSC_TOKEN_NONE);

	reader = reader_for(host, reader_id, token);
	if (reader == NULL)
		return;
	if (host_has_requests(host)) {
		host_request(host, reader_id, token, VSC_REQUEST_POWER_OFF, vmc_span(NULL, 0), now);
		return;
	}
	reader->powered = false;
	host_answer(host, reader_id, token, VSC_OUTCOME_OK, vmc_span(NULL, 0));
}

/* The reader of a request to a card that has to have power, as reader_for(). */
static HostReader *powered_reader_for(VscHost *host, uint32_t id, VscToken token)
{
	HostReader *reader = reader_for(host, id, token);

	if (reader == NULL || reader->powered)
		return reader;
	host_answer(host, id, token, VSC_OUTCOME_NOT_POWERED, vmc_span(NULL, 0));
	return NULL;
}

void vsc_host_reset(VscHost *host, uint32_t reader_id, VscToken token, int64_t now)
{
	HostReader *reader;

	g_return_if_fail(host != NULL && token != VSC_TOKEN_NONE);

	reader = powered_reader_for(host, reader_id, token);
	if (reader == NULL)
		return;
	if (host_has_requests(host))
		host_request(host, reader_id, token, VSC_REQUEST_RESET, vmc_span(NULL, 0), now);
	else
		host_answer(host, reader_id, token, VSC_OUTCOME_OK,
			    vmc_span(reader->atr, reader->atr_len));
}

static void hold_command(HostReader *reader, VscToken token, VmcSpan command, int64_t now)
{
	host_hold(reader, token, VSC_REQUEST_TRANSMIT, command);
	if (reader->debt == DEBT_STALE && now >= reader->until)
		reader->debt = DEBT_NONE;
	else if (reader->debt == DEBT_ANSWER)
		reader->until = now + VSC_HOST_HELD_MS;
}

void vsc_host_transmit(VscHost *host, uint32_t reader_id, VscToken token, VmcSpan command,
		       int64_t now)
{
	HostReader *reader;

	g_return_if_fail(host != NULL && token != VSC_TOKEN_NONE);
	g_return_if_fail(command.len <= VSC_COMMAND_MAX && now >= 0);

	reader = powered_reader_for(host, reader_id, token);
	if (reader == NULL)
		return;
	if (command.len == 0) {
		host_answer(host, reader_id, token, VSC_OUTCOME_FAILED, vmc_span(NULL, 0));
		return;
	}
	if (host_has_requests(host)) {
		host_request(host, reader_id, token, VSC_REQUEST_TRANSMIT, command, now);
		return;
	}
	hold_command(reader, token, command, now);
	if (reader->debt == DEBT_NONE)
		send_held(host, reader_id);
}

void vsc_host_cancel(VscHost *host, uint32_t reader_id, VscToken token)
{
	HostReader *reader;

	g_return_if_fail(host != NULL);

	if (token == VSC_TOKEN_NONE || reader_id >= host->max_readers)
		return;
	reader = &host->readers[reader_id];
	if (token == reader->pending) {
		reader->pending = VSC_TOKEN_NONE;
		vsc_short_forget(&reader->brief);
		if (host_has_requests(host))
			host_request_cancel(host, reader_id);
	} else if (token == reader->held.token) {
		host_drop_held(reader);
	} else {
		return;
	}
	host_answer(host, reader_id, token, VSC_OUTCOME_CANCELLED, vmc_span(NULL, 0));
}

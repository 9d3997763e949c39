/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The client session. Init goes out first; readers follow when the host's Init
 * has come, for what the host can do decides what ATR it is given. SPICE's
 * server lets no Init through: there none is sent and readers follow at once.
 * What it does with each message of the host:
 *
 *   Init          first: READY; a later one is ignored (QEMU sends one when its
 *                 device is made and one more in answer to ours). Not an Init:
 *                 CLOSE. A host without capabilities may be a QEMU that still
 *                 holds the card of a client that was killed, and a command
 *                 that waits for it; our first answer would be taken for that
 *                 one's. So reader 0 is removed first, as libcacard's client
 *                 does.
 *   Error         the answer to the oldest of our ReaderAdd, ReaderRemove, ATR
 *                 and CardRemove that has none yet.
 *   APDU          a command: TRANSMIT, one at a time for one reader; a few more
 *                 wait. No reader or no card: Error GENERAL, as all clients do.
 *   Request, Cancel
 *                 of a host with VSC_CAP_REQUESTS, instead of APDU:
 *                 client-requests.c.
 *   Flush         FlushComplete, when all commands before it are answered; not
 *                 over SPICE.
 *   all others    noted.
 *
 * Hosts answer in order, so the operations not answered yet are a queue. Only
 * one ReaderAdd is ever in it. An Error that names another reader than the
 * front does passes over the front: libcacard's header lists no Error for ATR,
 * and a host that takes this at its word sends none. SPICE's server answers
 * nothing by itself but a ReaderAdd that cannot be; the rest are the answers of
 * the device behind it. It ends the channel, or itself, at a message for
 * another reader than its own: so no id is ever used that it did not give.
 *
 * The answers tell more: a command that comes while a CardRemove of its reader
 * is still unanswered was given before the host knew. The host has ended it by
 * itself; an answer would be taken for the next command's. So it is dropped.
 * With forget_commands() at each removal that keeps VSC_CAP_NO_LATE_ANSWER.
 */

#include "vscard/client-private.h"

#include <string.h>

#include "vscard/atr.h"

/* Commands beyond HELD_MAX, which are answered but not run. QEMU's reader counts
 * on no more answers than this; a host that gives more floods. */
#define OVERFLOW_MAX 128u

/* Log lines a host can cause in one conversation. */
#define NOTES_MAX 32u

/* SW1 SW2 "no precise diagnosis" (ISO/IEC 7816-4:2013, 5.6). */
static const uint8_t sw_no_diagnosis[2] = { 0x6f, 0x00 };
const uint8_t client_sw_wrong_length[2] = { 0x67, 0x00 };

/* ---- Actions ---- */

void client_push(VscClient *client, const VscClientAction *action, VmcSpan data)
{
	vmc_queue_push(&client->actions, action, sizeof(*action), offsetof(VscClientAction, data),
		       data);
}

void client_send(VscClient *client, uint32_t type, uint32_t id, VmcSpan data)
{
	client_push(client,
		    &(VscClientAction){ .kind = VSC_CLIENT_SEND, .reader_id = id, .type = type },
		    data);
}

static void push_error(VscClient *client, uint32_t id, VscErrorCode code)
{
	uint8_t payload[4];

	vsc_wire_put_error(payload, client->order, code);
	client_send(client, VSC_TYPE_ERROR, id, vmc_span(payload, sizeof(payload)));
}

static void push_text(VscClient *client, VscClientActionKind kind, const char *text)
{
	client_push(client, &(VscClientAction){ .kind = kind }, vmc_span(text, strlen(text)));
}

void client_note(VscClient *client, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	if (client->notes > NOTES_MAX)
		return;
	if (client->notes++ == NOTES_MAX) {
		push_text(client, VSC_CLIENT_NOTE, "the host goes on like this; no more is noted");
		return;
	}
	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	push_text(client, VSC_CLIENT_NOTE, text);
}

bool vsc_client_next(VscClient *client, VscClientAction *action)
{
	g_return_val_if_fail(client != NULL && action != NULL, false);

	return vmc_queue_next(&client->actions, action, sizeof(*action));
}

/* ---- Operations that the host answers ---- */

static void drop_op(VscClient *client, unsigned i)
{
	client->n_ops--;
	memmove(&client->ops[i], &client->ops[i + 1], (client->n_ops - i) * sizeof(Op));
}

bool client_has_op(const VscClient *client, uint32_t type, uint32_t id)
{
	for (unsigned i = 0; i < client->n_ops; i++) {
		if (client->ops[i].type == type &&
		    (type == VSC_TYPE_READER_ADD || client->ops[i].id == id))
			return true;
	}
	return false;
}

static void close_conversation(VscClient *client, const char *because)
{
	push_text(client, VSC_CLIENT_CLOSE, because);
	vsc_client_closed(client);
}

/* Last in what a caller does: it may end the conversation. */
static void add_op(VscClient *client, uint32_t type, uint32_t id, uint32_t slot)
{
	unsigned oldest = 0;

	if (client->n_ops == OPS_MAX) {
		if (client->answers_all) {
			close_conversation(client, "the host does not answer");
			return;
		}
		/* A ReaderAdd's answer brings the id: that one is waited for. */
		while (client->ops[oldest].type == VSC_TYPE_READER_ADD)
			oldest++;
		drop_op(client, oldest);
	}
	client->ops[client->n_ops++] = (Op){ .type = type, .id = id, .slot = slot };
}

static void send_op(VscClient *client, uint32_t type, uint32_t slot, VmcSpan data)
{
	uint32_t id = client->readers[slot].id;

	client_send(client, type, id, data);
	if (type != VSC_TYPE_ATR || !client->no_atr_errors)
		add_op(client, type, id, slot);
}

static void refuse_reader(VscClient *client, uint32_t slot, VscErrorCode code)
{
	client->readers[slot].state = READER_REFUSED;
	client_push(
		client,
		&(VscClientAction){ .kind = VSC_CLIENT_READER_REFUSED, .slot = slot, .code = code },
		vmc_span(NULL, 0));
}

static bool is_smartcard_channel(const VscClient *client)
{
	return client->order == VSC_ORDER_LITTLE;
}

/* SPICE's server says yes to a second ReaderAdd and means the first one's
 * reader; the device behind it may then have a reader that nobody can remove. */
static bool has_room(const VscClient *client)
{
	if (!is_smartcard_channel(client))
		return true;
	for (uint32_t slot = 0; slot < VSC_CLIENT_READERS_MAX; slot++) {
		if (client->readers[slot].state == READER_TAKEN)
			return false;
	}
	return true;
}

static void ask_for_reader(VscClient *client, uint32_t slot)
{
	ClientReader *reader = &client->readers[slot];

	reader->state = READER_ASKED;
	reader->untold = false;
	if (client_has_requests(client))
		client_send_reader_info(client, slot, VSC_READER_UNDEFINED);
	client_send(client, VSC_TYPE_READER_ADD, VSC_READER_UNDEFINED,
		    vmc_span(reader->described.name, strlen(reader->described.name)));
	add_op(client, VSC_TYPE_READER_ADD, VSC_READER_UNDEFINED, slot);
}

/* Announces the next reader, unless the answer to one is awaited. */
static void announce_next(VscClient *client)
{
	if (!client->ready || client_has_op(client, VSC_TYPE_READER_ADD, 0))
		return;

	for (uint32_t slot = 0; slot < VSC_CLIENT_READERS_MAX; slot++) {
		if (client->readers[slot].state != READER_LOCAL)
			continue;
		if (has_room(client)) {
			ask_for_reader(client, slot);
			return;
		}
		refuse_reader(client, slot, VSC_ERROR_CANNOT_ADD_MORE_READERS);
	}
}

static void announce_card(VscClient *client, uint32_t slot)
{
	ClientReader *reader = &client->readers[slot];

	reader->atr_refused = false;
	if (reader->state == READER_TAKEN && reader->atr_len > 0)
		send_op(client, VSC_TYPE_ATR, slot, vmc_span(reader->atr, reader->atr_len));
}

/* ---- Commands ---- */

static void drop_first_held(ClientReader *reader)
{
	vmc_wipe(reader->held[0].command, reader->held[0].len);
	g_free(reader->held[0].command);
	reader->n_held--;
	memmove(&reader->held[0], &reader->held[1], reader->n_held * sizeof(Held));
}

/* What the host asked of this card is of no more interest. */
static void forget_commands(ClientReader *reader)
{
	reader->token = VSC_TOKEN_NONE;
	reader->overflow = 0;
	while (reader->n_held > 0)
		drop_first_held(reader);
}

static bool is_busy(const ClientReader *reader)
{
	return reader->token != VSC_TOKEN_NONE;
}

static void complete_flush(VscClient *client)
{
	if (!client->flush)
		return;
	for (uint32_t slot = 0; slot < VSC_CLIENT_READERS_MAX; slot++) {
		if (is_busy(&client->readers[slot]))
			return;
	}
	client->flush = false;
	client_send(client, VSC_TYPE_FLUSH_COMPLETE, client->flush_id, vmc_span(NULL, 0));
}

VscToken client_new_token(VscClient *client)
{
	if (++client->last_token == VSC_TOKEN_NONE)
		client->last_token++;
	return client->last_token;
}

/* Gives the card one command; what is none is answered here. */
static void run_command(VscClient *client, uint32_t slot, VmcSpan command)
{
	ClientReader *reader = &client->readers[slot];

	if (command.len < 4) {
		client_send(client, VSC_TYPE_APDU, reader->id,
			    vmc_span(client_sw_wrong_length, sizeof(client_sw_wrong_length)));
		return;
	}
	reader->token = client_new_token(client);
	client_push(client,
		    &(VscClientAction){
			    .kind = VSC_CLIENT_TRANSMIT, .slot = slot, .token = reader->token },
		    command);
}

/* The card is free: the next command, or the answers to those too many. */
static void run_next(VscClient *client, uint32_t slot)
{
	ClientReader *reader = &client->readers[slot];

	while (!is_busy(reader) && reader->n_held > 0) {
		run_command(client, slot, vmc_span(reader->held[0].command, reader->held[0].len));
		drop_first_held(reader);
	}
	if (is_busy(reader))
		return;
	/* Only `overflow` of the host's own messages: no more than it sent. */
	for (; reader->overflow > 0; reader->overflow--)
		push_error(client, reader->id, VSC_ERROR_GENERAL);
	complete_flush(client);
}

uint32_t client_find_taken(const VscClient *client, uint32_t id)
{
	for (uint32_t slot = 0; slot < VSC_CLIENT_READERS_MAX; slot++) {
		if (client->readers[slot].state == READER_TAKEN && client->readers[slot].id == id)
			return slot;
	}
	return SLOT_NOBODY;
}

static void hold_command(VscClient *client, ClientReader *reader, VmcSpan command)
{
	if (reader->overflow == OVERFLOW_MAX) {
		close_conversation(client, "the host gives commands without end");
		return;
	}
	if (reader->n_held == HELD_MAX || reader->overflow > 0) {
		client_note(client,
			    "reader %u: the host gives commands faster than the card answers",
			    reader->id);
		reader->overflow++;
		return;
	}
	reader->held[reader->n_held++] =
		(Held){ .command = g_memdup2(command.data, command.len), .len = command.len };
}

static void on_apdu(VscClient *client, const VscMessage *message)
{
	uint32_t id = message->reader_id;
	uint32_t slot = client_find_taken(client, id);
	ClientReader *reader;

	if (client_has_op(client, VSC_TYPE_CARD_REMOVE, id) ||
	    client_has_op(client, VSC_TYPE_READER_REMOVE, id))
		return;
	if (slot == SLOT_NOBODY || client->readers[slot].atr_len == 0) {
		client_note(client, "a command for reader %u, which has no card", id);
		push_error(client, id, VSC_ERROR_GENERAL);
		return;
	}
	/* It knows of the card and has not answered its ATR: it never will. */
	if (client_has_op(client, VSC_TYPE_ATR, id)) {
		client->no_atr_errors = true;
		for (unsigned i = client->n_ops; i-- > 0;) {
			if (client->ops[i].type == VSC_TYPE_ATR)
				drop_op(client, i);
		}
	}

	reader = &client->readers[slot];
	if (is_busy(reader))
		hold_command(client, reader, message->payload);
	else
		run_command(client, slot, message->payload);
}

/* ---- The host's other messages ---- */

static void on_init(VscClient *client, const VscMessage *message)
{
	const char *because;
	uint32_t version, caps;
	size_t n_caps;

	if (!vsc_wire_get_init(message->payload, client->order, &version, &caps, &n_caps,
			       &because)) {
		close_conversation(client, because);
		return;
	}
	if (client->ready)
		return;
	client->ready = true;
	client->host_caps = caps;
	client->answers_all = (caps & (VSC_CAP_APDU_LEVEL | VSC_CAP_REQUESTS)) != 0;
	if (version != VSC_VERSION)
		client_note(client, "the host has protocol version 0x%x, we have 0x%x", version,
			    VSC_VERSION);
	client_push(
		client,
		&(VscClientAction){ .kind = VSC_CLIENT_READY, .caps = caps, .version = version },
		vmc_span(NULL, 0));
	if (caps == 0) {
		client_send(client, VSC_TYPE_READER_REMOVE, 0, vmc_span(NULL, 0));
		add_op(client, VSC_TYPE_READER_REMOVE, 0, SLOT_NOBODY);
	}
	announce_next(client);
}

/* Tells the host what it was not told with the reader. */
static void tell_description(VscClient *client, uint32_t slot)
{
	ClientReader *reader = &client->readers[slot];

	if (!reader->untold || reader->state != READER_TAKEN || !client_has_requests(client))
		return;
	reader->untold = false;
	client_send_reader_info(client, slot, reader->id);
}

static void take_reader(VscClient *client, uint32_t slot, uint32_t id)
{
	client->readers[slot].state = READER_TAKEN;
	client->readers[slot].id = id;
	client_push(client, &(VscClientAction){ .kind = VSC_CLIENT_READER_TAKEN, .slot = slot },
		    vmc_span(NULL, 0));
	tell_description(client, slot);
	announce_card(client, slot);
}

static void on_reader_answer(VscClient *client, uint32_t slot, uint32_t id, VscErrorCode code)
{
	bool had = id == VSC_READER_UNDEFINED || client_find_taken(client, id) != SLOT_NOBODY;

	/* QEMU's reader has one slot and says yes to each: then `had`. */
	if (code == VSC_ERROR_SUCCESS && had)
		code = VSC_ERROR_CANNOT_ADD_MORE_READERS;

	if (slot != SLOT_NOBODY && code != VSC_ERROR_SUCCESS) {
		refuse_reader(client, slot, code);
	} else if (slot != SLOT_NOBODY) {
		take_reader(client, slot, id);
	} else if (code == VSC_ERROR_SUCCESS) {
		client_send(client, VSC_TYPE_READER_REMOVE, id, vmc_span(NULL, 0));
		add_op(client, VSC_TYPE_READER_REMOVE, id, SLOT_NOBODY);
	}
	announce_next(client);
}

static void on_error(VscClient *client, const VscMessage *message)
{
	uint32_t id = message->reader_id;
	VscErrorCode code;
	Op op;

	if (!vsc_wire_get_error(message->payload, &code)) {
		client_note(client, "an Error of %zu bytes", message->payload.len);
		return;
	}
	do {
		if (client->n_ops == 0) {
			client_note(client, "reader %u: the host says: %s", id,
				    vsc_error_name(code));
			return;
		}
		op = client->ops[0];
		drop_op(client, 0);
	} while (op.type != VSC_TYPE_READER_ADD && op.id != id);

	if (op.type == VSC_TYPE_ATR && op.slot != SLOT_NOBODY)
		client->readers[op.slot].atr_refused = code != VSC_ERROR_SUCCESS;
	if (op.type == VSC_TYPE_READER_ADD)
		on_reader_answer(client, op.slot, id, code);
	else if (code != VSC_ERROR_SUCCESS)
		client_note(client, "reader %u: the host answers %s with: %s", id,
			    vsc_type_name(op.type), vsc_error_name(code));
}

static void on_flush(VscClient *client, const VscMessage *message)
{
	/* SPICE's server knows no FlushComplete. */
	if (is_smartcard_channel(client))
		return;
	client->flush = true;
	client->flush_id = message->reader_id;
	complete_flush(client);
}

typedef void Handler(VscClient *client, const VscMessage *message);

static Handler *const handlers[] = {
	[VSC_TYPE_INIT] = on_init,
	[VSC_TYPE_ERROR] = on_error,
	[VSC_TYPE_APDU] = on_apdu,
	[VSC_TYPE_FLUSH] = on_flush,
};

/* NULL: no host like this one sends such a message. */
static Handler *handler_of(const VscClient *client, uint32_t type)
{
	if (client_has_requests(client)) {
		switch (type) {
		case VSC_TYPE_REQUEST:
			return client_on_request;
		case VSC_TYPE_CANCEL:
			return client_on_cancel;
		case VSC_TYPE_APDU:
			return NULL;
		default:
			break;
		}
	}
	return type < G_N_ELEMENTS(handlers) ? handlers[type] : NULL;
}

void vsc_client_message(VscClient *client, const VscMessage *message)
{
	Handler *handler;

	g_return_if_fail(client != NULL && message != NULL);

	if (!client->open)
		return;
	handler = handler_of(client, message->type);
	if (handler != NULL)
		handler(client, message);
	else
		client_note(client, "a message of type 0x%x, ignored", message->type);
}

/* ---- The life of a conversation ---- */

VscClient *vsc_client_new(uint32_t caps)
{
	VscClient *client = g_new0(VscClient, 1);

	client->caps = caps | VSC_CAP_NO_LATE_ANSWER;
	vmc_queue_init(&client->actions);
	return client;
}

void vsc_client_free(VscClient *client)
{
	if (client == NULL)
		return;
	for (uint32_t slot = 0; slot < VSC_CLIENT_READERS_MAX; slot++) {
		forget_commands(&client->readers[slot]);
		vsc_description_clear(&client->readers[slot].described);
	}
	vmc_queue_clear(&client->actions);
	g_free(client);
}

/* Nobody says Init on SPICE's smartcard channel: the server drops it. */
static void start_without_init(VscClient *client)
{
	client->ready = true;
	client_push(client, &(VscClientAction){ .kind = VSC_CLIENT_READY }, vmc_span(NULL, 0));
	announce_next(client);
}

void vsc_client_opened(VscClient *client, VscOrder order)
{
	uint8_t payload[VSC_WIRE_INIT_MAX];
	size_t len;

	g_return_if_fail(client != NULL);

	vsc_client_closed(client);
	client->open = true;
	client->order = order;
	client->no_atr_errors = false;
	client->answers_all = false;
	client->host_caps = 0;
	client->notes = 0;
	if (is_smartcard_channel(client)) {
		start_without_init(client);
		return;
	}
	len = vsc_wire_put_init(payload, client->order, client->caps);
	client_send(client, VSC_TYPE_INIT, VSC_READER_UNDEFINED, vmc_span(payload, len));
}

void vsc_client_closed(VscClient *client)
{
	g_return_if_fail(client != NULL);

	client->open = false;
	client->ready = false;
	client->flush = false;
	client->n_ops = 0;
	for (uint32_t slot = 0; slot < VSC_CLIENT_READERS_MAX; slot++) {
		ClientReader *reader = &client->readers[slot];

		forget_commands(reader);
		if (reader->state != READER_NONE)
			reader->state = READER_LOCAL;
	}
}

/* ---- The local side ---- */

/* Keeps what is known of a reader; false if it is nothing new. */
static bool describe(ClientReader *reader, const char *name, const VscReaderInfo *info)
{
	static const VscReaderInfo nothing = { 0 };
	VscDescription new = { 0 };
	bool news;

	vsc_description_copy(&new, name, info != NULL ? info : &nothing);
	news = !vsc_description_equal(&new, &reader->described);
	vsc_description_clear(&reader->described);
	reader->described = new;
	return news;
}

void vsc_client_reader_added(VscClient *client, uint32_t slot, const char *name,
			     const VscReaderInfo *info)
{
	ClientReader *reader;

	g_return_if_fail(client != NULL && slot < VSC_CLIENT_READERS_MAX && name != NULL);
	reader = &client->readers[slot];
	g_return_if_fail(reader->state == READER_NONE);

	reader->state = READER_LOCAL;
	describe(reader, name, info);
	announce_next(client);
}

void vsc_client_reader_described(VscClient *client, uint32_t slot, const char *name,
				 const VscReaderInfo *info)
{
	ClientReader *reader;

	g_return_if_fail(client != NULL && slot < VSC_CLIENT_READERS_MAX && name != NULL);
	reader = &client->readers[slot];

	if (reader->state == READER_NONE || !describe(reader, name, info))
		return;
	reader->untold = true;
	tell_description(client, slot);
}

void vsc_client_reader_removed(VscClient *client, uint32_t slot)
{
	ClientReader *reader;

	g_return_if_fail(client != NULL && slot < VSC_CLIENT_READERS_MAX);
	reader = &client->readers[slot];

	if (reader->state == READER_NONE)
		return;
	vsc_client_card_removed(client, slot);
	if (reader->state == READER_TAKEN)
		send_op(client, VSC_TYPE_READER_REMOVE, slot, vmc_span(NULL, 0));
	/* Its id comes with the answer to ReaderAdd; then it can be removed. */
	for (unsigned i = 0; i < client->n_ops; i++) {
		if (client->ops[i].slot == slot)
			client->ops[i].slot = SLOT_NOBODY;
	}
	reader->state = READER_NONE;
	vsc_description_clear(&reader->described);
}

void vsc_client_card_inserted(VscClient *client, uint32_t slot, VmcSpan atr)
{
	ClientReader *reader;

	g_return_if_fail(client != NULL && slot < VSC_CLIENT_READERS_MAX);
	g_return_if_fail(atr.len >= VSC_ATR_MIN && atr.len <= VSC_ATR_MAX);
	reader = &client->readers[slot];

	if (reader->state == READER_NONE)
		return;
	vsc_client_card_removed(client, slot);
	memcpy(reader->atr, atr.data, atr.len);
	reader->atr_len = atr.len;
	announce_card(client, slot);
}

bool vsc_client_is_card_known(const VscClient *client, uint32_t slot)
{
	const ClientReader *reader;

	g_return_val_if_fail(client != NULL && slot < VSC_CLIENT_READERS_MAX, false);
	reader = &client->readers[slot];

	return reader->state == READER_TAKEN && reader->atr_len > 0 && !reader->atr_refused &&
	       !client_has_op(client, VSC_TYPE_ATR, reader->id);
}

void vsc_client_card_removed(VscClient *client, uint32_t slot)
{
	ClientReader *reader;

	g_return_if_fail(client != NULL && slot < VSC_CLIENT_READERS_MAX);
	reader = &client->readers[slot];

	if (reader->atr_len == 0)
		return;
	reader->atr_len = 0;
	forget_commands(reader);
	if (reader->state == READER_TAKEN)
		send_op(client, VSC_TYPE_CARD_REMOVE, slot, vmc_span(NULL, 0));
	complete_flush(client);
}

void vsc_client_answer(VscClient *client, uint32_t slot, VscToken token, VscOutcome outcome,
		       VmcSpan response)
{
	ClientReader *reader;

	g_return_if_fail(client != NULL && slot < VSC_CLIENT_READERS_MAX);
	reader = &client->readers[slot];

	if (token == VSC_TOKEN_NONE || token != reader->token)
		return;
	if (outcome == VSC_OUTCOME_NO_CARD) {
		vsc_client_card_removed(client, slot);
		return;
	}
	if (client_has_requests(client)) {
		client_answer_request(client, slot, outcome, response);
		complete_flush(client);
		return;
	}
	if (outcome != VSC_OUTCOME_OK || response.len < 2 || response.len > VSC_RESPONSE_MAX)
		response = vmc_span(sw_no_diagnosis, sizeof(sw_no_diagnosis));

	reader->token = VSC_TOKEN_NONE;
	client_send(client, VSC_TYPE_APDU, reader->id, response);
	run_next(client, slot);
}

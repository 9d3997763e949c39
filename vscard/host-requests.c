/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The host session at a peer with VSC_CAP_REQUESTS (PROTOCOL.md). Each Request
 * has a number that is not used again in the conversation, and each Answer says
 * which it is to: what nobody waits for any more is dropped, whenever it comes.
 *
 * There is one Request out for a reader at a time, so that a peer needs no queue
 * and a card no more than it can do. One that the user gave up stays out until
 * it is answered, and the next is held back so long; Working says that it is not
 * in vain. A power off has no user that waits: what is asked after it waits for
 * it in the same way.
 */

#include "vscard/host-private.h"

#include <string.h>

#include "vscard/atr.h" /* VSC_ATR_MIN */

bool host_has_requests(const VscHost *host)
{
	return (host->caps & host->peer_caps & VSC_CAP_REQUESTS) != 0;
}

/* ---- To the peer ---- */

static void send_request(VscHost *host, uint32_t id, VscRequestKind kind, VmcSpan data)
{
	HostReader *reader = &host->readers[id];
	size_t len = VSC_WIRE_PREFIX + data.len;
	uint8_t *payload = g_malloc(len);

	if (++host->last_out == 0)
		host->last_out++;
	reader->out = host->last_out;
	reader->out_kind = kind;
	vsc_request_put(payload, reader->out, kind);
	if (data.len > 0)
		memcpy(payload + VSC_WIRE_PREFIX, data.data, data.len);
	host_send(host, VSC_TYPE_REQUEST, id, vmc_span(payload, len));
	vmc_wipe(payload, len);
	g_free(payload);
}

/* What is due goes, if nothing is out. */
static void send_due(VscHost *host, uint32_t id)
{
	HostReader *reader = &host->readers[id];

	if (reader->out != 0)
		return;
	if (reader->off_due) {
		reader->off_due = false;
		send_request(host, id, VSC_REQUEST_POWER_OFF, vmc_span(NULL, 0));
	} else if (reader->held.token != VSC_TOKEN_NONE) {
		reader->pending = reader->held.token;
		send_request(host, id, reader->held.kind,
			     vmc_span(reader->held.data, reader->held.len));
		host_drop_held(reader);
	}
}

void host_request(VscHost *host, uint32_t id, VscToken token, VscRequestKind kind, VmcSpan data,
		  int64_t now)
{
	HostReader *reader = &host->readers[id];

	reader->until = now + VSC_HOST_SILENT_MS;
	if (kind == VSC_REQUEST_POWER_OFF) {
		reader->powered = false;
		reader->off_due = true;
		host_answer(host, id, token, VSC_OUTCOME_OK, vmc_span(NULL, 0));
	} else if (reader->out == 0) {
		reader->pending = token;
		send_request(host, id, kind, data);
	} else {
		host_hold(reader, token, kind, data);
	}
	send_due(host, id);
}

void host_request_cancel(VscHost *host, uint32_t id)
{
	uint8_t payload[VSC_TOKEN_LENGTH];

	vsc_request_put_token(payload, host->readers[id].out);
	host_send(host, VSC_TYPE_CANCEL, id, vmc_span(payload, sizeof(payload)));
}

void host_request_forget(VscHost *host, uint32_t id)
{
	host->readers[id].out = 0;
	host->readers[id].off_due = false;
}

void host_request_overdue(VscHost *host, uint32_t id)
{
	HostReader *reader = &host->readers[id];
	VscToken pending = reader->pending, held = reader->held.token;

	host_note(host, id, "nothing is heard of the card for %d s", VSC_HOST_SILENT_MS / 1000);
	reader->pending = VSC_TOKEN_NONE;
	host_drop_held(reader);
	if (pending != VSC_TOKEN_NONE) {
		host_request_cancel(host, id);
		host_answer(host, id, pending, VSC_OUTCOME_MUTE, vmc_span(NULL, 0));
	}
	if (held != VSC_TOKEN_NONE)
		host_answer(host, id, held, VSC_OUTCOME_MUTE, vmc_span(NULL, 0));
}

/* ---- From the peer ---- */

/* The reader on which the peer says something of `token`, which is out; NULL
 * when it is not (any more). */
static HostReader *reader_of(VscHost *host, const VscMessage *message, VscWireToken token)
{
	uint32_t id = message->reader_id;

	if (id < host->max_readers && token != 0 && host->readers[id].out == token)
		return &host->readers[id];
	/* Late is not wrong: the user, or the card, was gone meanwhile. */
	if (token == 0 || token > host->last_out)
		host_note(host, id, "%s to request %u, which there never was",
			  vsc_type_name(message->type), token);
	return NULL;
}

/* Can what the peer answers be so? */
static VscOutcome checked_outcome(const HostReader *reader, VscOutcome outcome, VmcSpan data)
{
	bool is_atr = data.len >= VSC_ATR_MIN && data.len <= VSC_ATR_MAX;
	bool is_response = data.len >= 2 && data.len <= VSC_RESPONSE_MAX;

	/* Nobody who waits has cancelled. */
	if (outcome == VSC_OUTCOME_CANCELLED)
		return VSC_OUTCOME_FAILED;
	if (outcome != VSC_OUTCOME_OK)
		return outcome;
	switch (reader->out_kind) {
	case VSC_REQUEST_POWER_ON:
	case VSC_REQUEST_RESET:
		return is_atr ? VSC_OUTCOME_OK : VSC_OUTCOME_FAILED;
	case VSC_REQUEST_TRANSMIT:
		return is_response ? VSC_OUTCOME_OK : VSC_OUTCOME_FAILED;
	case VSC_REQUEST_POWER_OFF:
		break;
	}
	return VSC_OUTCOME_OK;
}

/* What the outcome says of the card's power. */
static void note_power(HostReader *reader, VscOutcome outcome)
{
	switch (reader->out_kind) {
	case VSC_REQUEST_POWER_ON:
	case VSC_REQUEST_RESET:
		reader->powered = outcome == VSC_OUTCOME_OK;
		break;
	case VSC_REQUEST_TRANSMIT:
		reader->powered &= outcome != VSC_OUTCOME_NOT_POWERED;
		break;
	case VSC_REQUEST_POWER_OFF:
		break;
	}
}

/* The peer answered what the user waits for under `pending`. */
static void pass_on(VscHost *host, uint32_t id, VscToken pending, const VscRequest *answer)
{
	HostReader *reader = &host->readers[id];
	VscOutcome said = vsc_request_outcome(answer->what);
	VscOutcome outcome = checked_outcome(reader, said, answer->data);

	if (said != outcome)
		host_note(host, id, "the peer's answer to %s, %s with %zu bytes, is none",
			  vsc_request_name(reader->out_kind), vsc_outcome_name(said),
			  answer->data.len);
	note_power(reader, outcome);
	host_answer(host, id, pending, outcome,
		    outcome == VSC_OUTCOME_OK ? answer->data : vmc_span(NULL, 0));
}

void host_on_answer(VscHost *host, const VscMessage *message)
{
	uint32_t id = message->reader_id;
	VscRequest answer;
	HostReader *reader;
	VscToken pending;

	if (!vsc_request_get(message->payload, &answer)) {
		host_note(host, id, "an Answer of %zu bytes", message->payload.len);
		return;
	}
	reader = reader_of(host, message, answer.token);
	if (reader == NULL)
		return;
	pending = reader->pending;
	reader->out = 0;
	reader->pending = VSC_TOKEN_NONE;
	reader->until = host->now + VSC_HOST_SILENT_MS;
	if (pending != VSC_TOKEN_NONE)
		pass_on(host, id, pending, &answer);
	send_due(host, id);
}

void host_on_working(VscHost *host, const VscMessage *message)
{
	uint32_t id = message->reader_id;
	VscWireToken token;
	HostReader *reader;
	VscToken waits;

	if (!vsc_request_get_token(message->payload, &token)) {
		host_note(host, id, "a Working of %zu bytes", message->payload.len);
		return;
	}
	reader = reader_of(host, message, token);
	if (reader == NULL)
		return;
	reader->until = host->now + VSC_HOST_SILENT_MS;
	waits = reader->pending != VSC_TOKEN_NONE ? reader->pending : reader->held.token;
	if (waits != VSC_TOKEN_NONE)
		host_push(host,
			  &(VscHostAction){
				  .kind = VSC_HOST_WORKING, .reader_id = id, .token = waits },
			  vmc_span(NULL, 0));
}

void host_on_reader_info(VscHost *host, const VscMessage *message)
{
	uint32_t id = message->reader_id;
	VscDescription description = { 0 };

	if (!vsc_description_get(message->payload, &description)) {
		host_note(host, id, "a ReaderInfo that ends within what it says");
		return;
	}
	if (id == VSC_READER_UNDEFINED) {
		vsc_description_clear(&host->described);
		host->described = description;
		host->is_described = true;
		return;
	}
	if (id < host->max_readers && host->readers[id].there) {
		vsc_places_describe(&host->places, id, &description);
		host->readers[id].described = true;
		host_push(host,
			  &(VscHostAction){ .kind = VSC_HOST_READER_DESCRIBED, .reader_id = id },
			  vmc_span(NULL, 0));
	} else {
		host_note(host, id, "ReaderInfo for reader %u, which is not there", id);
	}
	vsc_description_clear(&description);
}

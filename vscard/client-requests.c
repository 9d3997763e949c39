/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The client session at a host with VSC_CAP_REQUESTS (PROTOCOL.md). Each
 * Request gets one Answer, when the card is done with it, also when it was
 * cancelled: the host waits for it before it asks the same card again. So there
 * is no queue here, and a second Request meanwhile fails. The one exception is
 * a card that goes: then CardRemove is the answer to all that was out.
 */

#include "vscard/client-private.h"

#include <string.h>

#include "vscard/atr.h" /* VSC_ATR_MIN */

bool client_has_requests(const VscClient *client)
{
	return (client->caps & client->host_caps & VSC_CAP_REQUESTS) != 0;
}

static void send_answer(VscClient *client, uint32_t id, VscWireToken token, VscOutcome outcome,
			VmcSpan data)
{
	size_t len = VSC_WIRE_PREFIX + data.len;
	uint8_t *payload = g_malloc(len);

	vsc_request_put(payload, token, vsc_request_code(outcome));
	if (data.len > 0)
		memcpy(payload + VSC_WIRE_PREFIX, data.data, data.len);
	client_send(client, VSC_TYPE_ANSWER, id, vmc_span(payload, len));
	vmc_wipe(payload, len);
	g_free(payload);
}

/* Why the card of `slot` is not asked; OK: it is. */
static VscOutcome refusal(const VscClient *client, uint32_t id, uint32_t slot,
			  const VscRequest *request)
{
	if (slot == SLOT_NOBODY || client->readers[slot].atr_len == 0)
		return VSC_OUTCOME_NO_CARD;
	/* Asked before the host knew that the card was gone; it is not for the
	 * one that is there now. */
	if (client_has_op(client, VSC_TYPE_CARD_REMOVE, id) ||
	    client_has_op(client, VSC_TYPE_READER_REMOVE, id))
		return VSC_OUTCOME_NO_CARD;
	if (client->readers[slot].token != VSC_TOKEN_NONE)
		return VSC_OUTCOME_FAILED;
	if (vsc_request_name(request->what) == NULL)
		return VSC_OUTCOME_FAILED;
	return VSC_OUTCOME_OK;
}

static VscClientActionKind action_of(VscRequestKind kind)
{
	switch (kind) {
	case VSC_REQUEST_POWER_ON:
		return VSC_CLIENT_POWER_ON;
	case VSC_REQUEST_POWER_OFF:
		return VSC_CLIENT_POWER_OFF;
	case VSC_REQUEST_RESET:
		return VSC_CLIENT_RESET;
	case VSC_REQUEST_TRANSMIT:
		break;
	}
	return VSC_CLIENT_TRANSMIT;
}

void client_on_request(VscClient *client, const VscMessage *message)
{
	uint32_t id = message->reader_id, slot = client_find_taken(client, id);
	VscRequest request;
	ClientReader *reader;
	VscOutcome why;

	if (!vsc_request_get(message->payload, &request)) {
		client_note(client, "a Request of %zu bytes", message->payload.len);
		return;
	}
	why = refusal(client, id, slot, &request);
	if (why != VSC_OUTCOME_OK) {
		if (why == VSC_OUTCOME_FAILED)
			client_note(client,
				    "reader %u: request %u (kind %u) is none, or one too many", id,
				    request.token, request.what);
		send_answer(client, id, request.token, why, vmc_span(NULL, 0));
		return;
	}
	if (request.what == VSC_REQUEST_TRANSMIT && request.data.len < 4) {
		send_answer(client, id, request.token, VSC_OUTCOME_OK,
			    vmc_span(client_sw_wrong_length, sizeof(client_sw_wrong_length)));
		return;
	}
	reader = &client->readers[slot];
	reader->token = client_new_token(client);
	reader->asked = request.token;
	reader->kind = (VscRequestKind)request.what;
	client_push(client,
		    &(VscClientAction){
			    .kind = action_of(reader->kind), .slot = slot, .token = reader->token },
		    request.what == VSC_REQUEST_TRANSMIT ? request.data : vmc_span(NULL, 0));
}

void client_on_cancel(VscClient *client, const VscMessage *message)
{
	uint32_t slot = client_find_taken(client, message->reader_id);
	VscWireToken token;

	if (!vsc_request_get_token(message->payload, &token)) {
		client_note(client, "a Cancel of %zu bytes", message->payload.len);
		return;
	}
	/* One that is answered already has crossed with its Answer. */
	if (slot == SLOT_NOBODY || client->readers[slot].token == VSC_TOKEN_NONE ||
	    client->readers[slot].asked != token)
		return;
	client_push(client,
		    &(VscClientAction){ .kind = VSC_CLIENT_CANCEL,
					.slot = slot,
					.token = client->readers[slot].token },
		    vmc_span(NULL, 0));
}

void client_answer_request(VscClient *client, uint32_t slot, VscOutcome outcome, VmcSpan data)
{
	ClientReader *reader = &client->readers[slot];

	if (outcome == VSC_OUTCOME_OK) {
		switch (reader->kind) {
		case VSC_REQUEST_POWER_ON:
		case VSC_REQUEST_RESET:
			if (data.len < VSC_ATR_MIN || data.len > VSC_ATR_MAX)
				outcome = VSC_OUTCOME_FAILED;
			break;
		case VSC_REQUEST_TRANSMIT:
			if (data.len < 2 || data.len > VSC_RESPONSE_MAX)
				outcome = VSC_OUTCOME_FAILED;
			break;
		case VSC_REQUEST_POWER_OFF:
			data = vmc_span(NULL, 0);
			break;
		}
	}
	if (outcome != VSC_OUTCOME_OK)
		data = vmc_span(NULL, 0);
	reader->token = VSC_TOKEN_NONE;
	send_answer(client, reader->id, reader->asked, outcome, data);
}

void vsc_client_working(VscClient *client, uint32_t slot)
{
	uint8_t payload[VSC_TOKEN_LENGTH];
	const ClientReader *reader;

	g_return_if_fail(client != NULL && slot < VSC_CLIENT_READERS_MAX);
	reader = &client->readers[slot];

	if (reader->token == VSC_TOKEN_NONE || !client_has_requests(client))
		return;
	vsc_request_put_token(payload, reader->asked);
	client_send(client, VSC_TYPE_WORKING, reader->id, vmc_span(payload, sizeof(payload)));
}

void client_send_reader_info(VscClient *client, uint32_t slot, uint32_t id)
{
	uint8_t payload[VSC_READER_INFO_MAX];
	size_t len = vsc_description_put(payload, &client->readers[slot].described);

	client_send(client, VSC_TYPE_READER_INFO, id, vmc_span(payload, len));
}

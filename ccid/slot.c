/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CcidSlot: see slot.h. At most one command is pending; it is known by the
 * token of its request to the card, and an outcome under any other token is
 * an old one and dropped. So each command has one answer, its own.
 */

#include "ccid/slot.h"

#include <string.h>

#include "ccid/descriptors.h"
#include "ccid/params.h"
#include "ccid/reader.h"
#include "vmc/buf.h"

#define APDU_MIN 4u /* CLA INS P1 P2: ISO/IEC 7816-4, 5.1 */
#define POWER_SELECT_MAX 3u

/* PC_to_RDR_Abort and the request ABORT make one abort only together (5.3.1). */
typedef enum AbortState {
	ABORT_NONE,
	ABORT_REQUESTED, /* the request came: all fails until the message does */
	ABORT_MESSAGE,   /* the message came and waits for the request */
} AbortState;

struct CcidSlot {
	uint8_t index;
	const CcidSlotEvents *events;
	void *user;

	VscCard *card;
	bool present, active, changed;
	bool unseen;      /* the host has not looked since the last change */
	unsigned repeats; /* how often that was said again */
	int64_t again;    /* when it is said again; -1: not */
	bool powered; /* the card was given power, or may yet have it, and no order to lose it */
	VscToken last_token;
	bool atr_known;
	VscAtr atr;
	CcidParams params;

	VscToken pending; /* VSC_TOKEN_NONE: no command waits for the card */
	uint8_t pending_type, pending_seq;
	int64_t due; /* its time extension, or of IccPowerOn its end */

	bool chaining;
	VmcBuf chain;

	AbortState abort;
	uint8_t abort_seq;
};

const VscCard *ccid_slot_card(const CcidSlot *slot)
{
	return slot->card;
}

uint8_t ccid_slot_status(const CcidSlot *slot)
{
	if (!slot->present)
		return CCID_ICC_ABSENT;
	if (!slot->active)
		return CCID_ICC_INACTIVE;
	return CCID_ICC_ACTIVE;
}

bool ccid_slot_present(const CcidSlot *slot)
{
	return slot->present;
}

bool ccid_slot_take_change(CcidSlot *slot, int64_t now)
{
	bool changed = slot->changed;

	slot->changed = false;
	if (changed && slot->unseen && slot->repeats < CCID_NOTIFY_AGAIN_TIMES)
		slot->again = now + CCID_NOTIFY_AGAIN_MS;
	return changed;
}

/* The host is to be told what is in the slot. */
static void begin_change(CcidSlot *slot)
{
	slot->changed = true;
	slot->unseen = true;
	slot->repeats = 0;
	slot->again = -1;
}

static void repeat_change(CcidSlot *slot)
{
	g_debug("slot %u: the host has not looked; it is told again", slot->index);
	slot->again = -1;
	slot->repeats++;
	slot->changed = true;
	slot->events->changed(slot->user);
}

/* ---- Answers ---- */

/* Byte 9 of an answer: each type has its own use for it (6.2). */
static uint8_t third_byte(const CcidSlot *slot, CcidType type)
{
	switch (type) {
	case CCID_SLOT_STATUS:
		if (!slot->active)
			return CCID_CLOCK_STOPPED_LOW;
		return CCID_CLOCK_RUNNING;
	case CCID_PARAMETERS:
		return slot->params.protocol;
	default:
		return 0;
	}
}

static void emit(CcidSlot *slot, CcidMessage *answer, VmcSpan data)
{
	size_t len = CCID_HEADER + data.len;
	uint8_t *bytes = g_malloc(len);

	answer->slot = slot->index;
	answer->length = (uint32_t)data.len;
	ccid_message_put_header(bytes, answer);
	if (data.len)
		memcpy(bytes + CCID_HEADER, data.data, data.len);
	slot->events->message(slot->user, vmc_span(bytes, len));
	vmc_wipe(bytes, len);
	g_free(bytes);
}

static void answer_data(CcidSlot *slot, uint8_t command, uint8_t seq, VmcSpan data)
{
	CcidType type = ccid_message_answer(command);
	CcidMessage answer = {
		.type = (uint8_t)type,
		.seq = seq,
		.specific = { ccid_slot_status(slot), CCID_ERROR_NONE, third_byte(slot, type) },
	};

	emit(slot, &answer, data);
}

static void answer_ok(CcidSlot *slot, uint8_t command, uint8_t seq)
{
	answer_data(slot, command, seq, vmc_span(NULL, 0));
}

static void answer_status(CcidSlot *slot, uint8_t command, uint8_t seq, uint8_t status,
			  uint8_t error)
{
	CcidType type = ccid_message_answer(command);
	CcidMessage answer = {
		.type = (uint8_t)type,
		.seq = seq,
		.specific = { status, error, third_byte(slot, type) },
	};

	emit(slot, &answer, vmc_span(NULL, 0));
}

static void answer_failed(CcidSlot *slot, uint8_t command, uint8_t seq, uint8_t error)
{
	answer_status(slot, command, seq, (uint8_t)(ccid_slot_status(slot) | CCID_COMMAND_FAILED),
		      error);
}

static void answer_params(CcidSlot *slot, const CcidMessage *command)
{
	answer_data(slot, command->type, command->seq,
		    vmc_span(slot->params.bytes, slot->params.len));
}

/* Asks for another block of a command that comes in pieces (6.2.1). */
static void answer_next_block(CcidSlot *slot, const CcidMessage *command)
{
	CcidMessage answer = {
		.type = CCID_DATA_BLOCK,
		.seq = command->seq,
		.specific = { ccid_slot_status(slot), CCID_ERROR_NONE, CCID_CHAIN_NEXT },
	};

	emit(slot, &answer, vmc_span(NULL, 0));
}

/* ---- The pending command ---- */

static VscToken next_token(CcidSlot *slot)
{
	if (++slot->last_token == VSC_TOKEN_NONE)
		slot->last_token++;
	return slot->last_token;
}

static VscToken begin(CcidSlot *slot, const CcidMessage *command, int64_t now)
{
	bool power_on = command->type == CCID_ICC_POWER_ON;

	slot->pending = next_token(slot);
	slot->pending_type = command->type;
	slot->pending_seq = command->seq;
	slot->due = now + (power_on ? CCID_POWER_ON_MS : CCID_TIME_EXTENSION_MS);
	return slot->pending;
}

/* The pending command fails here and now; whatever its card still says of it
 * is under a token that nobody waits for. */
static void fail_pending(CcidSlot *slot, uint8_t error)
{
	if (slot->pending == VSC_TOKEN_NONE)
		return;
	slot->pending = VSC_TOKEN_NONE;
	answer_failed(slot, slot->pending_type, slot->pending_seq, error);
}

/* The slot gives the card no more power, however long that takes. */
static void take_power(CcidSlot *slot)
{
	slot->powered = false;
	vsc_card_power_off(slot->card, next_token(slot));
}

/* Takes back what the card was asked for. One that was asked for its ATR may
 * get power all the same, which nobody wants then. */
static void withdraw_request(CcidSlot *slot)
{
	if (slot->pending == VSC_TOKEN_NONE || !slot->card)
		return;
	vsc_card_cancel(slot->card, slot->pending);
	if (slot->pending_type != CCID_ICC_POWER_ON)
		return;
	slot->active = false;
	take_power(slot);
}

static void drop_chain(CcidSlot *slot)
{
	slot->chaining = false;
	vmc_buf_clear(&slot->chain);
}

static void deactivate(CcidSlot *slot)
{
	slot->active = false;
	drop_chain(slot);
}

/* ---- Outcomes ---- */

static void outcome_failed(CcidSlot *slot, VscOutcome outcome)
{
	uint8_t type = slot->pending_type, seq = slot->pending_seq;

	switch (outcome) {
	case VSC_OUTCOME_NO_CARD:
		/* Perhaps before `removed` says so. */
		deactivate(slot);
		answer_status(slot, type, seq, CCID_ICC_ABSENT | CCID_COMMAND_FAILED,
			      CCID_ERROR_MUTE);
		return;
	case VSC_OUTCOME_NOT_POWERED:
		deactivate(slot);
		answer_failed(slot, type, seq, CCID_ERROR_MUTE);
		return;
	case VSC_OUTCOME_MUTE:
		answer_failed(slot, type, seq, CCID_ERROR_MUTE);
		return;
	case VSC_OUTCOME_CANCELLED:
		answer_failed(slot, type, seq, CCID_ERROR_ABORTED);
		return;
	case VSC_OUTCOME_OK:
	case VSC_OUTCOME_FAILED:
		answer_failed(slot, type, seq, CCID_ERROR_HARDWARE);
		return;
	}
}

static bool is_atr(VmcSpan atr)
{
	return atr.len >= VSC_ATR_MIN && atr.len <= VSC_ATR_MAX;
}

static void powered_on(CcidSlot *slot, VscOutcome outcome, VmcSpan atr)
{
	const char *because;

	slot->active = false;
	g_debug("slot %u: power on: %s", slot->index,
		outcome == VSC_OUTCOME_OK ? "an ATR" : vsc_outcome_name(outcome));
	if (outcome != VSC_OUTCOME_OK || !is_atr(atr)) {
		outcome_failed(slot, outcome);
		return;
	}
	if (atr.data[0] != 0x3B && atr.data[0] != 0x3F) {
		answer_failed(slot, slot->pending_type, slot->pending_seq, CCID_ERROR_BAD_ATR_TS);
		return;
	}
	/* Cards with a slip in their ATR are about; what to make of it is for
	 * the host, which gets it as it is. */
	slot->active = true;
	slot->atr_known = vsc_atr_parse(atr, &slot->atr, &because);
	slot->atr.historical = vmc_span(NULL, 0); /* borrowed from `atr` */
	ccid_params_from_atr(slot->atr_known ? &slot->atr : NULL, &slot->params);
	answer_data(slot, slot->pending_type, slot->pending_seq, atr);
}

static void transmitted(CcidSlot *slot, VscOutcome outcome, VmcSpan response)
{
	if (outcome == VSC_OUTCOME_OK && response.len >= 2 && response.len <= VSC_RESPONSE_MAX)
		answer_data(slot, slot->pending_type, slot->pending_seq, response);
	else
		outcome_failed(slot, outcome);
}

static void on_answered(void *user, VscToken token, VscOutcome outcome, VmcSpan data)
{
	CcidSlot *slot = user;

	if (token == VSC_TOKEN_NONE || token != slot->pending)
		return;
	slot->pending = VSC_TOKEN_NONE;
	switch (slot->pending_type) {
	case CCID_ICC_POWER_ON:
		powered_on(slot, outcome, data);
		break;
	default:
		transmitted(slot, outcome, data);
		break;
	}
}

static void set_present(CcidSlot *slot, bool present)
{
	g_debug("slot %u: card %s", slot->index, present ? "inserted" : "removed");
	slot->present = present;
	slot->powered = false;
	begin_change(slot);
	deactivate(slot);
	if (!present)
		fail_pending(slot, CCID_ERROR_MUTE);
	slot->events->changed(slot->user);
}

static void on_inserted(void *user)
{
	set_present(user, true);
}

static void on_removed(void *user)
{
	set_present(user, false);
}

/* The time extensions say that the command is pending; that the card still
 * works adds nothing to it. */
static void on_working(void *user, VscToken token)
{
	(void)user;
	(void)token;
}

static void on_described(void *user)
{
	CcidSlot *slot = user;

	slot->events->described(slot->user);
}

static const VscCardEvents card_events = {
	.inserted = on_inserted,
	.removed = on_removed,
	.answered = on_answered,
	.working = on_working,
	.described = on_described,
};

/* ---- Commands ---- */

static void power_on(CcidSlot *slot, const CcidMessage *command, int64_t now)
{
	VscToken token;

	if (command->specific[0] > POWER_SELECT_MAX) {
		answer_failed(slot, command->type, command->seq, CCID_ERROR_SPECIFIC);
		return;
	}
	drop_chain(slot);
	token = begin(slot, command, now);
	slot->powered = true;
	/* Of a card that has power already this is the warm reset (6.1.1). */
	if (slot->active)
		vsc_card_reset(slot->card, token);
	else
		vsc_card_power_on(slot->card, token);
}

static void power_off(CcidSlot *slot, const CcidMessage *command, int64_t now)
{
	(void)now;
	deactivate(slot);
	if (slot->present)
		take_power(slot);
	answer_ok(slot, command->type, command->seq);
}

static void get_slot_status(CcidSlot *slot, const CcidMessage *command, int64_t now)
{
	(void)now;
	answer_ok(slot, command->type, command->seq);
}

static void transmit(CcidSlot *slot, const CcidMessage *command, VmcSpan apdu, int64_t now)
{
	if (apdu.len < APDU_MIN || apdu.len > VSC_COMMAND_MAX)
		answer_failed(slot, command->type, command->seq, CCID_ERROR_LENGTH);
	else
		vsc_card_transmit(slot->card, begin(slot, command, now), apdu);
}

/* One more piece of a command; false, with the command answered, when it does
 * not belong or makes too much. */
static bool add_piece(CcidSlot *slot, const CcidMessage *command)
{
	if (!slot->chaining) {
		answer_failed(slot, command->type, command->seq, CCID_ERROR_LEVEL);
		return false;
	}
	if (!vmc_buf_append(&slot->chain, command->data)) {
		drop_chain(slot);
		answer_failed(slot, command->type, command->seq, CCID_ERROR_LENGTH);
		return false;
	}
	return true;
}

static void xfr_block(CcidSlot *slot, const CcidMessage *command, int64_t now)
{
	unsigned level = command->specific[1] | (unsigned)command->specific[2] << 8;

	if (level == CCID_CHAIN_WHOLE || level == CCID_CHAIN_BEGINS)
		drop_chain(slot);
	switch (level) {
	case CCID_CHAIN_WHOLE:
		transmit(slot, command, command->data, now);
		break;
	case CCID_CHAIN_BEGINS:
		slot->chaining = true;
		/* fall through */
	case CCID_CHAIN_CONTINUES:
		if (add_piece(slot, command))
			answer_next_block(slot, command);
		break;
	case CCID_CHAIN_ENDS:
		if (add_piece(slot, command))
			transmit(slot, command, vmc_buf_span(&slot->chain), now);
		drop_chain(slot);
		break;
	default:
		/* CCID_CHAIN_NEXT included: responses are never in pieces. */
		answer_failed(slot, command->type, command->seq, CCID_ERROR_LEVEL);
		break;
	}
}

static void get_parameters(CcidSlot *slot, const CcidMessage *command, int64_t now)
{
	(void)now;
	answer_params(slot, command);
}

static void reset_parameters(CcidSlot *slot, const CcidMessage *command, int64_t now)
{
	(void)now;
	ccid_params_from_atr(slot->atr_known ? &slot->atr : NULL, &slot->params);
	answer_params(slot, command);
}

static void set_parameters(CcidSlot *slot, const CcidMessage *command, int64_t now)
{
	const VscAtr *atr = slot->atr_known ? &slot->atr : NULL;
	uint8_t error = ccid_params_check(command->specific[0], command->data, atr, &slot->params);

	(void)now;
	if (error)
		answer_failed(slot, command->type, command->seq, error);
	else
		answer_params(slot, command);
}

static void icc_clock(CcidSlot *slot, const CcidMessage *command, int64_t now)
{
	(void)now;
	/* bClockCommand 0 restarts a clock that never stops here; dwFeatures
	 * does not claim that it can be stopped. */
	if (command->specific[0] == 0)
		answer_ok(slot, command->type, command->seq);
	else
		answer_failed(slot, command->type, command->seq, CCID_ERROR_SPECIFIC);
}

static void set_rate_and_clock(CcidSlot *slot, const CcidMessage *command, int64_t now)
{
	uint8_t data[8];

	(void)now;
	/* The answer says what is set, which is what always is (6.1.14, 6.2.5). */
	vmc_put_u32le(&data[0], CCID_CLOCK_KHZ);
	vmc_put_u32le(&data[4], CCID_RATE_DEFAULT);
	answer_data(slot, command->type, command->seq, vmc_span(data, sizeof(data)));
}

typedef struct Command {
	uint8_t type;
	int length;     /* dwLength it must have, -1 for any */
	uint8_t status; /* the worst bmICCStatus it can do with */
	void (*run)(CcidSlot *slot, const CcidMessage *command, int64_t now);
} Command;

/* Clause 6.1; what is not here is not supported: Escape has nothing to say,
 * Secure and Mechanical have no hardware, T0APDU is of the TPDU level. */
static const Command commands[] = {
	{ CCID_ICC_POWER_ON, 0, CCID_ICC_INACTIVE, power_on },
	{ CCID_ICC_POWER_OFF, 0, CCID_ICC_ABSENT, power_off },
	{ CCID_GET_SLOT_STATUS, 0, CCID_ICC_ABSENT, get_slot_status },
	{ CCID_XFR_BLOCK, -1, CCID_ICC_ACTIVE, xfr_block },
	{ CCID_GET_PARAMETERS, 0, CCID_ICC_ACTIVE, get_parameters },
	{ CCID_RESET_PARAMETERS, 0, CCID_ICC_ACTIVE, reset_parameters },
	{ CCID_SET_PARAMETERS, -1, CCID_ICC_ACTIVE, set_parameters },
	{ CCID_ICC_CLOCK, 0, CCID_ICC_ACTIVE, icc_clock },
	{ CCID_SET_RATE_AND_CLOCK, 8, CCID_ICC_ABSENT, set_rate_and_clock },
};

static const Command *find_command(uint8_t type)
{
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
		if (commands[i].type == type)
			return &commands[i];
	return NULL;
}

static void run(CcidSlot *slot, const CcidMessage *message, int64_t now)
{
	const Command *command = find_command(message->type);

	if (!command)
		answer_failed(slot, message->type, message->seq, CCID_ERROR_NOT_SUPPORTED);
	else if (command->length >= 0 && message->length != (uint32_t)command->length)
		answer_failed(slot, message->type, message->seq, CCID_ERROR_LENGTH);
	else if (ccid_slot_status(slot) > command->status)
		/* No card, or one without power: neither answers (6.2.6). */
		answer_failed(slot, message->type, message->seq, CCID_ERROR_MUTE);
	else
		command->run(slot, message, now);
}

/* ---- Abort ---- */

/* An Abort message whose request did not come fails: it is given up. */
static void fail_waiting_abort(CcidSlot *slot)
{
	if (slot->abort != ABORT_MESSAGE)
		return;
	slot->abort = ABORT_NONE;
	answer_failed(slot, CCID_ABORT, slot->abort_seq, CCID_ERROR_ABORTED);
}

static void abort_message(CcidSlot *slot, const CcidMessage *message)
{
	if (message->length != 0) {
		answer_failed(slot, message->type, message->seq, CCID_ERROR_LENGTH);
	} else if (slot->abort != ABORT_REQUESTED) {
		fail_waiting_abort(slot);
		slot->abort = ABORT_MESSAGE;
		slot->abort_seq = message->seq;
	} else if (message->seq == slot->abort_seq) {
		slot->abort = ABORT_NONE;
		answer_ok(slot, message->type, message->seq);
	} else {
		answer_failed(slot, message->type, message->seq, CCID_ERROR_ABORTED);
	}
}

void ccid_slot_abort(CcidSlot *slot, uint8_t seq)
{
	bool complete = slot->abort == ABORT_MESSAGE && slot->abort_seq == seq;

	g_debug("slot %u: the host aborts command %u", slot->index, seq);
	withdraw_request(slot);
	fail_pending(slot, CCID_ERROR_ABORTED);
	drop_chain(slot);
	if (complete) {
		slot->abort = ABORT_NONE;
		answer_ok(slot, CCID_ABORT, seq);
		return;
	}
	fail_waiting_abort(slot);
	slot->abort = ABORT_REQUESTED;
	slot->abort_seq = seq;
}

void ccid_slot_command(CcidSlot *slot, const CcidMessage *message, int64_t now)
{
	/* It looks, and is answered what is there now. */
	if (message->type == CCID_GET_SLOT_STATUS || message->type == CCID_ICC_POWER_ON) {
		slot->unseen = false;
		slot->again = -1;
	}
	if (message->type == CCID_ABORT) {
		abort_message(slot, message);
		return;
	}
	/* Only the last message can be the other half of an abort (5.3.1). */
	fail_waiting_abort(slot);
	if (slot->abort == ABORT_REQUESTED)
		answer_failed(slot, message->type, message->seq, CCID_ERROR_ABORTED);
	else if (slot->pending != VSC_TOKEN_NONE)
		answer_failed(slot, message->type, message->seq, CCID_ERROR_SLOT_BUSY);
	else
		run(slot, message, now);
}

/* ---- Time ---- */

int64_t ccid_slot_deadline(const CcidSlot *slot)
{
	int64_t due = slot->pending != VSC_TOKEN_NONE ? slot->due : -1;

	if (slot->again >= 0 && (due < 0 || slot->again < due))
		return slot->again;
	return due;
}

/* No ATR came in time. */
static void end_power_on(CcidSlot *slot)
{
	g_debug("slot %u: no ATR for %d s", slot->index, CCID_POWER_ON_MS / 1000);
	withdraw_request(slot);
	fail_pending(slot, CCID_ERROR_MUTE);
}

void ccid_slot_tick(CcidSlot *slot, int64_t now)
{
	uint8_t status = (uint8_t)(ccid_slot_status(slot) | CCID_COMMAND_TIME_EXTENSION);

	if (slot->again >= 0 && now >= slot->again)
		repeat_change(slot);
	if (slot->pending == VSC_TOKEN_NONE || now < slot->due)
		return;
	if (slot->pending_type == CCID_ICC_POWER_ON) {
		end_power_on(slot);
		return;
	}
	slot->due = now + CCID_TIME_EXTENSION_MS;
	g_debug("slot %u: %s %u takes its time", slot->index, ccid_message_name(slot->pending_type),
		slot->pending_seq);
	answer_status(slot, slot->pending_type, slot->pending_seq, status,
		      CCID_TIME_EXTENSION_FACTOR);
}

/* ---- Life ---- */

void ccid_slot_reset(CcidSlot *slot)
{
	withdraw_request(slot);
	slot->pending = VSC_TOKEN_NONE;
	slot->abort = ABORT_NONE;
	/* A power on that was cancelled, or aborted, may have come to pass. */
	if (slot->card && slot->present && slot->powered)
		take_power(slot);
	deactivate(slot);
	begin_change(slot);
	slot->changed = slot->present;
}

void ccid_slot_set_card(CcidSlot *slot, VscCard *card)
{
	bool was = slot->present;

	if (slot->card) {
		withdraw_request(slot);
		vsc_card_set_user(slot->card, NULL, NULL);
	}
	slot->card = card;
	if (was)
		set_present(slot, false);
	if (!card)
		return;
	vsc_card_set_user(card, &card_events, slot);
	if (vsc_card_present(card))
		set_present(slot, true);
}

CcidSlot *ccid_slot_new(uint8_t index, const CcidSlotEvents *events, void *user)
{
	CcidSlot *slot = g_new0(CcidSlot, 1);

	slot->index = index;
	slot->again = -1;
	slot->events = events;
	slot->user = user;
	vmc_buf_init(&slot->chain, VSC_COMMAND_MAX);
	ccid_params_from_atr(NULL, &slot->params);
	return slot;
}

void ccid_slot_free(CcidSlot *slot)
{
	if (!slot)
		return;
	if (slot->card) {
		withdraw_request(slot);
		vsc_card_set_user(slot->card, NULL, NULL);
	}
	drop_chain(slot);
	g_free(slot);
}

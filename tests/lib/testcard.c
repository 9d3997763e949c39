/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VscTestCard: see testcard.h. */

#include "tests/lib/testcard.h"

#include <string.h>

#include "vscard/apdu.h"

#define INS_ECHO 0xECu
#define INS_WAIT 0xEDu
#define WORKING_EVERY_MS 1000u

struct VscTestCard {
	VscCard card; /* first: VscCardClass is given this */
	VscTestMode mode;
	VscOutcome outcome;
	unsigned delay;
	bool powered;
	GByteArray *atr;
	unsigned counts[VSC_TEST_REQUESTS];
	unsigned pending, most_pending;

	GPtrArray *jobs; /* Job, what the main loop has to answer */
	VscToken last;
	VscTestRequest last_request;
	GByteArray *last_command;
};

/* One answer on its way. */
typedef struct Job {
	VscTestCard *card;
	VscToken token;
	VscTestRequest request;
	VscOutcome outcome;
	GByteArray *data;
	unsigned left; /* ms until the answer */
	guint source;
} Job;

static const uint8_t atr_both[] = { 0x3B, 0x80, 0x80, 0x01, 0x01 };
static const uint8_t atr_t1[] = { 0x3B, 0x80, 0x81, 0x31, 0x20, 0x45, 0x55 };
static const uint8_t atr_t0[] = { 0x3B, 0x02, 0x14, 0x50 };

const VmcSpan vsc_test_atr_both = { atr_both, sizeof(atr_both) };
const VmcSpan vsc_test_atr_t1 = { atr_t1, sizeof(atr_t1) };
const VmcSpan vsc_test_atr_t0 = { atr_t0, sizeof(atr_t0) };

static VscTestCard *test_card(VscCard *card)
{
	return (VscTestCard *)card;
}

/* ---- Responses ---- */

static void append_sw(GByteArray *response, unsigned sw)
{
	uint8_t bytes[] = { (uint8_t)(sw >> 8), (uint8_t)sw };

	g_byte_array_append(response, bytes, sizeof(bytes));
}

static void append_echo(GByteArray *response, const VscApdu *apdu)
{
	unsigned sum = 0;

	for (size_t i = 0; i < apdu->data.len; i++)
		sum += apdu->data.data[i];
	g_byte_array_set_size(response, apdu->ne);
	for (unsigned i = 0; i < apdu->ne; i++)
		response->data[i] = (uint8_t)((apdu->p2 ^ (sum & 0xFFu)) + i * 7 + i / 251);
}

GByteArray *vsc_test_card_response(VmcSpan command, unsigned *delay)
{
	GByteArray *response = g_byte_array_new();
	const char *because;
	VscApdu apdu;

	*delay = 0;
	if (!vsc_apdu_parse(command, &apdu, &because)) {
		append_sw(response, 0x6700);
	} else if (apdu.cla == 0 && apdu.ins == INS_ECHO) {
		append_echo(response, &apdu);
		append_sw(response, 0x9000);
	} else if (apdu.cla == 0 && apdu.ins == INS_WAIT) {
		*delay = ((unsigned)apdu.p1 << 8 | apdu.p2) * 100;
		append_sw(response, 0x9000);
	} else {
		append_sw(response, 0x6D00);
	}
	return response;
}

/* ---- Jobs ---- */

static void job_free(void *data)
{
	Job *job = data;

	if (job->source)
		g_source_remove(job->source);
	g_byte_array_unref(job->data);
	g_free(job);
}

static void finish(VscTestCard *card, VscTestRequest request, VscToken token, VscOutcome outcome,
		   VmcSpan data)
{
	if (request == VSC_TEST_TRANSMIT && card->pending > 0)
		card->pending--;
	if (request == VSC_TEST_POWER_OFF)
		card->powered = false;
	if (request == VSC_TEST_POWER_ON || request == VSC_TEST_RESET)
		card->powered = outcome == VSC_OUTCOME_OK;
	vsc_card_emit_answered(&card->card, token, outcome, data);
}

static gboolean on_job(void *data);

static void schedule(Job *job)
{
	unsigned wait = MIN(job->left, WORKING_EVERY_MS);

	job->left -= wait;
	job->source = wait ? g_timeout_add(wait, on_job, job) : g_idle_add(on_job, job);
}

static gboolean on_job(void *data)
{
	Job *job = data;
	VscTestCard *card = job->card;
	guint at;

	job->source = 0;
	if (job->left > 0) {
		schedule(job);
		vsc_card_emit_working(&card->card, job->token);
		return G_SOURCE_REMOVE;
	}
	if (g_ptr_array_find(card->jobs, job, &at))
		g_ptr_array_steal_index(card->jobs, at);
	finish(card, job->request, job->token, job->outcome,
	       vmc_span(job->data->data, job->data->len));
	job_free(job);
	return G_SOURCE_REMOVE;
}

static void add_job(VscTestCard *card, VscTestRequest request, VscToken token, VscOutcome outcome,
		    GByteArray *data, unsigned delay)
{
	Job *job = g_new0(Job, 1);

	job->card = card;
	job->token = token;
	job->request = request;
	job->outcome = outcome;
	job->data = data;
	job->left = delay;
	g_ptr_array_add(card->jobs, job);
	schedule(job);
}

/* ---- As a VscCard ---- */

static void note(VscTestCard *card, VscTestRequest request, VscToken token, VmcSpan command)
{
	card->counts[request]++;
	card->last = token;
	card->last_request = request;
	g_byte_array_set_size(card->last_command, 0);
	g_byte_array_append(card->last_command, command.data, (guint)command.len);
	if (request != VSC_TEST_TRANSMIT)
		return;
	card->pending++;
	card->most_pending = MAX(card->most_pending, card->pending);
}

/* Ends a request that cannot succeed, from the loop. True if it is one. */
static bool refuse(VscTestCard *card, VscTestRequest request, VscToken token)
{
	VscOutcome outcome = VSC_OUTCOME_OK;

	if (card->mode == VSC_TEST_MANUAL)
		return true;
	if (card->mode == VSC_TEST_FAIL)
		outcome = card->outcome;
	else if (!card->card.present)
		outcome = VSC_OUTCOME_NO_CARD;
	else if (request == VSC_TEST_TRANSMIT && !card->powered)
		outcome = VSC_OUTCOME_NOT_POWERED;
	if (outcome == VSC_OUTCOME_OK)
		return false;
	add_job(card, request, token, outcome, g_byte_array_new(), card->delay);
	return true;
}

static GByteArray *copy_atr(const VscTestCard *card)
{
	GByteArray *copy = g_byte_array_new();

	return g_byte_array_append(copy, card->atr->data, card->atr->len);
}

static void power(VscTestCard *card, VscTestRequest request, VscToken token)
{
	note(card, request, token, vmc_span(NULL, 0));
	if (refuse(card, request, token))
		return;
	add_job(card, request, token, VSC_OUTCOME_OK,
		request == VSC_TEST_POWER_OFF ? g_byte_array_new() : copy_atr(card), 0);
}

static void card_power_on(VscCard *card, VscToken token)
{
	power(test_card(card), VSC_TEST_POWER_ON, token);
}

static void card_power_off(VscCard *card, VscToken token)
{
	power(test_card(card), VSC_TEST_POWER_OFF, token);
}

static void card_reset(VscCard *card, VscToken token)
{
	power(test_card(card), VSC_TEST_RESET, token);
}

static void card_transmit(VscCard *base, VscToken token, VmcSpan command)
{
	VscTestCard *card = test_card(base);
	unsigned delay;
	GByteArray *response;

	note(card, VSC_TEST_TRANSMIT, token, command);
	if (refuse(card, VSC_TEST_TRANSMIT, token) || card->mode == VSC_TEST_SILENT)
		return;
	response = vsc_test_card_response(command, &delay);
	add_job(card, VSC_TEST_TRANSMIT, token, VSC_OUTCOME_OK, response, delay + card->delay);
}

/* A real card cannot stop what it does: the answer comes all the same, late. */
static void card_cancel(VscCard *card, VscToken token)
{
	(void)token;
	test_card(card)->counts[VSC_TEST_CANCEL]++;
}

static void card_free(VscCard *base)
{
	VscTestCard *card = test_card(base);

	g_ptr_array_unref(card->jobs);
	g_byte_array_unref(card->atr);
	g_byte_array_unref(card->last_command);
	vsc_card_finish(&card->card);
	g_free(card);
}

static const VscCardClass class = {
	.power_on = card_power_on,
	.power_off = card_power_off,
	.reset = card_reset,
	.transmit = card_transmit,
	.cancel = card_cancel,
	.free = card_free,
};

/* ---- For the test ---- */

VscTestCard *vsc_test_card_new(const char *name)
{
	VscTestCard *card = g_new0(VscTestCard, 1);

	vsc_card_init(&card->card, &class, name);
	card->outcome = VSC_OUTCOME_FAILED;
	card->atr = g_byte_array_new();
	card->last_command = g_byte_array_new();
	card->jobs = g_ptr_array_new_with_free_func(job_free);
	vsc_test_card_set_atr(card, vsc_test_atr_t1);
	return card;
}

void vsc_test_card_free(VscTestCard *card)
{
	if (card)
		vsc_card_free(&card->card);
}

VscCard *vsc_test_card(VscTestCard *card)
{
	return &card->card;
}

void vsc_test_card_set_atr(VscTestCard *card, VmcSpan atr)
{
	g_byte_array_set_size(card->atr, 0);
	g_byte_array_append(card->atr, atr.data, (guint)atr.len);
}

static void end_jobs(VscTestCard *card)
{
	while (card->jobs->len > 0) {
		Job *job = g_ptr_array_steal_index(card->jobs, 0);

		finish(card, job->request, job->token, VSC_OUTCOME_NO_CARD, vmc_span(NULL, 0));
		job_free(job);
	}
}

void vsc_test_card_set_present(VscTestCard *card, bool present)
{
	card->powered = false;
	if (present) {
		vsc_card_emit_inserted(&card->card);
		return;
	}
	vsc_card_emit_removed(&card->card);
	end_jobs(card);
}

void vsc_test_card_set_mode(VscTestCard *card, VscTestMode mode)
{
	card->mode = mode;
}

void vsc_test_card_set_delay(VscTestCard *card, unsigned ms)
{
	card->delay = ms;
}

void vsc_test_card_set_outcome(VscTestCard *card, VscOutcome outcome)
{
	card->outcome = outcome;
}

bool vsc_test_card_powered(const VscTestCard *card)
{
	return card->powered;
}

unsigned vsc_test_card_count(const VscTestCard *card, VscTestRequest request)
{
	return card->counts[request];
}

unsigned vsc_test_card_most_pending(const VscTestCard *card)
{
	return card->most_pending;
}

VscToken vsc_test_card_last(const VscTestCard *card, VscTestRequest *request, VmcSpan *command)
{
	if (request)
		*request = card->last_request;
	if (command)
		*command = vmc_span(card->last_command->data, card->last_command->len);
	return card->last;
}

void vsc_test_card_answer(VscTestCard *card, VscOutcome outcome, VmcSpan data)
{
	bool atr = card->last_request == VSC_TEST_POWER_ON || card->last_request == VSC_TEST_RESET;

	if (atr && outcome == VSC_OUTCOME_OK && data.len == 0)
		data = vmc_span(card->atr->data, card->atr->len);
	finish(card, card->last_request, card->last, outcome, data);
}

void vsc_test_card_answer_token(VscTestCard *card, VscToken token, VscOutcome outcome, VmcSpan data)
{
	vsc_card_emit_answered(&card->card, token, outcome, data);
}

void vsc_test_card_working(VscTestCard *card)
{
	vsc_card_emit_working(&card->card, card->last);
}

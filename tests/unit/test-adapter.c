/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Any host with any card: each case of an APDU, in all lengths that are a limit
 * of something, between a host and a card that keep to the standards and a
 * VscAdapter between them; then what the adapter does as a card, by hand.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>
#include <string.h>

#include "tests/lib/model.h"
#include "tests/lib/script.h"
#include "vscard/adapter.h"

/* T=1 with "extended Lc and Le" in its historical bytes; T=0. */
static const uint8_t atr_t1[] = { 0x3b, 0x85, 0x01, 0x80, 0x73, 0x00, 0x00, 0x40, 0x37 };
static const uint8_t atr_t0[] = { 0x3b, 0x02, 0x14, 0x50 };

/* ---- The table ---- */

/* Kinds of card. What the T=0 ones do is all allowed by 7816-3. */
static const struct {
	const char *name;
	VscModelCard kind;
	bool t0_atr;
} cards[] = {
	{ "T=0", { .t0 = true, .envelope = true }, true },
	{ "T=0, exact", { .t0 = true, .exact = true, .envelope = true }, true },
	{ "T=0, chains", { .t0 = true, .chain = true }, true },
	{ "T=0, short only", { .t0 = true }, true },
	{ "T=0, 9000 first", { .t0 = true, .quiet = true, .envelope = true }, true },
	{ "T=0, 52 at a time", { .t0 = true, .portion = 52, .chain = true }, true },
	{ "T=0, an ATR of T=1", { .t0 = true, .envelope = true, .chain = true }, false },
	{ "APDUs", { .extended = true }, false },
	{ "APDUs, an ATR of T=0", { .extended = true }, true },
	{ "APDUs, strict", { .extended = true, .strict = true }, false },
	{ "APDUs, short only", { .extended = false }, false },
};

static const struct {
	const char *name;
	VscModelForm form;
} hosts[] = {
	{ "APDUs", VSC_MODEL_APDUS },
	{ "TPDUs", VSC_MODEL_TPDUS },
	{ "TPDUs, ENVELOPE", VSC_MODEL_ENVELOPES },
};

static const size_t ncs[] = { 1, 51, 52, 53, 255, 256, 257, 65535 };
static const uint32_t nes[] = { 1, 51, 52, 53, 255, 256, 257, 65535, 65536 };
static const size_t theres[] = { 0, 1, 51, 52, 53, 255, 256, 257, 65535, 65536 };

/* One card with the adapter around it and a host before it. */
typedef struct Cell {
	VscCard inner;
	VscModelCard model;
	VscModelHost host;
	VscCard *card; /* the adapter's */
	bool t0_atr;
	VscToken token; /* what the inner card has to answer */
	bool power;
	GByteArray *said;   /* by the inner card */
	GByteArray *answer; /* by the adapter */
	char what[160];
} Cell;

static void inner_power(VscCard *card, VscToken token)
{
	Cell *cell = (Cell *)card;

	card->exchange = cell->model.t0 ? VSC_EXCHANGE_T0 : VSC_EXCHANGE_APDU;
	cell->token = token;
	cell->power = true;
}

static void inner_transmit(VscCard *card, VscToken token, VmcSpan command)
{
	Cell *cell = (Cell *)card;

	assert_int_equal(cell->token, VSC_TOKEN_NONE);
	cell->token = token;
	cell->said = vsc_model_card_exchange(&cell->model, command);
}

static const VscCardClass inner_class = {
	.power_on = inner_power,
	.transmit = inner_transmit,
};

static void take_answer(void *user, VscToken token, VscOutcome outcome, VmcSpan data)
{
	Cell *cell = user;

	(void)token;
	assert_int_equal(outcome, VSC_OUTCOME_OK);
	assert_null(cell->answer);
	cell->answer = g_byte_array_append(g_byte_array_new(), data.data, (guint)data.len);
}

static const VscCardEvents cell_events = { .answered = take_answer };

/* Lets the inner card answer, and the loop turn, until the adapter has said. */
static GByteArray *wait_answer(Cell *cell)
{
	while (cell->answer == NULL) {
		g_autoptr(GByteArray) said = g_steal_pointer(&cell->said);
		VscToken token = cell->token;
		VmcSpan atr = cell->t0_atr ? vmc_span(atr_t0, sizeof(atr_t0)) :
					     vmc_span(atr_t1, sizeof(atr_t1));

		cell->token = VSC_TOKEN_NONE;
		if (token == VSC_TOKEN_NONE)
			g_main_context_iteration(NULL, TRUE);
		else
			vsc_card_emit_answered(&cell->inner, token, VSC_OUTCOME_OK,
					       cell->power ? atr : vmc_span(said->data, said->len));
		cell->power = false;
	}
	return g_steal_pointer(&cell->answer);
}

static GByteArray *cell_exchange(void *user, VmcSpan command)
{
	Cell *cell = user;

	vsc_card_transmit(cell->card, vsc_token_next(), command);
	return wait_answer(cell);
}

static void cell_init(Cell *cell, size_t card, size_t host)
{
	VscExchange exchange =
		hosts[host].form == VSC_MODEL_APDUS ? VSC_EXCHANGE_APDU : VSC_EXCHANGE_T0;
	VscModelCard state;
	VscAdapter *adapter;

	*cell = (Cell){ .model = cards[card].kind, .t0_atr = cards[card].t0_atr };
	vsc_model_card_init(&state);
	cell->model.data = state.data;
	cell->model.letters = state.letters;
	cell->host = (VscModelHost){ hosts[host].form, cell_exchange, cell, NULL };
	vsc_card_init(&cell->inner, &inner_class, "model");
	vsc_card_emit_inserted(&cell->inner);
	adapter = vsc_adapter_new(&cell->inner);
	cell->card = vsc_adapter_card(adapter);
	vsc_card_set_user(cell->card, &cell_events, cell);
	vsc_adapter_set_host(adapter, exchange);
	vsc_card_power_on(cell->card, vsc_token_next());
	g_byte_array_unref(wait_answer(cell));
	assert_int_equal(vsc_card_exchange(cell->card), exchange);
}

static void cell_finish(Cell *cell)
{
	vsc_card_free(cell->card);
	vsc_card_finish(&cell->inner);
	vsc_model_card_finish(&cell->model);
}

/* The status word of a command that this card cannot be told; 0: it can. */
static unsigned refusal(const Cell *cell, const GByteArray *apdu, size_t nc)
{
	bool extended = apdu->len > 5 && apdu->data[4] == 0;

	/* Nothing else stands for a card that does not know ENVELOPE. */
	if (cell->host.form == VSC_MODEL_ENVELOPES && nc > 255 &&
	    (cell->model.t0 ? !cell->model.envelope : cell->t0_atr))
		return 0x6d00;
	if (!cell->model.t0)
		return extended && !cell->model.extended ? 0x6700 : 0;
	if (nc <= 255 || cell->model.envelope || cell->model.chain)
		return 0;
	return apdu->data[0] < 0x80 ? 0x6884 : 0x6700;
}

static void check_data(const Cell *cell, const GByteArray *all, size_t n)
{
	if (all->len - 2 != n)
		fail_msg("%s: %u bytes, not %zu", cell->what, all->len - 2, n);
	for (size_t i = 0; i < n; i++) {
		if (all->data[i] != VSC_MODEL_BYTE(i))
			fail_msg("%s: byte %zu is wrong", cell->what, i);
	}
}

static void run_cell(Cell *cell, size_t there, const GByteArray *apdu, size_t nc, uint32_t ne)
{
	unsigned refused = refusal(cell, apdu, nc), sw;
	g_autoptr(GByteArray) all = NULL;
	size_t n = MIN(there, ne);

	cell->model.there = there;
	cell->model.carried_out = 0;
	cell->model.left = 0;
	all = vsc_model_host_run(&cell->host, vmc_span(apdu->data, apdu->len));
	sw = (unsigned)all->data[all->len - 2] << 8 | all->data[all->len - 1];
	if (cell->model.wrong != NULL || cell->host.wrong != NULL)
		fail_msg("%s: card: %s; host: %s", cell->what, cell->model.wrong, cell->host.wrong);
	if (refused != 0) {
		if (sw != refused || all->len != 2 || cell->model.carried_out != 0)
			fail_msg("%s: %04x, not %04x", cell->what, sw, refused);
		return;
	}
	check_data(cell, all, n);
	if (sw != 0x9000 && (there <= ne || sw >> 8 != 0x61))
		fail_msg("%s: %04x", cell->what, sw);
	if (cell->model.carried_out != 1)
		fail_msg("%s: carried out %u times", cell->what, cell->model.carried_out);
	if (cell->model.data->len != nc || (nc > 0 && memcmp(cell->model.data->data,
							     apdu->data + (nc > 255      ? 7 :
									   apdu->data[4] ? 5 :
											   7),
							     nc) != 0))
		fail_msg("%s: the card got other data", cell->what);
}

static void check_cell(Cell *cell, size_t card, size_t host, uint8_t ins, size_t nc, uint32_t ne,
		       size_t there, bool extended)
{
	g_autoptr(GByteArray) apdu = vsc_model_apdu(0, ins, nc, ne, extended);

	g_snprintf(cell->what, sizeof(cell->what),
		   "host %s, card %s, INS %02x, Nc %zu, Ne %u%s, %zu there", hosts[host].name,
		   cards[card].name, ins, nc, ne, extended ? ", extended" : "", there);
	if (nc == 0)
		g_byte_array_set_size(cell->model.data, 0);
	run_cell(cell, there, apdu, nc, ne);
}

static void check_cases(Cell *cell, size_t card, size_t host)
{
	check_cell(cell, card, host, VSC_MODEL_CASE1, 0, 0, 0, false);
	for (size_t e = 0; e < G_N_ELEMENTS(nes); e++)
		for (size_t n = 0; n < G_N_ELEMENTS(theres); n++) {
			check_cell(cell, card, host, VSC_MODEL_CASE2, 0, nes[e], theres[n], false);
			check_cell(cell, card, host, VSC_MODEL_CASE2, 0, nes[e], theres[n], true);
		}
	for (size_t c = 0; c < G_N_ELEMENTS(ncs); c++) {
		check_cell(cell, card, host, VSC_MODEL_CASE3, ncs[c], 0, 0, false);
		check_cell(cell, card, host, VSC_MODEL_CASE3, ncs[c], 0, 0, true);
		for (size_t e = 0; e < G_N_ELEMENTS(nes); e += 2) {
			for (size_t n = c % 2; n < G_N_ELEMENTS(theres); n += 2)
				check_cell(cell, card, host, VSC_MODEL_CASE4, ncs[c], nes[e],
					   theres[n], c % 2 == 0);
		}
	}
}

static void test_table(void **state)
{
	(void)state;
	for (size_t c = 0; c < G_N_ELEMENTS(cards); c++) {
		for (size_t h = 0; h < G_N_ELEMENTS(hosts); h++) {
			Cell cell;

			cell_init(&cell, c, h);
			check_cases(&cell, c, h);
			cell_finish(&cell);
		}
	}
}

/* Each length of an envelope about where its last pieces are cut. */
static void test_envelope_lengths(void **state)
{
	Cell cell;

	(void)state;
	cell_init(&cell, 0, 0);
	for (size_t nc = 490; nc < 520; nc++) {
		check_cell(&cell, 0, 0, VSC_MODEL_CASE3, nc, 0, 0, false);
		check_cell(&cell, 0, 0, VSC_MODEL_CASE4, nc, 256, 10, false);
	}
	cell_finish(&cell);
}

/* A class that has no bit for chaining; and P3 = 00 for case 1. */
static void test_forms(void **state)
{
	static const uint8_t case1[] = { 0, VSC_MODEL_CASE1, 0, 0, 0 };

	(void)state;
	for (size_t c = 0; c < G_N_ELEMENTS(cards); c++) {
		g_autoptr(GByteArray) apdu = vsc_model_apdu(0x80, VSC_MODEL_CASE3, 256, 0, false);
		g_autoptr(GByteArray) all = NULL;
		Cell cell;

		cell_init(&cell, c, 1);
		g_snprintf(cell.what, sizeof(cell.what), "%s, forms", cards[c].name);
		if (cell.model.t0 && !cell.model.envelope)
			cell.model.chain = false;
		run_cell(&cell, 0, apdu, 256, 0);
		all = cell_exchange(&cell, vmc_span(case1, sizeof(case1)));
		assert_int_equal(all->len, 2);
		assert_int_equal(all->data[0], 0x90);
		assert_null(cell.model.wrong);
		cell_finish(&cell);
	}
}

/* A host of APDUs that fetches itself what it did not ask for. */
static void test_host_fetches(void **state)
{
	static const uint8_t select[] = { 0, VSC_MODEL_CASE4, 0, 0, 1, 0xaa };
	static const uint8_t get_response[] = { 0, 0xc0, 0, 0, 10 };
	g_autoptr(GByteArray) first = NULL;
	g_autoptr(GByteArray) second = NULL;
	Cell cell;

	(void)state;
	cell_init(&cell, 0, 0);
	cell.model.there = 10;
	first = cell_exchange(&cell, vmc_span(select, sizeof(select)));
	assert_int_equal(first->len, 2);
	assert_memory_equal(first->data, "\x61\x0a", 2);
	second = cell_exchange(&cell, vmc_span(get_response, sizeof(get_response)));
	assert_int_equal(second->len, 12);
	check_data(&cell, second, 10);
	cell_finish(&cell);
}

/* ---- By hand ---- */

/* A card that keeps what it is asked until the test answers. */
typedef struct Fake {
	VscCard base;
	VscToken token;
	VscToken cancelled;
	char *got; /* "on", "off", "reset", or the command as hex */
} Fake;

static void fake_asked(VscCard *card, VscToken token, char *got)
{
	Fake *fake = (Fake *)card;

	fake->token = token;
	g_free(fake->got);
	fake->got = got;
}

static void fake_power_on(VscCard *card, VscToken token)
{
	fake_asked(card, token, g_strdup("on"));
}

static void fake_power_off(VscCard *card, VscToken token)
{
	fake_asked(card, token, g_strdup("off"));
}

static void fake_reset(VscCard *card, VscToken token)
{
	fake_asked(card, token, g_strdup("reset"));
}

static void fake_transmit(VscCard *card, VscToken token, VmcSpan command)
{
	fake_asked(card, token, vsc_script_hex(command));
}

static void fake_cancel(VscCard *card, VscToken token)
{
	((Fake *)card)->cancelled = token;
}

static void fake_free(VscCard *card)
{
	g_free(((Fake *)card)->got);
	vsc_card_finish(card);
}

static const VscCardClass fake_class = {
	.power_on = fake_power_on,
	.power_off = fake_power_off,
	.reset = fake_reset,
	.transmit = fake_transmit,
	.cancel = fake_cancel,
	.free = fake_free,
};

static void fake_answer(Fake *fake, VscOutcome outcome, const char *hex)
{
	g_autoptr(GByteArray) bytes = vsc_script_bytes(hex);

	vsc_card_emit_answered(&fake->base, fake->token, outcome,
			       vmc_span(bytes->data, bytes->len));
}

/* What the adapter's user hears, as words. */
static GString *heard;

static void hear_inserted(void *user)
{
	(void)user;
	g_string_append(heard, "in ");
}

static void hear_removed(void *user)
{
	(void)user;
	g_string_append(heard, "out ");
}

static void hear_answered(void *user, VscToken token, VscOutcome outcome, VmcSpan data)
{
	g_autofree char *hex = vsc_script_hex(data);

	(void)user;
	g_string_append_printf(heard, "%u:%s:%s ", token, vsc_outcome_name(outcome), hex);
}

static void hear_working(void *user, VscToken token)
{
	(void)user;
	g_string_append_printf(heard, "%u:working ", token);
}

static void hear_described(void *user)
{
	(void)user;
	g_string_append(heard, "described ");
}

static const VscCardEvents hear = {
	.inserted = hear_inserted,
	.removed = hear_removed,
	.answered = hear_answered,
	.working = hear_working,
	.described = hear_described,
};

static void assert_heard(const char *words)
{
	while (g_main_context_iteration(NULL, FALSE))
		;
	assert_string_equal(heard->str, words);
	g_string_truncate(heard, 0);
}

static VscCard *wrapped(Fake *fake, VscAdapter **adapter)
{
	VscCard *card;

	*fake = (Fake){ 0 };
	heard = g_string_new(NULL);
	vsc_card_init(&fake->base, &fake_class, "fake");
	*adapter = vsc_adapter_new(&fake->base);
	card = vsc_adapter_card(*adapter);
	vsc_card_set_user(card, &hear, NULL);
	assert_string_equal(vsc_card_name(card), "fake");
	return card;
}

static void unwrap(VscCard *card, Fake *fake)
{
	vsc_card_free(card);
	vsc_card_free(&fake->base);
	g_string_free(heard, TRUE);
}

static void send(VscCard *card, VscToken token, const char *hex)
{
	g_autoptr(GByteArray) bytes = vsc_script_bytes(hex);

	vsc_card_transmit(card, token, vmc_span(bytes->data, bytes->len));
}

static void test_adapter(void **state)
{
	VscAdapter *adapter;
	Fake fake;
	VscCard *card = wrapped(&fake, &adapter);

	(void)state;
	vsc_card_emit_inserted(&fake.base);
	assert_heard("in ");
	vsc_card_power_on(card, 11);
	assert_string_equal(fake.got, "on");
	fake_answer(&fake, VSC_OUTCOME_OK,
		    "3b8001"
		    "81");
	assert_heard("11:ok:3b00 ");

	send(card, 12, "00a4000001aa");
	assert_string_equal(fake.got, "00a4000001aa00");
	vsc_card_emit_working(&fake.base, fake.token);
	fake_answer(&fake, VSC_OUTCOME_OK, "6700");
	assert_string_equal(fake.got, "00a4000001aa");
	fake_answer(&fake, VSC_OUTCOME_OK, "11229000");
	assert_heard("12:working 12:ok:6102 ");

	/* An answer that is at hand comes from the loop. */
	send(card, 13, "00c0000002");
	assert_string_equal(heard->str, "");
	assert_heard("13:ok:11229000 ");

	/* Reset forgets what is kept. */
	send(card, 14, "00a4000001aa");
	fake_answer(&fake, VSC_OUTCOME_OK, "11229000");
	vsc_card_reset(card, 15);
	fake_answer(&fake, VSC_OUTCOME_OK, "3b800181");
	send(card, 16, "00c0000002");
	assert_string_equal(fake.got, "00c0000002");
	fake_answer(&fake, VSC_OUTCOME_MUTE, "");
	assert_heard("14:ok:6102 15:ok:3b00 16:card does not answer: ");
	unwrap(card, &fake);
}

static void test_adapter_cancel(void **state)
{
	VscAdapter *adapter;
	Fake fake;
	VscCard *card = wrapped(&fake, &adapter);

	(void)state;
	vsc_card_emit_inserted(&fake.base);
	vsc_card_power_on(card, 1);
	fake_answer(&fake, VSC_OUTCOME_OK, "3b800181");
	send(card, 2, "00a4000001aa");
	vsc_card_cancel(card, 99);
	assert_int_equal(fake.cancelled, 0);
	vsc_card_cancel(card, 2);
	assert_int_equal(fake.cancelled, fake.token);
	/* It would be asked again; nobody waits. */
	fake_answer(&fake, VSC_OUTCOME_OK, "6700");
	assert_heard("in 1:ok:3b00 2:cancelled: ");

	/* Removed in mid-command, and the card answers all the same. */
	send(card, 3, "00a4000001aa");
	vsc_card_emit_removed(&fake.base);
	fake_answer(&fake, VSC_OUTCOME_OK, "6700");
	assert_heard("out 3:ok:6700 ");
	fake_answer(&fake, VSC_OUTCOME_OK, "9000");
	assert_heard("");
	unwrap(card, &fake);
}

/* Told to, it lets everything through. */
static void test_adapter_apdu(void **state)
{
	VscAdapter *adapter;
	Fake fake;
	VscCard *card = wrapped(&fake, &adapter);

	(void)state;
	vsc_card_emit_inserted(&fake.base);
	vsc_adapter_set_host(adapter, VSC_EXCHANGE_APDU);
	vsc_card_power_on(card, 1);
	fake_answer(&fake, VSC_OUTCOME_OK, "3b800181");
	send(card, 2, "00a4000001aa");
	assert_string_equal(fake.got, "00a4000001aa");
	fake_answer(&fake, VSC_OUTCOME_OK, "11229000");
	vsc_card_power_off(card, 3);
	assert_string_equal(fake.got, "off");
	fake_answer(&fake, VSC_OUTCOME_OK, "");
	assert_heard("in 1:ok:3b800181 2:ok:11229000 3:ok: ");
	unwrap(card, &fake);
}

/* A card of T=0 with a host of APDUs: one request is as many as it takes. */
static void test_adapter_tpdu(void **state)
{
	VscAdapter *adapter;
	Fake fake;
	VscCard *card = wrapped(&fake, &adapter);

	(void)state;
	fake.base.exchange = VSC_EXCHANGE_T0;
	vsc_card_emit_inserted(&fake.base);
	vsc_adapter_set_host(adapter, VSC_EXCHANGE_APDU);
	vsc_card_power_on(card, 1);
	fake_answer(&fake, VSC_OUTCOME_OK, "3b021450");
	assert_int_equal(vsc_card_exchange(card), VSC_EXCHANGE_APDU);
	send(card, 2, "00a4000001aa00");
	assert_string_equal(fake.got, "00a4000001aa");
	fake_answer(&fake, VSC_OUTCOME_OK, "6102");
	assert_string_equal(fake.got, "00c0000002");
	vsc_card_emit_working(&fake.base, fake.token);
	fake_answer(&fake, VSC_OUTCOME_OK, "6c01");
	assert_string_equal(fake.got, "00c0000001");
	fake_answer(&fake, VSC_OUTCOME_OK, "119000");
	assert_heard("in 1:ok:3b021450 2:working 2:ok:119000 ");

	/* What cannot be said in TPDUs is answered from the loop. */
	send(card, 3, "0060000000");
	assert_string_equal(heard->str, "");
	assert_heard("3:ok:6d00 ");

	/* Nobody waits for the rest; a removal ends it. */
	send(card, 4, "00a4000001aa00");
	vsc_card_cancel(card, 4);
	fake_answer(&fake, VSC_OUTCOME_OK, "6102");
	assert_string_equal(fake.got, "00a4000001aa");
	send(card, 5, "00a4000001bb00");
	fake_answer(&fake, VSC_OUTCOME_OK, "6102");
	vsc_card_emit_removed(&fake.base);
	fake_answer(&fake, VSC_OUTCOME_NO_CARD, "");
	assert_heard("4:cancelled: out 5:no card: ");
	unwrap(card, &fake);
}

/* What the card takes, and the host, counts from the next power on. */
static void test_adapter_changes(void **state)
{
	VscAdapter *adapter;
	Fake fake;
	VscCard *card = wrapped(&fake, &adapter);

	(void)state;
	vsc_card_emit_inserted(&fake.base);
	vsc_card_power_on(card, 1);
	fake_answer(&fake, VSC_OUTCOME_OK, "3b021450");
	assert_int_equal(vsc_card_exchange(card), VSC_EXCHANGE_T0);
	fake.base.exchange = VSC_EXCHANGE_T0;
	vsc_adapter_set_host(adapter, VSC_EXCHANGE_APDU);
	/* The ATR says T=0, and yet the card takes APDUs. */
	send(card, 2, "00a4000001aa");
	assert_string_equal(fake.got, "00a4000001aa00");
	fake_answer(&fake, VSC_OUTCOME_OK, "11229000");
	vsc_card_reset(card, 3);
	fake_answer(&fake, VSC_OUTCOME_OK, "3b021450");
	send(card, 4, "00a4000001aa00");
	assert_string_equal(fake.got, "00a4000001aa");
	fake_answer(&fake, VSC_OUTCOME_OK, "6a82");
	assert_heard("in 1:ok:3b021450 2:ok:6102 3:ok:3b021450 4:ok:6a82 ");
	unwrap(card, &fake);
}

static void assert_atr(VscCard *card, const char *want)
{
	g_autofree char *hex = vsc_script_hex(vsc_card_atr(card));

	assert_string_equal(hex, want);
}

/* Power off comes while the card works, and power on behind it: one at a time. */
static void test_adapter_waits(void **state)
{
	VscAdapter *adapter;
	Fake fake;
	VscCard *card = wrapped(&fake, &adapter);

	(void)state;
	vsc_card_emit_inserted(&fake.base);
	vsc_card_power_on(card, 1);
	vsc_card_cancel(card, 1);
	vsc_card_power_off(card, 2);
	vsc_card_power_on(card, 3);
	vsc_card_power_off(card, 4);
	vsc_card_power_on(card, 5);
	send(card, 6, "00a4000001aa");
	vsc_card_cancel(card, 6);
	vsc_card_reset(card, 7);
	/* What a power off or a cancel makes moot is never asked. */
	assert_heard("in 2:cancelled: 3:cancelled: 6:cancelled: ");
	vsc_card_emit_working(&fake.base, fake.token);
	assert_string_equal(fake.got, "on");
	fake_answer(&fake, VSC_OUTCOME_OK, "3b800181");
	assert_heard("1:working 7:working 1:ok:3b00 ");
	assert_string_equal(fake.got, "off");
	fake_answer(&fake, VSC_OUTCOME_OK, "");
	assert_heard("4:ok: ");
	assert_string_equal(fake.got, "on");
	vsc_card_emit_removed(&fake.base);
	fake_answer(&fake, VSC_OUTCOME_NO_CARD, "");
	assert_heard("out 5:no card: ");
	assert_string_equal(fake.got, "reset");
	/* It is freed with one under way and one that waits. */
	send(card, 8, "00a4000001aa");
	unwrap(card, &fake);
}

/* What is known of the card and of its reader is the adapter's too. */
static void test_adapter_describes(void **state)
{
	static const uint8_t atr[] = { 0x3b, 0x80, 0x01, 0x81 };
	const VscReaderInfo info = { .vendor = "V", .serial = "1" };
	VscAdapter *adapter;
	Fake fake;
	VscCard *card = wrapped(&fake, &adapter);

	(void)state;
	assert_atr(card, "");
	vsc_card_set_atr(&fake.base, vmc_span(atr, sizeof(atr)));
	vsc_card_emit_inserted(&fake.base);
	assert_atr(card, "3b00");
	vsc_adapter_set_host(adapter, VSC_EXCHANGE_APDU);
	assert_atr(card, "3b800181");
	vsc_card_emit_removed(&fake.base);
	assert_atr(card, "");

	vsc_card_describe(&fake.base, "other", &info);
	assert_string_equal(vsc_card_name(card), "other");
	assert_string_equal(vsc_card_info(card)->vendor, "V");
	assert_null(vsc_card_info(card)->type);
	assert_heard("in out described ");

	/* One that is made later knows it from the start. */
	vsc_card_free(card);
	card = vsc_adapter_card(vsc_adapter_new(&fake.base));
	assert_string_equal(vsc_card_name(card), "other");
	assert_string_equal(vsc_card_info(card)->serial, "1");
	unwrap(card, &fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),           cmocka_unit_test(test_envelope_lengths),
		cmocka_unit_test(test_forms),           cmocka_unit_test(test_host_fetches),
		cmocka_unit_test(test_adapter),         cmocka_unit_test(test_adapter_apdu),
		cmocka_unit_test(test_adapter_cancel),  cmocka_unit_test(test_adapter_tpdu),
		cmocka_unit_test(test_adapter_changes), cmocka_unit_test(test_adapter_describes),
		cmocka_unit_test(test_adapter_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

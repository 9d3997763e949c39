/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Readers keep their number for as long as the program runs, so that a command
 * typed a moment too late does not reach another one's card.
 */

#include "tools/vscclient-cards.h"

#include "tools/vscclient-say.h"

typedef enum Lent {
	LENT_NOT, /* there is no host, or it has not answered */
	LENT_TAKEN,
	LENT_REFUSED,
} Lent;

typedef struct Reader {
	VscCard *card; /* NULL: it is gone */
	bool given;    /* to the lender */
	Lent lent;
} Reader;

struct ClientCards {
	ClientSource *source;
	ClientLender *lender;
	GArray *readers; /* of Reader; the place is the number */
	void (*on_card)(void *user);
	void *user;
};

static Reader *reader_at(const ClientCards *cards, guint number)
{
	return &g_array_index(cards->readers, Reader, number);
}

static Reader *find_reader(const ClientCards *cards, const VscCard *card)
{
	for (guint i = 0; i < cards->readers->len; i++) {
		if (reader_at(cards, i)->card == card)
			return reader_at(cards, i);
	}
	g_return_val_if_reached(NULL);
}

/* The lender may answer at once, and the answer be a reason to end. */
static bool give(ClientCards *cards, Reader *reader)
{
	reader->given = true;
	if (client_lender_add(cards->lender, reader->card))
		return true;
	reader->given = false;
	return false;
}

static void lend(ClientCards *cards, Reader *reader)
{
	if (!give(cards, reader))
		say("reader '%s' is not lent: %u %s, and that is the most",
		    vsc_card_name(reader->card), client_lender_max(cards->lender),
		    client_lender_max(cards->lender) == 1 ? "is" : "are");
}

static void take_back(ClientCards *cards, Reader *reader)
{
	if (reader->given)
		client_lender_remove(cards->lender, reader->card);
	reader->given = false;
}

/* The readers that are there and for which there was no place before. */
static void lend_the_rest(ClientCards *cards)
{
	for (guint i = 0; cards->lender != NULL && i < cards->readers->len; i++) {
		Reader *reader = reader_at(cards, i);

		if (reader->card != NULL && !reader->given)
			give(cards, reader);
	}
}

static void on_reader_added(void *user, VscCard *card)
{
	ClientCards *cards = user;
	Reader reader = { .card = card };

	g_array_append_val(cards->readers, reader);
	say("reader %u is '%s'", cards->readers->len - 1, vsc_card_name(card));
	if (cards->lender != NULL)
		lend(cards, reader_at(cards, cards->readers->len - 1));
}

static void on_reader_removed(void *user, VscCard *card)
{
	ClientCards *cards = user;
	Reader *reader = find_reader(cards, card);

	say("reader '%s' is gone", vsc_card_name(card));
	take_back(cards, reader);
	reader->card = NULL;
	lend_the_rest(cards);
}

static void on_card_changed(void *user, VscCard *card)
{
	ClientCards *cards = user;

	say("card %s reader '%s'", vsc_card_present(card) ? "inserted in" : "removed from",
	    vsc_card_name(card));
	cards->on_card(cards->user);
}

static void on_card_stayed(void *user, VscCard *card, bool present)
{
	(void)user;
	say("reader '%s' has %s", vsc_card_name(card), present ? "a card already" : "no card");
}

static const ClientSourceEvents source_events = {
	.reader_added = on_reader_added,
	.reader_removed = on_reader_removed,
	.card_changed = on_card_changed,
	.card_stayed = on_card_stayed,
};

ClientCards *client_cards_new(const ClientOptions *options, void (*on_card)(void *user), void *user,
			      GError **error)
{
	ClientCards *cards = g_new0(ClientCards, 1);

	cards->on_card = on_card;
	cards->user = user;
	cards->readers = g_array_new(FALSE, FALSE, sizeof(Reader));
	cards->source = client_source_new(options, &source_events, cards, error);
	if (cards->source == NULL)
		g_clear_pointer(&cards, client_cards_free);
	return cards;
}

void client_cards_free(ClientCards *cards)
{
	if (cards == NULL)
		return;
	client_source_free(cards->source);
	g_array_unref(cards->readers);
	g_free(cards);
}

void client_cards_lend(ClientCards *cards, ClientLender *lender)
{
	for (guint i = 0; i < cards->readers->len; i++)
		take_back(cards, reader_at(cards, i));
	cards->lender = lender;
	for (guint i = 0; cards->lender != NULL && i < cards->readers->len; i++) {
		if (reader_at(cards, i)->card != NULL)
			lend(cards, reader_at(cards, i));
	}
}

void client_cards_taken(ClientCards *cards, VscCard *card)
{
	find_reader(cards, card)->lent = LENT_TAKEN;
}

void client_cards_refused(ClientCards *cards, VscCard *card)
{
	find_reader(cards, card)->lent = LENT_REFUSED;
}

void client_cards_down(ClientCards *cards)
{
	for (guint i = 0; i < cards->readers->len; i++)
		reader_at(cards, i)->lent = LENT_NOT;
}

bool client_cards_all_refused(const ClientCards *cards)
{
	guint refused = 0;

	for (guint i = 0; i < cards->readers->len; i++) {
		const Reader *reader = reader_at(cards, i);

		if (reader->card != NULL && reader->lent != LENT_REFUSED)
			return false;
		refused += reader->card != NULL;
	}
	return refused > 0;
}

bool client_cards_wait(const ClientCards *cards)
{
	for (guint i = 0; i < cards->readers->len; i++) {
		const Reader *reader = reader_at(cards, i);

		if (reader->card != NULL && reader->given && reader->lent == LENT_NOT)
			return true;
	}
	return false;
}

VscCard *client_cards_get(const ClientCards *cards, guint number)
{
	return number < cards->readers->len ? reader_at(cards, number)->card : NULL;
}

void client_cards_insert(ClientCards *cards, guint number)
{
	client_source_insert(cards->source, client_cards_get(cards, number));
}

void client_cards_remove(ClientCards *cards, guint number)
{
	client_source_remove(cards->source, client_cards_get(cards, number));
}

void client_cards_list(const ClientCards *cards)
{
	static const char *const lent[] = { "not lent", "lent", "refused" };
	bool any = false;

	for (guint i = 0; i < cards->readers->len; i++) {
		const Reader *reader = reader_at(cards, i);

		if (reader->card == NULL)
			continue;
		answer("%3u  %-7s  %-8s  %s", i,
		       vsc_card_present(reader->card) ? "card" : "no card", lent[reader->lent],
		       vsc_card_name(reader->card));
		any = true;
	}
	if (!any)
		answer("there is no reader");
}

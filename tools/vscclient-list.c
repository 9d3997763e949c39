/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The readers are gathered as they are told; when all were, they are printed.
 */

#include "tools/vscclient-list.h"

#include "tools/vscclient-say.h"
#include "tools/vscclient-source.h"

/* A pcscd that works has told all long before. */
#define LIST_SECONDS 10u

typedef struct List {
	GMainLoop *loop;
	guint timer;      /* 0: over */
	GPtrArray *cards; /* borrowed */
} List;

static void on_reader_added(void *user, VscCard *card)
{
	g_ptr_array_add(((List *)user)->cards, card);
}

static void on_reader_removed(void *user, VscCard *card)
{
	g_ptr_array_remove(((List *)user)->cards, card);
}

static void on_card_changed(void *user, VscCard *card)
{
	(void)user;
	(void)card;
}

static void on_card_stayed(void *user, VscCard *card, bool present)
{
	(void)user;
	(void)card;
	(void)present;
}

static void on_settled(void *user)
{
	g_main_loop_quit(((List *)user)->loop);
}

static gboolean on_time_over(gpointer user)
{
	List *list = user;

	list->timer = 0;
	say("pcscd does not answer");
	g_main_loop_quit(list->loop);
	return G_SOURCE_REMOVE;
}

static const ClientSourceEvents source_events = {
	.reader_added = on_reader_added,
	.reader_removed = on_reader_removed,
	.card_changed = on_card_changed,
	.card_stayed = on_card_stayed,
	.settled = on_settled,
};

static void print(const VscCard *card)
{
	VmcSpan atr = vsc_card_atr(card);
	g_autoptr(GString) text = g_string_new(NULL);

	for (size_t i = 0; i < atr.len; i++)
		g_string_append_printf(text, "%s%02X", i > 0 ? " " : "", atr.data[i]);
	answer("%s", vsc_card_name(card));
	if (!vsc_card_present(card))
		answer("    no card");
	else if (atr.len == 0)
		answer("    a card that does not answer");
	else
		answer("    card, ATR %s", text->str);
}

ClientExit client_list(ClientOptions *options)
{
	List list = { .loop = g_main_loop_new(NULL, FALSE), .cards = g_ptr_array_new() };
	ClientSource *source = client_source_new(options, &source_events, &list, NULL);
	bool works;

	list.timer = g_timeout_add_seconds(LIST_SECONDS, on_time_over, &list);
	g_main_loop_run(list.loop);
	for (guint i = 0; i < list.cards->len; i++)
		print(list.cards->pdata[i]);
	works = client_source_works(source) && list.timer != 0;
	g_clear_handle_id(&list.timer, g_source_remove);
	if (works && list.cards->len == 0)
		answer("there is no reader");
	client_source_free(source);
	g_ptr_array_unref(list.cards);
	g_main_loop_unref(list.loop);
	client_options_clear(options);
	return works ? CLIENT_EXIT_DONE : CLIENT_EXIT_CARD;
}

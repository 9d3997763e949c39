/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The readers vscclient lends, numbered from 0 as they come: what the readers
 * of a source become on the link, and what a person can do to them.
 */

#pragma once

#include "tools/vscclient-lender.h"
#include "tools/vscclient-source.h"

typedef struct ClientCards ClientCards;

/* Starts the source that `options` (borrowed) ask for. `on_card` is called after
 * each coming and going of a card. NULL with `error` (VSC_CACARD_ERROR). */
ClientCards *client_cards_new(const ClientOptions *options, void (*on_card)(void *user), void *user,
			      GError **error);

/* Ends the cards; the lender must have given them back. */
void client_cards_free(ClientCards *cards);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ClientCards, client_cards_free)

/* Lends the readers there are and those that come to `lender` (borrowed;
 * NULL: takes them back from it). */
void client_cards_lend(ClientCards *cards, ClientLender *lender);

/* The host's word on the reader of `card`: kept for list. */
void client_cards_taken(ClientCards *cards, VscCard *card);
void client_cards_refused(ClientCards *cards, VscCard *card);
/* The host is gone: it has no reader any more. */
void client_cards_down(ClientCards *cards);

/* Has the host refused every reader that there is, and is there one? */
bool client_cards_all_refused(const ClientCards *cards);

/* Is there a reader that was lent and that the host has said nothing of? */
bool client_cards_wait(const ClientCards *cards);

/* Reader `number`; NULL if there is none. */
VscCard *client_cards_get(const ClientCards *cards, guint number);

/* Puts in or takes out the card of reader `number`, which there is. */
void client_cards_insert(ClientCards *cards, guint number);
void client_cards_remove(ClientCards *cards, guint number);

/* A line on stdout for each reader: number, card, host, name. */
void client_cards_list(const ClientCards *cards);

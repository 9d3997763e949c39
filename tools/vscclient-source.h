/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ClientSource: where the readers come from that vscclient lends: libcacard's
 * virtual ones, or those of this machine by pcscd.
 */

#pragma once

#include "tools/vscclient-options.h"
#include "vscard/card.h"

typedef struct ClientSource ClientSource;

/* What becomes of a PC/SC reader. */
typedef enum ClientChoice {
	CLIENT_CHOICE_LENT,
	CLIENT_CHOICE_EXCLUDED,
	CLIENT_CHOICE_OTHER, /* others are named */
	CLIENT_CHOICE_OURS,  /* one that vscard itself makes */
} ClientChoice;

/* What `options` choose for the reader called `name`. */
ClientChoice client_source_choose(const ClientOptions *options, const char *name);

/* What a source tells, from the main loop. */
typedef struct ClientSourceEvents {
	void (*reader_added)(void *user, VscCard *card);   /* owned by the source */
	void (*reader_removed)(void *user, VscCard *card); /* valid during the call */
	void (*card_changed)(void *user, VscCard *card);
	/* Insert found a card in the reader already (`present`), or remove none. */
	void (*card_stayed)(void *user, VscCard *card, bool present);
	/* All that there is at the start was told. Not every source says so. */
	void (*settled)(void *user);
} ClientSourceEvents;

/* What `options` ask for. NULL with `error` (VSC_CACARD_ERROR). */
ClientSource *client_source_new(const ClientOptions *options, const ClientSourceEvents *events,
				void *user, GError **error);

/* Ends it with its readers, which nobody uses any more. */
void client_source_free(ClientSource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ClientSource, client_source_free)

/* By hand: the card is put in, or taken out, as far as who borrows it sees. */
void client_source_insert(ClientSource *source, VscCard *card);
void client_source_remove(ClientSource *source, VscCard *card);

/* Is there what the readers come from, a pcscd say? */
bool client_source_works(const ClientSource *source);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Virtual cards of libcacard, over an NSS certificate database. The library
 * blocks and has one life a process, so all of it runs on one worker thread
 * behind a queue; here its readers appear as VscCards on the main loop.
 *
 * Three wrong PINs in a row and the card's VERIFY is blocked (6983) until the
 * card is taken out and put in again; the database knows no such thing.
 */

#pragma once

#include <glib.h>

#include "vscard/card.h"

#define VSC_CACARD_ERROR (vsc_cacard_error_quark())
GQuark vsc_cacard_error_quark(void);

typedef enum VscCacardError {
	VSC_CACARD_ERROR_OPTIONS,  /* an option string libcacard does not take */
	VSC_CACARD_ERROR_DATABASE, /* no such database, or not one */
	VSC_CACARD_ERROR_CERT,     /* a certificate that is not in it, or has no key */
	VSC_CACARD_ERROR_TWICE,    /* the process has used libcacard before */
	VSC_CACARD_ERROR_PCSCD,    /* real cards: pcscd cannot be reached */
} VscCacardError;

typedef struct VscCacard VscCacard;

/* What the set of readers tells its owner, from the main loop. */
typedef struct VscCacardEvents {
	void (*reader_added)(void *user, VscCard *card);   /* owned by the VscCacard */
	void (*reader_removed)(void *user, VscCard *card); /* valid during the call */
	/* A card came or went, whoever the card's one user is: after that user
	 * heard of it; see vsc_card_present(). Any member may be NULL. */
	void (*card_changed)(void *user, VscCard *card);
	/* vsc_cacard_insert() found a card in the reader (`present`), or
	 * vsc_cacard_remove() none: nothing changed. */
	void (*card_stayed)(void *user, VscCard *card, bool present);
} VscCacardEvents;

/*
 * Starts libcacard with `options`, a vcard_emul_options string taken as it is:
 *   db="DIR" use_hw=yes|no|removable hw_type=NAME hw_params=TEXT
 *   soft=(,reader name,CAC,,cert1,cert2,cert3)
 * NULL: libcacard's own default. The call returns when the database is open;
 * readers follow as events. NULL with `error` when it cannot.
 */
VscCacard *vsc_cacard_new(const char *options, const VscCacardEvents *events, void *user,
			  GError **error);

/*
 * The part of an option string for one reader, named `reader` (NULL: "Virtual
 * Reader"), with a card of `certs` (NULL-terminated nicknames, 1 to 10). NULL
 * with `error` if a name cannot stand in such a string (it has no quoting: ','
 * and ')' end a name). Free with g_free().
 */
char *vsc_cacard_soft(const char *reader, const char *const *certs, GError **error);

/*
 * The part of an option string that names the database directory `db`. NULL
 * with `error` if it cannot stand there (it is empty, or has a '"' or a line
 * end). Free with g_free().
 */
char *vsc_cacard_db(const char *db, GError **error);

/*
 * The option string for a card of `certs` (NULL-terminated nicknames, 1 to 10)
 * from the NSS database directory `db` (NULL: libcacard's default directory).
 * NULL with `error` as those of its parts. Free with g_free().
 */
char *vsc_cacard_options(const char *db, const char *const *certs, GError **error);

/* Ends the worker, after the command it is at, the readers and the cards.
 * libcacard cannot be used again in this process. Not from within an event. */
void vsc_cacard_free(VscCacard *cacard);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VscCacard, vsc_cacard_free)

/* Puts the card of a reader back in / takes it out, as by hand (the commands
 * insert and remove), in the order of the calls. Their effect comes as the
 * card's events, or as card_stayed. */
void vsc_cacard_insert(VscCard *card);
void vsc_cacard_remove(VscCard *card);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a vcard_emul_options string asks libcacard for, read far enough to say
 * in words what is wrong with it. The library reads past the end of a list
 * that is not closed, leaves out certificates it does not find, and gives no
 * reason when it fails.
 */

#pragma once

#include <glib.h>
#include <stdbool.h>

/* Where in the fields of a soft=(slot,name,type,params,cert,...). */
#define VSC_CACARD_SOFT_SLOT 0u
#define VSC_CACARD_SOFT_CERTS 4u

typedef struct VscCacardOptions {
	char *db;        /* directory of the NSS database, libcacard's default if not given */
	bool passthru;   /* cards of pcscd as they are, no NSS */
	GPtrArray *soft; /* of GStrv, the fields of each soft=() */
} VscCacardOptions;

/* Reads `text` (NULL: nothing asked for). False with `error`
 * (VSC_CACARD_ERROR_OPTIONS); clear `options` either way. */
bool vsc_cacard_options_read(VscCacardOptions *options, const char *text, GError **error);
void vsc_cacard_options_clear(VscCacardOptions *options);

/* Looks at the database's files. To be called before libcacard is started,
 * which works but once. False with `error` (VSC_CACARD_ERROR_DATABASE). */
bool vsc_cacard_options_check_database(const VscCacardOptions *options, GError **error);

/* Looks at slots and certificates. NSS must be initialised. False with `error`
 * (VSC_CACARD_ERROR_OPTIONS, VSC_CACARD_ERROR_CERT). */
bool vsc_cacard_options_check_certs(const VscCacardOptions *options, GError **error);

/* Sets `error` (VSC_CACARD_ERROR_OPTIONS); answers false. */
bool vsc_cacard_options_bad(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcOpts: an option string as QEMU spells it, `socket,id=ccid,port=2001,server`.
 * First a value without a key (the backend or driver), then keys: `key=value`,
 * `key` for key=on, `nokey` for key=off; a comma inside a value is written
 * twice. A table says which keys there are; each error is one line that names
 * the option, what is wrong and what is allowed.
 */

#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VMC_OPTS_ERROR (vmc_opts_error_quark())
GQuark vmc_opts_error_quark(void);

typedef enum VmcOptsError {
	VMC_OPTS_ERROR_SYNTAX,   /* empty key, no first value, bad id */
	VMC_OPTS_ERROR_UNKNOWN,  /* a key, backend or driver that is not known */
	VMC_OPTS_ERROR_REPEATED, /* a key given twice */
	VMC_OPTS_ERROR_VALUE,    /* a value out of what its key takes */
	VMC_OPTS_ERROR_MISSING,  /* a key that must be there is not */
} VmcOptsError;

typedef enum VmcOptType {
	VMC_OPT_STRING, /* at least one byte; `max` bytes at most if not 0 */
	VMC_OPT_BOOL,   /* on, yes, true, y or off, no, false, n; alone: on */
	VMC_OPT_NUMBER, /* decimal or 0x hexadecimal, from `min` to `max` */
	VMC_OPT_TEXT,   /* as a string, but may be empty */
} VmcOptType;

/* One key that an option takes; a table of them ends with a NULL name. A key
 * without help is taken but shown nowhere: old spellings, and words of QEMU's
 * that its owner refuses with a better text than "unknown". */
typedef struct VmcOptDesc {
	const char *name;
	VmcOptType type;
	uint64_t min;
	uint64_t max;
	const char *help; /* one line; also what `help` prints */
} VmcOptDesc;

typedef struct VmcOpts VmcOpts;

/*
 * Splits `text`, the argument of the command-line option `option` (such as
 * "-chardev"; both are copied). `implied` is the key that a first value
 * without a key belongs to ("backend", "driver"), or NULL if none may be
 * there. Nothing is checked against a table yet, but keys given twice, empty
 * keys and bad ids (letter first; letters, digits, '-', '.', '_' after) are
 * errors. NULL with `error` set in VMC_OPTS_ERROR. Free with vmc_opts_free().
 */
VmcOpts *vmc_opts_parse(const char *option, const char *text, const char *implied, GError **error);

/* An empty set for config files: `option` is the name that errors give it. */
VmcOpts *vmc_opts_new(const char *option);

/*
 * The keys of `repeating` (NULL-terminated; outlives `opts`) may be given more
 * than once from now on: their values are then joined with ':' between them.
 */
void vmc_opts_let_repeat(VmcOpts *opts, const char *const *repeating);

/* Adds what `text` says, as vmc_opts_parse() takes it without a first value,
 * to `opts`, whose option messages name with it. False with `error`. */
bool vmc_opts_merge(VmcOpts *opts, const char *text, GError **error);

/* Adds key=value (copied). False with `error` when the key is there already,
 * is empty, or is an "id" that is not one. */
bool vmc_opts_add(VmcOpts *opts, const char *key, const char *value, GError **error);

void vmc_opts_free(VmcOpts *opts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmcOpts, vmc_opts_free)

/*
 * Checks every key and value against `table`; the keys in `common` (may be
 * NULL) are taken too. A `nokey` short boolean is settled here: it is key=off
 * if key is a boolean of the table. False with `error`: which key, what is
 * wrong, and the allowed keys, values or range. `what` names in errors what is
 * configured, such as "socket".
 */
bool vmc_opts_check(VmcOpts *opts, const char *what, const VmcOptDesc *table,
		    const VmcOptDesc *common, GError **error);

/* The text of `key`, or NULL when not given. Owned by `opts`. */
const char *vmc_opts_get(const VmcOpts *opts, const char *key);

/* True if `key` was given at all. */
bool vmc_opts_has(const VmcOpts *opts, const char *key);

/* The checked boolean or number `key`, or `otherwise` when not given. Only
 * after vmc_opts_check() answered true. */
bool vmc_opts_bool(const VmcOpts *opts, const char *key, bool otherwise);
uint64_t vmc_opts_number(const VmcOpts *opts, const char *key, uint64_t otherwise);

/* True if the user asked what there is: `help` or `?` as the first value or as
 * a key alone, "-chardev help", "-chardev socket,?". */
bool vmc_opts_wants_help(const VmcOpts *opts);

/* The option as the user wrote it, "-chardev socket,id=x": for messages. */
const char *vmc_opts_text(const VmcOpts *opts);

/* Sets `error` (VMC_OPTS_ERROR, `code`) to "<option text>: <message>": always
 * one line of valid UTF-8, whatever the user wrote, and long texts cut. */
void vmc_opts_set_error(const VmcOpts *opts, GError **error, VmcOptsError code, const char *format,
			...) G_GNUC_PRINTF(4, 5);

/* Prints the table's keys with their help, a line each, to stdout. */
void vmc_opts_print_table(const VmcOptDesc *table);

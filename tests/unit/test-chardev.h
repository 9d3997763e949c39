/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the tests of VmcChardev share: a user that writes down what it is told,
 * and a loop that runs until something is so.
 */

#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmc/chardev.h"

typedef struct Recorder {
	VmcChardev *dev;
	GString *log; /* "opened closed failed writable" in the order told */
	GByteArray *in;
	GError *reason; /* the last of closed and failed */
	unsigned again;
	unsigned readable; /* times told */
	bool idle;         /* do not read when told */
	bool leave;        /* disconnect when told of input */
	size_t piece;      /* bytes a read; 0: many */
	size_t left;       /* queued when told of writable */
} Recorder;

static void recorder_opened(void *user)
{
	Recorder *r = user;

	assert_true(vmc_chardev_is_open(r->dev));
	g_string_append(r->log, "opened ");
}

static void recorder_keep(Recorder *r, const char *word, const GError *reason)
{
	assert_non_null(reason);
	assert_int_equal(reason->domain, VMC_CHARDEV_ERROR);
	g_string_append(r->log, word);
	g_clear_error(&r->reason);
	r->reason = g_error_copy(reason);
}

static void recorder_closed(void *user, const GError *reason)
{
	Recorder *r = user;

	assert_false(vmc_chardev_is_open(r->dev));
	recorder_keep(r, "closed ", reason);
}

static void recorder_failed(void *user, const GError *reason, unsigned again)
{
	Recorder *r = user;

	r->again = again;
	recorder_keep(r, "failed ", reason);
}

static void recorder_readable(void *user)
{
	Recorder *r = user;
	uint8_t data[65536];
	size_t n;

	r->readable++;
	if (r->leave)
		vmc_chardev_disconnect(r->dev, false, "enough");
	if (r->idle)
		return;
	while ((n = vmc_chardev_read(r->dev, data, r->piece ? r->piece : sizeof(data))) > 0)
		g_byte_array_append(r->in, data, (guint)n);
}

static void recorder_writable(void *user)
{
	Recorder *r = user;

	r->left = vmc_chardev_pending(r->dev);
	g_string_append(r->log, "writable ");
}

static const VmcChardevEvents recorder_events = {
	.opened = recorder_opened,
	.closed = recorder_closed,
	.readable = recorder_readable,
	.writable = recorder_writable,
	.failed = recorder_failed,
};

static inline void recorder_start(Recorder *r, VmcChardev *dev)
{
	/* What g_return_* and GLib complain of is a failure, not a remark. */
	g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);
	*r = (Recorder){ .dev = dev };
	r->log = g_string_new(NULL);
	r->in = g_byte_array_new();
	assert_true(vmc_chardev_set_user(dev, &recorder_events, r));
}

/* Frees the device, too. */
static inline void recorder_stop(Recorder *r)
{
	vmc_chardev_free(r->dev);
	g_string_free(r->log, TRUE);
	g_byte_array_unref(r->in);
	g_clear_error(&r->reason);
}

static inline void recorder_forget(Recorder *r)
{
	g_string_truncate(r->log, 0);
	g_byte_array_set_size(r->in, 0);
	g_clear_error(&r->reason);
	r->readable = 0;
}

static inline bool recorder_got(const Recorder *r, const char *text)
{
	return r->in->len == strlen(text) && memcmp(r->in->data, text, r->in->len) == 0;
}

static gboolean time_over(void *data)
{
	*(bool *)data = true;
	return G_SOURCE_REMOVE;
}

/* Runs the loop until `condition`; fails after `seconds`. */
#define run_until(condition, seconds)                                                              \
	do {                                                                                       \
		bool over_ = false;                                                                \
		guint timer_ = g_timeout_add((seconds)*1000, time_over, &over_);                   \
                                                                                                   \
		while (!(condition) && !over_)                                                     \
			g_main_context_iteration(NULL, TRUE);                                      \
		if (!over_)                                                                        \
			g_source_remove(timer_);                                                   \
		if (!(condition))                                                                  \
			fail_msg("not within %d s: %s", (seconds), #condition);                    \
	} while (0)

/* Runs the loop for `ms` milliseconds; answers how often it woke. */
static inline unsigned run_for(unsigned ms)
{
	bool over = false;
	unsigned turns = 0;

	g_timeout_add(ms, time_over, &over);
	while (!over) {
		g_main_context_iteration(NULL, TRUE);
		turns++;
	}
	return turns;
}

#define assert_log(r, text) assert_string_equal((r)->log->str, text)

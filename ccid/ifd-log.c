/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pcscd exports log_msg() to its drivers; a weak reference to it is NULL in
 * any other program.
 */

#include "ccid/ifd-log.h"

#include <glib.h>
#include <syslog.h>
#pragma GCC visibility push(default)
#include <debuglog.h>
#pragma GCC visibility pop

#include "vscard/link.h"

#pragma weak log_msg

static const char *const domains[] = { "vmc", "vscard", "ccid" };

static void write_line(int priority, const char *text)
{
	static const int levels[] = {
		[PCSC_LOG_DEBUG] = LOG_DEBUG,
		[PCSC_LOG_INFO] = LOG_INFO,
		[PCSC_LOG_ERROR] = LOG_ERR,
	};

	if (log_msg != NULL)
		log_msg(priority, "vscard: %s", text);
	else
		syslog(LOG_DAEMON | levels[priority], "vscard: %s", text);
}

/* What GLib takes for fatal by itself is so after this returns; none of our
 * lines is, unless the environment's G_DEBUG says so. */
static void handle(G_GNUC_UNUSED const char *domain, GLogLevelFlags level, const char *message,
		   G_GNUC_UNUSED void *user)
{
	if ((level & G_LOG_LEVEL_DEBUG) != 0)
		write_line(PCSC_LOG_DEBUG, message);
	else if ((level & (G_LOG_LEVEL_INFO | G_LOG_LEVEL_MESSAGE)) != 0)
		write_line(PCSC_LOG_INFO, message);
	else
		write_line(PCSC_LOG_ERROR, message);
}

static void trace(const char *line)
{
	write_line(PCSC_LOG_INFO, line);
}

void ifd_log_start(void)
{
	const int levels = G_LOG_LEVEL_MASK | G_LOG_FLAG_FATAL | G_LOG_FLAG_RECURSION;
	static gsize started;

	if (!g_once_init_enter(&started))
		return;
	for (size_t i = 0; i < G_N_ELEMENTS(domains); i++)
		g_log_set_handler(domains[i], (GLogLevelFlags)levels, handle, NULL);
	vsc_link_set_trace(1, trace);
	g_once_init_leave(&started, 1);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sd_notify() does nothing for who was not started as a service. */

#include "tools/vscclient-service.h"

#include <systemd/sd-daemon.h>

#include "tools/vscclient-say.h"

void client_service_ready(void)
{
	sd_notify(0, "READY=1");
}

void client_service_status(const char *format, ...)
{
	g_autofree char *text = NULL;
	g_autofree char *clean = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	clean = say_clean(text); /* no line end in it: it would begin another message */
	sd_notifyf(0, "STATUS=%s", clean);
}

void client_service_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

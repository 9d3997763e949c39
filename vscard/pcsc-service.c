/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pcscd makes its socket, listens, and changes the socket's mode, each of which
 * is an event of the directory's; systemd, which listens in its place, does
 * the same. A directory that is not there yet comes in its parent.
 */

#include "vscard/pcsc-service.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

/* Where Debian's pcscd has it. */
#define SOCKET_PATH "/run/pcscd/pcscd.comm"

/* Between an event and the readiness that it announces there is little time. */
#define AGAIN_FIRST_MS 50u
/* For what no event tells, say a directory mounted over. */
#define AGAIN_MAX_MS 60000u

struct VscPcscService {
	int watch; /* inotify; -1: none */
	int wake;  /* eventfd */
	unsigned again_ms;
};

const char *vsc_pcsc_service_path(void)
{
	const char *path = g_getenv("PCSCLITE_CSOCK_NAME");

	return path != NULL ? path : SOCKET_PATH;
}

VscPcscService *vsc_pcsc_service_new(void)
{
	VscPcscService *service = g_new0(VscPcscService, 1);

	service->watch = -1;
	service->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	service->again_ms = AGAIN_FIRST_MS;
	return service;
}

static void unwatch(VscPcscService *service)
{
	if (service->watch >= 0)
		close(service->watch);
	service->watch = -1;
}

void vsc_pcsc_service_free(VscPcscService *service)
{
	unwatch(service);
	if (service->wake >= 0)
		close(service->wake);
	g_free(service);
}

/* The socket's directory or, if it is not there, its parent. */
static void watch(VscPcscService *service)
{
	g_autofree char *directory = g_path_get_dirname(vsc_pcsc_service_path());
	g_autofree char *parent = g_path_get_dirname(directory);
	const uint32_t mask = IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF;

	unwatch(service);
	service->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (service->watch < 0)
		return;
	if (inotify_add_watch(service->watch, directory, mask) < 0)
		inotify_add_watch(service->watch, parent, mask);
}

/* What the events are does not matter, only that there were some. */
static bool take_events(VscPcscService *service)
{
	char events[4096];
	bool any = false;

	while (read(service->watch, events, sizeof(events)) > 0)
		any = true;
	return any;
}

bool vsc_pcsc_service_wait(VscPcscService *service)
{
	struct pollfd fds[] = {
		{ .fd = service->wake, .events = POLLIN },
		{ .fd = -1, .events = POLLIN },
	};

	if (service->watch < 0)
		watch(service);
	fds[1].fd = service->watch;
	poll(fds, G_N_ELEMENTS(fds), (int)service->again_ms);
	if (fds[0].revents != 0)
		return false;
	service->again_ms = MIN(service->again_ms * 2, AGAIN_MAX_MS);
	if (fds[1].revents != 0 && take_events(service)) {
		service->again_ms = AGAIN_FIRST_MS;
		watch(service);
	}
	return true;
}

void vsc_pcsc_service_found(VscPcscService *service)
{
	unwatch(service);
	service->again_ms = AGAIN_FIRST_MS;
}

void vsc_pcsc_service_wake(VscPcscService *service)
{
	eventfd_write(service->wake, 1);
}

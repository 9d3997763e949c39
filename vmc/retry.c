/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A wait is up to three descriptors in the loop, which are there only as long as
 * it lasts: a timer on CLOCK_BOOTTIME, which counts sleep; one on CLOCK_REALTIME
 * that the kernel cancels when that clock jumps, as it does at each resume
 * (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET); and a netlink socket that hears
 * of addresses and routes (rtnetlink(7)). Where the last two cannot be had the
 * wait is just as long as it is.
 */

#include "vmc/retry.h"

#include <errno.h>
#include <glib-unix.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* Far enough for no wait to reach it: a day. */
#define NEVER_SECONDS 86400

typedef struct Watch {
	int fd; /* -1: none */
	guint source;
} Watch;

struct VmcRetry {
	void (*due)(void *user);
	void *user;
	gint64 at; /* when the wait ends, CLOCK_BOOTTIME, ms */
	Watch timer, clock, network;
};

unsigned vmc_retry_second_ms = 1000;

unsigned vmc_retry_delay(unsigned base, unsigned attempts)
{
	unsigned most = MAX(VMC_RETRY_MAX_SECONDS, base), seconds = base, ms;

	for (unsigned i = 0; i < attempts && seconds < most; i++)
		seconds = MIN(seconds * 2, most);
	ms = seconds * vmc_retry_second_ms;
	return ms < 4 ? ms : ms - (unsigned)g_random_int_range(0, (int)(ms / 4));
}

/* ---- Descriptors ---- */

static void unwatch(Watch *watch)
{
	g_clear_handle_id(&watch->source, g_source_remove);
	if (watch->fd >= 0)
		close(watch->fd);
	watch->fd = -1;
}

static void watch_fd(Watch *watch, int fd, GUnixFDSourceFunc callback, VmcRetry *retry)
{
	watch->fd = fd;
	if (fd >= 0)
		watch->source = g_unix_fd_add(fd, G_IO_IN, callback, retry);
}

static gint64 now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (gint64)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void vmc_retry_stop(VmcRetry *retry)
{
	unwatch(&retry->timer);
	unwatch(&retry->clock);
	unwatch(&retry->network);
}

static gboolean on_timer(gint fd, GIOCondition condition, gpointer user)
{
	VmcRetry *retry = user;

	(void)fd;
	(void)condition;
	vmc_retry_stop(retry);
	retry->due(retry->user);  /* it may be freed in this */
	return G_SOURCE_CONTINUE; /* of a source that is gone */
}

static void set_timer(VmcRetry *retry, unsigned ms)
{
	/* A time of zero would be none. */
	const struct itimerspec when = { .it_value = { .tv_sec = ms / 1000,
						       .tv_nsec = ms % 1000 * 1000000 + 1 } };

	retry->at = now_ms() + ms;
	timerfd_settime(retry->timer.fd, 0, &when, NULL);
}

/* ---- Changes ---- */

static void hurry(VmcRetry *retry)
{
	if (retry->at - now_ms() > VMC_RETRY_CHANGE_MS)
		set_timer(retry, VMC_RETRY_CHANGE_MS);
}

static void watch_clock(VmcRetry *retry);

static gboolean on_clock(gint fd, GIOCondition condition, gpointer user)
{
	VmcRetry *retry = user;

	(void)fd;
	(void)condition;
	hurry(retry);
	unwatch(&retry->clock);
	watch_clock(retry);
	return G_SOURCE_CONTINUE; /* of a source that is gone */
}

static void watch_clock(VmcRetry *retry)
{
	struct itimerspec when = { 0 };
	int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);

	clock_gettime(CLOCK_REALTIME, &when.it_value);
	when.it_value.tv_sec += NEVER_SECONDS;
	if (fd >= 0)
		timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, NULL);
	watch_fd(&retry->clock, fd, on_clock, retry);
}

/* Is there in it that an address or a route came? What went is no help. */
static bool is_news(const uint8_t *data, size_t len)
{
	const struct nlmsghdr *message = (const void *)data;

	for (; NLMSG_OK(message, len); message = NLMSG_NEXT(message, len)) {
		if (message->nlmsg_type == RTM_NEWADDR || message->nlmsg_type == RTM_NEWROUTE)
			return true;
	}
	return false;
}

static gboolean on_network(gint fd, GIOCondition condition, gpointer user)
{
	_Alignas(struct nlmsghdr) uint8_t data[8192];
	VmcRetry *retry = user;
	ssize_t n;

	(void)condition;
	while ((n = recv(fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
		if (is_news(data, (size_t)n))
			hurry(retry);
	}
	/* What was too much for the socket was news. */
	if (n < 0 && errno == ENOBUFS)
		hurry(retry);
	return G_SOURCE_CONTINUE;
}

static void watch_network(VmcRetry *retry)
{
	const struct sockaddr_nl groups = { .nl_family = AF_NETLINK,
					    .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
							 RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd >= 0 && bind(fd, (const struct sockaddr *)&groups, sizeof(groups)) < 0) {
		close(fd);
		fd = -1;
	}
	watch_fd(&retry->network, fd, on_network, retry);
}

/* ---- The wait ---- */

VmcRetry *vmc_retry_new(void (*due)(void *user), void *user)
{
	VmcRetry *retry = g_new0(VmcRetry, 1);

	retry->due = due;
	retry->user = user;
	retry->timer.fd = retry->clock.fd = retry->network.fd = -1;
	return retry;
}

void vmc_retry_free(VmcRetry *retry)
{
	if (retry == NULL)
		return;
	vmc_retry_stop(retry);
	g_free(retry);
}

/* Without descriptors left, which is when attempts fail, the loop's own timer
 * has to do. */
static gboolean on_plain_timer(gpointer user)
{
	VmcRetry *retry = user;

	retry->timer.source = 0;
	vmc_retry_stop(retry);
	retry->due(retry->user);
	return G_SOURCE_REMOVE;
}

void vmc_retry_wait(VmcRetry *retry, unsigned ms)
{
	int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);

	vmc_retry_stop(retry);
	if (fd < 0) {
		retry->timer.source = g_timeout_add(ms, on_plain_timer, retry);
		return;
	}
	watch_fd(&retry->timer, fd, on_timer, retry);
	set_timer(retry, ms);
	watch_clock(retry);
	watch_network(retry);
}

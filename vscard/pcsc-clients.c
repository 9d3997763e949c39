/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Each client has a connection to pcscd's socket. The kernel lists them, by the
 * inode of that socket (sock_diag(7)): those that come from another network
 * namespace it does not. Who came and went leaves one trace, the socket's time
 * of access, on a file system that keeps such times at each access, as /run does.
 */

#include "vscard/pcsc-clients.h"

#include <glib.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vscard/pcsc-service.h"

/* Who came just now may not be listed yet, and another in the same tick of the
 * file system's clock would not be seen. */
#define RECENT_US G_USEC_PER_SEC
/* As much as the kernel says at once. */
#define LIST_ROOM 16384u
/* The kernel's own form of a device number. */
#define KERNEL_MINOR_BITS 20

static gint ours;

void vsc_pcsc_clients_joined(void)
{
	g_atomic_int_inc(&ours);
}

void vsc_pcsc_clients_leaving(void)
{
	g_atomic_int_add(&ours, -1);
}

/* ---- The list ---- */

static bool ask_for_list(int fd)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req request;
	} ask = {
		.header = {
			.nlmsg_len = sizeof(ask),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.request = {
			.sdiag_family = AF_UNIX,
			.udiag_states = 1u << TCP_ESTABLISHED,
			.udiag_show = UDIAG_SHOW_VFS,
		},
	};

	return send(fd, &ask, sizeof(ask), 0) == (ssize_t)sizeof(ask);
}

/* Is the socket in the list, the server's end of a connection, one at `path`? */
static bool is_at(const struct nlmsghdr *entry, const struct stat *path)
{
	const unsigned device = major(path->st_dev) << KERNEL_MINOR_BITS | minor(path->st_dev);
	size_t head = NLMSG_LENGTH(sizeof(struct unix_diag_msg));
	size_t left = entry->nlmsg_len > head ? entry->nlmsg_len - head : 0;
	const struct rtattr *attribute = (const void *)((const char *)entry + NLMSG_ALIGN(head));

	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
		const struct unix_diag_vfs *vfs = RTA_DATA(attribute);

		if (attribute->rta_type == UNIX_DIAG_VFS && RTA_PAYLOAD(attribute) >= sizeof(*vfs))
			return vfs->udiag_vfs_dev == device &&
			       vfs->udiag_vfs_ino == (__u32)path->st_ino;
	}
	return false;
}

/* Adds those of one part of the list. False: it was the last, or there is none. */
static bool count_part(int fd, const struct stat *path, gint *n, bool *whole)
{
	_Alignas(struct nlmsghdr) char part[LIST_ROOM];
	ssize_t got = recv(fd, part, sizeof(part), MSG_TRUNC);
	size_t left = got > 0 && got <= (ssize_t)sizeof(part) ? (size_t)got : 0;
	const struct nlmsghdr *entry = (const void *)part;

	if (left == 0)
		return false;
	for (; NLMSG_OK(entry, left); entry = NLMSG_NEXT(entry, left)) {
		*whole = entry->nlmsg_type == NLMSG_DONE;
		if (entry->nlmsg_type != SOCK_DIAG_BY_FAMILY)
			return false;
		*n += is_at(entry, path);
	}
	return true;
}

/* How many clients are there? -1: that cannot be known. */
static gint count(const struct stat *path)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	bool whole = false;
	gint n = 0;

	if (fd < 0)
		return -1;
	if (ask_for_list(fd)) {
		while (count_part(fd, path, &n, &whole))
			;
	}
	close(fd);
	return whole ? n : -1;
}

/* ---- Times ---- */

static bool keeps_times(const char *path)
{
	struct statvfs system;

	return statvfs(path, &system) == 0 && (system.f_flag & (ST_NOATIME | ST_RELATIME)) == 0;
}

static bool is_recent(struct timespec time)
{
	gint64 us = time.tv_sec * G_USEC_PER_SEC + time.tv_nsec / 1000;

	return g_get_real_time() - us < RECENT_US;
}

VscPcscClients vsc_pcsc_clients_see(void)
{
	const char *path = vsc_pcsc_service_path();
	/* First: one that is about to go leaves the list after this. */
	gint own = g_atomic_int_get(&ours);
	struct stat at;

	if (!keeps_times(path) || stat(path, &at) != 0)
		return (VscPcscClients){ 0 };
	return (VscPcscClients){ .alone = !is_recent(at.st_atim) && count(&at) == own,
				 .arrival = at.st_atim };
}

bool vsc_pcsc_clients_none_between(const VscPcscClients *then, const VscPcscClients *now)
{
	return then->alone && now->alone && then->arrival.tv_sec == now->arrival.tv_sec &&
	       then->arrival.tv_nsec == now->arrival.tv_nsec;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The messages between vscardd and vscardd-spice: four numbers, then the key,
 * then the text up to the packet's end.
 */

#include "vmc/spice-control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_SIZE 16u

size_t vmc_spice_control_encode(const VmcSpiceControl *message, uint8_t *to, size_t size)
{
	size_t key = message->key.len;
	size_t text = message->text.len;

	if (size < HEADER_SIZE || key > size - HEADER_SIZE || text > size - HEADER_SIZE - key)
		return 0;
	vmc_put_u32be(to, (uint32_t)message->type);
	vmc_put_u32be(to + 4, message->channel);
	vmc_put_u32be(to + 8, message->value);
	vmc_put_u32be(to + 12, (uint32_t)key);
	if (key > 0)
		memcpy(to + HEADER_SIZE, message->key.data, key);
	if (text > 0)
		memcpy(to + HEADER_SIZE + key, message->text.data, text);
	return HEADER_SIZE + key + text;
}

bool vmc_spice_control_decode(VmcSpan packet, VmcSpiceControl *message)
{
	uint32_t type, key;

	if (!vmc_span_u32be(&packet, &type) || !vmc_span_u32be(&packet, &message->channel) ||
	    !vmc_span_u32be(&packet, &message->value) || !vmc_span_u32be(&packet, &key) ||
	    !vmc_span_take(&packet, key, &message->key))
		return false;
	if (type < VMC_SPICE_SETTING || type >= VMC_SPICE_TYPES)
		return false;
	if ((message->key.len > 0 && memchr(message->key.data, '\0', message->key.len) != NULL) ||
	    (packet.len > 0 && memchr(packet.data, '\0', packet.len) != NULL))
		return false;
	message->type = (VmcSpiceControlType)type;
	message->text = packet;
	return true;
}

VmcSpan vmc_spice_control_text(const char *text)
{
	return vmc_span(text, text != NULL ? strlen(text) : 0);
}

/* Room for one descriptor beside a packet. */
typedef union Ancillary {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
} Ancillary;

static void attach(struct msghdr *header, Ancillary *ancillary, int passed)
{
	struct cmsghdr *control;

	memset(ancillary, 0, sizeof(*ancillary));
	header->msg_control = ancillary->bytes;
	header->msg_controllen = sizeof(ancillary->bytes);
	control = CMSG_FIRSTHDR(header);
	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(control), &passed, sizeof(passed));
}

bool vmc_spice_control_send(int fd, const VmcSpiceControl *message, int passed, bool wait)
{
	uint8_t packet[VMC_SPICE_CONTROL_MAX];
	size_t len = vmc_spice_control_encode(message, packet, sizeof(packet));
	struct iovec part = { .iov_base = packet, .iov_len = len };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
	Ancillary ancillary;
	ssize_t n;

	if (len == 0)
		return false;
	if (passed >= 0)
		attach(&header, &ancillary, passed);
	do {
		n = sendmsg(fd, &header, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
	} while (n < 0 && errno == EINTR);
	vmc_wipe(packet, len);
	return n == (ssize_t)len;
}

/* The descriptor that came along, or -1. The buffer has room for one. */
static int passed_with(struct msghdr *header)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(header);
	int fd = -1;

	if (control != NULL && control->cmsg_level == SOL_SOCKET &&
	    control->cmsg_type == SCM_RIGHTS && control->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(control), sizeof(fd));
	return fd;
}

VmcSpiceReceived vmc_spice_control_receive(int fd, uint8_t packet[VMC_SPICE_CONTROL_MAX],
					   VmcSpiceControl *message, int *passed)
{
	struct iovec part = { .iov_base = packet, .iov_len = VMC_SPICE_CONTROL_MAX };
	Ancillary ancillary = { 0 };
	/* Not all of the buffer: aligned, it has room for a second descriptor, which
	 * nobody would close. The kernel keeps what does not fit. */
	struct msghdr header = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = ancillary.bytes,
		.msg_controllen = CMSG_LEN(sizeof(int)),
	};
	ssize_t n;

	*passed = -1;
	do {
		n = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return VMC_SPICE_NOTHING;
	if (n <= 0)
		return VMC_SPICE_GONE;
	*passed = passed_with(&header);
	if ((header.msg_flags & MSG_TRUNC) == 0 &&
	    vmc_spice_control_decode(vmc_span(packet, (size_t)n), message))
		return VMC_SPICE_RECEIVED;
	if (*passed >= 0)
		close(*passed);
	*passed = -1;
	return VMC_SPICE_BAD;
}

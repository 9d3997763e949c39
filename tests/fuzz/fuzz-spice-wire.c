/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The SPICE codec over any bytes: nothing is taken that is not there, what is
 * borrowed lies within, what is put is what is taken.
 */

#include <stdlib.h>
#include <string.h>

#include "vmc/spice-wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

static void check_within(VmcSpan outer, VmcSpan inner)
{
	if (inner.len > 0)
		check(inner.data >= outer.data && inner.data + inner.len <= outer.data + outer.len);
}

static void try_link(VmcSpan all)
{
	VmcSpan in = all, again;
	VmcSpiceLinkMess mess, same;
	VmcSpiceLinkReply reply;
	uint8_t bytes[VMC_SPICE_LINK_MESS_MAX];
	const char *because = NULL;

	switch (vmc_spice_get_link_mess(&in, &mess, &because)) {
	case VMC_SPICE_NEED_MORE:
		check(in.len == all.len);
		break;
	case VMC_SPICE_BAD:
		check(because != NULL && in.len == all.len);
		break;
	case VMC_SPICE_OK:
		again = vmc_span(bytes, vmc_spice_put_link_mess(bytes, &mess));
		check(vmc_spice_get_link_mess(&again, &same, &because) == VMC_SPICE_OK);
		check(again.len == 0 && memcmp(&mess, &same, sizeof(mess)) == 0);
		break;
	}
	in = all;
	if (vmc_spice_get_link_reply(&in, &reply, &because) == VMC_SPICE_OK) {
		check(in.len < all.len);
		check_within(all, reply.public_key);
		check(vmc_spice_link_error_text(reply.error) != NULL);
	} else {
		check(in.len == all.len);
	}
}

static void try_header(VmcSpan all, bool mini)
{
	VmcSpan in = all, list, sub;
	VmcSpiceHeader header;
	uint8_t bytes[VMC_SPICE_FULL_HEADER];
	uint16_t type;
	size_t len;

	if (vmc_spice_get_header(&in, mini, &header) != VMC_SPICE_OK) {
		check(in.len == all.len);
		return;
	}
	len = vmc_spice_put_header(bytes, mini, &header);
	check(len == all.len - in.len && memcmp(bytes, all.data, len) == 0);
	if (!vmc_spice_get_sub_list(in, header.sub_list, &list))
		return;
	check_within(in, list);
	while (vmc_spice_next_sub_message(in, &list, &type, &sub))
		check_within(in, sub);
}

static void try_text(VmcSpan body, VmcSpan text)
{
	check_within(body, text);
	check(text.len == 0 || memchr(text.data, 0, text.len) == NULL);
}

static void try_bodies(VmcSpan body)
{
	VmcSpiceMainInit init;
	VmcSpiceDestination d;
	VmcSpan text, list;
	uint32_t a, b;
	uint8_t type, id;
	bool opened;

	vmc_spice_get_set_ack(body, &a, &b);
	vmc_spice_get_disconnecting(body, &a);
	vmc_spice_get_migrate(body, &a);
	vmc_spice_get_main_init(body, &init);
	vmc_spice_get_port_event(body, &type);
	if (vmc_spice_get_notify(body, &a, &text))
		try_text(body, text);
	if (vmc_spice_get_port_init(body, &text, &opened))
		try_text(body, text);
	if (vmc_spice_get_channels(body, &list)) {
		check_within(body, list);
		while (vmc_spice_next_channel(&list, &type, &id))
			;
		check(list.len == 0);
	}
	for (int seamless = 0; seamless < 2; seamless++) {
		if (!vmc_spice_get_destination(body, seamless != 0, &d))
			continue;
		check(d.host.len > 0 && d.host.len < 256 && d.cert_subject.len < 256);
		try_text(body, d.host);
		try_text(body, d.cert_subject);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_link(vmc_span(data, size));
	try_header(vmc_span(data, size), true);
	try_header(vmc_span(data, size), false);
	try_bodies(vmc_span(data, size));
	return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The driver of -device ifd: a reader that is not USB. It lends the cards in
 * its slots over a char device, as a VSCard client, to pcscd's vscard driver
 * (libifdvscard.so); or to any other host of the protocol.
 */

#define G_LOG_DOMAIN "vscardd"

#include "tools/machine.h"
#include "vscard/link.h"

typedef struct IfdState {
	VscClientLink *link;
	unsigned slots;
	VscCard *cards[DEVICE_SLOTS_MAX]; /* NULL: none */
	bool lent[DEVICE_SLOTS_MAX];
	guint idle;
} IfdState;

static const VmcOptDesc ifd_options[] = {
	{ "chardev", VMC_OPT_STRING, 0, 0, "chardev that pcscd's vscard driver is on" },
	{ "slots", VMC_OPT_NUMBER, 1, DEVICE_SLOTS_MAX,
	  "slots for cards, as many as slots= of the driver's DEVICENAME; 1 if not given" },
	{ 0 },
};

/* From the loop, and so after all cards of the command line have their slots:
 * the host is told of readers in the order of slots, and counts them so. */
static gboolean lend(void *data)
{
	IfdState *state = data;

	state->idle = 0;
	for (unsigned slot = 0; slot < state->slots; slot++) {
		if (state->cards[slot] != NULL && !state->lent[slot])
			state->lent[slot] = vsc_client_link_add(state->link, state->cards[slot]);
	}
	return G_SOURCE_REMOVE;
}

static void ifd_set_card(Device *device, unsigned slot, VscCard *card)
{
	IfdState *state = device->state;

	if (state->lent[slot])
		vsc_client_link_remove(state->link, state->cards[slot]);
	state->lent[slot] = false;
	state->cards[slot] = card;
	if (card != NULL && state->idle == 0)
		state->idle = g_idle_add_full(G_PRIORITY_HIGH, lend, state, NULL);
}

static unsigned ifd_slots(const Device *device)
{
	const IfdState *state = device->state;

	return state->slots;
}

static bool ifd_create(Machine *machine, Device *device, GError **error)
{
	VmcChardev *chardev = device_chardev(machine, device, error);
	VscClientLink *link;
	IfdState *state;

	if (chardev == NULL)
		return false;
	link = vsc_client_link_new(chardev, NULL, NULL, error);
	if (link == NULL) {
		g_prefix_error(error, "%s: ", vmc_opts_text(device->opts));
		return false;
	}
	state = g_new0(IfdState, 1);
	state->link = link;
	state->slots = (unsigned)vmc_opts_number(device->opts, "slots", 1);
	device->state = state;
	return true;
}

static void ifd_free(Device *device)
{
	IfdState *state = device->state;

	g_clear_handle_id(&state->idle, g_source_remove);
	vsc_client_link_free(state->link);
	g_free(state);
}

const DeviceDriver ifd_driver = {
	.name = "ifd",
	.help = "reader: lends its slots' cards over a chardev to pcscd's vscard driver, no USB",
	.rank = DEVICE_READER,
	.options = ifd_options,
	.create = ifd_create,
	.free = ifd_free,
	.slots = ifd_slots,
	.set_card = ifd_set_card,
};

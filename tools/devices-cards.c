/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The card devices of -device, and how they come to their slots: a card device
 * takes slots of one reader, whatever kind of reader that is.
 */

#define G_LOG_DOMAIN "vscardd"

#include <string.h>

#include "tools/machine.h"
#include "vscard/cacard.h"
#include "vscard/link.h"

/* ---- Slots ---- */

static uint32_t free_slots(const Device *reader)
{
	return (uint32_t)((1ull << reader->driver->slots(reader)) - 1) & ~reader->taken;
}

static bool reader_has_room(const Device *reader)
{
	return free_slots(reader) != 0;
}

/* The free one of `reader` that the key `slot` names, as a bit; 0 with `error`. */
static uint32_t named_slot(const Device *device, const Device *reader, GError **error)
{
	unsigned slot = (unsigned)vmc_opts_number(device->opts, "slot", 0);
	unsigned n = reader->driver->slots(reader);

	if (slot >= n)
		g_set_error(error, MACHINE_ERROR, MACHINE_ERROR_REFERENCE,
			    "%s: the reader %s has no slot %u; it has %u, counted from 0: give it "
			    "more by slots=",
			    vmc_opts_text(device->opts), reader->id, slot, n);
	else if ((free_slots(reader) >> slot & 1) == 0)
		g_set_error(error, MACHINE_ERROR, MACHINE_ERROR_REFERENCE,
			    "%s: another card has slot %u of the reader %s; name a slot that is "
			    "free",
			    vmc_opts_text(device->opts), slot, reader->id);
	else
		return 1u << slot;
	return 0;
}

bool device_take_slots(Machine *machine, Device *device, DeviceSlots *slots, GError **error)
{
	Device *reader = machine_bus(machine, device->opts, DEVICE_READER, reader_has_room,
				     "add a reader for it: -device usb-ccid, or give the one "
				     "there is more slots: slots=N",
				     error);
	uint32_t mine;

	*slots = (DeviceSlots){ .reader = reader };
	if (reader == NULL)
		return false;
	mine = vmc_opts_get(device->opts, "slot") != NULL ? named_slot(device, reader, error) :
							    free_slots(reader);
	reader->taken |= mine;
	for (uint8_t slot = 0; slot < DEVICE_SLOTS_MAX; slot++) {
		if ((mine >> slot & 1) != 0)
			slots->slot[slots->n++] = slot;
	}
	return mine != 0;
}

void device_set_card(const DeviceSlots *slots, unsigned i, VscCard *card)
{
	g_return_if_fail(i < slots->n);

	slots->reader->driver->set_card(slots->reader, slots->slot[i], card);
}

static void take_out_cards(const DeviceSlots *slots)
{
	for (unsigned i = 0; i < slots->n; i++)
		device_set_card(slots, i, NULL);
}

#define BUS_HELP "bus of a reader, ID.0; the first with room if not given"
#define SLOT_HELP "slot of the reader, counted from 0; all that are free if not given"

/* ---- ccid-card-passthru: cards of a VSCard peer ---- */

/* One conversation, whose readers go to the slots of one or more devices, in
 * the order in which these were made. */
typedef struct Conversation {
	VscHostLink *link;
	unsigned users;
	unsigned places; /* that its users have */
	char *chardev;
} Conversation;

typedef struct PassthruState {
	DeviceSlots slots;
	Conversation *conversation;
} PassthruState;

static const VmcOptDesc passthru_options[] = {
	{ "chardev", VMC_OPT_STRING, 0, 0,
	  "chardev that the VSCard peer is on, such as vscclient" },
	{ "bus", VMC_OPT_STRING, 0, 0, BUS_HELP },
	{ "slot", VMC_OPT_NUMBER, 0, DEVICE_SLOTS_MAX - 1, SLOT_HELP },
	{ "debug", VMC_OPT_NUMBER, 0, 4, "taken as QEMU takes it; use -d vscard,messages,apdu" },
	{ 0 },
};

static void on_refused(void *user, const char *name)
{
	const Conversation *conversation = user;

	g_message("the peer on chardev %s has one reader more than there are slots for, '%s': give "
		  "the usb-ccid or ifd more than %u by slots=, or add one, with a "
		  "ccid-card-passthru,chardev=%s on it",
		  conversation->chardev, name, conversation->places, conversation->chardev);
}

static const VscHostLinkEvents link_events = { .refused = on_refused };

static Conversation *conversation_new(VmcChardev *chardev, unsigned places, GError **error)
{
	VscHostLink *link = vsc_host_link_new(chardev, places, error);
	Conversation *conversation;

	if (link == NULL)
		return NULL;
	conversation = g_new0(Conversation, 1);
	conversation->link = link;
	conversation->chardev = g_strdup(vmc_chardev_id(chardev));
	vsc_host_link_set_events(link, &link_events, conversation);
	return conversation;
}

/* The conversation on the device's chardev, with `places` more in it. */
static Conversation *conversation_of(Machine *machine, Device *device, unsigned places,
				     GError **error)
{
	Device *sibling = machine_sibling(machine, device, "chardev");
	VmcChardev *chardev = device_chardev(machine, device, error);
	Conversation *conversation;

	if (chardev == NULL)
		return NULL;
	if (sibling == NULL) {
		conversation = conversation_new(chardev, places, error);
	} else {
		conversation = ((PassthruState *)sibling->state)->conversation;
		if (!vsc_host_link_grow(conversation->link, places, error))
			conversation = NULL;
	}
	if (conversation != NULL)
		conversation->users++;
	else
		g_prefix_error(error, "%s: ", vmc_opts_text(device->opts));
	return conversation;
}

static void conversation_leave(Conversation *conversation)
{
	if (--conversation->users > 0)
		return;
	vsc_host_link_free(conversation->link);
	g_free(conversation->chardev);
	g_free(conversation);
}

static bool passthru_create(Machine *machine, Device *device, GError **error)
{
	Conversation *conversation;
	PassthruState *state;
	DeviceSlots slots;

	/* First what is wrong with the chardev. */
	if (device_chardev(machine, device, error) == NULL ||
	    !device_take_slots(machine, device, &slots, error))
		return false;
	conversation = conversation_of(machine, device, slots.n, error);
	if (conversation == NULL)
		return false;
	state = g_new0(PassthruState, 1);
	state->slots = slots;
	state->conversation = conversation;
	device->state = state;
	for (unsigned i = 0; i < slots.n; i++)
		device_set_card(&slots, i,
				vsc_host_link_card(conversation->link, conversation->places++));
	return true;
}

static void passthru_free(Device *device)
{
	PassthruState *state = device->state;

	take_out_cards(&state->slots);
	conversation_leave(state->conversation);
	g_free(state);
}

const DeviceDriver passthru_driver = {
	.name = "ccid-card-passthru",
	.help = "card: those of a VSCard peer on a chardev, one a slot",
	.rank = DEVICE_CARD,
	.options = passthru_options,
	.create = passthru_create,
	.free = passthru_free,
};

/* ---- ccid-card-emulated: a card of libcacard in this process ---- */

typedef struct EmulatedState {
	DeviceSlots slots;
	VscCacard *cacard;
	VscCard *cards[DEVICE_SLOTS_MAX]; /* libcacard's readers in the slots, or NULL */
} EmulatedState;

static const VmcOptDesc emulated_options[] = {
	{ "backend", VMC_OPT_STRING, 0, 0,
	  "nss-emulated (default): the cards of NSS's modules; certificates: cert1 to cert3 of db" },
	{ "cert1", VMC_OPT_STRING, 0, 0, "nickname of a certificate in db" },
	{ "cert2", VMC_OPT_STRING, 0, 0, "nickname of a certificate in db" },
	{ "cert3", VMC_OPT_STRING, 0, 0, "nickname of a certificate in db" },
	{ "db", VMC_OPT_STRING, 0, 0,
	  "folder of the NSS database; NSS's own default if not given" },
	{ "bus", VMC_OPT_STRING, 0, 0, BUS_HELP },
	{ "slot", VMC_OPT_NUMBER, 0, DEVICE_SLOTS_MAX - 1, SLOT_HELP },
	{ "debug", VMC_OPT_NUMBER, 0, 4, "taken as QEMU takes it; use -d ccid,vscard" },
	{ 0 },
};

/* The place of `card` in `state`, or of none, if NULL; slots.n if it has none. */
static unsigned emulated_place(const EmulatedState *state, const VscCard *card)
{
	unsigned i = 0;

	while (i < state->slots.n && state->cards[i] != card)
		i++;
	return i;
}

static void emulated_reader_added(void *user, VscCard *card)
{
	EmulatedState *state = user;
	unsigned i = emulated_place(state, NULL);

	if (i == state->slots.n) {
		g_message("the card reader '%s' finds no place: %u of %u slots are taken; give "
			  "%s more by slots=",
			  vsc_card_name(card), i, i, state->slots.reader->id);
		return;
	}
	state->cards[i] = card;
	device_set_card(&state->slots, i, card);
}

static void emulated_reader_removed(void *user, VscCard *card)
{
	EmulatedState *state = user;
	unsigned i = emulated_place(state, card);

	if (i == state->slots.n)
		return;
	state->cards[i] = NULL;
	device_set_card(&state->slots, i, NULL);
}

static const VscCacardEvents emulated_events = {
	.reader_added = emulated_reader_added,
	.reader_removed = emulated_reader_removed,
};

/* The libcacard options of backend=certificates. */
static char *certificates_options(Device *device, GError **error)
{
	const char *certs[4] = {
		vmc_opts_get(device->opts, "cert1"),
		vmc_opts_get(device->opts, "cert2"),
		vmc_opts_get(device->opts, "cert3"),
	};

	for (int i = 0; i < 3; i++) {
		if (certs[i] == NULL) {
			vmc_opts_set_error(device->opts, error, VMC_OPTS_ERROR_MISSING,
					   "cert%d is missing; backend=certificates wants cert1=, "
					   "cert2= and cert3=",
					   i + 1);
			return NULL;
		}
	}
	return vsc_cacard_options(vmc_opts_get(device->opts, "db"), certs, error);
}

/* The libcacard options of backend=nss-emulated; "" is libcacard's default. */
static char *nss_options(Device *device, GError **error)
{
	const char *db = vmc_opts_get(device->opts, "db");

	return db != NULL ? vsc_cacard_db(db, error) : g_strdup("");
}

static char *emulated_cacard_options(Device *device, GError **error)
{
	const char *backend = vmc_opts_get(device->opts, "backend");

	if (backend == NULL || strcmp(backend, "nss-emulated") == 0)
		return nss_options(device, error);
	if (strcmp(backend, "certificates") == 0)
		return certificates_options(device, error);
	vmc_opts_set_error(device->opts, error, VMC_OPTS_ERROR_VALUE,
			   "backend '%s' is not known; there are: nss-emulated, certificates",
			   backend);
	return NULL;
}

static void emulated_free(Device *device)
{
	EmulatedState *state = device->state;

	take_out_cards(&state->slots);
	vsc_cacard_free(state->cacard);
	g_free(state);
}

static bool emulated_create(Machine *machine, Device *device, GError **error)
{
	g_autofree char *options = emulated_cacard_options(device, error);
	EmulatedState *state;
	DeviceSlots slots;

	if (options == NULL || !device_take_slots(machine, device, &slots, error))
		return false;
	state = g_new0(EmulatedState, 1);
	state->slots = slots;
	device->state = state;
	state->cacard =
		vsc_cacard_new(options[0] != '\0' ? options : NULL, &emulated_events, state, error);
	if (state->cacard == NULL) {
		g_prefix_error(error, "%s: ", vmc_opts_text(device->opts));
		return false;
	}
	return true;
}

const DeviceDriver emulated_driver = {
	.name = "ccid-card-emulated",
	.help = "card: a virtual one over an NSS certificate database, in this process",
	.rank = DEVICE_CARD,
	.options = emulated_options,
	.create = emulated_create,
	.free = emulated_free,
};

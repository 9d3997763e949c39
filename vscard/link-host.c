/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The host link: a VscHost fed from a char device, and for each of its places
 * a VscCard whose requests are the host's. What the machine says comes out in
 * one place, run(); what a user may hear is held back while that user is in a
 * call of its own, and told from the loop.
 */

#include "vscard/link.h"

#include "vmc/queue.h"
#include "vscard/port.h"

/* What a host of ours can do: its reader exchanges whole APDUs, and commands
 * have names. */
#define HOST_CAPS (VSC_CAP_APDU_LEVEL | VSC_CAP_REQUESTS)

typedef struct Place {
	VscCard base;
	VscHostLink *link;
	uint32_t id;
} Place;

struct VscHostLink {
	VscPort port;
	VscHost *host;
	const VscHostLinkEvents *events; /* NULL: nobody wants to know */
	void *user;
	uint32_t n_places;
	Place places[VSC_HOST_READERS_MAX];
	bool running;
	VmcQueue later; /* for users, from the loop */
	guint idle;
	guint timer;      /* there while the host has a deadline, and some time after */
	int64_t deadline; /* of `timer` */
};

/* The host's clock: ms since some time. */
static int64_t now(void)
{
	return g_get_monotonic_time() / 1000;
}

/* ---- What comes out of the machine ---- */

static void tell_answer(VscHostLink *link, const VscHostAction *action)
{
	vsc_card_emit_answered(&link->places[action->reader_id].base, action->token,
			       action->outcome, action->data);
}

static void tell_refused(VscHostLink *link, VmcSpan text)
{
	g_autofree char *name = g_strndup((const char *)text.data, text.len);

	vsc_port_trace(&link->port, 1, "no place for reader '%s'", name);
	if (link->events != NULL && link->events->refused != NULL)
		link->events->refused(link->user, name);
}

/* What a place is called while nobody says what it is. */
static char *name_of_place(VmcChardev *chardev, uint32_t id)
{
	return g_strdup_printf("%s slot %u", vmc_chardev_id(chardev), id);
}

static void tell_described(VscHostLink *link, uint32_t id)
{
	const VscDescription *who = vsc_host_description(link->host, id);
	g_autofree char *place = name_of_place(link->port.chardev, id);
	const char *name = who->name != NULL ? who->name : place;

	vsc_port_trace(&link->port, 1, "reader %u: is '%s', %s %s, serial number %s", id, name,
		       who->info.vendor != NULL ? who->info.vendor : "-",
		       who->info.type != NULL ? who->info.type : "-",
		       who->info.serial != NULL ? who->info.serial : "-");
	vsc_card_describe(&link->places[id].base, name, &who->info);
}

static void tell_inserted(VscHostLink *link, const VscHostAction *action)
{
	VscCard *card = &link->places[action->reader_id].base;

	vsc_port_trace(&link->port, 1, "reader %u: a card was inserted", action->reader_id);
	vsc_card_set_atr(card, action->data);
	vsc_card_emit_inserted(card);
}

static void carry_out(VscHostLink *link, const VscHostAction *action)
{
	int len = (int)action->data.len;
	const char *text = (const char *)action->data.data;

	switch (action->kind) {
	case VSC_HOST_SEND:
		vsc_port_send(&link->port, action->type, action->reader_id, action->data);
		break;
	case VSC_HOST_READER_ADDED:
		vsc_port_trace(&link->port, 1, "reader %u: added '%.*s'", action->reader_id, len,
			       text);
		break;
	case VSC_HOST_READER_REMOVED:
		vsc_port_trace(&link->port, 1, "reader %u: removed", action->reader_id);
		break;
	case VSC_HOST_READER_REFUSED:
		tell_refused(link, action->data);
		break;
	case VSC_HOST_READER_DESCRIBED:
		tell_described(link, action->reader_id);
		break;
	case VSC_HOST_CARD_INSERTED:
		tell_inserted(link, action);
		break;
	case VSC_HOST_CARD_REMOVED:
		vsc_port_trace(&link->port, 1, "reader %u: its card was removed",
			       action->reader_id);
		vsc_card_emit_removed(&link->places[action->reader_id].base);
		break;
	case VSC_HOST_ANSWER:
		tell_answer(link, action);
		break;
	case VSC_HOST_WORKING:
		vsc_card_emit_working(&link->places[action->reader_id].base, action->token);
		break;
	case VSC_HOST_CLOSE: {
		g_autofree char *because = g_strndup(text, action->data.len);

		vsc_port_close(&link->port, because);
		break;
	}
	case VSC_HOST_NOTE:
		vsc_port_trace(&link->port, 1, "reader %d: %.*s", (int)action->reader_id, len,
			       text);
		break;
	}
}

static gboolean on_deadline(void *data);

/* Follows the host's deadline. A timer that is early stays and looks again: one
 * for each command would cost more than the command. */
static void arm(VscHostLink *link)
{
	int64_t deadline = vsc_host_deadline(link->host);

	if (deadline < 0 || (link->timer != 0 && link->deadline <= deadline))
		return;
	g_clear_handle_id(&link->timer, g_source_remove);
	link->deadline = deadline;
	link->timer = g_timeout_add((guint)MAX(deadline - now(), 0), on_deadline, link);
}

/* Carries out what there is, oldest first. A user that asks for something
 * while it is told something only adds to what is carried out here. */
static void run(VscHostLink *link)
{
	VscHostAction action;

	if (link->running)
		return;
	link->running = true;
	while (vmc_queue_next(&link->later, &action, sizeof(action)) ||
	       vsc_host_next(link->host, &action))
		carry_out(link, &action);
	link->running = false;
	arm(link);
}

static gboolean on_deadline(void *data)
{
	VscHostLink *link = data;

	link->timer = 0;
	vsc_host_tick(link->host, now());
	run(link);
	return G_SOURCE_REMOVE;
}

static gboolean run_later(void *data)
{
	VscHostLink *link = data;

	link->idle = 0;
	run(link);
	return G_SOURCE_REMOVE;
}

/* After a request of a user: what goes to the peer goes at once. */
static void run_in_call(VscHostLink *link)
{
	VscHostAction action;

	if (link->running)
		return;
	while (vsc_host_next(link->host, &action)) {
		if (action.kind == VSC_HOST_SEND) {
			carry_out(link, &action);
			continue;
		}
		vmc_queue_push(&link->later, &action, sizeof(action), offsetof(VscHostAction, data),
			       action.data);
		if (link->idle == 0)
			link->idle = g_idle_add_full(G_PRIORITY_HIGH, run_later, link, NULL);
	}
	arm(link);
}

/* ---- What the char device says ---- */

static void on_opened(void *user)
{
	VscHostLink *link = user;

	vsc_host_opened(link->host);
	run(link);
}

static void on_closed(void *user, G_GNUC_UNUSED const GError *reason)
{
	VscHostLink *link = user;

	vsc_host_closed(link->host);
	run(link);
}

static void on_message(void *user, const VscMessage *message)
{
	VscHostLink *link = user;

	vsc_host_message(link->host, message, now());
	run(link);
}

static const VscPortEvents port_events = {
	.opened = on_opened,
	.closed = on_closed,
	.message = on_message,
};

/* ---- The cards ---- */

static Place *place_of(VscCard *card)
{
	return (Place *)card;
}

static void place_power_on(VscCard *card, VscToken token)
{
	Place *place = place_of(card);

	vsc_host_power_on(place->link->host, place->id, token, now());
	run_in_call(place->link);
}

static void place_power_off(VscCard *card, VscToken token)
{
	Place *place = place_of(card);

	vsc_host_power_off(place->link->host, place->id, token, now());
	run_in_call(place->link);
}

static void place_reset(VscCard *card, VscToken token)
{
	Place *place = place_of(card);

	vsc_host_reset(place->link->host, place->id, token, now());
	run_in_call(place->link);
}

static void place_transmit(VscCard *card, VscToken token, VmcSpan command)
{
	Place *place = place_of(card);

	vsc_host_transmit(place->link->host, place->id, token, command, now());
	run_in_call(place->link);
}

static void place_cancel(VscCard *card, VscToken token)
{
	Place *place = place_of(card);

	vsc_host_cancel(place->link->host, place->id, token);
	run_in_call(place->link);
}

/* The link owns its places. */
static void place_free(G_GNUC_UNUSED VscCard *card)
{
	g_return_if_reached();
}

static const VscCardClass place_class = {
	.power_on = place_power_on,
	.power_off = place_power_off,
	.reset = place_reset,
	.transmit = place_transmit,
	.cancel = place_cancel,
	.free = place_free,
};

/* ---- The link ---- */

static void add_place(VscHostLink *link, VmcChardev *chardev)
{
	uint32_t id = link->n_places++;
	g_autofree char *name = name_of_place(chardev, id);

	vsc_card_init(&link->places[id].base, &place_class, name);
	link->places[id].link = link;
	link->places[id].id = id;
}

VscHostLink *vsc_host_link_new(VmcChardev *chardev, uint32_t n_slots, GError **error)
{
	VscHostLink *link;

	g_return_val_if_fail(chardev != NULL, NULL);
	g_return_val_if_fail(n_slots >= 1 && n_slots <= VSC_HOST_READERS_MAX, NULL);

	link = g_new0(VscHostLink, 1);
	link->host = vsc_host_new(n_slots, HOST_CAPS);
	vmc_queue_init(&link->later);
	while (link->n_places < n_slots)
		add_place(link, chardev);
	if (!vsc_port_init(&link->port, chardev, true, &port_events, link, error)) {
		link->port.chardev = NULL;
		vsc_host_link_free(link);
		return NULL;
	}
	return link;
}

bool vsc_host_link_grow(VscHostLink *link, uint32_t n, GError **error)
{
	g_return_val_if_fail(link != NULL, false);

	if (n > VSC_HOST_READERS_MAX - link->n_places) {
		g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE,
			    "a VSCard peer can have %u readers, no more", VSC_HOST_READERS_MAX);
		return false;
	}
	vsc_host_grow(link->host, n);
	while (n-- > 0)
		add_place(link, link->port.chardev);
	return true;
}

void vsc_host_link_set_events(VscHostLink *link, const VscHostLinkEvents *events, void *user)
{
	g_return_if_fail(link != NULL);

	link->events = events;
	link->user = user;
}

void vsc_host_link_free(VscHostLink *link)
{
	if (link == NULL)
		return;
	if (link->port.chardev != NULL)
		vsc_port_finish(&link->port);
	g_clear_handle_id(&link->idle, g_source_remove);
	g_clear_handle_id(&link->timer, g_source_remove);
	vmc_queue_clear(&link->later);
	vsc_host_free(link->host);
	for (uint32_t id = 0; id < link->n_places; id++)
		vsc_card_finish(&link->places[id].base);
	g_free(link);
}

VscCard *vsc_host_link_card(VscHostLink *link, uint32_t slot)
{
	g_return_val_if_fail(link != NULL && slot < link->n_places, NULL);

	return &link->places[slot].base;
}

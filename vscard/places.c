/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The memory of places. It is as large as there are places, whatever peers call
 * themselves.
 */

#include "vscard/places.h"

void vsc_places_init(VscPlaces *places, unsigned n)
{
	g_return_if_fail(n <= VSC_PLACES_MAX);

	*places = (VscPlaces){ .n = n };
}

void vsc_places_clear(VscPlaces *places)
{
	for (unsigned i = 0; i < places->n; i++)
		vsc_description_clear(&places->place[i].who);
}

static bool is_same(const VscDescription *one, const VscDescription *other)
{
	if (one->info.serial != NULL && other->info.serial != NULL)
		return g_strcmp0(one->info.serial, other->info.serial) == 0 &&
		       g_strcmp0(one->info.type, other->info.type) == 0;
	return g_strcmp0(one->name, other->name) == 0;
}

static bool was_here(const VscPlace *place, const VscDescription *who)
{
	return place->left > 0 && is_same(&place->who, who);
}

/* Is `place`, which is free, a better one for `who` than `best`, which is, too? */
static bool is_better(const VscPlace *place, const VscPlace *best, const VscDescription *who)
{
	bool here = was_here(place, who), there = was_here(best, who);

	return here != there ? here : place->left < best->left;
}

unsigned vsc_places_take(VscPlaces *places, const VscDescription *who)
{
	unsigned best = places->n;

	for (unsigned i = 0; i < places->n; i++) {
		if (!places->place[i].taken &&
		    (best == places->n || is_better(&places->place[i], &places->place[best], who)))
			best = i;
	}
	if (best < places->n)
		vsc_places_take_this(places, best, who);
	return best;
}

void vsc_places_take_this(VscPlaces *places, unsigned i, const VscDescription *who)
{
	g_return_if_fail(i < places->n && !places->place[i].taken);

	places->place[i].taken = true;
	vsc_places_describe(places, i, who);
}

void vsc_places_describe(VscPlaces *places, unsigned i, const VscDescription *who)
{
	g_return_if_fail(i < places->n);

	vsc_description_copy(&places->place[i].who, who->name, &who->info);
}

void vsc_places_leave(VscPlaces *places, unsigned i)
{
	g_return_if_fail(i < places->n);

	if (!places->place[i].taken)
		return;
	places->place[i].taken = false;
	places->place[i].left = ++places->lefts;
}

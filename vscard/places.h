/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscPlaces: who sits where. A host has some places for the readers of its
 * peers; a reader that was there before gets the place it had, so that a
 * program finds it in the slot where it left it. No I/O.
 */

#pragma once

#include "vscard/request.h"

/* What a CCID device has slots for (CCID 1.1, 5.1, bMaxSlotIndex), kept to 16. */
#define VSC_PLACES_MAX 16u

typedef struct VscPlace {
	bool taken;
	uint64_t left;      /* counts up with each that leaves; 0: nobody was here yet */
	VscDescription who; /* is here, or was last */
} VscPlace;

typedef struct VscPlaces {
	unsigned n; /* at most VSC_PLACES_MAX */
	uint64_t lefts;
	VscPlace place[VSC_PLACES_MAX];
} VscPlaces;

void vsc_places_init(VscPlaces *places, unsigned n);
void vsc_places_clear(VscPlaces *places);

/*
 * Gives `who` (copied) a free place: the one where it was last; else one where
 * nobody was yet, the lowest; else the one that is empty for the longest time.
 * It is the one that was there if type and serial number are the same, or, where
 * one of the two is said without a serial number, if the name is. Answers the
 * place, or `n` when the house is full.
 */
unsigned vsc_places_take(VscPlaces *places, const VscDescription *who);

/* Place `i`, which is free, whoever was there. */
void vsc_places_take_this(VscPlaces *places, unsigned i, const VscDescription *who);

/* More, or other things, are known of who is at place `i`. */
void vsc_places_describe(VscPlaces *places, unsigned i, const VscDescription *who);

void vsc_places_leave(VscPlaces *places, unsigned i);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscPcscMonitor: a thread that sees readers and cards come and go. It sleeps
 * in SCardGetStatusChange(); while there is no pcscd, until its socket comes.
 */

#pragma once

#include <winscard.h>

#include "vscard/card.h"

typedef struct VscPcscMonitor VscPcscMonitor;

typedef enum VscPcscChangeKind {
	VSC_PCSC_SERVICE,    /* pcscd serves */
	VSC_PCSC_NO_SERVICE, /* there is none; its readers were told as gone */
	VSC_PCSC_SETTLED,    /* what there is was told */
	VSC_PCSC_READER,     /* a reader came */
	VSC_PCSC_READER_GONE,
	VSC_PCSC_CARD, /* a card came, after CARD_GONE if there was one */
	VSC_PCSC_CARD_GONE,
	VSC_PCSC_SHARING, /* who else uses the reader changed */
} VscPcscChangeKind;

typedef struct VscPcscChange {
	VscPcscChangeKind kind;
	const char *name; /* of the reader */
	VmcSpan atr;      /* CARD; empty if the card is mute */
	bool used;        /* SHARING: somebody uses the reader, */
	bool exclusive;   /* and for himself alone */
} VscPcscChange;

/* `changed` is called from the thread, with what is valid during the call. */
VscPcscMonitor *vsc_pcsc_monitor_new(void (*changed)(void *user, const VscPcscChange *change),
				     void *user);

/* Ends the thread. It is left to itself if pcscd keeps it (`changed` is not
 * called any more). */
void vsc_pcsc_monitor_free(VscPcscMonitor *monitor);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscPcscReader: a thread that works with the card in one PC/SC reader, for
 * calls of pcsc-lite block. It takes jobs and hands them back done.
 */

#pragma once

#include "vscard/card.h"
#include "vscard/share.h"

typedef struct VscPcscReader VscPcscReader;

typedef enum VscPcscJobKind {
	VSC_PCSC_POWER_ON,
	VSC_PCSC_POWER_OFF,
	VSC_PCSC_RESET,
	VSC_PCSC_TRANSMIT,
	VSC_PCSC_DESCRIBE, /* asks the driver what the reader is */
	VSC_PCSC_PROBE,    /* is the card another program's alone? OK: no */
	VSC_PCSC_DROP,     /* the card is gone */
	VSC_PCSC_WITHDRAW, /* it is there, but lent no more */
	VSC_PCSC_STOP,     /* the reader's own */
} VscPcscJobKind;

/* What a job found out about the card beside its outcome. */
typedef enum VscPcscFinding {
	VSC_PCSC_NOTHING,
	VSC_PCSC_REMOVED,
	VSC_PCSC_LOST,    /* another program reset it, or left it unknown */
	VSC_PCSC_BLOCKED, /* another program has it for itself */
} VscPcscFinding;

/* A job's `begun`, changed by compare and exchange: whoever is first, the
 * worker to begin or the user to cancel, has it. */
enum { VSC_PCSC_QUEUED, VSC_PCSC_BEGUN, VSC_PCSC_CANCELLED };

typedef struct VscPcscJob {
	VscPcscJobKind kind;
	unsigned slot; /* the caller's */
	VscToken token;
	unsigned insertion; /* the caller's: which card it is for */
	gint begun;
	uint8_t *data; /* the command, then the response or ATR */
	size_t len;
	VscOutcome outcome;
	VscExchange exchange; /* POWER_ON, RESET */
	VscPcscFinding finding;
	VscReaderInfo info; /* DESCRIBE */
} VscPcscJob;

VscPcscJob *vsc_pcsc_job_new(VscPcscJobKind kind, VmcSpan data);
void vsc_pcsc_job_free(VscPcscJob *job);

/* The reader called `name`. `done` is called from its thread with each job that
 * has a token, or is DESCRIBE or PROBE, and owns it then. */
VscPcscReader *vsc_pcsc_reader_new(const char *name, VscShareMode mode,
				   void (*done)(void *user, VscPcscJob *job), void *user);

/* Hands over a job. */
void vsc_pcsc_reader_push(VscPcscReader *reader, VscPcscJob *job);

/* Ends it, after the job it is at and with the card reset; `done` is not called
 * any more. Waits for the end until `until` (g_get_monotonic_time(); 0: not at
 * all), then leaves the thread to itself. */
void vsc_pcsc_reader_stop(VscPcscReader *reader);
void vsc_pcsc_reader_free(VscPcscReader *reader, gint64 until);

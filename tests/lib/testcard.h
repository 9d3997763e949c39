/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscTestCard: a VscCard made for tests. By itself it answers a small set of
 * commands from the main loop, as the contract of VscCardEvents has it; or the
 * test takes each request and answers it by hand, with no main loop at all.
 *
 * Its commands (CLA 00; anything else is answered 6D00):
 *
 *   INS EC  echo: exactly Ne bytes (a short Le of 00 is 256, an extended one
 *           of 0000 is 65,536), byte i = (seed + 7 i + i / 251) mod 256 with
 *           seed = P2 xor (the sum of the data bytes mod 256); then 9000. With
 *           no Le, 9000 alone.
 *   INS ED  works for P1 P2 tenths of a second, says so each second, then 9000.
 *
 * A command that is no APDU is answered 6700.
 */

#pragma once

#include "vscard/card.h"

typedef struct VscTestCard VscTestCard;

typedef enum VscTestMode {
	VSC_TEST_AUTO,   /* answers as above, after `delay` */
	VSC_TEST_SILENT, /* never answers a command; power and reset as AUTO */
	VSC_TEST_FAIL,   /* each request ends with the outcome set */
	VSC_TEST_MANUAL, /* the test answers each request */
} VscTestMode;

typedef enum VscTestRequest {
	VSC_TEST_POWER_ON,
	VSC_TEST_POWER_OFF,
	VSC_TEST_RESET,
	VSC_TEST_TRANSMIT,
	VSC_TEST_CANCEL,
	VSC_TEST_REQUESTS, /* how many kinds there are */
} VscTestRequest;

/* Absent, not powered, AUTO, with a T=1 ATR. */
VscTestCard *vsc_test_card_new(const char *name);
void vsc_test_card_free(VscTestCard *card);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VscTestCard, vsc_test_card_free)

/* The card as its user sees it; vsc_card_free() of it frees the test card. */
VscCard *vsc_test_card(VscTestCard *card);

/* ATRs that a test may want: dual T=1 and T=0, T=1 alone, T=0 alone. */
extern const VmcSpan vsc_test_atr_both;
extern const VmcSpan vsc_test_atr_t1;
extern const VmcSpan vsc_test_atr_t0;

/* What power on and reset bring from now on (copied, any bytes). */
void vsc_test_card_set_atr(VscTestCard *card, VmcSpan atr);

/* Puts the card in or takes it out, now; the user hears of it in the call.
 * Requests that are pending then end NO_CARD (not in MANUAL mode). */
void vsc_test_card_set_present(VscTestCard *card, bool present);

void vsc_test_card_set_mode(VscTestCard *card, VscTestMode mode);

/* AUTO: how long the answer takes, in ms. */
void vsc_test_card_set_delay(VscTestCard *card, unsigned ms);

/* FAIL: how requests end. */
void vsc_test_card_set_outcome(VscTestCard *card, VscOutcome outcome);

bool vsc_test_card_powered(const VscTestCard *card);

/* How many requests of a kind there were. */
unsigned vsc_test_card_count(const VscTestCard *card, VscTestRequest request);

/* The most commands that were with the card at one time. */
unsigned vsc_test_card_most_pending(const VscTestCard *card);

/* The last request other than a cancel: its token, what it was, and its
 * command (valid until the next); VSC_TOKEN_NONE before the first. */
VscToken vsc_test_card_last(const VscTestCard *card, VscTestRequest *request, VmcSpan *command);

/* MANUAL: ends the last request, with the ATR if that is what OK brings and
 * `data` is empty; or says something of any token, old or never given. */
void vsc_test_card_answer(VscTestCard *card, VscOutcome outcome, VmcSpan data);
void vsc_test_card_answer_token(VscTestCard *card, VscToken token, VscOutcome outcome,
				VmcSpan data);
void vsc_test_card_working(VscTestCard *card);

/* The response to `command` by the rules above, a new array with its status;
 * `*delay` in ms. */
GByteArray *vsc_test_card_response(VmcSpan command, unsigned *delay);

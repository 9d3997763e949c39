/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * When a TCP connection whose other side died without a word, or behind a
 * network that did, is over.
 */

#pragma once

/*
 * A lost peer is a removed card, so a network that died without a word has to
 * be noticed by us, and in tens of seconds, not in the system's two hours: on a
 * silent connection by keepalive (after 10 s without a byte, probes 3 s apart),
 * on one with output under way by the user timeout. The latter also counts for
 * a peer that keeps its window shut for as long, with all of its receive buffer
 * unread; no live end of a conversation about cards leaves so much.
 */
#define VMC_KEEPALIVE_IDLE_SECONDS 10
#define VMC_KEEPALIVE_INTERVAL_SECONDS 3
#define VMC_KEEPALIVE_PROBES 3
#define VMC_KEEPALIVE_UNACKNOWLEDGED_MS 20000

/* Sets that for the connection `fd`; to any other descriptor nothing happens. */
void vmc_keepalive_set(int fd);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the IFD handler says goes into pcscd's log, or into syslog when it is
 * loaded by something else. Lines name readers, cards, lengths and outcomes,
 * never data.
 */

#pragma once

/* From now on, what GLib's log gets from vmc/, vscard/ and ccid/ and what the
 * card links trace goes there; once is enough. Only for those domains: whatever
 * else uses GLib in the process keeps its ways. */
void ifd_log_start(void);

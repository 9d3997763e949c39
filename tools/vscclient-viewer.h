/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ClientViewer: the viewer of --viewer, started so that it comes to the relay.
 * It is given a private connection file (mode 0600, in a folder of its own
 * under $XDG_RUNTIME_DIR, or the system's folder for temporary files), which
 * says what the user's own said but for where to go and whom to trust there:
 * host, port, tls-port, unix-path, ca (the relay's, then the user's own, which
 * the viewer needs if the VM is migrated), host-subject, proxy, and
 * delete-this-file. A
 * password goes into that file only. The viewer's command is its words as the
 * user gave them, and then:
 *   remote-viewer and any other  the path of that file;
 *   spicy, which takes no file   --uri=spice://127.0.0.1…, and for TLS
 *                                --spice-ca-file=FILE and what channels are to
 *                                be secure; it asks for a password itself.
 */

#pragma once

#include "vmc/spice-address.h"
#include "vmc/spice-relay.h"

typedef struct ClientViewer ClientViewer;

/* What it tells: the viewer ended; `because` ("the viewer ended", "… with
 * status 1") is for people. Comes once, from the loop; the viewer may be freed
 * in it. */
typedef void ClientViewerEnded(void *user, const char *because);

/* Starts `command` (its words, NULL at the end; one at least) on `relay`, which
 * leads to `address` (both borrowed during the call). NULL with `error`
 * (GIOError, GFileError or GSpawnError) when it cannot be started. */
ClientViewer *client_viewer_new(const VmcSpiceAddress *address, const VmcSpiceRelay *relay,
				char *const *command, ClientViewerEnded *ended, void *user,
				GError **error);

/* Removes the file; a viewer that is still there is told to end (SIGTERM).
 * NULL is fine. */
void client_viewer_free(ClientViewer *viewer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ClientViewer, client_viewer_free)

/* The connection file's text for the relay's ports (0: none) and `ca` (PEM;
 * NULL: none), made of `address`; free with client_viewer_free_text(). */
char *client_viewer_text(const VmcSpiceAddress *address, uint16_t port, uint16_t tls_port,
			 const char *ca);
void client_viewer_free_text(char *text);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A viewer on the relay: its connection file, its command and its end.
 */

#include "tools/vscclient-viewer.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tools/vscclient-password.h"
#include "vmc/span.h"

#define VV_GROUP "[virt-viewer]"
#define LOOPBACK "127.0.0.1"

/* One wait for the process; outlives the viewer that is freed first. */
typedef struct Wait {
	ClientViewer *viewer; /* NULL: gone */
} Wait;

struct ClientViewer {
	ClientViewerEnded *ended;
	void *user;
	char *folder;
	GPtrArray *files; /* paths in it */
	GSubprocess *process;
	Wait *wait; /* NULL: it ended */
};

/* ---- The connection file ---- */

/* `value` as the file format writes it. */
static void append_key(GString *text, const char *key, const char *value)
{
	g_string_append_printf(text, "%s=", key);
	for (const char *c = value; *c != '\0'; c++) {
		if (*c == '\n')
			g_string_append(text, "\\n");
		else if (*c == '\r')
			g_string_append(text, "\\r");
		else if (*c == '\t')
			g_string_append(text, "\\t");
		else if (*c == '\\')
			g_string_append(text, "\\\\");
		else if (*c == ' ' && c == value)
			g_string_append(text, "\\s");
		else
			g_string_append_c(text, *c);
	}
	g_string_append_c(text, '\n');
}

static void append_place(GString *text, const VmcSpiceAddress *address, uint16_t port,
			 uint16_t tls_port, const char *ca)
{
	append_key(text, "host", LOOPBACK);
	if (port != 0)
		g_string_append_printf(text, "port=%u\n", port);
	if (tls_port != 0)
		g_string_append_printf(text, "tls-port=%u\n", tls_port);
	if (ca != NULL)
		append_key(text, "ca", ca);
	if (address->password != NULL)
		append_key(text, "password", address->password);
	g_string_append(text, "delete-this-file=1\n");
}

/* True if `line` gives a key that is the relay's to say. */
static bool is_ours(const char *line)
{
	static const char *const keys[] = {
		"host",         "port",     "tls-port",         "ca",   "unix-path",
		"host-subject", "password", "delete-this-file", "proxy"
	};
	g_autofree char *key = g_strchomp(g_strndup(line, strcspn(line, "=")));

	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
		if (strcmp(key, keys[i]) == 0)
			return true;
	}
	return false;
}

/* Room at once, so that no copy of a password is left where text grew. */
static GString *new_text(const VmcSpiceAddress *address, const char *ca)
{
	size_t room = 1024;

	if (address->file_text != NULL)
		room += strlen(address->file_text);
	if (address->password != NULL)
		room += 2 * strlen(address->password);
	if (ca != NULL)
		room += 2 * strlen(ca);
	return g_string_sized_new(room);
}

char *client_viewer_text(const VmcSpiceAddress *address, uint16_t port, uint16_t tls_port,
			 const char *ca)
{
	GString *text = new_text(address, ca);
	const char *at = address->file_text;
	bool group = false;

	if (at == NULL) {
		g_string_append(text, VV_GROUP "\ntype=spice\n");
		if (address->user != NULL)
			append_key(text, "username", address->user);
		append_place(text, address, port, tls_port, ca);
		return g_string_free(text, FALSE);
	}
	while (*at != '\0') {
		size_t len = strcspn(at, "\n");
		const char *line = at + strspn(at, " \t\r");
		bool starts = *line == '[';

		if (starts)
			group = g_str_has_prefix(line, VV_GROUP);
		if (!group || !is_ours(line)) {
			g_string_append_len(text, at, (gssize)len);
			g_string_append_c(text, '\n');
		}
		if (starts && group)
			append_place(text, address, port, tls_port, ca);
		at += len + (at[len] == '\n' ? 1 : 0);
	}
	return g_string_free(text, FALSE);
}

void client_viewer_free_text(char *text)
{
	if (text != NULL)
		vmc_wipe(text, strlen(text));
	g_free(text);
}

/* ---- Private files ---- */

static bool make_folder(ClientViewer *viewer, GError **error)
{
	const char *runtime = g_getenv("XDG_RUNTIME_DIR");
	const char *parent = runtime != NULL && g_file_test(runtime, G_FILE_TEST_IS_DIR) ?
				     runtime :
				     g_get_tmp_dir();

	viewer->folder = g_build_filename(parent, "vscclient-XXXXXX", NULL);
	if (g_mkdtemp_full(viewer->folder, 0700) != NULL)
		return true;
	g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno),
		    "cannot make a folder for the viewer in %s: %s", parent, g_strerror(errno));
	g_clear_pointer(&viewer->folder, g_free);
	return false;
}

/* A new file that only this user can read; its path is the viewer's. */
static const char *write_file(ClientViewer *viewer, const char *name, const char *text,
			      GError **error)
{
	char *path = g_build_filename(viewer->folder, name, NULL);
	int fd = g_open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	size_t len = strlen(text);
	bool written = fd >= 0 && write(fd, text, len) == (ssize_t)len;
	int code = errno;

	if (fd >= 0)
		close(fd);
	g_ptr_array_add(viewer->files, path);
	if (written)
		return path;
	g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(code),
		    "cannot write %s for the viewer: %s", path, g_strerror(code));
	return NULL;
}

static void remove_files(ClientViewer *viewer)
{
	for (guint i = 0; i < viewer->files->len; i++)
		g_unlink(viewer->files->pdata[i]);
	if (viewer->folder != NULL)
		g_rmdir(viewer->folder);
}

/* ---- The command ---- */

/* Whom the viewer trusts: the relay, and whom it would without, for it goes to
 * another host by itself when the VM does. NULL: no TLS. */
static char *trusted(const VmcSpiceAddress *address, const VmcSpiceRelay *relay)
{
	const char *ca = vmc_spice_relay_ca(relay);
	g_autofree char *own = g_strdup(address->ca_pem);

	if (ca == NULL)
		return NULL;
	if (own == NULL && address->ca_file != NULL)
		g_file_get_contents(address->ca_file, &own, NULL, NULL);
	return g_strconcat(ca, own, NULL);
}

static bool takes_no_file(const char *program)
{
	g_autofree char *name = g_path_get_basename(program);

	return strcmp(name, "spicy") == 0;
}

static char *relay_uri(uint16_t port, uint16_t tls_port)
{
	if (port != 0 && tls_port != 0)
		return g_strdup_printf("--uri=spice://" LOOPBACK "?port=%u&tls-port=%u", port,
				       tls_port);
	if (tls_port != 0)
		return g_strdup_printf("--uri=spice+tls://" LOOPBACK ":%u", tls_port);
	return g_strdup_printf("--uri=spice://" LOOPBACK ":%u", port);
}

static bool add_options(ClientViewer *viewer, GPtrArray *words, const VmcSpiceAddress *address,
			const VmcSpiceRelay *relay, GError **error)
{
	g_autofree char *ca = trusted(address, relay);

	g_ptr_array_add(words,
			relay_uri(vmc_spice_relay_port(relay), vmc_spice_relay_tls_port(relay)));
	if (ca != NULL) {
		const char *path = write_file(viewer, "ca.pem", ca, error);

		if (path == NULL)
			return false;
		g_ptr_array_add(words, g_strdup_printf("--spice-ca-file=%s", path));
	}
	if (address->secure_channels != NULL) {
		g_autofree char *list = g_strdelimit(g_strdup(address->secure_channels), ";", ',');

		g_ptr_array_add(words, g_strdup_printf("--spice-secure-channels=%s", list));
	}
	return true;
}

static bool add_file(ClientViewer *viewer, GPtrArray *words, const VmcSpiceAddress *address,
		     const VmcSpiceRelay *relay, GError **error)
{
	g_autofree char *ca = trusted(address, relay);
	char *text = client_viewer_text(address, vmc_spice_relay_port(relay),
					vmc_spice_relay_tls_port(relay), ca);
	const char *path = write_file(viewer, "console.vv", text, error);

	client_viewer_free_text(text);
	if (path == NULL)
		return false;
	g_ptr_array_add(words, g_strdup(path));
	return true;
}

/* ---- Its life ---- */

static char *how_it_ended(GSubprocess *process)
{
	if (g_subprocess_get_if_signaled(process))
		return g_strdup_printf("the viewer was ended by signal %d",
				       g_subprocess_get_term_sig(process));
	if (g_subprocess_get_exit_status(process) != 0)
		return g_strdup_printf("the viewer ended with status %d",
				       g_subprocess_get_exit_status(process));
	return g_strdup("the viewer ended");
}

static void on_ended(GObject *source, GAsyncResult *result, void *data)
{
	Wait *wait = data;
	ClientViewer *viewer = wait->viewer;
	g_autofree char *because = NULL;

	g_subprocess_wait_finish(G_SUBPROCESS(source), result, NULL);
	g_free(wait);
	if (viewer == NULL)
		return;
	viewer->wait = NULL;
	remove_files(viewer);
	because = how_it_ended(G_SUBPROCESS(source));
	viewer->ended(viewer->user, because);
}

static bool start(ClientViewer *viewer, GPtrArray *words, GError **error)
{
	g_autoptr(GSubprocessLauncher) launcher =
		g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);

	/* It has what it needs in its file. */
	g_subprocess_launcher_unsetenv(launcher, CLIENT_PASSWORD_VARIABLE);
	g_ptr_array_add(words, NULL);
	viewer->process =
		g_subprocess_launcher_spawnv(launcher, (const char *const *)words->pdata, error);
	if (viewer->process == NULL) {
		g_prefix_error(error,
			       "cannot start the viewer '%s': ", (const char *)words->pdata[0]);
		return false;
	}
	viewer->wait = g_new0(Wait, 1);
	viewer->wait->viewer = viewer;
	g_subprocess_wait_async(viewer->process, NULL, on_ended, viewer->wait);
	return true;
}

ClientViewer *client_viewer_new(const VmcSpiceAddress *address, const VmcSpiceRelay *relay,
				char *const *command, ClientViewerEnded *ended, void *user,
				GError **error)
{
	g_autoptr(ClientViewer) viewer = g_new0(ClientViewer, 1);
	g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
	bool added;

	g_return_val_if_fail(command != NULL && command[0] != NULL, NULL);

	viewer->ended = ended;
	viewer->user = user;
	viewer->files = g_ptr_array_new_with_free_func(g_free);
	for (; *command != NULL; command++)
		g_ptr_array_add(words, g_strdup(*command));
	if (!make_folder(viewer, error))
		return NULL;
	added = takes_no_file(words->pdata[0]) ? add_options(viewer, words, address, relay, error) :
						 add_file(viewer, words, address, relay, error);
	if (!added || !start(viewer, words, error))
		return NULL;
	return g_steal_pointer(&viewer);
}

void client_viewer_free(ClientViewer *viewer)
{
	if (viewer == NULL)
		return;
	if (viewer->wait != NULL) {
		viewer->wait->viewer = NULL;
		g_subprocess_send_signal(viewer->process, SIGTERM);
	}
	remove_files(viewer);
	g_clear_object(&viewer->process);
	g_ptr_array_unref(viewer->files);
	g_free(viewer->folder);
	g_free(viewer);
}

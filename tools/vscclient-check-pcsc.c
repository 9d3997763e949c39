/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pcsc-lite's calls block and have no time limit, so they are made on a thread
 * which is left to itself if pcscd does not answer: the program ends soon.
 */

#include "tools/vscclient-check-pcsc.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <winscard.h>

#include "tools/vscclient-say.h"
#include "tools/vscclient-source.h"
#include "vscard/pcsc-service.h"

/* A pcscd that systemd starts for us looks for its readers before it answers. */
#define LOOK_SECONDS 10
/* And drivers may take a moment more to find their reader. */
#define READER_MS 1000u
#define PNP "\\\\?PnP?\\Notification"

typedef struct Seen {
	char *name;
	DWORD state; /* SCARD_STATE_... */
	size_t atr_len;
} Seen;

/* Of both threads, under `lock` until `over`. */
typedef struct Look {
	GMutex lock;
	GCond ended;
	bool over;
	LONG error;
	Seen seen[PCSCLITE_MAX_READERS_CONTEXTS];
	guint n;
} Look;

/* ---- Looking ---- */

static void look_clear(gpointer data)
{
	Look *look = data;

	for (guint i = 0; i < look->n; i++)
		g_free(look->seen[i].name);
	g_mutex_clear(&look->lock);
	g_cond_clear(&look->ended);
}

static void look_unref(Look *look)
{
	g_atomic_rc_box_release_full(look, look_clear);
}

static LONG list(Look *look, SCARDCONTEXT context)
{
	char *names = NULL;
	DWORD len = SCARD_AUTOALLOCATE;
	LONG error = SCardListReaders(context, NULL, (LPSTR)&names, &len);

	if (error != SCARD_S_SUCCESS)
		return error == SCARD_E_NO_READERS_AVAILABLE ? SCARD_S_SUCCESS : error;
	for (const char *name = names; *name != '\0' && look->n < G_N_ELEMENTS(look->seen);
	     name += strlen(name) + 1)
		look->seen[look->n++].name = g_strdup(name);
	SCardFreeMemory(context, names);
	return SCARD_S_SUCCESS;
}

/* The state of each reader, which the first call answers at once. */
static LONG look_into(Look *look, SCARDCONTEXT context)
{
	SCARD_READERSTATE states[PCSCLITE_MAX_READERS_CONTEXTS] = { 0 };
	LONG error;

	for (guint i = 0; i < look->n; i++)
		states[i].szReader = look->seen[i].name;
	error = SCardGetStatusChange(context, 0, states, look->n);
	for (guint i = 0; i < look->n && error == SCARD_S_SUCCESS; i++) {
		look->seen[i].state = states[i].dwEventState;
		look->seen[i].atr_len = states[i].cbAtr;
	}
	return error;
}

static LONG look_around(Look *look)
{
	SCARD_READERSTATE pnp = { .szReader = PNP };
	SCARDCONTEXT context;
	LONG error = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);

	if (error != SCARD_S_SUCCESS)
		return error;
	error = list(look, context);
	if (error == SCARD_S_SUCCESS && look->n == 0) {
		SCardGetStatusChange(context, READER_MS, &pnp, 1);
		error = list(look, context);
	}
	if (error == SCARD_S_SUCCESS && look->n > 0)
		error = look_into(look, context);
	SCardReleaseContext(context);
	return error;
}

static gpointer work(gpointer data)
{
	Look *look = data;
	LONG error = look_around(look);

	g_mutex_lock(&look->lock);
	look->error = error;
	look->over = true;
	g_cond_signal(&look->ended);
	g_mutex_unlock(&look->lock);
	look_unref(look);
	return NULL;
}

/* False: pcscd does not answer, and nothing of `look` may be used. */
static bool wait_for(Look *look)
{
	gint64 until = g_get_monotonic_time() + LOOK_SECONDS * G_USEC_PER_SEC;
	bool over = true;

	g_mutex_init(&look->lock);
	g_cond_init(&look->ended);
	g_thread_unref(g_thread_new("check-pcsc", work, g_atomic_rc_box_acquire(look)));
	g_mutex_lock(&look->lock);
	while (!look->over && over)
		over = g_cond_wait_until(&look->ended, &look->lock, until);
	over = look->over;
	g_mutex_unlock(&look->lock);
	return over;
}

/* ---- pcscd ---- */

static bool is_installed(void)
{
	static const char *const places[] = { "/usr/sbin/pcscd", "/usr/local/sbin/pcscd" };
	g_autofree char *found = g_find_program_in_path("pcscd");

	for (size_t i = 0; found == NULL && i < G_N_ELEMENTS(places); i++) {
		if (access(places[i], X_OK) == 0)
			return true;
	}
	return found != NULL;
}

/* Why pcscd's socket cannot be connected to, as errno says; 0: it can. */
static int try_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), problem = 0;

	if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path))
		problem = ENAMETOOLONG;
	else if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		problem = errno;
	if (fd >= 0)
		close(fd);
	return problem;
}

static ClientExit no_service(void)
{
	const char *path = vsc_pcsc_service_path();
	int problem = try_socket(path);

	if (problem == ENOENT && !is_installed())
		answer("problem: pcscd is not installed: install the package pcscd");
	else if (problem == ENOENT)
		answer("problem: pcscd does not run, there is no %s: start it, as with "
		       "'systemctl enable --now pcscd.socket'",
		       path);
	else if (problem == ECONNREFUSED)
		answer("problem: pcscd ended and left %s behind: start it again, as with "
		       "'systemctl restart pcscd.socket'",
		       path);
	else if (problem == EACCES || problem == EPERM)
		answer("problem: this user may not use %s (%s): run vscclient as one who may", path,
		       g_strerror(problem));
	else if (problem != 0)
		answer("problem: pcscd cannot be reached at %s: %s", path, g_strerror(problem));
	else
		answer("problem: pcscd is there, but does not let this program in: outside of a "
		       "local session polkit has to allow org.debian.pcsc-lite.access_pcsc");
	return CLIENT_EXIT_NO_PCSCD;
}

/* ---- Readers ---- */

static const char *why_not(ClientChoice choice)
{
	switch (choice) {
	case CLIENT_CHOICE_LENT:
		break;
	case CLIENT_CHOICE_EXCLUDED:
		return "--exclude leaves it out";
	case CLIENT_CHOICE_OTHER:
		return "no --reader names it";
	case CLIENT_CHOICE_OURS:
		return "vscard itself makes it; name it with --reader to lend it all the same";
	}
	g_return_val_if_reached("");
}

static bool is_lent(const ClientOptions *options, const Seen *seen)
{
	return client_source_choose(options, seen->name) == CLIENT_CHOICE_LENT;
}

static ClientExit check_readers(const ClientOptions *options, const Look *look)
{
	bool any = false;

	for (guint i = 0; i < look->n; i++) {
		any |= is_lent(options, &look->seen[i]);
		if (!is_lent(options, &look->seen[i]))
			answer("note: reader '%s' is not lent: %s", look->seen[i].name,
			       why_not(client_source_choose(options, look->seen[i].name)));
	}
	if (any)
		return CLIENT_EXIT_DONE;
	if (look->n == 0)
		answer("problem: pcscd has no reader: plug one in; if one is, its driver may be "
		       "missing (the package libccid has that of most)");
	else
		answer("problem: there is a reader, but none to lend: change --reader or --exclude "
		       "('vscclient --list' shows the names)");
	return CLIENT_EXIT_NO_READER;
}

/* ---- Cards ---- */

/* DONE: there is one that answers. */
static ClientExit check_card(const ClientOptions *options, const Seen *seen)
{
	bool alone = options->pcsc_share == VSC_SHARE_ALONE;

	if ((seen->state & SCARD_STATE_PRESENT) == 0) {
		answer("note: no card in reader '%s'", seen->name);
		return CLIENT_EXIT_NO_CARD;
	}
	if ((seen->state & SCARD_STATE_EXCLUSIVE) != 0 ||
	    (alone && (seen->state & SCARD_STATE_INUSE) != 0)) {
		answer("note: another program has the card in reader '%s' for itself%s", seen->name,
		       alone ? ", or uses it, and --share exclusive shares nothing" : "");
		return CLIENT_EXIT_CARD_STUCK;
	}
	if ((seen->state & SCARD_STATE_MUTE) != 0 || seen->atr_len == 0) {
		answer("note: the card in reader '%s' does not answer", seen->name);
		return CLIENT_EXIT_CARD_STUCK;
	}
	answer("ok: there is a card in reader '%s'%s", seen->name,
	       (seen->state & SCARD_STATE_INUSE) != 0 ? ", which another program uses too" : "");
	return CLIENT_EXIT_DONE;
}

static ClientExit check_cards(const ClientOptions *options, const Look *look)
{
	ClientExit worst = CLIENT_EXIT_NO_CARD;
	bool any = false;

	for (guint i = 0; i < look->n; i++) {
		ClientExit found;

		if (!is_lent(options, &look->seen[i]))
			continue;
		found = check_card(options, &look->seen[i]);
		any |= found == CLIENT_EXIT_DONE;
		worst = MAX(worst, found);
	}
	if (any)
		return CLIENT_EXIT_DONE;
	if (worst == CLIENT_EXIT_NO_CARD)
		answer("problem: there is no card: put one into the reader");
	else
		answer("problem: no card can be used: end the program that has it for itself; one "
		       "that does not answer put in anew, the other way round, or into another "
		       "reader");
	return worst;
}

ClientExit client_check_pcsc(const ClientOptions *options)
{
	Look *look = g_atomic_rc_box_new0(Look);
	ClientExit status;

	if (!wait_for(look)) {
		answer("problem: pcscd is there, but does not answer: start it again, as with "
		       "'systemctl restart pcscd'");
		status = CLIENT_EXIT_NO_PCSCD;
	} else if (look->error != SCARD_S_SUCCESS) {
		status = no_service();
	} else {
		answer("ok: pcscd serves at %s", vsc_pcsc_service_path());
		status = check_readers(options, look);
		if (status == CLIENT_EXIT_DONE)
			status = check_cards(options, look);
	}
	look_unref(look);
	return status;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Stands for pcscd: loads an IFD handler and calls its functions as a test
 * says, each call in a thread of its own, so that a test can have several under
 * way and look at the rest meanwhile:
 *
 *   ifd-driver LIBRARY
 *
 * takes lines "TAG COMMAND LUN ARGUMENT..." and answers each with a line "TAG
 * CODE HEX", CODE what the function returned and HEX the bytes that it brought
 * ("-" for none) with their length; numbers are as strtoul() takes them, names
 * and commands are hexadecimal, "-" if empty. "TAG unload 0" closes
 * the library, "TAG threads 0" says how many threads there are beside those
 * that wait in a call, "TAG load 0" loads it (again). The end of input ends it.
 *
 * Buffers are allocated as long as the command says, so that a sanitizer sees
 * what goes past them.
 */

#include <dirent.h>
#include <dlfcn.h>
#include <glib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ccid/ifd-handler.h"

#define WORDS_MAX 6

static const char *library;
static void *handle;
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static gint calls; /* threads of ours */

/* What a call works with and answers. */
typedef struct Call {
	char *words[WORDS_MAX];
	DWORD lun;
	RESPONSECODE code;
	DWORD len;
	UCHAR *bytes; /* `len` of them; NULL: none */
} Call;

static void *function(const char *name)
{
	void *found = handle != NULL ? dlsym(handle, name) : NULL;

	if (found == NULL) {
		fprintf(stderr, "ifd-driver: no %s\n", name);
		exit(1);
	}
	return found;
}

#define FUNCTION(name) ((__typeof__(&name))function(#name))

static unsigned long number(const Call *call, int word)
{
	return call->words[word] != NULL ? strtoul(call->words[word], NULL, 0) : 0;
}

/* A buffer of the size that word `word` says; "-" is none. */
static void make_room(Call *call, int word)
{
	if (call->words[word] == NULL || strcmp(call->words[word], "-") == 0)
		return;
	call->len = number(call, word);
	/* Of none, a pointer to none: g_malloc0() would give no pointer. */
	call->bytes = calloc(1, call->len);
}

static UCHAR *from_hex(const char *text, DWORD *len)
{
	UCHAR *bytes;

	*len = strcmp(text, "-") == 0 ? 0 : strlen(text) / 2;
	bytes = calloc(1, *len);
	for (DWORD i = 0; i < *len; i++) {
		const char digits[3] = { text[2 * i], text[2 * i + 1], '\0' };

		bytes[i] = (UCHAR)strtoul(digits, NULL, 16);
	}
	return bytes;
}

/* ---- The commands ---- */

static void do_open(Call *call)
{
	/* In memory of its own, which is gone after the call. */
	DWORD len;
	g_autofree UCHAR *bytes = from_hex(call->words[3], &len);
	g_autofree char *name = g_strndup((char *)bytes, len);

	call->code = FUNCTION(IFDHCreateChannelByName)(call->lun, name);
}

static void do_channel(Call *call)
{
	call->code = FUNCTION(IFDHCreateChannel)(call->lun, number(call, 3));
}

static void do_close(Call *call)
{
	call->code = FUNCTION(IFDHCloseChannel)(call->lun);
}

static void do_presence(Call *call)
{
	call->code = FUNCTION(IFDHICCPresence)(call->lun);
}

static void do_power(Call *call)
{
	make_room(call, 4);
	call->code = FUNCTION(IFDHPowerICC)(call->lun, number(call, 3), call->bytes, &call->len);
}

static void do_transmit(Call *call)
{
	SCARD_IO_HEADER send = { SCARD_PROTOCOL_T1, sizeof(send) }, recv = send;
	DWORD len;
	g_autofree UCHAR *command = from_hex(call->words[3], &len);

	make_room(call, 4);
	call->code = FUNCTION(IFDHTransmitToICC)(call->lun, send, command, len, call->bytes,
						 &call->len, &recv);
}

static void do_get(Call *call)
{
	make_room(call, 4);
	call->code =
		FUNCTION(IFDHGetCapabilities)(call->lun, number(call, 3), &call->len, call->bytes);
}

static void do_set(Call *call)
{
	UCHAR value[4] = { 1 };

	call->code = FUNCTION(IFDHSetCapabilities)(call->lun, number(call, 3), 1, value);
}

static void do_protocol(Call *call)
{
	call->code = FUNCTION(IFDHSetProtocolParameters)(call->lun, number(call, 3), 0, 0, 0, 0);
}

static void do_control(Call *call)
{
	UCHAR nothing[1] = { 0 };
	DWORD room;

	make_room(call, 4);
	room = call->len;
	call->code = FUNCTION(IFDHControl)(call->lun, number(call, 3), nothing, 0, call->bytes,
					   room, &call->len);
}

/* The functions that pcscd gets by a tag. */
static void *pointer(Call *call, DWORD tag)
{
	void *found = NULL;
	DWORD len = sizeof(found);

	if (FUNCTION(IFDHGetCapabilities)(call->lun, tag, &len, (UCHAR *)&found) != IFD_SUCCESS)
		return NULL;
	return len == sizeof(found) ? found : NULL;
}

static void do_wait(Call *call)
{
	RESPONSECODE (*wait)(DWORD, int) = pointer(call, TAG_IFD_POLLING_THREAD_WITH_TIMEOUT);

	call->code = wait != NULL ? wait(call->lun, (int)number(call, 3)) : -1;
}

static void do_stop(Call *call)
{
	RESPONSECODE (*stop)(DWORD) = pointer(call, TAG_IFD_STOP_POLLING_THREAD);

	call->code = stop != NULL ? stop(call->lun) : -1;
}

static void do_load(Call *call)
{
	handle = dlopen(library, RTLD_LAZY);
	if (handle == NULL)
		fprintf(stderr, "ifd-driver: %s\n", dlerror());
	call->code = handle != NULL ? 0 : -1;
}

static void do_unload(Call *call)
{
	call->code = dlclose(handle);
	handle = NULL;
}

static int count_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	int n = 0;

	while (tasks != NULL && readdir(tasks) != NULL)
		n++;
	closedir(tasks);
	return n - 2 - 1 - g_atomic_int_get(&calls);
}

/* Threads that are neither the first nor in a call; those of calls that are
 * done have a moment to go. */
static void do_threads(Call *call)
{
	for (int i = 0; i < 200 && count_threads() > 0; i++)
		g_usleep(10000);
	call->code = count_threads();
}

static const struct {
	const char *name;
	int words; /* beside the tag */
	void (*run)(Call *call);
} commands[] = {
	{ "open", 3, do_open },         { "channel", 3, do_channel },
	{ "close", 2, do_close },       { "presence", 2, do_presence },
	{ "power", 4, do_power },       { "transmit", 4, do_transmit },
	{ "get", 4, do_get },           { "set", 3, do_set },
	{ "protocol", 3, do_protocol }, { "control", 4, do_control },
	{ "wait", 3, do_wait },         { "stop", 2, do_stop },
	{ "load", 2, do_load },         { "unload", 2, do_unload },
	{ "threads", 2, do_threads },
};

/* ---- Lines ---- */

static void answer(const Call *call)
{
	pthread_mutex_lock(&output);
	printf("%s %ld ", call->words[0], call->code);
	for (DWORD i = 0; call->bytes != NULL && i < call->len; i++)
		printf("%02x", call->bytes[i]);
	if (call->bytes == NULL || call->len == 0)
		printf("-");
	printf(" %lu\n", call->len);
	fflush(stdout);
	pthread_mutex_unlock(&output);
}

static void run(Call *call)
{
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
		if (strcmp(commands[i].name, call->words[1]) == 0 &&
		    call->words[commands[i].words] != NULL) {
			commands[i].run(call);
			return;
		}
	}
	fprintf(stderr, "ifd-driver: what is '%s'?\n", call->words[1]);
	exit(1);
}

static void *run_thread(void *data)
{
	Call *call = data;
	DWORD room;

	call->lun = number(call, 2);
	run(call);
	/* A length past the buffer is told, but nothing is there to print. */
	room = call->bytes != NULL ? number(call, 4) : 0;
	if (call->len > room) {
		g_free(call->bytes);
		call->bytes = NULL;
	}
	answer(call);
	for (int i = 0; i < WORDS_MAX; i++)
		g_free(call->words[i]);
	g_free(call->bytes);
	g_free(call);
	g_atomic_int_add(&calls, -1);
	return NULL;
}

static void start(char *line)
{
	Call *call = g_new0(Call, 1);
	char *rest = line;
	pthread_t thread;

	for (int i = 0; i < WORDS_MAX; i++)
		call->words[i] = g_strdup(strtok_r(i == 0 ? line : NULL, " \n", &rest));
	if (call->words[0] == NULL || call->words[1] == NULL || call->words[2] == NULL)
		exit(1);
	g_atomic_int_inc(&calls);
	if (pthread_create(&thread, NULL, run_thread, call) != 0)
		exit(1);
	pthread_detach(thread);
}

int main(int argc, char **argv)
{
	char *line = NULL;
	size_t size = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: ifd-driver LIBRARY\n");
		return 1;
	}
	library = argv[1];
	handle = dlopen(library, RTLD_LAZY);
	if (handle == NULL) {
		fprintf(stderr, "ifd-driver: %s\n", dlerror());
		return 1;
	}
	while (getline(&line, &size, stdin) > 0)
		start(line);
	free(line);
	while (g_atomic_int_get(&calls) > 0)
		g_usleep(1000);
	return 0;
}

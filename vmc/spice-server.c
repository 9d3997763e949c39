/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * vscardd's side of the SPICE server: starts the process that holds the
 * library, tells it what is wanted, hands the conversations it passes to the
 * char devices, says in the log what it says, and starts it anew when it dies.
 */

#include "vmc/spice-server.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmc/buf.h"
#include "vmc/chardev-backend.h"
#include "vmc/spice-control.h"

/* It starts in milliseconds; a machine under load takes its time. */
#define START_SECONDS 30

/* A process that lived this long was a good one: when it dies the next starts
 * at once. Else each waits twice as long as the one before, up to the most: a
 * client that can end it is not to keep the machine busy. */
#define SETTLED_SECONDS 10
#define BACKOFF_MS 250u
#define BACKOFF_MAX_MS 8000u

/* The longest line of what it writes to its standard error. */
#define ERROR_LINE_MAX 1024u
/* Lines of it that are shown in a second at most. */
#define ERROR_LINES_MAX 20u

/* Messages to it that wait until it takes them: above what some hundreds of char
 * devices need when it starts, and few enough to hold. */
#define UNSAID_MAX 4096u

typedef struct Packet {
	size_t len;
	uint8_t bytes[];
} Packet;

typedef struct Setting {
	char *key;
	char *text;
} Setting;

struct VmcSpiceServer {
	GPtrArray *settings; /* Setting */
	char *program;
	char *path;     /* of the UNIX socket it listens on, or NULL */
	struct stat at; /* what is there, once it listens */
	char **subtypes;
	GPtrArray *ends; /* VmcSpiceEnd, borrowed */
	uint32_t numbers;

	/* The process. */
	GPid pid; /* 0: none */
	int control;
	int errors; /* its standard error */
	guint control_source;
	GQueue unsaid; /* Packet */
	guint unsaid_source;
	guint errors_source;
	guint child_source;
	guint timer; /* until it has to listen, or is started again */
	VmcBuf line;
	gint64 lines_since;
	unsigned lines;
	bool listening;
	bool starting; /* for the first time: failures are told, not retried */
	char *failure; /* what it said last about why it cannot */
	gint64 since;
	unsigned failures; /* in a row without a settled one */
};

static VmcSpiceServer *current;

static bool start(VmcSpiceServer *server, GError **error);
static void restart(VmcSpiceServer *server, const char *because, bool anew);

/* ---- Talking to the process ---- */

static void kill_process(VmcSpiceServer *server)
{
	if (server->pid != 0)
		kill(server->pid, SIGKILL);
}

static void free_packet(gpointer data)
{
	Packet *packet = data;

	vmc_wipe(packet->bytes, packet->len);
	g_free(packet);
}

static gboolean on_sayable(int fd, GIOCondition condition, gpointer user)
{
	VmcSpiceServer *server = user;
	const Packet *packet;

	while ((packet = g_queue_peek_head(&server->unsaid)) != NULL) {
		VmcSpiceControl message;

		if (vmc_spice_control_decode(vmc_span(packet->bytes, packet->len), &message) &&
		    !vmc_spice_control_send(fd, &message, -1, false))
			break;
		free_packet(g_queue_pop_head(&server->unsaid));
	}
	/* One that is gone takes none: on_control() sees to it. */
	if (packet != NULL && (condition & (G_IO_HUP | G_IO_ERR)) == 0)
		return G_SOURCE_CONTINUE;
	server->unsaid_source = 0;
	return G_SOURCE_REMOVE;
}

/* Until it has started it takes nothing, and the socket holds some hundreds. */
static void tell_later(VmcSpiceServer *server, const VmcSpiceControl *message)
{
	uint8_t bytes[VMC_SPICE_CONTROL_MAX];
	size_t len = vmc_spice_control_encode(message, bytes, sizeof(bytes));
	Packet *packet;

	if (len == 0 || server->unsaid.length == UNSAID_MAX) {
		kill_process(server);
		return;
	}
	packet = g_malloc(sizeof(*packet) + len);
	packet->len = len;
	memcpy(packet->bytes, bytes, len);
	vmc_wipe(bytes, len);
	g_queue_push_tail(&server->unsaid, packet);
	if (server->unsaid_source == 0)
		server->unsaid_source =
			g_unix_fd_add(server->control, G_IO_OUT, on_sayable, server);
}

static void tell(VmcSpiceServer *server, const VmcSpiceControl *message)
{
	if (server->control < 0)
		return;
	if (server->unsaid.length > 0 ||
	    !vmc_spice_control_send(server->control, message, -1, false))
		tell_later(server, message);
}

static void tell_device(VmcSpiceServer *server, const VmcSpiceEnd *end)
{
	VmcSpiceControl message = {
		.type = VMC_SPICE_DEVICE,
		.channel = end->number,
		.value = end->debug,
		.key = vmc_spice_control_text(end->subtype),
		.text = vmc_spice_control_text(end->port),
	};

	tell(server, &message);
}

static void tell_front(VmcSpiceServer *server, const VmcSpiceEnd *end)
{
	VmcSpiceControl message = {
		.type = VMC_SPICE_FRONT,
		.channel = end->number,
		.value = end->front ? 1 : 0,
	};

	tell(server, &message);
}

static void tell_all(VmcSpiceServer *server)
{
	for (guint i = 0; i < server->settings->len; i++) {
		const Setting *setting = server->settings->pdata[i];
		VmcSpiceControl message = {
			.type = VMC_SPICE_SETTING,
			.key = vmc_spice_control_text(setting->key),
			.text = vmc_spice_control_text(setting->text),
		};

		tell(server, &message);
	}
	tell(server, &(VmcSpiceControl){ .type = VMC_SPICE_START });
	for (guint i = 0; i < server->ends->len; i++) {
		const VmcSpiceEnd *end = server->ends->pdata[i];

		tell_device(server, end);
		if (end->front)
			tell_front(server, end);
	}
}

/* ---- Hearing it ---- */

/* A line of its words: valid UTF-8 without control characters. */
static char *line_of(VmcSpan text)
{
	char *line = g_utf8_make_valid((const char *)text.data, (gssize)text.len);

	for (char *c = line; *c != '\0'; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	}
	return line;
}

/* No process, whatever became of it, may fill the log. */
static bool may_log(VmcSpiceServer *server)
{
	gint64 now = g_get_monotonic_time();

	if (now - server->lines_since > G_TIME_SPAN_SECOND) {
		server->lines_since = now;
		server->lines = 0;
	}
	if (++server->lines == ERROR_LINES_MAX)
		g_warning("the SPICE server says too much: the rest of this second is left out");
	return server->lines < ERROR_LINES_MAX;
}

/* With debug= somebody asked for a line for each piece of data. */
static bool wants_lines(const VmcSpiceServer *server)
{
	for (guint i = 0; i < server->ends->len; i++) {
		const VmcSpiceEnd *end = server->ends->pdata[i];

		if (end->debug > 0)
			return true;
	}
	return false;
}

static void heard_log(VmcSpiceServer *server, const VmcSpiceControl *message)
{
	g_autofree char *line = line_of(message->text);

	if (message->value == VMC_SPICE_LOG_DEBUG)
		g_debug("SPICE server: %s", line);
	else if (message->value == VMC_SPICE_LOG_MESSAGE &&
		 (wants_lines(server) || may_log(server)))
		g_message("SPICE server: %s", line);
	else if (message->value == VMC_SPICE_LOG_WARNING && may_log(server))
		g_warning("SPICE server: %s", line);
}

static void heard_listening(VmcSpiceServer *server, const VmcSpiceControl *message)
{
	g_autofree char *where = line_of(message->text);

	g_clear_handle_id(&server->timer, g_source_remove);
	server->listening = true;
	if (server->path != NULL && stat(server->path, &server->at) < 0)
		memset(&server->at, 0, sizeof(server->at));
	g_debug("SPICE server: listening at %s, process %d", where, (int)server->pid);
}

static void heard_opened(VmcSpiceServer *server, const VmcSpiceControl *message, int fd)
{
	for (guint i = 0; fd >= 0 && i < server->ends->len; i++) {
		VmcSpiceEnd *end = server->ends->pdata[i];

		if (end->number == message->channel) {
			end->opened(end, fd);
			return;
		}
	}
	if (fd >= 0)
		close(fd);
}

static void heard_subtypes(VmcSpiceServer *server, const VmcSpiceControl *message)
{
	g_autofree char *names = line_of(message->text);

	/* Devices may hold on to the first list. */
	if (server->subtypes == NULL)
		server->subtypes = g_strsplit(names, ",", 16);
}

static void heard(VmcSpiceServer *server, const VmcSpiceControl *message, int fd)
{
	if (message->type == VMC_SPICE_OPENED) {
		heard_opened(server, message, fd);
		return;
	}
	if (fd >= 0)
		close(fd);
	if (message->type == VMC_SPICE_LOG)
		heard_log(server, message);
	else if (message->type == VMC_SPICE_LISTENING)
		heard_listening(server, message);
	else if (message->type == VMC_SPICE_SUBTYPES)
		heard_subtypes(server, message);
	else if (message->type == VMC_SPICE_FAILED && server->failure == NULL)
		server->failure = line_of(message->text);
}

/* Messages that are dealt with before the loop turns to others. */
#define MESSAGES_IN_A_ROW 16u

/* False once it has nothing more to say, ever. */
static bool hear(VmcSpiceServer *server)
{
	uint8_t packet[VMC_SPICE_CONTROL_MAX];
	VmcSpiceReceived received = VMC_SPICE_RECEIVED;

	for (unsigned i = 0; i < MESSAGES_IN_A_ROW; i++) {
		VmcSpiceControl message;
		int passed;

		received = vmc_spice_control_receive(server->control, packet, &message, &passed);
		if (received != VMC_SPICE_RECEIVED)
			break;
		heard(server, &message, passed);
	}
	return received != VMC_SPICE_BAD && received != VMC_SPICE_GONE;
}

static gboolean on_control(int fd, GIOCondition condition, gpointer user)
{
	VmcSpiceServer *server = user;

	(void)fd;
	(void)condition;
	if (hear(server))
		return G_SOURCE_CONTINUE;
	/* It ends, or has, or is not what we started any more. */
	kill_process(server);
	server->control_source = 0;
	return G_SOURCE_REMOVE;
}

static void log_line(VmcSpiceServer *server, size_t len)
{
	VmcSpan all = vmc_buf_span(&server->line);
	g_autofree char *line = line_of(vmc_span(all.data, len));

	if (len > 0 && may_log(server))
		g_warning("SPICE server: %s", line);
}

static void log_lines(VmcSpiceServer *server)
{
	VmcSpan all = vmc_buf_span(&server->line);
	const uint8_t *end;

	while (all.len > 0 && (end = memchr(all.data, '\n', all.len)) != NULL) {
		log_line(server, (size_t)(end - all.data));
		vmc_buf_consume(&server->line, (size_t)(end - all.data) + 1);
		all = vmc_buf_span(&server->line);
	}
	if (all.len == ERROR_LINE_MAX) {
		log_line(server, all.len);
		vmc_buf_consume(&server->line, all.len);
	}
}

/* What the C library and abort() say is said nowhere else. False at the end. */
static bool hear_errors(VmcSpiceServer *server)
{
	size_t room;
	uint8_t *to = vmc_buf_room(&server->line, ERROR_LINE_MAX, &room);
	ssize_t n = read(server->errors, to, room);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	vmc_buf_added(&server->line, (size_t)n);
	log_lines(server);
	return true;
}

static gboolean on_errors(int fd, GIOCondition condition, gpointer user)
{
	VmcSpiceServer *server = user;

	(void)fd;
	(void)condition;
	if (hear_errors(server))
		return G_SOURCE_CONTINUE;
	server->errors_source = 0;
	return G_SOURCE_REMOVE;
}

/* ---- Its life ---- */

static void forget_process(VmcSpiceServer *server)
{
	g_clear_handle_id(&server->control_source, g_source_remove);
	g_clear_handle_id(&server->unsaid_source, g_source_remove);
	g_queue_clear_full(&server->unsaid, free_packet);
	g_clear_handle_id(&server->errors_source, g_source_remove);
	g_clear_handle_id(&server->child_source, g_source_remove);
	g_clear_handle_id(&server->timer, g_source_remove);
	if (server->control >= 0)
		close(server->control);
	if (server->errors >= 0)
		close(server->errors);
	server->control = -1;
	server->errors = -1;
	server->pid = 0;
	server->listening = false;
	vmc_buf_clear(&server->line);
}

static char *cause_of_end(int status)
{
	/* Its own timer, which runs while it is at work. */
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		return g_strdup("since it had hung");
	if (WIFSIGNALED(status))
		return g_strdup_printf("by signal %d, %s", WTERMSIG(status),
				       strsignal(WTERMSIG(status)));
	return g_strdup_printf("with status %d", WEXITSTATUS(status));
}

static void on_child_end(GPid pid, int status, gpointer user)
{
	VmcSpiceServer *server = user;
	bool anew = WIFEXITED(status) && WEXITSTATUS(status) == VMC_SPICE_EXIT_ANEW;
	g_autofree char *cause = cause_of_end(status);
	g_autofree char *because = NULL;

	(void)pid;
	server->child_source = 0;
	/* Its last words first. */
	if (server->control_source != 0)
		hear(server);
	if (server->errors_source != 0)
		hear_errors(server);
	because = g_steal_pointer(&server->failure);
	if (because == NULL)
		because = g_strdup_printf("its process ended %s", cause);
	forget_process(server);
	if (server->starting)
		server->failure = g_steal_pointer(&because);
	else
		restart(server, because, anew);
}

static gboolean on_timer(gpointer user)
{
	VmcSpiceServer *server = user;
	g_autoptr(GError) error = NULL;

	server->timer = 0;
	if (server->pid != 0) {
		g_free(server->failure);
		server->failure = g_strdup_printf("it did not start in %d s", START_SECONDS);
		kill_process(server);
	} else if (!start(server, &error)) {
		restart(server, error->message, false);
	}
	return G_SOURCE_REMOVE;
}

static void restart(VmcSpiceServer *server, const char *because, bool anew)
{
	unsigned delay = 0;

	if (g_get_monotonic_time() - server->since > SETTLED_SECONDS * G_TIME_SPAN_SECOND)
		server->failures = 0;
	if (server->failures > 0)
		delay = MIN(BACKOFF_MS << MIN(server->failures - 1, 8u), BACKOFF_MAX_MS);
	server->failures++;
	if (anew)
		g_debug("SPICE server: started anew in %u ms", delay);
	else if (delay == 0)
		g_warning("the SPICE server failed: %s; it is started anew", because);
	else
		g_warning("the SPICE server failed: %s; it is started anew in %u ms", because,
			  delay);
	server->timer = g_timeout_add(delay, on_timer, server);
}

/* Starts the program with `control` and `errors` as its descriptors. */
static bool spawn(VmcSpiceServer *server, int control, int errors, GError **error)
{
	const char *const argv[] = { server->program, "--serve", NULL };
	const int from[] = { control };
	const int to[] = { VMC_SPICE_CONTROL_FD };

	return g_spawn_async_with_pipes_and_fds(
		NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL, NULL,
		NULL, -1, -1, errors, from, to, G_N_ELEMENTS(from), &server->pid, NULL, NULL, NULL,
		error);
}

static bool start(VmcSpiceServer *server, GError **error)
{
	int pair[2] = { -1, -1 };
	int errors[2] = { -1, -1 };
	bool ok = false;

	server->since = g_get_monotonic_time();
	g_clear_pointer(&server->failure, g_free);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
	    !g_unix_open_pipe(errors, FD_CLOEXEC, NULL))
		g_set_error(error, VMC_CHARDEV_ERROR, VMC_CHARDEV_ERROR_OPEN,
			    "no descriptors for the SPICE server: %s", g_strerror(errno));
	else
		ok = spawn(server, pair[1], errors[1], error);
	if (pair[1] >= 0)
		close(pair[1]);
	if (errors[1] >= 0)
		close(errors[1]);
	server->control = pair[0];
	server->errors = errors[0];
	if (!ok) {
		forget_process(server);
		return false;
	}
	g_unix_set_fd_nonblocking(server->errors, TRUE, NULL);
	server->control_source =
		g_unix_fd_add(server->control, G_IO_IN | G_IO_HUP, on_control, server);
	server->errors_source =
		g_unix_fd_add(server->errors, G_IO_IN | G_IO_HUP, on_errors, server);
	server->child_source = g_child_watch_add(server->pid, on_child_end, server);
	server->timer = g_timeout_add_seconds(START_SECONDS, on_timer, server);
	tell_all(server);
	return true;
}

/* ---- Making one ---- */

static void free_setting(gpointer data)
{
	Setting *setting = data;

	vmc_wipe(setting->text, strlen(setting->text));
	g_free(setting->key);
	g_free(setting->text);
	g_free(setting);
}

static void add_setting(VmcSpiceServer *server, const char *key, const char *text)
{
	Setting *setting = g_new0(Setting, 1);

	setting->key = g_strdup(key);
	setting->text = g_strdup(text);
	g_ptr_array_add(server->settings, setting);
}

static VmcSpiceServer *make(VmcOpts *opts, const char *password, const char *program)
{
	VmcSpiceServer *server = g_new0(VmcSpiceServer, 1);

	server->settings = g_ptr_array_new_with_free_func(free_setting);
	server->ends = g_ptr_array_new();
	g_queue_init(&server->unsaid);
	server->program = g_strdup(program);
	server->control = -1;
	server->errors = -1;
	vmc_buf_init(&server->line, ERROR_LINE_MAX);
	for (const VmcOptDesc *key = vmc_spice_server_options; key->name != NULL; key++) {
		if (vmc_opts_has(opts, key->name) && !g_str_has_prefix(key->name, "password"))
			add_setting(server, key->name, vmc_opts_get(opts, key->name));
	}
	if (password != NULL)
		add_setting(server, "password", password);
	if (vmc_opts_bool(opts, "unix", false) && vmc_opts_get(opts, "addr")[0] != '@')
		server->path = g_strdup(vmc_opts_get(opts, "addr"));
	return server;
}

VmcSpiceServer *vmc_spice_server_new(VmcOpts *opts, const char *password, const char *program,
				     GError **error)
{
	g_autoptr(VmcSpiceServer) server = NULL;
	g_autoptr(GError) problem = NULL;

	g_return_val_if_fail(opts != NULL && program != NULL, NULL);

	if (!vmc_spice_options_check(opts, password, error))
		return NULL;
	server = make(opts, password, program);
	server->starting = true;
	if (!start(server, &problem)) {
		vmc_chardev_set_open_error(opts, error, "cannot start %s: %s", program,
					   problem->message);
		return NULL;
	}
	while (!server->listening && server->pid != 0)
		g_main_context_iteration(NULL, TRUE);
	server->starting = false;
	if (!server->listening || server->subtypes == NULL) {
		vmc_chardev_set_open_error(opts, error, "%s",
					   server->failure != NULL ? server->failure :
								     "it says nothing");
		return NULL;
	}
	current = server;
	return g_steal_pointer(&server);
}

/* The path is ours to take away unless somebody put another socket there. */
static void remove_path(VmcSpiceServer *server)
{
	struct stat now;

	if (server->path != NULL && server->at.st_ino != 0 && stat(server->path, &now) == 0 &&
	    now.st_dev == server->at.st_dev && now.st_ino == server->at.st_ino)
		unlink(server->path);
}

void vmc_spice_server_free(VmcSpiceServer *server)
{
	GPid pid;

	if (server == NULL)
		return;
	if (current == server)
		current = NULL;
	for (guint i = 0; i < server->ends->len; i++)
		((VmcSpiceEnd *)server->ends->pdata[i])->server = NULL;
	pid = server->pid;
	kill_process(server);
	forget_process(server);
	while (pid != 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	remove_path(server);
	g_ptr_array_unref(server->settings);
	g_ptr_array_unref(server->ends);
	g_strfreev(server->subtypes);
	g_free(server->program);
	g_free(server->path);
	g_free(server->failure);
	g_free(server);
}

/* ---- For the char devices ---- */

VmcSpiceServer *vmc_spice_server_current(void)
{
	return current;
}

const char *const *vmc_spice_server_subtypes(const VmcSpiceServer *server)
{
	return (const char *const *)server->subtypes;
}

bool vmc_spice_server_has(const VmcSpiceServer *server, const char *subtype)
{
	for (guint i = 0; i < server->ends->len; i++) {
		const VmcSpiceEnd *end = server->ends->pdata[i];

		if (strcmp(end->subtype, subtype) == 0)
			return true;
	}
	return false;
}

void vmc_spice_server_add(VmcSpiceServer *server, VmcSpiceEnd *end)
{
	end->server = server;
	end->number = ++server->numbers;
	g_ptr_array_add(server->ends, end);
	tell_device(server, end);
}

void vmc_spice_server_remove(VmcSpiceEnd *end)
{
	VmcSpiceServer *server = end->server;

	if (server == NULL)
		return;
	g_ptr_array_remove(server->ends, end);
	end->server = NULL;
	tell(server, &(VmcSpiceControl){ .type = VMC_SPICE_REMOVE, .channel = end->number });
}

void vmc_spice_server_set_front(VmcSpiceEnd *end, bool there)
{
	if (end->front == there)
		return;
	end->front = there;
	if (end->server != NULL)
		tell_front(end->server, end);
}

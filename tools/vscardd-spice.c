/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * vscardd-spice, the process that holds vscardd's SPICE server. libspice-server
 * asserts and overruns its memory on bytes that a client chooses; here that
 * costs a process that vscardd starts anew, and nothing else. It lives as long
 * as its control socket does.
 */

#define G_LOG_DOMAIN "vscardd-spice"

#include <errno.h>
#include <glib-unix.h>
#include <netdb.h>
#include <sasl/sasl.h>
#include <signal.h>
#include <spice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmc/opts.h"
#include "vmc/spice-control.h"
#include "vmc/spice-core.h"
#include "vmc/spice-device.h"
#include "vmc/spice-display.h"
#include "vmc/spice-server.h"

/* The name of the SASL configuration: vscardd.conf. */
#define SASL_NAME "vscardd"

/* SPICE shows it to people as the name of what they are connected to. */
#define SERVER_NAME "vscard"

/* The library keeps what a client sends faster than the reader takes it, without
 * a bound; ours is far above what it needs. A sanitizer's shadow is larger. */
#ifdef __SANITIZE_ADDRESS__
#define MEMORY_MAX RLIM_INFINITY
#else
#define MEMORY_MAX (384u * 1024 * 1024)
#endif

/* A turn of the loop that takes longer has hung. It is far more than any message
 * takes, and than a login by SASL, which may ask other programs. */
#define TURN_SECONDS 20

static SpiceServer *server;
static VmcOpts *settings;
static char *password;
static GPtrArray *devices; /* VmcSpiceDevice */
static bool listening;
static GString *complaints; /* the library's while it starts */

/* ---- What is said to vscardd ---- */

static void say(VmcSpiceControlType type, uint32_t channel, uint32_t value, const char *text,
		int fd)
{
	VmcSpiceControl message = {
		.type = type,
		.channel = channel,
		.value = value,
		.text = vmc_spice_control_text(text),
	};

	message.text.len = MIN(message.text.len, VMC_SPICE_CONTROL_MAX / 2);
	if (!vmc_spice_control_send(VMC_SPICE_CONTROL_FD, &message, fd, true))
		_exit(1);
}

G_NORETURN static void fail(const char *format, ...) G_GNUC_PRINTF(1, 2);

static void fail(const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	say(VMC_SPICE_FAILED, 0, 0, text, -1);
	_exit(1);
}

/* The library's lines begin with "file:line:function: ", which is nothing for
 * people. */
static const char *without_place(const char *message)
{
	const char *rest = message;

	for (int i = 0; i < 3; i++) {
		size_t word = strcspn(rest, ": ");

		if (rest[word] != ':')
			return message;
		rest += word + 1;
	}
	return rest[0] == ' ' ? rest + 1 : message;
}

static void on_log(const char *domain, GLogLevelFlags level, const char *message, void *user)
{
	bool own = g_strcmp0(domain, "vmc") == 0 || g_strcmp0(domain, G_LOG_DOMAIN) == 0;
	uint32_t value = VMC_SPICE_LOG_WARNING;

	(void)user;
	if (level & G_LOG_LEVEL_MESSAGE)
		value = VMC_SPICE_LOG_MESSAGE;
	else if (level & (G_LOG_LEVEL_INFO | G_LOG_LEVEL_DEBUG))
		value = VMC_SPICE_LOG_DEBUG;
	/* The library explains itself without end. */
	if (!own && value == VMC_SPICE_LOG_DEBUG)
		return;
	if (!own && !listening) {
		g_string_append_printf(complaints, "%s%s", complaints->len > 0 ? "; " : "",
				       without_place(message));
		return;
	}
	say(VMC_SPICE_LOG, 0, value, own ? message : without_place(message), -1);
}

static void on_opened(uint32_t number, int fd)
{
	say(VMC_SPICE_OPENED, number, 0, NULL, fd);
}

static void on_anew(const char *because)
{
	g_message("%s: a new process takes over", because);
	_exit(VMC_SPICE_EXIT_ANEW);
}

static const VmcSpiceDeviceEvents device_events = { .opened = on_opened, .anew = on_anew };

/* ---- From the settings to a server that listens ---- */

static const char *setting(const char *key)
{
	return vmc_opts_get(settings, key);
}

static bool is_set(const char *key)
{
	return vmc_opts_bool(settings, key, false);
}

static int port_of(const char *key)
{
	return (int)vmc_opts_number(settings, key, 0);
}

/* The file of `key`, or `name` in x509-dir. It has to be readable. */
static char *tls_file(const char *key, const char *name)
{
	const char *dir = setting("x509-dir");
	char *path = setting(key) != NULL ? g_strdup(setting(key)) :
					    g_build_filename(dir != NULL ? dir : ".", name, NULL);

	if (access(path, R_OK) < 0)
		fail("cannot read %s: %s; name it by %s= or put it into x509-dir=", path,
		     g_strerror(errno), key);
	return path;
}

static void set_tls(void)
{
	g_autofree char *key = tls_file("x509-key-file", "server-key.pem");
	g_autofree char *cert = tls_file("x509-cert-file", "server-cert.pem");
	g_autofree char *authority = tls_file("x509-cacert-file", "ca-cert.pem");

	if (setting("x509-dh-key-file") != NULL)
		g_free(tls_file("x509-dh-key-file", ""));
	if (spice_server_set_tls(server, port_of("tls-port"), authority, cert, key,
				 setting("x509-key-password"), setting("x509-dh-key-file"),
				 setting("tls-ciphers")) != 0)
		fail("the SPICE library refuses the TLS settings");
}

static void set_channels(const char *key, int security)
{
	g_auto(GStrv) names = setting(key) != NULL ? g_strsplit(setting(key), ":", -1) : NULL;

	for (char **name = names; name != NULL && *name != NULL; name++) {
		bool all = strcmp(*name, "default") == 0;

		if (spice_server_set_channel_security(server, all ? NULL : *name, security) != 0)
			fail("%s: the SPICE library knows no channel '%s'; there are: main, "
			     "smartcard, usbredir, port, default",
			     key, *name);
	}
}

static void set_authentication(void)
{
	if (password != NULL && spice_server_set_ticket(server, password, 0, 0, 0) != 0)
		fail("the SPICE library refuses the password");
	if (is_set("sasl") && spice_server_set_sasl(server, 1) != 0)
		fail("the SPICE library was built without SASL; leave sasl out");
	spice_server_set_sasl_appname(server, SASL_NAME);
	if (is_set("disable-ticketing"))
		spice_server_set_noauth(server);
}

static void set_place(void)
{
	const char *addr = setting("addr");
	int flags = 0;

	if (is_set("ipv4"))
		flags = SPICE_ADDR_FLAG_IPV4_ONLY;
	else if (is_set("ipv6"))
		flags = SPICE_ADDR_FLAG_IPV6_ONLY;
	else if (is_set("unix"))
		flags = SPICE_ADDR_FLAG_UNIX_ONLY;
	spice_server_set_addr(server, addr != NULL ? addr : "", flags);
	if (port_of("port") != 0)
		spice_server_set_port(server, port_of("port"));
	if (port_of("tls-port") != 0)
		set_tls();
}

/* The library takes whatever is at the path away, a server's socket or a
 * file. */
static void check_path(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	if (path[0] == '@' || lstat(path, &st) < 0)
		return;
	if (!S_ISSOCK(st.st_mode))
		fail("%s is there and is no socket; give another addr=", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		fail("%s is in use by another server; give another addr=", path);
	close(fd);
}

/* Why nobody can listen at `port`: what the library does not say. NULL if it
 * is for another reason. */
static char *why_not(const char *addr, int port)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
	g_autofree char *service = g_strdup_printf("%d", port);
	struct addrinfo *found = NULL;
	char *text = NULL;
	int on = 1;
	int status = getaddrinfo(addr, service, &hints, &found);
	int fd;

	if (status != 0)
		return g_strdup_printf("no such address: %s", gai_strerror(status));
	fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0)
		text = g_strdup(g_strerror(errno));
	if (fd >= 0)
		close(fd);
	freeaddrinfo(found);
	return text;
}

G_NORETURN static void fail_to_listen(void)
{
	static const char *const keys[] = { "port", "tls-port" };
	const char *addr = setting("addr");

	for (size_t i = 0; i < G_N_ELEMENTS(keys) && !is_set("unix"); i++) {
		g_autofree char *why =
			port_of(keys[i]) != 0 ? why_not(addr, port_of(keys[i])) : NULL;

		if (why != NULL)
			fail("cannot listen on %s:%d: %s; give another %s=",
			     addr != NULL ? addr : "*", port_of(keys[i]), why, keys[i]);
	}
	fail("cannot listen: %s",
	     complaints->len > 0 ? complaints->str : "the SPICE library does not say why");
}

static bool has_sasl_configuration(void)
{
	static const char *const usual[] = { "/etc/sasl2", "/etc/sasl", "/usr/lib/sasl2", NULL };
	const char *path = g_getenv("SASL_CONF_PATH");
	g_auto(GStrv) folders =
		path != NULL ? g_strsplit(path, ":", -1) : g_strdupv((char **)(uintptr_t)usual);

	for (char **folder = folders; *folder != NULL; folder++) {
		g_autofree char *file = g_build_filename(*folder, SASL_NAME ".conf", NULL);

		if (access(file, R_OK) == 0)
			return true;
	}
	return false;
}

/* A client would be told no more than that it failed. */
static void check_sasl(void)
{
	sasl_conn_t *connection = NULL;
	const char *mechanisms = NULL;
	int n = 0;

	if (!is_set("sasl"))
		return;
	if (sasl_server_new("spice", NULL, NULL, NULL, NULL, NULL, 0, &connection) != SASL_OK ||
	    sasl_listmech(connection, NULL, "", ",", "", &mechanisms, NULL, &n) != SASL_OK)
		n = 0;
	if (n == 0)
		fail("SASL offers no way to log in; install its modules (Debian package "
		     "libsasl2-modules) or set mech_list in " SASL_NAME ".conf of SASL_CONF_PATH "
		     "or /etc/sasl2");
	g_debug("SASL offers %s", mechanisms);
	if (!has_sasl_configuration())
		g_message("sasl=on, and there is no " SASL_NAME ".conf in /etc/sasl2 or "
			  "SASL_CONF_PATH: the SASL library's defaults hold");
	sasl_dispose(&connection);
}

static char *place_in_words(void)
{
	const char *addr = setting("addr") != NULL ? setting("addr") : "*";

	if (is_set("unix"))
		return g_strdup_printf("unix:%s", addr);
	if (port_of("tls-port") == 0)
		return g_strdup_printf("%s:%d", addr, port_of("port"));
	if (port_of("port") == 0)
		return g_strdup_printf("%s:%d with TLS", addr, port_of("tls-port"));
	return g_strdup_printf("%s:%d and %d with TLS", addr, port_of("port"), port_of("tls-port"));
}

static void start_server(void)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *place = NULL;

	if (server != NULL)
		fail("said to start twice");
	if (!vmc_spice_options_check(settings, password, &error))
		fail("%s", error->message);
	if (is_set("unix"))
		check_path(setting("addr"));
	server = spice_server_new();
	set_place();
	set_authentication();
	set_channels("tls-channel", SPICE_CHANNEL_SECURITY_SSL);
	set_channels("plaintext-channel", SPICE_CHANNEL_SECURITY_NONE);
	spice_server_set_agent_copypaste(server, !is_set("disable-copy-paste"));
	spice_server_set_agent_file_xfer(server, !is_set("disable-agent-file-xfer"));
	spice_server_set_agent_mouse(server, vmc_opts_bool(settings, "agent-mouse", true));
	spice_server_set_name(server, SERVER_NAME);
	if (spice_server_init(server, &vmc_spice_core) != 0)
		fail_to_listen();
	check_sasl();
	if (!vmc_spice_display_add(server))
		g_warning("the SPICE library takes no display: viewers will lend no card");
	place = place_in_words();
	listening = true;
	say(VMC_SPICE_LISTENING, 0, 0, place, -1);
}

/* ---- What vscardd says ---- */

static char *text_of(VmcSpan span)
{
	return g_strndup((const char *)span.data, span.len);
}

static void take_setting(const VmcSpiceControl *message)
{
	g_autofree char *key = text_of(message->key);
	g_autoptr(GError) error = NULL;
	char *text = text_of(message->text);

	if (strcmp(key, "password") == 0) {
		g_free(password);
		password = text;
		return;
	}
	if (!vmc_opts_add(settings, key, text, &error))
		fail("%s", error->message);
	vmc_wipe(text, strlen(text));
	g_free(text);
}

static VmcSpiceDevice *device_called(uint32_t number, guint *index)
{
	for (guint i = 0; i < devices->len; i++) {
		if (vmc_spice_device_number(devices->pdata[i]) == number) {
			*index = i;
			return devices->pdata[i];
		}
	}
	return NULL;
}

static void take_device(const VmcSpiceControl *message)
{
	g_autofree char *subtype = text_of(message->key);
	g_autofree char *port = text_of(message->text);

	g_ptr_array_add(devices,
			vmc_spice_device_new(server, message->channel, subtype,
					     port[0] != '\0' ? port : NULL, message->value));
}

static void take_message(const VmcSpiceControl *message)
{
	guint index = 0;
	VmcSpiceDevice *device = device_called(message->channel, &index);

	if (message->type == VMC_SPICE_SETTING)
		take_setting(message);
	else if (message->type == VMC_SPICE_START)
		start_server();
	else if (message->type == VMC_SPICE_DEVICE && device == NULL && server != NULL)
		take_device(message);
	else if (message->type == VMC_SPICE_FRONT && device != NULL &&
		 !vmc_spice_device_set_front(device, message->value != 0))
		on_anew("the smartcard reader was taken away");
	else if (message->type == VMC_SPICE_REMOVE && device != NULL) {
		if (!vmc_spice_device_set_front(device, false))
			on_anew("the smartcard reader was removed");
		g_ptr_array_remove_index(devices, index);
	}
}

static gboolean on_control(int fd, GIOCondition condition, gpointer user)
{
	uint8_t packet[VMC_SPICE_CONTROL_MAX];
	VmcSpiceReceived received = VMC_SPICE_RECEIVED;

	(void)condition;
	while (received == VMC_SPICE_RECEIVED) {
		VmcSpiceControl message;
		int passed;

		received = vmc_spice_control_receive(fd, packet, &message, &passed);
		if (received != VMC_SPICE_RECEIVED)
			break;
		if (passed >= 0)
			close(passed);
		take_message(&message);
		vmc_wipe(packet, sizeof(packet));
	}
	if (received == VMC_SPICE_GONE)
		g_main_loop_quit(user);
	return G_SOURCE_CONTINUE;
}

/* ---- Being a process ---- */

/*
 * Waits for events. All that a client's bytes can make the library do happens
 * between one wait and the next, so the kernel's timer runs there, and SIGALRM
 * ends a process that does not come back: with it goes the card that nobody would
 * answer for, and vscardd starts the next. A process that waits is not watched, and
 * costs nothing.
 */
static gint wait_for_events(GPollFD *fds, guint n, gint timeout)
{
	const struct itimerval off = { 0 };
	const struct itimerval on = { .it_value.tv_sec = TURN_SECONDS };
	gint ready;

	if (!listening)
		return g_poll(fds, n, timeout);
	setitimer(ITIMER_REAL, &off, NULL);
	ready = g_poll(fds, n, timeout);
	setitimer(ITIMER_REAL, &on, NULL);
	return ready;
}

static void watch_turns(void)
{
	sigset_t alarms;

	/* Whatever vscardd was started with. */
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarms, NULL);
	signal(SIGALRM, SIG_DFL);
	g_main_context_set_poll_func(NULL, wait_for_events);
}

/* Its end is vscardd's affair: a terminal's or a service manager's signal to
 * all reaches vscardd too, and a dead vscardd takes us along. What is in here,
 * passwords and other people's messages, is left in no file. */
static void settle(void)
{
	const struct rlimit none = { 0, 0 };
	const struct rlimit memory = { MEMORY_MAX, MEMORY_MAX };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_DATA, &memory);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	g_log_set_default_handler(on_log, NULL);
}

static char *subtypes(void)
{
	return g_strjoinv(",", (char **)(uintptr_t)spice_server_char_device_recognized_subtypes());
}

static bool has_control(void)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return getsockopt(VMC_SPICE_CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
	       type == SOCK_SEQPACKET;
}

static void serve(void)
{
	GMainLoop *loop = g_main_loop_new(NULL, FALSE);
	g_autofree char *names = subtypes();

	complaints = g_string_new(NULL);
	settle();
	watch_turns();
	fcntl(VMC_SPICE_CONTROL_FD, F_SETFD, FD_CLOEXEC);
	settings = vmc_opts_new("-spice");
	devices = g_ptr_array_new_with_free_func((GDestroyNotify)vmc_spice_device_free);
	vmc_spice_device_set_events(&device_events);
	say(VMC_SPICE_SUBTYPES, 0, 0, names, -1);
	g_unix_fd_add(VMC_SPICE_CONTROL_FD, G_IO_IN | G_IO_HUP, on_control, loop);
	g_main_loop_run(loop);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("vscardd-spice %s\n", VSCARD_RELEASE);
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "--serve") == 0 && has_control()) {
		serve();
		/* Without a look back: the library leaves much behind. */
		_exit(0);
	}
	fprintf(stderr, "vscardd-spice: this is a part of vscardd, which starts it by itself; "
			"see vscardd(8)\n");
	return 2;
}

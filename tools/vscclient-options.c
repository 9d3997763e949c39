/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The options of vscclient as a table that both reading and --help go by.
 */

#include "tools/vscclient-options.h"

#include <getopt.h>
#include <string.h>

#include "tools/vscclient-password.h"
#include "vscard/cacard.h"
#include "vscard/link.h"

G_DEFINE_QUARK(client_options_error_quark, client_options_error)

/* Seconds to the first new attempt if --reconnect does not say. */
#define RECONNECT_SECONDS 3u
/* What the socket backend takes: a day. */
#define RECONNECT_MAX 86400u

/* The options as given, before it is known how they go together. */
typedef struct Given {
	ClientOptions *options;
	const char *emul;
	const char *db;
	const char *reader;
	const char *channel;
	const char *ca_file;
	const char *host_subject;
	const char *user;
	const char *password_file;
	const char *viewer;
	const char *share;
	bool passthru;
	bool pcsc;
	bool hold;
	bool list, check;
	GPtrArray *certs;
	GPtrArray *readers;
	GPtrArray *exclude;
} Given;

typedef struct Option {
	char letter;          /* 0: none */
	const char *name;     /* NULL: none */
	const char *argument; /* NULL: none; in brackets: may be left out */
	const char *help;     /* NULL: not for people to use */
	bool (*take)(Given *given, const char *argument, GError **error);
} Option;

static bool bad(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static bool bad(GError **error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (error != NULL)
		*error = g_error_new_valist(CLIENT_OPTIONS_ERROR, 0, format, args);
	va_end(args);
	return false;
}

/* ---- What each option does ---- */

static bool once(const char **to, const char *option, const char *argument, GError **error)
{
	if (*to != NULL)
		return bad(error, "%s is given twice", option);
	*to = argument;
	return true;
}

static bool take_db(Given *given, const char *argument, GError **error)
{
	return once(&given->db, "--nssdb", argument, error);
}

static bool take_reader(Given *given, const char *argument, GError **error)
{
	return once(&given->reader, "--reader-name", argument, error);
}

static bool take_emul(Given *given, const char *argument, GError **error)
{
	return once(&given->emul, "-e", argument, error);
}

static bool take_channel(Given *given, const char *argument, GError **error)
{
	return once(&given->channel, "--channel", argument, error);
}

static bool take_ca_file(Given *given, const char *argument, GError **error)
{
	return once(&given->ca_file, "--ca-file", argument, error);
}

static bool take_host_subject(Given *given, const char *argument, GError **error)
{
	return once(&given->host_subject, "--host-subject", argument, error);
}

static bool take_user(Given *given, const char *argument, GError **error)
{
	return once(&given->user, "--user", argument, error);
}

static bool take_password_file(Given *given, const char *argument, GError **error)
{
	return once(&given->password_file, "--password-file", argument, error);
}

static bool take_viewer(Given *given, const char *argument, GError **error)
{
	return once(&given->viewer, "--viewer", argument, error);
}

static bool take_password(Given *given, const char *argument, GError **error)
{
	(void)given;
	(void)argument;
	return bad(error, "--password would show it to everyone who can list processes; "
			  "use " CLIENT_PASSWORD_WAYS);
}

static bool take_as_usb(Given *given, const char *argument, GError **error)
{
	(void)argument;
	(void)error;
	given->options->as_usb = true;
	return true;
}

static bool take_cert(Given *given, const char *argument, GError **error)
{
	(void)error;
	g_ptr_array_add(given->certs, (char *)argument);
	return true;
}

static bool take_passthru(Given *given, const char *argument, GError **error)
{
	(void)argument;
	(void)error;
	given->passthru = true;
	return true;
}

static bool take_pcsc(Given *given, const char *argument, GError **error)
{
	(void)argument;
	(void)error;
	given->pcsc = true;
	return true;
}

static bool take_pcsc_reader(Given *given, const char *argument, GError **error)
{
	(void)error;
	g_ptr_array_add(given->readers, (char *)argument);
	return true;
}

static bool take_exclude(Given *given, const char *argument, GError **error)
{
	(void)error;
	g_ptr_array_add(given->exclude, (char *)argument);
	return true;
}

static bool take_share(Given *given, const char *argument, GError **error)
{
	if (strcmp(argument, "shared") != 0 && strcmp(argument, "exclusive") != 0)
		return bad(error, "bad value '%s' for --share: shared or exclusive", argument);
	return once(&given->share, "--share", argument, error);
}

static bool take_hold(Given *given, const char *argument, GError **error)
{
	(void)argument;
	(void)error;
	given->hold = true;
	return true;
}

static bool take_list(Given *given, const char *argument, GError **error)
{
	(void)argument;
	(void)error;
	given->list = true;
	return true;
}

static bool take_check(Given *given, const char *argument, GError **error)
{
	if (argument != NULL && strcmp(argument, "all") != 0)
		return bad(error, "bad value '%s' for --check: all, or nothing", argument);
	given->check = true;
	given->options->check_all = argument != NULL;
	return true;
}

static bool take_reconnect(Given *given, const char *argument, GError **error)
{
	guint64 seconds = RECONNECT_SECONDS;

	if (argument != NULL &&
	    !g_ascii_string_to_unsigned(argument, 10, 1, RECONNECT_MAX, &seconds, NULL))
		return bad(error, "bad value '%s' for --reconnect: seconds from 1 to %u", argument,
			   RECONNECT_MAX);
	given->options->reconnect = (unsigned)seconds;
	return true;
}

static bool take_trace(Given *given, const char *argument, GError **error)
{
	guint64 level;

	if (!g_ascii_string_to_unsigned(argument, 10, 0, VSC_TRACE_MAX, &level, NULL))
		return bad(error, "bad value '%s' for --trace: a level from 0 to %d", argument,
			   VSC_TRACE_MAX);
	given->options->trace = (int)level;
	return true;
}

static bool take_debug(Given *given, const char *argument, GError **error)
{
	guint64 level;

	if (!g_ascii_string_to_unsigned(argument, 10, 0, G_MAXINT, &level, NULL))
		return bad(error, "bad value '%s' for -d: a level, 0 or more", argument);
	given->options->trace = (int)MIN(level, VSC_TRACE_MAX);
	return true;
}

static bool take_help(Given *given, const char *argument, GError **error)
{
	(void)argument;
	(void)error;
	given->options->action = CLIENT_SHOW_HELP;
	return true;
}

static bool take_version(Given *given, const char *argument, GError **error)
{
	(void)argument;
	(void)error;
	given->options->action = CLIENT_SHOW_VERSION;
	return true;
}

static const Option table[] = {
	{ 0, "nssdb", "DIR", "NSS certificate database of the card", take_db },
	{ 'c', "cert", "NAME", "certificate for the card, up to 10, in their order", take_cert },
	{ 0, "reader-name", "NAME", "what the reader is called (Virtual Reader)", take_reader },
	{ 'e', NULL, "ARGS",
	  "cards as libcacard's options write them: db=\"DIR\" use_hw=no "
	  "soft=(,READER,CAC,,CERT,...)",
	  take_emul },
	{ 'p', NULL, NULL, "real cards of the local pcscd, passed through by libcacard",
	  take_passthru },
	{ 0, "pcsc", NULL, "the cards in the PC/SC readers of this machine, as they are",
	  take_pcsc },
	{ 0, "reader", "NAME",
	  "PC/SC: only the readers of this name, which may have * and ?; may be repeated",
	  take_pcsc_reader },
	{ 0, "exclude", "NAME", "PC/SC: not the readers of this name; may be repeated",
	  take_exclude },
	{ 0, "list", NULL, "say which PC/SC readers there are, with their cards, and exit",
	  take_list },
	{ 0, "check", "[all]",
	  "say step by step whether the card is seen on the other side, and why not, and exit; "
	  "with all,\n        SPICE: open its channels too, which throws out who has them",
	  take_check },
	{ 0, "share", "MODE",
	  "PC/SC: shared with programs of this machine, turn by turn, or exclusive (shared)",
	  take_share },
	{ 0, "hold", NULL, "PC/SC: programs of this machine wait while the card is in use",
	  take_hold },
	{ 0, "reconnect", "[SECONDS]",
	  "connect again when refused or cut off, first after SECONDS "
	  "(3), then less often",
	  take_reconnect },
	{ 0, "as-usb", NULL,
	  "run the card reader here and lend it as a USB device, to QEMU's usb-redir",
	  take_as_usb },
	{ 0, "channel", "NAME",
	  "SPICE: smartcard, port, port:NAME or auto, which is the port " VMC_SPICE_CARD_PORT
	  " if there is one (auto)",
	  take_channel },
	{ 0, "viewer", "COMMAND",
	  "SPICE: start this viewer, and lend the card in its session; ends with it", take_viewer },
	{ 0, "password-file", "FILE", "SPICE: the password is the first line of FILE",
	  take_password_file },
	{ 0, "password", "[TEXT]", NULL, take_password },
	{ 0, "user", "NAME", "SPICE: who to be, if the server uses SASL", take_user },
	{ 0, "ca-file", "FILE", "SPICE over TLS: trust the CA certificates (PEM) in FILE",
	  take_ca_file },
	{ 0, "host-subject", "SUBJECT",
	  "SPICE over TLS: the subject of the server's certificate, instead of its name",
	  take_host_subject },
	{ 0, "trace", "LEVEL",
	  "1: say events, 2: also messages, 3: also command headers; never data", take_trace },
	{ 'd', NULL, "LEVEL", "the same; levels over 3 are 3", take_debug },
	{ 'h', "help", NULL, "say this and exit", take_help },
	{ 0, "version", NULL, "say the version and exit", take_version },
};

/* ---- Where to connect to ---- */

static bool take_host_and_port(ClientOptions *options, const char *text, const char *host,
			       size_t host_len, const char *port, GError **error)
{
	if (host_len == 0)
		return bad(error, "'%s' has no host", text);
	if (*port == '\0')
		return bad(error, "'%s' has no port", text);
	options->host = g_strndup(host, host_len);
	options->port = g_strdup(port);
	return true;
}

/* HOST:PORT or [IPV6]:PORT, perhaps a slash after it. */
static bool take_tcp(ClientOptions *options, const char *text, const char *at, GError **error)
{
	g_autofree char *plain = g_strdup(at);
	const char *colon;

	if (g_str_has_suffix(plain, "/"))
		plain[strlen(plain) - 1] = '\0';
	if (plain[0] == '[') {
		char *end = strchr(plain, ']');

		if (end == NULL || end[1] != ':')
			return bad(error, "'%s' is not tcp://[IPV6]:PORT", text);
		return take_host_and_port(options, text, plain + 1, (size_t)(end - plain - 1),
					  end + 2, error);
	}
	colon = strchr(plain, ':');
	if (colon == NULL)
		return bad(error, "'%s' has no port", text);
	if (strchr(colon + 1, ':') != NULL)
		return bad(error, "'%s' has several ':'; IPv6 goes in brackets: tcp://[IPV6]:PORT",
			   text);
	return take_host_and_port(options, text, plain, (size_t)(colon - plain), colon + 1, error);
}

static bool take_unix(ClientOptions *options, const char *text, const char *at, GError **error)
{
	options->abstract = *at == '@';
	at += options->abstract;
	if (*at == '\0')
		return bad(error, "'%s' has no path", text);
	options->path = g_strdup(at);
	return true;
}

#define SPICE_ADDRESSES "spice://HOST:PORT, spice+tls://HOST:PORT, spice+unix://PATH or FILE.vv"
#define ADDRESSES "HOST PORT, tcp://HOST:PORT, unix:PATH, unix:@NAME, " SPICE_ADDRESSES

static bool is_url(const char *word)
{
	return g_str_has_prefix(word, "tcp://") || g_str_has_prefix(word, "unix:") ||
	       vmc_spice_address_is(word);
}

/* Are the seconds of --reconnect, which go with a '=', the first of `words`? */
static bool has_stray_seconds(const ClientOptions *options, int n, char **words)
{
	return options->reconnect > 0 && (n == 3 || (n == 2 && is_url(words[1]))) &&
	       words[0][strspn(words[0], "0123456789")] == '\0';
}

static bool take_address(ClientOptions *options, int n, char **words, GError **error)
{
	g_autofree char *both = NULL;

	if (n == 0)
		return bad(error, "no address is given: " ADDRESSES);
	if (has_stray_seconds(options, n, words))
		return bad(error,
			   "'%s' stands before the address; seconds are written "
			   "--reconnect=SECONDS",
			   words[0]);
	if (n > 2 || (n == 2 && is_url(words[0])))
		return bad(error, "'%s' is one word too many after the address",
			   words[is_url(words[0]) ? 1 : 2]);
	if (n == 2) {
		both = g_strdup_printf("%s %s", words[0], words[1]);
		return take_host_and_port(options, both, words[0], strlen(words[0]), words[1],
					  error);
	}
	if (g_str_has_prefix(words[0], "tcp://"))
		return take_tcp(options, words[0], words[0] + strlen("tcp://"), error);
	if (g_str_has_prefix(words[0], "unix:"))
		return take_unix(options, words[0], words[0] + strlen("unix:"), error);
	if (vmc_spice_address_is(words[0]))
		return options->is_spice = true;
	return bad(error, "'%s' is no address: " ADDRESSES, words[0]);
}

/* ---- SPICE ---- */

/* An option that means something only with SPICE and was given without. */
static bool refuse_spice_options(const Given *given, GError **error)
{
	const struct {
		const char *name, *value;
	} only[] = {
		{ "--channel", given->channel },
		{ "--viewer", given->viewer },
		{ "--password-file", given->password_file },
		{ "--user", given->user },
		{ "--ca-file", given->ca_file },
		{ "--host-subject", given->host_subject },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(only); i++) {
		if (only[i].value != NULL)
			return bad(error, "%s goes with a SPICE address: " SPICE_ADDRESSES,
				   only[i].name);
	}
	return true;
}

static bool make_channel(Given *given, GError **error)
{
	ClientOptions *options = given->options;
	const char *channel = given->channel != NULL ? given->channel : "auto";

	if (options->as_usb && given->channel != NULL)
		return bad(error, "--as-usb uses the usbredir channel; --channel does not go "
				  "with it");
	if (options->as_usb)
		options->want = VMC_SPICE_WANT_USBREDIR;
	else if (strcmp(channel, "smartcard") == 0)
		options->want = VMC_SPICE_WANT_SMARTCARD;
	else if (strcmp(channel, "port") == 0 || g_str_has_prefix(channel, "port:"))
		options->want = VMC_SPICE_WANT_PORT;
	else if (strcmp(channel, "auto") == 0)
		/* What to keep from the viewer has to be known before it comes. */
		options->want =
			given->viewer != NULL ? VMC_SPICE_WANT_SMARTCARD : VMC_SPICE_WANT_CARD;
	else
		return bad(error,
			   "bad value '%s' for --channel: smartcard, port, port:NAME or auto",
			   channel);
	if (strcmp(channel, "port:") == 0)
		return bad(error, "bad value 'port:' for --channel: the port's name is missing");
	if (g_str_has_prefix(channel, "port:"))
		options->port_channel = g_strdup(channel + strlen("port:"));
	return true;
}

static bool make_viewer(Given *given, GError **error)
{
	g_autoptr(GError) because = NULL;

	if (given->viewer == NULL)
		return true;
	if (given->check)
		return bad(error, "--check goes without --viewer: it looks at the server itself");
	if (given->options->reconnect > 0)
		return bad(error, "--reconnect does not go with --viewer: it is the viewer that "
				  "connects");
	if (!g_shell_parse_argv(given->viewer, NULL, &given->options->viewer, &because))
		return bad(error, "bad value '%s' for --viewer: %s", given->viewer,
			   because->message);
	return true;
}

static void replace(char **to, const char *from)
{
	if (from == NULL)
		return;
	g_free(*to);
	*to = g_strdup(from);
}

/* The address last, for a .vv file may ask to be deleted once it is read. */
static bool make_spice(Given *given, const char *word, GError **error)
{
	ClientOptions *options = given->options;

	if (!options->is_spice)
		return refuse_spice_options(given, error);
	if (!make_channel(given, error) || !make_viewer(given, error) ||
	    !vmc_spice_address_read(&options->spice, word, error))
		return false;
	if (options->spice.tls_port == 0 && (given->ca_file != NULL || given->host_subject != NULL))
		return bad(error, "%s is for TLS, and '%s' has no TLS port",
			   given->ca_file != NULL ? "--ca-file" : "--host-subject", word);
	if (given->ca_file != NULL)
		g_clear_pointer(&options->spice.ca_pem, g_free);
	replace(&options->spice.ca_file, given->ca_file);
	replace(&options->spice.host_subject, given->host_subject);
	replace(&options->spice.user, given->user);
	replace(&options->password_file, given->password_file);
	return true;
}

/* ---- What the cards are ---- */

static bool check_together(const Given *given, GError **error)
{
	bool has_certs = given->certs->len > 0;

	if (given->passthru && (given->emul != NULL || given->db != NULL || has_certs))
		return bad(error, "-p lends real cards; -e, --nssdb and --cert do not go with it");
	if (given->emul != NULL && given->db != NULL)
		return bad(error, "--nssdb does not go with -e, which has db=\"DIR\" for that");
	if (given->reader != NULL && !has_certs)
		return bad(error, "--reader-name names the reader of --cert, and there is none");
	if (given->db != NULL && !has_certs)
		return bad(error, "--nssdb without --cert: which certificates are on the card?");
	return true;
}

/* The words, copied; NULL if there are none. */
static char **copy_words(GPtrArray *words)
{
	GStrv copy = g_new0(char *, words->len + 1);

	for (guint i = 0; i < words->len; i++)
		copy[i] = g_strdup(words->pdata[i]);
	if (words->len == 0)
		g_clear_pointer(&copy, g_strfreev);
	return copy;
}

/* An option that means something only with PC/SC and was given without. */
static bool refuse_pcsc_options(const Given *given, GError **error)
{
	const char *only = given->exclude->len > 0 ? "--exclude" :
			   given->share != NULL    ? "--share" :
			   given->hold             ? "--hold" :
						     NULL;

	return only == NULL || bad(error, "%s goes with --pcsc", only);
}

static bool make_pcsc(Given *given, GError **error)
{
	ClientOptions *options = given->options;
	bool exclusive = given->share != NULL && strcmp(given->share, "exclusive") == 0;

	options->pcsc = given->pcsc || given->list || given->readers->len > 0;
	if (!options->pcsc)
		return refuse_pcsc_options(given, error);
	if (given->passthru || given->emul != NULL || given->db != NULL || given->certs->len > 0)
		return bad(error, "--pcsc lends real cards; -e, -p, --nssdb and --cert do not go "
				  "with it");
	if (exclusive && given->hold)
		return bad(error, "--hold is for --share shared; exclusive is more");
	options->pcsc_readers = copy_words(given->readers);
	options->pcsc_exclude = copy_words(given->exclude);
	options->pcsc_share = exclusive   ? VSC_SHARE_ALONE :
			      given->hold ? VSC_SHARE_HOLD :
					    VSC_SHARE_TURNS;
	return true;
}

static bool make_cards(Given *given, GError **error)
{
	g_autoptr(GString) cards = g_string_new(NULL);
	g_autofree char *db = NULL;
	g_autofree char *soft = NULL;

	if (!check_together(given, error))
		return false;
	if (given->passthru)
		g_string_assign(cards, "use_hw=yes hw_type=passthru");
	if (given->emul != NULL)
		g_string_append_printf(cards, "%s ", given->emul);
	if (given->db != NULL) {
		db = vsc_cacard_db(given->db, error);
		if (db == NULL)
			return false;
		g_string_append_printf(cards, "%s ", db);
	}
	if (given->certs->len > 0) {
		g_ptr_array_add(given->certs, NULL);
		soft = vsc_cacard_soft(given->reader, (const char *const *)given->certs->pdata,
				       error);
		if (soft == NULL)
			return false;
		g_string_append_printf(cards, "%s%s", given->emul == NULL ? "use_hw=no " : "",
				       soft);
	}
	if (cards->len > 0)
		given->options->cards = g_strchomp(g_string_free(g_steal_pointer(&cards), FALSE));
	return true;
}

/* ---- Reading ---- */

/* Long options answer this and their place in the table. */
#define LONG 256

static void make_tables(struct option longs[G_N_ELEMENTS(table) + 1], GString *letters)
{
	size_t n = 0;

	/* '+' would end options at the first word; ':' makes a missing argument ':'. */
	g_string_assign(letters, ":");
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		const char *argument = table[i].argument;
		int has = argument == NULL ? no_argument :
			  *argument == '[' ? optional_argument :
					     required_argument;

		if (table[i].letter != 0)
			g_string_append_printf(letters, "%c%s", table[i].letter,
					       argument != NULL ? ":" : "");
		if (table[i].name != NULL)
			longs[n++] = (struct option){ table[i].name, has, NULL, LONG + (int)i };
	}
	longs[n] = (struct option){ 0 };
}

static const Option *find_option(int found)
{
	if (found >= LONG)
		return &table[found - LONG];
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		if (table[i].letter == found)
			return &table[i];
	}
	return NULL;
}

/* getopt's '?' and ':' in words. */
static bool bad_option(int found, const char *word, GError **error)
{
	if (found == ':' && optopt < LONG)
		return bad(error, "-%c wants an argument", optopt);
	if (found == ':')
		return bad(error, "%s wants an argument", word);
	if (optopt >= LONG)
		return bad(error, "--%s takes no argument", table[optopt - LONG].name);
	if (optopt != 0)
		return bad(error, "unknown option '-%c'; see vscclient --help", optopt);
	return bad(error, "unknown option '%s'; see vscclient --help", word);
}

static bool make_list(Given *given, int n, char **words, GError **error)
{
	given->options->action = CLIENT_LIST;
	if (n > 0)
		return bad(error, "'%s' is one word too many: --list connects to nobody", words[0]);
	return make_pcsc(given, error);
}

static bool read_all(Given *given, int argc, char **argv, GError **error)
{
	struct option longs[G_N_ELEMENTS(table) + 1];
	g_autoptr(GString) letters = g_string_new(NULL);
	int found;

	make_tables(longs, letters);
	opterr = 0;
	optind = 0; /* GNU's: start anew */
	while ((found = getopt_long(argc, argv, letters->str, longs, NULL)) != -1) {
		const Option *option = find_option(found);

		if (option == NULL)
			return bad_option(found, argv[optind - 1], error);
		if (!option->take(given, optarg, error))
			return false;
		if (given->options->action != CLIENT_RUN)
			return true;
	}
	if (given->list)
		return make_list(given, argc - optind, argv + optind, error);
	if (given->check)
		given->options->action = CLIENT_CHECK;
	return take_address(given->options, argc - optind, argv + optind, error) &&
	       make_pcsc(given, error) && make_cards(given, error) &&
	       make_spice(given, argv[optind], error);
}

bool client_options_read(ClientOptions *options, int argc, char **argv, GError **error)
{
	Given given = {
		.options = options,
		.certs = g_ptr_array_new(),
		.readers = g_ptr_array_new(),
		.exclude = g_ptr_array_new(),
	};
	bool ok;

	*options = (ClientOptions){ 0 };
	ok = read_all(&given, argc, argv, error);
	g_ptr_array_unref(given.certs);
	g_ptr_array_unref(given.readers);
	g_ptr_array_unref(given.exclude);
	return ok;
}

void client_options_clear(ClientOptions *options)
{
	g_free(options->cards);
	g_strfreev(options->pcsc_readers);
	g_strfreev(options->pcsc_exclude);
	g_free(options->host);
	g_free(options->port);
	g_free(options->path);
	vmc_spice_address_clear(&options->spice);
	g_free(options->port_channel);
	g_free(options->password_file);
	g_strfreev(options->viewer);
	*options = (ClientOptions){ 0 };
}

/* ---- What becomes of them ---- */

VmcOpts *client_options_socket(const ClientOptions *options)
{
	VmcOpts *opts = vmc_opts_new("address");
	g_autofree char *reconnect = g_strdup_printf("%u", options->reconnect);

	vmc_opts_add(opts, "backend", "socket", NULL);
	vmc_opts_add(opts, "id", "host", NULL); /* what traces call it */
	if (options->path != NULL) {
		vmc_opts_add(opts, "path", options->path, NULL);
		vmc_opts_add(opts, "abstract", options->abstract ? "on" : "off", NULL);
	} else {
		vmc_opts_add(opts, "host", options->host, NULL);
		vmc_opts_add(opts, "port", options->port, NULL);
		vmc_opts_add(opts, "nodelay", "on", NULL);
		vmc_opts_add(opts, "quickack", "on", NULL);
	}
	vmc_opts_add(opts, "reconnect", reconnect, NULL);
	return opts;
}

static void append_option(GString *text, const Option *option)
{
	const char *argument = option->argument != NULL ? option->argument : "";
	bool may_lack = *argument == '[';

	g_string_append(text, "  ");
	if (option->letter != 0)
		g_string_append_printf(text, "-%c%s", option->letter,
				       option->name != NULL ? ", " : "");
	if (option->name != NULL)
		g_string_append_printf(text, "--%s", option->name);
	if (may_lack)
		g_string_append_printf(text, "[=%s", argument + 1);
	else if (*argument != '\0')
		g_string_append_printf(text, " %s", argument);
	g_string_append_printf(text, "\n        %s\n", option->help);
}

char *client_options_help(void)
{
	GString *text = g_string_new(
		"Usage: vscclient [OPTION...] HOST PORT\n"
		"       vscclient [OPTION...] tcp://HOST:PORT | unix:PATH | unix:@NAME\n"
		"       vscclient [OPTION...] spice://HOST:PORT | spice+tls://HOST:PORT |\n"
		"                             spice+unix://PATH | FILE.vv\n"
		"Lends smartcards to a virtual machine or to vscardd.\n\n");

	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		if (table[i].help != NULL)
			append_option(text, &table[i]);
	}
	g_string_append(
		text,
		"\nWithout an option that says which cards, they are libcacard's default: hardware\n"
		"tokens of the database in /etc/pki/nssdb. Commands on standard input: insert,\n"
		"remove, select, list, debug, exit; `help` says more.\n"
		"\nA SPICE server has one client at a time. Without --viewer that client is vscclient:\n"
		"a viewer that is there is thrown out, and one that comes throws vscclient out.\n"
		"The password of a SPICE server is the first line of --password-file, or else in\n"
		"the environment variable " CLIENT_PASSWORD_VARIABLE
		", in the .vv file, or asked for\n"
		"on the terminal if the server wants one.\n");
	client_exit_append_help(text);
	g_string_append(
		text,
		"\nExamples: a card with three certificates for vscardd or QEMU on port 2001\n"
		"  vscclient --nssdb ~/.pki/nssdb --cert id --cert signing --cert encryption \\\n"
		"            tcp://192.0.2.1:2001\n"
		"the card of a local reader beside the viewer of a libvirt machine\n"
		"  vscclient -p --viewer remote-viewer \"$(virsh domdisplay vm1)\"\n"
		"the card in one reader of this machine, whenever the other side is there\n"
		"  vscclient --reader \"Alcor*\" --reconnect tcp://192.0.2.1:2001\n");
	return g_string_free(text, FALSE);
}

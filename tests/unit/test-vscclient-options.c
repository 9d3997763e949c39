/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * vscclient's command line as a table: each line is what is typed, and what it
 * means or what is said about it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tools/vscclient-options.h"
#include "vscard/cacard.h"

/* A command line in words with '|' between them, since some have blanks. */
typedef struct Line {
	const char *words;
	const char *cards;
	const char *host, *port, *path;
	bool abstract;
	unsigned reconnect;
	int trace;
	bool as_usb;
	/* SPICE */
	const char *address; /* as described; NULL: another address */
	VmcSpiceWant want;
	const char *port_channel, *viewer; /* the viewer's words with '|' between */
	const char *user, *password_file, *ca_file, *host_subject;
	/* PC/SC; lists with '|' between their words */
	bool pcsc;
	const char *readers, *exclude;
	VscShareMode share;
} Line;

#define TCP(h, p) .host = h, .port = p

static const Line good[] = {
	/* libcacard's */
	{ "localhost|2001", TCP("localhost", "2001") },
	{ "--|localhost|2001", TCP("localhost", "2001") },
	{ "-e|db=\"/x\" use_hw=no soft=(,R,CAC,,a)|h|1",
	  .cards = "db=\"/x\" use_hw=no soft=(,R,CAC,,a)", TCP("h", "1") },
	{ "-e|db=\"/x\" |-c|a|-c|b|h|1", .cards = "db=\"/x\"  soft=(,Virtual Reader,CAC,,a,b)",
	  TCP("h", "1") },
	{ "-c|a|h|1", .cards = "use_hw=no soft=(,Virtual Reader,CAC,,a)", TCP("h", "1") },
	{ "-d|1|h|1", .trace = 1, TCP("h", "1") },
	{ "-d99|h|1", .trace = 3, TCP("h", "1") },
	{ "-p|h|1", .cards = "use_hw=yes hw_type=passthru", TCP("h", "1") },
	{ "h|1|-p", .cards = "use_hw=yes hw_type=passthru", TCP("h", "1") },
	/* our own */
	{ "--nssdb|/my db|--cert|id|--cert|my signing|tcp://h:1",
	  .cards = "db=\"/my db\" use_hw=no soft=(,Virtual Reader,CAC,,id,my signing)",
	  TCP("h", "1") },
	{ "--nssdb=d|--cert=id|--reader-name=Left one|tcp://h:1/",
	  .cards = "db=\"d\" use_hw=no soft=(,Left one,CAC,,id)", TCP("h", "1") },
	{ "tcp://192.0.2.1:http", TCP("192.0.2.1", "http") },
	{ "tcp://[2001:db8::1]:2001", TCP("2001:db8::1", "2001") },
	{ "2001:db8::1|2001", TCP("2001:db8::1", "2001") },
	{ "unix:/run/a,b", .path = "/run/a,b" },
	{ "unix:relative", .path = "relative" },
	{ "unix:@name", .path = "name", .abstract = true },
	{ "--reconnect|h|1", .reconnect = 3, TCP("h", "1") },
	{ "--reconnect|5|2001", .reconnect = 3, TCP("5", "2001") },
	{ "--reconnect=86400|h|1", .reconnect = 86400, TCP("h", "1") },
	{ "--trace|3|h|1", .trace = 3, TCP("h", "1") },
	{ "--trace=0|h|1", TCP("h", "1") },
	{ "--as-usb|h|1", .as_usb = true, TCP("h", "1") },
	/* SPICE */
	{ "spice://h:5900", .address = "spice://h:5900" },
	{ "spice+tls://h:5901", .address = "spice+tls://h:5901" },
	{ "spice+unix:///run/a", .address = "spice+unix:///run/a" },
	{ "spice://me@h:1", .address = "spice://h:1", .user = "me" },
	{ "spice://me@h:1|--user|you", .address = "spice://h:1", .user = "you" },
	{ "--channel|auto|spice://h:1", .address = "spice://h:1" },
	{ "--channel|smartcard|spice://h:1", .address = "spice://h:1",
	  .want = VMC_SPICE_WANT_SMARTCARD },
	{ "--channel|port|spice://h:1", .address = "spice://h:1", .want = VMC_SPICE_WANT_PORT },
	{ "--channel=port:a:b|spice://h:1", .address = "spice://h:1", .want = VMC_SPICE_WANT_PORT,
	  .port_channel = "a:b" },
	{ "--as-usb|spice://h:1", .as_usb = true, .address = "spice://h:1",
	  .want = VMC_SPICE_WANT_USBREDIR },
	{ "--viewer|remote-viewer|spice://h:1", .address = "spice://h:1",
	  .want = VMC_SPICE_WANT_SMARTCARD, .viewer = "remote-viewer" },
	{ "--viewer|v --full 'a b'|--channel|port|spice://h:1", .address = "spice://h:1",
	  .want = VMC_SPICE_WANT_PORT, .viewer = "v|--full|a b" },
	{ "--as-usb|--viewer|v|spice://h:1", .as_usb = true, .address = "spice://h:1",
	  .want = VMC_SPICE_WANT_USBREDIR, .viewer = "v" },
	{ "--password-file|p|spice://h:1", .address = "spice://h:1", .password_file = "p" },
	{ "--ca-file|c|--host-subject|CN=h|spice+tls://h:1", .address = "spice+tls://h:1",
	  .ca_file = "c", .host_subject = "CN=h" },
	{ "--ca-file|c|spice+tls://h:1?ca-file=d", .address = "spice+tls://h:1", .ca_file = "c" },
	{ "--reconnect|spice://h:1", .address = "spice://h:1", .reconnect = 3 },
	/* PC/SC */
	{ "--pcsc|h|1", .pcsc = true, TCP("h", "1") },
	{ "--reader|A b 00 00|--reader=Gem*|unix:x", .pcsc = true, .readers = "A b 00 00|Gem*",
	  .path = "x" },
	{ "--pcsc|--exclude|Yubi*|h|1", .pcsc = true, .exclude = "Yubi*", TCP("h", "1") },
	{ "--pcsc|--share|shared|h|1", .pcsc = true, TCP("h", "1") },
	{ "--pcsc|--share=exclusive|h|1", .pcsc = true, .share = VSC_SHARE_ALONE, TCP("h", "1") },
	{ "--hold|--pcsc|h|1", .pcsc = true, .share = VSC_SHARE_HOLD, TCP("h", "1") },
	{ "--pcsc|spice://h:1", .pcsc = true, .address = "spice://h:1" },
};

#define STRAY_SECONDS "'5' stands before the address; seconds are written --reconnect=SECONDS"
#define SPICE_ADDRESSES "spice://HOST:PORT, spice+tls://HOST:PORT, spice+unix://PATH or FILE.vv"
#define ADDRESSES "HOST PORT, tcp://HOST:PORT, unix:PATH, unix:@NAME, " SPICE_ADDRESSES
#define NO_PCSC "--pcsc lends real cards; -e, -p, --nssdb and --cert do not go with it"
#define PASSWORD                                                                                   \
	"--password would show it to everyone who can list processes; use --password-file FILE, "  \
	"the environment variable VSCARD_SPICE_PASSWORD, or a terminal to ask on"

static const struct {
	const char *words, *error;
} wrong[] = {
	{ "", "no address is given: " ADDRESSES },
	{ "-p", "no address is given: " ADDRESSES },
	{ "h", "'h' is no address: " ADDRESSES },
	{ "h:1", "'h:1' is no address: " ADDRESSES },
	{ "h|1|2", "'2' is one word too many after the address" },
	{ "unix:x|1|2", "'1' is one word too many after the address" },
	{ "|1", "' 1' has no host" },
	{ "h|", "'h ' has no port" },
	{ "tcp://h", "'tcp://h' has no port" },
	{ "tcp://h:", "'tcp://h:' has no port" },
	{ "tcp://h:/", "'tcp://h:/' has no port" },
	{ "tcp://:1", "'tcp://:1' has no host" },
	{ "tcp://::1:1",
	  "'tcp://::1:1' has several ':'; IPv6 goes in brackets: tcp://[IPV6]:PORT" },
	{ "tcp://[::1]", "'tcp://[::1]' is not tcp://[IPV6]:PORT" },
	{ "tcp://[::1", "'tcp://[::1' is not tcp://[IPV6]:PORT" },
	{ "tcp://[]:1", "'tcp://[]:1' has no host" },
	{ "tcp://[::1]:", "'tcp://[::1]:' has no port" },
	{ "unix:", "'unix:' has no path" },
	{ "unix:@", "'unix:@' has no path" },
	{ "-x|h|1", "unknown option '-x'; see vscclient --help" },
	{ "--pscs|h|1", "unknown option '--pscs'; see vscclient --help" },
	{ "-c", "-c wants an argument" },
	{ "--cert", "--cert wants an argument" },
	{ "--version=1", "--version takes no argument" },
	{ "-d|x|h|1", "bad value 'x' for -d: a level, 0 or more" },
	{ "-d|-1|h|1", "bad value '-1' for -d: a level, 0 or more" },
	{ "--trace|4|h|1", "bad value '4' for --trace: a level from 0 to 3" },
	{ "--reconnect=0|h|1", "bad value '0' for --reconnect: seconds from 1 to 86400" },
	{ "--reconnect=86401|h|1", "bad value '86401' for --reconnect: seconds from 1 to 86400" },
	{ "--reconnect=|h|1", "bad value '' for --reconnect: seconds from 1 to 86400" },
	{ "--reconnect|5|tcp://h:1", STRAY_SECONDS },
	{ "--reconnect|5|unix:x", STRAY_SECONDS },
	{ "--reconnect|5|h|1", STRAY_SECONDS },
	{ "--reconnect|h|1|2", "'2' is one word too many after the address" },
	{ "5|h|1", "'1' is one word too many after the address" },
	{ "--nssdb|a|--nssdb|b|-c|x|h|1", "--nssdb is given twice" },
	{ "-e|a|-e|b|h|1", "-e is given twice" },
	{ "--reader-name|a|--reader-name|b|h|1", "--reader-name is given twice" },
	{ "--nssdb|a|h|1", "--nssdb without --cert: which certificates are on the card?" },
	{ "--nssdb||-c|x|h|1", "card options: database directory '' is empty" },
	{ "--nssdb|a\"b|-c|x|h|1",
	  "card options: database directory 'a\"b' has a '\"' or a line end, which libcacard cannot "
	  "take in a path" },
	{ "--nssdb|a|-e|db=\"b\"|-c|x|h|1",
	  "--nssdb does not go with -e, which has db=\"DIR\" for that" },
	{ "--reader-name|a|h|1", "--reader-name names the reader of --cert, and there is none" },
	{ "-p|-c|x|h|1", "-p lends real cards; -e, --nssdb and --cert do not go with it" },
	{ "-p|-e|x|h|1", "-p lends real cards; -e, --nssdb and --cert do not go with it" },
	{ "-c|a,b|h|1",
	  "card options: certificate name 'a,b' has a ',', a ')' or a line end, which "
	  "libcacard cannot take in a name" },
	{ "spice://h:1|2", "'2' is one word too many after the address" },
	{ "a.vv|2001", "'2001' is one word too many after the address" },
	{ "unix:x|1", "'1' is one word too many after the address" },
	{ "--reconnect|5|spice://h:1", STRAY_SECONDS },
	{ "spice://h", "the address has no port: spice://HOST:PORT is wanted" },
	{ "--password|x|spice://h:1", PASSWORD },
	{ "--password=x|spice://h:1", PASSWORD },
	{ "--password", PASSWORD },
	{ "--channel|smartcard|tcp://h:1",
	  "--channel goes with a SPICE address: " SPICE_ADDRESSES },
	{ "--viewer|v|h|1", "--viewer goes with a SPICE address: " SPICE_ADDRESSES },
	{ "--password-file|v|h|1", "--password-file goes with a SPICE address: " SPICE_ADDRESSES },
	{ "--user|v|unix:x", "--user goes with a SPICE address: " SPICE_ADDRESSES },
	{ "--ca-file|v|h|1", "--ca-file goes with a SPICE address: " SPICE_ADDRESSES },
	{ "--host-subject|v|h|1", "--host-subject goes with a SPICE address: " SPICE_ADDRESSES },
	{ "--channel|x|spice://h:1",
	  "bad value 'x' for --channel: smartcard, port, port:NAME or auto" },
	{ "--channel|port:|spice://h:1",
	  "bad value 'port:' for --channel: the port's name is missing" },
	{ "--channel|auto|--channel|auto|spice://h:1", "--channel is given twice" },
	{ "--as-usb|--channel|auto|spice://h:1",
	  "--as-usb uses the usbredir channel; --channel does not go with it" },
	{ "--reconnect|--viewer|v|spice://h:1",
	  "--reconnect does not go with --viewer: it is the viewer that connects" },
	{ "--ca-file|c|spice://h:1", "--ca-file is for TLS, and 'spice://h:1' has no TLS port" },
	{ "--host-subject|c|spice://h:1",
	  "--host-subject is for TLS, and 'spice://h:1' has no TLS port" },
	{ "--pcsc", "no address is given: " ADDRESSES },
	{ "--exclude|x|h|1", "--exclude goes with --pcsc" },
	{ "--share|shared|-c|x|h|1", "--share goes with --pcsc" },
	{ "--hold|h|1", "--hold goes with --pcsc" },
	{ "--pcsc|--share|mine|h|1", "bad value 'mine' for --share: shared or exclusive" },
	{ "--pcsc|--share|shared|--share|shared|h|1", "--share is given twice" },
	{ "--pcsc|--share|exclusive|--hold|h|1",
	  "--hold is for --share shared; exclusive is more" },
	{ "--pcsc|-c|x|h|1", NO_PCSC },
	{ "--reader|x|-p|h|1", NO_PCSC },
	{ "--list|-e|x", NO_PCSC },
	{ "--list|h|1", "'h' is one word too many: --list connects to nobody" },
	{ "-c|1|-c|2|-c|3|-c|4|-c|5|-c|6|-c|7|-c|8|-c|9|-c|10|-c|11|h|1",
	  "card options: a card has 1 to 10 certificates, not 11" },
};

static void same(const char *got, const char *expected)
{
	if (expected == NULL)
		assert_null(got);
	else
		assert_string_equal(got, expected);
}

/* Reads the words of `line`; NULL or the error's text (to be freed). */
static char *read_words(const char *line, ClientOptions *options)
{
	g_autofree char *all = g_strconcat("vscclient", *line != '\0' ? "|" : "", line, NULL);
	g_auto(GStrv) words = g_strsplit(all, "|", -1);
	g_autofree char **argv = g_memdup2(words, (g_strv_length(words) + 1) * sizeof(char *));
	g_autoptr(GError) error = NULL;
	bool ok = client_options_read(options, (int)g_strv_length(argv), argv, &error);

	assert_int_equal(ok, error == NULL);
	return ok ? NULL : g_strdup(error->message);
}

static void same_spice(const ClientOptions *options, const Line *line)
{
	g_autofree char *address = vmc_spice_address_describe(&options->spice);
	g_autofree char *viewer = options->viewer != NULL ? g_strjoinv("|", options->viewer) : NULL;

	same(address, line->address);
	assert_int_equal(options->want, line->want);
	same(options->port_channel, line->port_channel);
	same(viewer, line->viewer);
	same(options->spice.user, line->user);
	same(options->password_file, line->password_file);
	same(options->spice.ca_file, line->ca_file);
	same(options->spice.host_subject, line->host_subject);
}

static void same_words(GStrv got, const char *expected)
{
	g_autofree char *all = got != NULL ? g_strjoinv("|", got) : NULL;

	same(all, expected);
}

static void test_good(void **state)
{
	(void)state;
	for (const Line *line = good; line < good + G_N_ELEMENTS(good); line++) {
		ClientOptions options;
		g_autofree char *error = read_words(line->words, &options);

		if (error != NULL)
			fail_msg("%s: %s", line->words, error);
		same(options.cards, line->cards);
		same(options.host, line->host);
		same(options.port, line->port);
		same(options.path, line->path);
		assert_int_equal(options.abstract, line->abstract);
		assert_int_equal(options.reconnect, line->reconnect);
		assert_int_equal(options.trace, line->trace);
		assert_int_equal(options.action, CLIENT_RUN);
		assert_int_equal(options.as_usb, line->as_usb);
		assert_int_equal(options.is_spice, line->address != NULL);
		assert_int_equal(options.pcsc, line->pcsc);
		same_words(options.pcsc_readers, line->readers);
		same_words(options.pcsc_exclude, line->exclude);
		assert_int_equal(options.pcsc_share, line->share);
		if (line->address != NULL)
			same_spice(&options, line);
		client_options_clear(&options);
	}
}

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
		ClientOptions options;
		g_autofree char *error = read_words(wrong[i].words, &options);

		if (error == NULL)
			fail_msg("%s: no error", wrong[i].words);
		assert_string_equal(error, wrong[i].error);
		client_options_clear(&options);
	}
}

static void test_actions(void **state)
{
	static const struct {
		const char *words;
		ClientAction action;
	} actions[] = {
		{ "--help", CLIENT_SHOW_HELP },
		{ "-h", CLIENT_SHOW_HELP },
		{ "-d|1|--version|nonsense", CLIENT_SHOW_VERSION },
		{ "--list", CLIENT_LIST },
		{ "--list|--reader|x|--exclude|y", CLIENT_LIST },
		{ "--check|--pcsc|h|1", CLIENT_CHECK },
		{ "--check=all|spice://h:1", CLIENT_CHECK },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
		ClientOptions options;

		assert_null(read_words(actions[i].words, &options));
		assert_int_equal(options.action, actions[i].action);
		client_options_clear(&options);
	}
}

static void check_socket(const char *words, const char *const *pairs)
{
	ClientOptions options;
	g_autoptr(VmcOpts) opts = NULL;

	assert_null(read_words(words, &options));
	opts = client_options_socket(&options);
	for (; *pairs != NULL; pairs += 2)
		same(vmc_opts_get(opts, pairs[0]), strcmp(pairs[1], "-") != 0 ? pairs[1] : NULL);
	client_options_clear(&options);
}

static void test_socket(void **state)
{
	static const char *const tcp[] = { "backend",   "socket",  "host", "a,b",      "port",
					   "1",         "nodelay", "on",   "quickack", "on",
					   "reconnect", "7",       "path", "-",        NULL };
	static const char *const local[] = { "backend", "socket", "path",      "/a,b", "abstract",
					     "off",     "host",   "-",         "port", "-",
					     "nodelay", "-",      "reconnect", "0",    NULL };
	static const char *const name[] = { "path", "x", "abstract", "on", NULL };

	(void)state;
	check_socket("--reconnect=7|a,b|1", tcp);
	check_socket("unix:/a,b", local);
	check_socket("unix:@x", name);
}

/* The reader of --cert is the one that everyone's card options make. */
static void test_same_cards(void **state)
{
	const char *certs[] = { "id", "signing", NULL };
	g_autofree char *soft = vsc_cacard_soft("Mine", certs, NULL);
	ClientOptions options;

	(void)state;
	assert_null(read_words("-c|id|-c|signing|--reader-name|Mine|h|1", &options));
	assert_true(g_str_has_suffix(options.cards, soft));
	client_options_clear(&options);
}

static void test_help(void **state)
{
	static const char *const words[] = { "-c, --cert NAME",
					     "-e ARGS",
					     "-p\n",
					     "-d LEVEL",
					     "--reconnect[=SECONDS]",
					     "--trace LEVEL",
					     "-h, --help",
					     "--as-usb\n",
					     "--pcsc\n",
					     "--list\n",
					     "--reader NAME",
					     "--viewer COMMAND",
					     "thrown out",
					     "--password-file FILE",
					     "VSCARD_SPICE_PASSWORD",
					     "Exit status:\n   0  told to end",
					     "  15  --check:",
					     "--check[=all]\n",
					     NULL };
	g_autofree char *help = client_options_help();

	(void)state;
	for (const char *const *word = words; *word != NULL; word++)
		assert_non_null(strstr(help, *word));
	/* What is there to be refused is not offered. */
	assert_null(strstr(help, "--password\n"));
	assert_null(strstr(help, "--password["));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),       cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_actions),    cmocka_unit_test(test_socket),
		cmocka_unit_test(test_same_cards), cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests_name("vscclient options", tests, NULL, NULL);
}

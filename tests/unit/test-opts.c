/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VmcOpts: QEMU's spellings, and the exact text of every error. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmc/opts.h"

static const VmcOptDesc table[] = {
	{ "host", VMC_OPT_TEXT, 0, 0, "where" },
	{ "path", VMC_OPT_STRING, 0, 7, "which" },
	{ "server", VMC_OPT_BOOL, 0, 0, "listen" },
	{ "wait", VMC_OPT_BOOL, 0, 0, "for the first" },
	{ "nodelay", VMC_OPT_BOOL, 0, 0, "at once" },
	{ "port", VMC_OPT_NUMBER, 1, 65535, "where" },
	{ "big", VMC_OPT_NUMBER, 0, UINT64_MAX, "any" },
	{ "delay", VMC_OPT_BOOL, 0, 0, NULL },
	{ NULL, VMC_OPT_BOOL, 0, 0, NULL },
};

static const VmcOptDesc common[] = {
	{ "id", VMC_OPT_STRING, 0, 0, "name" },
	{ "backend", VMC_OPT_STRING, 0, 0, "kind" },
	{ NULL, VMC_OPT_BOOL, 0, 0, NULL },
};

static VmcOpts *parse(const char *text, const char *implied)
{
	GError *error = NULL;
	VmcOpts *opts = vmc_opts_parse("-chardev", text, implied, &error);

	assert_null(error);
	assert_non_null(opts);
	return opts;
}

static VmcOpts *checked(const char *text)
{
	VmcOpts *opts = parse(text, "backend");
	GError *error = NULL;

	if (!vmc_opts_check(opts, "socket", table, common, &error))
		fail_msg("%s", error->message);
	assert_null(error);
	return opts;
}

/* ---- What is understood ---- */

static void test_repeating(void **state)
{
	static const char *const repeating[] = { "path", NULL };
	g_autoptr(VmcOpts) opts = vmc_opts_new("-spice");
	g_autoptr(GError) error = NULL;

	(void)state;
	vmc_opts_let_repeat(opts, repeating);
	assert_true(vmc_opts_merge(opts, "path=a,server", &error));
	assert_true(vmc_opts_merge(opts, "path=b", &error));
	assert_true(vmc_opts_add(opts, "path", "c", &error));
	assert_string_equal(vmc_opts_get(opts, "path"), "a:b:c");
	assert_string_equal(vmc_opts_text(opts), "-spice path=a,server,path=b");
	assert_false(vmc_opts_merge(opts, "server=off", &error));
	assert_string_equal(error->message, "-spice path=a,server,path=b,server=off: key 'server' "
					    "is given twice");
}

static void test_secrets_are_not_shown(void **state)
{
	static const char *const texts[][2] = {
		{ "password=a", "-x password=..." },
		{ "id=a,password=b,c=d", "-x id=a,password=...,c=d" },
		{ "key-password=a,,b=c,data=d", "-x key-password=...,data=..." },
		{ "password-secret=a,database=b", "-x password-secret=a,database=b" },
		{ "password=", "-x password=..." },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		g_autoptr(VmcOpts) opts = vmc_opts_new("-x");

		assert_true(vmc_opts_merge(opts, texts[i][0], NULL));
		assert_string_equal(vmc_opts_text(opts), texts[i][1]);
	}
}

static void test_pairs(void **state)
{
	g_autoptr(VmcOpts) opts = parse("socket,id=ccid,port=2001,server,x=a=b,empty=", "backend");

	(void)state;
	assert_string_equal(vmc_opts_get(opts, "backend"), "socket");
	assert_string_equal(vmc_opts_get(opts, "id"), "ccid");
	assert_string_equal(vmc_opts_get(opts, "port"), "2001");
	assert_string_equal(vmc_opts_get(opts, "server"), "on");
	assert_string_equal(vmc_opts_get(opts, "x"), "a=b");
	assert_string_equal(vmc_opts_get(opts, "empty"), "");
	assert_null(vmc_opts_get(opts, "wait"));
	assert_true(vmc_opts_has(opts, "empty"));
	assert_false(vmc_opts_has(opts, "serve"));
	assert_string_equal(vmc_opts_text(opts),
			    "-chardev socket,id=ccid,port=2001,server,x=a=b,empty=");
}

static void test_commas(void **state)
{
	static const struct {
		const char *text, *backend, *path, *host;
	} cases[] = {
		{ "s,path=a,,b", "s", "a,b", NULL },    { "s,path=a,,,host=b", "s", "a,", "b" },
		{ "s,path=,,,,", "s", ",,", NULL },     { "s,,t,path=x", "s,t", "x", NULL },
		{ "s,path=x,", "s", "x", NULL },        { "path=x,host=y", NULL, "x", "y" },
		{ "path=x,backend=s", "s", "x", NULL }, { "a b,path= ,host=\t", "a b", " ", "\t" },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(VmcOpts) opts = parse(cases[i].text, "backend");

		print_message("%s\n", cases[i].text);
		assert_int_equal(g_strcmp0(vmc_opts_get(opts, "backend"), cases[i].backend), 0);
		assert_int_equal(g_strcmp0(vmc_opts_get(opts, "path"), cases[i].path), 0);
		assert_int_equal(g_strcmp0(vmc_opts_get(opts, "host"), cases[i].host), 0);
	}
}

static void test_no_implied(void **state)
{
	g_autoptr(VmcOpts) opts = parse("server,path=x", NULL);
	g_autoptr(VmcOpts) nothing = parse("", NULL);

	(void)state;
	assert_string_equal(vmc_opts_get(opts, "server"), "on");
	assert_true(vmc_opts_check(opts, "socket", table, NULL, NULL));
	assert_true(vmc_opts_check(nothing, "socket", table, NULL, NULL));
	assert_true(vmc_opts_check(nothing, "socket", NULL, NULL, NULL));
}

static void test_short_booleans(void **state)
{
	static const struct {
		const char *text;
		int server, wait, nodelay, delay; /* -1: not given */
	} cases[] = {
		{ "s", -1, -1, -1, -1 },
		{ "s,server", 1, -1, -1, -1 },
		{ "s,noserver", 0, -1, -1, -1 },
		{ "s,server,nowait", 1, 0, -1, -1 },
		{ "s,server=on,wait=off", 1, 0, -1, -1 },
		{ "s,nodelay", -1, -1, 1, -1 },
		{ "s,nonodelay", -1, -1, 0, -1 },
		{ "s,delay", -1, -1, -1, 1 },
		{ "s,nodelay=off,delay=off", -1, -1, 0, 0 },
		{ "s,server=yes,wait=no,nodelay=true,delay=false", 1, 0, 1, 0 },
		{ "s,server=y,wait=n", 1, 0, -1, -1 },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const int wanted[] = { cases[i].server, cases[i].wait, cases[i].nodelay,
				       cases[i].delay };
		static const char *const keys[] = { "server", "wait", "nodelay", "delay" };
		g_autoptr(VmcOpts) opts = checked(cases[i].text);

		print_message("%s\n", cases[i].text);
		for (size_t k = 0; k < G_N_ELEMENTS(keys); k++) {
			assert_int_equal(vmc_opts_has(opts, keys[k]), wanted[k] >= 0);
			assert_int_equal(vmc_opts_bool(opts, keys[k], true), wanted[k] != 0);
			assert_int_equal(vmc_opts_bool(opts, keys[k], false), wanted[k] == 1);
		}
	}
}

static void test_numbers(void **state)
{
	g_autoptr(VmcOpts) opts = checked("s,port=0x7d1,big=18446744073709551615");
	g_autoptr(VmcOpts) low = checked("s,port=1,big=0XfF");
	g_autoptr(VmcOpts) high = checked("s,port=65535,big=007");

	(void)state;
	assert_int_equal(vmc_opts_number(opts, "port", 5), 2001);
	assert_true(vmc_opts_number(opts, "big", 5) == UINT64_MAX);
	assert_int_equal(vmc_opts_number(low, "port", 5), 1);
	assert_int_equal(vmc_opts_number(low, "big", 5), 255);
	assert_int_equal(vmc_opts_number(high, "port", 5), 65535);
	assert_int_equal(vmc_opts_number(high, "big", 5), 7);
	assert_int_equal(vmc_opts_number(high, "absent", 5), 5);
}

/* The commands of the mailing list, word for word. */
static void test_verbatim(void **state)
{
	g_autoptr(VmcOpts) opts = checked("socket,server,host=0.0.0.0,port=2001,id=ccid,nowait");

	(void)state;
	assert_string_equal(vmc_opts_get(opts, "backend"), "socket");
	assert_string_equal(vmc_opts_get(opts, "host"), "0.0.0.0");
	assert_string_equal(vmc_opts_get(opts, "id"), "ccid");
	assert_int_equal(vmc_opts_number(opts, "port", 0), 2001);
	assert_true(vmc_opts_bool(opts, "server", false));
	assert_false(vmc_opts_bool(opts, "wait", true));
}

static void test_help(void **state)
{
	static const struct {
		const char *text;
		bool wants;
	} cases[] = {
		{ "help", true },
		{ "?", true },
		{ "socket,help", true },
		{ "socket,?", true },
		{ "socket,port=1,help", true },
		{ "socket", false },
		{ "socket,id=help", false },
		{ "socket,help=on", false },
		{ "nohelp", false },
		{ "helper", false },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(VmcOpts) opts = parse(cases[i].text, "backend");

		print_message("%s\n", cases[i].text);
		assert_int_equal(vmc_opts_wants_help(opts), cases[i].wants);
	}
}

static void test_built_by_hand(void **state)
{
	g_autoptr(VmcOpts) opts = vmc_opts_new("vm.conf:3: [chardev]");
	GError *error = NULL;

	(void)state;
	assert_true(vmc_opts_add(opts, "backend", "socket", NULL));
	assert_true(vmc_opts_add(opts, "path", "a,,b", NULL)); /* no escapes here */
	assert_string_equal(vmc_opts_get(opts, "path"), "a,,b");
	assert_false(vmc_opts_wants_help(opts));

	assert_false(vmc_opts_add(opts, "path", "c", &error));
	assert_int_equal(error->code, VMC_OPTS_ERROR_REPEATED);
	assert_string_equal(error->message, "vm.conf:3: [chardev]: key 'path' is given twice");
	g_clear_error(&error);
	assert_false(vmc_opts_add(opts, "id", "9", &error));
	assert_int_equal(error->code, VMC_OPTS_ERROR_SYNTAX);
	g_clear_error(&error);
	assert_false(vmc_opts_add(opts, "", "c", NULL));
	assert_string_equal(vmc_opts_get(opts, "path"), "a,,b");
	vmc_opts_free(NULL);
}

/* ---- What is refused ---- */

#define ID_RULE ": a letter first, then letters, digits, '-', '.', '_'"
#define TAKES "; socket takes: backend, big, host, id, nodelay, path, port, server, wait"

static void test_parse_errors(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *message;
	} cases[] = {
		{ "", VMC_OPTS_ERROR_SYNTAX,
		  "the backend is missing; it comes first, before any KEY=VALUE" },
		{ ",id=x", VMC_OPTS_ERROR_SYNTAX,
		  "the backend is missing; it comes first, before any KEY=VALUE" },
		{ "socket,=x", VMC_OPTS_ERROR_SYNTAX,
		  "a key is empty; expected KEY=VALUE, separated by single commas" },
		{ "socket,server,,id=x", VMC_OPTS_ERROR_SYNTAX,
		  "a key is empty; expected KEY=VALUE, separated by single commas" },
		{ "=socket", VMC_OPTS_ERROR_SYNTAX,
		  "a key is empty; expected KEY=VALUE, separated by single commas" },
		{ "socket,id=x,id=y", VMC_OPTS_ERROR_REPEATED, "key 'id' is given twice" },
		{ "socket,server,server=off", VMC_OPTS_ERROR_REPEATED,
		  "key 'server' is given twice" },
		{ "socket,backend=socket", VMC_OPTS_ERROR_REPEATED,
		  "key 'backend' is given twice" },
		{ "socket,id=1x", VMC_OPTS_ERROR_SYNTAX, "bad id '1x'" ID_RULE },
		{ "socket,id=", VMC_OPTS_ERROR_SYNTAX, "bad id ''" ID_RULE },
		{ "socket,id", VMC_OPTS_ERROR_SYNTAX, "bad id ''" ID_RULE },
		{ "socket,id=a b", VMC_OPTS_ERROR_SYNTAX, "bad id 'a b'" ID_RULE },
		{ "socket,id=-a", VMC_OPTS_ERROR_SYNTAX, "bad id '-a'" ID_RULE },
		{ "socket,id=ä", VMC_OPTS_ERROR_SYNTAX, "bad id 'ä'" ID_RULE },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *whole =
			g_strdup_printf("-chardev %s: %s", cases[i].text, cases[i].message);
		g_autoptr(GError) error = NULL;

		assert_null(vmc_opts_parse("-chardev", cases[i].text, "backend", &error));
		assert_non_null(error);
		assert_int_equal(error->domain, VMC_OPTS_ERROR);
		assert_string_equal(error->message, whole);
		assert_int_equal(error->code, cases[i].code);
		assert_null(vmc_opts_parse("-chardev", cases[i].text, "backend", NULL));
	}
}

static void test_good_ids(void **state)
{
	(void)state;
	vmc_opts_free(parse("s,id=x", "backend"));
	vmc_opts_free(parse("s,id=Bus-0.usb_1", "backend"));
}

static void test_check_errors(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *message;
	} cases[] = {
		{ "prot=1", VMC_OPTS_ERROR_UNKNOWN, "unknown key 'prot'" TAKES },
		{ "help", VMC_OPTS_ERROR_UNKNOWN, "unknown key 'help'" TAKES },
		{ "noport", VMC_OPTS_ERROR_UNKNOWN, "unknown key 'noport'" TAKES },
		{ "noserver=on", VMC_OPTS_ERROR_UNKNOWN, "unknown key 'noserver'" TAKES },
		{ "nonoserver", VMC_OPTS_ERROR_UNKNOWN, "unknown key 'nonoserver'" TAKES },
		{ "no", VMC_OPTS_ERROR_UNKNOWN, "unknown key 'no'" TAKES },
		{ "Server", VMC_OPTS_ERROR_UNKNOWN, "unknown key 'Server'" TAKES },
		{ "wait,nowait", VMC_OPTS_ERROR_REPEATED,
		  "key 'wait' is given twice ('nowait' is wait=off)" },
		{ "nowait,wait=on", VMC_OPTS_ERROR_REPEATED,
		  "key 'wait' is given twice ('nowait' is wait=off)" },
		{ "port", VMC_OPTS_ERROR_VALUE, "key 'port' needs a value: port=NUMBER" },
		{ "path", VMC_OPTS_ERROR_VALUE, "key 'path' needs a value: path=TEXT" },
		{ "host", VMC_OPTS_ERROR_VALUE, "key 'host' needs a value: host=TEXT" },
		{ "port=0", VMC_OPTS_ERROR_VALUE,
		  "bad value '0' for 'port': a number from 1 to 65535" },
		{ "port=65536", VMC_OPTS_ERROR_VALUE,
		  "bad value '65536' for 'port': a number from 1 to 65535" },
		{ "port=", VMC_OPTS_ERROR_VALUE,
		  "bad value '' for 'port': a number from 1 to 65535" },
		{ "port=-1", VMC_OPTS_ERROR_VALUE,
		  "bad value '-1' for 'port': a number from 1 to 65535" },
		{ "port=+1", VMC_OPTS_ERROR_VALUE,
		  "bad value '+1' for 'port': a number from 1 to 65535" },
		{ "port= 1", VMC_OPTS_ERROR_VALUE,
		  "bad value ' 1' for 'port': a number from 1 to 65535" },
		{ "port=1k", VMC_OPTS_ERROR_VALUE,
		  "bad value '1k' for 'port': a number from 1 to 65535" },
		{ "port=0x", VMC_OPTS_ERROR_VALUE,
		  "bad value '0x' for 'port': a number from 1 to 65535" },
		{ "port=0x0x1", VMC_OPTS_ERROR_VALUE,
		  "bad value '0x0x1' for 'port': a number from 1 to 65535" },
		{ "big=18446744073709551616", VMC_OPTS_ERROR_VALUE,
		  "bad value '18446744073709551616' for 'big': a number from 0 to "
		  "18446744073709551615" },
		{ "server=maybe", VMC_OPTS_ERROR_VALUE,
		  "bad value 'maybe' for 'server': on or off" },
		{ "server=", VMC_OPTS_ERROR_VALUE, "bad value '' for 'server': on or off" },
		{ "server=ON", VMC_OPTS_ERROR_VALUE, "bad value 'ON' for 'server': on or off" },
		{ "path=", VMC_OPTS_ERROR_VALUE, "bad value '' for 'path': it must not be empty" },
		{ "path=12345678", VMC_OPTS_ERROR_VALUE,
		  "the value of 'path' is 8 bytes long: 7 at most" },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *whole =
			g_strdup_printf("-chardev %s: %s", cases[i].text, cases[i].message);
		g_autoptr(VmcOpts) opts = parse(cases[i].text, NULL);
		g_autoptr(GError) error = NULL;

		assert_false(vmc_opts_check(opts, "socket", table, common, &error));
		assert_non_null(error);
		assert_int_equal(error->domain, VMC_OPTS_ERROR);
		assert_string_equal(error->message, whole);
		assert_int_equal(error->code, cases[i].code);
	}
	vmc_opts_free(checked("s,path=1234567,host="));
}

/* The implied key is no key to write, so no list of keys has it. */
static void test_implied_is_not_listed(void **state)
{
	g_autoptr(VmcOpts) opts = parse("s,x=1", "backend");
	g_autoptr(VmcOpts) bare = parse("x", NULL);
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) none = NULL;

	(void)state;
	assert_false(vmc_opts_check(opts, "socket", table, common, &error));
	assert_string_equal(error->message,
			    "-chardev s,x=1: unknown key 'x'; socket takes: big, host, id, "
			    "nodelay, path, port, server, wait");
	assert_false(vmc_opts_check(bare, "thing", NULL, NULL, &none));
	assert_string_equal(none->message, "-chardev x: unknown key 'x'; thing takes: no keys");
}

/* Whatever was written, an error is one line of valid UTF-8 and not long. */
static void test_one_line(void **state)
{
	g_autofree char *many = g_strnfill(5000, 'k');
	g_autofree char *text = g_strdup_printf("a\n\x1b[2J\xff\xc3,%s=1", many);
	g_autoptr(VmcOpts) opts = parse(text, "backend");
	g_autoptr(GError) error = NULL;

	(void)state;
	assert_false(vmc_opts_check(opts, "socket", table, common, &error));
	assert_true(g_utf8_validate(error->message, -1, NULL));
	for (const char *c = error->message; *c != '\0'; c++)
		assert_false(g_ascii_iscntrl(*c));
	assert_true(strlen(error->message) < 500);
	assert_non_null(strstr(error->message, "socket takes: "));
}

static void test_set_error(void **state)
{
	g_autoptr(VmcOpts) opts = parse("s,id=x", "backend");
	g_autoptr(GError) error = NULL;

	(void)state;
	vmc_opts_set_error(opts, &error, VMC_OPTS_ERROR_MISSING, "no %s, %d", "port", 3);
	assert_string_equal(error->message, "-chardev s,id=x: no port, 3");
	assert_int_equal(error->code, VMC_OPTS_ERROR_MISSING);
	vmc_opts_set_error(opts, NULL, VMC_OPTS_ERROR_MISSING, "nobody listens");
}

static void test_print_table(void **state)
{
	char text[1000] = "";
	int saved = dup(STDOUT_FILENO);
	FILE *file = tmpfile();

	(void)state;
	assert_non_null(file);
	fflush(stdout);
	dup2(fileno(file), STDOUT_FILENO);
	vmc_opts_print_table(table);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	rewind(file);
	assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
	fclose(file);
	assert_string_equal(text, "  host=TEXT          where\n"
				  "  path=TEXT          which\n"
				  "  server=on|off      listen\n"
				  "  wait=on|off        for the first\n"
				  "  nodelay=on|off     at once\n"
				  "  port=NUMBER        where\n"
				  "  big=NUMBER         any\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repeating),    cmocka_unit_test(test_secrets_are_not_shown),
		cmocka_unit_test(test_pairs),        cmocka_unit_test(test_commas),
		cmocka_unit_test(test_no_implied),   cmocka_unit_test(test_short_booleans),
		cmocka_unit_test(test_numbers),      cmocka_unit_test(test_verbatim),
		cmocka_unit_test(test_help),         cmocka_unit_test(test_built_by_hand),
		cmocka_unit_test(test_parse_errors), cmocka_unit_test(test_good_ids),
		cmocka_unit_test(test_check_errors), cmocka_unit_test(test_implied_is_not_listed),
		cmocka_unit_test(test_one_line),     cmocka_unit_test(test_set_error),
		cmocka_unit_test(test_print_table),
	};

	return cmocka_run_group_tests_name("opts", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * SPICE addresses: what each form comes to, and that each mistake is one line
 * that says what is wrong and never shows a password.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <glib/gstdio.h>

#include "vmc/spice-address.h"

static char *folder;

static void read_good(VmcSpiceAddress *address, const char *text)
{
	g_autoptr(GError) error = NULL;

	*address = (VmcSpiceAddress){ .host = NULL };
	if (!vmc_spice_address_read(address, text, &error))
		fail_msg("%s: %s", text, error->message);
}

static void assert_text(const char *is, const char *wanted)
{
	if (g_strcmp0(is, wanted) != 0)
		fail_msg("'%s' is not '%s'", is, wanted);
}

/* ---- URIs ---- */

static void test_uris(void **state)
{
	static const struct {
		const char *text, *host;
		uint16_t port, tls_port;
		const char *user, *describe;
	} cases[] = {
		{ "spice://vm:5900", "vm", 5900, 0, NULL, "spice://vm:5900" },
		{ "spice://vm:5900/", "vm", 5900, 0, NULL, "spice://vm:5900" },
		{ "spice://me@vm:5900", "vm", 5900, 0, "me", "spice://vm:5900" },
		{ "spice://me%40home@vm:1", "vm", 1, 0, "me@home", "spice://vm:1" },
		{ "spice+tls://vm:65535", "vm", 0, 65535, NULL, "spice+tls://vm:65535" },
		{ "spice://vm?port=1&tls-port=2", "vm", 1, 2, NULL,
		  "spice://vm?port=1&tls-port=2" },
		{ "spice://vm/?tls-port=2;port=1", "vm", 1, 2, NULL,
		  "spice://vm?port=1&tls-port=2" },
		{ "spice://vm:1?tls-port=2", "vm", 1, 2, NULL, "spice://vm?port=1&tls-port=2" },
		{ "spice://vm?tls-port=2", "vm", 0, 2, NULL, "spice+tls://vm:2" },
		{ "spice://[::1]:5900", "::1", 5900, 0, NULL, "spice://[::1]:5900" },
		{ "spice://[fe80::1%25eth0]:1", "fe80::1%eth0", 1, 0, NULL,
		  "spice://[fe80::1%eth0]:1" },
		{ "spice+tls://[2001:db8::2]:7", "2001:db8::2", 0, 7, NULL,
		  "spice+tls://[2001:db8::2]:7" },
		{ "spice://192.0.2.1:5900", "192.0.2.1", 5900, 0, NULL, "spice://192.0.2.1:5900" },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *describe = NULL;
		VmcSpiceAddress address, copy;

		read_good(&address, cases[i].text);
		vmc_spice_address_copy(&copy, &address);
		vmc_spice_address_clear(&address);
		assert_null(address.host);
		assert_text(copy.host, cases[i].host);
		assert_int_equal(copy.port, cases[i].port);
		assert_int_equal(copy.tls_port, cases[i].tls_port);
		assert_text(copy.user, cases[i].user);
		assert_null(copy.path);
		assert_null(copy.ca_file);
		describe = vmc_spice_address_describe(&copy);
		assert_text(describe, cases[i].describe);
		vmc_spice_address_clear(&copy);
	}
}

static void test_queries(void **state)
{
	VmcSpiceAddress address;

	(void)state;
	read_good(&address, "spice+tls://vm:1?ca-file=/a%20b.pem&host-subject=C=IL,O=R%5C,H,CN=x"
			    "&pubkey=sha256:a+b/c=&tls-ciphers=HIGH:!aNULL&");
	assert_text(address.ca_file, "/a b.pem");
	assert_text(address.host_subject, "C=IL,O=R\\,H,CN=x");
	assert_text(address.public_key, "sha256:a+b/c=");
	assert_text(address.ciphers, "HIGH:!aNULL");
	assert_null(address.file_text);
	vmc_spice_address_clear(&address);
}

static void test_unix(void **state)
{
	g_autofree char *describe = NULL;
	VmcSpiceAddress address;

	(void)state;
	read_good(&address, "spice+unix:///run/vm%20?x");
	assert_text(address.path, "/run/vm%20?x");
	assert_null(address.host);
	describe = vmc_spice_address_describe(&address);
	assert_text(describe, "spice+unix:///run/vm%20?x");
	vmc_spice_address_clear(&address);
}

static void refuse(const char *text, VmcSpiceAddressError code, const char *says)
{
	g_autoptr(GError) error = NULL;
	VmcSpiceAddress address = { 0 };

	if (vmc_spice_address_read(&address, text, &error))
		fail_msg("taken: '%s'", text);
	vmc_spice_address_clear(&address);
	assert_int_equal(error->domain, VMC_SPICE_ADDRESS_ERROR);
	if (strstr(error->message, says) == NULL)
		fail_msg("%s: '%s' has no '%s'", text, error->message, says);
	assert_int_equal(error->code, code);
	assert_null(strpbrk(error->message, "\n\r\033"));
	assert_null(strstr(error->message, "S3CRET"));
}

static void test_bad_uris(void **state)
{
	static const char *const cases[][2] = {
		{ "spice://vm", "no port" },
		{ "spice+tls://vm", "spice+tls://HOST:PORT" },
		{ "spice+unix://", "no path" },
		{ "vnc://vm:5900", "spice://HOST:PORT" },
		{ "spice://:5900", "no host" },
		{ "spice://", "no host" },
		{ "spice://v m:1", "no host" },
		{ "spice://v\nm:1", "no host" },
		{ "spice://v\033m:1", "no host" },
		{ "spice://::1:5900", "in []" },
		{ "spice://[::1", "no host" },
		{ "spice://[nonsense]:1", "no host" },
		{ "spice://[::1]x:1", ":PORT" },
		{ "spice://vm:0", "1 to 65535" },
		{ "spice://vm:65536", "1 to 65535" },
		{ "spice://vm:-1", "1 to 65535" },
		{ "spice://vm: 1", "1 to 65535" },
		{ "spice://vm:", "1 to 65535" },
		{ "spice://vm:1?tls-port=x", "tls-port" },
		{ "spice://vm:1/path", "path" },
		{ "spice://vm:1?colour=red", "colour" },
		{ "spice://vm:1?tls-port", "KEY=VALUE" },
		{ "spice://vm:1?port=2", "twice" },
		{ "spice://vm:1?ca-file=a&ca-file=b", "twice" },
		{ "spice+tls://vm:1?tls-port=2", "one port" },
		{ "spice://%zz:1", "hexadecimal" },
		{ "spice://a%00b:1", "hexadecimal" },
		{ "spice://vm:1?ca-file=%ff", "UTF-8" },
		/* Passwords. */
		{ "spice://vm:1?password=S3CRET", "--password-file" },
		{ "spice://vm:1?p%61ssword=S3CRET", "--password-file" },
		{ "spice://vm?password=S3CRET&port=x", "--password-file" },
		{ "spice://me:S3CRET@vm:1", "--password-file" },
		{ "spice+tls://me:S3CRET@vm:1", "--password-file" },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		refuse(cases[i][0], VMC_SPICE_ADDRESS_ERROR_SYNTAX, cases[i][1]);
}

static void test_is(void **state)
{
	(void)state;
	assert_true(vmc_spice_address_is("spice://x"));
	assert_true(vmc_spice_address_is("spice+tls://x"));
	assert_true(vmc_spice_address_is("spice+unix:///x"));
	assert_true(vmc_spice_address_is("/tmp/console.vv"));
	assert_false(vmc_spice_address_is("vm.example"));
	assert_false(vmc_spice_address_is("/run/vscard.sock"));
	assert_false(vmc_spice_address_is("vnc://x"));
}

/* ---- Files ---- */

static char *write_file(const char *text)
{
	char *path = g_build_filename(folder, "console.vv", NULL);

	assert_true(g_file_set_contents(path, text, -1, NULL));
	return path;
}

/* As management tools write it. */
static void test_file(void **state)
{
	const char *text = "# made by a tool\n"
			   "[virt-viewer]\r\n"
			   "type=spice\n"
			   "  host = vm.example\n"
			   "port=5900\n"
			   "tls-port=5901\n"
			   "password=S3CRET\\swith space\n"
			   "username=me\n"
			   "title=A VM: Press \xe2\x8c\xa5\n"
			   "ca=-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\n"
			   "host-subject=O=example,CN=vm\n"
			   "tls-ciphers=DEFAULT\n"
			   "secure-channels=main;inputs\n"
			   "delete-this-file=0\n"
			   "\n"
			   "[ovirt]\n"
			   "host=manager.example\n"
			   "password=other\n";
	g_autofree char *path = write_file(text);
	VmcSpiceAddress address;

	(void)state;
	read_good(&address, path);
	assert_text(address.host, "vm.example");
	assert_int_equal(address.port, 5900);
	assert_int_equal(address.tls_port, 5901);
	assert_text(address.password, "S3CRET with space");
	assert_text(address.user, "me");
	assert_text(address.ca_pem,
		    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	assert_text(address.host_subject, "O=example,CN=vm");
	assert_text(address.ciphers, "DEFAULT");
	assert_text(address.secure_channels, "main;inputs");
	assert_null(address.ca_file);
	assert_text(address.file_text, text);
	assert_false(address.delete_file);
	assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
	vmc_spice_address_clear(&address);
	assert_null(address.password);
}

static void test_file_forms(void **state)
{
	g_autofree char *path = NULL;
	VmcSpiceAddress address;

	(void)state;
	path = write_file("[virt-viewer]\ntype=spice\nhost=::1\nport=-1\ntls-port=7\n"
			  "proxy=\ndelete-this-file=1\npassword=\n");
	read_good(&address, path);
	assert_text(address.host, "::1");
	assert_int_equal(address.port, 0);
	assert_int_equal(address.tls_port, 7);
	assert_null(address.password);
	assert_true(address.delete_file);
	assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
	vmc_spice_address_clear(&address);

	g_free(path);
	path = write_file(
		"[virt-viewer]\ntype=spice\nhost=[::1]\nport=5\nunix-path=/run/x\nproxy=p\n");
	read_good(&address, path);
	assert_null(address.proxy);
	assert_text(address.path, "/run/x");
	assert_null(address.host);
	assert_int_equal(address.port, 0);
	vmc_spice_address_clear(&address);
}

/* A host behind a proxy bears any name. */
static void test_proxies(void **state)
{
	static const char *const cases[][2] = {
		{ "http://p:8080", "http://p:8080" },
		{ "http://p.example/", "http://p.example:3128" },
		{ "p:1", "http://p:1" },
		{ "http://me:S3CRET@[::1]:7", "http://me:S3CRET@[::1]:7" },
	};

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text =
			g_strdup_printf("[virt-viewer]\nproxy=%s\ntype=spice\ntls-port=61000\n"
					"host=pvespiceproxy:1a:100:node::2b\n",
					cases[i][0]);
		g_autofree char *path = write_file(text);
		VmcSpiceAddress address;

		read_good(&address, path);
		assert_text(address.proxy, cases[i][1]);
		assert_text(address.host, "pvespiceproxy:1a:100:node::2b");
		vmc_spice_address_clear(&address);
		assert_null(address.proxy);
	}
}

static void test_bad_files(void **state)
{
	static const struct {
		const char *text;
		VmcSpiceAddressError code;
		const char *says;
	} cases[] = {
		{ "", VMC_SPICE_ADDRESS_ERROR_FILE, "[virt-viewer]" },
		{ "hello\n", VMC_SPICE_ADDRESS_ERROR_FILE, "KEY=VALUE" },
		{ "type=spice\n", VMC_SPICE_ADDRESS_ERROR_FILE, "[virt-viewer]" },
		{ "[virt-viewer]\nhost=\xff\n", VMC_SPICE_ADDRESS_ERROR_FILE, "UTF-8" },
		{ "[virt-viewer]\nhost=h\nport=1\n", VMC_SPICE_ADDRESS_ERROR_KIND, "type=spice" },
		{ "[virt-viewer]\ntype=vnc\n", VMC_SPICE_ADDRESS_ERROR_KIND, "'vnc'" },
		{ "[virt-viewer]\ntype=spice\nport=1\n", VMC_SPICE_ADDRESS_ERROR_SYNTAX, "host=" },
		{ "[virt-viewer]\ntype=spice\nhost=h\n", VMC_SPICE_ADDRESS_ERROR_SYNTAX, "port=" },
		{ "[virt-viewer]\ntype=spice\nhost=h\nport=x\n", VMC_SPICE_ADDRESS_ERROR_SYNTAX,
		  "console.vv: 'x' is no port" },
		{ "[virt-viewer]\ntype=spice\nhost=a b\nport=1\n", VMC_SPICE_ADDRESS_ERROR_SYNTAX,
		  "no host" },
		{ "[virt-viewer]\ntype=spice\nhost=h\nport=1\nsecure-channels=main\n",
		  VMC_SPICE_ADDRESS_ERROR_SYNTAX, "no tls-port=" },
		{ "[virt-viewer]\ntype=spice\nhost=pvespiceproxy:1a:100:node::2b\ntls-port=1\n"
		  "proxy=ftp://me:S3CRET@p:3128\n",
		  VMC_SPICE_ADDRESS_ERROR_SYNTAX, "'p:3128' is no proxy" },
		{ "[virt-viewer]\ntype=spice\nhost=a b\nport=1\nproxy=p\n",
		  VMC_SPICE_ADDRESS_ERROR_SYNTAX, "console.vv: 'a b' is no host" },
		{ "[virt-viewer]\npassword=S3CRET\\q\n", VMC_SPICE_ADDRESS_ERROR_SYNTAX,
		  "'password' has a backslash" },
		{ "[virt-viewer]\nS3CRET\n", VMC_SPICE_ADDRESS_ERROR_FILE, "KEY=VALUE" },
	};
	g_autofree char *absent = g_build_filename(folder, "absent.vv", NULL);
	g_autofree char *large = g_strnfill(VMC_SPICE_ADDRESS_FILE_MAX + 1, '\n');

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *path = write_file(cases[i].text);

		refuse(path, cases[i].code, cases[i].says);
	}
	refuse(absent, VMC_SPICE_ADDRESS_ERROR_FILE, "No such file");
	refuse(folder, VMC_SPICE_ADDRESS_ERROR_FILE, folder);
	g_free(write_file(large));
	{
		g_autofree char *path = g_build_filename(folder, "console.vv", NULL);

		refuse(path, VMC_SPICE_ADDRESS_ERROR_FILE, "too large");
	}
}

/* A file that cannot be used is not deleted, whatever it asks for. */
static void test_bad_file_stays(void **state)
{
	g_autofree char *path = write_file("[virt-viewer]\ndelete-this-file=1\ntype=vnc\n");

	(void)state;
	refuse(path, VMC_SPICE_ADDRESS_ERROR_KIND, "vnc");
	assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void test_truststore(void **state)
{
	g_autofree char *spicec = g_build_filename(folder, ".spicec", NULL);
	g_autofree char *path = g_build_filename(spicec, "spice_truststore.pem", NULL);
	VmcSpiceAddress address;

	(void)state;
	assert_int_equal(g_mkdir(spicec, 0700), 0);
	assert_true(g_file_set_contents(path, "x", -1, NULL));
	read_good(&address, "spice+tls://vm:1");
	assert_text(address.ca_file, path);
	vmc_spice_address_clear(&address);
	read_good(&address, "spice+tls://vm:1?pubkey=00");
	assert_null(address.ca_file);
	vmc_spice_address_clear(&address);
	read_good(&address, "spice://vm:1");
	assert_null(address.ca_file);
	vmc_spice_address_clear(&address);
	g_unlink(path);
	g_rmdir(spicec);
}

static int make_folder(void **state)
{
	(void)state;
	folder = g_dir_make_tmp("test-address-XXXXXX", NULL);
	/* Where the truststore is looked for. */
	g_setenv("HOME", folder, TRUE);
	return folder != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
	g_autofree char *path = g_build_filename(folder, "console.vv", NULL);

	(void)state;
	g_unlink(path);
	g_rmdir(folder);
	g_free(folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uris),       cmocka_unit_test(test_queries),
		cmocka_unit_test(test_unix),       cmocka_unit_test(test_bad_uris),
		cmocka_unit_test(test_is),         cmocka_unit_test(test_file),
		cmocka_unit_test(test_file_forms), cmocka_unit_test(test_proxies),
		cmocka_unit_test(test_bad_files),  cmocka_unit_test(test_bad_file_stays),
		cmocka_unit_test(test_truststore),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

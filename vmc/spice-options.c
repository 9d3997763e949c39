/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The keys of -spice: QEMU's words with QEMU's meaning, and which of them go
 * together.
 */

#include <string.h>
#include <sys/un.h>

#include "vmc/spice-auth.h"
#include "vmc/spice-server.h"

const VmcOptDesc vmc_spice_server_options[] = {
	{ "port", VMC_OPT_NUMBER, 0, 65535, "TCP port for clients without TLS" },
	{ "tls-port", VMC_OPT_NUMBER, 0, 65535, "TCP port for clients with TLS" },
	{ "addr", VMC_OPT_STRING, 0, 255, "address to listen on, or the path with unix=on" },
	{ "ipv4", VMC_OPT_BOOL, 0, 0, "IPv4 only" },
	{ "ipv6", VMC_OPT_BOOL, 0, 0, "IPv6 only" },
	{ "unix", VMC_OPT_BOOL, 0, 0, "a UNIX socket at addr=" },
	{ "password-secret", VMC_OPT_STRING, 0, 0, "id of an -object secret: the password" },
	{ "password", VMC_OPT_STRING, 0, 0,
	  "the password, for every user of this machine to see: use password-secret" },
	{ "disable-ticketing", VMC_OPT_BOOL, 0, 0, "clients need no password" },
	{ "sasl", VMC_OPT_BOOL, 0, 0, "clients log in by SASL (vscardd.conf of its folder)" },
	{ "x509-dir", VMC_OPT_STRING, 0, 0,
	  "folder of server-key.pem, server-cert.pem and ca-cert.pem" },
	{ "x509-key-file", VMC_OPT_STRING, 0, 0, "the server's key" },
	{ "x509-key-password", VMC_OPT_STRING, 0, 0, "password of the key" },
	{ "x509-cert-file", VMC_OPT_STRING, 0, 0, "the server's certificate" },
	{ "x509-cacert-file", VMC_OPT_STRING, 0, 0, "certificate of its authority" },
	{ "x509-dh-key-file", VMC_OPT_STRING, 0, 0, "Diffie-Hellman parameters" },
	{ "tls-ciphers", VMC_OPT_STRING, 0, 0, "OpenSSL's list of ciphers" },
	{ "tls-channel", VMC_OPT_STRING, 0, 0,
	  "main, smartcard, usbredir, port, default: only with TLS; may be repeated" },
	{ "plaintext-channel", VMC_OPT_STRING, 0, 0, "only without TLS; may be repeated" },
	{ "agent-mouse", VMC_OPT_BOOL, 0, 0, "the agent takes the mouse; on if not given" },
	{ "disable-copy-paste", VMC_OPT_BOOL, 0, 0, "no clipboard by the agent" },
	{ "disable-agent-file-xfer", VMC_OPT_BOOL, 0, 0, "no files by the agent" },
	/* Of QEMU's that there is nothing here to apply to. */
	{ "image-compression", VMC_OPT_TEXT, 0, 0, NULL },
	{ "jpeg-wan-compression", VMC_OPT_TEXT, 0, 0, NULL },
	{ "zlib-glz-wan-compression", VMC_OPT_TEXT, 0, 0, NULL },
	{ "streaming-video", VMC_OPT_TEXT, 0, 0, NULL },
	{ "playback-compression", VMC_OPT_BOOL, 0, 0, NULL },
	{ "seamless-migration", VMC_OPT_BOOL, 0, 0, NULL },
	{ "display", VMC_OPT_TEXT, 0, 0, NULL },
	{ "head", VMC_OPT_TEXT, 0, 0, NULL },
	{ "gl", VMC_OPT_BOOL, 0, 0, NULL },
	{ "rendernode", VMC_OPT_TEXT, 0, 0, NULL },
	{ 0 },
};

static bool fail(const VmcOpts *opts, GError **error, VmcOptsError code, const char *text)
{
	vmc_opts_set_error(opts, error, code, "%s", text);
	return false;
}

static bool check_meaning(const VmcOpts *opts, GError **error)
{
	for (const VmcOptDesc *key = vmc_spice_server_options; key->name != NULL; key++) {
		if (key->help != NULL || !vmc_opts_has(opts, key->name))
			continue;
		vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_VALUE,
				   "%s has no meaning here, where no picture is drawn and no "
				   "guest moves; leave it out",
				   key->name);
		return false;
	}
	return true;
}

static bool check_place(const VmcOpts *opts, GError **error)
{
	const char *addr = vmc_opts_get(opts, "addr");
	bool port = vmc_opts_number(opts, "port", 0) != 0;
	bool tls_port = vmc_opts_number(opts, "tls-port", 0) != 0;

	if (vmc_opts_bool(opts, "unix", false)) {
		if (addr == NULL)
			return fail(opts, error, VMC_OPTS_ERROR_MISSING,
				    "unix=on wants addr=PATH, the path of the socket");
		if (strlen(addr) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
			return fail(opts, error, VMC_OPTS_ERROR_VALUE,
				    "addr= is too long for the path of a UNIX socket (107 bytes "
				    "at most)");
		if (port || tls_port)
			return fail(opts, error, VMC_OPTS_ERROR_VALUE,
				    "unix=on does not go with port or tls-port; leave one out");
	} else if (!port && !tls_port) {
		return fail(opts, error, VMC_OPTS_ERROR_MISSING,
			    "no place to listen; add port=, tls-port=, or unix=on,addr=PATH");
	}
	if (port && vmc_opts_number(opts, "port", 0) == vmc_opts_number(opts, "tls-port", 0))
		return fail(opts, error, VMC_OPTS_ERROR_VALUE,
			    "port and tls-port are the same; give each its own");
	if (vmc_opts_bool(opts, "ipv4", false) + vmc_opts_bool(opts, "ipv6", false) +
		    vmc_opts_bool(opts, "unix", false) >
	    1)
		return fail(opts, error, VMC_OPTS_ERROR_VALUE,
			    "ipv4, ipv6 and unix exclude each other; leave all but one out");
	return true;
}

static bool check_tls(const VmcOpts *opts, GError **error)
{
	static const char *const keys[] = {
		"x509-dir",         "x509-key-file",    "x509-key-password", "x509-cert-file",
		"x509-cacert-file", "x509-dh-key-file", "tls-ciphers",       "tls-channel",
	};

	if (vmc_opts_number(opts, "tls-port", 0) != 0)
		return true;
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
		if (vmc_opts_has(opts, keys[i])) {
			vmc_opts_set_error(opts, error, VMC_OPTS_ERROR_MISSING,
					   "%s wants a port for TLS; add tls-port=", keys[i]);
			return false;
		}
	}
	return true;
}

static bool check_password(const VmcOpts *opts, const char *password, GError **error)
{
	bool open = vmc_opts_bool(opts, "disable-ticketing", false);
	bool sasl = vmc_opts_bool(opts, "sasl", false);

	if (vmc_opts_has(opts, "password") && vmc_opts_has(opts, "password-secret"))
		return fail(opts, error, VMC_OPTS_ERROR_VALUE,
			    "password and password-secret exclude each other; leave password out");
	if (password == NULL && !open && !sasl)
		return fail(opts, error, VMC_OPTS_ERROR_MISSING,
			    "no client could log in: add password-secret=ID and -object "
			    "secret,id=ID,file=PATH, or sasl=on, or disable-ticketing=on for no "
			    "password");
	if (password != NULL && (strlen(password) > VMC_SPICE_PASSWORD_MAX || password[0] == '\0'))
		return fail(opts, error, VMC_OPTS_ERROR_VALUE,
			    "the password has to have 1 to 60 bytes, SPICE takes no other");
	return true;
}

bool vmc_spice_options_check(VmcOpts *opts, const char *password, GError **error)
{
	return vmc_opts_check(opts, "-spice", vmc_spice_server_options, NULL, error) &&
	       check_meaning(opts, error) && check_place(opts, error) && check_tls(opts, error) &&
	       check_password(opts, password, error);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VmcSpiceAddress: where a SPICE server is and how it is to be trusted, from a
 * URI (spice://HOST:PORT, spice+tls://HOST:PORT, spice+unix://PATH) or a .vv
 * file as virt-viewer takes.
 */

#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMC_SPICE_ADDRESS_ERROR (vmc_spice_address_error_quark())
GQuark vmc_spice_address_error_quark(void);

typedef enum VmcSpiceAddressError {
	VMC_SPICE_ADDRESS_ERROR_SYNTAX, /* not an address, or a key with a value it cannot have */
	VMC_SPICE_ADDRESS_ERROR_FILE,   /* a .vv file that cannot be read or is none */
	VMC_SPICE_ADDRESS_ERROR_KIND,   /* a .vv file of another type (vnc, ovirt) */
} VmcSpiceAddressError;

typedef struct VmcSpiceAddress {
	char *host;            /* name or bare address; NULL: UNIX */
	uint16_t port;         /* plain; 0: none */
	uint16_t tls_port;     /* 0: none */
	char *path;            /* UNIX socket; NULL: TCP */
	char *user;            /* SASL; NULL: none given */
	char *password;        /* NULL: none given; wiped when cleared */
	char *ca_file;         /* PEM, for TLS; NULL */
	char *ca_pem;          /* the same as text, of a .vv file's `ca` */
	char *host_subject;    /* the certificate's subject instead of its name; NULL */
	char *public_key;      /* pinned: SubjectPublicKeyInfo's DER as hexadecimal or base64
			     * SHA-256, "sha256:…"; NULL */
	char *ciphers;         /* an OpenSSL cipher list; NULL: its default */
	char *secure_channels; /* a .vv file's list, ";" between; NULL */
	char *proxy;           /* http://[USER:PASSWORD@]HOST:PORT that leads to `host`, whose
			     * name only it has to know; NULL: none. Wiped, too */
	char *file_text;       /* what the .vv file said, for a viewer; NULL: no file. Wiped, too */
	bool delete_file;      /* the .vv file asks to be deleted once read */
} VmcSpiceAddress;

/*
 * Reads `text`: one of the three URI forms, or the path of a .vv file. URIs
 * take the queries port=, tls-port=, and ca-file=, host-subject=, pubkey=,
 * tls-ciphers= for TLS; a password in one is refused with the text that says
 * how else to give it. A .vv file that wants TLS for channels and has no TLS port is
 * refused; one with `delete-this-file=1` is deleted. Where TLS is
 * asked for without a CA or a key, SPICE's clients look for one in
 * ~/.spicec/spice_truststore.pem, so that is `ca_file` if it is there. False with
 * `error`; clear `address` (zeroed before) either way.
 */
bool vmc_spice_address_read(VmcSpiceAddress *address, const char *text, GError **error);

/* The same from the `len` bytes at `text`, what a .vv file called `name` says;
 * deletes nothing. */
bool vmc_spice_address_parse_file(VmcSpiceAddress *address, const char *name, const char *text,
				  size_t len, GError **error);

/* The largest .vv file taken: one with a chain of CAs has 20 KiB. */
#define VMC_SPICE_ADDRESS_FILE_MAX (256u * 1024)

/* True if `text` is meant for vmc_spice_address_read(): spice…:// or ends .vv. */
bool vmc_spice_address_is(const char *text);

void vmc_spice_address_clear(VmcSpiceAddress *address);
void vmc_spice_address_copy(VmcSpiceAddress *to, const VmcSpiceAddress *from);

/* "spice://host:5900", for people; no password. Free with g_free(). */
char *vmc_spice_address_describe(const VmcSpiceAddress *address);

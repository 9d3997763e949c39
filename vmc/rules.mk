# SPDX-License-Identifier: LGPL-2.1-or-later
# vmc/ moves bytes: spans, buffers, option strings and char devices.

vmc_SOURCES := \
	vmc/span.c \
	vmc/buf.c \
	vmc/queue.c \
	vmc/opts.c \
	vmc/chardev.c \
	vmc/pair.c \
	vmc/join.c \
	vmc/retry.c \
	vmc/keepalive.c \
	vmc/socket.c \
	vmc/socket-config.c \
	vmc/spice-wire.c \
	vmc/spice-auth.c \
	vmc/spice-link.c \
	vmc/spice-address.c \
	vmc/tls.c \
	vmc/tls-chardev.c \
	vmc/spice-control.c \
	vmc/spice-core.c \
	vmc/spice-device.c \
	vmc/spice-display.c \
	vmc/spice-options.c \
	vmc/spice-server.c \
	vmc/spicevmc.c \
	vmc/spice-connection.c \
	vmc/spice-channel.c \
	vmc/spice-migrate.c \
	vmc/spice-session.c \
	vmc/spice-relay.c \
	vmc/listener.c

vmc_PACKAGES := gio-2.0 gio-unix-2.0 openssl libsasl2 spice-protocol

# SPDX-License-Identifier: LGPL-2.1-or-later
# vmc/ moves bytes: spans, buffers, option strings and char devices.

vmc_SOURCES := \
	vmc/span.c \
	vmc/buf.c \
	vmc/queue.c \
	vmc/opts.c \
	vmc/chardev.c \
	vmc/pair.c \
	vmc/socket.c \
	vmc/socket-config.c \
	vmc/listener.c

vmc_PACKAGES := gio-2.0 gio-unix-2.0 openssl libsasl2 spice-protocol

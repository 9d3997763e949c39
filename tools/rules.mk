# SPDX-License-Identifier: LGPL-2.1-or-later
PROGRAMS += vscardd vscclient
tools_PACKAGES := libsystemd spice-server
vscardd_SOURCES := tools/vscardd.c tools/machine.c tools/devices.c tools/config.c \
	tools/daemon.c tools/log.c
vscclient_SOURCES := $(sort $(wildcard tools/vscclient*.c))

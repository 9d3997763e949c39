# SPDX-License-Identifier: LGPL-2.1-or-later
PROGRAMS += vscardd vscardd-spice vscclient
tools_PACKAGES := libsystemd spice-server
vscardd_SOURCES := tools/vscardd.c tools/machine.c tools/devices.c tools/devices-cards.c \
	tools/devices-join.c tools/config.c tools/daemon.c tools/log.c tools/secret.c tools/spice.c
vscardd-spice_SOURCES := tools/vscardd-spice.c
$(BUILD)/tools/spice.o: ALL_CPPFLAGS += -DVSCARD_LIBEXECDIR='"$(LIBEXECDIR)/vscard"'
vscclient_SOURCES := $(sort $(wildcard tools/vscclient*.c))

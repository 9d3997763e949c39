# SPDX-License-Identifier: LGPL-2.1-or-later
#
# vscard: `make help` says what there is to make. One Makefile, not recursive
# but for builds beside each other: each folder lists what it builds in its
# rules.mk.

VERSION := 0.1.0

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
LIBEXECDIR ?= $(PREFIX)/libexec
MANDIR ?= $(PREFIX)/share/man
# Where pcscd looks for serial drivers and for what reader.conf says.
IFDDIR ?= $(shell $(PKG_CONFIG) --variable=usbdropdir libpcsclite)/serial
READERCONFDIR ?= $(shell $(PKG_CONFIG) --variable=serialconfdir libpcsclite)
# systemd's units of users, and an example of what they read.
USERUNITDIR ?= $(PREFIX)/lib/systemd/user
DOCDIR ?= $(PREFIX)/share/doc/vscard
DESTDIR ?=

# SAN=address,undefined builds with those sanitizers in a folder of its own.
SAN ?=
comma := ,
BUILD ?= build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))

PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Werror=implicit
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)

V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-6s %s\n' '$(1)' '$(2)';)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all help deps deps-check demo check check-quick fuzz bench install uninstall clean

# Debian's package for each pkg-config name, and what tests and the demo run.
DEB_gio-2.0 := libglib2.0-dev
DEB_gio-unix-2.0 := libglib2.0-dev
DEB_glib-2.0 := libglib2.0-dev
DEB_libcacard := libcacard-dev
DEB_nss := libnss3-dev
DEB_libusbredirparser-0.5 := libusbredirparser-dev
DEB_cmocka := libcmocka-dev
DEB_libpcsclite := libpcsclite-dev
DEB_libsystemd := libsystemd-dev
DEB_openssl := libssl-dev
DEB_libsasl2 := libsasl2-dev
DEB_spice-protocol := libspice-protocol-dev
DEB_spice-server := libspice-server-dev

LIBRARIES := vmc vscard ccid
# Users before what they use.
ARCHIVES := $(BUILD)/libccid.a $(BUILD)/libvscard.a $(BUILD)/libvmc.a
PROGRAMS :=
MODULES :=
TEST_DEBS :=
TEST_PACKAGES :=
include $(addsuffix /rules.mk,$(LIBRARIES) tools tests)

PACKAGES := $(sort $(foreach l,$(LIBRARIES) $(MODULES) tools,$($(l)_PACKAGES)))
DEBS := gcc make pkg-config $(sort $(foreach p,$(PACKAGES) $(TEST_PACKAGES),$(DEB_$(p)))) $(TEST_DEBS)

# What cannot be built is said at once, with the name to install.
NEEDS_NOTHING := help deps clean uninstall demo
ifneq ($(filter-out $(NEEDS_NOTHING),$(or $(MAKECMDGOALS),all)),)
ifeq ($(shell command -v $(PKG_CONFIG)),)
$(error pkg-config is missing: install the Debian package pkg-config, or run `make deps` for all)
endif
GOALS := $(or $(MAKECMDGOALS),all)
TOOLS := $(CC) $(if $(filter check check-quick bench,$(GOALS)),$(TEST_TOOLS)) \
	$(if $(filter fuzz,$(GOALS)),$(FUZZ_TOOLS))
ABSENT := $(strip $(foreach t,$(TOOLS),$(if $(shell command -v $(t)),,$(t))))
ifneq ($(ABSENT),)
$(error missing: $(foreach t,$(ABSENT),$(t) (Debian package $(or $(DEB_OF_$(t)),gcc))); run `make deps` to install all that is needed)
endif
WANTED := $(PACKAGES) $(if $(filter-out all install,$(GOALS)),$(TEST_PACKAGES))
MISSING := $(strip $(foreach p,$(WANTED),$(shell $(PKG_CONFIG) --exists $(p) || echo $(p))))
ifneq ($(MISSING),)
$(error missing: $(foreach p,$(MISSING),$(p) (Debian package $(DEB_$(p)))); run `make deps` to install all that is needed)
endif
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(WANTED))
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES))
TEST_LIBS := $(shell $(PKG_CONFIG) --libs $(TEST_PACKAGES) 2>/dev/null)
endif

ALL_CPPFLAGS := -I. -D_GNU_SOURCE -DVSCARD_RELEASE='"$(VERSION)"' $(CPPFLAGS)
# A library may go into a module, so all is position independent.
ALL_CFLAGS := -std=gnu11 -fPIC $(WARNINGS) $(CFLAGS) $(SANFLAGS) $(subst -I/,-isystem /,$(PKG_CFLAGS))
# A program is linked with the libraries it uses, not with its neighbours'.
ALL_LDFLAGS := $(SANFLAGS) -Wl,--as-needed $(LDFLAGS)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

all: $(addprefix $(BUILD)/,$(PROGRAMS) $(MODULES:=.so))

help:
	@echo 'make            build $(PROGRAMS) into $(BUILD)/'
	@echo 'make deps       install every Debian package that builds, tests and the demo need'
	@echo 'make demo       a signature with a lent card inside a virtual machine, step by step'
	@echo 'make check      all tests; the last line is the totals'
	@echo 'make check-quick  the tests that need no virtual machine'
	@echo 'make fuzz       run each fuzz harness (SECONDS_EACH=60) with clang'
	@echo 'make bench      measure, and print ratios'
	@echo 'make install    to PREFIX=$(PREFIX), below DESTDIR if given; uninstall takes it away'
	@echo 'make clean      remove build/'
	@echo 'V=1 shows commands; SAN=address,undefined builds with sanitizers beside the rest'

deps:
	$(Q)tests/install-deps $(DEBS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The log domain of a library's messages is its name. What it does not show on
# purpose is not seen outside of a module, so position independence costs nothing.
define library
$(call objects,$($(1)_SOURCES)): ALL_CPPFLAGS += -DG_LOG_DOMAIN='"$(1)"' -fvisibility=hidden
$(BUILD)/lib$(1).a: $(call objects,$($(1)_SOURCES))
	$$(call say,AR,$$@)rm -f $$@ && $(AR) rcs $$@ $$^
endef
$(foreach l,$(LIBRARIES),$(eval $(call library,$(l))))
define program
$(BUILD)/$(1): $(call objects,$($(1)_SOURCES)) $(ARCHIVES)
	$$(call say,LD,$$@)$(CC) $(ALL_LDFLAGS) -o $$@ $$^ $(PKG_LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

# A module is loaded by somebody else's program, and never unloaded: the threads
# that GLib keeps would find their code gone.
define module
$(call objects,$($(1)_SOURCES)): ALL_CPPFLAGS += -DG_LOG_DOMAIN='"ccid"' -fvisibility=hidden
$(BUILD)/$(1).so: $(call objects,$($(1)_SOURCES)) $(ARCHIVES)
	$$(call say,LD,$$@)$(CC) $(ALL_LDFLAGS) -shared -Wl,-z,nodelete -Wl,-soname,$(1).so \
		-o $$@ $$^ $(PKG_LIBS)
endef
$(foreach m,$(MODULES),$(eval $(call module,$(m))))

# vscclient.service as it is installed: for the file $(1).conf, described by $(2).
unit = sed 's|@BINDIR@|$(BINDIR)|; s|@DOCDIR@|$(DOCDIR)|; s|@NAME@|$(1)|; s|@OF@|$(2)|' \
	tools/vscclient.service

install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBEXECDIR)/vscard \
		$(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man8 \
		$(DESTDIR)$(IFDDIR) $(DESTDIR)$(READERCONFDIR) \
		$(DESTDIR)$(USERUNITDIR) $(DESTDIR)$(DOCDIR)
	install -m 755 $(BUILD)/vscardd $(DESTDIR)$(SBINDIR)/vscardd
	install -m 755 $(BUILD)/vscardd-spice $(DESTDIR)$(LIBEXECDIR)/vscard/vscardd-spice
	install -m 755 $(BUILD)/vscclient $(DESTDIR)$(BINDIR)/vscclient
	install -m 644 tools/vscclient.1 $(DESTDIR)$(MANDIR)/man1/
	install -m 644 tools/vscardd.8 $(DESTDIR)$(MANDIR)/man8/
	$(call unit,vscclient,) >$(DESTDIR)$(USERUNITDIR)/vscclient.service
	$(call unit,%i,: %i) >$(DESTDIR)$(USERUNITDIR)/vscclient@.service
	install -m 644 tools/vscclient.conf $(DESTDIR)$(DOCDIR)/
	install -m 644 $(BUILD)/libifdvscard.so $(DESTDIR)$(IFDDIR)/
	test -e $(DESTDIR)$(READERCONFDIR)/vscard || \
		sed 's|@IFDDIR@|$(IFDDIR)|' ccid/vscard.reader.conf >$(DESTDIR)$(READERCONFDIR)/vscard

uninstall:
	rm -f $(DESTDIR)$(SBINDIR)/vscardd $(DESTDIR)$(BINDIR)/vscclient \
		$(DESTDIR)$(LIBEXECDIR)/vscard/vscardd-spice \
		$(DESTDIR)$(MANDIR)/man1/vscclient.1 $(DESTDIR)$(MANDIR)/man8/vscardd.8 \
		$(DESTDIR)$(USERUNITDIR)/vscclient.service \
		$(DESTDIR)$(USERUNITDIR)/vscclient@.service $(DESTDIR)$(DOCDIR)/vscclient.conf \
		$(DESTDIR)$(IFDDIR)/libifdvscard.so $(DESTDIR)$(READERCONFDIR)/vscard

clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

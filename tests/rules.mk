# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is tested with what: unit tests (C, cmocka), fuzz harnesses, checks of
# the tree, and suites in Python that drive the programs with real peers.

TEST_PACKAGES := cmocka libpcsclite
# Programs that tests and the demo run on this side; the guest is made of
# downloaded packages.
TEST_TOOLS := python3 qemu-system-x86_64 openssl certutil mandoc strace \
	spicy remote-viewer spice-vdagentd Xvfb xdotool xclip saslpasswd2 \
	pcscd vicc pcsc_scan opensc-tool unshare setpriv ip systemd-analyze
FUZZ_TOOLS := clang
DEB_OF_python3 := python3
DEB_OF_qemu-system-x86_64 := qemu-system-x86
DEB_OF_openssl := openssl
DEB_OF_certutil := libnss3-tools
DEB_OF_mandoc := mandoc
DEB_OF_strace := strace
DEB_OF_spicy := spice-client-gtk
DEB_OF_remote-viewer := virt-viewer
DEB_OF_spice-vdagentd := spice-vdagent
DEB_OF_Xvfb := xvfb
DEB_OF_xdotool := xdotool
DEB_OF_xclip := xclip
DEB_OF_saslpasswd2 := sasl2-bin
DEB_OF_pcscd := pcscd
DEB_OF_vicc := vsmartcard-vpicc
DEB_OF_pcsc_scan := pcsc-tools
DEB_OF_opensc-tool := opensc
DEB_OF_unshare := util-linux
DEB_OF_setpriv := util-linux
DEB_OF_ip := iproute2
DEB_OF_systemd-analyze := systemd
DEB_OF_clang := clang
TEST_DEBS := $(sort $(foreach t,$(TEST_TOOLS) $(FUZZ_TOOLS),$(DEB_OF_$(t))) libclang-rt-14-dev \
	python3-gi gir1.2-spiceclientglib-2.0 libsasl2-modules vsmartcard-vpcd python3-pyscard \
	python3-pycryptodome)

UNIT_TESTS := $(patsubst %.c,%,$(sort $(wildcard tests/unit/test-*.c)))
FUZZ_TESTS := $(patsubst %.c,%,$(sort $(wildcard tests/fuzz/fuzz-*.c)))
BENCHES := $(patsubst %.c,%,$(sort $(wildcard tests/bench/*.c)))
PEERS := $(patsubst %.c,%,$(sort $(wildcard tests/peer/*.c)))
# The guest's PC/SC client, for this side's pcscd.
PEERS += tests/guest/pcsc-tool
TEST_LIB_SOURCES := $(sort $(wildcard tests/lib/*.c))

TEST_PROGRAMS := $(addprefix $(BUILD)/,$(UNIT_TESTS) $(BENCHES) $(PEERS))
FUZZ_PROGRAMS := $(addprefix $(BUILD)/,$(FUZZ_TESTS))

# A fuzz harness under clang is libFuzzer's; under gcc it replays its corpus.
FUZZ_ENGINE ?= replay
ifeq ($(FUZZ_ENGINE),libfuzzer)
SANFLAGS += -fsanitize=fuzzer-no-link
fuzz_main :=
fuzz_flags := -fsanitize=fuzzer
else
fuzz_main := $(BUILD)/tests/fuzz/replay.o
fuzz_flags :=
endif

$(BUILD)/libtest.a: $(patsubst %.c,$(BUILD)/%.o,$(TEST_LIB_SOURCES))
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $^

$(TEST_PROGRAMS): %: %.o $(BUILD)/libtest.a $(ARCHIVES)
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) $(TEST_LIBS)

$(FUZZ_PROGRAMS): %: %.o $(fuzz_main) $(BUILD)/libtest.a $(ARCHIVES)
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) $(fuzz_flags) -o $@ $^ $(PKG_LIBS)

# The option tests reach into a program's own files.
$(BUILD)/tests/peer/relay-viewer: $(BUILD)/tools/vscclient-viewer.o
$(BUILD)/tests/unit/test-vscclient-options: $(BUILD)/tools/vscclient-options.o $(BUILD)/tools/vscclient-exit.o

$(BUILD)/tests/unit/test-vscclient-attempts: $(BUILD)/tools/vscclient-attempts.o \
	$(BUILD)/tools/vscclient-say.o

.PHONY: test-programs fuzz-programs
test-programs: all $(TEST_PROGRAMS) $(FUZZ_PROGRAMS)
fuzz-programs: $(FUZZ_PROGRAMS)

CHECK_SAN := address,undefined
SUITES ?=

check check-quick:
	$(Q)$(MAKE) --no-print-directory test-programs
	$(Q)$(MAKE) --no-print-directory SAN=$(CHECK_SAN) test-programs
	$(Q)tests/run $(if $(filter check-quick,$@),--quick) $(SUITES)

SECONDS_EACH ?= 60
fuzz:
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=build/fuzz SAN=$(CHECK_SAN) \
		FUZZ_ENGINE=libfuzzer fuzz-programs
	$(Q)tests/fuzz/run build/fuzz $(SECONDS_EACH)

bench:
	$(Q)$(MAKE) --no-print-directory test-programs
	$(Q)tests/bench/run

# From nothing: this goal itself needs no library.
demo:
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/demo

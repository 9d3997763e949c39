# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the guest is made of.

One place that lists the Debian packages, the files taken from them and the
kernel modules, so that adding a program or a driver to the guest is a line
here and not a change of the code that builds it.
"""

# The meta package whose dependency is the kernel image. Not the cloud one: that
# kernel has no USB.
KERNEL = "linux-image-amd64"

# Packages that files are taken from. Packages of their libraries are found
# through apt if their names begin with "lib".
PACKAGES = [
    "busybox-static",
    "pcscd",
    "libccid",
    "opensc",
    "opensc-pkcs11",
    "pcsc-tools",
    "udev",
    "scdaemon",
    "gpg-agent",
    "gpgconf",
    "iproute2",
    "usbip",
    "usbutils",
    "zlib1g",
]

# Files and folders from those packages, with /bin, /sbin and /lib below /usr; a
# folder ends in "/".
FILES = [
    "usr/bin/busybox",
    "usr/sbin/pcscd",
    "usr/lib/pcsc/drivers/ifd-ccid.bundle/",
    "etc/libccid_Info.plist",
    "usr/bin/opensc-tool",
    "usr/bin/pkcs11-tool",
    "usr/bin/pkcs15-tool",
    "usr/bin/pkcs15-crypt",
    "usr/lib/x86_64-linux-gnu/opensc-pkcs11.so",
    "etc/opensc/opensc.conf",
    "usr/bin/pcsc_scan",
    "usr/lib/systemd/systemd-udevd",
    "usr/bin/udevadm",
    "usr/lib/gnupg/scdaemon",
    "usr/bin/gpg-agent",
    "usr/bin/gpg-connect-agent",
    "usr/bin/gpgconf",
    "usr/sbin/tc",
    "usr/sbin/usbip",
    "usr/bin/lsusb",
]

# Python with pyscard, an archive of its own: it is three times as large as all
# the rest, and few tests want it.
PYTHON_PACKAGES = [
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "python3.11-minimal",
    "python3-pyscard",
]
PYTHON_FILES = [
    "usr/bin/python3.11",
    "usr/lib/python3.11/",
    "usr/lib/python3/dist-packages/smartcard/",
]

# Libraries that programs open by name at run time, so that no ELF header
# speaks of them.
DLOPENED = [
    "libpcsclite.so.1",
    "libgcc_s.so.1",
]

# Kernel modules loaded while booting: what the agent's port and the three USB
# controllers need.
BOOT_MODULES = [
    "virtio_pci",
    "virtio_console",
    "uhci-hcd",
    "ehci-pci",
    "xhci-pci",
]

# Kernel modules that lie ready for modprobe, by name.
EXTRA_MODULES = [
    "configfs",
    "dummy_hcd",
    "evdev",
    "libcomposite",
    "qemu_fw_cfg",
    "sch_netem",
    "sch_tbf",
    "usb_f_fs",
    "usbhid",
    "hid-generic",
    "usbip-core",
    "usbip-host",
    "usbmon",
    "vhci-hcd",
    "virtio_balloon",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
]

# SPDX-License-Identifier: LGPL-2.1-or-later
# ccid/ is the reader: the CCID command engine, the USB device around it, and
# the ways to attach it.

ccid_SOURCES := \
	ccid/message.c \
	ccid/params.c \
	ccid/slot.c \
	ccid/reader.c \
	ccid/descriptors.c \
	ccid/bulk-in.c \
	ccid/bulk-out.c \
	ccid/usb.c \
	ccid/device.c \
	ccid/usbredir-return.c \
	ccid/usbredir-replug.c \
	ccid/usbredir-sent.c \
	ccid/usbredir-transfer.c \
	ccid/usbredir.c

ccid_PACKAGES := glib-2.0 gio-2.0 libusbredirparser-0.5

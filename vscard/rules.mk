# SPDX-License-Identifier: LGPL-2.1-or-later
# vscard/ knows cards: what a card is, where cards come from, APDUs and ATRs,
# and the VSCard protocol that carries them.

vscard_SOURCES := \
	vscard/card.c \
	vscard/atr.c \
	vscard/apdu.c \
	vscard/t0.c \
	vscard/fetch.c \
	vscard/short.c \
	vscard/tpdu.c \
	vscard/adapter.c \
	vscard/wire.c \
	vscard/request.c \
	vscard/places.c \
	vscard/host.c \
	vscard/host-requests.c \
	vscard/client.c \
	vscard/client-requests.c \
	vscard/port.c \
	vscard/link-host.c \
	vscard/link-client.c \
	vscard/cacard.c \
	vscard/cacard-options.c \
	vscard/cacard-guard.c \
	vscard/post.c \
	vscard/share.c \
	vscard/pcsc.c \
	vscard/pcsc-monitor.c \
	vscard/pcsc-reader.c \
	vscard/pcsc-clients.c \
	vscard/pcsc-service.c

vscard_PACKAGES := glib-2.0 libcacard libpcsclite nss

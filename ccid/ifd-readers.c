/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table is under a lock that is held for a moment only. Opening and closing
 * take time, and are one after the other under a lock of their own, so that a
 * command on one reader never waits for another reader to open.
 */

#include "ccid/ifd-readers.h"

#include <gio/gio.h>

typedef struct Reader {
	IfdChannel *channel; /* NULL: none */
	char *name;          /* the DEVICENAME that made it */
} Reader;

static GMutex changing; /* for opening and closing; taken before `lock` */
static GMutex lock;     /* for the table */
static Reader readers[IFD_READERS_MAX];

static unsigned long reader_of(unsigned long lun)
{
	return (lun >> 16) & 0xFFFF;
}

static uint32_t slot_of(unsigned long lun)
{
	return (uint32_t)(lun & 0xFFFF);
}

bool ifd_readers_get(unsigned long lun, IfdPlace *place)
{
	unsigned long n = reader_of(lun);

	*place = (IfdPlace){ .slot = slot_of(lun) };
	if (n >= IFD_READERS_MAX)
		return false;
	g_mutex_lock(&lock);
	if (readers[n].channel != NULL && place->slot < ifd_channel_slots(readers[n].channel))
		place->channel = ifd_channel_ref(readers[n].channel);
	g_mutex_unlock(&lock);
	return place->channel != NULL;
}

void ifd_readers_put(const IfdPlace *place)
{
	ifd_channel_unref(place->channel);
}

static void set_reader(unsigned long n, IfdChannel *channel, const char *name)
{
	g_mutex_lock(&lock);
	g_free(readers[n].name);
	readers[n].name = g_strdup(name);
	readers[n].channel = channel;
	g_mutex_unlock(&lock);
}

static IfdChannel *make_channel(unsigned long n, const char *name, GError **error)
{
	IfdOptions options = { 0 };
	g_autofree char *id = g_strdup_printf("reader%lu", n);
	IfdChannel *channel = NULL;

	if (ifd_options_read(&options, name, id, error))
		channel = ifd_channel_new(&options, error);
	ifd_options_clear(&options);
	return channel;
}

/* Ends a channel none of whose slots is open. */
static void end_channel(unsigned long n)
{
	IfdChannel *channel = readers[n].channel;

	set_reader(n, NULL, NULL);
	ifd_channel_shut(channel);
	ifd_channel_unref(channel);
}

/* Opens the slot of a channel, `made` just now or there before. */
static bool open_slot(unsigned long lun, bool made, GError **error)
{
	unsigned long n = reader_of(lun);

	if (ifd_channel_open(readers[n].channel, slot_of(lun)))
		return true;
	g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
		    "reader %lu has %u slots, and slot %u is open or not one of them", n,
		    ifd_channel_slots(readers[n].channel), slot_of(lun));
	if (made)
		end_channel(n);
	return false;
}

static bool open_reader(unsigned long lun, const char *name, GError **error)
{
	unsigned long n = reader_of(lun);
	IfdChannel *channel;

	if (n >= IFD_READERS_MAX) {
		g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "there are %u readers at most",
			    IFD_READERS_MAX);
		return false;
	}
	if (readers[n].channel != NULL) {
		if (g_strcmp0(readers[n].name, name) == 0)
			return open_slot(lun, false, error);
		g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
			    "reader %lu is open as another device", n);
		return false;
	}
	channel = make_channel(n, name, error);
	if (channel == NULL)
		return false;
	set_reader(n, channel, name);
	return open_slot(lun, true, error);
}

bool ifd_readers_open(unsigned long lun, const char *name, GError **error)
{
	bool ok;

	g_mutex_lock(&changing);
	ok = open_reader(lun, name, error);
	g_mutex_unlock(&changing);
	return ok;
}

bool ifd_readers_close(unsigned long lun)
{
	unsigned long n = reader_of(lun);
	bool was = false, last = false;

	g_mutex_lock(&changing);
	if (n < IFD_READERS_MAX && readers[n].channel != NULL)
		was = ifd_channel_close(readers[n].channel, slot_of(lun), &last);
	if (last)
		end_channel(n);
	g_mutex_unlock(&changing);
	return was;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The two kinds of source behind one small table.
 */

#include "tools/vscclient-source.h"

#include <string.h>

#include "tools/vscclient-say.h"
#include "vscard/cacard.h"
#include "vscard/pcsc.h"

/* What readers of ours are called on the machine that has them: by the USB
 * device, "vscard vscard CCID reader", and by pcscd's IFD handler, "VSCard".
 * Lent back to where its card comes from, a reader would lend itself. */
#define OUR_OWN "vscard"

typedef struct SourceClass {
	void (*insert)(ClientSource *source, VscCard *card);
	void (*remove)(ClientSource *source, VscCard *card);
	void (*free)(ClientSource *source);
} SourceClass;

struct ClientSource {
	const SourceClass *class;
	const ClientSourceEvents *events;
	void *user;
	bool works;
};

void client_source_insert(ClientSource *source, VscCard *card)
{
	source->class->insert(source, card);
}

void client_source_remove(ClientSource *source, VscCard *card)
{
	source->class->remove(source, card);
}

void client_source_free(ClientSource *source)
{
	if (source != NULL)
		source->class->free(source);
}

bool client_source_works(const ClientSource *source)
{
	return source->works;
}

static void on_reader_added(void *user, VscCard *card)
{
	ClientSource *source = user;

	source->events->reader_added(source->user, card);
}

static void on_reader_removed(void *user, VscCard *card)
{
	ClientSource *source = user;

	source->events->reader_removed(source->user, card);
}

static void on_card_changed(void *user, VscCard *card)
{
	ClientSource *source = user;

	source->events->card_changed(source->user, card);
}

static void on_card_stayed(void *user, VscCard *card, bool present)
{
	ClientSource *source = user;

	source->events->card_stayed(source->user, card, present);
}

/* ---- libcacard ---- */

typedef struct CacardSource {
	ClientSource source;
	VscCacard *cacard;
} CacardSource;

static const VscCacardEvents cacard_events = {
	.reader_added = on_reader_added,
	.reader_removed = on_reader_removed,
	.card_changed = on_card_changed,
	.card_stayed = on_card_stayed,
};

static void cacard_insert(ClientSource *source, VscCard *card)
{
	(void)source;
	vsc_cacard_insert(card);
}

static void cacard_remove(ClientSource *source, VscCard *card)
{
	(void)source;
	vsc_cacard_remove(card);
}

static void cacard_free(ClientSource *source)
{
	vsc_cacard_free(((CacardSource *)source)->cacard);
	g_free(source);
}

static const SourceClass cacard_class = {
	.insert = cacard_insert,
	.remove = cacard_remove,
	.free = cacard_free,
};

static ClientSource *new_cacard(const char *options, const ClientSourceEvents *events, void *user,
				GError **error)
{
	CacardSource *cacard = g_new0(CacardSource, 1);

	cacard->source = (ClientSource){ &cacard_class, events, user, true };
	cacard->cacard = vsc_cacard_new(options, &cacard_events, cacard, error);
	if (cacard->cacard == NULL)
		g_clear_pointer(&cacard, g_free);
	return (ClientSource *)cacard;
}

/* ---- pcscd ---- */

typedef struct PcscSource {
	ClientSource source;
	const ClientOptions *options;
	VscPcsc *pcsc;
} PcscSource;

static bool matches(char **globs, const char *name)
{
	for (size_t i = 0; globs != NULL && globs[i] != NULL; i++) {
		if (strcmp(globs[i], name) == 0 || g_pattern_match_simple(globs[i], name))
			return true;
	}
	return false;
}

ClientChoice client_source_choose(const ClientOptions *options, const char *name)
{
	if (matches(options->pcsc_exclude, name))
		return CLIENT_CHOICE_EXCLUDED;
	if (options->pcsc_readers != NULL)
		return matches(options->pcsc_readers, name) ? CLIENT_CHOICE_LENT :
							      CLIENT_CHOICE_OTHER;
	if (g_ascii_strncasecmp(name, OUR_OWN, strlen(OUR_OWN)) == 0)
		return CLIENT_CHOICE_OURS;
	return CLIENT_CHOICE_LENT;
}

static bool wanted(void *user, const char *name)
{
	ClientChoice choice = client_source_choose(((PcscSource *)user)->options, name);

	if (choice == CLIENT_CHOICE_EXCLUDED)
		say("reader '%s' is excluded", name);
	if (choice == CLIENT_CHOICE_OURS)
		say("reader '%s' is one that vscard makes, and is not lent; --reader would", name);
	return choice == CLIENT_CHOICE_LENT;
}

static void on_service(void *user, bool running)
{
	ClientSource *source = user;

	source->works = running;
	if (!running)
		say("pcscd does not run: there is no reader until it does");
}

static void on_settled(void *user)
{
	ClientSource *source = user;

	if (source->events->settled != NULL)
		source->events->settled(source->user);
}

static const VscPcscEvents pcsc_events = {
	.wanted = wanted,
	.reader_added = on_reader_added,
	.reader_removed = on_reader_removed,
	.card_changed = on_card_changed,
	.service = on_service,
	.settled = on_settled,
};

static void pcsc_insert(ClientSource *source, VscCard *card)
{
	if (!vsc_pcsc_insert(card))
		source->events->card_stayed(source->user, card, vsc_card_present(card));
}

static void pcsc_remove(ClientSource *source, VscCard *card)
{
	if (!vsc_pcsc_remove(card))
		source->events->card_stayed(source->user, card, false);
}

static void pcsc_free(ClientSource *source)
{
	vsc_pcsc_free(((PcscSource *)source)->pcsc);
	g_free(source);
}

static const SourceClass pcsc_class = {
	.insert = pcsc_insert,
	.remove = pcsc_remove,
	.free = pcsc_free,
};

static ClientSource *new_pcsc(const ClientOptions *options, const ClientSourceEvents *events,
			      void *user)
{
	PcscSource *pcsc = g_new0(PcscSource, 1);

	pcsc->source = (ClientSource){ &pcsc_class, events, user, false };
	pcsc->options = options;
	pcsc->pcsc = vsc_pcsc_new(options->pcsc_share, &pcsc_events, pcsc);
	return &pcsc->source;
}

ClientSource *client_source_new(const ClientOptions *options, const ClientSourceEvents *events,
				void *user, GError **error)
{
	if (options->pcsc)
		return new_pcsc(options, events, user);
	return new_cacard(options->cards, events, user, error);
}

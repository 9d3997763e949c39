/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The in-process pair: two char devices whose outputs are each other's inputs.
 * Each holds the input of its own; a writer that fills it waits until the
 * reader has made room, as on a socket.
 */

#include "vmc/chardev-backend.h"

#include <string.h>

/* What is on the way in one direction: as much as a small socket buffer, so
 * that back-pressure is felt in tests as it is outside. */
#define PAIR_BUFFER (64u * 1024)

typedef struct VmcPair VmcPair;

struct VmcPair {
	VmcChardev base;
	VmcPair *other; /* NULL: freed */
	VmcBuf in;
	bool gone;    /* the other end left this conversation; read the rest */
	bool anew;    /* a user came: a conversation may start */
	bool blocked; /* output waits for room in the other's input */
};

static VmcPair *pair_of(VmcChardev *chardev)
{
	return (VmcPair *)chardev;
}

static gssize pair_read(VmcChardev *chardev, uint8_t *data, size_t len, GError **error)
{
	VmcPair *pair = pair_of(chardev);
	VmcSpan in = vmc_buf_span(&pair->in);
	size_t n = MIN(len, in.len);

	if (n == 0) {
		if (!pair->gone)
			return 0;
		g_propagate_error(error, vmc_chardev_hangup_error());
		return -1;
	}
	memcpy(data, in.data, n);
	vmc_buf_consume(&pair->in, n);
	if (pair->other != NULL && pair->other->blocked)
		vmc_chardev_defer_writable(&pair->other->base);
	return (gssize)n;
}

static gssize pair_write(VmcChardev *chardev, VmcSpan bytes, GError **error)
{
	VmcPair *pair = pair_of(chardev);
	VmcPair *other = pair->other;
	size_t n;

	if (pair->gone || other == NULL) {
		g_propagate_error(error, vmc_chardev_hangup_error());
		return -1;
	}
	n = MIN(bytes.len, PAIR_BUFFER - vmc_buf_span(&other->in).len);
	if (n == 0)
		return 0;
	vmc_buf_append(&other->in, vmc_span(bytes.data, n));
	if (other->base.reading)
		vmc_chardev_defer_readable(&other->base);
	return (gssize)n;
}

static void pair_want_read(VmcChardev *chardev, bool wanted)
{
	VmcPair *pair = pair_of(chardev);

	if (wanted && (pair->gone || vmc_buf_span(&pair->in).len > 0))
		vmc_chardev_defer_readable(chardev);
}

static void pair_want_write(VmcChardev *chardev, bool wanted)
{
	pair_of(chardev)->blocked = wanted;
}

/* The other end left: what it wrote is read first. */
static void pair_leave(VmcPair *pair)
{
	if (pair->base.state == VMC_CHARDEV_DOWN || pair->gone)
		return;
	pair->gone = true;
	if (vmc_buf_span(&pair->in).len == 0 || vmc_chardev_never_reads(&pair->base))
		vmc_chardev_emit_gone(&pair->base, vmc_chardev_hangup_error());
	else if (pair->base.reading)
		vmc_chardev_defer_readable(&pair->base);
}

static void pair_start(VmcPair *pair)
{
	VmcPair *const ends[] = { pair, pair->other };

	if (pair->other == NULL || (!pair->anew && !pair->other->anew))
		return;
	for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
		if (!ends[i]->base.there || ends[i]->base.state != VMC_CHARDEV_DOWN)
			return;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
		ends[i]->gone = false;
		ends[i]->anew = false;
		vmc_chardev_emit_opened(&ends[i]->base);
	}
}

static void pair_hangup(VmcChardev *chardev)
{
	VmcPair *pair = pair_of(chardev);

	vmc_buf_clear(&pair->in);
	/* An end that heard of the other's leaving does not leave in its turn. */
	if (pair->other != NULL && !pair->gone)
		pair_leave(pair->other);
	pair->gone = false;
	pair_start(pair);
}

static void pair_attached(VmcChardev *chardev, bool there)
{
	VmcPair *pair = pair_of(chardev);

	pair->anew = there;
	if (there)
		pair_start(pair);
	else
		vmc_chardev_emit_gone(chardev, vmc_chardev_hangup_error());
}

static void pair_free(VmcChardev *chardev)
{
	VmcPair *pair = pair_of(chardev);

	if (pair->other != NULL) {
		pair_leave(pair->other);
		pair->other->other = NULL;
	}
	vmc_buf_clear(&pair->in);
}

static const VmcChardevClass pair_class = {
	.name = "pair",
	.help = "two devices in one process joined to each other",
	.read = pair_read,
	.write = pair_write,
	.want_read = pair_want_read,
	.want_write = pair_want_write,
	.attached = pair_attached,
	.hangup = pair_hangup,
	.free = pair_free,
};

void vmc_chardev_pair_new(VmcChardev **one, VmcChardev **other)
{
	VmcPair *a, *b;

	g_return_if_fail(one != NULL && other != NULL);

	a = g_new0(VmcPair, 1);
	b = g_new0(VmcPair, 1);
	vmc_chardev_init(&a->base, &pair_class, NULL);
	vmc_chardev_init(&b->base, &pair_class, NULL);
	vmc_buf_init(&a->in, PAIR_BUFFER);
	vmc_buf_init(&b->in, PAIR_BUFFER);
	a->other = b;
	b->other = a;
	*one = &a->base;
	*other = &b->base;
}

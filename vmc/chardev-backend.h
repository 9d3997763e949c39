/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a backend of VmcChardev is to vmc/chardev.c: a class of functions, and
 * a base that each backend's own struct starts with. The common part has the
 * user, the output queue, pausing and the order of events; a backend has the
 * other side. Users include vmc/chardev.h only.
 */

#pragma once

#include "vmc/buf.h"
#include "vmc/chardev.h"

/* What becomes of one conversation. */
typedef enum VmcChardevState {
	VMC_CHARDEV_DOWN,      /* nobody is there */
	VMC_CHARDEV_UP,        /* both directions work */
	VMC_CHARDEV_ENDING,    /* output broke: the user reads what is left, then it is over */
	VMC_CHARDEV_FLUSHING,  /* the user disconnects: the queue is being sent */
	VMC_CHARDEV_LINGERING, /* all is sent: until the other side closes */
	VMC_CHARDEV_OVER,      /* `closed` is about to be told */
} VmcChardevState;

struct VmcChardev {
	const VmcChardevClass *class;
	char *id;
	char *describe;
	const VmcChardevEvents *events; /* NULL: no user */
	void *user;
	VmcChardevState state;
	bool told; /* the user knows of this conversation */
	bool paused;
	bool held;
	bool there;             /* a user, and not away: what the backend was told */
	bool high;              /* `writable` is owed */
	bool smartcard_channel; /* set by the backend before emit_opened */
	bool reading;           /* what the backend was last asked for */
	bool writing;
	unsigned due;   /* events to tell from the loop */
	unsigned busy;  /* depth of events being told: no free inside */
	size_t budget;  /* bytes this `readable` may still hand out */
	guint deferred; /* source ids; 0: none */
	guint timer;
	GError *reason;  /* why the conversation ends */
	GError *failure; /* last attempt's, not told yet */
	unsigned again;  /* and when the next one is */
	VmcBuf out;
};

struct VmcChardevClass {
	const char *name;          /* as in -chardev NAME */
	const char *help;          /* one line */
	const VmcOptDesc *options; /* its keys beside `id` */
	/* A new device from options checked against `options`, after
	 * vmc_chardev_init(); NULL with `error`. */
	VmcChardev *(*create)(VmcOpts *opts, GError **error);
	/* Bytes now in `data`; 0: none now; -1: ended (VMC_CHARDEV_ERROR_HANGUP)
	 * or broken (_IO), `error` set. */
	gssize (*read)(VmcChardev *chardev, uint8_t *data, size_t len, GError **error);
	/* Bytes taken, 0 when none fit now; -1: broken, `error` set. */
	gssize (*write)(VmcChardev *chardev, VmcSpan bytes, GError **error);
	/* Call vmc_chardev_emit_readable/writable while it can go on, or no more.
	 * Wanting twice is allowed. While reading is not wanted, an end of the
	 * stream with no input left is told by vmc_chardev_emit_gone(). */
	void (*want_read)(VmcChardev *chardev, bool wanted);
	void (*want_write)(VmcChardev *chardev, bool wanted);
	/* No more output comes: let the other side see its end. May be NULL if
	 * closing loses nothing that was written. */
	void (*finish)(VmcChardev *chardev);
	/* A user came or went, or is away or back (`there` has it). May be NULL. */
	void (*attached)(VmcChardev *chardev, bool there);
	/* End the present conversation, then look for the next one. */
	void (*hangup)(VmcChardev *chardev);
	/* Release what the backend has; chardev.c then frees the struct. */
	void (*free)(VmcChardev *chardev);
};

extern const VmcChardevClass vmc_socket_class;
extern const VmcChardevClass vmc_spicevmc_class;
extern const VmcChardevClass vmc_spiceport_class;

/* Makes `chardev`, zeroed, a closed device of `class`. `id` may be NULL. */
void vmc_chardev_init(VmcChardev *chardev, const VmcChardevClass *class, const char *id);

/* Says where it leads; `describe` becomes the device's. */
void vmc_chardev_take_describe(VmcChardev *chardev, char *describe);

/* A conversation starts; the one before is hung up. */
void vmc_chardev_emit_opened(VmcChardev *chardev);

/* Does the user take more conversations than the device's own? Then each goes
 * to vmc_chardev_emit_accepted(), straight from the loop, which takes
 * `connection`: a device of the same backend, for which
 * vmc_chardev_emit_opened() was called. */
bool vmc_chardev_accepts(const VmcChardev *chardev);
void vmc_chardev_emit_accepted(VmcChardev *chardev, VmcChardev *connection);

/* There is input, or the end of it. Straight from the loop. */
void vmc_chardev_emit_readable(VmcChardev *chardev);
/* The same from the loop later, for backends that are called by a writer. */
void vmc_chardev_defer_readable(VmcChardev *chardev);

/* Output goes on. Straight from the loop, or later. */
void vmc_chardev_emit_writable(VmcChardev *chardev);
void vmc_chardev_defer_writable(VmcChardev *chardev);

/* The conversation is over and no input is left; takes `reason`. */
void vmc_chardev_emit_gone(VmcChardev *chardev, GError *reason);

/* True if the user there is has no ear for input, or is held: none that is left
 * needs to be kept for it. */
bool vmc_chardev_never_reads(const VmcChardev *chardev);

/* An attempt to connect failed; takes `reason`. `again`: milliseconds to the
 * next one, or 0. */
void vmc_chardev_emit_failed(VmcChardev *chardev, GError *reason, unsigned again);

/* What a read answers at the end of the stream: VMC_CHARDEV_ERROR_HANGUP. */
GError *vmc_chardev_hangup_error(void);

/* Sets `error` to VMC_CHARDEV_ERROR_OPEN, "<option text>: <message>". */
void vmc_chardev_set_open_error(const VmcOpts *opts, GError **error, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VscPost: the way of news from worker threads to the main loop. Libraries
 * that block (pcsc-lite) run on threads of their own; what comes of it is
 * posted here, from any thread, and told on the main loop, one piece a turn
 * and in order.
 */

#pragma once

#include <glib.h>

typedef struct VscPost VscPost;

/* Tells one piece of news, from the main loop; the post frees it afterwards. */
typedef void (*VscPostTell)(void *user, void *news);

/* A post to the thread-default main context of the caller, who also frees it.
 * `free_news` is called from that thread for each piece, told or not. */
VscPost *vsc_post_new(VscPostTell tell, GDestroyNotify free_news, void *user);

/* What is not yet told is freed untold. No thread may post any more. */
void vsc_post_free(VscPost *post);

/* Posts `news` (owned by the post from now on); from any thread. */
void vsc_post_send(VscPost *post, void *news);

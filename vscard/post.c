/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A queue under a lock, and an idle source that is there while it is not
 * empty. (g_main_context_invoke() would run here and now when the loop happens
 * not to run.)
 */

#include "vscard/post.h"

#include <stdbool.h>

struct VscPost {
	VscPostTell tell;
	GDestroyNotify free_news;
	void *user;
	GMainContext *context;
	GMutex lock;
	GQueue news;   /* under lock */
	GSource *wake; /* under lock; NULL while there are none */
};

VscPost *vsc_post_new(VscPostTell tell, GDestroyNotify free_news, void *user)
{
	VscPost *post = g_new0(VscPost, 1);

	post->tell = tell;
	post->free_news = free_news;
	post->user = user;
	post->context = g_main_context_ref_thread_default();
	g_mutex_init(&post->lock);
	g_queue_init(&post->news);
	return post;
}

void vsc_post_free(VscPost *post)
{
	if (post == NULL)
		return;
	if (post->wake != NULL) {
		g_source_destroy(post->wake);
		g_source_unref(post->wake);
	}
	g_queue_clear_full(&post->news, post->free_news);
	g_main_context_unref(post->context);
	g_mutex_clear(&post->lock);
	g_free(post);
}

/* One piece a turn, so that others of the loop have theirs. */
static gboolean tell_one(gpointer user)
{
	VscPost *post = user;
	void *news;
	bool more;

	g_mutex_lock(&post->lock);
	news = g_queue_pop_head(&post->news);
	more = !g_queue_is_empty(&post->news);
	if (!more)
		g_clear_pointer(&post->wake, g_source_unref);
	g_mutex_unlock(&post->lock);
	post->tell(post->user, news);
	post->free_news(news);
	return more ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

void vsc_post_send(VscPost *post, void *news)
{
	g_mutex_lock(&post->lock);
	g_queue_push_tail(&post->news, news);
	if (post->wake == NULL) {
		post->wake = g_idle_source_new();
		g_source_set_priority(post->wake, G_PRIORITY_DEFAULT);
		g_source_set_callback(post->wake, tell_one, post, NULL);
		g_source_attach(post->wake, post->context);
	}
	g_mutex_unlock(&post->lock);
}

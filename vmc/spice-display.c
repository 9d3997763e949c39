/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The least that makes a display for libspice-server: one surface in our
 * memory that no command ever draws on. The library's worker thread calls the
 * functions here.
 */

#include "vmc/spice-display.h"

#include <glib.h>
#include <spice/enums.h>
#include <string.h>

/* Large enough to be seen as a window, and to be told from a failure. */
#define WIDTH 320u
#define HEIGHT 200u
/* xRGB: the dark grey of an idle screen. */
#define PIXEL 0x00303030u

static uint32_t pixels[WIDTH * HEIGHT];
static QXLInstance display;

static void get_init_info(QXLInstance *instance, QXLDevInitInfo *info)
{
	(void)instance;
	memset(info, 0, sizeof(*info));
	info->num_memslots = 1;
	info->num_memslots_groups = 1;
	info->memslot_id_bits = 1;
	info->memslot_gen_bits = 1;
	info->n_surfaces = 1;
}

static void set_compression_level(QXLInstance *instance, int level)
{
	(void)instance;
	(void)level;
}

static int no_command(QXLInstance *instance, struct QXLCommandExt *command)
{
	(void)instance;
	(void)command;
	return FALSE;
}

/* There will be none. */
static int no_news(QXLInstance *instance)
{
	(void)instance;
	return TRUE;
}

static int nothing_to_flush(QXLInstance *instance)
{
	(void)instance;
	return FALSE;
}

static void release_resource(QXLInstance *instance, struct QXLReleaseInfoExt info)
{
	(void)instance;
	(void)info;
}

static void notify_update(QXLInstance *instance, uint32_t update)
{
	(void)instance;
	(void)update;
}

static void async_complete(QXLInstance *instance, uint64_t cookie)
{
	(void)instance;
	(void)cookie;
}

static void update_area_complete(QXLInstance *instance, uint32_t surface, struct QXLRect *rects,
				 uint32_t count)
{
	(void)instance;
	(void)surface;
	(void)rects;
	(void)count;
}

static void set_client_capabilities(QXLInstance *instance, uint8_t present,
				    uint8_t caps[SPICE_CAPABILITIES_SIZE])
{
	(void)instance;
	(void)present;
	(void)caps;
}

static int client_monitors_config(QXLInstance *instance, VDAgentMonitorsConfig *config)
{
	(void)instance;
	(void)config;
	return FALSE;
}

static const QXLInterface interface = {
	.base.type = SPICE_INTERFACE_QXL,
	.base.description = "vscard's empty display",
	.base.major_version = SPICE_INTERFACE_QXL_MAJOR,
	.base.minor_version = SPICE_INTERFACE_QXL_MINOR,
	.set_compression_level = set_compression_level,
	.get_init_info = get_init_info,
	.get_command = no_command,
	.req_cmd_notification = no_news,
	.release_resource = release_resource,
	.get_cursor_command = no_command,
	.req_cursor_notification = no_news,
	.notify_update = notify_update,
	.flush_resources = nothing_to_flush,
	.async_complete = async_complete,
	.update_area_complete = update_area_complete,
	.set_client_capabilities = set_client_capabilities,
	.client_monitors_config = client_monitors_config,
};

bool vmc_spice_display_add(SpiceServer *server)
{
	QXLDevMemSlot slot = {
		.virt_start = (uintptr_t)pixels,
		.virt_end = (uintptr_t)pixels + sizeof(pixels),
	};
	QXLDevSurfaceCreate surface = {
		.width = WIDTH,
		.height = HEIGHT,
		.stride = (int32_t)(WIDTH * sizeof(pixels[0])),
		.format = SPICE_SURFACE_FMT_32_xRGB,
		.mem = (uintptr_t)pixels,
	};

	for (size_t i = 0; i < G_N_ELEMENTS(pixels); i++)
		pixels[i] = PIXEL;
	display.base.sif = &interface.base;
	if (spice_server_add_interface(server, &display.base) != 0)
		return false;
	spice_qxl_add_memslot(&display, &slot);
	spice_qxl_create_primary_surface(&display, 0, &surface);
	spice_server_vm_start(server);
	return true;
}

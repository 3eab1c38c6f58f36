/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbdkit-gild-plugin: a disk image as an NBD export, whatever its format.
 *
 *     nbdkit gild [file=]IMAGE [format=FMT] [snapshot=NAME] ...
 *
 * All connections share one handle, which is opened for the first and closed
 * after the last of them; so the image is locked only as long as somebody is
 * connected, and what one of them flushed, all of them did. That the image is
 * there, and may be opened, is looked at before the server starts.
 */
#define NBDKIT_API_VERSION 2

#include <errno.h>
#include <nbdkit-plugin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/settings.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum {
	MAX_BLOCK = 64 << 20, /* bytes, of one request: nbdkit's limit */
	PREFERRED_BLOCK = 64 << 10,
};

/* The handle that all connections share; under lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct gild_image *shared;
static unsigned connections;
static bool shared_is_readonly;

struct connection {
	struct gild_image *image;
	bool readonly;
};

/* --- errors ----------------------------------------------------------- */

/* Returns -1. */
static int complain(const struct gild_error *err)
{
	if (err->hint[0])
		nbdkit_error("%s (%s)", err->message, err->hint);
	else
		nbdkit_error("%s", err->message);
	nbdkit_set_error(gild_error_number(err));
	return -1;
}

/* --- the server's life ------------------------------------------------ */

static int plugin_config_complete(void)
{
	if (settings_path())
		return 0;
	nbdkit_error("the name of an image is needed: nbdkit gild IMAGE");
	return -1;
}

/* Can it be opened? Without locks, since nobody is connected yet. */
static int plugin_get_ready(void)
{
	struct gild_open_options look = settings_options();
	struct gild_error err = { .kind = GILD_ERR_NONE };
	struct gild_image *image;

	look.flags |= GILD_OPEN_SHARE;
	image = gild_open(settings_path(), &look, &err);
	if (!image || gild_close(image, &err) < 0)
		return complain(&err);
	return 0;
}

static void plugin_dump(void)
{
	printf("gild_version=%s\n", gild_version());
}

/* --- connections ------------------------------------------------------ */

static int open_shared(bool readonly)
{
	struct gild_open_options wanted = settings_options();
	struct gild_error err = { .kind = GILD_ERR_NONE };

	/* Nobody writes without a lock. */
	if (!readonly) {
		wanted.flags &= ~(unsigned)GILD_OPEN_SHARE;
		wanted.flags |= GILD_OPEN_WRITE;
	}
	shared = gild_open(settings_path(), &wanted, &err);
	if (!shared)
		return complain(&err);
	shared_is_readonly = readonly;
	return 0;
}

static void *plugin_open(int readonly)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int result = 0;

	if (!connection) {
		nbdkit_error("out of memory");
		return NULL;
	}
	readonly = readonly || settings_options().snapshot;
	pthread_mutex_lock(&lock);
	if (!shared)
		result = open_shared(readonly);
	if (result == 0) {
		connections++;
		connection->image = shared;
		connection->readonly = readonly || shared_is_readonly;
	}
	pthread_mutex_unlock(&lock);
	if (result == 0)
		return connection;
	free(connection);
	return NULL;
}

static void plugin_close(void *handle)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };

	pthread_mutex_lock(&lock);
	if (--connections == 0) {
		if (gild_close(shared, &err) < 0)
			complain(&err);
		shared = NULL;
	}
	pthread_mutex_unlock(&lock);
	free(handle);
}

static struct gild_image *image_of(void *handle)
{
	return ((struct connection *)handle)->image;
}

static int64_t plugin_get_size(void *handle)
{
	return (int64_t)gild_size(image_of(handle));
}

static int plugin_can_write(void *handle)
{
	return !((struct connection *)handle)->readonly;
}

static int yes(void *handle)
{
	(void)handle;
	return 1;
}

static int plugin_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static int plugin_can_cache(void *handle)
{
	(void)handle;
	return NBDKIT_CACHE_NATIVE;
}

static int plugin_block_size(void *handle, uint32_t *minimum,
			     uint32_t *preferred, uint32_t *maximum)
{
	(void)handle;
	*minimum = 1;
	*preferred = PREFERRED_BLOCK;
	*maximum = MAX_BLOCK;
	return 0;
}

/* --- requests --------------------------------------------------------- */

static int plugin_pread(void *handle, void *buffer, uint32_t count,
			uint64_t offset, uint32_t flags)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };

	(void)flags;
	if (gild_read(image_of(handle), buffer, count, offset, &err) < 0)
		return complain(&err);
	return 0;
}

/* A request is done; with FUA it is on stable storage, too. */
static int finish(void *handle, int result, uint32_t flags,
		  struct gild_error *err)
{
	if (result == 0 && flags & NBDKIT_FLAG_FUA)
		result = gild_flush(image_of(handle), err);
	return result < 0 ? complain(err) : 0;
}

static int plugin_pwrite(void *handle, const void *buffer, uint32_t count,
			 uint64_t offset, uint32_t flags)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };

	return finish(handle,
		      gild_write(image_of(handle), buffer, count, offset, &err),
		      flags, &err);
}

static int plugin_flush(void *handle, uint32_t flags)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };

	return finish(handle, gild_flush(image_of(handle), &err),
		      flags & ~(uint32_t)NBDKIT_FLAG_FUA, &err);
}

static int plugin_trim(void *handle, uint32_t count, uint64_t offset,
		       uint32_t flags)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };

	return finish(handle,
		      gild_discard(image_of(handle), offset, count, &err),
		      flags, &err);
}

static int plugin_zero(void *handle, uint32_t count, uint64_t offset,
		       uint32_t flags)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };
	unsigned how = 0;
	int result;

	if (flags & NBDKIT_FLAG_MAY_TRIM)
		how |= GILD_ZERO_UNMAP;
	if (flags & NBDKIT_FLAG_FAST_ZERO)
		how |= GILD_ZERO_FAST;
	result = gild_zero(image_of(handle), offset, count, how, &err);
	/* An answer that the client wants, not worth a message. */
	if (result < 0 && how & GILD_ZERO_FAST &&
	    err.kind == GILD_ERR_UNSUPPORTED) {
		nbdkit_set_error(EOPNOTSUPP);
		return -1;
	}
	return finish(handle, result, flags, &err);
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset,
			  uint32_t flags, struct nbdkit_extents *extents)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };
	uint64_t end = offset + count;
	struct gild_extent extent;

	for (; offset < end; offset += extent.length) {
		uint32_t type = 0;

		if (gild_map(image_of(handle), offset, end - offset, &extent,
			     &err) < 0)
			return complain(&err);
		if (extent.zero)
			type |= NBDKIT_EXTENT_ZERO;
		if (!extent.data)
			type |= NBDKIT_EXTENT_HOLE;
		if (nbdkit_add_extent(extents, offset, extent.length, type) < 0)
			return -1;
		if (flags & NBDKIT_FLAG_REQ_ONE)
			break;
	}
	return 0;
}

/* Read it, so that the host has it at hand. */
static int plugin_cache(void *handle, uint32_t count, uint64_t offset,
			uint32_t flags)
{
	char *buffer = malloc(PREFERRED_BLOCK);
	int result = 0;

	if (!buffer) {
		nbdkit_error("out of memory");
		return -1;
	}
	while (count && result == 0) {
		uint32_t piece = count < PREFERRED_BLOCK ? count :
							   PREFERRED_BLOCK;

		result = plugin_pread(handle, buffer, piece, offset, flags);
		offset += piece;
		count -= piece;
	}
	free(buffer);
	return result;
}

static struct nbdkit_plugin plugin = {
	.name = "gild",
	.version = GILD_VERSION,
	.longname = "gild disk images",
	.description = "Raw, qcow2 and LUKS disk images: backing chains, "
		       "snapshots, compression, encryption.",
	.magic_config_key = "file",
	.config_help = settings_help,
	.config = settings_set,
	.config_complete = plugin_config_complete,
	.get_ready = plugin_get_ready,
	.unload = settings_free,
	.dump_plugin = plugin_dump,
	.open = plugin_open,
	.close = plugin_close,
	.get_size = plugin_get_size,
	.can_write = plugin_can_write,
	.can_flush = yes,
	.can_trim = yes,
	.can_zero = yes,
	.can_fast_zero = yes,
	.can_extents = yes,
	.can_multi_conn = yes,
	.can_fua = plugin_can_fua,
	.can_cache = plugin_can_cache,
	.block_size = plugin_block_size,
	.pread = plugin_pread,
	.pwrite = plugin_pwrite,
	.flush = plugin_flush,
	.trim = plugin_trim,
	.zero = plugin_zero,
	.extents = plugin_extents,
	.cache = plugin_cache,
};

NBDKIT_REGISTER_PLUGIN(plugin)

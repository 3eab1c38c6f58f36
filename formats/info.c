/* SPDX-License-Identifier: BSD-3-Clause */
/* What an image says of itself, and what the host knows of its file. */
#include <stdlib.h>
#include <string.h>

#include "formats/image.h"
#include "storage/lock.h"
#include "util/cleanup.h"

static int set_string(char **slot, const char *text, struct gild_error *err)
{
	if (!text)
		return 0;
	*slot = strdup(text);
	return *slot ? 0 : fail_nomem(err);
}

static int ask_host(struct image *image, struct gild_info *info,
		    struct gild_error *err)
{
	int fd = storage_descriptor(image->storage);

	if (storage_size(image->storage, &info->file_length, err) < 0 ||
	    storage_allocated(image->storage, &info->actual_size, err) < 0)
		return -1;
	if (fd < 0)
		return 0;
	return lock_look(fd, &info->in_use, &info->being_written, err);
}

/* A name that is no path is shown as it stands. */
static int set_backing(struct image *image, struct gild_info *info,
		       struct gild_error *err)
{
	if (!image->backing_name)
		return 0;
	if (set_string(&info->backing_filename, image->backing_name, err) < 0 ||
	    set_string(&info->backing_format, image->backing_format, err) < 0)
		return -1;
	info->full_backing_filename =
		door_resolve(image->path, image->backing_name, NULL);
	if (info->full_backing_filename)
		return 0;
	return set_string(&info->full_backing_filename, image->backing_name,
			  err);
}

static int fill(struct image *image, struct gild_info *info,
		struct gild_error *err)
{
	info->virtual_size = image->size;
	info->cluster_size = image->cluster_size;
	if (set_string(&info->filename, image->path, err) < 0 ||
	    set_string(&info->format, image->ops->name, err) < 0 ||
	    set_backing(image, info, err) < 0 || ask_host(image, info, err) < 0)
		return -1;
	return image->ops->info ? image->ops->info(image, info, err) : 0;
}

struct gild_info *gild_info(struct gild_image *handle, struct gild_error *err)
{
	struct image *image = image_of(handle);
	struct gild_info *info = calloc(1, sizeof(*info));

	if (!info)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	if (fill(image, info, err) < 0) {
		error_prefix(err, "%s: ", image->path);
		gild_info_free(info);
		return NULL;
	}
	return info;
}

void gild_info_free(struct gild_info *info)
{
	if (!info)
		return;
	for (size_t i = 0; i < info->snapshot_count; i++) {
		free(info->snapshots[i].id);
		free(info->snapshots[i].name);
	}
	for (size_t i = 0; i < info->bitmap_count; i++)
		free(info->bitmaps[i].name);
	free(info->snapshots);
	free(info->bitmaps);
	value_free(info->specific);
	free(info->filename);
	free(info->format);
	free(info->backing_filename);
	free(info->full_backing_filename);
	free(info->backing_format);
	free(info);
}

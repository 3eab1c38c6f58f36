/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A view: an image that shows another side of one that is open, a snapshot of
 * it for example. It borrows the file and the chain below, and only reads. What
 * it has the image can take over.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/image.h"
#include "formats/io.h"

struct image *image_new_view(struct image *of, const struct format_ops *ops,
			     uint64_t size, char *name, struct gild_error *err)
{
	struct image *view = name ? calloc(1, ops->struct_size) : NULL;
	char *below = of->backing_name ? strdup(of->backing_name) : NULL;

	if (!view || (of->backing_name && !below)) {
		free(name);
		free(view);
		free(below);
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	}
	view->ops = ops;
	view->is_view = true;
	view->storage = of->storage;
	view->backing = of->backing;
	view->backing_name = below;
	view->path = name;
	view->size = size;
	view->unit = of->unit;
	view->cluster_size = of->cluster_size;
	view->flags = of->flags & ~(unsigned)GILD_OPEN_WRITE;
	view->depth = of->depth;
	view->encryption = of->encryption;
	range_lock_init(&view->ranges);
	range_lock_init(&view->sectors);
	return view;
}

static int adopt(struct image *image, struct image *from, uint64_t offset,
		 uint64_t length, struct gild_error *err)
{
	struct range clusters = io_whole_clusters(image, offset, length);
	struct range sectors;
	int ret;

	io_hold_sectors(image, &sectors, offset, length);
	range_hold(&image->ranges, &clusters);
	ret = image->ops->snapshots->adopt(image, from, offset, length, err);
	range_release(&image->ranges, &clusters);
	io_release_sectors(image, &sectors);
	return ret < 0 ? error_prefix(err, "%s: ", image->path) : 0;
}

int image_adopt(struct image *image, struct image *from, uint64_t offset,
		uint64_t length, struct gild_error *err)
{
	int ret;

	if (io_check_writable(image, offset, length, err) < 0)
		return -1;
	ret = adopt(image, from, offset, length, err);
	return io_finish_write(image, offset, length, ret, err);
}

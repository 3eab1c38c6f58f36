/* SPDX-License-Identifier: BSD-3-Clause */
/* Changing what an open image is: its size, a layer's right to be written. */
#include "formats/open.h"
#include "formats/shortcuts.h"
#include "storage/lock.h"
#include "util/bytes.h"

int image_resize(struct image *image, uint64_t size, struct gild_error *err)
{
	uint64_t old = image->size;

	if (!(image->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for reading only", image->path);
	if (!image->ops->resize)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: images of format %s cannot be resized",
			    image->path, image->ops->name);
	if (image->encryption && !is_aligned(size, 512))
		return fail(err, GILD_ERR_INVALID, 0,
			    "%s: the size of an encrypted disk is a multiple "
			    "of 512",
			    image->path);
	if (image->ops->resize(image, size, err) < 0)
		return error_prefix(err, "%s: ", image->path);
	/* What was beyond the end was nobody's, whatever a backing file holds
	 * there, or what is left in the last cluster, or behind it of a disk
	 * that once was larger. */
	if (size <= old || !image->cluster_size)
		return 0;
	return image_zero(image, old, size - old,
			  GILD_ZERO_UNMAP | IMAGE_ZERO_NEW, err);
}

static struct storage *data_of(struct image *image)
{
	return image->ops->data_storage ? image->ops->data_storage(image) :
					  NULL;
}

static void give_up_lock(struct storage *storage)
{
	int fd = storage ? storage_descriptor(storage) : -1;

	if (fd >= 0)
		lock_release(fd);
}

static bool is_same(struct image *a, struct image *b)
{
	struct storage *data_a = data_of(a), *data_b = data_of(b);

	if (!data_a != !data_b || (data_a && !image_same_file(data_a, data_b)))
		return false;
	return image_same_file(a->storage, b->storage);
}

/* A second image over the same files, open for writing. The reader's locks are
 * given up first: they would deny the writer's. */
static struct image *open_again(struct image *layer, struct gild_error *err)
{
	struct gild_open_options options = {
		.format = layer->ops->name,
		.flags = (layer->flags & GILD_OPEN_SHARE) | GILD_OPEN_WRITE |
			 GILD_OPEN_NO_BACKING,
		.cache = layer->cache,
		.policy = layer->policy,
		.key_secret = layer->key_secret,
	};
	struct image *again;

	give_up_lock(layer->storage);
	give_up_lock(data_of(layer));
	again = image_open_again(layer, &options, err);
	if (again && !is_same(again, layer)) {
		fail(err, GILD_ERR_BUSY, 0, "%s: was replaced meanwhile",
		     layer->path);
		image_free(again);
		return NULL;
	}
	if (again && layer->guessed)
		open_set_guessed(again);
	return again;
}

/* They lead to layers that may go, or say more from now on. */
static void drop_shortcuts(struct image *from, const struct image *to)
{
	for (struct image *i = from;; i = i->backing) {
		shortcuts_free(atomic_exchange(&i->shortcuts, NULL));
		if (i == to)
			return;
	}
}

struct image *image_make_writable(struct image *top, struct image *parent,
				  struct gild_error *err)
{
	struct image *layer = parent->backing;
	struct image *again = open_again(layer, err);

	if (!again)
		return NULL;
	drop_shortcuts(top, parent);
	again->depth = layer->depth;
	again->backing = layer->backing;
	layer->backing = NULL;
	parent->backing = again;
	image_free(layer);
	return again;
}

int gild_resize(struct gild_image *image, uint64_t size, struct gild_error *err)
{
	return image_resize(image_of(image), size, err);
}

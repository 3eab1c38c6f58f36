/* SPDX-License-Identifier: BSD-3-Clause */
/* Persistent dirty bitmaps, for every format that has them. */
#include <string.h>

#include "formats/image.h"
#include "util/bytes.h"

#define MIN_GRANULARITY 512
#define MAX_GRANULARITY (2ULL << 30)
#define MAX_NAME 1023

static int change(struct gild_image *handle, const struct bitmap_change *wanted,
		  struct gild_error *err)
{
	struct image *image = image_of(handle);

	if (!image->ops->bitmap)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: format %s has no bitmaps", image->path,
			    image->ops->name);
	if (!(image->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for reading only", image->path);
	if (image->ops->bitmap(image, wanted, err) < 0)
		return error_prefix(err, "%s: ", image->path);
	return 0;
}

static int change_named(struct gild_image *image, enum bitmap_action what,
			const char *name, struct gild_error *err)
{
	const struct bitmap_change wanted = { .what = what, .name = name };

	return change(image, &wanted, err);
}

static int check_new(const char *name, uint64_t granularity,
		     struct gild_error *err)
{
	if (!*name || strlen(name) > MAX_NAME)
		return fail(err, GILD_ERR_INVALID, 0,
			    "a bitmap's name has 1 to %d bytes", MAX_NAME);
	if (granularity &&
	    (!is_power_of_2(granularity) || granularity < MIN_GRANULARITY ||
	     granularity > MAX_GRANULARITY))
		return fail(err, GILD_ERR_INVALID, 0,
			    "a bitmap's granularity is a power of two from 512 "
			    "bytes to 2 GiB");
	return 0;
}

int gild_bitmap_add(struct gild_image *image, const char *name,
		    uint64_t granularity, bool disabled, struct gild_error *err)
{
	const struct bitmap_change wanted = {
		.what = BITMAP_ADD,
		.name = name,
		.granularity = granularity,
		.disabled = disabled,
	};

	if (check_new(name, granularity, err) < 0)
		return -1;
	return change(image, &wanted, err);
}

int gild_bitmap_remove(struct gild_image *image, const char *name,
		       struct gild_error *err)
{
	return change_named(image, BITMAP_REMOVE, name, err);
}

int gild_bitmap_clear(struct gild_image *image, const char *name,
		      struct gild_error *err)
{
	return change_named(image, BITMAP_CLEAR, name, err);
}

int gild_bitmap_enable(struct gild_image *image, const char *name,
		       struct gild_error *err)
{
	return change_named(image, BITMAP_ENABLE, name, err);
}

int gild_bitmap_disable(struct gild_image *image, const char *name,
			struct gild_error *err)
{
	return change_named(image, BITMAP_DISABLE, name, err);
}

int gild_bitmap_merge(struct gild_image *image, const char *name,
		      struct gild_image *source, const char *source_name,
		      struct gild_error *err)
{
	const struct bitmap_change wanted = {
		.what = BITMAP_MERGE,
		.name = name,
		.source = image_of(source),
		.source_name = source_name,
	};

	if (wanted.source->ops->bitmap != image_of(image)->ops->bitmap)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: format %s has no bitmaps", wanted.source->path,
			    wanted.source->ops->name);
	return change(image, &wanted, err);
}

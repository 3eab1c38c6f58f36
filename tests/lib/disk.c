/* SPDX-License-Identifier: BSD-3-Clause */
/* See disk.h. */
#include "tests/lib/disk.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"

static size_t options_of(const struct disk_kind *kind,
			 struct gild_option *options, char (*text)[16])
{
	size_t n = 0;

	options[n++] = (struct gild_option){ "compat", kind->version == 2 ?
							       "0.10" :
							       "1.1" };
	if (kind->cluster_size) {
		snprintf(text[0], sizeof(*text), "%u", kind->cluster_size);
		options[n++] = (struct gild_option){ "cluster_size", text[0] };
	}
	if (kind->refcount_bits) {
		snprintf(text[1], sizeof(*text), "%u", kind->refcount_bits);
		options[n++] = (struct gild_option){ "refcount_bits", text[1] };
	}
	if (kind->extended_l2)
		options[n++] = (struct gild_option){ "extended_l2", "on" };
	if (kind->lazy_refcounts)
		options[n++] = (struct gild_option){ "lazy_refcounts", "on" };
	if (kind->zstd)
		options[n++] =
			(struct gild_option){ "compression_type", "zstd" };
	return n;
}

static struct storage *with_bitmaps(struct storage *storage)
{
	struct image *image = disk_open(storage, GILD_OPEN_WRITE);
	struct gild_image *handle = (struct gild_image *)image;
	struct gild_error err = { 0 };
	struct storage *copy;

	cr_assert_eq(gild_bitmap_add(handle, "b", 512, false, &err), 0, "%s",
		     err.message);
	cr_assert_eq(gild_bitmap_add(handle, "off", 512, true, &err), 0, "%s",
		     err.message);
	copy = disk_copy(storage);
	image_free(image);
	return copy;
}

struct storage *disk_create(const struct disk_kind *kind, uint64_t size)
{
	struct gild_option options[8];
	struct gild_error err = { 0 };
	char text[2][16];
	struct gild_create_options create = {
		.format = "qcow2",
		.size = size,
		.backing = kind->backing,
		.backing_format = kind->backing ? "raw" : NULL,
		.options = options,
		.option_count = options_of(kind, options, text),
	};
	struct storage *storage = faulty_new(NULL, 0, &err);

	cr_assert_not_null(storage);
	cr_assert_eq(qcow2_create(storage, &create, NULL, &err), 0, "%s: %s",
		     kind->name, err.message);
	return kind->bitmaps ? with_bitmaps(storage) : storage;
}

struct image *disk_try_open(struct storage *storage, unsigned flags,
			    struct gild_error *err)
{
	struct gild_open_options options = {
		.format = "qcow2",
		.flags = flags | GILD_OPEN_NO_BACKING,
	};

	return image_open_storage(storage, &options, err);
}

struct image *disk_open_snapshot(struct storage *storage,
				 struct gild_error *err)
{
	struct gild_open_options options = {
		.format = "qcow2",
		.flags = GILD_OPEN_NO_BACKING,
		.snapshot = "s",
	};

	return image_open_storage(storage, &options, err);
}

struct image *disk_open(struct storage *storage, unsigned flags)
{
	struct gild_error err = { 0 };
	struct image *image = disk_try_open(storage, flags, &err);

	cr_assert_not_null(image, "%s", err.message);
	return image;
}

void disk_back(struct image *image, const void *content, uint64_t length)
{
	struct gild_open_options options = { .format = "raw" };
	struct gild_error err = { 0 };
	struct storage *storage = faulty_new(content, length, &err);

	cr_assert_not_null(storage);
	image->backing = image_open_storage(storage, &options, &err);
	cr_assert_not_null(image->backing, "%s", err.message);
	image->backing->depth = 1;
}

static void tiny(struct qcow2_cache *cache)
{
	uint32_t slice = cache->slice_size;

	cr_assert_eq(cache->dirty, 0);
	qcow2_cache_free(cache);
	cr_assert_eq(qcow2_cache_init(cache, slice, 0, NULL), 0);
}

void disk_tiny_caches(struct image *image)
{
	tiny(&qcow2_of(image)->l2_cache);
	tiny(&qcow2_of(image)->ref_cache);
}

struct storage *disk_copy(struct storage *storage)
{
	uint64_t length;
	const void *content = faulty_content(storage, &length);
	struct storage *copy = faulty_new(content, length, NULL);

	cr_assert_not_null(copy);
	return copy;
}

static void print(void *opaque, const char *line)
{
	(void)opaque;
	fprintf(stderr, "%s\n", line);
}

struct gild_check_result disk_check(struct image *image)
{
	struct gild_check_result result = {
		.report = getenv("GILD_TEST_REPORT") ? print : NULL
	};
	struct gild_error err = { 0 };

	cr_assert_eq(gild_check((struct gild_image *)image, 0, &result, NULL,
				&err),
		     0, "%s", err.message);
	return result;
}

int disk_close(struct image *image, struct gild_error *err)
{
	return gild_close((struct gild_image *)image, err);
}

void disk_save(struct storage *storage, const char *path)
{
	uint64_t length;
	const void *content = faulty_content(storage, &length);
	FILE *file = fopen(path, "w");

	cr_assert_not_null(file, "%s", path);
	cr_assert_eq(fwrite(content, 1, length, file), length);
	cr_assert_eq(fclose(file), 0);
}

enum test_level test_level(void)
{
	const char *level = getenv("GILD_TEST_LEVEL");

	if (level && !strcmp(level, "fast"))
		return LEVEL_FAST;
	return level && !strcmp(level, "long") ? LEVEL_LONG : LEVEL_NORMAL;
}

/* --- bitmaps ------------------------------------------------------------- */

static bool marks_cover(struct qcow2_bits *bits, const unsigned char *before,
			const unsigned char *now, uint64_t size)
{
	uint64_t offset = 0, length;

	/* What is marked need not be the same. */
	for (uint64_t at = 0; at < size; at = offset + length) {
		offset = at;
		if (!qcow2_bits_next(bits, &offset, &length)) {
			offset = size;
			length = 0;
		}
		offset = min_u64(offset, size);
		if (memcmp(before + at, now + at, offset - at) != 0)
			return false;
	}
	return true;
}

bool disk_marks_cover(struct image *image, const unsigned char *before,
		      uint64_t size, const unsigned char *now)
{
	struct qcow2_room room = { UINT64_MAX, UINT64_MAX };
	struct qcow2 *q = qcow2_of(image);
	struct qcow2_bits *bits = NULL;
	struct qcow2_bitmaps bitmaps;
	struct qcow2_bitmap *bitmap;
	bool result;

	cr_assert_eq(qcow2_bitmaps_read(q, &bitmaps, NULL), 0);
	bitmap = qcow2_bitmaps_find(&bitmaps, "b", NULL);
	result = bitmap && bitmap->flags & QCOW2_BITMAP_IN_USE;
	if (bitmap && !result)
		bits = qcow2_bitmap_load(q, bitmap, &room, NULL);
	if (bits)
		result = marks_cover(bits, before, now,
				     min_u64(size, image->size));
	qcow2_bits_free(bits);
	qcow2_bitmaps_free(&bitmaps);
	return result;
}

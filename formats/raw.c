/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * raw: the disk's bytes are the file's bytes. Holes of the file read as zeros
 * without being read. A length that is no multiple of 512 is seen rounded up,
 * the rest as zeros.
 */
#include <string.h>

#include "formats/image.h"
#include "util/bytes.h"

#define RAW_SECTOR 512
#define RAW_HEAD 4096 /* where probing looks for a magic */

static int raw_open(struct image *image, struct gild_error *err)
{
	uint64_t size;

	if (storage_size(image->storage, &size, err) < 0)
		return -1;
	if (size > INT64_MAX - RAW_SECTOR)
		return fail(err, GILD_ERR_RANGE, 0, "file is too large");
	image->size = round_up(size, RAW_SECTOR);
	image->unit = RAW_SECTOR;
	return 0;
}

static int raw_map(struct image *image, uint64_t offset, uint64_t length,
		   struct extent *extent, struct gild_error *err)
{
	uint64_t end;
	bool data;

	if (storage_extent(image->storage, offset, &data, &end, err) < 0)
		return -1;
	*extent = (struct extent){
		.kind = data ? EXTENT_DATA : EXTENT_ZERO,
		.writable = image->flags & GILD_OPEN_WRITE,
		.allocated = true,
		.hole = !data,
		.length = min_u64(length, end - offset),
		.storage = image->storage,
		.host_offset = offset,
	};
	return 0;
}

static int raw_prepare_write(struct image *image, uint64_t offset,
			     uint64_t length, struct write_plan *plan,
			     struct gild_error *err)
{
	(void)err;
	*plan = (struct write_plan){
		.start = offset,
		.length = length,
		.storage = image->storage,
		.host_offset = offset,
		.in_place = true,
	};
	return 0;
}

static int raw_zero(struct image *image, uint64_t offset, uint64_t length,
		    unsigned flags, struct gild_error *err)
{
	bool keep = !(flags & GILD_ZERO_UNMAP);

	if (flags & GILD_ZERO_FAST)
		return storage_try_zero(image->storage, offset, length, keep,
					err);
	return storage_zero(image->storage, offset, length, keep, err);
}

static int raw_discard(struct image *image, uint64_t offset, uint64_t length,
		       struct gild_error *err)
{
	return storage_discard(image->storage, offset, length, err);
}

static int raw_resize(struct image *image, uint64_t size,
		      struct gild_error *err)
{
	if (storage_truncate(image->storage, size, false, err) < 0)
		return -1;
	image->size = size;
	return 0;
}

static const struct gild_option_help raw_option_help[] = {
	FILE_HINT_ROWS,
	{ "preallocation", "string", "off",
	  "Preallocation mode (allowed values: off, falloc, full)" },
	{ "size", "size", NULL, "Virtual disk size" },
	{ 0 },
};

/*
 * A device keeps its bytes. The first are cleared: what another image began
 * with would make the new one look like that.
 */
static int make_blank(struct storage *storage, uint64_t size, bool allocate,
		      struct gild_error *err)
{
	uint64_t old, head;

	if (storage_size(storage, &old, err) < 0 ||
	    storage_truncate(storage, size, allocate, err) < 0)
		return -1;
	head = min_u64(min_u64(old, size), RAW_HEAD);
	return head ? storage_zero(storage, 0, head, allocate, err) : 0;
}

static int raw_create(struct storage *storage,
		      const struct gild_create_options *options,
		      struct companion *companion, struct gild_error *err)
{
	const char *mode = option_get(options->options, options->option_count,
				      "preallocation");
	uint64_t size = options->size;

	(void)companion;
	if (options->backing)
		return fail(err, GILD_ERR_INVALID, 0,
			    "a raw image cannot have a backing file");
	if (size > INT64_MAX - RAW_SECTOR)
		return fail(err, GILD_ERR_RANGE, 0, "image size is too large");
	size = round_up(size, RAW_SECTOR);
	if (!mode || !strcmp(mode, "off"))
		return make_blank(storage, size, false, err);
	if (!strcmp(mode, "falloc"))
		return make_blank(storage, size, true, err);
	if (!strcmp(mode, "full"))
		return storage_write_zeros(storage, 0, size, err);
	return fail(err, GILD_ERR_INVALID, 0,
		    "preallocation of a raw image is off, falloc or full, "
		    "not \"%s\"",
		    mode);
}

static int raw_measure(uint64_t size, uint64_t allocated_bytes,
		       const struct gild_option *options, size_t option_count,
		       struct gild_measurement *result, struct gild_error *err)
{
	(void)allocated_bytes;
	if (option_check(raw_option_help, options, option_count, err) < 0)
		return -1;
	result->required = size;
	result->fully_allocated = size;
	return 0;
}

const struct format_ops raw_format = {
	.name = "raw",
	.create_help = raw_option_help,
	.struct_size = sizeof(struct image),
	.open = raw_open,
	.map = raw_map,
	.prepare_write = raw_prepare_write,
	.zero = raw_zero,
	.discard = raw_discard,
	.resize = raw_resize,
	.create = raw_create,
	.measure = raw_measure,
};

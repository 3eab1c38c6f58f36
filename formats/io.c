/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every byte of ordinary reading and writing, once for all formats. The walk
 * of one read and one write is in format.h.
 *
 * A thread is inside image->epoch from the moment it learns a host address to
 * the end of its I/O there, so that the address cannot be given to somebody
 * else in between.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/crypto/cipher.h"
#include "formats/extent-io.h"
#include "formats/io.h"
#include "util/bytes.h"
#include "util/cleanup.h"

static int check_range(const struct image *image, uint64_t offset,
		       uint64_t length, struct gild_error *err)
{
	if (image->flags & GILD_OPEN_INSPECT)
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for its metadata only",
			    image->path);
	if (range_within(offset, length, image->size))
		return 0;
	fail(err, GILD_ERR_RANGE, 0,
	     "%s: %llu bytes at %llu lie beyond the end of the disk (%llu)",
	     image->path, (unsigned long long)length,
	     (unsigned long long)offset, (unsigned long long)image->size);
	return error_at(err, offset);
}

int io_check_writable(const struct image *image, uint64_t offset,
		      uint64_t length, struct gild_error *err)
{
	if (!(image->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for reading only", image->path);
	return check_range(image, offset, length, err);
}

/* ------------------------------------------------------------- reading -- */

static int read_extent(struct image *layer, const struct extent *extent,
		       uint64_t offset, void *buffer, struct gild_error *err)
{
	int ret = 0;

	switch (extent->kind) {
	case EXTENT_DATA:
		return extent_read(extent, buffer, err);
	case EXTENT_ZERO:
		memset(buffer, 0, extent->length);
		break;
	case EXTENT_COMPRESSED:
		ret = layer->ops->read_compressed(layer, extent, offset, buffer,
						  extent->length, err);
		break;
	case EXTENT_BACKING:
		return fail(err, GILD_ERR_DENIED, 0,
			    "is needed for this range, but its backing file "
			    "%s was not opened",
			    layer->backing_name);
	}
	return ret;
}

static int fail_read(const struct image *layer, uint64_t offset,
		     struct gild_error *err)
{
	error_prefix(err, "%s: reading the disk at %llu: ", layer->path,
		     (unsigned long long)offset);
	error_at(err, offset);
	if (err && err->sys_errno == EIO && !err->hint[0])
		error_hint(err, "gild convert --salvage copies what is left of "
				"it");
	return -1;
}

/* Read from the chain; the caller is inside the epoch. */
static int read_inside(struct image *image, unsigned char *buffer,
		       uint64_t length, uint64_t offset, struct gild_error *err)
{
	struct extent extent;
	struct image *layer;

	while (length) {
		if (chain_map(image, offset, length, &extent, &layer, err) < 0)
			return -1;
		if (read_extent(layer, &extent, offset, buffer, err) < 0)
			return fail_read(layer, offset, err);
		buffer += extent.length;
		offset += extent.length;
		length -= extent.length;
	}
	return 0;
}

int image_read(struct image *image, void *buffer, uint64_t length,
	       uint64_t offset, struct gild_error *err)
{
	unsigned slot;
	int ret;

	if (check_range(image, offset, length, err) < 0)
		return -1;
	slot = epoch_enter(&image->epoch);
	ret = read_inside(image, buffer, length, offset, err);
	epoch_leave(&image->epoch, slot);
	return ret;
}

/* ------------------------------------------------------------- writing -- */

/* What allocates holds whole clusters, so that no two writers give one
 * cluster two places. */
struct range io_whole_clusters(const struct image *image, uint64_t offset,
			       uint64_t length)
{
	uint64_t unit = max_u64(image->unit, image->cluster_size);

	return (struct range){ .start = round_down(offset, unit),
			       .end = round_up(offset + length, unit) };
}

/* Overwrite where the disk has a place of its own; *done = 0 where not. */
static int write_in_place(struct image *image, const void *buffer,
			  uint64_t length, uint64_t offset, uint64_t *done,
			  struct gild_error *err)
{
	unsigned slot = epoch_enter(&image->epoch);
	struct extent extent;
	int ret;

	*done = 0;
	ret = image->ops->map(image, offset, length, &extent, err);
	if (!ret && extent.kind == EXTENT_DATA && extent.writable) {
		ret = extent_write(&extent, buffer, err);
		*done = extent.length;
	}
	epoch_leave(&image->epoch, slot);
	return ret;
}

/* Copy what the disk reads now at [offset, + length) to its new place; beyond
 * the end of the disk that is zeros. */
static int copy_edge(struct image *image, const struct write_plan *plan,
		     uint64_t offset, uint64_t length, struct gild_error *err)
{
	AUTO_FREE unsigned char *buffer = NULL;
	uint64_t readable = 0;

	if (!length)
		return 0;
	buffer = calloc(1, length);
	if (!buffer)
		return fail_nomem(err);
	if (offset < image->size)
		readable = min_u64(length, image->size - offset);
	if (image_read(image, buffer, readable, offset, err) < 0)
		return -1;
	return plan_write(plan, offset, buffer, length, err);
}

int io_fill_edges(struct image *image, const struct write_plan *plan,
		  uint64_t offset, uint64_t length, struct gild_error *err)
{
	uint64_t end = offset + length, plan_end = plan->start + plan->length;

	if (copy_edge(image, plan, plan->start, offset - plan->start, err) < 0)
		return -1;
	return copy_edge(image, plan, end, plan_end - end, err);
}

/* Fill a plan: the new bytes, and around them what was there before. */
static int fill_plan(struct image *image, const struct write_plan *plan,
		     const void *buffer, uint64_t length, uint64_t offset,
		     struct gild_error *err)
{
	if (plan_write(plan, offset, buffer, length, err) < 0)
		return -1;
	return io_fill_edges(image, plan, offset, length, err);
}

/* Allocate, fill and link a first part of the range; the range is held. */
static int write_new(struct image *image, const void *buffer, uint64_t length,
		     uint64_t offset, uint64_t *done, struct gild_error *err)
{
	struct write_plan plan;

	if (image->ops->prepare_write(image, offset, length, &plan, err) < 0)
		return -1;
	*done = min_u64(length, plan.start + plan.length - offset);
	if (plan.in_place)
		return plan_write(&plan, offset, buffer, *done, err);
	if (fill_plan(image, &plan, buffer, *done, offset, err) < 0 ||
	    image->ops->commit_write(image, &plan, err) < 0) {
		image->ops->abort_write(image, &plan);
		return -1;
	}
	return 0;
}

static int write_held(struct image *image, const void *buffer, uint64_t length,
		      uint64_t offset, uint64_t *done, struct gild_error *err)
{
	struct range range = io_whole_clusters(image, offset, length);
	unsigned slot;
	int ret;

	range_hold(&image->ranges, &range);
	slot = epoch_enter(&image->epoch);
	ret = write_new(image, buffer, length, offset, done, err);
	epoch_leave(&image->epoch, slot);
	range_release(&image->ranges, &range);
	return ret;
}

static int write_pieces(struct image *image, const unsigned char *buffer,
			uint64_t length, uint64_t offset,
			struct gild_error *err)
{
	uint64_t done;
	int ret;

	for (; length; length -= done, offset += done, buffer += done) {
		ret = write_in_place(image, buffer, length, offset, &done, err);
		if (!ret && !done)
			ret = write_held(image, buffer, length, offset, &done,
					 err);
		if (ret < 0) {
			error_prefix(err, "%s: writing the disk at %llu: ",
				     image->path, (unsigned long long)offset);
			return error_at(err, offset);
		}
	}
	return 0;
}

/* Bytes of one sector: it is read, changed and written as a whole. */
static int write_part(struct image *image, const unsigned char *buffer,
		      uint64_t length, uint64_t offset, struct gild_error *err)
{
	uint64_t start = round_down(offset, CIPHER_SECTOR);
	unsigned char sector[CIPHER_SECTOR];

	if (!length)
		return 0;
	if (image_read(image, sector, CIPHER_SECTOR, start, err) < 0)
		return -1;
	memcpy(sector + (offset - start), buffer, length);
	return write_pieces(image, sector, CIPHER_SECTOR, start, err);
}

/* What is encrypted is written in whole sectors. */
static int write_sectors(struct image *image, const unsigned char *buffer,
			 uint64_t length, uint64_t offset,
			 struct gild_error *err)
{
	uint64_t head = min_u64(-offset & (CIPHER_SECTOR - 1), length);
	uint64_t middle = round_down(length - head, CIPHER_SECTOR);
	uint64_t tail = length - head - middle;
	int ret;

	ret = write_part(image, buffer, head, offset, err);
	if (!ret)
		ret = write_pieces(image, buffer + head, middle, offset + head,
				   err);
	if (!ret)
		ret = write_part(image, buffer + head + middle, tail,
				 offset + head + middle, err);
	return ret;
}

int io_write(struct image *image, const unsigned char *buffer, uint64_t length,
	     uint64_t offset, struct gild_error *err)
{
	if (image->encryption)
		return write_sectors(image, buffer, length, offset, err);
	return write_pieces(image, buffer, length, offset, err);
}

void io_hold_sectors(struct image *image, struct range *range, uint64_t offset,
		     uint64_t length)
{
	if (!image->encryption)
		return;
	range->start = round_down(offset, CIPHER_SECTOR);
	range->end = round_up(offset + length, CIPHER_SECTOR);
	range_hold(&image->sectors, range);
}

void io_release_sectors(struct image *image, struct range *range)
{
	if (image->encryption)
		range_release(&image->sectors, range);
}

int io_finish_write(struct image *image, uint64_t offset, uint64_t length,
		    int result, struct gild_error *err)
{
	if (result < 0) {
		/* Some of it may be there. */
		image_wrote(image, offset, length, NULL);
		return -1;
	}
	if (image_wrote(image, offset, length, err) < 0)
		return error_prefix(err, "%s: ", image->path);
	/* Cache modes that promise durable writes. */
	if (image->cache == GILD_CACHE_WRITETHROUGH ||
	    image->cache == GILD_CACHE_DIRECTSYNC)
		return image_flush(image, false, err);
	return 0;
}

int image_write(struct image *image, const void *buffer, uint64_t length,
		uint64_t offset, struct gild_error *err)
{
	struct range range;
	int ret;

	if (io_check_writable(image, offset, length, err) < 0)
		return -1;
	io_hold_sectors(image, &range, offset, length);
	ret = io_write(image, buffer, length, offset, err);
	io_release_sectors(image, &range);
	return io_finish_write(image, offset, length, ret, err);
}

static int store_compressed(struct image *image, const void *stored,
			    uint32_t stored_length, uint64_t offset,
			    struct gild_error *err)
{
	struct write_plan plan;

	if (image->ops->prepare_compressed(image, offset, stored_length, &plan,
					   err) < 0)
		return -1;
	if (plan_write(&plan, plan.start, stored, stored_length, err) < 0 ||
	    image->ops->commit_write(image, &plan, err) < 0) {
		image->ops->abort_write(image, &plan);
		return -1;
	}
	return 0;
}

static int check_compressed(const struct image *image, uint64_t offset,
			    uint64_t length, struct gild_error *err)
{
	if (!image->ops->prepare_compressed)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: format %s has no compressed clusters",
			    image->path, image->ops->name);
	if (image->encryption)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: what is encrypted is not compressed",
			    image->path);
	if (length && length <= image->cluster_size &&
	    is_aligned(offset, image->cluster_size) &&
	    (length == image->cluster_size || offset + length == image->size))
		return 0;
	return fail(err, GILD_ERR_INVALID, 0,
		    "%s: a compressed write takes one whole cluster",
		    image->path);
}

static int write_compressed(struct image *image, const void *buffer,
			    uint64_t length, uint64_t offset,
			    struct gild_error *err)
{
	struct range range = io_whole_clusters(image, offset, length);
	AUTO_FREE unsigned char *stored = malloc(image->cluster_size);
	long stored_length;
	unsigned slot;
	int ret;

	if (!stored)
		return fail_nomem(err);
	stored_length = image->ops->compress(image, buffer, length, stored,
					     image->cluster_size, err);
	if (stored_length < 0)
		return -1;
	if (!stored_length)
		return io_write(image, buffer, length, offset, err);
	range_hold(&image->ranges, &range);
	slot = epoch_enter(&image->epoch);
	ret = store_compressed(image, stored, (uint32_t)stored_length, offset,
			       err);
	epoch_leave(&image->epoch, slot);
	range_release(&image->ranges, &range);
	return ret;
}

int gild_write_compressed(struct gild_image *handle, const void *buffer,
			  uint64_t length, uint64_t offset,
			  struct gild_error *err)
{
	struct image *image = image_of(handle);
	int ret;

	if (io_check_writable(image, offset, length, err) < 0 ||
	    check_compressed(image, offset, length, err) < 0)
		return -1;
	ret = write_compressed(image, buffer, length, offset, err);
	if (ret < 0)
		error_prefix(err, "%s: ", image->path);
	return io_finish_write(image, offset, length, ret, err);
}

/* ------------------------------------------------------------ flushing -- */

int image_flush(struct image *image, bool closing, struct gild_error *err)
{
	int ret;

	if (!(image->flags & GILD_OPEN_WRITE))
		return 0;
	if (image->ops->flush)
		ret = image->ops->flush(image, closing, err);
	else if (image->unpublished)
		ret = 0;
	else
		ret = storage_flush(image->storage, err);
	return ret < 0 ? error_prefix(err, "%s: ", image->path) : 0;
}

/* -------------------------------------------------------------- public -- */

int gild_read(struct gild_image *image, void *buffer, uint64_t length,
	      uint64_t offset, struct gild_error *err)
{
	return image_read(image_of(image), buffer, length, offset, err);
}

int gild_write(struct gild_image *image, const void *buffer, uint64_t length,
	       uint64_t offset, struct gild_error *err)
{
	return image_write(image_of(image), buffer, length, offset, err);
}

int gild_flush(struct gild_image *image, struct gild_error *err)
{
	return image_flush(image_of(image), false, err);
}

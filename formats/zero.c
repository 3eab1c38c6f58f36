/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Zeros and discards: whole units are the driver's to change in its tables;
 * what is left at the edges, and what a format cannot say, is written (or, with
 * GILD_ZERO_FAST, refused).
 */
#include "formats/image.h"
#include "formats/io.h"
#include "util/bytes.h"
#include "util/error.h"

#define ZERO_BUFFER (64U << 10)
static const unsigned char zeros[ZERO_BUFFER];

/* Zeros where the format has no other way: nothing where they are already,
 * by the host's means where the place is ours (and zeros there are zeros of the
 * disk: not encrypted), else written. */
static int zero_piece(struct image *image, uint64_t offset, uint64_t length,
		      unsigned flags, uint64_t *done, struct gild_error *err)
{
	unsigned slot = epoch_enter(&image->epoch);
	struct extent extent;
	struct image *layer;
	bool settled = false;
	int ret;

	ret = chain_map(image, offset, length, &extent, &layer, err);
	if (!ret && layer == image && extent.kind == EXTENT_DATA &&
	    extent.writable && !extent.cipher) {
		ret = storage_try_zero(extent.storage, extent.host_offset,
				       extent.length,
				       !(flags & GILD_ZERO_UNMAP), err);
		settled = !ret;
	}
	epoch_leave(&image->epoch, slot);
	if (ret < 0)
		return -1;
	*done = extent.length;
	if (settled ||
	    (extent.kind == EXTENT_ZERO &&
	     (!(flags & IMAGE_ZERO_OWN) || (layer == image && !extent.absent))))
		return 0;
	if (flags & GILD_ZERO_FAST)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "zeros there would have to be written");
	*done = min_u64(*done, ZERO_BUFFER);
	return io_write(image, zeros, *done, offset, err);
}

static int zero_by_pieces(struct image *image, uint64_t offset, uint64_t length,
			  unsigned flags, struct gild_error *err)
{
	uint64_t done;

	for (; length; offset += done, length -= done)
		if (zero_piece(image, offset, length, flags, &done, err) < 0)
			return -1;
	return 0;
}

/* The whole units inside a range; the disk's end counts as a unit's. */
static bool inner_units(const struct image *image, uint64_t offset,
			uint64_t length, uint64_t unit, uint64_t *start,
			uint64_t *end)
{
	*start = round_up(offset, unit);
	*end = offset + length;
	if (*end < image->size)
		*end = round_down(*end, unit);
	return *start < *end;
}

typedef int units_op(struct image *image, uint64_t offset, uint64_t length,
		     unsigned flags, struct gild_error *err);

/* Let the driver do it, with the range held. */
static int held_units(struct image *image, units_op *op, uint64_t start,
		      uint64_t end, unsigned flags, struct gild_error *err)
{
	struct range range = io_whole_clusters(image, start, end - start);
	int ret;

	range_hold(&image->ranges, &range);
	ret = op(image, start, end - start, flags, err);
	range_release(&image->ranges, &range);
	return ret;
}

static int zero_range(struct image *image, uint64_t offset, uint64_t length,
		      unsigned flags, struct gild_error *err)
{
	unsigned edges = flags & ~(unsigned)GILD_ZERO_FAST;
	uint64_t start, end;
	int ret = 1;

	if (!image->ops->zero)
		return zero_by_pieces(image, offset, length, flags, err);
	if (!inner_units(image, offset, length, image->unit, &start, &end))
		return zero_by_pieces(image, offset, length, edges, err);
	if (zero_by_pieces(image, offset, start - offset, edges, err) < 0)
		return -1;
	ret = held_units(image, image->ops->zero, start, end, flags, err);
	if (ret == 1)
		ret = zero_by_pieces(image, start, end - start, flags, err);
	if (ret < 0)
		return -1;
	return zero_by_pieces(image, end, offset + length - end, edges, err);
}

int image_zero(struct image *image, uint64_t offset, uint64_t length,
	       unsigned flags, struct gild_error *err)
{
	struct range sectors;
	int ret;

	if (io_check_writable(image, offset, length, err) < 0)
		return -1;
	io_hold_sectors(image, &sectors, offset, length);
	ret = zero_range(image, offset, length, flags, err);
	io_release_sectors(image, &sectors);
	if (ret < 0)
		error_prefix(err, "%s: ", image->path);
	if (flags & IMAGE_ZERO_NEW)
		length = 0;
	return io_finish_write(image, offset, length, ret, err);
}

static int discard_units(struct image *image, uint64_t offset, uint64_t length,
			 unsigned flags, struct gild_error *err)
{
	(void)flags;
	return image->ops->discard(image, offset, length, err);
}

int image_discard(struct image *image, uint64_t offset, uint64_t length,
		  struct gild_error *err)
{
	uint64_t unit = max_u64(image->unit, image->cluster_size);
	uint64_t start, end;
	int ret = 0;

	if (io_check_writable(image, offset, length, err) < 0)
		return -1;
	if (image->ops->discard &&
	    inner_units(image, offset, length, unit, &start, &end))
		ret = held_units(image, discard_units, start, end, 0, err);
	if (ret < 0)
		error_prefix(err, "%s: ", image->path);
	return io_finish_write(image, offset, length, ret, err);
}

int gild_zero(struct gild_image *image, uint64_t offset, uint64_t length,
	      unsigned flags, struct gild_error *err)
{
	return image_zero(image_of(image), offset, length, flags, err);
}

int gild_discard(struct gild_image *image, uint64_t offset, uint64_t length,
		 struct gild_error *err)
{
	return image_discard(image_of(image), offset, length, err);
}

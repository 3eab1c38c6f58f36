/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host space for parts of the disk that have none and read as zeros; they go on
 * doing so. The place is made to read as zeros before it is linked, like any
 * other data.
 */
#include "formats/extent-io.h"
#include "formats/io.h"
#include "util/bytes.h"

#define ZERO_BUFFER (64U << 10)
static const unsigned char zeros[ZERO_BUFFER];

static int write_zeros(const struct write_plan *plan, uint64_t offset,
		       uint64_t length, struct gild_error *err)
{
	uint64_t n;

	for (; length; offset += n, length -= n) {
		n = min_u64(length, ZERO_BUFFER);
		if (plan_write(plan, offset, zeros, n, err) < 0)
			return -1;
	}
	return 0;
}

static int zero_place(const struct write_plan *plan, uint64_t offset,
		      uint64_t length, enum gild_preallocation how,
		      struct gild_error *err)
{
	return storage_zero(plan->storage,
			    plan->host_offset + (offset - plan->start), length,
			    how == GILD_PREALLOCATION_FALLOC, err);
}

/* The disk's bytes are the file's: what has no space are holes of that. */
static int reserve_bytes(struct image *image, uint64_t offset, uint64_t length,
			 enum gild_preallocation how, uint64_t *done,
			 struct gild_error *err)
{
	struct write_plan plan;
	uint64_t host, end;
	bool data;

	if (image->ops->prepare_write(image, offset, length, &plan, err) < 0)
		return -1;
	host = plan.host_offset + (offset - plan.start);
	if (storage_extent(plan.storage, host, &data, &end, err) < 0)
		return -1;
	*done = min_u64(min_u64(length, plan.start + plan.length - offset),
			end - host);
	if (data)
		return 0;
	if (how == GILD_PREALLOCATION_FULL)
		return write_zeros(&plan, offset, *done, err);
	return zero_place(&plan, offset, *done, how, err);
}

/* Zeros of the file are no zeros of the disk where that is encrypted. */
static int fill(const struct write_plan *plan, uint64_t offset, uint64_t length,
		enum gild_preallocation how, struct gild_error *err)
{
	if (how == GILD_PREALLOCATION_FULL || plan->cipher)
		return write_zeros(plan, offset, length, err);
	return zero_place(plan, offset, length, how, err);
}

/* Whole units, none of which has a place of its own. Those around them may have
 * data in a cluster that snapshots share: it is copied as a whole. */
static int reserve_units(struct image *image, uint64_t start, uint64_t end,
			 enum gild_preallocation how, uint64_t *done,
			 struct gild_error *err)
{
	struct write_plan plan;

	if (image->ops->prepare_write(image, start, end - start, &plan, err) <
	    0)
		return -1;
	*done = min_u64(end, plan.start + plan.length) - start;
	if (plan.in_place)
		return 0;
	if (fill(&plan, start, *done, how, err) < 0 ||
	    io_fill_edges(image, &plan, start, *done, err) < 0 ||
	    image->ops->commit_write(image, &plan, err) < 0) {
		image->ops->abort_write(image, &plan);
		return -1;
	}
	return 0;
}

static int reserve(struct image *image, uint64_t offset, uint64_t length,
		   enum gild_preallocation how, uint64_t *done,
		   struct gild_error *err)
{
	uint64_t start = round_up(offset, image->unit), end;
	struct extent extent;
	struct image *layer;

	if (!image->cluster_size)
		return reserve_bytes(image, offset, length, how, done, err);
	if (chain_map(image, offset, length, &extent, &layer, err) < 0)
		return -1;
	*done = extent.length;
	if (extent.kind != EXTENT_ZERO || (layer == image && extent.allocated))
		return 0;
	end = offset + extent.length;
	if (end < image->size)
		end = round_down(end, image->unit);
	if (start >= end)
		return 0;
	*done = start - offset;
	return *done ? 0 : reserve_units(image, start, end, how, done, err);
}

int image_allocate(struct image *image, uint64_t offset, uint64_t length,
		   enum gild_preallocation how, uint64_t *done,
		   struct gild_error *err)
{
	struct range range = io_whole_clusters(image, offset, length);
	unsigned slot;
	int ret;

	*done = 0;
	if (io_check_writable(image, offset, length, err) < 0)
		return -1;
	range_hold(&image->ranges, &range);
	slot = epoch_enter(&image->epoch);
	ret = reserve(image, offset, length, how, done, err);
	epoch_leave(&image->epoch, slot);
	range_release(&image->ranges, &range);
	if (ret < 0)
		return error_prefix(err, "%s: ", image->path);
	return 0;
}

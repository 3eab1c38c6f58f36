/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rebasing: another backing file, and the same disk. Where the image says
 * nothing of its own and the old and the new backing file differ, the old
 * content is written into the image. The header is switched last, so that the
 * disk reads the same at every moment.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/image.h"
#include "jobs/job.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"
#include "util/zeros.h"

/* Read at a time, or a cluster where that is larger. */
#define PIECE (1U << 20)

struct rebase {
	struct image *image; /* still with its old backing file */
	struct image *fresh; /* the new one, or NULL: none */
	uint64_t unit;	     /* of comparing and writing */
	uint64_t piece;	     /* read at a time; whole units */
	unsigned char *old_bytes, *new_bytes; /* piece each */
	bool compress;
	struct gild_job *job;
};

/* What the new backing file gives at [offset, + length). */
static int read_new(const struct rebase *rebase, uint64_t offset,
		    uint64_t length, struct gild_error *err)
{
	uint64_t readable = 0;

	if (rebase->fresh && offset < rebase->fresh->size)
		readable = min_u64(length, rebase->fresh->size - offset);
	memset(rebase->new_bytes + readable, 0, length - readable);
	return readable ? image_read(rebase->fresh, rebase->new_bytes, readable,
				     offset, err) :
			  0;
}

static int keep_old(const struct rebase *rebase, const unsigned char *bytes,
		    uint64_t length, uint64_t offset, struct gild_error *err)
{
	struct image *image = rebase->image;

	if (is_zero(bytes, length))
		return image_zero(image, offset, length,
				  GILD_ZERO_UNMAP | IMAGE_ZERO_OWN, err);
	/* Part of a cluster stays plain: where it has subclusters of its own,
	 * or where what is below it changes inside. */
	if (rebase->compress && is_aligned(offset, rebase->unit) &&
	    (length == rebase->unit || offset + length == image->size))
		return gild_write_compressed((struct gild_image *)image, bytes,
					     length, offset, err);
	return image_write(image, bytes, length, offset, err);
}

/* Units of [offset, + length) that differ are written. */
static int compare_piece(const struct rebase *rebase, uint64_t offset,
			 uint64_t length, struct gild_error *err)
{
	uint64_t n;

	if (image_read(rebase->image, rebase->old_bytes, length, offset, err) <
		    0 ||
	    read_new(rebase, offset, length, err) < 0)
		return -1;
	for (uint64_t at = 0; at < length; at += n) {
		n = min_u64(rebase->unit - ((offset + at) & (rebase->unit - 1)),
			    length - at);
		if (memcmp(rebase->old_bytes + at, rebase->new_bytes + at, n) &&
		    keep_old(rebase, rebase->old_bytes + at, n, offset + at,
			     err) < 0)
			return -1;
	}
	return 0;
}

static int map_new(const struct rebase *rebase, uint64_t offset,
		   uint64_t length, struct extent *extent,
		   struct gild_error *err)
{
	struct image *layer;

	*extent = (struct extent){ .kind = EXTENT_ZERO, .length = length };
	if (!rebase->fresh || offset >= rebase->fresh->size)
		return 0;
	return chain_map_deep(rebase->fresh, offset,
			      min_u64(length, rebase->fresh->size - offset),
			      extent, &layer, err);
}

/* Do both lead to the same bytes of one file? */
static bool same_place(const struct extent *a, const struct extent *b)
{
	if (a->kind == EXTENT_ZERO)
		return b->kind == EXTENT_ZERO;
	return a->kind == b->kind && a->host_offset == b->host_offset &&
	       (a->kind != EXTENT_COMPRESSED ||
		a->unit_start == b->unit_start) &&
	       image_same_file(a->storage, b->storage);
}

/* A first part of [offset, + length), which the image leaves to its backing
 * file. Returns how much, or -1. */
static int64_t rebase_piece(const struct rebase *rebase, uint64_t offset,
			    uint64_t length, struct gild_error *err)
{
	struct extent old, fresh;
	struct image *layer;

	if (chain_map_deep(rebase->image, offset, length, &old, &layer, err) <
		    0 ||
	    map_new(rebase, offset, old.length, &fresh, err) < 0)
		return -1;
	length = min_u64(old.length, fresh.length);
	if (same_place(&old, &fresh))
		return (int64_t)length;
	if (length > rebase->piece)
		length = rebase->piece - (offset & (rebase->unit - 1));
	return compare_piece(rebase, offset, length, err) < 0 ? -1 :
								(int64_t)length;
}

static int rebase_all(const struct rebase *rebase, struct gild_error *err)
{
	struct image *image = rebase->image;
	struct extent own;
	int64_t done;

	for (uint64_t at = 0; at < image->size; at += (uint64_t)done) {
		if (job_check(rebase->job, err) < 0 ||
		    image->ops->map(image, at, image->size - at, &own, err) < 0)
			return -1;
		done = (int64_t)own.length;
		if (own.kind == EXTENT_BACKING)
			done = rebase_piece(rebase, at, own.length, err);
		if (done < 0)
			return -1;
		job_step(rebase->job, (uint64_t)done);
	}
	return image_flush(image, false, err);
}

/* Before it is opened for good: who writes the image would meet his own lock
 * there. */
static int look_at_fresh(const struct image *image,
			 const struct gild_rebase_options *options,
			 struct gild_error *err)
{
	struct image *fresh = image_probe(image->path, options->backing,
					  options->backing_format,
					  &options->policy, err);
	int ret;

	if (!fresh)
		return error_prefix(err, "new backing file: ");
	ret = image_check_chain(image->path, fresh, err);
	image_free(fresh);
	return ret;
}

static int open_fresh(struct image *image,
		      const struct gild_rebase_options *options,
		      struct image **fresh, struct gild_error *err)
{
	struct gild_open_options open_options = {
		.format = options->backing_format,
		.flags = options->share ? GILD_OPEN_SHARE : 0,
		.cache = options->cache,
		.policy = options->policy,
	};

	*fresh = NULL;
	if (!options->backing)
		return 0;
	if (look_at_fresh(image, options, err) < 0)
		return -1;
	*fresh = image_of(image_open_named(image->path, options->backing,
					   &open_options, err));
	return *fresh ? 0 : error_prefix(err, "new backing file: ");
}

static int rebase_safely(struct image *image,
			 const struct gild_rebase_options *options,
			 struct gild_job *job, struct gild_error *err)
{
	uint64_t unit = max_u64(image->unit, image->cluster_size);
	uint64_t piece = max_u64(PIECE, unit);
	AUTO_FREE unsigned char *old_bytes = memory_io_buffer(piece);
	AUTO_FREE unsigned char *new_bytes = memory_io_buffer(piece);
	struct rebase rebase = {
		.image = image,
		.unit = unit,
		.piece = piece,
		.old_bytes = old_bytes,
		.new_bytes = new_bytes,
		.compress = options->compress,
		.job = job,
	};
	int ret;

	if (!old_bytes || !new_bytes)
		return fail_nomem(err);
	if (open_fresh(image, options, &rebase.fresh, err) < 0)
		return -1;
	job_total(job, image->size);
	ret = rebase_all(&rebase, err);
	image_free(rebase.fresh);
	return ret;
}

static int check_options(const struct image *image,
			 const struct gild_rebase_options *options,
			 struct gild_error *err)
{
	if (!(image->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for reading only", image->path);
	if (!image->ops->set_backing)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: format %s has no backing files", image->path,
			    image->ops->name);
	if (options->backing && !options->backing_format) {
		fail(err, GILD_ERR_INVALID, 0,
		     "backing file %s needs its format named",
		     options->backing);
		return error_hint(err, "name it with -F qcow2 or -F raw");
	}
	return 0;
}

int gild_rebase(struct gild_image *handle,
		const struct gild_rebase_options *options, struct gild_job *job,
		struct gild_error *err)
{
	struct image *image = image_of(handle);

	if (check_options(image, options, err) < 0)
		return -1;
	if (!options->unchecked && rebase_safely(image, options, job, err) < 0)
		return -1;
	if (image->ops->set_backing(image, options->backing,
				    options->backing_format, err) < 0)
		return error_prefix(err, "%s: ", image->path);
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Converting: what the options mean for a copy, and which way it goes:
 *
 *   images -> image          copy.c, or share.c where blocks can be shared
 *   an image's snapshots, too    keep.c, one copy.c after the other
 *   stream -> image          copy.c; the target grows as bytes come
 *   images -> raw stream     copy.c
 *   images -> qcow2 stream   copy.c lays it out, emit.c sends it
 */
#include <string.h>

#include "jobs/base.h"
#include "jobs/bitmaps.h"
#include "jobs/emit.h"
#include "jobs/keep.h"
#include "jobs/share.h"
#include "jobs/target.h"
#include "util/bytes.h"

#define MAX_GRANULE (1U << 20)
#define SECTOR 512U

/* A disk this large needs one cluster of L1 table; a stream that is longer
 * doubles it. */
#define STREAM_SIZE (64ULL << 30)

static bool is_raw(const struct gild_convert_options *options)
{
	return !options->format || !strcmp(options->format, "raw");
}

static bool has_option(const struct gild_convert_options *options,
		       const char *name, const char *fallback)
{
	const char *value =
		option_get(options->options, options->option_count, name);

	return value && strcmp(value, fallback) != 0;
}

static bool wants_encryption(const struct gild_convert_options *options)
{
	return has_option(options, "encrypt.format", "") ||
	       has_option(options, "encryption", "off");
}

static int check_streams(const struct gild_convert_options *options,
			 struct gild_error *err)
{
	if (!options->source_count && options->backing)
		return fail(err, GILD_ERR_INVALID, 0,
			    "a stream cannot be compared with a backing file");
	if (!options->source_count && options->part)
		return fail(err, GILD_ERR_INVALID, 0,
			    "a stream is copied as a whole");
	if (!options->source_count &&
	    has_option(options, "preallocation", "off"))
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "no space can be set aside for a stream, whose "
			    "length is not known");
	if (options->target)
		return 0;
	if (options->compress)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "a compressed image cannot be streamed: its "
			    "clusters' places are not known beforehand");
	if (!options->source_count && !is_raw(options))
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "from a stream to a stream goes only raw");
	if (has_option(options, "data_file", "") ||
	    has_option(options, "preallocation", "off"))
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "a streamed image has neither a data file nor "
			    "space set aside");
	if (options->no_create || options->sync)
		return fail(err, GILD_ERR_INVALID, 0,
			    "a stream is neither there already nor synced");
	return 0;
}

/* What has no place for snapshots, or nothing that they could be of. */
static int check_keeping(const struct gild_convert_options *options,
			 const struct format_ops *ops, struct gild_error *err)
{
	if (options->source_count != 1 || !options->target)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "snapshots are kept from one image to one other, "
			    "and streams have none");
	if (!ops->snapshots)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "snapshots cannot be kept: format %s has none",
			    ops->name);
	if (options->no_create)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "snapshots cannot be kept in an image that is "
			    "there already");
	if (image_of(options->sources[0])->snapshot || options->part)
		return fail(err, GILD_ERR_INVALID, 0,
			    "of one snapshot, or of a part of a disk, no "
			    "others can be kept");
	return 0;
}

static int check_options(const struct gild_convert_options *options,
			 struct gild_error *err)
{
	const struct format_ops *ops = registry_want(options->format, err);

	if (!ops)
		return -1;
	if (options->compress && !ops->compress) {
		fail(err, GILD_ERR_UNSUPPORTED, 0,
		     "format %s has no compressed clusters", ops->name);
		return error_hint(err, "-O qcow2 has them");
	}
	if (options->compress && wants_encryption(options))
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "compression and encryption exclude each other");
	if (options->compress && has_option(options, "preallocation", "off"))
		return fail(err, GILD_ERR_INVALID, 0,
			    "compression and preallocation exclude each other");
	if (options->sparse_size != GILD_SPARSE_DEFAULT &&
	    options->sparse_size % SECTOR)
		return fail(err, GILD_ERR_INVALID, 0,
			    "sparse size must be a multiple of 512");
	if (options->no_create && options->backing)
		return fail(err, GILD_ERR_INVALID, 0,
			    "an image that is there already keeps its backing "
			    "file");
	if (options->target_is_zero && !options->no_create)
		return fail(err, GILD_ERR_INVALID, 0,
			    "--target-is-zero says something about a target "
			    "that is there already (-n)");
	if (options->keep_snapshots && check_keeping(options, ops, err) < 0)
		return -1;
	return check_streams(options, err);
}

/* The stretch of zeros that counts: a power of two, so that it and clusters
 * fit into each other. */
static uint64_t granule(const struct gild_convert_options *options)
{
	uint64_t size = COPY_GRANULE;

	if (options->sparse_size == GILD_SPARSE_DEFAULT ||
	    !options->sparse_size)
		return COPY_GRANULE;
	while (size > options->sparse_size)
		size /= 2;
	while (size * 2 <= options->sparse_size && size < MAX_GRANULE)
		size *= 2;
	return size;
}

static struct copy copy_for(const struct source *source,
			    const struct gild_convert_options *options,
			    struct gild_job *job)
{
	return (struct copy){
		.source = *source,
		.stream_in = options->stream_in,
		.stream_is_raw = options->stream_is_raw,
		.stream_out = options->stream_out,
		.find_zeros = options->sparse_size != 0,
		.salvage = options->salvage,
		.warn = options->warn,
		.opaque = options->opaque,
		.job = job,
	};
}

/* ---------------------------------------------------------- to an image -- */

/* As far as it is known; what is there already is as large as it is. */
static uint64_t disk_size(const struct source *source,
			  const struct gild_convert_options *options)
{
	if (source->count)
		return source->size;
	return options->no_create ? 0 : STREAM_SIZE;
}

static bool may_share(const struct copy *copy,
		      const struct gild_convert_options *options)
{
	return !options->no_reflink && !options->compress &&
	       !options->no_create && !options->backing && !options->salvage &&
	       copy->target_is_zero &&
	       options->sparse_size == GILD_SPARSE_DEFAULT;
}

static int fill_target(struct copy *copy,
		       const struct gild_convert_options *options,
		       struct gild_error *err)
{
	int ret = 1;

	if (may_share(copy, options))
		ret = share_run(copy, err);
	return ret == 1 ? copy_run(copy, copy_workers(options->workers), err) :
			  ret;
}

static int to_image(const struct source *source,
		    const struct gild_convert_options *options,
		    struct gild_job *job, struct gild_error *err)
{
	struct copy copy = copy_for(source, options, job);
	struct target target;

	if (target_open(&target, source, disk_size(source, options), options,
			err) < 0)
		return -1;
	copy_set_target(&copy, target.image, options->compress,
			granule(options));
	base_set(&copy, &target);
	if (bitmaps_check_target(source, target.image, options, err) < 0 ||
	    fill_target(&copy, options, err) < 0 ||
	    bitmaps_copy(source, target.image, options, err) < 0)
		goto err;
	if (!source->count && !options->no_create &&
	    target.image->ops->resize(target.image,
				      round_up(copy.streamed, SECTOR), err) < 0)
		goto err;
	return target_finish(&target, err);
err:
	target_abandon(&target);
	return -1;
}

static int with_snapshots(const struct source *source,
			  const struct gild_convert_options *options,
			  struct gild_job *job, struct gild_error *err)
{
	struct copy copy = copy_for(source, options, job);
	size_t count;

	if (keep_count(image_of(options->sources[0]), &count, err) < 0)
		return -1;
	/* Without any there are faster ways. */
	if (!count)
		return to_image(source, options, job, err);
	return keep_run(&copy, options, granule(options), err);
}

/* --------------------------------------------------------- to a stream -- */

static int to_raw_stream(const struct source *source,
			 const struct gild_convert_options *options,
			 struct gild_job *job, struct gild_error *err)
{
	struct copy copy = copy_for(source, options, job);

	copy_set_target(&copy, NULL, false, granule(options));
	return copy_run(&copy, copy_workers(options->workers), err);
}

static int to_image_stream(const struct source *source,
			   const struct gild_convert_options *options,
			   struct gild_job *job, struct gild_error *err)
{
	struct copy copy = copy_for(source, options, job);
	struct target target;
	int ret;

	if (target_open_layout(&target, source, source->size, options, err) < 0)
		return -1;
	copy_set_target(&copy, target.image, options->compress,
			granule(options));
	base_set(&copy, &target);
	ret = bitmaps_check_target(source, target.image, options, err);
	if (!ret)
		ret = copy_run(&copy, copy_workers(options->workers), err);
	if (!ret)
		ret = bitmaps_copy(source, target.image, options, err);
	if (!ret)
		ret = image_flush(target.image, true, err);
	if (!ret)
		ret = emit_run(target.image, source, options->stream_out, job,
			       err);
	target_abandon(&target);
	return ret;
}

int gild_convert(const struct gild_convert_options *options,
		 struct gild_job *job, struct gild_error *err)
{
	struct source source;

	if (check_options(options, err) < 0 ||
	    source_init(&source, options->sources, options->source_count, err) <
		    0 ||
	    bitmaps_check(&source, options, err) < 0)
		return -1;
	if (options->part &&
	    source_cut(&source, options->start, options->length, err) < 0)
		return -1;
	if (options->keep_snapshots)
		return with_snapshots(&source, options, job, err);
	if (options->target)
		return to_image(&source, options, job, err);
	if (is_raw(options))
		return to_raw_stream(&source, options, job, err);
	return to_image_stream(&source, options, job, err);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is encrypted on either side is not shared: the same bytes are other data
 * at another place.
 *
 * The disk is walked in stretches of whole target units. A stretch that has
 * one place in one file (holes of that file included, while they are shorter
 * than a unit) is shared; one that reads as zeros is stepped over; what is
 * left is read and written, a unit at a time.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/share.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"
#include "util/zeros.h"

/* Shared blocks begin and end at multiples of this on every file system that
 * has them. */
#define BLOCK 4096

struct stretch {
	uint64_t length;
	struct storage *storage; /* NULL: no single place */
	uint64_t host_offset;
	bool zero;
};

static bool has_place(const struct extent *extent)
{
	return (extent->kind == EXTENT_DATA && !extent->cipher) ||
	       (extent->kind == EXTENT_ZERO && extent->hole);
}

static bool continues(const struct stretch *stretch,
		      const struct extent *extent)
{
	return stretch->storage && has_place(extent) &&
	       extent->storage == stretch->storage &&
	       extent->host_offset == stretch->host_offset + stretch->length;
}

static int map_at(const struct copy *copy, uint64_t at, struct extent *extent,
		  struct gild_error *err)
{
	struct image *layer, *top;

	return source_map(&copy->source, at, copy->source.size - at, extent,
			  &layer, &top, err);
}

/* Lengthen a stretch that has a place as far as the place goes on. A hole that
 * holds a whole unit ends it. */
static int lengthen(const struct copy *copy, uint64_t at,
		    struct stretch *stretch, struct gild_error *err)
{
	struct extent extent;
	uint64_t end;

	while ((end = at + stretch->length) < copy->source.size) {
		if (map_at(copy, end, &extent, err) < 0)
			return -1;
		if (!continues(stretch, &extent))
			break;
		if (extent.kind == EXTENT_ZERO &&
		    round_up(end, copy->unit) + copy->unit <=
			    end + extent.length) {
			stretch->length += round_up(end, copy->unit) - end;
			break;
		}
		stretch->length += extent.length;
	}
	return 0;
}

static int next_stretch(const struct copy *copy, uint64_t at,
			struct stretch *stretch, struct gild_error *err)
{
	struct extent extent;

	if (map_at(copy, at, &extent, err) < 0)
		return -1;
	*stretch = (struct stretch){
		.length = extent.length,
		.zero = extent.kind == EXTENT_ZERO,
	};
	if (stretch->zero && (extent.length >= copy->unit ||
			      at + extent.length == copy->source.size))
		return 0;
	stretch->zero = false;
	if (!has_place(&extent))
		return 0;
	stretch->storage = extent.storage;
	stretch->host_offset = extent.host_offset;
	return lengthen(copy, at, stretch, err);
}

/* Whole units of it, as far as blocks can be shared. */
static uint64_t shareable(const struct copy *copy,
			  const struct stretch *stretch)
{
	if (!stretch->storage || !is_aligned(stretch->host_offset, BLOCK))
		return 0;
	return round_down(stretch->length, max_u64(copy->unit, BLOCK));
}

/* Share a first part of [at, at + length); *done = 0 where the host cannot. */
static int share_piece(struct copy *copy, const struct stretch *stretch,
		       uint64_t at, uint64_t length, uint64_t *done,
		       struct gild_error *err)
{
	struct image *target = copy->target;
	struct write_plan plan;
	int ret;

	*done = 0;
	if (target->ops->prepare_write(target, at, length, &plan, err) < 0)
		return -1;
	length = min_u64(length, plan.start + plan.length - at);
	ret = storage_share(plan.storage, plan.host_offset + (at - plan.start),
			    stretch->storage, stretch->host_offset, length,
			    err);
	if (!ret && !plan.in_place)
		ret = target->ops->commit_write(target, &plan, err);
	if (ret && !plan.in_place)
		target->ops->abort_write(target, &plan);
	if (!ret)
		*done = length;
	return ret < 0 ? -1 : image_wrote(target, at, *done, err);
}

/* Read and write up to one unit. */
static int copy_unit(struct copy *copy, unsigned char *buffer, uint64_t at,
		     uint64_t *done, struct gild_error *err)
{
	uint64_t n = min_u64(copy->unit - (at & (copy->unit - 1)),
			     copy->source.size - at);

	*done = n;
	if (source_read(&copy->source, buffer, n, at, err) < 0)
		return -1;
	if (is_zero(buffer, n))
		return 0;
	return image_write(copy->target, buffer, n, at, err);
}

static int share_stretch(struct copy *copy, struct stretch *stretch,
			 uint64_t at, unsigned char *buffer, uint64_t *done,
			 struct gild_error *err)
{
	uint64_t length;

	if (stretch->zero) {
		*done = at + stretch->length == copy->source.size ?
				stretch->length :
				round_down(stretch->length, copy->unit);
		return 0;
	}
	length = shareable(copy, stretch);
	if (length) {
		if (share_piece(copy, stretch, at, length, done, err) < 0)
			return -1;
		if (*done)
			return 0;
	}
	return copy_unit(copy, buffer, at, done, err);
}

static int share_all(struct copy *copy, unsigned char *buffer,
		     struct gild_error *err)
{
	struct stretch stretch = { 0 };
	uint64_t done;

	for (uint64_t at = 0; at < copy->source.size; at += done) {
		/* What is left of a long stretch need not be looked up
		 * again. */
		if (!stretch.storage || !stretch.length)
			if (next_stretch(copy, at, &stretch, err) < 0)
				return -1;
		if (job_check(copy->job, err) < 0 ||
		    share_stretch(copy, &stretch, at, buffer, &done, err) < 0)
			return -1;
		stretch.length -= min_u64(done, stretch.length);
		stretch.host_offset += done;
		job_step(copy->job, done);
	}
	return 0;
}

/* Try it on a file that goes away again: can these two share? */
static bool can_share(struct storage *target, struct storage *source)
{
	int target_fd = storage_descriptor(target);
	AUTO_FREE char *path = memory_printf("/proc/self/fd/%d", target_fd);
	AUTO_FREE char *name = NULL;
	struct storage *trial;
	struct stat a, b;
	AUTO_CLOSE int fd = -1;
	int ret;

	if (target_fd < 0 || storage_descriptor(source) < 0 || !path ||
	    fstat(target_fd, &a) || fstat(storage_descriptor(source), &b) ||
	    !S_ISREG(a.st_mode) || !S_ISREG(b.st_mode) || a.st_dev != b.st_dev)
		return false;
	name = strdup(target->path);
	if (!name)
		return false;
	if (strrchr(name, '/'))
		strrchr(name, '/')[1] = '\0';
	fd = open(strchr(name, '/') ? name : ".",
		  O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	trial = storage_file_from_fd(steal_fd(&fd), "trial", STORAGE_WRITE,
				     NULL);
	if (!trial)
		return false;
	ret = storage_share(trial, 0, source, 0, BLOCK, NULL);
	storage_close(trial);
	return ret == 0;
}

/* Is there any file in the sources' chains to share with? */
static bool any_can_share(const struct copy *copy)
{
	for (size_t i = 0; i < copy->source.count; i++)
		for (struct image *image = image_of(copy->source.images[i]);
		     image; image = image->backing)
			if (!image->encryption &&
			    can_share(copy->target->storage, image->storage))
				return true;
	return false;
}

int share_run(struct copy *copy, struct gild_error *err)
{
	AUTO_FREE unsigned char *buffer = NULL;

	if (copy->target->encryption ||
	    !is_aligned(copy->source.start, BLOCK) || !any_can_share(copy))
		return 1;
	buffer = memory_io_buffer(copy->unit);
	if (!buffer)
		return fail_nomem(err);
	job_total(copy->job, copy->source.size);
	return share_all(copy, buffer, err);
}

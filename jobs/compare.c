/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Comparing two disks on all processors.
 *
 * Runs are claimed in the order of the disk: under the lock a worker asks both
 * images for extents, passes over what is zero in both, and takes up to a
 * chunk of the rest, which it then reads and compares alone. A shorter disk
 * counts as zeros behind its end.
 *
 * What is reported does not depend on the number of workers: a difference, or
 * a failure, is an event at an offset. Once there is one, no run behind it is
 * claimed any more; those before it are claimed already and may still find an
 * earlier one. The earliest wins.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/image.h"
#include "jobs/job.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"
#include "util/workers.h"

enum {
	CHUNK = 1 << 20, /* claimed at a time */
	PIECE = 1 << 18, /* read at a time: two of them stay in a cache */
	SECTOR = 512,	 /* differences are reported to the sector */
	MAX_WORKERS = 64,
};

/* One disk, and what was last learnt of it. */
struct side {
	struct gild_image *image;
	uint64_t size;
	struct gild_extent extent;
};

/* The earliest of these ends the comparison. */
struct event {
	uint64_t offset;
	bool failed;
	struct gild_comparison found; /* as far as this event fills it */
	struct gild_error err;	      /* of one that failed */
};

struct compare {
	/* Immutable while workers run. */
	bool strict;
	uint64_t common, size; /* of the shorter, of the longer disk */
	struct gild_job *job;

	pthread_mutex_t lock; /* protects all that follows */
	struct side sides[2]; /* extent; the rest is immutable */
	uint64_t position;    /* all before it is claimed */
	struct event event;   /* offset: UINT64_MAX while there is none */
};

/* --- events -------------------------------------------------------------- */

/* The caller holds the lock. */
static void record(struct compare *c, const struct event *event)
{
	if (event->offset < c->event.offset)
		c->event = *event;
}

static void record_locked(struct compare *c, const struct event *event)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&c->lock);

	record(c, event);
}

static struct event failure(uint64_t offset, enum gild_compare_step step,
			    unsigned image)
{
	return (struct event){
		.offset = offset,
		.failed = true,
		.found = { .failed_step = step, .failed_image = image },
	};
}

static struct event difference(uint64_t offset, enum gild_difference kind)
{
	return (struct event){
		.offset = offset,
		.found = { .difference = kind, .offset = offset },
	};
}

/* --- claiming; the caller holds the lock --------------------------------- */

/* Know the extent of a side at position; -1: an event is recorded. */
static int look(struct compare *c, unsigned which)
{
	struct side *side = &c->sides[which];
	uint64_t at = c->position;
	struct event event;

	if (at - side->extent.start < side->extent.length)
		return 0;
	if (at >= side->size) {
		side->extent = (struct gild_extent){
			.start = at,
			.length = c->size - at,
			.zero = true,
		};
		return 0;
	}
	event = failure(at, GILD_COMPARE_STATUS, which);
	if (gild_map(side->image, at, side->size - at, &side->extent,
		     &event.err) == 0)
		return 0;
	record(c, &event);
	return -1;
}

/* Are two extents stored alike, as far as qemu-img's strict mode tells? */
static bool is_alike(const struct gild_extent *a, const struct gild_extent *b)
{
	return a->present == b->present && a->zero == b->zero &&
	       a->data == b->data && a->compressed == b->compressed &&
	       a->has_offset == b->has_offset;
}

/* The run of both sides at position, up to the end of a chunk that began at
 * start. 0: there is none, an event is recorded where that has a reason. */
static uint64_t next_run(struct compare *c, uint64_t limit, bool *skip)
{
	const struct gild_extent *a = &c->sides[0].extent;
	const struct gild_extent *b = &c->sides[1].extent;
	uint64_t at = c->position, end;

	if (at >= c->event.offset || at >= c->size || look(c, 0) < 0 ||
	    look(c, 1) < 0)
		return 0;
	if (c->strict && !is_alike(a, b)) {
		struct event event = difference(at, GILD_DIFFERENT_ALLOCATION);

		record(c, &event);
		return 0;
	}
	*skip = a->zero && b->zero;
	end = min_u64(a->start + a->length, b->start + b->length);
	/* The two parts of a longer disk are different findings. */
	if (at < c->common)
		end = min_u64(end, c->common);
	return *skip ? end - at : min_u64(end - at, limit);
}

/* Pass over zeros; -1: nothing is left to do. */
static int skip_zeros(struct compare *c)
{
	bool skip = true;
	uint64_t run;

	while (skip) {
		if (job_is_cancelled(c->job))
			return -1;
		run = next_run(c, CHUNK, &skip);
		if (!run)
			return -1;
		if (skip) {
			job_step(c->job, run);
			c->position += run;
		}
	}
	return 0;
}

/* The next run to read and compare; false: there is none. */
static bool claim(struct compare *c, uint64_t *start, uint64_t *length)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&c->lock);
	bool skip = false;
	uint64_t run;

	if (skip_zeros(c) < 0)
		return false;
	*start = c->position;
	*length = 0;
	while (*length < CHUNK && (run = next_run(c, CHUNK - *length, &skip))) {
		if (skip || (*length && c->position == c->common))
			break;
		*length += run;
		c->position += run;
	}
	return *length > 0;
}

/* --- comparing ----------------------------------------------------------- */

/* Read what there is, zeros behind the end. */
static int read_side(struct compare *c, unsigned which, void *buffer,
		     uint64_t length, uint64_t offset)
{
	const struct side *side = &c->sides[which];
	struct event event = failure(offset, GILD_COMPARE_READ, which);
	uint64_t there = 0;

	if (offset < side->size)
		there = min_u64(length, side->size - offset);
	memset((char *)buffer + there, 0, length - there);
	if (!there || image_read(image_of(side->image), buffer, there, offset,
				 &event.err) == 0)
		return 0;
	record_locked(c, &event);
	return -1;
}

/* The first byte that differs, of buffers that do. */
static uint64_t first_difference(const unsigned char *a, const unsigned char *b,
				 uint64_t length)
{
	uint64_t at = 0;

	while (!memcmp(a + at, b + at, min_u64(SECTOR, length - at)))
		at += SECTOR;
	while (a[at] == b[at])
		at++;
	return at;
}

/* -1: this worker's run ends here, with an event. */
static int compare_piece(struct compare *c, unsigned char *a, unsigned char *b,
			 uint64_t length, uint64_t offset)
{
	enum gild_difference kind = offset < c->common ?
					    GILD_DIFFERENT_CONTENT :
					    GILD_DIFFERENT_SIZE;
	struct event event;

	if (read_side(c, 0, a, length, offset) < 0 ||
	    read_side(c, 1, b, length, offset) < 0)
		return -1;
	job_step(c->job, length);
	if (!memcmp(a, b, length))
		return 0;
	offset += first_difference(a, b, length);
	event = difference(round_down(offset, SECTOR), kind);
	record_locked(c, &event);
	return -1;
}

static void compare_run(struct compare *c, unsigned char *a, unsigned char *b,
			uint64_t start, uint64_t length)
{
	uint64_t done, piece;

	for (done = 0; done < length; done += piece) {
		piece = min_u64(length - done, PIECE);
		if (job_is_cancelled(c->job) ||
		    compare_piece(c, a, b, piece, start + done) < 0)
			return;
	}
}

static void work(void *arg)
{
	struct compare *c = arg;
	AUTO_FREE unsigned char *a = memory_io_buffer(PIECE);
	AUTO_FREE unsigned char *b = memory_io_buffer(PIECE);
	struct event event = failure(0, GILD_COMPARE_READ, 0);
	uint64_t start, length;

	if (!a || !b) {
		fail_nomem(&event.err);
		record_locked(c, &event);
		return;
	}
	while (claim(c, &start, &length))
		compare_run(c, a, b, start, length);
}

/* --- the whole ----------------------------------------------------------- */

static int conclude(const struct compare *c, struct gild_comparison *result,
		    struct gild_error *err)
{
	bool size_mismatch = c->common != c->size;

	if (job_check(c->job, err) < 0)
		return -1;
	if (c->event.offset != UINT64_MAX)
		*result = c->event.found;
	result->size_mismatch = size_mismatch;
	if (!c->event.failed)
		return 0;
	if (err)
		*err = c->event.err;
	return -1;
}

static int compare_all(struct compare *c, unsigned workers,
		       struct gild_comparison *result, struct gild_error *err)
{
	uint64_t chunks = div_round_up(c->size, CHUNK);

	if (!workers)
		workers = workers_default();
	workers = min_u64(min_u64(workers, MAX_WORKERS), max_u64(chunks, 1));
	job_total(c->job, c->size);
	if (workers_run(workers, work, c, err) < 0)
		return -1;
	return conclude(c, result, err);
}

int gild_compare(struct gild_image *a, struct gild_image *b, bool strict,
		 unsigned workers, struct gild_comparison *result,
		 struct gild_job *job, struct gild_error *err)
{
	struct compare c = {
		.strict = strict,
		.job = job,
		.common = min_u64(gild_size(a), gild_size(b)),
		.size = max_u64(gild_size(a), gild_size(b)),
		.sides = { { .image = a, .size = gild_size(a) },
			   { .image = b, .size = gild_size(b) } },
		.event.offset = UINT64_MAX,
	};
	int failed;

	*result = (struct gild_comparison){ .difference = GILD_SAME };
	if (strict && c.common != c.size) {
		result->difference = GILD_DIFFERENT_SIZE;
		result->offset = c.common;
		result->size_mismatch = true;
		return 0;
	}
	pthread_mutex_init(&c.lock, NULL);
	failed = compare_all(&c, workers, result, err);
	pthread_mutex_destroy(&c.lock);
	return failed;
}

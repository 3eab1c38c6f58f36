/* SPDX-License-Identifier: BSD-3-Clause */
/* The workers of a copy, and the order among them; see copy.h. */
#include "jobs/copy.h"

#include <stdlib.h>

#include "jobs/past.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/memory.h"
#include "util/workers.h"

#define CHUNK (1U << 20)
#define MAX_WORKERS 64

/* --------------------------------------------------------- taking chunks -- */

/* How much of the extent at offset needs no work? */
static uint64_t idle_extent(const struct copy *copy, uint64_t offset)
{
	uint64_t length = copy->source.size - offset;
	struct image *layer, *top;
	struct extent extent;

	/* An error is met again, and told, when the chunk is loaded. */
	if (source_map(&copy->source, offset, length, &extent, &layer, &top,
		       NULL) < 0)
		return 0;
	return chunk_idle(copy, offset, &extent, layer, top);
}

/* From at, how far may be stepped over, in whole chunks? */
static uint64_t step_over(struct copy *copy, uint64_t at)
{
	uint64_t size = copy->source.size, end, idle;

	while (at < size) {
		idle = copy->past ? past_same(copy, at) : 0;
		if (!idle)
			idle = idle_extent(copy, at);
		end = at + idle;
		if (end < size)
			end = round_down(end, copy->chunk);
		if (end <= at)
			return at;
		job_step(copy->job, end - at);
		at = end;
	}
	return at;
}

/* 1: there is one; 0: there are no more. taking is held. */
static int take_from_images(struct copy *copy, struct chunk *chunk)
{
	chunk->from = copy->next;
	chunk->start = step_over(copy, copy->next);
	chunk->length = min_u64(copy->chunk, copy->source.size - chunk->start);
	copy->next = chunk->start + chunk->length;
	return chunk->length > 0;
}

/* Somebody who pipes an image most likely means the disk in it. */
static int check_stream(const struct copy *copy, const struct chunk *chunk,
			size_t got, struct gild_error *err)
{
	const struct format_ops *ops;

	if (copy->next || copy->stream_is_raw)
		return 0;
	ops = registry_probe(chunk->data, got);
	if (!ops)
		return 0;
	fail(err, GILD_ERR_FORMAT, 0,
	     "the input begins like %s, which cannot "
	     "be read from a pipe",
	     ops->name);
	return error_hint(err, "put it into a file first; if these bytes are "
			       "the disk itself: -f raw");
}

/* The stream's order is the disk's, so reading is part of taking. */
static int take_from_stream(struct copy *copy, struct chunk *chunk,
			    struct gild_error *err)
{
	size_t got = 0;

	if (copy->ended)
		return 0;
	if (stream_read(copy->stream_in, chunk->data, copy->chunk, &got,
			copy->job, err) < 0 ||
	    check_stream(copy, chunk, got, err) < 0)
		return -1;
	copy->ended = got < copy->chunk;
	copy->streamed += got;
	chunk->from = chunk->start = copy->next;
	chunk->length = got;
	copy->next += got;
	return got > 0;
}

static bool has_failed(struct copy *copy)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&copy->lock);

	(void)held;
	return copy->failed;
}

static int take(struct copy *copy, struct chunk *chunk, struct gild_error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&copy->taking);

	(void)held;
	if (has_failed(copy))
		return 0;
	if (job_check(copy->job, err) < 0)
		return -1;
	if (copy->source.count)
		return take_from_images(copy, chunk);
	return take_from_stream(copy, chunk, err);
}

/* ----------------------------------------------------------------- order -- */

/* False: somebody failed, and the turn will not come. */
static bool wait_for_turn(struct copy *copy, const struct chunk *chunk)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&copy->lock);

	(void)held;
	while (copy->turn != chunk->from && !copy->failed)
		pthread_cond_wait(&copy->moved, &copy->lock);
	return !copy->failed;
}

static void pass_turn(struct copy *copy, const struct chunk *chunk)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&copy->lock);

	(void)held;
	copy->turn = chunk->start + chunk->length;
	pthread_cond_broadcast(&copy->moved);
}

static void stop_all(struct copy *copy, const struct gild_error *error)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&copy->lock);

	(void)held;
	if (!copy->failed)
		copy->error = *error;
	copy->failed = true;
	pthread_cond_broadcast(&copy->moved);
}

/* --------------------------------------------------------------- working -- */

/* Wait as the job's rate asks, for what has to be written. */
static int pace(const struct copy *copy, const struct chunk *chunk,
		struct gild_error *err)
{
	uint64_t units = div_round_up(chunk->length, copy->unit), bytes = 0;

	for (uint64_t i = 0; i < units; i++)
		if (chunk->states[i] == UNIT_DATA)
			bytes += copy->unit;
	return job_pace(copy->job, min_u64(bytes, chunk->length), err);
}

static int carry(struct copy *copy, struct chunk *chunk, struct gild_error *err)
{
	if (chunk_load(copy, chunk, err) < 0 || pace(copy, chunk, err) < 0)
		return -1;
	if (!wait_for_turn(copy, chunk))
		return 0;
	chunk->placed_count = 0;
	if (chunk_place(copy, chunk, err) < 0) {
		chunk_abort(copy, chunk);
		return -1;
	}
	pass_turn(copy, chunk);
	if (chunk_store(copy, chunk, err) < 0)
		return -1;
	job_step(copy->job, chunk->length);
	return 0;
}

static void chunk_free(struct chunk *chunk)
{
	free(chunk->data);
	free(chunk->below);
	free(chunk->packed);
	free(chunk->states);
	free(chunk->stored);
	free(chunk->links);
	free(chunk->placed);
}

/* A target may give space by the unit, where its own are not in a row; its
 * units can be smaller than ours. */
static uint64_t placed_max(const struct copy *copy)
{
	if (!copy->target)
		return 1;
	return copy->chunk / min_u64(copy->unit, copy->target->unit);
}

static int chunk_init(const struct copy *copy, struct chunk *chunk,
		      struct gild_error *err)
{
	uint64_t units = copy->chunk / copy->unit;

	*chunk = (struct chunk){ 0 };
	chunk->data = memory_io_buffer(copy->chunk);
	chunk->states = calloc(units, sizeof(*chunk->states));
	chunk->stored = calloc(units, sizeof(*chunk->stored));
	chunk->placed = calloc(placed_max(copy), sizeof(*chunk->placed));
	if (copy->base)
		chunk->below = memory_io_buffer(copy->chunk);
	if (copy->compress)
		chunk->packed = memory_io_buffer(copy->chunk);
	if (copy->past)
		chunk->links = calloc(units, sizeof(*chunk->links));
	if (!chunk->data || !chunk->states || !chunk->stored ||
	    !chunk->placed || (copy->base && !chunk->below) ||
	    (copy->compress && !chunk->packed) || (copy->past && !chunk->links))
		return fail_nomem(err);
	return 0;
}

static void work(void *arg)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };
	struct copy *copy = arg;
	struct chunk chunk;
	int ret;

	ret = chunk_init(copy, &chunk, &err);
	while (!ret) {
		ret = take(copy, &chunk, &err);
		if (ret <= 0)
			break;
		ret = carry(copy, &chunk, &err);
	}
	if (ret < 0)
		stop_all(copy, &err);
	chunk_free(&chunk);
}

void copy_set_target(struct copy *copy, struct image *target, bool compress,
		     uint64_t granule)
{
	copy->target = target;
	copy->compress = compress;
	copy->unit = granule;
	if (compress)
		copy->unit = target->cluster_size;
	else if (target)
		copy->unit = max_u64(granule, max_u64(target->unit,
						      target->cluster_size));
	copy->chunk = max_u64(CHUNK, copy->unit);
}

unsigned copy_workers(unsigned wanted)
{
	wanted = wanted ? wanted : workers_default();
	return wanted < MAX_WORKERS ? wanted : MAX_WORKERS;
}

int copy_run(struct copy *copy, unsigned workers, struct gild_error *err)
{
	pthread_mutex_init(&copy->taking, NULL);
	pthread_mutex_init(&copy->lock, NULL);
	pthread_cond_init(&copy->moved, NULL);
	if (!copy->is_part)
		job_total(copy->job, copy->source.size);
	if (workers_run(workers, work, copy, err) < 0)
		return -1;
	pthread_mutex_destroy(&copy->taking);
	pthread_mutex_destroy(&copy->lock);
	pthread_cond_destroy(&copy->moved);
	if (copy->failed && err)
		*err = copy->error;
	return copy->failed ? -1 : 0;
}

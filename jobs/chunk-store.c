/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rest of a chunk's way: space in the target, in the order of the disk;
 * then the bytes, in as few writes as their places allow; then the links.
 */
#include "formats/extent-io.h"
#include "jobs/past.h"
#include "util/bytes.h"

/* Virtual size to begin with when a stream's length is not known; doubled
 * when it turns out too small. */
static int make_room(struct copy *copy, uint64_t end, struct gild_error *err)
{
	struct image *target = copy->target;
	uint64_t size = target->size;

	if (copy->source.count || end <= size)
		return 0;
	if (copy->keeps_rest)
		return fail(err, GILD_ERR_RANGE, 0,
			    "is smaller (%llu bytes) than the source",
			    (unsigned long long)size);
	while (size < end)
		size *= 2;
	return target->ops->resize(target, size, err);
}

static void remember(struct chunk *chunk, const struct write_plan *plan,
		     uint64_t offset, const unsigned char *bytes,
		     uint64_t length)
{
	chunk->placed[chunk->placed_count++] = (struct placed){
		.plan = *plan,
		.offset = offset,
		.bytes = bytes,
		.length = length,
	};
}

/* Where in the target a unit begins. */
static uint64_t place_of(const struct copy *copy, const struct chunk *chunk,
			 uint64_t unit)
{
	return chunk->start + copy->shift + unit * copy->unit;
}

/* Plain units [first, end). */
static int place_plain(struct copy *copy, struct chunk *chunk, uint64_t first,
		       uint64_t end, struct gild_error *err)
{
	struct image *target = copy->target;
	uint64_t at = first * copy->unit, to = end * copy->unit, n;
	uint64_t start = place_of(copy, chunk, 0);
	struct write_plan plan;

	/* The copy's last unit may reach beyond the last cluster. */
	to = min_u64(to, round_up(chunk->length,
				  max_u64(target->unit, target->cluster_size)));
	for (; at < to; at += n) {
		if (target->ops->prepare_write(target, start + at, to - at,
					       &plan, err) < 0)
			return -1;
		n = min_u64(to - at, plan.start + plan.length - (start + at));
		remember(chunk, &plan, start + at, chunk->data + at, n);
	}
	return 0;
}

static int place_compressed(struct copy *copy, struct chunk *chunk,
			    uint64_t unit, const unsigned char *bytes,
			    struct gild_error *err)
{
	struct image *target = copy->target;
	struct write_plan plan;

	if (target->ops->prepare_compressed(target, place_of(copy, chunk, unit),
					    chunk->stored[unit], &plan,
					    err) < 0)
		return -1;
	remember(chunk, &plan, plan.start, bytes, chunk->stored[unit]);
	return 0;
}

static int place_zeros(struct copy *copy, const struct chunk *chunk,
		       uint64_t first, uint64_t end, struct gild_error *err)
{
	uint64_t start = place_of(copy, chunk, first);
	uint64_t stop = min_u64(place_of(copy, chunk, end), copy->target->size);

	if (copy->target_is_zero || start >= stop)
		return 0;
	return image_zero(copy->target, start, stop - start, GILD_ZERO_UNMAP,
			  err);
}

/* What the backing file has, and an earlier tree had not. */
static int place_nothing(struct copy *copy, const struct chunk *chunk,
			 uint64_t first, uint64_t end, struct gild_error *err)
{
	struct image *target = copy->target;
	uint64_t start = place_of(copy, chunk, first);
	uint64_t stop = min_u64(place_of(copy, chunk, end), target->size);

	return image_adopt(target, NULL, start, stop - start, err);
}

static int place_compressed_run(struct copy *copy, struct chunk *chunk,
				uint64_t first, uint64_t end,
				const unsigned char **bytes,
				struct gild_error *err)
{
	int ret = 0;

	for (uint64_t i = first; i < end && !ret; i++) {
		if (chunk->stored[i])
			ret = place_compressed(copy, chunk, i, *bytes, err);
		else
			ret = place_plain(copy, chunk, i, i + 1, err);
		*bytes += chunk->stored[i];
	}
	return ret;
}

/* Bytes of the last unit, where the target goes on behind them with something
 * that stays. */
static uint64_t tail_length(const struct copy *copy, const struct chunk *chunk)
{
	if (!copy->keeps_rest ||
	    chunk->start + chunk->length >= copy->target->size)
		return 0;
	return chunk->length & (copy->unit - 1);
}

/* The source's end is the last to be placed, so its turn may take the time to
 * write. */
static int place_tail(struct copy *copy, const struct chunk *chunk,
		      uint64_t length, struct gild_error *err)
{
	uint64_t at = chunk->length - length;

	switch (chunk->states[at / copy->unit]) {
	case UNIT_KEEP:
		return 0;
	case UNIT_ZERO:
		return copy->target_is_zero ?
			       0 :
			       image_zero(copy->target, chunk->start + at,
					  length, GILD_ZERO_UNMAP, err);
	default:
		return image_write(copy->target, chunk->data + at, length,
				   chunk->start + at, err);
	}
}

/* Units [first, end), all of one state. */
static int place_alike(struct copy *copy, struct chunk *chunk, uint64_t first,
		       uint64_t end, const unsigned char **bytes,
		       struct gild_error *err)
{
	switch (chunk->states[first]) {
	case UNIT_KEEP:
		break;
	case UNIT_LEAVE:
		return place_nothing(copy, chunk, first, end, err);
	case UNIT_ZERO:
		return place_zeros(copy, chunk, first, end, err);
	case UNIT_DATA:
		if (copy->compress)
			return place_compressed_run(copy, chunk, first, end,
						    bytes, err);
		return place_plain(copy, chunk, first, end, err);
	case UNIT_LINK:
		return past_link(copy, chunk, first, end, err);
	}
	return 0;
}

static int place_units(struct copy *copy, struct chunk *chunk, uint64_t units,
		       struct gild_error *err)
{
	const unsigned char *bytes = chunk->packed;
	uint64_t end;
	int ret = 0;

	for (uint64_t i = 0; i < units && !ret; i = end) {
		for (end = i + 1; end < units; end++)
			if (chunk->states[end] != chunk->states[i])
				break;
		ret = place_alike(copy, chunk, i, end, &bytes, err);
	}
	return ret;
}

int chunk_place(struct copy *copy, struct chunk *chunk, struct gild_error *err)
{
	uint64_t tail;
	int ret;

	if (!copy->target)
		return stream_write(copy->stream_out, chunk->data,
				    chunk->length, err);
	ret = make_room(copy, chunk->start + chunk->length, err);
	if (!ret) {
		tail = tail_length(copy, chunk);
		ret = place_units(copy, chunk,
				  chunk_units(copy, chunk) - (tail != 0), err);
		if (!ret && tail)
			ret = place_tail(copy, chunk, tail, err);
	}
	return ret < 0 ? error_prefix(err, "%s: ", copy->target->path) : 0;
}

void chunk_abort(struct copy *copy, struct chunk *chunk)
{
	while (chunk->placed_count) {
		const struct placed *placed =
			&chunk->placed[--chunk->placed_count];

		if (!placed->plan.in_place)
			copy->target->ops->abort_write(copy->target,
						       &placed->plan);
	}
}

/* Where its bytes go. */
static uint64_t host_offset(const struct placed *placed)
{
	return placed->plan.host_offset + (placed->offset - placed->plan.start);
}

static uint64_t cipher_offset(const struct placed *placed)
{
	return placed->plan.cipher_offset +
	       (placed->offset - placed->plan.start);
}

/* Do b's bytes continue a's, in memory and on the host? */
static bool continues(const struct placed *a, uint64_t length,
		      const struct placed *b)
{
	return b->plan.storage == a->plan.storage &&
	       host_offset(b) == host_offset(a) + length &&
	       b->plan.cipher == a->plan.cipher &&
	       (!b->plan.cipher ||
		cipher_offset(b) == cipher_offset(a) + length) &&
	       b->bytes == a->bytes + length;
}

static int write_bytes(const struct chunk *chunk, struct gild_error *err)
{
	const struct placed *first;
	uint64_t length;
	size_t next;

	for (size_t i = 0; i < chunk->placed_count; i = next) {
		first = &chunk->placed[i];
		length = first->length;
		for (next = i + 1; next < chunk->placed_count; next++) {
			if (!continues(first, length, &chunk->placed[next]))
				break;
			length += chunk->placed[next].length;
		}
		if (plan_write(&first->plan, first->offset, first->bytes,
			       length, err) < 0)
			return -1;
	}
	return 0;
}

static int link_all(struct copy *copy, struct chunk *chunk,
		    struct gild_error *err)
{
	struct image *target = copy->target;

	while (chunk->placed_count) {
		const struct placed *placed =
			&chunk->placed[chunk->placed_count - 1];

		if (!placed->plan.in_place &&
		    target->ops->commit_write(target, &placed->plan, err) < 0)
			return -1;
		chunk->placed_count--;
	}
	return 0;
}

/* What was written, or begun to. */
static int tell(struct copy *copy, const struct chunk *chunk,
		struct gild_error *err)
{
	uint64_t units = chunk_units(copy, chunk), end, at, to;

	for (uint64_t i = 0; i < units; i = end) {
		for (end = i + 1; end < units; end++)
			if (chunk->states[end] != chunk->states[i])
				break;
		at = i * copy->unit;
		to = min_u64(end * copy->unit, chunk->length);
		if (chunk->states[i] == UNIT_DATA &&
		    image_wrote(copy->target, place_of(copy, chunk, i), to - at,
				err) < 0)
			return -1;
	}
	return 0;
}

int chunk_store(struct copy *copy, struct chunk *chunk, struct gild_error *err)
{
	int ret = 0;

	if (!copy->target)
		return 0;
	if (!copy->target->skips_data)
		ret = write_bytes(chunk, err);
	if (!ret)
		ret = link_all(copy, chunk, err);
	if (tell(copy, chunk, ret < 0 ? NULL : err) < 0)
		ret = -1;
	if (!ret)
		return 0;
	chunk_abort(copy, chunk);
	return error_prefix(err, "%s: ", copy->target->path);
}

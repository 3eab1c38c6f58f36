/* SPDX-License-Identifier: BSD-3-Clause */
/* What the target has of a disk's past; see past.h. */
#include "jobs/past.h"

#include "util/bytes.h"

/* Up to where can units of two disks be the same? */
static uint64_t common_end(const struct copy *copy, const struct image *a,
			   const struct image *b)
{
	if (a->size == b->size)
		return a->size;
	return round_down(min_u64(a->size, b->size), copy->unit);
}

/* Do the tree that is copied and an earlier one have the same at offset? So for
 * *run bytes. What cannot be told is not the same: reading it tells why. */
static bool is_same(const struct copy *copy, size_t earlier, uint64_t offset,
		    uint64_t length, uint64_t *run)
{
	const struct past *past = copy->past;
	struct image *now = past->trees[past->count];
	struct image *then = past->trees[earlier];
	uint64_t end = common_end(copy, now, then);
	bool same = false;

	*run = length;
	if (offset >= end)
		return false;
	length = min_u64(length, end - offset);
	if (now->ops->snapshots->same(now, then, offset, length, &same, run,
				      NULL) == 0)
		return same;
	*run = min_u64(length, copy->unit);
	return false;
}

uint64_t past_same(const struct copy *copy, uint64_t offset)
{
	uint64_t at = offset, run, size = copy->source.size;

	for (; at < size; at += run)
		if (!is_same(copy, copy->past->count - 1, at, size - at, &run))
			break;
	return at - offset;
}

bool past_is_over(const struct copy *copy, uint64_t offset)
{
	const struct past *past = copy->past;

	return !copy->base && copy->find_zeros &&
	       offset >=
		       round_up(past->trees[past->count - 1]->size, copy->unit);
}

/* Bytes [from, to) of the chunk are the same in an earlier tree: so are the
 * units that lie within, if nothing is known of them yet. */
static void mark_run(const struct copy *copy, struct chunk *chunk,
		     uint64_t from, uint64_t to, size_t earlier,
		     enum unit_state other)
{
	uint64_t first = div_round_up(from, copy->unit);
	uint64_t end = to == chunk->length ? chunk_units(copy, chunk) :
					     to / copy->unit;

	for (uint64_t i = first; i < end; i++) {
		if (chunk->states[i] != other)
			continue;
		chunk->states[i] = UNIT_LINK;
		chunk->links[i] = (uint32_t)earlier;
		if (earlier + 1 == copy->past->count)
			chunk->states[i] = UNIT_KEEP;
	}
}

/* Look for bytes [from, to) of the chunk in one earlier tree. */
static void look_in(const struct copy *copy, struct chunk *chunk, uint64_t from,
		    uint64_t to, size_t earlier, enum unit_state other)
{
	uint64_t start = from, run;

	for (; from < to; from += run) {
		if (is_same(copy, earlier, chunk->start + from, to - from,
			    &run))
			continue;
		if (start < from)
			mark_run(copy, chunk, start, from, earlier, other);
		start = from + run;
	}
	if (start < to)
		mark_run(copy, chunk, start, to, earlier, other);
}

/* The next units from *first on that have a state; false: there are none. */
static bool next_units(const struct copy *copy, const struct chunk *chunk,
		       enum unit_state state, uint64_t *first, uint64_t *end)
{
	uint64_t units = chunk_units(copy, chunk);

	while (*first < units && chunk->states[*first] != state)
		++*first;
	*end = *first;
	while (*end < units && chunk->states[*end] == state)
		++*end;
	return *first < units;
}

void past_mark(const struct copy *copy, struct chunk *chunk,
	       enum unit_state other)
{
	uint64_t first, end;

	for (size_t i = copy->past->count; i-- > 0;) {
		first = 0;
		if (!next_units(copy, chunk, other, &first, &end))
			return;
		for (; next_units(copy, chunk, other, &first, &end);
		     first = end)
			look_in(copy, chunk, first * copy->unit,
				min_u64(end * copy->unit, chunk->length), i,
				other);
	}
}

int past_link(const struct copy *copy, const struct chunk *chunk,
	      uint64_t first, uint64_t end, struct gild_error *err)
{
	uint64_t start, stop, next;
	int ret = 0;

	for (; first < end && !ret; first = next) {
		for (next = first + 1; next < end; next++)
			if (chunk->links[next] != chunk->links[first])
				break;
		start = chunk->start + first * copy->unit;
		stop = min_u64(chunk->start + next * copy->unit,
			       copy->target->size);
		ret = image_adopt(copy->target,
				  copy->past->taken[chunk->links[first]], start,
				  stop - start, err);
	}
	return ret;
}

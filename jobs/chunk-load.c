/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The first part of a chunk's way: read it, tell zeros from data, compress.
 * No other worker is waited for here.
 */
#include <stdio.h>
#include <string.h>

#include "jobs/base.h"
#include "jobs/past.h"
#include "util/bytes.h"
#include "util/zeros.h"

/* What cannot be read is given up in pieces of this size. */
#define SALVAGE_PIECE 512

static bool is_left_to_backing(const struct copy *copy,
			       const struct image *layer,
			       const struct image *top)
{
	return copy->keep_depth &&
	       layer->depth - top->depth >= copy->keep_depth;
}

uint64_t chunk_idle(const struct copy *copy, uint64_t offset,
		    const struct extent *extent, const struct image *layer,
		    const struct image *top)
{
	if (is_left_to_backing(copy, layer, top))
		return copy->past ? 0 : extent->length;
	if (extent->kind != EXTENT_ZERO)
		return 0;
	if (copy->past)
		return past_is_over(copy, offset) ? extent->length : 0;
	if (copy->base)
		return base_zeros(copy->base, offset, extent->length);
	return copy->target_is_zero && copy->find_zeros ? extent->length : 0;
}

/* --------------------------------------------------------------- reading -- */

static void tell_loss(const struct copy *copy, uint64_t start, uint64_t end,
		      const struct gild_error *error)
{
	char line[sizeof(error->message) + 96];

	if (!copy->warn)
		return;
	snprintf(line, sizeof(line), "%s: %llu bytes at %llu become zeros",
		 error->message, (unsigned long long)(end - start),
		 (unsigned long long)start);
	copy->warn(copy->opaque, line);
}

/* Read piece by piece; what fails becomes zeros, and each loss is told once. */
static void read_salvaging(const struct copy *copy, unsigned char *buffer,
			   uint64_t length, uint64_t offset)
{
	struct gild_error error = { .kind = GILD_ERR_NONE };
	uint64_t lost = UINT64_MAX, n;

	for (uint64_t done = 0; done < length; done += n) {
		n = min_u64(SALVAGE_PIECE, length - done);
		if (!source_read(&copy->source, buffer + done, n, offset + done,
				 lost == UINT64_MAX ? &error : NULL)) {
			if (lost != UINT64_MAX)
				tell_loss(copy, lost, offset + done, &error);
			lost = UINT64_MAX;
			continue;
		}
		memset(buffer + done, 0, n);
		lost = min_u64(lost, offset + done);
	}
	if (lost != UINT64_MAX)
		tell_loss(copy, lost, offset + length, &error);
}

static int read_data(const struct copy *copy, unsigned char *buffer,
		     uint64_t length, uint64_t offset, struct gild_error *err)
{
	if (!source_read(&copy->source, buffer, length, offset, err))
		return 0;
	if (!copy->salvage)
		return -1;
	read_salvaging(copy, buffer, length, offset);
	return 0;
}

/* Units of which nothing else is known are data, or at least may be. */
static void mark(const struct copy *copy, struct chunk *chunk, uint64_t start,
		 uint64_t end, enum unit_state state)
{
	uint64_t first = start / copy->unit, last = (end - 1) / copy->unit;

	for (uint64_t i = first; i <= last; i++)
		if (state > chunk->states[i])
			chunk->states[i] = state;
}

/* Leave whole units to the backing file; of others their part is read. */
static int keep(const struct copy *copy, struct chunk *chunk, uint64_t at,
		uint64_t end, struct gild_error *err)
{
	uint64_t from = round_up(at, copy->unit);
	uint64_t to = end == chunk->length ? end : round_down(end, copy->unit);

	if (from > to)
		from = to = end;
	if (at < from) {
		mark(copy, chunk, at, from, UNIT_DATA);
		if (read_data(copy, chunk->data + at, from - at,
			      chunk->start + at, err) < 0)
			return -1;
	}
	if (to == end)
		return 0;
	mark(copy, chunk, to, end, UNIT_DATA);
	return read_data(copy, chunk->data + to, end - to, chunk->start + to,
			 err);
}

/* One extent of the chunk, from at to end (within the chunk). */
static int load_extent(const struct copy *copy, struct chunk *chunk,
		       uint64_t at, uint64_t end, const struct extent *extent,
		       bool left_to_backing, struct gild_error *err)
{
	if (left_to_backing)
		return keep(copy, chunk, at, end, err);
	if (extent->kind == EXTENT_ZERO) {
		mark(copy, chunk, at, end, UNIT_ZERO);
		memset(chunk->data + at, 0, end - at);
		return 0;
	}
	mark(copy, chunk, at, end, UNIT_DATA);
	return read_data(copy, chunk->data + at, end - at, chunk->start + at,
			 err);
}

/* Bytes [at, to) of the chunk, whole units (or its end). */
static int load_extents(const struct copy *copy, struct chunk *chunk,
			uint64_t at, uint64_t to, struct gild_error *err)
{
	struct image *layer, *top;
	struct extent extent;
	uint64_t end;
	bool kept;

	for (; at < to; at = end) {
		if (source_map(&copy->source, chunk->start + at, to - at,
			       &extent, &layer, &top, err) < 0) {
			if (!copy->salvage)
				return -1;
			extent = (struct extent){ .kind = EXTENT_DATA,
						  .length = to - at };
			layer = top;
		}
		end = at + extent.length;
		kept = is_left_to_backing(copy, layer, top);
		if (load_extent(copy, chunk, at, end, &extent, kept, err) < 0)
			return -1;
	}
	return 0;
}

/* Units that are there, or can be linked, are not read. */
static int load_images(const struct copy *copy, struct chunk *chunk,
		       struct gild_error *err)
{
	uint64_t units = chunk_units(copy, chunk), end;
	enum unit_state left = copy_left(copy);

	for (uint64_t i = 0; i < units; i++)
		chunk->states[i] = left;
	if (copy->past)
		past_mark(copy, chunk, left);
	for (uint64_t i = 0; i < units; i = end) {
		for (end = i; end < units && chunk->states[end] == left; end++)
			;
		if (end == i)
			end++;
		else if (load_extents(copy, chunk, i * copy->unit,
				      min_u64(end * copy->unit, chunk->length),
				      err) < 0)
			return -1;
	}
	return 0;
}

/* ----------------------------------------------------------------- zeros -- */

/* The last unit of the disk is stored whole. */
static void pad_last_unit(const struct copy *copy, struct chunk *chunk)
{
	uint64_t end = chunk_units(copy, chunk) * copy->unit;

	memset(chunk->data + chunk->length, 0, end - chunk->length);
}

static void find_zeros(const struct copy *copy, struct chunk *chunk)
{
	for (uint64_t i = 0; i < chunk_units(copy, chunk); i++) {
		if (!copy->find_zeros && chunk->states[i] == UNIT_ZERO)
			chunk->states[i] = UNIT_DATA;
		else if (copy->find_zeros && chunk->states[i] == UNIT_DATA &&
			 is_zero(chunk->data + i * copy->unit, copy->unit))
			chunk->states[i] = UNIT_ZERO;
	}
}

/* ----------------------------------------------------------- compressing -- */

static int compress_units(const struct copy *copy, struct chunk *chunk,
			  struct gild_error *err)
{
	struct image *target = copy->target;
	unsigned char *room = chunk->packed;
	long length;

	for (uint64_t i = 0; i < chunk_units(copy, chunk); i++) {
		if (chunk->states[i] != UNIT_DATA)
			continue;
		/* packed is as large as data, and each unit shrinks. */
		length = target->ops->compress(target,
					       chunk->data + i * copy->unit,
					       copy->unit, room, copy->unit,
					       err);
		if (length < 0)
			return -1;
		chunk->stored[i] = (uint32_t)length;
		room += length;
	}
	return 0;
}

int chunk_load(struct copy *copy, struct chunk *chunk, struct gild_error *err)
{
	if (copy->source.count) {
		if (load_images(copy, chunk, err) < 0)
			return -1;
	} else {
		for (uint64_t i = 0; i < chunk_units(copy, chunk); i++)
			chunk->states[i] = UNIT_DATA;
	}
	pad_last_unit(copy, chunk);
	if (copy->base && base_compare(copy, chunk, err) < 0)
		return -1;
	if (copy->target)
		find_zeros(copy, chunk);
	return copy->compress ? compress_units(copy, chunk, err) : 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Leaving to a backing file what it holds already; see base.h. */
#include "jobs/base.h"

#include <string.h>

#include "util/bytes.h"
#include "util/cleanup.h"

struct image *base_open(const struct gild_convert_options *options,
			const struct source *source, struct gild_error *err)
{
	struct gild_open_options open_options = {
		.format = options->backing_format,
		.policy = options->policy,
	};
	const char *target = options->target ? options->target : ".";
	struct gild_image *base;

	if (source->count)
		open_options.flags = image_of(source->images[0])->flags &
				     GILD_OPEN_SHARE;
	base = image_open_named(target, options->backing, &open_options, err);
	if (!base)
		error_prefix(err, "backing file: ");
	return image_of(base);
}

bool base_is_shared(const struct image *base, const struct source *source)
{
	const struct image *below;

	if (source->count != 1)
		return false;
	below = image_of(source->images[0])->backing;
	return below && below->ops == base->ops &&
	       image_same_file(below->storage, base->storage);
}

void base_set(struct copy *copy, const struct target *target)
{
	copy->target_is_zero = target->is_zero;
	copy->keeps_rest = target->keeps_rest;
	copy->base = target->base;
	copy->keep_depth = target->base && !copy->source.start &&
			   base_is_shared(target->base, &copy->source);
}

uint64_t base_zeros(struct image *base, uint64_t offset, uint64_t length)
{
	struct extent extent;
	struct image *layer;
	uint64_t n;

	if (offset >= base->size)
		return length;
	n = min_u64(length, base->size - offset);
	if (chain_map_deep(base, offset, n, &extent, &layer, NULL) < 0 ||
	    extent.kind != EXTENT_ZERO)
		return 0;
	/* Beyond its end, too. */
	return extent.length < n || n == length ? extent.length : length;
}

/* Beyond its end a backing file reads as zeros. */
static int read_base(const struct copy *copy, unsigned char *buffer,
		     uint64_t length, uint64_t offset, struct gild_error *err)
{
	struct image *base = copy->base;
	uint64_t n =
		offset < base->size ? min_u64(length, base->size - offset) : 0;

	memset(buffer + n, 0, length - n);
	return n ? image_read(base, buffer, n, offset, err) : 0;
}

/* Units [first, end), none of which is left to the base so far. */
static int compare_units(const struct copy *copy, struct chunk *chunk,
			 uint64_t first, uint64_t end, struct gild_error *err)
{
	uint64_t from = first * copy->unit;
	uint64_t to = min_u64(end * copy->unit, chunk->length), n;

	if (read_base(copy, chunk->below + from, to - from, chunk->start + from,
		      err) < 0)
		return error_prefix(err, "backing file: ");
	for (uint64_t at = from; at < to; at += n, first++) {
		n = min_u64(copy->unit, to - at);
		if (!memcmp(chunk->data + at, chunk->below + at, n))
			chunk->states[first] = copy_left(copy);
	}
	return 0;
}

int base_compare(const struct copy *copy, struct chunk *chunk,
		 struct gild_error *err)
{
	uint64_t units = chunk_units(copy, chunk), end;

	for (uint64_t i = 0; i < units; i = end) {
		for (end = i; end < units; end++)
			if (chunk->states[end] != UNIT_ZERO &&
			    chunk->states[end] != UNIT_DATA)
				break;
		if (end == i)
			end++;
		else if (compare_units(copy, chunk, i, end, err) < 0)
			return -1;
	}
	return 0;
}

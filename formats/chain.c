/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An image and what it is backed by, as one disk: ask the top, and where it
 * says nothing the next one down; in a long chain at once the one that does.
 */
#include "formats/shortcuts.h"
#include "util/bytes.h"

/* What one layer says, its own end included: a backing file may be shorter
 * than what it backs, and reads as zeros from there on. */
static int layer_map(struct image *layer, uint64_t offset, uint64_t length,
		     struct extent *extent, struct gild_error *err)
{
	if (offset >= layer->size) {
		*extent = (struct extent){
			.kind = EXTENT_ZERO,
			.absent = true,
			.length = length,
		};
		return 0;
	}
	length = min_u64(length, layer->size - offset);
	if (layer->ops->map(layer, offset, length, extent, err) < 0)
		return error_prefix(err, "%s: ", layer->path);
	return 0;
}

/* Down from *layer to the first one that says something. */
static int walk(struct image **layer, uint64_t offset, uint64_t length,
		struct extent *extent, struct gild_error *err)
{
	for (;; *layer = (*layer)->backing) {
		if (layer_map(*layer, offset, length, extent, err) < 0)
			return -1;
		if (extent->kind != EXTENT_BACKING || !(*layer)->backing)
			return 0;
		length = extent->length;
	}
}

/* Does the layer leave a first part of [start, + *length) as a whole to others?
 * *length is cut to what is alike, in whole units. */
static bool is_silent(struct image *layer, uint64_t unit, uint64_t start,
		      uint64_t *length)
{
	struct extent extent;
	uint64_t alike;

	/* What fails here fails again, and is told, where it is asked for. */
	if (layer_map(layer, start, *length, &extent, NULL) < 0)
		return false;
	if (extent.kind != EXTENT_BACKING) {
		*length = min_u64(*length, round_up(extent.length, unit));
		return false;
	}
	/* It may end within a unit. */
	alike = round_down(extent.length, unit);
	if (alike)
		*length = min_u64(*length, alike);
	return alike;
}

/* Which layers say nothing at offset, and as far as that is so around it. */
static void learn(struct shortcuts *shortcuts, struct image *layer,
		  uint64_t offset, uint64_t length)
{
	uint64_t start = shortcuts_widen(shortcuts, offset, &length);
	uint64_t unit = shortcuts_unit(shortcuts);
	unsigned skip = 0;

	while (is_silent(layer, unit, start, &length)) {
		skip++;
		if (layer->backing) {
			layer = layer->backing;
			continue;
		}
		/* Or it is the one to say what was not opened. */
		skip = layer->backing_name ? skip - 1 : SHORTCUTS_ALL;
		break;
	}
	shortcuts_add(shortcuts, skip, start, length);
}

/* The layer to begin with, as far as *length then says; NULL: none below image
 * says anything. */
static struct image *first_below(struct image *image,
				 struct shortcuts *shortcuts, uint64_t offset,
				 uint64_t *length)
{
	struct image *first = image->backing;

	if (!shortcuts || shortcuts_find(shortcuts, offset, length, &first))
		return first;
	learn(shortcuts, image->backing, offset, *length);
	shortcuts_find(shortcuts, offset, length, &first);
	return first;
}

/* What the layers below image say. */
static int map_below(struct image *image, uint64_t offset, uint64_t length,
		     struct extent *extent, struct image **layer,
		     struct gild_error *err)
{
	struct shortcuts *shortcuts = shortcuts_of(image);

	*layer = first_below(image, shortcuts, offset, &length);
	if (*layer)
		return walk(layer, offset, length, extent, err);
	*layer = shortcuts_last(shortcuts);
	*extent = (struct extent){
		.kind = EXTENT_ZERO,
		.absent = true,
		.length = length,
	};
	return 0;
}

int chain_map(struct image *image, uint64_t offset, uint64_t length,
	      struct extent *extent, struct image **layer,
	      struct gild_error *err)
{
	*layer = image;
	if (layer_map(image, offset, length, extent, err) < 0)
		return -1;
	if (extent->kind == EXTENT_BACKING && image->backing &&
	    map_below(image, offset, extent->length, extent, layer, err) < 0)
		return -1;
	if (extent->kind == EXTENT_BACKING && !(*layer)->backing_name) {
		extent->kind = EXTENT_ZERO;
		extent->absent = true;
	}
	return 0;
}

/* Does a hole of the file, from host on, hold at least the whole cluster there?
 * *length: of the hole's clusters, or of data up to the next cluster. */
static bool is_unwritten(const struct image *layer, uint64_t host, bool data,
			 uint64_t end, uint64_t *length)
{
	uint64_t unit = layer->cluster_size ? layer->cluster_size : 1;
	uint64_t hole_end = end == UINT64_MAX ? end : round_down(end, unit);

	if (!data && is_aligned(host, unit) && hole_end > host) {
		*length = hole_end - host;
		return true;
	}
	/* A cluster that was written in part is data as a whole. */
	*length = round_up(data ? end : host + 1, unit) - host;
	return false;
}

int chain_map_deep(struct image *image, uint64_t offset, uint64_t length,
		   struct extent *extent, struct image **layer,
		   struct gild_error *err)
{
	uint64_t end, alike;
	bool data, unwritten;

	if (chain_map(image, offset, length, extent, layer, err) < 0)
		return -1;
	/* What is encrypted reads as something else than zeros there. */
	if (extent->kind != EXTENT_DATA || extent->cipher)
		return 0;
	if (storage_extent(extent->storage, extent->host_offset, &data, &end,
			   err) < 0)
		return -1;
	unwritten =
		is_unwritten(*layer, extent->host_offset, data, end, &alike);
	extent->length = min_u64(extent->length, alike);
	if (!unwritten)
		return 0;
	extent->kind = EXTENT_ZERO;
	extent->allocated = extent->hole = extent->unwritten = true;
	return 0;
}

/* Behind the end of a backing file it is the layer above that has nothing. */
static unsigned depth_of(const struct image *top, const struct image *layer,
			 uint64_t offset)
{
	return layer->depth - top->depth - (offset >= layer->size);
}

static void describe(const struct image *top, const struct image *layer,
		     const struct extent *from, uint64_t offset,
		     struct gild_extent *to)
{
	bool is_zero = from->kind == EXTENT_ZERO;
	bool is_data = from->kind == EXTENT_DATA;

	*to = (struct gild_extent){
		.start = offset,
		.length = from->length,
		.depth = depth_of(top, layer, offset),
		.present = from->kind != EXTENT_BACKING && !from->absent,
		.zero = is_zero,
		.data = is_data || from->unwritten ||
			from->kind == EXTENT_COMPRESSED,
		.compressed = from->kind == EXTENT_COMPRESSED,
		/* Of what is encrypted there is nothing to be seen there. */
		.has_offset = !layer->encryption &&
			      (is_data ||
			       (is_zero && from->allocated && !from->absent)),
	};
	if (to->has_offset) {
		to->offset = from->storage->origin + from->host_offset;
		to->filename = from->storage->path;
	}
}

int gild_map(struct gild_image *handle, uint64_t offset, uint64_t length,
	     struct gild_extent *result, struct gild_error *err)
{
	struct image *image = image_of(handle), *layer;
	struct extent extent;
	unsigned slot;
	int ret;

	if (!length || !range_within(offset, length, image->size))
		return fail(err, GILD_ERR_RANGE, 0,
			    "%s: extent lies beyond the end of the disk",
			    image->path);
	if (image->flags & GILD_OPEN_INSPECT)
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for its metadata only",
			    image->path);
	slot = epoch_enter(&image->epoch);
	ret = chain_map_deep(image, offset, length, &extent, &layer, err);
	epoch_leave(&image->epoch, slot);
	if (!ret)
		describe(image, layer, &extent, offset, result);
	return ret;
}

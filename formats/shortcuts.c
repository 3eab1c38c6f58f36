/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A table of words, one for a unit of the disk, at the unit's number modulo the
 * table's length:
 *
 *     bits 0-7    1 + layers to skip; 0: not known; 255: all of them
 *     bits 8-31   the unit's number divided by the table's length
 *
 * A word says by itself what it is about, so that words may be replaced by
 * others at any time: who finds another unit's looks for himself. The table's
 * pages exist once something is written to them.
 */
#include "formats/shortcuts.h"

#include <stdlib.h>

#include "util/bytes.h"
#include "util/cleanup.h"

enum {
	LEAST_LAYERS = 2, /* below: with fewer there is nothing to skip */
	NOBODY = 254,	  /* layers to skip */
	MOST_SKIPPED = 253,
	MOST_WORDS = 4 << 20, /* 16 MiB: 256 GiB of clusters of 64 KiB */
	MOST_UNITS = 256,     /* found at once */
	TAG_SHIFT = 8,
	TAG_BITS = 24,
};

struct word {
	_Atomic uint32_t value;
};

struct shortcuts {
	struct image **layers; /* [0]: the backing file */
	unsigned layer_count;
	unsigned unit_bits, word_bits;
	struct word *words;
};

/* Layers below an image; 0 where one of them may be written. */
static unsigned count_layers(const struct image *image)
{
	unsigned n = 0;

	for (image = image->backing; image; image = image->backing, n++)
		if (image->flags & GILD_OPEN_WRITE)
			return 0;
	return n;
}

/* Of those that can leave something to others. */
static uint64_t least_unit(const struct image *image)
{
	uint64_t unit = UINT32_MAX;

	for (image = image->backing; image; image = image->backing)
		if (image->cluster_size)
			unit = min_u64(unit, image->unit);
	return unit;
}

static unsigned log2_of(uint64_t power)
{
	return (unsigned)__builtin_ctzll(power);
}

static int fill(struct shortcuts *shortcuts, const struct image *image)
{
	uint64_t unit = least_unit(image), words = 1;
	struct image *layer = image->backing;

	while (words < MOST_WORDS && words * unit < image->size)
		words *= 2;
	shortcuts->unit_bits = log2_of(unit);
	shortcuts->word_bits = log2_of(words);
	shortcuts->words = calloc(words, sizeof(*shortcuts->words));
	shortcuts->layers = calloc(shortcuts->layer_count, sizeof(layer));
	if (!shortcuts->words || !shortcuts->layers)
		return -1;
	for (unsigned i = 0; layer; layer = layer->backing)
		shortcuts->layers[i++] = layer;
	return 0;
}

static struct shortcuts *shortcuts_new(const struct image *image)
{
	unsigned count = count_layers(image);
	struct shortcuts *shortcuts;

	if (count < LEAST_LAYERS)
		return NULL;
	shortcuts = calloc(1, sizeof(*shortcuts));
	if (!shortcuts)
		return NULL;
	shortcuts->layer_count = count;
	if (fill(shortcuts, image) == 0)
		return shortcuts;
	shortcuts_free(shortcuts);
	return NULL;
}

void shortcuts_free(struct shortcuts *shortcuts)
{
	if (!shortcuts)
		return;
	free(shortcuts->words);
	free(shortcuts->layers);
	free(shortcuts);
}

struct shortcuts *shortcuts_of(struct image *image)
{
	struct shortcuts *now = atomic_load(&image->shortcuts), *made;

	if (now || !image->backing->backing)
		return now;
	made = shortcuts_new(image);
	if (!made ||
	    atomic_compare_exchange_strong(&image->shortcuts, &now, made))
		return made;
	/* Another thread was faster. */
	shortcuts_free(made);
	return now;
}

uint64_t shortcuts_unit(const struct shortcuts *shortcuts)
{
	return 1ULL << shortcuts->unit_bits;
}

uint64_t shortcuts_widen(const struct shortcuts *shortcuts, uint64_t offset,
			 uint64_t *length)
{
	uint64_t unit = shortcuts_unit(shortcuts);
	uint64_t start = round_down(offset, unit);

	*length = min_u64(round_up(offset + *length, unit) - start,
			  MOST_UNITS * unit);
	return start;
}

static _Atomic uint32_t *value_of(const struct shortcuts *shortcuts,
				  uint64_t unit)
{
	return &shortcuts->words[unit & ((1ULL << shortcuts->word_bits) - 1)]
			.value;
}

/* Layers to skip, or -1. */
static int look(const struct shortcuts *shortcuts, uint64_t unit)
{
	uint32_t word = atomic_load_explicit(value_of(shortcuts, unit),
					     memory_order_relaxed);

	if (word >> TAG_SHIFT != unit >> shortcuts->word_bits)
		return -1;
	return (int)(word & ((1U << TAG_SHIFT) - 1)) - 1;
}

struct image *shortcuts_last(const struct shortcuts *shortcuts)
{
	return shortcuts->layers[shortcuts->layer_count - 1];
}

bool shortcuts_find(const struct shortcuts *shortcuts, uint64_t offset,
		    uint64_t *length, struct image **first)
{
	uint64_t unit = offset >> shortcuts->unit_bits;
	uint64_t last = (offset + *length - 1) >> shortcuts->unit_bits;
	int skip = look(shortcuts, unit);

	if (skip < 0)
		return false;
	last = min_u64(last, unit + MOST_UNITS - 1);
	while (unit < last && look(shortcuts, unit + 1) == skip)
		unit++;
	*length =
		min_u64(*length, ((unit + 1) << shortcuts->unit_bits) - offset);
	*first = skip == NOBODY ? NULL : shortcuts->layers[skip];
	return true;
}

void shortcuts_add(struct shortcuts *shortcuts, unsigned skip, uint64_t offset,
		   uint64_t length)
{
	uint64_t unit = offset >> shortcuts->unit_bits;
	uint64_t end = (offset + length) >> shortcuts->unit_bits;

	if (skip == SHORTCUTS_ALL)
		skip = NOBODY;
	else if (skip > MOST_SKIPPED)
		skip = MOST_SKIPPED;
	for (; unit < end; unit++) {
		uint64_t tag = unit >> shortcuts->word_bits;

		if (tag >> TAG_BITS)
			return;
		atomic_store_explicit(value_of(shortcuts, unit),
				      (uint32_t)tag << TAG_SHIFT | (skip + 1),
				      memory_order_relaxed);
	}
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What was found against what the refcount blocks say, block by block. The
 * usual case, both alike, is a comparison of memory; only stretches that
 * differ are looked at cluster by cluster.
 *
 * Counts of more than 16 bits are compared as far as 65535.
 */
#include "formats/qcow2/check/check.h"
#include "util/zeros.h"

#define STRETCH 4096 /* counts compared at once */

/* One refcount block, and what was found for its clusters. */
struct comparison {
	struct check *c;
	unsigned char *data; /* NULL: all zeros, and nowhere to write */
	uint64_t block;
	uint32_t dirty_from, dirty_to; /* bytes of data */
};

static uint64_t run_of_blocks(const struct check *c, uint64_t block,
			      uint64_t end, uint64_t offset)
{
	uint64_t most = CHECK_READ >> c->q->cluster_bits, n = 1;
	bool known;

	while (n < most && block + n < end &&
	       check_block_offset(c, block + n, &known) ==
		       offset + (n << c->q->cluster_bits))
		n++;
	return n;
}

void check_read_blocks(struct check *c, uint64_t block, uint64_t end,
		       uint64_t *got, unsigned char **bytes)
{
	bool known;
	uint64_t offset = check_block_offset(c, block, &known);
	struct gild_error err;

	*got = 1;
	*bytes = NULL;
	if (!offset)
		return;
	*got = run_of_blocks(c, block, end, offset);
	*bytes = c->bytes;
	if (!storage_read(c->storage, c->bytes, *got << c->q->cluster_bits,
			  offset, NULL))
		return;
	/* Perhaps only one of them is bad. */
	*got = 1;
	if (!storage_read(c->storage, c->bytes, c->q->cluster_size, offset,
			  &err))
		return;
	*bytes = NULL;
	check_block_lost(c, block, &err);
}

static void decode(const struct comparison *cmp, uint64_t from, uint64_t n,
		   uint16_t *counts)
{
	uint32_t order = cmp->c->q->header.refcount_order;

	if (!cmp->data) {
		memset(counts, 0, n * sizeof(*counts));
	} else if (order == 4) {
		for (uint64_t i = 0; i < n; i++)
			counts[i] = load_be16(cmp->data + (from + i) * 2);
	} else {
		for (uint64_t i = 0; i < n; i++)
			counts[i] = (uint16_t)min_u64(
				qcow2_refcount_decode(cmp->data, order,
						      from + i),
				UINT16_MAX);
	}
}

static void change(struct comparison *cmp, uint64_t index, uint64_t value)
{
	uint32_t order = cmp->c->q->header.refcount_order;
	uint32_t from = (uint32_t)(index << order >> 3);
	uint32_t to = (uint32_t)((((index + 1) << order) + 7) >> 3);

	qcow2_refcount_encode(cmp->data, order, index, value);
	if (!cmp->dirty_to)
		cmp->dirty_from = from;
	cmp->dirty_to = to;
}

static void repair(struct comparison *cmp, uint64_t index, uint64_t cluster,
		   uint64_t count, uint64_t found)
{
	check_say(cmp->c, "Repairing cluster %ju refcount=%ju reference=%ju",
		  (uintmax_t)cluster, (uintmax_t)count, (uintmax_t)found);
	change(cmp, index, found);
}

static void differs(struct comparison *cmp, uint64_t index, uint64_t found)
{
	struct check *c = cmp->c;
	uint64_t cluster = cmp->block * c->q->refblock_entries + index;
	uint64_t count = 0;

	if (cmp->data)
		count = qcow2_refcount_decode(
			cmp->data, c->q->header.refcount_order, index);
	if (count > found) {
		c->counts.leaks++;
	} else {
		c->counts.corruptions++;
		c->counts.too_low++;
		if (!cmp->data)
			c->need_rebuild = true;
	}
	if (c->run.speak)
		check_say(c, "%s cluster %ju refcount=%ju reference=%ju",
			  count > found ? "Leaked" : "ERROR",
			  (uintmax_t)cluster, (uintmax_t)count,
			  (uintmax_t)found);
	/* What is in use may not all have been seen. */
	if (count > found && c->incomplete)
		return;
	if (cmp->data &&
	    c->run.action == (count > found ? CHECK_LOWER : CHECK_RAISE))
		repair(cmp, index, cluster, count, found);
}

/* The last of n clusters that is in use, by either account. */
static void note_highest(struct check *c, uint64_t first, uint64_t n,
			 const uint16_t *counts, const uint16_t *found)
{
	for (; n > 0; n--) {
		if (counts[n - 1] || found[n - 1]) {
			c->highest = max_u64(c->highest, first + n);
			return;
		}
	}
}

static void compare_stretch(struct comparison *cmp, uint64_t from, uint64_t n)
{
	struct check *c = cmp->c;
	uint64_t cluster = cmp->block * c->q->refblock_entries + from;
	const uint16_t *found = c->found + (cluster - c->first);
	uint16_t counts[STRETCH];

	decode(cmp, from, n, counts);
	if (memcmp(counts, found, n * sizeof(*counts)) != 0) {
		for (uint64_t i = 0; i < n; i++)
			if (counts[i] != found[i])
				differs(cmp, from + i, found[i]);
	}
	note_highest(c, cluster, n, counts, found);
}

/* Beyond the end of the file there is nothing to leak. */
static uint64_t clusters_of_block(const struct check *c, uint64_t block)
{
	uint64_t first = block * c->q->refblock_entries;
	uint64_t n = min_u64(c->q->refblock_entries, c->end - first);

	if (first + n > c->clusters && !c->found[c->clusters - c->first])
		n--;
	return n;
}

static int compare_block(struct check *c, uint64_t block, unsigned char *data)
{
	struct comparison cmp = { .c = c, .data = data, .block = block };
	uint64_t n = clusters_of_block(c, block), step;
	bool known;

	for (uint64_t i = 0; i < n; i += step) {
		step = min_u64(n - i, STRETCH);
		compare_stretch(&cmp, i, step);
	}
	if (!cmp.dirty_to)
		return 0;
	return check_write_table(c, data, check_block_offset(c, block, &known),
				 cmp.dirty_from, cmp.dirty_to);
}

/* What could not be followed may be in use: keep what the old block says. */
static void keep_counts(struct comparison *cmp, uint16_t *found, uint64_t n)
{
	uint16_t counts[STRETCH];
	uint64_t step;

	for (uint64_t i = 0; i < n; i += step) {
		step = min_u64(n - i, STRETCH);
		decode(cmp, i, step, counts);
		for (uint64_t k = 0; k < step; k++)
			if (found[i + k] < counts[k])
				found[i + k] = counts[k];
	}
}

/* Hand over what a new block is to say. */
static int rebuild_block(struct check *c, uint64_t block, unsigned char *data,
			 bool known)
{
	uint64_t first = block * c->q->refblock_entries;
	uint64_t n = clusters_of_block(c, block);
	uint16_t *found = c->found + (first - c->first);
	struct comparison cmp = { .c = c, .data = data, .block = block };

	if (c->incomplete && known) {
		keep_counts(&cmp, found, n);
	} else if (c->incomplete) {
		for (uint64_t i = 0; i < n; i++)
			if (!found[i])
				found[i] = 1;
	}
	return check_rebuild_block(c, block, found, n);
}

static void not_known(struct check *c, uint64_t block)
{
	uint64_t n = clusters_of_block(c, block);

	c->counts.errors += n;
	if (c->run.speak)
		check_say(c,
			  "ERROR refcounts of clusters %ju to %ju are not "
			  "known",
			  (uintmax_t)(block * c->q->refblock_entries),
			  (uintmax_t)(block * c->q->refblock_entries + n - 1));
}

static bool is_untouched(const struct check *c, uint64_t block)
{
	uint64_t from = block * c->q->refblock_entries - c->first;

	return from >= c->touched_to ||
	       from + c->q->refblock_entries <= c->touched_from;
}

static int visit_block(struct check *c, uint64_t block, unsigned char *data)
{
	bool known;

	check_block_offset(c, block, &known);
	if (!data && known && is_untouched(c, block))
		return 0;
	if (c->run.action == CHECK_REBUILD)
		return rebuild_block(c, block, data, known);
	if (known)
		return compare_block(c, block, data);
	not_known(c, block);
	return 0;
}

/* Skip ahead over blocks that do not exist and are not needed. */
static uint64_t next_block(const struct check *c, uint64_t block)
{
	uint64_t per_block = c->q->refblock_entries;
	uint64_t counted = check_next_counted(c, block * per_block);
	uint64_t touched = UINT64_MAX;

	if (c->touched_to > c->touched_from &&
	    block * per_block < c->first + c->touched_to)
		touched = (c->first + c->touched_from) / per_block;
	return max_u64(block, min_u64(counted / per_block, touched));
}

int check_compare(struct check *c)
{
	uint64_t end = div_round_up(c->end, c->q->refblock_entries), got;
	uint64_t block = next_block(c, c->first / c->q->refblock_entries);
	unsigned char *bytes;

	for (; block < end; block = next_block(c, block + got)) {
		check_read_blocks(c, block, end, &got, &bytes);
		for (uint64_t i = 0; i < got; i++) {
			unsigned char *data =
				bytes ? bytes + (i << c->q->cluster_bits) :
					NULL;

			if (visit_block(c, block + i, data) < 0)
				return -1;
		}
	}
	return 0;
}

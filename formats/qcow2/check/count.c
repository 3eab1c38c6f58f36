/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How often each host cluster of the window is referred to. Counts saturate at
 * 65535, or at the most that the image's refcounts can say.
 *
 * The file may end inside its last cluster, and compressed data that starts in
 * it may nominally reach into the next one: so there is a count for one more
 * cluster than the file has.
 */
#include <stdlib.h>

#include "formats/qcow2/check/check.h"

static int no_memory(struct check *c, uint64_t clusters)
{
	check_window_free(c);
	fail(c->err, GILD_ERR_NOMEM, 0,
	     "out of memory: counting %ju clusters takes %ju MiB",
	     (uintmax_t)clusters, (uintmax_t)(clusters >> 19));
	return -1;
}

/* New pages each time: what is not touched costs nothing. */
int check_window_start(struct check *c, uint64_t first)
{
	uint64_t count = min_u64(c->window, c->clusters + 1 - first);

	check_window_free(c);
	c->first = first;
	c->end = first + count;
	c->next = UINT64_MAX;
	c->touched_from = UINT64_MAX;
	c->touched_to = 0;
	c->found = calloc(count, sizeof(*c->found));
	c->single = calloc(count / 64 + 1, sizeof(*c->single));
	if (!c->found || !c->single)
		return no_memory(c, count);
	return 0;
}

void check_window_free(struct check *c)
{
	free(c->found);
	free(c->single);
	c->found = NULL;
	c->single = NULL;
}

void check_count_overflow(struct check *c, uint64_t cluster, uint64_t value)
{
	/* Ours is the limit, not the image's. */
	if (c->q->refcount_max > UINT16_MAX)
		return;
	c->counts.corruptions += value - c->limit;
	if (c->run.speak)
		check_say(c,
			  "ERROR: overflow cluster offset=0x%jx "
			  "(refcounts of %u bits are too narrow)",
			  (uintmax_t)(cluster << c->q->cluster_bits),
			  c->q->refcount_bits);
}

/* By one cluster or more? */
static bool is_outside(const struct check *c, uint64_t offset, uint64_t length)
{
	uint64_t limit = c->file_size + c->q->cluster_size;

	return length >= limit || offset >= limit - length;
}

bool check_count(struct check *c, uint64_t offset, uint64_t length,
		 uint64_t weight)
{
	uint64_t last;

	if (!length)
		return true;
	if (is_outside(c, offset, length)) {
		c->beyond = min_u64(c->beyond, offset >> c->q->cluster_bits);
		check_corrupt(c, weight,
			      "ERROR: counting reference for region exceeding "
			      "the end of the file by one cluster or more: "
			      "offset 0x%jx size 0x%jx",
			      (uintmax_t)offset, (uintmax_t)length);
		return false;
	}
	if (c->fixing)
		return true;
	last = (offset + length - 1) >> c->q->cluster_bits;
	for (uint64_t i = offset >> c->q->cluster_bits; i <= last; i++)
		check_count_one(c, i, weight);
	return true;
}

void check_mark_data(struct check *c, uint64_t offset, uint64_t length)
{
	uint64_t end = min_u64(
		div_round_up(offset + length, c->q->cluster_size), c->clusters);

	for (uint64_t i = offset >> c->q->cluster_bits; i < end; i++)
		c->data_map[i / 64] |= 1ULL << (i % 64);
}

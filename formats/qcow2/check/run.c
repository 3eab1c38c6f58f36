/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One run: everything that refers to host clusters is counted, window by
 * window, and compared with the refcount blocks. Where tables are to be
 * changed, they are walked a second time, when it is known what else lies in
 * the clusters that they occupy.
 */
#include <stdlib.h>

#include "formats/qcow2/check/check.h"

/* Passes that no image needs whose length is that of its content. */
#define MAX_PASSES 4096

static int count_all(struct check *c)
{
	const struct qcow2_header *h = &c->q->header;

	check_count(c, 0, c->q->cluster_size, 1);
	if (check_active(c) < 0 || check_snapshots(c) < 0 ||
	    check_bitmaps(c) < 0)
		return -1;
	if (h->has_crypto)
		check_count(c, h->crypto_offset, h->crypto_length, 1);
	/* Last, since a refcount block must not share its cluster. */
	if (c->run.action != CHECK_REBUILD)
		check_count_refcounts(c);
	return 0;
}

static int change_tables(struct check *c)
{
	int ret;

	c->fixing = true;
	ret = check_active(c);
	if (!ret && c->run.fix_entries)
		ret = check_inactive(c);
	c->fixing = false;
	return ret;
}

static int pass(struct check *c, uint64_t first)
{
	c->first_pass = first == 0;
	if (check_window_start(c, first) < 0)
		return -1;
	if (c->run.copied != CHECK_COPIED_IGNORE)
		check_single_load(c);
	if (count_all(c) < 0)
		return -1;
	c->top = max_u64(c->top, c->first + c->touched_to);
	if (check_compare(c) < 0)
		return -1;
	/* Not where data may lie that could not be found. */
	return c->data_map && !c->unreadable ? change_tables(c) : 0;
}

/* Windows start where a refcount block does. */
static uint64_t next_window(const struct check *c)
{
	uint64_t next = min_u64(c->next, check_next_counted(c, c->end));

	return next == UINT64_MAX ? next :
				    round_down(next, c->q->refblock_entries);
}

static void give_up(struct check *c, uint64_t first)
{
	c->counts.errors++;
	c->incomplete = true;
	if (c->run.speak)
		check_say(c,
			  "ERROR too scattered over the file to be checked "
			  "beyond offset 0x%jx",
			  (uintmax_t)(first << c->q->cluster_bits));
}

static int all_passes(struct check *c)
{
	uint64_t first = 0;

	for (unsigned passes = 0; first <= c->clusters; passes++) {
		if (passes == MAX_PASSES) {
			give_up(c, first);
			break;
		}
		if (pass(c, first) < 0)
			return -1;
		first = next_window(c);
	}
	return 0;
}

int check_run(struct check *c, const struct check_run *run)
{
	int ret;

	c->run = *run;
	c->counts = (struct check_counts){ 0 };
	c->highest = c->top = 0;
	c->beyond = UINT64_MAX;
	if (run->fix_entries || run->copied == CHECK_COPIED_FIX) {
		c->data_map = calloc(c->clusters / 64 + 1, 8);
		if (!c->data_map)
			return fail_nomem(c->err);
	}
	ret = all_passes(c);
	free(c->data_map);
	c->data_map = NULL;
	return ret;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every short sequence of operations over small images of each kind, cut off
 * by a power failure at every point (tests/lib/crash.h). The image that a
 * sequence starts from has clusters of every sort, so each operation meets
 * each of them.
 *
 * Then sequences at the points where the refcount structure has to grow, and
 * long ones with caches that are too small.
 *
 * Level fast tries single operations and a sample of pairs, normal all pairs
 * and a sample of triples. GILD_KEEP_STATE=FILE keeps a state that fails.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tests/lib/crash.h"
#include "storage/test-folder.h"

#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static const struct crash_setup setups[] = {
	{ .kind = { .name = "v3", .version = 3, .cluster_size = 512 },
	  .size = 72 * 512 },
	{ .kind = { .name = "v3, backing",
		    .version = 3,
		    .cluster_size = 512,
		    .backing = "base" },
	  .size = 72 * 512,
	  .below = 40 * 512 + 100 },
	{ .kind = { .name = "v2", .version = 2, .cluster_size = 512 },
	  .size = 72 * 512 },
	{ .kind = { .name = "v2, backing",
		    .version = 2,
		    .cluster_size = 1024, /* a header of two sectors */
		    .backing = "base" },
	  .size = 140 * 1024,
	  .below = 140 * 1024 },
	{ .kind = { .name = "lazy",
		    .version = 3,
		    .cluster_size = 512,
		    .lazy_refcounts = true },
	  .size = 72 * 512 },
	{ .kind = { .name = "refcounts of 1 bit",
		    .version = 3,
		    .cluster_size = 512,
		    .refcount_bits = 1 },
	  .size = 72 * 512 },
	{ .kind = { .name = "refcounts of 64 bits",
		    .version = 3,
		    .cluster_size = 512,
		    .refcount_bits = 64,
		    .backing = "base" },
	  .size = 72 * 512,
	  .below = 20 * 512 },
	{ .kind = { .name = "clusters of 1 KiB",
		    .version = 3,
		    .cluster_size = 1024,
		    .zstd = true },
	  .size = 140 * 1024 },
	{ .kind = { .name = "subclusters",
		    .version = 3,
		    .cluster_size = 16384,
		    .extended_l2 = true },
	  .size = 11 * 16384 - 512,
	  .most = 24 },
	{ .kind = { .name = "subclusters, backing, lazy",
		    .version = 3,
		    .cluster_size = 16384,
		    .extended_l2 = true,
		    .lazy_refcounts = true,
		    .backing = "base" },
	  .size = 11 * 16384,
	  .below = 7 * 16384 + 512,
	  .most = 24 },
	{ .kind = { .name = "bitmaps",
		    .version = 3,
		    .cluster_size = 1024, /* a header of two sectors */
		    .bitmaps = true },
	  .size = 140 * 1024,
	  .most = 48 },
	{ .kind = { .name = "bitmaps, lazy, backing",
		    .version = 3,
		    .cluster_size = 512,
		    .lazy_refcounts = true,
		    .bitmaps = true,
		    .backing = "base" },
	  .size = 72 * 512,
	  .below = 40 * 512,
	  .most = 24 },
	{ .kind = { .name = "snapshot", .version = 3, .cluster_size = 512 },
	  .size = 72 * 512 },
	{ .kind = { .name = "snapshot, subclusters, backing",
		    .version = 3,
		    .cluster_size = 16384,
		    .extended_l2 = true,
		    .backing = "base" },
	  .size = 11 * 16384,
	  .below = 11 * 16384,
	  .most = 24 },
	{ .kind = { .name = "snapshot, lazy, 64 bits",
		    .version = 3,
		    .cluster_size = 512,
		    .refcount_bits = 64,
		    .lazy_refcounts = true },
	  .size = 72 * 512 },
};

/* --- what is done -------------------------------------------------------- */

/* Clusters 0, 1: data; 2: zero with a place; 3: zero; 4 to 6: compressed,
 * packed; 7: data that does not compress; from 8 on nothing. */
static unsigned start_ops(uint64_t u, struct op *ops)
{
	const struct op start[] = {
		{ OP_WRITE, 0, 3 * u, 10 },	{ OP_ZERO, 2 * u, u, 0 },
		{ OP_ZERO_UNMAP, 3 * u, u, 0 }, { OP_COMPRESS, 4 * u, u, 12 },
		{ OP_COMPRESS, 5 * u, u, 14 },	{ OP_COMPRESS, 6 * u, u, 16 },
		{ OP_WRITE, 7 * u, u, 17 },
	};

	memcpy(ops, start, sizeof(start));
	return ARRAY_LENGTH(start);
}

/* Of what is there a part belongs to a snapshot, a part to both, a part only to
 * the disk. */
static unsigned snapshot_ops(uint64_t u, struct op *ops, unsigned count)
{
	const struct op more[] = {
		{ OP_SNAPSHOT, 0, 0, 0 },
		{ OP_WRITE, u, u, 50 },
		{ OP_COMPRESS, 5 * u, u, 52 },
		{ OP_WRITE, 8 * u, u, 54 },
	};

	memcpy(ops + count, more, sizeof(more));
	return count + ARRAY_LENGTH(more);
}

static unsigned all_ops(const struct crash_setup *setup, struct op *ops)
{
	const struct disk_kind *kind = &setup->kind;
	uint64_t u = kind->cluster_size, size = setup->size;
	const struct op all[] = {
		{ OP_FLUSH, 0, 0, 0 },
		{ OP_WRITE, 0, u, 20 }, /* in place */
		{ OP_WRITE, u + 100, 300, 22 },
		{ OP_WRITE, 8 * u, u, 24 },		/* new */
		{ OP_WRITE, 9 * u + 100, 300, 26 },	/* new, with edges */
		{ OP_WRITE, 7 * u + u / 2, 2 * u, 28 }, /* both */
		{ OP_WRITE, 2 * u + 10, 100, 30 },	/* over zeros */
		{ OP_WRITE, 3 * u + 10, 100, 32 },
		{ OP_WRITE, 4 * u + 200, 100, 34 }, /* over compressed */
		{ OP_WRITE, 4 * u, 3 * u, 36 },
		{ OP_WRITE, size - 600, 600, 38 }, /* a second table */
		{ OP_COMPRESS, 8 * u, u, 40 },
		{ OP_COMPRESS, 9 * u, u, 42 },
		{ OP_COMPRESS, 0, u, 44 },     /* over data */
		{ OP_COMPRESS, 5 * u, u, 46 }, /* over compressed */
		{ OP_ZERO, 0, u, 0 },
		{ OP_ZERO, u / 2, u, 0 },
		{ OP_ZERO, 8 * u, 2 * u, 0 },
		{ OP_ZERO_UNMAP, 0, 2 * u, 0 },
		{ OP_ZERO_UNMAP, 4 * u, u, 0 },
		{ OP_ZERO_UNMAP, 0, size, 0 },
		{ OP_DISCARD, 0, u, 0 },
		{ OP_DISCARD, 4 * u, 2 * u, 0 },
		{ OP_DISCARD, 0, 10 * u, 0 },
		{ OP_ALLOCATE, 0, 12 * u, 0 },
		{ OP_ALLOCATE, 3 * u + 100, size - 4 * u, 2 },
		{ OP_RESIZE, 0, size + 80 * u, 0 },
		{ OP_RESIZE, 0, 9 * u + 512, 0 },
		{ OP_AMEND, 0, 0, AMEND_V2 },
		{ OP_AMEND, 0, 0, AMEND_LAZY },
		{ OP_AMEND, 0, 0, AMEND_8_BITS },
		{ OP_AMEND, 0, 0, AMEND_64_BITS },
		/* not where reference counts have no room for it */
		{ OP_SNAPSHOT, 0, 0, 0 },
		{ OP_APPLY, 0, 0, 0 },
		{ OP_DELETE, 0, 0, 0 },
		{ OP_EMPTY, 0, 0, 0 },
		{ OP_ADOPT, 0, 2 * u, 0 },
		{ OP_ADOPT, 4 * u, 5 * u, 0 },
	};
	const struct op marks[] = {
		{ OP_MARKS_ADD, 0, 0, 0 },
		{ OP_MARKS_REMOVE, 0, 0, 0 },
		{ OP_MARKS_MERGE, 0, 0, 0 },
		{ OP_MARKS_CLEAR, 0, 0, 0 },
	};
	unsigned count = ARRAY_LENGTH(all);

	memcpy(ops, all, sizeof(all));
	if (!kind->bitmaps && kind->version == 3 && kind->refcount_bits != 1)
		return count;
	count -= 6;
	if (!kind->bitmaps)
		return count;
	memcpy(ops + count, marks, sizeof(marks));
	return count + ARRAY_LENGTH(marks);
}

/* --- sequences ----------------------------------------------------------- */

struct plan {
	unsigned singles, pairs, triples; /* one in so many; 0: none */
};

static bool chosen(struct crash_base *base, unsigned one_in)
{
	return one_in && random_next(&base->random) % one_in == 0;
}

/* What version 2 can have, and what is done with it: snapshots only of such
 * with a dirty bit, and no other size beside them. */
static bool may_be_v2(const struct crash_base *base, const struct op *ops,
		      unsigned count)
{
	const struct disk_kind *kind = &base->setup->kind;
	bool v2 = false, has_snapshot = base->model->saved != NULL;

	for (unsigned i = 0; i < count; i++) {
		has_snapshot |= ops[i].kind == OP_SNAPSHOT;
		if (v2 && ops[i].kind == OP_RESIZE && has_snapshot)
			return false;
		if (v2 &&
		    ((ops[i].kind >= OP_SNAPSHOT && ops[i].kind <= OP_DELETE) ||
		     ops[i].kind == OP_ADOPT))
			return false;
		if (ops[i].kind == OP_AMEND)
			v2 = ops[i].seed == AMEND_V2;
		if (v2 && (kind->extended_l2 || kind->zstd || kind->bitmaps))
			return false;
	}
	return true;
}

/* Does each operation lie within the disk as it is then, and is there ever only
 * one snapshot, and at its time? Nor is a bitmap added twice. */
static bool makes_sense(const struct crash_base *base, const struct op *ops,
			unsigned count)
{
	bool had_snapshot = base->model->saved != NULL;
	bool has_snapshot = had_snapshot, has_new = false;
	uint64_t size = base->setup->size, saved = base->model->saved_size;

	for (unsigned i = 0; i < count; i++) {
		if (ops[i].kind == OP_RESIZE && ops[i].length == size)
			return false;
		/* What comes back after it was cut off is not told of by a
		 * bitmap, as with QEMU. */
		if (ops[i].kind == OP_RESIZE && base->setup->kind.bitmaps &&
		    ops[i].length > size && size < base->setup->size)
			return false;
		if (ops[i].kind == OP_RESIZE)
			size = ops[i].length;
		else if (ops[i].offset + ops[i].length > size)
			return false;
		if (ops[i].kind == OP_SNAPSHOT ? had_snapshot :
		    ops[i].kind == OP_APPLY || ops[i].kind == OP_DELETE ||
				    ops[i].kind == OP_ADOPT ?
						 !has_snapshot :
						 false)
			return false;
		if (ops[i].kind == OP_ADOPT &&
		    ops[i].offset + ops[i].length > saved)
			return false;
		if (ops[i].kind == OP_MARKS_ADD && has_new)
			return false;
		if (ops[i].kind == OP_MARKS_REMOVE && !has_new)
			return false;
		has_new = ops[i].kind == OP_MARKS_ADD ||
			  (has_new && ops[i].kind != OP_MARKS_REMOVE);
		if (ops[i].kind == OP_SNAPSHOT)
			saved = size;
		/* whose size version 2 does not record */
		if (ops[i].kind == OP_AMEND && ops[i].seed == AMEND_V2 &&
		    has_snapshot && saved != size)
			return false;
		had_snapshot |= ops[i].kind == OP_SNAPSHOT;
		has_snapshot |= ops[i].kind == OP_SNAPSHOT;
		has_snapshot &= ops[i].kind != OP_DELETE;
		if (ops[i].kind == OP_APPLY)
			size = saved;
	}
	return true;
}

static void explore(struct crash_base *base, const struct op *ops,
		    unsigned count, unsigned one_in)
{
	if (chosen(base, one_in) && makes_sense(base, ops, count) &&
	    may_be_v2(base, ops, count))
		crash_explore(base, ops, count);
}

static void explore_all(struct crash_base *base, const struct plan *plan)
{
	struct op all[44], ops[3];
	unsigned n = all_ops(base->setup, all);

	for (unsigned i = 0; i < n; i++) {
		ops[0] = all[i];
		explore(base, ops, 1, plan->singles);
		for (unsigned j = 0; j < n; j++) {
			ops[1] = all[j];
			explore(base, ops, 2, plan->pairs);
			for (unsigned k = 0; plan->triples && k < n; k++) {
				ops[2] = all[k];
				explore(base, ops, 3, plan->triples);
			}
		}
	}
}

/* --- the tests ----------------------------------------------------------- */

static void report(const struct crash_base *base)
{
	fprintf(stderr, "%-28s %6ju sequences, %8ju states, %5ju by qemu-img\n",
		base->setup->kind.name, (uintmax_t)base->sequences,
		(uintmax_t)base->states, (uintmax_t)base->asked);
}

static unsigned numbers[ARRAY_LENGTH(setups)];

ParameterizedTestParameters(crash, short_sequences)
{
	for (unsigned i = 0; i < ARRAY_LENGTH(setups); i++)
		numbers[i] = i;
	return cr_make_param_array(unsigned, numbers, ARRAY_LENGTH(setups));
}

ParameterizedTest(unsigned *number, crash, short_sequences,
		  .init = folder_enter, .fini = folder_leave, .timeout = 1500)
{
	static const struct plan plans[] = {
		{ 1, 60, 0 },
		{ 1, 1, 400 },
		{ 1, 1, 10 },
	};
	struct crash_setup setup = setups[*number];
	struct crash_base *base;
	struct op ops[40];
	unsigned count = start_ops(setup.kind.cluster_size, ops);

	setup.oracle = test_level() == LEVEL_FAST ? 0 : 1000;
	if (!strncmp(setup.kind.name, "snapshot", 8))
		count = snapshot_ops(setup.kind.cluster_size, ops, count);
	base = crash_base_new(&setup, ops, count);
	explore_all(base, &plans[test_level()]);
	report(base);
	cr_assert_gt(base->states, 300);
	crash_base_free(base);
}

/* An image in which the first so many host clusters are in use: the next one
 * needs a new refcount block, or a longer refcount table. */
static struct crash_base *nearly_full(const struct crash_setup *setup,
				      uint64_t clusters)
{
	uint64_t u = setup->kind.cluster_size;
	struct op ops[40];
	unsigned count = start_ops(u, ops);
	struct crash_base *base;

	/* Too few at first, to see how many are in use. */
	base = crash_base_new(setup, ops, count);
	ops[count++] = (struct op){ OP_WRITE, 16 * u, u, 18 };
	for (unsigned i = 0; i < 8 && base->length != clusters * u; i++) {
		ops[count - 1].length += clusters * u - base->length;
		crash_base_free(base);
		base = crash_base_new(setup, ops, count);
	}
	cr_assert_eq(base->length, clusters * u);
	return base;
}

Test(crash, a_refcount_block_is_full, .init = folder_enter,
     .fini = folder_leave, .timeout = 1500)
{
	static const struct plan plans[] = { { 1, 40, 0 },
					     { 1, 2, 0 },
					     { 1, 1, 40 } };
	struct crash_setup setup = {
		.kind = { .name = "a full refcount block",
			  .version = 3,
			  .cluster_size = 512,
			  .refcount_bits = 64 },
		.size = 72 * 512,
		.oracle = test_level() == LEVEL_FAST ? 0 : 1000,
	};
	struct crash_base *base;

	for (uint64_t left = 0; left < 3; left++) {
		base = nearly_full(&setup, 64 - left);
		explore_all(base, &plans[test_level()]);
		report(base);
		crash_base_free(base);
	}
}

Test(crash, the_refcount_table_is_full, .init = folder_enter,
     .fini = folder_leave, .timeout = 1500)
{
	static const struct plan plans[] = { { 8, 0, 0 },
					     { 1, 20, 0 },
					     { 1, 2, 0 } };
	struct crash_setup setup = {
		.kind = { .name = "a full refcount table",
			  .version = 3,
			  .cluster_size = 512,
			  .refcount_bits = 64 },
		.size = 4200 * 512,
		.most = 12,
		.oracle = test_level() == LEVEL_FAST ? 0 : 200,
	};
	struct crash_base *base;

	for (uint64_t left = 0; left < 2; left++) {
		base = nearly_full(&setup, 4096 - left);
		explore_all(base, &plans[test_level()]);
		report(base);
		crash_base_free(base);
	}
}

/* Operations all over a disk of many tables. */
static void random_ops(struct crash_base *base, struct op *ops, unsigned count)
{
	static const enum op_kind kinds[] = {
		OP_WRITE, OP_WRITE,	 OP_COMPRESS, OP_COMPRESS,
		OP_ZERO,  OP_ZERO_UNMAP, OP_DISCARD,  OP_FLUSH,
	};
	uint64_t u = base->setup->kind.cluster_size;
	uint64_t clusters = base->setup->size / u;

	for (unsigned i = 0; i < count; i++) {
		ops[i].kind = kinds[random_next(&base->random) % 8];
		ops[i].seed = random_next(&base->random) % 1000;
		ops[i].offset = random_next(&base->random) % clusters * u;
		ops[i].length = u;
		if (ops[i].kind != OP_COMPRESS &&
		    random_next(&base->random) % 3 == 0)
			ops[i].length = base->setup->size - ops[i].offset;
		if (ops[i].kind == OP_WRITE && ops[i].length > 3 * u)
			ops[i].length = 3 * u;
	}
}

static void random_sequences(struct crash_setup *setup, unsigned sequences,
			     unsigned length)
{
	struct op ops[40];
	unsigned count;
	struct crash_base *base;

	setup->oracle = test_level() == LEVEL_FAST ? 0 : 200;
	count = start_ops(setup->kind.cluster_size, ops);
	base = crash_base_new(setup, ops, count);
	for (unsigned i = 0; i < sequences; i++) {
		random_ops(base, ops, length);
		crash_explore(base, ops, length);
	}
	report(base);
	crash_base_free(base);
}

/* So small that metadata has to be written in between to make room. */
Test(crash, caches_overflow, .init = folder_enter, .fini = folder_leave,
     .timeout = 1500)
{
	static const unsigned sequences[] = { 2, 20, 200 };
	struct crash_setup tiny = {
		.kind = { .name = "tiny caches",
			  .version = 3,
			  .cluster_size = 512,
			  .refcount_bits = 64 },
		.size = 2 << 20,
		.tiny_caches = true,
		.most = 12,
	};
	struct crash_setup lazy = tiny;

	random_sequences(&tiny, sequences[test_level()], 36);
	lazy.kind.name = "tiny caches, lazy";
	lazy.kind.lazy_refcounts = true;
	random_sequences(&lazy, sequences[test_level()], 36);
}

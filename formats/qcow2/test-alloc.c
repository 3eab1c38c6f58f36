/* SPDX-License-Identifier: BSD-3-Clause */
/* Where clusters go, how the refcount structure grows with them, how compressed
 * ones are packed; and what was not linked is free again. */
#include <criterion/criterion.h>

#include <errno.h>

#include "tests/lib/disk.h"
#include "util/bytes.h"

TestSuite(qcow2_alloc, .timeout = 60);

#define U 512

static const struct disk_kind plain = { .name = "16 bits",
					.version = 3,
					.cluster_size = U };
static const struct disk_kind wide = {
	.name = "64 bits", .version = 3, .cluster_size = U, .refcount_bits = 64
};
static const struct disk_kind single = {
	.name = "1 bit", .version = 3, .cluster_size = U, .refcount_bits = 1
};
static const struct disk_kind pairs = {
	.name = "2 bits", .version = 3, .cluster_size = U, .refcount_bits = 2
};

static struct qcow2 *open_new(const struct disk_kind *kind)
{
	struct storage *storage = disk_create(kind, 64 << 10);
	struct qcow2 *q = qcow2_of(disk_open(storage, GILD_OPEN_WRITE));

	cr_assert_eq(qcow2_begin_changes(q, NULL), 0);
	return q;
}

static uint64_t alloc(struct qcow2 *q, uint64_t want, uint64_t *got)
{
	struct gild_error err = { 0 };
	uint64_t offset;

	cr_assert_eq(qcow2_alloc_run(q, want, &offset, got, &err), 0, "%s",
		     err.message);
	return offset / U;
}

static uint64_t count_of(struct qcow2 *q, uint64_t cluster)
{
	uint64_t count;

	cr_assert_eq(qcow2_refcount_get(q, cluster, &count, NULL), 0);
	return count;
}

/* What was counted and never linked leaks, and that is all that is wrong. */
static void expect_leaks(struct qcow2 *q, uint64_t leaks)
{
	struct gild_check_result result;
	struct gild_error err = { 0 };

	cr_assert_eq(image_flush(&q->image, true, &err), 0, "%s", err.message);
	/* What lies beyond the end of the file is not looked at. */
	cr_assert_eq(storage_truncate(q->image.storage, 16 << 20, false, NULL),
		     0);
	result = disk_check(&q->image);
	cr_assert_eq(result.corruptions, 0);
	cr_assert_eq(result.leaks, leaks, "%ju leaks", (uintmax_t)result.leaks);
}

Test(qcow2_alloc, first_free_one_comes_first)
{
	struct qcow2 *q = open_new(&plain);
	uint64_t got, first = alloc(q, 1, &got);

	/* Header, refcount table, block, L1 table. */
	cr_assert_eq(first, 4);
	cr_assert_eq(alloc(q, 3, &got), 5);
	cr_assert_eq(got, 3);
	cr_assert_eq(alloc(q, 1, &got), 8);
	qcow2_alloc_undo(q, 6 * U, U);
	cr_assert_eq(alloc(q, 5, &got), 6, "the hole is filled");
	cr_assert_eq(got, 1, "as far as it goes");
	cr_assert_eq(alloc(q, 1, &got), 9);
	expect_leaks(q, 6);
	image_free(&q->image);
}

Test(qcow2_alloc, a_table_is_in_one_piece)
{
	struct qcow2 *q = open_new(&plain);
	uint64_t got, offset;

	cr_assert_eq(alloc(q, 4, &got), 4);
	qcow2_alloc_undo(q, 5 * U, 2 * U);
	cr_assert_eq(qcow2_alloc_table(q, 3, &offset, NULL), 0);
	cr_assert_eq(offset / U, 8);
	cr_assert_eq(alloc(q, 9, &got), 5, "the gap is still there");
	cr_assert_eq(got, 2);
	cr_assert_eq(qcow2_alloc_table(q, 2, &offset, NULL), 0);
	cr_assert_eq(offset / U, 11);
	image_free(&q->image);
}

/* 64 counts to a block: the table crosses three of them. */
Test(qcow2_alloc, a_table_may_span_refcount_blocks)
{
	struct qcow2 *q = open_new(&wide);
	uint64_t offset;

	cr_assert_eq(qcow2_alloc_table(q, 150, &offset, NULL), 0);
	for (unsigned i = 0; i < 150; i++)
		cr_assert_eq(count_of(q, offset / U + i), 1);
	expect_leaks(q, 150);
	image_free(&q->image);
}

/* 64 blocks in a table of one cluster count 4096 clusters. */
Test(qcow2_alloc, the_refcount_table_grows)
{
	struct qcow2 *q = open_new(&wide);
	uint64_t got, leaks = 0;

	for (unsigned n = 0; n < 12000; n += (unsigned)got) {
		alloc(q, 7, &got);
		leaks += got;
	}
	cr_assert_gt(q->header.reftable_clusters, 2);
	expect_leaks(q, leaks);
	image_free(&q->image);
}

Test(qcow2_alloc, the_refcount_table_grows_for_a_table)
{
	struct qcow2 *q = open_new(&wide);
	uint64_t offset;

	cr_assert_eq(qcow2_alloc_table(q, 9000, &offset, NULL), 0);
	cr_assert_gt(q->header.reftable_clusters, 1);
	expect_leaks(q, 9000);
	image_free(&q->image);
}

Test(qcow2_alloc, one_bit_is_enough)
{
	struct qcow2 *q = open_new(&single);
	uint64_t got, leaks = 0;

	while (leaks < 10000) {
		alloc(q, 100, &got);
		leaks += got;
	}
	expect_leaks(q, leaks);
	image_free(&q->image);
}

/* The longer table fails to be written at each point: nothing is lost, and the
 * next one is made as if nothing had been. Unless it is the header that fails:
 * then nobody knows where the table is. */
Test(qcow2_alloc, a_failing_disk_while_the_table_grows)
{
	struct faulty_plan plan = { .ops = 1U << FAULTY_WRITE,
				    .sys_errno = ENOSPC };
	bool failed = true;

	for (plan.nth = 1; failed; plan.nth++) {
		struct qcow2 *q = open_new(&wide);
		uint64_t got, leaks = 0, offset;

		while (leaks < 3900) {
			alloc(q, 100, &got);
			leaks += got;
		}
		faulty_set_plan(q->image.storage, &plan);
		failed = false;
		while (!failed && leaks < 4500) {
			failed = qcow2_alloc_run(q, 1, &offset, &got, NULL) < 0;
			leaks += failed ? 0 : got;
		}
		failed = faulty_calls(q->image.storage, plan.ops) >= plan.nth;
		faulty_set_plan(q->image.storage, &(struct faulty_plan){ 0 });
		if (!q->broken) {
			alloc(q, 1, &got);
			leaks += got;
		}
		if (!q->broken)
			expect_leaks(q, leaks);
		image_free(&q->image);
	}
	cr_assert_gt(plan.nth, 8);
}

Test(qcow2_alloc, metadata_that_is_counted_as_free_is_not_given_out)
{
	struct qcow2 *q = open_new(&plain);
	struct gild_error err = { 0 };
	uint64_t offset, got;

	cr_assert_eq(qcow2_refcount_add(q, 3, 1, -1, NULL), 0); /* L1 table */
	cr_assert_eq(qcow2_alloc_run(q, 1, &offset, &got, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
	cr_assert_neq(err.hint[0], 0);
	image_free(&q->image);
}

Test(qcow2_alloc, metadata_that_is_not_counted_is_not_overwritten)
{
	struct qcow2 *q = open_new(&wide);
	struct gild_error err = { 0 };
	uint64_t offset, got;

	/* As if an L2 table were where the longer refcount table would go. */
	cr_assert_eq(qcow2_guard_add(q, 4098 * U, U, NULL), 0);
	while (qcow2_alloc_run(q, 100, &offset, &got, &err) == 0)
		cr_assert_lt(offset + got * U, 4098 * U);
	cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
	image_free(&q->image);
}

/* --- compressed clusters ------------------------------------------------- */

static uint64_t pack(struct qcow2 *q, uint32_t length)
{
	struct gild_error err = { 0 };
	uint64_t offset;

	cr_assert_eq(qcow2_alloc_packed(q, length, &offset, &err), 0, "%s",
		     err.message);
	return offset;
}

Test(qcow2_alloc, compressed_clusters_are_packed)
{
	struct qcow2 *q = open_new(&plain);

	cr_assert_eq(pack(q, 100), 4 * U);
	cr_assert_eq(pack(q, 300), 4 * U + 100);
	cr_assert_eq(pack(q, 300), 4 * U + 400, "across the border");
	cr_assert_eq(count_of(q, 4), 3);
	cr_assert_eq(count_of(q, 5), 1);
	cr_assert_eq(pack(q, 324), 5 * U + 188);
	cr_assert_eq(count_of(q, 5), 2);
	cr_assert_eq(count_of(q, 6), 0);
	cr_assert_eq(pack(q, 10), 6 * U);
	image_free(&q->image);
}

Test(qcow2_alloc, packing_goes_on_elsewhere_when_the_next_one_is_taken)
{
	struct qcow2 *q = open_new(&plain);
	uint64_t got;

	cr_assert_eq(pack(q, 400), 4 * U);
	cr_assert_eq(alloc(q, 1, &got), 5);
	cr_assert_eq(pack(q, 50), 4 * U + 400, "what fits");
	cr_assert_eq(pack(q, 200), 6 * U);
	cr_assert_eq(count_of(q, 4), 2);
	image_free(&q->image);
}

Test(qcow2_alloc, one_bit_shares_nothing)
{
	struct qcow2 *q = open_new(&single);

	cr_assert_eq(pack(q, 100), 4 * U);
	cr_assert_eq(pack(q, 100), 5 * U);
	cr_assert_eq(pack(q, 100), 6 * U);
	image_free(&q->image);
}

Test(qcow2_alloc, two_bits_share_three_times)
{
	struct qcow2 *q = open_new(&pairs);

	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(pack(q, 100), 4 * U + 100 * i);
	cr_assert_eq(pack(q, 100), 5 * U);
	cr_assert_eq(count_of(q, 4), 3);
	image_free(&q->image);
}

Test(qcow2_alloc, nothing_is_packed_into_a_cluster_that_was_freed)
{
	struct qcow2 *q = open_new(&plain);
	uint64_t got;

	cr_assert_eq(pack(q, 100), 4 * U);
	qcow2_alloc_undo(q, 4 * U, 100);
	cr_assert_eq(count_of(q, 4), 0);
	cr_assert_eq(alloc(q, 1, &got), 4);
	cr_assert_eq(pack(q, 100), 5 * U, "not behind somebody's data");
	image_free(&q->image);
}

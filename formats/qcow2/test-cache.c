/* SPDX-License-Identifier: BSD-3-Clause */
/* Slices come, are found again, and go; what is changed stays until written.
 * Also with so few that everything has to be written in the middle. */
#include <criterion/criterion.h>

#include <errno.h>

#include "tests/lib/disk.h"
#include "tests/lib/model.h"
#include "util/bytes.h"

TestSuite(qcow2_cache, .timeout = 60);

static const struct disk_kind small = {
	.name = "small", .version = 3, .cluster_size = 512, .refcount_bits = 64
};

static struct qcow2 *open_new(const struct disk_kind *kind, uint64_t size)
{
	struct storage *storage = disk_create(kind, size);
	struct qcow2 *q = qcow2_of(disk_open(storage, GILD_OPEN_WRITE));

	disk_tiny_caches(&q->image);
	return q;
}

/* Sixteen slices of 512 bytes, and a file of 64 such that are all alike. */
static struct qcow2 *open_filled(void)
{
	struct qcow2 *q = open_new(&small, 64 << 10);
	unsigned char bytes[512];

	for (unsigned i = 20; i < 84; i++) {
		memset(bytes, (int)i, sizeof(bytes));
		cr_assert_eq(storage_write(q->image.storage, bytes, 512,
					   i * 512, NULL),
			     0);
	}
	return q;
}

static struct qcow2_slice *load(struct qcow2 *q, unsigned i)
{
	struct qcow2_slice *slice;

	slice = qcow2_cache_load(q, &q->l2_cache, i * 512ULL, NULL);
	cr_assert_not_null(slice);
	cr_assert_eq(slice->data[0], i);
	cr_assert_eq(slice->data[511], i);
	return slice;
}

Test(qcow2_cache, finds_what_was_loaded)
{
	struct qcow2 *q = open_filled();
	struct qcow2_slice *slice = load(q, 20);
	uint64_t reads;

	cr_assert_null(qcow2_cache_find(&q->l2_cache, 21 * 512));
	load(q, 21);
	reads = faulty_calls(q->image.storage, 1U << FAULTY_READ);
	cr_assert_eq(qcow2_cache_find(&q->l2_cache, 20 * 512), slice);
	cr_assert_eq(load(q, 20), slice);
	cr_assert_eq(faulty_calls(q->image.storage, 1U << FAULTY_READ), reads);
	image_free(&q->image);
}

Test(qcow2_cache, never_holds_more_than_its_budget)
{
	struct qcow2 *q = open_filled();
	unsigned held = 0;

	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 20; i < 84; i++)
			load(q, i);
	for (unsigned i = 20; i < 84; i++)
		held += qcow2_cache_find(&q->l2_cache, i * 512) != NULL;
	cr_assert_eq(held, 16);
	cr_assert_eq(q->l2_cache.count, 16);
	image_free(&q->image);
}

/* Once around, perhaps, but not each time. */
Test(qcow2_cache, what_is_used_stays)
{
	struct qcow2 *q = open_filled();
	unsigned missed = 0;

	for (unsigned i = 21; i < 84; i++) {
		missed += !qcow2_cache_find(&q->l2_cache, 20 * 512);
		load(q, 20);
		load(q, i);
	}
	cr_assert_leq(missed, 3);
	image_free(&q->image);
}

Test(qcow2_cache, changes_survive_eviction)
{
	struct qcow2 *q = open_filled();

	for (unsigned i = 20; i < 84; i++) {
		struct qcow2_slice *slice = load(q, i);

		slice->data[100] = (unsigned char)(200 - i);
		qcow2_cache_dirty(&q->l2_cache, slice);
		cr_assert_leq(q->l2_cache.dirty, 16);
	}
	for (unsigned i = 20; i < 84; i++)
		cr_assert_eq(load(q, i)->data[100], 200 - i);
	image_free(&q->image);
}

Test(qcow2_cache, forgets_what_became_something_else)
{
	struct qcow2 *q = open_filled();
	struct qcow2_slice *slice = load(q, 20);

	slice->data[0] = 1;
	qcow2_cache_dirty(&q->l2_cache, slice);
	load(q, 21);
	qcow2_cache_forget(&q->l2_cache, 20 * 512, 512);
	cr_assert_null(qcow2_cache_find(&q->l2_cache, 20 * 512));
	cr_assert_not_null(qcow2_cache_find(&q->l2_cache, 21 * 512));
	cr_assert_eq(q->l2_cache.dirty, 0);
	load(q, 20); /* as it is on the disk */
	image_free(&q->image);
}

Test(qcow2_cache, failed_read_leaves_nothing_behind)
{
	struct faulty_plan plan = { .nth = 1,
				    .ops = 1U << FAULTY_READ,
				    .sys_errno = EIO };
	struct qcow2 *q = open_filled();
	struct gild_error err = { 0 };

	faulty_set_plan(q->image.storage, &plan);
	cr_assert_null(qcow2_cache_load(q, &q->l2_cache, 20 * 512, &err));
	cr_assert_eq(err.kind, GILD_ERR_IO);
	cr_assert_null(qcow2_cache_find(&q->l2_cache, 20 * 512));
	load(q, 20);
	image_free(&q->image);
}

Test(qcow2_cache, failed_write_keeps_the_change)
{
	struct faulty_plan plan = { .nth = 2,
				    .ops = 1U << FAULTY_WRITE,
				    .sys_errno = ENOSPC };
	struct qcow2 *q = open_filled();

	for (unsigned i = 20; i < 24; i++)
		qcow2_cache_dirty(&q->l2_cache, load(q, i));
	faulty_set_plan(q->image.storage, &plan);
	cr_assert_eq(qcow2_cache_write(q, &q->l2_cache, NULL), -1);
	cr_assert_eq(q->l2_cache.dirty, 3);
	cr_assert_eq(qcow2_cache_write(q, &q->l2_cache, NULL), 0);
	cr_assert_eq(q->l2_cache.dirty, 0);
	image_free(&q->image);
}

/* --- more changes than slices -------------------------------------------- */

/* 64 clusters to a slice of counts: this touches about 40 slices. */
static void write_all(struct qcow2 *q, uint32_t seed)
{
	struct op op = { OP_WRITE, 0, q->image.size, seed };
	struct gild_error err = { 0 };

	cr_assert_eq(op_run(&q->image, &op, &err), 0, "%s", err.message);
}

static void expect_clean(struct qcow2 *q, uint32_t seed)
{
	unsigned char *want = malloc(q->image.size);
	unsigned char *disk = malloc(q->image.size);
	struct gild_check_result result;

	op_fill(want, 0, q->image.size, seed);
	cr_assert_eq(image_flush(&q->image, true, NULL), 0);
	cr_assert_eq(image_read(&q->image, disk, q->image.size, 0, NULL), 0);
	cr_assert_arr_eq(disk, want, q->image.size);
	result = disk_check(&q->image);
	cr_assert_eq(result.corruptions, 0);
	cr_assert_eq(result.leaks, 0);
	free(want);
	free(disk);
}

Test(qcow2_cache, holds_a_disk_of_many_tables)
{
	struct qcow2 *q = open_new(&small, 1 << 20);

	write_all(q, 1);
	write_all(q, 3);
	expect_clean(q, 3);
	image_free(&q->image);
}

/* Counts that wait for the closing do not fit. */
Test(qcow2_cache, holds_lazy_counts)
{
	struct disk_kind lazy = small;
	struct qcow2 *q;

	lazy.lazy_refcounts = true;
	q = open_new(&lazy, 1 << 20);
	write_all(q, 1);
	expect_clean(q, 1);
	image_free(&q->image);
}

/* Giving so much back changes more counts than fit: each goes down once. */
Test(qcow2_cache, holds_what_is_given_back_at_once)
{
	struct qcow2 *q = open_new(&small, 1 << 20);
	struct op unmap = { OP_ZERO_UNMAP, 0, 1 << 20, 0 };

	write_all(q, 1);
	cr_assert_eq(image_flush(&q->image, false, NULL), 0);
	cr_assert_eq(op_run(&q->image, &unmap, NULL), 0);
	cr_assert_eq(image_flush(&q->image, false, NULL), 0);
	write_all(q, 5);
	expect_clean(q, 5);
	image_free(&q->image);
}

/* The same in many small pieces, and what is given back is shared. */
Test(qcow2_cache, holds_pieces_that_are_given_back)
{
	struct qcow2 *q = open_new(&small, 1 << 20);
	struct op op = { OP_COMPRESS, 0, 512, 2 };

	for (op.offset = 0; op.offset < 1 << 20; op.offset += 512)
		cr_assert_eq(op_run(&q->image, &op, NULL), 0);
	cr_assert_eq(image_flush(&q->image, false, NULL), 0);
	op.kind = OP_DISCARD;
	for (op.offset = 0; op.offset < 1 << 20; op.offset += 1024)
		cr_assert_eq(op_run(&q->image, &op, NULL), 0);
	cr_assert_eq(image_flush(&q->image, false, NULL), 0);
	write_all(q, 7);
	expect_clean(q, 7);
	image_free(&q->image);
}

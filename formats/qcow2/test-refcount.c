/* SPDX-License-Identifier: BSD-3-Clause */
/* Reference counts of every width, in memory and on a disk that fails. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <errno.h>

#include "tests/lib/disk.h"
#include "tests/lib/model.h"

TestSuite(qcow2_refcount, .timeout = 60);

#define COUNTS 512

static unsigned orders[] = { 0, 1, 2, 3, 4, 5, 6 };

ParameterizedTestParameters(qcow2_refcount, keeps_neighbours_of_any_width)
{
	return cr_make_param_array(unsigned, orders, 7);
}

ParameterizedTest(unsigned *order, qcow2_refcount,
		  keeps_neighbours_of_any_width, .timeout = 60)
{
	uint64_t most = UINT64_MAX >> (64 - (1U << *order)), random = 3;
	unsigned char block[COUNTS * 8] = { 0 };
	uint64_t expected[COUNTS] = { 0 };

	for (unsigned n = 0; n < 20 * COUNTS; n++) {
		unsigned i = random_next(&random) % COUNTS;
		uint64_t value = (uint64_t)random_next(&random) << 33 |
				 random_next(&random);

		expected[i] = n % 5 ? value & most : most;
		qcow2_refcount_encode(block, *order, i, expected[i]);
	}
	for (unsigned i = 0; i < COUNTS; i++)
		cr_assert_eq(qcow2_refcount_decode(block, *order, i),
			     expected[i]);
}

/* The specification: big-endian; below a byte the first one is lowest. */
Test(qcow2_refcount, has_the_layout_of_the_specification)
{
	unsigned char block[16] = { 0 };

	qcow2_refcount_encode(block, 0, 0, 1);
	qcow2_refcount_encode(block, 0, 10, 1);
	cr_assert_eq(block[0], 0x01);
	cr_assert_eq(block[1], 0x04);
	qcow2_refcount_encode(block, 2, 4, 0xa);
	cr_assert_eq(block[2], 0x0a);
	qcow2_refcount_encode(block, 4, 2, 0x1234);
	cr_assert_eq(block[4], 0x12);
	cr_assert_eq(block[5], 0x34);
	qcow2_refcount_encode(block, 6, 1, 0x0102030405060708);
	cr_assert_eq(block[8], 0x01);
	cr_assert_eq(block[15], 0x08);
}

/* --- in an image --------------------------------------------------------- */

static const struct disk_kind narrow = {
	.name = "4 bits", .version = 3, .cluster_size = 512, .refcount_bits = 4
};
static const struct disk_kind wide = { .name = "64 bits",
				       .version = 3,
				       .cluster_size = 512,
				       .refcount_bits = 64 };

static struct qcow2 *open_new(const struct disk_kind *kind)
{
	struct storage *storage = disk_create(kind, 64 << 10);

	return qcow2_of(disk_open(storage, GILD_OPEN_WRITE));
}

static uint64_t count_of(struct qcow2 *q, uint64_t cluster)
{
	uint64_t count;

	cr_assert_eq(qcow2_refcount_get(q, cluster, &count, NULL), 0);
	return count;
}

Test(qcow2_refcount, counts_up_and_down)
{
	struct qcow2 *q = open_new(&narrow);

	cr_assert_eq(count_of(q, 0), 1);
	cr_assert_eq(count_of(q, 100), 0);
	cr_assert_eq(qcow2_refcount_add(q, 100, 3, 1, NULL), 0);
	cr_assert_eq(qcow2_refcount_add(q, 101, 1, 1, NULL), 0);
	cr_assert_eq(count_of(q, 100), 1);
	cr_assert_eq(count_of(q, 101), 2);
	cr_assert_eq(count_of(q, 102), 1);
	cr_assert_eq(count_of(q, 103), 0);
	cr_assert_eq(qcow2_refcount_add(q, 100, 3, -1, NULL), 0);
	cr_assert_eq(count_of(q, 100), 0);
	cr_assert_eq(count_of(q, 101), 1);
	image_free(&q->image);
}

Test(qcow2_refcount, full_one_changes_none)
{
	struct qcow2 *q = open_new(&narrow);
	struct gild_error err = { 0 };

	for (int i = 0; i < 15; i++)
		cr_assert_eq(qcow2_refcount_add(q, 102, 1, 1, &err), 0);
	cr_assert_eq(qcow2_refcount_add(q, 100, 5, 1, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	cr_assert_eq(count_of(q, 100), 0);
	cr_assert_eq(count_of(q, 101), 0);
	cr_assert_eq(count_of(q, 102), 15);
	cr_assert_eq(count_of(q, 103), 0);
	image_free(&q->image);
}

Test(qcow2_refcount, does_not_go_below_zero)
{
	struct qcow2 *q = open_new(&narrow);
	struct gild_error err = { 0 };

	cr_assert_eq(qcow2_refcount_add(q, 100, 1, -1, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
	cr_assert_eq(count_of(q, 100), 0);
	image_free(&q->image);
}

Test(qcow2_refcount, no_block_means_zero)
{
	struct qcow2 *q = open_new(&wide);
	uint64_t busy, free;
	bool counted;

	cr_assert_eq(count_of(q, 64), 0);
	cr_assert_eq(count_of(q, UINT64_MAX >> 9), 0);
	cr_assert_eq(
		qcow2_refcount_scan(q, 64, 9, &counted, &busy, &free, NULL), 0);
	cr_assert(!counted && !busy && !free);
	cr_assert_eq(qcow2_refcount_add(q, 64, 1, 1, NULL), -1);
	image_free(&q->image);
}

Test(qcow2_refcount, scan_tells_busy_from_free)
{
	struct qcow2 *q = open_new(&wide);
	uint64_t busy, free;
	bool counted;

	cr_assert_eq(qcow2_refcount_add(q, 20, 3, 1, NULL), 0);
	cr_assert_eq(qcow2_refcount_add(q, 30, 1, 1, NULL), 0);
	cr_assert_eq(qcow2_refcount_scan(q, 20, 99, &counted, &busy, &free,
					 NULL),
		     0);
	cr_assert(counted);
	cr_assert_eq(busy, 3);
	cr_assert_eq(free, 7);
	cr_assert_eq(qcow2_refcount_scan(q, 31, 99, &counted, &busy, &free,
					 NULL),
		     0);
	cr_assert_eq(busy, 0);
	cr_assert_eq(free, 33, "up to the end of the block");
	cr_assert_eq(
		qcow2_refcount_scan(q, 31, 5, &counted, &busy, &free, NULL), 0);
	cr_assert_eq(free, 5);
	image_free(&q->image);
}

/* A block that cannot be read must not be counted down for what was never
 * counted up. */
Test(qcow2_refcount, failed_read_changes_nothing)
{
	struct faulty_plan plan = { .nth = 1,
				    .ops = 1U << FAULTY_READ,
				    .sys_errno = EIO };
	struct qcow2 *q = open_new(&wide);
	struct gild_error err = { 0 };

	cr_assert_eq(qcow2_refcount_add(q, 20, 1, 1, NULL), 0);
	cr_assert_eq(qcow2_writeback(q, false, NULL), 0);
	qcow2_cache_drop(&q->ref_cache);
	faulty_set_plan(q->image.storage, &plan);
	cr_assert_eq(qcow2_refcount_add(q, 20, 1, 1, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_IO);
	cr_assert_eq(count_of(q, 20), 1);
	image_free(&q->image);
}

Test(qcow2_refcount, unaligned_block_is_refused)
{
	struct qcow2 *q = open_new(&wide);
	struct gild_error err = { 0 };
	uint64_t count;

	q->cluster_size = 1024; /* as if: 512 is aligned to less */
	q->reftable.entries[0] |= 512;
	cr_assert_eq(qcow2_refcount_get(q, 1, &count, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
	image_free(&q->image);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Larger and smaller disks. What is gained reads as zeros, whatever was there
 * before or is in the backing file. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/disk.h"
#include "tests/lib/model.h"

TestSuite(qcow2_resize, .timeout = 60);

#define U 512ULL

static const struct disk_kind plain = { .name = "plain",
					.version = 3,
					.cluster_size = U };
static const struct disk_kind backed = {
	.name = "backed", .version = 3, .cluster_size = 4096, .backing = "base"
};

static struct qcow2 *make(const struct disk_kind *kind, uint64_t size)
{
	struct image *image =
		disk_open(disk_create(kind, size), GILD_OPEN_WRITE);
	unsigned char below[40960];

	memset(below, 0x77, sizeof(below));
	if (kind->backing)
		disk_back(image, below, sizeof(below));
	return qcow2_of(image);
}

static void resize(struct qcow2 *q, uint64_t size)
{
	struct gild_error err = { 0 };

	cr_assert_eq(image_resize(&q->image, size, &err), 0, "%s", err.message);
	cr_assert_eq(q->image.size, size);
}

static void fill(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	struct op op = { OP_WRITE, offset, length, 2 };

	cr_assert_eq(op_run(&q->image, &op, NULL), 0);
}

static bool reads_zero(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	unsigned char *bytes = malloc(length);
	bool zero = true;

	cr_assert_eq(image_read(&q->image, bytes, length, offset, NULL), 0);
	for (uint64_t i = 0; i < length; i++)
		zero &= !bytes[i];
	free(bytes);
	return zero;
}

static bool reads_filled(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	unsigned char *bytes = malloc(length), *want = malloc(length);
	bool same;

	cr_assert_eq(image_read(&q->image, bytes, length, offset, NULL), 0);
	op_fill(want, offset, length, 2);
	same = !memcmp(bytes, want, length);
	free(bytes);
	free(want);
	return same;
}

static void finish(struct qcow2 *q)
{
	struct gild_check_result result;

	cr_assert_eq(image_flush(&q->image, true, NULL), 0);
	result = disk_check(&q->image);
	cr_assert_eq(result.corruptions, 0);
	cr_assert_eq(result.leaks, 0);
	image_free(&q->image);
}

Test(qcow2_resize, grows_within_its_l1_table)
{
	struct qcow2 *q = make(&plain, 10 * U);
	uint64_t table = q->l1.offset;

	fill(q, 0, 10 * U);
	resize(q, 20 * U);
	cr_assert_eq(q->l1.offset, table);
	cr_assert(reads_filled(q, 0, 10 * U));
	cr_assert(reads_zero(q, 10 * U, 10 * U));
	finish(q);
}

/* An L2 table reaches 64 clusters, a cluster of L1 table 64 of them. */
Test(qcow2_resize, grows_beyond_it)
{
	struct qcow2 *q = make(&plain, 10 * U);
	uint64_t table = q->l1.offset;

	fill(q, 0, 10 * U);
	resize(q, 64 * 64 * 3 * U);
	cr_assert_neq(q->l1.offset, table);
	fill(q, 64 * 64 * 2 * U, 3 * U);
	cr_assert(reads_filled(q, 0, 10 * U));
	cr_assert(reads_filled(q, 64 * 64 * 2 * U, 3 * U));
	cr_assert(reads_zero(q, 10 * U, 64 * 64 * U));
	finish(q);
}

Test(qcow2_resize, grows_from_nothing)
{
	struct qcow2 *q = make(&plain, 0);

	resize(q, 100 * U);
	fill(q, 99 * U, U);
	cr_assert(reads_zero(q, 0, 99 * U));
	finish(q);
}

/* Also when what it needs for that moves the refcount table. */
Test(qcow2_resize, grows_with_its_refcount_table)
{
	struct disk_kind wide = plain;
	struct storage *copy;
	struct qcow2 *q;

	wide.refcount_bits = 64;
	q = make(&wide, 4200 * U);
	while (q->free_hint < 4095)
		fill(q, q->free_hint * U, U);
	cr_assert_eq(q->header.reftable_clusters, 1);
	resize(q, 64 * 64 * 70 * U);
	cr_assert_gt(q->header.reftable_clusters, 1);
	cr_assert_eq(image_flush(&q->image, true, NULL), 0);
	copy = disk_copy(q->image.storage);
	image_free(&q->image);
	q = qcow2_of(disk_open(copy, GILD_OPEN_WRITE));
	cr_assert_gt(q->header.reftable_clusters, 1);
	finish(q);
}

Test(qcow2_resize, shrinks_and_forgets)
{
	struct qcow2 *q = make(&plain, 200 * U);

	fill(q, 0, 200 * U);
	resize(q, 50 * U);
	cr_assert_eq(image_flush(&q->image, false, NULL), 0);
	cr_assert_eq(image_flush(&q->image, false, NULL), 0);
	cr_assert_eq(q->freed_count, 0);
	resize(q, 200 * U);
	cr_assert(reads_filled(q, 0, 50 * U));
	cr_assert(reads_zero(q, 50 * U, 150 * U));
	finish(q);
}

Test(qcow2_resize, shrinks_in_the_middle_of_a_cluster)
{
	struct disk_kind large = plain;
	struct qcow2 *q;

	large.cluster_size = 4096;
	q = make(&large, 10 * 4096);
	fill(q, 0, 10 * 4096);
	resize(q, 4096 + 512);
	resize(q, 3 * 4096);
	cr_assert(reads_filled(q, 0, 4096 + 512));
	cr_assert(reads_zero(q, 4096 + 512, 4096));
	finish(q);
}

Test(qcow2_resize, does_not_uncover_the_backing_file)
{
	struct qcow2 *q = make(&backed, 4096 + 512);

	resize(q, 40960);
	cr_assert(!reads_zero(q, 0, 4096));
	cr_assert(reads_zero(q, 4096 + 512, 40960 - 4096 - 512));
	finish(q);
}

/* The header was cut, and that was the last thing that happened: what entries
 * beyond the end lead to does not come back. */
Test(qcow2_resize, does_not_uncover_what_a_crash_left)
{
	struct qcow2 *q = make(&plain, 100 * U);
	struct qcow2_header header;

	fill(q, 0, 100 * U);
	cr_assert_eq(image_flush(&q->image, false, NULL), 0);
	header = q->header;
	header.size = 10 * U;
	cr_assert_eq(qcow2_switch_header(q, &header, NULL), 0);
	q->image.size = 10 * U;
	resize(q, 100 * U);
	cr_assert(reads_filled(q, 0, 10 * U));
	cr_assert(reads_zero(q, 10 * U, 90 * U));
	finish(q);
}

Test(qcow2_resize, has_its_limit)
{
	struct qcow2 *q = make(&plain, 10 * U);
	struct gild_error err = { 0 };

	/* 32 MiB of L1 table, 64 clusters to an entry. */
	cr_assert_eq(image_resize(&q->image, (4ULL << 20) * 64 * U + U, &err),
		     -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	cr_assert_eq(image_resize(&q->image, UINT64_MAX, &err), -1);
	cr_assert_eq(q->image.size, 10 * U);
	finish(q);
}

Test(qcow2_resize, is_not_for_readers)
{
	struct image *image = disk_open(disk_create(&plain, 10 * U), 0);
	struct gild_error err = { 0 };

	cr_assert_eq(image_resize(image, 20 * U, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_DENIED);
	image_free(image);
}

/* --- space that is set aside ---------------------------------------------- */

static uint64_t places(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	struct extent extent;
	uint64_t found = 0;

	for (uint64_t at = 0; at < length; at += extent.length) {
		cr_assert_eq(qcow2_map(&q->image, offset + at, length - at,
				       &extent, NULL),
			     0);
		if (extent.kind == EXTENT_DATA || extent.allocated)
			found += extent.length;
	}
	return found;
}

Test(qcow2_resize, sets_space_aside_for_what_is_gained)
{
	static const struct disk_kind kinds[] = {
		{ .name = "v2", .version = 2, .cluster_size = U },
		{ .name = "v3",
		  .version = 3,
		  .cluster_size = 4096,
		  .backing = "base" },
		{ .name = "subclusters",
		  .version = 3,
		  .cluster_size = 16384,
		  .extended_l2 = true,
		  .backing = "base" },
	};

	for (unsigned i = 0; i < 9; i++) {
		enum gild_preallocation how =
			GILD_PREALLOCATION_METADATA + i % 3;
		struct qcow2 *q = make(&kinds[i / 3], 3 * 16384 + U);
		uint64_t size = 40 * 16384 + U, old = q->image.size;
		struct gild_error err = { 0 };

		fill(q, U, U);
		cr_assert_eq(gild_grow((struct gild_image *)&q->image, size,
				       how, NULL, &err),
			     0, "%s", err.message);
		cr_assert_eq(q->image.size, size);
		cr_assert(reads_filled(q, U, U));
		cr_assert(reads_zero(q, old, size - old));
		/* The cluster that the old end was in may be left out. */
		cr_assert_geq(places(q, 4 * 16384, size - 4 * 16384),
			      size - 4 * 16384);
		cr_assert_lt(places(q, 0, old), old);
		finish(q);
	}
}

/* A disk that is full half-way: the size is as before, and nothing leaks. */
Test(qcow2_resize, takes_the_size_back_where_there_is_no_space)
{
	struct faulty_plan plan = { .nth = 3,
				    .ops = 1U << FAULTY_ZERO,
				    .sys_errno = ENOSPC };
	struct qcow2 *q = make(&plain, 10 * U);
	struct gild_error err = { 0 };

	fill(q, 0, 10 * U);
	faulty_set_plan(q->image.storage, &plan);
	cr_assert_eq(gild_grow((struct gild_image *)&q->image, 900 * U,
			       GILD_PREALLOCATION_FALLOC, NULL, &err),
		     -1);
	cr_assert_eq(err.sys_errno, ENOSPC);
	cr_assert_eq(q->image.size, 10 * U);
	cr_assert(reads_filled(q, 0, 10 * U));
	finish(q);
}

Test(qcow2_resize, sets_space_aside_only_when_it_grows)
{
	struct qcow2 *q = make(&plain, 10 * U);
	struct gild_image *handle = (struct gild_image *)&q->image;
	struct gild_job *job = gild_job_new();
	struct gild_error err = { 0 };

	cr_assert_eq(gild_grow(handle, 9 * U, GILD_PREALLOCATION_METADATA, NULL,
			       &err),
		     -1);
	cr_assert_eq(err.kind, GILD_ERR_INVALID);
	cr_assert_eq(q->image.size, 10 * U);
	cr_assert_eq(gild_grow(handle, 9 * U, GILD_PREALLOCATION_OFF, NULL,
			       &err),
		     0);
	gild_job_cancel(job);
	cr_assert_eq(gild_grow(handle, 30 * U, GILD_PREALLOCATION_FULL, job,
			       &err),
		     -1);
	cr_assert_eq(err.kind, GILD_ERR_CANCELLED);
	cr_assert_eq(q->image.size, 9 * U);
	gild_job_free(job);
	finish(q);
}

/* They do not say how large their disk was. */
Test(qcow2_resize, snapshots_of_version_2_are_in_the_way)
{
	static const struct disk_kind kind = { .name = "v2",
					       .version = 2,
					       .cluster_size = U };
	struct qcow2 *q = make(&kind, 10 * U);
	struct gild_image *handle = (struct gild_image *)&q->image;
	struct gild_error err = { 0 };

	cr_assert_eq(gild_snapshot_create(handle, "s", NULL), 0);
	cr_assert_eq(image_resize(&q->image, 20 * U, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_UNSUPPORTED);
	cr_assert_eq(gild_snapshot_delete(handle, "s", NULL), 0);
	resize(q, 20 * U);
	finish(q);
}

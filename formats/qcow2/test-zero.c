/* SPDX-License-Identifier: BSD-3-Clause */
/* Zeros and discards: which entries say so in which version, with and without a
 * backing file, and whose space is given back. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/entry.h"
#include "tests/lib/disk.h"
#include "tests/lib/model.h"

TestSuite(qcow2_zero, .timeout = 60);

#define U 512ULL
#define SIZE (200 * U)

static const struct disk_kind v2 = { .name = "v2",
				     .version = 2,
				     .cluster_size = U };
static const struct disk_kind v2_backed = {
	.name = "v2 backed", .version = 2, .cluster_size = U, .backing = "base"
};
static const struct disk_kind v3 = { .name = "v3",
				     .version = 3,
				     .cluster_size = U };
static const struct disk_kind v3_backed = {
	.name = "v3 backed", .version = 3, .cluster_size = U, .backing = "base"
};
static const struct disk_kind extended = { .name = "extended",
					   .version = 3,
					   .cluster_size = 16384,
					   .extended_l2 = true,
					   .backing = "base" };

static unsigned char below[SIZE];

static struct qcow2 *make(const struct disk_kind *kind)
{
	struct image *image =
		disk_open(disk_create(kind, SIZE), GILD_OPEN_WRITE);

	memset(below, 0x77, sizeof(below));
	if (kind->backing)
		disk_back(image, below, sizeof(below));
	return qcow2_of(image);
}

static void run(struct qcow2 *q, enum op_kind kind, uint64_t offset,
		uint64_t length)
{
	struct op op = { kind, offset, length, 2 };
	struct gild_error err = { 0 };

	cr_assert_eq(op_run(&q->image, &op, &err), 0, "%s: %s", op_text(&op),
		     err.message);
}

static struct qcow2_entry entry_of(struct qcow2 *q, uint64_t guest)
{
	struct l2_position at = l2_position(q, guest);
	uint64_t table = q->l1.entries[at.l1_index] & QCOW2_OFFSET_MASK;
	struct qcow2_slice *slice;

	if (!table)
		return (struct qcow2_entry){ 0 };
	slice = qcow2_cache_load(q, &q->l2_cache, slice_offset(q, table, at),
				 NULL);
	cr_assert_not_null(slice);
	return entry_load(q, slice->data, at.index);
}

static enum entry_kind kind_of(struct qcow2 *q, uint64_t guest)
{
	return entry_kind(q, entry_of(q, guest), 0);
}

/* The byte that all of a range reads as. */
static int reads(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	unsigned char bytes[SIZE];

	cr_assert_eq(image_read(&q->image, bytes, length, offset, NULL), 0);
	for (uint64_t i = 1; i < length; i++)
		if (bytes[i] != bytes[0])
			return -1;
	return bytes[0];
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

/* --- zeros ---------------------------------------------------------------- */

Test(qcow2_zero, keep_their_place_in_version_3)
{
	struct qcow2 *q = make(&v3);

	run(q, OP_WRITE, 0, 2 * U);
	run(q, OP_ZERO, 0, U);
	cr_assert_eq(kind_of(q, 0), ENTRY_ZERO_ALLOC);
	cr_assert_eq(kind_of(q, U), ENTRY_DATA);
	cr_assert_eq(reads(q, 0, U), 0);
	finish(q);
}

Test(qcow2_zero, give_their_place_back_when_asked)
{
	struct qcow2 *q = make(&v3_backed);

	run(q, OP_WRITE, 0, U);
	run(q, OP_ZERO_UNMAP, 0, U);
	cr_assert_eq(kind_of(q, 0), ENTRY_ZERO);
	cr_assert_eq(reads(q, 0, U), 0);
	finish(q);
}

Test(qcow2_zero, need_no_entry_where_nothing_shows_through)
{
	struct qcow2 *q = make(&v3);

	run(q, OP_WRITE, 0, U);
	run(q, OP_ZERO_UNMAP, 0, U);
	cr_assert_eq(kind_of(q, 0), ENTRY_UNALLOCATED);
	run(q, OP_ZERO, 100 * U, U);
	cr_assert_eq(q->l1.entries[1], 0, "no table is made for it");
	finish(q);
}

Test(qcow2_zero, hide_the_backing_file)
{
	struct qcow2 *q = make(&v3_backed);

	cr_assert_eq(reads(q, 100 * U, U), 0x77);
	run(q, OP_ZERO, 100 * U, 2 * U);
	cr_assert_eq(kind_of(q, 100 * U), ENTRY_ZERO);
	cr_assert_eq(reads(q, 100 * U, 2 * U), 0);
	cr_assert_eq(reads(q, 102 * U, U), 0x77);
	finish(q);
}

Test(qcow2_zero, of_version_2_are_written_over_a_backing_file)
{
	struct qcow2 *q = make(&v2_backed);

	run(q, OP_ZERO_UNMAP, 3 * U, 2 * U);
	cr_assert_eq(kind_of(q, 3 * U), ENTRY_DATA);
	cr_assert_eq(reads(q, 3 * U, 2 * U), 0);
	finish(q);
}

Test(qcow2_zero, of_version_2_are_nothing_without_one)
{
	struct qcow2 *q = make(&v2);

	run(q, OP_WRITE, 0, 2 * U);
	run(q, OP_ZERO, 0, U);
	cr_assert_eq(kind_of(q, 0), ENTRY_UNALLOCATED);
	cr_assert_eq(reads(q, 0, U), 0);
	finish(q);
}

Test(qcow2_zero, parts_of_clusters)
{
	struct qcow2 *q = make(&v3_backed);

	run(q, OP_ZERO, 10, 3 * U);
	cr_assert_eq(reads(q, 0, 10), 0x77);
	cr_assert_eq(reads(q, 10, 3 * U), 0);
	cr_assert_eq(reads(q, 3 * U + 10, U), 0x77);
	cr_assert_eq(kind_of(q, U), ENTRY_ZERO);
	finish(q);
}

Test(qcow2_zero, compressed_clusters)
{
	struct qcow2 *q = make(&v3_backed);

	run(q, OP_COMPRESS, 0, U);
	run(q, OP_COMPRESS, U, U);
	run(q, OP_ZERO, 0, U);
	cr_assert_eq(kind_of(q, 0), ENTRY_ZERO);
	cr_assert_eq(kind_of(q, U), ENTRY_COMPRESSED);
	finish(q);
}

Test(qcow2_zero, the_disks_end_counts_as_a_clusters)
{
	struct disk_kind large = v3_backed;
	struct image *image;

	large.cluster_size = 4096;
	image = disk_open(disk_create(&large, 4096 + 512), GILD_OPEN_WRITE);
	memset(below, 0x77, sizeof(below));
	disk_back(image, below, sizeof(below));
	run(qcow2_of(image), OP_ZERO, 4096, 512);
	cr_assert_eq(kind_of(qcow2_of(image), 4096), ENTRY_ZERO);
	finish(qcow2_of(image));
}

Test(qcow2_zero, whole_disk_of_many_tables)
{
	struct qcow2 *q = make(&v3_backed);

	run(q, OP_WRITE, 0, 90 * U);
	run(q, OP_ZERO_UNMAP, 0, SIZE);
	cr_assert_eq(reads(q, 0, SIZE), 0);
	finish(q);
}

/* --- subclusters ---------------------------------------------------------- */

Test(qcow2_zero, single_subclusters)
{
	struct qcow2 *q = make(&extended);

	run(q, OP_ZERO, 5 * U, 2 * U);
	cr_assert_eq(entry_of(q, 0).bitmap, 3ULL << 37);
	cr_assert_eq(entry_of(q, 0).word, 0);
	cr_assert_eq(reads(q, 5 * U, 2 * U), 0);
	cr_assert_eq(reads(q, 0, 5 * U), 0x77);
	cr_assert_eq(reads(q, 7 * U, U), 0x77);
	run(q, OP_WRITE, 4 * U, 2 * U);
	cr_assert_eq(entry_of(q, 0).bitmap, 1ULL << 38 | 3ULL << 4);
	finish(q);
}

Test(qcow2_zero, subclusters_of_a_compressed_cluster)
{
	struct qcow2 *q = make(&extended);

	run(q, OP_COMPRESS, 0, 16384);
	run(q, OP_ZERO, 5 * U, 2 * U);
	cr_assert_eq(reads(q, 5 * U, 2 * U), 0);
	cr_assert_neq(reads(q, 0, 5 * U), 0);
	finish(q);
}

/* --- discards ------------------------------------------------------------- */

Test(qcow2_zero, discard_shows_zeros_not_the_backing_file)
{
	struct qcow2 *q = make(&v3_backed);

	run(q, OP_WRITE, 0, 2 * U);
	run(q, OP_DISCARD, 0, U);
	cr_assert_eq(kind_of(q, 0), ENTRY_ZERO);
	cr_assert_eq(reads(q, 0, U), 0);
	run(q, OP_DISCARD, 50 * U, U);
	cr_assert_eq(reads(q, 50 * U, U), 0x77, "nothing to give back here");
	finish(q);
}

Test(qcow2_zero, discard_does_nothing_where_version_2_cannot_say_it)
{
	struct qcow2 *q = make(&v2_backed);

	run(q, OP_WRITE, 0, 2 * U);
	run(q, OP_DISCARD, 0, 2 * U);
	cr_assert_eq(kind_of(q, 0), ENTRY_DATA);
	finish(q);
}

Test(qcow2_zero, discard_leaves_parts_of_clusters_alone)
{
	struct qcow2 *q = make(&v3);

	run(q, OP_WRITE, 0, 3 * U);
	run(q, OP_DISCARD, 10, 2 * U);
	cr_assert_eq(kind_of(q, 0), ENTRY_DATA);
	cr_assert_eq(kind_of(q, U), ENTRY_UNALLOCATED);
	cr_assert_eq(kind_of(q, 2 * U), ENTRY_DATA);
	finish(q);
}

Test(qcow2_zero, discard_makes_no_tables)
{
	struct qcow2 *q = make(&v3_backed);

	run(q, OP_DISCARD, 0, SIZE);
	cr_assert_eq(q->l1.entries[0], 0);
	finish(q);
}

Test(qcow2_zero, what_a_snapshot_holds_is_not_given_back)
{
	struct qcow2 *q = make(&v3);
	uint64_t count, host;

	run(q, OP_WRITE, 0, U);
	host = entry_offset(entry_of(q, 0));
	run(q, OP_SNAPSHOT, 0, 0);
	run(q, OP_DISCARD, 0, U);
	cr_assert_eq(image_flush(&q->image, false, NULL), 0);
	cr_assert_eq(image_flush(&q->image, false, NULL), 0);
	cr_assert_eq(qcow2_refcount_get(q, host / U, &count, NULL), 0);
	cr_assert_eq(count, 1);
	run(q, OP_APPLY, 0, 0);
	cr_assert_neq(reads(q, 0, U), 0);
	finish(q);
}

/* A broken entry must not get the header, or a table, punched. */
Test(qcow2_zero, metadata_is_not_punched)
{
	struct qcow2 *q = make(&v3);
	unsigned char before[4 * U], after[4 * U];
	struct qcow2_slice *slice;

	run(q, OP_WRITE, 0, U);
	cr_assert_eq(image_flush(&q->image, false, NULL), 0);
	cr_assert_eq(storage_read(q->image.storage, before, 4 * U, 0, NULL), 0);
	/* Guest cluster 0 is at the L1 table's place. */
	slice = qcow2_cache_load(q, &q->l2_cache,
				 q->l1.entries[0] & QCOW2_OFFSET_MASK, NULL);
	entry_store(q, slice->data, 0,
		    (struct qcow2_entry){ QCOW2_COPIED | 3 * U, 0 });
	run(q, OP_DISCARD, 0, U);
	image_flush(&q->image, true, NULL);
	cr_assert_eq(storage_read(q->image.storage, after, 4 * U, 0, NULL), 0);
	cr_assert_arr_eq(after + 3 * U, before + 3 * U, U);
	image_free(&q->image);
}

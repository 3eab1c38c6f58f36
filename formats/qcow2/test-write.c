/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing into clusters of every sort: where it goes, what is copied around it,
 * what it leaves alone; and entries that cannot be right. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/entry.h"
#include "tests/lib/disk.h"
#include "tests/lib/model.h"

TestSuite(qcow2_write, .timeout = 60);

#define U 4096ULL
#define SIZE (40 * U + 512)

static const struct disk_kind plain = { .name = "plain",
					.version = 3,
					.cluster_size = U };
static const struct disk_kind backed = {
	.name = "backed", .version = 3, .cluster_size = U, .backing = "base"
};
static const struct disk_kind extended = { .name = "extended",
					   .version = 3,
					   .cluster_size = 16384,
					   .extended_l2 = true };

struct disk {
	struct qcow2 *q;
	struct model *model;
	unsigned char *bytes;
};

/* With a backing file of half the size, if the kind has one. */
static struct disk *make(const struct disk_kind *kind)
{
	static unsigned char below[SIZE / 2];
	struct disk *disk = calloc(1, sizeof(*disk));
	struct image *image;

	image = disk_open(disk_create(kind, SIZE), GILD_OPEN_WRITE);
	disk->q = qcow2_of(image);
	disk->bytes = malloc(SIZE);
	op_fill(below, 0, sizeof(below), 900);
	if (kind->backing)
		disk_back(image, below, sizeof(below));
	disk->model = model_new(below, kind->backing ? sizeof(below) : 0, SIZE);
	return disk;
}

static void run(struct disk *disk, enum op_kind kind, uint64_t offset,
		uint64_t length, uint32_t seed)
{
	struct op op = { kind, offset, length, seed };
	struct gild_error err = { 0 };

	cr_assert_eq(op_run(&disk->q->image, &op, &err), 0, "%s: %s",
		     op_text(&op), err.message);
	op_note(disk->model, &op, false);
}

/* All of it reads as it should, and the image is sound. */
static void finish(struct disk *disk)
{
	struct gild_error err = { 0 };
	struct gild_check_result result;

	for (int i = 0; i < 2; i++) {
		cr_assert_eq(image_read(&disk->q->image, disk->bytes, SIZE, 0,
					&err),
			     0, "%s", err.message);
		cr_assert(model_allows(disk->model, disk->bytes, SIZE, false,
				       &err),
			  "%s", err.message);
		cr_assert_eq(image_flush(&disk->q->image, true, &err), 0);
	}
	result = disk_check(&disk->q->image);
	cr_assert_eq(result.corruptions, 0);
	cr_assert_eq(result.leaks, 0);
	image_free(&disk->q->image);
	model_free(disk->model);
	free(disk->bytes);
	free(disk);
}

/* The entry of a guest cluster. */
static struct qcow2_entry entry_of(struct qcow2 *q, uint64_t guest)
{
	struct l2_position at = l2_position(q, guest);
	uint64_t table = q->l1.entries[at.l1_index] & QCOW2_OFFSET_MASK;
	struct qcow2_slice *slice;

	slice = qcow2_cache_load(q, &q->l2_cache, slice_offset(q, table, at),
				 NULL);
	cr_assert_not_null(slice);
	return entry_load(q, slice->data, at.index);
}

static void set_entry(struct qcow2 *q, uint64_t guest, uint64_t word)
{
	struct l2_position at = l2_position(q, guest);
	uint64_t table = q->l1.entries[at.l1_index] & QCOW2_OFFSET_MASK;
	struct qcow2_slice *slice;

	slice = qcow2_cache_load(q, &q->l2_cache, slice_offset(q, table, at),
				 NULL);
	entry_store(q, slice->data, at.index, (struct qcow2_entry){ word, 0 });
}

/* --- copying ------------------------------------------------------------- */

Test(qcow2_write, new_cluster_is_zero_around_the_data)
{
	struct disk *disk = make(&plain);

	run(disk, OP_WRITE, U + 100, 300, 2);
	run(disk, OP_WRITE, 8 * U - 1, 2, 4);
	run(disk, OP_WRITE, 20 * U + 7, 3 * U, 6);
	finish(disk);
}

Test(qcow2_write, new_cluster_has_the_backing_file_around_the_data)
{
	struct disk *disk = make(&backed);

	run(disk, OP_WRITE, U + 100, 300, 2);
	run(disk, OP_WRITE, 5 * U + 7, 3 * U, 4);
	/* Across the end of the backing file, and the disk's last bytes. */
	run(disk, OP_WRITE, SIZE / 2 - 100, 200, 6);
	run(disk, OP_WRITE, SIZE - 3, 3, 8);
	finish(disk);
}

Test(qcow2_write, own_cluster_is_written_in_place)
{
	struct disk *disk = make(&plain);
	uint64_t host;

	run(disk, OP_WRITE, U, U, 2);
	host = entry_offset(entry_of(disk->q, U));
	run(disk, OP_WRITE, U + 5, 10, 4);
	cr_assert_eq(entry_offset(entry_of(disk->q, U)), host);
	finish(disk);
}

Test(qcow2_write, zeros_with_a_place_are_filled_where_they_are)
{
	struct disk *disk = make(&backed);
	uint64_t host;

	run(disk, OP_WRITE, U, U, 2);
	host = entry_offset(entry_of(disk->q, U));
	run(disk, OP_ZERO, U, U, 0);
	cr_assert_eq(entry_offset(entry_of(disk->q, U)), host);
	run(disk, OP_WRITE, U + 100, 300, 4);
	cr_assert_eq(entry_offset(entry_of(disk->q, U)), host);
	finish(disk);
}

Test(qcow2_write, compressed_cluster_is_unpacked_around_the_data)
{
	struct disk *disk = make(&plain);

	run(disk, OP_COMPRESS, 0, U, 2);
	run(disk, OP_COMPRESS, U, U, 4);
	run(disk, OP_WRITE, 100, 300, 6);
	cr_assert(!entry_is_compressed(entry_of(disk->q, 0)));
	cr_assert(entry_is_compressed(entry_of(disk->q, U)));
	finish(disk);
}

Test(qcow2_write, compressed_over_anything)
{
	struct disk *disk = make(&backed);

	run(disk, OP_WRITE, 0, 3 * U, 2);
	run(disk, OP_ZERO, U, U, 0);
	for (unsigned i = 0; i < 5; i++)
		run(disk, OP_COMPRESS, i * U, U, 4 + 2 * i);
	for (unsigned i = 0; i < 5; i++)
		run(disk, OP_COMPRESS, i * U, U, 20 + 2 * i);
	cr_assert(entry_is_compressed(entry_of(disk->q, 2 * U)));
	finish(disk);
}

/* What does not shrink is stored plain; the last cluster is a short one. */
Test(qcow2_write, compressed_where_it_makes_no_sense)
{
	struct disk *disk = make(&plain);

	run(disk, OP_COMPRESS, U, U, 3);
	cr_assert(!entry_is_compressed(entry_of(disk->q, U)));
	run(disk, OP_COMPRESS, 40 * U, 512, 4);
	cr_assert(entry_is_compressed(entry_of(disk->q, 40 * U)));
	finish(disk);
}

Test(qcow2_write, shared_clusters_are_left_to_the_snapshot)
{
	struct disk *disk = make(&plain);
	uint64_t host;

	run(disk, OP_WRITE, 0, 2 * U, 2);
	run(disk, OP_COMPRESS, 3 * U, U, 4);
	host = entry_offset(entry_of(disk->q, U));
	run(disk, OP_SNAPSHOT, 0, 0, 0);
	run(disk, OP_WRITE, U + 100, 100, 6);
	run(disk, OP_WRITE, 3 * U + 100, 100, 8);
	cr_assert_neq(entry_offset(entry_of(disk->q, U)), host);
	run(disk, OP_APPLY, 0, 0, 0);
	finish(disk);
}

/* A write of many clusters of all sorts. */
Test(qcow2_write, over_everything_at_once)
{
	struct disk *disk = make(&backed);

	run(disk, OP_WRITE, 2 * U, U, 2);
	run(disk, OP_COMPRESS, 4 * U, U, 4);
	run(disk, OP_ZERO_UNMAP, 6 * U, U, 0);
	run(disk, OP_WRITE, 8 * U, U, 6);
	run(disk, OP_ZERO, 8 * U, U, 0);
	run(disk, OP_WRITE, 100, 12 * U, 8);
	finish(disk);
}

/* --- subclusters ---------------------------------------------------------- */

Test(qcow2_write, only_subclusters_that_are_touched)
{
	struct disk *disk = make(&extended);
	struct qcow2_entry entry;

	run(disk, OP_WRITE, 512 * 3 + 10, 512, 2); /* of 3 and 4 */
	entry = entry_of(disk->q, 0);
	cr_assert_eq(entry.bitmap, 3ULL << 3);
	run(disk, OP_WRITE, 512 * 10, 512, 4);
	entry = entry_of(disk->q, 0);
	cr_assert_eq(entry.bitmap, 3ULL << 3 | 1ULL << 10);
	finish(disk);
}

Test(qcow2_write, zero_bits_of_subclusters_go_with_the_data)
{
	struct disk *disk = make(&extended);
	struct qcow2_entry entry;

	run(disk, OP_WRITE, 0, 16384, 2);
	run(disk, OP_ZERO, 512 * 8, 512 * 8, 0);
	entry = entry_of(disk->q, 0);
	cr_assert_eq(entry.bitmap, 0xffff00ffULL | 0xff00ULL << 32);
	run(disk, OP_WRITE, 512 * 9 + 5, 20, 4);
	entry = entry_of(disk->q, 0);
	cr_assert_eq(entry.bitmap, 0xffff02ffULL | 0xfd00ULL << 32);
	finish(disk);
}

Test(qcow2_write, subclusters_of_a_compressed_cluster)
{
	struct disk *disk = make(&extended);
	struct qcow2_entry entry;

	run(disk, OP_COMPRESS, 0, 16384, 2);
	run(disk, OP_WRITE, 700, 10, 4);
	entry = entry_of(disk->q, 0);
	cr_assert_eq(entry.bitmap, 0xffffffffULL);
	finish(disk);
}

/* --- what cannot be right ------------------------------------------------- */

static void expect_corrupt(struct qcow2 *q, uint64_t guest, const char *what)
{
	struct op op = { OP_WRITE, guest, 100, 2 };
	struct gild_error err = { 0 };

	cr_assert_eq(op_run(&q->image, &op, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_CORRUPT, "%s", err.message);
	cr_assert(strstr(err.message, what), "%s", err.message);
	image_free(&q->image);
}

/* An image with data in its first clusters, its tables in memory. */
static struct qcow2 *broken(uint64_t word)
{
	struct disk *disk = make(&plain);
	struct qcow2 *q = disk->q;

	run(disk, OP_WRITE, 0, 4 * U, 2);
	set_entry(q, U, word);
	model_free(disk->model);
	free(disk->bytes);
	free(disk);
	return q;
}

Test(qcow2_write, data_over_the_header)
{
	/* The L1 table is at cluster 3. */
	expect_corrupt(broken(QCOW2_COPIED | 3 * U), U, "metadata");
}

Test(qcow2_write, data_over_an_l2_table)
{
	expect_corrupt(broken(QCOW2_COPIED | 4 * U), U, "metadata");
}

Test(qcow2_write, data_that_is_not_aligned)
{
	expect_corrupt(broken(QCOW2_COPIED | 512 | 8 * U), U, "aligned");
}

Test(qcow2_write, data_beyond_the_end_of_the_file)
{
	expect_corrupt(broken(QCOW2_COPIED | 8000 * U), U, "end of the file");
}

Test(qcow2_write, table_that_is_not_aligned)
{
	struct qcow2 *q = broken(0);

	q->l1.entries[0] |= 512;
	expect_corrupt(q, U, "aligned");
}

Test(qcow2_write, l1_table_that_is_too_short)
{
	struct qcow2 *q = broken(0);

	q->l1.count = 0;
	expect_corrupt(q, U, "L1 table");
}

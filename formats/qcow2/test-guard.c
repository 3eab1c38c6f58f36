/* SPDX-License-Identifier: BSD-3-Clause */
/* The set of clusters that hold metadata; and images of which some metadata
 * lies over other metadata: refused before anything is written. */
#include <criterion/criterion.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/disk.h"
#include "tests/lib/model.h"
#include "util/bytes.h"

TestSuite(qcow2_guard, .timeout = 60);

#define U 512ULL

/* header | refcount table | refcount block | L1 | L2 tables, data */
enum {
	REFTABLE = 1,
	REFBLOCK,
	L1,
};

static const struct disk_kind lazy = {
	.name = "lazy", .version = 3, .cluster_size = U, .lazy_refcounts = true
};

/* --- the set ------------------------------------------------------------- */

/* Against a plain array, with places that collide and wrap. */
Test(qcow2_guard, is_a_set)
{
	enum {
		CLUSTERS = 8000
	};
	struct qcow2 q = { .cluster_bits = 9, .cluster_size = U };
	static bool want[CLUSTERS + 8];
	uint64_t random = 7, at, length;

	for (int i = 0; i < 40000; i++) {
		at = random_next(&random) % CLUSTERS;
		length = 1 + random_next(&random) % 4;
		if (random_next(&random) % 2) {
			cr_assert_eq(qcow2_guard_add(&q, at * U, length * U,
						     NULL),
				     0);
			memset(want + at, true, length);
		} else {
			qcow2_guard_remove(&q, at * U, length * U);
			memset(want + at, false, length);
		}
	}
	for (at = 0, length = 0; at < CLUSTERS + 8; at++) {
		cr_assert_eq(qcow2_guard_hit(&q, at * U, U), want[at]);
		length += want[at];
	}
	cr_assert_eq(q.guard.count, length);
	qcow2_guard_free(&q.guard);
}

Test(qcow2_guard, takes_whole_clusters)
{
	struct qcow2 q = { .cluster_bits = 9, .cluster_size = U };

	cr_assert_not(qcow2_guard_hit(&q, 0, U));
	cr_assert_eq(qcow2_guard_add(&q, 3 * U + 500, 20, NULL), 0);
	cr_assert_not(qcow2_guard_hit(&q, 2 * U, U));
	cr_assert(qcow2_guard_hit(&q, 2 * U + 1, U));
	cr_assert(qcow2_guard_hit(&q, 4 * U + 511, 1));
	cr_assert_not(qcow2_guard_hit(&q, 5 * U, 100 * U));
	qcow2_guard_free(&q.guard);
}

/* --- what lies over what ------------------------------------------------- */

/* An image with three L2 tables, written and closed, and where they are. */
static struct storage *make(uint64_t *tables)
{
	struct storage *storage = disk_create(&lazy, 200 * U), *copy;
	struct image *image = disk_open(storage, GILD_OPEN_WRITE);
	struct qcow2 *q = qcow2_of(image);

	for (uint64_t i = 0; i < 3; i++) {
		struct op op = { OP_WRITE, i * 64 * U, U, 2 };

		cr_assert_eq(op_run(image, &op, NULL), 0);
		tables[i] = q->l1.entries[i];
	}
	cr_assert_eq(image_flush(image, true, NULL), 0);
	cr_assert_eq(q->l1.offset, L1 * U);
	cr_assert_eq(q->reftable.offset, REFTABLE * U);
	cr_assert_eq(q->reftable.entries[0], REFBLOCK * U);
	copy = disk_copy(storage);
	image_free(image);
	return copy;
}

static void set(struct storage *storage, uint64_t offset, uint64_t value)
{
	unsigned char bytes[8];

	store_be64(bytes, value);
	cr_assert_eq(storage_write(storage, bytes, 8, offset, NULL), 0);
	faulty_clear_log(storage);
}

static void set_l1(struct storage *storage, unsigned index, uint64_t value)
{
	set(storage, L1 * U + index * 8, value);
}

static struct image *reopen(struct storage *storage)
{
	return disk_open(storage, GILD_OPEN_WRITE | GILD_OPEN_REPAIR);
}

/* Reading goes on, no change does, and the file is as it was. */
static void expect_refusal(struct storage *storage, uint64_t host)
{
	static const struct op ops[] = {
		{ OP_WRITE, 70 * U, 100, 4 },  { OP_COMPRESS, 0, U, 4 },
		{ OP_ZERO, 0, U, 0 },	       { OP_DISCARD, 0, U, 0 },
		{ OP_RESIZE, 0, 9000 * U, 0 }, { OP_SNAPSHOT, 0, 0, 0 },
		{ OP_EMPTY, 0, 0, 0 },
	};
	struct image *image = reopen(storage);
	unsigned char sector[U];
	struct gild_error err;
	char place[40];
	size_t count;

	snprintf(place, sizeof(place), "host %#jx", (uintmax_t)host);
	cr_assert_eq(image_read(image, sector, U, 64 * U, NULL), 0);
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		err = (struct gild_error){ 0 };
		cr_assert_eq(op_run(image, &ops[i], &err), -1, "%s",
			     op_text(&ops[i]));
		cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
		cr_assert(strstr(err.message, "over other metadata"), "%s",
			  err.message);
		cr_assert(strstr(err.hint, "gild check"), "%s", err.hint);
		cr_assert(strstr(err.message, place), "%s", err.message);
	}
	faulty_log(storage, &count);
	cr_assert_eq(count, 0, "%zu writes", count);
	cr_assert_eq(disk_close(image, NULL), 0);
}

static void expect_writable(struct storage *storage)
{
	struct op op = { OP_WRITE, 70 * U, 100, 4 };
	struct image *image = reopen(storage);
	struct gild_error err = { 0 };

	cr_assert_eq(op_run(image, &op, &err), 0, "%s", err.message);
	cr_assert_eq(disk_close(image, &err), 0, "%s", err.message);
}

Test(qcow2_guard, sound_images_are_written)
{
	uint64_t tables[3];

	expect_writable(make(tables));
}

Test(qcow2_guard, l2_table_that_is_there_twice)
{
	uint64_t tables[3];
	struct storage *storage = make(tables);

	set_l1(storage, 2, tables[1]);
	expect_refusal(storage, tables[1] & QCOW2_OFFSET_MASK);
}

Test(qcow2_guard, l2_table_over_other_tables)
{
	uint64_t tables[3];

	for (uint64_t at = REFTABLE; at <= L1; at++) {
		struct storage *storage = make(tables);

		set_l1(storage, 0, at * U | QCOW2_COPIED);
		expect_refusal(storage, at * U);
		storage = make(tables);
		set_l1(storage, 0, at * U);
		expect_refusal(storage, at * U);
	}
}

Test(qcow2_guard, l2_table_that_is_ours_and_shared)
{
	uint64_t tables[3];
	struct storage *storage = make(tables);

	set_l1(storage, 0, tables[1] & ~QCOW2_COPIED);
	expect_refusal(storage, tables[1] & QCOW2_OFFSET_MASK);
}

/* Each is replaced before it is changed. */
Test(qcow2_guard, l2_table_that_is_shared_twice)
{
	uint64_t tables[3];
	struct storage *storage = make(tables);

	set_l1(storage, 0, tables[1] & ~QCOW2_COPIED);
	set_l1(storage, 1, tables[1] & ~QCOW2_COPIED);
	expect_writable(storage);
}

Test(qcow2_guard, refcount_block_over_other_tables)
{
	uint64_t tables[3];

	for (uint64_t at = REFTABLE; at <= L1; at++) {
		struct storage *storage = make(tables);

		set(storage, REFTABLE * U + 8, at * U);
		expect_refusal(storage, at * U);
	}
}

/* What is beyond any file is found out by whoever needs it. */
Test(qcow2_guard, refcount_block_beyond_everything)
{
	uint64_t tables[3];
	struct storage *storage = make(tables);

	set(storage, REFTABLE * U + 8, ~(uint64_t)511);
	expect_writable(storage);
}

/* So is a table that is not aligned: here in nobody's way. */
Test(qcow2_guard, l2_table_that_is_not_aligned)
{
	static const struct disk_kind wide = { .name = "clusters of 4 KiB",
					       .version = 3,
					       .cluster_size = 4096 };
	struct storage *storage = disk_create(&wide, 4096ULL * 4096);
	struct op op = { OP_WRITE, 2048 * 4096ULL, 100, 4 };
	struct image *image;

	set(storage, L1 * 4096 + 8, 512 | QCOW2_COPIED);
	image = reopen(storage);
	cr_assert_eq(op_run(image, &op, NULL), 0);
	op.offset = 512 * 4096;
	cr_assert_eq(op_run(image, &op, NULL), -1);
	cr_assert_eq(disk_close(image, NULL), 0);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What carrying snapshots from image to image is made of: views of them,
 * telling where two are the same, adopting parts of one, and snapshots with VM
 * state. qemu-img is asked by tools/test-convert-snapshots.sh.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/entry.h"
#include "formats/qcow2/snapshot/snapshot.h"
#include "tests/lib/disk.h"
#include "tests/lib/model.h"
#include "util/bytes.h"

TestSuite(qcow2_carry, .timeout = 120);

#define U 512ULL
#define NAME ((char[]){ "s" })
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

#define V3 .version = 3, .cluster_size = U

static const struct disk_kind plain = { .name = "v3", V3 };
static const struct disk_kind backed = { .name = "backed",
					 V3,
					 .backing = "base" };
static const struct disk_kind kinds[] = {
	{ .name = "v3", V3 },
	{ .name = "v2", .version = 2, .cluster_size = U },
	{ .name = "lazy", V3, .lazy_refcounts = true },
	{ .name = "64 bits", V3, .refcount_bits = 64 },
	{ .name = "4 KiB, zstd",
	  .version = 3,
	  .cluster_size = 4096,
	  .zstd = true },
	{ .name = "subclusters",
	  .version = 3,
	  .cluster_size = 16384,
	  .extended_l2 = true },
};

static struct qcow2 *make(const struct disk_kind *kind, uint64_t clusters)
{
	uint32_t u = kind->cluster_size;

	return qcow2_of(
		disk_open(disk_create(kind, clusters * u), GILD_OPEN_WRITE));
}

static void run(struct qcow2 *q, enum op_kind kind, uint64_t first,
		uint64_t clusters, uint32_t seed)
{
	struct op op = { kind, first * q->cluster_size,
			 clusters * q->cluster_size, seed };
	struct gild_error err = { 0 };

	cr_assert_eq(op_run(&q->image, &op, &err), 0, "%s: %s", op_text(&op),
		     err.message);
}

/* Clusters of every sort, then a snapshot. */
static void fill(struct qcow2 *q)
{
	run(q, OP_WRITE, 0, 3, 10);
	run(q, OP_ZERO, 2, 1, 0);
	run(q, OP_COMPRESS, 4, 1, 12);
	run(q, OP_COMPRESS, 5, 1, 14);
	run(q, OP_COMPRESS, 6, 1, 16);
	run(q, OP_WRITE, 7, 1, 17);
	run(q, OP_SNAPSHOT, 0, 0, 0);
}

static unsigned char *read_all(struct image *image)
{
	unsigned char *bytes = malloc(image->size + 1);
	struct gild_error err = { 0 };

	cr_assert_eq(image_read(image, bytes, image->size, 0, &err), 0, "%s",
		     err.message);
	return bytes;
}

static bool same_bytes(struct image *a, struct image *b)
{
	unsigned char *x = read_all(a), *y = read_all(b);
	bool same = a->size == b->size && !memcmp(x, y, a->size);

	free(x);
	free(y);
	return same;
}

static struct image *view(struct qcow2 *q, size_t index)
{
	struct gild_error err = { 0 };
	struct image *made = qcow2_view(&q->image, index, &err);

	cr_assert_not_null(made, "%s", err.message);
	return made;
}

static void adopt(struct qcow2 *q, struct image *from, uint64_t first,
		  uint64_t clusters)
{
	struct gild_error err = { 0 };

	cr_assert_eq(qcow2_adopt(&q->image, from, first * q->cluster_size,
				 clusters * q->cluster_size, &err),
		     0, "%s", err.message);
}

static uint64_t clusters_used(struct qcow2 *q)
{
	uint64_t used = 0, count, size;

	cr_assert_eq(storage_size(q->image.storage, &size, NULL), 0);
	for (uint64_t i = 0; i < div_round_up(size, q->cluster_size); i++) {
		cr_assert_eq(qcow2_refcount_get(q, i, &count, NULL), 0);
		used += count != 0;
	}
	return used;
}

/* Sound, and so after opening it again. Frees. */
static void finish(struct qcow2 *q, uint64_t leaks)
{
	struct gild_check_result result;
	struct gild_error err = { 0 };
	struct storage *copy;

	cr_assert_eq(image_flush(&q->image, true, &err), 0, "%s", err.message);
	copy = disk_copy(q->image.storage);
	image_free(&q->image);
	q = qcow2_of(disk_open(copy, 0));
	result = disk_check(&q->image);
	cr_assert_eq(result.corruptions, 0);
	cr_assert_eq(result.leaks, leaks, "%ju leaks", (uintmax_t)result.leaks);
	image_free(&q->image);
}

/* ----------------------------------------------------------------- views -- */

Test(qcow2_carry, a_view_shows_the_snapshot)
{
	for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
		struct qcow2 *q = make(&kinds[i], 300);
		struct image *seen;
		unsigned char *before, *after;

		fill(q);
		before = read_all(&q->image);
		run(q, OP_WRITE, 0, 200, 30);
		seen = view(q, 0);
		cr_assert_eq(seen->size, q->image.size);
		after = read_all(seen);
		cr_assert_eq(memcmp(before, after, seen->size), 0, "%s",
			     kinds[i].name);
		cr_assert(!same_bytes(&q->image, seen));
		free(before);
		free(after);
		image_free(seen);
		finish(q, 0);
	}
}

Test(qcow2_carry, a_view_reads_the_chain)
{
	struct qcow2 *q = make(&backed, 100);
	unsigned char *bytes, below[50 * U];
	struct image *seen;

	memset(below, 0x77, sizeof(below));
	disk_back(&q->image, below, sizeof(below));
	fill(q);
	seen = view(q, 0);
	bytes = read_all(seen);
	cr_assert_eq(memcmp(bytes + 20 * U, below, 30 * U), 0);
	cr_assert_eq(bytes[50 * U], 0);
	free(bytes);
	image_free(seen);
	/* Without it, what it has is not zeros. */
	image_free(q->image.backing);
	q->image.backing = NULL;
	seen = view(q, 0);
	bytes = malloc(U);
	cr_assert_eq(image_read(seen, bytes, U, 20 * U, NULL), -1);
	free(bytes);
	image_free(seen);
	finish(q, 0);
}

Test(qcow2_carry, a_view_of_nothing)
{
	struct qcow2 *q = make(&plain, 100);
	struct gild_error err = { 0 };

	fill(q);
	cr_assert_null(qcow2_view(&q->image, 1, &err));
	cr_assert_eq(err.kind, GILD_ERR_INVALID);
	image_free(&q->image);
}

/* What the snapshot table says is not to be trusted. */
static void spoil(size_t at, uint64_t value, unsigned bytes, const char *want)
{
	struct qcow2 *q = make(&plain, 100);
	unsigned char field[8];
	struct gild_error err = { 0 };
	struct image *seen;

	fill(q);
	store_be64(field, value << (64 - 8 * bytes));
	cr_assert_eq(storage_write(q->image.storage, field, bytes,
				   q->header.snapshots_offset + at, NULL),
		     0);
	seen = qcow2_view(&q->image, 0, &err);
	if (seen) {
		cr_assert_null(qcow2_view_vm_state(seen, &err));
		image_free(seen);
	}
	cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
	cr_assert_not_null(strstr(err.message, want), "%s", err.message);
	/* The same where a snapshot is opened in the usual way. */
	if (at != 40)
		cr_assert_null(
			disk_open_snapshot(disk_copy(q->image.storage), NULL));
	image_free(&q->image);
}

Test(qcow2_carry, a_view_of_what_cannot_be)
{
	spoil(0, 12345, 8, "not aligned");
	spoil(0, 1 << 30, 8, "beyond the end of the file");
	spoil(8, 0x10000000, 4, "too large");
	spoil(8, 100000, 4, "beyond the end of the file");
	spoil(48, 1ULL << 63, 8, "cannot have");
	/* The VM state, which nobody reads but who asks for it. */
	spoil(40, 1ULL << 40, 8, "does not fit");
	spoil(40, UINT64_MAX, 8, "does not fit");
}

/* -------------------------------------------------------------- the same -- */

/* The answers for clusters, as letters. */
static void expect_same(struct qcow2 *q, struct image *a, struct image *b,
			uint64_t clusters, const char *want)
{
	char got[400] = "";
	struct gild_error err = { 0 };
	uint64_t at = 0, run, u = q->cluster_size;
	bool same;

	while (at < clusters * u) {
		cr_assert_eq(qcow2_same(a, b, at, clusters * u - at, &same,
					&run, &err),
			     0, "%s", err.message);
		cr_assert(run > 0 && run % u == 0 && run <= clusters * u - at);
		memset(got + at / u, same ? '=' : '.', run / u);
		at += run;
	}
	cr_assert_str_eq(got, want);
}

Test(qcow2_carry, same_is_what_lies_at_one_place)
{
	for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
		struct qcow2 *q = make(&kinds[i], 300);
		struct image *first, *second;

		fill(q);
		first = view(q, 0);
		expect_same(q, first, &q->image, 12, "============");
		run(q, OP_WRITE, 1, 1, 40);
		run(q, OP_COMPRESS, 5, 1, 42);
		run(q, OP_WRITE, 9, 1, 44);
		expect_same(q, first, &q->image, 12, "=.===.===.==");
		expect_same(q, &q->image, first, 12, "=.===.===.==");
		cr_assert_eq(gild_snapshot_create((struct gild_image *)q, "t",
						  NULL),
			     0);
		second = view(q, 1);
		expect_same(q, second, &q->image, 12, "============");
		expect_same(q, second, first, 12, "=.===.===.==");
		/* The same bytes at another place are not the same. */
		run(q, OP_WRITE, 0, 1, 10);
		expect_same(q, first, &q->image, 4, "..==");
		/* Back to the first one, to the place. */
		adopt(q, first, 0, 12);
		expect_same(q, first, &q->image, 12, "============");
		image_free(first);
		image_free(second);
		finish(q, 0);
	}
}

Test(qcow2_carry, same_beyond_tables)
{
	struct qcow2 *q = make(&plain, 300);
	struct image *first;
	uint64_t run_length;
	bool same;

	run(q, OP_WRITE, 0, 1, 10);
	run(q, OP_SNAPSHOT, 0, 0, 0);
	first = view(q, 0);
	run(q, OP_WRITE, 130, 1, 12); /* a table that the first has not */
	cr_assert_eq(qcow2_same(first, &q->image, 0, 300 * U, &same,
				&run_length, NULL),
		     0);
	/* The first two tables, which are one and none. */
	cr_assert(same);
	cr_assert_eq(run_length, 128 * U);
	expect_same(q, first, &q->image, 20, "====================");
	cr_assert_eq(qcow2_same(first, &q->image, 130 * U, 3 * U, &same,
				&run_length, NULL),
		     0);
	cr_assert(!same);
	cr_assert_eq(run_length, U);
	/* A disk that has grown: beyond the first one's L1 table. */
	cr_assert_eq(image_resize(&q->image, 2000 * U, NULL), 0);
	run(q, OP_WRITE, 1999, 1, 14);
	cr_assert_eq(qcow2_same(first, &q->image, 400 * U, 1000 * U, &same,
				&run_length, NULL),
		     0);
	cr_assert(same);
	cr_assert_eq(qcow2_same(first, &q->image, 1999 * U, U, &same,
				&run_length, NULL),
		     0);
	cr_assert(!same);
	image_free(first);
	finish(q, 0);
}

/* -------------------------------------------------------------- adopting -- */

Test(qcow2_carry, adopts_and_shares)
{
	for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
		struct qcow2 *q = make(&kinds[i], 300);
		struct image *seen;
		uint64_t used;

		fill(q);
		run(q, OP_WRITE, 0, 12, 30);
		run(q, OP_FLUSH, 0, 0, 0);
		used = clusters_used(q);
		seen = view(q, 0);
		adopt(q, seen, 0, 300);
		cr_assert(same_bytes(&q->image, seen), "%s", kinds[i].name);
		run(q, OP_FLUSH, 0, 0, 0);
		/* At least what was written is free again. */
		cr_assert_leq(clusters_used(q) + 12, used, "%s", kinds[i].name);
		/* What is written now is not the snapshot's. */
		run(q, OP_WRITE, 0, 8, 50);
		adopt(q, seen, 1, 2);
		adopt(q, seen, 6, 1);
		adopt(q, seen, 6, 1); /* again: nothing */
		run(q, OP_WRITE, 6, 1, 52);
		run(q, OP_APPLY, 0, 0, 0);
		cr_assert(same_bytes(&q->image, seen), "%s", kinds[i].name);
		image_free(seen);
		finish(q, 0);
	}
}

Test(qcow2_carry, adopts_a_part)
{
	struct qcow2 *q = make(&plain, 100);
	unsigned char *bytes, want[U];
	struct image *seen;

	fill(q);
	run(q, OP_WRITE, 0, 12, 30);
	seen = view(q, 0);
	adopt(q, seen, 4, 2);
	image_free(seen);
	bytes = read_all(&q->image);
	for (uint64_t i = 0; i < 12; i++) {
		op_fill(want, i * U, U, i == 4 ? 12 : i == 5 ? 14 : 30);
		cr_assert_eq(memcmp(bytes + i * U, want, U), 0, "cluster %ju",
			     (uintmax_t)i);
	}
	free(bytes);
	finish(q, 0);
}

/* The end of a disk that is not a multiple of clusters. */
Test(qcow2_carry, adopts_up_to_the_end)
{
	static const struct disk_kind kind = { .name = "4 KiB",
					       .version = 3,
					       .cluster_size = 4096 };
	struct qcow2 *q = qcow2_of(
		disk_open(disk_create(&kind, 9 * 4096 + 512), GILD_OPEN_WRITE));
	struct op op = { OP_WRITE, 8 * 4096, 4608, 10 };
	struct image *seen;

	cr_assert_eq(op_run(&q->image, &op, NULL), 0);
	run(q, OP_SNAPSHOT, 0, 0, 0);
	op.seed = 20;
	cr_assert_eq(op_run(&q->image, &op, NULL), 0);
	seen = view(q, 0);
	cr_assert_eq(qcow2_adopt(&q->image, seen, 8 * 4096, 4608, NULL), 0);
	cr_assert(same_bytes(&q->image, seen));
	image_free(seen);
	finish(q, 0);
}

Test(qcow2_carry, adopts_nothing)
{
	struct qcow2 *q = make(&backed, 100);
	unsigned char *bytes, below[50 * U];
	uint64_t used;

	memset(below, 0x77, sizeof(below));
	disk_back(&q->image, below, sizeof(below));
	fill(q);
	run(q, OP_WRITE, 8, 4, 20);
	run(q, OP_FLUSH, 0, 0, 0);
	used = clusters_used(q);
	adopt(q, NULL, 0, 12);
	adopt(q, NULL, 80, 2); /* where there is nothing */
	bytes = read_all(&q->image);
	cr_assert_eq(memcmp(bytes, below, sizeof(below)), 0);
	free(bytes);
	run(q, OP_FLUSH, 0, 0, 0);
	cr_assert_eq(clusters_used(q) + 4, used);
	finish(q, 0);
}

/* A count that has no room: an error, and nothing is changed. */
Test(qcow2_carry, adopts_not_where_counts_are_full)
{
	static const struct disk_kind kind = { .name = "2 bits",
					       V3,
					       .refcount_bits = 2 };
	struct qcow2 *q = make(&kind, 100);
	struct image *seen, *again;
	struct qcow2_entry entry;
	struct gild_error err = { 0 };
	struct qcow2_slice *slice;
	uint64_t first;

	run(q, OP_WRITE, 7, 1, 10);
	slice = qcow2_l2_for_write(q, 0, NULL);
	entry = entry_load(q, slice->data, 7);
	cr_assert_eq(entry_clusters(q, entry, &first), 1);
	run(q, OP_SNAPSHOT, 0, 0, 0);
	run(q, OP_WRITE, 0, 12, 30);
	run(q, OP_FLUSH, 0, 0, 0);
	cr_assert_eq(qcow2_refcount_add(q, first, 1, 1, NULL), 0);
	cr_assert_eq(qcow2_refcount_add(q, first, 1, 1, NULL), 0);
	seen = view(q, 0);
	cr_assert_eq(qcow2_adopt(&q->image, seen, 7 * U, U, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	image_free(seen);
	run(q, OP_DELETE, 0, 0, 0);
	run(q, OP_SNAPSHOT, 0, 0, 0);
	again = view(q, 0);
	cr_assert(same_bytes(&q->image, again));
	image_free(again);
	finish(q, 1); /* counted twice too often */
}

/* ------------------------------------------------------------- snapshots -- */

static void take(struct qcow2 *q, const struct gild_snapshot *wanted)
{
	struct gild_error err = { 0 };

	cr_assert_eq(qcow2_snapshot_change(&q->image, SNAPSHOT_CREATE, wanted,
					   &err),
		     0, "%s", err.message);
}

Test(qcow2_carry, a_snapshot_is_told_all)
{
	const struct gild_snapshot wanted = {
		.id = (char[]){ "seventeen" },
		.name = NAME,
		.date_sec = 1000000007,
		.date_nsec = 5,
		.vm_clock_nsec = 1ULL << 40,
		.disk_size = 20 * U,
		.icount = 77,
		.has_icount = true,
	};
	struct qcow2 *q = make(&plain, 100);
	struct qcow2_snapshot got;

	run(q, OP_WRITE, 0, 3, 10);
	take(q, &wanted);
	cr_assert_eq(qcow2_snapshot_get(q, 0, &got, NULL), 0);
	cr_assert_str_eq(got.about.id, "seventeen");
	cr_assert_str_eq(got.about.name, "s");
	cr_assert_eq(got.about.date_sec, wanted.date_sec);
	cr_assert_eq(got.about.date_nsec, wanted.date_nsec);
	cr_assert_eq(got.about.vm_clock_nsec, wanted.vm_clock_nsec);
	cr_assert_eq(got.about.disk_size, wanted.disk_size);
	cr_assert_eq(got.about.icount, 77);
	cr_assert(got.about.has_icount);
	qcow2_snapshot_free(&got);
	finish(q, 0);
}

/* VM state is the snapshot's, and the disk loses it. */
Test(qcow2_carry, vm_state)
{
	for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
		struct qcow2 *q = make(&kinds[i], 70);
		uint64_t u = q->cluster_size, size = q->image.size, place;
		struct gild_snapshot wanted = {
			.name = NAME,
			.vm_state_size = 9 * u + 100,
			.disk_size = size,
		};
		unsigned char *want, *got;
		struct image *seen, *state;
		uint64_t used;

		q->image.coming_snapshots = 2;
		fill(q);
		place = qcow2_vm_state_place(&q->image, size);
		cr_assert_geq(place, size);
		cr_assert_lt(place - size, q->l2_entries * u);
		cr_assert_eq(qcow2_resize(&q->image, place + 10 * u, NULL), 0);
		run(q, OP_WRITE, place / u, 5, 60);
		run(q, OP_COMPRESS, place / u + 5, 1, 62);
		run(q, OP_COMPRESS, place / u + 6, 1, 64);
		run(q, OP_WRITE, place / u + 7, 3, 66);
		want = read_all(&q->image);
		take(q, &wanted);
		used = clusters_used(q);
		cr_assert_eq(qcow2_resize(&q->image, size, NULL), 0);
		/* There is nothing left to be changed. */
		cr_assert_eq(clusters_used(q), used, "%s", kinds[i].name);
		seen = view(q, 1);
		cr_assert_eq(seen->size, size);
		cr_assert(same_bytes(&q->image, seen));
		state = qcow2_view_vm_state(seen, NULL);
		cr_assert_not_null(state);
		cr_assert_eq(state->size, wanted.vm_state_size);
		got = read_all(state);
		cr_assert_eq(memcmp(got, want + place, state->size), 0, "%s",
			     kinds[i].name);
		free(want);
		free(got);
		image_free(state);
		image_free(seen);
		q->image.coming_snapshots = 0;
		if (q->header.version < 3) {
			finish(q, 0);
			continue;
		}
		/* The disk may grow to where it was. */
		cr_assert_eq(image_resize(&q->image, place + 20 * u, NULL), 0);
		got = read_all(&q->image);
		for (uint64_t at = size; at < q->image.size; at++)
			cr_assert_eq(got[at], 0);
		free(got);
		/* Applied and deleted like any. */
		cr_assert_eq(gild_snapshot_apply((struct gild_image *)q, "2",
						 NULL),
			     0);
		cr_assert_eq(q->image.size, size);
		cr_assert_eq(gild_snapshot_delete((struct gild_image *)q, "2",
						  NULL),
			     0);
		finish(q, 0);
	}
}

/* VM state is not read from a backing file that is longer than the disk. */
Test(qcow2_carry, vm_state_has_no_backing_file)
{
	struct qcow2 *q = make(&backed, 64);
	uint64_t size = q->image.size;
	struct gild_snapshot wanted = { .name = NAME,
					.vm_state_size = 10 * U,
					.disk_size = size };
	unsigned char *got, below[100 * U];
	struct image *seen, *state;

	memset(below, 0x77, sizeof(below));
	disk_back(&q->image, below, sizeof(below));
	cr_assert_eq(qcow2_resize(&q->image, size + 10 * U, NULL), 0);
	run(q, OP_WRITE, 65, 1, 60);
	take(q, &wanted);
	seen = view(q, 0);
	state = qcow2_view_vm_state(seen, NULL);
	got = read_all(state);
	cr_assert_eq(got[0], 0);
	cr_assert_neq(got[U], 0);
	cr_assert_eq(got[2 * U], 0);
	free(got);
	image_free(state);
	image_free(seen);
	finish(q, 0);
}

/* Counts of 4 bits: 15 compressed clusters may touch a host cluster, or with
 * four snapshots to come three. */
Test(qcow2_carry, compressed_clusters_leave_room_for_snapshots)
{
	static const struct disk_kind kind = { .name = "4 bits",
					       .version = 3,
					       .cluster_size = 4096,
					       .refcount_bits = 4 };
	char name[] = "a";

	for (unsigned coming = 0; coming <= 4; coming += 4) {
		struct qcow2 *q = make(&kind, 100);
		struct gild_error err = { 0 };
		unsigned taken = 0;

		q->image.coming_snapshots = coming;
		for (uint64_t i = 0; i < 40; i++)
			run(q, OP_COMPRESS, i, 1, 10);
		while (taken < 4 && !gild_snapshot_create(
					    (struct gild_image *)q, name, &err))
			taken++;
		cr_assert_eq(taken, coming, "%u of %u: %s", taken, coming,
			     err.message);
		finish(q, 0);
	}
}

Test(qcow2_carry, room_for_snapshots)
{
	static const struct {
		const char *name, *value;
		size_t snapshots;
		enum gild_error_kind kind;
	} rows[] = {
		{ "refcount_bits", "1", 0, GILD_ERR_NONE },
		{ "refcount_bits", "1", 1, GILD_ERR_RANGE },
		{ "refcount_bits", "2", 2, GILD_ERR_NONE },
		{ "refcount_bits", "2", 3, GILD_ERR_RANGE },
		{ "refcount_bits", "16", 65534, GILD_ERR_NONE },
		{ "refcount_bits", "16", 65535, GILD_ERR_RANGE },
		{ "refcount_bits", "64", 65536, GILD_ERR_NONE },
		{ "refcount_bits", "64", 65537, GILD_ERR_RANGE },
		{ "data_file", "x", 1, GILD_ERR_UNSUPPORTED },
		{ "preallocation", "metadata", 1, GILD_ERR_INVALID },
		{ "nothing", "x", 1, GILD_ERR_INVALID },
		{ "compat", "0.10", 1, GILD_ERR_NONE },
	};
	struct gild_error err;

	for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
		struct gild_option option = { rows[i].name, rows[i].value };
		int ret;

		memset(&err, 0, sizeof(err));
		ret = qcow2_snapshot_ops.check_room(
			&option, 1, rows[i].snapshots, false, &err);
		cr_assert_eq(ret, rows[i].kind ? -1 : 0, "row %zu", i);
		cr_assert_eq(err.kind, rows[i].kind, "row %zu: %s", i,
			     err.message);
	}
}

/* Those of version 2 have no size of their own. */
Test(qcow2_carry, room_for_snapshots_of_other_sizes)
{
	struct gild_option option = { "compat", "0.10" };
	struct gild_error err;

	cr_assert_eq(qcow2_snapshot_ops.check_room(&option, 1, 1, true, &err),
		     -1);
	cr_assert_eq(err.kind, GILD_ERR_UNSUPPORTED);
	option.value = "1.1";
	cr_assert_eq(qcow2_snapshot_ops.check_room(&option, 1, 1, true, &err),
		     0);
}

/* An image whose data is elsewhere has none. */
Test(qcow2_carry, not_with_a_data_file)
{
	struct qcow2 *q = make(&plain, 100);
	struct gild_error err = { 0 };

	q->data = faulty_new(NULL, 0, NULL);
	cr_assert_eq(qcow2_adopt(&q->image, NULL, 0, U, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_UNSUPPORTED);
	image_free(&q->image);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What check finds in images that were broken on purpose. The numbers are what
 * qemu-img says of the same damage (tests/test-check.sh asks it), except where
 * gild is stricter: it does not walk tables that are off the grid, and version
 * 2 has no zero flag.
 */
#include "formats/qcow2/check/test-broken.h"

#include <criterion/parameterized.h>
#include <errno.h>

TestSuite(qcow2_check, .timeout = 60);

#define SNAPSHOT                 \
	{                        \
		.snapshot = true \
	}
#define V2                   \
	{                    \
		.version = 2 \
	}
#define NARROW                             \
	{                                  \
		.narrow = true, .order = 0 \
	}

/* name, recipe, harm, corruptions, leaks, errors */
static const struct broken verdicts[] = {
	{ "sound", { 0 }, harm_nothing, 0, 0, 0 },
	{ "sound v2", V2, harm_nothing, 0, 0, 0 },
	{ "sound with a snapshot", SNAPSHOT, harm_nothing, 0, 0, 0 },
	{ "leak", { 0 }, harm_leak, 0, 1, 0 },
	{ "count too high", { 0 }, harm_count_high, 1, 1, 0 },
	{ "count zero", { 0 }, harm_count_zero, 2, 0, 0 },
	{ "count of L2 zero", { 0 }, harm_l2_count_zero, 2, 0, 0 },
	{ "shared data", { 0 }, harm_shared_data, 1, 1, 0 },
	{ "counts too narrow", NARROW, harm_shared_data, 1, 1, 0 },
	{ "COPIED", { 0 }, harm_copied, 1, 0, 0 },
	{ "COPIED in L1", { 0 }, harm_l1_copied, 1, 0, 0 },
	{ "reserved in L2", { 0 }, harm_l2_reserved, 1, 0, 0 },
	{ "reserved in L1", { 0 }, harm_l1_reserved, 1, 0, 0 },
	{ "data outside", { 0 }, harm_data_outside, 1, 1, 0 },
	{ "data unaligned",
	  { .cluster_bits = 12 },
	  harm_data_unaligned,
	  2,
	  0,
	  0 },
	{ "zero unaligned",
	  { .cluster_bits = 12 },
	  harm_zero_unaligned,
	  2,
	  0,
	  0 },
	{ "zero in v2", V2, harm_zero_in_v2, 1, 0, 0 },
	{ "compressed COPIED", { 0 }, harm_compressed_copied, 1, 0, 0 },
	{ "compressed outside", { 0 }, harm_compressed_outside, 1, 1, 0 },
	{ "data is L1", { 0 }, harm_data_is_l1, 1, 1, 0 },
	/* 8 data clusters and the table itself */
	{ "L2 is L1", { 0 }, harm_l2_is_l1, 1, 9, 0 },
	{ "L2 outside", { 0 }, harm_l2_outside, 2, 9, 0 },
	/* the cluster behind it seems to be referred to */
	{ "L2 unaligned", { .cluster_bits = 12 }, harm_l2_unaligned, 1, 7, 0 },
	{ "L1 leads nowhere", { 0 }, harm_l1_nowhere, 1, 9, 0 },
	/* 12 counts are 0: all but the block's, and no COPIED flag is right */
	{ "block gone", { 0 }, harm_block_gone, 12 + 9, 0, 0 },
	{ "block reserved", { 0 }, harm_block_reserved, 1, 1, 0 },
	{ "block unaligned",
	  { .cluster_bits = 12 },
	  harm_block_unaligned,
	  1,
	  0,
	  13 },
	{ "block outside", { 0 }, harm_block_outside, 1, 0, 0 },
	{ "block twice", { 0 }, harm_block_twice, 2, 0, 0 },
	{ "block is data", { 0 }, harm_block_is_data, 2, 0, 0 },
	/* no table: 11 counts of 0, 9 flags; table and block look free */
	{ "table lost", { 0 }, harm_table_lost, 1 + 11 + 9, 0, 0 },
	{ "snapshot L1 unaligned", SNAPSHOT, harm_snapshot_l1_unaligned, 1, 10,
	  0 },
	{ "snapshot L1 large", SNAPSHOT, harm_snapshot_l1_large, 1, 10, 0 },
	{ "snapshot L1 outside", SNAPSHOT, harm_snapshot_l1_outside, 1, 10, 0 },
	{ "snapshot incomplete", SNAPSHOT, harm_snapshot_incomplete, 1, 0, 0 },
	{ "snapshot endless", SNAPSHOT, harm_snapshot_endless, 1, 11, 0 },
	{ "snapshot without L2", SNAPSHOT, harm_snapshot_l2, 0, 9, 0 },
};

#define VERDICTS (sizeof(verdicts) / sizeof(verdicts[0]))

static void judge(const struct broken *b)
{
	struct gild_check_result result = { 0 };
	struct tiny t;

	tiny_make(&t, &b->recipe);
	b->harm(&t);
	cr_assert_eq(tiny_look(t.bytes, t.length, &result), 0, "%s", b->name);
	cr_expect_eq(result.corruptions, b->corruptions, "%s: corruptions %ju",
		     b->name, (uintmax_t)result.corruptions);
	cr_expect_eq(result.leaks, b->leaks, "%s: leaks %ju", b->name,
		     (uintmax_t)result.leaks);
	cr_expect_eq(result.check_errors, b->errors, "%s: errors %ju", b->name,
		     (uintmax_t)result.check_errors);
	free(t.bytes);
}

Test(qcow2_check, finds_what_is_broken)
{
	for (size_t i = 0; i < VERDICTS; i++)
		judge(&verdicts[i]);
}

Test(qcow2_check, tells_sizes_and_clusters)
{
	struct gild_check_result result = { 0 };
	struct recipe recipe = { .data = 100 };
	struct tiny t;

	tiny_make(&t, &recipe);
	/* a hole; data behind it is fragmented */
	tiny_set(&t, tiny_l2_entry(&t, 10), 0);
	tiny_set_count(&t, t.first_data + 10, 0);
	/* a compressed cluster in place of a plain one */
	tiny_set(&t, tiny_l2_entry(&t, 99),
		 tiny_at(&t, t.first_data + 99) | QCOW2_COMPRESSED);
	cr_assert_eq(tiny_look(t.bytes, t.length, &result), 0);
	cr_expect_eq(result.corruptions + result.leaks, 0);
	cr_expect_eq(result.total_clusters, 100);
	cr_expect_eq(result.allocated_clusters, 99);
	cr_expect_eq(result.fragmented_clusters, 2);
	cr_expect_eq(result.compressed_clusters, 1);
	cr_expect_eq(result.image_end_offset, t.length);
	free(t.bytes);
}

Test(qcow2_check, end_of_image_is_that_of_what_is_in_use)
{
	struct gild_check_result result = { 0 };
	struct recipe recipe = { 0 };
	struct tiny t;

	tiny_make(&t, &recipe);
	tiny_set(&t, tiny_l2_entry(&t, 7), 0);
	tiny_set_count(&t, t.total - 1, 0);
	cr_assert_eq(tiny_look(t.bytes, t.length, &result), 0);
	cr_expect_eq(result.image_end_offset, t.length - t.cluster_size);
	free(t.bytes);
}

/* --- widths --------------------------------------------------------------- */

Test(qcow2_check, all_widths_of_counts)
{
	for (uint32_t order = 0; order <= 6; order++) {
		struct recipe recipe = { .narrow = true, .order = order };
		struct gild_check_result result = { 0 };
		struct tiny t;

		tiny_make(&t, &recipe);
		cr_assert_eq(tiny_look(t.bytes, t.length, &result), 0);
		cr_expect_eq(result.corruptions + result.leaks, 0, "order %u",
			     order);
		tiny_set_count(&t, t.first_data, 0);
		harm_leak(&t);
		cr_assert_eq(tiny_look(t.bytes, t.length, &result), 0);
		cr_expect_eq(result.corruptions, 2, "order %u", order);
		cr_expect_eq(result.leaks, 1, "order %u", order);
		free(t.bytes);
	}
}

Test(qcow2_check, counts_beyond_16_bits_are_leaks)
{
	struct recipe recipe = { .narrow = true, .order = 6 };
	struct gild_check_result result = { 0 };
	struct tiny t;

	tiny_make(&t, &recipe);
	tiny_set_count(&t, 1, 0x8000000000000001);
	cr_assert_eq(tiny_look(t.bytes, t.length, &result), 0);
	cr_expect_eq(result.leaks, 1);
	cr_expect_eq(result.corruptions, 0);
	free(t.bytes);
}

/* --- windows -------------------------------------------------------------- */

static void look_with_window(const struct tiny *t, uint64_t window,
			     struct gild_check_result *result)
{
	struct image *image = tiny_open(t->bytes, t->length, 0, NULL);

	cr_assert_not_null(image);
	*result = (struct gild_check_result){ 0 };
	cr_assert_eq(check_image(qcow2_of(image), 0, window, result, NULL), 0);
	image_free(image);
}

/* 64 counts in a block: a window for each. */
Test(qcow2_check, several_passes_find_the_same)
{
	struct recipe recipe = {
		.narrow = true, .order = 6, .data = 500, .snapshot = true
	};
	struct gild_check_result one, many;
	struct tiny t;

	tiny_make(&t, &recipe);
	for (uint32_t i = 0; i < 500; i += 7)
		tiny_set_count(&t, t.first_data + i, i % 5);
	for (uint32_t i = 3; i < 500; i += 11)
		tiny_set(&t, tiny_l2_entry(&t, i),
			 tiny_get(&t, tiny_l2_entry(&t, i)) ^ QCOW2_COPIED);
	tiny_set(&t, tiny_l2_entry(&t, 40), tiny_at(&t, 100000));
	tiny_set(&t, tiny_l2_entry(&t, 41), tiny_at(&t, 2) | QCOW2_COPIED);
	look_with_window(&t, 1 << 20, &one);
	look_with_window(&t, 1, &many);
	cr_expect_gt(one.corruptions, 50);
	cr_expect_gt(one.leaks, 20);
	cr_expect_eq(memcmp(&one, &many, sizeof(one)), 0);
	free(t.bytes);
}

/* --- lines ---------------------------------------------------------------- */

struct lines {
	unsigned count;
	char last[100];
};

static void take_line(void *opaque, const char *line)
{
	struct lines *lines = opaque;

	lines->count++;
	snprintf(lines->last, sizeof(lines->last), "%s", line);
}

Test(qcow2_check, lines_name_what_is_wrong)
{
	struct lines lines = { 0 };
	struct gild_check_result result = { .report = take_line,
					    .opaque = &lines };
	struct recipe recipe = { 0 };
	struct tiny t;

	tiny_make(&t, &recipe);
	harm_leak(&t);
	cr_assert_eq(tiny_look(t.bytes, t.length, &result), 0);
	cr_expect_eq(lines.count, 1);
	cr_expect_str_eq(lines.last, "Leaked cluster 8 refcount=1 reference=0");
	free(t.bytes);
}

Test(qcow2_check, of_many_lines_the_rest_is_counted)
{
	struct lines lines = { 0 };
	struct gild_check_result result = { .report = take_line,
					    .opaque = &lines };
	struct recipe recipe = { .data = 1500 };
	struct tiny t;

	tiny_make(&t, &recipe);
	for (uint32_t i = 0; i < 1500; i++)
		tiny_set(&t, tiny_l2_entry(&t, i),
			 tiny_get(&t, tiny_l2_entry(&t, i)) | 4);
	cr_assert_eq(tiny_look(t.bytes, t.length, &result), 0);
	cr_expect_eq(result.corruptions, 1500);
	cr_expect_eq(lines.count, 1001);
	cr_expect_str_eq(lines.last, "(500 more lines are left out)");
	free(t.bytes);
}

/* --- work is bounded ------------------------------------------------------ */

/* All of an L1 table leads to one L2 table: it is walked once. */
Test(qcow2_check, an_l2_table_is_walked_once_for_many_entries)
{
	struct recipe recipe = { .data = 4000 };
	struct gild_check_result result = { 0 };
	struct storage *storage;
	struct image *image;
	struct tiny t;

	tiny_make(&t, &recipe);
	for (uint32_t i = 0; i < t.tables; i++)
		tiny_set(&t, tiny_at(&t, t.l1) + i * 8ULL,
			 tiny_at(&t, t.l2) | QCOW2_COPIED);
	t.length = tiny_at(&t, 40); /* fewer clusters than entries */
	image = tiny_open(t.bytes, t.length, GILD_OPEN_REPAIR, NULL);
	cr_assert_not_null(image);
	storage = image->storage;
	faulty_set_plan(storage, &(struct faulty_plan){ 0 });
	cr_assert_eq(qcow2_check(image, 0, &result, NULL), 0);
	cr_expect_lt(faulty_calls(storage, 1 << FAULTY_READ), 100);
	cr_expect_gt(result.corruptions, 1000);
	image_free(image);
	free(t.bytes);
}

/* --- reading fails -------------------------------------------------------- */

static void look_with_fault(const struct tiny *t, uint64_t nth,
			    const struct gild_check_result *sound)
{
	const struct faulty_plan plan = {
		.nth = nth,
		.ops = 1 << FAULTY_READ,
		.sys_errno = EIO,
	};
	struct gild_check_result result = { 0 };
	struct gild_error err = { 0 };
	struct image *image = tiny_open(t->bytes, t->length, 0, NULL);

	cr_assert_not_null(image);
	faulty_set_plan(image->storage, &plan);
	if (qcow2_check(image, 0, &result, &err) < 0)
		cr_expect_eq(err.kind, GILD_ERR_IO);
	else if (!result.check_errors) /* read again, in smaller pieces */
		cr_expect_eq(memcmp(&result, sound, sizeof(result)), 0,
			     "read %ju", (uintmax_t)nth);
	image_free(image);
}

Test(qcow2_check, a_failing_read_is_never_taken_for_a_verdict)
{
	struct recipe recipe = { .data = 200, .snapshot = true };
	struct gild_check_result sound = { 0 };
	struct image *image;
	uint64_t reads;
	struct tiny t;

	tiny_make(&t, &recipe);
	image = tiny_open(t.bytes, t.length, 0, NULL);
	faulty_set_plan(image->storage, &(struct faulty_plan){ 0 });
	cr_assert_eq(qcow2_check(image, 0, &sound, NULL), 0);
	reads = faulty_calls(image->storage, 1 << FAULTY_READ);
	image_free(image);
	cr_assert_eq(sound.corruptions + sound.leaks, 0);
	cr_assert_gt(reads, 5);
	for (uint64_t nth = 1; nth <= reads; nth++)
		look_with_fault(&t, nth, &sound);
	free(t.bytes);
}

/* --- not possible --------------------------------------------------------- */

Test(qcow2_check, what_is_open_for_reading_is_not_repaired)
{
	struct gild_check_result result = { 0 };
	struct gild_error err = { 0 };
	struct recipe recipe = { 0 };
	struct image *image;
	struct tiny t;

	tiny_make(&t, &recipe);
	image = tiny_open(t.bytes, t.length, 0, NULL);
	cr_expect_eq(qcow2_check(image, GILD_CHECK_FIX_LEAKS, &result, &err),
		     -1);
	cr_expect_eq(err.kind, GILD_ERR_INVALID);
	cr_expect(strstr(err.message, "reading only"));
	image_free(image);
	free(t.bytes);
}

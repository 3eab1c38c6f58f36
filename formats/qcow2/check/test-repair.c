/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Repairs: what they put right, what they leave alone, and that the guest's
 * disk is what it was.
 */
#include "formats/qcow2/check/test-repairs.h"

TestSuite(qcow2_check_repair, .timeout = 60);

/* --- what is left --------------------------------------------------------- */

static void expect_repair(const struct repaired *r)
{
	struct gild_check_result result, again = { 0 };
	unsigned char *content;
	struct image *image;
	struct state s;
	struct tiny t;

	tiny_make(&t, &r->recipe);
	r->harm(&t);
	content = tiny_content(t.bytes, t.length, t.size);
	image = repair(t.bytes, t.length, ALL, &result);
	s = state_of(image);
	image_free(image);
	cr_expect_eq(result.corruptions_fixed, r->corruptions_fixed,
		     "%s: fixed %ju", r->name,
		     (uintmax_t)result.corruptions_fixed);
	cr_expect_eq(result.leaks_fixed, r->leaks_fixed, "%s: leaks fixed %ju",
		     r->name, (uintmax_t)result.leaks_fixed);
	cr_expect_eq(result.corruptions, r->corruptions, "%s: corruptions %ju",
		     r->name, (uintmax_t)result.corruptions);
	cr_expect_eq(result.leaks, r->leaks, "%s: leaks %ju", r->name,
		     (uintmax_t)result.leaks);
	/* A fresh look agrees with what the repair said. */
	cr_assert_eq(tiny_look(s.bytes, s.length, &again), 0);
	result.corruptions_fixed = result.leaks_fixed = 0;
	cr_expect_eq(memcmp(&result, &again, sizeof(result)), 0,
		     "%s: looked at again", r->name);
	expect_content(r->name, &s, t.size, content);
	free(content);
	free(s.bytes);
	free(t.bytes);
}

Test(qcow2_check_repair, leaves_what_cannot_be_known_and_repairs_the_rest)
{
	for (size_t i = 0; i < REPAIRS; i++)
		expect_repair(&repairs[i]);
}

Test(qcow2_check_repair, a_sound_image_is_not_written)
{
	struct recipe recipe = { .snapshot = true };
	struct gild_check_result result;
	struct image *image;
	size_t events;
	struct tiny t;

	tiny_make(&t, &recipe);
	image = repair(t.bytes, t.length, ALL, &result);
	for (const struct faulty_event *e = faulty_log(image->storage, &events);
	     events; events--, e++)
		cr_expect_eq(e->op, FAULTY_FLUSH);
	image_free(image);
	free(t.bytes);
}

Test(qcow2_check_repair, all_widths_of_counts_are_rebuilt)
{
	for (uint32_t order = 0; order <= 6; order++) {
		struct recipe recipe = { .narrow = true,
					 .order = order,
					 .data = 200 };
		struct gild_check_result result;
		struct image *image;
		struct tiny t;

		tiny_make(&t, &recipe);
		harm_block_reserved(&t);
		harm_leak(&t);
		image = repair(t.bytes, t.length, ALL, &result);
		cr_expect_eq(result.corruptions + result.leaks, 0, "order %u",
			     order);
		image_free(image);
		free(t.bytes);
	}
}

Test(qcow2_check_repair, several_passes_repair_the_same)
{
	struct recipe recipe = LARGE;
	struct gild_check_result result = { 0 };
	struct image *image;
	struct tiny t;

	tiny_make(&t, &recipe);
	for (uint32_t i = 0; i < 300; i += 7)
		tiny_set_count(&t, t.first_data + i, i % 5);
	for (uint32_t i = 3; i < 300; i += 11)
		tiny_set(&t, tiny_l2_entry(&t, i),
			 tiny_get(&t, tiny_l2_entry(&t, i)) ^ QCOW2_COPIED);
	image = tiny_open(t.bytes, t.length, TO_REPAIR, NULL);
	cr_assert_eq(check_image(qcow2_of(image), ALL, 1, &result, NULL), 0);
	cr_expect_eq(result.corruptions + result.leaks, 0);
	cr_expect_gt(result.corruptions_fixed, 20);
	image_free(image);
	free(t.bytes);
}

/* --- only leaks ----------------------------------------------------------- */

static void expect_leaks_only(void (*harm)(struct tiny *t),
			      uint64_t leaks_fixed, uint64_t corruptions,
			      uint64_t leaks)
{
	struct recipe recipe = { 0 };
	struct gild_check_result result;
	struct image *image;
	struct tiny t;

	tiny_make(&t, &recipe);
	harm(&t);
	image = repair(t.bytes, t.length, GILD_CHECK_FIX_LEAKS, &result);
	cr_expect_eq(result.leaks_fixed, leaks_fixed);
	cr_expect_eq(result.corruptions, corruptions);
	cr_expect_eq(result.leaks, leaks);
	image_free(image);
	free(t.bytes);
}

Test(qcow2_check_repair, leaks_alone)
{
	expect_leaks_only(harm_leak, 1, 0, 0);
	expect_leaks_only(harm_count_high, 1, 0, 0);
	expect_leaks_only(harm_shared_data, 1, 1, 0);
	/* flags follow from sound counts */
	expect_leaks_only(harm_copied, 0, 0, 0);
	/* counts that are too low make the flags guesses */
	expect_leaks_only(harm_many, 1, 5, 0);
	/* a broken structure is not written to */
	expect_leaks_only(harm_block_reserved, 0, 1, 1);
}

Test(qcow2_check_repair, errors_alone_keep_leaks)
{
	struct recipe recipe = { 0 };
	struct gild_check_result result;
	struct image *image;
	struct tiny t;

	tiny_make(&t, &recipe);
	harm_leak(&t);
	harm_count_zero(&t);
	image = repair(t.bytes, t.length, GILD_CHECK_FIX_ERRORS, &result);
	cr_expect_eq(result.leaks, 1);
	cr_expect_eq(result.corruptions, 0);
	image_free(image);
	free(t.bytes);
}

/* --- places that must not be touched -------------------------------------- */

/* Flags in a table that a guest cluster overlaps are the guest's bytes. */
Test(qcow2_check_repair, does_not_write_into_data)
{
	struct gild_check_result result;
	struct recipe recipe = { .data = 100 };
	struct image *image;
	struct state s;
	struct tiny t;

	tiny_make(&t, &recipe);
	/* The second L2 table is a data cluster of the first one. */
	tiny_set(&t, tiny_at(&t, t.l1) + 8, tiny_at(&t, t.first_data));
	memset(t.bytes + tiny_at(&t, t.first_data), 0x81, t.cluster_size);
	image = repair(t.bytes, t.length, ALL, &result);
	s = state_of(image);
	image_free(image);
	cr_expect_gt(result.corruptions, 0);
	cr_expect_eq(memcmp(s.bytes + tiny_at(&t, t.first_data),
			    t.bytes + tiny_at(&t, t.first_data),
			    t.cluster_size),
		     0);
	free(s.bytes);
	free(t.bytes);
}

/* An entry behind the end of the file would lead to the new table. */
Test(qcow2_check_repair, does_not_rebuild_where_entries_dangle)
{
	struct gild_check_result result;
	struct recipe recipe = { 0 };
	struct image *image;
	struct state s;
	struct tiny t;

	tiny_make(&t, &recipe);
	tiny_set(&t, tiny_l2_entry(&t, 0), tiny_at(&t, t.total + 1));
	harm_block_twice(&t);
	image = repair(t.bytes, t.length, ALL, &result);
	s = state_of(image);
	image_free(image);
	cr_expect_eq(s.length, t.length);
	cr_expect_eq(memcmp(s.bytes, t.bytes, t.length), 0);
	cr_expect_gt(result.corruptions, 0);
	free(s.bytes);
	free(t.bytes);
}

/* --- marks in the header -------------------------------------------------- */

#define INCOMPATIBLE 72
#define AUTOCLEAR 88

Test(qcow2_check_repair, marks_are_cleared_when_all_is_well)
{
	struct gild_check_result result;
	struct recipe recipe = { 0 };
	struct image *image;
	struct state s;
	struct tiny t;

	tiny_make(&t, &recipe);
	tiny_set(&t, INCOMPATIBLE,
		 QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
	tiny_set(&t, AUTOCLEAR, 1ULL << 40);
	harm_count_zero(&t);
	image = repair(t.bytes, t.length, ALL, &result);
	s = state_of(image);
	cr_expect_eq(load_be64(s.bytes + INCOMPATIBLE), 0);
	/* nobody here knows what it vouches for */
	cr_expect_eq(load_be64(s.bytes + AUTOCLEAR), 0);
	cr_expect_eq(qcow2_of(image)->header.incompatible, 0);
	image_free(image);
	free(s.bytes);
	free(t.bytes);
}

Test(qcow2_check_repair, marks_stay_when_something_is_left)
{
	struct gild_check_result result;
	struct recipe recipe = { 0 };
	struct image *image;
	struct state s;
	struct tiny t;

	tiny_make(&t, &recipe);
	tiny_set(&t, INCOMPATIBLE, QCOW2_INCOMPAT_CORRUPT);
	harm_l2_reserved(&t);
	image = repair(t.bytes, t.length, ALL, &result);
	s = state_of(image);
	cr_expect_eq(load_be64(s.bytes + INCOMPATIBLE), QCOW2_INCOMPAT_CORRUPT);
	image_free(image);
	free(s.bytes);
	free(t.bytes);
}

/* Without the autoclear bit the bitmaps' clusters are leaked; nothing may lead
 * to them when they are free. */
Test(qcow2_check_repair, stale_bitmaps_are_dropped_with_their_clusters)
{
	struct gild_check_result result;
	struct recipe recipe = { .stale_bitmaps = true };
	struct image *image;
	struct state s;
	struct tiny t;

	tiny_make(&t, &recipe);
	harm_leak(&t);
	image = repair(t.bytes, t.length, ALL, &result);
	s = state_of(image);
	image_free(image);
	cr_expect_eq(result.leaks_fixed, 1);
	image = tiny_open(s.bytes, s.length, 0, NULL);
	cr_assert_not_null(image);
	cr_expect(!qcow2_of(image)->header.has_bitmaps);
	image_free(image);
	free(s.bytes);
	free(t.bytes);
}

/* --- a killed writer ------------------------------------------------------ */

Test(qcow2_check_repair, dirty_image_is_repaired_when_opened_for_writing)
{
	struct recipe recipe = { 0 };
	struct image *image;
	struct state s;
	struct tiny t;

	tiny_make(&t, &recipe);
	tiny_set(&t, INCOMPATIBLE, QCOW2_INCOMPAT_DIRTY);
	harm_count_zero(&t);
	harm_leak(&t);
	image = tiny_open(t.bytes, t.length, 0, NULL);
	s = state_of(image);
	cr_expect_eq(memcmp(s.bytes, t.bytes, t.length), 0, "only read");
	free(s.bytes);
	image_free(image);
	image = tiny_open(t.bytes, t.length, GILD_OPEN_WRITE, NULL);
	cr_assert_not_null(image);
	s = state_of(image);
	cr_expect_eq(load_be64(s.bytes + INCOMPATIBLE), 0);
	memcpy(t.bytes, s.bytes, t.length);
	cr_expect_eq(tiny_count(&t, t.first_data + 1), 1);
	cr_expect_eq(tiny_count(&t, t.first_data + 3), 0);
	/* the caches know it, too */
	cr_expect_eq(image_write(image, "x", 1, 0, NULL), 0);
	cr_expect_eq(image_flush(image, true, NULL), 0);
	image_free(image);
	free(s.bytes);
	free(t.bytes);
}

Test(qcow2_check_repair, dirty_image_beyond_repair_is_not_opened_for_writing)
{
	struct recipe recipe = { 0 };
	struct gild_error err = { 0 };
	struct image *image;
	struct tiny t;

	tiny_make(&t, &recipe);
	tiny_set(&t, INCOMPATIBLE, QCOW2_INCOMPAT_DIRTY);
	harm_l2_reserved(&t);
	image = tiny_open(t.bytes, t.length, GILD_OPEN_WRITE, &err);
	cr_assert_null(image);
	cr_expect_eq(err.kind, GILD_ERR_CORRUPT);
	cr_expect(strstr(err.hint, "gild check"));
	free(t.bytes);
}

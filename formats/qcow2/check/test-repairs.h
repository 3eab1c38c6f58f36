/* SPDX-License-Identifier: BSD-3-Clause */
/* For the tests of repairs: broken images, and what a repair leaves of them. */
#ifndef QCOW2_TEST_REPAIRS_H
#define QCOW2_TEST_REPAIRS_H

#include "formats/qcow2/check/test-broken.h"

#define ALL ((unsigned)(GILD_CHECK_FIX_LEAKS | GILD_CHECK_FIX_ERRORS))
#define SNAPSHOT                 \
	{                        \
		.snapshot = true \
	}
#define LARGE                                                             \
	{                                                                 \
		.data = 300, .snapshot = true, .narrow = true, .order = 5 \
	}

/* What a repair of all leaves. */
struct repaired {
	const char *name;
	struct recipe recipe;
	void (*harm)(struct tiny *t);
	uint64_t corruptions_fixed, leaks_fixed, corruptions, leaks;
};

static inline void harm_many(struct tiny *t)
{
	harm_count_zero(t);
	harm_shared_data(t);
	harm_copied(t);
	harm_l1_copied(t);
}

static inline void harm_many_and_block(struct tiny *t)
{
	harm_many(t);
	harm_block_twice(t);
}

static const struct repaired repairs[] = {
	{ "sound", { 0 }, harm_nothing, 0, 0, 0, 0 },
	{ "sound with a snapshot", SNAPSHOT, harm_nothing, 0, 0, 0, 0 },
	{ "leak", { 0 }, harm_leak, 0, 1, 0, 0 },
	{ "count too high", { 0 }, harm_count_high, 0, 1, 0, 0 },
	{ "count zero", { 0 }, harm_count_zero, 1, 0, 0, 0 },
	{ "shared data", { 0 }, harm_shared_data, 3, 1, 0, 0 },
	{ "COPIED", { 0 }, harm_copied, 1, 0, 0, 0 },
	{ "COPIED in L1", { 0 }, harm_l1_copied, 1, 0, 0, 0 },
	{ "reserved in L2", { 0 }, harm_l2_reserved, 0, 0, 1, 0 },
	{ "reserved in L1", { 0 }, harm_l1_reserved, 0, 0, 1, 0 },
	{ "data outside", { 0 }, harm_data_outside, 0, 1, 1, 0 },
	{ "zero unaligned",
	  { .cluster_bits = 12 },
	  harm_zero_unaligned,
	  1,
	  1,
	  0,
	  0 },
	{ "data is L1", { 0 }, harm_data_is_l1, 2, 1, 0, 0 },
	/* what only seems leaked is kept */
	{ "L2 outside", { 0 }, harm_l2_outside, 1, 0, 1, 9 },
	{ "L2 unaligned", { .cluster_bits = 12 }, harm_l2_unaligned, 0, 0, 1, 7 },
	{ "snapshot L1 outside", SNAPSHOT, harm_snapshot_l1_outside, 0, 0, 1,
	  10 },
	{ "snapshot endless", SNAPSHOT, harm_snapshot_endless, 0, 0, 1, 11 },
	{ "snapshot without L2", SNAPSHOT, harm_snapshot_l2, 9, 9, 0, 0 },
	/* a new structure */
	{ "block gone", { 0 }, harm_block_gone, 12, 0, 0, 0 },
	{ "block reserved", { 0 }, harm_block_reserved, 1, 1, 0, 0 },
	{ "block unaligned",
	  { .cluster_bits = 12 },
	  harm_block_unaligned,
	  1,
	  0,
	  0,
	  0 },
	{ "block outside", { 0 }, harm_block_outside, 1, 0, 0, 0 },
	{ "block twice", { 0 }, harm_block_twice, 2, 0, 0, 0 },
	{ "block is data", { 0 }, harm_block_is_data, 2, 0, 0, 0 },
	{ "table lost", { 0 }, harm_table_lost, 12, 0, 0, 0 },
	{ "block twice of many", LARGE, harm_block_twice, 8, 1, 0, 0 },
	{ "block gone of many", LARGE, harm_block_gone, 127, 0, 0, 0 },
	/* several things at once */
	{ "many", { 0 }, harm_many, 6, 1, 0, 0 },
	{ "many and a block", { 0 }, harm_many_and_block, 8, 1, 0, 0 },
};

#define REPAIRS (sizeof(repairs) / sizeof(repairs[0]))

/* A run of bytes that a repair left; free(bytes). */
struct state {
	unsigned char *bytes;
	uint64_t length;
};

static inline struct state state_of(struct image *image)
{
	struct state s;
	const void *content = faulty_content(image->storage, &s.length);

	s.bytes = malloc(s.length);
	cr_assert_not_null(s.bytes);
	memcpy(s.bytes, content, s.length);
	return s;
}

/* Repair; the image stays open. */
static inline struct image *repair(const void *bytes, uint64_t length,
				   unsigned fix,
				   struct gild_check_result *result)
{
	struct gild_error err = { 0 };
	struct image *image = tiny_open(bytes, length, TO_REPAIR, &err);

	cr_assert_not_null(image, "%s", err.message);
	*result = (struct gild_check_result){ 0 };
	cr_assert_eq(qcow2_check(image, fix, result, &err), 0, "%s",
		     err.message);
	return image;
}

/* What could not be read before may have become readable. */
static inline void expect_content(const char *name, const struct state *s,
				  uint64_t size, const unsigned char *wanted)
{
	unsigned char *content = tiny_content(s->bytes, s->length, size);

	cr_assert(content || !wanted, "%s: readable", name);
	if (wanted)
		cr_assert_eq(memcmp(content, wanted, size), 0, "%s: content",
			     name);
	free(content);
}

#endif

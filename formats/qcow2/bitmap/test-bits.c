/* SPDX-License-Identifier: BSD-3-Clause */
/* The bits of a bitmap in memory, beside an array of one byte a granule. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"

#define GRANULE 512U
#define CHUNK 64U /* bytes: 512 granules */
#define MOST 5000 /* granules */

TestSuite(qcow2_bitmap_bits, .timeout = 60);

/* What the bits should be. */
struct model {
	struct qcow2_bits *bits;
	uint64_t size;
	unsigned char marked[MOST];
};

static uint64_t count_of(const struct model *m)
{
	return div_round_up(m->size, GRANULE);
}

static struct model model_of(uint64_t size)
{
	struct model m = { .size = size };

	m.bits = qcow2_bits_new(size, 9, CHUNK, NULL);
	cr_assert_not_null(m.bits);
	return m;
}

static void model_set(struct model *m, uint64_t offset, uint64_t length)
{
	qcow2_bits_set(m->bits, offset, length);
	for (uint64_t i = offset / GRANULE;
	     length && i <= (offset + length - 1) / GRANULE && i < count_of(m);
	     i++)
		m->marked[i] = 1;
}

/* As qcow2_bits_next finds them. */
static void expect_model(const struct model *m, const char *when)
{
	static unsigned char found[MOST];
	uint64_t offset = 0, length;

	memset(found, 0, sizeof(found));
	for (; qcow2_bits_next(m->bits, &offset, &length); offset += length) {
		cr_assert_gt(length, 0);
		cr_assert_leq(offset + length, m->size);
		for (uint64_t i = offset / GRANULE;
		     i < div_round_up(offset + length, GRANULE); i++)
			found[i] = 1;
	}
	for (uint64_t i = 0; i < MOST; i++)
		cr_assert_eq(found[i], m->marked[i], "%s: granule %ju", when,
			     (uintmax_t)i);
}

static uint64_t below(uint64_t limit)
{
	return (uint64_t)rand() % limit;
}

/* Granules beyond the end are gone, and clean if they come back. */
static void model_resize(struct model *m, uint64_t size)
{
	m->size = size;
	qcow2_bits_resize(m->bits, size);
	memset(m->marked + count_of(m), 0, MOST - count_of(m));
}

static void step(struct model *m)
{
	uint64_t offset = below(m->size);

	switch (below(6)) {
	case 0:
		model_set(m, offset, below(m->size));
		break;
	case 1: /* whole chunks */
		model_set(m, round_down(offset, CHUNK * 8 * GRANULE),
			  CHUNK * 8 * GRANULE);
		break;
	case 2:
		if (!below(8)) {
			qcow2_bits_clear(m->bits);
			memset(m->marked, 0, sizeof(m->marked));
		}
		break;
	case 3:
		model_resize(m, 1 + below((MOST - 1) * GRANULE));
		break;
	default:
		model_set(m, offset, 1 + below(3 * GRANULE));
	}
}

Test(qcow2_bitmap_bits, random_marks)
{
	for (unsigned seed = 1; seed <= 30; seed++) {
		struct model m;

		srand(seed);
		m = model_of(1 + below((MOST - 1) * GRANULE));
		for (unsigned i = 0; i < 60; i++) {
			step(&m);
			expect_model(&m, "step");
		}
		qcow2_bits_free(m.bits);
	}
}

/* Alike in everything, or of another chunk size: the same marks. */
Test(qcow2_bitmap_bits, random_merges)
{
	for (unsigned seed = 1; seed <= 60; seed++) {
		struct qcow2_bits *other;
		struct model from, to;

		srand(seed);
		from = model_of(1 + below((MOST - 1) * GRANULE));
		to = model_of(from.size);
		other = qcow2_bits_new(from.size, 9, CHUNK * 2, NULL);
		for (unsigned i = 0; i < 8; i++) {
			model_set(&from, below(from.size),
				  below(from.size / 4));
			model_set(&to, below(to.size), below(to.size / 4));
		}
		for (unsigned i = 0; i < to.bits->count; i++)
			to.bits->chunks[i].changed = false;
		for (unsigned i = 0; i < MOST; i++)
			to.marked[i] |= from.marked[i];
		qcow2_bits_merge(other, to.bits);
		qcow2_bits_merge(seed % 2 ? to.bits : other, from.bits);
		if (seed % 2)
			qcow2_bits_merge(other, to.bits);
		else
			qcow2_bits_merge(to.bits, other);
		expect_model(&to, "merged");
		to.bits->stored = to.bits->count;
		for (unsigned i = 0; i < to.bits->count; i++)
			to.bits->chunks[i].changed = false;
		qcow2_bits_merge(to.bits, from.bits);
		cr_expect_not(qcow2_bits_changed(to.bits), "nothing new");
		qcow2_bits_free(to.bits);
		to.bits = other;
		expect_model(&to, "merged");
		qcow2_bits_free(other);
		qcow2_bits_free(from.bits);
	}
}

Test(qcow2_bitmap_bits, nothing_is_marked_by_nothing)
{
	struct model m = model_of(10 * GRANULE);

	model_set(&m, 5, 0);
	qcow2_bits_set(m.bits, 10 * GRANULE, 100);
	qcow2_bits_set(m.bits, UINT64_MAX, 1);
	expect_model(&m, "nothing");
	cr_expect(qcow2_bits_changed(m.bits), "never stored");
	m.bits->stored = m.bits->count;
	cr_expect_not(qcow2_bits_changed(m.bits));
	/* Up to the end and far beyond. */
	qcow2_bits_set(m.bits, 9 * GRANULE, UINT64_MAX - 9 * GRANULE);
	m.marked[9] = 1;
	expect_model(&m, "the end");
	cr_expect(qcow2_bits_changed(m.bits));
	m.bits->chunks[0].changed = false;
	qcow2_bits_set(m.bits, 9 * GRANULE + 5, 1);
	cr_expect_not(qcow2_bits_changed(m.bits), "was marked already");
	qcow2_bits_free(m.bits);
}

/* What is stored of the last chunk may go on beyond a new end. */
Test(qcow2_bitmap_bits, a_shorter_disk_is_a_change)
{
	struct model m = model_of(CHUNK * 8 * GRANULE);

	model_set(&m, 0, m.size);
	m.bits->stored = 1;
	m.bits->chunks[0].changed = false;
	model_resize(&m, m.size / 2);
	expect_model(&m, "shorter");
	cr_expect(qcow2_bits_changed(m.bits));
	cr_expect_eq(m.bits->chunks[0].bytes[CHUNK / 2 - 1], 0xff);
	model_resize(&m, CHUNK * 8 * GRANULE);
	expect_model(&m, "longer");
	qcow2_bits_free(m.bits);
}

Test(qcow2_bitmap_bits, merging_touches_every_granule)
{
	struct qcow2_bits *coarse, *fine;
	uint64_t offset = 0, length;

	coarse = qcow2_bits_new(1000000, 16, CHUNK, NULL);
	fine = qcow2_bits_new(1000000, 9, CHUNK, NULL);
	qcow2_bits_set(fine, 65535, 2);
	qcow2_bits_set(fine, 999999, 1);
	qcow2_bits_merge(coarse, fine);
	cr_assert(qcow2_bits_next(coarse, &offset, &length));
	cr_expect_eq(offset, 0);
	cr_expect_eq(length, 131072);
	offset += length;
	cr_assert(qcow2_bits_next(coarse, &offset, &length));
	cr_expect_eq(offset, 983040);
	cr_expect_eq(length, 1000000 - 983040);
	qcow2_bits_clear(fine);
	qcow2_bits_merge(fine, coarse);
	offset = 100000;
	cr_assert(qcow2_bits_next(fine, &offset, &length));
	cr_expect_eq(offset, 100000);
	cr_expect_eq(length, 31072);
	/* What one has lost the other has not got, either. */
	coarse->lost = true;
	qcow2_bits_merge(fine, coarse);
	cr_expect(fine->lost);
	qcow2_bits_clear(fine);
	cr_expect_not(fine->lost);
	qcow2_bits_free(coarse);
	qcow2_bits_free(fine);
}

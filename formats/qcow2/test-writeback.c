/* SPDX-License-Identifier: BSD-3-Clause */
/* The order in which changes reach the disk, read off the record of a disk in
 * memory: what goes where, and what has a flush before it. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/disk.h"
#include "tests/lib/model.h"

TestSuite(qcow2_writeback, .timeout = 60);

#define U 512ULL

static const struct disk_kind plain = { .name = "plain",
					.version = 3,
					.cluster_size = U };
static const struct disk_kind lazy = {
	.name = "lazy", .version = 3, .cluster_size = U, .lazy_refcounts = true
};

static struct qcow2 *open_new(const struct disk_kind *kind)
{
	struct storage *storage = disk_create(kind, 64 << 10);
	struct qcow2 *q = qcow2_of(disk_open(storage, GILD_OPEN_WRITE));

	faulty_clear_log(storage);
	return q;
}

static void run(struct qcow2 *q, enum op_kind kind, uint64_t cluster,
		uint64_t count)
{
	struct op op = { kind, cluster * U, count * U, 2 };
	struct gild_error err = { 0 };

	cr_assert_eq(op_run(&q->image, &op, &err), 0, "%s: %s", op_text(&op),
		     err.message);
}

static void flush(struct qcow2 *q, bool closing)
{
	struct gild_error err = { 0 };

	cr_assert_eq(image_flush(&q->image, closing, &err), 0, "%s",
		     err.message);
}

/* What is at an offset of a fresh image: header, refcount table, refcount
 * block, L1 table, then the first L2 table and data. */
static char letter(const struct faulty_event *event)
{
	if (event->op == FAULTY_FLUSH)
		return '|';
	if (event->op == FAULTY_DISCARD)
		return 'p';
	if (event->op == FAULTY_TRUNCATE)
		return 't';
	switch (event->offset / U) {
	case 0:
		return 'H';
	case 1:
		return 'T';
	case 2:
		return 'R';
	case 3:
		return '1';
	case 4:
		return '2';
	default:
		return 'd';
	}
}

/* The record as letters; then it is cleared. */
static const char *story(struct qcow2 *q)
{
	static char text[200];
	size_t count;
	const struct faulty_event *log = faulty_log(q->image.storage, &count);

	cr_assert_lt(count, sizeof(text));
	for (size_t i = 0; i < count; i++)
		text[i] = letter(&log[i]);
	text[count] = 0;
	faulty_clear_log(q->image.storage);
	return text;
}

Test(qcow2_writeback, counts_then_tables_then_what_leads_to_them)
{
	struct qcow2 *q = open_new(&plain);

	run(q, OP_WRITE, 0, 1);
	/* A new L2 table's zeros, and the data. */
	cr_assert_str_eq(story(q), "2d");
	flush(q, false);
	cr_assert_str_eq(story(q), "R|2|1|");
	run(q, OP_WRITE, 1, 1);
	flush(q, false);
	cr_assert_str_eq(story(q), "dR|2|");
	image_free(&q->image);
}

Test(qcow2_writeback, data_in_place_needs_one_flush)
{
	struct qcow2 *q = open_new(&plain);

	run(q, OP_WRITE, 0, 1);
	flush(q, false);
	story(q);
	run(q, OP_WRITE, 0, 1);
	flush(q, false);
	cr_assert_str_eq(story(q), "d|");
	image_free(&q->image);
}

Test(qcow2_writeback, nothing_done_nothing_written)
{
	struct qcow2 *q = open_new(&plain);

	flush(q, true);
	cr_assert_str_eq(story(q), "|");
	image_free(&q->image);
}

/* What is given back is punched when the disk no longer leads there, and
 * counted down after that. */
Test(qcow2_writeback, space_is_free_when_nothing_leads_there)
{
	struct qcow2 *q = open_new(&plain);

	run(q, OP_WRITE, 0, 1);
	flush(q, false);
	story(q);
	run(q, OP_ZERO_UNMAP, 0, 1);
	cr_assert_str_eq(story(q), "");
	flush(q, false);
	cr_assert_str_eq(story(q), "|2|p");
	flush(q, false);
	cr_assert_str_eq(story(q), "R|");
	image_free(&q->image);
}

Test(qcow2_writeback, what_was_freed_waits_for_the_flush)
{
	struct qcow2 *q = open_new(&plain);

	run(q, OP_WRITE, 0, 1); /* host cluster 5 */
	flush(q, false);
	run(q, OP_ZERO_UNMAP, 0, 1);
	story(q);
	run(q, OP_WRITE, 1, 1);
	cr_assert_str_eq(story(q), "d");
	cr_assert_eq(q->free_hint, 7, "cluster 6 was taken, not 5");
	flush(q, false);
	cr_assert_eq(q->free_hint, 5);
	image_free(&q->image);
}

Test(qcow2_writeback, what_was_freed_waits_for_readers)
{
	struct qcow2 *q = open_new(&plain);
	unsigned slot;

	run(q, OP_WRITE, 0, 1);
	flush(q, false);
	slot = epoch_enter(&q->image.epoch); /* on the way to cluster 5 */
	run(q, OP_ZERO_UNMAP, 0, 1);
	flush(q, false);
	flush(q, false);
	cr_assert_eq(q->freed_count, 1);
	cr_assert_eq(q->free_hint, 6);
	epoch_leave(&q->image.epoch, slot);
	flush(q, false);
	cr_assert_eq(q->freed_count, 0);
	cr_assert_eq(q->free_hint, 5);
	image_free(&q->image);
}

/* Who comes later does not keep what earlier readers have left. */
Test(qcow2_writeback, later_readers_hold_nothing_up)
{
	struct qcow2 *q = open_new(&plain);
	unsigned slot;

	run(q, OP_WRITE, 0, 1);
	run(q, OP_ZERO_UNMAP, 0, 1);
	flush(q, false);
	for (int i = 0; i < 3; i++) {
		slot = epoch_enter(&q->image.epoch);
		run(q, OP_WRITE, 1, 1);
		run(q, OP_ZERO_UNMAP, 1, 1);
		flush(q, false);
		epoch_leave(&q->image.epoch, slot);
	}
	flush(q, false);
	cr_assert_eq(q->freed_count, 0);
	image_free(&q->image);
}

Test(qcow2_writeback, closing_frees_everything)
{
	struct gild_check_result result;
	struct qcow2 *q = open_new(&plain);

	run(q, OP_WRITE, 0, 9);
	run(q, OP_COMPRESS, 10, 1);
	run(q, OP_ZERO_UNMAP, 0, 20);
	flush(q, true);
	cr_assert_eq(q->freed_count, 0);
	result = disk_check(&q->image);
	cr_assert_eq(result.leaks, 0);
	cr_assert_eq(result.corruptions, 0);
	image_free(&q->image);
}

/* --- lazy refcounts, other bits ------------------------------------------- */

Test(qcow2_writeback, lazy_counts_wait_under_the_dirty_mark)
{
	struct qcow2 *q = open_new(&lazy);

	run(q, OP_WRITE, 0, 1);
	cr_assert_str_eq(story(q), "H|2d", "the mark comes first");
	cr_assert(q->header.incompatible & QCOW2_INCOMPAT_DIRTY);
	flush(q, false);
	cr_assert_str_eq(story(q), "|2|1|");
	flush(q, true);
	cr_assert_str_eq(story(q), "|R|H|");
	cr_assert(!(q->header.incompatible & QCOW2_INCOMPAT_DIRTY));
	image_free(&q->image);
}

Test(qcow2_writeback, first_change_clears_autoclear_bits)
{
	struct storage *storage = disk_create(&plain, 64 << 10);
	unsigned char bits = 0x80; /* nobody knows what it stands for */
	struct qcow2 *q;

	cr_assert_eq(storage_write(storage, &bits, 1, 95, NULL), 0);
	q = qcow2_of(disk_open(storage, GILD_OPEN_WRITE));
	faulty_clear_log(storage);
	flush(q, false);
	cr_assert_eq(q->header.autoclear, 0x80);
	run(q, OP_WRITE, 0, 1);
	cr_assert_str_eq(story(q), "|H|2d");
	cr_assert_eq(q->header.autoclear, 0);
	image_free(&q->image);
}

/* --- the end of the file -------------------------------------------------- */

/* Somebody may be appending while others flush: the end is left alone. */
Test(qcow2_writeback, only_closing_rounds_the_end)
{
	struct qcow2 *q = open_new(&plain);
	uint64_t length;

	run(q, OP_COMPRESS, 0, 1);
	flush(q, false);
	cr_assert(!strchr(story(q), 't'));
	faulty_content(q->image.storage, &length);
	cr_assert_neq(length % 512, 0);
	flush(q, true);
	cr_assert(strchr(story(q), 't'));
	faulty_content(q->image.storage, &length);
	cr_assert_eq(length % 512, 0);
	image_free(&q->image);
}

/* --- files that nobody can see yet ---------------------------------------- */

Test(qcow2_writeback, unpublished_files_need_no_flushes)
{
	struct qcow2 *q = open_new(&plain);

	q->image.unpublished = true;
	run(q, OP_WRITE, 0, 1);
	flush(q, true);
	cr_assert(!strchr(story(q), '|'));
	image_free(&q->image);
}

/* --- failures ------------------------------------------------------------- */

static void expect_refusal(struct qcow2 *q)
{
	struct op op = { OP_WRITE, 9 * U, U, 2 };
	struct gild_error err = { 0 };

	cr_assert_eq(op_run(&q->image, &op, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_IO);
	cr_assert_eq(image_flush(&q->image, false, &err), -1);
	cr_assert_eq(image_flush(&q->image, true, &err), -1);
}

/* The host may have dropped what it could not write, and forgotten it. */
Test(qcow2_writeback, after_a_failed_flush_nothing_is_promised)
{
	struct faulty_plan plan = { .nth = 2,
				    .ops = 1U << FAULTY_FLUSH,
				    .sys_errno = EIO };
	struct qcow2 *q = open_new(&plain);

	run(q, OP_WRITE, 0, 1);
	faulty_set_plan(q->image.storage, &plan);
	cr_assert_eq(image_flush(&q->image, false, NULL), -1);
	expect_refusal(q);
	image_free(&q->image);
}

Test(qcow2_writeback, after_a_failed_header_nobody_knows_which_one_it_is)
{
	struct faulty_plan plan = { .nth = 1,
				    .ops = 1U << FAULTY_WRITE,
				    .sys_errno = EIO };
	struct qcow2 *q = open_new(&plain);
	struct gild_error err = { 0 };

	cr_assert_eq(qcow2_begin_changes(q, &err), 0);
	faulty_set_plan(q->image.storage, &plan);
	cr_assert_eq(q->image.ops->resize(&q->image, 40 << 10, &err), -1);
	expect_refusal(q);
	image_free(&q->image);
}

Test(qcow2_writeback, a_failed_write_may_be_tried_again)
{
	struct faulty_plan plan = { .nth = 1,
				    .ops = 1U << FAULTY_WRITE,
				    .sys_errno = ENOSPC };
	struct qcow2 *q = open_new(&plain);

	run(q, OP_WRITE, 0, 1);
	for (plan.nth = 1; plan.nth < 4; plan.nth++) {
		run(q, OP_WRITE, 70 + plan.nth, 1);
		faulty_set_plan(q->image.storage, &plan);
		image_flush(&q->image, false, NULL);
	}
	flush(q, false);
	cr_assert_eq(disk_check(&q->image).corruptions, 0);
	image_free(&q->image);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking the metadata of an image: do the reference counts agree with what
 * the tables refer to, and is every entry one that can be right? Verdicts and
 * counts are those of qemu-img check. How it works stands in check.h, the order
 * of a repair in repair.c.
 *
 * All is read from the storage, past the caches, which are written out before
 * and dropped after a repair. The image is locked for the whole time.
 */
#include <stdlib.h>

#include "formats/qcow2/check/check.h"
#include "util/memory.h"

#define BUDGET (256ULL << 20) /* bytes for counts */
#define SECTOR 512

int check_measure(struct check *c)
{
	uint64_t size;

	if (storage_size(c->storage, &size, c->err) < 0)
		return -1;
	c->file_size = round_up(size, SECTOR);
	c->clusters = div_round_up(c->file_size, c->q->cluster_size);
	return check_reftable_load(c);
}

static int prepare(struct check *c)
{
	c->bytes = memory_io_buffer(CHECK_READ);
	c->stream = memory_io_buffer(CHECK_STREAM);
	if (!c->bytes || !c->stream)
		return fail_nomem(c->err);
	if (check_measure(c) < 0)
		return -1;
	return check_l1_load(c);
}

static void finish(struct check *c)
{
	check_window_free(c);
	free(c->l1);
	free(c->reftable);
	free(c->snapshots.list);
	free(c->bitmaps.list);
	free(c->blocks);
	free(c->tables);
	free(c->bytes);
	free(c->stream);
}

static int look(struct check *c)
{
	static const struct check_run run = {
		.action = CHECK_COMPARE,
		.copied = CHECK_COPIED_REPORT,
		.speak = true,
		.speak_copied = true,
	};

	return check_run(c, &run);
}

static void tell(const struct check *c)
{
	struct gild_check_result *result = c->result;
	const struct check_counts *counts = &c->counts;

	result->check_errors = counts->errors;
	result->corruptions = counts->corruptions + counts->copied;
	result->leaks = counts->leaks;
	result->image_end_offset = c->highest << c->q->cluster_bits;
	result->total_clusters =
		div_round_up(c->q->header.size, c->q->cluster_size);
	result->allocated_clusters = counts->allocated;
	result->fragmented_clusters = counts->fragmented;
	result->compressed_clusters = counts->compressed;
}

int check_image(struct qcow2 *q, unsigned fix, uint64_t window,
		struct gild_check_result *result, struct gild_error *err)
{
	struct gild_error ignored;
	struct check c = {
		.q = q,
		.storage = q->image.storage,
		.result = result,
		.err = err ? err : &ignored,
		.fix = fix,
		.data_file = q->header.incompatible & QCOW2_INCOMPAT_DATA_FILE,
		.window = round_up(window, q->refblock_entries),
		.limit = min_u64(q->refcount_max, UINT16_MAX),
	};
	int ret = prepare(&c);

	if (!ret)
		ret = fix ? check_and_repair(&c) : look(&c);
	if (!ret)
		tell(&c);
	check_say_rest(&c);
	/* What is in memory is of before the repair, even of a failed one. */
	if (c.wrote && qcow2_reload(q, ret ? NULL : err) < 0) {
		q->broken = true;
		ret = -1;
	}
	finish(&c);
	return ret;
}

static int check_locked(struct qcow2 *q, unsigned fix,
			struct gild_check_result *result,
			struct gild_error *err)
{
	if (q->image.flags & GILD_OPEN_WRITE) {
		if (qcow2_writeback(q, true, err) < 0)
			return -1;
		/* That took a dirty mark away: the next write renews it. */
		q->header_fit = q->prepared = false;
	}
	return check_image(q, fix, BUDGET / sizeof(uint16_t), result, err);
}

int qcow2_check(struct image *image, unsigned fix,
		struct gild_check_result *result, struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	int ret;

	*result = (struct gild_check_result){
		.report = result->report,
		.opaque = result->opaque,
	};
	if (fix && !(image->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_INVALID, 0,
			    "is open for reading only and cannot be repaired");
	pthread_mutex_lock(&q->flushing);
	pthread_rwlock_wrlock(&q->lock);
	ret = check_locked(q, fix, result, err);
	pthread_rwlock_unlock(&q->lock);
	pthread_mutex_unlock(&q->flushing);
	return ret;
}

int qcow2_check_repair_dirty(struct qcow2 *q, struct gild_error *err)
{
	struct gild_check_result result = { 0 };

	if (check_image(q, GILD_CHECK_FIX_LEAKS | GILD_CHECK_FIX_ERRORS,
			BUDGET / sizeof(uint16_t), &result, err) < 0)
		return error_prefix(err, "repairing what a killed writer "
					 "left: ");
	if (!result.corruptions && !result.check_errors)
		return 0;
	fail(err, GILD_ERR_CORRUPT, 0,
	     "a killed writer left it in a state that could not be repaired "
	     "(%llu problems)",
	     (unsigned long long)(result.corruptions + result.check_errors));
	return error_hint(err, "gild check shows them; it can still be read");
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bitmaps of an open image, from its first change to its closing:
 *
 *     open    the directory is read
 *     track   enabled bitmaps come into memory, marked "in use" in the file
 *     wrote   what was written to is marked, in memory
 *     store   what is in memory goes to the file, and the mark away
 *
 * Where memory runs out while marking, the bitmap stays marked "in use".
 */
#include <stdlib.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"

/* --------------------------------------------------------------- opening -- */

static void bitmaps_release(struct qcow2_bitmaps *bitmaps)
{
	qcow2_bitmaps_free(bitmaps);
	free(bitmaps);
}

/* Nothing else may be where the directory is: flags are written in place. */
static int guard_directory(struct qcow2 *q, struct gild_error *err)
{
	uint64_t offset = q->header.bitmap_directory_offset;
	uint64_t length = q->header.bitmap_directory_size;

	if (qcow2_guard_hit(q, offset, length)) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the bitmap directory lies over other metadata");
		return error_at(err, offset);
	}
	return qcow2_guard_add(q, offset, length, err);
}

/* *room: bytes that tables may still have. */
static int guard_table(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		       uint64_t file_size, uint64_t *room,
		       struct gild_error *err)
{
	uint64_t offset = bitmap->table_offset;
	uint64_t length = bitmap->table_entries * 8ULL;

	if (length > *room || !is_aligned(offset, q->cluster_size) ||
	    !range_within(offset, length,
			  round_up(file_size, q->cluster_size)) ||
	    qcow2_guard_hit(q, offset, length)) {
		bitmap->astray = true;
		return 0;
	}
	*room -= length;
	return qcow2_guard_add(q, offset, length, err);
}

int qcow2_bitmaps_guard(struct qcow2 *q, struct gild_error *err)
{
	uint64_t file_size, room = QCOW2_MAX_BITMAP_TABLES;

	if (!q->bitmaps || !q->bitmaps->count)
		return 0;
	if (guard_directory(q, err) < 0 ||
	    storage_size(q->image.storage, &file_size, err) < 0)
		return -1;
	for (uint32_t i = 0; i < q->bitmaps->count; i++)
		if (guard_table(q, &q->bitmaps->list[i], file_size, &room,
				err) < 0)
			return -1;
	return 0;
}

int qcow2_bitmaps_open(struct qcow2 *q, struct gild_error *err)
{
	struct qcow2_bitmaps *bitmaps;

	if (q->bitmaps)
		return 0;
	bitmaps = calloc(1, sizeof(*bitmaps));
	if (!bitmaps)
		return fail_nomem(err);
	if (qcow2_bitmaps_read(q, bitmaps, err) < 0) {
		free(bitmaps);
		return -1;
	}
	q->bitmaps = bitmaps;
	if (qcow2_bitmaps_guard(q, err) < 0) {
		qcow2_bitmaps_forget(q);
		qcow2_guard_fill(q, NULL);
		return -1;
	}
	return 0;
}

void qcow2_bitmaps_forget(struct qcow2 *q)
{
	if (q->bitmaps)
		bitmaps_release(q->bitmaps);
	q->bitmaps = NULL;
	q->tracking = false;
}

bool qcow2_bitmaps_exist(const struct qcow2 *q)
{
	return q->bitmaps && q->bitmaps->count;
}

/* -------------------------------------------------------------- tracking -- */

static uint64_t claimed_by(const struct qcow2_bits *bits)
{
	uint64_t bytes = bits->stored * 8ULL;

	for (uint32_t i = 0; i < bits->stored; i++)
		if (bits->chunks[i].entry & QCOW2_OFFSET_MASK)
			bytes += bits->chunk_size;
	return bytes;
}

/* Beside what is in memory already. */
static int room_left(const struct qcow2 *q, struct qcow2_room *room,
		     struct gild_error *err)
{
	const struct qcow2_bits *bits;

	if (qcow2_room_whole(q, room, err) < 0)
		return -1;
	for (uint32_t i = 0; i < q->bitmaps->count; i++) {
		bits = q->bitmaps->list[i].bits;
		if (!bits)
			continue;
		room->file -= min_u64(room->file, claimed_by(bits));
		room->memory -= min_u64(room->memory, qcow2_bits_memory(bits));
	}
	return 0;
}

/* Those that were brought into memory in vain. */
static void let_go(struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->bitmaps->count && !q->tracking; i++) {
		qcow2_bits_free(q->bitmaps->list[i].bits);
		q->bitmaps->list[i].bits = NULL;
		q->bitmaps->list[i].ours = false;
	}
}

int qcow2_bitmap_hold(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		      struct qcow2_room *room, struct gild_error *err)
{
	if (bitmap->ours)
		return 0;
	bitmap->bits = qcow2_bitmap_load(q, bitmap, room, err);
	if (!bitmap->bits)
		return -1;
	bitmap->ours = true;
	return 0;
}

static bool is_enabled(const struct qcow2_bitmap *bitmap)
{
	return bitmap->flags & QCOW2_BITMAP_AUTO &&
	       !(bitmap->flags & QCOW2_BITMAP_IN_USE);
}

/* One that cannot be kept up to date says so from now on. */
static int track_one(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		     struct qcow2_room *room, struct gild_error *err)
{
	struct gild_error why;

	if (qcow2_bitmap_hold(q, bitmap, room, &why) == 0)
		return 0;
	if (why.kind == GILD_ERR_IO || why.kind == GILD_ERR_NOMEM ||
	    why.kind == GILD_ERR_RANGE) {
		if (err)
			*err = why;
		return -1;
	}
	bitmap->flags |= QCOW2_BITMAP_IN_USE;
	return 0;
}

/* *any: there are enabled ones. */
static int track_all(struct qcow2 *q, bool *any, struct gild_error *err)
{
	struct qcow2_room room;

	*any = false;
	if (room_left(q, &room, err) < 0)
		return -1;
	for (uint32_t i = 0; i < q->bitmaps->count; i++) {
		struct qcow2_bitmap *bitmap = &q->bitmaps->list[i];

		if (!is_enabled(bitmap))
			continue;
		*any = true;
		if (track_one(q, bitmap, &room, err) < 0)
			return -1;
	}
	return *any ? qcow2_bitmaps_write_flags(q, err) : 0;
}

int qcow2_bitmaps_track(struct qcow2 *q, struct gild_error *err)
{
	bool any;

	if (!qcow2_bitmaps_exist(q) || q->tracking)
		return 0;
	if (track_all(q, &any, err) < 0) {
		let_go(q);
		return -1;
	}
	q->tracking = any;
	return 0;
}

/* Lock held, shared at least. */
static void mark(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	for (uint32_t i = 0; q->bitmaps && i < q->bitmaps->count; i++) {
		struct qcow2_bitmap *bitmap = &q->bitmaps->list[i];

		if (bitmap->ours && is_enabled(bitmap))
			qcow2_bits_set(bitmap->bits, offset, length);
	}
}

/* What turned out to be no change (a discard that is too short) counts as one
 * for a bitmap; then this is where tracking begins. */
static int mark_first(struct qcow2 *q, uint64_t offset, uint64_t length,
		      struct gild_error *err)
{
	int ret;

	pthread_rwlock_wrlock(&q->lock);
	ret = qcow2_begin_changes(q, err);
	if (!ret)
		mark(q, offset, length);
	pthread_rwlock_unlock(&q->lock);
	return ret;
}

int qcow2_wrote(struct image *image, uint64_t offset, uint64_t length,
		struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);

	if (q->untracked)
		return mark_first(q, offset, length, err);
	if (!q->tracking)
		return 0;
	pthread_rwlock_rdlock(&q->lock);
	mark(q, offset, length);
	pthread_rwlock_unlock(&q->lock);
	return 0;
}

/* -------------------------------------------------------------- resizing -- */

int qcow2_bitmaps_check_tables(uint64_t bytes, struct gild_error *err)
{
	if (bytes <= QCOW2_MAX_BITMAP_TABLES)
		return 0;
	fail(err, GILD_ERR_RANGE, 0,
	     "the tables of all bitmaps would take more than 64 MiB");
	return error_hint(err, "remove some (gild bitmap --remove)");
}

static int check_one_size(const struct qcow2 *q,
			  const struct qcow2_bitmap *bitmap, uint64_t size,
			  struct gild_error *err)
{
	if (qcow2_bitmap_check(q, bitmap, err) < 0)
		return -1;
	if (size && qcow2_bits_bytes(size, bitmap->granularity_bits) <=
			    QCOW2_MAX_BITMAP_BYTES)
		return 0;
	fail(err, GILD_ERR_RANGE, 0,
	     "bitmap \"%s\" cannot be of a disk of %llu bytes", bitmap->name,
	     (unsigned long long)size);
	return error_hint(err, "remove it before (gild bitmap --remove)");
}

static int check_size(const struct qcow2 *q, uint64_t size,
		      struct gild_error *err)
{
	uint64_t tables = 0;

	for (uint32_t i = 0; i < q->bitmaps->count; i++) {
		const struct qcow2_bitmap *bitmap = &q->bitmaps->list[i];

		if (check_one_size(q, bitmap, size, err) < 0)
			return -1;
		tables += qcow2_bitmap_table_bytes(q, size,
						   bitmap->granularity_bits);
	}
	return qcow2_bitmaps_check_tables(tables, err);
}

static int hold_all(struct qcow2 *q, struct gild_error *err)
{
	struct qcow2_room room;

	if (room_left(q, &room, err) < 0)
		return -1;
	for (uint32_t i = 0; i < q->bitmaps->count; i++)
		if (qcow2_bitmap_hold(q, &q->bitmaps->list[i], &room, err) < 0)
			return -1;
	return qcow2_bitmaps_write_flags(q, err);
}

int qcow2_bitmaps_begin_resize(struct qcow2 *q, uint64_t size,
			       struct gild_error *err)
{
	if (!qcow2_bitmaps_exist(q))
		return 0;
	if (check_size(q, size, err) < 0)
		return -1;
	if (hold_all(q, err) < 0) {
		let_go(q);
		return -1;
	}
	q->tracking = true;
	return 0;
}

void qcow2_bitmaps_resize(struct qcow2 *q, uint64_t size)
{
	for (uint32_t i = 0; q->bitmaps && i < q->bitmaps->count; i++)
		if (q->bitmaps->list[i].ours)
			qcow2_bits_resize(q->bitmaps->list[i].bits, size);
}

/* --------------------------------------------------------------- storing -- */

/* *moved: a table is at another place now. */
static int store_one(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		     struct qcow2_switch *change, bool *moved,
		     struct gild_error *err)
{
	bitmap->ours = false;
	if (bitmap->bits->lost) {
		bitmap->flags |= QCOW2_BITMAP_IN_USE;
		return 0;
	}
	if (!qcow2_bits_changed(bitmap->bits))
		return 0;
	*moved = true;
	return qcow2_bitmap_write(q, bitmap, change, err);
}

static int store_all(struct qcow2 *q, struct gild_error *err)
{
	struct qcow2_switch change = { 0 };
	bool moved = false;

	for (uint32_t i = 0; i < q->bitmaps->count; i++) {
		struct qcow2_bitmap *bitmap = &q->bitmaps->list[i];

		if (bitmap->ours &&
		    store_one(q, bitmap, &change, &moved, err) < 0) {
			qcow2_switch_abandon(q, &change);
			return -1;
		}
	}
	if (moved)
		return qcow2_bitmaps_switch(q, &change, err);
	return qcow2_bitmaps_write_flags(q, err);
}

static int check_lost(const struct qcow2 *q, struct gild_error *err)
{
	for (uint32_t i = 0; i < q->bitmaps->count; i++) {
		const struct qcow2_bitmap *bitmap = &q->bitmaps->list[i];

		if (bitmap->bits && bitmap->bits->lost)
			return fail(err, GILD_ERR_NOMEM, 0,
				    "out of memory for bitmap \"%s\", which is "
				    "inconsistent now",
				    bitmap->name);
	}
	return 0;
}

/* From here on what the file says counts. Where that cannot be read now the
 * next change asks again. */
static void start_over(struct qcow2 *q)
{
	qcow2_bitmaps_forget(q);
	q->header_fit = qcow2_guard_fill(q, NULL) == 0 &&
			qcow2_bitmaps_open(q, NULL) == 0;
}

int qcow2_bitmaps_store(struct qcow2 *q, struct gild_error *err)
{
	int ret;

	if (!q->tracking)
		return 0;
	/* The next change marks what is enabled anew. */
	q->tracking = q->prepared = false;
	q->untracked = true;
	ret = store_all(q, err);
	if (ret < 0) {
		error_prefix(err, "storing bitmaps, which are inconsistent "
				  "now: ");
		start_over(q);
		return -1;
	}
	ret = check_lost(q, err);
	let_go(q);
	return ret;
}

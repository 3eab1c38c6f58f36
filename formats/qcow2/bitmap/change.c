/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adding, removing, clearing, enabling, disabling and merging bitmaps. What is
 * in memory because the disk is being written to is changed there, and stored
 * with the rest; anything else is changed in the file, at once and as a whole.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"

/* --------------------------------------------------------------- sources -- */

/* A copy of what is in memory, or what the file has. */
static struct qcow2_bits *copy_bits(struct qcow2 *q,
				    const struct qcow2_bitmap *bitmap,
				    struct gild_error *err)
{
	struct qcow2_bits *copy;
	struct qcow2_room room;

	if (qcow2_bitmap_check(q, bitmap, err) < 0)
		return NULL;
	if (!bitmap->bits)
		return qcow2_room_whole(q, &room, err) < 0 ?
			       NULL :
			       qcow2_bitmap_load(q, bitmap, &room, err);
	copy = qcow2_bits_new(bitmap->bits->size, bitmap->granularity_bits,
			      q->cluster_size, err);
	if (copy)
		qcow2_bits_merge(copy, bitmap->bits);
	if (!copy || !copy->lost)
		return copy;
	qcow2_bits_free(copy);
	return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
}

static struct qcow2_bits *find_bits(struct qcow2 *q, const char *name,
				    struct gild_error *err)
{
	const struct qcow2_bitmap *bitmap;
	struct qcow2_bits *bits = NULL;
	struct qcow2_bitmaps bitmaps;

	if (q->bitmaps) {
		bitmap = qcow2_bitmaps_find(q->bitmaps, name, err);
		return bitmap ? copy_bits(q, bitmap, err) : NULL;
	}
	if (qcow2_bitmaps_read(q, &bitmaps, err) < 0)
		return NULL;
	bitmap = qcow2_bitmaps_find(&bitmaps, name, err);
	if (bitmap)
		bits = copy_bits(q, bitmap, err);
	qcow2_bitmaps_free(&bitmaps);
	return bits;
}

/* The source's lock is not held while the target's is. */
static struct qcow2_bits *read_source(struct image *source, const char *name,
				      struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(source);
	struct qcow2_bits *bits;

	pthread_rwlock_rdlock(&q->lock);
	bits = find_bits(q, name, err);
	pthread_rwlock_unlock(&q->lock);
	return bits;
}

static int merge(struct qcow2_bits *bits, struct qcow2_bits *source,
		 struct gild_error *err)
{
	if (bits->size != source->size)
		return fail(err, GILD_ERR_INVALID, 0,
			    "the bitmaps belong to disks of different sizes "
			    "(%llu and %llu bytes)",
			    (unsigned long long)source->size,
			    (unsigned long long)bits->size);
	qcow2_bits_merge(bits, source);
	return bits->lost ? fail_nomem(err) : 0;
}

/* ------------------------------------------------------ adding, removing -- */

static unsigned log_2(uint64_t value)
{
	return (unsigned)__builtin_ctzll(value);
}

/* As large as a cluster, within what is usual. */
static unsigned granularity_bits(const struct qcow2 *q,
				 const struct bitmap_change *change)
{
	uint64_t granularity = change->granularity;

	if (!granularity)
		granularity = min_u64(max_u64(q->cluster_size, 4096), 65536);
	return log_2(granularity);
}

/* One that is in memory will be stored as large as it is there. */
static uint64_t tables_of(const struct qcow2 *q)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < q->bitmaps->count; i++) {
		const struct qcow2_bitmap *bitmap = &q->bitmaps->list[i];

		if (bitmap->bits)
			bytes += qcow2_bitmap_table_bytes(
				q, q->header.size, bitmap->granularity_bits);
		else if (!bitmap->astray)
			bytes += bitmap->table_entries * 8ULL;
	}
	return bytes;
}

static int check_room(const struct qcow2 *q, const struct bitmap_change *change,
		      struct gild_error *err)
{
	unsigned bits = granularity_bits(q, change);
	uint64_t size = q->header.size;

	if (q->bitmaps->count >= QCOW2_MAX_BITMAPS)
		return fail(err, GILD_ERR_RANGE, 0, "too many bitmaps (%u)",
			    q->bitmaps->count);
	if (qcow2_bits_bytes(size, bits) > QCOW2_MAX_BITMAP_BYTES) {
		fail(err, GILD_ERR_RANGE, 0,
		     "bitmap \"%s\" would take more than 512 MiB",
		     change->name);
		return error_hint(err, "choose a larger granularity");
	}
	return qcow2_bitmaps_check_tables(
		tables_of(q) + qcow2_bitmap_table_bytes(q, size, bits), err);
}

static int check_add(const struct qcow2 *q, const struct bitmap_change *change,
		     struct gild_error *err)
{
	if (qcow2_bitmaps_find(q->bitmaps, change->name, NULL))
		return fail(err, GILD_ERR_INVALID, 0,
			    "there is a bitmap \"%s\" already", change->name);
	if (!q->header.size)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "a disk of 0 bytes has no bitmaps");
	return check_room(q, change, err);
}

static int new_bitmap(const struct qcow2 *q, const struct bitmap_change *change,
		      struct qcow2_bitmap *bitmap, struct gild_error *err)
{
	*bitmap = (struct qcow2_bitmap){
		.name = strdup(change->name),
		.name_length = (uint16_t)strlen(change->name),
		.flags = change->disabled ? 0 : QCOW2_BITMAP_AUTO,
		.type = QCOW2_BITMAP_DIRTY_TRACKING,
		.granularity_bits = (uint8_t)granularity_bits(q, change),
	};
	if (!bitmap->name)
		return fail_nomem(err);
	bitmap->bits = qcow2_bits_new(q->header.size, bitmap->granularity_bits,
				      q->cluster_size, err);
	return bitmap->bits ? 0 : -1;
}

static int append(struct qcow2_bitmaps *bitmaps,
		  const struct qcow2_bitmap *bitmap, struct gild_error *err)
{
	struct qcow2_bitmap *list =
		realloc(bitmaps->list, (bitmaps->count + 1ULL) * sizeof(*list));

	if (!list)
		return fail_nomem(err);
	bitmaps->list = list;
	list[bitmaps->count++] = *bitmap;
	return 0;
}

/* While the disk is being written to, a new one is marked from now on. */
static void begin_life(struct qcow2 *q, struct qcow2_bitmap *bitmap)
{
	if (q->prepared && bitmap->flags & QCOW2_BITMAP_AUTO) {
		bitmap->ours = true;
		q->tracking = true;
	}
}

static int write_new(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		     struct qcow2_bits *source, struct gild_error *err)
{
	struct qcow2_switch change = { 0 };

	if ((source && merge(bitmap->bits, source, err) < 0) ||
	    qcow2_bitmap_write(q, bitmap, &change, err) < 0 ||
	    append(q->bitmaps, bitmap, err) < 0) {
		qcow2_switch_abandon(q, &change);
		return -1;
	}
	if (qcow2_bitmaps_switch(q, &change, err) == 0)
		return 0;
	q->bitmaps->count--;
	return -1;
}

static int add(struct qcow2 *q, const struct bitmap_change *change,
	       struct qcow2_bits *source, struct gild_error *err)
{
	struct qcow2_bitmap bitmap;

	if (check_add(q, change, err) < 0)
		return -1;
	if (new_bitmap(q, change, &bitmap, err) < 0) {
		qcow2_bitmap_free(&bitmap);
		return -1;
	}
	begin_life(q, &bitmap);
	if (write_new(q, &bitmap, source, err) < 0) {
		qcow2_bitmap_free(&bitmap);
		return -1;
	}
	if (!bitmap.ours) {
		qcow2_bits_free(bitmap.bits);
		q->bitmaps->list[q->bitmaps->count - 1].bits = NULL;
	}
	return 0;
}

static int remove_bitmap(struct qcow2 *q, struct qcow2_bitmap *bitmap,
			 struct gild_error *err)
{
	struct qcow2_bitmap *list = q->bitmaps->list, gone = *bitmap;
	uint32_t index = (uint32_t)(bitmap - list);
	struct qcow2_switch change = { 0 };
	size_t behind = (q->bitmaps->count - index - 1) * sizeof(gone);

	if (qcow2_bitmap_leave(q, bitmap, &change, err) < 0) {
		qcow2_switch_abandon(q, &change);
		return -1;
	}
	memmove(&list[index], &list[index + 1], behind);
	q->bitmaps->count--;
	if (qcow2_bitmaps_switch(q, &change, err) == 0) {
		qcow2_bitmap_free(&gone);
		return 0;
	}
	memmove(&list[index + 1], &list[index], behind);
	list[index] = gone;
	q->bitmaps->count++;
	return -1;
}

/* ------------------------------------------------ changing what is there -- */

/* Clear, or merge the source. */
static int change_bits(struct qcow2_bits *bits, struct qcow2_bits *source,
		       struct gild_error *err)
{
	if (source)
		return merge(bits, source, err);
	qcow2_bits_clear(bits);
	return 0;
}

static int rewrite(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		   struct qcow2_bits *source, struct gild_error *err)
{
	struct qcow2_switch change = { 0 };

	if (change_bits(bitmap->bits, source, err) < 0)
		return -1;
	if (!qcow2_bits_changed(bitmap->bits))
		return 0;
	if (qcow2_bitmap_write(q, bitmap, &change, err) == 0)
		return qcow2_bitmaps_switch(q, &change, err);
	qcow2_switch_abandon(q, &change);
	return -1;
}

static int change_content(struct qcow2 *q, struct qcow2_bitmap *bitmap,
			  struct qcow2_bits *source, struct gild_error *err)
{
	struct qcow2_bitmap before = *bitmap;
	struct qcow2_room room;
	int ret;

	if (bitmap->ours)
		return change_bits(bitmap->bits, source, err);
	if (qcow2_room_whole(q, &room, err) < 0)
		return -1;
	bitmap->bits = qcow2_bitmap_load(q, bitmap, &room, err);
	if (!bitmap->bits)
		return -1;
	ret = rewrite(q, bitmap, source, err);
	qcow2_bits_free(bitmap->bits);
	if (ret < 0)
		*bitmap = before;
	bitmap->bits = NULL;
	return ret;
}

static int hold_one(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		    struct gild_error *err)
{
	struct qcow2_room room;

	if (qcow2_room_whole(q, &room, err) < 0)
		return -1;
	return qcow2_bitmap_hold(q, bitmap, &room, err);
}

static int set_enabled(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		       bool enabled, struct gild_error *err)
{
	bool in_memory = bitmap->ours;

	if (enabled == !!(bitmap->flags & QCOW2_BITMAP_AUTO))
		return 0;
	if (enabled && q->prepared && hold_one(q, bitmap, err) < 0)
		return -1;
	bitmap->flags ^= QCOW2_BITMAP_AUTO;
	q->tracking = q->tracking || bitmap->ours;
	if (in_memory || qcow2_bitmaps_write_flags(q, err) == 0)
		return 0;
	/* The file may say either now. If it is enabled there it has to be kept
	 * up to date. */
	bitmap->flags |= QCOW2_BITMAP_AUTO;
	return -1;
}

/* ---------------------------------------------------------- the driver's -- */

static int change_one(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		      const struct bitmap_change *change,
		      struct qcow2_bits *source, struct gild_error *err)
{
	if (change->what == BITMAP_REMOVE)
		return remove_bitmap(q, bitmap, err);
	if (qcow2_bitmap_check(q, bitmap, err) < 0)
		return -1;
	if (change->what == BITMAP_ENABLE || change->what == BITMAP_DISABLE)
		return set_enabled(q, bitmap, change->what == BITMAP_ENABLE,
				   err);
	return change_content(q, bitmap, source, err);
}

/* Here a directory that makes no sense is an error: it would be lost. */
static int change_any(struct qcow2 *q, const struct bitmap_change *change,
		      struct qcow2_bits *source, struct gild_error *err)
{
	struct qcow2_bitmap *bitmap;
	int ret;

	if (q->header.version < 3)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "images of version 2 (compat=0.10) have no "
			    "bitmaps");
	if ((!q->guard.clusters && qcow2_guard_fill(q, err) < 0) ||
	    qcow2_bitmaps_open(q, err) < 0 || qcow2_begin_metadata(q, err) < 0)
		return -1;
	if (change->what == BITMAP_ADD) {
		ret = add(q, change, source, err);
	} else {
		bitmap = qcow2_bitmaps_find(q->bitmaps, change->name, err);
		ret = bitmap ? change_one(q, bitmap, change, source, err) : -1;
	}
	q->untracked = !q->prepared;
	return ret;
}

int qcow2_bitmap_change(struct image *image, const struct bitmap_change *change,
			struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	struct qcow2_bits *source = NULL;
	int ret;

	if (change->source) {
		source = read_source(change->source, change->source_name, err);
		if (!source && change->source != image)
			error_prefix(err, "%s: ", change->source->path);
		if (!source)
			return -1;
	}
	pthread_rwlock_wrlock(&q->lock);
	ret = change_any(q, change, source, err);
	pthread_rwlock_unlock(&q->lock);
	qcow2_bits_free(source);
	return ret;
}

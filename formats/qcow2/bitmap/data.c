/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bits of a bitmap in the file: a table of one entry a cluster, each of
 * which leads to a cluster, or stands for zeros, or for ones.
 *
 * Writing leaves what is there alone: new clusters, a new table and a new
 * directory, then the switch of the header (qcow2_bitmaps_switch), and only
 * then what they replace is free. Specification: "Bitmap table", "Bitmap data".
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/zeros.h"

/* --------------------------------------------------------------- judging -- */

static int fail_bitmap(const struct qcow2_bitmap *bitmap,
		       enum gild_error_kind kind, const char *what,
		       struct gild_error *err)
{
	return fail(err, kind, 0, "bitmap \"%s\" %s", bitmap->name, what);
}

static int fail_inconsistent(const struct qcow2_bitmap *bitmap,
			     struct gild_error *err)
{
	fail_bitmap(bitmap, GILD_ERR_INVALID,
		    "is inconsistent: who wrote to the disk last did not store "
		    "it",
		    err);
	return error_hint(err, "it can only be removed (gild bitmap --remove)");
}

int qcow2_bitmap_check(const struct qcow2 *q, const struct qcow2_bitmap *bitmap,
		       struct gild_error *err)
{
	uint64_t bytes;

	if (bitmap->flags & QCOW2_BITMAP_IN_USE)
		return fail_inconsistent(bitmap, err);
	if (bitmap->type != QCOW2_BITMAP_DIRTY_TRACKING)
		return fail_bitmap(bitmap, GILD_ERR_UNSUPPORTED,
				   "is of an unknown type", err);
	if (bitmap->extra_length &&
	    !(bitmap->flags & QCOW2_BITMAP_EXTRA_COMPATIBLE))
		return fail_bitmap(bitmap, GILD_ERR_UNSUPPORTED,
				   "has extra data of an unknown kind", err);
	if (bitmap->granularity_bits < QCOW2_MIN_GRANULARITY_BITS ||
	    bitmap->granularity_bits > QCOW2_MAX_GRANULARITY_BITS)
		return fail_bitmap(bitmap, GILD_ERR_UNSUPPORTED,
				   "has a granularity beyond 512 bytes to 2 "
				   "GiB",
				   err);
	bytes = qcow2_bits_bytes(q->header.size, bitmap->granularity_bits);
	if (bytes > QCOW2_MAX_BITMAP_BYTES)
		return fail_bitmap(bitmap, GILD_ERR_RANGE,
				   "takes more than 512 MiB", err);
	/* What is in memory was of the right size, and kept so. */
	if (!bitmap->bits &&
	    bitmap->table_entries != div_round_up(bytes, q->cluster_size))
		return fail_bitmap(bitmap, GILD_ERR_CORRUPT,
				   "belongs to a disk of another size", err);
	return 0;
}

/* Does a stretch of whole clusters lie in a file of that size? The last cluster
 * may be cut. */
static bool is_inside(const struct qcow2 *q, uint64_t offset, uint64_t length,
		      uint64_t file_size)
{
	return offset && is_aligned(offset, q->cluster_size) &&
	       range_within(offset, length,
			    round_up(file_size, q->cluster_size));
}

static bool is_entry(const struct qcow2 *q, uint64_t entry, uint64_t file_size)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK;

	if (entry & QCOW2_BITMAP_TABLE_RESERVED)
		return false;
	if (!offset)
		return true;
	return !(entry & QCOW2_BITMAP_ALL_ONES) &&
	       is_inside(q, offset, q->cluster_size, file_size) &&
	       !qcow2_guard_hit(q, offset, q->cluster_size);
}

/* --------------------------------------------------------------- reading -- */

static uint64_t table_bytes(const struct qcow2_bitmap *bitmap)
{
	return bitmap->table_entries * 8ULL;
}

/* The table in host order, room counted; NULL on failure. */
static uint64_t *read_table(struct qcow2 *q, const struct qcow2_bitmap *bitmap,
			    uint64_t file_size, uint64_t *room,
			    struct gild_error *err)
{
	AUTO_FREE uint64_t *entries = NULL;
	uint64_t bytes = table_bytes(bitmap);

	if (bitmap->astray || bytes > *room ||
	    !is_inside(q, bitmap->table_offset, bytes, file_size)) {
		fail_bitmap(bitmap, GILD_ERR_CORRUPT,
			    "has a table where none can be", err);
		error_at(err, bitmap->table_offset);
		return NULL;
	}
	*room -= bytes;
	entries = malloc(bytes ? bytes : 1);
	if (!entries)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	if (storage_read_all(q->image.storage, entries, bytes,
			     bitmap->table_offset, err) < 0)
		return NULL;
	for (uint32_t i = 0; i < bitmap->table_entries; i++)
		entries[i] = be64toh(entries[i]);
	return steal_ptr(entries);
}

static int read_chunk(struct qcow2 *q, struct qcow2_bits *bits, uint32_t index,
		      struct gild_error *err)
{
	struct qcow2_chunk *chunk = &bits->chunks[index];
	uint32_t length = qcow2_bits_chunk_bytes(bits, index);

	if (!(chunk->entry & QCOW2_OFFSET_MASK)) {
		if (chunk->entry & QCOW2_BITMAP_ALL_ONES)
			chunk->bytes = qcow2_bits_full;
		return 0;
	}
	chunk->bytes = malloc(length);
	if (!chunk->bytes)
		return fail_nomem(err);
	return storage_read(q->image.storage, chunk->bytes, length,
			    chunk->entry & QCOW2_OFFSET_MASK, err);
}

static int read_chunks(struct qcow2 *q, const struct qcow2_bitmap *bitmap,
		       const uint64_t *entries, uint64_t file_size,
		       uint64_t *room, struct qcow2_bits *bits,
		       struct gild_error *err)
{
	for (uint32_t i = 0; i < bits->count; i++) {
		uint64_t need =
			entries[i] & QCOW2_OFFSET_MASK ? q->cluster_size : 0;

		if (!is_entry(q, entries[i], file_size) || need > *room) {
			fail_bitmap(bitmap, GILD_ERR_CORRUPT,
				    "has a table entry that leads nowhere",
				    err);
			return error_at(err, bitmap->table_offset + i * 8ULL);
		}
		*room -= need;
		bits->chunks[i].entry = entries[i];
		if (read_chunk(q, bits, i, err) < 0)
			return -1;
	}
	bits->stored = bits->count;
	qcow2_bits_clear_tail(bits);
	return 0;
}

struct qcow2_bits *qcow2_bitmap_load(struct qcow2 *q,
				     const struct qcow2_bitmap *bitmap,
				     uint64_t *room, struct gild_error *err)
{
	AUTO_FREE uint64_t *entries = NULL;
	struct qcow2_bits *bits;
	uint64_t file_size;

	if (qcow2_bitmap_check(q, bitmap, err) < 0 ||
	    storage_size(q->image.storage, &file_size, err) < 0)
		return NULL;
	entries = read_table(q, bitmap, file_size, room, err);
	if (!entries)
		return NULL;
	bits = qcow2_bits_new(q->header.size, bitmap->granularity_bits,
			      q->cluster_size, err);
	if (bits &&
	    read_chunks(q, bitmap, entries, file_size, room, bits, err) < 0) {
		qcow2_bits_free(bits);
		return NULL;
	}
	return bits;
}

/* ---------------------------------------------------------------- places -- */

static int add_place(struct qcow2_places *places, uint64_t offset,
		     uint64_t length, bool is_table, struct gild_error *err)
{
	size_t room = places->room ? places->room * 2 : 16;
	struct qcow2_place *list;

	if (places->count == places->room) {
		list = realloc(places->list, room * sizeof(*list));
		if (!list)
			return fail_nomem(err);
		places->list = list;
		places->room = room;
	}
	places->list[places->count++] = (struct qcow2_place){
		.offset = offset,
		.length = length,
		.is_table = is_table,
	};
	return 0;
}

/* Nothing in the file leads there. */
static void free_places(struct qcow2 *q, struct qcow2_places *places)
{
	for (size_t i = 0; i < places->count; i++) {
		const struct qcow2_place *place = &places->list[i];

		if (place->is_table)
			qcow2_guard_remove(q, place->offset, place->length);
		qcow2_alloc_undo(q, place->offset, place->length);
	}
	places->count = 0;
}

static void switch_free(struct qcow2_switch *change)
{
	free(change->fresh.list);
	free(change->old.list);
	*change = (struct qcow2_switch){ 0 };
}

void qcow2_switch_abandon(struct qcow2 *q, struct qcow2_switch *change)
{
	free_places(q, &change->fresh);
	switch_free(change);
}

/* Clusters in a row, which nothing leads to yet. */
static int new_place(struct qcow2 *q, uint64_t bytes, bool is_table,
		     struct qcow2_switch *change, uint64_t *offset,
		     struct gild_error *err)
{
	uint64_t clusters = div_round_up(bytes, q->cluster_size);

	if (qcow2_alloc_table(q, clusters, offset, err) < 0)
		return -1;
	if (add_place(&change->fresh, *offset, bytes, is_table, err) < 0) {
		qcow2_alloc_undo(q, *offset, bytes);
		return -1;
	}
	return is_table ? qcow2_guard_add(q, *offset, bytes, err) : 0;
}

/* --------------------------------------------------------------- writing -- */

static int leave_entry(struct qcow2 *q, uint64_t entry,
		       struct qcow2_switch *change, struct gild_error *err)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK;

	if (!offset)
		return 0;
	return add_place(&change->old, offset, q->cluster_size, false, err);
}

static int leave_table(const struct qcow2_bitmap *bitmap,
		       struct qcow2_switch *change, struct gild_error *err)
{
	if (!bitmap->table_offset || bitmap->astray)
		return 0;
	return add_place(&change->old, bitmap->table_offset,
			 table_bytes(bitmap), true, err);
}

/* A chunk's bytes get a cluster, unless the entry alone can say them. */
static int write_chunk(struct qcow2 *q, const struct qcow2_bits *bits,
		       uint32_t index, unsigned char *cluster,
		       struct qcow2_switch *change, uint64_t *entry,
		       struct gild_error *err)
{
	const struct qcow2_chunk *chunk = &bits->chunks[index];
	uint32_t length = qcow2_bits_chunk_bytes(bits, index);

	*entry = 0;
	if (chunk->bytes == qcow2_bits_full)
		*entry = QCOW2_BITMAP_ALL_ONES;
	if (!chunk->bytes || *entry || is_zero(chunk->bytes, length))
		return 0;
	memset(cluster, 0, q->cluster_size);
	memcpy(cluster, chunk->bytes, length);
	if (new_place(q, q->cluster_size, false, change, entry, err) < 0)
		return -1;
	return storage_write(q->image.storage, cluster, q->cluster_size, *entry,
			     err);
}

static int write_chunks(struct qcow2 *q, struct qcow2_bits *bits,
			struct qcow2_switch *change, struct gild_error *err)
{
	AUTO_FREE unsigned char *cluster = malloc(q->cluster_size);
	uint64_t entry;

	if (!cluster)
		return fail_nomem(err);
	for (uint32_t i = 0; i < bits->count; i++) {
		struct qcow2_chunk *chunk = &bits->chunks[i];

		if (!chunk->changed)
			continue;
		if (leave_entry(q, chunk->entry, change, err) < 0 ||
		    write_chunk(q, bits, i, cluster, change, &entry, err) < 0)
			return -1;
		chunk->entry = entry;
		chunk->changed = false;
	}
	for (uint32_t i = bits->count; i < bits->stored; i++)
		if (leave_entry(q, bits->chunks[i].entry, change, err) < 0)
			return -1;
	return 0;
}

static int write_table(struct qcow2 *q, const struct qcow2_bits *bits,
		       struct qcow2_switch *change, uint64_t *offset,
		       struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = malloc(bits->count * 8ULL);

	if (!bytes)
		return fail_nomem(err);
	for (uint32_t i = 0; i < bits->count; i++)
		store_be64(bytes + i * 8ULL, bits->chunks[i].entry);
	if (new_place(q, bits->count * 8ULL, true, change, offset, err) < 0)
		return -1;
	return storage_write(q->image.storage, bytes, bits->count * 8ULL,
			     *offset, err);
}

int qcow2_bitmap_write(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		       struct qcow2_switch *change, struct gild_error *err)
{
	struct qcow2_bits *bits = bitmap->bits;
	uint64_t offset;

	if (write_chunks(q, bits, change, err) < 0 ||
	    write_table(q, bits, change, &offset, err) < 0 ||
	    leave_table(bitmap, change, err) < 0)
		return -1;
	bitmap->table_offset = offset;
	bitmap->table_entries = bits->stored = bits->count;
	return 0;
}

/* One entry after the other as the file has it, which nobody vouches for. */
static int leave_stored(struct qcow2 *q, const struct qcow2_bitmap *bitmap,
			struct qcow2_switch *change, struct gild_error *err)
{
	AUTO_FREE uint64_t *entries = NULL;
	uint64_t file_size, room;

	if (storage_size(q->image.storage, &file_size, err) < 0)
		return -1;
	room = file_size;
	entries = read_table(q, bitmap, file_size, &room, err);
	if (!entries)
		return -1;
	for (uint32_t i = 0; i < bitmap->table_entries; i++)
		if (is_entry(q, entries[i], file_size) &&
		    leave_entry(q, entries[i], change, err) < 0)
			return -1;
	return 0;
}

int qcow2_bitmap_leave(struct qcow2 *q, const struct qcow2_bitmap *bitmap,
		       struct qcow2_switch *change, struct gild_error *err)
{
	struct gild_error why;

	if (bitmap->astray)
		return 0;
	if (leave_stored(q, bitmap, change, &why) < 0 &&
	    why.kind != GILD_ERR_CORRUPT) {
		if (err)
			*err = why;
		return -1;
	}
	return leave_table(bitmap, change, err);
}

/* ------------------------------------------------------------- switching -- */

static int write_directory(struct qcow2 *q, struct qcow2_header *header,
			   struct qcow2_switch *change, struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = NULL;
	uint64_t length, offset = 0;

	bytes = qcow2_bitmaps_encode(q->bitmaps, &length, err);
	if (!bytes)
		return -1;
	if (length &&
	    (new_place(q, length, true, change, &offset, err) < 0 ||
	     storage_write(q->image.storage, bytes, length, offset, err) < 0))
		return -1;
	header->has_bitmaps = length;
	header->bitmap_count = q->bitmaps->count;
	header->bitmap_directory_size = length;
	header->bitmap_directory_offset = offset;
	header->autoclear &= ~(uint64_t)QCOW2_AUTOCLEAR_BITMAPS;
	if (length)
		header->autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
	return 0;
}

static int leave_directory(struct qcow2 *q, struct qcow2_switch *change,
			   struct gild_error *err)
{
	const struct qcow2_header *header = &q->header;

	if (!header->has_bitmaps ||
	    !(header->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	return add_place(&change->old, header->bitmap_directory_offset,
			 header->bitmap_directory_size, true, err);
}

static int prepare_switch(struct qcow2 *q, struct qcow2_header *header,
			  struct qcow2_switch *change, struct gild_error *err)
{
	if (write_directory(q, header, change, err) < 0 ||
	    leave_directory(q, change, err) < 0)
		return -1;
	return qcow2_writeback(q, false, err);
}

/* *unknown: which of the two directories counts now cannot be told. */
static int switch_header(struct qcow2 *q, const struct qcow2_header *header,
			 bool *unknown, struct gild_error *err)
{
	struct gild_error why = { .kind = GILD_ERR_NONE };

	*unknown = false;
	if (qcow2_header_write(q->image.storage, header, &why) == 0 &&
	    qcow2_barrier(q, &why) == 0)
		return 0;
	/* Anything else is found out before the header is written. */
	*unknown = why.kind == GILD_ERR_IO;
	if (err)
		*err = why;
	return -1;
}

int qcow2_bitmaps_switch(struct qcow2 *q, struct qcow2_switch *change,
			 struct gild_error *err)
{
	struct qcow2_header header = q->header;
	bool unknown = false;

	if (prepare_switch(q, &header, change, err) < 0 ||
	    switch_header(q, &header, &unknown, err) < 0) {
		if (unknown) {
			q->broken = true;
			change->fresh.count = 0;
		}
		qcow2_switch_abandon(q, change);
		return -1;
	}
	q->header = header;
	free_places(q, &change->old);
	switch_free(change);
	return 0;
}

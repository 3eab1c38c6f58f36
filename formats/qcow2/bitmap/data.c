/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bits of a bitmap in the file: a table of one entry a cluster, each of
 * which leads to a cluster, or stands for zeros, or for ones. Judged, and read.
 * Specification: "Bitmap table", "Bitmap data".
 */
#include <stdlib.h>

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

static uint64_t table_bytes(const struct qcow2_bitmap *bitmap)
{
	return bitmap->table_entries * 8ULL;
}

uint64_t qcow2_bitmap_table_bytes(const struct qcow2 *q, uint64_t size,
				  uint32_t granularity_bits)
{
	return div_round_up(qcow2_bits_bytes(size, granularity_bits),
			    q->cluster_size) *
	       8;
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
	if (bytes > QCOW2_MAX_BITMAP_BYTES) {
		fail_bitmap(bitmap, GILD_ERR_RANGE, "takes more than 512 MiB",
			    err);
		return error_hint(err, "it can only be removed (gild bitmap "
				       "--remove)");
	}
	/* What is in memory was of the right size, and kept so. */
	if (!bitmap->bits &&
	    table_bytes(bitmap) !=
		    qcow2_bitmap_table_bytes(q, q->header.size,
					     bitmap->granularity_bits))
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

bool qcow2_bitmap_is_entry(const struct qcow2 *q, uint64_t entry,
			   uint64_t file_size)
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

int qcow2_room_whole(const struct qcow2 *q, struct qcow2_room *room,
		     struct gild_error *err)
{
	room->memory = QCOW2_MAX_BITMAP_MEMORY;
	if (storage_size(q->image.storage, &room->file, err) < 0)
		return -1;
	room->file = round_up(room->file, q->cluster_size);
	return 0;
}

static int take_memory(struct qcow2_room *room, uint64_t bytes,
		       struct gild_error *err)
{
	if (bytes > room->memory) {
		fail(err, GILD_ERR_RANGE, 0,
		     "the image's bitmaps would take more than 1 GiB of "
		     "memory");
		return error_hint(err, "disable or remove some of them (gild "
				       "bitmap)");
	}
	room->memory -= bytes;
	return 0;
}

uint64_t *qcow2_bitmap_read_table(struct qcow2 *q,
				  const struct qcow2_bitmap *bitmap,
				  uint64_t file_size, struct qcow2_room *room,
				  struct gild_error *err)
{
	AUTO_FREE uint64_t *entries = NULL;
	uint64_t bytes = table_bytes(bitmap);

	if (bitmap->astray || bytes > room->file ||
	    !is_inside(q, bitmap->table_offset, bytes, file_size)) {
		fail_bitmap(bitmap, GILD_ERR_CORRUPT,
			    "has a table where none can be", err);
		error_at(err, bitmap->table_offset);
		return NULL;
	}
	room->file -= bytes;
	if (take_memory(room, bytes, err) < 0)
		return NULL;
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

/* Zeros that are stored take no memory. */
static int read_cluster(struct qcow2 *q, struct qcow2_chunk *chunk,
			uint32_t length, struct gild_error *err)
{
	chunk->bytes = malloc(length);
	if (!chunk->bytes)
		return fail_nomem(err);
	if (storage_read(q->image.storage, chunk->bytes, length,
			 chunk->entry & QCOW2_OFFSET_MASK, err) < 0)
		return -1;
	if (is_zero(chunk->bytes, length)) {
		free(chunk->bytes);
		chunk->bytes = NULL;
	}
	return 0;
}

static int read_chunk(struct qcow2 *q, struct qcow2_bits *bits, uint32_t index,
		      struct qcow2_room *room, struct gild_error *err)
{
	struct qcow2_chunk *chunk = &bits->chunks[index];
	uint32_t length = qcow2_bits_chunk_bytes(bits, index);

	if (chunk->entry & QCOW2_OFFSET_MASK)
		return take_memory(room, length, err) < 0 ?
			       -1 :
			       read_cluster(q, chunk, length, err);
	if (chunk->entry & QCOW2_BITMAP_ALL_ONES)
		chunk->bytes = qcow2_bits_full;
	return 0;
}

static int read_chunks(struct qcow2 *q, const struct qcow2_bitmap *bitmap,
		       const uint64_t *entries, uint64_t file_size,
		       struct qcow2_room *room, struct qcow2_bits *bits,
		       struct gild_error *err)
{
	for (uint32_t i = 0; i < bits->count; i++) {
		uint64_t need =
			entries[i] & QCOW2_OFFSET_MASK ? q->cluster_size : 0;

		if (!qcow2_bitmap_is_entry(q, entries[i], file_size) ||
		    need > room->file) {
			fail_bitmap(bitmap, GILD_ERR_CORRUPT,
				    "has a table entry that leads nowhere",
				    err);
			return error_at(err, bitmap->table_offset + i * 8ULL);
		}
		room->file -= need;
		bits->chunks[i].entry = entries[i];
		if (read_chunk(q, bits, i, room, err) < 0)
			return -1;
	}
	bits->stored = bits->count;
	qcow2_bits_clear_tail(bits);
	return 0;
}

struct qcow2_bits *qcow2_bitmap_load(struct qcow2 *q,
				     const struct qcow2_bitmap *bitmap,
				     struct qcow2_room *room,
				     struct gild_error *err)
{
	AUTO_FREE uint64_t *entries = NULL;
	struct qcow2_bits *bits;
	uint64_t file_size;

	if (qcow2_bitmap_check(q, bitmap, err) < 0 ||
	    storage_size(q->image.storage, &file_size, err) < 0)
		return NULL;
	entries = qcow2_bitmap_read_table(q, bitmap, file_size, room, err);
	if (!entries ||
	    take_memory(room,
			bitmap->table_entries * sizeof(struct qcow2_chunk),
			err) < 0)
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

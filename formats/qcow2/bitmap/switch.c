/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Other bits, tables and directories in the file than those that are there:
 * new clusters, a new table and a new directory, then the switch of the header
 * (qcow2_bitmaps_switch), and only then what they replace is free.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/zeros.h"

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
			 bitmap->table_entries * 8ULL, true, err);
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
	struct qcow2_room room;
	uint64_t file_size;

	if (storage_size(q->image.storage, &file_size, err) < 0 ||
	    qcow2_room_whole(q, &room, err) < 0)
		return -1;
	entries = qcow2_bitmap_read_table(q, bitmap, file_size, &room, err);
	if (!entries)
		return -1;
	for (uint32_t i = 0; i < bitmap->table_entries; i++)
		if (qcow2_bitmap_is_entry(q, entries[i], file_size) &&
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

int qcow2_bitmaps_switch(struct qcow2 *q, struct qcow2_switch *change,
			 struct gild_error *err)
{
	struct qcow2_header header = q->header;

	if (prepare_switch(q, &header, change, err) < 0 ||
	    qcow2_put_header(q, &header, err) < 0) {
		/* The header may lead there. */
		if (q->broken)
			change->fresh.count = 0;
		qcow2_switch_abandon(q, change);
		return -1;
	}
	q->header = header;
	free_places(q, &change->old);
	switch_free(change);
	return 0;
}

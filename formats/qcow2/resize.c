/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A new virtual size. Growing may move the L1 table: the longer copy is on the
 * disk before the header is switched to it. Shrinking switches the header
 * first; what is beyond the end then loses its places, which leaks them if it
 * is interrupted.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"

static uint64_t entries_for(const struct qcow2 *q, uint64_t size)
{
	return div_round_up(size, (uint64_t)q->l2_entries << q->cluster_bits);
}

static int check_size(const struct qcow2 *q, uint64_t size,
		      struct gild_error *err)
{
	if (size <= QCOW2_MAX_SIZE &&
	    entries_for(q, size) * 8 <= QCOW2_MAX_L1_BYTES)
		return 0;
	fail(err, GILD_ERR_RANGE, 0,
	     "the disk would be too large for clusters of %u bytes",
	     q->cluster_size);
	return error_hint(err, "convert it to larger ones first: gild convert "
			       "-O qcow2 -o cluster_size=2M");
}

/* Those of version 2 do not record the size of their disk. A copy that is being
 * made is longer only for a while, so as to write VM state. */
static int check_snapshots(const struct qcow2 *q, uint32_t version,
			   struct gild_error *err)
{
	if (version >= 3 || !q->header.snapshot_count ||
	    q->image.coming_snapshots)
		return 0;
	fail(err, GILD_ERR_UNSUPPORTED, 0,
	     "a version 2 image that has snapshots keeps its size");
	return error_hint(err, "delete them first, or make it version 3 (amend "
			       "-o compat=1.1)");
}

static int switch_header(struct qcow2 *q, const struct qcow2_header *header,
			 struct gild_error *err)
{
	if (qcow2_switch_header(q, header, err) < 0)
		return -1;
	q->image.size = header->size;
	qcow2_bitmaps_resize(q, header->size);
	return 0;
}

static int longer_table(struct qcow2 *q, uint32_t count,
			struct qcow2_table *table, struct gild_error *err)
{
	uint64_t clusters = div_round_up(count * 8ULL, q->cluster_size);

	*table = (struct qcow2_table){
		.entries = calloc(count, 8),
		.count = count,
		.dirty_to = count,
	};
	if (!table->entries)
		return fail_nomem(err);
	memcpy(table->entries, q->l1.entries, q->l1.count * 8ULL);
	if (qcow2_alloc_table(q, clusters, &table->offset, err) < 0)
		return -1;
	return qcow2_guard_add(q, table->offset, count * 8ULL, err);
}

static int grow_l1(struct qcow2 *q, uint64_t size, struct gild_error *err)
{
	struct qcow2_table table, old = q->l1;
	struct qcow2_header header;

	/* The new table takes over what the old one has not written yet: that
	 * must not be there before what it points to. */
	if (qcow2_writeback(q, false, err) < 0)
		return -1;
	if (longer_table(q, (uint32_t)entries_for(q, size), &table, err) < 0 ||
	    qcow2_writeback(q, false, err) < 0 ||
	    qcow2_table_write(q, &table, err) < 0) {
		free(table.entries);
		return -1;
	}
	/* Not before: to make room the refcount table may have moved. */
	header = q->header;
	header.size = size;
	header.l1_entries = table.count;
	header.l1_offset = table.offset;
	if (switch_header(q, &header, err) < 0) {
		free(table.entries);
		return -1;
	}
	q->l1 = table;
	qcow2_guard_remove(q, old.offset, old.count * 8ULL);
	if (old.count)
		qcow2_alloc_undo(q, old.offset, old.count * 8ULL);
	free(old.entries);
	return 0;
}

static int change_size(struct qcow2 *q, uint64_t size, struct gild_error *err)
{
	struct qcow2_header header = q->header;

	if (qcow2_begin_metadata(q, err) < 0 ||
	    qcow2_bitmaps_begin_resize(q, size, err) < 0)
		return -1;
	header = q->header;
	header.size = size;
	if (entries_for(q, size) > q->l1.count)
		return grow_l1(q, size, err);
	return switch_header(q, &header, err);
}

/* A raw data file is as long as the disk. */
static int resize_data(struct qcow2 *q, uint64_t size, struct gild_error *err)
{
	return q->raw_data ? storage_truncate(q->data, size, false, err) : 0;
}

int qcow2_check_resize(const struct qcow2 *q, uint64_t size, uint32_t version,
		       struct gild_error *err)
{
	if (check_size(q, size, err) < 0)
		return -1;
	return check_snapshots(q, version, err);
}

int qcow2_resize(struct image *image, uint64_t size, struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t old = image->size;
	int ret;

	if (qcow2_check_resize(q, size, q->header.version, err) < 0)
		return -1;
	pthread_rwlock_wrlock(&q->lock);
	ret = change_size(q, size, err);
	pthread_rwlock_unlock(&q->lock);
	if (ret < 0)
		return -1;
	if (size < old && qcow2_drop(q, size, old, err) < 0)
		return -1;
	return q->data == image->storage ? 0 : resize_data(q, size, err);
}

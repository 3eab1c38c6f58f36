/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In which order changes reach the disk; the reasons stand in qcow2.h.
 *
 *     refcount blocks (and the data, which is in the file already)
 *       -- barrier --  refcount table entries of new blocks
 *       -- barrier --  L2 slices
 *       -- barrier --  L1 entries of new tables
 *       -- barrier --  what these unlinked is free
 *
 * A step without work costs no barrier. In a file that nobody can see yet
 * barriers do nothing: it is synced as a whole before it appears. With lazy
 * refcounts the blocks wait for the closing; the dirty bit says so.
 */
#include "formats/qcow2/bitmap/bitmap.h"

int qcow2_barrier(struct qcow2 *q, struct gild_error *err)
{
	if (q->image.unpublished)
		return 0;
	if ((q->data != q->image.storage && storage_flush(q->data, err) < 0) ||
	    storage_flush(q->image.storage, err) < 0) {
		/* The host may have dropped what it failed to write, and a
		 * second try would not tell. */
		q->broken = true;
		return -1;
	}
	return 0;
}

int qcow2_put_header(struct qcow2 *q, const struct qcow2_header *header,
		     struct gild_error *err)
{
	struct gild_error why = { .kind = GILD_ERR_NONE };
	int ret;

	if (q->image.unpublished)
		ret = qcow2_header_write_new(q->image.storage, header, &why);
	else
		ret = qcow2_header_write(q->image.storage, header, &why);
	/* The old one, or the new one? They lead to other tables. One that is
	 * too long was not written. */
	if (ret < 0) {
		q->broken = q->broken || why.kind == GILD_ERR_IO;
		if (err)
			*err = why;
		return -1;
	}
	return qcow2_barrier(q, err);
}

int qcow2_switch_header(struct qcow2 *q, const struct qcow2_header *header,
			struct gild_error *err)
{
	if (qcow2_barrier(q, err) < 0)
		return -1;
	if (qcow2_put_header(q, header, err) < 0) {
		q->broken = true;
		return -1;
	}
	q->header = *header;
	return 0;
}

static bool table_is_dirty(const struct qcow2_table *table)
{
	return table->dirty_from != table->dirty_to;
}

static int write_counts(struct qcow2 *q, bool closing, struct gild_error *err)
{
	if (q->marked_dirty && !closing)
		return 0;
	if (qcow2_cache_write(q, &q->ref_cache, err) < 0)
		return -1;
	if (!table_is_dirty(&q->reftable))
		return 0;
	if (qcow2_barrier(q, err) < 0)
		return -1;
	return qcow2_table_write(q, &q->reftable, err);
}

static int write_links(struct qcow2 *q, struct gild_error *err)
{
	if (!q->l2_cache.dirty && !table_is_dirty(&q->l1))
		return 0;
	if (qcow2_cache_write(q, &q->l2_cache, err) < 0)
		return -1;
	if (table_is_dirty(&q->l1) && (qcow2_barrier(q, err) < 0 ||
				       qcow2_table_write(q, &q->l1, err) < 0))
		return -1;
	return qcow2_barrier(q, err);
}

/* The counts are right again: the image needs no repair. */
static int clear_dirty_mark(struct qcow2 *q, struct gild_error *err)
{
	if (!q->marked_dirty)
		return 0;
	q->header.incompatible &= ~(uint64_t)QCOW2_INCOMPAT_DIRTY;
	if (qcow2_put_header(q, &q->header, err) < 0)
		return -1;
	q->marked_dirty = false;
	return 0;
}

static int finish(struct qcow2 *q, struct gild_error *err)
{
	if (write_counts(q, true, err) < 0 || qcow2_barrier(q, err) < 0)
		return -1;
	return clear_dirty_mark(q, err);
}

/* Compressed data may end anywhere: readers take whole sectors. Only when
 * nobody writes any more, or what was just appended would be cut off. */
static int pad_to_sector(struct qcow2 *q, struct gild_error *err)
{
	uint64_t size;

	if (!q->header_fit || q->image.skips_data)
		return 0;
	if (storage_size(q->image.storage, &size, err) < 0)
		return -1;
	if (!(size & 511))
		return 0;
	return storage_truncate(q->image.storage, (size | 511) + 1, false, err);
}

int qcow2_writeback(struct qcow2 *q, bool closing, struct gild_error *err)
{
	if (q->broken)
		return fail(err, GILD_ERR_IO, 0,
			    "an earlier write of metadata failed: what was "
			    "written since the last flush is lost");
	if (closing && pad_to_sector(q, err) < 0)
		return -1;
	if (write_counts(q, false, err) < 0 || qcow2_barrier(q, err) < 0 ||
	    write_links(q, err) < 0)
		return -1;
	qcow2_freed_unlinked(q);
	if (qcow2_freed_release(q, closing, err) < 0)
		return -1;
	return closing && q->header_fit ? finish(q, err) : 0;
}

/* A mark too many does no harm, so bitmaps need not wait for the data. Where
 * they fail to be stored the rest is brought to its end all the same. */
static int write_last(struct qcow2 *q, struct gild_error *err)
{
	int ret = q->broken ? 0 : qcow2_bitmaps_store(q, err);

	if (qcow2_writeback(q, true, ret ? NULL : err) < 0)
		ret = -1;
	return ret;
}

int qcow2_flush(struct image *image, bool closing, struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	int ret;

	pthread_mutex_lock(&q->flushing);
	/* Readers that hit the L2 cache go on meanwhile: a flush changes only
	 * what they do not look at. */
	if (closing)
		pthread_rwlock_wrlock(&q->lock);
	else
		pthread_rwlock_rdlock(&q->lock);
	ret = closing ? write_last(q, err) : qcow2_writeback(q, false, err);
	pthread_rwlock_unlock(&q->lock);
	pthread_mutex_unlock(&q->flushing);
	return ret;
}

/* The autoclear bits that still hold; a directory that makes no sense is
 * nothing to vouch for. */
static int lasting_bits(struct qcow2 *q, uint64_t *bits, struct gild_error *err)
{
	struct gild_error why = { .kind = GILD_ERR_NONE };

	*bits = q->raw_data ? QCOW2_AUTOCLEAR_RAW_DATA : 0;
	if (qcow2_bitmaps_open(q, &why) == 0) {
		*bits |= QCOW2_AUTOCLEAR_BITMAPS;
		return 0;
	}
	if (why.kind == GILD_ERR_CORRUPT)
		return 0;
	if (err)
		*err = why;
	return -1;
}

int qcow2_begin_metadata(struct qcow2 *q, struct gild_error *err)
{
	struct qcow2_header header = q->header;
	uint64_t lasting;

	if (q->broken)
		return qcow2_writeback(q, false, err);
	if (q->header_fit)
		return 0;
	if (qcow2_guard_fill(q, err) < 0 || lasting_bits(q, &lasting, err) < 0)
		return -1;
	header.autoclear &= lasting;
	if (header.compatible & QCOW2_COMPAT_LAZY_REFCOUNTS)
		header.incompatible |= QCOW2_INCOMPAT_DIRTY;
	if (header.autoclear != q->header.autoclear ||
	    header.incompatible != q->header.incompatible) {
		if (qcow2_put_header(q, &header, err) < 0)
			return -1;
		q->header = header;
		q->marked_dirty = header.incompatible & QCOW2_INCOMPAT_DIRTY;
	}
	q->header_fit = true;
	return 0;
}

int qcow2_begin_changes(struct qcow2 *q, struct gild_error *err)
{
	if (qcow2_begin_metadata(q, err) < 0)
		return -1;
	if (!q->prepared && qcow2_bitmaps_track(q, err) < 0)
		return -1;
	q->prepared = true;
	q->untracked = false;
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening and closing, and the driver's table. What the header says has been
 * judged by header.c; here it becomes a struct qcow2.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "formats/qcow2/snapshot/snapshot.h"
#include "util/bytes.h"
#include "util/cleanup.h"

#define SLICE_SIZE 4096U
#define L2_CACHE_BUDGET (16ULL << 20)
#define REF_CACHE_BUDGET (2ULL << 20)

static bool qcow2_probe(const unsigned char *head, size_t length)
{
	return length >= 8 && load_be32(head) == QCOW2_MAGIC &&
	       load_be32(head + 4) >= 2;
}

void qcow2_set_refcount_width(struct qcow2 *q)
{
	q->refcount_bits = 1U << q->header.refcount_order;
	q->refblock_entries = q->cluster_size * 8ULL / q->refcount_bits;
	q->refcount_max = UINT64_MAX >> (64 - q->refcount_bits);
}

static void set_geometry(struct qcow2 *q)
{
	const struct qcow2_header *h = &q->header;
	uint32_t slice;

	q->cluster_bits = h->cluster_bits;
	q->cluster_size = 1U << h->cluster_bits;
	q->extended_l2 = h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2;
	q->compression = h->compression;
	q->entry_size = q->extended_l2 ? 16 : 8;
	q->l2_entries = q->cluster_size / q->entry_size;
	slice = q->cluster_size < SLICE_SIZE ? q->cluster_size : SLICE_SIZE;
	q->l2_slice_entries = slice / q->entry_size;
	q->subcluster_size = q->extended_l2 ?
				     q->cluster_size / QCOW2_SUBCLUSTERS :
				     q->cluster_size;
	qcow2_set_refcount_width(q);
	q->raw_data = h->incompatible & QCOW2_INCOMPAT_DATA_FILE &&
		      h->autoclear & QCOW2_AUTOCLEAR_RAW_DATA;
	q->untracked = h->autoclear & QCOW2_AUTOCLEAR_BITMAPS;
}

static int set_image(struct qcow2 *q, struct gild_error *err)
{
	struct image *image = &q->image;
	const struct qcow2_header *h = &q->header;

	image->size = h->size;
	image->unit = q->subcluster_size;
	image->cluster_size = q->cluster_size;
	if (h->backing_name) {
		image->backing_name = strdup(h->backing_name);
		if (!image->backing_name)
			return fail_nomem(err);
	}
	if (h->backing_format) {
		image->backing_format = strdup(h->backing_format);
		if (!image->backing_format)
			return fail_nomem(err);
	}
	return 0;
}

static int check_usable(const struct qcow2 *q, struct gild_error *err)
{
	unsigned flags = q->image.flags;

	if (flags & GILD_OPEN_INSPECT)
		return 0;
	if (!(flags & GILD_OPEN_WRITE) || flags & GILD_OPEN_REPAIR)
		return 0;
	if (q->header.incompatible & QCOW2_INCOMPAT_CORRUPT) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "is marked corrupt and cannot be written");
		return error_hint(err, "gild check -r all repairs it");
	}
	return 0;
}

static int open_data_file(struct qcow2 *q, struct gild_error *err)
{
	q->data = q->image.storage;
	if (!(q->header.incompatible & QCOW2_INCOMPAT_DATA_FILE) ||
	    q->image.flags & GILD_OPEN_INSPECT)
		return 0;
	if (!q->header.data_file)
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "has a data file but does not name it");
	q->data = image_open_file(&q->image, q->header.data_file, err);
	return q->data ? 0 : -1;
}

static int read_tables(struct qcow2 *q, struct gild_error *err)
{
	uint32_t entries = q->header.reftable_clusters * (q->cluster_size / 8);

	if (qcow2_table_read(q, &q->l1, q->header.l1_offset,
			     q->header.l1_entries, err) < 0)
		return error_prefix(err, "L1 table: ");
	if (!(q->image.flags & GILD_OPEN_WRITE) || !entries)
		return 0;
	if (qcow2_table_read(q, &q->reftable, q->header.reftable_offset,
			     entries, err) < 0)
		return error_prefix(err, "refcount table: ");
	return 0;
}

static int init_caches(struct qcow2 *q, struct gild_error *err)
{
	uint32_t slice = q->l2_slice_entries * q->entry_size;

	if (qcow2_cache_init(&q->l2_cache, slice, L2_CACHE_BUDGET, err) < 0)
		return -1;
	return qcow2_cache_init(&q->ref_cache, slice, REF_CACHE_BUDGET, err);
}

/* A writer was killed: the counts are not to be relied on. */
static int repair_if_dirty(struct qcow2 *q, struct gild_error *err)
{
	if (!(q->header.incompatible & QCOW2_INCOMPAT_DIRTY) ||
	    !(q->image.flags & GILD_OPEN_WRITE) ||
	    q->image.flags & GILD_OPEN_REPAIR)
		return 0;
	return qcow2_check_repair_dirty(q, err);
}

/* A repair makes a new refcount table where the old one cannot be found. */
static int read_header(struct qcow2 *q, struct gild_error *err)
{
	if (q->image.flags & GILD_OPEN_REPAIR)
		return qcow2_header_read_for_repair(q->image.storage,
						    &q->header, err);
	return qcow2_header_read(q->image.storage, &q->header, err);
}

static int qcow2_open(struct image *image, struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);

	pthread_mutex_init(&q->flushing, NULL);
	pthread_rwlock_init(&q->lock, NULL);
	if (read_header(q, err) < 0)
		return -1;
	set_geometry(q);
	if (set_image(q, err) < 0 || check_usable(q, err) < 0 ||
	    qcow2_encryption_open(q, err) < 0 || open_data_file(q, err) < 0)
		return -1;
	if (image->flags & GILD_OPEN_INSPECT)
		return 0;
	if (read_tables(q, err) < 0 || init_caches(q, err) < 0)
		return -1;
	if (image->snapshot)
		return qcow2_snapshot_load(q, image->snapshot, err);
	return repair_if_dirty(q, err);
}

static void qcow2_close(struct image *image)
{
	struct qcow2 *q = qcow2_of(image);

	if (q->data != image->storage)
		storage_close(q->data);
	qcow2_cache_free(&q->l2_cache);
	qcow2_cache_free(&q->ref_cache);
	qcow2_bitmaps_forget(q);
	qcow2_guard_free(&q->guard);
	cipher_free(q->cipher);
	free(q->l1.entries);
	free(q->reftable.entries);
	free(q->freed);
	qcow2_header_free(&q->header);
	pthread_mutex_destroy(&q->flushing);
	pthread_rwlock_destroy(&q->lock);
}

int qcow2_reload(struct qcow2 *q, struct gild_error *err)
{
	qcow2_cache_drop(&q->l2_cache);
	qcow2_cache_drop(&q->ref_cache);
	qcow2_guard_free(&q->guard);
	q->freed_count = 0;
	q->free_hint = q->packed_end = 0;
	q->header_fit = q->prepared = false;
	/* What is being tracked is only here. */
	if (!q->tracking)
		qcow2_bitmaps_forget(q);
	return read_tables(q, err);
}

static long qcow2_compress_cluster(struct image *image, const void *source,
				   size_t length, void *target,
				   size_t target_size, struct gild_error *err)
{
	const struct qcow2 *q = qcow2_of(image);
	unsigned char *padded;
	long ret;

	if (length == q->cluster_size)
		return qcow2_compress(q->compression, q->level, source, length,
				      target, target_size, err);
	/* The last cluster of the disk is stored whole all the same. */
	padded = calloc(1, q->cluster_size);
	if (!padded)
		return fail_nomem(err);
	memcpy(padded, source, length);
	ret = qcow2_compress(q->compression, q->level, padded, q->cluster_size,
			     target, target_size, err);
	free(padded);
	return ret;
}

static int qcow2_configure(struct image *image,
			   const struct gild_option *options,
			   size_t option_count, struct gild_error *err)
{
	struct qcow2_options parsed;

	if (qcow2_options_parse(options, option_count, &parsed, err) < 0)
		return -1;
	qcow2_of(image)->level = parsed.level;
	return 0;
}

static int qcow2_read_backing(struct storage *storage, char **name,
			      struct gild_error *err)
{
	struct qcow2_header header;

	if (qcow2_header_read_for_repair(storage, &header, err) < 0)
		return -1;
	*name = steal_ptr(header.backing_name);
	qcow2_header_free(&header);
	return 0;
}

static struct storage *qcow2_data_storage(struct image *image)
{
	return qcow2_of(image)->data;
}

const struct format_ops qcow2_format = {
	.name = "qcow2",
	.create_help = qcow2_option_help,
	.amend_help = qcow2_amend_help,
	.probe = qcow2_probe,
	.backing = qcow2_read_backing,
	.struct_size = sizeof(struct qcow2),
	.open = qcow2_open,
	.close = qcow2_close,
	.flush = qcow2_flush,
	.map = qcow2_map,
	.prepare_write = qcow2_prepare_write,
	.prepare_compressed = qcow2_prepare_compressed,
	.commit_write = qcow2_commit_write,
	.abort_write = qcow2_abort_write,
	.compress = qcow2_compress_cluster,
	.read_compressed = qcow2_read_compressed,
	.zero = qcow2_zero,
	.discard = qcow2_discard,
	.configure = qcow2_configure,
	.data_storage = qcow2_data_storage,
	.resize = qcow2_resize,
	.snapshot = qcow2_snapshot_change,
	.wrote = qcow2_wrote,
	.bitmap = qcow2_bitmap_change,
	.snapshots = &qcow2_snapshot_ops,
	.empty = qcow2_empty,
	.set_backing = qcow2_set_backing,
	.amend = qcow2_amend,
	.key_area = qcow2_key_area,
	.info = qcow2_info,
	.check = qcow2_check,
	.create = qcow2_create,
	.measure = qcow2_measure,
	.measure_bitmaps = qcow2_measure_bitmaps,
};

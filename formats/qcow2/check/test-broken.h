/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For the tests of check: small images in memory, to be broken by hand.
 *
 *     header | refcount table | refcount blocks | L1 | L2 tables | data
 *     | snapshot table | snapshot's L1
 *
 * Data cluster i holds bytes of value i + 1. With a snapshot, everything below
 * the active L1 table is shared with it.
 */
#ifndef QCOW2_TEST_BROKEN_H
#define QCOW2_TEST_BROKEN_H

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/check/check.h"
#include "storage/faulty.h"
#include "util/bytes.h"

/* What to build; zeros: version 3, 512-byte clusters, 16-bit counts, 8 data
 * clusters. */
struct recipe {
	uint32_t version, cluster_bits, data;
	bool narrow; /* order stands: refcounts of 2^order bits */
	uint32_t order;
	bool snapshot, stale_bitmaps;
};

/* An image in memory; numbers of clusters. */
struct tiny {
	unsigned char *bytes;
	uint64_t length;
	uint32_t cluster_bits, cluster_size, order;
	uint32_t blocks, l1, tables, l2, data, first_data, total;
	uint32_t snapshots, snapshot_l1;
	uint64_t size; /* of the disk */
};

static inline uint64_t tiny_at(const struct tiny *t, uint64_t cluster)
{
	return cluster << t->cluster_bits;
}

static inline uint64_t tiny_get(const struct tiny *t, uint64_t offset)
{
	return load_be64(t->bytes + offset);
}

static inline void tiny_set(struct tiny *t, uint64_t offset, uint64_t value)
{
	store_be64(t->bytes + offset, value);
}

/* Where entries stand. */
static inline uint64_t tiny_l2_entry(const struct tiny *t, uint32_t index)
{
	return tiny_at(t, t->l2) + index * 8ULL;
}

static inline void tiny_set_count(struct tiny *t, uint64_t cluster,
				  uint64_t count)
{
	qcow2_refcount_encode(t->bytes + tiny_at(t, 2), t->order, cluster,
			      count);
}

static inline uint64_t tiny_count(const struct tiny *t, uint64_t cluster)
{
	return qcow2_refcount_decode(t->bytes + tiny_at(t, 2), t->order,
				     cluster);
}

static inline void tiny_layout(struct tiny *t, const struct recipe *recipe)
{
	uint32_t per_block, per_table;

	t->cluster_bits = recipe->cluster_bits ? recipe->cluster_bits : 9;
	t->cluster_size = 1U << t->cluster_bits;
	t->order = recipe->narrow ? recipe->order : 4;
	t->data = recipe->data ? recipe->data : 8;
	per_table = t->cluster_size / 8;
	per_block = (t->cluster_size * 8) >> t->order;
	t->tables = (t->data + per_table - 1) / per_table;
	for (t->blocks = 1;; t->blocks++) {
		t->l1 = 2 + t->blocks;
		t->l2 = t->l1 + 1;
		t->first_data = t->l2 + t->tables;
		t->snapshots = t->first_data + t->data;
		t->snapshot_l1 = t->snapshots + 1;
		t->total = t->snapshots + (recipe->snapshot ? 2 : 0);
		if (t->total <= t->blocks * per_block)
			break;
	}
	t->size = tiny_at(t, t->data);
	t->length = tiny_at(t, t->total);
}

static inline void tiny_put_tables(struct tiny *t, bool snapshot)
{
	uint64_t copied = snapshot ? 0 : QCOW2_COPIED;

	for (uint32_t i = 0; i < t->blocks; i++)
		tiny_set(t, tiny_at(t, 1) + i * 8ULL, tiny_at(t, 2 + i));
	for (uint32_t i = 0; i < t->tables; i++)
		tiny_set(t, tiny_at(t, t->l1) + i * 8ULL,
			 tiny_at(t, t->l2 + i) | copied);
	for (uint32_t i = 0; i < t->data; i++) {
		tiny_set(t, tiny_l2_entry(t, i),
			 tiny_at(t, t->first_data + i) | copied);
		memset(t->bytes + tiny_at(t, t->first_data + i), (int)i + 1,
		       t->cluster_size);
	}
	for (uint32_t i = 0; i < t->total; i++)
		tiny_set_count(t, i,
			       snapshot && i >= t->l2 && i < t->snapshots ? 2 :
									    1);
}

static inline void tiny_put_snapshot(struct tiny *t)
{
	unsigned char *entry = t->bytes + tiny_at(t, t->snapshots);

	store_be64(entry, tiny_at(t, t->snapshot_l1));
	store_be32(entry + 8, t->tables);
	store_be16(entry + 12, 1);  /* of the id */
	store_be16(entry + 14, 4);  /* of the name */
	store_be32(entry + 36, 16); /* of the extra data */
	store_be64(entry + 48, t->size);
	memcpy(entry + 56, "1name", 5);
	memcpy(t->bytes + tiny_at(t, t->snapshot_l1),
	       t->bytes + tiny_at(t, t->l1), t->tables * 8ULL);
}

static inline void tiny_put_header(struct tiny *t, const struct recipe *recipe)
{
	struct qcow2_header header = {
		.version = recipe->version ? recipe->version : 3,
		.cluster_bits = t->cluster_bits,
		.size = t->size,
		.l1_entries = t->tables,
		.l1_offset = tiny_at(t, t->l1),
		.reftable_offset = tiny_at(t, 1),
		.reftable_clusters = 1,
		.snapshot_count = recipe->snapshot,
		.snapshots_offset =
			recipe->snapshot ? tiny_at(t, t->snapshots) : 0,
		.refcount_order = t->order,
		.length = 112,
		.has_bitmaps = recipe->stale_bitmaps,
		.bitmap_count = 1,
		.bitmap_directory_size = 32,
		.bitmap_directory_offset = tiny_at(t, t->total - 1),
	};
	struct storage *storage = faulty_new(t->bytes, t->length, NULL);
	const void *content;
	uint64_t length;

	cr_assert_eq(qcow2_header_write(storage, &header, NULL), 0);
	content = faulty_content(storage, &length);
	cr_assert_eq(length, t->length);
	memcpy(t->bytes, content, length);
	storage_close(storage);
}

/* Free with free(t->bytes). */
static inline void tiny_make(struct tiny *t, const struct recipe *recipe)
{
	*t = (struct tiny){ 0 };
	tiny_layout(t, recipe);
	t->bytes = calloc(1, t->length);
	cr_assert_not_null(t->bytes);
	tiny_put_tables(t, recipe->snapshot);
	if (recipe->snapshot)
		tiny_put_snapshot(t);
	tiny_put_header(t, recipe);
}

/* --- opening it ----------------------------------------------------------- */

static inline struct image *tiny_open(const void *bytes, uint64_t length,
				      unsigned flags, struct gild_error *err)
{
	const struct gild_open_options options = {
		.format = "qcow2",
		.flags = flags,
	};
	struct storage *storage = faulty_new(bytes, length, err);

	cr_assert_not_null(storage);
	return image_open_storage(storage, &options, err);
}

#define TO_CHECK 0U
#define TO_REPAIR ((unsigned)(GILD_OPEN_WRITE | GILD_OPEN_REPAIR))

/* Check an image of these bytes, without changing them. */
static inline int tiny_look(const void *bytes, uint64_t length,
			    struct gild_check_result *result)
{
	struct gild_error err = { 0 };
	struct image *image = tiny_open(bytes, length, GILD_OPEN_REPAIR, &err);
	int ret;

	*result = (struct gild_check_result){ .report = result->report,
					      .opaque = result->opaque };
	cr_assert_not_null(image, "%s", err.message);
	ret = qcow2_check(image, 0, result, &err);
	image_free(image);
	return ret;
}

/* What the guest sees; the caller frees. NULL where it cannot be read. */
static inline unsigned char *tiny_content(const void *bytes, uint64_t length,
					  uint64_t size)
{
	struct image *image = tiny_open(bytes, length, GILD_OPEN_REPAIR, NULL);
	unsigned char *content = malloc(size);

	cr_assert_not_null(image);
	if (image_read(image, content, size, 0, NULL) < 0) {
		free(content);
		content = NULL;
	}
	image_free(image);
	return content;
}

/* --- ways to break it ----------------------------------------------------- */

struct broken {
	const char *name;
	struct recipe recipe;
	void (*harm)(struct tiny *t);
	uint64_t corruptions, leaks, errors;
};

static inline void harm_nothing(struct tiny *t)
{
	(void)t;
}

static inline void harm_leak(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 3), 0);
}

static inline void harm_count_high(struct tiny *t)
{
	tiny_set_count(t, t->first_data, 3); /* and COPIED is wrong */
}

static inline void harm_count_zero(struct tiny *t)
{
	tiny_set_count(t, t->first_data + 1, 0);
}

static inline void harm_l2_count_zero(struct tiny *t)
{
	tiny_set_count(t, t->l2, 0);
}

static inline void harm_shared_data(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 7), tiny_get(t, tiny_l2_entry(t, 6)));
}

static inline void harm_copied(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 2),
		 tiny_get(t, tiny_l2_entry(t, 2)) ^ QCOW2_COPIED);
}

static inline void harm_l1_copied(struct tiny *t)
{
	tiny_set(t, tiny_at(t, t->l1),
		 tiny_get(t, tiny_at(t, t->l1)) ^ QCOW2_COPIED);
}

static inline void harm_l2_reserved(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 0), tiny_get(t, tiny_l2_entry(t, 0)) | 2);
}

static inline void harm_l1_reserved(struct tiny *t)
{
	tiny_set(t, tiny_at(t, t->l1), tiny_get(t, tiny_at(t, t->l1)) | 1);
}

static inline void harm_data_outside(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 0), tiny_at(t, t->total + 100));
}

static inline void harm_data_unaligned(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 0),
		 tiny_get(t, tiny_l2_entry(t, 0)) + 512);
}

static inline void harm_zero_unaligned(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 0),
		 (tiny_get(t, tiny_l2_entry(t, 0)) + 512) | QCOW2_ZERO);
}

static inline void harm_zero_in_v2(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 0),
		 tiny_get(t, tiny_l2_entry(t, 0)) | QCOW2_ZERO);
}

static inline void harm_compressed_copied(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 0),
		 tiny_at(t, t->first_data) | QCOW2_COMPRESSED | QCOW2_COPIED);
}

static inline void harm_compressed_outside(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 0),
		 tiny_at(t, t->total + 5) | QCOW2_COMPRESSED);
}

static inline void harm_data_is_l1(struct tiny *t)
{
	tiny_set(t, tiny_l2_entry(t, 0), tiny_at(t, t->l1) | QCOW2_COPIED);
}

static inline void harm_l2_is_l1(struct tiny *t)
{
	tiny_set(t, tiny_at(t, t->l1), tiny_at(t, t->l1) | QCOW2_COPIED);
}

static inline void harm_l2_is_data(struct tiny *t)
{
	tiny_set(t, tiny_at(t, t->l1), tiny_at(t, t->first_data));
}

static inline void harm_l2_outside(struct tiny *t)
{
	tiny_set(t, tiny_at(t, t->l1), tiny_at(t, t->total + 9) | QCOW2_COPIED);
}

static inline void harm_l2_unaligned(struct tiny *t)
{
	tiny_set(t, tiny_at(t, t->l1), tiny_get(t, tiny_at(t, t->l1)) + 512);
}

static inline void harm_l1_nowhere(struct tiny *t)
{
	tiny_set(t, tiny_at(t, t->l1), QCOW2_COPIED);
}

static inline void harm_block_gone(struct tiny *t)
{
	tiny_set(t, tiny_at(t, 1), 0);
}

static inline void harm_block_reserved(struct tiny *t)
{
	tiny_set(t, tiny_at(t, 1), tiny_at(t, 2) | 1);
}

static inline void harm_block_unaligned(struct tiny *t)
{
	tiny_set(t, tiny_at(t, 1), tiny_at(t, 2) + 512);
}

static inline void harm_block_outside(struct tiny *t)
{
	tiny_set(t, tiny_at(t, 1) + 8, tiny_at(t, t->total + 50));
}

static inline void harm_block_twice(struct tiny *t)
{
	tiny_set(t, tiny_at(t, 1) + 8, tiny_at(t, 2));
}

static inline void harm_block_is_data(struct tiny *t)
{
	tiny_set(t, tiny_at(t, 1) + 8, tiny_at(t, t->first_data));
}

static inline void harm_table_lost(struct tiny *t)
{
	tiny_set(t, 48, tiny_at(t, 5000));
}

static inline void harm_snapshot_l1_unaligned(struct tiny *t)
{
	tiny_set(t, tiny_at(t, t->snapshots), tiny_at(t, t->snapshot_l1) + 8);
}

static inline void harm_snapshot_l1_large(struct tiny *t)
{
	store_be32(t->bytes + tiny_at(t, t->snapshots) + 8, 0x7fffffff);
}

static inline void harm_snapshot_l1_outside(struct tiny *t)
{
	tiny_set(t, tiny_at(t, t->snapshots), tiny_at(t, 999));
}

static inline void harm_snapshot_incomplete(struct tiny *t)
{
	store_be32(t->bytes + tiny_at(t, t->snapshots) + 36, 0);
}

static inline void harm_snapshot_endless(struct tiny *t)
{
	store_be32(t->bytes + tiny_at(t, t->snapshots) + 36, 0xfffffff0);
}

static inline void harm_snapshot_l2(struct tiny *t)
{
	tiny_set(t, tiny_at(t, t->snapshot_l1), 0);
}

#endif

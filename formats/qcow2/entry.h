/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * L2 entries: what 8 (or, extended, 16) bytes say. Specification: "L2 table
 * entry", "Extended L2 Entries", "Standard Cluster Descriptor", "Compressed
 * Clusters Descriptor".
 *
 * The extended bitmap has a bit per subcluster: 0 to 31 "allocated", 32 to 63
 * "reads as zeros".
 */
#ifndef QCOW2_ENTRY_H
#define QCOW2_ENTRY_H

#include "formats/qcow2/qcow2.h"
#include "util/bytes.h"

struct qcow2_entry {
	uint64_t word;	 /* the descriptor */
	uint64_t bitmap; /* extended only, else 0 */
};

static inline struct qcow2_entry
entry_load(const struct qcow2 *q, const unsigned char *slice, uint64_t index)
{
	const unsigned char *at = slice + index * q->entry_size;

	return (struct qcow2_entry){
		.word = load_be64(at),
		.bitmap = q->extended_l2 ? load_be64(at + 8) : 0,
	};
}

static inline void entry_store(const struct qcow2 *q, unsigned char *slice,
			       uint64_t index, struct qcow2_entry entry)
{
	unsigned char *at = slice + index * q->entry_size;

	store_be64(at, entry.word);
	if (q->extended_l2)
		store_be64(at + 8, entry.bitmap);
}

static inline bool entry_is_compressed(struct qcow2_entry entry)
{
	return entry.word & QCOW2_COMPRESSED;
}

static inline uint64_t entry_offset(struct qcow2_entry entry)
{
	return entry.word & QCOW2_OFFSET_MASK;
}

static inline bool entry_is_copied(struct qcow2_entry entry)
{
	return entry.word & QCOW2_COPIED;
}

/* Does it own a host cluster? In a data file offset 0 is a place like any. */
static inline bool entry_has_cluster(const struct qcow2 *q,
				     struct qcow2_entry entry)
{
	if (entry_is_compressed(entry))
		return false;
	return entry_offset(entry) ||
	       (q->data != q->image.storage && entry_is_copied(entry));
}

/* Bits of the descriptor that hold a compressed cluster's offset. */
static inline unsigned compressed_offset_bits(const struct qcow2 *q)
{
	return 62 - (q->cluster_bits - 8);
}

static inline uint64_t compressed_offset(const struct qcow2 *q,
					 struct qcow2_entry entry)
{
	return entry.word & ((1ULL << compressed_offset_bits(q)) - 1);
}

/* Stored bytes at most: the descriptor counts sectors, the first one from
 * where the data begins in it. */
static inline uint32_t compressed_length(const struct qcow2 *q,
					 struct qcow2_entry entry)
{
	unsigned bits = compressed_offset_bits(q);
	uint64_t sectors = (entry.word & (QCOW2_COMPRESSED - 1)) >> bits;

	return (uint32_t)((sectors + 1) * 512 -
			  (compressed_offset(q, entry) & 511));
}

static inline struct qcow2_entry
compressed_entry(const struct qcow2 *q, uint64_t offset, uint32_t length)
{
	uint64_t sectors = ((offset + length - 1) >> 9) - (offset >> 9);

	return (struct qcow2_entry){
		.word = QCOW2_COMPRESSED | offset |
			sectors << compressed_offset_bits(q),
	};
}

/* The host clusters that an entry refers to: *first and how many. */
static inline uint64_t entry_clusters(const struct qcow2 *q,
				      struct qcow2_entry entry, uint64_t *first)
{
	uint64_t offset = entry_offset(entry), last;

	if (!entry_is_compressed(entry)) {
		*first = offset >> q->cluster_bits;
		return offset != 0;
	}
	offset = compressed_offset(q, entry);
	last = offset + compressed_length(q, entry) - 1;
	*first = offset >> q->cluster_bits;
	return (last >> q->cluster_bits) - *first + 1;
}

/* What a (sub)cluster is. */
enum entry_kind {
	ENTRY_UNALLOCATED,
	ENTRY_DATA,
	ENTRY_ZERO,	  /* without a host cluster */
	ENTRY_ZERO_ALLOC, /* with one */
	ENTRY_COMPRESSED,
	ENTRY_INVALID,
};

/* sub: index of the subcluster; 0 where there are none. */
static inline enum entry_kind entry_kind(const struct qcow2 *q,
					 struct qcow2_entry entry, unsigned sub)
{
	bool has_cluster, allocated, zero;

	if (entry_is_compressed(entry))
		return ENTRY_COMPRESSED;
	has_cluster = entry_has_cluster(q, entry);
	if (q->extended_l2) {
		allocated = entry.bitmap >> sub & 1;
		zero = entry.bitmap >> (32 + sub) & 1;
		if ((allocated && (zero || !has_cluster)))
			return ENTRY_INVALID;
	} else {
		zero = entry.word & QCOW2_ZERO;
		allocated = has_cluster && !zero;
		if (zero && q->header.version < 3)
			return ENTRY_INVALID;
	}
	if (zero)
		return has_cluster ? ENTRY_ZERO_ALLOC : ENTRY_ZERO;
	return allocated ? ENTRY_DATA : ENTRY_UNALLOCATED;
}

/* Where a guest offset's entry is. */
struct l2_position {
	uint32_t l1_index;
	uint32_t slice_index; /* of the slice within the table */
	uint32_t index;	      /* of the entry within the slice */
};

static inline struct l2_position l2_position(const struct qcow2 *q,
					     uint64_t guest)
{
	uint64_t cluster = guest >> q->cluster_bits;
	uint32_t in_table = (uint32_t)(cluster & (q->l2_entries - 1));

	return (struct l2_position){
		.l1_index = (uint32_t)(cluster / q->l2_entries),
		.slice_index = in_table / q->l2_slice_entries,
		.index = in_table & (q->l2_slice_entries - 1),
	};
}

static inline uint64_t slice_offset(const struct qcow2 *q, uint64_t table,
				    struct l2_position at)
{
	return table + (uint64_t)at.slice_index * q->l2_cache.slice_size;
}

#endif

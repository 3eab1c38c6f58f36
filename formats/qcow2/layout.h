/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the parts of a fresh image go, in clusters; create.c writes them there,
 * measure.c only wants to know how many there are.
 *
 *     header | refcount table | first refcount block | L1 table
 *     | encryption header | other refcount blocks | L2 tables | data
 *
 * With 64 KiB clusters the first four start at 0, 0x10000, 0x20000 and 0x30000,
 * where tools that poke around in images expect them.
 */
#ifndef QCOW2_LAYOUT_H
#define QCOW2_LAYOUT_H

#include "formats/qcow2/qcow2.h"

struct qcow2_layout {
	uint64_t size; /* of the disk, a multiple of 512 */
	uint32_t cluster_bits, refcount_order;
	uint32_t entry_size;	 /* of an L2 entry: 8 or 16 */
	uint64_t guest_clusters; /* of the disk, the last one may be cut */
	uint64_t l1_entries;
	/* How many clusters each part has. */
	uint64_t reftable, refblocks, l1, crypto, l2_tables, data;
	uint64_t total;
};

enum {
	QCOW2_LAYOUT_TABLES = 1 << 0, /* all L2 tables are there */
	QCOW2_LAYOUT_DATA = 1 << 1,   /* and all data clusters */
};

/* GILD_ERR_RANGE where the disk is too large for the cluster size. */
int qcow2_layout_make(uint64_t size, const struct qcow2_options *options,
		      unsigned parts, struct qcow2_layout *layout,
		      struct gild_error *err);

/* Counts in one refcount block. */
static inline uint64_t qcow2_layout_counts(const struct qcow2_layout *layout)
{
	return 8ULL << layout->cluster_bits >> layout->refcount_order;
}

#endif

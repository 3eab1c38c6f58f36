/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counting the clusters of a fresh image. Refcount blocks count themselves and
 * the table that points to them, so their number is found by trying again
 * until it is enough.
 */
#include "formats/qcow2/layout.h"

#include "util/bytes.h"

static uint32_t log2_of(uint32_t power_of_2)
{
	return (uint32_t)__builtin_ctz(power_of_2);
}

/* Clusters that so many table entries of 8 bytes fill. */
static uint64_t table_clusters(const struct qcow2_layout *layout,
			       uint64_t entries)
{
	return div_round_up(entries, 1ULL << layout->cluster_bits >> 3);
}

/* The largest disk whose L1 table has its largest size. */
static uint64_t most_bytes(const struct qcow2_layout *layout)
{
	uint64_t l1_entries = QCOW2_MAX_L1_BYTES / 8;
	uint64_t per_table = 1ULL << (2 * layout->cluster_bits);

	return min_u64(l1_entries * (per_table / layout->entry_size),
		       QCOW2_MAX_SIZE);
}

static int check_size(const struct qcow2_layout *layout, uint64_t size,
		      struct gild_error *err)
{
	uint64_t most = most_bytes(layout);

	if (size <= most)
		return 0;
	fail(err, GILD_ERR_RANGE, 0,
	     "a disk of %ju bytes is too large: with clusters of %u bytes it can have %ju",
	     (uintmax_t)size, 1U << layout->cluster_bits, (uintmax_t)most);
	return error_hint(err, "try a larger cluster_size (at most 2M)");
}

static void count_refcounts(struct qcow2_layout *layout)
{
	uint64_t others = 1 + layout->l1 + layout->crypto + layout->l2_tables +
			  layout->data;
	uint64_t needed = 1;

	do {
		layout->refblocks = needed;
		layout->reftable = table_clusters(layout, needed);
		layout->total = others + layout->reftable + layout->refblocks;
		needed = div_round_up(layout->total,
				      qcow2_layout_counts(layout));
	} while (needed > layout->refblocks);
}

int qcow2_layout_make(uint64_t size, const struct qcow2_options *options,
		      unsigned parts, struct qcow2_layout *layout,
		      struct gild_error *err)
{
	uint64_t tables;

	*layout = (struct qcow2_layout){
		.cluster_bits = log2_of(options->cluster_size),
		.refcount_order = log2_of(options->refcount_bits),
		.entry_size = options->extended_l2 ? 16 : 8,
	};
	if (check_size(layout, size, err) < 0)
		return -1;
	layout->size = round_up(size, 512);
	layout->guest_clusters =
		div_round_up(layout->size, options->cluster_size);
	tables = div_round_up(layout->guest_clusters,
			      options->cluster_size / layout->entry_size);
	layout->l1_entries = tables;
	layout->l1 = table_clusters(layout, tables);
	if (options->crypt_method == QCOW2_CRYPT_LUKS)
		layout->crypto = div_round_up(luks_fresh_length(&options->luks),
					      options->cluster_size);
	if (parts & QCOW2_LAYOUT_TABLES)
		layout->l2_tables = tables;
	if (parts & QCOW2_LAYOUT_DATA)
		layout->data = layout->guest_clusters;
	count_refcounts(layout);
	return 0;
}

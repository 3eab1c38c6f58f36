/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How large an image gets: all the metadata of a full disk, and the clusters
 * that are in use. The numbers are those of "qemu-img measure": data that an
 * external file would hold is counted, too, and L2 tables are counted as if all
 * of them were needed.
 */
#include "formats/qcow2/layout.h"

#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "util/bytes.h"

int qcow2_measure(uint64_t size, uint64_t allocated_bytes,
		  const struct gild_option *options, size_t option_count,
		  struct gild_measurement *result, struct gild_error *err)
{
	struct qcow2_options parsed;
	struct qcow2_layout layout;
	uint64_t metadata, used;

	if (qcow2_options_parse(options, option_count, &parsed, err) < 0 ||
	    qcow2_layout_make(size, &parsed,
			      QCOW2_LAYOUT_TABLES | QCOW2_LAYOUT_DATA, &layout,
			      err) < 0)
		return -1;
	metadata = layout.total - layout.data;
	used = div_round_up(allocated_bytes, parsed.cluster_size);
	if (used > layout.data || parsed.preallocation >= QCOW2_PREALLOC_FALLOC)
		used = layout.data;
	*result = (struct gild_measurement){
		.required = (metadata + used) << layout.cluster_bits,
		.fully_allocated = layout.total << layout.cluster_bits,
	};
	return 0;
}

/* Each as if all of it were marked. */
static uint64_t bitmap_clusters(uint64_t size, const struct gild_bitmap *bitmap,
				uint64_t cluster_size)
{
	uint64_t bits = div_round_up(size, bitmap->granularity);
	uint64_t data = div_round_up(div_round_up(bits, 8), cluster_size);

	return data + div_round_up(data * 8, cluster_size);
}

int qcow2_measure_bitmaps(const struct gild_info *source,
			  const struct gild_option *options,
			  size_t option_count, struct gild_measurement *result,
			  struct gild_error *err)
{
	struct qcow2_options parsed;
	uint64_t directory = 0, clusters = 0;

	if (qcow2_options_parse(options, option_count, &parsed, err) < 0)
		return -1;
	if (parsed.version < 3 || !source->has_bitmaps)
		return 0;
	for (size_t i = 0; i < source->bitmap_count; i++) {
		clusters += bitmap_clusters(source->virtual_size,
					    &source->bitmaps[i],
					    parsed.cluster_size);
		directory += qcow2_bitmap_entry_bytes(
			strlen(source->bitmaps[i].name), 0);
	}
	clusters += div_round_up(directory, parsed.cluster_size);
	result->bitmaps = clusters * parsed.cluster_size;
	result->has_bitmaps = true;
	return 0;
}

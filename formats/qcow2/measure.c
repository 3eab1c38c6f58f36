/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How large an image gets: all the metadata of a full disk, and the clusters
 * that are in use. The numbers are those of "qemu-img measure": data that an
 * external file would hold is counted, too, and L2 tables are counted as if all
 * of them were needed.
 */
#include "formats/qcow2/layout.h"

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

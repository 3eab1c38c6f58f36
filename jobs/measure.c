/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How large an image would be: how much of the source is in use, in units of
 * the target's clusters; the format knows what that takes.
 */
#include "formats/image.h"
#include "util/bytes.h"

#define DEFAULT_UNIT 65536

static int target_unit(const struct gild_option *options, size_t count,
		       uint64_t *unit, struct gild_error *err)
{
	*unit = DEFAULT_UNIT;
	if (option_size(options, count, "cluster_size", unit, err) < 0)
		return -1;
	if (!is_power_of_2(*unit))
		return fail(err, GILD_ERR_INVALID, 0,
			    "cluster size must be a power of two");
	return 0;
}

/* Bytes of the units that hold any data, each counted once. */
static int count_used(struct image *image, uint64_t unit, uint64_t *used,
		      struct gild_error *err)
{
	uint64_t counted = 0, start, end;
	struct image *layer;
	struct extent extent;

	*used = 0;
	for (uint64_t at = 0; at < image->size; at += extent.length) {
		if (chain_map_deep(image, at, image->size - at, &extent, &layer,
				   err) < 0)
			return -1;
		if (extent.kind == EXTENT_ZERO)
			continue;
		start = max_u64(counted, round_down(at, unit));
		end = round_up(at + extent.length, unit);
		if (end > start)
			*used += end - start;
		counted = max_u64(counted, end);
	}
	return 0;
}

static int measure_bitmaps(struct gild_image *source,
			   const struct format_ops *ops,
			   const struct gild_option *options,
			   size_t option_count, struct gild_measurement *result,
			   struct gild_error *err)
{
	struct gild_info *info;
	int ret;

	if (!source || !ops->measure_bitmaps)
		return 0;
	info = gild_info(source, err);
	if (!info)
		return -1;
	ret = ops->measure_bitmaps(info, options, option_count, result, err);
	gild_info_free(info);
	return ret;
}

int gild_measure(struct gild_image *source, uint64_t size, const char *format,
		 const struct gild_option *options, size_t option_count,
		 struct gild_measurement *result, struct gild_error *err)
{
	const struct format_ops *ops = registry_want(format, err);
	uint64_t used = 0, unit;

	*result = (struct gild_measurement){ 0 };
	if (!ops)
		return -1;
	if (!ops->measure)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "format \"%s\" cannot be measured", format);
	if (target_unit(options, option_count, &unit, err) < 0)
		return -1;
	if (source) {
		size = gild_size(source);
		if (count_used(image_of(source), unit, &used, err) < 0)
			return -1;
	}
	if (ops->measure(size, used, options, option_count, result, err) < 0)
		return -1;
	return measure_bitmaps(source, ops, options, option_count, result, err);
}

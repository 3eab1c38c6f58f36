/* SPDX-License-Identifier: BSD-3-Clause */
/* The bitmaps of an image: for programs, and as qemu-img shows them. */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/bitmap/bitmap.h"
#include "formats/qcow2/info/parts.h"

static int show_flags(struct gild_value *to, const struct qcow2_bitmap *bitmap)
{
	struct gild_value *list = value_add_tree(to, "flags", GILD_VALUE_LIST);

	if (!list)
		return -1;
	if (bitmap->flags & QCOW2_BITMAP_IN_USE &&
	    value_add_string(list, NULL, "in-use") < 0)
		return -1;
	return bitmap->flags & QCOW2_BITMAP_AUTO ?
		       value_add_string(list, NULL, "auto") :
		       0;
}

static int show(struct gild_value *list, const struct qcow2_bitmap *bitmap)
{
	struct gild_value *to = value_add_tree(list, NULL, GILD_VALUE_OBJECT);

	if (!to || show_flags(to, bitmap) < 0 ||
	    value_add_string(to, "name", bitmap->name) < 0)
		return -1;
	return value_add_number(to, "granularity",
				1ULL << bitmap->granularity_bits);
}

static int add_bitmap(struct gild_info *info, const struct qcow2_bitmap *bitmap)
{
	struct gild_bitmap *to = &info->bitmaps[info->bitmap_count];

	*to = (struct gild_bitmap){
		.name = strdup(bitmap->name),
		.granularity = 1ULL << bitmap->granularity_bits,
		.enabled = bitmap->flags & QCOW2_BITMAP_AUTO,
		.inconsistent = bitmap->flags & QCOW2_BITMAP_IN_USE,
	};
	if (!to->name)
		return -1;
	info->bitmap_count++;
	return 0;
}

static int describe(const struct qcow2_bitmaps *bitmaps, struct gild_info *info,
		    struct gild_value *specific)
{
	struct gild_value *list;

	if (!bitmaps->count)
		return 0;
	list = value_add_tree(specific, "bitmaps", GILD_VALUE_LIST);
	info->bitmaps = calloc(bitmaps->count, sizeof(*info->bitmaps));
	if (!list || !info->bitmaps)
		return -1;
	for (uint32_t i = 0; i < bitmaps->count; i++)
		if (show(list, &bitmaps->list[i]) < 0 ||
		    add_bitmap(info, &bitmaps->list[i]) < 0)
			return -1;
	return 0;
}

int qcow2_info_bitmaps(struct qcow2 *q, struct gild_info *info,
		       struct gild_value *specific, struct gild_error *err)
{
	struct qcow2_bitmaps bitmaps;
	int ret;

	info->has_bitmaps = q->header.version >= 3;
	/* While the disk is written to, the file says less than is known. */
	if (q->bitmaps)
		return describe(q->bitmaps, info, specific) < 0 ?
			       fail_nomem(err) :
			       0;
	if (qcow2_bitmaps_read(q, &bitmaps, err) < 0)
		return -1;
	ret = describe(&bitmaps, info, specific);
	qcow2_bitmaps_free(&bitmaps);
	return ret < 0 ? fail_nomem(err) : 0;
}

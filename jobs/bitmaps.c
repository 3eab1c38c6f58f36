/* SPDX-License-Identifier: BSD-3-Clause */
/* The bitmaps of a conversion's source, in its target; see bitmaps.h. */
#include "jobs/bitmaps.h"

#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/memory.h"

static int refuse_broken(const char *path, const char *name,
			 struct gild_error *err)
{
	fail(err, GILD_ERR_INVALID, 0,
	     "%s: bitmap \"%s\" is inconsistent and cannot be copied", path,
	     name);
	return error_hint(err, "leave it out with --skip-broken-bitmaps, or "
			       "remove it with gild bitmap --remove");
}

/* Some bitmap cannot be copied? */
static int check_broken(const struct gild_info *info,
			const struct gild_convert_options *options,
			struct gild_error *err)
{
	if (!info->has_bitmaps)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: has no bitmaps: its format knows none",
			    info->filename);
	for (size_t i = 0; i < info->bitmap_count; i++)
		if (info->bitmaps[i].inconsistent &&
		    !options->skip_broken_bitmaps)
			return refuse_broken(info->filename,
					     info->bitmaps[i].name, err);
	return 0;
}

static int check_formats(const struct gild_convert_options *options,
			 struct gild_error *err)
{
	const struct format_ops *ops =
		registry_find(options->format ? options->format : "raw");

	if (options->skip_broken_bitmaps && !options->bitmaps)
		return fail(err, GILD_ERR_INVALID, 0,
			    "--skip-broken-bitmaps requires --bitmaps");
	if (!options->bitmaps)
		return 0;
	if (!ops->bitmap)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "format %s has no bitmaps", ops->name);
	if (options->source_count != 1)
		return fail(err, GILD_ERR_INVALID, 0,
			    "bitmaps can be copied from one image only");
	return 0;
}

int bitmaps_check(const struct source *source,
		  const struct gild_convert_options *options,
		  struct gild_error *err)
{
	struct gild_info *info;
	int ret;

	if (check_formats(options, err) < 0)
		return -1;
	if (!options->bitmaps)
		return 0;
	info = gild_info(source->images[0], err);
	if (!info)
		return -1;
	ret = check_broken(info, options, err);
	gild_info_free(info);
	return ret;
}

static bool has_bitmap(const struct gild_info *info, const char *name)
{
	for (size_t i = 0; i < info->bitmap_count; i++)
		if (!strcmp(info->bitmaps[i].name, name))
			return true;
	return false;
}

static int check_both(const struct gild_info *from, const struct gild_info *to,
		      struct gild_error *err)
{
	if (!to->has_bitmaps)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: an image of version 2 (compat=0.10) has no "
			    "bitmaps",
			    to->filename);
	if (!from->bitmap_count)
		return 0;
	if (from->virtual_size != to->virtual_size)
		return fail(err, GILD_ERR_INVALID, 0,
			    "%s: is not of the source's size, and cannot take "
			    "its bitmaps",
			    to->filename);
	for (size_t i = 0; i < from->bitmap_count; i++)
		if (has_bitmap(to, from->bitmaps[i].name))
			return fail(err, GILD_ERR_INVALID, 0,
				    "%s: there is a bitmap \"%s\" already",
				    to->filename, from->bitmaps[i].name);
	return 0;
}

int bitmaps_check_target(const struct source *source, struct image *target,
			 const struct gild_convert_options *options,
			 struct gild_error *err)
{
	struct gild_info *from, *to;
	int ret = -1;

	if (!options->bitmaps)
		return 0;
	from = gild_info(source->images[0], err);
	to = from ? gild_info((struct gild_image *)target, err) : NULL;
	if (to)
		ret = check_both(from, to, err);
	gild_info_free(from);
	gild_info_free(to);
	return ret;
}

static void warn_skipped(const struct gild_convert_options *options,
			 const char *path, const char *name)
{
	AUTO_FREE char *message = memory_printf(
		"%s: bitmap \"%s\" is inconsistent and is left out", path,
		name);

	if (message && options->warn)
		options->warn(options->opaque, message);
}

static int copy_one(struct image *source, struct image *target,
		    const struct gild_bitmap *bitmap, struct gild_error *err)
{
	const struct bitmap_change change = {
		.what = BITMAP_ADD,
		.name = bitmap->name,
		.granularity = bitmap->granularity,
		.disabled = !bitmap->enabled,
		.source = source,
		.source_name = bitmap->name,
	};

	if (target->ops->bitmap(target, &change, err) < 0)
		return error_prefix(err, "%s: ", target->path);
	return 0;
}

static int copy_all(const struct gild_info *info, struct image *source,
		    struct image *target,
		    const struct gild_convert_options *options,
		    struct gild_error *err)
{
	for (size_t i = 0; i < info->bitmap_count; i++) {
		const struct gild_bitmap *bitmap = &info->bitmaps[i];

		if (bitmap->inconsistent)
			warn_skipped(options, info->filename, bitmap->name);
		else if (copy_one(source, target, bitmap, err) < 0)
			return -1;
	}
	return 0;
}

int bitmaps_copy(const struct source *source, struct image *target,
		 const struct gild_convert_options *options,
		 struct gild_error *err)
{
	struct gild_info *info;
	int ret;

	if (!options->bitmaps)
		return 0;
	info = gild_info(source->images[0], err);
	if (!info)
		return -1;
	ret = copy_all(info, image_of(source->images[0]), target, options, err);
	gild_info_free(info);
	return ret;
}

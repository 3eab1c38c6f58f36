/* SPDX-License-Identifier: BSD-3-Clause */
/* Before an image changes on which others build: those beside it are named. */
#include "tools/cli.h"

/* "a.qcow2, b.qcow2, ..." */
static void list_names(const struct gild_clones *found, char *text, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < found->count && i < GILD_CLONES_NAMED; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s",
					 i ? ", " : "", found->names[i]);
	if (found->count > GILD_CLONES_NAMED)
		snprintf(text + used, size - used, " ...");
}

static int judge(const struct gild_image *image,
		 const struct gild_clones *found, struct gild_error *err)
{
	char names[GILD_CLONES_NAMED * 260 + 8], line[600];

	if (!found->count && found->partial) {
		snprintf(line, sizeof(line),
			 "%s: whether other images build on it is not known: "
			 "its folder could not be read to the end",
			 gild_path(image));
		report_warning(line);
	}
	if (!found->count)
		return 0;
	list_names(found, names, sizeof(names));
	if (found->count == 1)
		tool_fail(err, "%s: an image beside it builds on it: %s",
			  found->path, names);
	else
		tool_fail(err, "%s: %zu images beside it build on it: %s",
			  found->path, found->count, names);
	tool_hint(err, "they may show something else afterwards; add --force "
		       "if that is meant");
	return -1;
}

int check_clones(struct gild_image *image, bool force, struct gild_error *err)
{
	struct gild_clones found;

	if (force || is_qemu_img())
		return 0;
	gild_find_clones(image, &found);
	return judge(image, &found, err);
}

int check_clones_below(struct gild_image *image, const char *base, bool force,
		       struct gild_error *err)
{
	struct gild_clones found;

	if (force || is_qemu_img())
		return 0;
	gild_find_clones_below(image, base, &found);
	return judge(image, &found, err);
}

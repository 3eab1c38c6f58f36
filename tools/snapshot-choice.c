/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which internal snapshot is meant. A word is an id, else a name, which is the
 * library's rule; "snapshot.id=ID,snapshot.name=NAME", or one of the two, is
 * exactly that one. Ids are unique, so what is found is passed on by its id.
 */
#include "tools/cli.h"

#include <stdlib.h>
#include <string.h>

bool snapshot_is_choice(const char *text)
{
	return text && !strncmp(text, "snapshot.", 9);
}

const char *snapshot_find(const struct gild_info *info, const char *id,
			  const char *name)
{
	for (size_t i = 0; i < info->snapshot_count; i++) {
		const struct gild_snapshot *one = &info->snapshots[i];

		if ((!id || !strcmp(one->id, id)) &&
		    (!name || !strcmp(one->name, name)))
			return one->id;
	}
	return NULL;
}

static int read_choice(const struct option_list *list, const char **id,
		       const char **name)
{
	*id = option_list_get(list, "snapshot.id");
	*name = option_list_get(list, "snapshot.name");
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i].name, "snapshot.id") != 0 &&
		    strcmp(list->items[i].name, "snapshot.name") != 0)
			return -1;
	return *id || *name ? 0 : -1;
}

static char *find_in(struct gild_image *image, const char *id, const char *name,
		     struct gild_error *err)
{
	struct gild_info *info = gild_info(image, err);
	const char *found = info ? snapshot_find(info, id, name) : NULL;
	char *copy = found ? strdup(found) : NULL;

	if (info && !found)
		tool_fail(err, "%s: there is no snapshot \"%s\"",
			  gild_path(image), name ? name : id);
	else if (info && !copy)
		tool_fail(err, "out of memory");
	gild_info_free(info);
	return copy;
}

static char *choose(const struct open_arguments *arguments, const char *path,
		    const struct option_list *list, struct gild_error *err)
{
	struct open_arguments open = *arguments;
	struct gild_image *image;
	const char *id, *name;
	char *found;

	if (read_choice(list, &id, &name) < 0) {
		tool_fail(err,
			  "-l takes snapshot.id=ID and snapshot.name=NAME, "
			  "not '%s'",
			  arguments->snapshot);
		return NULL;
	}
	open.snapshot = NULL;
	image = open_image(&open, path, GILD_OPEN_INSPECT, err);
	if (!image)
		return NULL;
	found = find_in(image, id, name, err);
	if (!found)
		qemu_prefix(err, "Could not open '%s': ", path);
	if (close_image(image, 0, err) != 0 && found) {
		free(found);
		return NULL;
	}
	return found;
}

char *snapshot_choose(const struct open_arguments *arguments, const char *path,
		      struct gild_error *err)
{
	struct option_list list = { .count = 0 };
	char *found = NULL;

	if (option_list_add(&list, arguments->snapshot, err) == 0)
		found = choose(arguments, path, &list, err);
	option_list_free(&list);
	return found;
}

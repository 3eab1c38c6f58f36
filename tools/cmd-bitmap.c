/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild bitmap: an image's persistent dirty bitmaps, added, changed, removed.
 * The actions are done in the order of the command line; each is whole in the
 * file before the next begins, and signals wait for the end of all.
 */
#include "tools/cli.h"

#include <stdlib.h>
#include <string.h>

/* Bitmaps lie beside the disk, whose content nobody looks at. */
#define FLAGS (GILD_OPEN_NO_BACKING | GILD_OPEN_LOCKED)

struct arguments {
	struct open_arguments open;
	const char *source, *source_format; /* -b, -F */
	uint64_t granularity;		    /* 0: the image's own choice */
	struct action_list actions;
};

static const struct option_row rows[] = {
	ACTION_ROW("add", NULL, struct arguments, actions,
		   "make the bitmap, enabled"),
	ACTION_ROW("remove", NULL, struct arguments, actions,
		   "remove it, also if it is inconsistent"),
	ACTION_ROW("remove-all", NULL, struct arguments, actions,
		   "remove all that the image has"),
	ACTION_ROW("clear", NULL, struct arguments, actions,
		   "take all marks away"),
	ACTION_ROW("enable", NULL, struct arguments, actions,
		   "record what is written from now on"),
	ACTION_ROW("disable", NULL, struct arguments, actions,
		   "record no more"),
	ACTION_ROW("merge", "NAME", struct arguments, actions,
		   "mark what is marked in another bitmap"),
	STRING_ROW('b', "source-file", "FILE", struct arguments, source,
		   "the image of that other bitmap"),
	STRING_ROW('F', "source-format", "FMT", struct arguments, source_format,
		   "format of that image"),
	{ 'g', "granularity", "SIZE", OPTION_SIZE,
	  offsetof(struct arguments, granularity),
	  "bytes of the disk for each bit of a new bitmap" },
	SOURCE_ROWS(struct arguments, open),
	LAST_ROW,
};

/* What the actions work on. */
struct bitmap {
	struct gild_image *image, *source;
	const char *name;
	uint64_t granularity;
};

static int add(const struct bitmap *bitmap, const char *argument,
	       struct gild_error *err)
{
	(void)argument;
	return gild_bitmap_add(bitmap->image, bitmap->name, bitmap->granularity,
			       false, err);
}

static int remove_it(const struct bitmap *bitmap, const char *argument,
		     struct gild_error *err)
{
	(void)argument;
	return gild_bitmap_remove(bitmap->image, bitmap->name, err);
}

static int remove_all(const struct bitmap *bitmap, const char *argument,
		      struct gild_error *err)
{
	struct gild_info *info = gild_info(bitmap->image, err);
	int result = info ? 0 : -1;

	(void)argument;
	for (size_t i = 0; !result && i < info->bitmap_count; i++)
		result = gild_bitmap_remove(bitmap->image,
					    info->bitmaps[i].name, err);
	gild_info_free(info);
	return result;
}

static int clear(const struct bitmap *bitmap, const char *argument,
		 struct gild_error *err)
{
	(void)argument;
	return gild_bitmap_clear(bitmap->image, bitmap->name, err);
}

static int enable(const struct bitmap *bitmap, const char *argument,
		  struct gild_error *err)
{
	(void)argument;
	return gild_bitmap_enable(bitmap->image, bitmap->name, err);
}

static int disable(const struct bitmap *bitmap, const char *argument,
		   struct gild_error *err)
{
	(void)argument;
	return gild_bitmap_disable(bitmap->image, bitmap->name, err);
}

static int merge(const struct bitmap *bitmap, const char *argument,
		 struct gild_error *err)
{
	return gild_bitmap_merge(bitmap->image, bitmap->name, bitmap->source,
				 argument, err);
}

static const struct {
	const char *name;
	int (*act)(const struct bitmap *bitmap, const char *argument,
		   struct gild_error *err);
} actions[] = {
	{ "add", add },	      { "remove", remove_it },
	{ "clear", clear },   { "remove-all", remove_all },
	{ "enable", enable }, { "disable", disable },
	{ "merge", merge },
};

static int act(const struct bitmap *bitmap, const struct action *action,
	       struct gild_error *err)
{
	size_t i = 0;

	while (strcmp(actions[i].name, action->row->name) != 0)
		i++;
	if (actions[i].act(bitmap, action->argument, err) == 0)
		return 0;
	qemu_prefix(err, "Operation %s on bitmap %s failed: ", actions[i].name,
		    bitmap->name ? bitmap->name : "(all)");
	return -1;
}

static int act_all(const struct bitmap *bitmap, const struct action_list *list,
		   struct gild_error *err)
{
	for (size_t i = 0; i < list->count; i++)
		if (act(bitmap, &list->items[i], err) < 0)
			return -1;
	return 0;
}

static bool has_action(const struct arguments *arguments, const char *name)
{
	for (size_t i = 0; i < arguments->actions.count; i++)
		if (!strcmp(arguments->actions.items[i].row->name, name))
			return true;
	return false;
}

/* Each action but --remove-all is about one bitmap. */
static bool needs_name(const struct arguments *arguments)
{
	for (size_t i = 0; i < arguments->actions.count; i++)
		if (strcmp(arguments->actions.items[i].row->name,
			   "remove-all") != 0)
			return true;
	return !arguments->actions.count;
}

static int check_arguments(const struct arguments *arguments,
			   const struct operands *operands,
			   struct gild_error *err)
{
	if (needs_name(arguments) && operands->count != 2)
		return tool_misuse(err, "the names of an image and of a bitmap "
					"are needed");
	if (!needs_name(arguments) && operands->count != 1)
		return tool_misuse(err, "the name of an image alone is needed");
	if (!arguments->actions.count)
		return tool_misuse(err, "at least one of --add, --remove, "
					"--remove-all, --clear, --enable, "
					"--disable and --merge is needed");
	if (arguments->granularity && !has_action(arguments, "add"))
		return tool_misuse(err, "-g makes no sense without --add");
	if (arguments->source && !has_action(arguments, "merge"))
		return tool_misuse(err, "-b makes no sense without --merge");
	if (arguments->source_format && !arguments->source)
		return tool_misuse(err, "-F makes no sense without -b");
	return 0;
}

/* The source is the image itself where none was named. */
static int open_source(const struct arguments *arguments, struct bitmap *bitmap,
		       struct gild_error *err)
{
	struct open_arguments open = arguments->open;

	bitmap->source = bitmap->image;
	if (!arguments->source)
		return 0;
	open.format = arguments->source_format;
	bitmap->source = open_image(&open, arguments->source, FLAGS, err);
	return bitmap->source ? 0 : -1;
}

static int change(const struct arguments *arguments, struct bitmap *bitmap,
		  struct gild_error *err)
{
	int status;

	if (open_source(arguments, bitmap, err) < 0)
		return 1;
	status = act_all(bitmap, &arguments->actions, err) < 0;
	if (bitmap->source != bitmap->image)
		status = close_image(bitmap->source, status, err);
	return status;
}

static int work(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	struct bitmap bitmap = { .granularity = arguments->granularity };
	int status;

	if (check_arguments(arguments, operands, err) < 0)
		return 1;
	bitmap.name = operands->count > 1 ? operands->items[1] : NULL;
	bitmap.image = open_image(&arguments->open, operands->items[0],
				  FLAGS | GILD_OPEN_WRITE, err);
	if (!bitmap.image)
		return 1;
	signals_hold();
	status = change(arguments, &bitmap, err);
	status = close_image(bitmap.image, status, err);
	signals_release();
	return status;
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .granularity = 0 };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);
	int status = parsed == PARSE_FAILED;

	if (parsed == PARSE_GO)
		status = work(&arguments, &operands, err);
	free(arguments.actions.items);
	return status;
}

const struct verb verb_bitmap = {
	.name = "bitmap",
	.summary = "add, change and remove persistent dirty bitmaps",
	.operands = "FILE [BITMAP]",
	.details = "An enabled bitmap records what is written to the disk. "
		   "Several actions are done\nin the order given. gild info "
		   "lists what bitmaps there are.\n",
	.example = "  gild bitmap --add disk.qcow2 since-monday\n"
		   "  gild bitmap --add --disable --merge since-monday "
		   "disk.qcow2 copy\n",
	.rows = rows,
	.run = run,
};

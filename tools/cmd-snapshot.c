/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild snapshot: an image's internal snapshots, listed, taken, applied, deleted
 * and exported. Changing is short and must not stop half way: signals wait.
 * Exporting is a conversion of the image, opened at the snapshot.
 */
#include <string.h>

#include "tools/cli.h"
#include "tools/info.h"
#include "tools/json.h"

struct arguments {
	struct open_arguments open;
	const char *apply, *create, *delete, *export;
	const char *format; /* of what is exported */
	struct option_list options;
	enum progress_mode progress;
	bool compress, list, json, quiet;
};

static const struct option_row rows[] = {
	FLAG_ROW('l', "list", struct arguments, list,
		 "list the snapshots (the default)"),
	STRING_ROW('c', "create", "NAME", struct arguments, create,
		   "take a snapshot"),
	STRING_ROW('a', "apply", "NAME", struct arguments, apply,
		   "go back to a snapshot (its id, else its name)"),
	STRING_ROW('d', "delete", "NAME", struct arguments, delete,
		   "delete a snapshot (its id, else its name)"),
	STRING_ROW(0, "export", "NAME", struct arguments, export,
		   "copy a snapshot's disk to TARGET"),
	STRING_ROW('O', "target-format", "FMT", struct arguments, format,
		   "with --export: raw (default), qcow2, luks"),
	LIST_ROW(struct arguments, options),
	FLAG_ROW(0, "compress", struct arguments, compress,
		 "with --export: compress the target (qcow2)"),
	PROGRESS_ROW(struct arguments, progress),
	SOURCE_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	OUTPUT_ROW(struct arguments, json),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

/* It may be another list a moment later. */
static void say_in_use(const struct gild_info *info)
{
	char line[600];

	if (!info->in_use || is_qemu_img())
		return;
	snprintf(line, sizeof(line), "%s: is in use: %s another process",
		 info->filename,
		 info->being_written ? "being written by" : "open in");
	report_warning(line);
}

static int list(const struct arguments *arguments, struct gild_image *image,
		struct gild_error *err)
{
	struct gild_info *info = gild_info(image, err);
	int result = 0;

	if (!info)
		return -1;
	say_in_use(info);
	if (arguments->json)
		result = json_print(info_snapshots_json(info), err);
	else if (info->snapshot_count)
		info_snapshots_text(info);
	gild_info_free(info);
	return result;
}

/* qemu-img deletes by name alone: an id may be the name of another one. */
static int delete (struct gild_image *image, const char *name,
		   struct gild_error *err)
{
	struct gild_info *info;
	const char *id;
	int result = -1;

	if (!is_qemu_img())
		return gild_snapshot_delete(image, name, err);
	info = gild_info(image, err);
	if (!info)
		return -1;
	id = snapshot_find(info, NULL, name);
	if (id)
		result = gild_snapshot_delete(image, id, err);
	else
		tool_fail(err, "%s: there is no snapshot \"%s\"",
			  gild_path(image), name);
	gild_info_free(info);
	return result;
}

static int call(const struct arguments *arguments, struct gild_image *image,
		struct gild_error *err)
{
	const char *what = "create", *name = arguments->create;
	int result;

	if (arguments->create) {
		result = gild_snapshot_create(image, name, err);
	} else if (arguments->apply) {
		what = "apply";
		name = arguments->apply;
		result = gild_snapshot_apply(image, name, err);
	} else {
		what = "delete";
		name = arguments->delete;
		result = delete (image, name, err);
	}
	if (result < 0)
		qemu_prefix(err, "Could not %s snapshot '%s': ", what, name);
	return result;
}

static int change(const struct arguments *arguments, struct gild_image *image,
		  struct gild_error *err)
{
	int result;

	signals_hold();
	result = call(arguments, image, err);
	result = close_image(image, result, err);
	signals_release();
	return result;
}

/* ------------------------------------------------------------- export -- */

static void warn(void *opaque, const char *message)
{
	(void)opaque;
	report_warning(message);
}

static int copy(const struct arguments *arguments, struct gild_image *image,
		const char *target, const char *format, struct gild_error *err)
{
	struct gild_convert_options options = {
		.sources = &image,
		.source_count = 1,
		.target = target,
		.format = format,
		.options = arguments->options.items,
		.option_count = arguments->options.count,
		.compress = arguments->compress,
		.sparse_size = GILD_SPARSE_DEFAULT,
		.cache = GILD_CACHE_UNSAFE,
		.policy = open_policy(&arguments->open),
		.warn = arguments->quiet ? NULL : warn,
	};
	struct progress *progress = progress_start(
		arguments->quiet ? PROGRESS_NONE : arguments->progress, 0,
		"exporting", err);
	int status;

	if (!progress)
		return 1;
	status = gild_convert(&options, progress_job(progress), err) < 0;
	return progress_finish(progress, status);
}

static int export(const struct arguments *arguments,
		  const struct operands *operands, struct gild_error *err)
{
	struct open_arguments open = arguments->open;
	struct gild_image *image;
	const char *target, *format;

	if (operands->count != 2)
		return tool_misuse(err, "--export needs the names of an image "
					"and of a target");
	target = operands->items[1];
	if (!strcmp(target, "-")) {
		tool_misuse(err, "--export needs the name of a file");
		tool_hint(err, "gild convert -l %s writes to a stream",
			  arguments->export);
		return -1;
	}
	format = target_format(target, arguments->format, "-O", err);
	if (!format)
		return -1;
	open.snapshot = arguments->export;
	image = open_image(&open, operands->items[0], 0, err);
	if (!image)
		return -1;
	return close_image(image, copy(arguments, image, target, format, err),
			   err);
}

/* --------------------------------------------------------------------- -- */

static int check_arguments(const struct arguments *arguments, int actions,
			   struct gild_error *err)
{
	if (actions > 1)
		return tool_misuse(err, "-l, -c, -a, -d and --export exclude "
					"each other");
	if (!arguments->export &&
	    (arguments->format || arguments->options.count ||
	     arguments->compress || arguments->progress != PROGRESS_NONE))
		return tool_misuse(err, "-O, -o, --compress and -p go with "
					"--export only");
	return 0;
}

static int work(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	int changes =
		!!arguments->create + !!arguments->apply + !!arguments->delete;
	unsigned flags = changes ? GILD_OPEN_WRITE | GILD_OPEN_NO_BACKING |
					   GILD_OPEN_LOCKED :
				   GILD_OPEN_INSPECT;
	struct gild_image *image;

	if (arguments->options.help)
		return option_list_help(arguments->format ? arguments->format :
							    "raw",
					false, err);
	if (check_arguments(arguments,
			    changes + arguments->list + !!arguments->export,
			    err) < 0)
		return -1;
	if (arguments->export)
		return export(arguments, operands, err);
	if (operands->count != 1)
		return tool_misuse(err, "the name of one image is needed");
	if (changes && arguments->open.share)
		return tool_misuse(err, "-U goes with -l and --export only");
	image = open_image(&arguments->open, operands->items[0], flags, err);
	if (!image)
		return -1;
	if (changes)
		return change(arguments, image, err);
	return close_image(image, list(arguments, image, err), err);
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .json = false };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);
	int status = parsed == PARSE_FAILED;

	if (parsed == PARSE_GO)
		status = work(&arguments, &operands, err);
	option_list_free(&arguments.options);
	return status < 0 ? 1 : status;
}

const struct verb verb_snapshot = {
	.name = "snapshot",
	.summary = "list, take, apply, delete and export internal snapshots",
	.operands = "FILE [TARGET]",
	.details = "Listing works beside a running VM; all else refuses an "
		   "image that is in use.\n",
	.example = "  gild snapshot -c before-upgrade disk.qcow2\n"
		   "  gild snapshot -l disk.qcow2\n"
		   "  gild snapshot --export before-upgrade -O qcow2 "
		   "disk.qcow2 old.qcow2\n",
	.rows = rows,
	.run = run,
};

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild snapshot: an image's internal snapshots, listed, taken, applied and
 * deleted. Changing is short and must not stop half way: signals wait.
 */
#include "tools/cli.h"
#include "tools/info.h"
#include "tools/json.h"

struct arguments {
	struct open_arguments open;
	const char *apply, *create, *delete;
	bool list, json, quiet;
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
	SOURCE_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	OUTPUT_ROW(struct arguments, json),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

static int list(const struct arguments *arguments, struct gild_image *image,
		struct gild_error *err)
{
	struct gild_info *info = gild_info(image, err);
	int result = 0;

	if (!info)
		return -1;
	if (arguments->json)
		result = json_print(info_snapshots_json(info), err);
	else if (info->snapshot_count)
		info_snapshots_text(info);
	gild_info_free(info);
	return result;
}

static int change(const struct arguments *arguments, struct gild_image *image,
		  struct gild_error *err)
{
	int result;

	signals_hold();
	if (arguments->create)
		result = gild_snapshot_create(image, arguments->create, err);
	else if (arguments->apply)
		result = gild_snapshot_apply(image, arguments->apply, err);
	else
		result = gild_snapshot_delete(image, arguments->delete, err);
	result = close_image(image, result, err);
	signals_release();
	return result;
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

	if (operands->count != 1)
		return tool_misuse(err, "the name of one image is needed");
	if (changes + arguments->list > 1)
		return tool_misuse(err, "-l, -c, -a and -d exclude each other");
	if (changes && arguments->open.share)
		return tool_misuse(err, "-U goes with -l only");
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

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	return work(&arguments, &operands, err) < 0;
}

const struct verb verb_snapshot = {
	.name = "snapshot",
	.summary = "list, take, apply and delete internal snapshots",
	.operands = "FILE",
	.details = "Listing works beside a running VM; all else refuses an "
		   "image that is in use.\n",
	.example = "  gild snapshot -c before-upgrade disk.qcow2\n"
		   "  gild snapshot -l disk.qcow2\n",
	.rows = rows,
	.run = run,
};

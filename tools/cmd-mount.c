/* SPDX-License-Identifier: BSD-3-Clause */
/* gild mount: an image as files, without root. See fuse/mount.h. */
#include "tools/cli.h"

#include <string.h>

#include "fuse/mount.h"
#include "tools/info.h"
#include "tools/json.h"

struct arguments {
	struct open_arguments open;
	bool rw, resizable, allow_other, foreground;
};

static const struct option_row rows[] = {
	FLAG_ROW(0, "rw", struct arguments, rw,
		 "the disk may be written (otherwise it is read)"),
	FLAG_ROW(0, "resizable", struct arguments, resizable,
		 "the disk may be cut off (truncate), too"),
	SNAPSHOT_ROW(0, struct arguments, open),
	FLAG_ROW(0, "allow-other", struct arguments, allow_other,
		 "other users of the machine may look, too"),
	FLAG_ROW(0, "foreground", struct arguments, foreground,
		 "stay until it is unmounted, or interrupted"),
	STRING_ROW('f', "format", "FMT", struct arguments, open.format,
		   "raw, qcow2, luks (otherwise the name decides)"),
	DOOR_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	CACHE_ROW('t', "cache", struct arguments, open.cache,
		  "how the host caches: writeback, none ..."),
	LAST_ROW,
};

static char *describe(struct gild_image *image, struct gild_error *err)
{
	struct gild_info *info = gild_info(image, err);
	json_t *json;
	char *text;

	if (!info)
		return NULL;
	json = info_json(info);
	gild_info_free(info);
	text = json_dumps(json, JSON_INDENT(4) | JSON_ENSURE_ASCII);
	json_decref(json);
	if (!text)
		tool_fail(err, "out of memory");
	return text;
}

static int check_arguments(const struct arguments *arguments,
			   const struct operands *operands,
			   struct gild_error *err)
{
	if (operands->count != 2)
		return tool_misuse(err, "the names of an image and of a folder "
					"are needed");
	if (arguments->rw && arguments->open.snapshot)
		return tool_misuse(err, "a snapshot cannot be written");
	/* Its snapshots are opened by name. */
	if (!strncmp(operands->items[0], "json:", 5))
		return tool_misuse(err, "a file's name is needed, not json:");
	if (arguments->rw && arguments->open.share)
		return tool_misuse(err, "-U is for reading only");
	if (arguments->resizable && !arguments->rw)
		return tool_misuse(err, "--resizable goes with --rw");
	return 0;
}

struct source {
	const struct arguments *arguments;
	const char *path;
};

static struct gild_image *open_source(void *opaque, struct gild_error *err)
{
	const struct source *source = opaque;

	return open_image(&source->arguments->open, source->path,
			  source->arguments->rw ? GILD_OPEN_WRITE : 0, err);
}

static int mount_it(const struct arguments *arguments, const char *path,
		    const char *folder, struct gild_error *err)
{
	struct source source = { arguments, path };
	struct gild_open_options options = {
		.format = arguments->open.format,
		.cache = arguments->open.cache,
		.policy = open_policy(&arguments->open),
		.snapshot = arguments->open.snapshot,
	};
	struct mount_request request = {
		.open = open_source,
		.describe = describe,
		.opaque = &source,
		.options = &options,
		.folder = folder,
		.writable = arguments->rw,
		.resizable = arguments->resizable,
		.allow_other = arguments->allow_other,
		.foreground = arguments->foreground,
	};

	return mount_serve(&request, err);
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .rw = false };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	if (check_arguments(&arguments, &operands, err) < 0)
		return 1;
	return mount_it(&arguments, operands.items[0], operands.items[1], err) <
	       0;
}

const struct verb verb_mount = {
	.name = "mount",
	.summary = "show an image as files: its disk, partitions, snapshots",
	.operands = "FILE DIR",
	.details = "Without root. DIR then has disk, partitions/, snapshots/, "
		   "chain/ and info.json.\ngild unmount DIR ends it.\n",
	.example = "  gild mount disk.qcow2 /tmp/disk\n",
	.rows = rows,
	.run = run,
};

/* SPDX-License-Identifier: BSD-3-Clause */
/* gild rebase: another backing file, the same disk. */
#include "tools/cli.h"

struct arguments {
	struct open_arguments open;
	const char *backing, *format;
	enum gild_cache source_cache; /* -T */
	bool unchecked, compress, force, share, quiet;
	enum progress_mode progress;
};

static const struct option_row rows[] = {
	STRING_ROW('b', "backing", "FILE", struct arguments, backing,
		   "the new backing file, recorded as given; \"\": none"),
	STRING_ROW('F', "backing-fmt", "FMT", struct arguments, format,
		   "format of the new backing file"),
	FLAG_ROW('u', "unsafe", struct arguments, unchecked,
		 "change the name only: both must hold the same disk"),
	FLAG_ROW('c', "compress", struct arguments, compress,
		 "compress what has to be copied"),
	FORCE_ROW(struct arguments, force),
	SOURCE_ROWS(struct arguments, open),
	FLAG_ROW('U', "force-share", struct arguments, share,
		 "read the new backing file also while it is written"),
	CACHE_ROW('t', "cache", struct arguments, open.cache,
		  "how the host caches what is written"),
	CACHE_ROW('T', "source-cache", struct arguments, source_cache,
		  "how the host caches the new backing file"),
	PROGRESS_ROW(struct arguments, progress),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

static int rebase(const struct arguments *arguments, struct gild_image *image,
		  struct gild_error *err)
{
	bool none = !*arguments->backing;
	struct gild_rebase_options options = {
		.backing = none ? NULL : arguments->backing,
		.backing_format = none ? NULL : arguments->format,
		.unchecked = arguments->unchecked,
		.compress = arguments->compress,
		.share = arguments->share,
		.cache = arguments->source_cache,
		.policy = open_policy(&arguments->open),
	};
	struct progress *progress;
	int status;

	if (check_clones(image, arguments->force, err) < 0)
		return 1;
	progress = progress_start(arguments->quiet ? PROGRESS_NONE :
						     arguments->progress,
				  0, "rebasing", err);
	if (!progress)
		return 1;
	status = gild_rebase(image, &options, progress_job(progress), err) < 0;
	if (status)
		qemu_prefix(err, "rebase '%s': ", arguments->backing);
	return progress_finish(progress, status);
}

/* Where nothing is opened, nobody else asks. */
static int check_format(const struct arguments *arguments,
			struct gild_error *err)
{
	if (!arguments->format || gild_create_help(arguments->format))
		return 0;
	return tool_fail(err, "unknown format \"%s\" of the backing file",
			 arguments->format);
}

static int work(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	unsigned flags = GILD_OPEN_WRITE;
	struct gild_image *image;

	if (operands->count != 1)
		return tool_misuse(err, "the name of one image is needed"), 1;
	if (!arguments->backing)
		return tool_misuse(err, "the new backing file is needed (-b)"),
		       1;
	if (arguments->unchecked)
		flags |= GILD_OPEN_NO_BACKING;
	if (check_format(arguments, err) < 0)
		return 1;
	image = open_image(&arguments->open, operands->items[0], flags, err);
	if (!image)
		return 1;
	return close_image(image, rebase(arguments, image, err), err);
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .quiet = false };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	/* There -u alone means that there is none any more. */
	if (is_qemu_img() && arguments.unchecked && !arguments.backing)
		arguments.backing = "";
	return work(&arguments, &operands, err);
}

const struct verb verb_rebase = {
	.name = "rebase",
	.summary = "give an image another backing file, and keep its disk",
	.operands = "FILE",
	.details =
		"What the old and the new backing file differ in is copied "
		"into the image first.\nWith -u nothing is read or copied.\n",
	.example = "  gild rebase -b base2.qcow2 -F qcow2 overlay.qcow2\n"
		   "  gild rebase -b '' overlay.qcow2\n",
	.rows = rows,
	.run = run,
};

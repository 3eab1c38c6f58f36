/* SPDX-License-Identifier: BSD-3-Clause */
/* gild commit: what an overlay says goes into its backing file. */
#include "tools/cli.h"

struct arguments {
	struct open_arguments open;
	const char *base;
	bool keep, force, quiet;
	uint64_t rate; /* -r; 0: no limit */
	unsigned workers;
	enum progress_mode progress;
};

static const struct option_row rows[] = {
	STRING_ROW('b', "base", "FILE", struct arguments, base,
		   "the layer to commit into (otherwise the next one)"),
	FLAG_ROW('d', "keep", struct arguments, keep,
		 "do not empty the overlay afterwards"),
	FORCE_ROW(struct arguments, force),
	SOURCE_ROWS(struct arguments, open),
	CACHE_ROW('t', "cache", struct arguments, open.cache,
		  "how the host caches what is written"),
	RATE_ROW(struct arguments, rate),
	WORKERS_ROW(struct arguments, workers),
	PROGRESS_ROW(struct arguments, progress),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

static int commit(const struct arguments *arguments, struct gild_image *image,
		  struct gild_error *err)
{
	struct gild_commit_options options = {
		.base = arguments->base,
		.keep = arguments->keep,
		.workers = arguments->workers,
	};
	struct progress *progress;
	int status;

	if (check_clones_below(image, arguments->base, arguments->force, err) <
	    0)
		return 1;
	progress = progress_start(arguments->quiet ? PROGRESS_NONE :
						     arguments->progress,
				  0, "committing", err);
	if (!progress)
		return 1;
	gild_job_limit(progress_job(progress), arguments->rate);
	status = gild_commit(image, &options, progress_job(progress), err) < 0;
	if (status && arguments->base)
		qemu_prefix(err, "commit '%s' '%s': ", arguments->base,
			    gild_path(image));
	return progress_finish(progress, status);
}

static int work(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	struct gild_image *image;
	int status;

	if (operands->count != 1)
		return tool_misuse(err, "the name of one image is needed"), 1;
	image = open_image(&arguments->open, operands->items[0],
			   GILD_OPEN_WRITE, err);
	if (!image)
		return 1;
	status = close_image(image, commit(arguments, image, err), err);
	if (!status && !arguments->quiet)
		printf("Image committed.\n");
	return status;
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .keep = false };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	return work(&arguments, &operands, err);
}

const struct verb verb_commit = {
	.name = "commit",
	.summary = "write what an overlay says into its backing file",
	.operands = "FILE",
	.details = "Other overlays of that backing file change with it. With "
		   "-b a layer further down\nis meant; the overlay is then "
		   "kept as it is.\n",
	.example = "  gild commit overlay.qcow2\n",
	.rows = rows,
	.run = run,
};

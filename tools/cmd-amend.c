/* SPDX-License-Identifier: BSD-3-Clause */
/* gild amend: change properties of an image that is there. */
#include "tools/cli.h"

#include <string.h>

struct arguments {
	struct open_arguments open;
	struct option_list options;
	bool force, quiet;
	enum progress_mode progress;
};

static const struct option_row rows[] = {
	LIST_ROW(struct arguments, options),
	FLAG_ROW(0, "force", struct arguments, force,
		 "also what cannot be undone: shrinking, the last key"),
	SOURCE_ROWS(struct arguments, open),
	CACHE_ROW('t', "cache", struct arguments, open.cache,
		  "how the host caches what is written"),
	PROGRESS_ROW(struct arguments, progress),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

/* --- help ----------------------------------------------------------------- */

static bool is_known(const char *format)
{
	for (const char *const *known = gild_formats(); *known; known++) {
		if (!strcmp(*known, format))
			return true;
	}
	return false;
}

/* The format is named, or the file's. */
static int help(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	const char *format = arguments->open.format;
	const struct gild_option_help *table;
	struct gild_image *image = NULL;

	if (!format && operands->count != 1)
		return tool_misuse(err, "-o help needs a format (-f) or a "
					"file");
	if (!format) {
		image = open_image(&arguments->open, operands->items[0],
				   GILD_OPEN_INSPECT, err);
		if (!image)
			return -1;
		format = gild_format(image);
	}
	table = gild_amend_help(format);
	if (!is_known(format)) {
		tool_fail(err, "unknown format \"%s\"", format);
	} else if (table) {
		printf("Amend options for '%s':\n", format);
		option_list_print(table);
	} else {
		tool_fail(err,
			  "of an image of format %s nothing can be "
			  "changed",
			  format);
	}
	gild_close(image, NULL);
	return table ? 0 : -1;
}

/* --- amending ------------------------------------------------------------- */

/* A smaller disk is a loss; whoever means it says so. */
static int check_size(const struct arguments *arguments,
		      const struct gild_image *image, struct gild_error *err)
{
	const char *text = option_list_get(&arguments->options, "size");
	uint64_t size;

	if (!text || arguments->force || is_qemu_img() ||
	    !gild_amend_help(gild_format(image)))
		return 0;
	if (gild_parse_size(text, 1, &size, err) < 0)
		return -1;
	if (size >= gild_size(image))
		return 0;
	tool_fail(err,
		  "%s: would shrink from %llu to %llu bytes, and what lies "
		  "beyond be lost",
		  gild_path(image), (unsigned long long)gild_size(image),
		  (unsigned long long)size);
	tool_hint(err, "add --force if that is meant");
	return -1;
}

/* Nothing else that can be changed is seen through an overlay. */
static int check_others(const struct arguments *arguments,
			struct gild_image *image, struct gild_error *err)
{
	if (!option_list_get(&arguments->options, "size"))
		return 0;
	return check_clones(image, arguments->force, err);
}

static int amend(const struct arguments *arguments, struct gild_image *image,
		 struct gild_error *err)
{
	const struct gild_amend_options options = {
		.options = arguments->options.items,
		.option_count = arguments->options.count,
		.force = arguments->force,
	};
	struct progress *progress;
	int status;

	if (check_size(arguments, image, err) < 0 ||
	    check_others(arguments, image, err) < 0)
		return 1;
	progress = progress_start(arguments->quiet ? PROGRESS_NONE :
						     arguments->progress,
				  0, "amending", err);
	if (!progress)
		return 1;
	status = gild_amend(image, &options, progress_job(progress), err) < 0;
	return progress_finish(progress, status);
}

static int work(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	unsigned flags = GILD_OPEN_WRITE | GILD_OPEN_LOCKED;
	struct gild_image *image;

	if (arguments->options.help)
		return help(arguments, operands, err) < 0;
	if (operands->count != 1)
		return tool_misuse(err, "amend needs the name of one image"), 1;
	if (!arguments->options.count)
		return tool_misuse(err, "what to change is needed (-o)"), 1;
	/* What is gained must not show what a backing file has there. */
	if (!option_list_get(&arguments->options, "size"))
		flags |= GILD_OPEN_NO_BACKING;
	image = open_image(&arguments->open, operands->items[0], flags, err);
	if (!image)
		return 1;
	return close_image(image, amend(arguments, image, err), err);
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .quiet = false };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);
	int status = parsed == PARSE_FAILED;

	if (parsed == PARSE_GO)
		status = work(&arguments, &operands, err);
	option_list_free(&arguments.options);
	return status;
}

const struct verb verb_amend = {
	.name = "amend",
	.summary = "change properties of an image",
	.operands = "FILE",
	.details = "The version of the format, the width of reference counts, "
		   "the key slots of an\nencrypted image: -o help lists all. "
		   "The disk stays the same.\n",
	.example = "  gild amend -o compat=1.1,lazy_refcounts=on disk.qcow2\n"
		   "  gild amend --secret-file old --object "
		   "secret,id=new,file=new \\\n"
		   "      -o encrypt.state=active,encrypt.new-secret=new "
		   "disk.qcow2\n",
	.rows = rows,
	.run = run,
};

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild resize: a new virtual size. Signals wait, since it is soon done; but for
 * space that is set aside: that may take long, and is given up.
 */
#include "tools/cli.h"

#include <string.h>

struct arguments {
	struct open_arguments open;
	const char *preallocation;
	enum gild_preallocation how;
	bool shrink, force, quiet;
};

static const struct option_row rows[] = {
	FLAG_ROW(0, "shrink", struct arguments, shrink,
		 "allow a smaller size: what lies beyond it is lost"),
	FORCE_ROW(struct arguments, force),
	STRING_ROW(0, "preallocation", "MODE", struct arguments, preallocation,
		   "space for the gain: off, metadata, falloc, full"),
	SOURCE_ROWS(struct arguments, open),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

/* "10G", "+1G", "-1G" beside the size now. */
static int parse_target(const char *text, uint64_t now, uint64_t *size,
			struct gild_error *err)
{
	char sign = *text == '+' || *text == '-' ? *text : 0;

	if (gild_parse_size(text + !!sign, 1, size, err) < 0)
		return -1;
	if (sign == '+' && *size > INT64_MAX - now)
		return tool_fail(err, "the new size is too large");
	if (sign == '-' && *size > now)
		return tool_fail(err, "the new size would be below zero");
	if (sign)
		*size = sign == '+' ? now + *size : now - *size;
	*size = (*size + 511) & ~511ULL;
	return 0;
}

static int grow(const struct arguments *arguments, struct gild_image *image,
		uint64_t size, struct gild_error *err)
{
	struct progress *progress;
	int result;

	if (arguments->how == GILD_PREALLOCATION_OFF)
		return gild_resize(image, size, err);
	progress = progress_start(PROGRESS_NONE, 0, "reserving", err);
	if (!progress)
		return 1;
	result = gild_grow(image, size, arguments->how, progress_job(progress),
			   err) < 0;
	return progress_finish(progress, result);
}

static int parse_preallocation(struct arguments *arguments,
			       struct gild_error *err)
{
	static const char *const names[] = { "off", "metadata", "falloc",
					     "full" };

	for (size_t i = 0; arguments->preallocation && i < 4; i++) {
		if (strcmp(names[i], arguments->preallocation) != 0)
			continue;
		arguments->how = (enum gild_preallocation)i;
		return 0;
	}
	if (!arguments->preallocation)
		return 0;
	return tool_misuse(err,
			   "--preallocation takes off, metadata, falloc or "
			   "full, not '%s'",
			   arguments->preallocation);
}

/* The new size, if it may be set. */
static int choose_size(const struct arguments *arguments,
		       struct gild_image *image, const char *text,
		       uint64_t *size, struct gild_error *err)
{
	if (parse_target(text, gild_size(image), size, err) < 0)
		return -1;
	if (!*size && is_qemu_img())
		return tool_fail(err, "New image size must be positive");
	if (*size < gild_size(image) && !arguments->shrink) {
		tool_fail(err,
			  "%s: would shrink from %llu to %llu bytes, and "
			  "what lies beyond be lost",
			  gild_path(image),
			  (unsigned long long)gild_size(image),
			  (unsigned long long)*size);
		tool_hint(err, "add --shrink if that is meant");
		return -1;
	}
	return check_clones(image, arguments->force, err);
}

static int resize(const struct arguments *arguments, struct gild_image *image,
		  const char *text, struct gild_error *err)
{
	uint64_t size;
	int result;

	if (choose_size(arguments, image, text, &size, err) < 0)
		return close_image(image, -1, err);
	signals_hold();
	result = grow(arguments, image, size, err);
	result = close_image(image, result, err);
	signals_release();
	return result;
}

/* A size like -1G looks like an option: it is taken out of argv before. */
static const char *take_size(int *argc, char **argv)
{
	const char *last = argv[*argc - 1];

	if (*argc < 2 || (*last == '-' && !strchr("0123456789", last[1])))
		return NULL;
	*argc -= 1;
	return last;
}

static int work(struct arguments *arguments, const struct operands *operands,
		const char *size, struct gild_error *err)
{
	struct gild_image *image;
	int result;

	if (parse_preallocation(arguments, err) < 0)
		return -1;
	if (operands->count > 1)
		return tool_misuse(err, "an image and a size are all that is "
					"needed");
	if (operands->count != 1 || !size)
		return tool_misuse(err, "an image and a size are needed");
	image = open_image(&arguments->open, operands->items[0],
			   GILD_OPEN_WRITE, err);
	if (!image)
		return -1;
	result = resize(arguments, image, size, err);
	if (!result && !arguments->quiet)
		printf("Image resized.\n");
	return result;
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .shrink = false };
	const char *size = take_size(&argc, argv);
	struct operands operands;
	int status;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	status = work(&arguments, &operands, size, err);
	return status < 0 ? 1 : status;
}

const struct verb verb_resize = {
	.name = "resize",
	.summary = "change the virtual size of an image",
	.operands = "FILE [+|-]SIZE",
	.details = "What is gained reads as zeros. Partitions and filesystems "
		   "are not changed:\ngrow them afterwards, shrink them "
		   "before.\n",
	.example = "  gild resize disk.qcow2 +10G\n",
	.rows = rows,
	.run = run,
};

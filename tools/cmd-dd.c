/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild dd: copy some blocks of a disk. What to copy stands in operands, as in
 * dd(1); count= is counted from the beginning of the input, skipped blocks
 * included, as qemu-img has it.
 */
#include "tools/cli.h"

#include <inttypes.h>
#include <string.h>

enum {
	DEFAULT_BLOCK = 512,
};

struct arguments {
	struct open_arguments open;
	const char *format; /* -O */
};

static const struct option_row rows[] = {
	STRING_ROW('O', "target-format", "FMT", struct arguments, format,
		   "format of the output: raw (default), qcow2, luks"),
	SOURCE_ROWS(struct arguments, open),
	SNAPSHOT_ROW('l', struct arguments, open),
	SHARE_ROW(struct arguments, open),
	LAST_ROW,
};

/* The operands. */
struct job {
	const char *input, *output;
	uint64_t block, count, skip;
	bool has_count;
};

static int parse_number(const char *name, const char *text, uint64_t least,
			uint64_t most, uint64_t *number, struct gild_error *err)
{
	struct gild_error cause = { .kind = GILD_ERR_NONE };

	if (gild_parse_size(text, 1, number, &cause) < 0) {
		tool_misuse(err, "invalid %s: %s", name, cause.message);
		tool_hint(err, "%s", cause.hint);
		return -1;
	}
	if (*number >= least && *number <= most)
		return 0;
	return tool_misuse(err,
			   "invalid %s: must be from %" PRIu64 " to %" PRIu64,
			   name, least, most);
}

static bool is_name(const char *text, size_t length, const char *name)
{
	return strlen(name) == length && !strncmp(text, name, length);
}

static int parse_operand(const char *text, struct job *job,
			 struct gild_error *err)
{
	size_t length = strcspn(text, "=");
	const char *value = text + length + 1;

	if (text[length] != '=')
		return tool_misuse(err, "unrecognized operand %s", text);
	if (is_name(text, length, "if")) {
		job->input = value;
	} else if (is_name(text, length, "of")) {
		job->output = value;
	} else if (is_name(text, length, "bs")) {
		return parse_number("bs", value, 1, INT32_MAX, &job->block,
				    err);
	} else if (is_name(text, length, "skip")) {
		return parse_number("skip", value, 0, INT64_MAX, &job->skip,
				    err);
	} else if (is_name(text, length, "count")) {
		job->has_count = true;
		return parse_number("count", value, 0, INT64_MAX, &job->count,
				    err);
	} else {
		return tool_misuse(err, "unrecognized operand %.*s",
				   (int)length, text);
	}
	return 0;
}

static int parse_operands(const struct operands *operands, struct job *job,
			  struct gild_error *err)
{
	for (int i = 0; i < operands->count; i++)
		if (parse_operand(operands->items[i], job, err) < 0)
			return -1;
	if (!job->input || !job->output)
		return tool_misuse(err, "both if= and of= are needed");
	return 0;
}

/* So many blocks in bytes, at most limit. */
static uint64_t blocks(const struct job *job, uint64_t count, uint64_t limit)
{
	return count > limit / job->block ? limit : count * job->block;
}

static void say_nothing_left(const struct job *job)
{
	if (is_qemu_img())
		fprintf(stderr,
			"qemu-img: %s: cannot skip to specified offset\n",
			job->input);
	else
		report_warning("cannot skip to the block asked for: there is "
			       "nothing to copy");
}

/* Which part of the disk it is. */
static void set_part(const struct job *job, const struct gild_image *image,
		     struct gild_convert_options *options)
{
	uint64_t size = gild_size(image), end = size;

	if (job->has_count)
		end = blocks(job, job->count, size);
	options->part = true;
	options->start = blocks(job, job->skip, end);
	options->length = end - options->start;
	if (job->skip > end / job->block)
		say_nothing_left(job);
}

static int copy(const struct gild_convert_options *options,
		struct gild_error *err)
{
	unsigned flags =
		options->target ? 0 : PROGRESS_KEEP_STDOUT | PROGRESS_MAY_DIE;
	struct progress *progress =
		progress_start(PROGRESS_NONE, flags, "copying", err);

	int status;

	if (!progress)
		return 1;
	status = gild_convert(options, progress_job(progress), err) < 0;
	if (status)
		qemu_prefix(err, "dd '%s': ", options->target);
	return progress_finish(progress, status);
}

static int work(const struct arguments *arguments, const struct job *job,
		struct gild_error *err)
{
	struct gild_convert_options options = {
		.format = target_format(job->output, arguments->format, "-O",
					err),
		.target = job->output,
		.sparse_size = GILD_SPARSE_DEFAULT,
		.cache = GILD_CACHE_UNSAFE,
		.policy = open_policy(&arguments->open),
		.source_count = 1,
	};
	struct gild_image *image;

	if (!options.format || stream_target(&options, false, err) < 0)
		return 1;
	image = open_image(&arguments->open, job->input, 0, err);
	if (!image)
		return 1;
	options.sources = &image;
	set_part(job, image, &options);
	return close_image(image, copy(&options, err), err);
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .format = NULL };
	struct job job = { .block = DEFAULT_BLOCK };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	if (parse_operands(&operands, &job, err) < 0)
		return 1;
	return work(&arguments, &job, err);
}

const struct verb verb_dd = {
	.name = "dd",
	.summary = "copy some blocks of a disk",
	.operands = "[bs=SIZE] [count=N] [skip=N] if=INPUT of=OUTPUT",
	.details = "count= is where to stop, counted from the beginning of the "
		   "input: skipped blocks\ncount, too (as in qemu-img; dd(1) "
		   "has it otherwise).\n",
	.example =
		"  gild dd -f qcow2 bs=1M count=1 if=disk.qcow2 of=start.raw\n",
	.rows = rows,
	.run = run,
};

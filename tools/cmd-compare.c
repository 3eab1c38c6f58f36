/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild compare: do two images hold the same disk? Messages and exit status are
 * qemu-img's; --output=json is ours.
 */
#include "tools/cli.h"

#include <inttypes.h>

#include "tools/json.h"

enum {
	EXIT_SAME = 0,
	EXIT_DIFFERENT = 1,
	EXIT_OPEN = 2,
	EXIT_STATUS = 3,
	EXIT_READ = 4,
};

struct arguments {
	struct open_arguments open; /* format: of the first image */
	const char *second_format;
	bool strict, json, quiet;
	unsigned workers;
	enum progress_mode progress;
};

static const struct option_row rows[] = {
	STRING_ROW('f', "format", "FMT", struct arguments, open.format,
		   "of the first image: raw, qcow2 or luks"),
	STRING_ROW('F', "second-format", "FMT", struct arguments, second_format,
		   "format of the second image"),
	FLAG_ROW('s', "strict", struct arguments, strict,
		 "size and allocation must be the same too"),
	WORKERS_ROW(struct arguments, workers),
	CACHE_ROW('T', "source-cache", struct arguments, open.cache,
		  "cache mode of the images: writeback, none ..."),
	SNAPSHOT_ROW(0, struct arguments, open),
	SPEC_ROW(struct arguments, open),
	DOOR_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	PROGRESS_ROW(struct arguments, progress),
	OUTPUT_ROW(struct arguments, json),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void print_difference(const struct gild_comparison *result, bool strict)
{
	switch (result->difference) {
	case GILD_SAME:
		printf("Images are identical.\n");
		return;
	case GILD_DIFFERENT_ALLOCATION:
		printf("Strict mode: Offset %" PRIu64 " block status "
		       "mismatch!\n",
		       result->offset);
		return;
	case GILD_DIFFERENT_SIZE:
		if (strict) {
			printf("Strict mode: Image size mismatch!\n");
			return;
		}
		break;
	case GILD_DIFFERENT_CONTENT:
		break;
	}
	printf("Content mismatch at offset %" PRIu64 "!\n", result->offset);
}

/* The sizes are worth a word only once the common part is known to agree. */
static void print_text(struct gild_image *a, struct gild_image *b,
		       const struct gild_comparison *result, bool strict)
{
	uint64_t common = smaller(gild_size(a), gild_size(b));

	if (!strict && gild_size(a) != gild_size(b) &&
	    (result->difference == GILD_SAME || result->offset >= common))
		printf("Warning: Image size mismatch!\n");
	print_difference(result, strict);
}

static int print_json(struct gild_image *a, struct gild_image *b,
		      const struct gild_comparison *result,
		      struct gild_error *err)
{
	static const char *const kinds[] = {
		[GILD_DIFFERENT_CONTENT] = "content",
		[GILD_DIFFERENT_ALLOCATION] = "allocation",
		[GILD_DIFFERENT_SIZE] = "size",
	};
	bool same = result->difference == GILD_SAME;
	json_t *json = json_object();

	json_put_bool(json, "identical", same);
	json_put_bool(json, "size-mismatch", gild_size(a) != gild_size(b));
	if (!same) {
		json_put_text(json, "difference", kinds[result->difference]);
		json_put_number(json, "offset", result->offset);
	}
	return json_print(json, err);
}

static int compare(struct gild_image *a, struct gild_image *b,
		   const struct arguments *arguments,
		   struct gild_comparison *result, struct gild_error *err)
{
	struct progress *progress = progress_start(
		arguments->quiet ? PROGRESS_NONE : arguments->progress,
		arguments->json ? PROGRESS_KEEP_STDOUT : 0, "comparing", err);
	int status = 0;

	if (!progress)
		return EXIT_READ;
	if (gild_compare(a, b, arguments->strict, arguments->workers, result,
			 progress_job(progress), err) < 0)
		status = result->failed_step == GILD_COMPARE_STATUS ?
				 EXIT_STATUS :
				 EXIT_READ;
	return progress_finish(progress, status);
}

static int compare_and_print(struct gild_image *a, struct gild_image *b,
			     const struct arguments *arguments,
			     struct gild_error *err)
{
	struct gild_comparison result = { .failed_step = GILD_COMPARE_READ };
	int status = compare(a, b, arguments, &result, err);

	if (status)
		return status;
	if (!arguments->quiet && !arguments->json)
		print_text(a, b, &result, arguments->strict);
	else if (!arguments->quiet && print_json(a, b, &result, err) < 0)
		return EXIT_READ;
	return result.difference == GILD_SAME ? EXIT_SAME : EXIT_DIFFERENT;
}

static int work(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	struct open_arguments second = arguments->open;
	struct gild_image *a, *b;
	int status = EXIT_OPEN;

	if (operands->count != 2)
		return tool_misuse(err, "the names of two images are needed"),
		       1;
	second.format = arguments->second_format;
	second.snapshot = NULL;
	a = open_image(&arguments->open, operands->items[0], 0, err);
	if (!a)
		return EXIT_OPEN;
	b = open_image(&second, operands->items[1], 0, err);
	if (b) {
		status = compare_and_print(a, b, arguments, err);
		status = close_image(b, status, err);
	}
	return close_image(a, status, err);
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
	return work(&arguments, &operands, err);
}

const struct verb verb_compare = {
	.name = "compare",
	.summary = "tell whether two images hold the same disk",
	.operands = "FILE1 FILE2",
	.details = "Exit status: 0 the same, 1 different, 2 an image could not "
		   "be opened, 3 its\nallocation not be told, 4 it could not "
		   "be read.\n",
	.example = "  gild compare disk.raw golden.qcow2\n",
	.rows = rows,
	.run = run,
};

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild check: look for contradictions in an image's metadata, and repair them.
 * Output and exit status are qemu-img's. Only the image itself is opened: a
 * check needs no backing file.
 */
#include "tools/cli.h"

#include <inttypes.h>
#include <string.h>

#include "tools/json.h"

enum {
	EXIT_FAILED = 1,
	EXIT_CORRUPT = 2,
	EXIT_LEAKS = 3,
	EXIT_NO_CHECK = 63,
};

struct arguments {
	struct open_arguments open;
	const char *repair;
	bool json, quiet;
	enum progress_mode progress;
};

static const struct option_row rows[] = {
	STRING_ROW('r', "repair", "leaks|all", struct arguments, repair,
		   "repair leaked clusters, or all that can be"),
	SOURCE_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	CACHE_ROW('T', "source-cache", struct arguments, open.cache,
		  "cache mode of the image: writeback, none ..."),
	PROGRESS_ROW(struct arguments, progress),
	OUTPUT_ROW(struct arguments, json),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

/* What is found goes to standard error, as in qemu-img. */
static void report_line(void *opaque, const char *line)
{
	(void)opaque;
	fprintf(stderr, "%s\n", line);
}

static int parse_repair(const char *text, unsigned *fix, struct gild_error *err)
{
	*fix = 0;
	if (!text)
		return 0;
	*fix = GILD_CHECK_FIX_LEAKS;
	if (!strcmp(text, "leaks"))
		return 0;
	*fix |= GILD_CHECK_FIX_ERRORS;
	if (!strcmp(text, "all"))
		return 0;
	return tool_misuse(err, "-r takes leaks or all, not '%s'", text);
}

static void print_problems(const struct gild_check_result *result)
{
	if (!result->corruptions && !result->leaks && !result->check_errors)
		printf("No errors were found on the image.\n");
	if (result->corruptions)
		printf("\n%" PRIu64 " errors were found on the image.\n"
		       "Data may be corrupted, or further writes to the image "
		       "may corrupt it.\n",
		       result->corruptions);
	if (result->leaks)
		printf("\n%" PRIu64 " leaked clusters were found on the image."
		       "\nThis means waste of disk space, but no harm to "
		       "data.\n",
		       result->leaks);
	if (result->check_errors)
		printf("\n%" PRIu64 " internal errors have occurred during the "
		       "check.\n",
		       result->check_errors);
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? (double)part * 100 / (double)whole : 0;
}

static void print_text(const struct gild_check_result *result)
{
	print_problems(result);
	if (result->total_clusters && result->allocated_clusters)
		printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% "
		       "fragmented, %0.2f%% compressed clusters\n",
		       result->allocated_clusters, result->total_clusters,
		       percent(result->allocated_clusters,
			       result->total_clusters),
		       percent(result->fragmented_clusters,
			       result->allocated_clusters),
		       percent(result->compressed_clusters,
			       result->allocated_clusters));
	if (result->image_end_offset)
		printf("Image end offset: %" PRIu64 "\n",
		       result->image_end_offset);
}

static void print_fixed(const struct gild_check_result *result)
{
	printf("The following inconsistencies were found and repaired:\n\n"
	       "    %" PRIu64 " leaked clusters\n    %" PRIu64
	       " corruptions\n\n"
	       "Double checking the fixed image now...\n",
	       result->leaks_fixed, result->corruptions_fixed);
}

/* Counts of zero are left out, as in qemu-img. */
static void put_count(json_t *json, const char *key, uint64_t count)
{
	if (count)
		json_put_number(json, key, count);
}

static int print_json(const char *path, const char *format,
		      const struct gild_check_result *result,
		      struct gild_error *err)
{
	json_t *json = json_object();

	put_count(json, "image-end-offset", result->image_end_offset);
	put_count(json, "total-clusters", result->total_clusters);
	json_put_number(json, "check-errors", result->check_errors);
	put_count(json, "corruptions", result->corruptions);
	put_count(json, "leaks", result->leaks);
	put_count(json, "corruptions-fixed", result->corruptions_fixed);
	put_count(json, "leaks-fixed", result->leaks_fixed);
	put_count(json, "allocated-clusters", result->allocated_clusters);
	put_count(json, "fragmented-clusters", result->fragmented_clusters);
	put_count(json, "compressed-clusters", result->compressed_clusters);
	json_put_text(json, "filename", path);
	json_put_text(json, "format", format);
	return json_print(json, err);
}

static int exit_status(const struct gild_check_result *result)
{
	if (result->check_errors)
		return EXIT_FAILED;
	if (result->corruptions)
		return EXIT_CORRUPT;
	return result->leaks ? EXIT_LEAKS : 0;
}

/* After a repair, look again: what is reported then is the image as it is
 * now, with what was repaired added. */
static int check_again(struct gild_image *image,
		       struct gild_check_result *result,
		       const struct arguments *arguments, struct gild_job *job,
		       struct gild_error *err)
{
	struct gild_check_result first = *result;

	if (!first.leaks_fixed && !first.corruptions_fixed)
		return 0;
	if (!arguments->json && !arguments->quiet)
		print_fixed(&first);
	if (gild_check(image, 0, result, job, err) < 0)
		return -1;
	result->leaks_fixed = first.leaks_fixed;
	result->corruptions_fixed = first.corruptions_fixed;
	return 0;
}

static int check(struct gild_image *image, const struct arguments *arguments,
		 unsigned fix, struct gild_check_result *result,
		 struct gild_error *err)
{
	struct progress *progress = progress_start(
		arguments->quiet ? PROGRESS_NONE : arguments->progress,
		arguments->json ? PROGRESS_KEEP_STDOUT : 0, "checking", err);
	struct gild_job *job;
	int status = 0;

	if (!progress)
		return EXIT_FAILED;
	job = progress_job(progress);
	if (gild_check(image, fix, result, job, err) < 0)
		status = err->kind == GILD_ERR_UNSUPPORTED ? EXIT_NO_CHECK :
							     EXIT_FAILED;
	else if (fix && check_again(image, result, arguments, job, err) < 0)
		status = EXIT_FAILED;
	return progress_finish(progress, status);
}

/* The status that says what was found goes before that of a failed close. */
static int check_and_print(struct gild_image *image, const char *path,
			   const struct arguments *arguments, unsigned fix,
			   struct gild_error *err)
{
	struct gild_check_result result = { .report = report_line };
	int status = check(image, arguments, fix, &result, err);

	if (status)
		return status;
	if (!arguments->quiet && !arguments->json)
		print_text(&result);
	else if (!arguments->quiet &&
		 print_json(path, gild_format(image), &result, err) < 0)
		return EXIT_FAILED;
	return exit_status(&result);
}

static int work(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	struct gild_image *image;
	unsigned fix, flags = GILD_OPEN_NO_BACKING | GILD_OPEN_REPAIR |
			      GILD_OPEN_LOCKED;

	if (operands->count != 1)
		return tool_misuse(err, "the name of one image is needed"), 1;
	if (parse_repair(arguments->repair, &fix, err) < 0)
		return EXIT_FAILED;
	if (fix && arguments->open.share)
		return tool_misuse(err, "-r and -U exclude each other"), 1;
	if (fix)
		flags |= GILD_OPEN_WRITE;
	image = open_image(&arguments->open, operands->items[0], flags, err);
	if (!image)
		return EXIT_FAILED;
	return close_image(image,
			   check_and_print(image, operands->items[0], arguments,
					   fix, err),
			   err);
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

const struct verb verb_check = {
	.name = "check",
	.summary = "look for errors in an image's metadata, and repair them",
	.operands = "FILE",
	.details = "Exit status: 0 no error, 1 the check failed, 2 errors, 3 "
		   "leaked clusters only,\n63 the format has nothing to "
		   "check. After -r it tells what is left.\n",
	.example = "  gild check disk.qcow2\n"
		   "  gild check -r all disk.qcow2\n",
	.rows = rows,
	.run = run,
};

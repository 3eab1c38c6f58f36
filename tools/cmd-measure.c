/* SPDX-License-Identifier: BSD-3-Clause */
/* gild measure: how large a file would an image need? */
#include "tools/cli.h"

#include <inttypes.h>

#include "tools/json.h"

#define NO_SIZE UINT64_MAX

struct arguments {
	struct open_arguments open;
	const char *format; /* -O */
	uint64_t size;
	struct option_list options;
	bool json;
};

static const struct option_row rows[] = {
	STRING_ROW('O', "target-format", "FMT", struct arguments, format,
		   "format to measure: raw (the default), qcow2, luks"),
	LIST_ROW(struct arguments, options),
	{ 0, "size", "SIZE", OPTION_SIZE, offsetof(struct arguments, size),
	  "measure an empty disk of SIZE instead of a FILE" },
	SNAPSHOT_ROW('l', struct arguments, open),
	SOURCE_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	OUTPUT_ROW(struct arguments, json),
	LAST_ROW,
};

static int print_json(const struct gild_measurement *result,
		      struct gild_error *err)
{
	json_t *json = json_object();

	if (result->has_bitmaps)
		json_put_number(json, "bitmaps", result->bitmaps);
	json_put_number(json, "required", result->required);
	json_put_number(json, "fully-allocated", result->fully_allocated);
	return json_print(json, err);
}

static int print_result(const struct arguments *arguments,
			const struct gild_measurement *result,
			struct gild_error *err)
{
	if (arguments->json)
		return print_json(result, err);
	printf("required size: %" PRIu64 "\n", result->required);
	printf("fully allocated size: %" PRIu64 "\n", result->fully_allocated);
	if (result->has_bitmaps)
		printf("bitmaps size: %" PRIu64 "\n", result->bitmaps);
	return 0;
}

/* source may be NULL. */
static int measure(const struct arguments *arguments, struct gild_image *source,
		   struct gild_error *err)
{
	struct gild_measurement result;

	if (gild_measure(source, arguments->size,
			 arguments->format ? arguments->format : "raw",
			 arguments->options.items, arguments->options.count,
			 &result, err) < 0)
		return -1;
	return print_result(arguments, &result, err);
}

static int work(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	bool has_size = arguments->size != NO_SIZE;
	struct gild_image *image;

	if (arguments->options.help)
		return option_list_help(arguments->format ? arguments->format :
							    "raw",
					false, err);
	if (operands->count > 1)
		return tool_misuse(err, "only one image can be measured");
	if (has_size && operands->count)
		return tool_misuse(err, "--size and the name of an image "
					"exclude each other");
	if (!has_size && !operands->count)
		return tool_misuse(err, "either --size or the name of an image "
					"is needed");
	if (has_size && arguments->open.snapshot)
		return tool_misuse(err, "--size and -l exclude each other");
	if (has_size)
		return measure(arguments, NULL, err);
	image = open_image(&arguments->open, operands->items[0],
			   GILD_OPEN_LOCKED, err);
	if (!image)
		return -1;
	return close_image(image, measure(arguments, image, err) < 0, err);
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .size = NO_SIZE };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);
	int status = parsed == PARSE_FAILED;

	if (parsed == PARSE_GO)
		status = work(&arguments, &operands, err) != 0;
	option_list_free(&arguments.options);
	return status;
}

const struct verb verb_measure = {
	.name = "measure",
	.summary = "say how large a file an image would need",
	.operands = "[FILE]",
	.example = "  gild measure -O qcow2 disk.raw\n"
		   "  gild measure -O qcow2 --size 20G\n",
	.rows = rows,
	.run = run,
};

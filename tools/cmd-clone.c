/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild clone: overlays over one base, any number in one call, all or none.
 * Signals wait until it is done, which is soon.
 */
#include "tools/cli.h"

#include "tools/json.h"

struct arguments {
	struct open_arguments open; /* format: of the base */
	struct option_list options;
	bool relative, no_sync, json, quiet;
};

static const struct option_row rows[] = {
	STRING_ROW('f', "format", "FMT", struct arguments, open.format,
		   "of the base (otherwise its name decides)"),
	LIST_ROW(struct arguments, options),
	FLAG_ROW(0, "relative", struct arguments, relative,
		 "record the base's name relative to each clone"),
	FLAG_ROW(0, "no-sync", struct arguments, no_sync,
		 "do not wait for stable storage"),
	DOOR_ROWS(struct arguments, open),
	OUTPUT_ROW(struct arguments, json),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

static int print_json(const struct operands *operands, struct gild_error *err)
{
	json_t *json = json_object(), *names = json_array();

	for (int i = 1; i < operands->count; i++)
		json_add(names, json_text(operands->items[i]));
	json_put_text(json, "base", operands->items[0]);
	json_put(json, "clones", names);
	return json_print(json, err);
}

static void print_text(const struct operands *operands)
{
	int count = operands->count - 1;

	printf("Cloned '");
	print_name(operands->items[0]);
	if (count == 1) {
		printf("' as '");
		print_name(operands->items[1]);
		printf("'\n");
	} else {
		printf("' %d times\n", count);
	}
}

static int clone(const struct arguments *arguments,
		 const struct operands *operands, struct gild_error *err)
{
	struct gild_clone_options options = {
		.base_format = arguments->open.format,
		.options = arguments->options.items,
		.option_count = arguments->options.count,
		.relative = arguments->relative,
		.no_sync = arguments->no_sync,
		.policy = open_policy(&arguments->open),
	};
	const char *const *names = (const char *const *)operands->items + 1;
	int result;

	signals_hold();
	result = gild_clone(operands->items[0], names,
			    (size_t)operands->count - 1, &options, err);
	signals_release();
	return result;
}

static int work(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	if (arguments->options.help)
		return option_list_help("qcow2", false, err);
	if (operands->count < 2)
		return tool_misuse(err, "the names of a base and of its clones "
					"are needed");
	if (clone(arguments, operands, err) < 0)
		return -1;
	if (arguments->quiet)
		return 0;
	if (arguments->json)
		return print_json(operands, err);
	print_text(operands);
	return 0;
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = { .json = false };
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);
	int status = parsed == PARSE_FAILED;

	if (parsed == PARSE_GO)
		status = work(&arguments, &operands, err) < 0;
	option_list_free(&arguments.options);
	return status;
}

const struct verb verb_clone = {
	.name = "clone",
	.summary = "make linked clones of a base image",
	.operands = "BASE NAME...",
	.details = "A clone is a qcow2 image that stores what differs from its "
		   "base. Either all\nclones are made or none. No file is "
		   "replaced.\n",
	.example = "  gild clone golden.qcow2 vm1.qcow2 vm2.qcow2\n",
	.rows = rows,
	.run = run,
};

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild info: describe an image. Only its metadata is read, so that it works
 * beside a running virtual machine, and no other file is opened, unless
 * --backing-chain asks for them.
 */
#include "tools/cli.h"

#include <stdlib.h>
#include <string.h>

#include "tools/info.h"
#include "tools/json.h"

struct arguments {
	struct open_arguments open;
	bool json, chain;
};

static const struct option_row rows[] = {
	SOURCE_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	CACHE_ROW('t', "cache", struct arguments, open.cache,
		  "cache mode of the image: writeback, none ..."),
	FLAG_ROW(0, "backing-chain", struct arguments, chain,
		 "describe the backing files too, in their order"),
	OUTPUT_ROW(struct arguments, json),
	LAST_ROW,
};

static struct gild_info *look(const struct open_arguments *open,
			      const char *path, struct gild_error *err)
{
	struct gild_image *image =
		open_image(open, path, GILD_OPEN_INSPECT, err);
	struct gild_info *info;

	if (!image)
		return NULL;
	info = gild_info(image, err);
	if (close_image(image, 0, err) != 0) {
		gild_info_free(info);
		return NULL;
	}
	return info;
}

/*
 * May the chain be followed, and does it end? The library knows both, so it is
 * asked to open all of it, without locks since nothing is read.
 */
static int probe_chain(const struct arguments *arguments, const char *path,
		       struct gild_error *err)
{
	struct open_arguments open = arguments->open;
	struct gild_image *image;

	open.share = true;
	image = open_image(&open, path, GILD_OPEN_LOCKED, err);
	if (!image)
		return -1;
	return gild_close(image, err);
}

struct chain {
	struct gild_info **items;
	size_t count;
};

static int chain_add(struct chain *chain, struct gild_info *info,
		     struct gild_error *err)
{
	struct gild_info **items =
		realloc(chain->items, (chain->count + 1) * sizeof(*items));

	if (!items) {
		gild_info_free(info);
		return tool_fail(err, "out of memory");
	}
	chain->items = items;
	items[chain->count++] = info;
	return 0;
}

static void chain_free(struct chain *chain)
{
	for (size_t i = 0; i < chain->count; i++)
		gild_info_free(chain->items[i]);
	free(chain->items);
}

static int chain_read(struct chain *chain, const struct arguments *arguments,
		      const char *path, struct gild_error *err)
{
	struct open_arguments open = arguments->open;

	do {
		struct gild_info *info = look(&open, path, err);

		if (!info || chain_add(chain, info, err) < 0)
			return -1;
		path = info->full_backing_filename;
		open.format = info->backing_format ? info->backing_format :
						     open.backing_format;
		open.spec = false;
		/* Followed already: probe_chain asked whether that may be. */
		if (path && arguments->chain && !strncmp(path, "file:", 5))
			path += 5;
	} while (path && arguments->chain);
	return 0;
}

/* One object, or with --backing-chain a list. */
static int print_json(const struct chain *chain, bool list,
		      struct gild_error *err)
{
	json_t *array;

	if (!list)
		return json_print(info_json(chain->items[0]), err);
	array = json_array();
	for (size_t i = 0; i < chain->count; i++)
		json_add(array, info_json(chain->items[i]));
	return json_print(array, err);
}

static int print_text(const struct chain *chain)
{
	for (size_t i = 0; i < chain->count; i++) {
		if (i)
			putchar('\n');
		info_text(chain->items[i]);
	}
	return 0;
}

static int work(const struct arguments *arguments,
		const struct operands *operands, struct gild_error *err)
{
	struct chain chain = { .count = 0 };
	const char *path = operands->items[0];
	int result;

	if (operands->count != 1)
		return tool_misuse(err, "the name of one image is needed");
	if (arguments->chain && probe_chain(arguments, path, err) < 0)
		return -1;
	result = chain_read(&chain, arguments, path, err);
	if (result == 0)
		result = arguments->json ?
				 print_json(&chain, arguments->chain, err) :
				 print_text(&chain);
	chain_free(&chain);
	return result;
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
	return work(&arguments, &operands, err) < 0;
}

const struct verb verb_info = {
	.name = "info",
	.summary = "describe an image",
	.operands = "FILE",
	.details = "Works beside a running virtual machine, and says that the "
		   "image is in use.\n",
	.example = "  gild info --output=json disk.qcow2\n",
	.rows = rows,
	.run = run,
};

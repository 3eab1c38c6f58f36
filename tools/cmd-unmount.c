/* SPDX-License-Identifier: BSD-3-Clause */
/* gild unmount: end what gild mount began. */
#include "tools/cli.h"

#include "fuse/mount.h"

static const struct option_row rows[] = {
	LAST_ROW,
};

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, NULL, &operands, err);

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	if (operands.count < 1) {
		tool_misuse(err, "the name of a folder is needed");
		return 1;
	}
	for (int i = 0; i < operands.count; i++)
		if (mount_end(operands.items[i], err) < 0)
			return 1;
	return 0;
}

const struct verb verb_unmount = {
	.name = "unmount",
	.summary = "end a mount of gild, and wait until the image is free",
	.operands = "DIR...",
	.details = "What was written is on stable storage when this "
		   "returns.\n",
	.example = "  gild unmount /tmp/disk\n",
	.rows = rows,
	.run = run,
};

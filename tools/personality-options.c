/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What qemu-img calls options that gild calls otherwise: names of 11.1, and
 * the older ones that it goes on to accept.
 */
#include "tools/personality.h"

const struct option_alias option_aliases[] = {
	{ "check", 0, "cache", "source-cache" },
	{ "commit", 0, "drop", "keep" },
	{ "compare", 0, "a-format", "format" },
	{ "compare", 0, "b-format", "second-format" },
	{ "compare", 0, "cache", "source-cache" },
	{ "convert", 0, "backing-format", "backing-fmt" },
	{ "convert", 0, "oob-writes", "out-of-order" },
	{ "convert", 0, "parallel", "workers" },
	{ "convert", 0, "source-format", "format" },
	{ "convert", 0, "target-cache", "cache" },
	{ "convert", 0, "target-format-options", "options" },
	{ "create", 'B', "backing-format", "backing-fmt" },
	{ "create", 0, "backing-unsafe", "unchecked" },
	{ "dd", 0, "output-format", "target-format" },
	{ "measure", 's', NULL, "size" },
	{ "rebase", 'B', "backing-format", "backing-fmt" },
	{ "rebase", 0, "backing-cache", "source-cache" },
	{ "rebase", 0, "backing-unsafe", "unsafe" },
	{ NULL, 0, NULL, NULL },
};

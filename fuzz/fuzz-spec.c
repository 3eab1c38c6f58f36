/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as what says how to open something: JSON behind "json:", else a
 * list of options. What is parsed is asked for, and judged; no file is opened.
 * An image may hold such a text.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/spec.h"
#include "fuzz/fuzz.h"

static void ask(const struct spec_node *node, int depth)
{
	static const char *const below[] = { "file", "backing", "data-file" };
	const char *driver = spec_get(node, "driver");
	struct spec_node child;
	uint64_t size;
	bool flag;

	spec_check(node, driver ? driver : "file", NULL);
	spec_size(node, "offset", &size, NULL);
	spec_bool(node, "read-only", &flag, NULL);
	spec_is_null(node, "backing");
	for (int i = 0; i < 3 && depth; i++) {
		if (spec_child(node, below[i], &child))
			ask(&child, depth - 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = size > FUZZ_MAX_INPUT ? NULL : malloc(size + 1);
	struct spec_node root;
	struct spec *spec;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	spec = spec_parse(text, NULL);
	free(text);
	if (!spec)
		return 0;
	root = spec_root(spec);
	ask(&root, 8);
	spec_release(spec);
	return 0;
}

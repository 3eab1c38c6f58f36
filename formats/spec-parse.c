/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of a spec, and how it is made of "NAME=VALUE,NAME=VALUE", in which
 * ",," stands for a comma in a value. */
#include <stdlib.h>
#include <string.h>

#include "formats/spec.h"
#include "util/cleanup.h"

static bool is_there(const struct spec *spec, const char *name, size_t length)
{
	for (size_t i = 0; i < spec->count; i++) {
		if (strlen(spec->entries[i].name) == length &&
		    !memcmp(spec->entries[i].name, name, length))
			return true;
	}
	return false;
}

int spec_add(struct spec *spec, const char *name, size_t name_length,
	     const char *value, struct gild_error *err)
{
	struct spec_entry *entry = &spec->entries[spec->count];

	if (!name_length)
		return fail(err, GILD_ERR_INVALID, 0, "a name is missing");
	if (spec->count == SPEC_MAX_ENTRIES)
		return fail(err, GILD_ERR_RANGE, 0, "more than %d options",
			    SPEC_MAX_ENTRIES);
	if (is_there(spec, name, name_length))
		return fail(err, GILD_ERR_INVALID, 0,
			    "option \"%.*s\" is given twice", (int)name_length,
			    name);
	entry->name = strndup(name, name_length);
	entry->value = value ? strdup(value) : NULL;
	spec->count++; /* what there is of it is freed */
	if (!entry->name || (value && !entry->value))
		return fail_nomem(err);
	return 0;
}

/* Cut one item off *rest, which lies in a buffer of our own, doubled commas
 * made single. */
static char *cut_item(char **rest)
{
	char *start = *rest, *from = start, *to = start;

	while (*from && (from[0] != ',' || from[1] == ',')) {
		if (*from == ',')
			from++;
		*to++ = *from++;
	}
	*rest = *from ? from + 1 : from;
	*to = '\0';
	return start;
}

static int parse_list(struct spec *spec, const char *text,
		      struct gild_error *err)
{
	AUTO_FREE char *copy = strdup(text);
	char *rest = copy;

	if (!copy)
		return fail_nomem(err);
	while (*rest) {
		char *item = cut_item(&rest), *equals = strchr(item, '=');

		if (!equals)
			return fail(err, GILD_ERR_INVALID, 0,
				    "option \"%s\" has no value", item);
		if (spec_add(spec, item, (size_t)(equals - item), equals + 1,
			     err) < 0)
			return -1;
	}
	return 0;
}

static int parse(struct spec *spec, const char *text, struct gild_error *err)
{
	spec->entries = calloc(SPEC_MAX_ENTRIES, sizeof(*spec->entries));
	spec->text = strdup(text);
	if (!spec->entries || !spec->text)
		return fail_nomem(err);
	if (strlen(text) > SPEC_MAX_LENGTH)
		return fail(err, GILD_ERR_RANGE, 0,
			    "what says how to open it is too long");
	if (!strncmp(text, "json:", 5))
		return spec_parse_json(spec, text + 5, err);
	return parse_list(spec, text, err);
}

struct spec *spec_parse(const char *text, struct gild_error *err)
{
	struct spec *spec = calloc(1, sizeof(*spec));

	if (!spec)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	atomic_init(&spec->holders, 1);
	if (parse(spec, text, err) == 0)
		return spec;
	spec_release(spec);
	return NULL;
}

struct spec *spec_hold(const struct spec *spec)
{
	struct spec *held = (struct spec *)(uintptr_t)spec;

	atomic_fetch_add(&held->holders, 1);
	return held;
}

void spec_release(struct spec *spec)
{
	if (!spec || atomic_fetch_sub(&spec->holders, 1) != 1)
		return;
	for (size_t i = 0; i < spec->count; i++) {
		free(spec->entries[i].name);
		free(spec->entries[i].value);
	}
	free(spec->entries);
	free(spec->text);
	free(spec);
}

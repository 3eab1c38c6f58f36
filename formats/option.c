/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "-o" options as a driver reads them: a list of names and values, judged
 * against the table of what the format offers. Names and spellings of values
 * are qemu-img's, so that scripts carry over; unlike there, an option that is
 * given twice is an error, since one of the two values would be ignored.
 */
#include "formats/format.h"

#include <string.h>

static const struct gild_option_help *
find_help(const struct gild_option_help *help, const char *name)
{
	for (; help && help->name; help++) {
		if (!strcmp(help->name, name))
			return help;
	}
	return NULL;
}

/* "name, name, name" as far as it fits. */
static void list_names(const struct gild_option_help *help, char *text,
		       size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (; help && help->name; help++) {
		size_t length = strlen(help->name);

		if (used + length + 3 > size)
			return;
		if (used) {
			memcpy(text + used, ", ", 2);
			used += 2;
		}
		memcpy(text + used, help->name, length + 1);
		used += length;
	}
}

static int fail_unknown(const struct gild_option_help *help, const char *name,
			struct gild_error *err)
{
	char names[256];

	list_names(help, names, sizeof(names));
	fail(err, GILD_ERR_INVALID, 0, "unknown option \"%s\"", name);
	if (names[0])
		return error_hint(err, "known options: %s", names);
	return error_hint(err, "the format has no options");
}

int option_check(const struct gild_option_help *help,
		 const struct gild_option *options, size_t count,
		 struct gild_error *err)
{
	for (size_t i = 0; i < count; i++) {
		const char *name = options[i].name;

		if (!find_help(help, name))
			return fail_unknown(help, name, err);
		if (option_get(options, i, name))
			return fail(err, GILD_ERR_INVALID, 0,
				    "option \"%s\" is given twice", name);
		if (!options[i].value)
			return fail(err, GILD_ERR_INVALID, 0,
				    "option \"%s\" needs a value", name);
	}
	return 0;
}

const char *option_get(const struct gild_option *options, size_t count,
		       const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(options[i].name, name))
			return options[i].value;
	}
	return NULL;
}

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++) {
		if (!strcmp(text, *words))
			return true;
	}
	return false;
}

int option_bool(const struct gild_option *options, size_t count,
		const char *name, bool *value, struct gild_error *err)
{
	static const char *const on[] = { "on", "yes", "true", "y", NULL };
	static const char *const off[] = { "off", "no", "false", "n", NULL };
	const char *text = option_get(options, count, name);

	if (!text)
		return 0;
	if (is_one_of(text, on))
		*value = true;
	else if (is_one_of(text, off))
		*value = false;
	else
		return fail(err, GILD_ERR_INVALID, 0,
			    "option \"%s\" is on or off, not \"%s\"", name,
			    text);
	return 0;
}

int option_size(const struct gild_option *options, size_t count,
		const char *name, uint64_t *value, struct gild_error *err)
{
	const char *text = option_get(options, count, name);

	if (!text)
		return 0;
	if (gild_parse_size(text, 1, value, err) < 0)
		return error_prefix(err, "option \"%s\": ", name);
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "-o name=value,name=value": the options of a format. What they mean is the
 * library's business; here they are only taken apart, in qemu-img's syntax.
 */
#include "tools/cli.h"

#include <stdlib.h>
#include <string.h>

static int fail_memory(struct gild_error *err)
{
	tool_fail(err, "out of memory");
	err->kind = GILD_ERR_NOMEM;
	return -1;
}

/* Keep text in the list, which frees it. */
static char *keep_text(struct option_list *list, const char *text)
{
	char **texts = realloc(list->texts,
			       (list->text_count + 1) * sizeof(*list->texts));

	if (!texts)
		return NULL;
	list->texts = texts;
	texts[list->text_count] = strdup(text);
	return texts[list->text_count] ? texts[list->text_count++] : NULL;
}

static int push(struct option_list *list, const char *name, const char *value,
		struct gild_error *err)
{
	struct gild_option *items;

	/* The last one counts there; for gild twice is a mistake. */
	if (is_qemu_img())
		option_list_take(list, name);
	items = realloc(list->items, (list->count + 1) * sizeof(*items));
	if (!items)
		return fail_memory(err);
	list->items = items;
	items[list->count++] = (struct gild_option){ name, value };
	return 0;
}

/* Cut one "name=value" off *rest in place, doubled commas made single. */
static char *cut_one(char **rest)
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

int option_list_add(struct option_list *list, const char *text,
		    struct gild_error *err)
{
	char *rest = keep_text(list, text);

	if (!rest)
		return fail_memory(err);
	if (!*rest)
		return tool_misuse(err, "-o needs name=value");
	while (*rest) {
		char *one = cut_one(&rest), *equals = strchr(one, '=');

		if (equals)
			*equals = '\0';
		if (!*one)
			return tool_misuse(err, "-o %s: a name is missing",
					   text);
		if (!equals && (!strcmp(one, "help") || !strcmp(one, "?")))
			list->help = true;
		else if (push(list, one, equals ? equals + 1 : "on", err) < 0)
			return -1;
	}
	return 0;
}

const char *option_list_get(const struct option_list *list, const char *name)
{
	for (size_t i = list->count; i-- > 0;) {
		if (!strcmp(list->items[i].name, name))
			return list->items[i].value;
	}
	return NULL;
}

const char *option_list_take(struct option_list *list, const char *name)
{
	const char *value = option_list_get(list, name);
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->items[i].name, name) != 0)
			list->items[kept++] = list->items[i];
	}
	list->count = kept;
	return value;
}

void option_list_free(struct option_list *list)
{
	for (size_t i = 0; i < list->text_count; i++)
		free(list->texts[i]);
	free(list->texts);
	free(list->items);
	*list = (struct option_list){ .count = 0 };
}

/* The value's type as qemu-img writes it. */
static const char *type_title(const char *type)
{
	static const char *const titles[][2] = {
		{ "bool", "bool (on/off)" },
		{ "string", "str" },
		{ "number", "num" },
	};

	for (size_t i = 0; i < sizeof(titles) / sizeof(*titles); i++) {
		if (!strcmp(titles[i][0], type))
			return titles[i][1];
	}
	return type;
}

static void print_row(const struct gild_option_help *row)
{
	char title[80];

	snprintf(title, sizeof(title), "%s=<%s>", row->name,
		 type_title(row->type));
	printf("  %-22s - %s", title, row->help);
	if (row->fallback)
		printf(" (default: %s)", row->fallback);
	putchar('\n');
}

/* The row whose name comes after another one; NULL: first, and none. */
static const struct gild_option_help *
next_row(const struct gild_option_help *rows, const char *after)
{
	const struct gild_option_help *best = NULL;

	for (; rows->name; rows++) {
		if ((!after || strcmp(rows->name, after) > 0) &&
		    (!best || strcmp(rows->name, best->name) < 0))
			best = rows;
	}
	return best;
}

/* By name, as qemu-img does it. */
void option_list_print(const struct gild_option_help *rows)
{
	const struct gild_option_help *row = next_row(rows, NULL);

	for (; row; row = next_row(rows, row->name))
		print_row(row);
}

int option_list_help(const char *format, bool has_file, struct gild_error *err)
{
	const struct gild_option_help *rows = gild_create_help(format);

	if (!rows) {
		tool_fail(err, "unknown format \"%s\"", format);
		tool_hint(err, "gild knows raw, qcow2 and luks");
		return -1;
	}
	if (is_qemu_img() && has_file)
		printf("Supported options:\n");
	else
		printf("Supported %s options:\n", format);
	option_list_print(rows);
	if (is_qemu_img() && !has_file)
		printf("\nThe protocol level may support further options.\n"
		       "Specify the target filename to include those "
		       "options.\n");
	return 0;
}

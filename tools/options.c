/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line, parsed as a verb's table of rows says. getopt_long does
 * the reading: options may follow operands, "--" ends them, long names may be
 * shortened. Its tables are derived from the rows, and its messages are
 * replaced by ours.
 */
#include "tools/cli.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "tools/personality.h"

enum {
	MAX_ROWS = 64,	 /* aliases included */
	VALUE_ROW = 256, /* + index: a row, by its long name */
	VALUE_HELP = VALUE_ROW + MAX_ROWS,
	VALUE_LIST,
};

/* Filled from the front; of two entries with one name the first counts. */
struct tables {
	struct option longs[MAX_ROWS + 3];
	char shorts[2 * MAX_ROWS + 8];
	size_t long_count, short_count;
	const struct option_row *rows;
	const struct option_row *of_letter[128];
};

static void add_long(struct tables *tables, const char *name, int argument,
		     int value)
{
	for (size_t i = 0; i < tables->long_count; i++) {
		if (!strcmp(tables->longs[i].name, name))
			return;
	}
	if (tables->long_count < MAX_ROWS + 2)
		tables->longs[tables->long_count++] =
			(struct option){ name, argument, NULL, value };
}

static void add_short(struct tables *tables, char letter,
		      const struct option_row *row)
{
	if (tables->of_letter[(unsigned char)letter] ||
	    tables->short_count > sizeof(tables->shorts) - 3)
		return;
	tables->of_letter[(unsigned char)letter] = row;
	tables->shorts[tables->short_count++] = letter;
	if (row->argument)
		tables->shorts[tables->short_count++] = ':';
}

static int long_argument(const struct option_row *row)
{
	if (row->kind == OPTION_PROGRESS)
		return optional_argument;
	return row->argument ? required_argument : no_argument;
}

/* A row by the names that it has, or other ones. */
static void add_row(struct tables *tables, int index, char letter,
		    const char *name)
{
	const struct option_row *row = &tables->rows[index];

	if (name)
		add_long(tables, name, long_argument(row), VALUE_ROW + index);
	if (letter)
		add_short(tables, letter, row);
}

static void add_aliases(struct tables *tables, const char *verb, int count)
{
	const struct option_alias *alias = option_aliases;

	for (; is_qemu_img() && alias->verb; alias++) {
		if (strcmp(alias->verb, verb) != 0)
			continue;
		for (int i = 0; i < count; i++) {
			const char *name = tables->rows[i].name;

			if (name && !strcmp(name, alias->ours))
				add_row(tables, i, alias->letter, alias->name);
		}
	}
}

static void build_tables(struct tables *tables, const struct verb *verb)
{
	int count = 0;

	memset(tables, 0, sizeof(*tables));
	tables->rows = verb->rows;
	tables->shorts[tables->short_count++] = ':';
	tables->shorts[tables->short_count++] = 'h';
	while (count < MAX_ROWS && verb->rows[count].help)
		count++;
	add_aliases(tables, verb->name, count);
	for (int i = 0; i < count; i++)
		add_row(tables, i, verb->rows[i].letter, verb->rows[i].name);
	add_long(tables, "help", no_argument, VALUE_HELP);
	add_long(tables, "list-options", no_argument, VALUE_LIST);
}

/* The row of what getopt_long returned, or NULL. */
static const struct option_row *find_row(const struct tables *tables, int value)
{
	if (value >= VALUE_ROW && value < VALUE_HELP)
		return &tables->rows[value - VALUE_ROW];
	return value > 0 && value < 128 ? tables->of_letter[value] : NULL;
}

/* "-S" or "--size", for messages. Returns text. */
static char *row_title(const struct option_row *row, char text[static 64])
{
	if (row->letter)
		snprintf(text, 64, "-%c", row->letter);
	else
		snprintf(text, 64, "--%s", row->name);
	return text;
}

static int set_size(const struct option_row *row, uint64_t *field,
		    struct gild_error *err)
{
	struct gild_error cause = { .kind = GILD_ERR_NONE };
	char title[64];

	if (gild_parse_size(optarg, 1, field, &cause) == 0)
		return 0;
	tool_misuse(err, "%s: %s", row_title(row, title), cause.message);
	tool_hint(err, "%s", cause.hint);
	return -1;
}

static int set_workers(const struct option_row *row, unsigned *field,
		       struct gild_error *err)
{
	char *end, title[64];
	unsigned long value = strtoul(optarg, &end, 10);

	if (*optarg < '0' || *optarg > '9' || *end || value < 1 ||
	    value > MAX_WORKERS)
		return tool_misuse(err,
				   "%s takes a number from 1 to %d, not '%s'",
				   row_title(row, title), MAX_WORKERS, optarg);
	*field = (unsigned)value;
	return 0;
}

static int set_cache(const struct option_row *row, enum gild_cache *field,
		     struct gild_error *err)
{
	static const char *const names[] = {
		[GILD_CACHE_WRITEBACK] = "writeback",
		[GILD_CACHE_NONE] = "none",
		[GILD_CACHE_WRITETHROUGH] = "writethrough",
		[GILD_CACHE_DIRECTSYNC] = "directsync",
		[GILD_CACHE_UNSAFE] = "unsafe",
	};
	char title[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!strcmp(names[i], optarg)) {
			*field = (enum gild_cache)i;
			return 0;
		}
	}
	return tool_misuse(err,
			   "%s takes none, writeback, writethrough, "
			   "directsync or unsafe, not '%s'",
			   row_title(row, title), optarg);
}

static int set_output(bool *json, struct gild_error *err)
{
	*json = !strcmp(optarg, "json");
	if (*json || !strcmp(optarg, "human"))
		return 0;
	return tool_misuse(err, "--output takes human or json, not '%s'",
			   optarg);
}

static int set_progress(enum progress_mode *mode, struct gild_error *err)
{
	if (!optarg) {
		/* -p beside --progress=json changes nothing. */
		if (*mode == PROGRESS_NONE)
			*mode = PROGRESS_SHOW;
		return 0;
	}
	if (strcmp(optarg, "json") != 0)
		return tool_misuse(err,
				   "--progress takes json or nothing, "
				   "not '%s'",
				   optarg);
	*mode = PROGRESS_JSON;
	return 0;
}

static int add_action(const struct option_row *row, struct action_list *list,
		      struct gild_error *err)
{
	struct action *items =
		realloc(list->items, (list->count + 1) * sizeof(*items));

	if (!items)
		return tool_fail(err, "out of memory");
	list->items = items;
	items[list->count++] = (struct action){
		.row = row,
		.argument = row->argument ? optarg : NULL,
	};
	return 0;
}

static int set_field(const struct option_row *row, void *fields,
		     struct gild_error *err)
{
	void *field = (char *)fields + row->field;

	switch (row->kind) {
	case OPTION_FLAG:
		*(bool *)field = true;
		return 0;
	case OPTION_STRING:
		*(const char **)field = optarg;
		return 0;
	case OPTION_SIZE:
		return set_size(row, field, err);
	case OPTION_WORKERS:
		return set_workers(row, field, err);
	case OPTION_CACHE:
		return set_cache(row, field, err);
	case OPTION_OUTPUT:
		return set_output(field, err);
	case OPTION_LIST:
		return option_list_add(field, optarg, err);
	case OPTION_ACTION:
		return add_action(row, field, err);
	case OPTION_PROGRESS:
		return set_progress(field, err);
	case OPTION_OBJECT:
		return secrets_add_object(optarg, err);
	case OPTION_SECRET:
		return secrets_add_file(optarg, err);
	}
	return 0;
}

/* What getopt_long could not make sense of. argument: the one it read last;
 * optopt: a letter, or a row that is known by its long name, or 0. */
static int fail_getopt(int value, const char *argument, struct gild_error *err)
{
	bool is_long = optopt == 0 || optopt >= VALUE_ROW;
	char letter[] = { '-', (char)optopt, '\0' };
	const char *name = is_long ? argument : letter;
	int length = (int)strcspn(name, "=");

	if (value == ':')
		return tool_misuse(err, "option '%s' needs an argument", name);
	if (optopt >= VALUE_ROW)
		return tool_misuse(err, "option '%.*s' takes no argument",
				   length, name);
	return tool_misuse(err, "unknown option '%.*s'", length, name);
}

enum parse_result options_parse(const struct verb *verb, int argc, char **argv,
				void *fields, struct operands *operands,
				struct gild_error *err)
{
	struct tables tables;
	int value;

	build_tables(&tables, verb);
	optind = 0; /* start afresh */
	opterr = 0;
	while ((value = getopt_long(argc, argv, tables.shorts, tables.longs,
				    NULL)) != -1) {
		const struct option_row *row = find_row(&tables, value);

		if (row && set_field(row, fields, err) < 0)
			return PARSE_FAILED;
		if (value == 'h' || value == VALUE_HELP)
			return options_help(verb), PARSE_DONE;
		if (value == VALUE_LIST)
			return options_list(verb), PARSE_DONE;
		if (!row)
			return fail_getopt(value, argv[optind - 1], err),
			       PARSE_FAILED;
	}
	operands->items = argv + optind;
	operands->count = argc - optind;
	return PARSE_GO;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* A verb's table of options, printed: --help, and for the completion. */
#include "tools/cli.h"

#include <string.h>

#include "tools/personality.h"

enum {
	HELP_COLUMN = 29,
	LINE_WIDTH = 79,
};

static void print_flag(const struct option_row *row, const char *before)
{
	if (row->letter)
		printf("%s[-%c", before, row->letter);
	else
		printf("%s[--%s", before, row->name);
	if (row->argument)
		printf(row->letter ? " %s" : "=%s", row->argument);
	putchar(']');
}

/* As long as print_flag prints it. */
static size_t flag_length(const struct option_row *row)
{
	size_t length = row->letter ? 4 : 4 + strlen(row->name);

	return length + (row->argument ? 1 + strlen(row->argument) : 0);
}

void options_synopsis(const struct verb *verb)
{
	size_t indent = strlen("Usage: ") + strlen(program_name()) + 1 +
			strlen(verb->name);
	size_t column = indent;

	for (const struct option_row *row = verb->rows; row->help; row++) {
		if (column + 1 + flag_length(row) > LINE_WIDTH) {
			printf("\n%*s", (int)indent, "");
			column = indent;
		}
		print_flag(row, " ");
		column += 1 + flag_length(row);
	}
	if (column + 1 + strlen(verb->operands) > LINE_WIDTH)
		printf("\n%*s", (int)indent, "");
	printf(" %s\n", verb->operands);
}

/* "-f, --format=FMT"; returns its length. */
static int print_names(const struct option_row *row)
{
	int length = printf("  ");

	if (row->letter)
		length += printf("-%c%s", row->letter, row->name ? ", " : "");
	else
		length += printf("    ");
	if (row->name)
		length += printf("--%s", row->name);
	if (row->argument)
		length += printf(row->name ? "=%s" : " %s", row->argument);
	return length;
}

static void print_row(const struct option_row *row)
{
	int length = print_names(row);

	if (length + 2 > HELP_COLUMN) {
		putchar('\n');
		length = 0;
	}
	printf("%*s%s\n", HELP_COLUMN - length, "", row->help);
}

void options_help(const struct verb *verb)
{
	static const struct option_row help = { 'h',  "help",
						NULL, OPTION_FLAG,
						0,    "show this, and exit" };

	printf("Usage: %s %s", program_name(), verb->name);
	options_synopsis(verb);
	printf("\n%c%s.\n", verb->summary[0] - 'a' + 'A', verb->summary + 1);
	if (verb->details)
		printf("\n%s", verb->details);
	printf("\nOptions:\n");
	for (const struct option_row *row = verb->rows; row->help; row++)
		print_row(row);
	print_row(&help);
	printf("\nExample:\n%s", verb->example);
}

/* What qemu-img calls a row, under its name. */
static void list_aliases(const struct verb *verb, const struct option_row *row)
{
	const struct option_alias *alias = option_aliases;
	const char *end = row->argument ? "=" : "";

	for (; is_qemu_img() && row->name && alias->verb; alias++) {
		if (strcmp(alias->verb, verb->name) != 0 ||
		    strcmp(alias->ours, row->name) != 0)
			continue;
		if (alias->letter)
			printf("-%c%s\n", alias->letter, end);
		if (alias->name)
			printf("--%s%s\n", alias->name, end);
	}
}

/* One option a line; what takes an argument ends in "=". */
void options_list(const struct verb *verb)
{
	for (const struct option_row *row = verb->rows; row->help; row++) {
		const char *end = row->argument ? "=" : "";

		if (row->letter)
			printf("-%c%s\n", row->letter, end);
		if (row->name)
			printf("--%s%s\n", row->name, end);
		if (row->kind == OPTION_PROGRESS)
			printf("--%s=\n", row->name);
		list_aliases(verb, row);
	}
	printf("-h\n--help\n");
}

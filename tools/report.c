/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors of the command line, and how errors of any origin are printed: one
 * line "gild: message" on standard error, the way out on the next.
 */
#include "tools/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "tools/personality.h"

/* Marks a command line that makes no sense. */
static const char misuse[] = "command line";

static void fill(struct gild_error *err, const char *operation,
		 const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

static void fill(struct gild_error *err, const char *operation,
		 const char *format, va_list args)
{
	memset(err, 0, sizeof(*err));
	err->kind = GILD_ERR_INVALID;
	snprintf(err->operation, sizeof(err->operation), "%s", operation);
	vsnprintf(err->message, sizeof(err->message), format, args);
}

int tool_fail(struct gild_error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fill(err, "tool", format, args);
	va_end(args);
	return -1;
}

int tool_misuse(struct gild_error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fill(err, misuse, format, args);
	va_end(args);
	return -1;
}

void tool_hint(struct gild_error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err->hint, sizeof(err->hint), format, args);
	va_end(args);
}

int qemu_prefix(struct gild_error *err, const char *format, ...)
{
	char old[sizeof(err->message)];
	va_list args;
	size_t used;

	if (!is_qemu_img())
		return -1;
	memcpy(old, err->message, sizeof(old));
	va_start(args, format);
	vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	used = strlen(err->message);
	snprintf(err->message + used, sizeof(err->message) - used, "%s", old);
	return -1;
}

/* One line stays one line, and a file's name cannot drive the terminal. */
static void print_line(const char *prefix, const char *more, const char *text)
{
	char line[1100];
	size_t used = 0;

	for (; *text && used + 5 < sizeof(line); text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '\n')
			used += (size_t)sprintf(line + used, "\\n");
		else if (c < ' ' || c == 0x7f)
			used += (size_t)sprintf(line + used, "\\%03o", c);
		else
			line[used++] = (char)c;
	}
	line[used] = '\0';
	fprintf(stderr, "%s%s%s\n", prefix, more, line);
}

/* The way out, where the reason alone tells it. */
static const char *hint_for(const struct gild_error *err)
{
	if (err->hint[0])
		return err->hint;
	switch (err->sys_errno) {
	case ENOSPC:
	case EDQUOT:
		return "make room there, or write elsewhere; gild measure tells "
		       "how much an image needs";
	case EFBIG:
		return "this filesystem, or a limit, allows no file of that "
		       "length: write elsewhere, or as qcow2";
	}
	return "";
}

static void report_as_gild(const struct gild_error *err)
{
	print_line("gild", ": ", err->message[0] ? err->message : "failed");
	if (hint_for(err)[0])
		print_line("gild", ": ", hint_for(err));
}

/* Its second line has no name before it. Returns whether help would help. */
static bool report_as_qemu_img(const struct gild_error *err, const char *verb)
{
	struct words words = {
		.misuse = !strcmp(err->operation, misuse),
	};

	personality_words(err, &words);
	if (words.with_verb && verb)
		fprintf(stderr, "qemu-img %s", verb);
	else
		fprintf(stderr, "qemu-img");
	print_line("", ": ", words.message[0] ? words.message : "failed");
	if (words.hint[0])
		print_line("", "", words.hint);
	return words.misuse;
}

void report_error(const struct gild_error *err, const char *verb)
{
	bool is_misuse = !strcmp(err->operation, misuse);

	fflush(stdout);
	if (is_qemu_img())
		is_misuse = report_as_qemu_img(err, verb);
	else
		report_as_gild(err);
	if (!is_misuse)
		return;
	fprintf(stderr, "Try '%s%s%s --help' for more information%s\n",
		program_name(), verb ? " " : "", verb ? verb : "",
		is_qemu_img() ? "" : ".");
}

void report_warning(const char *message)
{
	struct gild_error warning = { .kind = GILD_ERR_NONE };
	struct words words;

	snprintf(warning.message, sizeof(warning.message), "%s", message);
	if (is_qemu_img())
		personality_words(&warning, &words);
	print_line(program_name(),
		   ": warning: ", is_qemu_img() ? words.message : message);
}

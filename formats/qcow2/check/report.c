/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lines about problems. A broken image can have billions: the first thousand
 * are reported, the others are only counted.
 */
#include <stdarg.h>
#include <stdio.h>

#include "formats/qcow2/check/check.h"

#define MAX_LINES 1000

static void emit(struct check *c, const char *line)
{
	if (c->result->report)
		c->result->report(c->result->opaque, line);
}

bool check_is_heard(const struct check *c)
{
	return c->result->report && c->lines < MAX_LINES;
}

void check_say(struct check *c, const char *format, ...)
{
	char line[256];
	va_list args;

	if (!check_is_heard(c)) {
		c->silent++;
		return;
	}
	c->lines++;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	emit(c, line);
}

void check_say_rest(struct check *c)
{
	char line[80];

	if (!c->silent)
		return;
	snprintf(line, sizeof(line), "(%ju more lines are left out)",
		 (uintmax_t)c->silent);
	emit(c, line);
}

void check_unread(struct check *c, const char *what, uint64_t offset,
		  const struct gild_error *err)
{
	c->incomplete = c->unreadable = true;
	if (!c->first_pass)
		return;
	c->counts.errors++;
	if (c->run.speak)
		check_say(c, "ERROR %s at offset 0x%jx cannot be read: %s",
			  what, (uintmax_t)offset, err->message);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What the verbs print: sizes for people, names, and whether it arrived. */
#include "tools/cli.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

char *human_size(uint64_t bytes, char text[static 32])
{
	static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
					     "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	/* Three digits: 1000 bytes are 0.977 KiB. */
	for (; value >= 1000 && unit + 1 < sizeof(units) / sizeof(*units);
	     unit++)
		value /= 1024;
	snprintf(text, 32, "%0.3g %s", value, units[unit]);
	return text;
}

void print_name(const char *name)
{
	if (!isatty(STDOUT_FILENO)) {
		fputs(name, stdout);
		return;
	}
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		putchar(c < ' ' || c == 0x7f ? '?' : c);
	}
}

int finish_output(struct gild_error *err)
{
	bool failed = ferror(stdout) != 0;

	errno = 0;
	if (fflush(stdout) == 0 && !failed)
		return 0;
	return tool_fail(err, "standard output: %s",
			 strerror(errno ? errno : EIO));
}

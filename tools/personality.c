/* SPDX-License-Identifier: BSD-3-Clause */
/* Which name we were started by; see personality.h. */
#include "tools/personality.h"

#include <string.h>

/* What is claimed to those that ask for a feature by version. */
#define QEMU_IMG_VERSION "11.1.0"

static bool qemu_img;

void personality_choose(const char *program)
{
	const char *slash = strrchr(program, '/');

	qemu_img = !strcmp(slash ? slash + 1 : program, "qemu-img");
}

bool is_qemu_img(void)
{
	return qemu_img;
}

const char *program_name(void)
{
	return qemu_img ? "qemu-img" : "gild";
}

bool personality_has_verb(const char *name)
{
	static const char *const verbs[] = {
		"amend",   "bench",   "bitmap", "check",  "commit",
		"compare", "convert", "create", "dd",	  "info",
		"map",	   "measure", "rebase", "resize", "snapshot",
	};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
		if (!strcmp(verbs[i], name))
			return true;
	}
	return false;
}

/* Programs read the number behind "qemu-img version" in the first line. */
void personality_version(void)
{
	printf("qemu-img version " QEMU_IMG_VERSION " (gild %s)\n"
	       "This is gild, started under the name qemu-img.\n",
	       gild_version());
}

void personality_help(const struct verb *const *verbs)
{
	personality_version();
	printf("Disk images, made, converted and changed.  Usage:\n\n"
	       "  qemu-img [standard options] COMMAND [--help | command options]\n\n"
	       "Standard options:\n"
	       "  -h, --help\n     show this, and exit\n"
	       "  -V, --version\n     show the version, and exit\n"
	       "  -T, --trace TRACE\n     accepted, without effect\n\n"
	       "Recognized commands (run qemu-img COMMAND --help for "
	       "command-specific help):\n\n");
	for (; *verbs; verbs++) {
		if (personality_has_verb((*verbs)->name))
			printf("  %s - %s\n", (*verbs)->name,
			       (*verbs)->summary);
	}
	printf("\nSupported image formats:\n\n ");
	for (const char *const *format = gild_formats(); *format; format++)
		printf(" %s", *format);
	printf("\n");
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The name by which the command was started. As `qemu-img` it is a drop-in:
 * the same engine and verbs, and where qemu-img does or says something else
 * than gild, that. Every such difference asks is_qemu_img(), or is a row of a
 * table:
 *
 *     personality.c          the name, the version, --help
 *     personality-options.c  names that qemu-img has for our options
 *     personality-words.c    our errors in its words
 *
 * Where its versions differ, the newest documented behaviour holds (11.1).
 * Main thread; the name is chosen once, at the start.
 */
#ifndef TOOLS_PERSONALITY_H
#define TOOLS_PERSONALITY_H

#include "tools/cli.h"

/* Choose by argv[0]. */
void personality_choose(const char *program);

/* Is this a verb of qemu-img's? */
bool personality_has_verb(const char *name);

/* The first lines of --version, and --help; verbs: NULL at the end. */
void personality_version(void);
void personality_help(const struct verb *const *verbs);

/* Another name, under qemu-img's, for the row of a verb that has the long name
 * ours. Goes before the verb's own rows. */
struct option_alias {
	const char *verb;
	char letter;	  /* 0: none */
	const char *name; /* NULL: none */
	const char *ours;
};

/* Ends with verb == NULL. */
extern const struct option_alias option_aliases[];

/* What report_error prints. */
struct words {
	char message[1024];
	char hint[400];
	bool with_verb; /* after "qemu-img VERB: " */
	bool misuse;	/* say where help is */
};

/* An error in qemu-img's words, where it has some; else as it is. */
void personality_words(const struct gild_error *err, struct words *words);

#endif

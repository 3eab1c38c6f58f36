/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the verbs of the command share.
 *
 * A verb is one file, cmd-NAME.c, that ends in a `struct verb`; gild.c lists
 * them. Its options are a table of rows; the parser, --help and the shell's
 * completion all read that table. A row says where in the verb's own struct
 * its value goes:
 *
 *     struct arguments { struct open_arguments open; bool quiet; };
 *     static const struct option_row rows[] = {
 *             SOURCE_ROWS(struct arguments, open),
 *             FLAG_ROW('q', "quiet", struct arguments, quiet, "no output"),
 *             LAST_ROW
 *     };
 *
 * Verbs return the exit status and leave the reason in *err; main prints it,
 * once. Everything here is for the main thread unless it says otherwise.
 */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include <stddef.h>
#include <stdio.h>

#include "gild.h"

/* ------------------------------------------------------------- verbs -- */

struct verb {
	const char *name;
	const char *summary;  /* one line, lower case, no full stop */
	const char *operands; /* of the synopsis: "FILE [SIZE]" */
	const char *details;  /* more for --help, or NULL */
	const char *example;  /* a command line or several */
	const struct option_row *rows;
	/* argv[0] is the verb. Returns the exit status; 128 + n: signal n. */
	int (*run)(const struct verb *verb, int argc, char **argv,
		   struct gild_error *err);
};

extern const struct verb verb_amend, verb_bench, verb_bitmap, verb_check,
	verb_clone, verb_commit, verb_compare, verb_convert, verb_create,
	verb_dd, verb_info, verb_map, verb_measure, verb_mount, verb_partitions,
	verb_rebase, verb_resize, verb_serve, verb_snapshot, verb_unmount;

/* ------------------------------------------- personality.c: our name -- */

/* Were we started as "qemu-img"? See personality.h. */
bool is_qemu_img(void);

/* "gild" or "qemu-img". */
const char *program_name(void);

/* ------------------------- options.c, options-help.c, option-list.c -- */

enum option_kind {
	OPTION_FLAG,	 /* bool */
	OPTION_STRING,	 /* const char *: points into argv */
	OPTION_SIZE,	 /* uint64_t, bytes, with qemu-img's suffixes */
	OPTION_WORKERS,	 /* unsigned, 1 to MAX_WORKERS */
	OPTION_CACHE,	 /* enum gild_cache, by qemu-img's names */
	OPTION_OUTPUT,	 /* bool: JSON wanted */
	OPTION_LIST,	 /* struct option_list: -o, repeatable */
	OPTION_ACTION,	 /* struct action_list: in the order given */
	OPTION_PROGRESS, /* enum progress_mode; long with "=json" or alone */
	OPTION_OBJECT,	 /* no field: --object, see secrets.c */
	OPTION_SECRET,	 /* no field: --secret-file */
};

#define MAX_WORKERS 256

struct option_row {
	char letter;	      /* 0: none */
	const char *name;     /* long name; NULL: letter only */
	const char *argument; /* its name in the help, NULL: takes none */
	enum option_kind kind;
	size_t field; /* offset in the verb's struct */
	const char *help;
};

/* Parsed -o: names and values point into texts. */
struct option_list {
	struct gild_option *items;
	size_t count;
	char **texts;
	size_t text_count;
	bool help; /* "help" or "?" was among them */
};

/* Options that are done one after the other, not settings. */
struct action_list {
	struct action {
		const struct option_row *row;
		const char *argument; /* points into argv; NULL: none */
	} * items;
	size_t count;
};

/* What is left of the command line. */
struct operands {
	char **items;
	int count;
};

enum parse_result {
	PARSE_FAILED = -1,
	PARSE_GO = 0,
	PARSE_DONE, /* help was printed: exit 0 */
};

/* Fill the verb's struct, which holds the defaults, from argv. */
enum parse_result options_parse(const struct verb *verb, int argc, char **argv,
				void *fields, struct operands *operands,
				struct gild_error *err);

/* Print --help, and what --list-options tells the completion. */
void options_help(const struct verb *verb);
void options_list(const struct verb *verb);

/* "[-f FMT] [-q] FILE": the synopsis without the command's name. */
void options_synopsis(const struct verb *verb);

/* Append what "name=value,name=value" says; ",," stands for a comma in a
 * value, a name alone for name=on. */
int option_list_add(struct option_list *list, const char *text,
		    struct gild_error *err);

/* The value of an option, which leaves the list; NULL where it is not
 * there. The last one counts. */
const char *option_list_take(struct option_list *list, const char *name);

const char *option_list_get(const struct option_list *list, const char *name);

void option_list_free(struct option_list *list);

/* Print a table of options, one a line. */
void option_list_print(const struct gild_option_help *rows);

/* Print what a format offers, as "-o help" does. has_file: beside the name of
 * a file, which under qemu-img's name changes the words around it. */
int option_list_help(const char *format, bool has_file, struct gild_error *err);

/* --------------------------------------------------------------- open.c -- */

/* Options of every verb that opens an image. */
struct open_arguments {
	const char *format;
	const char *backing_format;
	const char *below;    /* --allow-backing */
	const char *snapshot; /* read this one: a name, or snapshot.id=ID ... */
	bool untrusted, share;
	bool stored_names; /* follow what only QEMU takes for a name */
	bool spec;	   /* --image-opts: the name says how to open */
	enum gild_cache cache;
};

struct gild_policy open_policy(const struct open_arguments *arguments);

/* flags: GILD_OPEN_* beyond what the arguments ask for. */
struct gild_image *open_image(const struct open_arguments *arguments,
			      const char *path, unsigned flags,
			      struct gild_error *err);

/* What the name of a target stands for: a path, or, where it is there already,
 * how to open it (*is_spec). NULL and an error where that is not to be had. */
const char *target_name(const char *name, bool is_there, bool spec,
			bool *is_spec, struct gild_error *err);

/* A warning, where the options of a new image ask for qcow2's old way to
 * encrypt. */
void warn_old_encryption(const struct option_list *options);

/* Under the name qemu-img: that the format of a target, opened as spec says, is
 * a guess. */
void warn_target(const char *spec);

/* ---------------------------------------------------- snapshot-choice.c -- */

/* Does it name a snapshot by "snapshot.id=" or "snapshot.name="? text: may be
 * NULL. */
bool snapshot_is_choice(const char *text);

/* The id of the snapshot so named, to be freed. path: the image's. */
char *snapshot_choose(const struct open_arguments *arguments, const char *path,
		      struct gild_error *err);

/* The id of the first snapshot with that id and that name (NULL: any), which
 * is the info's; or NULL. */
const char *snapshot_find(const struct gild_info *info, const char *id,
			  const char *name);

/* -------------------------------------------------------------- open.c -- */

/* Close without hiding an error that is in *err already. */
int close_image(struct gild_image *image, int status, struct gild_error *err);

/* The format that a new file gets: the one named, or raw; NULL and an error
 * where the file's name denies raw and nobody named the format. option: the
 * one that names it, as "-O". */
const char *target_format(const char *path, const char *format,
			  const char *option, struct gild_error *err);

/* ------------------------------------------------------------- clones.c -- */

/* Refuse to change an image on which others in its folder build, unless forced.
 * Not under the name qemu-img. */
int check_clones(struct gild_image *image, bool force, struct gild_error *err);

/* The same for what a commit of it to base changes, see
 * gild_find_clones_below. */
int check_clones_below(struct gild_image *image, const char *base, bool force,
		       struct gild_error *err);

#define FORCE_ROW(type, member)            \
	FLAG_ROW(0, "force", type, member, \
		 "even if images beside it build on it")

/* ------------------------------------------------------------- stream.c -- */

bool stream_is_pipe(const char *path);

/* A descriptor for open(2)'s flags, or -1. */
int stream_open(const char *path, int flags, struct gild_error *err);

/* Where the target is a pipe, or standard output is wanted, it becomes the
 * options' stream. What is printed then goes to standard error. */
int stream_target(struct gild_convert_options *options, bool to_stdout,
		  struct gild_error *err);

/* ------------------------------------------------------------ secrets.c -- */

/* Take what an option gives; text is overwritten where it holds a secret. */
int secrets_add_object(char *text, struct gild_error *err);
int secrets_add_file(const char *path, struct gild_error *err);

/* All that were given; they last until secrets_wipe. */
void secrets_give(struct gild_policy *policy);
void secrets_wipe(void);

/* ------------------------------------------------------ rows they share -- */

#define STRING_ROW(letter, name, argument, type, member, help)                 \
	{                                                                      \
		letter, name, argument, OPTION_STRING, offsetof(type, member), \
			help                                                   \
	}
#define FLAG_ROW(letter, name, type, member, help)                            \
	{                                                                     \
		letter, name, NULL, OPTION_FLAG, offsetof(type, member), help \
	}
#define LAST_ROW                                    \
	{                                           \
		0, NULL, NULL, OPTION_FLAG, 0, NULL \
	}

#define SECRET_ROWS                                                           \
	{ 0,	  "secret-file",                                              \
	  "FILE", OPTION_SECRET,                                              \
	  0,	  "a passphrase of encrypted images" },                       \
	{                                                                     \
		0, "object", "DEFINITION", OPTION_OBJECT, 0,                  \
			"the same as secret,id=ID,file=FILE (qemu-img's way)" \
	}

#define DOOR_ROWS(type, open)                                                  \
	STRING_ROW(0, "backing-format", "FMT", type, open.backing_format,      \
		   "format of backing files for which none is recorded"),      \
		STRING_ROW(0, "allow-backing", "DIR", type, open.below,        \
			   "open backing files only below DIR"),               \
		FLAG_ROW(0, "untrusted", type, open.untrusted,                 \
			 "open no file that the image names"),                 \
		FLAG_ROW(0, "allow-stored-names", type, open.stored_names,     \
			 "follow json:, file: and nbd: names in images, too"), \
		SECRET_ROWS

#define SNAPSHOT_ROW(letter, type, open)                                \
	STRING_ROW(letter, "snapshot", "SNAPSHOT", type, open.snapshot, \
		   "read this internal snapshot (id, else name)")

#define SHARE_ROW(type, open)                          \
	FLAG_ROW('U', "force-share", type, open.share, \
		 "read also while another process writes")

#define SPEC_ROW(type, open)                       \
	FLAG_ROW(0, "image-opts", type, open.spec, \
		 "names are driver=...,file.filename=...")

#define SOURCE_ROWS(type, open)                                      \
	STRING_ROW('f', "format", "FMT", type, open.format,          \
		   "raw, qcow2, luks (otherwise the name decides)"), \
		SPEC_ROW(type, open), DOOR_ROWS(type, open)

#define OUTPUT_ROW(type, member)                                          \
	{                                                                 \
		0, "output", "human|json", OPTION_OUTPUT,                 \
			offsetof(type, member), "how to print the result" \
	}
#define ACTION_ROW(name, argument, type, member, help)                         \
	{                                                                      \
		0, name, argument, OPTION_ACTION, offsetof(type, member), help \
	}
#define QUIET_ROW(type, member) \
	FLAG_ROW('q', "quiet", type, member, "print errors only")
#define LIST_ROW(type, member)                                       \
	{                                                            \
		'o', "options", "NAME=VALUE,...", OPTION_LIST,       \
			offsetof(type, member),                      \
			"options of the format (-o help lists them)" \
	}
#define WORKERS_ROW(type, member)                                            \
	{                                                                    \
		'm', "workers", "N", OPTION_WORKERS, offsetof(type, member), \
			"threads (otherwise one a processor)"                \
	}
#define RATE_ROW(type, member)                             \
	{                                                  \
		'r', "rate-limit", "RATE", OPTION_SIZE,    \
			offsetof(type, member),            \
			"copy at most RATE bytes a second" \
	}
#define CACHE_ROW(letter, name, type, member, help)                         \
	{                                                                   \
		letter, name, "MODE", OPTION_CACHE, offsetof(type, member), \
			help                                                \
	}
#define PROGRESS_ROW(type, member)                                          \
	{                                                                   \
		'p', "progress", NULL, OPTION_PROGRESS,                     \
			offsetof(type, member),                             \
			"show progress; --progress=json: one object a line" \
	}

/* ------------------------------------------------------------- report.c -- */

/* Fill *err and return -1. */
int tool_fail(struct gild_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same for a command line that makes no sense: main adds where help is. */
int tool_misuse(struct gild_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

void tool_hint(struct gild_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Under the name qemu-img: put text before the message, as it does. Returns
 * -1. */
int qemu_prefix(struct gild_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Print an error, and the way out; verb may be NULL. */
void report_error(const struct gild_error *err, const char *verb);

/* A note on standard error, from any thread. */
void report_warning(const char *message);

/* ------------------------------------------------------------- output.c -- */

/* "1.5 GiB", as qemu-img writes it. Returns text. */
char *human_size(uint64_t bytes, char text[static 32]);

/* Print bytes that somebody else chose (a file's name, a stored string);
 * control characters do not reach a terminal. */
void print_name(const char *name);

/* Everything printed arrived? */
int finish_output(struct gild_error *err);

/* ----------------------------------------------------------- progress.c -- */

enum progress_mode {
	PROGRESS_NONE, /* on SIGUSR1 only */
	PROGRESS_SHOW, /* bar on a terminal, else plain lines */
	PROGRESS_JSON,
};

struct progress;

enum {
	PROGRESS_KEEP_STDOUT = 1 << 0, /* print nothing there */
	PROGRESS_MAY_DIE = 1 << 1,     /* nothing to clean up: end at once */
};

/*
 * Watch a job from here to progress_finish: show how far it is, print that on
 * SIGUSR1, and cancel it on SIGINT, SIGTERM and SIGHUP. flags: PROGRESS_*;
 * what: "converting".
 */
struct progress *progress_start(enum progress_mode mode, unsigned flags,
				const char *what, struct gild_error *err);

struct gild_job *progress_job(struct progress *progress);

/* Returns status, or 128 + n if signal n cancelled the job and it failed. */
int progress_finish(struct progress *progress, int status);

/* Hold SIGINT, SIGTERM and SIGHUP back for the time of a short call that
 * must not stop half way. */
void signals_hold(void);
void signals_release(void);

#endif

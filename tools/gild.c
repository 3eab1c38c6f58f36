/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gild command: finds the verb, runs it, prints its error, and makes sure
 * that what was printed arrived. A new verb is one file, one declaration in
 * cli.h, one line in the table below.
 */
#include "tools/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/personality.h"

static const struct verb *const verbs[] = {
	&verb_create, &verb_clone,	&verb_convert,
	&verb_info,   &verb_map,	&verb_measure,
	&verb_check,  &verb_compare,	&verb_snapshot,
	&verb_resize, &verb_commit,	&verb_rebase,
	&verb_amend,  &verb_bitmap,	&verb_dd,
	&verb_bench,  &verb_partitions, &verb_serve,
	&verb_mount,  &verb_unmount,	NULL,
};

enum {
	VERB_COUNT = sizeof(verbs) / sizeof(*verbs) - 1,
	SIGNALLED = 128,
};

static const struct verb *find_verb(const char *name)
{
	if (is_qemu_img() && !personality_has_verb(name))
		return NULL;
	for (size_t i = 0; i < VERB_COUNT; i++) {
		if (!strcmp(verbs[i]->name, name))
			return verbs[i];
	}
	return NULL;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/* Letters to add, drop or change to make one word of the other (of the first
 * 31 letters, which is more than a verb has). */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[32];
	size_t width = strnlen(b, 31);

	for (unsigned j = 0; j <= width; j++)
		row[j] = j;
	for (; *a; a++) {
		unsigned diagonal = row[0]++;

		for (size_t j = 1; j <= width; j++) {
			unsigned above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1,
				      diagonal + (*a != b[j - 1]));
			diagonal = above;
		}
	}
	return row[width];
}

static int fail_verb(const char *name, struct gild_error *err)
{
	const char *best = NULL;
	unsigned least = 3; /* more letters wrong: not what was meant */

	for (size_t i = 0; i < VERB_COUNT; i++) {
		unsigned d = distance(name, verbs[i]->name);

		if (d < least) {
			least = d;
			best = verbs[i]->name;
		}
	}
	tool_misuse(err, "unknown verb '%s'", name);
	if (best)
		tool_hint(err, "did you mean '%s'?", best);
	return -1;
}

static void print_help(void)
{
	printf("Usage: gild VERB [OPTION]... FILE...\n\n"
	       "Make, clone, convert and look into virtual disk images "
	       "(raw, qcow2, luks).\n\nVerbs:\n");
	for (size_t i = 0; i < VERB_COUNT; i++)
		printf("  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
	printf("\nOptions:\n"
	       "  -h, --help     show this, and exit\n"
	       "  -V, --version  show the version, and exit\n"
	       "\n'gild VERB --help' tells more of a verb, 'man gild-VERB' "
	       "all of it.\n"
	       "\nExample:\n"
	       "  gild convert -c -O qcow2 disk.raw golden.qcow2\n"
	       "  gild clone golden.qcow2 vm1.qcow2 vm2.qcow2\n");
}

static void print_list(void)
{
	for (size_t i = 0; i < VERB_COUNT; i++) {
		if (!is_qemu_img() || personality_has_verb(verbs[i]->name))
			printf("%s\n", verbs[i]->name);
	}
	printf("-h\n--help\n-V\n--version\n");
}

static bool is_one_of(const char *text, const char *a, const char *b)
{
	return !strcmp(text, a) || !strcmp(text, b);
}

/* What stands where a verb is expected but begins with a dash. */
static int run_option(const char *option, struct gild_error *err)
{
	if (is_one_of(option, "-h", "--help"))
		is_qemu_img() ? personality_help(verbs) : print_help();
	else if (is_one_of(option, "-V", "--version"))
		is_qemu_img() ? personality_version() :
				(void)printf("gild %s\n", gild_version());
	else if (!strcmp(option, "--list-options"))
		print_list();
	else
		return tool_misuse(err, "unknown option '%s'", option), 1;
	return 0;
}

/* What stands before the verb and has no effect here: -T TRACE. Returns how
 * many words that is. */
static int skip_trace(int argc, char **argv)
{
	int skipped = 0;

	while (is_qemu_img() && skipped + 1 < argc) {
		const char *word = argv[skipped + 1];

		if (is_one_of(word, "-T", "--trace"))
			skipped += 2;
		else if (!strncmp(word, "-T", 2) ||
			 !strncmp(word, "--trace=", 8))
			skipped++;
		else
			break;
	}
	return skipped;
}

static int run(int argc, char **argv, const struct verb **verb,
	       struct gild_error *err)
{
	int skipped = skip_trace(argc, argv);

	argc -= skipped;
	argv += skipped;
	if (argc < 2)
		return tool_misuse(err, "a verb is missing"), 1;
	if (argv[1][0] == '-')
		return run_option(argv[1], err);
	*verb = find_verb(argv[1]);
	if (!*verb)
		return fail_verb(argv[1], err), 1;
	return (*verb)->run(*verb, argc - 1, argv + 1, err);
}

/*
 * An image must not end up as descriptor 0, 1 or 2, where prints would go into
 * it. What is closed is opened such that its use fails.
 */
static void open_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int flags = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags) != fd)
			abort();
	}
}

/* SIGUSR1 asks for progress, also of what has none to show. A pipe that
 * nobody reads is an error like any other. */
static void prepare_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* End as the signal would have ended us, so that a calling shell knows. */
static void die_of(int number)
{
	sigset_t set;

	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	raise(number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(int argc, char **argv)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };
	const struct verb *verb = NULL;
	int status;

	personality_choose(argc > 0 ? argv[0] : "");
	open_standard_fds();
	prepare_signals();
	status = run(argc, argv, &verb, &err);
	secrets_wipe();
	if (err.kind == GILD_ERR_NONE && finish_output(&err) < 0 && !status)
		status = 1;
	if (err.kind != GILD_ERR_NONE)
		report_error(&err, verb ? verb->name : NULL);
	if (status > SIGNALLED)
		die_of(status - SIGNALLED);
	return status;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs Criterion's tests without Criterion's library, for the thread
 * sanitizer: Criterion starts each test in a process whose memory it maps at
 * an address of its own choice, which that sanitizer does not survive.
 *
 * A test program is compiled as ever, against Criterion's headers, and linked
 * with this file in place of -lcriterion. Tests are found where Criterion's
 * macros put them, in the section "cr_tst"; each runs in a plain fork.
 * Supported: Test, ParameterizedTest, TestSuite (init, fini, disabled), the
 * options signal, exit_code, timeout, disabled; cr_assert*, cr_expect*,
 * cr_skip_test, cr_malloc. A program that needs more does not link.
 *
 * One thread; the children speak through `shared`, a page of common memory.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <criterion/event.h>

#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Seconds; how much slower than others the sanitizer's build may be. */
enum {
	DEFAULT_TIMEOUT = 240,
	SLOWNESS = 4,
	NAME_SIZE = 256
};

static struct shared {
	volatile int failed;
	volatile int skipped;
	volatile int finished;
	char reason[200];
} * shared;

struct totals {
	int passed, failed, skipped;
};

/* The linker defines these two, for a section named like an identifier. */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

/* What Criterion's macros look at and call. */

struct criterion_options criterion_options;

/* The test of this child, for criterion_internal_test_*. */
static const struct criterion_test_extra_data *current, *current_suite;
static void *current_param;

void criterion_internal_test_setup(void)
{
	if (current_suite && current_suite->init)
		current_suite->init();
	if (current->init)
		current->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
	/* As Criterion: a parameterised test is called with its parameter. */
	if (current_param)
		((void (*)(void *))(void *)fn)(current_param);
	else
		fn();
}

void criterion_internal_test_teardown(void)
{
	if (current->fini)
		current->fini();
	if (current_suite && current_suite->fini)
		current_suite->fini();
	shared->finished = 1;
}

static _Noreturn void leave(void)
{
	fflush(NULL);
	_exit(0);
}

void criterion_abort_test(void)
{
	shared->failed = 1;
	leave();
}

void criterion_continue_test(void)
{
	shared->failed = 1;
}

void criterion_skip_test(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(shared->reason, sizeof(shared->reason), format, args);
	va_end(args);
	shared->skipped = 1;
	leave();
}

void criterion_test_die(const char *msg, ...)
{
	va_list args;

	va_start(args, msg);
	vfprintf(stderr, msg, args);
	va_end(args);
	criterion_abort_test();
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
	if (!stats->passed)
		fprintf(stderr, "%s:%u: Assertion failed: %s\n", stats->file,
			stats->line, stats->message);
}

void cri_asserts_passed_incr(void)
{
}

char *cr_translate_assert_msg(int msg_index, ...)
{
	va_list args;
	const char *expr;
	char *text = NULL;

	(void)msg_index;
	va_start(args, msg_index);
	expr = va_arg(args, const char *);
	va_end(args);
	return asprintf(&text, "%s", expr) < 0 ? NULL : text;
}

int cr_asprintf(char **strp, const char *fmt, ...)
{
	va_list args;
	int length;

	va_start(args, fmt);
	length = vasprintf(strp, fmt, args);
	va_end(args);
	return length;
}

void cr_asprintf_free(char *buf)
{
	free(buf);
}

void *cr_malloc(size_t size)
{
	return malloc(size);
}

void *cr_calloc(size_t nmemb, size_t size)
{
	return calloc(nmemb, size);
}

void *cr_realloc(void *ptr, size_t size)
{
	return realloc(ptr, size);
}

void cr_free(void *ptr)
{
	free(ptr);
}

/* The runner. */

static const struct criterion_test_extra_data *find_suite(const char *name)
{
	struct criterion_suite **s;

	for (s = __start_cr_sts; s < __stop_cr_sts; s++) {
		if (*s && !strcmp((*s)->name, name))
			return (*s)->data;
	}
	return NULL;
}

static _Noreturn void run_child(const struct criterion_test *test)
{
	double limit = current->timeout;

	if (limit <= 0 && current_suite)
		limit = current_suite->timeout;
	alarm(limit > 0 ? (unsigned)limit * SLOWNESS + 1 : DEFAULT_TIMEOUT);
	test->test();
	/* Not _exit: the sanitizer speaks at exit, too. */
	exit(0);
}

/* Did the child end as the test says that it should? */
static int as_expected(int status)
{
	if (current->signal)
		return WIFSIGNALED(status) &&
		       WTERMSIG(status) == current->signal;
	if (current->exit_code)
		return WIFEXITED(status) &&
		       WEXITSTATUS(status) == current->exit_code;
	return WIFEXITED(status) && !WEXITSTATUS(status) && shared->finished;
}

static void account(FILE *tap, struct totals *totals, const char *name,
		    int status)
{
	if (shared->skipped) {
		totals->skipped++;
		fprintf(tap, "ok - %s # SKIP %s\n", name, shared->reason);
	} else if (!shared->failed && as_expected(status)) {
		totals->passed++;
		fprintf(tap, "ok - %s\n", name);
	} else {
		totals->failed++;
		fprintf(tap, "not ok - %s\n", name);
		fprintf(stderr, "[FAIL] %s (%s %d)\n", name,
			WIFSIGNALED(status) ? "signal" : "status",
			WIFSIGNALED(status) ? WTERMSIG(status) :
					      WEXITSTATUS(status));
	}
}

static void run_once(FILE *tap, struct totals *totals,
		     const struct criterion_test *test, const char *name)
{
	int status = 0;
	pid_t child;

	memset(shared, 0, sizeof(*shared));
	if (current->disabled || (current_suite && current_suite->disabled)) {
		shared->skipped = 1;
		account(tap, totals, name, 0);
		return;
	}
	fflush(NULL);
	child = fork();
	if (child == 0)
		run_child(test);
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("fork");
		exit(2);
	}
	account(tap, totals, name, status);
}

static void run_test(FILE *tap, struct totals *totals,
		     const struct criterion_test *test)
{
	struct criterion_test_params p;
	char name[NAME_SIZE];
	size_t i;

	current = test->data;
	current_suite = find_suite(test->category);
	current_param = NULL;
	snprintf(name, sizeof(name), "%s::%s", test->category, test->name);
	if (current->kind_ != CR_TEST_PARAMETERIZED) {
		run_once(tap, totals, test, name);
		return;
	}
	p = current->param_();
	for (i = 0; i < p.length; i++) {
		current_param = (char *)p.params + i * p.size;
		run_once(tap, totals, test, name);
	}
	if (p.cleanup)
		p.cleanup(&p);
}

static int wanted(const struct criterion_test *test, const char *filter)
{
	char name[NAME_SIZE];

	snprintf(name, sizeof(name), "%s/%s", test->category, test->name);
	return !filter || !fnmatch(filter, name, 0);
}

int main(int argc, char **argv)
{
	struct totals totals = { 0 };
	const char *filter = NULL;
	struct criterion_test **t;
	FILE *tap = stdout;
	int i;

	/* Criterion's options that matter here; -jN and the like do not. */
	for (i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--tap=", 6))
			tap = fopen(argv[i] + 6, "w");
		else if (!strcmp(argv[i], "--filter") && i + 1 < argc)
			filter = argv[++i];
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!tap || shared == MAP_FAILED) {
		perror(argv[0]);
		return 2;
	}
	for (t = __start_cr_tst; t < __stop_cr_tst; t++) {
		if (*t && wanted(*t, filter))
			run_test(tap, &totals, *t);
	}
	fprintf(stderr, "%d passed, %d failed, %d skipped\n", totals.passed,
		totals.failed, totals.skipped);
	fclose(tap);
	return totals.failed > 0;
}

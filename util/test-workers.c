/* SPDX-License-Identifier: BSD-3-Clause */
/* Every thread runs the function; the call returns after the last one. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "util/workers.h"

struct count {
	atomic_uint running;
	pthread_barrier_t together;
	pthread_t caller;
	atomic_uint in_caller, deaf;
};

static void meet(void *arg)
{
	struct count *count = arg;
	sigset_t blocked;

	/* Passes only if all of them run at the same time. */
	pthread_barrier_wait(&count->together);
	if (pthread_equal(pthread_self(), count->caller))
		count->in_caller++;
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	count->deaf += sigismember(&blocked, SIGUSR1) == 1;
	count->running++;
}

Test(workers, all_run_at_once, .timeout = 60)
{
	struct count count = { .caller = pthread_self() };
	struct gild_error err;

	for (unsigned n = 1; n <= 8; n++) {
		count.running = count.in_caller = count.deaf = 0;
		pthread_barrier_init(&count.together, NULL, n);
		cr_assert_eq(workers_run(n, meet, &count, &err), 0);
		pthread_barrier_destroy(&count.together);
		cr_assert_eq(count.running, n);
		cr_assert_eq(count.in_caller, 1);
		/* All but the caller's leave signals alone. */
		cr_assert_eq(count.deaf, n - 1);
	}
}

static void add_one(void *arg)
{
	(*(atomic_uint *)arg)++;
}

Test(workers, none_is_refused)
{
	struct gild_error err;
	atomic_uint n = 0;

	cr_assert_eq(workers_run(0, add_one, &n, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_INVALID);
	cr_assert_eq(n, 0);
}

Test(workers, signal_mask_of_the_caller_stays)
{
	atomic_uint n = 0;
	sigset_t blocked;

	cr_assert_eq(workers_run(4, add_one, &n, NULL), 0);
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	cr_assert_not(sigismember(&blocked, SIGUSR1));
}

Test(workers, default_follows_affinity)
{
	cpu_set_t one;
	int first = sched_getcpu();

	cr_assert_geq(workers_default(), 1);
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	cr_assert_eq(workers_default(), 1);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* The sanitizers need more address space than this leaves. */
Test(workers, work_is_done_without_memory_for_threads)
{
	struct rlimit none = { 0, RLIM_INFINITY };
	atomic_uint n = 0;

	getrlimit(RLIMIT_AS, &none);
	none.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_AS, &none), 0);
	cr_expect_eq(workers_run(4, add_one, &n, NULL), 0);
	none.rlim_cur = none.rlim_max;
	setrlimit(RLIMIT_AS, &none);
	cr_assert_eq(n, 1);
}
#endif

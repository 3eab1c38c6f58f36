/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads for the time of one call. They take no signals: a handler of the
 * program runs in its own threads, and a system call in a worker is not
 * interrupted.
 */
#include "util/workers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/cleanup.h"

struct task {
	void (*work)(void *arg);
	void *arg;
};

static void *run_task(void *opaque)
{
	const struct task *task = opaque;

	task->work(task->arg);
	return NULL;
}

/* Start up to count threads; how many there are. */
static unsigned start_threads(pthread_t *threads, unsigned count,
			      struct task *task)
{
	sigset_t all, before;
	unsigned started = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (started < count &&
	       !pthread_create(&threads[started], NULL, run_task, task))
		started++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return started;
}

int workers_run(unsigned count, void (*work)(void *arg), void *arg,
		struct gild_error *err)
{
	struct task task = { work, arg };
	AUTO_FREE pthread_t *threads = NULL;
	unsigned started = 0;

	if (!count)
		return fail(err, GILD_ERR_INVALID, 0, "no threads to run");
	/* Without memory for more, the caller's thread does all the work. */
	if (count > 1)
		threads = calloc(count - 1, sizeof(*threads));
	if (threads)
		started = start_threads(threads, count - 1, &task);
	work(arg);
	while (started)
		pthread_join(threads[--started], NULL);
	return 0;
}

unsigned workers_default(void)
{
	cpu_set_t set;
	long online;

	if (!sched_getaffinity(0, sizeof(set), &set))
		return CPU_COUNT(&set) > 0 ? (unsigned)CPU_COUNT(&set) : 1;
	/* More processors than a cpu_set_t holds. */
	online = sysconf(_SC_NPROCESSORS_ONLN);
	return online > 0 ? (unsigned)online : 1;
}

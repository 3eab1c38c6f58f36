/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Watching a job: one thread that waits for signals, for the time to show
 * progress, and for the end. The signals are blocked in all threads and read
 * from a descriptor here, so nothing runs in a signal handler. A signal that
 * was ignored when we were started (nohup) stays ignored.
 *
 * Threads: the watcher reads what progress_start wrote before it began;
 * `caught` is read after it has been joined.
 */
#include "tools/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "tools/progress.h"

enum {
	SIGNALLED = 128,
};

struct progress {
	struct gild_job *job;
	enum progress_look look;
	unsigned flags;
	struct progress_state state;
	sigset_t old_signals;
	pthread_t thread;
	int signal_fd, end_fd;
	int caught; /* the signal that cancelled, or 0 */
};

static const int stoppers[] = { SIGINT, SIGTERM, SIGHUP };

/* What stops a job: these, unless ignored. */
static void stop_signals(sigset_t *set)
{
	struct sigaction action;

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(stoppers) / sizeof(*stoppers); i++) {
		sigaction(stoppers[i], NULL, &action);
		if (action.sa_handler != SIG_IGN)
			sigaddset(set, stoppers[i]);
	}
}

static sigset_t held_from;

void signals_hold(void)
{
	sigset_t set;

	stop_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, &held_from);
}

void signals_release(void)
{
	pthread_sigmask(SIG_SETMASK, &held_from, NULL);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void update(struct progress *progress)
{
	struct progress_state *state = &progress->state;

	gild_job_progress(progress->job, &state->done, &state->total);
	state->elapsed = now() - state->started;
}

/* Somebody who waits for a reader of standard output hears nothing. */
static void die(struct progress *progress, int number)
{
	progress_end(progress->look, &progress->state, false);
	signal(number, SIG_DFL);
	pthread_sigmask(SIG_SETMASK, &progress->old_signals, NULL);
	kill(getpid(), number);
}

static void handle_signal(struct progress *progress)
{
	struct signalfd_siginfo info;

	if (read(progress->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1) {
		update(progress);
		progress_once(progress->look, &progress->state);
		return;
	}
	if (progress->flags & PROGRESS_MAY_DIE)
		die(progress, (int)info.ssi_signo);
	/* A second one changes nothing: the library is cleaning up. */
	if (!progress->caught)
		progress->caught = (int)info.ssi_signo;
	gild_job_cancel(progress->job);
}

static void *watch(void *opaque)
{
	struct progress *progress = opaque;
	struct pollfd fds[] = {
		{ .fd = progress->end_fd, .events = POLLIN },
		{ .fd = progress->signal_fd, .events = POLLIN },
	};

	if (progress->look != LOOK_NONE && progress->look != LOOK_BAR)
		progress_show(progress->look, &progress->state);
	for (;;) {
		int n = poll(fds, 2, progress_interval(progress->look));

		if (n > 0 && fds[0].revents)
			return NULL;
		if (n > 0 && fds[1].revents)
			handle_signal(progress);
		update(progress);
		if (n == 0)
			progress_show(progress->look, &progress->state);
	}
}

static void release(struct progress *progress)
{
	if (progress->signal_fd >= 0)
		close(progress->signal_fd);
	if (progress->end_fd >= 0)
		close(progress->end_fd);
	pthread_sigmask(SIG_SETMASK, &progress->old_signals, NULL);
	gild_job_free(progress->job);
	free(progress);
}

/* Block what the watcher is to read, before any thread is made. */
static int catch_signals(struct progress *progress)
{
	sigset_t set;

	stop_signals(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, &progress->old_signals);
	progress->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	progress->end_fd = eventfd(0, EFD_CLOEXEC);
	return progress->signal_fd < 0 || progress->end_fd < 0 ? -1 : 0;
}

struct progress *progress_start(enum progress_mode mode, unsigned flags,
				const char *what, struct gild_error *err)
{
	struct progress *progress = calloc(1, sizeof(*progress));
	int failed;

	if (!progress)
		return tool_fail(err, "out of memory"), NULL;
	progress->flags = flags;
	progress->look = progress_look(mode, flags & PROGRESS_KEEP_STDOUT);
	progress->state.what = what;
	progress->state.started = now();
	progress->job = gild_job_new();
	failed = catch_signals(progress) < 0 ? errno : 0;
	if (!progress->job)
		failed = ENOMEM;
	if (!failed)
		failed = pthread_create(&progress->thread, NULL, watch,
					progress);
	if (failed) {
		tool_fail(err, "cannot watch the work: %s", strerror(failed));
		release(progress);
		return NULL;
	}
	return progress;
}

struct gild_job *progress_job(struct progress *progress)
{
	return progress->job;
}

int progress_finish(struct progress *progress, int status)
{
	const uint64_t one = 1;

	while (write(progress->end_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(progress->thread, NULL);
	update(progress);
	progress_end(progress->look, &progress->state, status == 0);
	if (status && progress->caught)
		status = SIGNALLED + progress->caught;
	release(progress);
	return status;
}

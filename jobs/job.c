/* SPDX-License-Identifier: BSD-3-Clause */
/* A job as its owner sees it: made, watched, cancelled. */
#include "jobs/job.h"

#include <stdlib.h>
#include <time.h>

#include "util/bytes.h"

#define SECOND UINT64_C(1000000000)
#define NAP (SECOND / 20) /* cancelling waits that long at most */

struct gild_job *gild_job_new(void)
{
	return calloc(1, sizeof(struct gild_job));
}

void gild_job_free(struct gild_job *job)
{
	free(job);
}

void gild_job_cancel(struct gild_job *job)
{
	atomic_store(&job->cancelled, true);
}

void gild_job_progress(const struct gild_job *job, uint64_t *done,
		       uint64_t *total)
{
	*done = atomic_load(&job->done);
	*total = atomic_load(&job->total);
}

void gild_job_limit(struct gild_job *job, uint64_t rate)
{
	atomic_store(&job->rate, rate);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

/* When these bytes may go; those that come next go later by what these take.
 * Time in which nothing was asked for is not made up for. */
static uint64_t take_turn(struct gild_job *job, uint64_t takes)
{
	uint64_t due = atomic_load(&job->due), turn;

	do {
		turn = max_u64(due, now());
	} while (!atomic_compare_exchange_weak(&job->due, &due, turn + takes));
	return turn;
}

int job_pace(struct gild_job *job, uint64_t bytes, struct gild_error *err)
{
	uint64_t rate = job ? atomic_load(&job->rate) : 0, turn, at;

	if (!rate)
		return 0;
	turn = take_turn(
		job, (uint64_t)((double)bytes / (double)rate * (double)SECOND));
	for (at = now(); at < turn; at = now()) {
		uint64_t nap = min_u64(turn - at, NAP);

		if (job_check(job, err) < 0)
			return -1;
		nanosleep(&(struct timespec){ .tv_nsec = (long)nap }, NULL);
	}
	return 0;
}

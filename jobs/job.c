/* SPDX-License-Identifier: BSD-3-Clause */
/* A job as its owner sees it: made, watched, cancelled. */
#include "jobs/job.h"

#include <stdlib.h>

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

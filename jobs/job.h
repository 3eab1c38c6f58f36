/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A job's progress and cancellation. Every function takes NULL for "nobody
 * watches". Any thread may call any of them.
 */
#ifndef JOBS_JOB_H
#define JOBS_JOB_H

#include <stdatomic.h>

#include "util/error.h"

struct gild_job {
	_Atomic uint64_t done, total;
	_Atomic bool cancelled;
	_Atomic uint64_t rate; /* bytes a second; 0: as fast as it goes */
	_Atomic uint64_t due;  /* when the next bytes may move, in ns */
};

static inline void job_total(struct gild_job *job, uint64_t bytes)
{
	if (job)
		atomic_store(&job->total, bytes);
}

static inline void job_step(struct gild_job *job, uint64_t bytes)
{
	if (job)
		atomic_fetch_add(&job->done, bytes);
}

/* For work that knows how far it is. */
static inline void job_at(struct gild_job *job, uint64_t bytes)
{
	if (job)
		atomic_store(&job->done, bytes);
}

static inline bool job_is_cancelled(const struct gild_job *job)
{
	return job && atomic_load(&job->cancelled);
}

/* -1 with GILD_ERR_CANCELLED once somebody has asked to stop. */
static inline int job_check(const struct gild_job *job, struct gild_error *err)
{
	if (job_is_cancelled(job))
		return fail(err, GILD_ERR_CANCELLED, 0, "interrupted");
	return 0;
}

/* Before bytes are moved: wait as long as the rate asks for. No lock may be
 * held. -1 with GILD_ERR_CANCELLED as job_check. */
int job_pace(struct gild_job *job, uint64_t bytes, struct gild_error *err);

#endif

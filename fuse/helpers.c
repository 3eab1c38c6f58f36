/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuse/helpers.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	HELPERS_MAX = 64,
};

/* A request; it lives on the stack of who has it. */
struct job {
	helpers_piece *piece;
	void *opaque;
	unsigned next, count; /* pieces: the next to be taken, and all */
	unsigned under_way;   /* taken, not done */
	int result;
	struct gild_error err; /* of the first that failed */
	pthread_cond_t done;
	struct job *behind; /* in the queue */
};

struct helpers {
	pthread_mutex_t lock; /* of all below, and of the jobs in the queue */
	pthread_cond_t wanted;
	struct job *queue; /* that have pieces left to be taken */
	bool over;
	unsigned count;
	pthread_t threads[HELPERS_MAX];
};

/* Work on a piece of the job; called and returns with the lock held. */
static void do_piece(struct helpers *helpers, struct job *job)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };
	unsigned index = job->next++;
	int result;

	job->under_way++;
	pthread_mutex_unlock(&helpers->lock);
	result = job->piece(job->opaque, index, &err);
	pthread_mutex_lock(&helpers->lock);
	job->under_way--;
	if (result < 0 && job->result == 0) {
		job->result = -1;
		job->err = err;
		job->next = job->count; /* the rest is in vain */
	}
	if (job->next >= job->count && !job->under_way)
		pthread_cond_signal(&job->done);
}

/* The first job that has something to do; others leave the queue. */
static struct job *find_job(struct helpers *helpers)
{
	while (helpers->queue && helpers->queue->next >= helpers->queue->count)
		helpers->queue = helpers->queue->behind;
	return helpers->queue;
}

static void *help(void *opaque)
{
	struct helpers *helpers = opaque;
	struct job *job;

	pthread_mutex_lock(&helpers->lock);
	while (!helpers->over) {
		job = find_job(helpers);
		if (job)
			do_piece(helpers, job);
		else
			pthread_cond_wait(&helpers->wanted, &helpers->lock);
	}
	pthread_mutex_unlock(&helpers->lock);
	return NULL;
}

struct helpers *helpers_new(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct helpers *helpers;

	if (processors < 2)
		return NULL;
	helpers = calloc(1, sizeof(*helpers));
	if (!helpers)
		return NULL;
	pthread_mutex_init(&helpers->lock, NULL);
	pthread_cond_init(&helpers->wanted, NULL);
	while (helpers->count + 1 < processors &&
	       helpers->count < HELPERS_MAX &&
	       !pthread_create(&helpers->threads[helpers->count], NULL, help,
			       helpers))
		helpers->count++;
	return helpers;
}

void helpers_free(struct helpers *helpers)
{
	if (!helpers)
		return;
	pthread_mutex_lock(&helpers->lock);
	helpers->over = true;
	pthread_cond_broadcast(&helpers->wanted);
	pthread_mutex_unlock(&helpers->lock);
	for (unsigned i = 0; i < helpers->count; i++)
		pthread_join(helpers->threads[i], NULL);
	pthread_mutex_destroy(&helpers->lock);
	pthread_cond_destroy(&helpers->wanted);
	free(helpers);
}

static int run_alone(unsigned pieces, helpers_piece *piece, void *opaque,
		     struct gild_error *err)
{
	int result = 0;

	for (unsigned i = 0; i < pieces && result == 0; i++)
		result = piece(opaque, i, err);
	return result;
}

static void enqueue(struct helpers *helpers, struct job *job)
{
	struct job **end = &helpers->queue;

	while (*end)
		end = &(*end)->behind;
	*end = job;
	pthread_cond_broadcast(&helpers->wanted);
}

/* Before the job's memory goes. */
static void dequeue(struct helpers *helpers, struct job *job)
{
	struct job **at = &helpers->queue;

	while (*at && *at != job)
		at = &(*at)->behind;
	if (*at)
		*at = job->behind;
}

int helpers_run(struct helpers *helpers, unsigned pieces, helpers_piece *piece,
		void *opaque, struct gild_error *err)
{
	struct job job = { .piece = piece, .opaque = opaque, .count = pieces };

	if (!helpers || pieces < 2)
		return run_alone(pieces, piece, opaque, err);
	pthread_cond_init(&job.done, NULL);
	pthread_mutex_lock(&helpers->lock);
	enqueue(helpers, &job);
	while (job.next < job.count)
		do_piece(helpers, &job);
	while (job.under_way)
		pthread_cond_wait(&job.done, &helpers->lock);
	dequeue(helpers, &job);
	pthread_mutex_unlock(&helpers->lock);
	pthread_cond_destroy(&job.done);
	if (job.result < 0 && err)
		*err = job.err;
	return job.result;
}

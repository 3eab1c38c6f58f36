/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which parts of the virtual disk are held by writers that allocate, or that
 * change parts of encrypted sectors. Few at a time, so a list does.
 */
#include "formats/image.h"

void range_lock_init(struct range_lock *lock)
{
	pthread_mutex_init(&lock->lock, NULL);
	pthread_cond_init(&lock->freed, NULL);
}

void range_lock_destroy(struct range_lock *lock)
{
	pthread_mutex_destroy(&lock->lock);
	pthread_cond_destroy(&lock->freed);
}

static bool is_held(const struct range_lock *lock, const struct range *range)
{
	for (const struct range *r = lock->held; r; r = r->next)
		if (r->start < range->end && range->start < r->end)
			return true;
	return false;
}

void range_hold(struct range_lock *lock, struct range *range)
{
	pthread_mutex_lock(&lock->lock);
	while (is_held(lock, range))
		pthread_cond_wait(&lock->freed, &lock->lock);
	range->next = lock->held;
	lock->held = range;
	pthread_mutex_unlock(&lock->lock);
}

void range_release(struct range_lock *lock, struct range *range)
{
	struct range **slot = &lock->held;

	pthread_mutex_lock(&lock->lock);
	while (*slot != range)
		slot = &(*slot)->next;
	*slot = range->next;
	pthread_cond_broadcast(&lock->freed);
	pthread_mutex_unlock(&lock->lock);
}

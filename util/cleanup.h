/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scratch values that free themselves at the end of their scope:
 *     AUTO_FREE char *name = strdup(path);
 *     AUTO_CLOSE int fd = open(...);
 *     AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&x->lock);
 * All keep errno. steal_ptr() hands a value on and disarms the cleanup.
 */
#ifndef UTIL_CLEANUP_H
#define UTIL_CLEANUP_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define AUTO_FREE __attribute__((cleanup(cleanup_free)))
#define AUTO_CLOSE __attribute__((cleanup(cleanup_close)))
#define AUTO_UNLOCK __attribute__((cleanup(cleanup_unlock), unused))

#define steal_ptr(ptr)                             \
	({                                         \
		__typeof__(ptr) *stolen_ = &(ptr); \
		__typeof__(ptr) value_ = *stolen_; \
		*stolen_ = NULL;                   \
		value_;                            \
	})

static inline void cleanup_free(void *slot)
{
	int saved = errno;

	free(*(void **)slot);
	errno = saved;
}

static inline void cleanup_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline int steal_fd(int *fd)
{
	int value = *fd;

	*fd = -1;
	return value;
}

static inline pthread_mutex_t *lock_mutex(pthread_mutex_t *mutex)
{
	pthread_mutex_lock(mutex);
	return mutex;
}

static inline void cleanup_unlock(pthread_mutex_t **mutex)
{
	if (*mutex)
		pthread_mutex_unlock(*mutex);
}

#endif

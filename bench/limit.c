/* SPDX-License-Identifier: BSD-3-Clause */
/* Clock, threads and files of the limit programs; see limit.h. */
#include "bench/limit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
	MAX_THREADS = 64,
	ALIGNMENT = 4096,
};

static struct timespec start_time;
static struct rusage start_usage;

static struct {
	size_t count, buffer_size;
	void (*work)(size_t i, unsigned char *buffer);
	atomic_size_t next;
} round_of_work;

_Noreturn void limit_die(const char *what)
{
	fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
	exit(1);
}

void limit_begin(void)
{
	getrusage(RUSAGE_SELF, &start_usage);
	clock_gettime(CLOCK_MONOTONIC, &start_time);
}

static double seconds(struct timeval from, struct timeval to)
{
	return (double)(to.tv_sec - from.tv_sec) +
	       (double)(to.tv_usec - from.tv_usec) / 1e6;
}

void limit_end(void)
{
	struct timespec now;
	struct rusage usage;
	double wall;

	clock_gettime(CLOCK_MONOTONIC, &now);
	getrusage(RUSAGE_SELF, &usage);
	wall = (double)(now.tv_sec - start_time.tv_sec) +
	       (double)(now.tv_nsec - start_time.tv_nsec) / 1e9;
	printf("%.6f %.6f %.6f %ld 0 0\n", wall,
	       seconds(start_usage.ru_utime, usage.ru_utime),
	       seconds(start_usage.ru_stime, usage.ru_stime), usage.ru_maxrss);
}

int limit_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		limit_die(path);
	return fd;
}

int limit_make(const char *path, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0 || ftruncate(fd, (off_t)size))
		limit_die(path);
	return fd;
}

static void add_chunk(struct chunks *chunks, uint64_t start, uint64_t length)
{
	/* The array doubles whenever the count is a power of two. */
	if (!(chunks->count & (chunks->count - 1))) {
		chunks->chunk = realloc(
			chunks->chunk, (chunks->count ? chunks->count * 2 : 1) *
					       sizeof(*chunks->chunk));
		if (!chunks->chunk)
			limit_die("memory");
	}
	chunks->chunk[chunks->count++] = (struct chunk){ start, length };
}

void chunks_find(struct chunks *chunks, int fd)
{
	off_t size = lseek(fd, 0, SEEK_END), at, hole = 0;
	uint64_t end, limit;

	*chunks = (struct chunks){ .size = (uint64_t)size };
	while ((at = lseek(fd, hole, SEEK_DATA)) >= 0) {
		hole = lseek(fd, at, SEEK_HOLE);
		if (hole < 0)
			limit_die("looking for holes");
		while (at < hole) {
			limit = ((uint64_t)at / CHUNK + 1) * CHUNK;
			end = limit < (uint64_t)hole ? limit : (uint64_t)hole;
			add_chunk(chunks, (uint64_t)at, end - (uint64_t)at);
			at = (off_t)end;
		}
	}
}

static void *run(void *unused)
{
	size_t length = round_of_work.buffer_size, i;
	unsigned char *buffer = NULL;

	if (length && !(buffer = aligned_alloc(ALIGNMENT, length)))
		limit_die("memory");
	while ((i = atomic_fetch_add(&round_of_work.next, 1)) <
	       round_of_work.count)
		round_of_work.work(i, buffer);
	free(buffer);
	return unused;
}

void limit_parallel(size_t count, size_t buffer_size,
		    void (*work)(size_t i, unsigned char *buffer))
{
	long threads = sysconf(_SC_NPROCESSORS_ONLN), n;
	pthread_t thread[MAX_THREADS];

	round_of_work.count = count;
	round_of_work.buffer_size = buffer_size;
	round_of_work.work = work;
	atomic_store(&round_of_work.next, 0);
	if (threads > MAX_THREADS)
		threads = MAX_THREADS;
	for (n = 0; n < threads; n++)
		if (pthread_create(&thread[n], NULL, run, NULL))
			limit_die("thread");
	while (n)
		pthread_join(thread[--n], NULL);
}

void read_at(int fd, void *buffer, size_t length, uint64_t offset)
{
	ssize_t n;

	for (size_t done = 0; done < length; done += (size_t)n) {
		n = pread(fd, (char *)buffer + done, length - done,
			  (off_t)(offset + done));
		if (n <= 0)
			limit_die("reading");
	}
}

void write_at(int fd, const void *buffer, size_t length, uint64_t offset)
{
	ssize_t n;

	for (size_t done = 0; done < length; done += (size_t)n) {
		n = pwrite(fd, (const char *)buffer + done, length - done,
			   (off_t)(offset + done));
		if (n <= 0)
			limit_die("writing");
	}
}

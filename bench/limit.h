/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the limit programs share. Each does the least that a row of the table
 * needs, as plainly and as fast as this machine allows, and prints what that
 * took in the words of sample.c. They are measuring sticks: no format, no
 * errors beyond "it failed", nothing kept.
 */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include <stdint.h>
#include <stdlib.h>

enum {
	CHUNK = 1 << 20, /* bytes that a thread takes at a time */
};

/* From the first call to the second; the second prints. */
void limit_begin(void);
void limit_end(void);

/* Print what failed, with errno's reason, and exit. */
_Noreturn void limit_die(const char *what);

/* Opened for reading, or made anew for writing. */
int limit_open(const char *path);
int limit_make(const char *path, uint64_t size);

/* The chunks of a file that hold data; found once, taken by all threads. */
struct chunk {
	uint64_t start, length;
};

struct chunks {
	struct chunk *chunk;
	size_t count;
	uint64_t size; /* of the file */
};

void chunks_find(struct chunks *chunks, int fd);

/* Call work for every i below count, on all processors; buffer: the thread's
 * own, of so many bytes, aligned. */
void limit_parallel(size_t count, size_t buffer_size,
		    void (*work)(size_t i, unsigned char *buffer));

void read_at(int fd, void *buffer, size_t length, uint64_t offset);
void write_at(int fd, const void *buffer, size_t length, uint64_t offset);

#endif

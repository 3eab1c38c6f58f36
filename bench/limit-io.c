/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Limits of plain input and output, on all processors, holes left out:
 *
 *   limit-io read FILE...     read their data once
 *   limit-io copy FILE NEW    read it, write it
 *   limit-io compare A B      read the same ranges of both, compare
 *
 * Two files are compared where they are; nothing is looked up.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/limit.h"

static struct chunks chunks;
static int source, second;

static void read_chunk(size_t i, unsigned char *buffer)
{
	const struct chunk *chunk = &chunks.chunk[i];

	read_at(source, buffer, chunk->length, chunk->start);
}

static void copy_chunk(size_t i, unsigned char *buffer)
{
	const struct chunk *chunk = &chunks.chunk[i];

	read_chunk(i, buffer);
	write_at(second, buffer, chunk->length, chunk->start);
}

/* An image file is a little longer than the disk and in another order: read
 * as much of it as there is, and expect nothing of the outcome. */
static void compare_chunk(size_t i, unsigned char *buffer)
{
	const struct chunk *chunk = &chunks.chunk[i];
	static volatile int outcome;

	read_chunk(i, buffer);
	if (pread(second, buffer + CHUNK, chunk->length, (off_t)(i * CHUNK)) <
	    0)
		limit_die("reading");
	outcome = memcmp(buffer, buffer + CHUNK, chunk->length);
	(void)outcome;
}

static void read_all(int count, char *const *paths)
{
	limit_begin();
	for (int i = 0; i < count; i++) {
		source = limit_open(paths[i]);
		chunks_find(&chunks, source);
		limit_parallel(chunks.count, CHUNK, read_chunk);
	}
	limit_end();
}

static void copy_all(const char *from, const char *to)
{
	limit_begin();
	source = limit_open(from);
	chunks_find(&chunks, source);
	second = limit_make(to, chunks.size);
	limit_parallel(chunks.count, CHUNK, copy_chunk);
	limit_end();
}

static void compare_all(const char *a, const char *b)
{
	limit_begin();
	source = limit_open(a);
	second = limit_open(b);
	chunks_find(&chunks, source);
	limit_parallel(chunks.count, (size_t)CHUNK * 2, compare_chunk);
	limit_end();
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "read"))
		read_all(argc - 2, argv + 2);
	else if (argc == 4 && !strcmp(argv[1], "copy"))
		copy_all(argv[2], argv[3]);
	else if (argc == 4 && !strcmp(argv[1], "compare"))
		compare_all(argv[2], argv[3]);
	else
		return 1;
	return 0;
}

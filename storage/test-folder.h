/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A folder of its own for each test, which is the current one while the test
 * runs: Test(..., .init = folder_enter, .fini = folder_leave).
 */
#ifndef STORAGE_TEST_FOLDER_H
#define STORAGE_TEST_FOLDER_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder_path[512];

static inline void folder_enter(void)
{
	const char *top = getenv("TMPDIR");

	snprintf(folder_path, sizeof(folder_path), "%s/gild-storage.XXXXXX",
		 top && *top ? top : "/tmp");
	if (!mkdtemp(folder_path) || chdir(folder_path))
		abort();
}

static inline void folder_leave(void)
{
	char command[600];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder_path);
	if (chdir("/") || system(command))
		abort();
}

/* A file of length bytes that are all fill. */
static inline void make_file(const char *name, size_t length, int fill)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	char *bytes = malloc(length + 1);

	memset(bytes, fill, length + 1);
	if (fd < 0 || write(fd, bytes, length) != (ssize_t)length)
		abort();
	free(bytes);
	close(fd);
}

static inline uint64_t file_length(const char *name)
{
	struct stat st;

	return stat(name, &st) ? UINT64_MAX : (uint64_t)st.st_size;
}

static inline uint64_t file_blocks(const char *name)
{
	struct stat st;

	return stat(name, &st) ? UINT64_MAX : (uint64_t)st.st_blocks;
}

#endif

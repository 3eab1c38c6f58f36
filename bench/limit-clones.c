/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limit of making small files that are all durable in the end:
 *
 *   limit-clones FOLDER COUNT   each opened under another name, three writes,
 *                               renamed; then one syncfs
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/limit.h"

enum {
	BLOCK = 4096,
	STRIDE = 1 << 16, /* between the three blocks: a cluster */
	BLOCKS = 3,
};

static void make_one(int folder, unsigned i)
{
	static const char block[BLOCK] = "QFI";
	char name[32], temporary[40];
	int fd;

	snprintf(name, sizeof(name), "%u.qcow2", i);
	snprintf(temporary, sizeof(temporary), ".%s", name);
	fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
		    0666);
	if (fd < 0)
		limit_die(temporary);
	for (unsigned n = 0; n < BLOCKS; n++)
		write_at(fd, block, sizeof(block), (uint64_t)n * STRIDE);
	if (close(fd) || renameat(folder, temporary, folder, name))
		limit_die(name);
}

int main(int argc, char **argv)
{
	unsigned count;
	int folder;

	if (argc != 3)
		return 1;
	count = (unsigned)strtoul(argv[2], NULL, 10);
	folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		limit_die(argv[1]);
	limit_begin();
	for (unsigned i = 0; i < count; i++)
		make_one(folder, i);
	if (syncfs(folder))
		limit_die("syncing");
	limit_end();
	return 0;
}

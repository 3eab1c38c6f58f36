/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a file system may be told about a file that is still empty. These are
 * wishes: where one means nothing, or is not granted, the file is as good.
 */
#ifndef STORAGE_FILE_HINTS_H
#define STORAGE_FILE_HINTS_H

#include <stdbool.h>
#include <stdint.h>

struct file_hints {
	bool no_cow;	      /* btrfs: write in place (chattr +C) */
	bool has_extent_size; /* XFS: allocate in units of extent_size bytes */
	uint32_t extent_size; /* 0: as the file system likes */
};

/* fd: of an empty regular file, open for writing. errno is kept. */
void file_hints_give(int fd, const struct file_hints *hints);

#endif

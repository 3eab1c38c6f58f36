/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of files as seen from a folder: up to what both have in common, then
 * down. */
#include "jobs/relative.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/memory.h"

/* Where the paths part: the length of the folders that both begin with,
 * without the slash behind them. */
static size_t common_length(const char *folder, const char *file)
{
	size_t common = 0;
	size_t i = 0;

	for (; folder[i] && folder[i] == file[i]; i++)
		if (folder[i] == '/')
			common = i;
	if (!folder[i] && file[i] == '/')
		common = i;
	return common;
}

/* Folders in a path like "/a/b" or "". */
static size_t count_folders(const char *path)
{
	size_t count = 0;

	for (; *path; path++)
		count += *path == '/' && path[1] && path[1] != '/';
	return count;
}

char *relative_name(const char *folder, const char *file)
{
	size_t common = common_length(folder, file);
	size_t ups = count_folders(folder + common);
	const char *down = file + common + 1;
	AUTO_FREE char *climb = malloc(3 * ups + 1);
	bool odd = !ups && down[strcspn(down, ":/")] == ':';

	if (!climb)
		return NULL;
	for (size_t i = 0; i < ups; i++)
		memcpy(climb + 3 * i, "../", 3);
	climb[3 * ups] = 0;
	return memory_printf("%s%s%s", odd ? "./" : "", climb, down);
}

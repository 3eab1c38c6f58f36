/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a path leads: the folder and the name in it, with symbolic links
 * followed by hand, since realpath() stops at a link to nothing.
 */
#include "storage/newfile-parts.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/memory.h"

/* As many links as the kernel follows. */
enum {
	MAX_LINKS = 40
};

int place_split(const char *path, char **folder, char **name)
{
	const char *slash = strrchr(path, '/');
	const char *last = slash ? slash + 1 : path;

	*folder = *name = NULL;
	if (!*path) {
		errno = ENOENT;
		return -1;
	}
	if (!*last || !strcmp(last, ".") || !strcmp(last, "..")) {
		errno = EISDIR;
		return -1;
	}
	if (!slash)
		*folder = strdup(".");
	else
		*folder = strndup(path, slash == path ? 1 : slash - path);
	*name = strdup(last);
	if (*folder && *name)
		return 0;
	free(*folder);
	free(*name);
	*folder = *name = NULL;
	errno = ENOMEM;
	return -1;
}

/* The path that a link names; NULL with errno, EINVAL: not a link. */
static char *follow(const char *path)
{
	const char *slash = strrchr(path, '/');
	char target[PATH_MAX];
	ssize_t length = readlink(path, target, sizeof(target) - 1);

	if (length < 0)
		return NULL;
	target[length] = 0;
	if (*target == '/' || !slash)
		return strdup(target);
	return memory_printf("%.*s/%s", (int)(slash - path), path, target);
}

int place_resolve(const char *path, char **folder, char **name)
{
	AUTO_FREE char *now = strdup(path);

	*folder = *name = NULL;
	for (int i = 0; now && i < MAX_LINKS; i++) {
		char *next = follow(now);

		if (!next && errno != EINVAL && errno != ENOENT)
			return -1;
		if (!next)
			return place_split(now, folder, name);
		free(now);
		now = next;
	}
	errno = now ? ELOOP : ENOMEM;
	return -1;
}

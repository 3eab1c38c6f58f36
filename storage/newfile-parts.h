/* SPDX-License-Identifier: BSD-3-Clause */
/* Steps of newfile.c that stand on their own. */
#ifndef STORAGE_NEWFILE_PARTS_H
#define STORAGE_NEWFILE_PARTS_H

#include "util/error.h"

/*
 * Follow the symbolic links that a path ends in, also to a name that is not
 * there yet. *folder (to be opened as it is) and *name are the caller's to
 * free. -1 with errno.
 */
int place_resolve(const char *path, char **folder, char **name);

/* The same without following. -1 with errno. */
int place_split(const char *path, char **folder, char **name);

/*
 * Give to the file what from has: owner, mode, extended attributes, among them
 * access lists. private: mode 0600 and no access lists. 0, or 1 where we are
 * not allowed to.
 */
int attributes_copy(int to, int from, bool private);

#endif

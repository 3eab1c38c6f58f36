/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A successor looks like the file that it replaces. Order matters: a change of
 * owner clears set-id bits, an access list changes the mode.
 */
#include "storage/newfile-parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "util/cleanup.h"

#define ACCESS_LIST "system.posix_acl_access"

static int copy_one(int to, int from, const char *name)
{
	ssize_t length = fgetxattr(from, name, NULL, 0);
	AUTO_FREE char *value = NULL;

	if (length < 0)
		return errno == ENODATA ? 0 : 1;
	value = malloc(length + 1);
	if (!value)
		return 1;
	length = fgetxattr(from, name, value, length);
	return length < 0 || fsetxattr(to, name, value, length, 0);
}

static int copy_extended(int to, int from, bool private)
{
	ssize_t length = flistxattr(from, NULL, 0);
	AUTO_FREE char *names = NULL;

	if (length <= 0)
		return length < 0 && errno != EOPNOTSUPP;
	names = malloc(length + 1);
	if (!names)
		return 1;
	length = flistxattr(from, names, length);
	if (length < 0)
		return 1;
	names[length] = 0;
	for (const char *n = names; n < names + length; n += strlen(n) + 1)
		if (!(private && !strcmp(n, ACCESS_LIST)) &&
		    copy_one(to, from, n))
			return 1;
	return 0;
}

int attributes_copy(int to, int from, bool private)
{
	struct stat old, new;

	if (fstat(from, &old) || fstat(to, &new))
		return 1;
	if ((old.st_uid != new.st_uid || old.st_gid != new.st_gid) &&
	    fchown(to, old.st_uid, old.st_gid))
		return 1;
	/* The folder's default list is not the old file's. */
	fremovexattr(to, ACCESS_LIST);
	if (copy_extended(to, from, private))
		return 1;
	return fchmod(to, private ? 0600 : old.st_mode & 07777) ? 1 : 0;
}

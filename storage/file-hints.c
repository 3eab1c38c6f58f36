/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Wishes to the file system; see file-hints.h. Both are attributes of the
 * inode (ioctl_iflags(2), ioctl_xfs_fsgetxattr(2)) that take effect as long as
 * the file has no blocks.
 */
#include "storage/file-hints.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

static void stop_cow(int fd)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return;
	flags |= FS_NOCOW_FL;
	(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static void set_extent_size(int fd, uint32_t bytes)
{
	struct fsxattr attributes;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0)
		return;
	if (bytes)
		attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
	else
		attributes.fsx_xflags &= ~(uint32_t)FS_XFLAG_EXTSIZE;
	attributes.fsx_extsize = bytes;
	(void)ioctl(fd, FS_IOC_FSSETXATTR, &attributes);
}

void file_hints_give(int fd, const struct file_hints *hints)
{
	int before = errno;

	if (hints->no_cow)
		stop_cow(fd);
	if (hints->has_extent_size)
		set_extent_size(fd, hints->extent_size);
	errno = before;
}

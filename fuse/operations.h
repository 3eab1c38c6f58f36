/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel asks of a mount, answered from its tree. Requests come from
 * many threads at once; none holds a lock while it reads or writes a disk, but
 * against a change of its size.
 */
#ifndef FUSE_OPERATIONS_H
#define FUSE_OPERATIONS_H

#include <sys/stat.h>

#include "fuse/helpers.h"
#include "fuse/libfuse.h"
#include "fuse/tree.h"

struct mount {
	struct tree *tree;
	struct fuse_session *session;
	struct helpers *helpers;
	struct stat image; /* owner, times and mode are taken from there */
	bool allow_other;
	/* Told what failed, and where. */
	void (*report)(const struct gild_error *err);
};

extern const struct fuse_lowlevel_ops operations;

/* --- for the files of operations -------------------------------------- */

enum {
	LARGEST_REQUEST = 1 << 20, /* bytes; what kernels take at most */
};

struct mount *mount_of(fuse_req_t request);
struct node *node_of(fuse_req_t request, fuse_ino_t inode);

/* Attributes do not change behind the kernel's back, but by what it
 * asks for. */
#define ATTRIBUTES_LAST 3600.0

void node_stat(const struct mount *mount, const struct node *node,
	       struct stat *st);

/* Answer a failure: report it if the host or the image is to blame. */
void reply_failure(fuse_req_t request, const struct gild_error *err);

/* --- data.c ----------------------------------------------------------- */

void data_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
	       struct fuse_file_info *file);
void data_write(fuse_req_t request, fuse_ino_t inode, const char *buffer,
		size_t size, off_t offset, struct fuse_file_info *file);
void data_flush(fuse_req_t request, fuse_ino_t inode, int datasync,
		struct fuse_file_info *file);
void data_allocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset,
		   off_t length, struct fuse_file_info *file);
void data_seek(fuse_req_t request, fuse_ino_t inode, off_t offset, int whence,
	       struct fuse_file_info *file);
void data_copy(fuse_req_t request, fuse_ino_t inode_in, off_t offset_in,
	       struct fuse_file_info *file_in, fuse_ino_t inode_out,
	       off_t offset_out, struct fuse_file_info *file_out, size_t length,
	       int flags);

#endif

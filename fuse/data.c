/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading and writing the files of a mount. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuse/fail.h"
#include "fuse/operations.h"

enum {
	ALIGNMENT = 4096,
	LONGEST_COPY = 64 << 20,
	PIECE = 128 << 10, /* bytes of a large read that one thread does */
};

/* Each thread keeps the buffer that it had for its last request. */
static _Thread_local struct {
	void *bytes;
	size_t size;
} scratch;

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
	pthread_key_create(&scratch_key, free);
}

/* NULL: out of memory. */
static void *get_scratch(size_t size)
{
	if (size <= scratch.size)
		return scratch.bytes;
	pthread_once(&scratch_once, make_key);
	free(scratch.bytes);
	scratch.size = 0;
	/* Aligned, so that O_DIRECT takes it. */
	if (posix_memalign(&scratch.bytes, ALIGNMENT, size))
		scratch.bytes = NULL;
	else
		scratch.size = size;
	pthread_setspecific(scratch_key, scratch.bytes);
	return scratch.bytes;
}

/* How much of a request lies within a file, which is a run of its disk. */
static size_t clip(const struct node *node, size_t size, off_t offset)
{
	uint64_t end = node_size(node);

	if (offset < 0 || (uint64_t)offset >= end)
		return 0;
	return size < end - (uint64_t)offset ? size :
					       (size_t)(end - (uint64_t)offset);
}

static void read_text(fuse_req_t request, const struct node *node, size_t size,
		      off_t offset)
{
	size = clip(node, size, offset);
	libfuse.fuse_reply_buf(request, size ? node->text + offset : NULL,
			       size);
}

/* A part of a large read. */
struct large_read {
	struct disk *disk;
	char *buffer;
	size_t size;
	uint64_t offset; /* of the disk */
};

static int read_piece(void *opaque, unsigned index, struct gild_error *err)
{
	const struct large_read *large = opaque;
	size_t at = (size_t)index * PIECE;
	size_t size = large->size - at < PIECE ? large->size - at : PIECE;
	size_t done;

	if (disk_read(large->disk, large->buffer + at, size, large->offset + at,
		      &done, err) < 0)
		return -1;
	/* The disk is being cut off. */
	memset(large->buffer + at + done, 0, size - done);
	return 0;
}

/* What has to be decompressed is so by all processors. */
static int read_run(struct mount *mount, const struct node *node, char *buffer,
		    size_t size, uint64_t offset, struct gild_error *err)
{
	struct large_read large = { node->disk, buffer, size,
				    node->start + offset };
	size_t done;

	if (size > PIECE && disk_is_compressed(node->disk, large.offset))
		return helpers_run(mount->helpers,
				   (unsigned)((size + PIECE - 1) / PIECE),
				   read_piece, &large, err);
	if (disk_read(node->disk, buffer, size, large.offset, &done, err) < 0)
		return -1;
	memset(buffer + done, 0, size - done);
	return 0;
}

void data_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
	       struct fuse_file_info *file)
{
	struct node *node = node_of(request, inode);
	struct gild_error err = { .kind = GILD_ERR_NONE };
	char *buffer;

	(void)file;
	if (node->kind != NODE_RUN) {
		read_text(request, node, size, offset);
		return;
	}
	size = clip(node, size, offset);
	buffer = get_scratch(size);
	if (size && !buffer)
		libfuse.fuse_reply_err(request, ENOMEM);
	else if (read_run(mount_of(request), node, buffer, size,
			  (uint64_t)offset, &err) < 0)
		reply_failure(request, &err);
	else
		libfuse.fuse_reply_buf(request, buffer, size);
}

/* --- writing ---------------------------------------------------------- */

/* A file ends where its disk, or partition, does: as with a device, writing
 * does not make it longer. */
static int check_run(const struct node *node, uint64_t length, off_t offset,
		     struct gild_error *err)
{
	if (node->kind != NODE_RUN)
		return fuse_fail(err, EROFS, "cannot be written");
	if (offset < 0 || length > (uint64_t)INT64_MAX - (uint64_t)offset)
		return fuse_fail(err, EFBIG, "beyond the end of the disk");
	if ((uint64_t)offset + length > node_size(node))
		return fuse_fail(err, ENOSPC, "beyond the end");
	return 0;
}

void data_write(fuse_req_t request, fuse_ino_t inode, const char *buffer,
		size_t size, off_t offset, struct fuse_file_info *file)
{
	struct node *node = node_of(request, inode);
	struct gild_error err = { .kind = GILD_ERR_NONE };

	(void)file;
	if (check_run(node, size, offset, &err) < 0 ||
	    disk_write(node->disk, buffer, size, node->start + (uint64_t)offset,
		       &err) < 0) {
		reply_failure(request, &err);
		return;
	}
	libfuse.fuse_reply_write(request, size);
}

void data_flush(fuse_req_t request, fuse_ino_t inode, int datasync,
		struct fuse_file_info *file)
{
	struct node *node = node_of(request, inode);
	struct gild_error err = { .kind = GILD_ERR_NONE };

	(void)datasync;
	(void)file;
	if (node->kind == NODE_RUN && disk_flush(node->disk, &err) < 0)
		reply_failure(request, &err);
	else
		libfuse.fuse_reply_err(request, 0);
}

/* Holes and zeros. Space cannot be reserved by this way. */
void data_allocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset,
		   off_t length, struct fuse_file_info *file)
{
	struct node *node = node_of(request, inode);
	struct gild_error err = { .kind = GILD_ERR_NONE };
	int kind = mode & ~FALLOC_FL_KEEP_SIZE;

	(void)file;
	if (kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) {
		libfuse.fuse_reply_err(request, EOPNOTSUPP);
		return;
	}
	/* Beyond the end there is nothing, and it stays. */
	if (mode & FALLOC_FL_KEEP_SIZE)
		length = (off_t)clip(node, (size_t)length, offset);
	if (mode & FALLOC_FL_KEEP_SIZE && node->kind == NODE_RUN && !length) {
		libfuse.fuse_reply_err(request, 0);
		return;
	}
	if (check_run(node, (uint64_t)length, offset, &err) < 0 ||
	    disk_zero(node->disk, node->start + (uint64_t)offset,
		      (uint64_t)length, kind == FALLOC_FL_PUNCH_HOLE, &err) < 0)
		reply_failure(request, &err);
	else
		libfuse.fuse_reply_err(request, 0);
}

/* --- the rest --------------------------------------------------------- */

void data_seek(fuse_req_t request, fuse_ino_t inode, off_t offset, int whence,
	       struct fuse_file_info *file)
{
	struct node *node = node_of(request, inode);
	struct gild_error err = { .kind = GILD_ERR_NONE };
	uint64_t size = node_size(node), found = (uint64_t)offset;

	(void)file;
	if (offset < 0 || found >= size) {
		libfuse.fuse_reply_err(request, ENXIO);
		return;
	}
	if (node->kind == NODE_RUN) {
		if (disk_seek(node->disk, node->start + found,
			      node->start + size, whence == SEEK_DATA, &found,
			      &err) < 0) {
			reply_failure(request, &err);
			return;
		}
		found -= node->start;
	} else if (whence == SEEK_HOLE) {
		found = size;
	}
	if (whence == SEEK_DATA && found >= size)
		libfuse.fuse_reply_err(request, ENXIO);
	else
		libfuse.fuse_reply_lseek(request, (off_t)found);
}

/* Copy a piece; 0: nothing more to copy. */
static ssize_t copy_piece(const struct node *from, uint64_t offset_in,
			  struct node *to, uint64_t offset_out, size_t length,
			  struct gild_error *err)
{
	void *buffer = get_scratch(LARGEST_REQUEST);
	size_t done;

	length = clip(from, length, (off_t)offset_in);
	if (length > LARGEST_REQUEST)
		length = LARGEST_REQUEST;
	if (!buffer)
		return fuse_fail(err, ENOMEM, "copying");
	if (!length)
		return 0;
	if (disk_read(from->disk, buffer, length, from->start + offset_in,
		      &done, err) < 0 ||
	    disk_write(to->disk, buffer, done, to->start + offset_out, err) < 0)
		return -1;
	return (ssize_t)done;
}

void data_copy(fuse_req_t request, fuse_ino_t inode_in, off_t offset_in,
	       struct fuse_file_info *file_in, fuse_ino_t inode_out,
	       off_t offset_out, struct fuse_file_info *file_out, size_t length,
	       int flags)
{
	struct node *from = node_of(request, inode_in);
	struct node *to = node_of(request, inode_out);
	struct gild_error err = { .kind = GILD_ERR_NONE };
	size_t copied = 0;
	ssize_t done = 1;

	(void)file_in;
	(void)file_out;
	(void)flags;
	if (from->kind != NODE_RUN) {
		libfuse.fuse_reply_err(request, EOPNOTSUPP);
		return;
	}
	/* Who waits for it may want to stop it now and then. */
	length = clip(from, length < LONGEST_COPY ? length : LONGEST_COPY,
		      offset_in);
	if (check_run(to, length, offset_out, &err) < 0)
		done = -1;
	while (copied < length && done > 0) {
		done = copy_piece(from, (uint64_t)offset_in + copied, to,
				  (uint64_t)offset_out + copied,
				  length - copied, &err);
		copied += done > 0 ? (size_t)done : 0;
	}
	if (done < 0 && !copied) {
		reply_failure(request, &err);
		return;
	}
	libfuse.fuse_reply_write(request, copied);
}

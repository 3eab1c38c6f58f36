/* SPDX-License-Identifier: BSD-3-Clause */
/* Names, attributes, handles; data.c has what is in the files. */
#include "fuse/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCK = 512,
	NAME_LONGEST = 255,
	STAT_BLOCK = 4096,
};

struct mount *mount_of(fuse_req_t request)
{
	return libfuse.fuse_req_userdata(request);
}

struct node *node_of(fuse_req_t request, fuse_ino_t inode)
{
	if (inode == FUSE_ROOT_ID)
		return mount_of(request)->tree->root;
	return (struct node *)(uintptr_t)inode;
}

static fuse_ino_t inode_of(const struct mount *mount, const struct node *node)
{
	return node == mount->tree->root ? FUSE_ROOT_ID :
					   (fuse_ino_t)(uintptr_t)node;
}

void reply_failure(fuse_req_t request, const struct gild_error *err)
{
	int number = gild_error_number(err);

	if (number == EIO || err->kind == GILD_ERR_CORRUPT || number == ENOSPC)
		mount_of(request)->report(err);
	libfuse.fuse_reply_err(request, number);
}

/* A folder is there, whatever it leads to; to say that it is not would look
 * like the end of its list. */
static void reply_no_children(fuse_req_t request, const struct gild_error *err)
{
	int number = gild_error_number(err);

	mount_of(request)->report(err);
	libfuse.fuse_reply_err(request, number == ENOENT ? EIO : number);
}

/* --- attributes ------------------------------------------------------- */

static mode_t node_mode(const struct mount *mount, const struct node *node)
{
	mode_t who = mount->allow_other ? 0777 : 0700;
	mode_t rights = 0444;

	switch (node->kind) {
	case NODE_FOLDER:
		return S_IFDIR | (0555 & who);
	case NODE_LINK:
		return S_IFLNK | 0777;
	case NODE_TEXT:
		return S_IFREG | (0444 & who);
	case NODE_RUN:
		break;
	}
	if (node->disk->writable)
		rights |= 0222;
	/* Others may do with the disk what they may with the image. */
	if (mount->allow_other)
		who = node->disk->below ? 0700 : mount->image.st_mode | 0700;
	return S_IFREG | (rights & who);
}

void node_stat(const struct mount *mount, const struct node *node,
	       struct stat *st)
{
	*st = (struct stat){
		.st_ino = node->number,
		.st_mode = node_mode(mount, node),
		.st_nlink = node->kind == NODE_FOLDER ? 2 : 1,
		.st_uid = mount->image.st_uid,
		.st_gid = mount->image.st_gid,
		.st_blksize = STAT_BLOCK,
		.st_atim = mount->image.st_mtim,
		.st_mtim = mount->image.st_mtim,
		.st_ctim = mount->image.st_ctim,
	};
	if (node->kind == NODE_FOLDER)
		return;
	st->st_size = (off_t)node_size(node);
	st->st_blocks = (blkcnt_t)((node_size(node) + BLOCK - 1) / BLOCK);
}

static void get_attributes(fuse_req_t request, fuse_ino_t inode,
			   struct fuse_file_info *file)
{
	struct stat st;

	(void)file;
	node_stat(mount_of(request), node_of(request, inode), &st);
	libfuse.fuse_reply_attr(request, &st, ATTRIBUTES_LAST);
}

/* Only the size can change; that times do is not worth an error. */
static void set_attributes(fuse_req_t request, fuse_ino_t inode,
			   struct stat *wanted, int what,
			   struct fuse_file_info *file)
{
	struct node *node = node_of(request, inode);
	struct gild_error err = { .kind = GILD_ERR_NONE };
	int result = 0;

	(void)file;
	if (what &
	    (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
		libfuse.fuse_reply_err(request, EPERM);
		return;
	}
	if (what & FUSE_SET_ATTR_SIZE) {
		if (node->kind != NODE_RUN || !node->whole) {
			libfuse.fuse_reply_err(request, EPERM);
			return;
		}
		result = disk_resize(node->disk, (uint64_t)wanted->st_size,
				     &err);
	}
	if (result < 0)
		reply_failure(request, &err);
	else
		get_attributes(request, inode, NULL);
}

/* --- names ------------------------------------------------------------ */

static void look_up(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct mount *mount = mount_of(request);
	struct node *folder = node_of(request, parent), *node;
	struct fuse_entry_param entry = {
		.attr_timeout = ATTRIBUTES_LAST,
		.entry_timeout = ATTRIBUTES_LAST,
	};
	struct gild_error err = { .kind = GILD_ERR_NONE };

	if (folder->kind != NODE_FOLDER) {
		libfuse.fuse_reply_err(request, ENOTDIR);
		return;
	}
	if (tree_fill(mount->tree, folder, &err) < 0) {
		reply_no_children(request, &err);
		return;
	}
	node = tree_find(folder, name);
	if (!node) {
		libfuse.fuse_reply_err(request, ENOENT);
		return;
	}
	entry.ino = inode_of(mount, node);
	node_stat(mount, node, &entry.attr);
	libfuse.fuse_reply_entry(request, &entry);
}

/* All nodes stay. */
static void forget(fuse_req_t request, fuse_ino_t inode, uint64_t lookups)
{
	(void)inode;
	(void)lookups;
	libfuse.fuse_reply_none(request);
}

static void read_link(fuse_req_t request, fuse_ino_t inode)
{
	libfuse.fuse_reply_readlink(request, node_of(request, inode)->text);
}

/* --- folders ---------------------------------------------------------- */

/* The entry at a place: ".", "..", then the children. NULL: the end. */
static const struct node *entry_at(const struct node *folder, size_t index,
				   const char **name)
{
	if (index < 2) {
		*name = index ? ".." : ".";
		return index && folder->parent ? folder->parent : folder;
	}
	if (index - 2 >= folder->count)
		return NULL;
	*name = folder->children[index - 2]->name;
	return folder->children[index - 2];
}

static size_t list(fuse_req_t request, const struct node *folder, char *buffer,
		   size_t size, size_t index)
{
	const struct node *node;
	const char *name;
	size_t used = 0;

	for (; (node = entry_at(folder, index, &name)); index++) {
		size_t needed;
		struct stat st;

		node_stat(mount_of(request), node, &st);
		needed = libfuse.fuse_add_direntry(request, buffer + used,
						   size - used, name, &st,
						   (off_t)index + 1);
		if (needed > size - used)
			break;
		used += needed;
	}
	return used;
}

static void read_folder(fuse_req_t request, fuse_ino_t inode, size_t size,
			off_t offset, struct fuse_file_info *file)
{
	struct node *folder = node_of(request, inode);
	struct gild_error err = { .kind = GILD_ERR_NONE };
	char *buffer;

	(void)file;
	if (tree_fill(mount_of(request)->tree, folder, &err) < 0) {
		reply_no_children(request, &err);
		return;
	}
	buffer = malloc(size);
	if (!buffer) {
		libfuse.fuse_reply_err(request, ENOMEM);
		return;
	}
	libfuse.fuse_reply_buf(request, buffer,
			       list(request, folder, buffer, size,
				    (size_t)offset));
	free(buffer);
}

static void open_folder(fuse_req_t request, fuse_ino_t inode,
			struct fuse_file_info *file)
{
	(void)inode;
	file->cache_readdir = 1;
	file->keep_cache = 1;
	libfuse.fuse_reply_open(request, file);
}

/* --- files ------------------------------------------------------------ */

static void open_file(fuse_req_t request, fuse_ino_t inode,
		      struct fuse_file_info *file)
{
	struct node *node = node_of(request, inode);
	bool writes = (file->flags & O_ACCMODE) != O_RDONLY;

	if (writes && (node->kind != NODE_RUN || !node->disk->writable)) {
		libfuse.fuse_reply_err(request, EROFS);
		return;
	}
	/* What nobody writes stays as it is, and may be cached. What is written
	 * has several names, the disk's and a partition's: what is kept of one
	 * would be old when another is written. */
	file->keep_cache = node->kind != NODE_RUN || !node->disk->writable;
	file->direct_io = !file->keep_cache;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 15)
	file->parallel_direct_writes = 1;
#endif
	file->noflush = 1;
	libfuse.fuse_reply_open(request, file);
}

static void get_room(fuse_req_t request, fuse_ino_t inode)
{
	struct tree *tree = mount_of(request)->tree;
	uint64_t blocks = disk_size(tree->root->children[0]->disk) / STAT_BLOCK;
	struct statvfs room = {
		.f_bsize = STAT_BLOCK,
		.f_frsize = STAT_BLOCK,
		.f_blocks = blocks,
		.f_namemax = NAME_LONGEST,
	};

	(void)inode;
	libfuse.fuse_reply_statfs(request, &room);
}

static void start(void *data, struct fuse_conn_info *connection)
{
	(void)data;
	connection->max_read = LARGEST_REQUEST;
	connection->max_write = LARGEST_REQUEST;
	connection->max_readahead = LARGEST_REQUEST;
	connection->want |= connection->capable &
			    (FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS |
			     FUSE_CAP_CACHE_SYMLINKS);
	/* Data comes into memory, where the disk wants it; O_TRUNC comes as a
	 * change of the size, which may be refused. */
	connection->want &=
		~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_AUTO_INVAL_DATA |
			    FUSE_CAP_ATOMIC_O_TRUNC);
}

const struct fuse_lowlevel_ops operations = {
	.init = start,
	.lookup = look_up,
	.forget = forget,
	.getattr = get_attributes,
	.setattr = set_attributes,
	.readlink = read_link,
	.open = open_file,
	.read = data_read,
	.write = data_write,
	.fsync = data_flush,
	.opendir = open_folder,
	.readdir = read_folder,
	.statfs = get_room,
	.fallocate = data_allocate,
	.copy_file_range = data_copy,
	.lseek = data_seek,
};

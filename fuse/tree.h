/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a mount shows, as a tree of nodes. A folder gets its children when it is
 * first looked into (a snapshot is opened then, a partition table read); after
 * that they never change, so nodes are found without a lock, and an inode's
 * number is its node's address. All live until the tree is freed.
 */
#ifndef FUSE_TREE_H
#define FUSE_TREE_H

#include <stdatomic.h>

#include "fuse/disk.h"

enum node_kind {
	NODE_FOLDER,
	NODE_RUN,  /* a run of a disk, as a file */
	NODE_TEXT, /* a file with a text */
	NODE_LINK, /* a symbolic link */
};

struct tree;
struct node;

/* Makes the children of a folder, under the tree's lock. */
typedef int node_fill(struct tree *tree, struct node *folder,
		      struct gild_error *err);

struct node {
	enum node_kind kind;
	char *name;
	struct node *parent;
	unsigned long number; /* st_ino */

	/* NODE_FOLDER; children are there once it is filled */
	node_fill *fill; /* NULL: children were added by who made it */
	_Atomic bool filled;
	struct node **children;
	size_t count;
	size_t index; /* for fill of a snapshot: which */

	/* NODE_RUN, and for fill of a folder */
	struct disk *disk;
	bool whole; /* all of the disk, whatever its size */
	uint64_t start, length;

	/* NODE_TEXT; NODE_LINK: where it leads; for fill of a layer:
	 * its path */
	char *text;
	char *format; /* for fill of a layer */
};

struct tree {
	struct node *root;
	pthread_mutex_t lock; /* of filling */
	struct disk *disks;   /* all of them */
	unsigned long numbers;
	struct gild_info *info;
	/* How to open snapshots and images below. */
	struct gild_open_options options;
	char *path;
	bool writable;
};

struct mount_request;

/* Takes the image; NULL and an error, and it is closed. */
struct tree *tree_new(struct gild_image *image,
		      const struct mount_request *request,
		      struct gild_error *err);

/* Closes all images; the first failure counts. NULL is allowed. */
int tree_free(struct tree *tree, struct gild_error *err);

/* Would a mount at that folder hide the image, or one below it? Then who looks
 * into the mount would wait for the mount. */
int tree_check_folder(struct tree *tree, const char *folder,
		      struct gild_error *err);

/* Fill the folder if need be. */
int tree_fill(struct tree *tree, struct node *folder, struct gild_error *err);

/* The child of that name, of a filled folder; NULL: there is none. */
struct node *tree_find(const struct node *folder, const char *name);

/* Bytes of a file, or of a link's text. */
uint64_t node_size(const struct node *node);

/* --- for fill --------------------------------------------------------- */

/* Add a child. NULL, and err->kind stays: that name is taken, or none. */
struct node *tree_add(struct tree *tree, struct node *folder,
		      enum node_kind kind, const char *name,
		      struct gild_error *err);

/* A disk in the tree's list; takes the image. */
struct disk *tree_add_disk(struct tree *tree, struct gild_image *image,
			   struct gild_error *err);

/* "disk" and "partitions/" of a disk. */
int tree_add_faces(struct tree *tree, struct node *folder, struct disk *disk,
		   struct gild_error *err);

/* --- names.c ---------------------------------------------------------- */

/* A name that stands for any text: what a file's name cannot hold is written
 * \xNN. Caller frees; NULL: out of memory. */
char *name_encode(const char *text);
/* The same, as udev writes labels into names of links. */
char *name_encode_label(const char *text);

/* --- partitions.c ----------------------------------------------------- */

node_fill partitions_fill;

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuse/tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuse/fail.h"
#include "fuse/mount.h"

/* --- nodes ------------------------------------------------------------ */

static struct node *node_new(struct tree *tree, enum node_kind kind,
			     struct node *parent, char *name)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node || !name) {
		free(name);
		free(node);
		return NULL;
	}
	node->kind = kind;
	node->name = name;
	node->parent = parent;
	node->number = ++tree->numbers;
	return node;
}

static void node_free(struct node *node)
{
	if (!node)
		return;
	for (size_t i = 0; i < node->count; i++)
		node_free(node->children[i]);
	free(node->children);
	free(node->name);
	free(node->text);
	free(node->format);
	free(node);
}

uint64_t node_size(const struct node *node)
{
	if (node->kind == NODE_RUN)
		return node->whole ? disk_size(node->disk) : node->length;
	return node->text ? strlen(node->text) : 0;
}

struct node *tree_find(const struct node *folder, const char *name)
{
	for (size_t i = 0; i < folder->count; i++)
		if (!strcmp(folder->children[i]->name, name))
			return folder->children[i];
	return NULL;
}

static int append(struct node *folder, struct node *child,
		  struct gild_error *err)
{
	struct node **children = realloc(
		folder->children, (folder->count + 1) * sizeof(*children));

	if (!children)
		return fuse_fail(err, ENOMEM, "mounting");
	folder->children = children;
	children[folder->count++] = child;
	return 0;
}

struct node *tree_add(struct tree *tree, struct node *folder,
		      enum node_kind kind, const char *name,
		      struct gild_error *err)
{
	struct node *node;

	if (!*name || tree_find(folder, name))
		return NULL;
	node = node_new(tree, kind, folder, strdup(name));
	if (!node) {
		fuse_fail(err, ENOMEM, "mounting");
		return NULL;
	}
	if (append(folder, node, err) < 0) {
		node_free(node);
		return NULL;
	}
	return node;
}

/* One that must be there. */
static struct node *add_sure(struct tree *tree, struct node *folder,
			     enum node_kind kind, const char *name,
			     struct gild_error *err)
{
	struct node *node = tree_add(tree, folder, kind, name, err);

	if (!node)
		fuse_fail(err, ENOMEM, "mounting");
	return node;
}

struct disk *tree_add_disk(struct tree *tree, struct gild_image *image,
			   struct gild_error *err)
{
	struct disk *disk = disk_new(image);

	if (!disk) {
		gild_close(image, NULL);
		fuse_fail(err, ENOMEM, "mounting");
		return NULL;
	}
	disk->next = tree->disks;
	tree->disks = disk;
	return disk;
}

int tree_fill(struct tree *tree, struct node *folder, struct gild_error *err)
{
	int result = 0;

	if (!folder->fill || atomic_load(&folder->filled))
		return 0;
	pthread_mutex_lock(&tree->lock);
	if (!folder->filled) {
		result = folder->fill(tree, folder, err);
		/* Half of it would be taken for all of it. */
		while (result < 0 && folder->count)
			node_free(folder->children[--folder->count]);
		if (result == 0)
			atomic_store(&folder->filled, true);
	}
	pthread_mutex_unlock(&tree->lock);
	return result;
}

/* --- what a disk shows ------------------------------------------------ */

int tree_add_faces(struct tree *tree, struct node *folder, struct disk *disk,
		   struct gild_error *err)
{
	struct node *file = add_sure(tree, folder, NODE_RUN, "disk", err);
	struct node *partitions;

	if (!file)
		return -1;
	file->disk = disk;
	file->whole = true;
	partitions = add_sure(tree, folder, NODE_FOLDER, "partitions", err);
	if (!partitions)
		return -1;
	partitions->disk = disk;
	partitions->fill = partitions_fill;
	return 0;
}

/* Opened for reading, beside ourselves, who may have it open for writing. */
static int show(struct tree *tree, struct node *folder, const char *path,
		const struct gild_open_options *options, struct gild_error *err)
{
	struct gild_image *image = gild_open(path, options, err);
	struct disk *disk;

	if (!image)
		return -1;
	disk = tree_add_disk(tree, image, err);
	return disk ? tree_add_faces(tree, folder, disk, err) : -1;
}

/* A snapshot's clusters do not change as long as it is there. */
static int fill_snapshot(struct tree *tree, struct node *folder,
			 struct gild_error *err)
{
	struct gild_open_options options = tree->options;

	options.snapshot = tree->info->snapshots[folder->index].id;
	options.flags |= GILD_OPEN_SHARE;
	return show(tree, folder, tree->path, &options, err);
}

/* Names may be the same, or nothing; ids are not. */
static struct node *add_snapshot(struct tree *tree, struct node *folder,
				 const struct gild_snapshot *snapshot,
				 struct gild_error *err)
{
	char *name = name_encode(snapshot->name), *longer = NULL;
	struct node *node = NULL;

	if (name)
		node = tree_add(tree, folder, NODE_FOLDER, name, err);
	if (name && !node && err->kind == GILD_ERR_NONE &&
	    asprintf(&longer, "#%s %s", snapshot->id, snapshot->name) >= 0) {
		free(name);
		name = name_encode(longer);
		free(longer);
		if (name)
			node = tree_add(tree, folder, NODE_FOLDER, name, err);
	}
	free(name);
	return node;
}

static int fill_snapshots(struct tree *tree, struct node *folder,
			  struct gild_error *err)
{
	for (size_t i = 0; i < tree->info->snapshot_count; i++) {
		struct node *node = add_snapshot(
			tree, folder, &tree->info->snapshots[i], err);

		if (!node)
			return fuse_fail(err, ENOMEM, "snapshots");
		node->index = i;
		node->fill = fill_snapshot;
	}
	return 0;
}

/* --- the chain -------------------------------------------------------- */

static struct gild_open_options layer_options(const struct tree *tree,
					      const char *format)
{
	struct gild_open_options options = tree->options;

	options.format = format;
	options.flags = GILD_OPEN_SHARE;
	options.snapshot = NULL;
	options.key_secret = NULL;
	return options;
}

static int fill_layer(struct tree *tree, struct node *folder,
		      struct gild_error *err)
{
	struct gild_open_options options = layer_options(tree, folder->format);

	if (show(tree, folder, folder->text, &options, err) < 0)
		return -1;
	tree->disks->below = true;
	return 0;
}

/* What an image's header says, without opening what is below. */
static struct gild_info *look(const struct tree *tree, const struct node *layer,
			      struct gild_error *err)
{
	struct gild_open_options options = layer_options(tree, layer->format);
	struct gild_image *image;
	struct gild_info *info;

	options.flags = GILD_OPEN_INSPECT;
	image = gild_open(layer->text, &options, err);
	if (!image)
		return NULL;
	info = gild_info(image, err);
	gild_close(image, NULL);
	return info;
}

/* The image that info names as its backing file. */
static struct node *add_layer(struct tree *tree, struct node *folder,
			      const struct gild_info *info,
			      struct gild_error *err)
{
	const char *format = info->backing_format ?
				     info->backing_format :
				     tree->options.policy.backing_format;
	const char *path = info->full_backing_filename;
	struct node *node;
	char name[32];

	snprintf(name, sizeof(name), "%zu", folder->count + 1);
	node = add_sure(tree, folder, NODE_FOLDER, name, err);
	if (!node)
		return NULL;
	node->fill = fill_layer;
	node->text = strdup(!strncmp(path, "file:", 5) ? path + 5 : path);
	node->format = format ? strdup(format) : NULL;
	if (node->text && (node->format || !format))
		return node;
	fuse_fail(err, ENOMEM, "chain");
	return NULL;
}

/* All of the chain has been opened, so its names may be followed, and end. */
static int fill_chain(struct tree *tree, struct node *folder,
		      struct gild_error *err)
{
	const struct gild_info *info = tree->info;
	struct gild_info *below = NULL;
	int result = 0;

	while (result == 0 && info && info->full_backing_filename) {
		struct node *layer = add_layer(tree, folder, info, err);

		gild_info_free(below);
		below = layer ? look(tree, layer, err) : NULL;
		info = below;
		result = info ? 0 : -1;
	}
	gild_info_free(below);
	return result;
}

/* --- the tree --------------------------------------------------------- */

static int add_folder(struct tree *tree, const char *name, node_fill *fill,
		      struct gild_error *err)
{
	struct node *node = add_sure(tree, tree->root, NODE_FOLDER, name, err);

	if (!node)
		return -1;
	node->fill = fill;
	return 0;
}

/* What the tool says of the image, and who serves the mount. */
static int add_info(struct tree *tree, struct gild_image *image,
		    const struct mount_request *request, struct gild_error *err)
{
	struct node *node =
		add_sure(tree, tree->root, NODE_TEXT, "info.json", err);
	char *info = node ? request->describe(image, err) : NULL;

	if (!info)
		return -1;
	if (asprintf(&node->text, "{\n    \"mount-process\": %ld,%s\n",
		     (long)getpid(), info + 1) < 0)
		node->text = NULL;
	free(info);
	return node->text ? 0 : fuse_fail(err, ENOMEM, "mounting");
}

static int build(struct tree *tree, struct gild_image *image,
		 const struct mount_request *request, struct gild_error *err)
{
	struct disk *disk = tree_add_disk(tree, image, err);

	if (!disk)
		return -1;
	disk->writable = request->writable;
	disk->resizable = request->resizable;
	tree->root = node_new(tree, NODE_FOLDER, NULL, strdup(""));
	tree->path = strdup(gild_path(disk->image));
	tree->info = gild_info(disk->image, err);
	if (!tree->root || !tree->path)
		return fuse_fail(err, ENOMEM, "mounting");
	if (!tree->info || tree_add_faces(tree, tree->root, disk, err) < 0 ||
	    add_folder(tree, "snapshots", fill_snapshots, err) < 0 ||
	    add_folder(tree, "chain", fill_chain, err) < 0)
		return -1;
	return add_info(tree, image, request, err);
}

struct tree *tree_new(struct gild_image *image,
		      const struct mount_request *request,
		      struct gild_error *err)
{
	struct tree *tree = calloc(1, sizeof(*tree));

	if (!tree) {
		gild_close(image, NULL);
		fuse_fail(err, ENOMEM, "mounting");
		return NULL;
	}
	pthread_mutex_init(&tree->lock, NULL);
	tree->options = *request->options;
	tree->options.flags &= ~(unsigned)GILD_OPEN_WRITE;
	tree->writable = request->writable;
	if (build(tree, image, request, err) < 0) {
		tree_free(tree, NULL);
		return NULL;
	}
	return tree;
}

static bool is_inside(const char *path, const char *folder)
{
	char *real = realpath(path, NULL);
	size_t length = strlen(folder);
	bool inside = real && !strncmp(real, folder, length) &&
		      (real[length] == '/' || folder[length - 1] == '/');

	free(real);
	return inside;
}

int tree_check_folder(struct tree *tree, const char *folder,
		      struct gild_error *err)
{
	struct node *chain = tree_find(tree->root, "chain");
	char *real = realpath(folder, NULL);
	const char *hidden = NULL;

	/* What is not there cannot be mounted on. */
	if (!real)
		return 0;
	if (is_inside(tree->path, real))
		hidden = tree->path;
	/* A chain that cannot be followed fails when it is looked at. */
	if (!hidden && tree_fill(tree, chain, &(struct gild_error){ 0 }) == 0)
		for (size_t i = 0; i < chain->count && !hidden; i++)
			if (is_inside(chain->children[i]->text, real))
				hidden = chain->children[i]->text;
	free(real);
	if (!hidden)
		return 0;
	return fuse_fail(err, 0, "%s: cannot be mounted there: it holds %s",
			 folder, hidden);
}

int tree_free(struct tree *tree, struct gild_error *err)
{
	int result = 0;

	if (!tree)
		return 0;
	while (tree->disks) {
		struct disk *disk = tree->disks;

		tree->disks = disk->next;
		if (disk_free(disk, result ? NULL : err) < 0)
			result = -1;
	}
	node_free(tree->root);
	gild_info_free(tree->info);
	free(tree->path);
	pthread_mutex_destroy(&tree->lock);
	free(tree);
	return result;
}

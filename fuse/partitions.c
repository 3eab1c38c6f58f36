/* SPDX-License-Identifier: BSD-3-Clause */
/* partitions/: a file for each, and folders of links to them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/fail.h"
#include "fuse/tree.h"

enum {
	/* As the kernel shows an extended partition: enough for a boot
	 * sector. */
	EXTENDED_LENGTH = 1024,
};

static const char *label_of(const struct gild_partition *partition)
{
	return partition->content.label;
}

static const char *uuid_of(const struct gild_partition *partition)
{
	return partition->content.uuid;
}

static const char *name_of(const struct gild_partition *partition)
{
	return partition->name;
}

static const char *partuuid_of(const struct gild_partition *partition)
{
	return partition->uuid;
}

static const struct {
	const char *folder;
	const char *(*get)(const struct gild_partition *partition);
} links[] = {
	{ "by-label", label_of },
	{ "by-uuid", uuid_of },
	{ "by-partlabel", name_of },
	{ "by-partuuid", partuuid_of },
};

static int add_file(struct tree *tree, struct node *folder,
		    const struct gild_partition *partition,
		    struct gild_error *err)
{
	char name[16];
	struct node *node;

	snprintf(name, sizeof(name), "%u", partition->number);
	node = tree_add(tree, folder, NODE_RUN, name, err);
	if (!node) /* the table has a number twice */
		return err->kind == GILD_ERR_NONE ? 0 : -1;
	node->disk = folder->disk;
	node->start = partition->start;
	node->length = partition->length;
	if (partition->extended && node->length > EXTENDED_LENGTH)
		node->length = EXTENDED_LENGTH;
	return 0;
}

/* The first one of a label has it. */
static int add_link(struct tree *tree, struct node *folder, const char *text,
		    unsigned number, struct gild_error *err)
{
	char *name = name_encode_label(text);
	struct node *node = NULL;

	if (name && *name)
		node = tree_add(tree, folder, NODE_LINK, name, err);
	free(name);
	if (!node)
		return err->kind == GILD_ERR_NONE ? 0 : -1;
	if (asprintf(&node->text, "../%u", number) < 0)
		node->text = NULL;
	return node->text ? 0 : fuse_fail(err, ENOMEM, "links");
}

static int add_links(struct tree *tree, struct node *folder,
		     const struct gild_partition_table *table, size_t kind,
		     struct gild_error *err)
{
	struct node *inside =
		tree_add(tree, folder, NODE_FOLDER, links[kind].folder, err);

	if (!inside)
		return -1;
	for (size_t i = 0; i < table->count; i++) {
		const struct gild_partition *partition = &table->items[i];
		const char *text = links[kind].get(partition);

		if (text &&
		    add_link(tree, inside, text, partition->number, err) < 0)
			return -1;
	}
	return 0;
}

static int add_all(struct tree *tree, struct node *folder,
		   const struct gild_partition_table *table,
		   struct gild_error *err)
{
	for (size_t i = 0; i < table->count; i++)
		if (add_file(tree, folder, &table->items[i], err) < 0)
			return -1;
	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
		if (add_links(tree, folder, table, i, err) < 0)
			return -1;
	return 0;
}

int partitions_fill(struct tree *tree, struct node *folder,
		    struct gild_error *err)
{
	struct gild_partition_table *table =
		gild_partitions(folder->disk->image, err);
	int result;

	if (!table)
		return -1;
	result = add_all(tree, folder, table, err);
	gild_partitions_free(table);
	return result;
}

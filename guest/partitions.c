/* SPDX-License-Identifier: BSD-3-Clause */
/* The partitions of a disk, whatever table says which there are. */
#include "guest/partitions.h"

#include <stdlib.h>

#include "guest/signatures.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/memory.h"

struct gild_partition *partitions_add(struct gild_partition_table *table,
				      const struct volume *disk,
				      unsigned number, uint64_t start,
				      uint64_t length, struct gild_error *err)
{
	struct gild_partition *items = table->items;

	if (start >= disk->length || table->count == PARTITIONS_MAX)
		return NULL;
	items = realloc(items, (table->count + 1) * sizeof(*items));
	if (!items)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	table->items = items;
	items += table->count++;
	*items = (struct gild_partition){
		.number = number,
		.start = start,
		.length = min_u64(length, disk->length - start),
	};
	return items;
}

char *partitions_guid(const unsigned char *bytes, struct gild_error *err)
{
	const unsigned char *b = bytes + 8;
	char *text = memory_printf(
		"%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		load_le32(bytes), load_le16(bytes + 4), load_le16(bytes + 6),
		b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]);

	if (!text)
		fail_nomem(err);
	return text;
}

static int read_table(const struct volume *disk,
		      struct gild_partition_table *table,
		      struct gild_error *err)
{
	unsigned char sector[MBR_SIZE];
	enum mbr_kind kind;
	int result;

	if (volume_read(disk, sector, sizeof(sector), 0, err) < 0)
		return -1;
	kind = mbr_look(sector);
	if (kind == MBR_NONE)
		return 0;
	if (kind == MBR_TABLE)
		return mbr_read(disk, sector, table, err);
	result = gpt_read(disk, table, err);
	if (result == 0)
		table->type = "PMBR";
	return result < 0 ? -1 : 0;
}

static void look_inside(const struct volume *disk,
			struct gild_partition_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		struct gild_partition *partition = &table->items[i];
		struct volume volume = { disk->image, partition->start,
					 partition->length };

		/* What cannot be read in one part is no reason to tell
		 * nothing of the others. */
		if (!partition->extended)
			signatures_look(&volume, &partition->content, NULL);
	}
}

/* A filesystem over all of the disk may end its first sector as an MBR does. */
static int look(const struct volume *disk, struct gild_partition_table *table,
		struct gild_error *err)
{
	if (read_table(disk, table, err) < 0)
		return -1;
	if (table->count) {
		look_inside(disk, table);
		return 0;
	}
	if (signatures_look(disk, &table->content, err) < 0)
		return -1;
	if (table->content.type && table->type && !strcmp(table->type, "dos")) {
		table->type = NULL;
		free(table->uuid);
		table->uuid = NULL;
	}
	return 0;
}

struct gild_partition_table *gild_partitions(struct gild_image *image,
					     struct gild_error *err)
{
	struct gild_partition_table *table = calloc(1, sizeof(*table));
	struct volume disk = { image, 0, gild_size(image) };

	if (!table)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	table->sector_size = MBR_SIZE;
	if (look(&disk, table, err) < 0) {
		gild_partitions_free(table);
		return NULL;
	}
	return table;
}

static void free_content(struct gild_content *content)
{
	free(content->type);
	free(content->label);
	free(content->uuid);
}

void gild_partitions_free(struct gild_partition_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++) {
		free(table->items[i].type);
		free(table->items[i].uuid);
		free(table->items[i].name);
		free_content(&table->items[i].content);
	}
	free(table->items);
	free(table->uuid);
	free_content(&table->content);
	free(table);
}

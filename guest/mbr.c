/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of IBM's PC: four entries at 446 of the first sector, which ends in
 * 55 AA. An extended partition holds a chain of such sectors, each with one
 * logical partition and the place of the next sector. Sectors are 512 bytes.
 *
 *   entry:  0 boot indicator (0x80: active), 4 type,
 *           8 first sector (LE, 32 bits), 12 sectors
 *
 * In a chained sector a partition is counted from that sector, the next sector
 * from the begin of the extended partition.
 */
#include <stdio.h>

#include "guest/partitions.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/memory.h"

enum {
	DISK_ID = 440,
	ENTRIES = 446,
	ENTRY_SIZE = 16,
	ENTRY_COUNT = 4,
	MAGIC = 510,
	SECTOR = 512,
	TYPE_PROTECTIVE = 0xee,
	FIRST_LOGICAL = 5,
	MAX_EMPTY = 100, /* chained sectors without a partition */
};

struct entry {
	unsigned char boot, type;
	uint64_t start, length; /* bytes */
};

static struct entry entry_at(const unsigned char *sector, unsigned index)
{
	const unsigned char *at = sector + ENTRIES + index * ENTRY_SIZE;

	return (struct entry){
		.boot = at[0],
		.type = at[4],
		.start = (uint64_t)load_le32(at + 8) * SECTOR,
		.length = (uint64_t)load_le32(at + 12) * SECTOR,
	};
}

static bool is_extended(const struct entry *entry)
{
	return entry->type == 0x05 || entry->type == 0x0f ||
	       entry->type == 0x85;
}

static bool has_magic(const unsigned char *sector)
{
	return sector[MAGIC] == 0x55 && sector[MAGIC + 1] == 0xaa;
}

enum mbr_kind mbr_look(const unsigned char *sector)
{
	bool protective = false;

	if (!has_magic(sector))
		return MBR_NONE;
	for (unsigned i = 0; i < ENTRY_COUNT; i++) {
		struct entry entry = entry_at(sector, i);

		/* Boot sectors of filesystems end in 55 AA, too. */
		if (entry.boot != 0 && entry.boot != 0x80)
			return MBR_NONE;
		if (entry.type == TYPE_PROTECTIVE && entry.start == SECTOR)
			protective = true;
	}
	return protective ? MBR_PROTECTIVE : MBR_TABLE;
}

/* 0, also where it is not within the disk. */
static int add(struct gild_partition_table *table, const struct volume *disk,
	       unsigned number, const struct entry *entry, uint64_t base,
	       struct gild_error *err)
{
	struct gild_error failure = { .kind = GILD_ERR_NONE };
	struct gild_partition *partition =
		partitions_add(table, disk, number, base + entry->start,
			       entry->length, &failure);

	if (!partition) {
		if (failure.kind == GILD_ERR_NONE)
			return 0;
		if (err)
			*err = failure;
		return -1;
	}
	partition->extended = is_extended(entry);
	partition->type = memory_printf("0x%x", entry->type);
	if (table->uuid)
		partition->uuid = memory_printf("%s-%02x", table->uuid, number);
	if (!partition->type || (table->uuid && !partition->uuid))
		return fail_nomem(err);
	return 0;
}

/* --- logical partitions ----------------------------------------------- */

struct walk {
	const struct volume *disk;
	struct gild_partition_table *table;
	struct entry extended;
	uint64_t at, length; /* the chained sector, and what it speaks for */
	unsigned *next;	     /* number */
	unsigned empty;	     /* sectors without a partition, on end */
};

/* The third and fourth entry of a chained sector are unused, but by tools that
 * put something there: take what makes sense. */
static bool makes_sense(const struct walk *walk, const struct entry *entry,
			unsigned index)
{
	uint64_t start = walk->at + entry->start;
	uint64_t end = walk->extended.start + walk->extended.length;

	if (!entry->length || is_extended(entry))
		return false;
	if (index < 2)
		return true;
	return entry->start + entry->length <= walk->length &&
	       start >= walk->extended.start && start + entry->length <= end;
}

static int add_logical(struct walk *walk, const unsigned char *sector,
		       struct gild_error *err)
{
	for (unsigned i = 0; i < ENTRY_COUNT; i++) {
		struct entry entry = entry_at(sector, i);

		if (!makes_sense(walk, &entry, i))
			continue;
		if (add(walk->table, walk->disk, (*walk->next)++, &entry,
			walk->at, err) < 0)
			return -1;
		walk->empty = 0;
	}
	return 0;
}

/* To the next chained sector; false: that was the last. */
static bool step(struct walk *walk, const unsigned char *sector)
{
	for (unsigned i = 0; i < ENTRY_COUNT; i++) {
		struct entry entry = entry_at(sector, i);

		if (!entry.length || !is_extended(&entry))
			continue;
		walk->at = walk->extended.start + entry.start;
		walk->length = entry.length;
		return true;
	}
	return false;
}

/* The chain may be a ring: what bounds the walk is the number of partitions,
 * and that of sectors which have none. */
static int add_chain(struct walk *walk, struct gild_error *err)
{
	unsigned char sector[MBR_SIZE];

	do {
		if (++walk->empty > MAX_EMPTY || *walk->next >= PARTITIONS_MAX)
			return 0;
		if (volume_read(walk->disk, sector, sizeof(sector), walk->at,
				err) < 0)
			return -1;
		if (!has_magic(sector))
			return 0;
		if (add_logical(walk, sector, err) < 0)
			return -1;
	} while (step(walk, sector));
	return 0;
}

/* --- the table -------------------------------------------------------- */

static int read_disk_id(const unsigned char *sector,
			struct gild_partition_table *table,
			struct gild_error *err)
{
	uint32_t id = load_le32(sector + DISK_ID);

	if (!id)
		return 0;
	table->uuid = memory_printf("%08x", id);
	return table->uuid ? 0 : fail_nomem(err);
}

int mbr_read(const struct volume *disk, const unsigned char *sector,
	     struct gild_partition_table *table, struct gild_error *err)
{
	unsigned next = FIRST_LOGICAL;

	table->type = "dos";
	table->sector_size = SECTOR;
	if (read_disk_id(sector, table, err) < 0)
		return -1;
	for (unsigned i = 0; i < ENTRY_COUNT; i++) {
		struct entry entry = entry_at(sector, i);

		if (entry.length && add(table, disk, i + 1, &entry, 0, err) < 0)
			return -1;
	}
	for (unsigned i = 0; i < ENTRY_COUNT; i++) {
		struct entry entry = entry_at(sector, i);
		struct walk walk = { disk,	   table, entry, entry.start,
				     entry.length, &next, 0 };

		if (entry.length && is_extended(&entry) &&
		    add_chain(&walk, err) < 0)
			return -1;
	}
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GUID partition tables (UEFI specification, 5.3): a header in the second
 * sector, a copy in the last one, each with the place of an array of entries;
 * check sums over both. Numbers are little-endian, places are sectors.
 *
 *   header: 0 "EFI PART", 12 size, 16 CRC-32 of the header (as if this were
 *           zero), 24 own sector, 40 first and 48 last usable sector,
 *           56 disk's GUID, 72 array's sector, 80 entries, 84 size of one,
 *           88 CRC-32 of the array
 *   entry:  0 type's GUID (zeros: unused), 16 GUID, 32 first sector, 40 last
 *           one, 56 name (36 units of UTF-16)
 */
#include <stdlib.h>
#include <zlib.h>

#include "guest/partitions.h"
#include "guest/text.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/memory.h"

enum {
	HEADER_SIZE = 92,
	ENTRY_SIZE = 128,
	GUID_SIZE = 16,
	NAME_UNITS = 36,
	MAX_SECTOR = 4096,
	MAX_ARRAY = 4 << 20, /* bytes; usual are 16 KiB */
};

struct header {
	uint32_t sector_size;
	uint64_t first_usable, last_usable; /* sectors */
	uint64_t array;			    /* bytes */
	uint32_t count, entry_size, array_crc;
	unsigned char guid[GUID_SIZE];
};

static bool crc_matches(unsigned char *sector, uint32_t size)
{
	uint32_t stored = load_le32(sector + 16);

	memset(sector + 16, 0, 4);
	return crc32(0, sector, size) == stored;
}

/* Check what stands in a sector, and take it. */
static bool parse_header(unsigned char *sector, uint64_t at, uint64_t last,
			 struct header *header)
{
	uint32_t size = load_le32(sector + 12);

	if (memcmp(sector, "EFI PART", 8) != 0 || size < HEADER_SIZE ||
	    size > header->sector_size || !crc_matches(sector, size) ||
	    load_le64(sector + 24) != at)
		return false;
	header->first_usable = load_le64(sector + 40);
	header->last_usable = load_le64(sector + 48);
	header->count = load_le32(sector + 80);
	header->entry_size = load_le32(sector + 84);
	header->array_crc = load_le32(sector + 88);
	if (header->first_usable > header->last_usable ||
	    header->last_usable > last || load_le64(sector + 72) > last)
		return false;
	header->array = load_le64(sector + 72) * header->sector_size;
	memcpy(header->guid, sector + 56, GUID_SIZE);
	return header->count > 0 && header->entry_size >= ENTRY_SIZE &&
	       is_power_of_2(header->entry_size) &&
	       header->count <= MAX_ARRAY / header->entry_size;
}

/* The array of a header, if it is what the check sum is of: 1 with *array. */
static int read_array(const struct volume *disk, const struct header *header,
		      unsigned char **array, struct gild_error *err)
{
	size_t size = (size_t)header->count * header->entry_size;
	AUTO_FREE unsigned char *bytes = NULL;

	if (!range_within(header->array, size, disk->length))
		return 0;
	bytes = malloc(size);
	if (!bytes)
		return fail_nomem(err);
	if (volume_read(disk, bytes, size, header->array, err) < 0)
		return -1;
	if (crc32(0, bytes, (uInt)size) != header->array_crc)
		return 0;
	*array = steal_ptr(bytes);
	return 1;
}

static char *read_name(const unsigned char *entry, struct gild_error *err)
{
	return text_from_utf16(entry + 56, NAME_UNITS, err);
}

static int add_entry(struct gild_partition_table *table,
		     const struct volume *disk, unsigned number,
		     const struct header *header, const unsigned char *entry,
		     struct gild_error *err)
{
	static const unsigned char unused[GUID_SIZE];
	uint64_t first = load_le64(entry + 32), last = load_le64(entry + 40);
	uint64_t sectors = disk->length / header->sector_size;
	struct gild_partition *partition;

	if (!memcmp(entry, unused, GUID_SIZE) || first > last ||
	    last >= sectors || table->count == PARTITIONS_MAX)
		return 0;
	partition =
		partitions_add(table, disk, number, first * header->sector_size,
			       (last - first + 1) * header->sector_size, err);
	if (!partition)
		return -1;
	partition->type = partitions_guid(entry, err);
	partition->uuid = partitions_guid(entry + GUID_SIZE, err);
	if (!partition->type || !partition->uuid)
		return -1;
	if (!load_le16(entry + 56))
		return 0;
	partition->name = read_name(entry, err);
	return partition->name ? 0 : -1;
}

static int take(const struct volume *disk, const struct header *header,
		const unsigned char *array, struct gild_partition_table *table,
		struct gild_error *err)
{
	table->type = "gpt";
	table->sector_size = header->sector_size;
	table->uuid = partitions_guid(header->guid, err);
	if (!table->uuid)
		return -1;
	for (uint32_t i = 0; i < header->count; i++) {
		if (add_entry(table, disk, i + 1, header,
			      array + (size_t)i * header->entry_size, err) < 0)
			return -1;
	}
	return 0;
}

/* The copy whose header is in that sector: 1 where it is valid. */
static int read_copy(const struct volume *disk, uint32_t sector_size,
		     uint64_t at, struct gild_partition_table *table,
		     struct gild_error *err)
{
	uint64_t last = disk->length / sector_size - 1;
	struct header header = { .sector_size = sector_size };
	unsigned char sector[MAX_SECTOR];
	AUTO_FREE unsigned char *array = NULL;
	int result;

	if (volume_read(disk, sector, sector_size, at * sector_size, err) < 0)
		return -1;
	if (!parse_header(sector, at, last, &header))
		return 0;
	result = read_array(disk, &header, &array, err);
	if (result != 1)
		return result;
	return take(disk, &header, array, table, err) < 0 ? -1 : 1;
}

int gpt_read(const struct volume *disk, struct gild_partition_table *table,
	     struct gild_error *err)
{
	static const uint32_t sizes[] = { 512, 4096 };

	for (unsigned copy = 0; copy < 2; copy++) {
		for (unsigned i = 0; i < 2; i++) {
			uint64_t sectors = disk->length / sizes[i];
			int result = 0;

			if (sectors >= 3)
				result = read_copy(disk, sizes[i],
						   copy ? sectors - 1 : 1,
						   table, err);
			table->from_backup = copy == 1;
			if (result)
				return result;
		}
	}
	return 0;
}

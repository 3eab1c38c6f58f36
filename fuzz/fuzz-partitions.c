/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a disk: its partitions, and what is in them. The check sums of a
 * GPT are made right first, or nothing behind them would ever be reached.
 * Whatever is found lies within the disk.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "formats/image.h"
#include "fuzz/fuzz.h"
#include "fuzz/memory.h"
#include "util/bytes.h"

enum {
	SECTOR = 512,
	HEADER_SIZE = 92,
};

static void put_le32(uint8_t *to, uint32_t value)
{
	value = htole32(value);
	memcpy(to, &value, sizeof(value));
}

/* The sums of the header at a sector, as far as they are of what is there. */
static void mend(uint8_t *disk, size_t size, size_t at)
{
	uint8_t *header = disk + at;
	uint64_t array, length;

	if (at + SECTOR > size || memcmp(header, "EFI PART", 8) != 0)
		return;
	array = load_le64(header + 72);
	length = (uint64_t)load_le32(header + 80) * load_le32(header + 84);
	if (array <= size / SECTOR &&
	    range_within(array * SECTOR, length, size))
		put_le32(header + 88, (uint32_t)crc32(0, disk + array * SECTOR,
						      (uInt)length));
	length = load_le32(header + 12);
	put_le32(header + 16, 0);
	if (length >= HEADER_SIZE && length <= SECTOR)
		put_le32(header + 16, (uint32_t)crc32(0, header, (uInt)length));
}

static void look(struct gild_image *image)
{
	struct gild_partition_table *table = gild_partitions(image, NULL);

	for (size_t i = 0; table && i < table->count; i++) {
		const struct gild_partition *partition = &table->items[i];

		if (!range_within(partition->start, partition->length,
				  gild_size(image)) ||
		    !partition->number || !partition->type)
			abort();
	}
	gild_partitions_free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct gild_open_options options = { .format = "raw" };
	uint8_t *disk;
	struct image *image;

	if (size > FUZZ_MAX_INPUT)
		return 0;
	disk = malloc(size + 1);
	if (!disk)
		return 0;
	memcpy(disk, data, size);
	mend(disk, size, SECTOR);
	if (size >= SECTOR)
		mend(disk, size, round_down(size - SECTOR, SECTOR));
	image = image_open_storage(memory_new(disk, size), &options, NULL);
	if (image)
		look((struct gild_image *)image);
	image_free(image);
	free(disk);
	return 0;
}

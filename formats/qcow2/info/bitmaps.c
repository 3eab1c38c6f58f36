/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bitmap directory, read for its names: entries of variable length, one
 * after the other, each padded to 8 bytes.
 *
 *     24 bytes | extra data | name | padding
 *
 * Without the autoclear bit that vouches for it, the directory is not looked
 * at. Specification: "Bitmaps".
 */
#include <stdlib.h>

#include "formats/qcow2/info/parts.h"
#include "util/bytes.h"
#include "util/cleanup.h"

#define ENTRY_HEAD 24
#define MAX_NAME 1023

enum {
	FLAG_IN_USE = 1 << 0,
	FLAG_AUTO = 1 << 1,
	FLAGS_KNOWN = (1 << 3) - 1,
};

struct directory {
	unsigned char *bytes;
	uint64_t length, used;
	const struct qcow2 *q;
};

static int fail_entry(const struct directory *directory, const char *what,
		      struct gild_error *err)
{
	fail(err, GILD_ERR_CORRUPT, 0, "an entry of the bitmap directory %s",
	     what);
	return error_at(err, directory->q->header.bitmap_directory_offset +
				     directory->used);
}

static int add_flags(struct gild_value *bitmap, uint32_t flags)
{
	struct gild_value *list =
		value_add_tree(bitmap, "flags", GILD_VALUE_LIST);

	if (!list)
		return -1;
	if (flags & FLAG_IN_USE && value_add_string(list, NULL, "in-use") < 0)
		return -1;
	return flags & FLAG_AUTO ? value_add_string(list, NULL, "auto") : 0;
}

static int add_bitmap(struct gild_value *list, const unsigned char *entry,
		      const char *name)
{
	struct gild_value *bitmap =
		value_add_tree(list, NULL, GILD_VALUE_OBJECT);

	if (!bitmap || add_flags(bitmap, load_be32(entry + 12)) < 0 ||
	    value_add_string(bitmap, "name", name) < 0)
		return -1;
	return value_add_number(bitmap, "granularity", 1ULL << entry[17]);
}

static int check_entry(const struct directory *directory,
		       const unsigned char *entry, struct gild_error *err)
{
	uint32_t name_length = load_be16(entry + 18);

	if (load_be32(entry + 12) & ~(uint32_t)FLAGS_KNOWN)
		return fail_entry(directory, "has unknown flags", err);
	if (entry[17] > 63)
		return fail_entry(directory, "has an impossible granularity",
				  err);
	if (name_length == 0 || name_length > MAX_NAME)
		return fail_entry(directory, "has an impossible name", err);
	return 0;
}

static int read_entry(struct directory *directory, struct gild_value *list,
		      struct gild_error *err)
{
	const unsigned char *entry = directory->bytes + directory->used;
	uint64_t left = directory->length - directory->used, length;
	AUTO_FREE char *name = NULL;
	uint32_t name_length;

	if (left < ENTRY_HEAD)
		return fail_entry(directory, "is cut short", err);
	if (check_entry(directory, entry, err) < 0)
		return -1;
	name_length = load_be16(entry + 18);
	length = ENTRY_HEAD + (uint64_t)load_be32(entry + 20) + name_length;
	if (length > left)
		return fail_entry(directory, "is cut short", err);
	name = strndup((const char *)entry + length - name_length, name_length);
	if (!name || add_bitmap(list, entry, name) < 0)
		return fail_nomem(err);
	directory->used += min_u64(left, round_up(length, 8));
	return 0;
}

int qcow2_info_bitmaps(struct qcow2 *q, struct gild_value *specific,
		       struct gild_error *err)
{
	const struct qcow2_header *header = &q->header;
	AUTO_FREE unsigned char *bytes = NULL;
	struct directory directory = { .q = q };
	struct gild_value *list;

	if (!header->has_bitmaps ||
	    !(header->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	/* Within the file and its cap: the header was checked. */
	directory.length = header->bitmap_directory_size;
	directory.bytes = bytes = malloc(directory.length);
	list = value_add_tree(specific, "bitmaps", GILD_VALUE_LIST);
	if (!bytes || !list)
		return fail_nomem(err);
	if (storage_read_all(q->image.storage, bytes, directory.length,
			     header->bitmap_directory_offset, err) < 0)
		return -1;
	for (uint32_t i = 0; i < header->bitmap_count; i++) {
		if (read_entry(&directory, list, err) < 0)
			return -1;
	}
	return 0;
}

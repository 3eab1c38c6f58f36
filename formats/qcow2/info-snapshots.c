/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The snapshot table, read for its names and dates: entries of variable length,
 * one after the other, each padded to 8 bytes.
 *
 *     40 bytes | extra data | id | name | padding
 *
 * Specification: "Snapshots".
 */
#include <stdlib.h>

#include "formats/qcow2/info-parts.h"
#include "util/bytes.h"
#include "util/cleanup.h"

#define ENTRY_HEAD 40
#define MAX_EXTRA 1024
#define MAX_TABLE (64ULL << 20)

/* The fixed head of an entry, decoded. */
struct entry {
	uint32_t id_length, name_length, extra_length;
	uint64_t variable; /* bytes after the head, without padding */
};

static int fail_entry(uint32_t index, uint64_t offset, const char *what,
		      struct gild_error *err)
{
	fail(err, GILD_ERR_CORRUPT, 0, "entry %u of the snapshot table %s",
	     index, what);
	return error_at(err, offset);
}

static void read_head(const unsigned char *head, struct gild_snapshot *snapshot,
		      struct entry *entry)
{
	entry->id_length = load_be16(head + 12);
	entry->name_length = load_be16(head + 14);
	entry->extra_length = load_be32(head + 36);
	snapshot->date_sec = load_be32(head + 16);
	snapshot->date_nsec = load_be32(head + 20);
	snapshot->vm_clock_nsec = load_be64(head + 24);
	snapshot->vm_state_size = load_be32(head + 32);
	entry->variable = (uint64_t)entry->extra_length + entry->id_length +
			  entry->name_length;
}

static void read_extra(const unsigned char *extra, uint32_t length,
		       struct gild_snapshot *snapshot)
{
	if (length >= 8)
		snapshot->vm_state_size = load_be64(extra);
	if (length >= 16)
		snapshot->disk_size = load_be64(extra + 8);
	if (length >= 24) {
		snapshot->icount = load_be64(extra + 16);
		snapshot->has_icount = snapshot->icount != UINT64_MAX;
	}
}

static int read_variable(struct qcow2 *q, uint64_t offset,
			 const struct entry *entry,
			 struct gild_snapshot *snapshot, struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = malloc(entry->variable + 1);
	const char *id;

	if (!bytes)
		return fail_nomem(err);
	if (storage_read_all(q->image.storage, bytes, entry->variable,
			     offset + ENTRY_HEAD, err) < 0)
		return -1;
	read_extra(bytes, entry->extra_length, snapshot);
	id = (const char *)bytes + entry->extra_length;
	snapshot->id = strndup(id, entry->id_length);
	snapshot->name = strndup(id + entry->id_length, entry->name_length);
	return snapshot->id && snapshot->name ? 0 : fail_nomem(err);
}

/* The entry at *offset, which moves on to the next. */
static int read_entry(struct qcow2 *q, uint32_t index, uint64_t *offset,
		      struct gild_snapshot *snapshot, struct gild_error *err)
{
	unsigned char head[ENTRY_HEAD];
	struct entry entry;

	if (*offset - q->header.snapshots_offset > MAX_TABLE)
		return fail_entry(index, *offset, "is beyond 64 MiB", err);
	if (storage_read_all(q->image.storage, head, sizeof(head), *offset,
			     err) < 0)
		return -1;
	read_head(head, snapshot, &entry);
	if (entry.extra_length > MAX_EXTRA)
		return fail_entry(index, *offset, "has too much extra data",
				  err);
	if (entry.extra_length < 16 && q->header.version >= 3)
		return fail_entry(index, *offset,
				  "does not say how large the disk was", err);
	if (read_variable(q, *offset, &entry, snapshot, err) < 0)
		return -1;
	*offset += round_up(ENTRY_HEAD + entry.variable, 8);
	return 0;
}

int qcow2_info_snapshots(struct qcow2 *q, struct gild_info *info,
			 struct gild_error *err)
{
	uint64_t offset = q->header.snapshots_offset;
	uint32_t count = q->header.snapshot_count;

	if (count == 0)
		return 0;
	info->snapshots = calloc(count, sizeof(*info->snapshots));
	if (!info->snapshots)
		return fail_nomem(err);
	info->snapshot_count = count;
	for (uint32_t i = 0; i < count; i++) {
		if (read_entry(q, i, &offset, &info->snapshots[i], err) < 0)
			return -1;
	}
	return 0;
}

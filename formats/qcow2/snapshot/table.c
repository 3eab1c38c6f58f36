/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The snapshot table: entries of variable length, one after the other, each
 * padded to 8 bytes.
 *
 *     40 bytes | extra data | id | name | padding
 *
 * It is never changed in place: a new one is written elsewhere, then the header
 * is switched to it.
 */
#include "formats/qcow2/snapshot/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/cleanup.h"

#define ENTRY_HEAD 40
#define EXTRA_WRITTEN 24 /* VM state size, disk size, icount */
#define MAX_EXTRA 1024
#define MAX_TABLE (64ULL << 20)

/* --------------------------------------------------------------- reading -- */

/* Lengths of the variable part of an entry. */
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

static void read_head(const unsigned char *head,
		      struct qcow2_snapshot *snapshot, struct entry *entry)
{
	snapshot->l1_offset = load_be64(head);
	snapshot->l1_entries = load_be32(head + 8);
	entry->id_length = load_be16(head + 12);
	entry->name_length = load_be16(head + 14);
	entry->extra_length = load_be32(head + 36);
	snapshot->about.date_sec = load_be32(head + 16);
	snapshot->about.date_nsec = load_be32(head + 20);
	snapshot->about.vm_clock_nsec = load_be64(head + 24);
	snapshot->about.vm_state_size = load_be32(head + 32);
	entry->variable = (uint64_t)entry->extra_length + entry->id_length +
			  entry->name_length;
}

static void read_extra(const unsigned char *extra, uint32_t length,
		       struct gild_snapshot *about)
{
	if (length >= 8)
		about->vm_state_size = load_be64(extra);
	if (length >= 16)
		about->disk_size = load_be64(extra + 8);
	if (length >= 24) {
		about->icount = load_be64(extra + 16);
		about->has_icount = about->icount != UINT64_MAX;
	}
}

/* The part of the file that is looked at, with room for the longest entry. */
#define WINDOW (256U << 10)

struct window {
	struct qcow2 *q;
	unsigned char *bytes; /* WINDOW of them */
	uint64_t start, end;  /* in the file; equal: nothing was read yet */
};

/* Bytes of the file, valid until the next call. */
static const unsigned char *look(struct window *window, uint64_t offset,
				 uint64_t length, struct gild_error *err)
{
	struct storage *storage = window->q->image.storage;
	int inside = storage_contains(storage, offset + length - 1, err);

	if (inside < 0)
		return NULL;
	if (!inside) {
		fail(err, GILD_ERR_CORRUPT, 0,
		     "the snapshot table lies beyond the end of the file");
		error_at(err, offset);
		return NULL;
	}
	if (offset < window->start || offset + length > window->end) {
		if (storage_read(storage, window->bytes, WINDOW, offset, err))
			return NULL;
		window->start = offset;
		window->end = offset + WINDOW;
	}
	return window->bytes + (offset - window->start);
}

static int read_variable(const unsigned char *bytes, const struct entry *entry,
			 struct qcow2_snapshot *snapshot,
			 struct gild_error *err)
{
	const char *id = (const char *)bytes + entry->extra_length;

	read_extra(bytes, entry->extra_length, &snapshot->about);
	snapshot->about.id = strndup(id, entry->id_length);
	snapshot->about.name =
		strndup(id + entry->id_length, entry->name_length);
	snapshot->extra = malloc(entry->extra_length + 1U);
	if (!snapshot->about.id || !snapshot->about.name || !snapshot->extra)
		return fail_nomem(err);
	memcpy(snapshot->extra, bytes, entry->extra_length);
	snapshot->extra_length = entry->extra_length;
	return 0;
}

/* The entry at *offset, which moves on to the next. */
static int read_entry(struct window *window, uint32_t index, uint64_t *offset,
		      struct qcow2_snapshot *snapshot, struct gild_error *err)
{
	const struct qcow2_header *header = &window->q->header;
	const unsigned char *bytes;
	struct entry entry;

	if (*offset - header->snapshots_offset > MAX_TABLE)
		return fail_entry(index, *offset, "is beyond 64 MiB", err);
	bytes = look(window, *offset, ENTRY_HEAD, err);
	if (!bytes)
		return -1;
	read_head(bytes, snapshot, &entry);
	if (entry.extra_length > MAX_EXTRA)
		return fail_entry(index, *offset, "has too much extra data",
				  err);
	if (entry.extra_length < 16 && header->version >= 3)
		return fail_entry(index, *offset,
				  "does not say how large the disk was", err);
	bytes = look(window, *offset, ENTRY_HEAD + entry.variable, err);
	if (!bytes ||
	    read_variable(bytes + ENTRY_HEAD, &entry, snapshot, err) < 0)
		return -1;
	*offset += round_up(ENTRY_HEAD + entry.variable, 8);
	return 0;
}

void qcow2_snapshot_free(struct qcow2_snapshot *snapshot)
{
	free(snapshot->about.id);
	free(snapshot->about.name);
	free(snapshot->extra);
	*snapshot = (struct qcow2_snapshot){ 0 };
}

void qcow2_snapshots_free(struct qcow2_snapshots *snapshots)
{
	for (uint32_t i = 0; i < snapshots->count; i++)
		qcow2_snapshot_free(&snapshots->list[i]);
	free(snapshots->list);
	*snapshots = (struct qcow2_snapshots){ 0 };
}

int qcow2_snapshots_read(struct qcow2 *q, struct qcow2_snapshots *snapshots,
			 struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = malloc(WINDOW);
	struct window window = { .q = q, .bytes = bytes };
	uint64_t offset = q->header.snapshots_offset;
	uint32_t count = q->header.snapshot_count;

	*snapshots = (struct qcow2_snapshots){ .list = NULL };
	snapshots->list = calloc(count ? count : 1, sizeof(*snapshots->list));
	if (!snapshots->list || !bytes) {
		free(snapshots->list);
		return fail_nomem(err);
	}
	snapshots->count = count;
	for (uint32_t i = 0; i < count; i++)
		if (read_entry(&window, i, &offset, &snapshots->list[i], err) <
		    0) {
			qcow2_snapshots_free(snapshots);
			return -1;
		}
	snapshots->bytes = offset - q->header.snapshots_offset;
	return 0;
}

int qcow2_snapshot_check(struct qcow2 *q, const struct qcow2_snapshot *snapshot,
			 struct gild_error *err)
{
	uint64_t bytes = snapshot->l1_entries * 8ULL;
	uint64_t size = snapshot->about.disk_size;
	int inside = 1;

	if (bytes > QCOW2_MAX_L1_BYTES ||
	    !is_aligned(snapshot->l1_offset, q->cluster_size))
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "the L1 table of a snapshot is too large or "
			    "not aligned");
	if (size > QCOW2_MAX_SIZE || (q->header.crypt_method && size & 511))
		return fail(err, GILD_ERR_CORRUPT, 0,
			    "the disk of a snapshot cannot have %llu bytes",
			    (unsigned long long)size);
	if (bytes)
		inside = storage_contains(q->image.storage,
					  snapshot->l1_offset + bytes - 1, err);
	if (inside > 0)
		return 0;
	return inside < 0 ?
		       -1 :
		       fail(err, GILD_ERR_CORRUPT, 0,
			    "the L1 table of a snapshot lies beyond the end of the "
			    "file (at %#llx)",
			    (unsigned long long)snapshot->l1_offset);
}

int qcow2_snapshot_get(struct qcow2 *q, size_t index,
		       struct qcow2_snapshot *snapshot, struct gild_error *err)
{
	struct qcow2_snapshots snapshots;
	int ret;

	if (qcow2_snapshots_read(q, &snapshots, err) < 0)
		return -1;
	if (index >= snapshots.count)
		ret = fail(err, GILD_ERR_INVALID, 0,
			   "there is no snapshot at %zu", index);
	else
		ret = qcow2_snapshot_check(q, &snapshots.list[index], err);
	if (!ret) {
		*snapshot = snapshots.list[index];
		snapshots.list[index] = (struct qcow2_snapshot){ 0 };
	}
	qcow2_snapshots_free(&snapshots);
	return ret;
}

long qcow2_snapshots_find(const struct qcow2_snapshots *snapshots,
			  const char *id_or_name)
{
	for (uint32_t i = 0; i < snapshots->count; i++)
		if (!strcmp(snapshots->list[i].about.id, id_or_name))
			return i;
	for (uint32_t i = 0; i < snapshots->count; i++)
		if (!strcmp(snapshots->list[i].about.name, id_or_name))
			return i;
	return -1;
}

/* --------------------------------------------------------------- writing -- */

static uint32_t written_extra(const struct qcow2_snapshot *snapshot)
{
	return snapshot->extra_length > EXTRA_WRITTEN ? snapshot->extra_length :
							EXTRA_WRITTEN;
}

static uint64_t entry_bytes(const struct qcow2_snapshot *snapshot)
{
	return round_up(ENTRY_HEAD + written_extra(snapshot) +
				strlen(snapshot->about.id) +
				strlen(snapshot->about.name),
			8);
}

static void encode_extra(const struct qcow2_snapshot *snapshot,
			 unsigned char *to)
{
	const struct gild_snapshot *about = &snapshot->about;

	/* What is not known here is kept as it was. */
	if (snapshot->extra_length > EXTRA_WRITTEN)
		memcpy(to, snapshot->extra, snapshot->extra_length);
	store_be64(to, about->vm_state_size);
	store_be64(to + 8, about->disk_size);
	store_be64(to + 16, about->has_icount ? about->icount : UINT64_MAX);
}

static void encode(const struct qcow2_snapshot *snapshot, unsigned char *to)
{
	const struct gild_snapshot *about = &snapshot->about;
	size_t id_length = strlen(about->id), name_length = strlen(about->name);
	bool fits = about->vm_state_size <= UINT32_MAX;

	store_be64(to, snapshot->l1_offset);
	store_be32(to + 8, snapshot->l1_entries);
	store_be16(to + 12, (uint16_t)id_length);
	store_be16(to + 14, (uint16_t)name_length);
	store_be32(to + 16, about->date_sec);
	store_be32(to + 20, about->date_nsec);
	store_be64(to + 24, about->vm_clock_nsec);
	store_be32(to + 32, fits ? (uint32_t)about->vm_state_size : 0);
	store_be32(to + 36, written_extra(snapshot));
	encode_extra(snapshot, to + ENTRY_HEAD);
	to += ENTRY_HEAD + written_extra(snapshot);
	memcpy(to, about->id, id_length);
	memcpy(to + id_length, about->name, name_length);
}

static int write_table(struct qcow2 *q, struct qcow2_snapshots *snapshots,
		       uint64_t *offset, struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = NULL;
	uint64_t size = 0, at = 0;

	for (uint32_t i = 0; i < snapshots->count; i++)
		size += entry_bytes(&snapshots->list[i]);
	snapshots->bytes = size;
	*offset = 0;
	if (!size)
		return 0;
	if (size > MAX_TABLE)
		return fail(err, GILD_ERR_RANGE, 0,
			    "the snapshot table would exceed 64 MiB");
	bytes = calloc(1, size);
	if (!bytes)
		return fail_nomem(err);
	for (uint32_t i = 0; i < snapshots->count; i++) {
		encode(&snapshots->list[i], bytes + at);
		at += entry_bytes(&snapshots->list[i]);
	}
	if (qcow2_alloc_table(q, div_round_up(size, q->cluster_size), offset,
			      err) < 0)
		return -1;
	return storage_write(q->image.storage, bytes, size, *offset, err);
}

int qcow2_snapshots_switch(struct qcow2 *q, struct qcow2_header *header,
			   struct qcow2_snapshots *snapshots,
			   struct gild_error *err)
{
	uint64_t old_offset = q->header.snapshots_offset;
	uint64_t old_bytes = snapshots->bytes;

	header->snapshot_count = snapshots->count;
	if (write_table(q, snapshots, &header->snapshots_offset, err) < 0 ||
	    qcow2_writeback(q, false, err) < 0)
		return -1;
	/* To make room the refcount table may have moved. */
	header->reftable_offset = q->header.reftable_offset;
	header->reftable_clusters = q->header.reftable_clusters;
	if (qcow2_put_header(q, header, err) < 0)
		return -1;
	q->header = *header;
	if (old_offset && old_bytes) {
		qcow2_guard_remove(q, old_offset, 1);
		qcow2_alloc_undo(q, old_offset, old_bytes);
	}
	if (!header->snapshot_count)
		return 0;
	return qcow2_guard_add(q, header->snapshots_offset, 1, err);
}

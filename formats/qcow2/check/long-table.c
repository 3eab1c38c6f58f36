/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables of 64-bit entries that an image places and sizes at will: the L1
 * tables of snapshots, the tables of bitmaps. There can be many, and each can
 * claim to be large, so they are noted first and then read a piece at a time.
 * Such tables never share clusters: all of them together fit into the file, or
 * the image contradicts itself. That bounds the work.
 */
#include <stdlib.h>

#include "formats/qcow2/check/check.h"

static int append(struct check *c, struct check_long_tables *tables,
		  uint64_t offset, uint64_t entries)
{
	struct check_long_table *list;
	size_t room = tables->room ? tables->room * 2 : 16;

	if (tables->count == tables->room) {
		list = realloc(tables->list, room * sizeof(*list));
		if (!list)
			return fail_nomem(c->err);
		tables->list = list;
		tables->room = room;
	}
	tables->list[tables->count++] =
		(struct check_long_table){ offset, entries };
	return 0;
}

int check_long_add(struct check *c, struct check_long_tables *tables,
		   const char *what, uint64_t offset, uint64_t entries)
{
	uint64_t bytes = round_up(entries * 8, c->q->cluster_size);

	if (!is_aligned(offset, c->q->cluster_size)) {
		check_corrupt(c, 1,
			      "ERROR %s at offset 0x%jx is not cluster "
			      "aligned",
			      what, (uintmax_t)offset);
	} else if (!check_count(c, offset, entries * 8, 1)) {
		/* has been said */
	} else if (bytes > c->clusters * c->q->cluster_size - tables->bytes) {
		check_corrupt(c, 1,
			      "ERROR %s at offset 0x%jx overlaps others: "
			      "together they are larger than the file",
			      what, (uintmax_t)offset);
	} else {
		tables->bytes += bytes;
		return append(c, tables, offset, entries);
	}
	c->incomplete = true;
	return 0;
}

void check_long_recount(struct check *c, const struct check_long_tables *tables)
{
	for (size_t i = 0; i < tables->count; i++)
		check_count(c, tables->list[i].offset,
			    tables->list[i].entries * 8, 1);
}

int check_long_read(struct check *c, const char *what,
		    const struct check_long_table *table,
		    int (*use)(struct check *c, const uint64_t *entries,
			       size_t count))
{
	uint64_t *entries = (uint64_t *)(void *)c->stream;
	struct gild_error err;
	size_t n;

	for (uint64_t done = 0; done < table->entries; done += n) {
		n = (size_t)min_u64(table->entries - done, CHECK_STREAM / 8);
		if (storage_read(c->storage, entries, n * 8,
				 table->offset + done * 8, &err) < 0) {
			check_unread(c, what, table->offset + done * 8, &err);
			continue;
		}
		for (size_t i = 0; i < n; i++)
			entries[i] = be64toh(entries[i]);
		if (use(c, entries, n) < 0)
			return -1;
	}
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two tables that are held whole: the L1 table and the refcount table.
 * Changes gather in memory as one dirty stretch, which writeback.c writes
 * after what the entries point to.
 */
#include <stdlib.h>

#include "formats/qcow2/qcow2.h"
#include "util/bytes.h"
#include "util/cleanup.h"

static void to_host_order(uint64_t *entries, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		entries[i] = be64toh(entries[i]);
}

int qcow2_table_read(struct qcow2 *q, struct qcow2_table *table,
		     uint64_t offset, uint32_t count, struct gild_error *err)
{
	AUTO_FREE uint64_t *entries = malloc(count ? count * 8ULL : 8);

	if (!entries)
		return fail_nomem(err);
	if (storage_read_all(q->image.storage, entries, count * 8ULL, offset,
			     err) < 0)
		return -1;
	to_host_order(entries, count);
	free(table->entries);
	*table = (struct qcow2_table){
		.entries = steal_ptr(entries),
		.count = count,
		.offset = offset,
	};
	return 0;
}

void qcow2_table_set(struct qcow2_table *table, uint32_t index, uint64_t value)
{
	bool clean = table->dirty_from == table->dirty_to;

	table->entries[index] = value;
	if (clean || index < table->dirty_from)
		table->dirty_from = index;
	if (clean || index + 1 > table->dirty_to)
		table->dirty_to = index + 1;
}

int qcow2_table_write(struct qcow2 *q, struct qcow2_table *table,
		      struct gild_error *err)
{
	uint32_t from = table->dirty_from, count = table->dirty_to - from;
	AUTO_FREE unsigned char *bytes = NULL;

	if (!count)
		return 0;
	bytes = malloc(count * 8ULL);
	if (!bytes)
		return fail_nomem(err);
	for (uint32_t i = 0; i < count; i++)
		store_be64(bytes + i * 8ULL, table->entries[from + i]);
	if (storage_write(q->image.storage, bytes, count * 8ULL,
			  table->offset + from * 8ULL, err) < 0)
		return -1;
	table->dirty_from = table->dirty_to = 0;
	return 0;
}

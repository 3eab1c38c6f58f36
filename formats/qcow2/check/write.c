/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing, in a repair. Feature bits that say "forget me when you write" and
 * that are not known here are cleared before anything else is written; known
 * ones are about content, which a repair does not touch. Specification:
 * "autoclear_features".
 */
#include <stdlib.h>

#include "formats/qcow2/check/check.h"

#define KNOWN_AUTOCLEAR \
	((uint64_t)(QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_RAW_DATA))
#define AUTOCLEAR_AT 88
#define SECTOR 512

int check_flush(struct check *c)
{
	return qcow2_barrier(c->q, c->err);
}

static int begin(struct check *c)
{
	struct qcow2_header *h = &c->q->header;
	unsigned char field[8];

	c->wrote = true;
	if (h->version < 3 || !(h->autoclear & ~KNOWN_AUTOCLEAR))
		return 0;
	store_be64(field, h->autoclear & KNOWN_AUTOCLEAR);
	if (storage_write(c->storage, field, sizeof(field), AUTOCLEAR_AT,
			  c->err) < 0)
		return -1;
	h->autoclear &= KNOWN_AUTOCLEAR;
	return check_flush(c);
}

int check_write(struct check *c, const void *bytes, size_t length,
		uint64_t offset)
{
	if (!c->wrote && begin(c) < 0)
		return -1;
	return storage_write(c->storage, bytes, length, offset, c->err);
}

int check_write_table(struct check *c, const unsigned char *table,
		      uint64_t offset, uint32_t from, uint32_t to)
{
	from = (uint32_t)round_down(from, SECTOR);
	to = (uint32_t)round_up(to, SECTOR);
	return check_write(c, table + from, to - from, offset + from);
}

/* --- what must not be taken for an L2 table ------------------------------- */

static bool touches(const struct check *c, uint64_t cluster, uint64_t offset,
		    uint64_t length)
{
	return length && cluster < offset + length &&
	       offset < cluster + c->q->cluster_size;
}

static bool touches_any(const struct check *c, uint64_t cluster,
			const struct check_long_tables *tables)
{
	for (size_t i = 0; i < tables->count; i++)
		if (touches(c, cluster, tables->list[i].offset,
			    tables->list[i].entries * 8))
			return true;
	return false;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static bool sort_blocks(struct check *c)
{
	uint64_t offset;
	bool known;

	c->blocks = malloc(c->reftable_entries * 8 + 8);
	c->block_count = 0;
	for (uint64_t i = 0; c->blocks && i < c->reftable_entries; i++) {
		offset = check_block_offset(c, i, &known);
		if (offset)
			c->blocks[c->block_count++] = offset;
	}
	if (c->blocks)
		qsort(c->blocks, c->block_count, sizeof(*c->blocks), by_value);
	return c->blocks;
}

bool check_is_metadata(struct check *c, uint64_t offset)
{
	const struct qcow2_header *h = &c->q->header;

	if (!offset || touches(c, offset, h->l1_offset, h->l1_entries * 8ULL) ||
	    touches(c, offset, h->reftable_offset, c->reftable_entries * 8) ||
	    touches(c, offset, h->snapshots_offset, c->snapshot_bytes) ||
	    touches_any(c, offset, &c->snapshots) ||
	    touches_any(c, offset, &c->bitmaps))
		return true;
	/* Without memory for it, caution. */
	if (!c->blocks && !sort_blocks(c))
		return true;
	return bsearch(&offset, c->blocks, c->block_count, sizeof(*c->blocks),
		       by_value);
}

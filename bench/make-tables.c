/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes a qcow2 image of metadata only, in which every cluster is an extent of
 * its own: neighbours on the disk are swapped in the file.
 *
 *   make-tables FILE GIBIBYTES
 *
 * Layout, in clusters of 64 KiB, refcounts of 16 bits:
 *
 *   header | refcount table | refcount blocks | L1 | L2 tables | data (a hole)
 */
#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/limit.h"

enum {
	CLUSTER_BITS = 16,
	CLUSTER = 1 << CLUSTER_BITS,
	L2_ENTRIES = CLUSTER / 8,
	BLOCK_ENTRIES = CLUSTER / 2,
	HEADER_LENGTH = 104,
};

#define COPIED (1ULL << 63)

/* Where each part begins, in clusters. */
struct layout {
	uint64_t data_clusters, l2_tables, l1_clusters, blocks, table_clusters;
	uint64_t table, block, l1, l2, data, end;
};

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

static void lay_out(struct layout *l, uint64_t size)
{
	uint64_t blocks = 0;

	l->data_clusters = size / CLUSTER;
	l->l2_tables = div_up(l->data_clusters, L2_ENTRIES);
	l->l1_clusters = div_up(l->l2_tables, L2_ENTRIES);
	/* The refcount blocks count themselves. */
	do {
		l->blocks = blocks;
		l->table_clusters = div_up(l->blocks, L2_ENTRIES);
		l->table = 1;
		l->block = l->table + l->table_clusters;
		l->l1 = l->block + l->blocks;
		l->l2 = l->l1 + l->l1_clusters;
		l->data = l->l2 + l->l2_tables;
		l->end = l->data + l->data_clusters;
		blocks = div_up(l->end, BLOCK_ENTRIES);
	} while (blocks != l->blocks);
}

static void put32(unsigned char *at, uint32_t value)
{
	value = htobe32(value);
	memcpy(at, &value, sizeof(value));
}

static void put64(unsigned char *at, uint64_t value)
{
	value = htobe64(value);
	memcpy(at, &value, sizeof(value));
}

static void write_header(int fd, const struct layout *l, uint64_t size)
{
	unsigned char h[HEADER_LENGTH + 8] = { 'Q', 'F', 'I', 0xfb };

	put32(h + 4, 3);
	put32(h + 20, CLUSTER_BITS);
	put64(h + 24, size);
	put32(h + 36, (uint32_t)l->l2_tables);
	put64(h + 40, l->l1 * CLUSTER);
	put64(h + 48, l->table * CLUSTER);
	put32(h + 56, (uint32_t)l->table_clusters);
	put32(h + 96, 4); /* refcounts of 2^4 bits */
	put32(h + 100, HEADER_LENGTH);
	write_at(fd, h, sizeof(h), 0);
}

/* count entries that lead to successive clusters, then zeros. */
static void write_pointers(int fd, uint64_t at, uint64_t count, uint64_t first,
			   uint64_t flags)
{
	unsigned char entry[8];

	for (uint64_t i = 0; i < count; i++) {
		put64(entry, (first + i) * CLUSTER | flags);
		write_at(fd, entry, sizeof(entry), at * CLUSTER + i * 8);
	}
}

static void write_blocks(int fd, const struct layout *l, unsigned char *buffer)
{
	uint64_t left = l->end, n;

	for (uint64_t i = 0; i < l->blocks; i++, left -= n) {
		n = left < BLOCK_ENTRIES ? left : BLOCK_ENTRIES;
		memset(buffer, 0, CLUSTER);
		for (uint64_t k = 0; k < n; k++)
			buffer[2 * k + 1] = 1;
		write_at(fd, buffer, CLUSTER, (l->block + i) * CLUSTER);
	}
}

static void write_l2(int fd, const struct layout *l, unsigned char *buffer)
{
	uint64_t guest = 0;

	for (uint64_t i = 0; i < l->l2_tables; i++) {
		for (uint64_t k = 0; k < L2_ENTRIES; k++, guest++)
			put64(buffer + 8 * k,
			      (l->data + (guest ^ 1)) * CLUSTER | COPIED);
		write_at(fd, buffer, CLUSTER, (l->l2 + i) * CLUSTER);
	}
}

int main(int argc, char **argv)
{
	uint64_t size = argc == 3 ? strtoull(argv[2], NULL, 10) << 30 : 0;
	unsigned char *buffer = malloc(CLUSTER);
	struct layout l;
	int fd;

	/* Whole L2 tables: nothing then ends in the middle of one. */
	if (!buffer || !size)
		return 1;
	lay_out(&l, size);
	fd = limit_make(argv[1], l.end * CLUSTER);
	write_header(fd, &l, size);
	write_pointers(fd, l.table, l.blocks, l.block, 0);
	write_pointers(fd, l.l1, l.l2_tables, l.l2, COPIED);
	write_blocks(fd, &l, buffer);
	write_l2(fd, &l, buffer);
	return close(fd) ? 1 : 0;
}

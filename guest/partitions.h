/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Partition tables: partitions.c asks each kind whether it is there. What is in
 * a table is untrusted: a partition that begins beyond the end of the disk is
 * left out, one that goes on beyond it ends there.
 */
#ifndef GUEST_PARTITIONS_H
#define GUEST_PARTITIONS_H

#include "guest/volume.h"

enum {
	PARTITIONS_MAX = 256, /* of one disk, as many as the kernel takes */
	MBR_SIZE = 512,
};

/* Append one; NULL: out of memory, or (no error) not within the disk, or there
 * are PARTITIONS_MAX. */
struct gild_partition *partitions_add(struct gild_partition_table *table,
				      const struct volume *disk,
				      unsigned number, uint64_t start,
				      uint64_t length, struct gild_error *err);

/* A GUID as it stands on disks, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", in
 * memory of its own; NULL: out of memory. */
char *partitions_guid(const unsigned char *bytes, struct gild_error *err);

/* --- mbr.c ------------------------------------------------------------ */

/* The first sector's verdict. */
enum mbr_kind {
	MBR_NONE,
	MBR_TABLE,
	MBR_PROTECTIVE, /* there is a GPT */
};

enum mbr_kind mbr_look(const unsigned char *sector);

/* The table whose first sector that is. */
int mbr_read(const struct volume *disk, const unsigned char *sector,
	     struct gild_partition_table *table, struct gild_error *err);

/* --- gpt.c ------------------------------------------------------------ */

/* 1: read; 0: neither copy is valid. */
int gpt_read(const struct volume *disk, struct gild_partition_table *table,
	     struct gild_error *err);

#endif

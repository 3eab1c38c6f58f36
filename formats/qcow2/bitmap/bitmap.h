/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty bitmaps: which granules of the disk were written to while a bitmap was
 * enabled ("auto"). Specification: "Bitmaps".
 *
 *     header extension -> directory -> a table for each -> clusters of bits
 *
 * As with snapshots, what the header leads to is not changed in place: tables,
 * clusters and the directory are written elsewhere, then the header is switched
 * to them (switch.c). The one exception is a flag of a directory entry:
 * one byte, old or new.
 *
 * Enabled bitmaps are brought into memory before the first change of the disk,
 * and marked "in use" in the file; they are stored, and the mark goes, when the
 * image is closed. So a bitmap in the file is either right or says that it is
 * not. One that says so when it is read is inconsistent: it is kept as it is,
 * and all one can do with it is remove it.
 *
 * What a directory claims is believed only as far as it fits into the file: all
 * tables and clusters of bits together are no larger than that. A file may be
 * large and empty, so what is brought into memory has its own bound.
 *
 * Lock: as the image's tables; marking shares it (and has one of its own).
 */
#ifndef QCOW2_BITMAP_H
#define QCOW2_BITMAP_H

#include "formats/qcow2/qcow2.h"

#define QCOW2_MAX_BITMAP_NAME 1023
#define QCOW2_MAX_BITMAP_BYTES (512ULL << 20)	/* of bits, of one */
#define QCOW2_MAX_BITMAP_TABLES (64ULL << 20)	/* all tables in the file */
#define QCOW2_MAX_BITMAP_MEMORY (1024ULL << 20) /* all brought into memory */
#define QCOW2_MIN_GRANULARITY_BITS 9
#define QCOW2_MAX_GRANULARITY_BITS 31
#define QCOW2_BITMAP_DIRTY_TRACKING 1 /* the only type */
#define QCOW2_BITMAP_TABLE_RESERVED 0xff000000000001feULL
#define QCOW2_BITMAP_ALL_ONES 1ULL /* a table entry without an offset */

enum {
	QCOW2_BITMAP_IN_USE = 1 << 0,
	QCOW2_BITMAP_AUTO = 1 << 1,
	QCOW2_BITMAP_EXTRA_COMPATIBLE = 1 << 2,
	QCOW2_BITMAP_FLAGS = (1 << 3) - 1,
};

/* ---- bits.c: the bits in memory ----------------------------------- */

/* What one cluster of the file holds. */
struct qcow2_chunk {
	unsigned char *bytes; /* NULL: zeros; see qcow2_bits_full; else owned */
	uint64_t entry;	      /* of the table in the file; 0: none */
	bool changed;	      /* bytes are not what the entry leads to */
};

struct qcow2_bits {
	pthread_mutex_t lock; /* of all below, between those who mark */
	uint64_t size;	      /* of the disk, bytes */
	uint32_t granularity_bits;
	uint32_t chunk_size;	    /* bytes: the image's cluster size */
	uint32_t count;		    /* chunks that the size takes */
	uint32_t stored;	    /* entries of the table in the file */
	struct qcow2_chunk *chunks; /* max(count, stored) */
	bool lost;		    /* memory ran out: bits are missing */
};

/* Stands for a chunk of ones. */
extern unsigned char qcow2_bits_full[];

/* Bytes that the bits of a disk take. */
uint64_t qcow2_bits_bytes(uint64_t size, uint32_t granularity_bits);

/* All zeros. */
struct qcow2_bits *qcow2_bits_new(uint64_t size, uint32_t granularity_bits,
				  uint32_t chunk_size, struct gild_error *err);
void qcow2_bits_free(struct qcow2_bits *bits);

/* Bytes of a chunk that hold bits, in words of 8. */
uint32_t qcow2_bits_chunk_bytes(const struct qcow2_bits *bits, uint32_t index);
/* What has no place in it reads as zeros. */
void qcow2_bits_clear_tail(struct qcow2_bits *bits);

/* Mark what [offset, offset + length) of the disk touches; what is beyond its
 * end is not there. Many threads at once. */
void qcow2_bits_set(struct qcow2_bits *bits, uint64_t offset, uint64_t length);
void qcow2_bits_clear(struct qcow2_bits *bits);
/* The next run that is marked, from *offset on, as bytes of the disk; false:
 * there is none. */
bool qcow2_bits_next(const struct qcow2_bits *bits, uint64_t *offset,
		     uint64_t *length);
/* Mark what is marked in from, whose granularity may be another, and where
 * others may be marking; in bits nobody else does. */
void qcow2_bits_merge(struct qcow2_bits *bits, struct qcow2_bits *from);
/* Another size of the disk. Where memory runs out they are lost. */
void qcow2_bits_resize(struct qcow2_bits *bits, uint64_t size);
/* Do they differ from what the file has? */
bool qcow2_bits_changed(const struct qcow2_bits *bits);
/* Bytes of memory that they take. */
uint64_t qcow2_bits_memory(const struct qcow2_bits *bits);

/* ---- table.c: the directory --------------------------------------- */

/* An entry as it stands; name and extra lie in what was decoded. */
struct qcow2_bitmap_entry {
	uint64_t table_offset;
	uint32_t table_entries, flags, extra_length;
	uint16_t name_length;
	uint8_t type, granularity_bits;
	const unsigned char *extra, *name;
	uint64_t length; /* with padding */
};

/* Decode the first entry of so many bytes. false: it does not fit; its name is
 * then NULL, and nothing is known where there are less than 24. */
bool qcow2_bitmap_decode(const unsigned char *bytes, uint64_t left,
			 struct qcow2_bitmap_entry *entry);

/* Bytes of an entry. */
uint64_t qcow2_bitmap_entry_bytes(uint64_t name_length, uint64_t extra_length);

/* What is wrong with an entry, for any use of it; NULL: nothing. */
const char *qcow2_bitmap_fault(const struct qcow2_bitmap_entry *entry);

struct qcow2_bitmap {
	char *name; /* owned */
	uint16_t name_length;
	unsigned char *extra; /* owned: kept as it stands */
	uint32_t extra_length;
	uint32_t flags; /* IN_USE: it is inconsistent */
	uint8_t type, granularity_bits;
	uint64_t table_offset;
	uint32_t table_entries;
	struct qcow2_bits *bits; /* owned; NULL: not in memory */
	bool ours;		 /* marked "in use" in the file, by us: what
				* counts is in memory */
	bool astray;		 /* the table is not where one can be, or too
				* large */
};

struct qcow2_bitmaps {
	struct qcow2_bitmap *list; /* owned */
	uint32_t count;
};

/* Read the directory; empty where the header does not vouch for one. On failure
 * nothing is left to free. */
int qcow2_bitmaps_read(struct qcow2 *q, struct qcow2_bitmaps *bitmaps,
		       struct gild_error *err);
void qcow2_bitmap_free(struct qcow2_bitmap *bitmap);
void qcow2_bitmaps_free(struct qcow2_bitmaps *bitmaps);

struct qcow2_bitmap *qcow2_bitmaps_find(const struct qcow2_bitmaps *bitmaps,
					const char *name,
					struct gild_error *err);

/* The directory's bytes; NULL with GILD_ERR_RANGE where it would be too
 * large. */
unsigned char *qcow2_bitmaps_encode(const struct qcow2_bitmaps *bitmaps,
				    uint64_t *length, struct gild_error *err);

/* Only flags have changed: write it where it is. Durable on return. */
int qcow2_bitmaps_write_flags(struct qcow2 *q, struct gild_error *err);

/* ---- data.c: bits in the file -------------------------------------------- */

/* Can it be used, and does it belong to a disk of this size? Says IN_USE ones
 * are inconsistent. */
int qcow2_bitmap_check(const struct qcow2 *q, const struct qcow2_bitmap *bitmap,
		       struct gild_error *err);

/* What bitmaps that are read may still take. */
struct qcow2_room {
	uint64_t file;	 /* bytes that tables and clusters of bits lie in */
	uint64_t memory; /* bytes */
};

/* All of it. */
int qcow2_room_whole(const struct qcow2 *q, struct qcow2_room *room,
		     struct gild_error *err);

/* Bytes of the table of a bitmap of a disk of that size. */
uint64_t qcow2_bitmap_table_bytes(const struct qcow2 *q, uint64_t size,
				  uint32_t granularity_bits);

/* Read a bitmap's bits. GILD_ERR_RANGE where they are more than may be in
 * memory; what else is not GILD_ERR_IO or GILD_ERR_NOMEM is wrong with the
 * bitmap. */
struct qcow2_bits *qcow2_bitmap_load(struct qcow2 *q,
				     const struct qcow2_bitmap *bitmap,
				     struct qcow2_room *room,
				     struct gild_error *err);

/* A table in host order, room counted; the caller frees. */
uint64_t *qcow2_bitmap_read_table(struct qcow2 *q,
				  const struct qcow2_bitmap *bitmap,
				  uint64_t file_size, struct qcow2_room *room,
				  struct gild_error *err);
/* Can an entry be right? */
bool qcow2_bitmap_is_entry(const struct qcow2 *q, uint64_t entry,
			   uint64_t file_size);

/* ---- switch.c: writing others, and switching to them --------------------- */

/* Places in the file that a switch of the header brings into use, and those
 * that it leaves behind. All zero: none. */
struct qcow2_places {
	struct qcow2_place {
		uint64_t offset, length;
		bool is_table; /* guarded */
	} * list;
	size_t count, room;
};

struct qcow2_switch {
	struct qcow2_places fresh, old;
};

/* Write what has changed of a bitmap's bits, and a new table. After a failure
 * its bits and its table's place mean nothing. */
int qcow2_bitmap_write(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		       struct qcow2_switch *change, struct gild_error *err);

/* All that a bitmap has in the file is left behind; what cannot be right
 * leaks. */
int qcow2_bitmap_leave(struct qcow2 *q, const struct qcow2_bitmap *bitmap,
		       struct qcow2_switch *change, struct gild_error *err);

/* Write a directory of q->bitmaps, and switch the header to it; then what is
 * left behind is free. On failure the header is as before, or the image
 * broken. */
int qcow2_bitmaps_switch(struct qcow2 *q, struct qcow2_switch *change,
			 struct gild_error *err);
/* Something failed before the switch: nothing fresh is used. Frees change. */
void qcow2_switch_abandon(struct qcow2 *q, struct qcow2_switch *change);

/* ---- bitmap.c: bitmaps of an open image ---------------------------------- */

/* Read the directory into q->bitmaps, if it is not there yet; the guard is
 * filled. */
int qcow2_bitmaps_open(struct qcow2 *q, struct gild_error *err);
void qcow2_bitmaps_forget(struct qcow2 *q);
int qcow2_bitmaps_guard(struct qcow2 *q, struct gild_error *err);

/* From here on changes of the disk are marked: enabled bitmaps come into
 * memory. One that cannot be used becomes inconsistent. */
int qcow2_bitmaps_track(struct qcow2 *q, struct gild_error *err);

/* Bring one into memory, and mark it in use when the flags are written. */
int qcow2_bitmap_hold(struct qcow2 *q, struct qcow2_bitmap *bitmap,
		      struct qcow2_room *room, struct gild_error *err);

/* See struct format_ops. */
int qcow2_wrote(struct image *image, uint64_t offset, uint64_t length,
		struct gild_error *err);

/* May the tables of all bitmaps take so many bytes of the file? */
int qcow2_bitmaps_check_tables(uint64_t bytes, struct gild_error *err);

/* The disk is about to get another size: all bitmaps come into memory, or
 * there is one that cannot be of such a disk. Then, when it has it: */
int qcow2_bitmaps_begin_resize(struct qcow2 *q, uint64_t size,
			       struct gild_error *err);
void qcow2_bitmaps_resize(struct qcow2 *q, uint64_t size);

/* Are there any? */
bool qcow2_bitmaps_exist(const struct qcow2 *q);

/* Store what is in memory, which then is forgotten. */
int qcow2_bitmaps_store(struct qcow2 *q, struct gild_error *err);

/* --- change.c ------------------------------------------------------ */

int qcow2_bitmap_change(struct image *image, const struct bitmap_change *change,
			struct gild_error *err);

#endif

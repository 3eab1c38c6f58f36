/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What check.c and check-*.c share; for nobody else.
 *
 * A run walks everything that refers to host clusters and counts, in `found`,
 * two bytes a cluster; then compares with the refcount blocks. Where the file
 * has more clusters than fit into the budget, a run makes several passes, each
 * with a window of host clusters; stretches that nothing refers to are skipped.
 * What does not belong to one host cluster (a broken entry, a table outside the
 * file, statistics) is judged in the first pass only.
 *
 * A repair is a sequence of runs, each of which does one thing (enum
 * check_action) and leaves an image that is no worse if it is the last one.
 *
 * Nothing that is read is trusted: indices are clipped to the window, tables
 * are read a piece at a time, nothing recurses. An L2 table that several
 * snapshots share is read once and counts for all.
 *
 * Problems are counted and never fatal; functions return -1, with c->err
 * filled, only for what ends the check: no memory, or a write that failed.
 */
#ifndef QCOW2_CHECK_H
#define QCOW2_CHECK_H

#include "formats/qcow2/entry.h"
#include "formats/qcow2/qcow2.h"

#define CHECK_READ (2ULL << 20)	    /* tables at once; the largest cluster */
#define CHECK_STREAM (256ULL << 10) /* bytes of a long table at once */

enum check_action {
	CHECK_COMPARE, /* only look */
	CHECK_RAISE,   /* raise counts that are too low, in place */
	CHECK_LOWER,   /* lower those that are too high, in place */
	CHECK_REBUILD, /* hand the counts to rebuild.c */
};

enum check_copied {
	CHECK_COPIED_IGNORE,
	CHECK_COPIED_REPORT,
	CHECK_COPIED_FIX,
};

/* What to do in one run. */
struct check_run {
	enum check_action action;
	enum check_copied copied;
	bool speak;	   /* report problems */
	bool speak_copied; /* report wrong COPIED flags */
	bool fix_entries;  /* clear places of nothing that cannot be right */
};

/* What one run found; guest clusters count only in the active tables. */
struct check_counts {
	uint64_t corruptions; /* without wrong COPIED flags */
	uint64_t copied;      /* wrong COPIED flags that stay */
	uint64_t leaks;
	uint64_t too_low;   /* clusters; part of corruptions */
	uint64_t errors;    /* parts that could not be checked */
	uint64_t misplaced; /* entries that fix_entries would clear */
	uint64_t fixed;	    /* entries and flags put right */
	uint64_t allocated, fragmented, compressed;
};

/* An L2 table that weight L1 entries refer to. */
struct check_table {
	uint64_t offset;
	uint64_t weight;
};

/* A table of 64-bit entries whose place and length an image states. */
struct check_long_table {
	uint64_t offset;
	uint64_t entries;
};

struct check_long_tables {
	struct check_long_table *list;
	size_t count, room;
	uint64_t bytes; /* of all */
};

/* One call of qcow2_check; the caller holds q->lock exclusively. */
struct check {
	struct qcow2 *q;
	struct storage *storage;
	struct gild_check_result *result;
	struct gild_error *err;
	unsigned fix; /* GILD_CHECK_* */
	bool data_file;

	/* The file and its tables, entries in host byte order. */
	uint64_t file_size; /* bytes, up to a whole sector */
	uint64_t clusters;  /* of the file; the last one may be cut */
	uint64_t *l1;
	uint32_t l1_dirty_from, l1_dirty_to; /* entries */
	uint64_t *reftable;
	uint64_t reftable_entries;
	struct check_long_tables snapshots, bitmaps;
	uint64_t snapshot_bytes; /* of the snapshot table */
	uint64_t *blocks; /* sorted offsets of refcount blocks, or NULL */
	size_t block_count;

	/* The window: clusters first to end. */
	uint64_t window;     /* clusters at most */
	uint64_t first, end; /* end: exclusive */
	uint64_t next;	     /* the lowest one referred to, from end on */
	uint64_t touched_from, touched_to; /* found[] is 0 outside */
	uint16_t *found;
	uint64_t limit;	  /* of found[] */
	uint64_t *single; /* a bit a cluster: the count on disk is 1 */

	/* The run. */
	struct check_run run;
	bool first_pass;
	bool fixing;	    /* all is counted: now tables are changed */
	uint64_t *data_map; /* a bit a cluster: it holds data; or NULL */
	struct check_counts counts;
	/* Clusters up to the last one in use, by any account; by references. */
	uint64_t highest, top;
	uint64_t beyond; /* lowest cluster referred to outside the file */
	struct check_rebuilding *rebuilding;

	/* What all runs gather. */
	bool incomplete; /* a table could not be followed: clusters in use
			  * may look unused */
	bool unreadable; /* the disk failed: nothing is taken away */
	bool need_rebuild;
	bool wrote;
	uint64_t lines, silent; /* reported, and swallowed above the cap */

	struct check_table *tables; /* L2 tables to be walked */
	size_t table_count;
	unsigned char *bytes; /* CHECK_READ bytes: L2 tables, refcount blocks */
	unsigned char *stream; /* CHECK_STREAM bytes: long tables */
};

/* --- check.c -------------------------------------------------------------- */

/* qcow2_check with locks held, caches written, and a window of about so many
 * clusters. */
int check_image(struct qcow2 *q, unsigned fix, uint64_t window,
		struct gild_check_result *result, struct gild_error *err);
/* The file's size and refcount table, (again) from the disk. */
int check_measure(struct check *c);

/* --- report.c ------------------------------------------------------------- */

/* A line for the caller, up to a cap. */
void check_say(struct check *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Would it be heard? */
bool check_is_heard(const struct check *c);
/* How many lines were swallowed, if any. */
void check_say_rest(struct check *c);

/* Something that belongs to no host cluster is wrong: counts, times over, in
 * the first pass. */
#define check_corrupt(c, times, ...)                 \
	do {                                         \
		if (!(c)->first_pass || (c)->fixing) \
			break;                       \
		(c)->counts.corruptions += (times);  \
		if ((c)->run.speak)                  \
			check_say(c, __VA_ARGS__);   \
	} while (0)

/* A part could not be read, nor what lies behind it. */
void check_unread(struct check *c, const char *what, uint64_t offset,
		  const struct gild_error *err);

/* --- count.c: references to host clusters --------------------------------- */

int check_window_start(struct check *c, uint64_t first);
void check_window_free(struct check *c);
/* weight references to each cluster that [offset, offset + length) touches.
 * false: it lies outside the file, which is reported and counted. */
bool check_count(struct check *c, uint64_t offset, uint64_t length,
		 uint64_t weight);
/* There is data: no table may be written to. */
void check_mark_data(struct check *c, uint64_t offset, uint64_t length);
void check_count_overflow(struct check *c, uint64_t cluster, uint64_t value);

/* weight references to one cluster of the file. */
static inline void check_count_one(struct check *c, uint64_t cluster,
				   uint64_t weight)
{
	uint64_t at = cluster - c->first, value;

	if (at >= c->end - c->first) { /* wraps below the window */
		if (cluster >= c->end && cluster < c->next)
			c->next = cluster;
		return;
	}
	if (at < c->touched_from)
		c->touched_from = at;
	if (at >= c->touched_to)
		c->touched_to = at + 1;
	value = c->found[at] + weight;
	if (value > c->limit) {
		check_count_overflow(c, cluster, value);
		value = c->limit;
	}
	c->found[at] = (uint16_t)value;
}

/* --- refcounts.c: counts on the disk -------------------------------------- */

int check_reftable_load(struct check *c);
/* Count what the refcount structure itself occupies, and judge it. */
void check_count_refcounts(struct check *c);
/* The offset of a block, 0 where there is none. *known is false where there is
 * one that cannot be used. */
uint64_t check_block_offset(const struct check *c, uint64_t block, bool *known);
/* The block could not be read: from now on it is not known. */
void check_block_lost(struct check *c, uint64_t block,
		      const struct gild_error *err);
/* Fill c->single for the window. */
void check_single_load(struct check *c);
/* The count of any cluster; *known as above. */
uint64_t check_disk_count(struct check *c, uint64_t cluster, bool *known);
/* The lowest cluster of the file, from one on, that a block counts. */
uint64_t check_next_counted(const struct check *c, uint64_t from);

/* --- compare.c ------------------------------------------------------------ */

/* Read a stretch of neighbouring refcount blocks into c->bytes, from block to
 * before end: *got of them, at *bytes; NULL where there is nothing to read. */
void check_read_blocks(struct check *c, uint64_t block, uint64_t end,
		       uint64_t *got, unsigned char **bytes);
/* Compare the window with the refcount blocks, and do what the run is for. */
int check_compare(struct check *c);

/* --- tables.c: L1 and L2 tables ------------------------------------------- */

int check_l1_load(struct check *c);
/* The active L1 table and all below. */
int check_active(struct check *c);
/* The L1 tables of snapshots, and all below. */
int check_inactive(struct check *c);

/* --- long-table.c --------------------------------------------------------- */

/* Count what a table occupies, and note it to be read later. What cannot be
 * right is reported and left out. what: for messages. First pass. */
int check_long_add(struct check *c, struct check_long_tables *tables,
		   const char *what, uint64_t offset, uint64_t entries);
/* Count the noted ones in a later pass. */
void check_long_recount(struct check *c,
			const struct check_long_tables *tables);
/* Read one a piece at a time; entries come in host byte order. */
int check_long_read(struct check *c, const char *what,
		    const struct check_long_table *table,
		    int (*use)(struct check *c, const uint64_t *entries,
			       size_t count));

/* Is it now that COPIED flags are looked at? They are put right when all is
 * counted. */
static inline bool check_sees_copied(const struct check *c)
{
	return c->run.copied != CHECK_COPIED_IGNORE &&
	       c->fixing == (c->run.copied == CHECK_COPIED_FIX);
}

/* --- entry.c: what an L2 table says --------------------------------------- */

/* An L2 table being walked. */
struct check_walk {
	unsigned char *data; /* as on the disk */
	uint64_t offset;
	uint64_t weight;
	bool active;	   /* reached from the active L1 table */
	uint64_t expected; /* where the last data cluster ends, or 0 */
	enum {
		CHECK_NOT_ASKED,
		CHECK_MAY,
		CHECK_MAY_NOT
	} change;
	uint32_t dirty_from, dirty_to; /* bytes that were changed */
};

void check_entries(struct check *c, struct check_walk *walk);
/* Is the COPIED flag of something at offset wrong? (Only what this pass can
 * tell.) */
bool check_copied_is_wrong(struct check *c, uint64_t offset, bool copied);

/* --- snapshots.c, bitmaps.c ----------------------------------------------- */

int check_snapshots(struct check *c);
int check_bitmaps(struct check *c);

/* --- run.c ---------------------------------------------------------------- */

/* Count and compare everything once; fills c->counts. */
int check_run(struct check *c, const struct check_run *run);

/* --- write.c -------------------------------------------------------------- */

int check_write(struct check *c, const void *bytes, size_t length,
		uint64_t offset);
int check_flush(struct check *c);
/* The changed part of a table of one cluster, in whole sectors. */
int check_write_table(struct check *c, const unsigned char *table,
		      uint64_t offset, uint32_t from, uint32_t to);
/* Does the cluster of an L2 table hold other metadata, too? */
bool check_is_metadata(struct check *c, uint64_t offset);

/* --- repair.c, rebuild.c -------------------------------------------------- */

/* Check, repair, check again. */
int check_and_repair(struct check *c);
/* Write a new refcount structure and switch to it. Returns 1 where there is no
 * place for it: nothing was written. */
int check_rebuild(struct check *c);
/* Take the counts of one block, counts[n]. */
int check_rebuild_block(struct check *c, uint64_t block, const uint16_t *counts,
			uint64_t n);

#endif

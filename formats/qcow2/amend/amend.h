/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changing what a qcow2 image is, inside.
 *
 *   options.c   what is asked for, judged: nothing is changed before
 *   zeros.c     for version 2: clusters that only say that they are zeros
 *   counts.c    reference counts of another width, beside the old ones
 *   amend.c     the order of it all; one switch of the header
 *
 * Key slots and the size are steps of their own, before. What zeros.c does
 * leaves the disk as it is. Until the header is switched the image is what it
 * was, and then everything that the header says is as asked for.
 */
#ifndef QCOW2_AMEND_H
#define QCOW2_AMEND_H

#include "formats/qcow2/qcow2.h"
#include "formats/qcow2/snapshot/snapshot.h"

/* What the image is to be. What was not asked for is as it is. */
struct qcow2_amendment {
	const struct amend *amend;
	uint32_t version, refcount_order;
	bool lazy_refcounts, raw_data;
	const char *data_file; /* borrowed, or NULL: as it is */
	uint64_t size;
	bool has_key;
	struct gild_key_change key;
	/* How far it is, in bytes of metadata. */
	uint64_t done, total;
};

/* --- options.c ------------------------------------------------------------ */

/* Read the options, and refuse what cannot be. */
int qcow2_amend_parse(struct qcow2 *q, const struct amend *amend,
		      struct qcow2_amendment *wanted, struct gild_error *err);

/* The header as it is to be, but for its tables. Pointers stay q's and the
 * options'. */
void qcow2_amend_header(const struct qcow2 *q,
			const struct qcow2_amendment *wanted,
			struct qcow2_header *header);

/* --- zeros.c; lock held exclusively --------------------------------------- */

/* Is there anything in the tables, of snapshots too, that version 2 cannot
 * have and zeros.c cannot change? */
int qcow2_amend_look(struct qcow2 *q, struct qcow2_amendment *wanted,
		     const struct qcow2_snapshots *snapshots,
		     struct gild_error *err);

/* No L2 entry says "zeros" afterwards: it has no cluster, where there is no
 * backing file that would show, else one of zeros. */
int qcow2_amend_zeros(struct qcow2 *q, struct qcow2_amendment *wanted,
		      const struct qcow2_snapshots *snapshots,
		      struct gild_error *err);

/* --- counts.c; lock held exclusively -------------------------------------- */

/* Reference counts of another width, on their way. */
struct qcow2_counts {
	uint32_t order;
	uint64_t per_block;  /* counts */
	uint64_t *table;     /* owned: offsets of blocks, or BLOCK_WANTED */
	uint64_t used, room; /* entries */
	uint64_t offset, clusters; /* of the table */
};

/* Would every count fit? */
int qcow2_counts_look(struct qcow2 *q, struct qcow2_amendment *wanted,
		      struct gild_error *err);

/* Every count is written anew, and nothing leads there yet; on failure nothing
 * is left to do. Nothing may be allocated before qcow2_counts_install. */
int qcow2_counts_write(struct qcow2 *q, struct qcow2_amendment *wanted,
		       struct qcow2_counts *counts, struct gild_error *err);

/* The header leads there: the old ones are given back. */
void qcow2_counts_install(struct qcow2 *q, struct qcow2_counts *counts);

/* It does not. */
void qcow2_counts_undo(struct qcow2 *q, struct qcow2_counts *counts);

/* --- amend.c -------------------------------------------------------------- */

/* So many bytes of metadata were looked through. */
int qcow2_amend_step(struct qcow2_amendment *wanted, uint64_t bytes,
		     struct gild_error *err);

#endif

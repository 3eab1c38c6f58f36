/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of an amendment:
 *
 *  1. judge: options, and what has to be looked at in the image's tables
 *  2. key slots; the size (after all else, unless the version goes down): each
 *     whole by itself
 *  3. everything written back, so that the counts are right
 *  4. for version 2, no more "zeros" in L2 entries; for version 3, what it wants
 *     to know of snapshots; the disk stays the same
 *  5. reference counts of another width, beside the old ones
 *  6. the header, at once; the old counts are given back
 *
 * Specification: "Header", "Snapshots", "Reference counting".
 */
#include "formats/qcow2/amend/amend.h"

#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

int qcow2_amend_step(struct qcow2_amendment *wanted, uint64_t bytes,
		     struct gild_error *err)
{
	const struct amend *amend = wanted->amend;

	wanted->done += bytes;
	if (wanted->done > wanted->total)
		wanted->total = wanted->done;
	if (!amend->step)
		return 0;
	return amend->step(amend->opaque, wanted->done, wanted->total, err);
}

static bool is_downgrade(const struct qcow2 *q,
			 const struct qcow2_amendment *wanted)
{
	return wanted->version < q->header.version;
}

static bool changes_width(const struct qcow2 *q,
			  const struct qcow2_amendment *wanted)
{
	return wanted->refcount_order != q->header.refcount_order;
}

/* --- 1: judging ----------------------------------------------------------- */

/* To change all tables where they are takes sound ones. */
static int check_sound(struct qcow2 *q, struct gild_error *err)
{
	struct gild_check_result result = { 0 };

	if (qcow2_check(&q->image, 0, &result, err) < 0)
		return -1;
	if (!result.corruptions && !result.check_errors)
		return 0;
	fail(err, GILD_ERR_CORRUPT, 0,
	     "the image is damaged (%llu problems): what it is cannot be "
	     "changed",
	     (unsigned long long)(result.corruptions + result.check_errors));
	return error_hint(err, "gild check -r all repairs it");
}

static int look_locked(struct qcow2 *q, struct qcow2_amendment *wanted,
		       struct gild_error *err)
{
	struct qcow2_snapshots snapshots;
	int ret = 0;

	if (qcow2_begin_metadata(q, err) < 0 ||
	    qcow2_writeback(q, true, err) < 0)
		return -1;
	if (changes_width(q, wanted) && qcow2_counts_look(q, wanted, err) < 0)
		return -1;
	if (!is_downgrade(q, wanted))
		return 0;
	if (qcow2_snapshots_read(q, &snapshots, err) < 0)
		return -1;
	ret = qcow2_amend_look(q, wanted, &snapshots, err);
	qcow2_snapshots_free(&snapshots);
	return ret;
}

static int look(struct qcow2 *q, struct qcow2_amendment *wanted,
		struct gild_error *err)
{
	int ret;

	if (wanted->size != q->image.size &&
	    qcow2_check_resize(q, wanted->size,
			       wanted->version > q->header.version ?
				       wanted->version :
				       q->header.version,
			       err) < 0)
		return -1;
	if (is_downgrade(q, wanted) && check_sound(q, err) < 0)
		return -1;
	if (!is_downgrade(q, wanted) && !changes_width(q, wanted))
		return 0;
	pthread_rwlock_wrlock(&q->lock);
	ret = look_locked(q, wanted, err);
	pthread_rwlock_unlock(&q->lock);
	return ret;
}

/* --- 4: what another version wants ---------------------------------------- */

static bool lacks_size(const struct qcow2_snapshots *snapshots)
{
	for (uint32_t i = 0; i < snapshots->count; i++)
		if (!snapshots->list[i].about.disk_size)
			return true;
	return false;
}

/* In version 3 an entry says how large the disk was: as large as it is now,
 * or a version 2 entry would say so, too. */
static int complete(struct qcow2 *q, struct qcow2_snapshots *snapshots,
		    struct gild_error *err)
{
	struct qcow2_header header = q->header;

	if (!lacks_size(snapshots))
		return 0;
	for (uint32_t i = 0; i < snapshots->count; i++)
		if (!snapshots->list[i].about.disk_size)
			snapshots->list[i].about.disk_size = q->image.size;
	return qcow2_snapshots_switch(q, &header, snapshots, err);
}

static int prepare_version(struct qcow2 *q, struct qcow2_amendment *wanted,
			   struct gild_error *err)
{
	struct qcow2_snapshots snapshots;
	int ret;

	if (wanted->version == q->header.version)
		return 0;
	if (qcow2_snapshots_read(q, &snapshots, err) < 0)
		return -1;
	ret = is_downgrade(q, wanted) ?
		      qcow2_amend_zeros(q, wanted, &snapshots, err) :
		      complete(q, &snapshots, err);
	qcow2_snapshots_free(&snapshots);
	return ret;
}

/* --- 6: the switch -------------------------------------------------------- */

static bool differs(const struct qcow2_header *a, const struct qcow2_header *b)
{
	return a->version != b->version ||
	       a->refcount_order != b->refcount_order ||
	       a->incompatible != b->incompatible ||
	       a->compatible != b->compatible || a->autoclear != b->autoclear ||
	       a->data_file != b->data_file;
}

/* Another data file's name, and what of a header only version 3 has. */
static void settle(struct qcow2 *q, const struct qcow2_header *old)
{
	if (old->data_file != q->header.data_file)
		free(old->data_file);
	if (old->extra != q->header.extra)
		free(old->extra);
	q->raw_data = q->raw_data &&
		      q->header.autoclear & QCOW2_AUTOCLEAR_RAW_DATA;
}

static int switch_header(struct qcow2 *q, struct qcow2_header *header,
			 struct qcow2_counts *counts, struct gild_error *err)
{
	const struct qcow2_header old = q->header;

	if (counts->clusters) {
		header->reftable_offset = counts->offset;
		header->reftable_clusters = (uint32_t)counts->clusters;
	}
	if (differs(&old, header) && qcow2_switch_header(q, header, err) < 0)
		return -1;
	settle(q, &old);
	if (counts->clusters)
		qcow2_counts_install(q, counts);
	return 0;
}

static int switch_all(struct qcow2 *q, struct qcow2_amendment *wanted,
		      struct gild_error *err)
{
	struct qcow2_counts counts = { 0 };
	struct qcow2_header header;
	AUTO_FREE char *name = NULL;

	if (changes_width(q, wanted) &&
	    qcow2_counts_write(q, wanted, &counts, err) < 0)
		return -1;
	qcow2_amend_header(q, wanted, &header);
	if (wanted->data_file) {
		header.data_file = name = strdup(wanted->data_file);
		if (!name)
			fail_nomem(err);
	}
	if ((wanted->data_file && !name) ||
	    switch_header(q, &header, &counts, err) < 0) {
		qcow2_counts_undo(q, &counts);
		return -1;
	}
	steal_ptr(name);
	return 0;
}

static int amend_locked(struct qcow2 *q, struct qcow2_amendment *wanted,
			struct gild_error *err)
{
	if (qcow2_begin_metadata(q, err) < 0 ||
	    qcow2_writeback(q, true, err) < 0 ||
	    prepare_version(q, wanted, err) < 0 ||
	    switch_all(q, wanted, err) < 0 || qcow2_guard_fill(q, err) < 0 ||
	    qcow2_writeback(q, true, err) < 0)
		return -1;
	/* Counts may be lazy now: the next change says so first. */
	q->header_fit = q->prepared = false;
	return 0;
}

/* --- all of it ----------------------------------------------------------- */

static int amend_header(struct qcow2 *q, struct qcow2_amendment *wanted,
			struct gild_error *err)
{
	int ret;

	pthread_rwlock_wrlock(&q->lock);
	ret = amend_locked(q, wanted, err);
	pthread_rwlock_unlock(&q->lock);
	return ret;
}

static int resize(struct qcow2 *q, const struct qcow2_amendment *wanted,
		  struct gild_error *err)
{
	if (wanted->size == q->image.size)
		return 0;
	return image_resize(&q->image, wanted->size, err);
}

int qcow2_amend(struct image *image, const struct amend *amend,
		struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	struct qcow2_amendment wanted;

	if (qcow2_amend_parse(q, amend, &wanted, err) < 0 ||
	    look(q, &wanted, err) < 0 ||
	    (wanted.has_key && image_change_key(image, &wanted.key, err) < 0))
		return -1;
	/* Version 3 can do more. */
	if (is_downgrade(q, &wanted))
		return resize(q, &wanted, err) < 0 ?
			       -1 :
			       amend_header(q, &wanted, err);
	return amend_header(q, &wanted, err) < 0 ? -1 : resize(q, &wanted, err);
}

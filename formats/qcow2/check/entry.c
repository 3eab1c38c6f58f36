/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the entries of an L2 table say. An ordinary one, a data cluster or
 * nothing, takes the short way; all others are judged bit by bit.
 *
 * A cluster is fragmented if it does not follow the one before it in its table;
 * compressed ones always are. Specification: "L2 table entry", "Extended L2
 * Entries".
 */
#include "formats/qcow2/check/check.h"

#define ORDINARY (QCOW2_OFFSET_MASK | QCOW2_COPIED)
#define SUB_ALLOCATED 0xffffffffULL /* of the bitmap; above: zeros */

bool check_copied_is_wrong(struct check *c, uint64_t offset, bool copied)
{
	uint64_t cluster = offset >> c->q->cluster_bits;
	uint64_t at = cluster - c->first, count;
	bool known;

	if (at < c->end - c->first) {
		if ((c->single[at / 64] >> (at % 64) & 1) == copied)
			return false;
		check_block_offset(c, cluster / c->q->refblock_entries, &known);
		return known;
	}
	/* Another window's, or beyond the end of the file. */
	if (cluster < c->clusters || !c->first_pass)
		return false;
	count = check_disk_count(c, cluster, &known);
	return known && (count == 1) != copied;
}

static void count_data(struct check *c, struct check_walk *walk,
		       uint64_t offset)
{
	if (!walk->active || !c->first_pass || c->fixing)
		return;
	c->counts.allocated += walk->weight;
	if (walk->expected && walk->expected != offset)
		c->counts.fragmented += walk->weight;
	walk->expected = offset + c->q->cluster_size;
}

/* --- changes -------------------------------------------------------------- */

static bool looks_sound(const struct check *c, struct qcow2_entry entry)
{
	uint64_t offset = entry_offset(entry);

	if (entry_is_compressed(entry))
		return !entry_is_copied(entry) && !entry.bitmap &&
		       compressed_offset(c->q, entry) < c->file_size;
	return !(entry.word & QCOW2_L2_RESERVED) && offset < c->file_size &&
	       is_aligned(offset, c->q->cluster_size);
}

/* A table whose cluster is the guest's, too: by its looks, which is it? */
static bool looks_like_table(const struct check *c,
			     const struct check_walk *walk)
{
	for (uint32_t i = 0; i < c->q->l2_entries; i++)
		if (!looks_sound(c, entry_load(c->q, walk->data, i)))
			return false;
	return true;
}

static bool holds_data(const struct check *c, uint64_t offset)
{
	uint64_t cluster = offset >> c->q->cluster_bits;

	return c->data_map[cluster / 64] >> (cluster % 64) & 1;
}

static bool may_change(struct check *c, struct check_walk *walk)
{
	if (walk->change == CHECK_NOT_ASKED)
		walk->change = check_is_metadata(c, walk->offset) ||
					       (holds_data(c, walk->offset) &&
						!looks_like_table(c, walk)) ?
				       CHECK_MAY_NOT :
				       CHECK_MAY;
	return walk->change == CHECK_MAY;
}

static void store(struct check *c, struct check_walk *walk, uint32_t index,
		  struct qcow2_entry entry)
{
	entry_store(c->q, walk->data, index, entry);
	if (!walk->dirty_to)
		walk->dirty_from = index * c->q->entry_size;
	walk->dirty_to = (index + 1) * c->q->entry_size;
	c->counts.fixed++;
}

static void wrong_copied(struct check *c, struct check_walk *walk,
			 uint32_t index, uint64_t offset)
{
	struct qcow2_entry entry = entry_load(c->q, walk->data, index);
	bool fix = c->run.copied == CHECK_COPIED_FIX && may_change(c, walk);
	uint64_t count = 1;
	bool known;

	if (c->run.speak_copied) {
		if (!c->data_file && check_is_heard(c))
			count = check_disk_count(
				c, offset >> c->q->cluster_bits, &known);
		check_say(c,
			  "%s OFLAG_COPIED data cluster: l2_entry=%jx "
			  "refcount=%ju",
			  fix ? "Repairing" : "ERROR", (uintmax_t)entry.word,
			  (uintmax_t)count);
	}
	if (!fix) {
		c->counts.copied += walk->weight;
		return;
	}
	entry.word ^= QCOW2_COPIED;
	store(c, walk, index, entry);
}

static void judge_copied(struct check *c, struct check_walk *walk,
			 uint32_t index, struct qcow2_entry entry)
{
	uint64_t offset = entry_offset(entry);
	bool wrong;

	if (!walk->active || !check_sees_copied(c))
		return;
	/* Clusters of a data file count as referred to once. */
	if (c->data_file)
		wrong = c->first_pass && !entry_is_copied(entry);
	else
		wrong = check_copied_is_wrong(c, offset,
					      entry_is_copied(entry));
	if (wrong)
		wrong_copied(c, walk, index, offset);
}

/* --- the long way --------------------------------------------------------- */

/* References to data clusters. */
static void refer(struct check *c, const struct check_walk *walk,
		  uint64_t offset, uint64_t length)
{
	if (check_count(c, offset, length, walk->weight) && c->data_map)
		check_mark_data(c, offset, length);
}

static void judge_compressed(struct check *c, struct check_walk *walk,
			     uint32_t index, struct qcow2_entry entry)
{
	uint64_t offset = compressed_offset(c->q, entry);

	if (entry_is_copied(entry))
		check_corrupt(c, walk->weight,
			      "ERROR: coffset=0x%jx: copied flag must never be "
			      "set for compressed clusters",
			      (uintmax_t)offset);
	if (entry.bitmap)
		check_corrupt(c, walk->weight,
			      "ERROR compressed cluster %u with non-zero "
			      "subcluster allocation bitmap, entry=0x%jx",
			      index, (uintmax_t)entry.word);
	if (c->data_file) {
		check_corrupt(c, walk->weight,
			      "ERROR compressed cluster %u with data file, "
			      "entry=0x%jx",
			      index, (uintmax_t)entry.word);
		return;
	}
	refer(c, walk, offset, compressed_length(c->q, entry));
	if (!walk->active || !c->first_pass || c->fixing)
		return;
	c->counts.allocated += walk->weight;
	c->counts.compressed += walk->weight;
	c->counts.fragmented += walk->weight;
}

static void judge_bits(struct check *c, const struct check_walk *walk,
		       struct qcow2_entry entry)
{
	if (entry.word & QCOW2_L2_RESERVED)
		check_corrupt(
			c, walk->weight,
			"ERROR found l2 entry with reserved bits set: %jx",
			(uintmax_t)entry.word);
	if (c->q->header.version < 3 && entry.word & QCOW2_ZERO)
		check_corrupt(c, walk->weight,
			      "ERROR found l2 entry with the zero flag, which "
			      "version 2 does not have: %jx",
			      (uintmax_t)entry.word);
}

static bool has_cluster(const struct check *c, struct qcow2_entry entry)
{
	return entry_offset(entry) || (c->data_file && entry_is_copied(entry));
}

static bool contains_data(const struct check *c, struct qcow2_entry entry)
{
	return c->q->extended_l2 ? entry.bitmap & SUB_ALLOCATED :
				   !(entry.word & QCOW2_ZERO);
}

/* A place off the cluster grid. Where it holds nothing but zeros it can be
 * forgotten: true. (Version 2 has no other way to say zero.) */
static bool forget_place(struct check *c, struct check_walk *walk,
			 uint32_t index, struct qcow2_entry entry)
{
	bool data = contains_data(c, entry);
	bool can = !data && c->first_pass && c->q->header.version >= 3;
	uint64_t offset = entry_offset(entry);

	check_corrupt(c, walk->weight,
		      "ERROR offset=%jx: %s cluster is not properly aligned; "
		      "L2 entry corrupted.",
		      (uintmax_t)offset, data ? "Data" : "Preallocated");
	if (can && !c->fixing)
		c->counts.misplaced++;
	if (!can || !c->fixing || !c->run.fix_entries || !may_change(c, walk))
		return false;
	check_say(c,
		  "Repairing offset=%jx: Preallocated cluster is not "
		  "properly aligned; L2 entry corrupted.",
		  (uintmax_t)offset);
	entry.word = c->q->extended_l2 ? 0 : QCOW2_ZERO;
	store(c, walk, index, entry);
	return true;
}

static void judge_cluster(struct check *c, struct check_walk *walk,
			  uint32_t index, struct qcow2_entry entry)
{
	uint64_t offset = entry_offset(entry);

	if (entry.bitmap >> 32 & entry.bitmap & SUB_ALLOCATED)
		check_corrupt(c, walk->weight,
			      "ERROR offset=%jx: Allocated cluster has "
			      "corrupted subcluster allocation bitmap",
			      (uintmax_t)offset);
	if (!is_aligned(offset, c->q->cluster_size) &&
	    forget_place(c, walk, index, entry))
		return;
	count_data(c, walk, offset);
	if (!c->data_file)
		refer(c, walk, offset, c->q->cluster_size);
	judge_copied(c, walk, index, entry);
}

static void judge(struct check *c, struct check_walk *walk, uint32_t index)
{
	struct qcow2_entry entry = entry_load(c->q, walk->data, index);

	if (entry_is_compressed(entry)) {
		judge_compressed(c, walk, index, entry);
		return;
	}
	judge_bits(c, walk, entry);
	if (has_cluster(c, entry))
		judge_cluster(c, walk, index, entry);
	else if (entry.bitmap & SUB_ALLOCATED)
		check_corrupt(c, walk->weight,
			      "ERROR: Unallocated cluster has non-zero "
			      "subcluster allocation map");
}

/* --- the short way -------------------------------------------------------- */

/* Tables without extended entries, of images without a data file. */
static void walk_ordinary(struct check *c, struct check_walk *walk)
{
	uint64_t clusters = c->clusters, off_grid = c->q->cluster_size - 1;
	bool copied = walk->active && check_sees_copied(c);
	uint64_t word, offset, cluster;

	for (uint32_t i = 0; i < c->q->l2_entries; i++) {
		word = load_be64(walk->data + i * 8ULL);
		if (!word)
			continue;
		offset = word & QCOW2_OFFSET_MASK;
		cluster = offset >> c->q->cluster_bits;
		if (word & ~ORDINARY || offset & off_grid || !offset ||
		    cluster >= clusters) {
			judge(c, walk, i);
			continue;
		}
		count_data(c, walk, offset);
		if (!c->fixing)
			check_count_one(c, cluster, walk->weight);
		if (c->data_map)
			check_mark_data(c, offset, 1);
		if (copied &&
		    check_copied_is_wrong(c, offset, word & QCOW2_COPIED))
			wrong_copied(c, walk, i, offset);
	}
}

void check_entries(struct check *c, struct check_walk *walk)
{
	if (!c->q->extended_l2 && !c->data_file) {
		walk_ordinary(c, walk);
		return;
	}
	for (uint32_t i = 0; i < c->q->l2_entries; i++)
		judge(c, walk, i);
}

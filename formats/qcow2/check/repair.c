/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of a repair. After each step the image is at least as sound as
 * before it, whenever the power fails:
 *
 *  1. look; entries that hold nothing and point off the grid are cleared
 *  2. raise counts that are too low (or build a new refcount structure);
 *     from here on nothing that is in use can be given away
 *  3. lower counts that are too high
 *  4. put the COPIED flags right, by the counts; look again
 *  5. clear the header's "dirty" and "corrupt" marks, if all is well
 *
 * Where a broken table hides what it refers to, step 3 is left out: what seems
 * leaked may be in use. What belongs to the guest is never deleted.
 */
#include <stdlib.h>

#include "formats/qcow2/check/check.h"

#define INCOMPATIBLE_AT 72
#define MARKS ((uint64_t)(QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT))

/* Sizes and tables anew, after the file has changed. */
static int forget(struct check *c)
{
	free(c->blocks);
	c->blocks = NULL;
	c->need_rebuild = false;
	return check_measure(c);
}

static int renew(struct check *c)
{
	int ret;

	check_say(c, "Rebuilding refcount structure");
	ret = check_rebuild(c);
	if (ret)
		return ret < 0 ? -1 : 0;
	return forget(c);
}

static int raise_counts(struct check *c)
{
	static const struct check_run run = { .action = CHECK_RAISE };

	if (check_run(c, &run) < 0)
		return -1;
	return check_flush(c);
}

/* Bitmaps that nothing vouches for are leaked clusters: before these are free,
 * nothing may lead there. */
static int drop_stale_bitmaps(struct check *c)
{
	struct qcow2_header *h = &c->q->header;

	if (!h->has_bitmaps || h->autoclear & QCOW2_AUTOCLEAR_BITMAPS)
		return 0;
	h->has_bitmaps = false;
	c->wrote = true;
	if (qcow2_header_write(c->storage, h, c->err) < 0) {
		h->has_bitmaps = true;
		return -1;
	}
	return check_flush(c);
}

static int lower_counts(struct check *c)
{
	static const struct check_run run = { .action = CHECK_LOWER };

	if (c->incomplete) {
		check_say(c, "Leaked clusters are kept: tables that could not "
			     "be followed may refer to them");
		return 0;
	}
	if (drop_stale_bitmaps(c) < 0 || check_run(c, &run) < 0)
		return -1;
	return check_flush(c);
}

static int repair_counts(struct check *c, const struct check_counts *seen)
{
	if (c->fix & GILD_CHECK_FIX_ERRORS) {
		if (c->need_rebuild)
			return renew(c);
		if (seen->too_low && raise_counts(c) < 0)
			return -1;
	}
	/* A broken refcount structure is not written to. */
	if (c->fix & GILD_CHECK_FIX_LEAKS && seen->leaks && !c->need_rebuild)
		return lower_counts(c);
	return 0;
}

/* May flags be put right by the counts? Where only leaks are to be repaired,
 * they may if nothing else is wrong. */
static bool may_fix_copied(const struct check *c,
			   const struct check_counts *seen)
{
	if (c->need_rebuild)
		return false;
	if (c->fix & GILD_CHECK_FIX_ERRORS)
		return true;
	return !seen->corruptions && !seen->errors;
}

/* Step 4. */
static int repair_copied(struct check *c, const struct check_counts *seen,
			 uint64_t *fixed)
{
	static const struct check_run look = {
		.action = CHECK_COMPARE,
		.copied = CHECK_COPIED_REPORT,
	};
	struct check_run run = {
		.action = CHECK_COMPARE,
		.copied = may_fix_copied(c, seen) ? CHECK_COPIED_FIX :
						    CHECK_COPIED_REPORT,
		.speak_copied = true,
	};

	if (check_run(c, &run) < 0)
		return -1;
	*fixed = c->counts.fixed;
	if (!*fixed)
		return 0;
	return check_flush(c) < 0 ? -1 : check_run(c, &look);
}

static int clear_marks(struct check *c)
{
	struct qcow2_header *h = &c->q->header;
	unsigned char field[8];

	if (h->version < 3 || !(h->incompatible & MARKS))
		return 0;
	store_be64(field, h->incompatible & ~MARKS);
	if (check_write(c, field, sizeof(field), INCOMPATIBLE_AT) < 0)
		return -1;
	h->incompatible &= ~MARKS;
	return check_flush(c);
}

static uint64_t fewer(uint64_t before, uint64_t after)
{
	return before > after ? before - after : 0;
}

/* Step 1. */
static int look(struct check *c, struct check_counts *seen, uint64_t *cleared)
{
	static const struct check_run loud = {
		.copied = CHECK_COPIED_REPORT,
		.speak = true,
	};
	static const struct check_run silent = {
		.copied = CHECK_COPIED_REPORT,
	};
	static const struct check_run clear = { .fix_entries = true };

	*cleared = 0;
	if (check_run(c, &loud) < 0)
		return -1;
	if (c->counts.misplaced && c->fix & GILD_CHECK_FIX_ERRORS) {
		if (check_run(c, &clear) < 0 || check_flush(c) < 0)
			return -1;
		*cleared = c->counts.fixed;
		if (check_run(c, &silent) < 0)
			return -1;
	}
	*seen = c->counts;
	return 0;
}

static bool is_sound(const struct check_counts *counts)
{
	return !counts->corruptions && !counts->copied && !counts->errors;
}

int check_and_repair(struct check *c)
{
	struct gild_check_result *result = c->result;
	uint64_t cleared, flags = 0;
	struct check_counts seen;

	if (look(c, &seen, &cleared) < 0)
		return -1;
	if ((!is_sound(&seen) || seen.leaks) &&
	    (repair_counts(c, &seen) < 0 ||
	     repair_copied(c, &seen, &flags) < 0))
		return -1;
	result->corruptions_fixed =
		cleared + flags +
		fewer(seen.corruptions, c->counts.corruptions);
	result->leaks_fixed = fewer(seen.leaks, c->counts.leaks);
	return is_sound(&c->counts) ? clear_marks(c) : 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clusters on their way to be free. A cluster that an L2 entry no longer
 * points to (in memory) waits here until the disk says so, too, and until no
 * reader who looked the entry up before can still be reading there. Only then
 * its count goes down and it may be given out again.
 */
#include <stdlib.h>

#include "formats/qcow2/qcow2.h"
#include "util/bytes.h"

/* Neighbours freed one after the other become one. */
static bool extends_last(const struct qcow2 *q, uint64_t offset, bool punch)
{
	const struct qcow2_freed *last;

	if (!q->freed_count)
		return false;
	last = &q->freed[q->freed_count - 1];
	return !last->unlinked && last->punch == punch &&
	       last->offset + last->length == offset;
}

static bool has_room(struct qcow2 *q)
{
	size_t room = q->freed_room ? q->freed_room * 2 : 64;
	struct qcow2_freed *more;

	if (q->freed_count < q->freed_room)
		return true;
	more = realloc(q->freed, room * sizeof(*more));
	if (!more)
		return false;
	q->freed = more;
	q->freed_room = room;
	return true;
}

void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t length,
		      bool punch)
{
	uint64_t end = round_up(offset + length, q->cluster_size);

	offset = round_down(offset, q->cluster_size);
	if (extends_last(q, offset, punch)) {
		q->freed[q->freed_count - 1].length += end - offset;
		return;
	}
	if (!has_room(q))
		return;
	q->freed[q->freed_count++] = (struct qcow2_freed){
		.offset = offset,
		.length = end - offset,
		.punch = punch,
	};
}

void qcow2_freed_unlinked(struct qcow2 *q)
{
	uint64_t ticket = epoch_mark(&q->image.epoch);

	for (size_t i = q->freed_count; i-- > 0 && !q->freed[i].unlinked;) {
		q->freed[i].unlinked = true;
		q->freed[i].ticket = ticket;
	}
}

/* Give space back to the host where the count became zero; but whatever an
 * entry pointed to, metadata stays. */
static int punch(struct qcow2 *q, const struct qcow2_freed *freed,
		 struct gild_error *err)
{
	uint64_t end = freed->offset + freed->length, count;

	for (uint64_t at = freed->offset; at < end; at += q->cluster_size) {
		if (qcow2_refcount_get(q, at >> q->cluster_bits, &count, err) <
		    0)
			return -1;
		if (!count && !qcow2_guard_hit(q, at, q->cluster_size) &&
		    storage_discard(q->image.storage, at, q->cluster_size,
				    err) < 0)
			return -1;
	}
	return 0;
}

static int release(struct qcow2 *q, const struct qcow2_freed *freed,
		   struct gild_error *err)
{
	if (qcow2_refcount_add(q, freed->offset >> q->cluster_bits,
			       freed->length >> q->cluster_bits, -1, err) < 0)
		return -1;
	return freed->punch ? punch(q, freed, err) : 0;
}

int qcow2_freed_release(struct qcow2 *q, bool closing, struct gild_error *err)
{
	size_t done = 0;
	int ret = 0;

	/* To make room for counts that go down, all may be written back. */
	if (q->releasing)
		return 0;
	q->releasing = true;
	while (done < q->freed_count && q->freed[done].unlinked && !ret) {
		if (!closing &&
		    !epoch_passed(&q->image.epoch, q->freed[done].ticket))
			break;
		ret = release(q, &q->freed[done++], err);
	}
	for (size_t i = done; i < q->freed_count; i++)
		q->freed[i - done] = q->freed[i];
	q->freed_count -= done;
	q->releasing = false;
	return ret;
}

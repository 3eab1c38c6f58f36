/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk in memory that records and fails, for tests: every write, zero,
 * discard, truncate and flush is appended to a log, and the Nth call can be
 * made to fail, to stop short, or to tear. From the log any state can be built
 * that a power failure might have left.
 */
#ifndef STORAGE_FAULTY_H
#define STORAGE_FAULTY_H

#include "storage/storage.h"

enum faulty_op {
	FAULTY_READ,
	FAULTY_WRITE,
	FAULTY_ZERO,
	FAULTY_DISCARD,
	FAULTY_TRUNCATE,
	FAULTY_FLUSH,
	FAULTY_OPS
};

struct faulty_event {
	enum faulty_op op; /* never FAULTY_READ */
	uint64_t offset, length;
	unsigned char *data; /* FAULTY_WRITE: length bytes; owned by the log */
};

/* When to fail: the nth call (from 1; 0: never), counted since the plan was
 * set, of those whose bit is set in ops (1 << FAULTY_WRITE ...), with this
 * errno; from then on all of them if sticky. torn: a failing write still stores
 * (and logs) its first torn bytes; other failing calls do nothing. */
struct faulty_plan {
	uint64_t nth;
	unsigned ops;
	int sys_errno;
	bool sticky;
	size_t torn;
};

/* An empty disk in memory, or a copy of length bytes of content. It grows to
 * 1 GiB at most. Threads: as any storage; the functions below are for one
 * thread while no other uses it. */
struct storage *faulty_new(const void *content, uint64_t length,
			   struct gild_error *err);

void faulty_set_plan(struct storage *storage, const struct faulty_plan *plan);

/* Calls since creation or the last faulty_set_plan that a plan with these ops
 * counts, failed ones included. */
uint64_t faulty_calls(struct storage *storage, unsigned ops);

/* The log since creation or the last faulty_clear_log; lives until the next
 * call that changes the storage. */
const struct faulty_event *faulty_log(struct storage *storage, size_t *count);
void faulty_clear_log(struct storage *storage);

/* The content now; lives until the next write. */
const void *faulty_content(struct storage *storage, uint64_t *length);

/* Replay one event on a plain buffer that *content (realloc'ed) holds; for a
 * torn write or zero pass a smaller limit than its length (SIZE_MAX: all of
 * it). A discard leaves zeros. -1: out of memory. */
int faulty_apply(const struct faulty_event *event, size_t limit,
		 unsigned char **content, uint64_t *length);

#endif

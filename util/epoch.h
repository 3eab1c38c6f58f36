/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may still be using what was just unlinked? Threads enter before they
 * look up an address and leave when their I/O is done; an address that was
 * unlinked may be reused once everybody who was inside at that time has left.
 * Nobody ever waits.
 *
 *     slot = epoch_enter(&e); ... look up, do I/O ...; epoch_leave(&e, slot);
 *     ticket = epoch_mark(&e);              after unlinking
 *     if (epoch_passed(&e, ticket)) ...     free to reuse
 *
 * Threads: enter/leave from any; mark and passed under the caller's lock.
 */
#ifndef UTIL_EPOCH_H
#define UTIL_EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct epoch {
	_Atomic uint64_t current;
	_Atomic uint64_t inside[2]; /* by parity of the epoch of entry */
};

static inline unsigned epoch_enter(struct epoch *epoch)
{
	for (;;) {
		uint64_t now = atomic_load(&epoch->current);

		atomic_fetch_add(&epoch->inside[now & 1], 1);
		/* Counted in an epoch that is over? Then nobody saw us. */
		if (atomic_load(&epoch->current) == now)
			return now & 1;
		atomic_fetch_sub(&epoch->inside[now & 1], 1);
	}
}

static inline void epoch_leave(struct epoch *epoch, unsigned slot)
{
	atomic_fetch_sub(&epoch->inside[slot], 1);
}

/* Start a new epoch if the one before the current is empty, as it must be
 * for parity to tell the two apart. */
static inline void epoch_advance(struct epoch *epoch)
{
	uint64_t now = atomic_load(&epoch->current);

	if (atomic_load(&epoch->inside[(now + 1) & 1]) == 0)
		atomic_store(&epoch->current, now + 1);
}

/* A ticket for what was unlinked up to now. */
static inline uint64_t epoch_mark(struct epoch *epoch)
{
	return atomic_load(&epoch->current);
}

/* Have all left who were inside when the ticket was drawn? */
static inline bool epoch_passed(struct epoch *epoch, uint64_t ticket)
{
	/* Two advances: the first one closes the ticket's epoch, the second
	 * one happens only when that is empty. */
	for (int i = 0; i < 2 && atomic_load(&epoch->current) < ticket + 2; i++)
		epoch_advance(epoch);
	return atomic_load(&epoch->current) >= ticket + 2;
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that all run one function, for the time of one call. */
#ifndef UTIL_WORKERS_H
#define UTIL_WORKERS_H

#include "util/error.h"

/*
 * Run work(arg) in count threads (the caller's is one of them) and wait for
 * all. work reports through arg. Fails only if not even one could run: fewer
 * threads than asked for is not an error.
 */
int workers_run(unsigned count, void (*work)(void *arg), void *arg,
		struct gild_error *err);

/* Processors that this process may use, at least 1. */
unsigned workers_default(void);

#endif

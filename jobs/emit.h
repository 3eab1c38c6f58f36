/* SPDX-License-Identifier: BSD-3-Clause */
/* Sending an image whose layout is known, from its first byte to its last. */
#ifndef JOBS_EMIT_H
#define JOBS_EMIT_H

#include "jobs/copy.h"

/*
 * layout holds the metadata of an image whose data clusters are in the order
 * of the disk; their bytes come from the source. All is written to fd.
 */
int emit_run(struct image *layout, const struct source *source, int fd,
	     struct gild_job *job, struct gild_error *err);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* An image that says nothing of its own any more: an L1 table of zeros. */
#include <stdlib.h>

#include "formats/qcow2/snapshot/snapshot.h"
#include "util/cleanup.h"

static int empty(struct qcow2 *q, struct gild_error *err)
{
	AUTO_FREE uint64_t *l1 = calloc(q->l1.count ? q->l1.count : 1, 8);

	if (!l1)
		return fail_nomem(err);
	if (qcow2_begin_changes(q, err) < 0)
		return -1;
	return qcow2_tree_switch(q, l1, q->l1.count, q->image.size, err);
}

int qcow2_empty(struct image *image, struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	int ret;

	pthread_rwlock_wrlock(&q->lock);
	ret = empty(q, err);
	pthread_rwlock_unlock(&q->lock);
	return ret;
}

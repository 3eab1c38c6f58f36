/* SPDX-License-Identifier: BSD-3-Clause */
/* The snapshots of an image, by name and date. */
#include <stdlib.h>

#include "formats/qcow2/info/parts.h"
#include "formats/qcow2/snapshot/snapshot.h"

int qcow2_info_snapshots(struct qcow2 *q, struct gild_info *info,
			 struct gild_error *err)
{
	struct qcow2_snapshots snapshots;

	if (!q->header.snapshot_count)
		return 0;
	if (qcow2_snapshots_read(q, &snapshots, err) < 0)
		return -1;
	info->snapshots = calloc(snapshots.count, sizeof(*info->snapshots));
	if (!info->snapshots) {
		qcow2_snapshots_free(&snapshots);
		return fail_nomem(err);
	}
	for (; info->snapshot_count < snapshots.count; info->snapshot_count++) {
		struct qcow2_snapshot *from =
			&snapshots.list[info->snapshot_count];

		info->snapshots[info->snapshot_count] = from->about;
		from->about.id = from->about.name = NULL;
	}
	qcow2_snapshots_free(&snapshots);
	return 0;
}

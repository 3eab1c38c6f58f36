/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of qcow2_info that read tables of their own. Each refuses what
 * makes no sense, and none reads more than its cap. Lock held, shared. */
#ifndef QCOW2_INFO_PARTS_H
#define QCOW2_INFO_PARTS_H

#include "formats/qcow2/qcow2.h"

/* Fill info->snapshots. */
int qcow2_info_snapshots(struct qcow2 *q, struct gild_info *info,
			 struct gild_error *err);

/* Fill info->bitmaps, and append "bitmaps" to specific, where the header
 * vouches for any. */
int qcow2_info_bitmaps(struct qcow2 *q, struct gild_info *info,
		       struct gild_value *specific, struct gild_error *err);

/* Append "encrypt" to specific, where the image is encrypted. */
int qcow2_info_encryption(struct qcow2 *q, struct gild_value *specific,
			  struct gild_error *err);

#endif

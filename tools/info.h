/* SPDX-License-Identifier: BSD-3-Clause */
/* How a gild_info is shown: the two faces of gild info. */
#ifndef TOOLS_INFO_H
#define TOOLS_INFO_H

#include <jansson.h>

#include "gild.h"

/* QAPI's BlockGraphInfo. */
json_t *info_json(const struct gild_info *info);

/* qemu-img's lines. */
void info_text(const struct gild_info *info);

/* The snapshots alone; as text nothing where there are none. */
json_t *info_snapshots_json(const struct gild_info *info);
void info_snapshots_text(const struct gild_info *info);

#endif

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

/* qemu-img's name for the driver of the file that holds the image. */
const char *info_file_driver(const struct gild_info *info);

/* Bytes of that file; under the name qemu-img in whole sectors. */
uint64_t info_file_length(const struct gild_info *info);

/* Under its name: does "detached-header", which is always false here, go behind
 * this value? */
bool info_lacks_header_kind(const struct gild_value *value);

#endif

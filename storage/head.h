/* SPDX-License-Identifier: BSD-3-Clause */
/* The first sector of a storage whose content decides what it is taken for; see
 * may_begin in storage.h. */
#ifndef STORAGE_HEAD_H
#define STORAGE_HEAD_H

#include "storage/storage.h"

#define HEAD_SECTOR 512

/* Does a change from there on begin in a first sector that is watched? */
bool head_is_watched(const struct storage *storage, uint64_t offset);

/* And does it leave some of that sector? Zeros all over it are allowed as they
 * are, zeros in a part are for head_write to judge. */
bool head_is_split(const struct storage *storage, uint64_t offset,
		   uint64_t length);

/* Write, if the storage may begin as it then would. */
int head_write(struct storage *storage, const void *buffer, size_t length,
	       uint64_t offset, struct gild_error *err);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Watching what a storage begins with; one writer at a time, so that two parts
 * of a sector do not make together what neither makes alone. */
#include "storage/head.h"

#include <errno.h>
#include <string.h>

#include "util/bytes.h"
#include "util/cleanup.h"

bool head_is_watched(const struct storage *storage, uint64_t offset)
{
	return storage->may_begin && offset < HEAD_SECTOR;
}

bool head_is_split(const struct storage *storage, uint64_t offset,
		   uint64_t length)
{
	return head_is_watched(storage, offset) &&
	       (offset || length < HEAD_SECTOR);
}

static int check(struct storage *storage, const void *buffer, size_t length,
		 uint64_t offset, struct gild_error *err)
{
	unsigned char head[HEAD_SECTOR];

	if (storage_read(storage, head, sizeof(head), 0, err) < 0)
		return -1;
	memcpy(head + offset, buffer, min_u64(length, HEAD_SECTOR - offset));
	if (storage->may_begin(head, sizeof(head)))
		return 0;
	fail(err, GILD_ERR_DENIED, EPERM,
	     "%s: its format is only guessed, and it would begin like an image "
	     "of another one: writing %zu bytes at %ju",
	     storage->path, length, (uintmax_t)offset);
	error_at(err, offset);
	return error_hint(err, "say which format it has, e.g. -f raw; that of "
			       "a backing file: rebase -u -F raw -b NAME");
}

int head_write(struct storage *storage, const void *buffer, size_t length,
	       uint64_t offset, struct gild_error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&storage->head_lock);

	(void)held;
	if (check(storage, buffer, length, offset, err) < 0)
		return -1;
	return storage->ops->write(storage, buffer, length, offset, err);
}

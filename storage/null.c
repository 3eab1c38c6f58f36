/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A storage that keeps nothing but its length: writes are swallowed, reads
 * give zeros. For measuring, and for jobs whose output nobody wants.
 */
#include "storage/storage.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

struct null_storage {
	struct storage base;
	_Atomic uint64_t size; /* bytes; grows with writes */
};

static struct null_storage *null_of(struct storage *storage)
{
	return (struct null_storage *)storage;
}

static int null_read(struct storage *storage, void *buffer, size_t length,
		     uint64_t offset, size_t *done, struct gild_error *err)
{
	uint64_t size = atomic_load(&null_of(storage)->size);

	(void)err;
	*done = offset < size ? min_u64(length, size - offset) : 0;
	memset(buffer, 0, *done);
	return 0;
}

static void null_grow(struct storage *storage, uint64_t end)
{
	struct null_storage *null = null_of(storage);
	uint64_t seen = atomic_load(&null->size);

	while (seen < end &&
	       !atomic_compare_exchange_weak(&null->size, &seen, end))
		;
}

static int null_write(struct storage *storage, const void *buffer,
		      size_t length, uint64_t offset, struct gild_error *err)
{
	(void)buffer, (void)err;
	null_grow(storage, offset + length);
	return 0;
}

static int null_zero(struct storage *storage, uint64_t offset, uint64_t length,
		     bool keep, struct gild_error *err)
{
	(void)keep, (void)err;
	null_grow(storage, offset + length);
	return 0;
}

static int null_truncate(struct storage *storage, uint64_t size, bool allocate,
			 struct gild_error *err)
{
	(void)allocate, (void)err;
	atomic_store(&null_of(storage)->size, size);
	return 0;
}

static int null_size(struct storage *storage, uint64_t *size,
		     struct gild_error *err)
{
	(void)err;
	*size = atomic_load(&null_of(storage)->size);
	return 0;
}

static int null_allocated(struct storage *storage, uint64_t *bytes,
			  struct gild_error *err)
{
	(void)storage, (void)err;
	*bytes = 0;
	return 0;
}

static int null_extent(struct storage *storage, uint64_t offset, bool *data,
		       uint64_t *end, struct gild_error *err)
{
	(void)storage, (void)offset, (void)end, (void)err;
	*data = false;
	return 0;
}

static void null_close(struct storage *storage)
{
	(void)storage;
}

static const struct storage_ops null_ops = {
	.name = "null",
	.read = null_read,
	.write = null_write,
	.zero = null_zero,
	.truncate = null_truncate,
	.size = null_size,
	.allocated = null_allocated,
	.extent = null_extent,
	.close = null_close,
};

struct storage *storage_null_new(uint64_t size, struct gild_error *err)
{
	struct null_storage *null = calloc(1, sizeof(*null));

	if (!null)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	if (storage_init(&null->base, &null_ops, "null-co://", STORAGE_WRITE,
			 err) < 0) {
		free(null);
		return NULL;
	}
	atomic_init(&null->size, size);
	return &null->base;
}

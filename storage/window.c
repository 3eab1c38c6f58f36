/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A part of another storage as a storage of its own: bytes [start, end) of it,
 * or from start to its end, whatever that is. What has an end cannot grow.
 *
 * Threads: as the storage behind it, which is owned; immutable after opening.
 */
#include "storage/storage.h"

#include <stdlib.h>

#include "util/bytes.h"

struct window {
	struct storage base;
	struct storage *inner;
	uint64_t start;
	uint64_t length; /* UINT64_MAX: to the end of the inner one */
};

static struct window *window_of(struct storage *storage)
{
	return (struct window *)storage;
}

/* What is left of length at offset. */
static uint64_t within(const struct window *window, uint64_t offset,
		       uint64_t length)
{
	if (offset >= window->length)
		return 0;
	return min_u64(length, window->length - offset);
}

static int fail_beyond(const struct window *window, struct gild_error *err)
{
	return fail(err, GILD_ERR_RANGE, 0,
		    "%s: a part of it that has a size of its own cannot grow",
		    window->base.path);
}

static int window_size(struct storage *storage, uint64_t *size,
		       struct gild_error *err)
{
	struct window *window = window_of(storage);

	if (storage_size(window->inner, size, err) < 0)
		return -1;
	*size = *size > window->start ? *size - window->start : 0;
	*size = min_u64(*size, window->length);
	return 0;
}

static int window_read(struct storage *storage, void *buffer, size_t length,
		       uint64_t offset, size_t *done, struct gild_error *err)
{
	struct window *window = window_of(storage);
	uint64_t size;

	*done = 0;
	if (window_size(storage, &size, err) < 0)
		return -1;
	if (offset >= size)
		return 0;
	length = (size_t)min_u64(length, size - offset);
	if (storage_read(window->inner, buffer, length, window->start + offset,
			 err) < 0)
		return -1;
	*done = length;
	return 0;
}

static int window_write(struct storage *storage, const void *buffer,
			size_t length, uint64_t offset, struct gild_error *err)
{
	struct window *window = window_of(storage);

	if (within(window, offset, length) < length)
		return fail_beyond(window, err);
	return storage_write(window->inner, buffer, length,
			     window->start + offset, err);
}

static int window_zero(struct storage *storage, uint64_t offset,
		       uint64_t length, bool keep, struct gild_error *err)
{
	struct window *window = window_of(storage);

	if (within(window, offset, length) < length)
		return fail_beyond(window, err);
	return storage_zero(window->inner, window->start + offset, length, keep,
			    err);
}

static int window_discard(struct storage *storage, uint64_t offset,
			  uint64_t length, struct gild_error *err)
{
	struct window *window = window_of(storage);

	length = within(window, offset, length);
	if (!length)
		return 0;
	return storage_discard(window->inner, window->start + offset, length,
			       err);
}

static int window_flush(struct storage *storage, struct gild_error *err)
{
	return storage_flush(window_of(storage)->inner, err);
}

static int window_truncate(struct storage *storage, uint64_t size,
			   bool allocate, struct gild_error *err)
{
	struct window *window = window_of(storage);

	if (window->length != UINT64_MAX)
		return size == window->length ? 0 : fail_beyond(window, err);
	if (size > INT64_MAX - window->start)
		return fail(err, GILD_ERR_RANGE, 0, "%s: is too large",
			    storage->path);
	return storage_truncate(window->inner, window->start + size, allocate,
				err);
}

/* Of the whole file, as nobody counts parts. */
static int window_allocated(struct storage *storage, uint64_t *bytes,
			    struct gild_error *err)
{
	return storage_allocated(window_of(storage)->inner, bytes, err);
}

static int window_extent(struct storage *storage, uint64_t offset, bool *data,
			 uint64_t *end, struct gild_error *err)
{
	struct window *window = window_of(storage);

	if (storage_extent(window->inner, window->start + offset, data, end,
			   err) < 0)
		return -1;
	if (*end != UINT64_MAX)
		*end -= window->start;
	*end = min_u64(*end, window->length);
	return 0;
}

static int window_descriptor(struct storage *storage)
{
	return storage_descriptor(window_of(storage)->inner);
}

static void window_close(struct storage *storage)
{
	storage_close(window_of(storage)->inner);
}

static const struct storage_ops window_ops = {
	.name = "window",
	.read = window_read,
	.write = window_write,
	.zero = window_zero,
	.discard = window_discard,
	.flush = window_flush,
	.truncate = window_truncate,
	.size = window_size,
	.allocated = window_allocated,
	.extent = window_extent,
	.descriptor = window_descriptor,
	.close = window_close,
};

static int check_place(struct storage *inner, uint64_t start, uint64_t length,
		       struct gild_error *err)
{
	uint64_t size;

	if (storage_size(inner, &size, err) < 0)
		return -1;
	if (start > size)
		return fail(err, GILD_ERR_RANGE, 0,
			    "%s: offset %llu lies behind the end of the file "
			    "(%llu)",
			    inner->path, (unsigned long long)start,
			    (unsigned long long)size);
	if (length != UINT64_MAX && length > size - start)
		return fail(err, GILD_ERR_RANGE, 0,
			    "%s: offset %llu and size %llu reach behind the "
			    "end of the file (%llu)",
			    inner->path, (unsigned long long)start,
			    (unsigned long long)length,
			    (unsigned long long)size);
	return 0;
}

struct storage *storage_window_new(struct storage *inner, uint64_t start,
				   uint64_t length, struct gild_error *err)
{
	struct window *window = NULL;

	if (check_place(inner, start, length, err) == 0) {
		window = calloc(1, sizeof(*window));
		if (!window)
			fail_nomem(err);
	}
	if (window && storage_init(&window->base, &window_ops, inner->path,
				   inner->flags, err) < 0) {
		free(window);
		window = NULL;
	}
	if (!window) {
		storage_close(inner);
		return NULL;
	}
	window->inner = inner;
	window->start = start;
	window->length = length;
	window->base.origin = inner->origin + start;
	return &window->base;
}

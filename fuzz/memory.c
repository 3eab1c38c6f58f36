/* SPDX-License-Identifier: BSD-3-Clause */
/* See memory.h. One thread. */
#include "fuzz/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "util/bytes.h"

#define ROOM (4U << 20)

bool fuzz_accepted;

struct memory {
	struct storage base;
	unsigned char *bytes;
	size_t length, limit;
};

static struct memory *memory_of(struct storage *storage)
{
	return (struct memory *)storage;
}

static int grow(struct memory *memory, uint64_t length, struct gild_error *err)
{
	unsigned char *bytes;

	if (length <= memory->length)
		return 0;
	if (length > memory->limit)
		return fail(err, GILD_ERR_IO, ENOSPC, "memory");
	bytes = realloc(memory->bytes, length);
	if (!bytes)
		return fail_nomem(err);
	memset(bytes + memory->length, 0, length - memory->length);
	memory->bytes = bytes;
	memory->length = length;
	return 0;
}

static int memory_read(struct storage *storage, void *buffer, size_t length,
		       uint64_t offset, size_t *done, struct gild_error *err)
{
	struct memory *memory = memory_of(storage);

	(void)err;
	*done = 0;
	if (offset < memory->length)
		*done = min_u64(length, memory->length - offset);
	if (*done)
		memcpy(buffer, memory->bytes + offset, *done);
	return 0;
}

static int memory_write(struct storage *storage, const void *buffer,
			size_t length, uint64_t offset, struct gild_error *err)
{
	struct memory *memory = memory_of(storage);

	if (grow(memory, offset + length, err) < 0)
		return -1;
	memcpy(memory->bytes + offset, buffer, length);
	return 0;
}

static int memory_zero(struct storage *storage, uint64_t offset,
		       uint64_t length, bool keep, struct gild_error *err)
{
	struct memory *memory = memory_of(storage);

	(void)keep;
	if (grow(memory, offset + length, err) < 0)
		return -1;
	memset(memory->bytes + offset, 0, length);
	return 0;
}

static int memory_discard(struct storage *storage, uint64_t offset,
			  uint64_t length, struct gild_error *err)
{
	struct memory *memory = memory_of(storage);

	(void)err;
	if (offset < memory->length)
		memset(memory->bytes + offset, 0,
		       min_u64(length, memory->length - offset));
	return 0;
}

static int memory_truncate(struct storage *storage, uint64_t size,
			   bool allocate, struct gild_error *err)
{
	struct memory *memory = memory_of(storage);

	(void)allocate;
	if (grow(memory, size, err) < 0)
		return -1;
	memory->length = size;
	return 0;
}

static int memory_size(struct storage *storage, uint64_t *size,
		       struct gild_error *err)
{
	(void)err;
	*size = memory_of(storage)->length;
	return 0;
}

static void memory_close(struct storage *storage)
{
	free(memory_of(storage)->bytes);
}

static const struct storage_ops memory_ops = {
	.name = "memory",
	.read = memory_read,
	.write = memory_write,
	.zero = memory_zero,
	.discard = memory_discard,
	.truncate = memory_truncate,
	.size = memory_size,
	.close = memory_close,
};

struct storage *memory_new(const void *content, size_t length)
{
	struct memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		abort();
	memory->limit = length + ROOM;
	memory->bytes = malloc(length + 1);
	memory->length = length;
	if (!memory->bytes || storage_init(&memory->base, &memory_ops, "input",
					   STORAGE_WRITE, NULL) < 0)
		abort();
	if (length)
		memcpy(memory->bytes, content, length);
	return &memory->base;
}

struct storage *memory_copy(struct storage *storage)
{
	return memory_new(memory_of(storage)->bytes,
			  memory_of(storage)->length);
}

struct image *memory_open(struct storage *storage, unsigned flags,
			  const char *snapshot)
{
	struct gild_open_options options = {
		.format = "qcow2",
		.flags = flags | GILD_OPEN_NO_BACKING,
		.snapshot = snapshot,
	};
	struct gild_error err;

	return image_open_storage(storage, &options, &err);
}

static void count_flags(void *opaque, const char *line)
{
	*(uint64_t *)opaque += strstr(line, "OFLAG_COPIED") != NULL;
}

bool memory_is_sound(struct image *image, unsigned fix, bool allow_flags)
{
	uint64_t flags = 0;
	struct gild_check_result result = {
		.report = count_flags,
		.opaque = &flags,
	};

	if (gild_check((struct gild_image *)image, fix, &result, NULL, NULL) ||
	    result.check_errors)
		return false;
	return result.corruptions <= (allow_flags ? flags : 0);
}

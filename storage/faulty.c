/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk in memory that records and fails, for tests. Each call first asks the
 * plan whether it is to fail; what succeeds is put into the log and applied to
 * the content by the same function that tests use to replay a log, so the two
 * cannot differ.
 */
#include "storage/faulty.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/cleanup.h"

static const uint64_t max_length = UINT64_C(1) << 30;

struct faulty_storage {
	struct storage base;
	pthread_mutex_t lock; /* protects all that follows */
	unsigned char *content;
	uint64_t length;
	struct faulty_plan plan;
	uint64_t calls[FAULTY_OPS]; /* since the plan was set */
	struct faulty_event *events;
	size_t count, capacity;
};

static struct faulty_storage *faulty_of(struct storage *storage)
{
	return (struct faulty_storage *)storage;
}

/* --- replaying ----------------------------------------------------------- */

static int set_content_length(unsigned char **content, uint64_t *length,
			      uint64_t wanted)
{
	/* realloc to nothing may give NULL. */
	unsigned char *bytes = realloc(*content, wanted + 1);

	if (!bytes)
		return -1;
	if (wanted > *length)
		memset(bytes + *length, 0, wanted - *length);
	*content = bytes;
	*length = wanted;
	return 0;
}

int faulty_apply(const struct faulty_event *event, size_t limit,
		 unsigned char **content, uint64_t *length)
{
	uint64_t count = min_u64(event->length, limit);
	uint64_t end = event->offset + count;
	bool grows = event->op == FAULTY_WRITE || event->op == FAULTY_ZERO;

	if (event->op == FAULTY_TRUNCATE)
		return set_content_length(content, length, event->length);
	if (event->op == FAULTY_FLUSH || event->op == FAULTY_READ || !count)
		return 0;
	if (grows && end > *length &&
	    set_content_length(content, length, end) < 0)
		return -1;
	if (event->op == FAULTY_WRITE)
		memcpy(*content + event->offset, event->data, count);
	else if (event->offset < *length)
		memset(*content + event->offset, 0,
		       min_u64(count, *length - event->offset));
	return 0;
}

/* --- the plan ------------------------------------------------------------ */

static uint64_t count_calls(const struct faulty_storage *faulty, unsigned ops)
{
	uint64_t calls = 0;

	for (int op = 0; op < FAULTY_OPS; op++)
		if (ops & 1u << op)
			calls += faulty->calls[op];
	return calls;
}

/* Count a call; does the plan let it pass? */
static bool passes(struct faulty_storage *faulty, enum faulty_op op)
{
	const struct faulty_plan *plan = &faulty->plan;
	uint64_t calls;

	faulty->calls[op]++;
	if (!plan->nth || !(plan->ops & 1u << op))
		return true;
	calls = count_calls(faulty, plan->ops);
	return plan->sticky ? calls < plan->nth : calls != plan->nth;
}

static int planned_failure(struct faulty_storage *faulty, const char *what,
			   uint64_t offset, struct gild_error *err)
{
	fail(err, GILD_ERR_IO, faulty->plan.sys_errno,
	     "%s: planned failure of a %s at offset %ju", faulty->base.path,
	     what, (uintmax_t)offset);
	return error_at(err, offset);
}

/* --- the log ------------------------------------------------------------- */

static int append(struct faulty_storage *faulty,
		  const struct faulty_event *event)
{
	if (faulty->count == faulty->capacity) {
		size_t capacity = faulty->capacity ? 2 * faulty->capacity : 64;
		struct faulty_event *events =
			reallocarray(faulty->events, capacity, sizeof(*events));

		if (!events)
			return -1;
		faulty->events = events;
		faulty->capacity = capacity;
	}
	faulty->events[faulty->count++] = *event;
	return 0;
}

/* Apply and log. The event's data is the caller's; the log gets a copy. */
static int record(struct faulty_storage *faulty, struct faulty_event event,
		  struct gild_error *err)
{
	AUTO_FREE unsigned char *copy = NULL;

	if (event.op != FAULTY_FLUSH &&
	    !range_within(event.offset, event.length, max_length))
		return fail(err, GILD_ERR_IO, EFBIG, "%s: is full",
			    faulty->base.path);
	if (event.data) {
		copy = malloc(event.length + 1);
		if (!copy)
			return fail_nomem(err);
		memcpy(copy, event.data, event.length);
		event.data = copy;
	}
	if (faulty_apply(&event, SIZE_MAX, &faulty->content, &faulty->length) <
		    0 ||
	    append(faulty, &event) < 0)
		return fail_nomem(err);
	copy = NULL; /* the log's now */
	return 0;
}

/* --- storage_ops --------------------------------------------------------- */

static int faulty_read(struct storage *storage, void *buffer, size_t length,
		       uint64_t offset, size_t *done, struct gild_error *err)
{
	struct faulty_storage *faulty = faulty_of(storage);
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&faulty->lock);

	if (!passes(faulty, FAULTY_READ))
		return planned_failure(faulty, "read", offset, err);
	*done = 0;
	if (offset < faulty->length)
		*done = min_u64(length, faulty->length - offset);
	if (*done)
		memcpy(buffer, faulty->content + offset, *done);
	return 0;
}

static int faulty_write(struct storage *storage, const void *buffer,
			size_t length, uint64_t offset, struct gild_error *err)
{
	struct faulty_storage *faulty = faulty_of(storage);
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&faulty->lock);
	struct faulty_event event = {
		.op = FAULTY_WRITE,
		.offset = offset,
		.length = length,
	};
	bool passed = passes(faulty, FAULTY_WRITE);

	/* The event's pointer is not const; the data is only read. */
	memcpy(&event.data, &buffer, sizeof(buffer));
	if (!passed)
		event.length = min_u64(length, faulty->plan.torn);
	if (event.length && record(faulty, event, err) < 0)
		return -1;
	if (!passed)
		return planned_failure(faulty, "write", offset, err);
	return 0;
}

/* The calls without data. */
static int simple_call(struct storage *storage, enum faulty_op op,
		       const char *what, uint64_t offset, uint64_t length,
		       struct gild_error *err)
{
	struct faulty_storage *faulty = faulty_of(storage);
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&faulty->lock);
	struct faulty_event event = { op, offset, length, NULL };

	if (!passes(faulty, op))
		return planned_failure(faulty, what, offset, err);
	return record(faulty, event, err);
}

static int faulty_zero(struct storage *storage, uint64_t offset,
		       uint64_t length, bool keep, struct gild_error *err)
{
	(void)keep;
	return simple_call(storage, FAULTY_ZERO, "zero", offset, length, err);
}

static int faulty_discard(struct storage *storage, uint64_t offset,
			  uint64_t length, struct gild_error *err)
{
	return simple_call(storage, FAULTY_DISCARD, "discard", offset, length,
			   err);
}

static int faulty_truncate(struct storage *storage, uint64_t size,
			   bool allocate, struct gild_error *err)
{
	(void)allocate;
	return simple_call(storage, FAULTY_TRUNCATE, "truncate", 0, size, err);
}

static int faulty_flush(struct storage *storage, struct gild_error *err)
{
	return simple_call(storage, FAULTY_FLUSH, "flush", 0, 0, err);
}

static int faulty_size(struct storage *storage, uint64_t *size,
		       struct gild_error *err)
{
	struct faulty_storage *faulty = faulty_of(storage);
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&faulty->lock);

	(void)err;
	*size = faulty->length;
	return 0;
}

static void faulty_close(struct storage *storage)
{
	struct faulty_storage *faulty = faulty_of(storage);

	faulty_clear_log(storage);
	free(faulty->events);
	free(faulty->content);
	pthread_mutex_destroy(&faulty->lock);
}

static const struct storage_ops faulty_ops = {
	.name = "faulty",
	.read = faulty_read,
	.write = faulty_write,
	.zero = faulty_zero,
	.discard = faulty_discard,
	.flush = faulty_flush,
	.truncate = faulty_truncate,
	.size = faulty_size,
	.close = faulty_close,
};

/* --- for tests ----------------------------------------------------------- */

struct storage *faulty_new(const void *content, uint64_t length,
			   struct gild_error *err)
{
	struct faulty_storage *faulty = calloc(1, sizeof(*faulty));

	if (!faulty)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	pthread_mutex_init(&faulty->lock, NULL);
	if (storage_init(&faulty->base, &faulty_ops, "faulty", STORAGE_WRITE,
			 err) < 0 ||
	    set_content_length(&faulty->content, &faulty->length, length) < 0) {
		storage_close(&faulty->base);
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	}
	if (length)
		memcpy(faulty->content, content, length);
	return &faulty->base;
}

void faulty_set_plan(struct storage *storage, const struct faulty_plan *plan)
{
	struct faulty_storage *faulty = faulty_of(storage);

	faulty->plan = *plan;
	memset(faulty->calls, 0, sizeof(faulty->calls));
}

uint64_t faulty_calls(struct storage *storage, unsigned ops)
{
	return count_calls(faulty_of(storage), ops);
}

const struct faulty_event *faulty_log(struct storage *storage, size_t *count)
{
	*count = faulty_of(storage)->count;
	return faulty_of(storage)->events;
}

void faulty_clear_log(struct storage *storage)
{
	struct faulty_storage *faulty = faulty_of(storage);

	for (size_t i = 0; i < faulty->count; i++)
		free(faulty->events[i].data);
	faulty->count = 0;
}

const void *faulty_content(struct storage *storage, uint64_t *length)
{
	*length = faulty_of(storage)->length;
	return faulty_of(storage)->content;
}

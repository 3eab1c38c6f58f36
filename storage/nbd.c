/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NBD export as a storage.
 *
 * A libnbd handle is one connection, and serves one of our threads at a time;
 * a thread takes one that is free, or waits. Where the server vouches that
 * connections agree (multi-conn) there are several.
 *
 * What the server says of its blocks (base:allocation) comes for a long range
 * at a time and is kept until something is written.
 */
#include "storage/nbd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "storage/libnbd.h"
#include "util/bytes.h"
#include "util/cleanup.h"

enum {
	CONNECTIONS = 4,
	MAX_REQUEST = 32 << 20, /* bytes; what every server takes */
	MAX_STATUS = 1 << 30,	/* bytes asked about at once */
	MAX_RUNS = 64 << 10,	/* that are kept of an answer */
	STATUS_LASTS = 1,	/* seconds */
	DEFAULT_MINIMUM = 1,	/* bytes of a block */
	ALLOCATED_STATE = 0,
	ZERO_STATE = 2, /* LIBNBD_STATE_ZERO */
};

/* Neighbouring blocks of which the server says the same. */
struct run {
	uint64_t end; /* where the next begins */
	bool data;
};

struct nbd {
	struct storage storage; /* first */
	const struct libnbd *lib;
	uint64_t size;
	uint64_t minimum; /* bytes; what requests are multiples of */
	bool can_zero, can_trim, can_flush, has_status;

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t freed;
	struct nbd_handle *idle[CONNECTIONS]; /* the first idle_count */
	unsigned idle_count, count;

	/* What is known from status_start on. */
	uint64_t status_start;
	struct run *runs;
	size_t run_count;
	time_t status_time; /* seconds of the monotonic clock */
	uint64_t writes;    /* counted, so that an old answer is not kept */
};

static struct nbd *nbd_of(struct storage *storage)
{
	return (struct nbd *)storage;
}

/* --- connections ------------------------------------------------------ */

static struct nbd_handle *take(struct nbd *nbd)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&nbd->lock);

	while (!nbd->idle_count)
		pthread_cond_wait(&nbd->freed, &nbd->lock);
	return nbd->idle[--nbd->idle_count];
}

static void give(struct nbd *nbd, struct nbd_handle *handle)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&nbd->lock);

	nbd->idle[nbd->idle_count++] = handle;
	pthread_cond_signal(&nbd->freed);
}

/* "nbd:unix:PATH[:exportname=NAME]", "nbd:HOST:PORT[...]" */
static int connect_old(const struct libnbd *lib, struct nbd_handle *handle,
		       const char *name)
{
	AUTO_FREE char *text = strdup(name + strlen("nbd:"));
	char *export = text ? strstr(text, ":exportname=") : NULL, *port;

	if (!text)
		return -1;
	if (export) {
		*export = '\0';
		export += strlen(":exportname=");
		if (lib->nbd_set_export_name(handle, export) < 0)
			return -1;
	}
	if (!strncmp(text, "unix:", 5))
		return lib->nbd_connect_unix(handle, text + 5);
	port = strrchr(text, ':');
	if (port)
		*port++ = '\0';
	return lib->nbd_connect_tcp(handle, text, port ? port : "10809");
}

static struct nbd_handle *connect_one(const struct libnbd *lib,
				      const char *name, struct gild_error *err)
{
	struct nbd_handle *handle = lib->nbd_create();
	int result;

	if (!handle) {
		libnbd_fail(lib, name, err);
		return NULL;
	}
	lib->nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION);
	if (strstr(name, "://"))
		result = lib->nbd_connect_uri(handle, name);
	else
		result = connect_old(lib, handle, name);
	if (result == 0)
		return handle;
	libnbd_fail(lib, name, err);
	lib->nbd_close(handle);
	return NULL;
}

/* The first one has been made; others only help, so one that fails is none. */
static void connect_more(struct nbd *nbd, const char *name)
{
	if (nbd->lib->nbd_can_multi_conn(nbd->idle[0]) != 1)
		return;
	while (nbd->count < CONNECTIONS) {
		struct nbd_handle *handle = connect_one(nbd->lib, name, NULL);

		if (!handle)
			return;
		nbd->idle[nbd->count++] = handle;
		nbd->idle_count = nbd->count;
	}
}

/* --- requests --------------------------------------------------------- */

typedef int request_fn(struct nbd *nbd, struct nbd_handle *handle, void *buffer,
		       uint64_t length, uint64_t offset);

/* In pieces that every server takes, on one connection. */
static int request(struct nbd *nbd, request_fn *piece, const char *what,
		   void *buffer, uint64_t length, uint64_t offset,
		   struct gild_error *err)
{
	struct nbd_handle *handle = take(nbd);
	unsigned char *at = buffer;
	int result = 0;

	while (length && result == 0) {
		uint64_t part = min_u64(length, MAX_REQUEST);

		result = piece(nbd, handle, at, part, offset);
		at = at ? at + part : NULL;
		offset += part;
		length -= part;
	}
	if (result < 0)
		libnbd_fail(nbd->lib, what, err);
	give(nbd, handle);
	return result;
}

static int read_piece(struct nbd *nbd, struct nbd_handle *handle, void *buffer,
		      uint64_t length, uint64_t offset)
{
	return nbd->lib->nbd_pread(handle, buffer, length, offset, 0);
}

static int write_piece(struct nbd *nbd, struct nbd_handle *handle, void *buffer,
		       uint64_t length, uint64_t offset)
{
	return nbd->lib->nbd_pwrite(handle, buffer, length, offset, 0);
}

static int unmap_piece(struct nbd *nbd, struct nbd_handle *handle, void *buffer,
		       uint64_t length, uint64_t offset)
{
	(void)buffer;
	return nbd->lib->nbd_zero(handle, length, offset, 0);
}

static int zero_piece(struct nbd *nbd, struct nbd_handle *handle, void *buffer,
		      uint64_t length, uint64_t offset)
{
	(void)buffer;
	return nbd->lib->nbd_zero(handle, length, offset,
				  LIBNBD_CMD_FLAG_NO_HOLE);
}

static int trim_piece(struct nbd *nbd, struct nbd_handle *handle, void *buffer,
		      uint64_t length, uint64_t offset)
{
	(void)buffer;
	return nbd->lib->nbd_trim(handle, length, offset, 0);
}

static int flush_piece(struct nbd *nbd, struct nbd_handle *handle, void *buffer,
		       uint64_t length, uint64_t offset)
{
	(void)buffer;
	(void)length;
	(void)offset;
	return nbd->lib->nbd_flush(handle, 0);
}

static bool is_whole(const struct nbd *nbd, uint64_t length, uint64_t offset)
{
	return is_aligned(length, nbd->minimum) &&
	       is_aligned(offset, nbd->minimum);
}

/* A server with large blocks gives no part of one. */
static int read_widened(struct nbd *nbd, void *buffer, size_t length,
			uint64_t offset, struct gild_error *err)
{
	uint64_t start = round_down(offset, nbd->minimum);
	uint64_t end = round_up(offset + length, nbd->minimum);
	AUTO_FREE unsigned char *wide = malloc(end - start);

	if (!wide)
		return fail_nomem(err);
	if (request(nbd, read_piece, "reading", wide, end - start, start, err) <
	    0)
		return -1;
	memcpy(buffer, wide + (offset - start), length);
	return 0;
}

static int export_read(struct storage *storage, void *buffer, size_t length,
		       uint64_t offset, size_t *done, struct gild_error *err)
{
	struct nbd *nbd = nbd_of(storage);

	*done = 0;
	if (offset >= nbd->size)
		return 0;
	*done = (size_t)min_u64(length, nbd->size - offset);
	if (is_whole(nbd, *done, offset))
		return request(nbd, read_piece, "reading", buffer, *done,
			       offset, err);
	return read_widened(nbd, buffer, *done, offset, err);
}

/* What was known of blocks is so no more. */
static void forget_status(struct nbd *nbd)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&nbd->lock);

	nbd->run_count = 0;
	nbd->writes++;
}

/* May it be changed there? */
static int check_change(const struct nbd *nbd, uint64_t length, uint64_t offset,
			struct gild_error *err)
{
	if (!range_within(offset, length, nbd->size))
		return fail(err, GILD_ERR_RANGE, ENOSPC,
			    "the server's disk ends at %ju",
			    (uintmax_t)nbd->size);
	if (!is_whole(nbd, length, offset))
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "the server writes whole blocks of %ju bytes only",
			    (uintmax_t)nbd->minimum);
	return 0;
}

static int change(struct nbd *nbd, request_fn *piece, const char *what,
		  void *buffer, uint64_t length, uint64_t offset,
		  struct gild_error *err)
{
	int result;

	if (check_change(nbd, length, offset, err) < 0)
		return -1;
	result = request(nbd, piece, what, buffer, length, offset, err);
	forget_status(nbd);
	return result;
}

static int export_write(struct storage *storage, const void *buffer,
			size_t length, uint64_t offset, struct gild_error *err)
{
	return change(nbd_of(storage), write_piece, "writing",
		      (void *)(uintptr_t)buffer, length, offset, err);
}

static int export_zero(struct storage *storage, uint64_t offset,
		       uint64_t length, bool keep, struct gild_error *err)
{
	struct nbd *nbd = nbd_of(storage);

	if (!nbd->can_zero || !is_whole(nbd, length, offset))
		return 1;
	return change(nbd, keep ? zero_piece : unmap_piece, "writing zeros",
		      NULL, length, offset, err);
}

static int export_discard(struct storage *storage, uint64_t offset,
			  uint64_t length, struct gild_error *err)
{
	struct nbd *nbd = nbd_of(storage);

	if (!nbd->can_trim || !is_whole(nbd, length, offset))
		return 0;
	return change(nbd, trim_piece, "discarding", NULL, length, offset, err);
}

static int export_flush(struct storage *storage, struct gild_error *err)
{
	struct nbd *nbd = nbd_of(storage);

	if (!nbd->can_flush)
		return 0;
	return request(nbd, flush_piece, "flushing", NULL, 1, 0, err);
}

static int export_size(struct storage *storage, uint64_t *size,
		       struct gild_error *err)
{
	(void)err;
	*size = nbd_of(storage)->size;
	return 0;
}

/* A disk is as large as the server says. */
static int export_truncate(struct storage *storage, uint64_t size,
			   bool allocate, struct gild_error *err)
{
	const struct nbd *nbd = nbd_of(storage);

	(void)allocate;
	if (size <= nbd->size)
		return 0;
	return fail(err, GILD_ERR_RANGE, ENOSPC,
		    "the server's disk ends at %ju", (uintmax_t)nbd->size);
}

/* --- block status ----------------------------------------------------- */

/* An answer under construction. */
struct answer {
	uint64_t end;
	struct run *runs;
	size_t count;
	bool failed;
};

static void append(struct answer *answer, uint64_t length, bool data)
{
	struct run *last = answer->count ? &answer->runs[answer->count - 1] :
					   NULL;

	answer->end += length;
	if (last && last->data == data)
		last->end = answer->end;
	else if (answer->count < MAX_RUNS)
		answer->runs[answer->count++] =
			(struct run){ answer->end, data };
	else
		answer->failed = true; /* the rest is asked for again */
}

/* libnbd's callback: pairs of length and state. */
static int note_status(void *opaque, const char *context, uint64_t offset,
		       uint32_t *entries, size_t count, int *error)
{
	struct answer *answer = opaque;

	(void)offset;
	(void)error;
	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
		return 0;
	for (size_t i = 0; i + 1 < count && !answer->failed; i += 2)
		if (entries[i])
			append(answer, entries[i],
			       !(entries[i + 1] & ZERO_STATE));
	return 0;
}

static int ask(struct nbd *nbd, uint64_t offset, struct answer *answer,
	       struct gild_error *err)
{
	uint64_t start = round_down(offset, nbd->minimum);
	uint64_t length = min_u64(MAX_STATUS, nbd->size - start);
	nbd_extent_callback callback = { .callback = note_status,
					 .user_data = answer };
	struct nbd_handle *handle = take(nbd);
	int result;

	answer->end = start;
	result = nbd->lib->nbd_block_status(handle, length, start, callback, 0);
	if (result < 0)
		libnbd_fail(nbd->lib, "asking for block status", err);
	give(nbd, handle);
	return result;
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* In what is known: true, with the run that has the offset. */
static bool look_up(struct nbd *nbd, uint64_t offset, bool *data, uint64_t *end)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&nbd->lock);
	size_t low = 0, high = nbd->run_count;

	/* Others may write, too. */
	if (!high || now() > nbd->status_time + STATUS_LASTS ||
	    offset < nbd->status_start || offset >= nbd->runs[high - 1].end)
		return false;
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (nbd->runs[middle].end <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	*data = nbd->runs[low].data;
	*end = min_u64(nbd->runs[low].end, nbd->size);
	return true;
}

static void keep(struct nbd *nbd, uint64_t start, uint64_t writes,
		 struct answer *answer)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&nbd->lock);

	if (nbd->writes != writes)
		return;
	free(nbd->runs);
	nbd->runs = steal_ptr(answer->runs);
	nbd->run_count = answer->count;
	nbd->status_start = start;
	nbd->status_time = now();
}

static uint64_t count_writes(struct nbd *nbd)
{
	AUTO_UNLOCK pthread_mutex_t *held = lock_mutex(&nbd->lock);

	return nbd->writes;
}

static int export_extent(struct storage *storage, uint64_t offset, bool *data,
			 uint64_t *end, struct gild_error *err)
{
	struct nbd *nbd = nbd_of(storage);
	struct answer answer = { .count = 0 };
	uint64_t writes;

	*data = true;
	*end = nbd->size;
	if (!nbd->has_status || look_up(nbd, offset, data, end))
		return 0;
	writes = count_writes(nbd);
	answer.runs = malloc(MAX_RUNS * sizeof(*answer.runs));
	if (!answer.runs)
		return fail_nomem(err);
	if (ask(nbd, offset, &answer, err) < 0) {
		free(answer.runs);
		return -1;
	}
	/* A server that says nothing says data. */
	if (answer.count && answer.runs[0].end > offset) {
		*data = answer.runs[0].data;
		*end = min_u64(answer.runs[0].end, nbd->size);
		keep(nbd, round_down(offset, nbd->minimum), writes, &answer);
	}
	free(answer.runs);
	return 0;
}

/* --- opening and closing ---------------------------------------------- */

static void export_close(struct storage *storage)
{
	struct nbd *nbd = nbd_of(storage);

	for (unsigned i = 0; i < nbd->idle_count; i++) {
		nbd->lib->nbd_shutdown(nbd->idle[i], 0);
		nbd->lib->nbd_close(nbd->idle[i]);
	}
	free(nbd->runs);
	pthread_mutex_destroy(&nbd->lock);
	pthread_cond_destroy(&nbd->freed);
}

static const struct storage_ops nbd_ops = {
	.name = "nbd",
	.read = export_read,
	.write = export_write,
	.zero = export_zero,
	.discard = export_discard,
	.flush = export_flush,
	.truncate = export_truncate,
	.size = export_size,
	.extent = export_extent,
	.close = export_close,
};

/* What the server can, as the first connection tells. */
static int learn(struct nbd *nbd, unsigned flags, struct gild_error *err)
{
	const struct libnbd *lib = nbd->lib;
	struct nbd_handle *handle = nbd->idle[0];
	int64_t size = lib->nbd_get_size(handle);
	int64_t minimum = lib->nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);

	if (size < 0)
		return libnbd_fail(lib, "its size", err);
	if (flags & STORAGE_WRITE && lib->nbd_is_read_only(handle) != 0)
		return fail(err, GILD_ERR_DENIED, EROFS,
			    "the server lets it be read only");
	nbd->size = (uint64_t)size;
	nbd->minimum = minimum > 0 && is_power_of_2((uint64_t)minimum) ?
			       (uint64_t)minimum :
			       DEFAULT_MINIMUM;
	nbd->can_zero = lib->nbd_can_zero(handle) == 1;
	nbd->can_trim = lib->nbd_can_trim(handle) == 1;
	nbd->can_flush = lib->nbd_can_flush(handle) == 1;
	nbd->has_status = lib->nbd_can_meta_context(
				  handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
	return 0;
}

bool storage_is_nbd(const char *name)
{
	static const char *const prefixes[] = { "nbd:", "nbds://",
						"nbd+unix://", "nbds+unix://" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

struct storage *storage_nbd_open(const char *name, unsigned flags,
				 struct gild_error *err)
{
	const struct libnbd *lib = libnbd_load(err);
	struct nbd *nbd = lib ? calloc(1, sizeof(*nbd)) : NULL;

	if (!lib)
		return NULL;
	if (!nbd)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	nbd->lib = lib;
	nbd->idle[0] = connect_one(lib, name, err);
	if (!nbd->idle[0]) {
		free(nbd);
		return NULL;
	}
	nbd->count = nbd->idle_count = 1;
	pthread_mutex_init(&nbd->lock, NULL);
	pthread_cond_init(&nbd->freed, NULL);
	if (learn(nbd, flags, err) < 0 ||
	    storage_init(&nbd->storage, &nbd_ops, name, flags, err) < 0) {
		error_prefix(err, "%s: ", name);
		export_close(&nbd->storage);
		free(nbd);
		return NULL;
	}
	connect_more(nbd, name);
	return &nbd->storage;
}

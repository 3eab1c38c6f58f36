/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gild bench: so many reads or writes of one size, several at a time, and the
 * time they take. Threads, each with one request under way, take the requests
 * in order; a flush is made between two rounds of them, or with --no-drain by
 * the thread whose request's turn it is.
 */
#include "tools/cli.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/json.h"

enum {
	MOST_THREADS = 256,
	ALIGNMENT = 4096, /* of buffers, so that -t none goes by the cache */
};

struct arguments {
	struct open_arguments open;
	uint64_t count, depth, flush_interval, offset, size, step, pattern;
	const char *aio;
	bool write, no_drain, native, quiet, json;
};

#define NUMBER_ROW(letter, name, argument, member, help)         \
	{                                                        \
		letter, name, argument, OPTION_SIZE,             \
			offsetof(struct arguments, member), help \
	}

static const struct option_row rows[] = {
	NUMBER_ROW('c', "count", "N", count, "requests in all (75000)"),
	NUMBER_ROW('d', "depth", "N", depth, "requests at a time (64)"),
	NUMBER_ROW('s', "buffer-size", "SIZE", size, "of a request (4k)"),
	NUMBER_ROW('S', "step-size", "SIZE", step,
		   "from one request to the next (as -s)"),
	NUMBER_ROW('o', "offset", "SIZE", offset, "of the first request (0)"),
	FLAG_ROW('w', "write", struct arguments, write, "write, do not read"),
	NUMBER_ROW(0, "pattern", "VALUE", pattern, "to write (0)"),
	NUMBER_ROW(0, "flush-interval", "N", flush_interval,
		   "flush after so many writes"),
	FLAG_ROW(0, "no-drain", struct arguments, no_drain,
		 "let writes go on while that flush is made"),
	STRING_ROW('i', "aio", "NAME", struct arguments, aio,
		   "accepted for qemu-img's sake, without effect"),
	FLAG_ROW('n', "native", struct arguments, native,
		 "accepted for qemu-img's sake, without effect"),
	CACHE_ROW('t', "cache", struct arguments, open.cache,
		  "how the host caches"),
	SOURCE_ROWS(struct arguments, open),
	SHARE_ROW(struct arguments, open),
	OUTPUT_ROW(struct arguments, json),
	QUIET_ROW(struct arguments, quiet),
	LAST_ROW,
};

/* ---------------------------------------------------------- the requests -- */

struct round {
	const struct arguments *arguments;
	struct gild_image *image;
	unsigned char **buffers; /* one for each thread */
	_Atomic uint64_t next;	 /* request */
	uint64_t end;		 /* of this round */
	pthread_mutex_t lock;	 /* protects failed, error */
	bool failed;
	struct gild_error error;
};

struct thread {
	struct round *round;
	unsigned char *buffer;
	pthread_t id;
};

static void give_up(struct round *round, const struct gild_error *err)
{
	pthread_mutex_lock(&round->lock);
	if (!round->failed)
		round->error = *err;
	round->failed = true;
	pthread_mutex_unlock(&round->lock);
	atomic_store(&round->next, round->end);
}

/* Requests go round: after the first one, which may lie anywhere. */
static uint64_t offset_of(const struct round *round, uint64_t n)
{
	const struct arguments *arguments = round->arguments;
	uint64_t size = gild_size(round->image);
	uint64_t offset = arguments->offset + n * arguments->step;

	return n && size ? offset % size : offset;
}

/* Is a flush due before this request? */
static bool is_flush_due(const struct arguments *arguments, uint64_t n)
{
	return arguments->flush_interval && n &&
	       (arguments->count - n) % arguments->flush_interval == 0;
}

static int request(struct round *round, unsigned char *buffer, uint64_t n,
		   struct gild_error *err)
{
	const struct arguments *arguments = round->arguments;

	if (!arguments->write)
		return gild_read(round->image, buffer, arguments->size,
				 offset_of(round, n), err);
	if (arguments->no_drain && is_flush_due(arguments, n) &&
	    gild_flush(round->image, err) < 0)
		return -1;
	return gild_write(round->image, buffer, arguments->size,
			  offset_of(round, n), err);
}

static void *work_on(void *argument)
{
	struct thread *thread = argument;
	struct round *round = thread->round;
	struct gild_error err;
	uint64_t n;

	while ((n = atomic_fetch_add(&round->next, 1)) < round->end) {
		if (request(round, thread->buffer, n, &err) == 0)
			continue;
		give_up(round, &err);
		break;
	}
	return NULL;
}

/* Requests [from, end), by so many threads. */
static int run_round(struct round *round, unsigned threads, uint64_t from,
		     uint64_t end, struct gild_error *err)
{
	struct thread all[MOST_THREADS];
	unsigned started = 0;

	atomic_store(&round->next, from);
	round->end = end;
	for (; started < threads && started < end - from; started++) {
		all[started] = (struct thread){
			.round = round,
			.buffer = round->buffers[started],
		};
		if (started && pthread_create(&all[started].id, NULL, work_on,
					      &all[started]))
			break; /* fewer do, too */
	}
	if (started)
		work_on(&all[0]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(all[i].id, NULL);
	if (!round->failed)
		return 0;
	*err = round->error;
	return -1;
}

/* Where the round that begins at from ends: at the end, or at a flush. */
static uint64_t round_end(const struct arguments *arguments, uint64_t from)
{
	uint64_t interval = arguments->flush_interval;
	uint64_t past;

	if (!interval || arguments->no_drain)
		return arguments->count;
	past = (arguments->count - from) % interval;
	return from + (past ? past : interval);
}

static int run_rounds(struct round *round, unsigned threads,
		      struct gild_error *err)
{
	const struct arguments *arguments = round->arguments;
	uint64_t end;

	for (uint64_t from = 0; from < arguments->count; from = end) {
		end = round_end(arguments, from);
		if (run_round(round, threads, from, end, err) < 0)
			return -1;
		if (end < arguments->count && gild_flush(round->image, err) < 0)
			return -1;
	}
	return 0;
}

/* --------------------------------------------------------------- buffers -- */

static void free_buffers(unsigned char **buffers, unsigned count)
{
	for (unsigned i = 0; buffers && i < count; i++)
		free(buffers[i]);
	free(buffers);
}

static unsigned char *new_buffer(const struct arguments *arguments)
{
	uint64_t room =
		(arguments->size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	unsigned char *buffer = aligned_alloc(ALIGNMENT, room);

	if (buffer)
		memset(buffer, (int)arguments->pattern, room);
	return buffer;
}

static unsigned char **new_buffers(const struct arguments *arguments,
				   unsigned count)
{
	unsigned char **buffers = calloc(count, sizeof(*buffers));

	for (unsigned i = 0; buffers && i < count; i++) {
		buffers[i] = new_buffer(arguments);
		if (!buffers[i]) {
			free_buffers(buffers, count);
			return NULL;
		}
	}
	return buffers;
}

/* ------------------------------------------------------------- reporting -- */

static void announce(const struct arguments *arguments)
{
	printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, "
	       "%" PRIu64 " in parallel (starting at offset %" PRIu64
	       ", step size %" PRIu64 ")\n",
	       arguments->count, arguments->write ? "write" : "read",
	       arguments->size, arguments->depth, arguments->offset,
	       arguments->step);
	if (arguments->flush_interval)
		printf("Sending flush every %" PRIu64 " requests\n",
		       arguments->flush_interval);
	fflush(stdout);
}

static int print_json(const struct arguments *arguments, double seconds,
		      struct gild_error *err)
{
	json_t *json = json_object();

	json_put_number(json, "requests", arguments->count);
	json_put_number(json, "buffer-size", arguments->size);
	json_put_number(json, "depth", arguments->depth);
	json_put_number(json, "nanoseconds", (uint64_t)(seconds * 1e9));
	return json_print(json, err);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ----------------------------------------------------------------- verb -- */

static int measure(struct round *round, unsigned threads,
		   struct gild_error *err)
{
	const struct arguments *arguments = round->arguments;
	/* qemu-img's -q does not reach so far. */
	bool says = !arguments->json && (!arguments->quiet || is_qemu_img());
	double start = now(), seconds;

	if (says)
		announce(arguments);
	if (run_rounds(round, threads, err) < 0)
		return qemu_prefix(err, "Failed request: ");
	seconds = now() - start;
	if (says)
		printf("Run completed in %3.3f seconds.\n", seconds);
	return arguments->json ? print_json(arguments, seconds, err) : 0;
}

static int bench(const struct arguments *arguments, struct gild_image *image,
		 struct gild_error *err)
{
	unsigned threads = arguments->depth < MOST_THREADS ?
				   (unsigned)arguments->depth :
				   MOST_THREADS;
	struct round round = { .arguments = arguments, .image = image };
	int ret;

	round.buffers = new_buffers(arguments, threads);
	if (!round.buffers)
		return tool_fail(err, "out of memory");
	pthread_mutex_init(&round.lock, NULL);
	ret = measure(&round, threads, err);
	pthread_mutex_destroy(&round.lock);
	free_buffers(round.buffers, threads);
	return ret;
}

static int check_number(const char *name, uint64_t number, uint64_t least,
			uint64_t most, struct gild_error *err)
{
	if (number >= least && number <= most)
		return 0;
	return tool_misuse(err,
			   "invalid %s: must be from %" PRIu64 " to %" PRIu64,
			   name, least, most);
}

static int check_numbers(struct arguments *arguments, struct gild_error *err)
{
	if (check_number("request count", arguments->count, 1, INT32_MAX, err) <
		    0 ||
	    check_number("queue depth", arguments->depth, 1, INT32_MAX, err) <
		    0 ||
	    check_number("buffer size", arguments->size, 1, INT32_MAX, err) <
		    0 ||
	    check_number("step size", arguments->step, 0, INT32_MAX, err) < 0 ||
	    check_number("flush interval", arguments->flush_interval, 0,
			 INT32_MAX, err) < 0)
		return -1;
	if (!arguments->step)
		arguments->step = arguments->size;
	return check_number("pattern byte", arguments->pattern, 0, 255, err);
}

static int check_arguments(struct arguments *arguments, struct gild_error *err)
{
	static const char *const names[] = { "threads", "native", "io_uring" };
	bool known = !arguments->aio;

	for (size_t i = 0; i < 3 && !known; i++)
		known = !strcmp(arguments->aio, names[i]);
	if (!known)
		return tool_misuse(err,
				   "-i takes threads, native or io_uring, "
				   "not '%s'",
				   arguments->aio);
	if (check_numbers(arguments, err) < 0)
		return -1;
	if (arguments->flush_interval && !arguments->write)
		return tool_misuse(err, "--flush-interval needs -w");
	if (arguments->flush_interval &&
	    arguments->flush_interval < arguments->depth)
		return tool_misuse(err, "the flush interval can't be smaller "
					"than the depth");
	if (arguments->write && arguments->open.share)
		return tool_misuse(err, "-U is for reading only");
	return 0;
}

static int work(struct arguments *arguments, const struct operands *operands,
		struct gild_error *err)
{
	struct gild_image *image;

	if (check_arguments(arguments, err) < 0)
		return 1;
	if (operands->count != 1)
		return tool_misuse(err, "the name of one image is needed"), 1;
	image = open_image(&arguments->open, operands->items[0],
			   arguments->write ? GILD_OPEN_WRITE : 0, err);
	if (!image)
		return 1;
	return close_image(image, bench(arguments, image, err) < 0, err);
}

static int run(const struct verb *verb, int argc, char **argv,
	       struct gild_error *err)
{
	struct arguments arguments = {
		.count = 75000,
		.depth = 64,
		.size = 4096,
	};
	struct operands operands;
	enum parse_result parsed =
		options_parse(verb, argc, argv, &arguments, &operands, err);

	if (parsed != PARSE_GO)
		return parsed == PARSE_FAILED;
	return work(&arguments, &operands, err);
}

const struct verb verb_bench = {
	.name = "bench",
	.summary = "time reads or writes of an image",
	.operands = "FILE",
	.details = "Requests follow each other, and begin anew at the end of "
		   "the disk.\n-w OVERWRITES what the image holds.\n",
	.example = "  gild bench -f qcow2 -c 100000 -d 8 disk.qcow2\n",
	.rows = rows,
	.run = run,
};

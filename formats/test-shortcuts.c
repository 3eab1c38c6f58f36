/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Long chains: what is read through shortcuts is what a model of the layers
 * says, the first time and afterwards, by one thread or many; and who knows
 * nothing is not asked again.
 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "formats/image.h"
#include "storage/test-folder.h"
#include "tests/lib/disk.h"
#include "tests/lib/model.h"
#include "util/bytes.h"

TestSuite(shortcuts, .timeout = 300, .init = folder_enter,
	  .fini = folder_leave);

#define KiB 1024ULL
#define ROOM (2048 * KiB)

static const struct gild_policy paths = { .follow = GILD_FOLLOW_PATHS };

/* What the top of a chain holds. */
struct model_disk {
	unsigned char *bytes; /* ROOM */
	uint64_t size;
	unsigned layers;
	bool coarse; /* clusters are large */
	uint64_t random;
};

static void name_of(char name[static 32], unsigned layer)
{
	snprintf(name, 32, "%u.%s", layer, layer ? "qcow2" : "raw");
}

/* The first layer above the raw one has no backing file. */
static bool bottomless;

static void create(unsigned layer, uint64_t size, const char *cluster_size,
		   const char *extended_l2)
{
	char name[32], backing[32];
	struct gild_option options[] = { { "cluster_size", cluster_size },
					 { "extended_l2", extended_l2 } };
	struct gild_create_options create = {
		.format = "qcow2",
		.size = size,
		.backing = layer == 1 && bottomless ? NULL : backing,
		.backing_format = layer == 1 && bottomless ? NULL :
				  layer == 1		   ? "raw" :
							     "qcow2",
		.options = options,
		.option_count = 2,
		.policy = paths,
	};
	struct gild_error err = { 0 };

	name_of(name, layer);
	name_of(backing, layer - 1);
	cr_assert_eq(gild_create(name, &create, &err), 0, "%s", err.message);
}

static struct image *open_layer(unsigned layer, unsigned flags)
{
	struct gild_open_options options = { .format = layer ? "qcow2" : "raw",
					     .flags = flags,
					     .policy = paths };
	struct gild_error err = { 0 };
	struct gild_image *image;
	char name[32];

	name_of(name, layer);
	image = gild_open(name, &options, &err);
	cr_assert_not_null(image, "%s", err.message);
	return (struct image *)image;
}

static void close_it(struct image *image)
{
	struct gild_error err = { 0 };

	cr_assert_eq(gild_close((struct gild_image *)image, &err), 0, "%s",
		     err.message);
}

/* --- random chains -------------------------------------------------------- */

static uint64_t pick(struct model_disk *model, uint64_t below)
{
	return random_next(&model->random) % below;
}

static void change(struct model_disk *model, struct image *image)
{
	static const enum op_kind kinds[] = { OP_WRITE, OP_WRITE, OP_COMPRESS,
					      OP_ZERO, OP_ZERO_UNMAP };
	uint64_t cluster = image->cluster_size;
	struct op op = { .kind = kinds[pick(model, 5)],
			 .seed = 2 + (uint32_t)pick(model, 1000) };
	struct gild_error err = { 0 };

	op.offset = pick(model, model->size);
	op.length =
		1 + pick(model, min_u64(100 * KiB, model->size - op.offset));
	if (op.kind == OP_COMPRESS) {
		op.offset = round_down(op.offset, cluster);
		op.length = min_u64(cluster, model->size - op.offset);
	}
	cr_assert_eq(op_run(image, &op, &err), 0, "%s: %s", op_text(&op),
		     err.message);
	if (op.kind == OP_WRITE || op.kind == OP_COMPRESS)
		op_fill(model->bytes + op.offset, op.offset, op.length,
			op.seed);
	else
		memset(model->bytes + op.offset, 0, op.length);
}

static void add_layer(struct model_disk *model, unsigned layer)
{
	static const char *const clusters[] = { "512", "4k", "16k", "64k" };
	/* Units are as large as the smallest one's. */
	unsigned least = model->coarse ? 2 : 0;
	unsigned cluster = least + (unsigned)pick(model, 4 - least);
	uint64_t size = ROOM / 2 + pick(model, ROOM / 2 / SECTOR) * SECTOR;
	struct image *image;

	create(layer, size, clusters[cluster],
	       cluster >= 2 && !pick(model, 4) ? "on" : "off");
	if (size < model->size)
		memset(model->bytes + size, 0, ROOM - size);
	model->size = size;
	image = open_layer(layer, GILD_OPEN_WRITE);
	for (uint64_t i = pick(model, 8); i; i--)
		change(model, image);
	close_it(image);
}

static struct model_disk make_chain(unsigned layers, uint64_t seed)
{
	struct model_disk model = {
		.bytes = calloc(1, ROOM),
		.layers = layers,
		.coarse = seed % 2,
		.random = seed,
	};

	model.size = ROOM / 2 + pick(&model, 1000) * SECTOR;
	/* Below all there is data, or nothing. */
	make_file("0.raw", model.size, seed % 3 ? 'r' : 0);
	memset(model.bytes, seed % 3 ? 'r' : 0, model.size);
	bottomless = seed % 3 == 0;
	for (unsigned i = 1; i < layers; i++)
		add_layer(&model, i);
	return model;
}

static void read_some(const struct model_disk *model, struct image *image,
		      uint64_t *random, unsigned char *buffer)
{
	uint64_t offset = random_next(random) % model->size;
	uint64_t length = random_next(random) % (200 * KiB);
	struct gild_error err = { 0 };

	length = min_u64(length, model->size - offset);
	if (image_read(image, buffer, length, offset, &err) < 0 ||
	    memcmp(buffer, model->bytes + offset, length)) {
		fprintf(stderr, "%llu bytes at %llu: %s\n",
			(unsigned long long)length, (unsigned long long)offset,
			err.message);
		abort();
	}
}

static void read_often(const struct model_disk *model, struct image *image,
		       uint64_t random)
{
	unsigned char *buffer = malloc(200 * KiB);

	for (int i = 0; i < 150; i++)
		read_some(model, image, &random, buffer);
	free(buffer);
}

static void read_whole(const struct model_disk *model, struct image *image)
{
	unsigned char *buffer = malloc(ROOM);

	cr_assert_eq(image->size, model->size);
	cr_assert_eq(image_read(image, buffer, model->size, 0, NULL), 0);
	cr_assert_arr_eq(buffer, model->bytes, model->size);
	free(buffer);
}

static unsigned seeds(void)
{
	static const unsigned counts[] = { 8, 20, 300 };

	return counts[test_level()];
}

Test(shortcuts, any_chain_reads_as_its_layers_say)
{
	for (unsigned seed = 1; seed <= seeds(); seed++) {
		struct model_disk model = make_chain(3 + seed % 11, seed);
		struct image *top = open_layer(model.layers - 1, 0);

		read_often(&model, top, seed);
		read_often(&model, top, seed + 1);
		read_whole(&model, top);
		close_it(top);
		free(model.bytes);
	}
}

/* What the top says goes before what is known of the layers below. */
Test(shortcuts, the_top_is_written_meanwhile)
{
	struct model_disk model = make_chain(7, 77);
	struct image *top = open_layer(model.layers - 1, GILD_OPEN_WRITE);

	for (unsigned i = 0; i < 12; i++) {
		read_often(&model, top, i);
		change(&model, top);
	}
	read_whole(&model, top);
	close_it(top);
	free(model.bytes);
}

/* Committing changes a layer in the middle of an open chain. */
Test(shortcuts, a_layer_in_the_middle_is_written)
{
	for (unsigned base = 1; base < 6; base++) {
		struct model_disk model = make_chain(8, base);
		struct image *top = open_layer(7, GILD_OPEN_WRITE);
		struct gild_commit_options options = { .keep = true };
		struct gild_error err = { 0 };
		char name[32];

		name_of(name, base);
		options.base = name;
		read_often(&model, top, base);
		cr_assert_eq(gild_commit((struct gild_image *)top, &options,
					 NULL, &err),
			     0, "%s", err.message);
		cr_assert_null(atomic_load(&top->shortcuts));
		read_often(&model, top, base);
		read_whole(&model, top);
		cr_assert_null(atomic_load(&top->shortcuts));
		close_it(top);
		top = open_layer(7, 0);
		read_often(&model, top, base);
		close_it(top);
		free(model.bytes);
	}
}

/* --- many threads --------------------------------------------------------- */

struct reader {
	const struct model_disk *model;
	struct image *image;
	uint64_t random;
	pthread_t thread;
};

static void *read_in_thread(void *arg)
{
	struct reader *reader = arg;

	read_often(reader->model, reader->image, reader->random);
	return NULL;
}

Test(shortcuts, many_threads_find_and_learn)
{
	struct model_disk model = make_chain(9, 9);
	struct image *top = open_layer(8, 0);
	struct reader readers[6];

	for (unsigned i = 0; i < 6; i++) {
		readers[i] = (struct reader){ &model, top, i, 0 };
		cr_assert_eq(pthread_create(&readers[i].thread, NULL,
					    read_in_thread, &readers[i]),
			     0);
	}
	for (unsigned i = 0; i < 6; i++)
		pthread_join(readers[i].thread, NULL);
	cr_assert_not_null(atomic_load(&top->shortcuts));
	close_it(top);
	free(model.bytes);
}

/* --- who is asked --------------------------------------------------------- */

static _Atomic unsigned asked;
static struct format_ops counting;
static int (*real_map)(struct image *image, uint64_t offset, uint64_t length,
		       struct extent *extent, struct gild_error *err);

static int count_map(struct image *image, uint64_t offset, uint64_t length,
		     struct extent *extent, struct gild_error *err)
{
	asked++;
	return real_map(image, offset, length, extent, err);
}

/* Count what the layers between the top and the last one are asked. */
static void watch(struct image *top)
{
	counting = *top->ops;
	real_map = counting.map;
	counting.map = count_map;
	for (struct image *i = top->backing; i->backing; i = i->backing)
		i->ops = &counting;
}

Test(shortcuts, who_says_nothing_is_not_asked_again)
{
	unsigned char *buffer = malloc(ROOM);
	struct image *top;

	make_file("0.raw", ROOM, 'r');
	for (unsigned i = 1; i < 200; i++)
		create(i, ROOM, i % 2 ? "4k" : "64k", "off");
	top = open_layer(199, 0);
	watch(top);
	cr_assert_eq(image_read(top, buffer, ROOM, 0, NULL), 0);
	cr_assert_geq(asked, 198);
	cr_assert_lt(asked, 3000, "as many as that for each extent?");
	asked = 0;
	memset(buffer, 0, ROOM);
	cr_assert_eq(image_read(top, buffer, ROOM, 0, NULL), 0);
	cr_assert(buffer[0] == 'r' && !memcmp(buffer, buffer + 1, ROOM - 1));
	cr_assert_eq(asked, 0);
	/* Small reads learn of their whole unit. */
	close_it(top);
	top = open_layer(199, 0);
	watch(top);
	cr_assert_eq(image_read(top, buffer, 1, 5000, NULL), 0);
	cr_assert_gt(asked, 0);
	asked = 0;
	cr_assert_eq(image_read(top, buffer, 4096, 4096, NULL), 0);
	cr_assert_eq(asked, 0);
	close_it(top);
	free(buffer);
}

/* Neither is anybody where all say nothing. */
Test(shortcuts, nobody_is_asked_what_nobody_says)
{
	unsigned char *buffer = malloc(ROOM);
	struct gild_extent extent;
	struct image *top;

	bottomless = true;
	for (unsigned i = 1; i < 10; i++)
		create(i, i % 3 ? ROOM : ROOM - 512, "4k", "off");
	top = open_layer(9, 0);
	watch(top);
	for (struct image *i = top->backing; i; i = i->backing)
		i->ops = &counting;
	cr_assert_eq(image_read(top, buffer, ROOM - 4096, 0, NULL), 0);
	asked = 0;
	memset(buffer, 1, ROOM);
	cr_assert_eq(image_read(top, buffer, ROOM - 4096, 0, NULL), 0);
	cr_assert(!buffer[0] && !memcmp(buffer, buffer + 1, ROOM - 4097));
	cr_assert_eq(asked, 0);
	cr_assert_eq(gild_map((struct gild_image *)top, 0, ROOM - 4096, &extent,
			      NULL),
		     0);
	cr_assert(extent.zero && !extent.present && !extent.data);
	cr_assert_eq(extent.depth, 8);
	close_it(top);
	free(buffer);
}

/* A file that was not opened may say something. */
Test(shortcuts, what_was_not_opened_is_not_zeros)
{
	struct image *layers[3];
	struct gild_error err;
	char bytes[4096];

	make_file("0.raw", ROOM, 'r');
	for (unsigned i = 1; i < 4; i++)
		create(i, ROOM, "4k", "off");
	for (unsigned i = 0; i < 3; i++)
		layers[i] = open_layer(3 - i, GILD_OPEN_NO_BACKING);
	layers[0]->backing = layers[1];
	layers[1]->backing = layers[2];
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(image_read(layers[0], bytes, 4096, 0, &err), -1);
		cr_assert_eq(err.kind, GILD_ERR_DENIED);
	}
	close_it(layers[0]);
}

/* With one layer below there is nothing to skip. */
Test(shortcuts, short_chains_have_none)
{
	struct model_disk model = make_chain(2, 3);
	struct image *top = open_layer(1, 0);

	read_often(&model, top, 1);
	cr_assert_null(atomic_load(&top->shortcuts));
	close_it(top);
	free(model.bytes);
}

/* Units whose words are at the same place of the table, in turn. */
Test(shortcuts, a_large_disk_shares_words)
{
	const uint64_t size = 6ULL << 30, step = 2ULL << 30;
	struct image *image;
	char byte;

	make_file("0.raw", SECTOR, 'r');
	for (unsigned i = 1; i < 4; i++) {
		create(i, size, "512", "off");
		image = open_layer(i, GILD_OPEN_WRITE);
		byte = (char)('0' + i);
		/* Layer 3, the top, has something elsewhere. */
		cr_assert_eq(image_write(image, &byte, 1,
					 i == 3 ? size - 1 : i * step, NULL),
			     0);
		close_it(image);
	}
	image = open_layer(3, 0);
	for (unsigned turn = 0; turn < 3; turn++)
		for (unsigned i = 0; i < 3; i++) {
			cr_assert_eq(
				image_read(image, &byte, 1, i * step, NULL), 0);
			cr_assert_eq(byte, i ? (int)('0' + i) : 'r');
		}
	close_it(image);
}

/* What is broken beside a read does not disturb it, and is told, again and
 * again, where it is read. */
Test(shortcuts, a_broken_layer_is_named)
{
	struct image *image;
	struct gild_error err;
	unsigned char word[8];
	char bytes[4096];
	uint64_t l1, l2;
	int fd;

	make_file("0.raw", ROOM, 'r');
	for (unsigned i = 1; i < 5; i++)
		create(i, ROOM, "4k", "off");
	image = open_layer(2, GILD_OPEN_WRITE);
	cr_assert_eq(image_write(image, "x", 1, 8192, NULL), 0);
	close_it(image);
	fd = open("2.qcow2", O_RDWR | O_CLOEXEC);
	cr_assert_eq(pread(fd, word, 8, 40), 8);
	l1 = load_be64(word);
	cr_assert_eq(pread(fd, word, 8, (off_t)l1), 8);
	l2 = load_be64(word) & 0x00fffffffffffe00ULL;
	/* Not aligned. */
	cr_assert_eq(pwrite(fd, "\x80\0\0\0\0\0\x12\0", 8, (off_t)l2 + 16), 8);
	close(fd);

	image = open_layer(4, 0);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(image_read(image, bytes, 4096, 4096, &err), 0);
		cr_assert_eq(bytes[4095], 'r');
		cr_assert_eq(image_read(image, bytes, 1, 8192 + 100, &err), -1);
		cr_assert_eq(err.kind, GILD_ERR_CORRUPT);
		cr_assert(strstr(err.message, "2.qcow2"), "%s", err.message);
		cr_assert_eq(image_read(image, bytes, 4096, 12288, &err), 0);
	}
	close_it(image);
}

/* --- without memory ------------------------------------------------------- */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

extern void *__libc_calloc(size_t count, size_t size);
static bool refuse_large;

__attribute__((visibility("default"))) void *calloc(size_t count, size_t size)
{
	if (refuse_large && count == ROOM / 512)
		return NULL;
	return __libc_calloc(count, size);
}

Test(shortcuts, memory_that_is_not_there_is_not_needed)
{
	struct image *top;
	char byte;

	make_file("0.raw", ROOM, 'r');
	for (unsigned i = 1; i < 4; i++)
		create(i, ROOM, "512", "off");
	top = open_layer(3, 0);
	refuse_large = true;
	cr_assert_eq(image_read(top, &byte, 1, 1000, NULL), 0);
	cr_assert_eq(byte, 'r');
	cr_assert_null(atomic_load(&top->shortcuts));
	refuse_large = false;
	cr_assert_eq(image_read(top, &byte, 1, 1000, NULL), 0);
	cr_assert_not_null(atomic_load(&top->shortcuts));
	close_it(top);
}

#endif

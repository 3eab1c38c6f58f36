/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Encrypted disks, through the public interface: written in pieces of any size
 * by many threads, read back, and never as plain bytes in the file. What
 * qemu-img says to them is in tests/test-encryption.sh.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <pthread.h>

#include "gild.h"
#include "storage/test-folder.h"
#include "util/bytes.h"

TestSuite(encryption, .init = folder_enter, .fini = folder_leave,
	  .timeout = 120);

enum {
	SIZE = 1 << 20
};

static const struct gild_secret secrets[] = { { "one", "first", 5 },
					      { "two", "second", 6 } };

/* How an image is made. */
struct kind {
	char format[8], name[16], way[8], more[2][2][32];
};

static struct kind kinds[] = {
	{ "luks", "a.luks", "", { { "" } } },
	{ "qcow2", "a.qcow2", "luks", { { "" } } },
	{ "qcow2", "a.qcow2", "aes", { { "" } } },
	{ "qcow2", "a.qcow2", "luks", { { "cluster_size", "512" } } },
	{ "qcow2", "a.qcow2", "luks", { { "extended_l2", "on" } } },
	{ "qcow2", "a.qcow2", "luks", { { "data_file", "a.data" } } },
	{ "qcow2", "a.qcow2", "aes", { { "preallocation", "metadata" } } },
	{ "qcow2",
	  "a.qcow2",
	  "luks",
	  { { "preallocation", "metadata" }, { "refcount_bits", "1" } } },
	{ "qcow2", "a.qcow2", "luks", { { "compat", "0.10" } } },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int create(const struct kind *kind, const char *backing,
		  const char *backing_format, const char *id,
		  struct gild_error *err)
{
	bool qcow2 = strcmp(kind->format, "qcow2") == 0;
	struct gild_option options[5];
	struct gild_create_options how = {
		.format = kind->format,
		.size = SIZE,
		.backing = backing,
		.backing_format = backing_format,
		.options = options,
		.policy = { .follow = GILD_FOLLOW_PATHS,
			    .secrets = secrets,
			    .secret_count = 2 },
	};
	size_t n = 0;

	options[n++] = (struct gild_option){ qcow2 ? "encrypt.key-secret" :
						     "key-secret",
					     id };
	if (qcow2)
		options[n++] =
			(struct gild_option){ "encrypt.format", kind->way };
	if (strcmp(kind->way, "aes") != 0)
		options[n++] = (struct gild_option){
			qcow2 ? "encrypt.iter-time" : "iter-time", "1"
		};
	for (int i = 0; i < 2 && kind->more[i][0][0]; i++)
		options[n++] = (struct gild_option){ kind->more[i][0],
						     kind->more[i][1] };
	how.option_count = n;
	return gild_create(kind->name, &how, err);
}

static void create_ok(const struct kind *kind)
{
	struct gild_error err = { 0 };

	cr_assert_eq(create(kind, NULL, NULL, "one", &err), 0, "%s",
		     err.message);
}

/* With the secrets from first on, count of them. */
static struct gild_image *open_with(const char *name, const char *id,
				    const struct gild_secret *first,
				    size_t count, unsigned flags,
				    struct gild_error *err)
{
	struct gild_open_options how = {
		.flags = flags,
		.policy = { .follow = GILD_FOLLOW_PATHS,
			    .secrets = first,
			    .secret_count = count },
		.key_secret = id,
	};

	return gild_open(name, &how, err);
}

static struct gild_image *open_ok(const struct kind *kind)
{
	struct gild_error err = { 0 };
	struct gild_image *image =
		open_with(kind->name, "one", secrets, 2, GILD_OPEN_WRITE, &err);

	cr_assert_not_null(image, "%s", err.message);
	return image;
}

static void close_ok(struct gild_image *image)
{
	struct gild_error err = { 0 };

	cr_assert_eq(gild_close(image, &err), 0, "%s", err.message);
}

static void write_ok(struct gild_image *image, const unsigned char *model,
		     uint64_t length, uint64_t offset)
{
	struct gild_error err = { 0 };

	cr_assert_eq(gild_write(image, model + offset, length, offset, &err), 0,
		     "%s", err.message);
}

static void expect_model(struct gild_image *image, const unsigned char *model,
			 uint64_t length, uint64_t offset)
{
	static unsigned char bytes[SIZE];
	struct gild_error err = { 0 };

	cr_assert_eq(gild_read(image, bytes, length, offset, &err), 0, "%s",
		     err.message);
	cr_expect_eq(memcmp(bytes, model + offset, length), 0,
		     "%ju bytes at %ju", (uintmax_t)length, (uintmax_t)offset);
}

static void zero_ok(struct gild_image *image, unsigned char *model,
		    uint64_t length, uint64_t offset, unsigned flags)
{
	struct gild_error err = { 0 };

	cr_assert_eq(gild_zero(image, offset, length, flags, &err), 0, "%s",
		     err.message);
	memset(model + offset, 0, length);
}

/* The same number every time. */
static uint64_t random_below(uint64_t limit)
{
	static uint64_t state = 88172645463325252ULL;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % limit;
}

static bool file_holds(const char *name, const void *what, size_t length)
{
	uint64_t size = file_length(name);
	unsigned char *bytes = malloc(size);
	FILE *file = fopen(name, "r");
	bool found;

	cr_assert(file && fread(bytes, 1, size, file) == size);
	fclose(file);
	found = memmem(bytes, size, what, length);
	free(bytes);
	return found;
}

ParameterizedTestParameters(encryption, reads_what_was_written)
{
	return cr_make_param_array(struct kind, kinds, KINDS);
}

ParameterizedTest(struct kind *kind, encryption, reads_what_was_written)
{
	static unsigned char model[SIZE], fill[SIZE];
	struct gild_image *image;

	create_ok(kind);
	image = open_ok(kind);
	/* Of a fresh luks image nothing is known. */
	if (kind->way[0])
		expect_model(image, model, SIZE, 0);
	write_ok(image, model, SIZE, 0);
	memset(fill, 0x5a, sizeof(fill));
	for (int i = 0; i < 60; i++) {
		uint64_t offset = random_below(SIZE);
		uint64_t length = random_below(SIZE - offset) >>
				  random_below(16);

		if (random_below(4) == 0) {
			zero_ok(image, model, length, offset,
				random_below(2) ? GILD_ZERO_UNMAP : 0);
		} else {
			memset(model + offset, 0x5a, length);
			write_ok(image, model, length, offset);
		}
		expect_model(image, model, SIZE, 0);
	}
	for (int i = 0; i < 40; i++) {
		uint64_t offset = random_below(SIZE);

		expect_model(image, model, random_below(SIZE - offset), offset);
	}
	close_ok(image);
	image = open_ok(kind);
	expect_model(image, model, SIZE, 0);
	close_ok(image);
	cr_expect_not(file_holds(kind->name, fill, 64));
	if (strcmp(kind->more[0][0], "data_file") == 0)
		cr_expect_not(file_holds("a.data", fill, 64));
}

/* --- threads -------------------------------------------------------------- */

struct writer {
	struct gild_image *image;
	unsigned number;
	bool failed;
};

/* Every eighth stretch of 100 bytes is this thread's: sectors are shared. */
static void *write_stretches(void *arg)
{
	struct writer *writer = arg;
	unsigned char bytes[100];

	memset(bytes, (int)writer->number + 1, sizeof(bytes));
	for (uint64_t at = writer->number * 100; at + 100 <= 65536 * 3;
	     at += 800)
		if (gild_write(writer->image, bytes, 100, at, NULL) < 0)
			writer->failed = true;
	return NULL;
}

ParameterizedTestParameters(encryption, threads_share_sectors)
{
	return cr_make_param_array(struct kind, kinds, 3);
}

ParameterizedTest(struct kind *kind, encryption, threads_share_sectors)
{
	struct writer writers[8];
	pthread_t threads[8];
	unsigned char bytes[100];
	struct gild_image *image;

	create_ok(kind);
	image = open_ok(kind);
	for (unsigned i = 0; i < 8; i++) {
		writers[i] = (struct writer){ .image = image, .number = i };
		pthread_create(&threads[i], NULL, write_stretches, &writers[i]);
	}
	for (unsigned i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		cr_expect_not(writers[i].failed);
	}
	for (uint64_t at = 0; at + 100 <= 65536 * 3; at += 100) {
		cr_assert_eq(gild_read(image, bytes, 100, at, NULL), 0);
		for (int i = 0; i < 100; i++)
			cr_assert_eq(bytes[i], at / 100 % 8 + 1, "at %ju",
				     (uintmax_t)at);
	}
	close_ok(image);
}

/* --- secrets -------------------------------------------------------------- */

static void expect_denied(const char *name, const char *id,
			  const struct gild_secret *first, size_t count,
			  const char *says)
{
	struct gild_error err = { 0 };

	cr_expect_null(open_with(name, id, first, count, 0, &err));
	cr_expect_eq(err.kind, GILD_ERR_DENIED);
	cr_expect(strstr(err.message, says), "%s", err.message);
	cr_expect(strstr(err.message, name), "%s", err.message);
}

Test(encryption, without_the_right_secret_nothing_opens)
{
	struct gild_error err = { 0 };
	struct gild_image *image;

	for (int i = 0; i < 2; i++) {
		create_ok(&kinds[i]);
		expect_denied(kinds[i].name, NULL, NULL, 0, "no secret");
		expect_denied(kinds[i].name, NULL, secrets + 1, 1,
			      "wrong passphrase");
		expect_denied(kinds[i].name, "two", secrets, 2,
			      "wrong passphrase");
		expect_denied(kinds[i].name, "nobody", secrets, 2, "nobody");
		image = open_with(kinds[i].name, NULL, secrets, 2, 0, &err);
		cr_expect_not_null(image, "%s", err.message);
		cr_expect_str_eq(gild_encryption(image), "luks");
		gild_close(image, NULL);
	}
}

/* Nothing tells a right key of the old method from a wrong one. */
Test(encryption, old_aes_wants_one_secret)
{
	struct gild_image *image;

	create_ok(&kinds[2]);
	expect_denied("a.qcow2", NULL, secrets, 2, "which of the 2 secrets");
	image = open_ok(&kinds[2]);
	cr_expect_str_eq(gild_encryption(image), "aes");
	close_ok(image);
}

Test(encryption, without_a_secret_nothing_is_made)
{
	struct gild_error err = { 0 };

	for (int i = 0; i < 3; i++) {
		cr_expect_eq(create(&kinds[i], NULL, NULL, "nobody", &err), -1);
		cr_expect_eq(err.kind, GILD_ERR_DENIED, "%s", err.message);
		cr_expect_eq(file_length(kinds[i].name), UINT64_MAX);
	}
}

Test(encryption, locked_images_show_their_structure)
{
	static unsigned char model[SIZE];
	struct gild_error err = { 0 };
	struct gild_extent extent;
	struct gild_image *image;

	create_ok(&kinds[1]);
	image = open_ok(&kinds[1]);
	memset(model, 7, sizeof(model));
	write_ok(image, model, 65536, 65536);
	close_ok(image);
	image = open_with("a.qcow2", NULL, NULL, 0,
			  GILD_OPEN_WRITE | GILD_OPEN_LOCKED, &err);
	cr_assert_not_null(image, "%s", err.message);
	cr_assert_eq(gild_map(image, 65536, 65536, &extent, NULL), 0);
	cr_expect(extent.data);
	/* There is nothing to be seen at a place in the file. */
	cr_expect_not(extent.has_offset);
	cr_expect_eq(gild_snapshot_create(image, "s", &err), 0, "%s",
		     err.message);
	/* zeros need no key where nothing is stored */
	cr_expect_eq(gild_read(image, model, 65536, 0, &err), 0);
	cr_expect_eq(gild_read(image, model, 512, 65536, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_DENIED);
	cr_expect_eq(gild_write(image, model, 512, 65536, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_DENIED);
	cr_expect_eq(gild_write(image, model, 512, 0, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_DENIED);
	cr_expect_eq(gild_write_compressed(image, model, 65536, 0, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_UNSUPPORTED);
	close_ok(image);
	image = open_ok(&kinds[1]);
	memset(model, 7, sizeof(model));
	expect_model(image, model, 65536, 65536);
	close_ok(image);
}

/* --- chains, snapshots ---------------------------------------------------- */

Test(encryption, each_layer_has_its_own_secret)
{
	struct kind base = kinds[1], middle = kinds[1], top = kinds[1];
	static unsigned char model[SIZE];
	struct gild_error err = { 0 };
	struct gild_image *image;

	strcpy(base.name, "base.qcow2");
	strcpy(middle.name, "middle.qcow2");
	cr_assert_eq(create(&base, NULL, NULL, "two", &err), 0);
	image = open_with("base.qcow2", NULL, secrets + 1, 1, GILD_OPEN_WRITE,
			  &err);
	cr_assert_not_null(image, "%s", err.message);
	memset(model, 1, sizeof(model));
	write_ok(image, model, SIZE, 0);
	close_ok(image);
	cr_assert_eq(create(&middle, "base.qcow2", "qcow2", "one", &err), 0,
		     "%s", err.message);
	cr_assert_eq(create(&top, "middle.qcow2", "qcow2", "two", &err), 0,
		     "%s", err.message);
	image = open_with("a.qcow2", NULL, secrets, 2, GILD_OPEN_WRITE, &err);
	cr_assert_not_null(image, "%s", err.message);
	memset(model + 70000, 2, 100);
	write_ok(image, model, 100, 70000);
	expect_model(image, model, SIZE, 0);
	close_ok(image);
	image = open_with("a.qcow2", NULL, secrets + 1, 1, 0, &err);
	cr_expect_null(image);
	cr_expect_eq(err.kind, GILD_ERR_DENIED);
	cr_expect(strstr(err.message, "middle.qcow2: wrong"), "%s",
		  err.message);
}

Test(encryption, a_snapshot_keeps_what_was)
{
	static unsigned char old[SIZE], model[SIZE];
	struct gild_open_options how = {
		.policy = { .secrets = secrets, .secret_count = 1 },
		.snapshot = "s",
	};
	struct gild_error err = { 0 };
	struct gild_image *image;

	for (int i = 1; i < 3; i++) {
		create_ok(&kinds[i]);
		image = open_ok(&kinds[i]);
		memset(old, 1, sizeof(old));
		memcpy(model, old, sizeof(model));
		write_ok(image, old, SIZE, 0);
		cr_assert_eq(gild_snapshot_create(image, "s", &err), 0);
		memset(model + 1000, 2, 300000);
		write_ok(image, model, 300000, 1000);
		expect_model(image, model, SIZE, 0);
		close_ok(image);
		image = gild_open("a.qcow2", &how, &err);
		cr_assert_not_null(image, "%s", err.message);
		expect_model(image, old, SIZE, 0);
		close_ok(image);
		image = open_ok(&kinds[i]);
		expect_model(image, model, SIZE, 0);
		cr_assert_eq(gild_snapshot_apply(image, "s", &err), 0);
		expect_model(image, old, SIZE, 0);
		close_ok(image);
	}
}

/* --- jobs ----------------------------------------------------------------- */

/* From one kind to another, and the same disk. */
struct way {
	int from, to;
};

static struct way ways[] = { { 0, 1 },	{ 1, 0 },  { 1, 2 },  { 2, 4 },
			     { 1, -1 }, { -1, 0 }, { -1, 5 }, { -1, 7 } };

ParameterizedTestParameters(encryption, converts)
{
	return cr_make_param_array(struct way, ways,
				   sizeof(ways) / sizeof(ways[0]));
}

static const struct kind plain = { "raw", "a.raw", "", { { "" } } };

static void convert_ok(const struct kind *from, const struct kind *to)
{
	bool qcow2 = strcmp(to->format, "qcow2") == 0;
	struct gild_option options[4] = {
		{ qcow2 ? "encrypt.key-secret" : "key-secret", "two" },
	};
	size_t n = 1;
	struct gild_error err = { 0 };
	struct gild_image *source = open_with(
		from->name, from == &plain ? NULL : "one", secrets, 2, 0, &err);
	struct gild_convert_options how = {
		.sources = &source,
		.source_count = 1,
		.target = "target",
		.format = to->format,
		.options = options,
		.sparse_size = GILD_SPARSE_DEFAULT,
		.policy = { .follow = GILD_FOLLOW_PATHS,
			    .secrets = secrets,
			    .secret_count = 2 },
	};

	cr_assert_not_null(source, "%s", err.message);
	if (strcmp(to->way, "aes") != 0)
		options[n++] = (struct gild_option){
			qcow2 ? "encrypt.iter-time" : "iter-time", "1"
		};
	if (qcow2)
		options[n++] =
			(struct gild_option){ "encrypt.format", to->way };
	if (to->more[0][0][0])
		options[n++] =
			(struct gild_option){ to->more[0][0], to->more[0][1] };
	how.option_count = to == &plain ? 0 : n;
	cr_assert_eq(gild_convert(&how, NULL, &err), 0, "%s", err.message);
	close_ok(source);
}

ParameterizedTest(struct way *way, encryption, converts)
{
	const struct kind *from = way->from < 0 ? &plain : &kinds[way->from];
	const struct kind *to = way->to < 0 ? &plain : &kinds[way->to];
	struct gild_open_options how = {
		.format = to->format,
		.policy = { .follow = GILD_FOLLOW_PATHS,
			    .secrets = secrets + 1,
			    .secret_count = 1 },
	};
	static unsigned char model[SIZE];
	struct gild_error err = { 0 };
	struct gild_image *image;

	if (from == &plain)
		make_file("a.raw", SIZE, 0);
	else
		create_ok(from);
	image = from == &plain ? open_with("a.raw", NULL, NULL, 0,
					   GILD_OPEN_WRITE, &err) :
				 open_ok(from);
	memset(model + 5000, 3, 100000);
	memset(model + 400000, 4, 3);
	write_ok(image, model, SIZE, 0);
	close_ok(image);
	convert_ok(from, to);
	image = gild_open("target", &how, &err);
	cr_assert_not_null(image, "%s", err.message);
	expect_model(image, model, SIZE, 0);
	close_ok(image);
}

Test(encryption, compression_is_refused)
{
	const struct gild_option options[] = { { "encrypt.format", "luks" } };
	struct gild_error err = { 0 };
	struct gild_image *source;
	struct gild_convert_options how = {
		.sources = &source,
		.source_count = 1,
		.target = "target",
		.format = "qcow2",
		.options = options,
		.option_count = 1,
		.compress = true,
		.policy = { .secrets = secrets, .secret_count = 1 },
	};

	make_file("a.raw", SIZE, 1);
	source = open_with("a.raw", NULL, NULL, 0, 0, &err);
	cr_assert_not_null(source);
	cr_expect_eq(gild_convert(&how, NULL, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_UNSUPPORTED);
	cr_expect_eq(file_length("target"), UINT64_MAX);
	close_ok(source);
}

Test(encryption, commits_into_an_encrypted_base)
{
	struct kind base = kinds[1], top = kinds[1];
	const struct gild_commit_options how = { .workers = 1 };
	static unsigned char model[SIZE];
	struct gild_error err = { 0 };
	struct gild_image *image;

	strcpy(base.name, "base.qcow2");
	cr_assert_eq(create(&base, NULL, NULL, "two", &err), 0);
	cr_assert_eq(create(&top, "base.qcow2", "qcow2", "one", &err), 0);
	image = open_with("a.qcow2", "one", secrets, 2, GILD_OPEN_WRITE, &err);
	cr_assert_not_null(image, "%s", err.message);
	memset(model + 1234, 9, 200000);
	write_ok(image, model, 200000, 1234);
	cr_assert_eq(gild_commit(image, &how, NULL, &err), 0, "%s",
		     err.message);
	close_ok(image);
	image = open_with("base.qcow2", "two", secrets, 2, 0, &err);
	cr_assert_not_null(image, "%s", err.message);
	expect_model(image, model, SIZE, 0);
	close_ok(image);
}

Test(encryption, clones_have_keys_of_their_own)
{
	const char *names[] = { "b.qcow2", "c.qcow2" };
	const struct gild_option options[] = { { "encrypt.format", "luks" },
					       { "encrypt.iter-time", "1" } };
	const struct gild_clone_options how = {
		.options = options,
		.option_count = 2,
		.no_sync = true,
		.policy = { .follow = GILD_FOLLOW_PATHS,
			    .secrets = secrets,
			    .secret_count = 1 },
	};
	unsigned char headers[2][592];
	struct gild_error err = { 0 };

	create_ok(&kinds[1]);
	cr_assert_eq(gild_clone("a.qcow2", names, 2, &how, &err), 0, "%s",
		     err.message);
	for (int i = 0; i < 2; i++) {
		FILE *file = fopen(names[i], "r");

		cr_assert_not_null(file);
		fseek(file, 4 * 65536, SEEK_SET);
		cr_assert_eq(fread(headers[i], 592, 1, file), 1);
		fclose(file);
		cr_expect_arr_eq(headers[i], "LUKS", 4);
	}
	cr_expect_neq(memcmp(headers[0] + 112, headers[1] + 112, 20), 0);
}

/* --- bad input ------------------------------------------------------------ */

static void overwrite(const char *name, uint64_t offset, uint64_t value,
		      unsigned length)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);
	unsigned char bytes[8];

	store_be64(bytes, value << (64 - 8 * length));
	cr_assert_eq(pwrite(fd, bytes, length, (off_t)offset), length);
	close(fd);
}

static void expect_refused(const char *name, enum gild_error_kind kind,
			   const char *says)
{
	struct gild_error err = { 0 };
	struct gild_image *image = open_with(name, NULL, secrets, 1, 0, &err);

	cr_expect_null(image);
	cr_expect_eq(err.kind, kind, "%s", err.message);
	cr_expect(strstr(err.message, says), "%s", err.message);
}

Test(encryption, damaged_headers_are_named)
{
	create_ok(&kinds[1]);
	/* crypto header's offset and length, in the extension at 112 */
	overwrite("a.qcow2", 120, 0x40001, 8);
	expect_refused("a.qcow2", GILD_ERR_CORRUPT, "encryption header");
	overwrite("a.qcow2", 120, 0x30000, 8);
	expect_refused("a.qcow2", GILD_ERR_CORRUPT, "no LUKS header");
	overwrite("a.qcow2", 120, 0x40000, 8);
	overwrite("a.qcow2", 128, 591, 8);
	expect_refused("a.qcow2", GILD_ERR_CORRUPT, "no room");
	overwrite("a.qcow2", 128, 100000, 8);
	expect_refused("a.qcow2", GILD_ERR_CORRUPT, "outside");
	overwrite("a.qcow2", 128, UINT64_MAX, 8);
	expect_refused("a.qcow2", GILD_ERR_CORRUPT, "ends beyond");
	overwrite("a.qcow2", 128, 2068480, 8);
	overwrite("a.qcow2", 24, 1000, 8);
	expect_refused("a.qcow2", GILD_ERR_CORRUPT, "1000 bytes");
}

Test(encryption, damaged_luks_files_are_named)
{
	create_ok(&kinds[0]);
	overwrite("a.luks", 104, 0, 4);
	expect_refused("a.luks", GILD_ERR_UNSUPPORTED, "another file");
	overwrite("a.luks", 104, 0xffffffff, 4);
	expect_refused("a.luks", GILD_ERR_CORRUPT, "before the encrypted");
	overwrite("a.luks", 104, 100, 4);
	expect_refused("a.luks", GILD_ERR_CORRUPT, "outside");
	overwrite("a.luks", 6, 2, 2);
	expect_refused("a.luks", GILD_ERR_UNSUPPORTED, "version 2");
	cr_assert_eq(truncate("a.luks", 100), 0);
	expect_refused("a.luks", GILD_ERR_CORRUPT, "no room");
}

Test(encryption, options_that_make_no_sense)
{
	static const char *const lists[][2][2] = {
		{ { "encrypt.format", "des" }, { NULL, NULL } },
		{ { "encrypt.key-secret", "one" }, { NULL, NULL } },
		{ { "encrypt.format", "aes" }, { "encrypt.hash-alg", "sha1" } },
		{ { "encrypt.format", "luks" }, { "encryption", "on" } },
		{ { "encryption", "on" }, { "encrypt.cipher-mode", "xts" } },
	};
	struct gild_create_options how = {
		.format = "qcow2",
		.size = SIZE,
		.policy = { .secrets = secrets, .secret_count = 1 },
	};
	struct gild_option options[2];
	struct gild_error err = { 0 };

	how.options = options;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		how.option_count = lists[i][1][0] ? 2 : 1;
		for (int j = 0; j < 2; j++)
			options[j] = (struct gild_option){ lists[i][j][0],
							   lists[i][j][1] };
		cr_expect_eq(gild_create("x.qcow2", &how, &err), -1);
		cr_expect_eq(err.kind, GILD_ERR_INVALID, "%s", err.message);
		cr_expect(strstr(err.message, "encrypt"), "%s", err.message);
	}
}

Test(encryption, what_cannot_be_both_is_refused)
{
	struct kind kind = kinds[1];
	struct gild_error err = { 0 };

	strcpy(kind.more[0][0], "data_file");
	strcpy(kind.more[0][1], "x.raw");
	strcpy(kind.more[1][0], "data_file_raw");
	strcpy(kind.more[1][1], "on");
	cr_expect_eq(create(&kind, NULL, NULL, "one", &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_INVALID);
	strcpy(kind.more[0][0], "compat");
	strcpy(kind.more[0][1], "0.10");
	strcpy(kind.more[1][0], "preallocation");
	strcpy(kind.more[1][1], "metadata");
	cr_expect_eq(create(&kind, NULL, NULL, "one", &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_INVALID);
}

Test(encryption, sizes_are_whole_sectors)
{
	struct gild_error err = { 0 };

	for (int i = 0; i < 2; i++) {
		struct gild_image *image;

		create_ok(&kinds[i]);
		image = open_ok(&kinds[i]);
		cr_expect_eq(gild_resize(image, SIZE + 100, &err), -1);
		cr_expect_eq(err.kind, GILD_ERR_INVALID);
		cr_expect_eq(gild_resize(image, SIZE + 1024, &err), 0, "%s",
			     err.message);
		cr_expect_eq(gild_size(image), SIZE + 1024);
		close_ok(image);
	}
}

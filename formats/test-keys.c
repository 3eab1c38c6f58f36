/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Key slots that change, and a power failure at every point of it: in each
 * state that may be left, torn writes included, the header is sound, whoever is
 * to keep the image opens it, and a slot that is marked as in use opens by one
 * of the secrets.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/crypto/secrets.h"
#include "formats/image.h"
#include "storage/faulty.h"
#include "util/bytes.h"

TestSuite(keys, .timeout = 300);

enum {
	SIZE = 4096
};

static const struct gild_secret secrets[] = { { "one", "first", 5 },
					      { "two", "second", 6 },
					      { "new", "third", 5 } };

#define ADD(id, number)            \
	((struct gild_key_change){ \
		.secret = id, .slot = number, .milliseconds = 1 })
#define REMOVE(id, number)         \
	((struct gild_key_change){ \
		.secret = id, .slot = number, .remove = true })

/* How an image is made. */
struct kind {
	const char *format;
	struct gild_option options[4];
};

static const struct kind luks = {
	"luks",
	{ { "iter-time", "1" }, { "key-secret", "one" } },
};
static const struct kind qcow2 = {
	"qcow2",
	{ { "encrypt.iter-time", "1" },
	  { "encrypt.key-secret", "one" },
	  { "encrypt.format", "luks" },
	  { "lazy_refcounts", "on" } },
};
static const struct kind old = {
	"qcow2",
	{ { "encrypt.format", "aes" }, { "encrypt.key-secret", "one" } },
};

static struct storage *create_as(const struct kind *kind)
{
	const struct gild_create_options how = {
		.format = kind->format,
		.size = SIZE,
		.options = kind->options,
		.option_count = kind->options[2].name ? 4 : 2,
		.policy = { .secrets = secrets, .secret_count = 3 },
	};
	struct storage *storage = faulty_new(NULL, 0, NULL);
	struct gild_error err = { 0 };

	cr_assert_eq(
		registry_find(kind->format)->create(storage, &how, NULL, &err),
		0, "%s", err.message);
	return storage;
}

static struct storage *create(void)
{
	return create_as(&luks);
}

static struct image *try_open(struct storage *storage, const char *id,
			      unsigned flags, struct gild_error *err)
{
	struct gild_open_options options = {
		.format = "luks",
		.flags = flags,
		.policy = { .secrets = secrets, .secret_count = 3 },
		.key_secret = id,
	};
	unsigned char magic[4];

	storage_read(storage, magic, 4, 0, NULL);
	if (!memcmp(magic, "QFI\xfb", 4))
		options.format = "qcow2";
	return image_open_storage(storage, &options, err);
}

static struct image *open_ok(struct storage *storage, const char *id)
{
	struct gild_error err = { 0 };
	struct image *image = try_open(storage, id, GILD_OPEN_WRITE, &err);

	cr_assert_not_null(image, "%s", err.message);
	return image;
}

static bool opens(const void *content, uint64_t length, const char *id)
{
	struct image *image =
		try_open(faulty_new(content, length, NULL), id, 0, NULL);

	image_free(image);
	return image != NULL;
}

static void change_ok(struct image *image, struct gild_key_change change)
{
	struct gild_error err = { 0 };

	cr_assert_eq(image_change_key(image, &change, &err), 0, "%s",
		     err.message);
}

/* --- states --------------------------------------------------------------- */

/* A change, and what comes before it. */
struct change {
	const char *name;
	int full; /* slots up to this one are in use before */
	struct gild_key_change change;
	const char *stays; /* who opens the image all the time, or NULL */
	bool either;	   /* "one" or "new" does */
	const char *opener;
};

/* In use by: 0 "one", others "two". */
static const struct change changes[] = {
	{ "add", 0, { .secret = "new", .slot = -1 }, "one", false, "one" },
	{ "add across a sector",
	  0,
	  { .secret = "new", .slot = 6 },
	  "one",
	  false,
	  "one" },
	{ "remove", 1, { .slot = 0, .remove = true }, "two", false, "two" },
	{ "remove by secret",
	  3,
	  { .secret = "two", .slot = -1, .remove = true },
	  "one",
	  false,
	  "one" },
	{ "remove across a sector",
	  6,
	  { .slot = 6, .remove = true },
	  "one",
	  false,
	  "two" },
	{ "replace the only one",
	  0,
	  { .secret = "new", .slot = 0, .force = true },
	  NULL,
	  true,
	  "one" },
	{ "replace one of two",
	  1,
	  { .secret = "new", .slot = 0, .force = true },
	  "two",
	  true,
	  "one" },
	{ "replace one of eight",
	  7,
	  { .secret = "new", .slot = 0, .force = true },
	  "two",
	  false,
	  "two" },
};

#define CHANGES (sizeof(changes) / sizeof(changes[0]))

/* Does each slot that is marked as in use open by one of the secrets? */
static void judge_slots(const struct change *c, const void *content,
			uint64_t length)
{
	struct luks_area area = { .storage = faulty_new(content, length, NULL),
				  .length = length - SIZE };
	struct gild_error err = { 0 };
	struct luks_header header;
	struct luks_key key;
	int got;

	cr_assert(luks_read(&area, &header, &err) == 0 &&
			  luks_check(&header, area.length, &err) == 0,
		  "%s: %s", c->name, err.message);
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		if (!header.slots[i].active)
			continue;
		got = 0;
		/* the likeliest one first: it takes its time */
		for (unsigned j = 0; j < 3 && !got; j++)
			got = luks_try(&area, &header, i,
				       &secrets[(j + (i > 0)) % 3], &key, &err);
		cr_assert_eq(got, 1, "%s: slot %u is dead", c->name, i);
	}
	storage_close(area.storage);
}

static void judge(const struct change *c, const void *content, uint64_t length)
{
	judge_slots(c, content, length);
	if (c->stays)
		cr_assert(opens(content, length, c->stays), "%s: locked out",
			  c->name);
	if (c->either)
		cr_assert(opens(content, length, "one") ||
				  opens(content, length, "new"),
			  "%s: nobody opens it", c->name);
}

static void apply(const struct faulty_event *event, size_t limit,
		  unsigned char **content, uint64_t *length)
{
	cr_assert_eq(faulty_apply(event, limit, content, length), 0);
}

/* Before each write, and with it torn at borders of sectors. */
static unsigned judge_all(const struct change *c, struct storage *storage,
			  unsigned char *content, uint64_t length)
{
	size_t count, first;
	const struct faulty_event *log = faulty_log(storage, &count);
	unsigned states = 0;

	for (size_t i = 0; i < count; i++) {
		if (log[i].op != FAULTY_WRITE)
			continue;
		first = 512 - log[i].offset % 512;
		for (size_t cut = 0; cut < log[i].length && cut <= first;
		     cut += first) {
			unsigned char *torn = malloc(length);
			uint64_t torn_length = length;

			memcpy(torn, content, length);
			apply(&log[i], cut, &torn, &torn_length);
			judge(c, torn, torn_length);
			free(torn);
			states++;
		}
		apply(&log[i], SIZE_MAX, &content, &length);
	}
	judge(c, content, length);
	free(content);
	return states;
}

static unsigned numbers[CHANGES];

ParameterizedTestParameters(keys, a_stopped_change_locks_nobody_out)
{
	for (unsigned i = 0; i < CHANGES; i++)
		numbers[i] = i;
	return cr_make_param_array(unsigned, numbers, CHANGES);
}

ParameterizedTest(unsigned *number, keys, a_stopped_change_locks_nobody_out)
{
	const struct change *c = &changes[*number];
	struct storage *storage = create();
	struct image *image = open_ok(storage, "one");
	struct gild_key_change change;
	unsigned char *content;
	uint64_t length;

	for (int i = 1; i <= c->full; i++)
		change_ok(image, ADD("two", i));
	faulty_content(storage, &length);
	content = malloc(length);
	memcpy(content, faulty_content(storage, &length), length);
	image_free(image);
	storage = faulty_new(content, length, NULL);
	image = open_ok(storage, c->opener);
	change = c->change;
	change.milliseconds = 1;
	change_ok(image, change);
	cr_assert_geq(judge_all(c, storage, content, length), 4);
	image_free(image);
}

/* --- the rest ------------------------------------------------------------- */

static void expect_failure(struct image *image, struct gild_key_change change,
			   enum gild_error_kind kind, const char *says)
{
	struct gild_error err = { 0 };

	cr_expect_eq(image_change_key(image, &change, &err), -1);
	cr_expect_eq(err.kind, kind, "%s", err.message);
	cr_expect(strstr(err.message, says), "%s", err.message);
}

static bool opens_now(struct storage *storage, const char *id)
{
	uint64_t length;
	const void *content = faulty_content(storage, &length);

	return opens(content, length, id);
}

static void come_and_go(const struct kind *kind)
{
	struct storage *storage = create_as(kind);
	struct image *image = open_ok(storage, "one");

	cr_expect_not(opens_now(storage, "two"));
	change_ok(image, ADD("two", 3));
	cr_expect(opens_now(storage, "two"));
	change_ok(image, ADD("two", -1));
	change_ok(image, REMOVE("one", -1));
	cr_expect_not(opens_now(storage, "one"));
	cr_expect(opens_now(storage, "two"));
	change_ok(image, REMOVE("two", 3));
	cr_expect(opens_now(storage, "two"));
	cr_expect_eq(gild_close((struct gild_image *)image, NULL), 0);
}

Test(keys, come_and_go)
{
	come_and_go(&luks);
	come_and_go(&qcow2);
}

Test(keys, the_last_one_stays_unless_forced)
{
	struct storage *storage = create_as(&qcow2);
	struct image *image = open_ok(storage, "one");
	struct gild_key_change drop = REMOVE("one", -1);

	expect_failure(image, drop, GILD_ERR_DENIED, "is the last one");
	expect_failure(image, REMOVE(NULL, 0), GILD_ERR_DENIED,
		       "is the last one");
	expect_failure(image, REMOVE(NULL, -1), GILD_ERR_INVALID, "named");
	expect_failure(image, REMOVE("two", -1), GILD_ERR_DENIED,
		       "opens no key slot");
	cr_expect(opens_now(storage, "one"));
	drop.force = true;
	change_ok(image, drop);
	cr_expect_not(opens_now(storage, "one"));
	image_free(image);
}

Test(keys, are_those_of_luks)
{
	struct image *image = open_ok(create_as(&old), "one");

	expect_failure(image, ADD("two", -1), GILD_ERR_UNSUPPORTED,
		       "no LUKS key slots");
	image_free(image);
	image = try_open(create(), "one", 0, NULL);
	expect_failure(image, ADD("two", -1), GILD_ERR_DENIED, "reading only");
	image_free(image);
}

Test(keys, what_is_refused)
{
	struct storage *storage = create();
	struct image *image = open_ok(storage, "one");

	expect_failure(image, ADD("new", 0), GILD_ERR_DENIED, "in use");
	expect_failure(image, ADD("new", 8), GILD_ERR_INVALID,
		       "no LUKS key slot 8");
	expect_failure(image, ADD("nobody", -1), GILD_ERR_DENIED, "nobody");
	expect_failure(image, ADD(NULL, 3), GILD_ERR_INVALID, "named");
	expect_failure(image, REMOVE("two", 0), GILD_ERR_DENIED,
		       "does not open key slot 0");
	expect_failure(image, REMOVE("nobody", 0), GILD_ERR_DENIED, "nobody");
	expect_failure(image, REMOVE(NULL, 8), GILD_ERR_INVALID,
		       "no LUKS key slot 8");
	expect_failure(image, REMOVE("one", 5), GILD_ERR_INVALID, "not in use");
	image_free(image);
}

Test(keys, whoever_opens_nothing_changes_nothing)
{
	const struct gild_open_options options = {
		.format = "luks",
		.flags = GILD_OPEN_WRITE | GILD_OPEN_LOCKED,
	};
	struct gild_error err = { 0 };
	struct image *image = image_open_storage(create(), &options, &err);

	cr_assert_not_null(image, "%s", err.message);
	expect_failure(image, REMOVE(NULL, 0), GILD_ERR_DENIED,
		       "no secret was given");
	image_free(image);
}

/* Somebody made the header anew beside us. */
Test(keys, the_header_of_another_key_stays)
{
	struct storage *storage = create(), *other = create();
	struct image *image = open_ok(storage, "one");
	uint64_t length;
	const void *content = faulty_content(other, &length);

	cr_assert_eq(storage_write(storage, content, length, 0, NULL), 0);
	expect_failure(image, ADD("new", 1), GILD_ERR_CORRUPT, "no longer");
	image_free(image);
	storage_close(other);
}

/* Of what the first run left the second one wipes the rest. */
Test(keys, a_stopped_removal_is_finished)
{
	const struct faulty_plan stop = { .nth = 2,
					  .ops = 1 << FAULTY_WRITE,
					  .sys_errno = EIO };
	const struct gild_key_change away = REMOVE(NULL, 1);
	const struct faulty_plan go_on = { .nth = 0 };
	struct storage *storage = create();
	struct image *image = open_ok(storage, "one");
	unsigned char material[512], now[512];
	struct gild_error err = { 0 };

	change_ok(image, ADD("two", 1));
	storage_read(storage, material, 512, 262144, NULL);
	faulty_set_plan(storage, &stop);
	cr_assert_eq(image_change_key(image, &away, &err), -1, "the plan");
	faulty_set_plan(storage, &go_on);
	cr_expect_eq(err.sys_errno, EIO);
	change_ok(image, away);
	storage_read(storage, now, 512, 262144, NULL);
	cr_expect(memcmp(now, material, 512));
	storage_read(storage, now, 32, 208 + 48 + 8, NULL);
	cr_expect_eq(now[0] | now[1] | now[31], 0);
	expect_failure(image, away, GILD_ERR_INVALID, "not in use");
	image_free(image);
}

/* A slot on a bad place of the disk does not keep the others from opening. */
Test(keys, a_slot_that_cannot_be_read_hides_no_other)
{
	const struct faulty_plan bad = { .nth = 1,
					 .ops = 1 << FAULTY_READ,
					 .sys_errno = EIO };
	struct storage *storage = create();
	struct image *image = open_ok(storage, "one");
	struct gild_error err = { 0 };
	struct luks_area area = { .storage = storage };
	struct luks_header header;
	struct luks_key key;

	change_ok(image, ADD("two", 1));
	storage_size(storage, &area.length, NULL);
	cr_assert_eq(luks_read(&area, &header, NULL), 0);
	faulty_set_plan(storage, &bad);
	cr_expect_eq(luks_unlock(&area, &header, &secrets[1], &key, &err), 1,
		     "%s", err.message);
	faulty_set_plan(storage, &bad);
	cr_expect_eq(luks_unlock(&area, &header, &secrets[2], &key, &err), -1);
	cr_expect_eq(err.sys_errno, EIO, "%s", err.message);
	cr_expect(strstr(err.message, "slot 0"), "%s", err.message);
	image_free(image);
}

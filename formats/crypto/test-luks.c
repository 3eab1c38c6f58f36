/* SPDX-License-Identifier: BSD-3-Clause */
/* LUKS headers on a disk in memory: made, opened, their slots changed, and
 * damaged in every way that a number can be. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/crypto/secrets.h"
#include "storage/faulty.h"
#include "util/bytes.h"

TestSuite(luks, .timeout = 60);

#define AT 65536 /* the area does not begin where the disk does */

struct fixture {
	struct storage *storage;
	struct luks_area area;
	struct luks_options options;
	struct luks_header header;
};

static const struct gild_secret first = { "a", "first", 5 };
static const struct gild_secret second = { "b", "second", 6 };
static const struct gild_secret wrong = { "c", "wrong", 5 };

static void setup(struct fixture *f, const struct gild_option *options,
		  size_t count)
{
	struct gild_error err = { 0 };

	f->storage = faulty_new(NULL, 0, NULL);
	cr_assert_eq(luks_options_parse(options, count, "", &f->options, &err),
		     0, "%s", err.message);
	f->options.milliseconds = 1;
	f->area = (struct luks_area){
		.storage = f->storage,
		.offset = AT,
		.length = luks_fresh_length(&f->options),
	};
	storage_truncate(f->storage, AT + f->area.length, false, NULL);
	cr_assert_eq(luks_create(&f->area, &f->options, &first, &f->header,
				 &err),
		     0, "%s", err.message);
}

static void read_again(struct fixture *f)
{
	struct gild_error err = { 0 };

	cr_assert_eq(luks_read(&f->area, &f->header, &err), 0, "%s",
		     err.message);
	cr_assert_eq(luks_check(&f->header, f->area.length, &err), 0, "%s",
		     err.message);
}

static int unlock(struct fixture *f, const struct gild_secret *secret,
		  struct luks_key *key)
{
	struct gild_error err = { 0 };
	int slot = luks_unlock(&f->area, &f->header, secret, key, &err);

	if (slot < 0)
		cr_expect_eq(err.kind, GILD_ERR_DENIED, "%s", err.message);
	return slot;
}

Test(luks, what_was_made_opens)
{
	struct luks_key key;
	struct fixture f;

	setup(&f, NULL, 0);
	read_again(&f);
	cr_expect_str_eq(f.header.mode, "xts-plain64");
	cr_expect_eq(f.header.key_length, 64);
	cr_expect_eq(f.header.payload * 512, 2068480);
	cr_expect_eq(f.header.slots[1].sector * 512, 262144);
	cr_expect_eq(unlock(&f, &first, &key), 0);
	cr_expect_eq(unlock(&f, &wrong, &key), -1);
	cr_expect_eq(unlock(&f, &(struct gild_secret){ NULL, "firs", 4 }, &key),
		     -1);
	storage_close(f.storage);
}

/* What goes into a header, and how long its key is. */
struct choice {
	char cipher[12], mode[8], ivgen[12], hash[12];
	uint32_t key_length;
};

static struct choice choices[] = {
	{ "aes-128", "xts", "plain64", "sha1", 32 },
	{ "aes-256", "cbc", "essiv", "sha512", 32 },
	{ "aes-256", "xts", "plain", "ripemd160", 64 },
	{ "aes-128", "cbc", "plain64", "sha256", 16 },
};

ParameterizedTestParameters(luks, every_choice_opens)
{
	return cr_make_param_array(struct choice, choices,
				   sizeof(choices) / sizeof(choices[0]));
}

ParameterizedTest(struct choice *c, luks, every_choice_opens)
{
	const struct gild_option options[] = {
		{ "cipher-alg", c->cipher },
		{ "cipher-mode", c->mode },
		{ "ivgen-alg", c->ivgen },
		{ "hash-alg", c->hash },
	};
	struct luks_key key;
	struct fixture f;

	setup(&f, options, 4);
	read_again(&f);
	cr_expect_eq(f.header.key_length, c->key_length);
	cr_expect_eq(unlock(&f, &first, &key), 0);
	cr_expect_eq(key.length, c->key_length);
	storage_close(f.storage);
}

static void option_refused(const char *name, const char *value,
			   const char *says)
{
	const struct gild_option option = { name, value };
	struct gild_error err = { 0 };
	struct luks_options parsed;

	cr_expect_eq(luks_options_parse(&option, 1, "encrypt.", &parsed, &err),
		     -1, "%s=%s", name, value);
	cr_expect(strstr(err.message, says), "%s", err.message);
	cr_expect(strstr(err.message, name), "%s", err.message);
}

Test(luks, options_that_make_no_sense_are_refused_by_name)
{
	option_refused("encrypt.cipher-alg", "serpent-256", "serpent-256");
	option_refused("encrypt.cipher-alg", "aes-192", "aes-192");
	option_refused("encrypt.cipher-mode", "ctr", "ctr");
	option_refused("encrypt.ivgen-alg", "benbi", "benbi");
	option_refused("encrypt.ivgen-hash-alg", "sha256", "essiv");
	option_refused("encrypt.hash-alg", "whirlpool", "whirlpool");
	option_refused("encrypt.iter-time", "0", "0");
	option_refused("encrypt.iter-time", "1000000", "1000000");
	option_refused("encrypt.iter-time", "soon", "soon");
}

Test(luks, slots_are_added_and_removed)
{
	struct luks_key key, other;
	struct gild_error err = { 0 };
	struct fixture f;

	setup(&f, NULL, 0);
	cr_assert_eq(unlock(&f, &first, &key), 0);
	cr_expect_eq(luks_add(&f.area, &f.header, &key, &second, 5, 1, &err), 5,
		     "%s", err.message);
	cr_expect_eq(luks_add(&f.area, &f.header, &key, &wrong, 5, 1, &err),
		     -1);
	cr_expect_eq(luks_add(&f.area, &f.header, &key, &wrong, 8, 1, &err),
		     -1);
	read_again(&f);
	cr_expect_eq(unlock(&f, &second, &other), 5);
	cr_expect_arr_eq(other.bytes, key.bytes, key.length);
	cr_expect_eq(luks_remove(&f.area, &f.header, 0, false, &err), 0, "%s",
		     err.message);
	read_again(&f);
	cr_expect_eq(unlock(&f, &first, &other), -1);
	cr_expect_eq(unlock(&f, &second, &other), 5);
	/* the first free one */
	cr_expect_eq(luks_add(&f.area, &f.header, &key, &first, -1, 1, &err),
		     0);
	read_again(&f);
	cr_expect_eq(unlock(&f, &first, &other), 0);
	storage_close(f.storage);
}

Test(luks, all_eight_slots)
{
	struct luks_key key;
	struct gild_error err = { 0 };
	char text[8] = "0";
	struct gild_secret secret = { NULL, text, 1 };
	struct fixture f;

	setup(&f, NULL, 0);
	cr_assert_eq(unlock(&f, &first, &key), 0);
	for (int i = 1; i < LUKS_SLOTS; i++) {
		text[0] = (char)('0' + i);
		cr_expect_eq(luks_add(&f.area, &f.header, &key, &secret, -1, 1,
				      &err),
			     i);
	}
	cr_expect_eq(luks_add(&f.area, &f.header, &key, &secret, -1, 1, &err),
		     -1);
	cr_expect_eq(err.kind, GILD_ERR_RANGE);
	read_again(&f);
	text[0] = '7';
	cr_expect_eq(unlock(&f, &secret, &key), 7);
	storage_close(f.storage);
}

Test(luks, the_last_slot_stays_unless_forced)
{
	struct gild_error err = { 0 };
	struct luks_key key;
	struct fixture f;

	setup(&f, NULL, 0);
	cr_expect_eq(luks_remove(&f.area, &f.header, 0, false, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_DENIED);
	cr_expect_eq(luks_remove(&f.area, &f.header, 3, false, &err), -1);
	cr_expect_eq(luks_remove(&f.area, &f.header, 99, true, &err), -1);
	cr_expect_eq(unlock(&f, &first, &key), 0);
	cr_expect_eq(luks_remove(&f.area, &f.header, 0, true, &err), 0);
	read_again(&f);
	cr_expect_eq(unlock(&f, &first, &key), -1);
	storage_close(f.storage);
}

/* Whatever call fails, the slots that were there still open. */
Test(luks, a_failing_disk_loses_no_key)
{
	struct gild_error err = { 0 };
	struct luks_key key, other;
	struct fixture f;
	int slot = -1;

	setup(&f, NULL, 0);
	cr_assert_eq(unlock(&f, &first, &key), 0);
	for (uint64_t n = 1; slot < 0; n++) {
		struct faulty_plan plan = { .nth = n,
					    .ops = 1 << FAULTY_WRITE |
						   1 << FAULTY_FLUSH,
					    .sys_errno = EIO,
					    .torn = 20 };

		cr_assert_lt(n, 10);
		faulty_set_plan(f.storage, &plan);
		slot = luks_add(&f.area, &f.header, &key, &second, 1, 1, &err);
		plan.nth = 0;
		faulty_set_plan(f.storage, &plan);
		cr_expect_eq(f.header.slots[1].active, slot == 1);
		read_again(&f);
		cr_expect_eq(unlock(&f, &first, &other), 0);
		f.header.slots[1].active = false;
		luks_write_slot(&f.area, &f.header, 1, NULL);
	}
	storage_close(f.storage);
}

/* A slot that was to go is there, or it is not; the other stays. */
Test(luks, a_removal_that_fails_half_way_harms_no_other_slot)
{
	struct luks_key key, other;
	struct fixture f;
	int ret = -1;

	for (uint64_t n = 1; ret < 0; n++) {
		struct faulty_plan plan = { .nth = n,
					    .ops = 1 << FAULTY_WRITE |
						   1 << FAULTY_FLUSH,
					    .sys_errno = EIO,
					    .torn = 9 };

		cr_assert_lt(n, 10);
		setup(&f, NULL, 0);
		cr_assert_eq(unlock(&f, &first, &key), 0);
		cr_assert_eq(luks_add(&f.area, &f.header, &key, &second, 1, 1,
				      NULL),
			     1);
		faulty_set_plan(f.storage, &plan);
		ret = luks_remove(&f.area, &f.header, 0, false, NULL);
		plan.nth = 0;
		faulty_set_plan(f.storage, &plan);
		read_again(&f);
		cr_expect_eq(unlock(&f, &second, &other), 1);
		storage_close(f.storage);
	}
}

/* --- choosing among secrets ----------------------------------------------- */

static struct cipher *open_with(struct fixture *f,
				const struct gild_secret *secrets, size_t count,
				const char *id, struct gild_error *err)
{
	const struct gild_policy policy = {
		.secrets = secrets,
		.secret_count = count,
	};

	return secrets_unlock(&f->area, &f->header, &policy, id, err);
}

Test(luks, the_secret_that_fits_is_found)
{
	const struct gild_secret secrets[] = { wrong, first };
	struct gild_error err = { 0 };
	struct cipher *cipher;
	struct fixture f;

	setup(&f, NULL, 0);
	cipher = open_with(&f, secrets, 2, NULL, &err);
	cr_expect_not_null(cipher, "%s", err.message);
	cipher_free(cipher);
	cipher = open_with(&f, secrets, 2, "a", &err);
	cr_expect_not_null(cipher, "%s", err.message);
	cipher_free(cipher);
	cr_expect_null(open_with(&f, secrets, 2, "c", &err));
	cr_expect_eq(err.kind, GILD_ERR_DENIED);
	cr_expect(strstr(err.message, "wrong passphrase"));
	cr_expect_null(open_with(&f, secrets, 2, "nobody", &err));
	cr_expect(strstr(err.message, "nobody"));
	cr_expect_null(open_with(&f, NULL, 0, NULL, &err));
	cr_expect(strstr(err.message, "no secret"));
	storage_close(f.storage);
}

Test(luks, many_wrong_ones_are_counted)
{
	const struct gild_secret secrets[] = { wrong, second };
	struct gild_error err = { 0 };
	struct fixture f;

	setup(&f, NULL, 0);
	cr_expect_null(open_with(&f, secrets, 2, NULL, &err));
	cr_expect_eq(err.kind, GILD_ERR_DENIED);
	cr_expect(strstr(err.message, "2 secrets"), "%s", err.message);
	storage_close(f.storage);
}

/* --- damage --------------------------------------------------------------- */

/* A field of the header, and a value that it cannot have. */
struct damage {
	uint32_t at, length;
	uint64_t value;
	enum gild_error_kind kind;
	char says[24];
};

static struct damage damages[] = {
	{ 0, 4, 0, GILD_ERR_FORMAT, "no LUKS" },
	{ 6, 2, 2, GILD_ERR_UNSUPPORTED, "version 2" },
	{ 6, 2, 7, GILD_ERR_UNSUPPORTED, "version 7" },
	{ 108, 4, 0, GILD_ERR_UNSUPPORTED, "0 bytes" },
	{ 108, 4, 65, GILD_ERR_UNSUPPORTED, "65 bytes" },
	{ 108, 4, 0xffffffff, GILD_ERR_UNSUPPORTED, "bytes" },
	{ 108, 4, 48, GILD_ERR_UNSUPPORTED, "48" },
	{ 164, 4, 0, GILD_ERR_RANGE, "iterations" },
	{ 164, 4, 0xffffffff, GILD_ERR_RANGE, "iterations" },
	{ 208, 4, 1, GILD_ERR_CORRUPT, "neither" },
	{ 212, 4, 0, GILD_ERR_RANGE, "slot 0" },
	{ 212, 4, 0xfffffff0, GILD_ERR_RANGE, "slot 0" },
	{ 248, 4, 0, GILD_ERR_CORRUPT, "outside" },
	{ 248, 4, 1, GILD_ERR_CORRUPT, "outside" },
	{ 248, 4, 0xffffffff, GILD_ERR_CORRUPT, "outside" },
	{ 248, 4, 3500, GILD_ERR_CORRUPT, "overlap" },
	{ 252, 4, 0, GILD_ERR_CORRUPT, "stripes" },
	{ 252, 4, 0xffffffff, GILD_ERR_CORRUPT, "stripes" },
	/* a slot that is not in use, too */
	{ 296, 4, 8, GILD_ERR_CORRUPT, "overlap" },
};

ParameterizedTestParameters(luks, damage_is_named)
{
	return cr_make_param_array(struct damage, damages,
				   sizeof(damages) / sizeof(damages[0]));
}

ParameterizedTest(struct damage *d, luks, damage_is_named)
{
	struct gild_error err = { 0 };
	unsigned char bytes[8];
	struct cipher *cipher = NULL;
	struct fixture f;

	setup(&f, NULL, 0);
	store_be64(bytes, d->value << (64 - 8 * d->length));
	storage_write(f.storage, bytes, d->length, AT + d->at, NULL);
	if (luks_read(&f.area, &f.header, &err) == 0)
		cipher = open_with(&f, &first, 1, NULL, &err);
	cr_expect_null(cipher);
	cr_expect_eq(err.kind, d->kind, "%s", err.message);
	cr_expect(strstr(err.message, d->says), "%s", err.message);
	storage_close(f.storage);
}

Test(luks, names_without_an_end_are_refused)
{
	static const uint32_t fields[] = { 8, 40, 72, 168 };
	struct gild_error err = { 0 };
	unsigned char bytes[40];
	struct fixture f;

	memset(bytes, 'x', sizeof(bytes));
	for (size_t i = 0; i < 4; i++) {
		setup(&f, NULL, 0);
		storage_write(f.storage, bytes, i == 3 ? 40 : 32,
			      AT + fields[i], NULL);
		cr_expect_eq(luks_read(&f.area, &f.header, &err), -1);
		cr_expect_eq(err.kind, GILD_ERR_CORRUPT);
		storage_close(f.storage);
	}
}

Test(luks, a_short_area_is_refused)
{
	struct gild_error err = { 0 };
	struct fixture f;

	setup(&f, NULL, 0);
	f.area.length = 591;
	cr_expect_eq(luks_read(&f.area, &f.header, &err), -1);
	cr_expect_eq(err.kind, GILD_ERR_CORRUPT);
	/* key material beyond the end of the file */
	f.area.length = luks_fresh_length(&f.options);
	storage_truncate(f.storage, AT + 8192, false, NULL);
	cr_assert_eq(luks_read(&f.area, &f.header, &err), 0);
	cr_expect_null(open_with(&f, &first, 1, NULL, &err));
	cr_expect_eq(err.kind, GILD_ERR_CORRUPT, "%s", err.message);
	storage_close(f.storage);
}

Test(luks, damaged_key_material_opens_nothing)
{
	unsigned char byte = 0x55;
	struct luks_key key;
	struct fixture f;

	setup(&f, NULL, 0);
	storage_write(f.storage, &byte, 1, AT + 4096 + 100000, NULL);
	cr_expect_eq(unlock(&f, &first, &key), -1);
	storage_close(f.storage);
}

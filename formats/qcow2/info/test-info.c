/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What info says of qcow2 images: letter by letter what qemu-img says of what
 * it made, and errors for tables that make no sense.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/test-order.h"
#include "util/bytes.h"

TestSuite(qcow2_info, .init = folder_enter, .fini = folder_leave,
	  .timeout = 120);

static struct gild_info *info_of(const char *name, struct gild_error *err)
{
	const struct gild_open_options options = {
		.format = "qcow2",
		.flags = GILD_OPEN_INSPECT,
	};
	struct gild_image *image = gild_open(name, &options, err);
	struct gild_info *info;

	cr_assert_not_null(image, "%s", err->message);
	info = gild_info(image, err);
	gild_close(image, NULL);
	return info;
}

static struct gild_info *info_good(const char *name)
{
	struct gild_error err = { 0 };
	struct gild_info *info = info_of(name, &err);

	cr_assert_not_null(info, "%s", err.message);
	return info;
}

static void assert_damaged(const char *name, const char *message)
{
	struct gild_error err = { 0 };

	cr_assert_null(info_of(name, &err), "taken: %s", message);
	cr_expect_eq(err.kind, GILD_ERR_CORRUPT);
	cr_expect_not_null(strstr(err.message, message), "%s", err.message);
}

/* JSON without white space, as "tr" makes it of qemu-img's. */
static void print(FILE *out, const struct gild_value *value)
{
	char close = value->type == GILD_VALUE_LIST ? ']' : '}';

	if (value->name)
		fprintf(out, "\"%s\":", value->name);
	if (value->type == GILD_VALUE_BOOL)
		fputs(value->boolean ? "true" : "false", out);
	else if (value->type == GILD_VALUE_NUMBER)
		fprintf(out, "%ju", (uintmax_t)value->number);
	else if (value->type == GILD_VALUE_STRING)
		fprintf(out, "\"%s\"", value->string);
	if (value->type < GILD_VALUE_OBJECT)
		return;
	fputc(close - 2, out);
	for (size_t i = 0; i < value->count; i++) {
		fputs(i ? "," : "", out);
		print(out, &value->items[i]);
	}
	fputc(close, out);
}

static char *print_all(const struct gild_value *value)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	print(out, value);
	fclose(out);
	return text;
}

static char *qemu_info(const char *name)
{
	char command[200], *json = calloc(1, 20000);
	FILE *in;

	snprintf(command, sizeof(command),
		 "qemu-img info -U --output=json %s | tr -d ' \\n'", name);
	in = popen(command, "r");
	cr_assert_not_null(in);
	cr_assert_gt(fread(json, 1, 19999, in), 0);
	cr_assert_eq(pclose(in), 0);
	return json;
}

static void assert_same(const char *name)
{
	struct gild_info *info = info_good(name);
	char *ours = print_all(info->specific), *theirs = qemu_info(name);

	cr_expect_not_null(strstr(theirs, ours), "ours: %s\ntheirs: %s", ours,
			   theirs);
	cr_expect_eq(info->dirty, !!strstr(theirs, "\"dirty-flag\":true"));
	cr_expect_eq(info->encrypted, !!strstr(theirs, "\"encrypted\":true"));
	free(ours);
	free(theirs);
	gild_info_free(info);
}

Test(qcow2_info, keys_are_those_of_qemu_img)
{
	static const char *const options[] = {
		"compat=0.10",
		"compat=1.1",
		"lazy_refcounts=on,refcount_bits=64",
		"extended_l2=on,compression_type=zstd",
		"data_file=a.data",
		"data_file=a.data,data_file_raw=on",
		"--object secret,id=s,data=abc "
		"-o encrypt.format=luks,encrypt.key-secret=s,"
		"encrypt.iter-time=10",
		"--object secret,id=s,data=abc "
		"-o encrypt.format=aes,encrypt.key-secret=s",
	};

	need_qemu_img();
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		/* On a busy machine qemu-img now and then cannot measure how
		 * fast it derives keys, and gives up. */
		cr_assert_eq(shell("for i in 1 2 3 4 5 6 7 8; do "
				   "qemu-img create -q -f qcow2 %s%s a.qcow2 "
				   "10M 2>/dev/null && exit 0; done; exit 1",
				   options[i][0] == '-' ? "" : "-o ",
				   options[i]),
			     0, "%s", options[i]);
		assert_same("a.qcow2");
	}
}

static void poke(const char *name, uint64_t offset, const void *bytes,
		 size_t length)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);

	cr_assert_eq(pwrite(fd, bytes, length, (off_t)offset), (ssize_t)length);
	close(fd);
}

static void peek(const char *name, uint64_t offset, void *bytes, size_t length)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	cr_assert_eq(pread(fd, bytes, length, (off_t)offset), (ssize_t)length);
	close(fd);
}

Test(qcow2_info, marks_are_told)
{
	static const unsigned char dirty_and_corrupt = 3;
	struct gild_info *info;

	need_qemu_img();
	cr_assert_eq(shell("qemu-img create -q -f qcow2 a.qcow2 10M"), 0);
	poke("a.qcow2", 79, &dirty_and_corrupt, 1);
	info = info_good("a.qcow2");
	cr_expect(info->dirty);
	gild_info_free(info);
	assert_same("a.qcow2");
}

/* --- bitmaps ------------------------------------------------------------- */

static uint64_t make_bitmaps(void)
{
	unsigned char offset[8];

	cr_assert_eq(shell("qemu-img create -q -f qcow2 a.qcow2 10M && "
			   "qemu-img bitmap --add a.qcow2 first && "
			   "qemu-img bitmap --add --disable -g 512 a.qcow2 b2"),
		     0);
	/* The extension stands behind the feature names. */
	peek("a.qcow2", 112 + 8 + 384 + 8 + 16, offset, 8);
	return load_be64(offset);
}

Test(qcow2_info, bitmaps_are_listed)
{
	static const unsigned char in_use[] = { 0, 0, 0, 3 }, none[8];
	uint64_t directory;
	struct gild_info *info;
	char *text;

	need_qemu_img();
	directory = make_bitmaps();
	assert_same("a.qcow2");
	poke("a.qcow2", directory + 12, in_use, 4);
	assert_same("a.qcow2");
	/* Nobody vouches for them any more. */
	poke("a.qcow2", 88, none, 8);
	info = info_good("a.qcow2");
	text = print_all(info->specific);
	cr_expect_null(strstr(text, "bitmaps"), "%s", text);
	free(text);
	gild_info_free(info);
}

Test(qcow2_info, damaged_bitmaps_are_refused)
{
	static const struct {
		unsigned offset, length;
		unsigned char bytes[4];
		const char *message;
	} rows[] = {
		{ 12, 4, { 0, 0, 0, 9 }, "unknown flags" },
		{ 17, 1, { 64 }, "impossible granularity" },
		{ 18, 2, { 0, 0 }, "impossible name" },
		{ 18, 2, { 4, 0 }, "impossible name" },
		{ 18, 2, { 3, 255 }, "cut short" },
		{ 20, 4, { 255, 255, 255, 255 }, "cut short" },
		{ 20, 4, { 0, 0, 0, 24 }, "zero byte" },
	};

	need_qemu_img();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t directory = make_bitmaps();

		poke("a.qcow2", directory + rows[i].offset, rows[i].bytes,
		     rows[i].length);
		assert_damaged("a.qcow2", rows[i].message);
	}
}

/* --- snapshots ----------------------------------------------------------- */

static uint64_t make_snapshots(const char *compat)
{
	unsigned char offset[8];

	cr_assert_eq(shell("qemu-img create -q -f qcow2 -o compat=%s a.qcow2 "
			   "10M && qemu-img snapshot -c one a.qcow2 && "
			   "qemu-img resize -q a.qcow2 20M 2>/dev/null; "
			   "qemu-img snapshot -c 'the second' a.qcow2",
			   compat),
		     0);
	peek("a.qcow2", 64, offset, 8);
	return load_be64(offset);
}

Test(qcow2_info, snapshots_are_listed)
{
	static const char *const versions[] = { "0.10", "1.1" };

	need_qemu_img();
	for (size_t i = 0; i < 2; i++) {
		struct gild_info *info;

		make_snapshots(versions[i]);
		info = info_good("a.qcow2");
		cr_assert_eq(info->snapshot_count, 2);
		cr_expect_str_eq(info->snapshots[0].id, "1");
		cr_expect_str_eq(info->snapshots[0].name, "one");
		cr_expect_eq(info->snapshots[0].disk_size, 10 * MIB);
		cr_expect_str_eq(info->snapshots[1].name, "the second");
		cr_expect_gt(info->snapshots[1].date_sec, 1500000000);
		cr_expect_eq(info->snapshots[1].vm_state_size, 0);
		gild_info_free(info);
	}
}

Test(qcow2_info, extra_data_of_snapshots_is_read)
{
	unsigned char bytes[8];
	struct gild_info *info;
	uint64_t table;

	need_qemu_img();
	table = make_snapshots("1.1");
	store_be64(bytes, 5ULL << 32);
	poke("a.qcow2", table + 40, bytes, 8);
	store_be64(bytes, 77);
	poke("a.qcow2", table + 56, bytes, 8);
	store_be64(bytes, 1234567890123);
	poke("a.qcow2", table + 24, bytes, 8);
	info = info_good("a.qcow2");
	cr_expect_eq(info->snapshots[0].vm_state_size, 5ULL << 32);
	cr_expect_eq(info->snapshots[0].icount, 77);
	cr_expect(info->snapshots[0].has_icount);
	cr_expect_eq(info->snapshots[0].vm_clock_nsec, 1234567890123);
	gild_info_free(info);
	store_be64(bytes, UINT64_MAX);
	poke("a.qcow2", table + 56, bytes, 8);
	info = info_good("a.qcow2");
	cr_expect_not(info->snapshots[0].has_icount);
	gild_info_free(info);
}

Test(qcow2_info, damaged_snapshots_are_refused)
{
	static const struct {
		unsigned offset;
		uint32_t value;
		const char *message;
	} rows[] = {
		{ 36, 1025, "too much extra data" },
		{ 36, 0xffffffff, "too much extra data" },
		{ 36, 8, "how large the disk was" },
	};
	unsigned char bytes[4];
	uint64_t table;

	need_qemu_img();
	for (size_t i = 0; i < 3; i++) {
		table = make_snapshots("1.1");
		store_be32(bytes, rows[i].value);
		poke("a.qcow2", table + rows[i].offset, bytes, 4);
		assert_damaged("a.qcow2", rows[i].message);
	}
	/* More of them than the file holds. */
	make_snapshots("1.1");
	store_be32(bytes, 1600);
	poke("a.qcow2", 60, bytes, 4);
	cr_assert_eq(shell("truncate -s %ju a.qcow2", (uintmax_t)table + 65536),
		     0);
	assert_damaged("a.qcow2", "");
}

/* --- encryption ---------------------------------------------------------- */

Test(qcow2_info, damaged_luks_header_is_refused)
{
	unsigned char offset[8];

	need_qemu_img();
	cr_assert_eq(shell("for i in 1 2 3 4 5 6 7 8; do "
			   "qemu-img create -q -f qcow2 "
			   "--object secret,id=s,data=abc "
			   "-o encrypt.format=luks,encrypt.key-secret=s,"
			   "encrypt.iter-time=10 a.qcow2 1M && exit 0; done; "
			   "exit 1"),
		     0);
	peek("a.qcow2", 120, offset, 8);
	poke("a.qcow2", load_be64(offset), "X", 1);
	assert_damaged("a.qcow2", "no LUKS header");
}

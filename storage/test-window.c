/* SPDX-License-Identifier: BSD-3-Clause */
/* A part of a file as a storage of its own. */
#include <criterion/criterion.h>

#include "storage/test-disk.h"

TestSuite(window, .init = folder_enter, .fini = folder_leave, .timeout = 60);

enum {
	LENGTH = 10000,
	START = 4096,
	PART = 2048,
};

static struct storage *open_window(uint64_t start, uint64_t length)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };
	struct storage *file, *window;

	make_file("file", LENGTH, 7);
	file = storage_file_open("file", STORAGE_WRITE, &err);
	cr_assert_not_null(file, "%s", err.message);
	window = storage_window_new(file, start, length, &err);
	cr_assert_not_null(window, "%s", err.message);
	return window;
}

/* The byte of the file at an offset, asked for behind its back. */
static int file_byte(long offset)
{
	FILE *file = fopen("file", "rb");
	int c;

	fseek(file, offset, SEEK_SET);
	c = fgetc(file);
	fclose(file);
	return c;
}

Test(window, reads_and_writes_its_part)
{
	struct storage *window = open_window(START, PART);
	unsigned char bytes[PART];
	uint64_t size;

	cr_assert_eq(storage_size(window, &size, NULL), 0);
	cr_assert_eq(size, PART);
	memset(bytes, 9, sizeof(bytes));
	cr_assert_eq(storage_write(window, bytes, PART, 0, NULL), 0);
	cr_assert_eq(file_byte(START - 1), 7);
	cr_assert_eq(file_byte(START), 9);
	cr_assert_eq(file_byte(START + PART - 1), 9);
	cr_assert_eq(file_byte(START + PART), 7);
	cr_assert_eq(storage_read(window, bytes, PART, PART / 2, NULL), 0);
	cr_assert_eq(bytes[PART / 2 - 1], 9);
	cr_assert_eq(bytes[PART / 2], 0, "more than its part");
	cr_assert_eq(storage_read_all(window, bytes, PART, 1, NULL), -1);
	cr_assert_eq(window->origin, START);
	cr_assert_geq(storage_descriptor(window), 0);
	storage_close(window);
}

Test(window, changes_nothing_beside_it)
{
	struct storage *window = open_window(START, PART);
	struct gild_error err;
	unsigned char byte = 1;

	cr_assert_eq(storage_write(window, &byte, 1, PART, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	cr_assert_eq(storage_zero(window, PART - 1, 2, false, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	cr_assert_eq(storage_truncate(window, PART + 1, false, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	cr_assert_eq(storage_truncate(window, PART, false, &err), 0);
	cr_assert_eq(storage_zero(window, 0, PART, false, &err), 0);
	cr_assert_eq(storage_discard(window, 0, 10 * PART, &err), 0);
	cr_assert_eq(storage_flush(window, &err), 0);
	cr_assert_eq(file_byte(START - 1), 7);
	cr_assert_eq(file_byte(START), 0);
	cr_assert_eq(file_byte(START + PART), 7);
	storage_close(window);
}

Test(window, without_an_end_it_grows_with_the_file)
{
	struct storage *window = open_window(START, UINT64_MAX);
	unsigned char byte = 5;
	uint64_t size;

	cr_assert_eq(storage_size(window, &size, NULL), 0);
	cr_assert_eq(size, LENGTH - START);
	cr_assert_eq(storage_write(window, &byte, 1, LENGTH, NULL), 0);
	cr_assert_eq(file_byte(START + LENGTH), 5);
	cr_assert_eq(storage_truncate(window, 100, false, NULL), 0);
	cr_assert_eq(storage_size(window, &size, NULL), 0);
	cr_assert_eq(size, 100);
	cr_assert_eq(storage_truncate(window, INT64_MAX, false, NULL), -1);
	storage_close(window);
}

Test(window, extents_are_those_of_its_part)
{
	struct storage *window;
	struct storage *file;
	uint64_t end;
	bool data;

	make_file("holes", 1 << 20, 3);
	cr_assert_eq(truncate("holes", 4 << 20), 0);
	file = storage_file_open("holes", 0, NULL);
	window = storage_window_new(file, 512 << 10, 2 << 20, NULL);
	cr_assert_eq(storage_extent(window, 0, &data, &end, NULL), 0);
	cr_assert(data);
	cr_assert_eq(end, 512 << 10);
	cr_assert_eq(storage_extent(window, end, &data, &end, NULL), 0);
	cr_assert_not(data);
	cr_assert_eq(end, 2 << 20);
	cr_assert_eq(storage_extent(window, 2 << 20, &data, &end, NULL), 0);
	cr_assert_not(data);
	cr_assert_eq(end, UINT64_MAX);
	storage_close(window);
}

Test(window, must_lie_within_the_file)
{
	struct gild_error err;
	struct storage *file;

	make_file("file", LENGTH, 7);
	file = storage_file_open("file", 0, NULL);
	cr_assert_null(storage_window_new(file, LENGTH + 1, UINT64_MAX, &err));
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	file = storage_file_open("file", 0, NULL);
	cr_assert_null(storage_window_new(file, 1, LENGTH, &err));
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
	file = storage_file_open("file", 0, NULL);
	storage_close(storage_window_new(file, LENGTH, UINT64_MAX, &err));
}

Test(window, windows_within_windows)
{
	struct storage *outer = open_window(1000, 5000);
	struct storage *inner = storage_window_new(outer, 500, 100, NULL);
	unsigned char bytes[100];

	memset(bytes, 4, sizeof(bytes));
	cr_assert_eq(inner->origin, 1500);
	cr_assert_eq(storage_write(inner, bytes, 100, 0, NULL), 0);
	cr_assert_eq(file_byte(1499), 7);
	cr_assert_eq(file_byte(1500), 4);
	cr_assert_eq(file_byte(1599), 4);
	cr_assert_eq(file_byte(1600), 7);
	storage_close(inner);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Ordering fresh images in tests, here and from qemu-img, and its verdict. */
#ifndef QCOW2_TEST_ORDER_H
#define QCOW2_TEST_ORDER_H

#include <criterion/criterion.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/qcow2/qcow2.h"
#include "storage/test-folder.h"

#define MIB (1ULL << 20)

/* What to create; options are "name=value,name=value". */
struct order {
	uint64_t size;
	const char *options, *backing, *format;
};

/* Splits text in place. */
static inline size_t split(char *text, struct gild_option *options)
{
	char *rest = NULL;
	size_t count = 0;

	for (char *one = strtok_r(text, ",", &rest); one;
	     one = strtok_r(NULL, ",", &rest)) {
		char *value = strchr(one, '=');

		*value++ = 0;
		options[count].name = one;
		options[count++].value = value;
	}
	return count;
}

/* An image, and at once the name of its companion. */
static inline int create_both(struct storage *storage,
			      const struct gild_create_options *create,
			      struct gild_error *err)
{
	struct companion companion = { .made = false };
	int result = qcow2_create(storage, create, &companion, err);

	if (!companion.made)
		return result;
	if (result == 0)
		return newfile_publish(&companion.file, err);
	newfile_abandon(&companion.file);
	return -1;
}

static inline int create_in(struct storage *storage, const struct order *order,
			    struct gild_error *err)
{
	struct gild_option options[8];
	char text[400];
	struct gild_create_options create = {
		.size = order->size,
		.backing = order->backing,
		.backing_format = order->format,
		.options = options,
	};

	snprintf(text, sizeof(text), "%s",
		 order->options ? order->options : "");
	create.option_count = split(text, options);
	return create_both(storage, &create, err);
}

static inline int create_file(const char *name, const struct order *order,
			      struct gild_error *err)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct storage *storage =
		storage_file_from_fd(fd, name, STORAGE_WRITE, err);
	int result;

	cr_assert_not_null(storage);
	result = create_in(storage, order, err);
	storage_close(storage);
	return result;
}

static inline void create_good(const char *name, const struct order *order)
{
	struct gild_error err = { 0 };

	cr_assert_eq(create_file(name, order, &err), 0, "%s: %s",
		     order->options, err.message);
}

static inline void assert_refused(const struct order *order,
				  enum gild_error_kind kind,
				  const char *message)
{
	struct gild_error err = { 0 };

	cr_assert_eq(create_file("refused.qcow2", order, &err), -1, "taken: %s",
		     message);
	cr_expect_eq(err.kind, kind, "%s", err.message);
	cr_expect_not_null(strstr(err.message, message), "%s", err.message);
	cr_expect_eq(file_length("refused.qcow2"), 0);
}

__attribute__((format(printf, 1, 2))) static inline int
shell(const char *format, ...)
{
	char command[1000];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	return system(command);
}

static inline void need_qemu_img(void)
{
	if (system("qemu-img --version >/dev/null 2>&1") != 0)
		cr_skip_test("qemu-img is missing");
}

static inline void qemu_create(const char *name, const struct order *order)
{
	char backing[300] = "";

	if (order->backing)
		snprintf(backing, sizeof(backing), "-b %s -F %s",
			 order->backing, order->format);
	cr_assert_eq(shell("qemu-img create -q -f qcow2 %s%s %s %s %ju",
			   order->options ? "-o " : "",
			   order->options ? order->options : "", backing, name,
			   (uintmax_t)order->size),
		     0);
}

static inline void assert_clean(const char *name, const char *what)
{
	cr_assert_eq(shell("qemu-img check -q %s >out 2>&1 && test ! -s out",
			   name),
		     0, "%s", what);
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* What a gild_error holds after each way of filling it. */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "util/error.h"

static int report(struct gild_error *err)
{
	return fail(err, GILD_ERR_IO, ENOSPC, "%s: cannot write", "disk.img");
}

Test(error, message_kind_and_errno)
{
	struct gild_error err;

	memset(&err, 0x5a, sizeof(err));
	cr_assert_eq(report(&err), -1);
	cr_assert_eq(err.kind, GILD_ERR_IO);
	cr_assert_eq(err.sys_errno, ENOSPC);
	cr_assert_str_eq(err.message,
			 "disk.img: cannot write: No space left on device");
	cr_assert_str_eq(err.operation, "report");
	cr_assert_str_eq(err.hint, "");
	cr_assert_not(err.has_offset);
}

Test(error, null_is_allowed)
{
	cr_assert_eq(report(NULL), -1);
	cr_assert_eq(error_prefix(NULL, "x"), -1);
	cr_assert_eq(error_at(NULL, 7), -1);
	cr_assert_eq(error_hint(NULL, "x"), -1);
	cr_assert_null(fail_null(NULL, GILD_ERR_NOMEM, 0, "x"));
}

Test(error, prefix_offset_and_hint)
{
	struct gild_error err;

	fail(&err, GILD_ERR_CORRUPT, 0, "L1 table is beyond the end");
	cr_assert_eq(error_prefix(&err, "%s: ", "a%sb.qcow2"), -1);
	cr_assert_eq(error_at(&err, 65536), -1);
	cr_assert_eq(error_hint(&err, "try %d", 3), -1);
	cr_assert_str_eq(err.message, "a%sb.qcow2: L1 table is beyond the end");
	cr_assert(err.has_offset);
	cr_assert_eq(err.offset, 65536);
	cr_assert_str_eq(err.hint, "try 3");
}

static const char *prefixed(const char *message, const char *prefix)
{
	static struct gild_error err;

	fail(&err, GILD_ERR_IO, 0, "%s", message);
	error_prefix(&err, "%s", prefix);
	return err.message;
}

Test(error, a_prefix_repeats_nothing)
{
	cr_assert_str_eq(prefixed("a.img: cannot write", "a.img: "),
			 "a.img: cannot write");
	cr_assert_str_eq(prefixed("a.img: cannot write", "a.img: at 512: "),
			 "a.img: at 512: cannot write");
	cr_assert_str_eq(prefixed("a.img: at 512: no", "a.img: at 512: "),
			 "a.img: at 512: no");
	cr_assert_str_eq(prefixed("a: b.img: no", "a: b.img: "),
			 "a: b.img: no");
	cr_assert_str_eq(prefixed("a.img: no", "b.img: "), "b.img: a.img: no");
	cr_assert_str_eq(prefixed("a.img.2: no", "a.img: "),
			 "a.img: a.img.2: no");
}

Test(error, long_text_is_cut)
{
	struct gild_error err;
	char name[2000];

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = 0;
	fail(&err, GILD_ERR_IO, EIO, "%s: cannot read", name);
	cr_assert_eq(strlen(err.message), sizeof(err.message) - 1);
	error_prefix(&err, "%s", name);
	error_hint(&err, "%s", name);
	cr_assert_eq(strlen(err.message), sizeof(err.message) - 1);
	cr_assert_eq(strlen(err.hint), sizeof(err.hint) - 1);
}

Test(error, errno_survives)
{
	struct gild_error err;

	errno = EXDEV;
	report(&err);
	error_prefix(&err, "x: ");
	error_hint(&err, "x");
	cr_assert_eq(errno, EXDEV);
}

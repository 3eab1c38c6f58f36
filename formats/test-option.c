/* SPDX-License-Identifier: BSD-3-Clause */
/* Options of "-o": which names and values are taken, and what is said of those
 * that are not. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <string.h>

#include "formats/format.h"

static const struct gild_option_help help[] = {
	{ "cluster_size", "size", "65536", "bytes of a cluster" },
	{ "lazy_refcounts", "bool", "off", "postpone refcounts" },
	{ NULL, NULL, NULL, NULL },
};

TestSuite(option, .timeout = 10);

Test(option, known_names_pass)
{
	const struct gild_option options[] = { { "lazy_refcounts", "on" },
					       { "cluster_size", "1M" } };

	cr_assert_eq(option_check(help, options, 2, NULL), 0);
	cr_assert_eq(option_check(help, NULL, 0, NULL), 0);
	cr_assert_str_eq(option_get(options, 2, "cluster_size"), "1M");
	cr_assert_null(option_get(options, 2, "size"));
}

Test(option, unknown_name_is_refused_and_the_known_ones_are_listed)
{
	const struct gild_option options[] = { { "cluster", "1M" } };
	struct gild_error err;

	cr_assert_eq(option_check(help, options, 1, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_INVALID);
	cr_assert(strstr(err.message, "\"cluster\""));
	cr_assert(strstr(err.hint, "cluster_size, lazy_refcounts"));
}

Test(option, format_without_options_refuses_all)
{
	const struct gild_option options[] = { { "a", "b" } };
	struct gild_error err;

	cr_assert_eq(option_check(NULL, options, 1, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_INVALID);
	cr_assert(strstr(err.hint, "no options"));
}

Test(option, list_of_names_is_cut_not_overrun)
{
	static struct gild_option_help many[200];
	const struct gild_option options[] = { { "a", "b" } };
	struct gild_error err;

	for (int i = 0; i < 199; i++)
		many[i].name = "quite_a_long_name";
	cr_assert_eq(option_check(many, options, 1, &err), -1);
	cr_assert(strlen(err.hint) < sizeof(err.hint));
	cr_assert(strstr(err.hint, "quite_a_long_name, quite_a_long_name"));
}

Test(option, double_is_refused)
{
	const struct gild_option options[] = { { "cluster_size", "1M" },
					       { "cluster_size", "1M" } };
	struct gild_error err;

	cr_assert_eq(option_check(help, options, 2, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_INVALID);
	cr_assert(strstr(err.message, "twice"));
}

Test(option, missing_value_is_refused)
{
	const struct gild_option options[] = { { "cluster_size", NULL } };
	struct gild_error err;

	cr_assert_eq(option_check(help, options, 1, &err), -1);
	cr_assert(strstr(err.message, "needs a value"));
}

struct spelling {
	char text[8];
	int result; /* 0, 1, -1: refused */
};

ParameterizedTestParameters(option, bool_spellings)
{
	static struct spelling spellings[] = {
		{ "on", 1 },  { "yes", 1 }, { "true", 1 },  { "y", 1 },
		{ "off", 0 }, { "no", 0 },  { "false", 0 }, { "n", 0 },
		{ "On", -1 }, { "1", -1 },  { "", -1 },	    { "onn", -1 },
	};

	return cr_make_param_array(struct spelling, spellings,
				   sizeof(spellings) / sizeof(*spellings),
				   NULL);
}

ParameterizedTest(struct spelling *s, option, bool_spellings)
{
	const struct gild_option options[] = { { "lazy_refcounts", s->text } };
	struct gild_error err = { 0 };
	bool value = s->result == 0; /* the opposite of what must come */

	if (s->result < 0) {
		cr_assert_eq(option_bool(options, 1, "lazy_refcounts", &value,
					 &err),
			     -1);
		cr_assert_eq(err.kind, GILD_ERR_INVALID);
		cr_assert(strstr(err.message, "lazy_refcounts"));
		return;
	}
	cr_assert_eq(option_bool(options, 1, "lazy_refcounts", &value, &err),
		     0);
	cr_assert_eq(value, s->result == 1);
}

Test(option, absent_leaves_the_default)
{
	bool value = true;
	uint64_t size = 42;

	cr_assert_eq(option_bool(NULL, 0, "x", &value, NULL), 0);
	cr_assert_eq(option_size(NULL, 0, "x", &size, NULL), 0);
	cr_assert(value);
	cr_assert_eq(size, 42);
}

Test(option, size_takes_suffixes)
{
	const struct gild_option options[] = { { "cluster_size", "64k" } };
	uint64_t size = 0;

	cr_assert_eq(option_size(options, 1, "cluster_size", &size, NULL), 0);
	cr_assert_eq(size, 65536);
}

Test(option, bad_size_names_the_option)
{
	const struct gild_option options[] = { { "cluster_size", "big" } };
	struct gild_error err = { 0 };
	uint64_t size = 0;

	cr_assert_eq(option_size(options, 1, "cluster_size", &size, &err), -1);
	cr_assert_eq(err.kind, GILD_ERR_INVALID);
	cr_assert_eq(strncmp(err.message, "option \"cluster_size\": ", 23), 0);
}

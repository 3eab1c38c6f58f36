/* SPDX-License-Identifier: BSD-3-Clause */
/* "-o name=value,...", taken apart. */
#include <criterion/criterion.h>
#include <string.h>

#include "tools/cli.h"

static struct option_list parse(const char *text)
{
	struct option_list list = { .count = 0 };
	struct gild_error err = { .kind = GILD_ERR_NONE };

	cr_assert_eq(option_list_add(&list, text, &err), 0, "%s", err.message);
	return list;
}

static void check_item(const struct option_list *list, size_t i,
		       const char *name, const char *value)
{
	cr_assert_lt(i, list->count);
	cr_assert_str_eq(list->items[i].name, name);
	cr_assert_str_eq(list->items[i].value, value);
}

Test(option_list, keeps_order)
{
	struct option_list list = parse("b=1,a=2,c=");

	cr_assert_eq(list.count, 3);
	check_item(&list, 0, "b", "1");
	check_item(&list, 1, "a", "2");
	check_item(&list, 2, "c", "");
	option_list_free(&list);
}

Test(option_list, doubled_comma_is_one)
{
	static const struct {
		const char *text, *value;
	} rows[] = {
		{ "a=x,,y", "x,y" },	     { "a=,,", "," },
		{ "a=,,,,", ",," },	     { "a=x,,", "x," },
		{ "a=,,x,b=2", ",x" },	     { "a=x,,y,,z,b=2", "x,y,z" },
		{ "a=p,,q=r,b=2", "p,q=r" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct option_list list = parse(rows[i].text);

		check_item(&list, 0, "a", rows[i].value);
		if (strstr(rows[i].text, "b=2"))
			check_item(&list, 1, "b", "2");
		option_list_free(&list);
	}
}

Test(option_list, value_may_hold_equals)
{
	struct option_list list = parse("a=b=c");

	check_item(&list, 0, "a", "b=c");
	option_list_free(&list);
}

Test(option_list, name_alone_is_on)
{
	struct option_list list = parse("lazy_refcounts,a=1");

	check_item(&list, 0, "lazy_refcounts", "on");
	check_item(&list, 1, "a", "1");
	option_list_free(&list);
}

Test(option_list, trailing_comma_is_nothing)
{
	struct option_list list = parse("a=1,");

	cr_assert_eq(list.count, 1);
	option_list_free(&list);
}

Test(option_list, help_is_noted)
{
	struct option_list list = parse("a=1,help"), other = parse("?");
	struct option_list value = parse("help=1");

	cr_assert(list.help);
	cr_assert_eq(list.count, 1);
	cr_assert(other.help);
	cr_assert_not(value.help);
	option_list_free(&list);
	option_list_free(&other);
	option_list_free(&value);
}

Test(option_list, adds_up_when_repeated)
{
	struct option_list list = parse("a=1");
	struct gild_error err;

	cr_assert_eq(option_list_add(&list, "b=2,c=3", &err), 0);
	check_item(&list, 0, "a", "1");
	check_item(&list, 2, "c", "3");
	option_list_free(&list);
}

Test(option_list, takes_all_of_a_name_and_gives_the_last)
{
	struct option_list list = parse("size=1,a=2,size=3,b=4");

	cr_assert_str_eq(option_list_take(&list, "size"), "3");
	cr_assert_eq(list.count, 2);
	check_item(&list, 0, "a", "2");
	check_item(&list, 1, "b", "4");
	cr_assert_null(option_list_take(&list, "size"));
	option_list_free(&list);
}

Test(option_list, refuses_what_has_no_name)
{
	static const char *const wrong[] = { "", "=1", ",a=1", "a=1,=2" };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct option_list list = { .count = 0 };
		struct gild_error err = { .kind = GILD_ERR_NONE };

		cr_assert_eq(option_list_add(&list, wrong[i], &err), -1,
			     "\"%s\" was taken", wrong[i]);
		cr_assert_eq(err.kind, GILD_ERR_INVALID);
		option_list_free(&list);
	}
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The tree of values behind gild_info. Leaks and stray accesses show under the
 * address sanitizer. */
#include <criterion/criterion.h>

#include "formats/format.h"

TestSuite(value, .timeout = 10);

Test(value, keeps_types_names_and_order)
{
	struct gild_value *root = value_object();
	char text[] = "zlib";

	cr_assert_eq(root->type, GILD_VALUE_OBJECT);
	cr_assert_eq(root->count, 0);
	cr_assert_eq(value_add_string(root, "compression-type", text), 0);
	text[0] = 'x'; /* it is copied */
	cr_assert_eq(value_add_bool(root, "lazy-refcounts", true), 0);
	cr_assert_eq(value_add_number(root, "refcount-bits", UINT64_MAX), 0);

	cr_assert_eq(root->count, 3);
	cr_assert_str_eq(root->items[0].name, "compression-type");
	cr_assert_eq(root->items[0].type, GILD_VALUE_STRING);
	cr_assert_str_eq(root->items[0].string, "zlib");
	cr_assert_eq(root->items[1].type, GILD_VALUE_BOOL);
	cr_assert(root->items[1].boolean);
	cr_assert_eq(root->items[2].type, GILD_VALUE_NUMBER);
	cr_assert_eq(root->items[2].number, UINT64_MAX);
	value_free(root);
}

Test(value, trees_nest)
{
	struct gild_value *root = value_object();
	struct gild_value *list, *item;

	list = value_add_tree(root, "bitmaps", GILD_VALUE_LIST);
	for (uint64_t i = 0; i < 3; i++) {
		item = value_add_tree(list, NULL, GILD_VALUE_OBJECT);
		cr_assert_eq(value_add_string(item, "name", "b"), 0);
		cr_assert_eq(value_add_number(item, "granularity", i), 0);
	}
	cr_assert_eq(root->items[0].type, GILD_VALUE_LIST);
	cr_assert_eq(root->items[0].count, 3);
	for (uint64_t i = 0; i < 3; i++) {
		item = &root->items[0].items[i];
		cr_assert_null(item->name);
		cr_assert_eq(item->items[1].number, i);
	}
	value_free(root);
}

Test(value, grows_past_every_power_of_two)
{
	struct gild_value *root = value_object();

	for (uint64_t i = 0; i < 1000; i++)
		cr_assert_eq(value_add_number(root, "n", i), 0);
	cr_assert_eq(root->count, 1000);
	for (uint64_t i = 0; i < 1000; i++)
		cr_assert_eq(root->items[i].number, i);
	value_free(root);
}

Test(value, free_takes_null)
{
	value_free(NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Building and freeing the tree of values that gild_info carries: what is
 * specific to a format, as JSON would have it.
 *
 * Names are borrowed and must outlive the tree (string literals); strings are
 * copied. The room of a list of items is not stored: it is the next power of
 * two at or above count, so it is full exactly when count is a power of two.
 *
 * Threads: the caller serialises.
 */
#include "formats/format.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

struct gild_value *value_object(void)
{
	struct gild_value *value = calloc(1, sizeof(*value));

	if (value)
		value->type = GILD_VALUE_OBJECT;
	return value;
}

static int make_room(struct gild_value *to)
{
	struct gild_value *items;
	size_t room = to->count ? to->count * 2 : 1;

	if (to->count && !is_power_of_2(to->count))
		return 0;
	if (room > SIZE_MAX / sizeof(*items))
		return -1;
	items = realloc(to->items, room * sizeof(*items));
	if (!items)
		return -1;
	to->items = items;
	return 0;
}

static struct gild_value *append(struct gild_value *to, const char *name,
				 enum gild_value_type type)
{
	struct gild_value *value;

	if (make_room(to) < 0)
		return NULL;
	value = &to->items[to->count++];
	*value = (struct gild_value){ .name = name, .type = type };
	return value;
}

int value_add_bool(struct gild_value *to, const char *name, bool value)
{
	struct gild_value *item = append(to, name, GILD_VALUE_BOOL);

	if (!item)
		return -1;
	item->boolean = value;
	return 0;
}

int value_add_number(struct gild_value *to, const char *name, uint64_t value)
{
	struct gild_value *item = append(to, name, GILD_VALUE_NUMBER);

	if (!item)
		return -1;
	item->number = value;
	return 0;
}

int value_add_string(struct gild_value *to, const char *name, const char *value)
{
	struct gild_value *item;
	char *copy = strdup(value);

	item = copy ? append(to, name, GILD_VALUE_STRING) : NULL;
	if (!item) {
		free(copy);
		return -1;
	}
	item->string = copy;
	return 0;
}

struct gild_value *value_add_tree(struct gild_value *to, const char *name,
				  enum gild_value_type type)
{
	return append(to, name, type);
}

/* The depth is that of the code that built the tree: a handful. */
static void free_items(struct gild_value *value)
{
	for (size_t i = 0; i < value->count; i++) {
		free_items(&value->items[i]);
		free(value->items[i].string);
	}
	free(value->items);
}

void value_free(struct gild_value *value)
{
	if (!value)
		return;
	free_items(value);
	free(value->string);
	free(value);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* See json.h. Main thread only. */
#include "tools/json.h"

#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"

static bool out_of_memory;

void json_put(json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value) < 0)
		out_of_memory = true;
}

void json_add(json_t *array, json_t *value)
{
	if (json_array_append_new(array, value) < 0)
		out_of_memory = true;
}

void json_put_text(json_t *object, const char *key, const char *text)
{
	json_put(object, key, json_text(text));
}

void json_put_number(json_t *object, const char *key, uint64_t number)
{
	json_put(object, key, json_integer((json_int_t)number));
}

void json_put_bool(json_t *object, const char *key, bool value)
{
	json_put(object, key, json_boolean(value));
}

/* Bytes of the UTF-8 sequence that text starts with; 0: none. */
static size_t utf8_length(const unsigned char *text)
{
	static const struct {
		unsigned char first, last, second_low, second_high, length;
	} forms[] = {
		{ 0x00, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		size_t length = forms[i].length;

		if (text[0] < forms[i].first || text[0] > forms[i].last)
			continue;
		if (length > 1 && (text[1] < forms[i].second_low ||
				   text[1] > forms[i].second_high))
			return 0;
		for (size_t k = 2; k < length; k++) {
			if ((text[k] & 0xc0) != 0x80)
				return 0;
		}
		return length;
	}
	return 0;
}

json_t *json_text(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	char *clean = malloc(3 * strlen(text) + 1), *to = clean;
	json_t *json;

	if (!clean)
		return NULL;
	while (*text) {
		size_t length = utf8_length((const unsigned char *)text);

		if (length) {
			memcpy(to, text, length);
			to += length;
			text += length;
		} else {
			memcpy(to, replacement, 3);
			to += 3;
			text++;
		}
	}
	*to = '\0';
	json = json_string(clean);
	free(clean);
	return json;
}

int json_print(json_t *json, struct gild_error *err)
{
	bool ok = json && !out_of_memory;

	if (ok)
		json_dumpf(json, stdout, JSON_INDENT(4) | JSON_ENSURE_ASCII);
	json_decref(json);
	if (!ok)
		return tool_fail(err, "out of memory");
	putchar('\n');
	return 0;
}

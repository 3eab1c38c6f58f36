/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest/text.h"

#include <stdlib.h>

#include "util/bytes.h"
#include "util/error.h"

enum {
	REPLACEMENT = 0xfffd,
	MAX_UTF8 = 3, /* bytes for one unit; a pair takes 4 */
};

static char *put_utf8(char *to, uint32_t code)
{
	if (code < 0x80) {
		*to++ = (char)code;
		return to;
	}
	if (code < 0x800) {
		*to++ = (char)(0xc0 | code >> 6);
	} else {
		if (code < 0x10000) {
			*to++ = (char)(0xe0 | code >> 12);
		} else {
			*to++ = (char)(0xf0 | code >> 18);
			*to++ = (char)(0x80 | (code >> 12 & 0x3f));
		}
		*to++ = (char)(0x80 | (code >> 6 & 0x3f));
	}
	*to++ = (char)(0x80 | (code & 0x3f));
	return to;
}

static bool is_low_half(uint32_t unit)
{
	return (unit & 0xfc00) == 0xdc00;
}

/* The code at *i, which goes on to its last unit. */
static uint32_t get_code(const unsigned char *units, size_t count, size_t *i)
{
	uint32_t unit = load_le16(units + 2 * *i), low;

	if ((unit & 0xf800) != 0xd800)
		return unit;
	low = *i + 1 < count ? load_le16(units + 2 * *i + 2) : 0;
	if (is_low_half(unit) || !is_low_half(low))
		return REPLACEMENT;
	(*i)++;
	return 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
}

char *text_from_utf16(const unsigned char *units, size_t count,
		      struct gild_error *err)
{
	char *text = malloc(count * MAX_UTF8 + 1), *to = text;

	if (!text)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	for (size_t i = 0; i < count; i++) {
		uint32_t code = get_code(units, count, &i);

		if (!code)
			break;
		to = put_utf8(to, code);
	}
	*to = '\0';
	return text;
}

char *text_from_bytes(const unsigned char *bytes, size_t count,
		      struct gild_error *err)
{
	const unsigned char *end = memchr(bytes, 0, count);
	size_t length = end ? (size_t)(end - bytes) : count;
	char *text;

	while (length && bytes[length - 1] == ' ')
		length--;
	text = malloc(length + 1);
	if (!text)
		return fail_null(err, GILD_ERR_NOMEM, 0, "out of memory");
	memcpy(text, bytes, length);
	text[length] = '\0';
	return text;
}

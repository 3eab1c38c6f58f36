/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A JSON object as the list of a spec: objects within objects become dots,
 * {"file": {"driver": "file"}} is file.driver = file. The text may come from an
 * image, so nothing is believed: length and depth are bounded, and nothing is
 * passed over that is not JSON. As in QEMU's, strings may stand in single
 * quotes. Numbers stay the text that they are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/spec.h"
#include "util/cleanup.h"

struct parser {
	struct spec *spec;
	const char *start, *at;
	char *word;    /* the string that was read last; as long as the text */
	char *name;    /* of the value that is being read, likewise */
	size_t length; /* of that name */
	unsigned depth;
	struct gild_error *err;
};

static int fail_json(const struct parser *parser, const char *what)
{
	return fail(parser->err, GILD_ERR_INVALID, 0,
		    "not JSON: %s at byte %zu", what,
		    (size_t)(parser->at - parser->start) + 1);
}

static char skip_space(struct parser *parser)
{
	parser->at += strspn(parser->at, " \t\r\n");
	return *parser->at;
}

/* Four hexadecimal digits; -1: they are none. */
static long hex4(const char *text)
{
	char digits[5] = "";

	memcpy(digits, text, strnlen(text, 4));
	if (strspn(digits, "0123456789abcdefABCDEF") != 4)
		return -1;
	return strtol(digits, NULL, 16);
}

/* Returns the byte behind. */
static char *put_utf8(char *to, unsigned long code)
{
	static const unsigned char marks[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	int bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

	for (int i = bytes - 1; i > 0; i--) {
		to[i] = (char)(0x80 | (code & 0x3f));
		code >>= 6;
	}
	to[0] = (char)(marks[bytes > 1 ? bytes : 0] | code);
	return to + bytes;
}

/* Behind "\u": one code, or the two halves of one. */
static int read_code(struct parser *parser, char **to)
{
	long code = hex4(parser->at), low;

	if (code <= 0)
		return fail_json(parser, "a wrong \\u");
	parser->at += 4;
	if (code >= 0xd800 && code < 0xdc00) {
		low = strncmp(parser->at, "\\u", 2) ? -1 : hex4(parser->at + 2);
		if (low < 0xdc00 || low > 0xdfff)
			return fail_json(parser, "half of a character");
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		parser->at += 6;
	} else if (code >= 0xdc00 && code < 0xe000) {
		return fail_json(parser, "half of a character");
	}
	*to = put_utf8(*to, (unsigned long)code);
	return 0;
}

static int read_escape(struct parser *parser, char **to)
{
	static const char letters[] = "\"'\\/bfnrt";
	static const char meant[] = "\"'\\/\b\f\n\r\t";
	const char *found;

	if (*++parser->at == 'u') {
		parser->at++;
		return read_code(parser, to);
	}
	found = *parser->at ? strchr(letters, *parser->at) : NULL;
	if (!found)
		return fail_json(parser, "a wrong escape");
	*(*to)++ = meant[found - letters];
	parser->at++;
	return 0;
}

/* Into parser->word. No escape is shorter than what it stands for. */
static int read_string(struct parser *parser)
{
	char quote = *parser->at++, *to = parser->word;

	while (*parser->at != quote) {
		if ((unsigned char)*parser->at < ' ')
			return fail_json(parser, "a string without an end");
		if (*parser->at == '\\') {
			if (read_escape(parser, &to) < 0)
				return -1;
		} else {
			*to++ = *parser->at++;
		}
	}
	parser->at++;
	*to = '\0';
	return 0;
}

static int add(struct parser *parser, const char *value)
{
	/* The dot at its end is not part of it. */
	return spec_add(parser->spec, parser->name,
			parser->length ? parser->length - 1 : 0, value,
			parser->err);
}

/* true, false, null, or a number. */
static int read_plain(struct parser *parser)
{
	size_t length = strspn(parser->at,
			       "0123456789abcdefghijklmnopqrstuvwxyz"
			       "ABCDEFGHIJKLMNOPQRSTUVWXYZ+-.");
	char *word = parser->word;

	memcpy(word, parser->at, length);
	word[length] = '\0';
	if (!strcmp(word, "true") || !strcmp(word, "false"))
		strcpy(word, *word == 't' ? "on" : "off");
	else if (strcmp(word, "null") != 0 &&
		 (!length || strspn(word, "0123456789+-.eE") != length))
		return fail_json(parser, "no value");
	parser->at += length;
	return add(parser, !strcmp(word, "null") ? NULL : word);
}

static int read_value(struct parser *parser);

/* A member, its name appended to parser->name for as long as it is read. */
static int read_named(struct parser *parser, const char *name)
{
	size_t before = parser->length, length = strlen(name);
	int result;

	/* Names within each other are no longer than the text, unless it has
	 * lists, whose members have their number for a name. */
	if (before + length + 2 > 2 * SPEC_MAX_LENGTH)
		return fail_json(parser, "a name that is too long");
	memcpy(parser->name + before, name, length);
	parser->name[before + length] = '.';
	parser->length = before + length + 1;
	result = read_value(parser);
	parser->length = before;
	return result;
}

static int read_member(struct parser *parser)
{
	char quote = skip_space(parser);

	if (quote != '"' && quote != '\'')
		return fail_json(parser, "a name is missing");
	if (read_string(parser) < 0)
		return -1;
	if (skip_space(parser) != ':')
		return fail_json(parser, "a colon is missing");
	parser->at++;
	return read_named(parser, parser->word);
}

/* Members, up to the bracket that closes them. */
static int read_members(struct parser *parser, char close)
{
	char number[24];

	if (++parser->depth > SPEC_MAX_DEPTH)
		return fail_json(parser, "too deep");
	parser->at++;
	if (skip_space(parser) == close)
		goto end;
	for (unsigned i = 0;; i++) {
		snprintf(number, sizeof(number), "%u", i);
		if ((close == '}' ? read_member(parser) :
				    read_named(parser, number)) < 0)
			return -1;
		if (skip_space(parser) == close)
			break;
		if (*parser->at != ',')
			return fail_json(parser, "a comma is missing");
		parser->at++;
	}
end:
	parser->at++;
	parser->depth--;
	return 0;
}

static int read_value(struct parser *parser)
{
	switch (skip_space(parser)) {
	case '{':
		return read_members(parser, '}');
	case '[':
		return read_members(parser, ']');
	case '"':
	case '\'':
		return read_string(parser) < 0 ? -1 : add(parser, parser->word);
	default:
		return read_plain(parser);
	}
}

int spec_parse_json(struct spec *spec, const char *text, struct gild_error *err)
{
	AUTO_FREE char *word = malloc(strlen(text) + 8);
	AUTO_FREE char *name = malloc(2 * SPEC_MAX_LENGTH);
	struct parser parser = {
		.spec = spec,
		.start = text,
		.at = text,
		.word = word,
		.name = name,
		.err = err,
	};

	if (!word || !name)
		return fail_nomem(err);
	if (skip_space(&parser) != '{')
		return fail_json(&parser, "an object is missing");
	if (read_members(&parser, '}') < 0)
		return -1;
	return skip_space(&parser) ? fail_json(&parser, "something follows") :
				     0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of files from texts that somebody else chose: a snapshot's name, a
 * label of a filesystem. A slash, a control character, a backslash, the first
 * dot of "." and "..", and what is beyond the longest name cannot stand there.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/tree.h"

enum {
	CODE_LENGTH = 4, /* \xNN */
};

typedef bool allowed(const unsigned char *at);

static bool is_plain(const unsigned char *at)
{
	return *at > ' ' - 1 && *at != 0x7f && *at != '/' && *at != '\\';
}

/* The length of a character of more than one byte, valid as UTF-8, or 0. */
static size_t utf8_length(const unsigned char *at)
{
	size_t length = *at >= 0xf0 && *at < 0xf5 ? 4 :
			*at >= 0xe0 && *at < 0xf0 ? 3 :
			*at >= 0xc2 && *at < 0xe0 ? 2 :
						    0;

	for (size_t i = 1; i < length; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

static bool is_in_label(const unsigned char *at)
{
	return (*at >= '0' && *at <= '9') || (*at >= 'A' && *at <= 'Z') ||
	       (*at >= 'a' && *at <= 'z') || (*at && strchr("#+-.:=@_", *at));
}

static bool is_dots(const char *text)
{
	return !strcmp(text, ".") || !strcmp(text, "..");
}

/* Bytes of the text that are written as they are;
 * 0: the next is written \xNN. */
static size_t keep(const unsigned char *at, const char *text, allowed *allow)
{
	if ((const char *)at == text && is_dots(text))
		return 0;
	if (*at >= 0x80 && allow == is_in_label)
		return utf8_length(at);
	return allow(at);
}

static char *encode(const char *text, allowed *allow)
{
	const unsigned char *at = (const unsigned char *)text;
	char *name = malloc(NAME_MAX + CODE_LENGTH + 1);
	size_t used = 0;

	while (name && *at) {
		size_t kept = keep(at, text, allow);

		if (used + (kept ? kept : CODE_LENGTH) > NAME_MAX)
			break;
		if (kept) {
			memcpy(name + used, at, kept);
			used += kept;
			at += kept;
		} else {
			used += (size_t)sprintf(name + used, "\\x%02x", *at++);
		}
	}
	if (name)
		name[used] = '\0';
	return name;
}

char *name_encode(const char *text)
{
	return encode(text, is_plain);
}

char *name_encode_label(const char *text)
{
	return encode(text, is_in_label);
}

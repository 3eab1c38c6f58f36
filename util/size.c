/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sizes as people write them: "512", "10G", "1.5M", "0x200". The suffixes b k
 * M G T P E, in either case, are powers of 1024, as in qemu-img. Fractions
 * are exact, cut to whole bytes; they need a suffix above bytes.
 */
#include "gild.h"

#include <ctype.h>
#include <string.h>

#include "util/error.h"

/* Fractions are read to so many digits: enough for a byte of an exbibyte. */
enum {
	FRACTION_DIGITS = 18
};

struct number {
	uint64_t whole;
	uint64_t fraction; /* of scale */
	uint64_t scale;	   /* a power of ten */
	bool hex;
};

/* One more digit; false: more than INT64_MAX. */
static bool push_digit(uint64_t *value, unsigned base, unsigned digit)
{
	if (*value > ((uint64_t)INT64_MAX - digit) / base)
		return false;
	*value = *value * base + digit;
	return true;
}

static unsigned digit_value(char c)
{
	return isdigit((unsigned char)c) ? (unsigned)(c - '0') :
					   (unsigned)((c | 0x20) - 'a' + 10);
}

static void parse_fraction(const char **text, struct number *number)
{
	for (int i = 0; isdigit((unsigned char)**text); i++, (*text)++) {
		if (i >= FRACTION_DIGITS)
			continue;
		number->fraction = number->fraction * 10 + digit_value(**text);
		number->scale *= 10;
	}
}

/* 1: a number, *text behind it; 0: none; -1: too large. */
static int parse_number(const char **text, struct number *number)
{
	const char *p = *text;
	unsigned base = 10;

	*number = (struct number){ .scale = 1 };
	if (p[0] == '0' && (p[1] | 0x20) == 'x') {
		number->hex = true;
		base = 16;
		p += 2;
	}
	if (number->hex ? !isxdigit((unsigned char)*p) :
			  !isdigit((unsigned char)*p))
		return 0;
	for (; number->hex ? isxdigit((unsigned char)*p) :
			     isdigit((unsigned char)*p);
	     p++)
		if (!push_digit(&number->whole, base, digit_value(*p)))
			return -1;
	if (!number->hex && *p == '.') {
		p++;
		parse_fraction(&p, number);
	}
	*text = p;
	return 1;
}

/* The unit that a suffix stands for; 0: no such suffix. */
static uint64_t suffix_unit(const char *suffix, uint64_t unit)
{
	static const char letters[] = "bkmgtpe";
	const char *found;

	if (!*suffix)
		return unit;
	found = strchr(letters, tolower((unsigned char)*suffix));
	if (!found || suffix[1])
		return 0;
	return UINT64_C(1) << (10 * (found - letters));
}

static int too_large(const char *text, struct gild_error *err)
{
	return fail(err, GILD_ERR_RANGE, 0,
		    "size '%s' is beyond 9223372036854775807 bytes", text);
}

int gild_parse_size(const char *text, uint64_t unit, uint64_t *size,
		    struct gild_error *err)
{
	const char *p = text;
	struct number number;
	int found = parse_number(&p, &number);
	unsigned __int128 bytes;
	uint64_t one;

	if (found < 0)
		return too_large(text, err);
	one = found ? suffix_unit(p, unit) : 0;
	if (!one || (number.hex && *p) || (number.fraction && one == 1)) {
		fail(err, GILD_ERR_INVALID, 0, "'%s' is not a size", text);
		return error_hint(err, "a number, or one with a suffix b, k, "
				       "M, G, T, P or E: 512, 1.5M, 10G");
	}
	bytes = (unsigned __int128)number.whole * one +
		(unsigned __int128)number.fraction * one / number.scale;
	if (bytes > INT64_MAX)
		return too_large(text, err);
	*size = (uint64_t)bytes;
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes that are read, and texts that are none. */
#include <criterion/criterion.h>

#include "gild.h"

#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)

Test(size, accepted)
{
	static const struct {
		const char *text;
		uint64_t unit, size;
	} cases[] = {
		{ "0", 1, 0 },
		{ "512", 1, 512 },
		{ "010", 1, 10 },
		{ "3", MiB, 3 * MiB },
		{ "512b", MiB, 512 },
		{ "1k", 1, 1024 },
		{ "1K", 1, 1024 },
		{ "2m", 1, 2 * MiB },
		{ "10G", 1, 10 * GiB },
		{ "1T", 1, 1024 * GiB },
		{ "1p", 1, MiB * GiB },
		{ "7E", 1, UINT64_C(7) << 60 },
		{ "1.5M", 1, MiB + MiB / 2 },
		{ "1.0", 1, 1 },
		{ "5.k", 1, 5120 },
		{ "0.1G", 1, 107374182 },
		{ "0.00001k", 1, 0 },
		{ "7.9999999999999999999999E", 1, INT64_MAX },
		{ "0x200", 1, 512 },
		{ "0xFf", 1, 255 },
		{ "9223372036854775807", 1, INT64_MAX },
		{ "0x7fffffffffffffff", 1, INT64_MAX },
	};
	struct gild_error err;
	uint64_t size;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		cr_assert_eq(gild_parse_size(cases[i].text, cases[i].unit,
					     &size, &err),
			     0, "%s", cases[i].text);
		/* Eighteen digits leave the last byte of an exbibyte open. */
		cr_assert(size == cases[i].size || (size < cases[i].size &&
						    cases[i].size - size < 2),
			  "%s: %ju", cases[i].text, (uintmax_t)size);
	}
}

Test(size, refused)
{
	static const char *const texts[] = {
		"",    "k",   " 1",    "1 ",   "-1",	"+1",  "1e3",
		"1.5", ".5k", "1.5b",  "1kB",  "1x",	"0x",  "0x10k",
		"0xg", "G1",  "1..5k", "1,5k", "1.5.k", "1kk",
	};
	struct gild_error err;
	uint64_t size = 77;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		cr_assert_eq(gild_parse_size(texts[i], 1, &size, &err), -1,
			     "'%s'", texts[i]);
		cr_assert_eq(err.kind, GILD_ERR_INVALID);
		cr_assert_eq(size, 77);
	}
}

Test(size, beyond_the_limit)
{
	static const char *const texts[] = {
		"8E",
		"9223372036854775808",
		"18446744073709551616",
		"8388608T",
		"99999999999999999999999999",
		"9007199254740992k",
		"0x8000000000000000",
		"0x10000000000000001",
	};
	struct gild_error err;
	uint64_t size;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		cr_assert_eq(gild_parse_size(texts[i], 1, &size, &err), -1,
			     "%s", texts[i]);
		cr_assert_eq(err.kind, GILD_ERR_RANGE, "%s", texts[i]);
	}
}

Test(size, version)
{
	cr_assert_str_eq(gild_version(), GILD_VERSION);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes for people, and strings of any bytes as JSON. */
#include <criterion/criterion.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/json.h"

Test(output, sizes_have_three_digits)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{ 0, "0 B" },
		{ 1, "1 B" },
		{ 999, "999 B" },
		{ 1000, "0.977 KiB" },
		{ 1024, "1 KiB" },
		{ 1536, "1.5 KiB" },
		{ 1023999, "1e+03 KiB" },
		{ 1024000, "0.977 MiB" },
		{ 1610612736, "1.5 GiB" },
		{ UINT64_C(1) << 60, "1 EiB" },
		{ UINT64_MAX, "16 EiB" },
	};
	char text[32];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		cr_expect_str_eq(human_size(rows[i].bytes, text), rows[i].text);
}

/* What of text is kept: "?" stands for U+FFFD. */
static void check_text(const char *text, const char *wanted)
{
	json_t *json = json_text(text);
	char folded[64];
	size_t n = 0;

	cr_assert_not_null(json);
	for (const char *p = json_string_value(json); *p; p++) {
		if (!strncmp(p, "\xef\xbf\xbd", 3)) {
			folded[n++] = '?';
			p += 2;
		} else {
			folded[n++] = *p;
		}
	}
	folded[n] = '\0';
	cr_expect_str_eq(folded, wanted);
	json_decref(json);
}

Test(output, utf8_is_kept)
{
	check_text("", "");
	check_text("plain", "plain");
	check_text("\xc3\xa4", "\xc3\xa4");
	check_text("\xe2\x82\xac", "\xe2\x82\xac");
	check_text("\xf0\x9f\x92\xbe", "\xf0\x9f\x92\xbe");
	check_text("\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf");
}

Test(output, other_bytes_are_replaced)
{
	check_text("\xff", "?");
	check_text("a\x80z", "a?z");
	check_text("\xc3", "?"); /* cut off */
	check_text("\xe2\x82", "??");
	check_text("\xe2\x82z", "??z");
	check_text("\xf0\x9f\x92", "???");
	check_text("\xc0\xaf", "??"); /* longer than need be */
	check_text("\xe0\x80\xaf", "???");
	check_text("\xed\xa0\x80", "???");	/* a surrogate */
	check_text("\xf4\x90\x80\x80", "????"); /* beyond U+10FFFF */
}

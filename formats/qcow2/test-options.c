/* SPDX-License-Identifier: BSD-3-Clause */
/* "-o" for qcow2: defaults, every value, and what contradicts itself. */
#include <criterion/criterion.h>

#include <string.h>

#include "formats/qcow2/qcow2.h"

TestSuite(qcow2_options, .timeout = 20);

#define MOST 4

/* Options up to the first without a name, and what they lead to. */
struct row {
	struct gild_option options[MOST];
	const char *message; /* part of it; NULL: taken */
};

static size_t count_of(const struct row *row)
{
	size_t count = 0;

	while (count < MOST && row->options[count].name)
		count++;
	return count;
}

static struct qcow2_options parse_good(const struct row *row)
{
	struct qcow2_options parsed;
	struct gild_error err = { 0 };

	cr_assert_eq(qcow2_options_parse(row->options, count_of(row), &parsed,
					 &err),
		     0, "%s", err.message);
	return parsed;
}

Test(qcow2_options, defaults)
{
	const struct row row = { { { NULL, NULL } }, NULL };
	struct qcow2_options parsed = parse_good(&row);

	cr_expect_eq(parsed.version, 3);
	cr_expect_eq(parsed.cluster_size, 65536);
	cr_expect_eq(parsed.refcount_bits, 16);
	cr_expect_eq(parsed.compression, QCOW2_COMPRESSION_ZLIB);
	cr_expect_eq(parsed.preallocation, QCOW2_PREALLOC_OFF);
	cr_expect_eq(parsed.level, 0);
	cr_expect_not(parsed.lazy_refcounts);
	cr_expect_not(parsed.extended_l2);
	cr_expect_not(parsed.data_file_raw);
	cr_expect_null(parsed.data_file);
}

Test(qcow2_options, help_states_the_defaults)
{
	struct gild_option options[32];
	struct qcow2_options parsed, plain;
	size_t count = 0;

	for (const struct gild_option_help *help = qcow2_option_help;
	     help->name; help++) {
		cr_expect_not_null(help->help, "%s", help->name);
		/* What is said of encryption goes with encrypt.format only. */
		if (!help->fallback || strncmp(help->name, "encrypt.", 8) == 0)
			continue;
		options[count].name = help->name;
		options[count++].value = help->fallback;
	}
	cr_assert_eq(qcow2_options_parse(options, count, &parsed, NULL), 0);
	cr_assert_eq(qcow2_options_parse(NULL, 0, &plain, NULL), 0);
	cr_expect_eq(parsed.version, plain.version);
	cr_expect_eq(parsed.cluster_size, plain.cluster_size);
	cr_expect_eq(parsed.refcount_bits, plain.refcount_bits);
	cr_expect_eq(parsed.compression, plain.compression);
	cr_expect_eq(parsed.preallocation, plain.preallocation);
	cr_expect_eq(parsed.extended_l2, plain.extended_l2);
	cr_expect_eq(parsed.lazy_refcounts, plain.lazy_refcounts);
	cr_expect_eq(parsed.data_file_raw, plain.data_file_raw);
}

Test(qcow2_options, every_version_has_two_names)
{
	static const struct {
		const char *name;
		uint32_t version;
	} names[] = {
		{ "0.10", 2 },
		{ "v2", 2 },
		{ "1.1", 3 },
		{ "v3", 3 },
	};

	for (size_t i = 0; i < 4; i++) {
		const struct row row = { { { "compat", names[i].name } },
					 NULL };

		cr_expect_eq(parse_good(&row).version, names[i].version);
	}
}

Test(qcow2_options, preallocation_has_four_modes)
{
	static const char *const names[] = { "off", "metadata", "falloc",
					     "full" };

	for (int i = 0; i < 4; i++) {
		const struct row row = { { { "preallocation", names[i] } },
					 NULL };

		cr_expect_eq((int)parse_good(&row).preallocation, i);
	}
}

Test(qcow2_options, values_are_taken_over)
{
	const struct row a = { { { "cluster_size", "2M" },
				 { "refcount_bits", "1" },
				 { "lazy_refcounts", "on" },
				 { "extended_l2", "yes" } },
			       NULL };
	const struct row b = { { { "data_file", "d.raw" },
				 { "data_file_raw", "true" },
				 { "compression_type", "zstd" },
				 { "compression_level", "19" } },
			       NULL };
	struct qcow2_options parsed = parse_good(&a);

	cr_expect_eq(parsed.cluster_size, 2 << 20);
	cr_expect_eq(parsed.refcount_bits, 1);
	cr_expect(parsed.lazy_refcounts);
	cr_expect(parsed.extended_l2);
	parsed = parse_good(&b);
	cr_expect_str_eq(parsed.data_file, "d.raw");
	cr_expect(parsed.data_file_raw);
	cr_expect_eq(parsed.compression, QCOW2_COMPRESSION_ZSTD);
	cr_expect_eq(parsed.level, 19);
}

/* clang-format off */
static const struct row refused[] = {
	{ { { "no_such", "1" } }, "unknown option \"no_such\"" },
	{ { { "compat", "v3" }, { "compat", "v3" } }, "given twice" },
	{ { { "compat", "3" } }, "0.10, 1.1, v2 or v3" },
	{ { { "compression_type", "lz4" } }, "zlib or zstd, not \"lz4\"" },
	{ { { "preallocation", "some" } }, "metadata, falloc or full" },
	{ { { "cluster_size", "256" } }, "512 to 2097152" },
	{ { { "cluster_size", "4M" } }, "512 to 2097152" },
	{ { { "cluster_size", "65537" } }, "a power of two" },
	{ { { "cluster_size", "0" } }, "a power of two" },
	{ { { "cluster_size", "big" } }, "option \"cluster_size\"" },
	{ { { "refcount_bits", "0" } }, "1 to 64" },
	{ { { "refcount_bits", "3" } }, "a power of two" },
	{ { { "refcount_bits", "128" } }, "1 to 64" },
	{ { { "lazy_refcounts", "maybe" } }, "on or off" },
	{ { { "extended_l2", "2" } }, "on or off" },
	{ { { "data_file_raw", "" } }, "on or off" },
	{ { { "compression_level", "0" } }, "1 to 9" },
	{ { { "compression_level", "10" } }, "1 to 9" },
	{ { { "compression_type", "zstd" }, { "compression_level", "20" } },
	  "1 to 19" },
	{ { { "compat", "v2" }, { "refcount_bits", "8" } }, "refcount_bits" },
	{ { { "compat", "v2" }, { "lazy_refcounts", "on" } }, "lazy_refcounts" },
	{ { { "compat", "v2" }, { "extended_l2", "on" } }, "extended_l2" },
	{ { { "compat", "v2" }, { "data_file", "d" } }, "data_file needs" },
	{ { { "compat", "v2" }, { "compression_type", "zstd" } }, "compat=v3" },
	{ { { "extended_l2", "on" }, { "cluster_size", "8k" } },
	  "at least 16384" },
	{ { { "data_file_raw", "on" } }, "data_file_raw needs data_file" },
	{ { { "data_file", "" } }, "\"data_file\" is empty" },
};
/* clang-format on */

Test(qcow2_options, contradictions_are_refused)
{
	struct qcow2_options parsed;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct gild_error err = { 0 };

		cr_expect_eq(qcow2_options_parse(refused[i].options,
						 count_of(&refused[i]), &parsed,
						 &err),
			     -1, "taken: %s", refused[i].message);
		cr_expect_eq(err.kind, GILD_ERR_INVALID);
		cr_expect_not_null(strstr(err.message, refused[i].message),
				   "\"%s\" is not in \"%s\"",
				   refused[i].message, err.message);
	}
}

Test(qcow2_options, version_2_takes_what_it_has)
{
	const struct row row = { { { "compat", "v2" },
				   { "refcount_bits", "16" },
				   { "cluster_size", "512" },
				   { "preallocation", "metadata" } },
				 NULL };

	cr_expect_eq(parse_good(&row).cluster_size, 512);
}

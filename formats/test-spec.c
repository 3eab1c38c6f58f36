/* SPDX-License-Identifier: BSD-3-Clause */
/* What says how to open an image: which texts are taken, what they mean, and
 * what is said of those that are not. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdio.h>
#include <string.h>

#include "formats/spec.h"

TestSuite(spec, .timeout = 10);

static struct spec *parse(const char *text)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };
	struct spec *spec = spec_parse(text, &err);

	cr_assert_not_null(spec, "%s: %s", text, err.message);
	return spec;
}

static void expect(const char *text, const char *name, const char *value)
{
	struct spec *spec = parse(text);
	struct spec_node root = spec_root(spec);
	const char *got = spec_get(&root, name);

	cr_assert_not_null(got, "%s: no %s", text, name);
	cr_assert_str_eq(got, value);
	spec_release(spec);
}

struct meaning {
	char text[160], name[40], value[40];
};

ParameterizedTestParameters(spec, meanings)
{
	static struct meaning rows[] = {
		{ "driver=qcow2,file.filename=a", "driver", "qcow2" },
		{ "driver=qcow2,file.filename=a", "file.filename", "a" },
		{ "driver=raw,file.filename=a,,b=c", "file.filename", "a,b=c" },
		{ "a=", "a", "" },
		{ "json:{\"driver\":\"raw\"}", "driver", "raw" },
		{ "json: {'a' : {'b':{\"c\": 'x'}}} ", "a.b.c", "x" },
		{ "json:{\"a.b\":1,\"a\":{\"c\":2}}", "a.b", "1" },
		{ "json:{\"a.b\":1,\"a\":{\"c\":2}}", "a.c", "2" },
		{ "json:{\"a\":true,\"b\":false}", "a", "on" },
		{ "json:{\"a\":true,\"b\":false}", "b", "off" },
		{ "json:{\"a\":-1.5e3}", "a", "-1.5e3" },
		{ "json:{\"a\":[\"x\",{\"y\":7}]}", "a.0", "x" },
		{ "json:{\"a\":[\"x\",{\"y\":7}]}", "a.1.y", "7" },
		{ "json:{\"a\":\"\\\"\\\\\\/\\n\\t\"}", "a", "\"\\/\n\t" },
		{ "json:{\"a\":\"\\u00e9\\u20ac\"}", "a",
		  "\xc3\xa9\xe2\x82\xac" },
		{ "json:{\"a\":\"\\ud83d\\ude00\"}", "a", "\xf0\x9f\x98\x80" },
		{ "json:{\"a\":{},\"b\":[],\"c\":1}", "c", "1" },
	};

	return cr_make_param_array(struct meaning, rows,
				   sizeof(rows) / sizeof(*rows), NULL);
}

ParameterizedTest(struct meaning *m, spec, meanings)
{
	expect(m->text, m->name, m->value);
}

struct nonsense {
	char text[120], said[40];
};

ParameterizedTestParameters(spec, nonsense)
{
	static struct nonsense rows[] = {
		{ "a", "\"a\" has no value" },
		{ "a=1,a=2", "given twice" },
		{ "=1", "a name is missing" },
		{ "json:", "an object is missing" },
		{ "json:[]", "an object is missing" },
		{ "json:{", "a name is missing at byte 2" },
		{ "json:{a:1}", "a name is missing" },
		{ "json:{\"a\" 1}", "a colon is missing" },
		{ "json:{\"a\":}", "no value" },
		{ "json:{\"a\":nil}", "no value" },
		{ "json:{\"a\":1", "a comma is missing" },
		{ "json:{\"a\":1,}", "a name is missing" },
		{ "json:{\"a\":1} x", "something follows" },
		{ "json:{\"a\":\"x}", "a string without an end" },
		{ "json:{\"a\":\"\n\"}", "a string without an end" },
		{ "json:{\"a\":\"\\q\"}", "a wrong escape" },
		{ "json:{\"a\":\"\\", "a wrong escape" },
		{ "json:{\"a\":\"\\u12\"}", "a wrong \\u" },
		{ "json:{\"a\":\"\\u0000\"}", "a wrong \\u" },
		{ "json:{\"a\":\"\\ud83d\"}", "half of a character" },
		{ "json:{\"a\":\"\\ude00\"}", "half of a character" },
		{ "json:{\"\":1}", "a name is missing" },
		{ "json:{\"a\":1,\"a\":2}", "given twice" },
		{ "json:{\"a\":{\"b\":1},\"a.b\":2}", "given twice" },
	};

	return cr_make_param_array(struct nonsense, rows,
				   sizeof(rows) / sizeof(*rows), NULL);
}

ParameterizedTest(struct nonsense *n, spec, nonsense)
{
	struct gild_error err = { .kind = GILD_ERR_NONE };

	cr_assert_null(spec_parse(n->text, &err), "%s", n->text);
	cr_assert_eq(err.kind, GILD_ERR_INVALID);
	cr_assert(strstr(err.message, n->said), "%s: %s", n->text, err.message);
}

Test(spec, depth_length_and_number_are_bounded)
{
	static char text[SPEC_MAX_LENGTH + 10];
	struct gild_error err;
	size_t used = 5;

	strcpy(text, "json:");
	for (int i = 0; i < 100; i++)
		used += (size_t)sprintf(text + used, "{\"a\":");
	cr_assert_null(spec_parse(text, &err));
	cr_assert(strstr(err.message, "too deep"), "%s", err.message);

	used = 0;
	for (int i = 0; i <= SPEC_MAX_ENTRIES; i++)
		used += (size_t)sprintf(text + used, "a%d=1,", i);
	cr_assert_null(spec_parse(text, &err));
	cr_assert_eq(err.kind, GILD_ERR_RANGE);

	memset(text, 'a', sizeof(text) - 1);
	memcpy(text, "a=", 2);
	cr_assert_null(spec_parse(text, &err));
	cr_assert_eq(err.kind, GILD_ERR_RANGE);
}

/* Members of lists have numbers for names, which the text has not. */
Test(spec, long_names_of_lists_are_bounded)
{
	static char text[SPEC_MAX_LENGTH + 1];
	size_t used = (size_t)sprintf(text, "json:{\"");

	memset(text + used, 'n', SPEC_MAX_LENGTH - 100);
	sprintf(text + SPEC_MAX_LENGTH - 100, "\":[[[[[[[[[1]]]]]]]]]}");
	spec_release(spec_parse(text, NULL));
}

Test(spec, null_is_not_a_value)
{
	struct spec *spec = parse("json:{\"backing\":null,\"x\":\"\"}");
	struct spec_node root = spec_root(spec);

	cr_assert_null(spec_get(&root, "backing"));
	cr_assert(spec_is_null(&root, "backing"));
	cr_assert(spec_is_null(&root, "x"));
	cr_assert_not(spec_is_null(&root, "y"));
	spec_release(spec);
}

Test(spec, nodes_are_what_stands_below_a_prefix)
{
	struct spec *spec = parse("driver=qcow2,file.driver=raw,"
				  "file.file.filename=x,fileb.c=1");
	struct spec_node root = spec_root(spec), file, deeper;

	cr_assert(spec_child(&root, "file", &file));
	cr_assert_str_eq(spec_get(&file, "driver"), "raw");
	cr_assert(spec_child(&file, "file", &deeper));
	cr_assert_str_eq(spec_get(&deeper, "filename"), "x");
	cr_assert_not(spec_child(&deeper, "file", &file));
	cr_assert_not(spec_child(&root, "backing", &file));
	spec_release(spec);
}

Test(spec, a_prefix_has_a_bound)
{
	struct spec *spec = parse("driver=raw");
	struct spec_node node = spec_root(spec), child;

	memset(node.prefix, 'p', sizeof(node.prefix) - 3);
	cr_assert_not(spec_child(&node, "file", &child));
	spec_release(spec);
}

Test(spec, booleans_and_sizes)
{
	struct spec *spec = parse("a=on,b=no,c=maybe,d=1M,e=many");
	struct spec_node root = spec_root(spec);
	struct gild_error err;
	uint64_t size = 3;
	bool flag = true;

	cr_assert_eq(spec_bool(&root, "none", &flag, &err), 0);
	cr_assert(flag);
	cr_assert_eq(spec_bool(&root, "b", &flag, &err), 0);
	cr_assert_not(flag);
	cr_assert_eq(spec_bool(&root, "a", &flag, &err), 0);
	cr_assert(flag);
	cr_assert_eq(spec_bool(&root, "c", &flag, &err), -1);
	cr_assert(strstr(err.message, "\"c\" is on or off"));
	cr_assert_eq(spec_size(&root, "none", &size, &err), 0);
	cr_assert_eq(size, 3);
	cr_assert_eq(spec_size(&root, "d", &size, &err), 0);
	cr_assert_eq(size, 1 << 20);
	cr_assert_eq(spec_size(&root, "e", &size, &err), -1);
	cr_assert(strstr(err.message, "option \"e\""));
	spec_release(spec);
}

struct judged {
	char text[100], driver[12], said[80]; /* "": fine */
};

ParameterizedTestParameters(spec, judged)
{
	static struct judged rows[] = {
		{ "driver=qcow2,file.filename=a,backing.x=1", "qcow2", "" },
		{ "driver=qcow2,overlap-check.template=all", "qcow2", "" },
		{ "json:{\"backing\":null}", "qcow2", "" },
		{ "backing=node", "qcow2",
		  "\"backing=node\" is not to be had" },
		{ "offset=1", "qcow2", "driver qcow2: option \"offset\"" },
		{ "offset=1,size=2,node-name=x", "raw", "" },
		{ "backing.driver=raw", "raw", "\"backing.driver\"" },
		{ "filename=x,locking=off,aio=native", "file", "" },
		{ "filename=x,pr-manager=p", "host_device", "\"pr-manager\"" },
		{ "size=1,latency-ns=0", "null-aio", "" },
		{ "latency-ns=5", "null-co", "\"latency-ns=5\" is not" },
		{ "copy-on-read=on", "raw", "\"copy-on-read=on\" is not" },
		{ "copy-on-read=off", "raw", "" },
		{ "file=name", "qcow2", "option \"file\"" },
		{ "key-secret=s", "luks", "" },
		{ "header.filename=x", "luks", "\"header.filename\"" },
	};

	return cr_make_param_array(struct judged, rows,
				   sizeof(rows) / sizeof(*rows), NULL);
}

ParameterizedTest(struct judged *j, spec, judged)
{
	struct spec *spec = parse(j->text);
	struct spec_node root = spec_root(spec);
	struct gild_error err = { .kind = GILD_ERR_NONE };

	cr_assert_eq(spec_check(&root, j->driver, &err), *j->said ? -1 : 0,
		     "%s: %s", j->text, err.message);
	cr_assert(strstr(err.message, j->said), "%s", err.message);
	if (*j->said)
		cr_assert_eq(err.kind, GILD_ERR_UNSUPPORTED);
	spec_release(spec);
}

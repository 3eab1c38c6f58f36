/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes of a spec, and what is known of each driver. Names are those of QEMU's
 * schema (BlockdevOptions); what changes nothing but speed there is accepted
 * and changes nothing here.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/spec.h"

struct spec_node spec_root(const struct spec *spec)
{
	return (struct spec_node){ .spec = spec };
}

/* What stands behind the node's prefix in an entry's name, or NULL. */
static const char *below(const struct spec_node *node,
			 const struct spec_entry *entry)
{
	size_t length = strlen(node->prefix);

	return strncmp(entry->name, node->prefix, length) ?
		       NULL :
		       entry->name + length;
}

static const struct spec_entry *find(const struct spec_node *node,
				     const char *name)
{
	for (size_t i = 0; i < node->spec->count; i++) {
		const struct spec_entry *entry = &node->spec->entries[i];
		const char *rest = below(node, entry);

		if (rest && !strcmp(rest, name))
			return entry;
	}
	return NULL;
}

const char *spec_get(const struct spec_node *node, const char *name)
{
	const struct spec_entry *entry = find(node, name);

	return entry ? entry->value : NULL;
}

bool spec_is_null(const struct spec_node *node, const char *name)
{
	const struct spec_entry *entry = find(node, name);

	return entry && (!entry->value || !*entry->value);
}

bool spec_child(const struct spec_node *node, const char *name,
		struct spec_node *child)
{
	*child = *node;
	if (strlen(node->prefix) + strlen(name) + 2 > sizeof(child->prefix))
		return false;
	strcat(child->prefix, name);
	strcat(child->prefix, ".");
	for (size_t i = 0; i < node->spec->count; i++) {
		if (below(child, &node->spec->entries[i]))
			return true;
	}
	return false;
}

static const char *const words_on[] = { "on", "yes", "true", "y", NULL };
static const char *const words_off[] = { "off", "no", "false", "n", NULL };

static bool is_one_of(const char *text, const char *const *words)
{
	while (*words && strcmp(text, *words) != 0)
		words++;
	return *words;
}

int spec_bool(const struct spec_node *node, const char *name, bool *value,
	      struct gild_error *err)
{
	const char *text = spec_get(node, name);

	if (!text)
		return 0;
	*value = is_one_of(text, words_on);
	if (*value || is_one_of(text, words_off))
		return 0;
	return fail(err, GILD_ERR_INVALID, 0,
		    "option \"%s%s\" is on or off, not \"%s\"", node->prefix,
		    name, text);
}

int spec_size(const struct spec_node *node, const char *name, uint64_t *value,
	      struct gild_error *err)
{
	const char *text = spec_get(node, name);

	if (!text || gild_parse_size(text, 1, value, err) == 0)
		return 0;
	return error_prefix(err, "option \"%s%s\": ", node->prefix, name);
}

/* --- what is known ------------------------------------------------------- */

struct known {
	const char *driver; /* "": all; "image": those with a format */
	const char *name;   /* ends with a dot: and all below */
	const char *only;   /* the one value that is to be had, or NULL: any */
};

static const struct known known[] = {
	{ "", "driver", NULL },
	{ "", "node-name", NULL },
	{ "", "read-only", NULL },
	{ "", "auto-read-only", NULL },
	{ "", "force-share", NULL },
	{ "", "discard", NULL },
	{ "", "detect-zeroes", NULL },
	{ "", "copy-on-read", "off" },
	{ "", "cache.direct", NULL },
	{ "", "cache.no-flush", NULL },
	{ "image", "file.", NULL },
	{ "raw", "offset", NULL },
	{ "raw", "size", NULL },
	{ "luks", "key-secret", NULL },
	{ "qcow2", "backing", "" },
	{ "qcow2", "backing.", NULL },
	{ "qcow2", "data-file.", NULL },
	{ "qcow2", "encrypt.format", NULL },
	{ "qcow2", "encrypt.key-secret", NULL },
	{ "qcow2", "snapshot.id", NULL },
	{ "qcow2", "snapshot.name", NULL },
	{ "qcow2", "lazy-refcounts", NULL },
	{ "qcow2", "overlap-check", NULL },
	{ "qcow2", "overlap-check.", NULL },
	{ "qcow2", "pass-discard-request", NULL },
	{ "qcow2", "pass-discard-snapshot", NULL },
	{ "qcow2", "pass-discard-other", NULL },
	{ "qcow2", "discard-no-unref", NULL },
	{ "qcow2", "cache-size", NULL },
	{ "qcow2", "cache-clean-interval", NULL },
	{ "qcow2", "l2-cache-size", NULL },
	{ "qcow2", "l2-cache-entry-size", NULL },
	{ "qcow2", "refcount-cache-size", NULL },
	{ "file", "filename", NULL },
	{ "file", "locking", NULL },
	{ "file", "aio", NULL },
	{ "file", "aio-max-batch", NULL },
	{ "file", "drop-cache", NULL },
	{ "null-co", "size", NULL },
	{ "null-co", "read-zeroes", NULL },
	{ "null-co", "latency-ns", "0" },
};

static bool is_name(const struct known *row, const char *name)
{
	size_t length = strlen(row->name);

	if (row->name[length - 1] == '.')
		return !strncmp(name, row->name, length);
	return !strcmp(name, row->name);
}

/* Drivers that differ in nothing that is told here. */
static const char *kind_of(const char *driver)
{
	if (!strcmp(driver, "host_device"))
		return "file";
	return strcmp(driver, "null-aio") ? driver : "null-co";
}

static const struct known *find_known(const char *driver, const char *name)
{
	const char *kind = kind_of(driver);
	bool image = registry_find(driver) != NULL;

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		const struct known *row = &known[i];

		if ((!*row->driver || !strcmp(row->driver, kind) ||
		     (image && !strcmp(row->driver, "image"))) &&
		    is_name(row, name))
			return row;
	}
	return NULL;
}

static int check_entry(const struct spec_entry *entry, const char *name,
		       const char *driver, struct gild_error *err)
{
	const struct known *row = find_known(driver, name);
	const char *value = entry->value ? entry->value : "";

	if (!row)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "driver %s: option \"%s\" is not known here",
			    driver, entry->name);
	if (!row->only || !strcmp(value, row->only))
		return 0;
	return fail(err, GILD_ERR_UNSUPPORTED, 0,
		    "driver %s: \"%s=%s\" is not to be had here", driver,
		    entry->name, value);
}

int spec_check(const struct spec_node *node, const char *driver,
	       struct gild_error *err)
{
	for (size_t i = 0; i < node->spec->count; i++) {
		const struct spec_entry *entry = &node->spec->entries[i];
		const char *name = below(node, entry);

		if (name && check_entry(entry, name, driver, err) < 0)
			return -1;
	}
	return 0;
}

int spec_check_format(const struct spec_node *node, const char *driver,
		      struct gild_error *err)
{
	return spec_get(node, "driver") ? 0 : spec_check(node, driver, err);
}

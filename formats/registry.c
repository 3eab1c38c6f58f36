/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The formats that gild knows: a new one is a line here. Order is the order of
 * probing; raw has no magic, so a probe never answers it.
 */
#include <string.h>

#include "formats/format.h"

extern const struct format_ops luks_format;
extern const struct format_ops qcow2_format;
extern const struct format_ops raw_format;

static const struct format_ops *const formats[] = {
	&qcow2_format,
	&luks_format,
	&raw_format,
};

#define FORMAT_COUNT (sizeof(formats) / sizeof(formats[0]))

const struct format_ops *registry_find(const char *name)
{
	for (size_t i = 0; i < FORMAT_COUNT; i++)
		if (!strcmp(formats[i]->name, name))
			return formats[i];
	return NULL;
}

const struct format_ops *registry_want(const char *name, struct gild_error *err)
{
	const struct format_ops *ops = registry_find(name ? name : "raw");

	if (ops)
		return ops;
	fail(err, GILD_ERR_UNSUPPORTED, 0, "unknown format \"%s\"", name);
	error_hint(err, "gild knows raw, qcow2 and luks; from and to others, "
			"qemu-img converts");
	return NULL;
}

const struct format_ops *registry_probe(const unsigned char *head,
					size_t length)
{
	for (size_t i = 0; i < FORMAT_COUNT; i++)
		if (formats[i]->probe && formats[i]->probe(head, length))
			return formats[i];
	return NULL;
}

const struct gild_option_help *gild_create_help(const char *format)
{
	const struct format_ops *ops = registry_find(format);

	return ops ? ops->create_help : NULL;
}

const char *const *gild_formats(void)
{
	static const char *const names[] = { "raw", "qcow2", "luks", NULL };

	return names;
}

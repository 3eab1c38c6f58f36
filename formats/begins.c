/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How images begin. Who owns a raw disk that is opened by a guess could write
 * another format's header to its start, and have it taken for that format the
 * next time, with the files that it names. So there must not be written what
 * gild, or QEMU, would take for another format by its first sector.
 *
 * A magic that is followed by a version counts whatever the version is.
 */
#include "formats/open.h"

#include <string.h>

struct magic {
	size_t offset, length;
	const char *bytes;
};

#define MAGIC(offset, text)                    \
	{                                      \
		offset, sizeof(text) - 1, text \
	}

static const struct magic magics[] = {
	MAGIC(0, "QFI\xfb"), /* qcow, qcow2 */
	MAGIC(0, "QED\0"),
	MAGIC(0, "KDMV"),	       /* vmdk */
	MAGIC(0, "COWD"),	       /* vmdk */
	MAGIC(64, "\x7f\x10\xda\xbe"), /* vdi */
	MAGIC(0, "vhdxfile"),
	MAGIC(0, "conectix"), /* vpc */
	MAGIC(0, "Bochs Virtual HD Image"),
	MAGIC(0, "#!/bin/sh\n#V2.0 Format\n"), /* cloop */
	MAGIC(0, "WithoutFreeSpace"),	       /* parallels */
	MAGIC(0, "WithouFreSpacExt"),	       /* parallels */
};

static bool has_magic(const unsigned char *head, size_t length)
{
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
		const struct magic *m = &magics[i];

		if (m->offset + m->length <= length &&
		    !memcmp(head + m->offset, m->bytes, m->length))
			return true;
	}
	return false;
}

/* A text that describes a VMware disk: after comments and empty lines there is
 * its version. */
static bool is_descriptor(const unsigned char *head, size_t length)
{
	const unsigned char *end = head + length, *line_end;

	while (head < end && (*head == '#' || *head == '\n' || *head == '\r')) {
		line_end = memchr(head, '\n', (size_t)(end - head));
		if (!line_end)
			return false;
		head = line_end + 1;
	}
	return (size_t)(end - head) > strlen("version=") &&
	       !memcmp(head, "version=", strlen("version="));
}

bool begins_like_image(const unsigned char *head, size_t length)
{
	return registry_probe(head, length) || has_magic(head, length) ||
	       is_descriptor(head, length);
}

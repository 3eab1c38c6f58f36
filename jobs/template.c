/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of a small sparse file, and files made from them. */
#include "jobs/template.h"

#include <stdlib.h>

#include "util/cleanup.h"
#include "util/zeros.h"

/* What the host allocates at least. */
enum {
	BLOCK = 4096
};

void template_drop(struct template *template)
{
	free(template->bytes);
	*template = (struct template){ 0 };
}

int template_read(struct template *template, struct storage *from,
		  struct gild_error *err)
{
	AUTO_FREE unsigned char *bytes = NULL;
	uint64_t length;

	template_drop(template);
	if (storage_size(from, &length, err) < 0)
		return -1;
	if (!length || length > TEMPLATE_MAX)
		return 0;
	bytes = malloc(length);
	if (!bytes)
		return fail_nomem(err);
	if (storage_read_all(from, bytes, length, 0, err) < 0)
		return -1;
	template->bytes = steal_ptr(bytes);
	template->length = length;
	return 0;
}

int template_write(const struct template *template, struct storage *to,
		   struct gild_error *err)
{
	uint64_t at = 0, run;
	bool zero = false;

	for (; at < template->length; at += run) {
		run = zero_run(template->bytes + at, template->length - at,
			       BLOCK, &zero);
		if (!zero &&
		    storage_write(to, template->bytes + at, run, at, err) < 0)
			return -1;
	}
	/* Writing set the length already, unless the end is zero. */
	return zero ? storage_truncate(to, template->length, false, err) : 0;
}

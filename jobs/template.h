/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of a small sparse file, to make more like it with few calls. The
 * caller serialises.
 */
#ifndef JOBS_TEMPLATE_H
#define JOBS_TEMPLATE_H

#include "storage/storage.h"

/* Files that are longer are not worth to be kept in memory. */
#define TEMPLATE_MAX (8u << 20)

struct template
{
	unsigned char *bytes; /* owned; NULL: there is no template */
	uint64_t length;
};

/* Learn from a file; one that is too long leaves the template empty. */
int template_read(struct template *template, struct storage *from,
		  struct gild_error *err);

/* Fill an empty file: what is not zero, then the length. */
int template_write(const struct template *template, struct storage *to,
		   struct gild_error *err);

/* Forget; for all-zero structs, too. */
void template_drop(struct template *template);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a volume holds, by the marks that formats leave in their first blocks
 * (and RAID members at their end). Types, labels and UUIDs are written as blkid
 * writes them.
 */
#ifndef GUEST_SIGNATURES_H
#define GUEST_SIGNATURES_H

#include "guest/volume.h"

enum {
	HEAD_SIZE = 68 << 10, /* where all marks are but those at the end */
};

/* A volume whose first bytes have been read. */
struct probe {
	const struct volume *volume;
	unsigned char *head; /* HEAD_SIZE; zeros beyond the end */
};

/* Fill *content, whose strings are the caller's; all NULL: nothing known. */
int signatures_look(const struct volume *volume, struct gild_content *content,
		    struct gild_error *err);

/* Where a format's mark is, and what else it says where. */
struct signature {
	const char *type;
	uint32_t at; /* of the mark */
	const char *mark;
	uint32_t length;     /* of the mark */
	uint32_t label;	     /* place of it; 0: none */
	uint32_t label_size; /* bytes */
	uint32_t uuid;	     /* place of its 16 bytes; 0: none */
	/* More that must hold, and what the columns above cannot say. 1: this
	 * is it; 0: it is not; -1: error. May be NULL: 1. */
	int (*refine)(const struct probe *probe,
		      const struct signature *signature,
		      struct gild_content *content, struct gild_error *err);
};

/* Tables that end with type == NULL. */
extern const struct signature signatures_members[]; /* of LVM, RAID ... */
extern const struct signature signatures_linux[];
extern const struct signature signatures_foreign[];

/* --- for refine ------------------------------------------------------- */

/* Set a string; -1: out of memory (text NULL). */
int signature_set(char **to, char *text, struct gild_error *err);

#endif

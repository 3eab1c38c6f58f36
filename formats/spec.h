/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A spec says how to open something: by which driver, over which file, with
 * which backing file. In memory it is a flat list of names and values, as QEMU
 * has them too:
 *
 *     driver = qcow2
 *     file.driver = file
 *     file.filename = a.qcow2
 *
 * A *node* is the part of the list below one prefix ("", "file.", "backing.").
 * spec-parse.c and spec-json.c make the list, spec.c judges nodes, spec-open.c
 * opens them.
 *
 * A spec is immutable once parsed. Images that were opened by it hold it.
 */
#ifndef FORMATS_SPEC_H
#define FORMATS_SPEC_H

#include <stdatomic.h>

#include "formats/image.h"

#define SPEC_MAX_LENGTH (64U << 10) /* of a text, in bytes */
#define SPEC_MAX_ENTRIES 256
#define SPEC_MAX_DEPTH 16 /* of objects in each other, of nodes likewise */

struct spec_entry {
	char *name;
	char *value; /* NULL: JSON's null */
};

struct spec {
	struct spec_entry *entries;
	size_t count;
	char *text; /* as given */
	/* Stored in an image: the policy is asked for each file. */
	bool stored;
	atomic_uint holders;
};

/* Of "json:{...}", or of "NAME=VALUE,...". Release it. */
struct spec *spec_parse(const char *text, struct gild_error *err);
struct spec *spec_hold(const struct spec *spec); /* once more */
void spec_release(struct spec *spec);		 /* NULL is allowed */

/* For the parsers. Takes copies; value may be NULL. A name that is there is an
 * error. */
int spec_add(struct spec *spec, const char *name, size_t name_length,
	     const char *value, struct gild_error *err);
int spec_parse_json(struct spec *spec, const char *text,
		    struct gild_error *err);

/* Part of a spec; a value that borrows. */
struct spec_node {
	const struct spec *spec;
	char prefix[96]; /* "", or ends with a dot */
};

struct spec_node spec_root(const struct spec *spec);

/* The value, or NULL where it is not there, or null. */
const char *spec_get(const struct spec_node *node, const char *name);

/* Is "name = null" there, or "name = " with nothing? */
bool spec_is_null(const struct spec_node *node, const char *name);

/* The node below; false: nothing is said of it. */
bool spec_child(const struct spec_node *node, const char *name,
		struct spec_node *child);

int spec_bool(const struct spec_node *node, const char *name, bool *value,
	      struct gild_error *err);
int spec_size(const struct spec_node *node, const char *name, uint64_t *value,
	      struct gild_error *err);

/* Is all that the node says known for its driver, and without an effect that
 * is not to be had? */
int spec_check(const struct spec_node *node, const char *driver,
	       struct gild_error *err);

/* The same for a node that leaves its driver to probing; other drivers' nodes
 * are judged before. */
int spec_check_format(const struct spec_node *node, const char *driver,
		      struct gild_error *err);

/* --- spec-open.c --------------------------------------------------------- */

/* A layer as a node says, without its backing file. options->format is the
 * format where the node names none; NULL: see doors.c. */
struct image *spec_open_layer(const struct spec_node *node,
			      const struct gild_open_options *options,
			      struct gild_error *err);

/* The storage of a node that is a file, or part of one. */
struct storage *spec_open_storage(const struct spec_node *node,
				  const struct gild_open_options *options,
				  struct gild_error *err);

#endif

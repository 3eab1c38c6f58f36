/* SPDX-License-Identifier: BSD-3-Clause */
/* Another backing file in the header, in one write. */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"

/* The two names, once for the header and once for the image; all owned. */
struct names {
	char *name, *format;
};

static void names_free(struct names *names)
{
	free(names->name);
	free(names->format);
}

static int names_copy(struct names *names, const char *name, const char *format,
		      struct gild_error *err)
{
	*names = (struct names){
		.name = name ? strdup(name) : NULL,
		.format = format ? strdup(format) : NULL,
	};
	if ((!name || names->name) && (!format || names->format))
		return 0;
	names_free(names);
	return fail_nomem(err);
}

/* What the header has: *names is swapped for it. */
static int switch_header(struct qcow2 *q, struct names *names,
			 struct gild_error *err)
{
	struct names old = { q->header.backing_name, q->header.backing_format };
	struct qcow2_header header = q->header;

	header.backing_name = names->name;
	header.backing_format = names->format;
	if (qcow2_put_header(q, &header, err) < 0)
		return -1;
	q->header = header;
	*names = old;
	return 0;
}

static int rename_backing(struct qcow2 *q, const char *name, const char *format,
			  struct gild_error *err)
{
	struct names in_header, in_image;
	int ret;

	if (names_copy(&in_header, name, format, err) < 0)
		return -1;
	if (names_copy(&in_image, name, format, err) < 0) {
		names_free(&in_header);
		return -1;
	}
	ret = switch_header(q, &in_header, err);
	if (!ret) {
		struct names old = { q->image.backing_name,
				     q->image.backing_format };

		q->image.backing_name = in_image.name;
		q->image.backing_format = in_image.format;
		in_image = old;
	}
	names_free(&in_header);
	names_free(&in_image);
	return ret;
}

static int set_backing(struct qcow2 *q, const char *name, const char *format,
		       struct gild_error *err)
{
	if (name && q->raw_data)
		return fail(err, GILD_ERR_INVALID, 0,
			    "an image with a raw data file has no backing "
			    "file");
	if (name && strlen(name) > QCOW2_MAX_BACKING_NAME)
		return fail(err, GILD_ERR_RANGE, 0,
			    "the name of a backing file has at most %u bytes",
			    QCOW2_MAX_BACKING_NAME);
	if (qcow2_begin_metadata(q, err) < 0 ||
	    qcow2_writeback(q, false, err) < 0)
		return -1;
	return rename_backing(q, name, format, err);
}

int qcow2_set_backing(struct image *image, const char *name, const char *format,
		      struct gild_error *err)
{
	struct qcow2 *q = qcow2_of(image);
	int ret;

	pthread_rwlock_wrlock(&q->lock);
	ret = set_backing(q, name, format, err);
	pthread_rwlock_unlock(&q->lock);
	return ret;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Changing properties of an image: the format does it. */
#include <string.h>

#include "formats/image.h"
#include "jobs/job.h"

const struct gild_option_help *gild_amend_help(const char *format)
{
	const struct format_ops *ops = registry_find(format);

	return ops ? ops->amend_help : NULL;
}

/* An option that only a new image has is not simply unknown. */
static int check_options(const struct format_ops *ops,
			 const struct gild_amend_options *options,
			 struct gild_error *err)
{
	const struct gild_option *option = options->options;

	for (size_t i = 0; i < options->option_count; i++, option++) {
		if (option_check(ops->amend_help, option, 1, NULL) < 0 &&
		    option_check(ops->create_help, option, 1, NULL) == 0)
			return fail(err, GILD_ERR_UNSUPPORTED, 0,
				    "option \"%s\" is for making an image, and "
				    "cannot be changed",
				    option->name);
	}
	return option_check(ops->amend_help, options->options,
			    options->option_count, err);
}

static int check_allowed(const struct image *image,
			 const struct gild_amend_options *options,
			 struct gild_error *err)
{
	if (!image->ops->amend)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: of an image of format %s nothing can be "
			    "changed",
			    image->path, image->ops->name);
	if (!(image->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for reading only", image->path);
	if (check_options(image->ops, options, err) < 0)
		return error_prefix(err, "%s: ", image->path);
	return 0;
}

static int step(void *opaque, uint64_t done, uint64_t total,
		struct gild_error *err)
{
	struct gild_job *job = opaque;

	job_total(job, total);
	job_at(job, done);
	return job_check(job, err);
}

int gild_amend(struct gild_image *handle,
	       const struct gild_amend_options *options, struct gild_job *job,
	       struct gild_error *err)
{
	const struct amend amend = {
		.options = options->options,
		.option_count = options->option_count,
		.force = options->force,
		.step = step,
		.opaque = job,
	};
	struct image *image = image_of(handle);

	if (check_allowed(image, options, err) < 0 || job_check(job, err) < 0)
		return -1;
	if (image->ops->amend(image, &amend, err) < 0)
		return error_prefix(err, "%s: ", image->path);
	return 0;
}

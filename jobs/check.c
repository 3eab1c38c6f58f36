/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking an image: the format does it. */
#include "formats/image.h"
#include "jobs/job.h"

static int check_allowed(const struct image *image, unsigned fix,
			 struct gild_error *err)
{
	if (!image->ops->check)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: format %s has nothing to check", image->path,
			    image->ops->name);
	if (fix && !(image->flags & GILD_OPEN_WRITE))
		return fail(err, GILD_ERR_DENIED, 0,
			    "%s: was opened for reading only", image->path);
	return 0;
}

int gild_check(struct gild_image *handle, unsigned fix,
	       struct gild_check_result *result, struct gild_job *job,
	       struct gild_error *err)
{
	struct gild_check_result empty = { .report = result->report,
					   .opaque = result->opaque };
	struct image *image = image_of(handle);

	*result = empty;
	if (check_allowed(image, fix, err) < 0 || job_check(job, err) < 0)
		return -1;
	if (image->ops->check(image, fix, result, err) < 0)
		return error_prefix(err, "%s: ", image->path);
	return 0;
}

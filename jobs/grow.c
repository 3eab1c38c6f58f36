/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A larger disk whose new part has its space already. The size comes first:
 * from then on the image reads right at every moment. What fails or is
 * cancelled takes the size back.
 */
#include "formats/image.h"
#include "jobs/job.h"
#include "util/bytes.h"

/* Given space at a time. */
#define STEP (64ULL << 20)

static int check(const struct image *image, uint64_t size,
		 enum gild_preallocation how, struct gild_error *err)
{
	if (how == GILD_PREALLOCATION_OFF)
		return 0;
	if (size <= image->size)
		return fail(err, GILD_ERR_INVALID, 0,
			    "%s: space can be set aside for what is gained "
			    "only",
			    image->path);
	if (how == GILD_PREALLOCATION_METADATA && !image->cluster_size)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "%s: preallocation of a %s image is off, falloc or "
			    "full",
			    image->path, image->ops->name);
	return 0;
}

static int reserve(struct image *image, uint64_t start,
		   enum gild_preallocation how, struct gild_job *job,
		   struct gild_error *err)
{
	uint64_t done;

	for (uint64_t at = start; at < image->size; at += done) {
		done = min_u64(STEP, image->size - at);
		if (job_check(job, err) < 0 || job_pace(job, done, err) < 0 ||
		    image_allocate(image, at, done, how, &done, err) < 0)
			return -1;
		job_step(job, done);
	}
	return image_flush(image, false, err);
}

int gild_grow(struct gild_image *handle, uint64_t size,
	      enum gild_preallocation how, struct gild_job *job,
	      struct gild_error *err)
{
	struct image *image = image_of(handle);
	uint64_t old = image->size;

	if (check(image, size, how, err) < 0 ||
	    image_resize(image, size, err) < 0)
		return -1;
	if (how == GILD_PREALLOCATION_OFF)
		return 0;
	job_total(job, size - old);
	if (reserve(image, old, how, job, err) == 0)
		return 0;
	image->ops->resize(image, old, NULL);
	return -1;
}

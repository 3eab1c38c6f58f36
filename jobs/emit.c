/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file is what the layout's storage holds, but where the layout maps a
 * run of the disk to it: there it is what the source holds. Both are met in
 * ascending order, so one pass does.
 */
#include "jobs/emit.h"

#include <stdlib.h>
#include <string.h>

#include "formats/crypto/cipher.h"
#include "util/bytes.h"
#include "util/cleanup.h"

#define PIECE (1U << 20)

struct emit {
	struct image *layout;
	const struct source *source;
	int fd;
	uint64_t at;	       /* in the file */
	unsigned char *buffer; /* PIECE bytes */
	struct gild_job *job;
};

static int emit_metadata(struct emit *emit, uint64_t end,
			 struct gild_error *err)
{
	uint64_t n;

	for (; emit->at < end; emit->at += n) {
		n = min_u64(PIECE, end - emit->at);
		if (storage_read(emit->layout->storage, emit->buffer, n,
				 emit->at, err) < 0 ||
		    stream_write(emit->fd, emit->buffer, n, err) < 0)
			return -1;
	}
	return 0;
}

/* As it stands in the file. */
static int encrypt(const struct emit *emit, const struct extent *extent,
		   uint64_t done, uint64_t length, struct gild_error *err)
{
	if (!extent->cipher)
		return 0;
	return cipher_encrypt(extent->cipher, emit->buffer, emit->buffer,
			      length, extent->cipher_offset + done, err);
}

/* [start, start + length) of the disk; what is beyond its end is zeros. */
static int emit_data(struct emit *emit, uint64_t start, uint64_t length,
		     const struct extent *extent, struct gild_error *err)
{
	uint64_t size = emit->source->size, n, readable;

	for (uint64_t done = 0; done < length; done += n) {
		n = min_u64(PIECE, length - done);
		readable = min_u64(n, size - min_u64(size, start + done));
		memset(emit->buffer + readable, 0, n - readable);
		if (job_check(emit->job, err) < 0 ||
		    source_read(emit->source, emit->buffer, readable,
				start + done, err) < 0 ||
		    encrypt(emit, extent, done, n, err) < 0 ||
		    stream_write(emit->fd, emit->buffer, n, err) < 0)
			return -1;
	}
	emit->at += length;
	return 0;
}

static int emit_extent(struct emit *emit, uint64_t start,
		       const struct extent *extent, struct gild_error *err)
{
	uint64_t unit = max_u64(emit->layout->unit, emit->layout->cluster_size);
	uint64_t length = round_up(extent->length, unit);

	if (extent->kind != EXTENT_DATA)
		return 0;
	if (extent->host_offset < emit->at)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "an image of this kind cannot be streamed");
	if (emit_metadata(emit, extent->host_offset, err) < 0)
		return -1;
	return emit_data(emit, start, length, extent, err);
}

static int emit_all(struct emit *emit, struct gild_error *err)
{
	struct image *layout = emit->layout;
	struct extent extent;
	uint64_t end;

	for (uint64_t at = 0; at < layout->size; at += extent.length) {
		if (layout->ops->map(layout, at, layout->size - at, &extent,
				     err) < 0 ||
		    emit_extent(emit, at, &extent, err) < 0)
			return -1;
	}
	if (storage_size(layout->storage, &end, err) < 0)
		return -1;
	return emit_metadata(emit, end, err);
}

int emit_run(struct image *layout, const struct source *source, int fd,
	     struct gild_job *job, struct gild_error *err)
{
	AUTO_FREE unsigned char *buffer = malloc(PIECE);
	struct emit emit = {
		.layout = layout,
		.source = source,
		.fd = fd,
		.buffer = buffer,
		.job = job,
	};

	if (!buffer)
		return fail_nomem(err);
	return emit_all(&emit, err);
}

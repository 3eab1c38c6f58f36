/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots carried from one image to another: what can be judged before, and
 * the table of what is done. */
#include "formats/qcow2/snapshot/snapshot.h"

static int check_counts(const struct qcow2_options *options, size_t snapshots,
			struct gild_error *err)
{
	uint64_t most = UINT64_MAX >> (64 - options->refcount_bits);

	/* Each snapshot may share a cluster with the active disk. */
	if (snapshots < most)
		return 0;
	fail(err, GILD_ERR_RANGE, 0,
	     "reference counts of %u bits have no room for %zu snapshots",
	     options->refcount_bits, snapshots);
	return error_hint(err, "more refcount_bits have");
}

static int check_room(const struct gild_option *options, size_t option_count,
		      size_t snapshots, bool resized, struct gild_error *err)
{
	struct qcow2_options parsed;

	if (qcow2_options_parse(options, option_count, &parsed, err) < 0)
		return -1;
	if (parsed.data_file)
		return fail(err, GILD_ERR_UNSUPPORTED, 0,
			    "an image with a data file has no snapshots");
	if (parsed.preallocation != QCOW2_PREALLOC_OFF)
		return fail(err, GILD_ERR_INVALID, 0,
			    "preallocation and snapshots exclude each other: "
			    "they would share what is set aside");
	if (snapshots > QCOW2_MAX_SNAPSHOTS)
		return fail(err, GILD_ERR_RANGE, 0, "too many snapshots (%zu)",
			    snapshots);
	if (resized && parsed.version < 3) {
		fail(err, GILD_ERR_UNSUPPORTED, 0,
		     "in a version 2 image all snapshots have the disk's size, "
		     "and here they have not");
		return error_hint(err, "make the target version 3 "
				       "(-o compat=1.1)");
	}
	return check_counts(&parsed, snapshots, err);
}

const struct snapshot_ops qcow2_snapshot_ops = {
	.check_room = check_room,
	.view = qcow2_view,
	.view_vm_state = qcow2_view_vm_state,
	.vm_state_place = qcow2_vm_state_place,
	.same = qcow2_same,
	.adopt = qcow2_adopt,
};

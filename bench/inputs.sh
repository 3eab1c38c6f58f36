# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# What the rows read, each made when the first row asks for it. Images are
# made by qemu-img, so that both tools read a stranger's.

# shellcheck disable=SC2154 # variables of run

least_data=$((600 * 1000 * 1000))

has_enough_data() {
	[ "$(du --block-size=1 "$1" | cut -f 1)" -ge $least_data ]
}

# Sets raw. Files of this machine where there is no guest.
find_input() {
	raw=${BENCH_INPUT-}
	[ -n "$raw" ] || raw=$(tests/fixtures/make-guest) || raw=
	if [ -n "${BENCH_INPUT-}" ]; then
		raw=$(readlink -e "$raw") || die "$BENCH_INPUT is not there"
	elif [ -z "$raw" ] || ! has_enough_data "$raw"; then
		tell "no guest of this size: a tar of /usr instead"
		raw=$work/usr.raw
		tar -C / -cf - usr 2>/dev/null | head -c 671088640 >"$raw" || true
	fi
	warm "$raw"
}

# Into the page cache.
warm() {
	cat -- "$@" >/dev/null
}

# image NAME ARGS...: a qcow2 of the disk, in $work.
image() {
	local file=$work/$1
	shift
	[ -e "$file" ] ||
		"$qemu" convert -W -m 16 -f raw -O qcow2 "$@" "$raw" "$file"
	warm "$raw" "$file"
}

# --- XFS, which shares extents ----------------------------------------------

xfs=

drop_xfs() {
	[ -z "$xfs" ] || umount "$xfs" || umount -l "$xfs"
	xfs=
}

# Sets xfs, a mounted filesystem with disk.raw and plain.qcow2 in it.
want_xfs() {
	[ -z "$xfs" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		tell "skipped: the rows on XFS need root, to mount a file"
		return 1
	elif ! command -v mkfs.xfs >/dev/null; then
		tell "skipped: the rows on XFS need mkfs.xfs (package xfsprogs)"
		return 1
	fi
	truncate -s 8G "$work/xfs.img"
	mkfs.xfs -q -m reflink=1 "$work/xfs.img"
	mkdir "$work/xfs"
	if ! mount -o loop "$work/xfs.img" "$work/xfs"; then
		tell "skipped: a file with XFS cannot be mounted here"
		return 1
	fi
	xfs=$work/xfs
	cp --sparse=always "$raw" "$xfs/disk.raw"
	"$qemu" convert -f raw -O qcow2 "$xfs/disk.raw" "$xfs/plain.qcow2"
	warm "$xfs/disk.raw" "$xfs/plain.qcow2"
}

# --- Metadata ---------------------------------------------------------------

# The tables of 1 TiB, all clusters there, in the order of the disk.
want_full_tables() {
	[ -e "$work/full.qcow2" ] || "$qemu" create -q -f qcow2 \
		-o preallocation=metadata "$work/full.qcow2" 1T
}

# The tables of 64 GiB in which each cluster is an extent of its own.
want_scattered_tables() {
	[ -e "$work/scattered.qcow2" ] ||
		"$tools/make-tables" "$work/scattered.qcow2" 64
}

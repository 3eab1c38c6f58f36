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

# A disk of 100 GiB of which 20 are allocated: the tables are real, the clusters
# holes. Another one with a snapshot, and one that has lost track of a part.
want_large() {
	[ -e "$work/large.qcow2" ] && return
	"$qemu" create -q -f qcow2 -o preallocation=metadata \
		"$work/large.qcow2" 20G
	"$qemu" resize -q -f qcow2 "$work/large.qcow2" 100G
	cp --sparse=always "$work/large.qcow2" "$work/taken.qcow2"
	"$qemu" snapshot -c s "$work/taken.qcow2"
	cp --sparse=always "$work/large.qcow2" "$work/leaking.qcow2"
	# qemu-img's L1 table is in cluster 3: ten tables are led to no more.
	dd if=/dev/zero of="$work/leaking.qcow2" bs=8 seek=$((0x30000 / 8 + 5)) \
		count=10 conv=notrunc status=none
}

# Four overlays of the disk, one on the other, each with a 32nd of it.
want_overlays() {
	local i below=$work/plain.qcow2 size part
	image plain.qcow2
	[ -e "$work/over4.qcow2" ] && return
	size=$(stat -L -c %s "$raw")
	part=$((size / 32 & ~65535))
	for i in 1 2 3 4; do
		"$qemu" create -q -f qcow2 -b "$below" -F qcow2 \
			"$work/over$i.qcow2"
		qemu-io -t unsafe -f qcow2 -c "write -P $i $((i * 2 * part)) $part" \
			"$work/over$i.qcow2" >/dev/null
		below=$work/over$i.qcow2
	done
}

# An overlay that says 128 MiB, of which its base, beside it, has one half.
want_commit() {
	[ -e "$work/commit/top.qcow2" ] && return
	mkdir "$work/commit"
	"$qemu" create -q -f qcow2 "$work/commit/base.qcow2" 1G
	qemu-io -t unsafe -f qcow2 -c 'write -P 1 0 128M' \
		"$work/commit/base.qcow2" >/dev/null
	"$qemu" create -q -f qcow2 -b base.qcow2 -F qcow2 \
		"$work/commit/top.qcow2"
	qemu-io -t unsafe -f qcow2 -c 'write -P 2 0 64M' \
		-c 'write -P 3 512M 64M' "$work/commit/top.qcow2" >/dev/null
}

# A chain of images, the lowest the disk, each with a little of its own: its top
# is chain/top.qcow2. The same disk in one image: flat.qcow2.
want_chain() {
	local i size below=../plain.qcow2 name
	image plain.qcow2
	[ -e "$work/flat.qcow2" ] && return
	mkdir "$work/chain"
	size=$(stat -L -c %s "$raw")
	for ((i = 2; i <= chain; i++)); do
		name=$i.qcow2
		[ "$i" != "$chain" ] || name=top.qcow2
		"$qemu" create -q -f qcow2 -b "$below" -F qcow2 \
			"$work/chain/$name"
		qemu-io -t unsafe -f qcow2 -c "write -P $((i % 255)) \
			$((i * 7919 * 65536 % (size - (1 << 20)) & ~65535)) 256k" \
			"$work/chain/$name" >/dev/null
		below=$name
	done
	"$qemu" convert -f qcow2 -O qcow2 "$work/chain/top.qcow2" \
		"$work/flat.qcow2"
	warm "$work"/chain/*.qcow2 "$work/flat.qcow2" "$work/plain.qcow2"
}

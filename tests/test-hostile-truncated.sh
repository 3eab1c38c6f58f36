#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Images that were cut, at many places: each verb gives an error that names the
# file, or the right bytes. Never wrong ones, never a crash.
#
# What a cut cannot show: where it falls into the file's last cluster, the rest
# of that reads as zeros, since there are writers that leave zeros out there.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=tests/hostile.sh
. "$top/tests/hostile.sh"
requires "qemu-img --version"

truncate -s 3M x.raw
put raw x.raw 'write -P 1 0 64k' 'write -P 2 128k 1k' 'write -P 3 1M 300k' \
	'write -P 4 2900k 172k'
seq 1 60000 | dd of=x.raw bs=64k seek=6 conv=notrunc status=none

# How many places to cut at, beside the special ones.
places=10
[ "$level" != fast ] || places=4
[ "$level" != long ] || places=400

# cuts SIZE CLUSTER: where to cut, ascending.
cuts() {
	local i
	{
		echo 0 1 3 4 8 71 72 100 103 104 108 111 112 200 511 512 513
		echo $(($1 - 1)) $(($1 - 511)) $(($1 - 512)) $(($1 - $2))
		for ((i = 1; i <= places; i++)); do
			echo $(($1 * i / (places + 1)))
			echo $(($1 * i / (places + 1) / $2 * $2))
		done
	} | tr ' ' '\n' | awk -v size="$1" '$1 >= 0 && $1 < size' | sort -nu
}

# The disk of an image of which the rest of the last cluster is lost.
may_be_so() {
	local read=$1 cut=$2
	[ $((cut % cluster)) != 0 ] || return 1
	qemu-img convert -f qcow2 -O raw cut.qcow2 theirs.raw 2>"$work/.ignored" &&
		cmp -s "$read" theirs.raw &&
		[ "$cut" -gt $(((size - 1) / cluster * cluster)) ]
}

cut_at() {
	local cut=$1
	about="$name, cut at $cut of $size"
	head -c "$cut" "$name" >cut.qcow2
	either cut.qcow2 info cut.qcow2
	either cut.qcow2 map --output=json cut.qcow2
	either cut.qcow2 measure -O qcow2 cut.qcow2
	rm -f ours.raw
	either cut.qcow2 convert -O raw cut.qcow2 ours.raw
	if [ "$status" = 0 ]; then
		cmp -s x.raw ours.raw || may_be_so ours.raw "$cut" ||
			fail "wrong bytes"
	fi
	if ! cmp -s x.raw ours.raw; then
		bounded compare x.raw cut.qcow2
		[ "$status" != 0 ] || fail "found to be the same"
	fi
	checks cut.qcow2 cut.qcow2
	cp cut.qcow2 fixed.qcow2
	checks fixed.qcow2 -r all fixed.qcow2
	if [ "$status" = 0 ]; then
		qemu-img check -f qcow2 fixed.qcow2 >"$work/.said" 2>&1 ||
			{ cat "$work/.said" >&2; fail "not repaired"; }
	fi
}

cut_image() {
	name=$1 cluster=$2
	shift 2
	quietly_made "$@"
	size=$(stat -c %s "$name")
	for cut in $(cuts "$size" "$cluster"); do
		cut_at "$cut"
	done
}

quietly_made() {
	qemu-img convert -f raw -O qcow2 "$@" x.raw "$name"
}

cut_image plain.qcow2 65536
cut_image old.qcow2 4096 -o compat=0.10,cluster_size=4k
cut_image zlib.qcow2 65536 -c
cut_image zstd.qcow2 65536 -c -o compression_type=zstd
cut_image sub.qcow2 65536 -o extended_l2=on
cut_image small.qcow2 512 -o cluster_size=512
echo "$cases cases"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Images that were cut, at many places: each verb gives an error that names the
# file, or the right bytes. Never wrong ones, never a crash.
#
# What a cut cannot show: where it falls into the file's last cluster, the rest
# of that reads as zeros, since there are writers that leave zeros out there.
#
# Here it is seen what the command makes of it; what the library does with the
# same images, cut at every place, test-truncated.c.

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
places=3
[ "$level" != fast ] || places=0
[ "$level" != long ] || places=60

# tables IMAGE: where they are.
tables() {
	local l1 reftable
	l1=$(peek "$1" 40 8) reftable=$(peek "$1" 48 8)
	echo "$l1" "$reftable" $(($(peek "$1" "$l1" 8) & 0xfffffffffffe00)) \
		"$(peek "$1" "$reftable" 8)"
}

# cuts IMAGE SIZE CLUSTER: where to cut, ascending: in the header, where that
# differs from the image before; before each table and half way through it; at
# the end, and in between.
cuts() {
	local i
	{
		case $1 in
		plain* | old*) echo 0 1 4 71 72 103 104 111 112 511 512 ;;
		esac
		for i in $(tables "$1"); do
			echo "$i" $((i + $3 / 2))
		done
		echo $(($2 - 1)) $(($2 - 511)) $(($2 - 512)) $(($2 - $3))
		for ((i = 1; i <= places; i++)); do
			echo $(($2 * i / (places + 1)))
			echo $(($2 * i / (places + 1) / $3 * $3))
		done
	} | tr ' ' '\n' | awk -v size="$2" '$1 >= 0 && $1 < size' | sort -nu
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
	local cut=$1 right=
	about="$name, cut at $cut of $size"
	head -c "$cut" "$name" >cut.qcow2
	either cut.qcow2 info cut.qcow2
	either cut.qcow2 map --output=json cut.qcow2
	either cut.qcow2 measure -O qcow2 cut.qcow2
	either cut.qcow2 convert -O raw cut.qcow2 ours.raw
	if [ "$status" = 0 ]; then
		if cmp -s x.raw ours.raw; then
			right=yes
		else
			may_be_so ours.raw "$cut" || fail "wrong bytes"
		fi
	fi
	if [ -z "$right" ]; then
		bounded compare x.raw cut.qcow2
		[ "$status" != 0 ] || fail "found to be the same"
	fi
	checks cut.qcow2 cut.qcow2
	checks cut.qcow2 -r all cut.qcow2
	if [ "$status" = 0 ]; then
		qemu-img check -f qcow2 cut.qcow2 >"$work/.said" 2>&1 ||
			{ cat "$work/.said" >&2; fail "not repaired"; }
	fi
}

cut_image() {
	name=$1 cluster=$2
	shift 2
	quietly_made "$@"
	size=$(stat -c %s "$name")
	for cut in $(cuts "$name" "$size" "$cluster"); do
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

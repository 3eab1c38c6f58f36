#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Tables that lie: entries that point beyond the file, at themselves, at each
# other, at the header; tables over each other; compressed clusters that are
# nothing of the kind. What is read is what qemu-img reads, or an error; what was
# sound is sound after a write, and what a repair calls sound is.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=tests/hostile.sh
. "$top/tests/hostile.sh"
requires "qemu-img --version"

truncate -s 3M x.raw
put raw x.raw 'write -P 1 0 200k' 'write -P 2 500k 200k' 'write -P 3 2M 300k'
seq 1 40000 | dd of=x.raw bs=64k seek=10 conv=notrunc status=none
truncate -s 3M small.raw
put raw small.raw 'write -P 77 64k 64k' 'write -P 78 1M 512k'
qemu-img convert -f raw -O qcow2 x.raw plain.qcow2
qemu-img convert -f raw -O qcow2 -o compat=0.10 x.raw old.qcow2
qemu-img convert -c -f raw -O qcow2 x.raw zlib.qcow2
qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd x.raw zstd.qcow2
qemu-img convert -f raw -O qcow2 -o extended_l2=on x.raw sub.qcow2

# places IMAGE: of things whose entries are to be changed, as
# OFFSET BYTES WHAT; of all images of this size.
places() {
	local l1 l2 reftable refblock
	l1=$(peek "$1" 40 8)
	l2=$(($(peek "$1" "$l1" 8) & 0x00fffffffffffe00))
	reftable=$(peek "$1" 48 8)
	refblock=$(peek "$1" "$reftable" 8)
	echo "$l1 8 L1[0]"
	echo "$((l1 + 8)) 8 L1[1]"
	echo "$l2 8 L2[0]"
	echo "$((l2 + 8)) 8 L2[1]"
	echo "$((l2 + 8 * 10)) 8 L2[10]"
	echo "$((l2 + 8 * 32)) 8 L2[32]"
	echo "$reftable 8 reftable[0]"
	echo "$((reftable + 8)) 8 reftable[1]"
	echo "$refblock 2 refcount[0]"
	echo "$((refblock + 2 * (l2 / 65536))) 2 refcount[L2]"
	echo "$((refblock + 2 * (l2 / 65536 + 1))) 2 refcount[L2 + 1]"
	echo "8 8 backing"
	echo "40 8 L1 offset"
	echo "48 8 reftable offset"
	echo "64 8 snapshots"
}

# values BYTES IMAGE: what to put there.
values() {
	local l1 l2 end flag
	if [ "$1" = 2 ]; then
		echo 0000 0001 0002 7fff ffff
		return
	fi
	l1=$(peek "$2" 40 8)
	l2=$(($(peek "$2" "$l1" 8) & 0x00fffffffffffe00))
	end=$(($(stat -c %s "$2") / 65536 * 65536))
	for flag in 8 0; do
		for at in 0 "$l1" "$l2" $((l2 + 512)) 65536 131072 \
			$((l2 + 65536)) "$end" $((end + 65536)) \
			$((1 << 40)) $((0xffffffffff0000)) $((0xfffffffffffe00)); do
			printf '%x%015x\n' "$flag" "$at"
		done
	done
	# The flags for zeros and for compressed clusters; what is reserved.
	echo 8000000000000001 0000000000000001 7fffffffffffffff \
		ffffffffffffffff 4000000000000000 4000000000050000 \
		7fffffffffff0000 5fff000000060000 4010000000000200 \
		8100000000050000 80000000000500fe 0000000000000080
}

# The same bytes as qemu-img reads, where both read.
reads() {
	rm -f ours.raw theirs.raw
	either bad.qcow2 convert -O raw bad.qcow2 ours.raw
	[ "$status" = 0 ] || return 0
	qemu-img convert -f qcow2 -O raw bad.qcow2 theirs.raw \
		2>"$work/.ignored" || return 0
	same theirs.raw ours.raw
}

# What was sound before is sound afterwards, and holds what was written. (Of an
# image that was not, nobody can say without looking at all of it.)
writes() {
	local sound=no
	! qemu-img check -q -f qcow2 bad.qcow2 2>"$work/.ignored" || sound=yes
	cp bad.qcow2 target.qcow2
	either target.qcow2 convert -n -f raw -O qcow2 small.raw target.qcow2
	if [ "$status" = 0 ] && [ $sound = yes ]; then
		sound target.qcow2
		equal raw small.raw qcow2 target.qcow2
	fi
}

# Where the table of no snapshots is means nothing to gild.
has_judge() {
	[ "$what" != snapshots ]
}

# A repair that says it is done must have done it. (It does not decompress.)
repairs() {
	cp bad.qcow2 fixed.qcow2
	checks fixed.qcow2 -r all fixed.qcow2
	[ "$status" = 0 ] || return 0
	! has_judge || sound fixed.qcow2
	bounded convert -O raw fixed.qcow2 fixed.raw
	[ "$status" = 0 ] || grep -q 'compressed cluster' "$err" ||
		{ show; fail "repaired, but cannot be read"; }
}

check_bad() {
	local theirs=0
	checks bad.qcow2 bad.qcow2
	has_judge || return 0
	qemu-img check -f qcow2 bad.qcow2 >"$work/.said" 2>&1 || theirs=$?
	if [ "$status" = 0 ] && [ $theirs != 0 ]; then
		cat "$work/.said" >&2
		fail "gild check finds nothing, qemu-img check does"
	fi
}

try() {
	either bad.qcow2 map bad.qcow2
	reads
	check_bad
	bounded compare bad.qcow2 x.raw
	writes
	repairs
	rm -f ours.raw theirs.raw target.qcow2 fixed.qcow2 fixed.raw
}

n=0
for image in plain old zlib zstd sub; do
	while read -r offset bytes what; do
		while read -r value; do
			n=$((n + 1))
			[ "$level" != fast ] || [ $((n % 23)) = 0 ] || continue
			[ "$level" != normal ] || [ $((n % 5)) = 0 ] || continue
			about="$image.qcow2, $what (at $offset) = 0x$value"
			cp $image.qcow2 bad.qcow2
			poke bad.qcow2 "$offset" "$value"
			try
		done < <(values "$bytes" $image.qcow2 | tr ' ' '\n')
	done < <(places $image.qcow2)
done
echo "$cases cases"

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild reads every image that qemu-img and qemu-io wrote: the same bytes as
# qemu-img reads there, and the same verdict about the metadata.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=tests/matrix.sh
. "$top/tests/matrix.sh"
requires "qemu-img --version"

size=$((9 * 1048576 + 3 * 512))

# Written in several ways, in an order that leaves each kind of cluster.
# (Compressed ones only where nothing is allocated, as qemu-io demands.)
write_all_ways() {
	local packed=()
	[ "$data$preallocation" != noneoff ] || packed=('write -c -P 3 4M 2M' "write -c -P 4 8M $((size - 8388608))")
	put qcow2 "$1" 'write -P 1 0 70k' 'write -P 2 1M 300k' \
		'write -z 1088k 64k' 'write -z -u 1200k 100k' 'write -P 5 2M 1M' \
		'discard 2112k 192k' "${packed[@]}" 'write -P 6 4500k 1536' \
		'write -P 0 6M 64k' 'discard 5M 1M' 'write -P 7 7M 33k' \
		'write -z 7M 1536' "write -P 8 $((size - 700)) 700" \
		'writev -P 9 3333k 512 1024'
}

reads() {
	quietly qemu-img convert -f qcow2 -O raw img ref.raw
	quietly gild convert -q -f qcow2 -O raw img got.raw
	same ref.raw got.raw
	gild_equal qcow2 img raw ref.raw
	same_verdict img
	quietly gild convert -f qcow2 -O qcow2 img copy.qcow2
	sound copy.qcow2
	equal raw ref.raw qcow2 copy.qcow2
}

# An image that is converted, and one that is written by a guest.
disk x.raw
while read -r line; do
	about "$line"
	dimensions "$line" ext
	rm -f img ext
	quietly qemu-img convert "${compress[@]}" -f raw -O qcow2 -o "$options" \
		x.raw img
	reads
	rm -f img ext
	quietly qemu-img create -f qcow2 -o "$options" img $size
	write_all_ways img
	reads
done < <(chosen 97 19 5)
echo "$combinations combinations"

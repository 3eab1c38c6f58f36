#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What gild writes depends on the disk and the options alone: not on the number
# of threads, not on the run, not on what was cached. Byte by byte.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=tests/matrix.sh
. "$top/tests/matrix.sh"
requires "qemu-img --version"

# A disk with stretches that shrink, that do not, that are zeros or holes.
truncate -s 40M x.raw
seq 1 3000000 >numbers
head -c 9M numbers | dd of=x.raw bs=1M seek=1 conv=notrunc status=none
head -c 6M /dev/urandom | dd of=x.raw bs=1M seek=12 conv=notrunc status=none
tail -c 5M numbers | dd of=x.raw bs=1M seek=20 conv=notrunc status=none
put raw x.raw 'write -P 0 21M 1M' 'write -P 5 30M 512k' 'write -P 6 33M 1' \
	'write -P 7 41942528 512'
rm numbers

# The same disk with its clusters in another order, in a chain, compressed.
quietly qemu-img create -f qcow2 -o cluster_size=4k under.qcow2 40M
quietly qemu-img convert -n -W -m 8 -f raw -O qcow2 x.raw under.qcow2
quietly qemu-img create -f qcow2 -b under.qcow2 -F qcow2 chain.qcow2 40M
put qcow2 chain.qcow2 'write -P 8 39M 70k' 'write -z 2M 1M' 'write -P 9 15M 1M'
quietly qemu-img convert -f qcow2 -O raw chain.qcow2 chain.raw
quietly qemu-img convert -c -f raw -O qcow2 x.raw packed.qcow2

# always FORMAT SOURCE ARGS...: one outcome for any number of threads.
always() {
	local workers
	about "$*"
	rm -f one other ext one.ext
	quietly gild convert --no-reflink -q -m 1 -f "$1" "${@:3}" "$2" one
	[ ! -e ext ] || mv ext one.ext
	for workers in 2 3 8; do
		for _ in 1 2; do
			rm -f other
			quietly gild convert --no-reflink -q -m $workers -f "$1" \
				"${@:3}" "$2" other
			same one other
			[ ! -e one.ext ] || same one.ext ext
			combinations=$((combinations + 1))
			[ "$level" != fast ] || break
		done
	done
	gild convert -q -f "$1" "${@:3}" "$2" other
	same one other
}

always raw x.raw -O raw
always qcow2 chain.qcow2 -O raw
for source in "raw x.raw" "qcow2 chain.qcow2" "qcow2 packed.qcow2"; do
	for args in "" -c "-c -o compression_type=zstd"; do
		# shellcheck disable=SC2086 # words
		always $source -O qcow2 $args
	done
done
cp one kept
sound kept
for options in cluster_size=512 cluster_size=2M extended_l2=on compat=0.10 \
	lazy_refcounts=on refcount_bits=1 refcount_bits=64 \
	preallocation=metadata preallocation=falloc preallocation=full \
	data_file=ext data_file=ext,data_file_raw=on; do
	always raw x.raw -O qcow2 -o $options
done
for options in cluster_size=512 cluster_size=2M refcount_bits=1 \
	compression_level=1 compression_level=9,cluster_size=4k \
	compression_type=zstd,compression_level=5,extended_l2=on; do
	always raw x.raw -c -O qcow2 -o $options
done
always qcow2 chain.qcow2 -O qcow2 -B under.qcow2 -F qcow2
always qcow2 chain.qcow2 -c -O qcow2 -B packed.qcow2 -F qcow2
always raw x.raw -O qcow2 -S 0
always raw x.raw -O qcow2 -S 1M

# Into an image with content: the same layout each time. (What is left in space
# that became free may differ.)
layout() {
	qemu-img map --output=json -f qcow2 "$1"
}
for args in "" -c; do
	for workers in 1 2 8; do
		about "-n $args -m $workers"
		cp packed.qcow2 there$workers
		# shellcheck disable=SC2086 # nothing or one word
		quietly gild convert -q -n -m $workers $args -f raw -O qcow2 \
			chain.raw there$workers
		sound there$workers
		equal raw chain.raw qcow2 there$workers
		layout there1 >wanted
		layout there$workers >got
		same_text wanted got
		combinations=$((combinations + 1))
	done
done
echo "$combinations combinations"

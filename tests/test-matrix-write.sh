#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What gild wrote, qemu-img finds sound and equal, and qemu-io can go on
# writing: new images, images that are written into, clones.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
# shellcheck source=tests/matrix.sh
. "$top/tests/matrix.sh"
requires "qemu-img --version"

# good RAW: img is sound, and holds that disk for both tools.
good() {
	sound img
	equal raw "$1" qcow2 img
	gild_equal raw "$1" qcow2 img
	[ "$data" != raw ] || cmp -n "$(stat -c %s "$1")" "$1" ext ||
		fail "the data file is not that disk"
}

# What a guest does to it: both the image and a raw model.
goes_on() {
	local file format
	for file in img model.raw; do
		format=qcow2
		[ $file = img ] || format=raw
		put $format $file 'write -P 21 100k 99k' 'write -z 300k 200k' \
			'write -P 22 4M 5000' 'write -z 5M 1M' \
			'write -P 23 10485248 512' 'read -P 22 4M 5000' \
			'read -P 0 5M 1M'
	done
}

# The second disk has zeros where the first has data and the other way around.
disk x.raw
truncate -s 10M y.raw
put raw y.raw 'write -P 11 200k 900k' 'write -P 12 6M 100k' 'write -P 13 9M 1M'
seq 1 50000 | dd of=y.raw bs=64k seek=120 conv=notrunc status=none

while read -r line; do
	about "$line"
	dimensions "$line" ext
	rm -f img ext
	run gild convert "${compress[@]}" -f raw -O qcow2 -o "$options" x.raw img
	expect 0
	expect_no_out
	expect_no_err
	good x.raw
	cp x.raw model.raw
	goes_on
	good model.raw

	rm -f img ext
	quietly gild create -f qcow2 -o "$options" img 10M
	quietly gild convert -n "${compress[@]}" -f raw -O qcow2 x.raw img
	good x.raw
	quietly gild convert -n -f raw -O qcow2 y.raw img
	good y.raw
	quietly gild convert -n "${compress[@]}" -f raw -O qcow2 x.raw img
	good x.raw
	goes_on
	good model.raw
done < <(chosen 97 23 7)
echo "$combinations combinations"

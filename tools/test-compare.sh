#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild compare says and exits like qemu-img, in both orders, for any number of
# threads.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# like_qemu ARGS... A B: the same lines and status, in both orders.
like_qemu() {
	local wanted args=("${@:1:$#-2}") a=${*: -2:1} b=${*: -1} pair workers
	for pair in "$a $b" "$b $a"; do
		wanted=0
		# shellcheck disable=SC2086 # two names
		qemu-img compare "${args[@]}" $pair >wanted 2>"$work/.ignored" ||
			wanted=$?
		for workers in 1 2 7; do
			# shellcheck disable=SC2086
			run gild compare -m $workers "${args[@]}" $pair
			expect $wanted
			same_text wanted "$out"
		done
	done
}

disk x.raw
qemu-img convert -O qcow2 x.raw plain.qcow2
qemu-img convert -c -O qcow2 x.raw packed.qcow2
qemu-img convert -O qcow2 -o cluster_size=512 x.raw small.qcow2
qemu-img convert -S 0 -O qcow2 x.raw full.qcow2
for image in plain packed small full; do
	like_qemu x.raw $image.qcow2
	like_qemu plain.qcow2 $image.qcow2
	like_qemu -q plain.qcow2 $image.qcow2
done
like_qemu -s plain.qcow2 plain.qcow2

# One byte that differs, in data, in zeros, at both ends; its sector is told.
for place in 0 1048577 3000000 4194303 5000000 10485759; do
	cp packed.qcow2 other.qcow2
	put qcow2 other.qcow2 "write -P 99 $place 1"
	like_qemu x.raw other.qcow2
	run gild compare x.raw other.qcow2
	expect 1
	expect_out "Content mismatch at offset $((place / 512 * 512))!"
	cp plain.qcow2 another.qcow2
	put qcow2 another.qcow2 "write -P 98 9000000 4k"
	like_qemu other.qcow2 another.qcow2
done

# Sizes.
truncate -s 12M longer.raw
dd if=x.raw of=longer.raw conv=notrunc bs=1M status=none
like_qemu x.raw longer.raw
like_qemu -s x.raw longer.raw
like_qemu -q x.raw longer.raw
run gild compare x.raw longer.raw
expect 0
expect_out 'Warning: Image size mismatch!'
expect_out 'Images are identical.'
put raw longer.raw 'write -P 1 11M 1'
like_qemu x.raw longer.raw
put raw longer.raw 'write -P 1 1M 1'
like_qemu x.raw longer.raw

# Strict: what is allocated.
qcow2 a.qcow2 10M
qcow2 b.qcow2 10M
put qcow2 b.qcow2 'write -P 0 2M 64k'
like_qemu a.qcow2 b.qcow2
run gild compare -s a.qcow2 b.qcow2
expect 1
expect_out 'block status mismatch!'

# Backing chains.
qcow2 top.qcow2 10M -b plain.qcow2 -F qcow2
like_qemu x.raw top.qcow2
put qcow2 top.qcow2 'write -P 7 3333333 100'
like_qemu x.raw top.qcow2

# JSON, which qemu-img has not.
run gild compare --output=json x.raw plain.qcow2
expect 0
expect_out '"identical": true'
run gild compare --output=json x.raw top.qcow2
expect 1
expect_out '"difference": "content"'
expect_out '"offset": 3333120'
run gild compare -q x.raw top.qcow2
expect 1
expect_no_out

# Errors and their status.
run gild compare nosuch.raw x.raw
expect_error 'nosuch.raw' 2
expect_no_out
run gild compare x.raw nosuch.raw
expect_error 'nosuch.raw' 2
run gild compare -f nosuch x.raw x.raw
expect_error 'nosuch' 2
run gild compare x.raw
expect_error 'two images' 1
cp plain.qcow2 bad.qcow2
printf '\x80\0\0\x7f\0\0\0\0' |
	dd of=bad.qcow2 bs=1 seek=$((0x30000)) conv=notrunc status=none
run gild compare bad.qcow2 x.raw
[ "$status" -ge 2 ] || { show; fail "status $status"; }
expect_err 'bad.qcow2'

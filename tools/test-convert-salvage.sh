#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# gild convert --salvage: what cannot be read becomes zeros, is named, and all
# else arrives.

# shellcheck source=tests/lib.sh
. "${BASH_SOURCE%/*}/../tests/lib.sh"
requires "qemu-img --version"

# Four clusters of text, compressed; the stream of the second is garbage.
seq 1 100000 >text
head -c 256K text >x.raw
qemu-img convert -c -O qcow2 x.raw x.qcow2
l2=$((0x40000))
entry=$(od -An -tx8 --endian=big -j $((l2 + 8)) -N 8 x.qcow2 | tr -d ' ')
host=$((0x$entry & ((1 << 54) - 1)))
[ $host -gt $((l2)) ] || fail "entry $entry"
head -c 4096 /dev/zero | tr '\0' '\377' |
	dd of=x.qcow2 bs=1 seek=$host conv=notrunc status=none
! qemu-img convert x.qcow2 q.raw 2>"$work/.ignored" || fail "it can be read"
rm -f q.raw

cp x.raw wanted.raw
dd if=/dev/zero of=wanted.raw bs=64k seek=1 count=1 conv=notrunc status=none

run gild convert x.qcow2 y.raw
expect_error 'x.qcow2'
[ ! -e y.raw ] || fail "a target was made"

for format in raw qcow2; do
	run gild convert --salvage -O $format x.qcow2 y.img
	expect 0
	expect_no_out
	expect_err 'gild: warning: '
	expect_err 'x.qcow2'
	equal raw wanted.raw $format y.img
	run gild convert --salvage -q -O $format x.qcow2 y.img
	expect 0
	expect_no_err
	equal raw wanted.raw $format y.img
done

# A file that was cut short: all before the cut is there, and the error tells
# where it ends.
head -c 1M /dev/urandom >x.raw
gild convert -O qcow2 x.raw x.qcow2
size=$(stat -c %s x.qcow2)
head -c $((size - 300 * 1024)) x.qcow2 >cut.qcow2
first=$((1024 - 256))			# KiB; a cluster that is cut is read
run gild convert cut.qcow2 y.raw
expect_error "cut short (guest offset $(printf '%#x' $((first * 1024)))"
expect_err '--salvage'
run gild compare cut.qcow2 x.raw
expect_out 'Content mismatch'
run gild convert --salvage cut.qcow2 y.raw
expect 0
cp x.raw wanted.raw
truncate -s $((1024 - 300))K wanted.raw
truncate -s 1M wanted.raw
same wanted.raw y.raw
